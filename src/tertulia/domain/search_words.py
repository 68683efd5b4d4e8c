"""The words of a text, and the terms of a search: one way to cut text for every store.

Words are folded so that case, accents, Arabic vowel marks and letter variants do not matter.  Scripts
that do not put spaces between words (Chinese, Japanese, Thai, …) and Korean are cut into single
characters, emoji too; a searched word of theirs is a phrase of characters and is found anywhere.
"""

from __future__ import annotations

import re
import unicodedata
from collections.abc import Sequence

import msgspec

from tertulia.domain.errors import Refusal

MAX_TERMS = 32
MAX_WORD = 64

# Marks that readers leave out when they write: combining marks of Latin, Greek and Cyrillic, Hebrew
# points, Arabic vowel signs, and the Arabic stretcher.  Vowel signs of Indic scripts are letters here.
_DROPPED = (
    (0x0300, 0x036F),
    (0x0591, 0x05BD),
    (0x05BF, 0x05C7),
    (0x0610, 0x061A),
    (0x0640, 0x0640),
    (0x064B, 0x065F),
    (0x0670, 0x0670),
    (0x06D6, 0x06DC),
    (0x06DF, 0x06E8),
    (0x06EA, 0x06ED),
    (0xFE00, 0xFE0F),
    (0x1F3FB, 0x1F3FF),
    (0x200C, 0x200D),
)

# Alef maksura and Farsi yeh to yeh, teh marbuta to heh, keheh to kaf, alef wasla to alef.
_SAME_LETTER = {
    "\u0649": "\u064a",
    "\u06cc": "\u064a",
    "\u0629": "\u0647",
    "\u06a9": "\u0643",
    "\u0671": "\u0627",
}

# Each character is a word of its own: Thai to Myanmar, Hangul, kana, Han.
_SINGLE = (
    (0x0E00, 0x0EFF),
    (0x1000, 0x109F),
    (0x1100, 0x11FF),
    (0x1780, 0x17FF),
    (0x2E80, 0x2FDF),
    (0x3005, 0x3007),
    (0x3040, 0x31FF),
    (0x3400, 0x4DBF),
    (0x4E00, 0x9FFF),
    (0xA960, 0xA97F),
    (0xAC00, 0xD7FF),
    (0xF900, 0xFAFF),
    (0x20000, 0x3FFFF),
)


def _within(code: int, ranges: Sequence[tuple[int, int]]) -> bool:
    return any(low <= code <= high for low, high in ranges)


class _Marks(dict[int, str | None]):
    """For `str.translate`: leaves out what `_DROPPED` names."""

    def __missing__(self, code: int) -> str | None:
        char = chr(code)
        self[code] = None if _within(code, _DROPPED) else _SAME_LETTER.get(char, char)
        return self[code]


class _Classes(dict[int, str]):
    """For `str.translate`: what is no part of a word becomes a space."""

    def __missing__(self, code: int) -> str:
        char = chr(code)
        kind = unicodedata.category(char)
        if kind == "So" or _within(code, _SINGLE):
            self[code] = f" {char} " if kind[0] in "LNMS" else " "
        else:
            self[code] = char if kind[0] in "LNM" or kind == "Co" else " "
        return self[code]


_marks = _Marks()
_classes = _Classes()


def words(text: str) -> list[str]:
    """The folded words of a text, in order; none of them holds a space or ASCII punctuation."""
    if text.isascii():
        folded = text.lower()
    else:
        folded = unicodedata.normalize("NFKD", unicodedata.normalize("NFKD", text).casefold())
        folded = unicodedata.normalize("NFC", folded.translate(_marks))
    return [word[:MAX_WORD] for word in folded.translate(_classes).split()]


class Term(msgspec.Struct, frozen=True):
    """Words that stand one after another; with `prefix` the last one is only begun."""

    words: tuple[str, ...]
    prefix: bool = False


_PART = re.compile(r'"([^"]*)"?(\*?)|([^\s"]+)')
_QUOTES = str.maketrans("“”„«»", '"""""')


def terms(query: str) -> tuple[Term, ...]:
    """What a person searches for: words, `"quoted phrases"` and `begun*` words, all of which a message
    must hold.  Nothing in it is an error; what holds no word is left out.

    Raises Refusal `invalid` for more than `MAX_TERMS` terms.
    """
    found: list[Term] = []
    for phrase, star, word in _PART.findall(query.translate(_QUOTES)):
        cut = tuple(words(phrase or word))
        if cut:
            found.append(Term(words=cut, prefix=bool(star) or word.endswith("*")))
    if len(found) > MAX_TERMS:
        raise Refusal("invalid", f"A search has at most {MAX_TERMS} words.", field="q")
    return tuple(found)


def _at(term: Term, text: Sequence[str], start: int) -> bool:
    part = tuple(text[start : start + len(term.words)])
    if not term.prefix:
        return part == term.words
    last = len(term.words) - 1
    return len(part) > last and part[:last] == term.words[:last] and part[last].startswith(term.words[last])


def holds(text: Sequence[str], wanted: Sequence[Term]) -> bool:
    """Whether a text, given as its words, holds every term."""
    return all(any(_at(term, text, start) for start in range(len(text))) for term in wanted)
