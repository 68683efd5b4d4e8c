"""From messages to lines of the terminal."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

from rich.style import Style
from rich.text import Text
from textual.strip import Strip

from tertulia.cli.chat.colours import Colours
from tertulia.cli.chat.contents import body, summary
from tertulia.cli.chat.ink import ink, strip, wrapped
from tertulia.cli.chat.markup import Reader
from tertulia.cli.chat.pending import Pending
from tertulia.cli.chat.receipts import Receipt
from tertulia.cli.chat.safe import clean_line, clip
from tertulia.cli.chat.times import clock
from tertulia_client.models import MessageDoc

Kind = Literal["message", "pending", "day", "new", "notice", "replies"]

GUTTER = 2
PAD = 1
MOST = 104
"""Cells of a message's line at most: longer ones are hard to read."""


@dataclass(frozen=True)
class Key:
    """What a block is of: a message's seq, a pending one's client id, …"""

    kind: Kind
    seq: int = 0
    client_id: str = ""


@dataclass(frozen=True)
class Block:
    """Lines that belong together; `shaded` ones mention the reader."""

    key: Key
    lines: list[Strip]
    shaded: bool = False

    @property
    def selectable(self) -> bool:
        return self.key.kind in ("message", "pending")


@dataclass(frozen=True)
class Around:
    """What a message's lines depend on besides the message.

    `grouped`: it follows one of the same author, whose name stands there already.  `answered` is the
    message that it replies to, as (author, words)."""

    author: str
    grouped: bool = False
    spaced: bool = False
    answered: tuple[str, str, str] | None = None
    forwarded: str = ""
    receipt: Receipt | None = None
    starred: bool = False
    in_thread: bool = False
    mentioned: bool = False


class Pen:
    """Draws for one width and one theme."""

    def __init__(self, colours: Colours, reader: Reader, width: int) -> None:
        self.colours = colours
        self._reader = reader
        self.width = max(width, 16)
        self._room = min(MOST, self.width - GUTTER - PAD)

    # --- messages --------------------------------------------------------------------------------

    def message(self, message: MessageDoc, around: Around) -> Block:
        """A message with everything that hangs on it."""
        colours = self.colours
        colour = self._colour(message.user)
        lines: list[Text] = []
        if not around.grouped:
            head = ink(around.author, Style(color=colour, bold=True))
            head.truncate(self._room - 8, overflow="ellipsis")
            head.append(f"  {clock(message.at)}", Style(color=colours.dim))
            lines.append(head)
        lines += self._before(message, around)
        text = body(message, colours, self._reader, self._room)
        self._append_marks(text[-1], message, around)
        lines += self._wrapped(text, around.receipt)
        lines += self._after(message, around)
        strips = [self._strip(line, colour) for line in lines]
        if around.spaced and not around.grouped:
            strips.insert(0, Strip([]))
        return Block(Key("message", message.seq), strips, shaded=around.mentioned)

    def pending(self, pending: Pending, around: Around) -> Block:
        """A message that is not in the log yet."""
        colours = self.colours
        message = MessageDoc(
            id="", conversation="", seq=0, at=pending.at, user=self._reader.me, content=pending.content
        )
        colour = self._colour(self._reader.me)
        lines: list[Text] = []
        if not around.grouped:
            head = ink(around.author, Style(color=colour, bold=True))
            lines.append(head.append(f"  {clock(pending.at)}", Style(color=colours.dim)))
        if around.answered is not None:
            lines.append(self._reply(around.answered))
        text = body(message, colours, self._reader, self._room)
        for line in text:
            line.stylize(Style(color=colours.dim))
        lines += self._wrapped(text, None)
        if pending.why:
            why = clip(clean_line(pending.why), max(10, self._room - 36))
            last = ink(f"✗ not sent: {why}", Style(color=colours.bad))
            lines.append(last.append("  select it: r again, d drop", Style(color=colours.dim)))
        else:
            lines[-1].append("  ◷", Style(color=colours.warn))
        strips = [self._strip(line, colour) for line in lines]
        if around.spaced and not around.grouped:
            strips.insert(0, Strip([]))
        return Block(Key("pending", client_id=pending.client_id), strips)

    def _colour(self, user: str) -> str:
        return self.colours.accent if user == self._reader.me else self.colours.person(user)

    def _before(self, message: MessageDoc, around: Around) -> list[Text]:
        lines: list[Text] = []
        dim = Style(color=self.colours.dim)
        if around.forwarded:
            lines.append(
                ink(f"↪ forwarded from {around.forwarded}", Style(color=self.colours.dim, italic=True))
            )
        if message.quote is not None:
            author = around.answered[1] if around.answered is not None else ""
            lines.append(ink("▍ ", dim).append(author, Style(color=self.colours.dim, bold=True)))
            quoted = wrapped(ink(clean_line(message.quote.text), dim), self._room - 2)[:4]
            lines += [ink("▍ ", dim).append_text(row) for row in quoted]
        elif around.answered is not None:
            lines.append(self._reply(around.answered, message.reply_to or 0))
        return lines

    def _reply(self, answered: tuple[str, str, str], seq: int = 0) -> Text:
        user, author, words = answered
        line = ink("╭ ", Style(color=self.colours.faint))
        line.append(author, Style(color=self._colour(user)))
        line.append(f"  {words}", Style(color=self.colours.dim))
        line.truncate(self._room, overflow="ellipsis")
        if seq:
            line.stylize(Style(meta={"jump": seq}))
        return line

    def _append_marks(self, line: Text, message: MessageDoc, around: Around) -> None:
        dim = Style(color=self.colours.dim)
        if message.edited_at and not message.deleted_at:
            line.append(" (edited)", Style(color=self.colours.dim, italic=True))
        if message.expires_at and not message.deleted_at:
            line.append(" ◔", dim)
        if message.pinned:
            line.append(" ⚑ pinned", Style(color=self.colours.warn))
        if around.starred:
            line.append(" ★", Style(color=self.colours.warn))

    def _after(self, message: MessageDoc, around: Around) -> list[Text]:
        lines: list[Text] = []
        if message.reactions:
            lines += self._chips(message)
        if message.replies is not None and message.replies.count and not around.in_thread:
            count = message.replies.count
            words = "1 reply" if count == 1 else f"{count} replies"
            line = ink("╰ ", Style(color=self.colours.faint))
            line.append(words, Style(color=self.colours.accent, bold=True))
            line.append(f"  last {clock(message.replies.last_at)}", Style(color=self.colours.dim))
            line.stylize(Style(meta={"thread": message.seq}))
            lines.append(line)
        return lines

    def _chips(self, message: MessageDoc) -> list[Text]:
        lines: list[Text] = []
        line = ink()
        for emoji, count in message.reactions.items():
            own = emoji in message.own_reactions
            colour = self.colours.accent if own else self.colours.text
            words = f" {clip(clean_line(emoji), 12)} {count} "
            style = Style(color=colour, bgcolor=self.colours.chip, bold=own)
            chip = ink(words, style + Style(meta={"react": message.seq, "emoji": emoji}))
            if line and line.cell_len + chip.cell_len + 1 > self._room:
                lines.append(line)
                line = ink()
            line.append_text(chip).append(" ")
        return [*lines, line]

    # --- lines between -----------------------------------------------------------------------------

    def rule(self, key: Key, words: str, *, colour: str | None = None) -> Block:
        """A line across, with words in it."""
        words = f" {words} "
        room = max(0, self.width - PAD - ink(words).cell_len)
        left = room // 2
        faint = Style(color=colour or self.colours.faint)
        line = ink("─" * left, faint)
        line.append(words, Style(color=colour or self.colours.dim, bold=colour is not None))
        line.append("─" * (room - left), faint)
        return Block(key, [strip(line)])

    def notice(self, seq: int, words: str, at: int) -> Block:
        """Something that happened."""
        text = ink(f"· {words}  {clock(at)}", Style(color=self.colours.dim, italic=True))
        rows = wrapped(text, self._room)
        return Block(Key("notice", seq), [self._strip(row, self.colours.background) for row in rows])

    # --- from text to strips -----------------------------------------------------------------------

    def _wrapped(self, lines: Sequence[Text], receipt: Receipt | None) -> list[Text]:
        """Wrapped to the width; the receipt stands at the right end of the last line."""
        mark = receipt.mark if receipt is not None else ""
        room = self._room - (Text(mark).cell_len + 1 if mark else 0)
        rows = [row for line in lines for row in wrapped(line, room)]
        if receipt is not None:
            last = rows[-1]
            last.rstrip()
            colour = self.colours.accent if receipt.progress == "read" else self.colours.dim
            last.append(" " * (room + 1 - last.cell_len))
            last.append(mark, Style(color=colour))
        return rows

    def _strip(self, line: Text, colour: str) -> Strip:
        bar = ink("▎ ", Style(color=colour))
        return strip(bar.append_text(line))


def answered_words(message: MessageDoc | None) -> str:
    """What a reply shows of the message that it answers."""
    return clip(summary(message.content), 120) if message is not None else "an earlier message"
