"""A window in which one thing is chosen from a list by typing a part of it."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass
from typing import ClassVar

from rich.text import Text
from textual import on
from textual.app import ComposeResult
from textual.binding import Binding, BindingType
from textual.containers import Vertical
from textual.screen import ModalScreen
from textual.widgets import Input, OptionList, Static
from textual.widgets.option_list import Option

from tertulia.cli.chat.gateway import REFUSALS, explain
from tertulia.cli.chat.safe import clean_line


@dataclass(frozen=True)
class Row:
    """A choice; `text` may have several lines."""

    id: str
    text: Text


Find = Callable[[str], Awaitable[Sequence[Row]]]
"""The choices for what was typed, best first."""


class Chooser(ModalScreen[str | None]):
    """Ends with the id of what was chosen, or None."""

    BINDINGS: ClassVar[list[BindingType]] = [
        Binding("escape", "cancel", "close"),
        Binding("up,ctrl+p", "move(-1)", priority=True),
        Binding("down,ctrl+n", "move(1)", priority=True),
        Binding("pageup", "move(-8)", priority=True),
        Binding("pagedown", "move(8)", priority=True),
        Binding("tab", "switch", priority=True),
    ]

    def __init__(
        self,
        title: str,
        find: Find,
        *,
        placeholder: str = "",
        query: str = "",
        pause_s: float = 0.0,
        nothing: str = "nothing found",
        toggle: Callable[[], str] | None = None,
    ) -> None:
        """`pause_s`: how long to wait for more typing.  `toggle` switches something by Tab and returns the
        title from then on."""
        super().__init__()
        self._heading = title
        self._find = find
        self._placeholder = placeholder
        self._query = query
        self._pause_s = pause_s
        self._nothing = nothing
        self._toggle = toggle
        self._looking = False
        self._chosen_early = False

    def compose(self) -> ComposeResult:
        with Vertical(classes="window"):
            yield Static(self._heading, classes="title", markup=False)
            yield Input(self._query, placeholder=self._placeholder, select_on_focus=False)
            yield OptionList(markup=False)
            yield Static("", classes="note", markup=False)

    def on_mount(self) -> None:
        self.query_one(OptionList).can_focus = False
        self.query_one(Input).focus()
        self._look()

    @on(Input.Changed)
    def _changed(self, event: Input.Changed) -> None:
        event.stop()
        self._look()

    def _look(self) -> None:
        self._looking, self._chosen_early = True, False
        self.run_worker(self._fill(self.query_one(Input).value), exclusive=True, exit_on_error=False)

    async def _fill(self, query: str) -> None:
        if self._pause_s:
            await asyncio.sleep(self._pause_s)
        note = self.query_one(".note", Static)
        try:
            rows = await self._find(query)
        except REFUSALS as error:
            self._looking = False
            note.update(clean_line(explain(error)))
            return
        self._looking = False
        options = self.query_one(OptionList)
        options.clear_options()
        options.add_options([Option(row.text, id=row.id) for row in rows])
        if rows:
            options.highlighted = 0
        note.update("" if rows else self._nothing)
        if rows and self._chosen_early:
            self.dismiss(rows[0].id)

    @on(Input.Submitted)
    def _submitted(self, event: Input.Submitted) -> None:
        event.stop()
        options = self.query_one(OptionList)
        if self._looking:
            # What is listed answers to what was typed before; the first of what comes is meant.
            self._chosen_early = True
        elif options.highlighted is not None:
            self.dismiss(options.get_option_at_index(options.highlighted).id)

    @on(OptionList.OptionSelected)
    def _selected(self, event: OptionList.OptionSelected) -> None:
        event.stop()
        self.dismiss(event.option_id)

    def action_move(self, by: int) -> None:
        options = self.query_one(OptionList)
        if options.option_count:
            at = (options.highlighted or 0) + by
            options.highlighted = max(0, min(options.option_count - 1, at))

    def action_switch(self) -> None:
        if self._toggle is not None:
            self.query_one(".title", Static).update(self._toggle())
            self._look()

    def action_cancel(self) -> None:
        self.dismiss(None)
