"""A place on the screen: its head, its history, who types there, and the composing line."""

from __future__ import annotations

from rich.style import Style
from textual import events, on
from textual.app import ComposeResult
from textual.containers import Vertical
from textual.content import Content
from textual.message import Message
from textual.widgets import Static, TextArea

from tertulia.cli.chat import slash
from tertulia.cli.chat.completion import Candidate, complete
from tertulia.cli.chat.composer import Choices, Composer
from tertulia.cli.chat.contents import summary
from tertulia.cli.chat.context import Context
from tertulia.cli.chat.drawing import Key
from tertulia.cli.chat.heading import context_line, heading, invitation, typing_line, welcome
from tertulia.cli.chat.history import History
from tertulia.cli.chat.ink import ink
from tertulia.cli.chat.loading import load_receipts, load_until
from tertulia.cli.chat.markup import Reader
from tertulia.cli.chat.pending import Place
from tertulia.cli.chat.storyline import Storyline
from tertulia_client import OutboxFull
from tertulia_client import Text as Words
from tertulia_client.models import MessageDoc

PAGE = 50


class Pane(Vertical):
    """Shows one place at a time; `place` is None while nothing is open."""

    class Command(Message):
        """A slash command, or `/word` that is none."""

        def __init__(self, pane: Pane, call: slash.Call | slash.NotACommand) -> None:
            super().__init__()
            self.pane = pane
            self.call = call

    class Closed(Message):
        """The person is done with this pane."""

        def __init__(self, pane: Pane) -> None:
            super().__init__()
            self.pane = pane

    def __init__(self, context: Context, *, id: str | None = None) -> None:  # noqa: A002 - Textual's word
        super().__init__(id=id)
        self.context = context
        self.place: Place | None = None
        self.replying: int | None = None
        self.editing: int | None = None
        self.storyline: Storyline | None = None
        self._fresh_below = 0
        self._loading = False
        self._history = History()
        self._choices = Choices()
        self._composer = Composer(self._choices, context.colours)
        self._head = Static(classes="head", markup=False)
        self._empty = Static(classes="empty", markup=False)
        self._typing = Static(classes="typing", markup=False)
        self._below = Static(classes="below", markup=False)
        self._hint = Static(classes="hint", markup=False)

    def compose(self) -> ComposeResult:
        yield self._head
        yield self._empty
        yield self._history
        yield self._below
        yield self._typing
        yield self._choices
        yield self._hint
        yield self._composer

    def on_mount(self) -> None:
        self._below.display = False
        self._hint.display = False
        self._composer.display = False

    @property
    def history(self) -> History:
        return self._history

    @property
    def composer(self) -> Composer:
        return self._composer

    # --- opening and leaving -----------------------------------------------------------------------

    def open(self, place: Place) -> None:
        """Show another place; what stood in the composing line stays with the old one."""
        if place == self.place:
            return
        self.leave()
        self.place = place
        self.storyline = Storyline(self.context.talk, place)
        room = self.context.talk.rooms.get(place[0])
        if room is not None and not place[1] and room.unread:
            self.storyline.unread_after = room.read
        self._fresh_below = 0
        self._composer.display = True
        self._composer.set_text(self.context.talk.draft(place))
        state = self.context.talk.state
        kept = state.drafts.get(place) if state is not None else None
        self.replying = kept.reply_to if kept is not None else None
        self._history.show(self.storyline, self.reader(), self.context.colours)
        self.redraw()
        self.load()

    def leave(self) -> None:
        """Keep the draft; nothing is open then."""
        if self.place is not None and self.editing is None:
            text, place = self._composer.text, self.place
            self.context.attempt(self.context.talk.leave_draft(place, text, self.replying))
        if self.place is not None:
            self.context.attempt(self.context.talk.composing(self.place, ""))
        self.place, self.storyline = None, None
        self.replying, self.editing = None, None
        self._composer.set_text("")
        self._composer.display = False
        self._history.show(None, self.reader(), self.context.colours)
        self.redraw()

    def load(self) -> None:
        """Fetch what the place shows at first."""
        if self.place is not None:
            self.context.attempt(self._load(self.place))

    async def _load(self, place: Place) -> None:
        talk = self.context.talk
        room = talk.rooms.get(place[0])
        if room is None:
            return
        talk.people.members(self._home(place))
        if place[1]:
            await talk.client.load_thread(*place)
        elif room.since and len(room.messages) < PAGE:
            await talk.client.load_messages(place[0], limit=PAGE)
        talk.touch(place[0])
        if not place[1] and room.role is not None and room.member_count <= 200:
            await load_receipts(talk, place[0])

    def reader(self) -> Reader:
        names = self.context.talk.names

        def mention(word: str) -> str | None:
            return "*" if word in ("all", "here") else names.user_of(word)

        return Reader(self.context.talk.me, mention)

    # --- showing -----------------------------------------------------------------------------------

    def redraw(self) -> None:
        """Look at everything again."""
        self._history.redraw()
        self.redraw_edges()
        if self._composer.has_focus and "@" in self._composer.text:
            # The people may only now be known.
            self._complete()

    def recolour(self) -> None:
        self._composer.colours = self.context.colours
        self._history.recolour(self.context.colours)
        self.redraw_edges()

    def redraw_edges(self) -> None:
        """The head, the typing line and what the composing line is for."""
        talk, colours, place = self.context.talk, self.context.colours, self.place
        self._head.update(heading(talk, colours, place))
        self._empty.display = place is None
        self._history.display = place is not None
        if place is None:
            self._empty.update(welcome(talk, colours))
        self._typing.update(typing_line(talk.typists(place) if place else [], colours))
        target = self.editing or self.replying
        self._hint.display = target is not None
        if target is not None and place is not None:
            message = self.message(target)
            author = talk.names.name(message.user) if message is not None else ""
            words = summary(message.content) if message is not None else ""
            self._hint.update(context_line(self.editing is not None, author, words, colours))
        self._below.display = not self._history.at_end and self._history.storyline is not None
        if self._below.display:
            fresh = self._fresh_below
            words = "↓ latest" if not fresh else f"↓ {fresh} new message{'s' if fresh != 1 else ''}"
            self._below.update(ink(f" {words} ", Style(color=colours.accent, bold=bool(fresh))))
        if place is not None:
            # As content: a plain text would be read for the toolkit's own markup.
            self._composer.placeholder = Content(invitation(talk, place))

    def incoming(self) -> None:
        """Somebody's message came in here."""
        if not self._history.at_end:
            self._fresh_below += 1
            self.redraw_edges()

    def message(self, seq: int) -> MessageDoc | None:
        room = self.context.talk.rooms.get(self.place[0]) if self.place is not None else None
        return room.messages.get(seq) if room is not None else None

    def newest(self, *, own: bool | None = None) -> MessageDoc | None:
        """The newest message that was not deleted: of oneself, of others, or of anyone."""
        if self.storyline is None:
            return None
        me = self.context.talk.me
        for message in reversed(self.storyline.messages()):
            if message.deleted_at or (own is not None and (message.user == me) != own):
                continue
            return message
        return None

    def jump(self, seq: int) -> None:
        """Show a message in the middle, fetching what lies between."""
        if self.place is not None:
            self.context.attempt(self._jump(self.place, seq))

    async def _jump(self, place: Place, seq: int) -> None:
        if not place[1] and not await load_until(self.context.talk, place[0], seq):
            self.context.say("That message is not here any more.")
            return
        if place[1]:
            await self.context.talk.client.load_thread(*place)
        if self.place == place:
            self._history.redraw()
            self._history.focus(scroll_visible=False)
            self._history.centre(Key("message", seq))
            self.redraw_edges()

    # --- composing ---------------------------------------------------------------------------------

    def reply(self, seq: int) -> None:
        self.editing, self.replying = None, seq
        self._composer.focus()
        self.redraw_edges()

    def edit(self, seq: int) -> None:
        """Change one's own message in the composing line."""
        message = self.message(seq)
        if message is None or message.user != self.context.talk.me or not isinstance(message.content, Words):
            self.context.say("Only your own texts can be edited.")
            return
        self.editing, self.replying = seq, None
        self._composer.set_text(message.content.text)
        self._composer.focus()
        self.redraw_edges()

    def cancel(self) -> bool:
        """Neither reply nor edit; False when there was nothing to cancel."""
        if self.editing is None and self.replying is None:
            return False
        if self.editing is not None:
            self._composer.set_text("")
        self.editing, self.replying = None, None
        self.redraw_edges()
        return True

    @on(TextArea.Changed)
    def _changed(self, event: TextArea.Changed) -> None:
        event.stop()
        if self.place is None:
            return
        self._complete()
        if self.editing is None and not self._composer.text.startswith("/"):
            self.context.attempt(self.context.talk.composing(self.place, self._composer.text))

    def _complete(self) -> None:
        if self.place is None or self._composer.text == self._composer.waved_off:
            return
        talk = self.context.talk
        before = self._composer.before_cursor()
        line = before if before.startswith("/") else before.rpartition("\n")[2]
        people: list[Candidate] = []
        if "@" in line:
            for doc in talk.people.members(self._home(self.place)):
                person = talk.names.person(doc.user)
                if person is not None and doc.user != talk.me:
                    people.append(Candidate(person.handle, person.name))
        slugs = (room.slug for room in talk.rooms.values() if room.slug)
        self._choices.put(complete(line, people, slugs), self.context.colours)

    def _home(self, place: Place) -> str:
        """The conversation whose members may read here: a topic has its channel's."""
        room = self.context.talk.rooms.get(place[0])
        return room.parent if room is not None and room.parent is not None else place[0]

    @on(Composer.Submitted)
    def _submitted(self, event: Composer.Submitted) -> None:
        event.stop()
        text = event.text.rstrip()
        place = self.place
        if place is None:
            return
        if not text.strip():
            if self.context.talk.may(place[0], "join"):
                self.post_message(self.Command(self, slash.Call("join", "")))
            return
        call = slash.read(text)
        if call is not None:
            if isinstance(call, slash.Call):
                self._composer.set_text("")
            self.post_message(self.Command(self, call))
            return
        text = slash.as_message(text)
        self._composer.set_text("")
        self._choices.put([], self.context.colours)
        if self.editing is not None:
            seq, self.editing = self.editing, None
            self.context.attempt(self.context.talk.client.rest.messages.edit(place[0], seq, Words(text=text)))
        else:
            reply_to, self.replying = self.replying, None
            self.context.attempt(self._send(place, text, reply_to))
        self.redraw_edges()

    async def _send(self, place: Place, text: str, reply_to: int | None) -> None:
        talk = self.context.talk
        try:
            await talk.send(place, text, reply_to=reply_to)
        except OutboxFull:
            self._composer.set_text(text)
            self.context.say("Too many messages wait to be sent; this one has to wait here.")
            return
        if self.storyline is not None and self.place == place:
            self.storyline.unread_after = None
            self._history.action_latest()
        await talk.leave_draft(place, "")

    @on(Composer.Wanted)
    def _wanted(self, event: Composer.Wanted) -> None:
        event.stop()
        match event.what:
            case "escape":
                if self.cancel():
                    return
                if self.place is not None and self.place[1]:
                    self.post_message(self.Closed(self))
                else:
                    self._history.focus(scroll_visible=False)
            case "select":
                self._history.focus(scroll_visible=False)
            case "up":
                own = self.newest(own=True)
                if own is not None:
                    self.edit(own.seq)
            case "end":
                self._history.action_latest()
            case "home":
                self._history.focus(scroll_visible=False)
                self._history.action_first()
            case "pageup" | "pagedown":
                self._history.action_page(-1 if event.what == "pageup" else 1)
            case _:
                pass

    # --- the history's wishes ----------------------------------------------------------------------

    @on(History.Left)
    def _left(self, event: History.Left) -> None:
        event.stop()
        self._composer.focus()

    @on(History.NearTop)
    def _near_top(self, event: History.NearTop) -> None:
        event.stop()
        room = self.context.talk.rooms.get(self.place[0]) if self.place is not None else None
        if self.place is None or self.place[1] or room is None or room.since <= 1 or self._loading:
            return
        self._loading = True
        self.context.attempt(self._older(self.place))

    async def _older(self, place: Place) -> None:
        try:
            await self.context.talk.client.load_messages(place[0], limit=PAGE)
        finally:
            self._loading = False
        if self.place == place:
            self._history.redraw()

    @on(History.Scrolled)
    def _scrolled(self, event: History.Scrolled) -> None:
        event.stop()
        if event.at_end:
            self._fresh_below = 0
            if self.place is not None:
                self.context.talk.touch(self.place[0])
        self.redraw_edges()

    def on_click(self, event: events.Click) -> None:
        if event.widget is self._below:
            self._history.action_latest()
