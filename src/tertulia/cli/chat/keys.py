"""Keys that terminals send and Textual does not know by themselves."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, cast

from textual import _ansi_sequences as sequences  # pyright: ignore[reportPrivateUsage]


@dataclass(frozen=True)
class _Named:
    """Stands in for a member of Textual's enumeration of keys."""

    value: str


def know_alt_enter() -> None:
    """Alt+Enter reaches most programs as Escape and Return; Textual would make a plain Return of that, so
    that a half-written message would be sent.  (Terminals with the kitty keyboard protocol name the key.)"""
    table = cast(dict[str, Any], sequences.ANSI_SEQUENCES_KEYS)
    for sequence in ("\x1b\r", "\x1b\n"):
        table.setdefault(sequence, (_Named("alt+enter"),))
