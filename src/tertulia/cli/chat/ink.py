"""Making lines of text."""

from __future__ import annotations

import io
from collections.abc import Iterable
from typing import Final

from rich.console import Console
from rich.segment import Segment
from rich.style import Style
from rich.text import Text
from textual.strip import Strip

_console: Final = Console(file=io.StringIO(), width=400)
"""Lays out; nothing is ever printed to it."""


def ink(words: str = "", style: Style | None = None) -> Text:
    """One line that is not wrapped by itself.

    The style is that of these words only: the style of a `Text` as a whole would also colour what is
    appended to it."""
    text = Text(no_wrap=True, overflow="ellipsis", end="")
    if words:
        text.append(words, style)
    return text


def wrapped(text: Text, width: int) -> list[Text]:
    """The text in lines of at most so many cells; one line at least."""
    lines = text.wrap(_console, max(width, 4), overflow="fold", no_wrap=False, tab_size=4)
    return list(lines) or [ink()]


def strip(text: Text) -> Strip:
    """The line as Textual draws it."""
    text.end = ""
    segments: Iterable[Segment] = text.render(_console)
    return Strip([segment for segment in segments if segment.text])
