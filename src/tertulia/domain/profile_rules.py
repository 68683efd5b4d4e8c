"""What people may write about themselves and for themselves: names, status texts, photos, notes."""

from __future__ import annotations

import re
import unicodedata
from typing import Final

from tertulia.domain.errors import Refusal

MAX_NAME: Final = 128
MAX_STATUS: Final = 280

MAX_HANDLES: Final = 5
"""New handles that a person may take in any `HANDLES_MS`: each is kept from everyone else for ever."""

HANDLES_MS: Final = 30 * 86_400_000

# Overrides and isolates of the bidirectional algorithm (UAX 9 §2) reach beyond the name they stand in
# and reorder what is shown beside it; the plain marks (LRM, RLM, ALM) do not.
_BIDI: Final = frozenset("\u202a\u202b\u202c\u202d\u202e\u2066\u2067\u2068\u2069")
_BANNED: Final = frozenset({"Cc", "Cs", "Zl", "Zp"})
_VISIBLE: Final = frozenset("LNPS")

# A blob's id or path, or a web address; no other scheme, since clients show what stands here.
_PHOTO: Final = re.compile(r"(?:https?://[\x21-\x7e]+|[A-Za-z0-9._~/-]+)?")


def _line(text: str, field: str) -> str:
    if any(char in _BIDI or unicodedata.category(char) in _BANNED for char in text):
        raise Refusal("invalid", f"`{field}` is one line without control characters.", field=field)
    plain = "".join(" " if unicodedata.category(char) == "Zs" else char for char in text)
    return unicodedata.normalize("NFC", plain).strip(" ")


def normalise_name(text: str) -> str:
    """The stored form of a display name: NFC, plain spaces, none at the ends.

    Raises Refusal `invalid` (field `name`) for control and bidi override characters, for more than 128
    characters and for a name in which nothing can be seen."""
    name = _line(text, "name")
    if not any(unicodedata.category(char)[0] in _VISIBLE for char in name):
        raise Refusal("invalid", "A name needs at least one visible character.", field="name")
    if len(name) > MAX_NAME:
        raise Refusal("invalid", f"A name has at most {MAX_NAME} characters.", field="name")
    return name


def normalise_status(text: str) -> str:
    """The stored form of a status text, "" for none.  Raises Refusal `invalid` as for names."""
    status = _line(text, "status")
    if len(status) > MAX_STATUS:
        raise Refusal("invalid", f"A status has at most {MAX_STATUS} characters.", field="status")
    return status


def handle_times(taken_at: tuple[int, ...], now_ms: int) -> tuple[int, ...]:
    """When a person took their newest handles, after one more now.  Raises Refusal `limit_reached` (field
    `handle`, with the time after which there is room)."""
    recent = tuple(at for at in taken_at if at > now_ms - HANDLES_MS)
    if len(recent) >= MAX_HANDLES:
        raise Refusal(
            "limit_reached",
            f"A person takes at most {MAX_HANDLES} new handles in 30 days.",
            retry_after_ms=min(recent) + HANDLES_MS - now_ms,
            field="handle",
        )
    return (*recent, now_ms)


def check_photo(reference: str) -> str:
    """The reference itself, "" for no photo.  Raises Refusal `invalid` (field `photo`)."""
    if not _PHOTO.fullmatch(reference):
        raise Refusal("invalid", "A photo is the id of a blob or an http(s) address.", field="photo")
    return reference


def check_note(text: str, field: str = "note") -> Refusal | None:
    """A text of several lines; like a message's, without NUL characters."""
    if "\x00" in text:
        return Refusal("invalid", f"`{field}` cannot hold NUL characters.", field=field)
    return None
