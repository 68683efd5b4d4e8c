"""The windows in which a conversation, a channel or a message is chosen."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from typing import Any, Protocol

from textual.app import App

from tertulia.cli.chat.chooser import Chooser
from tertulia.cli.chat.commanding import Commanding
from tertulia.cli.chat.context import Context
from tertulia.cli.chat.finding import Channels, Jump, Kept, Search
from tertulia.cli.chat.overview import overview
from tertulia_client.http import every
from tertulia_client.models import MessageDoc

PAUSE_S = 0.2


class Opener(Protocol):
    """Shows what was chosen."""

    def open_room(self, conversation: str) -> None: ...
    def show_message(self, conversation: str, thread: int | None, seq: int) -> None: ...
    def search(self, words: str) -> None: ...


class Windows:
    """Each opens one, and acts on the choice."""

    def __init__(self, app: App[Any], context: Context, opener: Opener, commands: Commanding) -> None:
        self._app = app
        self._context = context
        self._opener = opener
        self._commands = commands

    def jump(self) -> None:
        """To a conversation; or to a person, or to what is found, by what was typed."""

        def chosen(what: str | None) -> None:
            kind, colon, rest = (what or "").partition(":")
            if colon and kind == "search":
                self._opener.search(rest)
            elif colon and kind == "dm":
                self._context.attempt(self._commands.dm(rest))
            elif what is not None:
                self._opener.open_room(what)

        find = Jump(self._context, overview(self._context.talk))
        self._app.push_screen(
            Chooser("Jump to", find, placeholder="a conversation, a person, a word"), chosen
        )

    def search(self, words: str, here: str | None) -> None:
        """Messages by their words."""
        find = Search(self._context, here)

        def chosen(message: str | None) -> None:
            doc = find.found.get(message or "")
            if doc is not None:
                self._opener.show_message(doc.conversation, doc.thread, doc.seq)

        window = Chooser(
            find.title, find, placeholder="words", query=words, pause_s=PAUSE_S, toggle=find.toggle
        )
        self._app.push_screen(window, chosen)

    def pins(self, conversation: str) -> None:
        """What is pinned in a conversation."""

        async def fetch() -> list[MessageDoc]:
            rest = self._context.talk.client.rest
            return await every(lambda cursor: rest.messages.pins(conversation, cursor))

        self._kept("Pinned here", fetch, "nothing is pinned: p pins a selected message")

    def bookmarks(self) -> None:
        """What one has bookmarked, anywhere."""

        async def fetch() -> list[MessageDoc]:
            marks = await every(self._context.talk.client.rest.me.bookmarks)
            return [mark.message for mark in marks if mark.message is not None]

        self._kept("Bookmarks", fetch, "no bookmarks: b marks a selected message")

    def _kept(self, title: str, fetch: Callable[[], Awaitable[list[MessageDoc]]], nothing: str) -> None:
        find = Kept(self._context, fetch)

        def chosen(message: str | None) -> None:
            doc = find.found.get(message or "")
            if doc is not None:
                self._opener.show_message(doc.conversation, doc.thread, doc.seq)

        self._app.push_screen(Chooser(title, find, placeholder="words", nothing=nothing), chosen)

    def channels(self) -> None:
        """The public channels; the one that is chosen is joined."""

        def chosen(conversation: str | None) -> None:
            if conversation is not None:
                self._context.attempt(self._commands.join(conversation))

        find = Channels(self._context)
        nothing = "no such channel: /channel NAME makes one"
        self._app.push_screen(
            Chooser("Channels", find, placeholder="name", pause_s=PAUSE_S, nothing=nothing), chosen
        )
