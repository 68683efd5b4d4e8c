"""What the keys do to a selected message."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from textual.app import App

from tertulia.cli.chat.chooser import Chooser
from tertulia.cli.chat.contents import summary
from tertulia.cli.chat.context import Context
from tertulia.cli.chat.dialogs import Ask, EmojiPicker
from tertulia.cli.chat.drawing import Key
from tertulia.cli.chat.finding import Jump
from tertulia.cli.chat.overview import overview
from tertulia.cli.chat.pane import Pane
from tertulia.cli.chat.safe import clip
from tertulia_client import Poll, plain_text
from tertulia_client import Text as Words
from tertulia_client.models import MessageDoc


class Acting:
    """Carries out what is done to messages, and says so when it cannot be."""

    def __init__(self, app: App[Any], context: Context, open_thread: Callable[[int], None]) -> None:
        self._app = app
        self._context = context
        self._open_thread = open_thread

    def press(self, pane: Pane, key: Key, pressed: str) -> None:
        """A key on a selected block."""
        if key.kind == "pending":
            self._pending(key, pressed)
            return
        message = pane.message(key.seq)
        if message is None or pane.place is None:
            return
        match pressed:
            case _ if pressed.isascii() and pressed.isdigit() and pressed != "0":
                self.vote(message, int(pressed) - 1)
            case "r" if message.deleted_at is None:
                pane.reply(message.seq)
            case "e":
                pane.edit(message.seq)
            case "d" | "delete":
                self.delete(message)
            case "+":
                self.pick_reaction(message)
            case "t" | "enter":
                self._open_thread(message.thread or message.seq)
            case "x" if isinstance(message.content, Poll):
                self._try(self._messages.close_poll(message.conversation, message.seq))
            case _:
                simple = {"p": self._pin, "b": self._bookmark, "y": self._copy, "f": self._forward}
                if pressed in simple:
                    simple[pressed](message)

    def click(self, pane: Pane, meta: dict[str, object]) -> None:
        """A click on a reaction, a thread or an answered message."""
        match meta:
            case {"react": int(seq), "emoji": str(emoji)}:
                message = pane.message(seq)
                if message is not None:
                    self.react(message, emoji)
            case {"thread": int(seq)}:
                self._open_thread(seq)
            case {"jump": int(seq)}:
                pane.jump(seq)
            case _:
                pass

    @property
    def _messages(self):
        return self._context.talk.client.rest.messages

    @property
    def _try(self):
        return self._context.attempt

    def _pending(self, key: Key, pressed: str) -> None:
        if pressed == "r":
            self._try(self._context.talk.again(key.client_id))
        elif pressed in ("d", "delete"):
            self._context.talk.drop(key.client_id)

    def react(self, message: MessageDoc, emoji: str) -> None:
        """Add one's reaction, or take it back."""
        add = emoji not in message.own_reactions
        self._try(self._messages.react(message.conversation, message.seq, emoji, add=add))

    def pick_reaction(self, message: MessageDoc) -> None:
        def picked(emoji: str | None) -> None:
            if emoji is not None:
                self.react(message, emoji)

        self._app.push_screen(EmojiPicker(self._context.colours), picked)

    def delete(self, message: MessageDoc) -> None:
        """For oneself, or for everyone where one may."""
        own = message.user == self._context.talk.me
        may = self._context.talk.may(message.conversation, "delete_own" if own else "delete_any")
        answers = [("me", "for me only"), ("no", "keep it")]
        if may and message.deleted_at is None:
            answers.insert(0, ("all", "for everyone"))

        def answered(answer: str | None) -> None:
            if answer in ("all", "me"):
                everyone = answer == "all"
                self._try(self._messages.delete(message.conversation, message.seq, everyone=everyone))

        words = clip(summary(message.content), 60)
        self._app.push_screen(Ask("Delete this message?", answers, detail=words), answered)

    def vote(self, message: MessageDoc, option: int) -> None:
        """Choose an option of a poll, or take the choice back."""
        poll = message.content
        if not isinstance(poll, Poll) or option >= len(poll.options):
            return
        own = set(message.poll.own) if message.poll is not None else set[int]()
        chosen = own ^ {option} if poll.multiple else {option} - own
        self._try(self._messages.vote(message.conversation, message.seq, tuple(sorted(chosen))))

    def _pin(self, message: MessageDoc) -> None:
        pinned = not message.pinned
        self._try(self._messages.pin(message.conversation, message.seq, pinned=pinned))

    def _bookmark(self, message: MessageDoc) -> None:
        state = self._context.talk.state
        me = self._context.talk.client.rest.me
        if state is not None and (message.conversation, message.seq) in state.bookmarks:
            self._try(me.remove_bookmark(message.conversation, message.seq))
        else:
            self._try(me.add_bookmark(message.conversation, message.seq))

    def _copy(self, message: MessageDoc) -> None:
        content = message.content
        words = content.text if isinstance(content, Words) else plain_text(content)
        # The terminal takes it encoded, so nothing in it is obeyed; what it holds is the writer's.
        self._app.copy_to_clipboard(words)
        self._context.say("Copied.")

    def _forward(self, message: MessageDoc) -> None:
        lines = [line for line in overview(self._context.talk) if self._context.talk.may(line.id, "send")]

        def chosen(conversation: str | None) -> None:
            if conversation is not None:
                self._try(self._messages.forward(message.conversation, message.seq, conversation))

        find = Jump(self._context, lines, extras=False)
        self._app.push_screen(Chooser("Forward to", find, placeholder="a conversation"), chosen)
