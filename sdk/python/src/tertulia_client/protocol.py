"""The WebSocket session as a state machine without I/O.

Frames and the time go in, `Output`s come out; whoever owns the socket writes the `Write`s, hands on the
rest, and asks `after_close` what to do when the connection ends.  The wire is that of `/v1/ws`: JSON
objects, one a text frame, `type` first.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Literal

import msgspec

from tertulia_client.events import SIGNALS, Event, Signal, decode_event, decode_signal
from tertulia_client.logs import Delivered, LogLost, LogOutput, Logs, Read, Skipped
from tertulia_client.models import Accepted
from tertulia_client.wire import decode

__all__ = [
    "Answered",
    "CaughtUp",
    "Delivered",
    "HangUp",
    "HeadDoc",
    "Hello",
    "LogLost",
    "NeedToken",
    "Opened",
    "Output",
    "Reconnect",
    "Refused",
    "Resync",
    "Session",
    "Signalled",
    "Skipped",
    "Stop",
    "Write",
    "after_close",
    "after_refusal",
]


class HeadDoc(msgspec.Struct, frozen=True, kw_only=True):
    """Where a log stands on the server."""

    conversation: str
    kind: Literal["direct", "group", "channel", "topic", "personal"] = "group"
    seq: int
    updated_at: int = 0


class Hello(msgspec.Struct, frozen=True, kw_only=True):
    """The server's first frame.  `at` and `expires_at` (of the access token) are its time in Unix ms."""

    session: str
    user: str
    generation: str
    device: str = ""
    tenant: str = ""
    at: int = 0
    expires_at: int = 0
    heartbeat_ms: int = 30_000
    limits: dict[str, int] = {}
    heads: list[HeadDoc] = []


# --- what comes out --------------------------------------------------------------------------------


class Write(msgspec.Struct, frozen=True):
    """Send this as one text frame."""

    data: bytes


class Opened(msgspec.Struct, frozen=True):
    """Signed in.  `unknown` are the heads of logs that this client holds nothing of."""

    hello: Hello
    unknown: tuple[HeadDoc, ...]


class CaughtUp(msgspec.Struct, frozen=True):
    """The replay is over; what follows is live."""


class Resync(msgspec.Struct, frozen=True):
    """The server's log was restored or moved: everything must be fetched anew."""

    generation: str


class Signalled(msgspec.Struct, frozen=True):
    """Something ephemeral."""

    signal: Signal


class Answered(msgspec.Struct, frozen=True):
    """A command was carried out, durably."""

    ref: str
    result: Accepted


class Refused(msgspec.Struct, frozen=True, kw_only=True):
    """A command changed nothing.  `ref` null: the server could not tell which frame it disliked."""

    ref: str | None
    code: str
    detail: str
    field: str | None = None
    retry_after_ms: int | None = None


class NeedToken(msgspec.Struct, frozen=True):
    """The access token runs out soon: hand a new one to `Session.refresh`."""


class HangUp(msgspec.Struct, frozen=True):
    """Close the connection with this code; `after_close` says what then."""

    code: int
    reason: str


Output = (
    Write
    | Opened
    | CaughtUp
    | Resync
    | Delivered
    | Skipped
    | LogLost
    | Signalled
    | Answered
    | Refused
    | NeedToken
    | HangUp
)

# --- frames ----------------------------------------------------------------------------------------


class _Named(msgspec.Struct, frozen=True, kw_only=True):
    type: str = ""
    ref: str | None = None
    body: msgspec.Raw = msgspec.Raw()


class _Ack(msgspec.Struct, frozen=True, kw_only=True):
    ref: str = ""
    result: Accepted = Accepted()


class _Error(msgspec.Struct, frozen=True, kw_only=True):
    ref: str | None = None
    code: str = "internal"
    detail: str = ""
    field: str | None = None
    retry_after_ms: int | None = None


class _Events(msgspec.Struct, frozen=True, kw_only=True):
    ref: str = ""
    conversation: str
    events: list[msgspec.Raw]
    more: bool = False


class _Truncated(msgspec.Struct, frozen=True, kw_only=True):
    conversation: str
    to: int


class _Resync(msgspec.Struct, frozen=True, kw_only=True):
    generation: str


_encode = msgspec.json.Encoder().encode
_PING, _TOKEN = "~ping", "~token"


class Session:
    """One connection's life; make a new one for each, over the same `Logs`.

    Times are seconds of one monotonic clock.  A connection on which nothing was heard for
    `silence_factor` heartbeats is given up; a ping goes out when nothing was sent or heard for half a
    heartbeat.
    """

    def __init__(
        self,
        logs: Logs,
        *,
        generation: str | None = None,
        sign_in_timeout_s: float = 15.0,
        silence_factor: float = 2.0,
    ) -> None:
        self._logs = logs
        self._generation = generation
        self._phase: Literal["new", "opening", "replaying", "live", "closed"] = "new"
        self._sign_in_timeout_s = sign_in_timeout_s
        self._silence_factor = silence_factor
        self._heartbeat_s = 30.0
        self._opened_at = self._heard_at = self._sent_at = 0.0
        self._refresh_at: float | None = None
        self._retry_at: float | None = None
        self._reads: dict[str, str] = {}
        self._outstanding: set[str] = set()
        self._count = 0

    @property
    def live(self) -> bool:
        """Signed in and caught up."""
        return self._phase == "live"

    @property
    def signed_in(self) -> bool:
        """Commands may be sent."""
        return self._phase in ("replaying", "live")

    @property
    def generation(self) -> str | None:
        """The generation that the positions belong to."""
        return self._generation

    def open(self, token: str, now: float) -> list[Output]:
        """The connection stands: the first frame, with the positions if there are any to speak of."""
        assert self._phase == "new"
        self._phase = "opening"
        self._opened_at = self._heard_at = self._sent_at = now
        self._logs.connected()
        self._logs.paused = True
        frame: dict[str, Any] = {"type": "sign_in", "token": token}
        if self._generation is not None:
            frame["positions"] = self._logs.positions
            frame["generation"] = self._generation
        return [Write(_encode(frame))]

    def command(self, fields: Mapping[str, Any], now: float) -> tuple[str, Write]:
        """A command (`type` and its fields) as a frame; its answer will carry the ref."""
        assert self.signed_in
        self._count += 1
        ref = str(self._count)
        self._outstanding.add(ref)
        self._sent_at = now
        kind = fields["type"]
        rest = {name: value for name, value in fields.items() if name != "type"}
        return ref, Write(_encode({"type": kind, "ref": ref, **rest}))

    def refresh(self, token: str, lifetime_s: float, now: float) -> list[Output]:
        """A new access token, good for `lifetime_s`."""
        self._refresh_at = now + _refresh_after(lifetime_s)
        return [self._control({"type": "refresh", "ref": _TOKEN, "token": token}, now)]

    def watch(self, users: list[str], now: float) -> list[Output]:
        """Whose presence to be told from now on (at most 200), in place of those before."""
        return [self._control({"type": "presence.watch", "ref": "~watch", "users": users}, now)]

    def adopt(self, log: str, position: int, now: float) -> list[Output]:
        """Everything of a log up to `position` was fetched by other means."""
        return self._wishes(self._logs.adopt(log, position), now)

    def receive(self, data: bytes | str, now: float) -> list[Output]:
        """One text frame.  Frames of unknown types are passed over; what is no frame ends the
        connection."""
        if self._phase == "closed":
            return []
        self._heard_at = now
        try:
            named = msgspec.json.decode(data, type=_Named)
            return self._take(named, data, now)
        except (msgspec.DecodeError, UnicodeDecodeError, RecursionError) as error:
            return self._hang_up(4004, f"reconnect: the server sent what is no frame ({error})")

    def tick(self, now: float) -> list[Output]:
        """To be called about once a second."""
        if self._phase in ("new", "closed"):
            return []
        if self._phase == "opening":
            if now - self._opened_at > self._sign_in_timeout_s:
                return self._hang_up(4000, "reconnect: no hello")
            return []
        out: list[Output] = []
        if now - self._heard_at > self._heartbeat_s * self._silence_factor:
            return self._hang_up(4005, "reconnect: the server is silent")
        quiet = now - min(self._heard_at, self._sent_at) > self._heartbeat_s / 2
        # Not at every tick: the answer to the last one may be on its way.
        if quiet and now - self._sent_at > self._heartbeat_s / 8:
            out.append(self._control({"type": "ping", "ref": _PING}, now))
        if self._refresh_at is not None and now >= self._refresh_at:
            # Asked for again until it comes; the server ends the connection when it never does.
            self._refresh_at = now + 5.0
            out.append(NeedToken())
        if self._retry_at is not None and now >= self._retry_at:
            self._retry_at = None
            out += self._wishes(self._logs.retry(), now)
        return out

    def closed(self) -> frozenset[str]:
        """The connection ended: the refs whose outcome is unknown."""
        self._phase = "closed"
        unknown, self._outstanding = frozenset(self._outstanding), set()
        return unknown

    # --- frames in -------------------------------------------------------------------------------

    def _take(self, named: _Named, data: bytes | str, now: float) -> list[Output]:
        kind = named.type
        if kind == "hello":
            return self._hello(decode(data, Hello), now)
        if self._phase == "opening":
            if kind == "error":
                # The close frame that follows says what to do.
                return [self._error(decode(data, _Error), now)[0]]
            return self._hang_up(1002, f"reconnect: {kind or 'a nameless frame'} before hello")
        match kind:
            case "ack":
                ack = decode(data, _Ack)
                self._outstanding.discard(ack.ref)
                return [] if ack.ref.startswith("~") else [Answered(ack.ref, ack.result)]
            case "error":
                return self._error(decode(data, _Error), now)
            case "events":
                answer = decode(data, _Events)
                self._reads.pop(answer.ref, None)
                events = [decode_event(raw) for raw in answer.events]
                return self._wishes(self._logs.filled(answer.conversation, events), now)
            case "truncated":
                cut = decode(data, _Truncated)
                return self._wishes(self._logs.truncated(cut.conversation, cut.to), now)
            case "resync":
                return self._resync(decode(data, _Resync).generation)
            case "resumed":
                return self._caught_up(now)
            case _ if kind in SIGNALS:
                return [Signalled(decode_signal(data))]
            case _ if kind == "void" or named.body:
                return self._event(decode_event(data), now)
            case _:
                return []

    def _hello(self, hello: Hello, now: float) -> list[Output]:
        if self._phase != "opening":
            return self._hang_up(1002, "reconnect: a second hello")
        self._heartbeat_s = max(hello.heartbeat_ms, 100) / 1000
        if hello.expires_at > hello.at > 0:
            self._refresh_at = now + _refresh_after((hello.expires_at - hello.at) / 1000)
        resumes = self._generation is not None
        unknown = tuple(head for head in hello.heads if head.conversation not in self._logs)
        out: list[Output] = [Opened(hello, unknown)]
        self._phase = "replaying"
        if resumes and hello.generation != self._generation:
            return [*out, *self._resync(hello.generation)]
        self._generation = hello.generation
        for head in hello.heads:
            out += self._wishes(self._logs.heard(head.conversation, head.seq), now)
        if not resumes:
            out += self._caught_up(now)
        return out

    def _resync(self, generation: str) -> list[Output]:
        if self._phase == "live" and self._generation == generation:
            return []
        self._generation = generation
        self._phase = "live"
        self._logs.clear()
        self._logs.paused = False
        return [Resync(generation), CaughtUp()]

    def _caught_up(self, now: float) -> list[Output]:
        if self._phase == "live":
            return []
        self._phase = "live"
        self._logs.paused = False
        return [CaughtUp(), *self._wishes(self._logs.retry(), now)]

    def _event(self, event: Event, now: float) -> list[Output]:
        return self._wishes(self._logs.feed(event), now)

    def _error(self, error: _Error, now: float) -> list[Output]:
        ref = error.ref
        if ref is not None and ref in self._reads:
            log = self._reads.pop(ref)
            self._retry_at = now + max(error.retry_after_ms or 0, 1000) / 1000
            return self._wishes(self._logs.refused(log, error.code), now)
        if ref is not None:
            self._outstanding.discard(ref)
        return [
            Refused(
                ref=ref,
                code=error.code,
                detail=error.detail,
                field=error.field,
                retry_after_ms=error.retry_after_ms,
            )
        ]

    # --- frames out ------------------------------------------------------------------------------

    def _wishes(self, outputs: list[LogOutput], now: float) -> list[Output]:
        out: list[Output] = []
        for output in outputs:
            if isinstance(output, Read):
                self._count += 1
                ref = f"~read:{self._count}"
                self._reads[ref] = output.log
                frame = {
                    "type": "events.read",
                    "ref": ref,
                    "conversation": output.log,
                    "after": output.after,
                    "limit": output.limit,
                }
                out.append(self._control(frame, now))
            else:
                out.append(output)
        return out

    def _control(self, frame: dict[str, Any], now: float) -> Write:
        self._sent_at = now
        return Write(_encode(frame))

    def _hang_up(self, code: int, reason: str) -> list[Output]:
        self._phase = "closed"
        # A close reason is at most 123 bytes (RFC 6455 §5.5).
        return [HangUp(code, reason.encode()[:120].decode(errors="ignore"))]


def _refresh_after(lifetime_s: float) -> float:
    """A minute before the end, or at three quarters of a short life."""
    return max(lifetime_s - 60.0, lifetime_s * 0.75)


# --- what to do when the connection ends -----------------------------------------------------------


class Reconnect(msgspec.Struct, frozen=True, kw_only=True):
    """Try again: not before `floor_s`, and with a fresh access token if `new_token`."""

    why: str
    floor_s: float = 0.0
    new_token: bool = False


class Stop(msgspec.Struct, frozen=True):
    """Trying again the same way would end the same way."""

    why: str


Decision = Reconnect | Stop

_CLOSE: dict[int, Decision] = {
    1000: Reconnect(why="the server ended the session"),
    1001: Reconnect(why="the server is stopping"),
    1002: Stop("the server found a protocol error"),
    1003: Stop("the server takes no binary frames"),
    1006: Reconnect(why="the connection broke"),
    1007: Stop("the server got what is not UTF-8"),
    1009: Stop("a frame was too big for the server"),
    1011: Reconnect(why="the server failed", floor_s=1.0),
    1012: Reconnect(why="the server restarts"),
    1013: Reconnect(why="the server is overloaded", floor_s=5.0),
    4000: Reconnect(why="the sign-in came too late"),
    4001: Reconnect(why="the access token was refused or ran out", new_token=True),
    4002: Stop("this device was signed out"),
    4003: Reconnect(why="this client read too slowly"),
    4004: Stop("the server could not read a frame"),
    4005: Reconnect(why="the heartbeat was lost"),
    4006: Reconnect(why="there are too many sessions", floor_s=30.0),
    4007: Reconnect(why="the rate limit was reached", floor_s=5.0),
    4008: Stop("another session took this one's place"),
    4029: Reconnect(why="the server is full", floor_s=5.0),
}


def after_close(code: int | None, reason: str = "") -> Decision:
    """What to do after a close frame with this code and reason; None: there was no close frame.

    The first word of the reason (`reconnect`, `stop`) is the server's advice and goes before the table,
    except that a device that was signed out stays so."""
    decision = _CLOSE.get(code if code is not None else 1006)
    word = reason.split(maxsplit=1)[0].strip(":;,.").lower() if reason.strip() else ""
    if code == 4002:
        return _CLOSE[4002]
    if word == "stop":
        why = decision.why if decision is not None else f"close code {code}"
        return Stop(why)
    if word == "reconnect":
        if isinstance(decision, Reconnect):
            return decision
        why = decision.why if decision is not None else f"close code {code}"
        return Reconnect(why=why, floor_s=1.0)
    return decision if decision is not None else Reconnect(why=f"close code {code}", floor_s=1.0)


def after_refusal(status: int, retry_after_s: float | None = None) -> Decision:
    """What to do when the server answered the upgrade with an HTTP status instead."""
    if status == 401:
        return Reconnect(why="the access token was refused", new_token=True)
    if status in (408, 425, 429) or status >= 500:
        return Reconnect(why=f"the server answered {status}", floor_s=retry_after_s or 1.0)
    return Stop(f"the server answered {status}")
