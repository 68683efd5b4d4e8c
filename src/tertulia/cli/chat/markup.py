"""Message text to coloured lines: emphasis, code, quotes and mentions, and nothing that can lie.

A link shows its address beside its words, so that nobody is sent elsewhere than they read.
"""

from __future__ import annotations

import re
from collections.abc import Callable
from dataclasses import dataclass
from typing import Final

from markdown_it import MarkdownIt
from markdown_it.token import Token
from rich.style import Style
from rich.text import Text

from tertulia.cli.chat.colours import Colours
from tertulia.cli.chat.ink import ink
from tertulia.cli.chat.safe import clean

MAX_SHOWN: Final = 8_000
"""Characters of one message that are laid out; the rest is told of."""

MAX_LINES: Final = 400

_MENTION: Final = re.compile(r"(?<![\w@/.+-])@([^\W_][\w.-]{0,63})")
_LINK: Final = re.compile(r"https?://[^\s<>\"']{2,}[^\s<>\"'.,;:!?)\]]")
_parser: Final = MarkdownIt("zero", {"breaks": True, "maxNesting": 12}).enable(
    ["fence", "blockquote", "backticks", "emphasis", "strikethrough", "escape", "newline", "link"]
)


@dataclass(frozen=True)
class Reader:
    """Who reads: what mentions mean to them.

    `mention` takes what follows an @ and gives the user it names, "*" for everyone, or None."""

    me: str
    mention: Callable[[str], str | None]


def to_lines(source: str, colours: Colours, reader: Reader) -> list[Text]:
    """The lines of a message, unwrapped; never empty."""
    source = clean(source)
    left_out = len(source) - MAX_SHOWN
    if left_out > 0:
        source = source[:MAX_SHOWN]
    layout = _Layout(colours, reader)
    for token in _parser.parse(source):
        layout.block(token)
    lines = layout.lines or [ink()]
    if len(lines) > MAX_LINES:
        lines = lines[:MAX_LINES]
        left_out = max(left_out, 1)
    if left_out > 0:
        lines.append(ink("… there is more: y copies all of it", Style(color=colours.dim, italic=True)))
    return lines


class _Layout:
    def __init__(self, colours: Colours, reader: Reader) -> None:
        self.lines: list[Text] = []
        self._colours = colours
        self._reader = reader
        self._depth = 0
        self._last_row = -1

    def block(self, token: Token) -> None:
        # Blank lines that the writer left between blocks stay, as one.
        if token.map is not None and token.type in ("paragraph_open", "fence", "blockquote_open"):
            if self.lines and self._last_row >= 0 and token.map[0] > self._last_row:
                self.lines.append(self._start())
            self._last_row = token.map[1]
        match token.type:
            case "blockquote_open":
                self._depth += 1
                self._last_row = -1
            case "blockquote_close":
                self._depth -= 1
            case "inline":
                self._inline(token.children or [])
            case "fence":
                style = Style(color=self._colours.code)
                for line in token.content.rstrip("\n").split("\n"):
                    self.lines.append(self._start().append("▏ ", self._colours.faint).append(line, style))
            case _:
                pass

    def _start(self) -> Text:
        return ink("▍ " * self._depth, Style(color=self._colours.faint))

    def _inline(self, children: list[Token]) -> None:
        line = self._start()
        styles: list[Style] = []
        links: list[str] = []
        if self._depth:
            styles.append(Style(color=self._colours.dim))
        for token in children:
            match token.type:
                case "text":
                    self._words(line, token.content, Style.combine((Style.null(), *styles)))
                case "code_inline":
                    line.append(token.content, Style(color=self._colours.code))
                case "softbreak" | "hardbreak":
                    self.lines.append(line)
                    line = self._start()
                case "strong_open":
                    styles.append(Style(bold=True))
                case "em_open":
                    styles.append(Style(italic=True))
                case "s_open":
                    styles.append(Style(strike=True))
                case "link_open":
                    links.append(str(token.attrGet("href") or ""))
                    styles.append(Style(underline=True, color=self._colours.accent))
                case "link_close":
                    styles.pop()
                    line.append(f" ({links.pop()})", Style(color=self._colours.dim))
                case _ if token.nesting < 0:
                    styles.pop()
                case _:
                    line.append(token.content)
        self.lines.append(line)

    def _words(self, line: Text, words: str, style: Style) -> None:
        begin = len(line)
        line.append(words, style)
        for found in _LINK.finditer(words):
            line.stylize(
                Style(underline=True, color=self._colours.accent), begin + found.start(), begin + found.end()
            )
        for found in _MENTION.finditer(words):
            word = found[1].rstrip(".-_")
            user = self._reader.mention(word)
            if user is None:
                continue
            if user in ("*", self._reader.me):
                colour = Style(color=self._colours.accent, bold=True)
            else:
                colour = Style(color=self._colours.person(user))
            line.stylize(colour, begin + found.start(), begin + found.start() + 1 + len(word))


_STARS: Final = re.compile(r"[*_~`]{1,3}|^> ?", re.MULTILINE)


def to_words(source: str) -> str:
    """The text in one line without its marks, for lists."""
    return " ".join(_STARS.sub("", clean(source)).split())
