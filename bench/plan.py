"""What the load generator is told: one session a line."""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path

import msgspec

TEXT_SIZE = 200

# The same words, and below the same rule, as in c/common.c.
_TEXT = (
    "the morning we should bring coffee and read about rivers today when you have time to answer please "
    "look at second page of our plan it says where they train stops for"
)
_WORDS = tuple(_TEXT.split())


def text_of(writer: int, n: int) -> str:
    """The one text that message `n` of writer `writer` has: 200 printable characters."""
    parts = [f"s{writer:05} n{n:010}"]
    size = len(parts[0])
    x = (n * 2654435761 + writer) & 0xFFFFFFFF
    while size < TEXT_SIZE:
        x = (x * 1103515245 + 12345) & 0xFFFFFFFF
        word = _WORDS[x >> 27]
        parts.append(word)
        size += 1 + len(word)
    return " ".join(parts)[: TEXT_SIZE - 1] + "."


class Line(msgspec.Struct, frozen=True, kw_only=True):
    """One session.

    `next` is the seq that must come next in `conversation` (0: hello tells), `last` the one that a
    resume ends at, `writer` the number in the texts, `sign_in` further members of the sign-in frame.
    """

    token: str
    conversation: str
    writer: int = 0
    next: int = 0
    last: int = 0
    sign_in: dict[str, object] = {}


def write(path: Path, lines: Iterable[Line]) -> Path:
    """Write a plan as c/session.c reads it."""
    with path.open("w") as file:
        for line in lines:
            extras = msgspec.json.encode(line.sign_in).decode()[1:-1] or "-"
            fields = (line.token, line.conversation, line.writer, line.next, line.last, extras)
            file.write("\t".join(map(str, fields)) + "\n")
    return path
