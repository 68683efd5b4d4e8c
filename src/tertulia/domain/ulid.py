"""Sortable identifiers: a millisecond and 80 bits, in lower-case Crockford base32.

The form is that of the ULID specification.  Pure: time and randomness are handed in.
"""

from __future__ import annotations

import re
from typing import Final, NamedTuple

ALPHABET: Final = "0123456789abcdefghjkmnpqrstvwxyz"
TAIL_BITS: Final = 80
MAX_MS: Final = (1 << 48) - 1

_TAIL_END: Final = 1 << TAIL_BITS
# A tail starts in the lower half, so that no millisecond can run out of numbers.
_START_MASK: Final = (1 << (TAIL_BITS - 1)) - 1
_PAIRS: Final = tuple(a + b for a in ALPHABET for b in ALPHABET)
_SHAPE: Final = re.compile(r"[0-7][0-9a-hjkmnp-tv-z]{25}")


class Ulid(NamedTuple):
    """An id as two numbers; ids compare as their texts do."""

    ms: int
    tail: int

    def __str__(self) -> str:
        value = self.ms << TAIL_BITS | self.tail
        pairs = _PAIRS
        return "".join([pairs[value >> shift & 1023] for shift in range(120, -1, -10)])


ZERO: Final = Ulid(0, 0)


def next_ulid(last: Ulid, now_ms: int, fresh: int) -> Ulid:
    """The id that follows `last` at `now_ms`; greater than `last` whatever the clock says.

    `fresh` are 80 unpredictable bits, used when a new millisecond begins.  A clock that stands
    still or went back leaves the millisecond of `last` in place and counts on.

    Raises `OverflowError` past the year 10889, where ten characters end.
    """
    if now_ms > last.ms:
        if now_ms > MAX_MS:
            raise OverflowError("the clock is past what an id can hold")
        return Ulid(now_ms, fresh & _START_MASK)
    tail = last.tail + 1
    if tail == _TAIL_END:
        return Ulid(last.ms + 1, 0)
    return Ulid(last.ms, tail)


def is_ulid(text: str) -> bool:
    """True for a text of exactly the form that `str(Ulid)` gives."""
    return _SHAPE.fullmatch(text) is not None


def ulid_ms(text: str) -> int:
    """The millisecond in an id.  Raises `ValueError` for what is not one."""
    if not is_ulid(text):
        raise ValueError("not an id")
    value = 0
    for char in text[:10]:
        value = value << 5 | ALPHABET.index(char)
    return value
