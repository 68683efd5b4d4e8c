"""Makes what others wrote safe to show: no escape sequence, no control character, no hidden reordering.

A terminal obeys certain characters instead of showing them: it can be made to clear the screen, rename
its window or fill the clipboard.  Names, titles, messages and error texts all come from somewhere else,
so all of them pass through here.  Characters whose width terminals disagree about are made plain too,
since a line that is wider than it was reckoned tears the screen.
"""

from __future__ import annotations

import re
import unicodedata
from functools import lru_cache
from typing import Final

from rich.cells import cell_len

MAX_MARKS: Final = 4
"""Combining marks that one letter may carry; more are only ever there to spill over other lines."""

_NEWLINES: Final = re.compile("\r\n|[\r\v\f\x1c-\x1e\x85\u2028\u2029]")
_PLAIN: Final = re.compile(r"[\x20-\x7e\n\xa1-\xac\xae-\u02ff\u0370-\u0482\u048a-\u058f]*\Z")
_ZWJ: Final = "\u200d"
_ZWNJ: Final = "\u200c"
# Left-to-right and right-to-left marks order the neighbours only; embeddings, overrides and isolates
# can turn a whole line around (Unicode TR 36 §2.5) and are left out.
_KEPT_FORMAT: Final = frozenset("\u200e\u200f")


def clean(text: str) -> str:
    """The text as it may be shown, over several lines.  Nothing but newlines controls anything."""
    text = _NEWLINES.sub("\n", text)
    if _PLAIN.match(text):
        return text
    return _clean(text)


def clean_line(text: str) -> str:
    """The text on one line: every run of space is one space."""
    return " ".join(clean(text).split())


def clip(text: str, width: int) -> str:
    """At most `width` cells of one line, ending in … when something was cut off."""
    if cell_len(text) <= width:
        return text
    kept: list[str] = []
    room = width - 1
    for char in text:
        room -= cell_len(char)
        if room < 0:
            break
        kept.append(char)
    return "".join(kept).rstrip() + "…" if width > 0 else ""


@lru_cache(4096)
def _clean(text: str) -> str:
    out: list[str] = []
    marks = 0
    for index, char in enumerate(text):
        if char == "\n":
            out.append(char)
            continue
        if char == "\t":
            out.append("    ")
            continue
        category = unicodedata.category(char)
        if category in ("Mn", "Me"):
            marks += 1
            # Variation selectors only ask for another picture, which terminals do not agree about.
            if marks > MAX_MARKS or "\ufe00" <= char <= "\ufe0f" or char >= "\U000e0100":
                continue
        else:
            marks = 0
        if category == "Cf":
            if char in _KEPT_FORMAT or (char in (_ZWJ, _ZWNJ) and _joins_letters(text, index)):
                out.append(char)
        elif category in ("Cs", "Cn"):
            out.append("\ufffd")
        elif category != "Cc":
            out.append(char)
    return "".join(out)


def _joins_letters(text: str, index: int) -> bool:
    """Joiners shape Arabic and Indic letters; between emoji they only change the width."""
    before = text[index - 1] if index else ""
    return bool(before) and unicodedata.category(before)[0] in "LM"
