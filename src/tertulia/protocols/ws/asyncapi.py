"""The AsyncAPI 3 document of the WebSocket protocol, made from the structs of its codec."""

from __future__ import annotations

import inspect
from collections.abc import Iterable
from typing import Any, Final

import msgspec

from tertulia.domain.commands import COMMAND_TYPES
from tertulia.domain.settings import SettingsPatch
from tertulia.domain.signals import Signal
from tertulia.protocols.common.frames import Hello, Resumed, Resync, Truncated
from tertulia.protocols.common.schemas import EVENT_TYPES, EventUnion, Schema, describe
from tertulia.protocols.ws import codec

PATH: Final = "/v1/ws"
CHANNEL: Final = "events"

CLOSE_CODES: Final = """\
| Code | Means | Come back? |
|---|---|---|
| 1001 | the server stops | yes, elsewhere or later |
| 1002 | not the WebSocket protocol | no |
| 1003 | a binary frame | no |
| 1007 | not UTF-8 | no |
| 1009 | a message too big | no |
| 4000 | not signed in in time | yes |
| 4001 | the token was refused, or has expired | yes, with a new one |
| 4002 | the device was signed out | no |
| 4003 | the reader is too slow | yes; what was missed is replayed |
| 4004 | no frame of this protocol | no |
| 4005 | nothing was heard for too long | yes |
| 4006 | too many sessions of this user | no |
| 4007 | too many requests | yes, later |
| 4008 | replaced by another session | no |
| 4029 | the server is full | yes, later |

The reason begins with `reconnect` or `stop`, but where the frame reader itself refuses (1002, 1007, 1009)."""

DESCRIPTION: Final = f"""\
One JSON object a text frame, `type` first. Sign in with the first frame, or with an `Authorization: Bearer`
header; `hello` answers, with where each log stands. Commands are answered by `ack` or `error` with their
`ref`. Every log's events are numbered without holes: whoever holds `n` and sees `n + 2` knows what is
missing, and reads it by `events.read`.

{CLOSE_CODES}"""


class EventsAnswer(msgspec.Struct, frozen=True, kw_only=True, tag_field="type", tag="events"):
    """The answer to `events.read`."""

    ref: str | None
    conversation: str
    events: list[EventUnion]  # pyright: ignore[reportInvalidTypeForm] - built from the registry
    more: bool


SERVER_FRAMES: Final[tuple[Any, ...]] = (
    Hello,
    codec.Ack,
    codec.ErrorFrame,
    EventsAnswer,
    Truncated,
    Resync,
    Resumed,
    codec.Pong,
    codec.Done,
    Signal,
    *EVENT_TYPES,
)


def document(title: str, version: str) -> bytes:
    """The document, as JSON."""
    sent: tuple[Any, ...] = (*codec.CONTROL_TYPES, *COMMAND_TYPES)
    _, schemas = describe((*sent, *SERVER_FRAMES, SettingsPatch))
    messages = {_name(one): _message(one) for one in (*sent, *SERVER_FRAMES)}
    return msgspec.json.encode(
        {
            "asyncapi": "3.0.0",
            "info": {"title": f"{title}: WebSocket", "version": version, "description": DESCRIPTION},
            "defaultContentType": "application/json",
            "servers": {
                "here": {
                    "host": "{host}",
                    "protocol": "wss",
                    "pathname": PATH,
                    "variables": {"host": {"default": "localhost:8420"}},
                    "security": [{"$ref": "#/components/securitySchemes/bearer"}],
                }
            },
            "channels": {
                CHANNEL: {
                    "address": PATH,
                    "messages": {name: {"$ref": f"#/components/messages/{name}"} for name in messages},
                }
            },
            "operations": {
                "receive_frames": _operation("receive", "What a client sends.", sent),
                "send_frames": _operation("send", "What the server sends.", SERVER_FRAMES),
            },
            "components": {
                "messages": messages,
                "schemas": schemas,
                "securitySchemes": {"bearer": {"type": "http", "scheme": "bearer"}},
            },
        }
    )


def _operation(action: str, summary: str, types: Iterable[Any]) -> Schema:
    return {
        "action": action,
        "summary": summary,
        "channel": {"$ref": f"#/channels/{CHANNEL}"},
        "messages": [{"$ref": f"#/channels/{CHANNEL}/messages/{_name(one)}"} for one in types],
    }


def _name(one: Any) -> str:
    return str(one.__name__)


def _message(one: type[msgspec.Struct]) -> Schema:
    tag = one.__struct_config__.tag
    name = str(tag) if tag is not None else _default_type(one)
    found: Schema = {
        "name": name,
        "title": _name(one),
        "payload": {"$ref": f"#/components/schemas/{_name(one)}"},
    }
    text = one.__doc__
    if text:
        found["summary"] = " ".join(inspect.cleandoc(text).partition("\n\n")[0].split())
    return found


def _default_type(one: type[msgspec.Struct]) -> str:
    """The `type` of a frame whose struct holds it as a field."""
    for field in msgspec.structs.fields(one):
        if field.name == "type" and isinstance(field.default, str):
            return field.default
    return _name(one)
