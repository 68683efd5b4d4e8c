"""JSON Schemas of our structs, from msgspec itself: what is described is what is decoded and encoded."""

from __future__ import annotations

import inspect
import re
from collections.abc import Iterable, Mapping
from types import MappingProxyType
from typing import Any, Final, Union, cast

import msgspec

from tertulia.domain.events import BODIES, Body
from tertulia.domain.settings import SettingsDocument
from tertulia.protocols.common.frames import VoidFrame

Schema = dict[str, Any]

JSON_VALUE: Final = "JsonValue"
JSON_OBJECT: Final = "JsonObject"


def _reference(name: str) -> Schema:
    return {"$ref": f"#/components/schemas/{name}"}


_FREE: Final[Mapping[str, Schema]] = MappingProxyType(
    {
        JSON_VALUE: {
            "title": JSON_VALUE,
            "description": "Any JSON.",
            "anyOf": [
                {"type": "null"},
                {"type": "boolean"},
                {"type": "number"},
                {"type": "string"},
                {"type": "array", "items": _reference(JSON_VALUE)},
                _reference(JSON_OBJECT),
            ],
        },
        JSON_OBJECT: {
            "title": JSON_OBJECT,
            "description": "An object of another protocol, which is passed on as it is.",
            "type": "object",
            "additionalProperties": _reference(JSON_VALUE),
        },
    }
)

_RAW: Final[Mapping[tuple[str, str], Schema]] = MappingProxyType(
    {
        ("MessageNew", "foreign"): _reference(JSON_OBJECT),
        ("SendMessage", "foreign"): {"anyOf": [_reference(JSON_OBJECT), {"type": "null"}]},
        ("SettingsUpdated", "settings"): _reference("SettingsDocument"),
        ("UpdateSettings", "settings"): _reference("SettingsPatch"),
    }
)
"""What stands in fields that msgspec keeps as raw JSON."""


class EventFields(msgspec.Struct, frozen=True, kw_only=True):
    """Fields of every event.  `seq` is dense from 1 in its log, `at` (Unix ms) never decreases there.
    `ordinal` and `all_ordinal` are running counts of messages and of @all messages, `thread_ordinal` of
    replies in the thread.  `target` is the seq that the event is about."""

    conversation: str
    seq: int
    at: int
    user: str
    ordinal: int
    all_ordinal: int = 0
    thread: int = 0
    thread_ordinal: int = 0
    target: int = 0
    client_id: str = ""


def event_name(kind: str) -> str:
    """`message.new` → `MessageNewEvent`."""
    return "".join(part.title() for part in kind.replace("_", ".").split(".")) + "Event"


def _event_type(kind: str, body: type[Body]) -> type[msgspec.Struct]:
    fields = [(field.name, field.type, field.default) for field in msgspec.structs.fields(EventFields)]
    made = msgspec.defstruct(
        event_name(kind), [*cast(Any, fields), ("body", body)], tag_field="type", tag=kind, kw_only=True
    )
    made.__doc__ = (
        f"`{kind}`: {inspect.cleandoc(body.__doc__).partition('.')[0]}." if body.__doc__ else f"`{kind}`."
    )
    return made


EVENT_TYPES: Final[tuple[type[msgspec.Struct], ...]] = (
    VoidFrame,
    *(_event_type(kind, body) for kind, body in BODIES.items()),
)
"""A struct for every kind of event as it reads outside, for describing it."""

EventUnion: Final[Any] = Union[EVENT_TYPES]  # noqa: UP007  # pyright: ignore - built from the registry

_PAGE: Final = re.compile(r"Page_(\w+)_(?=\"|$)")


def describe(types: Iterable[Any]) -> tuple[list[Schema], dict[str, Schema]]:
    """The schemas of these types (most of them references), and the components they refer to."""
    schemas, components = msgspec.json.schema_components(
        [*types, SettingsDocument], ref_template="#/components/schemas/{name}"
    )
    polished = {name: _polished(name, schema) for name, schema in components.items()}
    polished.update({name: dict(schema) for name, schema in _FREE.items()})
    # `Page_Message_` reads better, here and in what is generated from here, as `MessagePage`.
    text = msgspec.json.encode([schemas[:-1], dict(sorted(polished.items()))]).decode()
    found, named = msgspec.json.decode(
        _PAGE.sub(r"\1Page", text), type=tuple[list[Schema], dict[str, Schema]]
    )
    return found, named


def _polished(name: str, schema: Mapping[str, Any]) -> Schema:
    found = dict(schema)
    if "description" in found:
        found["description"] = inspect.cleandoc(found["description"])
    properties = dict(found.get("properties", {}))
    for field in properties:
        raw = _RAW.get((name, field))
        if raw is not None:
            properties[field] = raw
    kind = properties.get("type", {})
    if len(kind.get("enum", ())) == 1 and "default" in kind:
        # A default for whoever makes the struct; on the wire it always stands there.
        properties["type"] = {"enum": kind["enum"]}
        found["required"] = ["type", *found.get("required", ())]
    if properties:
        found["properties"] = properties
    return found
