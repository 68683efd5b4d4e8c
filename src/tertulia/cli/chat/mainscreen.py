"""The screen with everything on it: conversations at the left, one of them open, a panel at the right."""

from __future__ import annotations

from typing import Any, ClassVar, cast

from textual import events, on
from textual.app import App, ComposeResult
from textual.binding import Binding, BindingType
from textual.containers import Horizontal, Vertical
from textual.screen import Screen
from textual.widget import Widget
from textual.widgets import OptionList, Static

from tertulia.cli.chat.acting import Acting
from tertulia.cli.chat.alerts import rings
from tertulia.cli.chat.commanding import Commanding
from tertulia.cli.chat.context import Context
from tertulia.cli.chat.dialogs import Help
from tertulia.cli.chat.heading import account_line, status_line
from tertulia.cli.chat.history import History
from tertulia.cli.chat.members import Members
from tertulia.cli.chat.overview import overview
from tertulia.cli.chat.pane import Pane
from tertulia.cli.chat.pending import Pending
from tertulia.cli.chat.roomlist import RoomList
from tertulia.cli.chat.safe import clean_line, clip
from tertulia.cli.chat.shell import Shell
from tertulia.cli.chat.talk import Talk
from tertulia.cli.chat.windows import Windows
from tertulia_client import Client, Event, Stopped

FLUSH_S = 0.03


class MainScreen(Screen[None]):
    """Shows a `Talk`, and hands it what the person does."""

    BINDINGS: ClassVar[list[BindingType]] = [
        Binding("ctrl+k", "jump", "jump", priority=True),
        Binding("ctrl+f,f3", "search", "search", priority=True),
        Binding("ctrl+g,f4", "channels", "channels", priority=True),
        Binding("f2", "members", "members", priority=True),
        Binding("f1", "help", "help", priority=True),
        Binding("alt+up", "beside(-1)", "previous", priority=True),
        Binding("alt+down", "beside(1)", "next", priority=True),
        Binding("alt+a", "next_unread", "next unread", priority=True),
        Binding("escape", "back", "back"),
        Binding("tab", "around(1)", show=False),
        Binding("shift+tab", "around(-1)", show=False),
    ]

    def __init__(self, client: Client, shell: Shell, *, start_with: str = "") -> None:
        """`start_with`: the conversation to open at first, if it is there."""
        super().__init__()
        self.talk = Talk(client, self, shell.now)
        self.context = Context(self.talk, shell.colours, shell.attempt, shell.say)
        self._shell = shell
        self._start_with = start_with
        self._scheduled = False
        self._opened_first = False
        self._list = RoomList(id="list")
        self._account = Static("", id="account", markup=False)
        self._pane = Pane(self.context, id="main")
        self._thread = Pane(self.context, id="thread")
        self._members = Members(self.context, id="members")
        self._status = Static("", id="status", markup=False)
        self._acting = Acting(self._program, self.context, self.open_thread)
        self._commands = Commanding(self.context, self, self._acting)
        self._windows = Windows(self._program, self.context, self, self._commands)

    def compose(self) -> ComposeResult:
        with Horizontal(id="body"):
            with Vertical(id="left"):
                yield self._account
                yield self._list
            yield self._pane
            yield self._thread
            yield self._members
        yield self._status

    async def on_mount(self) -> None:
        self._thread.display = False
        self._members.display = False
        self.set_interval(1.0, self._tick)
        self._list.focus()
        await self.talk.start()
        self.redraw()

    @property
    def _program(self) -> App[Any]:
        return cast(App[Any], self.app)  # pyright: ignore[reportUnknownMemberType]

    @property
    def pane(self) -> Pane:
        return self._pane

    @property
    def thread_pane(self) -> Pane:
        return self._thread

    # --- what the talk says ------------------------------------------------------------------------

    def dirty(self) -> None:
        if not self._scheduled and self.is_attached:
            self._scheduled = True
            self.set_timer(FLUSH_S, self._flush)

    def _flush(self) -> None:
        self._scheduled = False
        changed = self.talk.take()
        self._open_first()
        for pane in (self._pane, self._thread):
            if pane.place is None:
                pane.redraw_edges()
            elif changed.everything or pane.place[0] in changed.rooms:
                pane.redraw()
            else:
                pane.redraw_edges()
        self._read_what_is_seen()
        if self._members.display:
            self._members.redraw()
        self._draw_list()
        self._draw_status()

    def redraw(self) -> None:
        """Everything."""
        self.talk.touch()

    def incoming(self, event: Event) -> None:
        room = self.talk.rooms.get(event.conversation)
        if room is None:
            return
        place = (event.conversation, event.thread)
        for pane in (self._pane, self._thread):
            if pane.place == place:
                pane.incoming()
                storyline = pane.storyline
                if storyline is not None and not self._seen(pane) and storyline.unread_after is None:
                    storyline.unread_after = room.read
        if rings(self.talk, event) and not (self._pane.place == place and self._seen(self._pane)):
            self._program.bell()

    def refused(self, pending: Pending) -> None:
        where = self.talk.title(pending.place[0])
        self._shell.say(f"Not sent to {where}: {clip(clean_line(pending.why), 120)}")

    def synchronised(self) -> None:
        state = self.talk.state
        if state is not None:
            self._shell.signed_in(state.me.handle, state.settings)
        for pane in (self._pane, self._thread):
            pane.load()

    def settings_changed(self) -> None:
        state = self.talk.state
        if state is not None:
            self._shell.like(state.settings.appearance)

    def room_gone(self, conversation: str) -> None:
        if self._thread.place is not None and self._thread.place[0] == conversation:
            self._close_side()
        if self._pane.place is not None and self._pane.place[0] == conversation:
            self._pane.leave()
            self._list.focus()

    def stopped(self, news: Stopped) -> None:
        if news.signed_out:
            self._shell.signed_out(clean_line(news.why))

    # --- showing -----------------------------------------------------------------------------------

    def _open_first(self) -> None:
        """The conversation of last time, or the first of the list."""
        if self._opened_first or not self.talk.rooms:
            return
        self._opened_first = True
        if self._pane.place is not None:
            return
        lines = overview(self.talk)
        if self._start_with in self.talk.rooms:
            self.open_room(self._start_with)
        elif lines:
            self.open_room(lines[0].id)

    def _draw_list(self) -> None:
        open_room = self._pane.place[0] if self._pane.place is not None else None
        self._list.show(overview(self.talk), self.context.colours, self.talk.now(), open_room)
        self._account.update(account_line(self.talk, self.context.colours, self._list.filter))

    def _draw_status(self) -> None:
        self._status.update(status_line(self.talk, self.context.colours, self.size.width))

    def _tick(self) -> None:
        self.talk.tick()
        self._draw_status()

    def recolour(self) -> None:
        """The theme is another one."""
        self.context.colours = self._shell.colours
        self._pane.recolour()
        self._thread.recolour()
        self.redraw()

    def on_resize(self, event: events.Resize) -> None:
        width = event.size.width
        self.set_class(width < 60, "tiny")
        self.set_class(width < 100, "narrow")
        self.set_class(width < 130, "crowded")
        self.set_class(width >= 170, "wide")
        self._draw_status()

    # --- reading -----------------------------------------------------------------------------------

    def _seen(self, pane: Pane) -> bool:
        """Whether the person can be supposed to see the end of a pane."""
        return (
            self._program.app_focus and self._program.screen is self and pane.display and pane.history.at_end
        )

    def _read_what_is_seen(self) -> None:
        place = self._pane.place
        if place is not None and self._seen(self._pane):
            self.talk.read(place[0])
        place = self._thread.place
        if place is not None and self._thread.display and self._seen(self._thread):
            self.talk.read_thread(*place)

    @on(events.ScreenResume)
    def _resumed(self) -> None:
        self.redraw()

    # --- opening -----------------------------------------------------------------------------------

    def open_room(self, conversation: str) -> None:
        """Show a conversation."""
        if conversation not in self.talk.rooms:
            return
        if self._pane.place != (conversation, 0):
            if self._thread.place is not None:
                self._close_side()
            self._pane.open((conversation, 0))
            self._shell.opened(conversation)
            if self._members.display:
                self._members.show(conversation)
        self._pane.composer.focus()
        self.redraw()

    def open_thread(self, root: int) -> None:
        """Show a message's thread beside the conversation."""
        if self._pane.place is None:
            return
        self._members.display = False
        self._thread.display = True
        self.add_class("side")
        self._thread.open((self._pane.place[0], root))
        self._thread.composer.focus()
        self.redraw()

    def action_members(self) -> None:
        if self._members.display:
            self._close_side()
            return
        place = self._pane.place
        room = self.talk.rooms.get(place[0]) if place is not None else None
        if place is None or room is None:
            return
        self._close_side()
        self._members.display = True
        self.add_class("side")
        self._members.show(room.parent or room.id)

    def _close_side(self) -> None:
        self._thread.leave()
        self._thread.display = False
        self._members.display = False
        self.remove_class("side")
        if self._pane.place is not None:
            self._pane.composer.focus()

    def action_back(self) -> None:
        """Close the panel at the right, or go to the composing line."""
        if self.has_class("side"):
            self._close_side()
        elif self._pane.place is not None:
            self._pane.composer.focus()

    def action_around(self, by: int) -> None:
        """The next part of the screen."""
        parts: list[Widget] = [self._list, self._pane.history, self._pane.composer]
        if self._thread.display:
            parts += [self._thread.history, self._thread.composer]
        if self._members.display:
            parts.append(self._members.query_one(OptionList))
        shown = [part for part in parts if part.display and part.region.width]
        if not shown:
            return
        at = shown.index(self.focused) if self.focused is not None and self.focused in shown else -1
        shown[(at + by) % len(shown)].focus(scroll_visible=False)

    def action_beside(self, by: int) -> None:
        conversation = self._list.beside(by)
        if conversation is not None:
            self.open_room(conversation)

    def action_next_unread(self) -> None:
        conversation = self._list.next_unread()
        if conversation is not None:
            self.open_room(conversation)
        else:
            self._shell.say("Nothing new elsewhere.")

    # --- windows -----------------------------------------------------------------------------------

    def action_jump(self) -> None:
        self._windows.jump()

    def action_search(self) -> None:
        self.search("")

    def search(self, words: str) -> None:
        """Search messages, and go to the one that is chosen."""
        self._windows.search(words, self._pane.place[0] if self._pane.place is not None else None)

    def action_channels(self) -> None:
        self._windows.channels()

    def show_pins(self) -> None:
        if self._pane.place is not None:
            self._windows.pins(self._pane.place[0])

    def show_bookmarks(self) -> None:
        self._windows.bookmarks()

    def show_message(self, conversation: str, thread: int | None, seq: int) -> None:
        """Open the place of a message, and the message in the middle of it."""
        if conversation not in self.talk.rooms:
            self._shell.say("You are not in that conversation any more.")
            return
        self.open_room(conversation)
        if thread is not None:
            self.open_thread(thread)
            self._thread.jump(seq)
        else:
            self._pane.jump(seq)

    def action_help(self) -> None:
        self._program.push_screen(Help(self.context.colours))

    def copy(self, words: str) -> None:
        self._program.copy_to_clipboard(words)

    async def sign_out(self) -> None:
        await self.talk.client.rest.accounts.sign_out()
        self._shell.signed_out("")

    async def quit(self) -> None:
        self.leave()
        await self._shell.quit()

    def leave(self) -> None:
        """Keep what stands in the composing lines."""
        self._thread.leave()
        self._pane.leave()

    # --- what the parts say ------------------------------------------------------------------------

    @on(RoomList.Chosen)
    def _chosen(self, event: RoomList.Chosen) -> None:
        self.open_room(event.conversation)

    @on(RoomList.Left)
    def _list_left(self) -> None:
        if self._pane.place is not None:
            self._pane.composer.focus()

    @on(RoomList.Filtered)
    def _filtered(self) -> None:
        self._account.update(account_line(self.talk, self.context.colours, self._list.filter))

    @on(Members.Chosen)
    def _member_chosen(self, event: Members.Chosen) -> None:
        if event.user != self.talk.me:
            self._shell.attempt(self._commands.talk_to(event.user))

    @on(Pane.Closed)
    def _pane_closed(self) -> None:
        self._close_side()

    @on(Pane.Command)
    def _command(self, event: Pane.Command) -> None:
        self._commands.carry_out(event.pane, event.call)

    @on(History.Act)
    def _act(self, event: History.Act) -> None:
        pane = self._thread if event.history is self._thread.history else self._pane
        self._acting.press(pane, event.key, event.pressed)

    @on(History.Clicked)
    def _clicked(self, event: History.Clicked) -> None:
        pane = self._thread if event.history is self._thread.history else self._pane
        self._acting.click(pane, event.meta)
