"""Finding who a text mentions: `@handle`, `@all` and `@here`, outside code."""

from __future__ import annotations

import re
from typing import Final

import msgspec

from tertulia.domain.names import NameRefused, normalise_handle

MAX_MENTIONS: Final = 100

# Fenced blocks first, then code spans with any number of backticks (CommonMark §4.5, §6.1).
_CODE: Final = re.compile(r"^(`{3,}|~{3,}).*?(?:^\1|\Z)|(`+)(?!`).+?(?<!`)\2(?!`)", re.DOTALL | re.MULTILINE)
_MENTION: Final = re.compile(r"(?<![\w@/.+-])@([^\W_][\w.-]{0,63})")


class Mentioned(msgspec.Struct, frozen=True):
    """Handles in their normal form, in order, each once; whether all or those online are meant."""

    handles: tuple[str, ...] = ()
    everyone: bool = False
    here: bool = False


NOBODY: Final = Mentioned()


def find_mentions(text: str) -> Mentioned:
    """The mentions in a text; a word after @ that cannot be a handle is just text."""
    if "@" not in text:
        return NOBODY
    handles: dict[str, None] = {}
    everyone = here = False
    for match in _MENTION.finditer(_CODE.sub(" ", text)):
        word = match[1].rstrip(".-_")
        if word == "all":
            everyone = True
        elif word == "here":
            here = True
        elif len(handles) < MAX_MENTIONS:
            try:
                handles[normalise_handle(word)] = None
            except NameRefused:
                continue
    return Mentioned(tuple(handles), everyone, here)
