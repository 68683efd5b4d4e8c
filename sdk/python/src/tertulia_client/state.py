"""What a client knows, as one value: old state + events = what a fresh fetch would give.

`State` holds no I/O and no clock.  It is built from documents (`from_fetch`, `put_…`) and moved by
`apply` (events of logs) and `signal` (ephemeral news).  Where an event does not say enough, the state
does not guess: it adds a `Want` to `wants`, and whoever has a connection fetches that document and puts
it in.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Iterable, Mapping
from typing import Literal, NamedTuple

import msgspec

from tertulia_client import events as e
from tertulia_client.events import Event
from tertulia_client.models import (
    BlockDoc,
    BookmarkDoc,
    ContactDoc,
    ContactState,
    ConversationDoc,
    DeviceDoc,
    DraftDoc,
    MeDoc,
    MemberDoc,
    MessageDoc,
    PreferencesDoc,
    PresenceDoc,
    ScheduledDoc,
    SettingsDoc,
    ThreadDoc,
)
from tertulia_client.rooms import Room

MAX_PENDING = 1000

Outcome = Literal["applied", "duplicate", "waiting"]
"""`waiting`: the event's conversation has to be fetched first; the event is kept until then."""


class Want(NamedTuple):
    """A document to fetch.

    `conversation`: GET the conversation (and what was shown of its messages), then `put_conversation`;
    when it is not there (404), `forget`.  `messages`: its newest messages anew (`restart`).  `topics`: those
    of a channel.  `threads`: the followed threads.  `places`: all conversations, since cursors may have moved
    unheard (`put_places`).  `user`: a profile that changed."""

    kind: Literal["conversation", "messages", "topics", "threads", "places", "user"]
    id: str = ""


def _fields(body: e.Body) -> list[tuple[str, object]]:
    return [(name, getattr(body, name)) for name in body.__struct_fields__]


class Draft(msgspec.Struct, frozen=True):
    text: str
    reply_to: int | None = None


class Schedule(msgspec.Struct, frozen=True):
    """A message that waits to be sent at `send_at`."""

    conversation: str
    send_at: int


class ThreadPlace(msgspec.Struct, frozen=True):
    """One's place in a followed thread."""

    read: int = 0
    unread: int = 0


class Fetched(msgspec.Struct, frozen=True, kw_only=True):
    """The documents that a state starts from.  `position` is the personal log's last seq that they
    include.  Lists that are null were not fetched."""

    me: MeDoc
    position: int
    settings: SettingsDoc = SettingsDoc()
    conversations: list[ConversationDoc] = []
    messages: dict[str, list[MessageDoc]] = {}
    members: dict[str, list[MemberDoc]] = {}
    pins: dict[str, list[MessageDoc]] = {}
    contacts: list[ContactDoc] = []
    blocks: list[BlockDoc] = []
    drafts: list[DraftDoc] = []
    bookmarks: list[BookmarkDoc] = []
    scheduled: list[ScheduledDoc] = []
    devices: list[DeviceDoc] = []
    threads: list[ThreadDoc] = []


class State:
    """Everything a client knows.  Read its attributes; change it through its methods only."""

    def __init__(self, me: MeDoc, position: int = 0) -> None:
        self.me = me
        self.position = position
        """The personal log's last seq."""
        self.settings = SettingsDoc()
        self.rooms: dict[str, Room] = {}
        self.contacts: dict[str, ContactState] = {}
        self.blocks: set[str] = set()
        self.drafts: dict[tuple[str, int], Draft] = {}
        self.bookmarks: dict[tuple[str, int], str] = {}
        self.schedules: dict[str, Schedule] = {}
        self.devices: dict[str, str] = {}
        self.threads: dict[tuple[str, int], ThreadPlace] = {}
        self.presence: dict[str, PresenceDoc] = {}
        self.wants: dict[Want, None] = {}
        self.gone: list[str] = []
        """Conversations that were forgotten, for the owner to take note of and clear."""
        self.thread_changes = 0
        """Grows with everything that moves a thread: threads that were fetched across such a moment are
        to be fetched again."""
        self._pending: dict[str, deque[Event]] = {}
        self._left: set[str] = set()

    # --- documents in ----------------------------------------------------------------------------

    @classmethod
    def from_fetch(cls, fetched: Fetched) -> State:
        """The state that the documents describe."""
        state = cls(fetched.me, fetched.position)
        state.settings = fetched.settings
        state.contacts = {doc.user: doc.state for doc in fetched.contacts}
        state.blocks = {doc.user for doc in fetched.blocks}
        state.drafts = {
            (doc.conversation, doc.thread or 0): Draft(doc.text, doc.reply_to) for doc in fetched.drafts
        }
        state.bookmarks = {(doc.conversation, doc.seq): doc.note for doc in fetched.bookmarks}
        state.schedules = {doc.id: Schedule(doc.conversation, doc.send_at) for doc in fetched.scheduled}
        state.devices = {doc.id: doc.name for doc in fetched.devices}
        state.put_threads(fetched.threads)
        for doc in fetched.conversations:
            state.put_conversation(doc)
        # Topics were fetched with their channels.
        state.wants.clear()
        for conversation, messages in fetched.messages.items():
            state.put_messages(conversation, messages)
        for conversation, members in fetched.members.items():
            state.put_members(conversation, members)
        for conversation, pins in fetched.pins.items():
            state.put_pins(conversation, pins)
        return state

    def put_conversation(self, doc: ConversationDoc, messages: Iterable[MessageDoc] = ()) -> None:
        """A fetched conversation.

        A state holds the conversations that one is a member of, others are passed over.  A new one starts
        at its `last_seq`, and the events that waited for it follow.  For a known one
        only what events do not always tell is taken over (`Room.refresh`)."""
        self.wants.pop(Want("conversation", doc.id), None)
        room = self.rooms.get(doc.id)
        astray = doc.parent is not None and doc.parent not in self.rooms
        if doc.role is None or doc.id in self._left or (astray and room is None):
            # Not ours (any more): a public channel can be fetched by anyone, a document can be late.
            self.forget(doc.id)
            return
        if room is not None:
            if not room.refresh(doc):
                self.wants[Want("conversation", doc.id)] = None
            self._inherit(room)
            room.put_messages(messages)
            return
        room = self.rooms[doc.id] = Room.of(doc, self.me.id)
        room.put_messages(messages)
        if doc.kind == "channel":
            self.wants[Want("topics", doc.id)] = None
        for event in self._pending.pop(doc.id, ()):
            self.apply(event)

    def put_messages(
        self,
        conversation: str,
        messages: Iterable[MessageDoc],
        *,
        whole: bool = False,
        restart: bool = False,
    ) -> None:
        """Fetched messages: the newest page, or older ones that join those that are there.  `whole`: there
        are no older ones.  `restart`: the window begins anew with these, the newest ones."""
        room = self.rooms.get(conversation)
        if restart:
            self.wants.pop(Want("messages", conversation), None)
        if room is not None:
            room.put_messages(messages, whole=whole, restart=restart)

    def put_topics(self, channel: str, topics: Iterable[ConversationDoc]) -> None:
        """All topics of a channel."""
        self.wants.pop(Want("topics", channel), None)
        if channel in self.rooms:
            for doc in topics:
                self.put_conversation(doc)

    def missed_signals(self) -> None:
        """The connection was gone for a while: cursors that moved meanwhile were not told."""
        self.wants[Want("places")] = None
        self.wants[Want("threads")] = None

    def put_places(self, docs: Iterable[ConversationDoc]) -> None:
        """Where one stands in all conversations."""
        self.wants.pop(Want("places"), None)
        for doc in docs:
            if doc.id in self.rooms:
                self.put_conversation(doc)
            elif doc.id not in self._left:
                self.wants[Want("conversation", doc.id)] = None

    def put_members(self, conversation: str, members: Iterable[MemberDoc]) -> None:
        """All members, read while no event came in between."""
        room = self.rooms.get(conversation)
        if room is not None:
            room.members = {doc.user: doc.role for doc in members}

    def put_pins(self, conversation: str, pins: Iterable[MessageDoc]) -> None:
        """All pinned messages, read while no event came in between."""
        room = self.rooms.get(conversation)
        if room is not None:
            room.pins = {doc.seq for doc in pins}

    def put_threads(self, threads: Iterable[ThreadDoc]) -> None:
        """All followed threads."""
        self.wants.pop(Want("threads"), None)
        self.threads = {(doc.conversation, doc.thread): ThreadPlace(doc.read, doc.unread) for doc in threads}

    def put_user_seen(self, user: str) -> None:
        """The profile that `wants` asked for was fetched."""
        self.wants.pop(Want("user", user), None)

    def forget(self, conversation: str) -> None:
        """The conversation is not there, or no longer ours to see; its topics, drafts and followed
        threads go with it."""
        gone = {conversation, *(room.id for room in self.rooms.values() if room.parent == conversation)}
        self.drafts = {place: draft for place, draft in self.drafts.items() if place[0] not in gone}
        self.threads = {place: there for place, there in self.threads.items() if place[0] not in gone}
        for one in sorted(gone):
            if self.rooms.pop(one, None) is not None or one == conversation:
                self.gone.append(one)
            self._pending.pop(one, None)
            for kind in ("conversation", "messages", "topics"):
                self.wants.pop(Want(kind, one), None)

    def lost_track(self, conversation: str) -> None:
        """Events were skipped: the conversation must be fetched as it is now."""
        self.rooms.pop(conversation, None)
        self._pending.pop(conversation, None)
        self.wants[Want("conversation", conversation)] = None

    # --- events in -------------------------------------------------------------------------------

    def apply(self, event: Event) -> Outcome:
        """One event, in the order of its log.  An event that is known already changes nothing."""
        if event.conversation == self.me.id:
            if event.seq <= self.position:
                return "duplicate"
            self.position = event.seq
            self._personal(event)
            return "applied"
        room = self.rooms.get(event.conversation)
        if room is None:
            return self._wait(event)
        if event.seq <= room.last_seq:
            return "duplicate"
        if event.seq > room.last_seq + 1:
            self.lost_track(room.id)
            return self._wait(event)
        room.apply(event)
        if room.veiled:
            self.wants[Want("conversation", room.id)] = None
        self._around(room, event)
        return "applied"

    def signal(self, signal: e.Signal) -> None:
        """Something ephemeral.  Typing leaves no trace here: it ends by time, which a state has not."""
        match signal:
            case e.CursorMoved():
                self._cursor(signal)
            case e.Presence():
                self.presence[signal.user] = PresenceDoc(
                    user=signal.user, state=signal.state, last_seen=signal.last_seen or None
                )
            case e.UserUpdated():
                self.wants[Want("user", signal.user)] = None
            case e.Typing():
                pass

    def _wait(self, event: Event) -> Outcome:
        self.wants[Want("conversation", event.conversation)] = None
        waiting = self._pending.setdefault(event.conversation, deque(maxlen=MAX_PENDING))
        waiting.append(event)
        return "waiting"

    def _cursor(self, moved: e.CursorMoved) -> None:
        room = self.rooms.get(moved.conversation)
        if moved.thread:
            self.thread_changes += 1
            place = (moved.conversation, moved.thread)
            known = self.threads.get(place)
            if moved.user == self.me.id and moved.read and known is not None and moved.seq > known.read:
                unread = room.replies_after(moved.thread, moved.seq) if room is not None else 0
                self.threads[place] = ThreadPlace(moved.seq, unread)
        elif room is not None:
            room.moved(moved)
            if room.veiled:
                self.wants[Want("conversation", room.id)] = None

    def _around(self, room: Room, event: Event) -> None:
        """What an event of a conversation changes outside of it."""
        match event.body:
            case e.Empty() if event.kind == "conversation.deleted":
                self.forget(room.id)
            case e.MemberRemoved(user=user) if user == self.me.id:
                self.forget(room.id)
            case e.MemberUpdated(user=user):
                self._inherit(room)
                if user == self.me.id:
                    self._want_capabilities(room.id)
            case e.MemberAdded() | e.MemberRemoved():
                self._inherit(room)
            case e.ConversationUpdated() as change:
                if change.who_may_send is not None or change.public is not None:
                    self._want_capabilities(room.id)
                if change.history is not None:
                    # What was said before one joined comes into sight, or goes out of it.
                    room.pins = None
                    self.wants[Want("messages", room.id)] = None
            case e.TopicCreated(topic=topic):
                if room.role is not None and topic not in self.rooms:
                    self.wants[Want("conversation", topic)] = None
            case e.MessageNew() | e.Void() if event.thread:
                self._followed(room, event)
            case _:
                pass

    def _inherit(self, channel: Room) -> None:
        """Topics have their channel's members."""
        for room in self.rooms.values():
            if room.parent == channel.id:
                room.role, room.member_count = channel.role, channel.member_count
                if room.members is not None:
                    room.members = dict(channel.members) if channel.members is not None else None

    def _want_capabilities(self, conversation: str) -> None:
        """What one may do is the server's decision; it is fetched, never worked out here."""
        for room in self.rooms.values():
            if conversation in (room.id, room.parent):
                self.wants[Want("conversation", room.id)] = None

    def _followed(self, room: Room, event: Event) -> None:
        """Who replies follows the thread, and so does the author of its root."""
        self.thread_changes += 1
        place = (room.id, event.thread)
        known = self.threads.get(place)
        if event.user == self.me.id:
            self.threads[place] = ThreadPlace(event.seq, 0)
            return
        if known is not None:
            self.threads[place] = ThreadPlace(known.read, known.unread + 1)
            return
        root = room.messages.get(event.thread)
        if root is None or root.user == self.me.id:
            self.wants[Want("threads")] = None

    def _personal(self, event: Event) -> None:
        match event.body:
            case e.ConversationJoined(conversation=conversation):
                self._left.discard(conversation)
                if conversation not in self.rooms:
                    self.wants[Want("conversation", conversation)] = None
            case e.ConversationLeft(conversation=conversation):
                self._left.add(conversation)
                self.forget(conversation)
            case e.PreferencesUpdated() as p:
                preferences = PreferencesDoc(
                    notify=p.notify, muted_until=p.muted_until, pinned=p.pinned, archived=p.archived
                )
                for room in self.rooms.values():
                    # Topics have their channel's preferences.
                    if p.conversation in (room.id, room.parent):
                        room.preferences = preferences
            case e.SettingsUpdated(settings=settings):
                self.settings = settings
            case e.ProfileUpdated() as profile:
                changed = {name: value for name, value in _fields(profile) if value is not None}
                self.me = msgspec.structs.replace(self.me, **changed)
            case e.BlockChanged(user=user):
                self._blocked(user, blocked=event.kind == "user.blocked")
            case e.ThreadFollowed(conversation=conversation, thread=thread):
                if event.kind == "thread.unfollowed":
                    self.threads.pop((conversation, thread), None)
                elif (conversation, thread) not in self.threads:
                    self.wants[Want("threads")] = None
            case _:
                self._lists(event)

    def _lists(self, event: Event) -> None:
        match event.body:
            case e.ContactChanged(user=user, state="removed"):
                self.contacts.pop(user, None)
            case e.ContactChanged(user=user, state=state):
                if state != "removed":
                    self.contacts[user] = state
            case e.DraftUpdated() as draft:
                place = (draft.conversation, draft.thread)
                if draft.text:
                    self.drafts[place] = Draft(draft.text, draft.reply_to)
                else:
                    self.drafts.pop(place, None)
            case e.BookmarkChanged() as mark:
                if event.kind == "bookmark.added":
                    self.bookmarks[(mark.conversation, mark.seq)] = mark.note
                else:
                    self.bookmarks.pop((mark.conversation, mark.seq), None)
            case e.MessageHidden(conversation=conversation, seq=seq):
                room = self.rooms.get(conversation)
                if room is not None:
                    room.hide(seq)
            case e.DeviceChanged(device=device, name=name):
                if event.kind == "device.added":
                    self.devices[device] = name
                else:
                    self.devices.pop(device, None)
            case e.ScheduleChanged() as schedule:
                if event.kind == "schedule.created":
                    self.schedules[schedule.schedule] = Schedule(schedule.conversation, schedule.send_at)
                else:
                    self.schedules.pop(schedule.schedule, None)
            case _:
                pass

    def _blocked(self, user: str, *, blocked: bool) -> None:
        if blocked:
            self.blocks.add(user)
        else:
            self.blocks.discard(user)
        for room in self.rooms.values():
            if room.kind == "direct":
                if room.peer == user:
                    self.wants[Want("conversation", room.id)] = None
            elif blocked:
                room.hide_author(user)
            else:
                self.wants[Want("messages", room.id)] = None

    # --- out -------------------------------------------------------------------------------------

    @property
    def positions(self) -> Mapping[str, int]:
        """Log → last seq, for the next resume."""
        return {self.me.id: self.position, **{room.id: room.last_seq for room in self.rooms.values()}}

    def facts(self) -> dict[str, object]:
        """The durable part as plain values, to compare two states: all that events and a fetch both
        tell.  Presence, others' receipts and what is still wanted are left out."""
        return {
            "position": self.position,
            "me": msgspec.to_builtins(self.me),
            "settings": msgspec.to_builtins(self.settings),
            "conversations": {room.id: room.facts() for room in self.rooms.values()},
            "contacts": dict(self.contacts),
            "blocks": sorted(self.blocks),
            "drafts": {f"{c}/{t}": msgspec.to_builtins(d) for (c, t), d in self.drafts.items()},
            "bookmarks": {f"{c}/{s}": note for (c, s), note in self.bookmarks.items()},
            "schedules": {name: msgspec.to_builtins(s) for name, s in self.schedules.items()},
            "devices": dict(self.devices),
            "threads": {f"{c}/{t}": msgspec.to_builtins(p) for (c, t), p in self.threads.items()},
        }
