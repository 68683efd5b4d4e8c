"""Small windows: a question with a few answers, the emoji picker, the help."""

from __future__ import annotations

from collections.abc import Sequence
from typing import ClassVar

from rich.style import Style
from rich.table import Table
from rich.text import Text
from textual import events, on
from textual.app import ComposeResult
from textual.binding import Binding, BindingType
from textual.containers import Vertical, VerticalScroll
from textual.screen import ModalScreen
from textual.widgets import Input, OptionList, Static
from textual.widgets.option_list import Option

from tertulia.cli.chat import emoji, slash
from tertulia.cli.chat.colours import Colours


class Ask(ModalScreen[str | None]):
    """A question; ends with the id of the answer, or None."""

    BINDINGS: ClassVar[list[BindingType]] = [Binding("escape", "cancel", "close")]

    def __init__(self, question: str, answers: Sequence[tuple[str, str]], *, detail: str = "") -> None:
        super().__init__()
        self._question = question
        self._answers = answers
        self._detail = detail

    def compose(self) -> ComposeResult:
        with Vertical(classes="window small"):
            yield Static(self._question, classes="title", markup=False)
            if self._detail:
                yield Static(self._detail, classes="note", markup=False)
            yield OptionList(
                *(Option(Text(words), id=answer) for answer, words in self._answers), markup=False
            )

    @on(OptionList.OptionSelected)
    def _selected(self, event: OptionList.OptionSelected) -> None:
        event.stop()
        self.dismiss(event.option_id)

    def action_cancel(self) -> None:
        self.dismiss(None)


class EmojiPicker(ModalScreen[str | None]):
    """Ends with an emoji, or None."""

    COLUMNS = 10

    BINDINGS: ClassVar[list[BindingType]] = [
        Binding("escape", "cancel", "close"),
        Binding("left", "move(-1)", priority=True),
        Binding("right", "move(1)", priority=True),
        Binding("up", "move(-10)", priority=True),
        Binding("down", "move(10)", priority=True),
        Binding("tab", "move(1)", priority=True),
    ]

    def __init__(self, colours: Colours) -> None:
        super().__init__()
        self._colours = colours
        self._found = emoji.find("")
        self._at = 0

    def compose(self) -> ComposeResult:
        with Vertical(classes="window emoji"):
            yield Input(placeholder="find an emoji: tada, smile, heart…")
            yield Static("", id="grid", markup=False)
            yield Static("", classes="note", markup=False)

    def on_mount(self) -> None:
        self._draw()

    def _draw(self) -> None:
        text = Text(no_wrap=True)
        for at, char in enumerate(self._found):
            if at and at % self.COLUMNS == 0:
                text.append("\n")
            back = self._colours.accent if at == self._at else None
            text.append(f" {char} ", Style(bgcolor=back, meta={"emoji": char}))
        self.query_one("#grid", Static).update(text if self._found else "nothing found")
        names = dict(emoji.table())
        name = names.get(self._found[self._at], "") if self._found else ""
        self.query_one(".note", Static).update(name)

    @on(Input.Changed)
    def _changed(self, event: Input.Changed) -> None:
        event.stop()
        typed = event.value.strip()
        self._found = emoji.find(typed)
        # Whatever was pasted in is taken as it is.
        if not self._found and typed and not typed.isascii():
            self._found = [typed[:32]]
        self._at = 0
        self._draw()

    @on(Input.Submitted)
    def _submitted(self, event: Input.Submitted) -> None:
        event.stop()
        self.dismiss(self._found[self._at] if self._found else None)

    def on_click(self, event: events.Click) -> None:
        char = event.style.meta.get("emoji")
        if isinstance(char, str):
            self.dismiss(char)

    def action_move(self, by: int) -> None:
        if self._found:
            self._at = max(0, min(len(self._found) - 1, self._at + by))
            self._draw()

    def action_cancel(self) -> None:
        self.dismiss(None)


KEYS = (
    (
        "Everywhere",
        (
            ("Ctrl+K", "jump to a conversation, a person or a search"),
            ("Ctrl+F  F3", "search messages"),
            ("Ctrl+G  F4", "look through the channels"),
            ("F2", "members"),
            ("Alt+↑ Alt+↓", "the conversation above, below"),
            ("Alt+A", "the next one with something new"),
            ("Tab", "list, history, composing line"),
            ("F1", "this help"),
            ("Ctrl+Q", "quit"),
        ),
    ),
    (
        "Composing line",
        (
            ("Enter", "send"),
            ("Alt+Enter  Ctrl+J", "new line"),
            ("↑", "edit your last message (in an empty line)"),
            ("Esc", "cancel; then select messages"),
            ("@ / :", "complete people, commands, emoji; Tab takes"),
            ("PgUp PgDn End", "scroll; to the latest"),
        ),
    ),
    (
        "A selected message",
        (
            ("↑ ↓", "older, newer; Esc goes back"),
            ("r  e  d", "reply, edit, delete"),
            ("+", "react"),
            ("t  Enter", "its thread"),
            ("p  b  y", "pin, bookmark, copy"),
            ("f", "forward"),
            ("1…9  x", "vote; close a poll"),
            ("r  d", "send again, or drop, what was not sent"),
        ),
    ),
    (
        "Marks",
        (
            ("◷", "not sent yet"),
            ("✓  ✓✓", "sent, received; coloured: read"),
            ("● ◐ ○", "online, away, offline"),
            ("*a* **a** `a` ~~a~~", "emphasis, code and so on, as in Markdown"),
        ),
    ),
)


class Help(ModalScreen[None]):
    """Keys and commands."""

    BINDINGS: ClassVar[list[BindingType]] = [Binding("escape,q,f1,enter", "dismiss(None)", "close")]

    def __init__(self, colours: Colours) -> None:
        super().__init__()
        self._colours = colours

    def compose(self) -> ComposeResult:
        with VerticalScroll(classes="window help"):
            yield Static(self._table(), markup=False)

    def _table(self) -> Table:
        head = Style(color=self._colours.accent, bold=True)
        dim = Style(color=self._colours.dim)
        table = Table.grid(padding=(0, 2))
        table.add_column(no_wrap=True)
        table.add_column()
        for title, keys in KEYS:
            table.add_row(Text(title, head), "")
            for key, what in keys:
                table.add_row(Text(f"  {key}"), Text(what, dim))
            table.add_row("", "")
        table.add_row(Text("Commands", head), "")
        for command in slash.TABLE:
            table.add_row(Text(f"  /{command.name} {command.usage}".rstrip()), Text(command.help, dim))
        return table
