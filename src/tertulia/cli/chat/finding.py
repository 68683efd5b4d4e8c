"""What the windows of choice offer: conversations, channels, search results."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Sequence

from rich.style import Style
from rich.text import Text

from tertulia.cli.chat.chooser import Row
from tertulia.cli.chat.contents import summary
from tertulia.cli.chat.context import Context
from tertulia.cli.chat.ink import ink
from tertulia.cli.chat.listing import ICONS, Line, matches
from tertulia.cli.chat.safe import clean, clean_line, clip
from tertulia.cli.chat.times import brief, clock, day_name
from tertulia_client.models import MessageDoc

SEARCH_LIMIT = 100


class Jump:
    """Conversations by name; also people by @handle, and a search for what was typed."""

    def __init__(self, context: Context, lines: Sequence[Line], *, extras: bool = True) -> None:
        self._context = context
        self._lines = lines
        self._extras = extras

    async def __call__(self, query: str) -> list[Row]:
        colours = self._context.colours
        talk = self._context.talk
        bare = query.strip().lstrip("#@")
        found: list[tuple[int, int, Line]] = []
        for at, line in enumerate(self._lines):
            room = talk.rooms.get(line.id)
            person = talk.names.person(room.peer) if room is not None and room.peer else None
            fits = [matches(text, bare) for text in (talk.title(line.id), person.handle if person else "")]
            best = min((fit for fit in fits if fit is not None), default=None)
            if best is not None:
                unread = 0 if line.unread and not bare else 1
                found.append((best * 2 + unread, at, line))
        rows: list[Row] = []
        for _, _, line in sorted(found, key=lambda one: one[:2])[:40]:
            text = ink().append(f"{line.icon} ", Style(color=colours.dim))
            text.append(talk.title(line.id), Style(bold=bool(line.unread)))
            if line.unread:
                text.append(f"  {line.unread} unread", Style(color=colours.accent))
            rows.append(Row(line.id, text))
        if self._extras and bare:
            dim = Style(color=colours.dim)
            search = Row("search:" + bare, ink("⌕ search messages for ", dim).append(bare))
            person = Row("dm:" + bare, ink("● talk to ", dim).append(f"@{bare}"))
            if query.strip().startswith("@"):
                rows += [person, search]
            else:
                rows += [search] if " " in bare else [search, person]
        return rows


class Search:
    """Messages by their words: everywhere, or in one conversation."""

    def __init__(self, context: Context, here: str | None) -> None:
        self._context = context
        self._here = here
        self.only_here = False
        self.found: dict[str, MessageDoc] = {}

    @property
    def title(self) -> str:
        where = self._context.talk.title(self._here) if self.only_here and self._here else "everywhere"
        return f"Search {where}" + ("    Tab: here or everywhere" if self._here else "")

    def toggle(self) -> str:
        self.only_here = not self.only_here and self._here is not None
        return self.title

    async def __call__(self, query: str) -> list[Row]:
        query = query.strip()
        if len(query) < 2:
            return []
        page = await self._context.talk.client.rest.messages.search(
            query, conversation=self._here if self.only_here else None, limit=SEARCH_LIMIT
        )
        self.found = {doc.id: doc for doc in page.items}
        return [Row(doc.id, message_row(self._context, doc, query)) for doc in page.items]


def excerpt(words: str, query: str, room: int = 90) -> str:
    """The part of a text in which the first word of a query stands."""
    first = query.split(maxsplit=1)[0].casefold() if query.split() else ""
    at = words.casefold().find(first)
    if at <= room // 2:
        return words
    start = words.rfind(" ", 0, at - room // 3) + 1
    return "…" + words[start:]


class Channels:
    """The public channels."""

    def __init__(self, context: Context) -> None:
        self._context = context

    async def __call__(self, query: str) -> list[Row]:
        colours, talk = self._context.colours, self._context.talk
        page = await talk.client.rest.conversations.channels(query.strip().lstrip("#"))
        rows: list[Row] = []
        for doc in page.items:
            text = ink()
            text.append(f"{ICONS['channel']} ", Style(color=colours.dim))
            text.append(clip(clean_line(doc.name), 40), Style(bold=True))
            people = "1 member" if doc.member_count == 1 else f"{doc.member_count} members"
            text.append(f"  {people}", Style(color=colours.dim))
            if doc.role is not None:
                text.append("  joined", Style(color=colours.good))
            text.append(f"  {brief(doc.updated_at, talk.now())}\n", Style(color=colours.faint))
            text.append("  " + (clean_line(doc.description) or "—"), Style(color=colours.dim))
            rows.append(Row(doc.id, text))
        return rows


class Kept:
    """Messages of a list that was fetched at once (pinned, bookmarked), by their words."""

    def __init__(self, context: Context, fetch: Callable[[], Awaitable[list[MessageDoc]]]) -> None:
        self._context = context
        self._fetch = fetch
        self._docs: list[MessageDoc] | None = None
        self.found: dict[str, MessageDoc] = {}

    async def __call__(self, query: str) -> list[Row]:
        if self._docs is None:
            self._docs = sorted(await self._fetch(), key=lambda doc: -doc.at)
            self.found = {doc.id: doc for doc in self._docs}
        words = query.casefold().strip()
        fitting = [doc for doc in self._docs if words in summary(doc.content).casefold()]
        return [Row(doc.id, message_row(self._context, doc, query)) for doc in fitting[:SEARCH_LIMIT]]


def message_row(context: Context, doc: MessageDoc, query: str) -> Text:
    """A message in a list: who, where, when; and its words with those that were looked for."""
    colours, talk = context.colours, context.talk
    text = ink()
    author = "You" if doc.user == talk.me else talk.names.name(doc.user)
    colour = colours.accent if doc.user == talk.me else colours.person(doc.user)
    text.append(author, Style(color=colour, bold=True))
    where = talk.title(doc.conversation)
    if where != author:
        text.append(f"  {where}", Style(color=colours.dim))
    when = f"{day_name(doc.at, talk.now())} {clock(doc.at)}"
    text.append(f"  {when}", Style(color=colours.faint)).append("\n")
    begin = len(text)
    words = excerpt(clean_line(clean(summary(doc.content))), query)
    text.append(words, Style(color=colours.text))
    for word in query.split():
        at = words.casefold().find(word.casefold())
        if at >= 0 and word:
            style = Style(color=colours.accent, bold=True)
            text.stylize(style, begin + at, begin + at + len(word))
    return text
