"""The list of conversations at the left."""

from __future__ import annotations

from collections.abc import Sequence
from typing import ClassVar

from rich.style import Style
from textual import events
from textual.binding import Binding, BindingType
from textual.geometry import Size
from textual.message import Message
from textual.scroll_view import ScrollView
from textual.strip import Strip

from tertulia.cli.chat.colours import Colours
from tertulia.cli.chat.ink import ink
from tertulia.cli.chat.ink import strip as text_strip
from tertulia.cli.chat.listing import Line, matches
from tertulia.cli.chat.safe import clip
from tertulia.cli.chat.times import brief

ROWS = 2


class RoomList(ScrollView):
    """Two rows for each conversation; typing narrows the list down."""

    can_focus = True

    BINDINGS: ClassVar[list[BindingType]] = [
        Binding("up", "move(-1)", "up", show=False),
        Binding("down", "move(1)", "down", show=False),
        Binding("home", "move(-1000000)", "first", show=False),
        Binding("end", "move(1000000)", "last", show=False),
        Binding("pageup", "move(-8)", "page up", show=False),
        Binding("pagedown", "move(8)", "page down", show=False),
        Binding("enter", "choose", "open", show=False),
    ]

    class Chosen(Message):
        """A conversation is to be opened."""

        def __init__(self, conversation: str) -> None:
            super().__init__()
            self.conversation = conversation

    class Left(Message):
        """The person is done with the list."""

    class Filtered(Message):
        """What the list is narrowed down to."""

        def __init__(self, text: str) -> None:
            super().__init__()
            self.text = text

    def __init__(self, *, id: str | None = None) -> None:  # noqa: A002 - Textual's word
        super().__init__(id=id)
        self._all: Sequence[Line] = ()
        self._shown: list[Line] = []
        self._colours: Colours | None = None
        self._now = 0
        self._drawn: dict[int, tuple[Strip, Strip]] = {}
        self.filter = ""
        self.open: str | None = None
        self.cursor: str | None = None

    def show(self, lines: Sequence[Line], colours: Colours, now: int, open_room: str | None) -> None:
        """The list as it is now."""
        self._all, self._colours, self._now = lines, colours, now
        self.open = open_room
        self._narrow()

    @property
    def shown(self) -> list[Line]:
        return self._shown

    def _narrow(self) -> None:
        self._drawn.clear()
        self._shown = [line for line in self._all if matches(line.title, self.filter) is not None]
        self.virtual_size = Size(self.scrollable_content_region.width, len(self._shown) * ROWS)
        ids = [line.id for line in self._shown]
        if self.cursor not in ids:
            self.cursor = self.open if self.open in ids else (ids[0] if ids else None)
        self.refresh()

    def beside(self, by: int) -> str | None:
        """The conversation above or below the open one."""
        ids = [line.id for line in self._all]
        if not ids:
            return None
        if self.open not in ids:
            return ids[0]
        return ids[(ids.index(self.open) + by) % len(ids)]

    def next_unread(self) -> str | None:
        """The next one that has something new: mentions first, muted ones last."""
        fresh = [line for line in self._all if line.unread and line.id != self.open]
        fresh.sort(key=lambda line: (line.muted, not line.mentions, line.kind != "direct"))
        return fresh[0].id if fresh else None

    def at_row(self, y: int) -> Line | None:
        index = (y + int(self.scroll_offset.y)) // ROWS
        return self._shown[index] if 0 <= index < len(self._shown) else None

    # --- drawing -----------------------------------------------------------------------------------

    def on_resize(self) -> None:
        self._narrow()

    def render_line(self, y: int) -> Strip:
        width = self.size.width
        base = self.rich_style
        index, row = divmod(y + int(self.scroll_offset.y), ROWS)
        if index >= len(self._shown) or self._colours is None:
            return Strip.blank(width, base)
        line = self._shown[index]
        if index not in self._drawn:
            self._drawn[index] = self._draw(line, self._colours)
        if line.id == self.open:
            base += Style(bgcolor=self._colours.selected)
        elif self.has_focus and line.id == self.cursor:
            base += Style(bgcolor=self._colours.panel)
        drawn = self._drawn[index][row].extend_cell_length(width).apply_style(base).crop(0, width)
        if self.has_focus and line.id == self.cursor:
            bar = text_strip(ink("▌", base + Style(color=self._colours.accent)))
            drawn = Strip.join([bar, drawn.crop(1, width)])
        return drawn

    def _draw(self, line: Line, c: Colours) -> tuple[Strip, Strip]:
        width = self.scrollable_content_region.width - 1
        fresh = bool(line.unread) and not line.muted
        shade = c.faint if line.muted else c.text
        icon_colour = c.dim
        if line.kind == "direct":
            icon_colour = {"online": c.good, "away": c.warn}.get(line.presence or "", c.faint)
        indent = "   " if line.under else " "
        when = brief(line.when, self._now)
        first = ink(indent).append(line.icon, Style(color=icon_colour)).append(" ")
        room = width - first.cell_len - len(when) - 1 - (2 if line.pinned else 0)
        first.append(clip(line.title, room), Style(color=c.dim if line.muted else c.text, bold=fresh))
        first.append(" " * max(1, width - first.cell_len - len(when) - (2 if line.pinned else 0)))
        if line.pinned:
            first.append("⚑ ", Style(color=c.faint))
        first.append(when, Style(color=c.accent if fresh else c.faint))

        badge = ink()
        if line.mentions:
            badge.append(f" @{min(line.mentions, 99)} ", Style(color=c.background, bgcolor=c.bad, bold=True))
        if line.unread:
            count = f" {line.unread if line.unread < 1000 else '999+'} "
            quiet = Style(color=c.dim, bgcolor=c.panel)
            badge.append(
                count, quiet if line.muted else Style(color=c.background, bgcolor=c.accent, bold=True)
            )
        second = ink(indent + "  ")
        if line.failed:
            second.append("✗ ", Style(color=c.bad))
        if line.draft:
            second.append("✎ ", Style(color=c.warn))
        room = width - second.cell_len - badge.cell_len - (1 if badge else 0)
        colour = c.accent if line.typing else shade if fresh else c.faint if line.muted else c.dim
        second.append(clip(line.preview, room), Style(color=colour if not fresh or line.typing else c.dim))
        second.append(" " * max(0, width - second.cell_len - badge.cell_len)).append_text(badge)
        return text_strip(first), text_strip(second)

    # --- keys and clicks ---------------------------------------------------------------------------

    def action_move(self, by: int) -> None:
        ids = [line.id for line in self._shown]
        if not ids:
            return
        at = ids.index(self.cursor) if self.cursor in ids else 0
        at = max(0, min(len(ids) - 1, at + by))
        self.cursor = ids[at]
        top, height = int(self.scroll_offset.y), self.scrollable_content_region.height
        if at * ROWS < top:
            self.scroll_to(y=at * ROWS, animate=False)
        elif (at + 1) * ROWS > top + height:
            self.scroll_to(y=(at + 1) * ROWS - height, animate=False)
        self.refresh()

    def action_choose(self) -> None:
        if self.cursor is not None:
            self.post_message(self.Chosen(self.cursor))
            self._filter_by("")

    def _filter_by(self, text: str) -> None:
        if text != self.filter:
            self.filter = text
            self.cursor = None
            self._narrow()
            self.scroll_to(y=0, animate=False)
            self.post_message(self.Filtered(text))

    def on_key(self, event: events.Key) -> None:
        if event.key == "escape":
            if self.filter:
                self._filter_by("")
            else:
                self.post_message(self.Left())
        elif event.key == "backspace":
            self._filter_by(self.filter[:-1])
        elif event.is_printable and event.character:
            self._filter_by(self.filter + event.character)
        else:
            return
        event.stop()
        event.prevent_default()

    def on_blur(self) -> None:
        self._filter_by("")
        self.refresh()

    def on_focus(self) -> None:
        self.cursor = self.open or self.cursor
        self.refresh()

    def on_click(self, event: events.Click) -> None:
        line = self.at_row(event.y)
        if line is not None:
            self.cursor = line.id
            self.post_message(self.Chosen(line.id))
