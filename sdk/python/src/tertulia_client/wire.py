"""Decoding that outlives the server's next version: unknown kinds are set aside, never fatal."""

from __future__ import annotations

from typing import TypeVar, cast

import msgspec

from tertulia_client.content import KNOWN_CONTENT

T = TypeVar("T")


def decode(data: bytes | str, shape: type[T]) -> T:
    """`data` as `shape`; contents of a kind that is not known here become `OtherContent`.

    Raises msgspec.DecodeError when it is not JSON, msgspec.ValidationError when it does not fit."""
    try:
        return msgspec.json.decode(data, type=shape)
    except msgspec.ValidationError:
        return msgspec.convert(_known(msgspec.json.decode(data)), type=shape)


def convert(value: object, shape: type[T]) -> T:
    """The same for what has already been parsed."""
    try:
        return msgspec.convert(value, type=shape)
    except msgspec.ValidationError:
        return msgspec.convert(_known(value), type=shape)


def _known(value: object) -> object:
    if isinstance(value, dict):
        fields = cast(dict[str, object], value)
        return {k: _content(v) if k == "content" else _known(v) for k, v in fields.items()}
    if isinstance(value, list):
        return [_known(item) for item in cast(list[object], value)]
    return value


def _content(value: object) -> object:
    if isinstance(value, dict):
        kind = cast(dict[str, object], value).get("type")
        if isinstance(kind, str) and kind not in KNOWN_CONTENT:
            return {"type": "other", "kind": kind}
    return cast(object, value)
