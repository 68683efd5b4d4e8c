"""The client: connects, stays connected, knows the state, sends what it was given.

async with await Client.sign_in("https://chat.example", "ada", "…", device="bot") as client:
    await client.connect()
    async for event in client.events():
        ...
"""

from __future__ import annotations

import asyncio
import logging
import random
import time
import uuid
from collections.abc import AsyncIterator, Awaitable, Callable, Iterable, Mapping
from functools import partial
from pathlib import Path
from types import TracebackType
from typing import Any, Literal, Self

import msgspec

from tertulia_client.backoff import Backoff
from tertulia_client.content import Content, Text
from tertulia_client.cursors import Cursors
from tertulia_client.events import CursorMoved, Event, MessageNew, UserUpdated
from tertulia_client.feed import (
    Connected,
    Disconnected,
    Feed,
    News,
    RoomGone,
    RoomLoaded,
    Stopped,
    Synchronised,
)
from tertulia_client.fetching import fetch_state
from tertulia_client.http import ApiError, BadAnswer, Http, SignedOut, Tokens, Unreachable, every
from tertulia_client.link import Ended, Link, WebSocketLink
from tertulia_client.logs import Delivered, LogLost, Logs, Skipped
from tertulia_client.models import Accepted, ConversationDoc, TokensDoc, UserDoc
from tertulia_client.outbox import DiskOutbox, Entry, MemoryOutbox, Outbox
from tertulia_client.protocol import (
    CaughtUp,
    Hello,
    Opened,
    Output,
    Reconnect,
    Refused,
    Resync,
    Signalled,
    Stop,
)
from tertulia_client.rest import Rest
from tertulia_client.rest_messages import plain
from tertulia_client.sending import Sender, Sent
from tertulia_client.sse import SseLink
from tertulia_client.state import State, Want

_log = logging.getLogger("tertulia_client")

MAX_BUFFERED = 10_000
MAX_WATCHED = 200
STEADY_S = 10.0
AGAIN_S = 0.2


class ClientStopped(Exception):
    """The client has given up or was closed; `signed_out`: the person must sign in again."""

    def __init__(self, why: str, *, signed_out: bool = False) -> None:
        super().__init__(why)
        self.signed_out = signed_out


class Options(msgspec.Struct, frozen=True, kw_only=True):
    """How a client behaves.

    `transport` auto: WebSocket, and server-sent events when two tries in a row were not let through.
    `auto_received`: tell the senders that their messages have arrived.  `queue`: entries that `events()`
    holds at most (see `Feed`).  `messages`: how many of each conversation to read at the start (0: only
    the last one).  `trust_env`: use the proxy that the environment names."""

    transport: Literal["auto", "websocket", "sse"] = "auto"
    auto_received: bool = True
    queue: int = 10_000
    messages: int = 0
    backoff: Backoff = Backoff()
    open_timeout_s: float = 15.0
    call_timeout_s: float = 30.0
    trust_env: bool = True


class Client:
    """One signed-in device.  Build it with `sign_in` or `with_tokens`; close it when done."""

    def __init__(
        self,
        http: Http,
        outbox: Outbox,
        options: Options,
        *,
        draw: Callable[[], float] = random.random,
        clock: Callable[[], float] = time.monotonic,
        new_id: Callable[[], str] = lambda: uuid.uuid4().hex,
    ) -> None:
        self.rest = Rest(http)
        self.options = options
        self.people: dict[str, UserDoc] = {}
        self._http = http
        self._outbox = outbox
        self._draw = draw
        self._clock = clock
        self._new_id = new_id
        self._state: State | None = None
        self._feed = Feed(options.queue)
        self._logs = Logs()
        self._watched: list[str] = []
        self._generation: str | None = None
        self._last_id = ""
        self._link: Link | None = None
        self._live = False
        self._refusals = 0
        self._own_head = 0
        self._ready = asyncio.Event()
        self._wanted = asyncio.Event()
        self._buffer: list[Event] | None = None
        self._stopped: Stopped | None = None
        self._tasks: list[asyncio.Task[None]] = []
        self._syncing: asyncio.Task[None] | None = None
        self._sender = Sender(
            outbox, self._call, self._can_call, self._feed, backoff=options.backoff, draw=draw, clock=clock
        )
        self._cursors = Cursors(self._call, self._can_call)

    # --- making one ------------------------------------------------------------------------------

    @classmethod
    async def sign_in(
        cls,
        url: str,
        login: str,
        password: str,
        *,
        device: str = "Python",
        outbox: Path | None = None,
        options: Options | None = None,
        on_tokens: Callable[[TokensDoc], None] | None = None,
    ) -> Client:
        """Sign a new device in.

        `outbox`: a file in which what is unsent survives (null: memory).  `on_tokens` is given every new
        pair of tokens, this first one included, to be stored.  Raises ApiError, Unreachable,
        OutboxInUse, OutboxOfOther."""
        options = options or Options()
        http = Http(url, trust_env=options.trust_env)
        try:
            tokens = await Rest(http).accounts.sign_in(login, password, device=device)
        finally:
            await http.close()
        if on_tokens is not None:
            on_tokens(tokens)
        return await cls.with_tokens(url, tokens, outbox=outbox, options=options, on_tokens=on_tokens)

    @classmethod
    async def with_tokens(
        cls,
        url: str,
        tokens: TokensDoc,
        *,
        outbox: Path | None = None,
        options: Options | None = None,
        on_tokens: Callable[[TokensDoc], None] | None = None,
    ) -> Client:
        """Go on with a device that was signed in before.  Needs no connection."""
        options = options or Options()
        store: Outbox = MemoryOutbox()
        if outbox is not None:
            store = await DiskOutbox.open(outbox, f"{url.rstrip('/')} {tokens.user}")
        http = Http(url, Tokens(tokens, on_change=on_tokens), trust_env=options.trust_env)
        return cls(http, store, options)

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        await self.close()

    # --- being connected -------------------------------------------------------------------------

    async def connect(self, *, wait: bool = True) -> None:
        """Start; from now on the client keeps itself connected.

        With `wait` it returns when the state is known and live.  Raises ClientStopped when the client
        gives up before.  Calling it again only waits."""
        if not self._tasks:
            work = (self._run(), self._sender.run(), self._cursors.run(), self._serve_wants())
            self._tasks = [asyncio.ensure_future(self._guarded(one)) for one in work]
        if wait:
            await self._ready.wait()
            if self._stopped is not None:
                raise ClientStopped(self._stopped.why, signed_out=self._stopped.signed_out)

    async def close(self, *, wait_s: float = 1.0) -> None:
        """Disconnect and end.

        A connected client first takes up to `wait_s` to send what it was given.  What is unsent then
        stays in a durable outbox, and is lost with one in memory."""
        if self._can_call() and self._stopped is None:
            try:
                async with asyncio.timeout(wait_s):
                    await self._cursors.flush()
                    await self._sender.idle()
            except (TimeoutError, Unreachable):
                pass
        self._stop("closed")
        tasks = [*self._tasks, *([self._syncing] if self._syncing is not None else [])]
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)
        await self._outbox.close()
        await self._http.close()

    @property
    def connected(self) -> bool:
        """Live: what happens is heard of as it happens."""
        return self._live

    @property
    def user(self) -> str:
        """One's own id."""
        tokens = self._http.tokens
        return tokens.doc.user if tokens is not None else ""

    @property
    def state(self) -> State:
        """What is known.  Raises ClientStopped before the first `connect` has come through."""
        if self._state is None:
            raise ClientStopped("not connected yet")
        return self._state

    async def events(self) -> AsyncIterator[News]:
        """Everything that happens, until the client stops; to be read by one task.

        `state` has an event in it already when it comes here.  A reader that is too slow gets `Lagged`."""
        while (news := await self._feed.get()) is not None:
            yield news

    # --- doing -----------------------------------------------------------------------------------

    async def send(
        self,
        conversation: str,
        content: str | Content,
        *,
        thread: int | None = None,
        reply_to: int | None = None,
        quote: tuple[int, str] | None = None,
    ) -> Sent:
        """Send a message; it is in the outbox when this returns, whatever the connection does.

        `quote`: the seq of a message and the passage that stands there.  Raises OutboxFull."""
        content = Text(text=content) if isinstance(content, str) else content
        command: dict[str, Any] = {
            "type": "message.send",
            "conversation": conversation,
            "content": plain(content),
        }
        optional = {
            "thread": thread,
            "reply_to": reply_to,
            "quote": {"seq": quote[0], "text": quote[1]} if quote is not None else None,
        }
        command |= {name: value for name, value in optional.items() if value is not None}
        return await self._sender.put(command, self._new_id(), conversation)

    async def unsent(self) -> int:
        """How many messages wait in the outbox."""
        return await self._outbox.count()

    async def waiting(self) -> list[Entry]:
        """What waits in the outbox, oldest first: of this run, and of earlier ones."""
        return await self._outbox.entries()

    async def call(self, command: str, **fields: Any) -> Accepted:
        """Carry out a command at once over the connection, by its name on the wire (`reaction.add`).

        Raises ApiError when it is refused, Unreachable when there is no connection or it broke before
        the answer.  With a `client_id` a repeat is safe."""
        return await self._call({"type": command, **fields})

    async def typing(self, conversation: str, *, composing: bool = True, thread: int | None = None) -> None:
        """Tell that one writes, or stopped; lost without a connection.  Raises ApiError."""
        fields: dict[str, Any] = {"conversation": conversation, "composing": composing}
        if thread is not None:
            fields["thread"] = thread
        try:
            await self.call("typing.set", **fields)
        except Unreachable:
            pass

    def mark_read(self, conversation: str, seq: int, *, thread: int | None = None) -> None:
        """Everything up to `seq` is read; the server is told as soon as it can be."""
        moved = CursorMoved(conversation=conversation, user=self.user, seq=seq, read=True, thread=thread or 0)
        if self._state is not None:
            self._state.signal(moved)
        self._cursors.read(conversation, thread or 0, seq)

    def watch(self, users: Iterable[str]) -> None:
        """Hear of the presence of these people from now on, in place of those before (200 at most).

        How they are comes at once, and again after every reconnection, as `Presence`.  Over server-sent
        events nobody is watched."""
        self._watched = list(dict.fromkeys(users))[:MAX_WATCHED]
        if isinstance(self._link, WebSocketLink) and self._link.ready:
            self._link.watch(self._watched)

    def mark_received(self, conversation: str, seq: int) -> None:
        """Everything up to `seq` has arrived (done by itself with `auto_received`)."""
        self._cursors.received(conversation, seq)

    async def load_messages(self, conversation: str, *, limit: int = 50) -> bool:
        """Fetch messages older than those that `state` holds.  False: there are no more."""
        room = self.state.rooms.get(conversation)
        before = room.since if room is not None and room.since else None
        page = await self.rest.messages.list(conversation, before=before, limit=limit)
        while not page.items and page.next_cursor is not None:
            # All of this page is hidden from us.
            page = await self.rest.messages.list(conversation, cursor=page.next_cursor, limit=limit)
        self.state.put_messages(conversation, page.items, whole=page.next_cursor is None)
        return page.next_cursor is not None

    async def load_thread(self, conversation: str, root: int) -> None:
        """Fetch the replies to a message into `state`."""
        replies = await every(lambda cursor: self.rest.messages.thread(conversation, root, cursor=cursor))
        self.state.put_messages(conversation, replies)

    async def load_members(self, conversation: str) -> None:
        """Fetch a conversation's members into `state`."""
        docs = await every(lambda cursor: self.rest.conversations.members(conversation, cursor))
        self.state.put_members(conversation, docs)

    async def load_pins(self, conversation: str) -> None:
        """Fetch a conversation's pinned messages into `state`."""
        docs = await every(lambda cursor: self.rest.messages.pins(conversation, cursor))
        self.state.put_messages(conversation, ())
        self.state.put_pins(conversation, docs)

    async def person(self, user: str) -> UserDoc:
        """Someone's profile, fetched once and again when it changed.  Raises ApiError `not_found`."""
        known = self.people.get(user)
        if known is None:
            known = self.people[user] = await self.rest.people.get(user)
        return known

    # --- the connection's life -------------------------------------------------------------------

    def _can_call(self) -> bool:
        return self._link is not None and self._link.ready

    async def _call(self, fields: Mapping[str, Any]) -> Accepted:
        link = self._link
        if link is None or not link.ready:
            raise Unreachable("not connected")
        return await link.call(fields)

    async def _guarded(self, work: Awaitable[None]) -> None:
        try:
            await work
        except SignedOut as error:
            self._stop(f"signed out: {error.detail}", signed_out=True)
        except Exception as error:
            _log.exception("the client failed")
            self._stop(f"failed: {error!r}")
            raise

    async def _run(self) -> None:
        attempt = 0
        while True:
            began = self._clock()
            ended = await self._connection()
            # One that is ended as soon as it stands must not come back at full speed.
            if ended.opened and self._clock() - began > STEADY_S:
                attempt = 0
            decision = ended.decision
            if isinstance(decision, Stop):
                self._stop(decision.why)
                return
            delay = self.options.backoff.delay(attempt, self._draw, decision.floor_s)
            attempt += 1
            self._feed.put(Disconnected(decision.why, delay))
            await asyncio.sleep(delay)

    async def _connection(self) -> Ended:
        try:
            await self._http.access_token()
            link = self._link = self._make_link()
            ended = await link.run()
            self._link, self._live = None, False
            tokens = self._http.tokens
            if tokens is not None and isinstance(ended.decision, Reconnect) and ended.decision.new_token:
                await self._http.access_token(instead_of=tokens.access)
            return self._considered(link, ended)
        except Unreachable as error:
            return Ended(decision=Reconnect(why=f"no connection: {error}"))
        except SignedOut:
            raise
        except ApiError as error:
            floor = error.retry_after or 1.0
            return Ended(decision=Reconnect(why=f"no token: {error.code}", floor_s=floor))
        finally:
            self._link, self._live = None, False

    def _make_link(self) -> Link:
        kind = self.options.transport
        if kind == "sse" or (kind == "auto" and self._refusals >= 2):
            return SseLink(
                self.rest,
                self._logs,
                self._generation,
                self._on,
                last_id=self._last_id,
                on_id=self._remember_id,
            )
        return WebSocketLink(
            self._http,
            self._logs,
            self._generation,
            self._on,
            clock=self._clock,
            open_timeout_s=self.options.open_timeout_s,
            call_timeout_s=self.options.call_timeout_s,
        )

    def _considered(self, link: Link, ended: Ended) -> Ended:
        """With `auto`, a WebSocket that does not come about is no reason to stop: the other way is tried,
        and after that the WebSocket again."""
        if self.options.transport != "auto":
            return ended
        if link.name == "sse" or ended.opened:
            self._refusals = 0
            return ended
        self._refusals += 1
        if isinstance(ended.decision, Stop) and ended.handshake:
            return Ended(decision=Reconnect(why=ended.decision.why))
        return ended

    def _remember_id(self, last_id: str) -> None:
        self._last_id = last_id

    def _stop(self, why: str, *, signed_out: bool = False) -> None:
        if self._stopped is None:
            self._stopped = Stopped(why, signed_out)
            self._feed.put(self._stopped)
            self._feed.close()
            self._ready.set()

    # --- what the connection says ----------------------------------------------------------------

    def _on(self, output: Output) -> None:
        match output:
            case Opened(hello=hello):
                self._opened(hello)
            case CaughtUp():
                self._caught_up()
            case Resync(generation=generation):
                self._generation = generation
                self._last_id = ""
                self._logs.adopt(self.user, self._own_head)
                self._start_sync(self._own_head)
            case Delivered(event=event):
                self._event(event)
            case Signalled(signal=signal):
                if isinstance(signal, UserUpdated):
                    self.people.pop(signal.user, None)
                if self._state is not None:
                    self._state.signal(signal)
                    self._wanted.set()
                self._feed.put(signal)
            case Skipped(log=log):
                if log == self.user or self._state is None:
                    self._start_sync(self._logs.positions.get(self.user, 0))
                else:
                    self._state.lost_track(log)
                    self._wanted.set()
            case LogLost(log=log):
                if self._state is not None and log != self.user:
                    self._state.forget(log)
                    self._drop_gone(self._state)
            case Refused():
                _log.warning("the server refused a frame: %s %s", output.code, output.detail)
            case _:
                pass

    def _opened(self, hello: Hello) -> None:
        own = next((head.seq for head in hello.heads if head.conversation == hello.user), 0)
        self._own_head = own
        if self._state is None and self._buffer is None:
            self._generation = hello.generation
            self._logs.adopt(hello.user, own)
            self._start_sync(own)
        elif self._state is not None:
            for head in hello.heads:
                if head.kind != "personal" and head.conversation not in self._state.rooms:
                    self._state.wants[Want("conversation", head.conversation)] = None
            self._state.missed_signals()
            self._wanted.set()

    def _caught_up(self) -> None:
        self._live = True
        if self._link is not None:
            self._feed.put(Connected(self._link.name))
        self._sender.connected()
        self._cursors.connected()
        if self._watched and isinstance(self._link, WebSocketLink):
            self._link.watch(self._watched)
        self._wanted.set()
        if self._state is not None:
            self._ready.set()

    def _event(self, event: Event) -> None:
        if self._buffer is not None:
            if len(self._buffer) >= MAX_BUFFERED:
                self._start_sync(self._logs.positions.get(self.user, 0))
            else:
                self._buffer.append(event)
        elif self._state is not None:
            self._state.apply(event)
            self._drop_gone(self._state)
            if self._state.wants:
                self._wanted.set()
        self._feed.put(event)
        if self.options.auto_received and isinstance(event.body, MessageNew) and event.user != self.user:
            self._cursors.received(event.conversation, event.seq)

    def _drop_gone(self, state: State) -> None:
        gone, state.gone = state.gone, []
        for conversation in gone:
            self._logs.forget(conversation)
            self._feed.put(RoomGone(conversation))

    # --- fetching --------------------------------------------------------------------------------

    def _start_sync(self, position: int) -> None:
        if self._syncing is not None:
            self._syncing.cancel()
        self._buffer = []
        self._syncing = asyncio.ensure_future(self._guarded(self._synchronise(position)))

    async def _synchronise(self, position: int) -> None:
        """Build the state anew.  Events that come meanwhile are kept and applied after it: those that the
        documents hold already are known by their seq."""
        attempt = 0
        while True:
            try:
                fetched = await fetch_state(self.rest, position, messages=self.options.messages)
                break
            except SignedOut:
                raise
            except (ApiError, Unreachable, BadAnswer) as error:
                floor = error.retry_after if isinstance(error, ApiError) else None
                _log.warning("the state could not be fetched: %s", error)
                await asyncio.sleep(self.options.backoff.delay(attempt, self._draw, floor or 0.0))
                attempt += 1
        state = State.from_fetch(fetched)
        kept, self._buffer = self._buffer or [], None
        for event in kept:
            state.apply(event)
        self._state = state
        if self._link is not None:
            for log, seq in state.positions.items():
                self._link.adopt(log, seq)
        self._feed.put(Synchronised())
        self._wanted.set()
        if self._live:
            self._ready.set()

    async def _serve_wants(self) -> None:
        while True:
            await self._wanted.wait()
            self._wanted.clear()
            failures = 0
            while self._state is not None and self._state.wants and self._live:
                want = next(iter(self._state.wants))
                try:
                    await self._serve(self._state, want)
                    failures = 0
                except SignedOut:
                    raise
                except (ApiError, Unreachable, BadAnswer) as error:
                    _log.warning("could not fetch %s %s: %s", want.kind, want.id, error)
                    await asyncio.sleep(self.options.backoff.delay(failures, self._draw))
                    failures += 1

    def _adopt(self, state: State, docs: list[ConversationDoc]) -> None:
        for doc in docs:
            room = state.rooms.get(doc.id)
            if room is not None and self._link is not None:
                self._link.adopt(doc.id, room.last_seq)
                self._feed.put(RoomLoaded(doc.id))

    async def _serve(self, state: State, want: Want) -> None:
        try:
            match want.kind:
                case "conversation":
                    new = want.id not in state.rooms
                    doc = await self.rest.conversations.get(want.id)
                    page = await self.rest.messages.list(want.id, limit=max(1, self.options.messages))
                    state.put_conversation(doc, page.items)
                    if want in state.wants:
                        # Of another moment than the events; those on their way will meet the next one.
                        await asyncio.sleep(AGAIN_S)
                    if new:
                        self._adopt(state, [doc])
                case "messages":
                    limit = max(50, self.options.messages)
                    page = await self.rest.messages.list(want.id, limit=limit)
                    state.put_messages(want.id, page.items, restart=True)
                case "topics":
                    topics = await every(partial(self.rest.conversations.topics, want.id))
                    state.put_topics(want.id, topics)
                    self._adopt(state, topics)
                case "places":
                    docs = await every(self.rest.conversations.list)
                    for channel in {room.parent for room in state.rooms.values() if room.parent}:
                        docs += await every(partial(self.rest.conversations.topics, channel))
                    state.put_places(docs)
                case "threads":
                    before = state.thread_changes
                    state.put_threads(await every(self.rest.me.threads))
                    if state.thread_changes != before:
                        state.wants[want] = None
                case "user":
                    self.people.pop(want.id, None)
                    state.put_user_seen(want.id)
        except ApiError as error:
            if error.code not in ("not_found", "forbidden"):
                raise
            state.wants.pop(want, None)
            if want.kind in ("conversation", "messages", "topics"):
                state.forget(want.id)
                self._drop_gone(state)
