"""The panel of members."""

from __future__ import annotations

from rich.style import Style
from rich.text import Text
from textual import on
from textual.app import ComposeResult
from textual.containers import Vertical
from textual.message import Message
from textual.widgets import OptionList, Static
from textual.widgets.option_list import Option

from tertulia.cli.chat.context import Context
from tertulia.cli.chat.ink import ink
from tertulia.cli.chat.safe import clip
from tertulia_client.models import MemberDoc

_RANKS = ("owner", "admin", "moderator", "member", "guest")
_SHOWN = 300


class Members(Vertical):
    """Who is in a conversation; choosing someone opens a talk with them."""

    class Chosen(Message):
        def __init__(self, user: str) -> None:
            super().__init__()
            self.user = user

    def __init__(self, context: Context, *, id: str | None = None) -> None:  # noqa: A002 - Textual's word
        super().__init__(id=id)
        self.context = context
        self.conversation: str | None = None
        self._last: list[Text] = []

    def compose(self) -> ComposeResult:
        yield Static("", classes="head", markup=False)
        yield OptionList(markup=False)

    def show(self, conversation: str) -> None:
        """The members of another conversation."""
        self.conversation = conversation
        docs = self.context.talk.people.members(conversation)
        self.context.talk.people.watch(doc.user for doc in docs[:30])
        self.redraw()

    def redraw(self) -> None:
        """Look at them again."""
        if self.conversation is None:
            return
        talk, colours = self.context.talk, self.context.colours
        docs = sorted(talk.people.members(self.conversation), key=self._order)
        rows = [self._row(doc) for doc in docs[:_SHOWN]]
        head = ink(" Members", Style(bold=True)).append(f"  {len(docs)}", Style(color=colours.dim))
        self.query_one(".head", Static).update(head.append("  Esc closes", Style(color=colours.faint)))
        if rows == self._last:
            return
        self._last = rows
        options = self.query_one(OptionList)
        at = options.highlighted
        options.clear_options()
        options.add_options([Option(row, id=doc.user) for row, doc in zip(rows, docs[:_SHOWN], strict=True)])
        if rows:
            options.highlighted = min(at or 0, len(rows) - 1)

    def _order(self, doc: MemberDoc) -> tuple[bool, int, str]:
        state = self.context.talk.state
        known = state.presence.get(doc.user) if state is not None else None
        away = known is None or known.state == "offline"
        return away, _RANKS.index(doc.role), self.context.talk.names.name(doc.user).casefold()

    def _row(self, doc: MemberDoc) -> Text:
        talk, colours = self.context.talk, self.context.colours
        state = talk.state
        known = state.presence.get(doc.user) if state is not None else None
        where = known.state if known is not None else "offline"
        mark = {"online": ("●", colours.good), "away": ("◐", colours.warn)}.get(where, ("○", colours.faint))
        text = ink().append(f"{mark[0]} ", Style(color=mark[1]))
        person = talk.names.person(doc.user)
        name = "You" if doc.user == talk.me else talk.names.name(doc.user)
        colour = colours.accent if doc.user == talk.me else colours.person(doc.user)
        text.append(clip(name, 24), Style(color=colour))
        if person is not None and person.handle:
            text.append(f"  @{person.handle}", Style(color=colours.dim))
        if person is not None and person.bot:
            text.append("  bot", Style(color=colours.faint))
        if doc.role != "member":
            text.append(f"  {doc.role}", Style(color=colours.accent))
        return text

    @on(OptionList.OptionSelected)
    def _selected(self, event: OptionList.OptionSelected) -> None:
        event.stop()
        if event.option_id is not None:
            self.post_message(self.Chosen(event.option_id))
