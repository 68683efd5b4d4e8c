"""The composing line, and the choices that appear above it."""

from __future__ import annotations

from typing import ClassVar

from rich.cells import cell_len
from rich.style import Style
from textual import events
from textual.binding import Binding, BindingType
from textual.message import Message
from textual.widgets import Static, TextArea

from tertulia.cli.chat.colours import Colours
from tertulia.cli.chat.completion import Choice
from tertulia.cli.chat.ink import ink
from tertulia.cli.chat.safe import clip

NEWLINE_KEYS = frozenset({"alt+enter", "shift+enter", "ctrl+j", "ctrl+enter"})
VISIBLE = 8


class Choices(Static):
    """The choices; shown while there are any."""

    def __init__(self, *, id: str | None = None) -> None:  # noqa: A002 - Textual's word
        super().__init__(id=id, markup=False)
        self.choices: list[Choice] = []
        self.index = 0
        self.display = False

    def put(self, choices: list[Choice], colours: Colours) -> None:
        if [one.insert for one in choices] != [one.insert for one in self.choices]:
            self.index = 0
        self.choices = choices
        self.display = bool(choices)
        if choices:
            self._draw(colours)

    def move(self, by: int, colours: Colours) -> None:
        self.index = (self.index + by) % len(self.choices)
        self._draw(colours)

    @property
    def current(self) -> Choice:
        return self.choices[self.index]

    def _draw(self, colours: Colours) -> None:
        first = max(0, min(self.index - VISIBLE + 1, len(self.choices) - VISIBLE))
        shown = self.choices[first : first + VISIBLE]
        width = max(cell_len(one.label) for one in shown)
        text = ink()
        for at, one in enumerate(shown, first):
            chosen = at == self.index
            mark = Style(color=colours.accent if chosen else colours.text, bold=chosen)
            text.append("▸ " if chosen else "  ", Style(color=colours.accent))
            text.append(one.label.ljust(min(width, 34)), mark)
            text.append(f"  {clip(one.hint, 60)}", Style(color=colours.dim))
            text.append("\n" if at - first + 1 < len(shown) else "")
        self.update(text)


class Composer(TextArea):
    """Enter sends, Alt+Enter starts a new line."""

    BINDINGS: ClassVar[list[BindingType]] = [
        Binding("pageup", "history_page(-1)", show=False),
        Binding("pagedown", "history_page(1)", show=False),
    ]

    class Submitted(Message):
        """Enter."""

        def __init__(self, composer: Composer, text: str) -> None:
            super().__init__()
            self.composer = composer
            self.text = text

        @property
        def control(self) -> Composer:
            return self.composer

    class Wanted(Message):
        """A key that is not about text: `up` at the top of an empty line, `escape`, `pageup`, `end`…"""

        def __init__(self, composer: Composer, what: str) -> None:
            super().__init__()
            self.composer = composer
            self.what = what

        @property
        def control(self) -> Composer:
            return self.composer

    def __init__(self, choices: Choices, colours: Colours, *, id: str | None = None) -> None:  # noqa: A002 - Textual's word
        super().__init__(
            id=id,
            soft_wrap=True,
            show_line_numbers=False,
            tab_behavior="focus",
            compact=True,
            highlight_cursor_line=False,
        )
        self._choices = choices
        self.colours = colours
        self.waved_off: str | None = None
        """The text for which the choices were sent away."""

    def before_cursor(self) -> str:
        """The text up to the cursor, within its line; all of it for a command."""
        return self.get_text_range((0, 0), self.cursor_location)

    def set_text(self, text: str) -> None:
        """Another text, the cursor at its end."""
        self.load_text(text)
        self.move_cursor(self.document.end)

    def take(self, choice: Choice) -> None:
        """Put a choice in."""
        row, column = self.cursor_location
        start = (row, max(0, column - choice.length))
        self.replace(choice.insert, start, (row, column), maintain_selection_offset=False)

    async def on_key(self, event: events.Key) -> None:
        """Keys that mean something else than typing."""
        key = event.key
        if self._choices.display and self._choose(key):
            pass
        elif key == "enter":
            self.post_message(self.Submitted(self, self.text))
        elif key in NEWLINE_KEYS:
            self.insert("\n")
        elif key == "escape":
            self.post_message(self.Wanted(self, "escape"))
        elif key == "tab" and self.text:
            # Somebody expects a completion; what they type next must not become commands elsewhere.
            pass
        elif key in ("up", "end", "home") and not self.text:
            self.post_message(self.Wanted(self, key))
        elif key in ("ctrl+up", "shift+up"):
            self.post_message(self.Wanted(self, "select"))
        else:
            return
        event.stop()
        event.prevent_default()

    def _choose(self, key: str) -> bool:
        choices = self._choices
        if key in ("up", "down"):
            choices.move(-1 if key == "up" else 1, self.colours)
        elif key == "escape":
            self.waved_off = self.text
            choices.put([], self.colours)
        elif key == "tab":
            self.take(choices.current)
        elif key == "enter":
            # A command that is typed out in full is meant; Enter then carries it out.
            current = choices.current
            typed = self.before_cursor()[-current.length :] if current.length else ""
            if current.optional or not typed or current.insert.strip() == typed.strip():
                return False
            self.take(current)
        else:
            return False
        return True

    def action_history_page(self, by: int) -> None:
        self.post_message(self.Wanted(self, "pageup" if by < 0 else "pagedown"))
