"""One person's talk with a server: follows what happens, knows what is unsent, who types, who is who.

It knows no widget.  Whoever shows it is told that something changed (`Listener.dirty`, once until
`take` is called) and then looks at it again.
"""

from __future__ import annotations

import asyncio
import logging
from collections import OrderedDict
from collections.abc import Callable, Mapping
from typing import Any

from tertulia.cli.chat.listener import Dirty, LinkState, Listener
from tertulia.cli.chat.listing import is_muted, title
from tertulia.cli.chat.names import Names
from tertulia.cli.chat.notices import notice
from tertulia.cli.chat.pending import Pending, Pendings, Place
from tertulia.cli.chat.people import People
from tertulia.cli.chat.safe import clean_line
from tertulia.cli.chat.typists import Typists
from tertulia_client import (
    Acknowledged,
    Client,
    ClientStopped,
    Connected,
    Content,
    CursorMoved,
    Disconnected,
    Event,
    Lagged,
    MessageNew,
    Presence,
    Room,
    RoomGone,
    RoomLoaded,
    SendRefused,
    State,
    Stopped,
    Synchronised,
    Text,
    Typing,
    UserUpdated,
)
from tertulia_client.events import SettingsUpdated
from tertulia_client.feed import News

_log = logging.getLogger(__name__)

MAX_NOTICES = 300


class Talk:
    """See the module."""

    def __init__(self, client: Client, listener: Listener, now: Callable[[], int]) -> None:
        self.client = client
        self.now = now
        self.link = LinkState("connecting")
        self.names = Names(client, self.touch)
        self.people = People(client, self.names, self.touch)
        self.writing = Typists(client, now)
        self.pendings = Pendings()
        self.notices: dict[str, OrderedDict[int, Event]] = {}
        self.drafts: dict[Place, str] = {}
        """What was left unsent in a composing line here; the server's drafts are in the state."""
        self.unsent = 0
        self._listener = listener
        self._dirty: Dirty | None = None
        self._moved = asyncio.Event()
        self._tasks: list[asyncio.Task[None]] = []

    # --- its life --------------------------------------------------------------------------------

    async def start(self) -> None:
        """Connect, and follow what happens."""
        for entry in await self.client.waiting():
            self.pendings.restore(entry, self.now())
        await self.client.connect(wait=False)
        self._tasks = [asyncio.ensure_future(work) for work in (self._follow(), self.names.run())]
        await self._count_unsent()

    async def close(self) -> None:
        """Send what can be sent at once, and end."""
        for task in self._tasks:
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)
        await self.client.close()

    @property
    def state(self) -> State | None:
        """What is known; None before the first connection."""
        try:
            return self.client.state
        except ClientStopped:
            return None

    @property
    def rooms(self) -> Mapping[str, Room]:
        state = self.state
        return state.rooms if state is not None else {}

    @property
    def me(self) -> str:
        return self.client.user

    def touch(self, conversation: str | None = None) -> None:
        """Something changed: of one conversation, or of anything."""
        self._moved.set()
        fresh = self._dirty is None
        if self._dirty is None:
            self._dirty = Dirty()
        if conversation is None:
            self._dirty.everything = True
        else:
            self._dirty.rooms.add(conversation)
        if fresh:
            self._listener.dirty()

    async def arrived(self, conversation: str) -> None:
        """Until one is a member of a conversation, as far as is known here."""
        while (room := self.rooms.get(conversation)) is None or room.role is None:
            self._moved.clear()
            await self._moved.wait()

    def take(self) -> Dirty:
        """What changed since the last call."""
        dirty, self._dirty = self._dirty or Dirty(), None
        return dirty

    # --- what happens ----------------------------------------------------------------------------

    async def _follow(self) -> None:
        async for news in self.client.events():
            try:
                self._on(news)
            except Exception:  # noqa: BLE001 - what cannot be shown must not end the conversation
                _log.exception("could not take in %s", type(news).__name__)

    def _on(self, news: News) -> None:
        match news:
            case Event():
                self._event(news)
            case Typing():
                if news.user != self.me:
                    self.writing.heard(news)
                    self.touch(news.conversation)
            case Presence():
                self.touch()
            case CursorMoved():
                self.touch(news.conversation)
            case UserUpdated(user=user):
                self.names.changed(user)
                self.touch()
            case Acknowledged():
                room = self.rooms.get(news.conversation)
                seen = room is not None and room.last_seq >= news.seq
                self.pendings.acknowledged(news.client_id, news.seq, seen=seen)
                self._recount()
                self.touch(news.conversation)
            case SendRefused():
                pending = self.pendings.refused(news, self.now())
                self._recount()
                if pending is not None:
                    self.touch(pending.place[0])
                    self._listener.refused(pending)
            case RoomGone(conversation=conversation):
                self.notices.pop(conversation, None)
                self._listener.room_gone(conversation)
                self.touch()
            case _:
                self._connection(news)

    def _connection(self, news: News) -> None:
        match news:
            case Connected():
                self.link = LinkState("live")
                self._recount()
            case Disconnected():
                self.link = LinkState(
                    "offline", clean_line(news.why), self.now() + int(news.retry_in_s * 1000)
                )
                self.writing.clear()
                self._recount()
            case Stopped():
                self.link = LinkState("stopped", clean_line(news.why))
                self._listener.stopped(news)
            case Synchronised():
                self._listener.synchronised()
                self._watch()
            case RoomLoaded():
                self._watch()
            case Lagged(missed=missed):
                _log.warning("events of %d conversations were not shown one by one", len(missed))
            case _:
                pass
        self.touch()

    def _event(self, event: Event) -> None:
        conversation = event.conversation
        if conversation == self.me:
            if isinstance(event.body, SettingsUpdated):
                self._listener.settings_changed()
            self.touch()
            return
        self.people.event(event)
        match event.body:
            case MessageNew():
                if event.client_id and event.user == self.me:
                    self.pendings.drop(event.client_id)
                    self._recount()
                self.writing.wrote((conversation, event.thread), event.user)
                if event.user != self.me and self.link.state == "live":
                    self._listener.incoming(event)
            case _:
                self._remember(event)
        self.touch(conversation)

    def _remember(self, event: Event) -> None:
        if notice(event, self.names.name) is None:
            return
        kept = self.notices.setdefault(event.conversation, OrderedDict[int, Event]())
        kept[event.seq] = event
        while len(kept) > MAX_NOTICES:
            kept.popitem(last=False)

    def notices_of(self, conversation: str) -> list[Event]:
        """What happened there besides messages while this program ran, oldest first."""
        return list(self.notices.get(conversation, OrderedDict[int, Event]()).values())

    def _watch(self) -> None:
        self.people.watch(room.peer for room in self.rooms.values() if room.peer is not None)

    def typists(self, place: Place) -> list[str]:
        """The names of those who write there."""
        return [self.names.name(user) for user in self.writing.at(place)]

    def tick(self) -> None:
        """To be called every second or so: ends what ends by time."""
        for conversation in self.writing.expire():
            self.touch(conversation)

    async def composing(self, place: Place, text: str) -> None:
        """One's composing line changed.  Raises ApiError."""
        if self.link.state == "live" and self.may(place[0], "typing"):
            await self.writing.composing(place, text)

    # --- sending ---------------------------------------------------------------------------------

    async def send(
        self,
        place: Place,
        content: str | Content,
        *,
        reply_to: int | None = None,
        quote: tuple[int, str] | None = None,
    ) -> None:
        """Into the outbox; shown as pending until the log has it.  Raises OutboxFull."""
        whole = Text(text=content) if isinstance(content, str) else content
        sent = await self.client.send(
            place[0], whole, thread=place[1] or None, reply_to=reply_to, quote=quote
        )
        self.pendings.put(Pending(sent.client_id, place, whole, self.now(), reply_to, quote))
        self.writing.sent(place)
        self.unsent += 1
        self.touch(place[0])

    async def again(self, client_id: str) -> None:
        """Send a refused message once more."""
        failed = self.pendings.get(client_id)
        if failed is not None and failed.why:
            self.pendings.drop(client_id)
            await self.send(failed.place, failed.content, reply_to=failed.reply_to, quote=failed.quote)

    def drop(self, client_id: str) -> None:
        """Give a refused message up."""
        failed = self.pendings.get(client_id)
        if failed is not None and failed.why:
            self.pendings.drop(client_id)
            self.touch(failed.place[0])

    def _recount(self) -> None:
        task = asyncio.ensure_future(self._count_unsent())
        self._tasks = [one for one in self._tasks if not one.done()] + [task]

    async def _count_unsent(self) -> None:
        try:
            self.unsent = await self.client.unsent()
        except RuntimeError:
            return
        self.touch()

    # --- looking ---------------------------------------------------------------------------------

    def title(self, conversation: str) -> str:
        room = self.rooms.get(conversation)
        return title(room, self.names.name, self.rooms) if room is not None else ""

    def may(self, conversation: str, capability: str) -> bool:
        """Whether one may do something there, as far as is known."""
        room = self.rooms.get(conversation)
        return room is not None and capability in room.own_capabilities

    def draft(self, place: Place) -> str:
        """What waits in the composing line of a place."""
        local = self.drafts.get(place)
        if local is not None:
            return local
        state = self.state
        kept = state.drafts.get(place) if state is not None else None
        return kept.text if kept is not None else ""

    def unread_elsewhere(self) -> int:
        """Unread messages in conversations that are not muted."""
        now = self.now()
        return sum(room.unread for room in self.rooms.values() if not is_muted(room, now))

    # --- loading ---------------------------------------------------------------------------------

    async def leave_draft(self, place: Place, text: str, reply_to: int | None = None) -> None:
        """The person turned away from a composing line with this in it.

        Raises ApiError, Unreachable; then it is kept here only."""
        text = text.rstrip()
        state = self.state
        known = state.drafts.get(place) if state is not None else None
        if text == (known.text if known is not None else ""):
            self.drafts.pop(place, None)
            return
        self.drafts[place] = text
        self.touch()
        await self.client.rest.me.set_draft(place[0], text, thread=place[1] or None, reply_to=reply_to)
        # Kept until the event says that the state has it, which may be a moment later.
        if not text:
            self.drafts.pop(place, None)

    async def call(self, command: str, **fields: Any) -> None:
        """Carry out a command of the WebSocket.  Raises ApiError, Unreachable."""
        await self.client.call(command, **fields)

    def read(self, conversation: str) -> None:
        """Everything there is read."""
        room = self.rooms.get(conversation)
        if room is not None and room.role is not None and room.last_seq > room.read and self._has_new(room):
            self.client.mark_read(conversation, room.last_seq)
            self.touch(conversation)

    def read_thread(self, conversation: str, root: int) -> None:
        """Everything in a thread is read."""
        state = self.state
        place = state.threads.get((conversation, root)) if state is not None else None
        room = self.rooms.get(conversation)
        if place is None or room is None:
            return
        newest = max((m.seq for m in room.messages.values() if m.thread == root), default=0)
        if newest > place.read:
            self.client.mark_read(conversation, newest, thread=root)
            self.touch(conversation)

    @staticmethod
    def _has_new(room: Room) -> bool:
        last = room.last_message
        return bool(room.unread or room.mentions or (last is not None and last.seq > room.read))
