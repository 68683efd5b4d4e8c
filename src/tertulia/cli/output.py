"""What commands print: text for people, or one JSON document with `--json`."""

from __future__ import annotations

import datetime
import sys
from collections.abc import Iterable, Sequence
from typing import cast

import msgspec


def print_json(value: object) -> None:
    """One document, indented; fields that have their defaults are in it as well."""
    print(msgspec.json.format(msgspec.json.encode(_whole(value)), indent=2).decode())


def _whole(value: object) -> object:
    if isinstance(value, msgspec.Struct):
        return {name: _whole(getattr(value, name)) for name in value.__struct_fields__}
    if isinstance(value, list | tuple):
        return [_whole(one) for one in cast("Sequence[object]", value)]
    return value


def print_fields(fields: Iterable[tuple[str, object]]) -> None:
    """Names and values, one a line, in two columns."""
    shown = [(name, _plain(value)) for name, value in fields]
    width = max((len(name) for name, _ in shown), default=0)
    for name, value in shown:
        print(f"{name:<{width}}  {value}".rstrip())


def print_table(heads: Sequence[str], rows: Iterable[Sequence[object]]) -> None:
    """Columns as wide as what they hold."""
    shown = [list(heads), *([_plain(cell) for cell in row] for row in rows)]
    widths = [max(len(row[n]) for row in shown) for n in range(len(heads))]
    for row in shown:
        print("  ".join(f"{cell:<{width}}" for cell, width in zip(row, widths, strict=True)).rstrip())


def when(ms: int) -> str:
    """A time for people: UTC, to the minute; "-" for 0."""
    if not ms:
        return "-"
    return f"{datetime.datetime.fromtimestamp(ms / 1000, datetime.UTC):%Y-%m-%d %H:%M}Z"


def note(text: str) -> None:
    """A word beside the answer, on standard error."""
    print(text, file=sys.stderr)


def _plain(value: object) -> str:
    if isinstance(value, bool):
        return "yes" if value else "no"
    # What people typed must not move the cursor of whoever looks at it.
    return "".join(c if c.isprintable() else "�" for c in str(value))
