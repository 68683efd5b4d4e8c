"""The scrolling history of a place.  Only the lines in view are ever put on the screen."""

from __future__ import annotations

from bisect import bisect_right
from itertools import accumulate
from typing import ClassVar

from rich.style import Style
from textual import events
from textual.binding import Binding, BindingType
from textual.geometry import Size
from textual.message import Message
from textual.scroll_view import ScrollView
from textual.strip import Strip

from tertulia.cli.chat.colours import Colours
from tertulia.cli.chat.drawing import Block, Key, Pen
from tertulia.cli.chat.markup import Reader
from tertulia.cli.chat.storyline import Storyline

SPACED_FROM = 26
"""Rows of terminal from which on there is air between people."""


class History(ScrollView):
    """Shows a `Storyline`; a message in it can be selected."""

    can_focus = True

    BINDINGS: ClassVar[list[BindingType]] = [
        Binding("up,k", "move(-1)", "older"),
        Binding("down,j", "move(1)", "newer"),
        Binding("home,g", "first", "oldest"),
        Binding("end,G", "latest", "latest"),
        Binding("pageup", "page(-1)", "page up"),
        Binding("pagedown", "page(1)", "page down"),
    ]

    class Act(Message):
        """A key was pressed on the selected message."""

        def __init__(self, history: History, key: Key, pressed: str) -> None:
            super().__init__()
            self.history = history
            self.key = key
            self.pressed = pressed

    class Clicked(Message):
        """A reaction, a thread or an answered message was clicked on."""

        def __init__(self, history: History, meta: dict[str, object]) -> None:
            super().__init__()
            self.history = history
            self.meta = meta

    class Left(Message):
        """The person is done with selecting."""

        def __init__(self, history: History) -> None:
            super().__init__()
            self.history = history

    class NearTop(Message):
        """Older messages are about to be needed."""

        def __init__(self, history: History) -> None:
            super().__init__()
            self.history = history

    class Scrolled(Message):
        """The view moved; `at_end`: the newest message is in it."""

        def __init__(self, history: History, *, at_end: bool) -> None:
            super().__init__()
            self.history = history
            self.at_end = at_end

    def __init__(self, *, id: str | None = None) -> None:  # noqa: A002 - Textual's word
        super().__init__(id=id)
        self.storyline: Storyline | None = None
        self.selected: Key | None = None
        self._reader: Reader | None = None
        self._colours: Colours | None = None
        self._blocks: list[Block] = []
        self._ends: list[int] = []
        self._pad = 0
        self._pen: Pen | None = None
        self._following = True
        self._flash: Key | None = None

    # --- what it shows -----------------------------------------------------------------------------

    def show(self, storyline: Storyline | None, reader: Reader, colours: Colours) -> None:
        """Another place, from its end."""
        self.storyline, self._reader, self._colours = storyline, reader, colours
        self.selected = None
        self._pen = None
        self._following = True
        self.redraw()

    def recolour(self, colours: Colours) -> None:
        self._colours = colours
        self._pen = None
        self.redraw()

    def redraw(self) -> None:
        """Look at the storyline again; what is in view stays in view."""
        width = self.scrollable_content_region.width
        if self._colours is None or self._reader is None or width <= 0:
            return
        if self._pen is None or self._pen.width != max(width, 16):
            self._pen = Pen(self._colours, self._reader, width)
        anchor, offset = self._anchor()
        spaced = self.screen.size.height >= SPACED_FROM
        self._blocks = self.storyline.blocks(self._pen, spaced=spaced) if self.storyline is not None else []
        self._ends = list(accumulate(len(block.lines) for block in self._blocks))
        height = self.scrollable_content_region.height
        lines = self._ends[-1] if self._ends else 0
        self._pad = max(0, height - lines)
        self.virtual_size = Size(width, lines + self._pad)
        if self.selected is not None and self._index(self.selected) is None:
            self.selected = None
        if self._following:
            self.scroll_to(y=self.max_scroll_y, animate=False)
        elif anchor is not None and (index := self._index(anchor)) is not None:
            self.scroll_to(y=self._start(index) + offset, animate=False)
        self.refresh()

    @property
    def at_end(self) -> bool:
        return self.scroll_offset.y >= self.max_scroll_y - 1

    @property
    def blocks(self) -> list[Block]:
        return self._blocks

    def _anchor(self) -> tuple[Key | None, int]:
        """The first block in view that will still be there, and how far its start is above the view."""
        top = int(self.scroll_offset.y)
        index = self._block_at(top)
        for at in range(index, len(self._blocks)):
            if self._blocks[at].selectable:
                return self._blocks[at].key, top - self._start(at)
        return None, 0

    def _start(self, index: int) -> int:
        """The line where a block begins."""
        return self._pad + (self._ends[index - 1] if index else 0)

    def _block_at(self, y: int) -> int:
        return bisect_right(self._ends, y - self._pad)

    def _index(self, key: Key) -> int | None:
        return next((at for at, block in enumerate(self._blocks) if block.key == key), None)

    # --- drawing -----------------------------------------------------------------------------------

    def render_line(self, y: int) -> Strip:
        width = self.size.width
        row = y + int(self.scroll_offset.y)
        base = self.rich_style
        index = self._block_at(row)
        if row < self._pad or index >= len(self._blocks) or self._colours is None:
            return Strip.blank(width, base)
        block = self._blocks[index]
        line = row - self._start(index)
        # The blank line above a person is nobody's.
        blank = not block.lines[line]
        if not blank and block.key == self.selected:
            base += Style(bgcolor=self._colours.selected)
        elif not blank and block.shaded:
            base += Style(bgcolor=self._colours.mention)
        return block.lines[line].extend_cell_length(width).apply_style(base).crop(0, width)

    def on_resize(self) -> None:
        self.redraw()

    def watch_scroll_y(self, old_value: float, new_value: float) -> None:
        super().watch_scroll_y(old_value, new_value)
        if round(old_value) == round(new_value):
            return
        self._following = self.at_end
        self.post_message(self.Scrolled(self, at_end=self._following))
        if new_value < 8 and self._blocks and new_value < old_value:
            self.post_message(self.NearTop(self))

    # --- moving ------------------------------------------------------------------------------------

    def select(self, key: Key | None) -> bool:
        """Select a block and bring it into view.  False: it is not there."""
        if key is None:
            self.selected = None
            self.refresh()
            return True
        index = self._index(key)
        if index is None:
            return False
        self.selected = key
        start, end = self._start(index), self._pad + self._ends[index]
        height = self.scrollable_content_region.height
        top = int(self.scroll_offset.y)
        if start < top:
            self.scroll_to(y=start, animate=False)
        elif end > top + height:
            self.scroll_to(y=min(start, end - height), animate=False)
        self.refresh()
        return True

    def centre(self, key: Key) -> bool:
        """Select a block and show it in the middle."""
        index = self._index(key)
        if index is None:
            return False
        self._following = False
        self.selected = key
        middle = self._start(index) - self.scrollable_content_region.height // 2
        self.scroll_to(y=max(0, min(middle, self.max_scroll_y)), animate=False)
        self.refresh()
        return True

    def action_move(self, by: int) -> None:
        choices = [block.key for block in self._blocks if block.selectable]
        if not choices:
            return
        if self.selected not in choices:
            self.select(choices[-1])
            return
        at = choices.index(self.selected) + by
        if at >= len(choices):
            self.action_leave()
            return
        if at < 0:
            self.scroll_to(y=0, animate=False)
            self.post_message(self.NearTop(self))
            return
        self.select(choices[at])

    def action_first(self) -> None:
        self.scroll_to(y=0, animate=False)
        choices = [block.key for block in self._blocks if block.selectable]
        self.select(choices[0] if choices else None)
        self.post_message(self.NearTop(self))

    def action_latest(self) -> None:
        """To the newest message."""
        self._following = True
        self.scroll_to(y=self.max_scroll_y, animate=False)
        choices = [block.key for block in self._blocks if block.selectable]
        self.select(choices[-1] if choices and self.has_focus else None)

    def action_page(self, by: int) -> None:
        """A view's height up or down; the selection, if there is one, comes along."""
        height = max(1, self.scrollable_content_region.height - 2)
        top = max(0, min(self.max_scroll_y, int(self.scroll_offset.y) + by * height))
        if by < 0 and top == int(self.scroll_offset.y):
            self.post_message(self.NearTop(self))
        self.scroll_to(y=top, animate=False)
        if not self.has_focus:
            return
        choices = range(self._block_at(max(top, self._pad)), len(self._blocks))
        found = next((self._blocks[at].key for at in choices if self._blocks[at].selectable), None)
        self.select(found)

    def action_leave(self) -> None:
        self.selected = None
        self.refresh()
        self.post_message(self.Left(self))

    # --- keys and clicks ---------------------------------------------------------------------------

    def on_key(self, event: events.Key) -> None:
        if event.key == "escape":
            event.stop()
            self.action_leave()
        elif self.selected is not None and (event.is_printable or event.key in ("enter", "delete")):
            pressed = event.character if event.is_printable and event.character else event.key
            if pressed in ("j", "k", "g", "G"):
                return
            event.stop()
            event.prevent_default()
            self.post_message(self.Act(self, self.selected, pressed))

    def on_focus(self) -> None:
        if self.selected is None:
            self.action_move(-1)

    def on_blur(self) -> None:
        if self.selected is not None:
            self.selected = None
            self.refresh()

    def on_click(self, event: events.Click) -> None:
        meta = event.style.meta
        if any(name in meta for name in ("react", "thread", "jump")):
            self.post_message(self.Clicked(self, dict(meta)))
            return
        index = self._block_at(event.y + int(self.scroll_offset.y))
        if index < len(self._blocks) and self._blocks[index].selectable:
            self.focus(scroll_visible=False)
            self.select(self._blocks[index].key)
