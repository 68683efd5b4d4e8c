"""The WebSocket protocol's frames: JSON objects, `type` first, one a text frame.

Pure: bytes to typed frames and back.  What the frames mean stands in `docs/websocket.md` and, for
machines, in the AsyncAPI document.
"""

from __future__ import annotations

from typing import Annotated, Literal, Union

import msgspec
from msgspec import Meta

from tertulia.domain.commands import COMMAND_TYPES, Accepted, Command
from tertulia.domain.content import Id
from tertulia.domain.errors import Refusal
from tertulia.domain.events import Event
from tertulia.domain.signals import Signal
from tertulia.protocols.common.frames import (
    EventFrame,
    Hello,
    Resumed,
    Resync,
    Truncated,
    VoidFrame,
    event_frame,
    void_frame,
)

Ref = Annotated[str, Meta(max_length=64)]
Position = Annotated[int, Meta(ge=0, le=2**53)]
Positions = Annotated[dict[Id, Position], Meta(max_length=10_000)]
Token = Annotated[str, Meta(max_length=8192)]


class ClientFrame(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """Base of the frames that are not commands."""

    ref: Ref | None = None


class SignIn(ClientFrame, frozen=True, kw_only=True, tag="sign_in"):
    """The first frame.  With `positions` (log → last seq held) what is missing follows the hello."""

    token: Token
    positions: Positions | None = None
    generation: str | None = None


class Resume(ClientFrame, frozen=True, kw_only=True, tag="resume"):
    positions: Positions
    generation: str | None = None


class Refresh(ClientFrame, frozen=True, kw_only=True, tag="refresh"):
    """A fresh access token of the same device, before the old one runs out."""

    token: Token


class EventsRead(ClientFrame, frozen=True, kw_only=True, tag="events.read"):
    """Ask for the events that follow `after` in a log."""

    conversation: Id
    after: Position
    limit: Annotated[int, Meta(ge=1, le=1000)] = 200


class Ping(ClientFrame, frozen=True, kw_only=True, tag="ping"):
    pass


class PresenceWatch(ClientFrame, frozen=True, kw_only=True, tag="presence.watch"):
    """Whose presence this session shows from now on (it replaces the list before)."""

    users: Annotated[tuple[Id, ...], Meta(max_length=200)]


CONTROL_TYPES: tuple[type[ClientFrame], ...] = (SignIn, Resume, Refresh, EventsRead, Ping, PresenceWatch)
Incoming = ClientFrame | Command

_decoder: msgspec.json.Decoder[Incoming] = msgspec.json.Decoder(
    Union[(*COMMAND_TYPES, *CONTROL_TYPES)]  # pyright: ignore - built from the registry
)


MAX_REF = 64
MAX_DETAIL = 300

CLOSE_NOT_UTF8 = 1007
CLOSE_MALFORMED = 4004


class Malformed(Exception):
    """Bytes that are no frame of this protocol.

    `close_code`: not UTF-8 (1007), not JSON at all or nested without end (4004); the connection ends.
    0: the frame is answered by an error that repeats its `ref`, and changes nothing."""

    def __init__(
        self, detail: str, *, close_code: int = 0, ref: str | None = None, field: str | None = None
    ) -> None:
        super().__init__(detail)
        self.detail = detail
        self.close_code = close_code
        self.ref = ref
        self.field = field


class _Named(msgspec.Struct):
    ref: str | None = None


_named = msgspec.json.Decoder(_Named)


def decode(data: bytes) -> Incoming:
    """The frame in a text message.  Raises Malformed."""
    if not data.isascii():
        # Also where the decoder would not look, in what it passes over or keeps as it is.
        try:
            data.decode()
        except UnicodeDecodeError as error:
            raise Malformed("text must be UTF-8", close_code=CLOSE_NOT_UTF8) from error
    try:
        return _decoder.decode(data)
    except msgspec.ValidationError as error:
        raise _wrong_shape(str(error), data) from error
    except msgspec.DecodeError as error:
        raise Malformed("a frame must be a JSON object", close_code=CLOSE_MALFORMED) from error
    except RecursionError as error:
        raise Malformed("nested too deep", close_code=CLOSE_MALFORMED) from error


def _wrong_shape(reason: str, data: bytes) -> Malformed:
    detail, at, path = reason.partition(" - at `$.")
    field = path.rstrip("`") if at else None
    try:
        ref = _named.decode(data).ref
    except (msgspec.DecodeError, RecursionError):
        ref = None
    if ref is not None and len(ref) > MAX_REF:
        ref = None
    return Malformed(detail[:MAX_DETAIL], ref=ref, field=field)


# --- to the client -------------------------------------------------------------------------------


class Ack(msgspec.Struct, frozen=True, kw_only=True):
    type: Literal["ack"] = "ack"
    ref: str | None
    result: Accepted


class ErrorFrame(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True, tag="error"):
    ref: str | None = None
    code: str
    detail: str
    field: str | None = None
    retry_after_ms: int | None = None


class EventsFrame(msgspec.Struct, frozen=True, kw_only=True):
    type: Literal["events"] = "events"
    ref: str | None
    conversation: str
    events: list[msgspec.Raw]
    more: bool


class Pong(msgspec.Struct, frozen=True, kw_only=True):
    type: Literal["pong"] = "pong"
    ref: str | None
    at: int


class Done(msgspec.Struct, frozen=True, kw_only=True):
    """The answer to a control frame that has no other."""

    type: Literal["done"] = "done"
    ref: str | None


ServerFrame = (
    EventFrame
    | VoidFrame
    | Hello
    | Ack
    | ErrorFrame
    | EventsFrame
    | Truncated
    | Resync
    | Resumed
    | Pong
    | Done
)

_encode = msgspec.json.Encoder().encode


def error_frame(refusal: Refusal, ref: str | None = None) -> ErrorFrame:
    """A refusal as the answer to the frame `ref`."""
    return ErrorFrame(
        ref=ref,
        code=refusal.code,
        detail=refusal.detail,
        field=refusal.field,
        retry_after_ms=refusal.retry_after_ms,
    )


def text_frame(payload: bytes) -> bytes:
    """An unmasked, final text frame (RFC 6455 §5.2), as a server sends it."""
    size = len(payload)
    if size < 126:
        return bytes((0x81, size)) + payload
    if size < 65536:
        return b"\x81\x7e" + size.to_bytes(2, "big") + payload
    return b"\x81\x7f" + size.to_bytes(8, "big") + payload


def encode(frame: ServerFrame) -> bytes:
    """The bytes on the wire, RFC 6455 header included."""
    return text_frame(_encode(frame))


def payload(frame: ServerFrame) -> bytes:
    """The JSON alone."""
    return _encode(frame)


HEADER_ROOM = 14
"""The longest header of a frame (RFC 6455 §5.2)."""


class WsEncoder:
    """`sessions.Encoder` for this protocol."""

    def event(self, event: Event) -> bytes:
        return encode(event_frame(event))

    def void(self, event: Event) -> bytes:
        return encode(void_frame(event))

    def signal(self, signal: Signal) -> bytes:
        return text_frame(_encode(signal))

    def shared(self, frame: bytes) -> tuple[object, ...]:
        """The payload behind room for a header, as picows writes it without copying, and where it begins."""
        size = frame[1]
        header = 2 if size < 126 else 4 if size == 126 else 10
        return bytearray(HEADER_ROOM) + frame[header:], HEADER_ROOM
