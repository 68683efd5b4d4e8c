"""One WebSocket connection: frames in, commands carried out in order, answers out.

The bytes of RFC 6455 are picows' part; here is what a connection may say and when.  Commands of one
connection begin in the order they came.  A plain message for which everything is at hand is appended
without waiting for those before it to be on disk, so that a sender may have many under way.
"""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import Awaitable, Callable
from functools import partial
from typing import Protocol

import msgspec
import structlog
from picows import WSCloseCode, WSFrame, WSListener, WSMsgType, WSTransport

from tertulia.application.core import Caller
from tertulia.application.messages import Messages
from tertulia.application.presence import Presence, Shown
from tertulia.application.registry import Registry
from tertulia.application.sync import Sync
from tertulia.domain.commands import Accepted, Command, SendMessage
from tertulia.domain.errors import Refusal
from tertulia.domain.signals import Signal
from tertulia.domain.unit import Committed
from tertulia.ports.clock import Clock
from tertulia.ports.ids import Ids
from tertulia.ports.metrics import Meter, NoMeter
from tertulia.protocols.common.frames import head_doc
from tertulia.protocols.ws import codec
from tertulia.protocols.ws.codec import encode
from tertulia.sessions.hub import CLOSE_TOO_SLOW, Hub
from tertulia.sessions.opening import follow_all
from tertulia.sessions.session import Session

PROTOCOL = "websocket"

CLOSE_SIGN_IN = 4000
CLOSE_TOKEN = 4001
CLOSE_HEARTBEAT = 4005
CLOSE_TOO_MANY = 4006
CLOSE_RATE = 4007
CLOSE_FULL = 4029

_log = structlog.get_logger("tertulia.ws")

_PING = b"\x89\x00"
"""An empty ping frame (RFC 6455 §5.5.2)."""

CLOSE_WAIT_S = 1.0
"""How long the other side has to agree to the end before it is cut off (RFC 6455 §7.1.1)."""

UNSIGNED_BYTES = 65_536
"""What may wait for a reader that has not signed in, and how far a replay goes ahead of its reader."""

LIMITED_MAX = 256
"""Frames in a row that were beyond a limit, after which the connection ends."""

PAGE = 100
"""Events that are read at once to bring a session up to date."""


class Authenticate(Protocol):
    """From an access token to who it is and until when (Unix ms).  Raises Refusal."""

    async def __call__(self, token: str) -> tuple[Caller, int]: ...


class Limits(msgspec.Struct, frozen=True, kw_only=True):
    """Bounds of this edge.  What happens beyond each is said by the close code."""

    frame_bytes: int = 262_144
    sign_in_s: float = 10.0
    heartbeat_s: float = 30.0
    sessions: int = 100_000
    sessions_per_user: int = 64
    commands_in_flight: int = 256
    replay: int = 500


class Services(msgspec.Struct, frozen=True, kw_only=True):
    """What a connection needs of the program."""

    authenticate: Authenticate
    registry: Registry
    messages: Messages
    sync: Sync
    hub: Hub
    presence: Presence
    clock: Clock
    ids: Ids
    limits: Limits
    admit: Callable[[Caller, str], Refusal | None]
    """The rate limit: (caller, command type) → the refusal, or None."""
    seen: Callable[[Caller], Awaitable[None]]
    """Called when a user's last session has ended."""
    connections: dict[Connection, None]
    encoder: codec.WsEncoder
    meter: Meter = NoMeter()


class Connection(WSListener):
    """The listener of one connection, and the session's sink once it is signed in."""

    __slots__ = (
        "busy",
        "close_code",
        "draining",
        "ended",
        "fragments",
        "heard_at",
        "in_flight",
        "limited",
        "opened_at",
        "pinged",
        "room",
        "services",
        "session",
        "token",
        "transport",
        "waiting",
    )

    def __init__(self, services: Services, token: str | None) -> None:
        """`token`: from the upgrade request's Authorization header."""
        super().__init__()
        self.services = services
        self.token = token
        self.transport: WSTransport | None = None
        self.session: Session | None = None
        self.fragments: bytearray | None = None
        self.waiting: deque[codec.Incoming] | None = None
        self.busy: asyncio.Task[None] | None = None
        self.in_flight = 0
        self.close_code = 0
        self.draining = False
        self.ended = False
        self.limited = 0
        self.room: asyncio.Future[None] | None = None
        self.opened_at = self.heard_at = services.clock.monotonic()
        self.pinged = False

    # --- picows ----------------------------------------------------------------------------------

    def on_ws_connected(self, transport: WSTransport) -> None:
        self.transport = transport
        services = self.services
        if len(services.connections) >= services.limits.sessions:
            self.close(CLOSE_FULL, "reconnect: this server is full")
            return
        services.connections[self] = None
        if self.token is not None:
            self._enqueue(codec.SignIn(token=self.token))
            self.token = None

    def on_ws_disconnected(self, transport: WSTransport) -> None:
        self.ended = True
        self.services.connections.pop(self, None)
        self.services.meter.closed(PROTOCOL, self.close_code)
        self.waiting = None
        if self.busy is not None:
            self.busy.cancel()
        self.resume_writing()
        session, self.session = self.session, None
        if session is not None:
            self.services.hub.detach(session)
            self._offline(session)
        self.transport = None

    def on_ws_frame(self, transport: WSTransport, frame: WSFrame) -> None:
        kind = frame.msg_type
        if self.ended or transport.is_close_frame_sent:
            # picows ends a connection with is_close_frame_sent; what it parses after that counts no more.
            if kind == WSMsgType.CLOSE:
                transport.disconnect()
            return
        self.heard_at = self.services.clock.monotonic()
        self.pinged = False
        if frame.rsv1 or frame.rsv2 or frame.rsv3:
            self.close(1002, "stop: no extension was agreed on")
        elif kind == WSMsgType.TEXT:
            if self.fragments is not None:
                self.close(1002, "stop: a message began before the last one ended")
            elif frame.fin:
                self._message(frame.get_payload_as_bytes())
            else:
                self.fragments = bytearray(frame.get_payload_as_bytes())
        elif kind == WSMsgType.CONTINUATION:
            self._continuation(frame)
        elif kind == WSMsgType.CLOSE:
            self.ended = True
            if self.session is not None:
                self.services.hub.write(self.session)
                self.services.hub.detach(self.session)
            transport.send_close(WSCloseCode.OK)
            transport.disconnect()
        elif kind == WSMsgType.PING:
            payload = frame.get_payload_as_bytes()
            self._write_bounded(bytes((0x8A, len(payload))) + payload)
        elif kind == WSMsgType.BINARY:
            self.close(1003, "stop: frames are text")

    def pause_writing(self) -> None:
        """More waits than the network takes: what is being replayed waits too."""
        if self.session is not None:
            self.session.congested = True
        if self.room is None and not self.ended:
            self.room = asyncio.get_running_loop().create_future()

    def resume_writing(self) -> None:
        """See `pause_writing`."""
        if self.session is not None:
            self.session.congested = False
        room, self.room = self.room, None
        if room is not None and not room.done():
            room.set_result(None)

    # --- the sink of a session -------------------------------------------------------------------

    def write(self, data: bytes) -> None:
        """Raw frames, header included."""
        if self.transport is not None and not self.ended:
            self.transport.underlying_transport.write(data)

    def backlog(self) -> int:
        return 0 if self.transport is None else self.transport.underlying_transport.get_write_buffer_size()

    def close(self, code: int, reason: str) -> None:
        """Send the close frame, after the answers that are ready, and wait a moment for the other side's:
        bytes that it is sending meanwhile would otherwise make the network drop ours."""
        transport = self.transport
        self.waiting = None
        if transport is None or transport.is_disconnected or self.ended:
            return
        ready = b""
        if self.session is not None:
            ready = b"".join(self.session.out)
            self.services.hub.detach(self.session)
        self.ended = True
        self.close_code = code
        self.fragments = None
        text = reason.encode()[:123]
        payload = code.to_bytes(2, "big") + text
        underlying = transport.underlying_transport
        underlying.write(ready + bytes((0x88, len(payload))) + payload)
        asyncio.get_running_loop().call_later(CLOSE_WAIT_S, underlying.abort)

    def _write_bounded(self, data: bytes) -> None:
        """Write to someone whose backlog nobody else looks at."""
        limit = UNSIGNED_BYTES if self.session is None else self.services.hub.outbox_bytes
        if self.backlog() > limit:
            self.close(CLOSE_TOO_SLOW, "reconnect: this reader is too slow")
        else:
            self.write(data)

    def drain(self) -> bool:
        """Take no more; whether all that was taken has its answer."""
        self.draining = True
        return not self.in_flight and self.busy is None

    # --- upkeep, called every few seconds --------------------------------------------------------

    def tend(self, now: float) -> None:
        """Ping a quiet connection, end a dead one and one that does not sign in."""
        limits = self.services.limits
        if self.session is None and self.busy is None and now - self.opened_at > limits.sign_in_s:
            self.close(CLOSE_SIGN_IN, "reconnect: sign in first")
        elif now - self.heard_at > 2 * limits.heartbeat_s:
            self.close(CLOSE_HEARTBEAT, "reconnect: nothing was heard")
        elif now - self.heard_at > limits.heartbeat_s and not self.pinged:
            self.pinged = True
            self.write(_PING)

    # --- frames ----------------------------------------------------------------------------------

    def _continuation(self, frame: WSFrame) -> None:
        parts = self.fragments
        if parts is None:
            self.close(1002, "stop: nothing to continue")
            return
        parts += frame.get_payload_as_bytes()
        if len(parts) > self.services.limits.frame_bytes:
            self.fragments = None
            self.close(1009, "stop: the message is too big")
        elif frame.fin:
            self.fragments = None
            self._message(bytes(parts))

    def _message(self, data: bytes) -> None:
        if self.draining:
            # Unanswered, so that the client sends it again where it goes next.
            return
        try:
            frame = codec.decode(data)
        except codec.Malformed as malformed:
            self._malformed(malformed)
            return
        if (
            type(frame) is SendMessage
            and self.busy is None
            and self.session is not None
            and self._send_now(self.session, frame)
        ):
            return
        self._enqueue(frame)

    def _malformed(self, malformed: codec.Malformed) -> None:
        if malformed.close_code:
            self.close(malformed.close_code, f"stop: {malformed.detail}")
            return
        self._refuse(Refusal("malformed", malformed.detail, field=malformed.field), malformed.ref)
        if self.session is None:
            self.close(CLOSE_SIGN_IN, "stop: sign in first")
        elif self.services.admit(self.session.caller, "malformed") is not None:
            self._limited()

    def _limited(self) -> None:
        """Once more than the limit allows; who does not slow down is sent away."""
        self.limited += 1
        if self.limited > LIMITED_MAX:
            self.close(CLOSE_RATE, "reconnect: later, and slower")

    def _send_now(self, session: Session, command: SendMessage) -> bool:
        services = self.services
        if self.in_flight >= services.limits.commands_in_flight:
            return False
        caller = session.caller
        refusal = services.admit(caller, "message.send")
        if refusal is not None:
            self._refuse(refusal, command.ref)
            self._limited()
            return True
        self.limited = 0
        try:
            future = services.messages.send_now(caller, command)
        except Refusal as why:
            self._refuse(why, command.ref)
            return True
        if future is None:
            return False
        self.in_flight += 1
        future.add_done_callback(lambda done: self._sent(session, command, done))
        return True

    def _sent(self, session: Session, command: SendMessage, done: asyncio.Future[Committed]) -> None:
        self.in_flight -= 1
        error = done.exception() if not done.cancelled() else None
        if error is None and not done.cancelled():
            committed = done.result()
            event = committed.events[0]
            result = Accepted(conversation=event.log, seq=event.seq, at=event.at, repeated=committed.repeated)
            self.services.hub.send(session, encode(codec.Ack(ref=command.ref, result=result)))
        elif isinstance(error, Refusal) and error.code == "stale":
            self._enqueue(command)
        else:
            self._refuse(_as_refusal(error), command.ref)

    def _enqueue(self, frame: codec.Incoming) -> None:
        if self.waiting is None:
            self.waiting = deque()
        if len(self.waiting) >= self.services.limits.commands_in_flight:
            refusal = Refusal("rate_limited", "Too many commands are under way.", retry_after_ms=100)
            self._refuse(refusal, frame.ref)
            self._limited()
            return
        self.waiting.append(frame)
        if self.busy is None:
            self.busy = asyncio.get_running_loop().create_task(self._work())

    async def _work(self) -> None:
        try:
            while self.waiting:
                frame = self.waiting.popleft()
                try:
                    await self._handle(frame)
                except Refusal as refusal:
                    self._refuse(refusal, frame.ref)
                    if isinstance(frame, codec.SignIn | codec.Refresh):
                        self._refused_token(refusal)
                except Exception as error:  # noqa: BLE001 - one frame's fault ends no connection
                    _log.error("ws.failed", frame=type(frame).__name__, exc_info=error)
                    self._refuse(_as_refusal(error), frame.ref)
        finally:
            self.busy = None
            if not self.waiting:
                self.waiting = None

    async def _handle(self, frame: codec.Incoming) -> None:
        if isinstance(frame, codec.SignIn):
            await self._sign_in(frame)
            return
        session = self.session
        if session is None:
            self.close(CLOSE_SIGN_IN, "reconnect: sign in first")
            return
        refusal = self.services.admit(session.caller, str(frame.__struct_config__.tag))
        if refusal is not None:
            self._limited()
            raise refusal
        self.limited = 0
        if isinstance(frame, Command):
            accepted = await self.services.registry.dispatch(session.caller, frame)
            self._answer(encode(codec.Ack(ref=frame.ref, result=accepted)))
            return
        match frame:
            case codec.Ping():
                pong = codec.Pong(ref=frame.ref, at=self.services.clock.now_ms())
                self._answer(encode(pong))
            case codec.Resume():
                self.services.hub.hold(session)
                try:
                    await self._replay(session, frame.positions, frame.generation, {})
                finally:
                    if session.held is not None:
                        self.services.hub.release(session, {})
            case codec.EventsRead():
                await self._events(session, frame)
            case codec.Refresh():
                await self._refresh(session, frame)
            case codec.PresenceWatch():
                shown = await self.services.presence.watch(session.caller, session.id, frame.users)
                for one in shown:
                    self._answer(session.encoder.signal(presence_signal(one)))
                self._answer(encode(codec.Done(ref=frame.ref)))
            case _:
                raise Refusal("unsupported", "No such frame.")

    # --- signing in ------------------------------------------------------------------------------

    async def _sign_in(self, frame: codec.SignIn) -> None:
        services = self.services
        if self.session is not None:
            raise Refusal("conflict", "This connection is signed in.")
        who, expires_at = await services.authenticate(frame.token)
        if len(services.hub.sessions_of(who.user)) >= services.limits.sessions_per_user:
            self.close(CLOSE_TOO_MANY, "stop: too many sessions of this user")
            return
        caller = msgspec.structs.replace(who, session=services.ids.new_id())
        session = Session(caller, services.encoder, self, expires_at)
        if self.transport is not None:
            # Straight to the socket: this runs once for each reader of each event.
            session.write = self.transport.underlying_transport.write
            if self.transport.is_secure:
                # Under TLS the loop would say only at 512 KiB that the reader does not keep up.
                self.transport.underlying_transport.set_write_buffer_limits(high=UNSIGNED_BYTES)
            session.write_shared = partial(self.transport.send_reuse_external_bytearray, WSMsgType.TEXT)
            session.congested = self.room is not None
        self.session = session
        services.hub.hold(session)
        services.hub.attach(session)
        services.presence.opened(caller.user, session.id)
        try:
            await self._open(session, frame)
        except Exception:
            # Not half signed in: the client may try again.
            if self.session is session:
                self.session = None
                services.hub.detach(session)
                self._offline(session)
            raise

    async def _open(self, session: Session, frame: codec.SignIn) -> None:
        services = self.services
        caller = session.caller
        heads = await follow_all(services.sync, services.hub, session)
        hello = codec.Hello(
            session=session.id,
            tenant=caller.tenant,
            user=caller.user,
            device=caller.device,
            generation=services.sync.generation,
            at=services.clock.now_ms(),
            expires_at=session.expires_at_ms,
            heartbeat_ms=int(services.limits.heartbeat_s * 1000),
            limits={"frame_bytes": services.limits.frame_bytes, "replay": services.limits.replay},
            heads=[head_doc(head) for head in heads],
        )
        self._answer(encode(hello))
        covered = {head.log: head.last_seq for head in heads}
        if frame.positions is not None:
            await self._replay(session, frame.positions, frame.generation, covered)
        else:
            services.hub.release(session, covered)

    async def _replay(
        self,
        session: Session,
        positions: dict[str, int],
        generation: str | None,
        covered: dict[str, int],
    ) -> None:
        services = self.services
        if generation is not None and generation != services.sync.generation:
            self._answer(encode(codec.Resync(generation=services.sync.generation)))
            services.hub.release(session, covered)
            return
        sent = dict(covered)
        for log, position in positions.items():
            last = covered.get(log)
            if last is not None and position >= last:
                continue
            try:
                if last is None:
                    last = await services.sync.head(session.caller, log)
                await self._replay_log(session, log, position, last)
            except Refusal as refusal:
                if refusal.code != "not_found":
                    raise
                # Not theirs to read (any more): it is not among the heads either.
                continue
            sent[log] = last
        self._answer(encode(codec.Resumed()))
        services.hub.release(session, sent)

    async def _replay_log(self, session: Session, log: str, position: int, last: int) -> None:
        """What follows `position` up to `last`, no faster than the reader takes it."""
        if last - position > self.services.limits.replay:
            gap = codec.Truncated(conversation=log, from_=position + 1, to=last)
            self._answer(encode(gap))
            return
        while position < last and not self.ended:
            events = await self.services.sync.events(
                session.caller, log, position, min(PAGE, last - position)
            )
            if not events:
                return
            size = 0
            for event in events:
                data = encode(codec.event_frame(event))
                self._answer(data)
                size += len(data)
                if size > UNSIGNED_BYTES:
                    size = 0
                    await self._room(session)
            position = events[-1].seq
            if self.room is not None:
                await self._room(session)

    async def _room(self, session: Session) -> None:
        self.services.hub.write(session)
        if self.room is not None:
            await asyncio.shield(self.room)

    async def _events(self, session: Session, frame: codec.EventsRead) -> None:
        page: list[msgspec.Raw] = []
        size, after, more = 0, frame.after, True
        while more and len(page) < frame.limit:
            wanted = min(PAGE, frame.limit - len(page))
            events = await self.services.sync.events(session.caller, frame.conversation, after, wanted + 1)
            more = len(events) > wanted
            for event in events[:wanted]:
                data = codec.payload(codec.event_frame(event))
                size += len(data)
                if page and size > self.services.hub.outbox_bytes // 4:
                    more = True
                    break
                page.append(msgspec.Raw(data))
                after = event.seq
            else:
                continue
            break
        answer = codec.EventsFrame(ref=frame.ref, conversation=frame.conversation, events=page, more=more)
        self._answer(encode(answer))

    async def _refresh(self, session: Session, frame: codec.Refresh) -> None:
        who, expires_at = await self.services.authenticate(frame.token)
        caller = session.caller
        if (who.tenant, who.user, who.device) != (caller.tenant, caller.user, caller.device):
            raise Refusal("unauthenticated", "The token is of another device.")
        session.expires_at_ms = expires_at
        self._answer(encode(codec.Done(ref=frame.ref)))

    def _refused_token(self, refusal: Refusal) -> None:
        if refusal.code in ("unauthenticated", "token_expired"):
            self.close(CLOSE_TOKEN, "reconnect: with a new token")

    def _refuse(self, refusal: Refusal, ref: str | None) -> None:
        self.services.meter.refused(PROTOCOL, refusal.code)
        self._answer(encode(codec.error_frame(refusal, ref)))

    def _answer(self, data: bytes) -> None:
        if self.session is not None:
            self.services.hub.send(self.session, data)
        else:
            self._write_bounded(data)

    def _offline(self, session: Session) -> None:
        services = self.services
        if services.presence.closed(session.caller.user, session.id, services.clock.now_ms()):
            asyncio.ensure_future(services.seen(session.caller))  # noqa: RUF006 - bounded by sessions


def presence_signal(shown: Shown) -> Signal:
    """Presence as the wire tells it."""
    return Signal(type="presence", user=shown.user, state=shown.state, last_seen=shown.last_seen)


def _as_refusal(error: BaseException | None) -> Refusal:
    return error if isinstance(error, Refusal) else Refusal("internal", "The server failed; try again.")
