"""`GET /v1/events`: the events of all of a person's logs as server-sent events (WHATWG HTML §9.2).

The stream is a session like any other: the same hub tells it the same events, encoded once for all streams,
with the same bound on what may wait.  Each `data` is a frame as on the WebSocket; `id` says where the reader
stands (see `trail`), and `Last-Event-ID` brings it up to date.
"""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import Awaitable, Callable
from typing import Any, Final

import msgspec
import structlog

from tertulia.application.core import Caller
from tertulia.application.sync import OwnHead
from tertulia.domain.errors import Refusal
from tertulia.domain.events import Event
from tertulia.domain.signals import Signal
from tertulia.protocols.common.frames import (
    Hello,
    Resumed,
    Resync,
    Truncated,
    event_frame,
    head_doc,
    void_frame,
)
from tertulia.protocols.rest.context import Call
from tertulia.protocols.rest.services import RestServices
from tertulia.protocols.rest.trail import Places, Trail, behind, read_id
from tertulia.sessions.hub import CLOSE_GOING_AWAY
from tertulia.sessions.opening import follow_all
from tertulia.sessions.session import Session

PROTOCOL: Final = "sse"
RETRY_MS: Final = 3000
REPLAY: Final = 500
"""Events of a log that are replayed; more are named by `truncated`."""

PAGE: Final = 100
ROOM_BYTES: Final = 65_536
"""A replay waits until less than this is waiting to be written."""

MANY_LOGS: Final = 16
ID_EVERY_S: Final = 1.0
"""With more logs than `MANY_LOGS` an id is long, and is sent no more often than this."""

CUT_OFF_S: Final = 1.0
"""A reader that has not taken the last event after this is cut off."""

TRANSPORT: Final = "tertulia.transport"
"""Where the server's transport is left in the scope, for cutting off a reader that takes nothing."""

_log = structlog.get_logger("tertulia.sse")
_encode = msgspec.json.Encoder().encode


def block(frame: Any) -> bytes:
    """A frame as one event of the stream.  JSON has no line ends of its own."""
    return b"data: " + _encode(frame) + b"\n\n"


class SseEncoder:
    """`sessions.Encoder` for this protocol; one for all streams."""

    def event(self, event: Event) -> bytes:
        """See `Encoder`."""
        return block(event_frame(event))

    def void(self, event: Event) -> bytes:
        """See `Encoder`."""
        return block(void_frame(event))

    def shared(self, frame: bytes) -> tuple[object, ...]:
        """As it is."""
        return (frame,)

    def signal(self, signal: Signal) -> bytes:
        """See `Encoder`."""
        # No space: `_with_id` tells by it what is of a log and what is not.  Readers take off one if there.
        return b"data:" + _encode(signal) + b"\n\n"


ENCODER: Final = SseEncoder()


class StreamEvent(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    """One event of the stream, by its fields.  `data` is a frame, in JSON."""

    data: str
    id: str = ""
    event: str = "message"
    retry: int = 0


class Closed(msgspec.Struct, frozen=True, kw_only=True):
    """The last event of a stream that the server ends; named `close` for those who listen by name."""

    type: str = "close"
    code: int
    reason: str


class _Seen(msgspec.Struct, frozen=True):
    conversation: str = ""
    seq: int = 0
    at: int = 0


_seen = msgspec.json.Decoder(_Seen).decode


class Stream:
    """One reader: the session's sink, and what brings its bytes out."""

    def __init__(self, call: Call, last_id: str) -> None:
        services = call.services
        self._services = services
        self._cursors = call.cursors
        self._last_id = last_id
        caller = msgspec.structs.replace(call.caller, session=services.ids.new_id())
        self._trail: Trail | None = None
        """None while the reader is brought up to date: an id would promise too much."""
        self._id_at = 0.0
        self._owes_id = False
        self._waiting: deque[bytes] = deque()
        self._size = 0
        self._wake = asyncio.Event()
        self._room = asyncio.Event()
        self._ended = False
        self._code = 0
        self._writing: asyncio.Future[None] | None = None
        self._transport: Any = None
        self.session = Session(caller, ENCODER, self, call.expires_at_ms)

    # --- the sink of the session -----------------------------------------------------------------

    def write(self, data: bytes) -> None:
        """Blocks as the hub joined them."""
        if self._ended:
            return
        if self._trail is not None:
            data = self._with_id(self._trail, data)
        self._put(data)

    def backlog(self) -> int:
        """See `Sink`."""
        return self._size

    def close(self, code: int, reason: str) -> None:
        """See `Sink`."""
        if self._ended:
            return
        self._ended = True
        self._code = code
        self._waiting.clear()
        self._size = 0
        self._put(b"event: close\n" + block(Closed(code=code, reason=reason)))
        self._room.set()
        asyncio.get_running_loop().call_later(CUT_OFF_S, self._cut_off)

    def _put(self, data: bytes) -> None:
        self._waiting.append(data)
        self._size += len(data)
        self._wake.set()

    # --- where the reader stands -------------------------------------------------------------------

    def _with_id(self, trail: Trail, data: bytes) -> bytes:
        """The blocks, with the id after them on the last one."""
        noted = False
        for one in data.split(b"\n\n"):
            if one.startswith(b"data: "):
                seen = _seen(one[6:])
                if seen.seq:
                    trail.note(seen.conversation, seen.seq, seen.at)
                    noted = True
        if not noted and not self._owes_id:
            return data
        now = self._services.clock.monotonic()
        if len(trail) > MANY_LOGS and now - self._id_at < ID_EVERY_S:
            self._owes_id = True
            return data
        self._id_at, self._owes_id = now, False
        start = data.rfind(b"\n\n", 0, -2)
        start = start + 2 if start >= 0 else 0
        return data[:start] + b"id: " + trail.id().encode() + b"\n" + data[start:]

    def _pay_id(self) -> None:
        if self._owes_id and self._trail is not None:
            self._id_at, self._owes_id = self._services.clock.monotonic(), False
            self._put(b"id: " + self._trail.id().encode() + b"\n\n")

    # --- as an ASGI application --------------------------------------------------------------------

    async def __call__(self, scope: Any, receive: Any, send: Any) -> None:
        services, session = self._services, self.session
        services.hub.hold(session)
        services.hub.attach(session)
        services.presence.opened(session.caller.user, session.id)
        self._transport = scope.get(TRANSPORT)
        try:
            heads = await self._opening()
            await send(
                {
                    "type": "http.response.start",
                    "status": 200,
                    "headers": [
                        (b"content-type", b"text/event-stream; charset=utf-8"),
                        (b"x-accel-buffering", b"no"),
                    ],
                }
            )
            await self._run(heads, receive, send)
        finally:
            self._ended = True
            services.hub.detach(session)
            services.meter.closed(PROTOCOL, self._code)
            if services.presence.closed(session.caller.user, session.id, services.clock.now_ms()):
                asyncio.ensure_future(services.seen(session.caller))  # noqa: RUF006 - bounded by sessions

    async def _run(self, heads: list[OwnHead], receive: Any, send: Any) -> None:
        self._put(b"retry: %d\n\n" % RETRY_MS)
        self._writing = asyncio.ensure_future(self._write_out(send))
        leaving = asyncio.ensure_future(_until_gone(receive))
        opening = asyncio.ensure_future(self._open(heads))
        opening.add_done_callback(self._opened)
        try:
            # Until the reader has gone, or was told why it has to go.
            await asyncio.wait({self._writing, leaving}, return_when=asyncio.FIRST_COMPLETED)
        finally:
            tasks = (self._writing, leaving, opening)
            for task in tasks:
                task.cancel()
            await asyncio.gather(*tasks, return_exceptions=True)

    def _opened(self, opening: asyncio.Future[None]) -> None:
        error = opening.exception() if not opening.cancelled() else None
        if error is None:
            return
        if not isinstance(error, Refusal):
            _log.error("sse.failed", exc_info=error)
        self._services.hub.close(self.session, CLOSE_GOING_AWAY, "reconnect: the server could not go on")

    def _cut_off(self) -> None:
        """It takes nothing, not even the last word; closing would wait until it does."""
        if self._writing is not None and not self._writing.done():
            self._writing.cancel()
            if self._transport is not None:
                self._transport.abort()

    async def _write_out(self, send: Callable[[Any], Awaitable[None]]) -> None:
        beat = min(self._services.heartbeat_s, 25.0)
        while True:
            while self._waiting:
                data = b"".join(self._waiting)
                self._waiting.clear()
                # While it is being sent it waits as well: `send` returns when there is room again.
                await send({"type": "http.response.body", "body": data, "more_body": True})
                self._size = max(0, self._size - len(data))
                if self._size < ROOM_BYTES:
                    self._room.set()
            if self._ended:
                await send({"type": "http.response.body", "body": b""})
                return
            self._wake.clear()
            try:
                async with asyncio.timeout(ID_EVERY_S if self._owes_id else beat):
                    await self._wake.wait()
            except TimeoutError:
                if self._owes_id:
                    self._pay_id()
                else:
                    self._put(b":\n\n")

    # --- opening -------------------------------------------------------------------------------------

    async def _opening(self) -> list[OwnHead]:
        """Follow the rooms; where all logs stand, read after that.  Raises Refusal."""
        return await follow_all(self._services.sync, self._services.hub, self.session)

    async def _open(self, heads: list[OwnHead]) -> None:
        services, session = self._services, self.session
        caller, generation = session.caller, services.sync.generation
        hello = _hello(services, caller, session.expires_at_ms, heads)
        places = read_id(self._cursors, caller.user, self._last_id) if self._last_id else None
        trail = Trail(self._cursors, caller.user, generation)
        trail.begin(heads)
        if places is not None and places.generation == generation:
            self._say(hello)
            await self._replay(places, heads)
            services.hub.write(session)
            last: Any = Resumed()
        elif self._last_id:
            self._say(hello)
            last = Resync(generation=generation)
        else:
            last = hello
        # The first id goes with the last of these: from there on nothing is missing.
        self._trail, self._owes_id = trail, True
        self._say(last)
        services.hub.write(session)
        services.hub.release(session, {head.log: head.last_seq for head in heads})

    async def _replay(self, places: Places, heads: list[OwnHead]) -> None:
        held, missed = behind(places, heads)
        for head in missed:
            self._say(Truncated(conversation=head.log, from_=1, to=head.last_seq))
        for head in heads:
            seq = held.get(head.log, head.last_seq)
            if seq >= head.last_seq:
                continue
            try:
                await self._replay_log(head, seq)
            except Refusal as refusal:
                if refusal.code != "not_found":
                    raise

    async def _replay_log(self, head: OwnHead, seq: int) -> None:
        """What follows `seq` up to the head, no faster than the reader takes it."""
        if head.last_seq - seq > REPLAY:
            self._say(Truncated(conversation=head.log, from_=seq + 1, to=head.last_seq))
            return
        session = self.session
        while seq < head.last_seq and not self._ended:
            limit = min(PAGE, head.last_seq - seq)
            events = await self._services.sync.events(session.caller, head.log, seq, limit)
            if not events:
                return
            for event in events:
                self._services.hub.send(session, session.encoder.event(event))
            seq = events[-1].seq
            self._services.hub.write(session)
            while self._size >= ROOM_BYTES and not self._ended:
                self._room.clear()
                await self._room.wait()

    def _say(self, frame: Any) -> None:
        self._services.hub.send(self.session, block(frame))


def _hello(services: RestServices, caller: Caller, expires_at_ms: int, heads: list[OwnHead]) -> Hello:
    return Hello(
        session=caller.session,
        tenant=caller.tenant,
        user=caller.user,
        device=caller.device,
        generation=services.sync.generation,
        at=services.clock.now_ms(),
        expires_at=expires_at_ms,
        heartbeat_ms=int(services.heartbeat_s * 1000),
        limits={"replay": REPLAY},
        heads=[head_doc(head) for head in heads],
    )


async def _until_gone(receive: Callable[[], Awaitable[Any]]) -> None:
    while (await receive())["type"] != "http.disconnect":
        pass


def open_stream(call: Call, last_id: str) -> Stream:
    """A stream for the caller, not running yet.

    Raises Refusal `unavailable` when the server is full, `limit_reached` for one more session of a user who
    has too many."""
    services = call.services
    if len(services.hub.sessions) >= services.max_sessions:
        raise Refusal("unavailable", "The server is full.", retry_after_ms=5000)
    if len(services.hub.sessions_of(call.caller.user)) >= services.sessions_per_user:
        raise Refusal("limit_reached", "Too many sessions of this user.")
    return Stream(call, last_id)
