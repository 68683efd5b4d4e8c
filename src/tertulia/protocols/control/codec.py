"""The frames of the control channel, without I/O: four octets of length, big-endian, then JSON.

A request is one of the tagged structs of `requests`; the answer is `Done` with the result's JSON, or
`Refused` with the refusal's code.  Both ends bound what they take.
"""

from __future__ import annotations

from typing import Final

import msgspec

from tertulia.domain.errors import CODES, Code, Refusal
from tertulia.protocols.control.requests import Request

MAX_FRAME: Final = 1 << 20
_HEADER: Final = 4


class BadFrame(Exception):
    """What came is no frame of this channel; the connection cannot go on."""


class Done(msgspec.Struct, frozen=True, kw_only=True, tag="done"):
    """Carried out."""

    result: msgspec.Raw


class Refused(msgspec.Struct, frozen=True, kw_only=True, tag="refused"):
    """Refused, or failed (`internal`); nothing was changed by a refusal."""

    code: str
    detail: str
    field: str | None = None


Answer = Done | Refused

_encode = msgspec.json.Encoder().encode
_REQUEST: Final = msgspec.json.Decoder(Request)
_ANSWER: Final[msgspec.json.Decoder[Answer]] = msgspec.json.Decoder(Answer)


class Frames:
    """Takes octets as they come and gives whole frames."""

    def __init__(self, limit: int = MAX_FRAME) -> None:
        self._limit = limit
        self._buffer = bytearray()

    def feed(self, data: bytes) -> list[bytes]:
        """The payloads that are complete now.  Raises BadFrame for one longer than the limit."""
        buffer = self._buffer
        buffer += data
        found: list[bytes] = []
        while len(buffer) >= _HEADER:
            length = int.from_bytes(buffer[:_HEADER], "big")
            if length > self._limit:
                raise BadFrame(f"a frame of {length} octets; at most {self._limit} are taken")
            if len(buffer) < _HEADER + length:
                break
            found.append(bytes(buffer[_HEADER : _HEADER + length]))
            del buffer[: _HEADER + length]
        return found

    @property
    def partial(self) -> bool:
        """Whether a frame has begun and not ended."""
        return bool(self._buffer)


def frame(payload: bytes) -> bytes:
    """A payload with its length.  Raises BadFrame for one that the other side would not take."""
    if len(payload) > MAX_FRAME:
        raise BadFrame(f"a frame of {len(payload)} octets; at most {MAX_FRAME} are sent")
    return len(payload).to_bytes(_HEADER, "big") + payload


def encode_request(request: Request) -> bytes:
    """A request's frame.  Raises BadFrame."""
    return frame(_encode(request))


def decode_request(payload: bytes) -> Request:
    """Raises Refusal `malformed` for what is no request."""
    try:
        return _REQUEST.decode(payload)
    except (msgspec.DecodeError, UnicodeDecodeError):
        # Without the decoder's words: newer commands may meet an older server.
        raise Refusal(
            "malformed", "The server does not know this request; are both of one version?"
        ) from None


def encode_result(result: object) -> bytes:
    """The frame of a result."""
    return frame(_encode(Done(result=msgspec.Raw(_encode(result)))))


def encode_refusal(refusal: Refusal) -> bytes:
    """The frame of a refusal."""
    return frame(_encode(Refused(code=refusal.code, detail=refusal.detail, field=refusal.field)))


def decode_answer(payload: bytes) -> bytes:
    """The JSON of the result.  Raises Refusal when that is the answer, BadFrame when it is none."""
    try:
        answer = _ANSWER.decode(payload)
    except (msgspec.DecodeError, UnicodeDecodeError) as error:
        raise BadFrame("the answer cannot be read") from error
    if isinstance(answer, Refused):
        code: Code = msgspec.convert(answer.code, Code) if answer.code in CODES else "internal"
        raise Refusal(code, answer.detail, field=answer.field)
    return bytes(answer.result)
