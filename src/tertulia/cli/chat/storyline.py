"""What stands in the history of a place, in order: messages, days, the unread line, what is pending."""

from __future__ import annotations

import dataclasses
from collections.abc import Iterator
from dataclasses import dataclass

from tertulia.cli.chat.drawing import Around, Block, Key, Pen, answered_words
from tertulia.cli.chat.notices import notice
from tertulia.cli.chat.pending import Place
from tertulia.cli.chat.receipts import Receipts
from tertulia.cli.chat.talk import Talk
from tertulia.cli.chat.times import day_name, day_of
from tertulia_client import Event, Room
from tertulia_client import Text as Words
from tertulia_client.models import MessageDoc

GROUP_MS = 5 * 60_000


@dataclass
class _Before:
    """The message that was drawn last."""

    user: str = ""
    at: int = 0
    day: object = None


class Storyline:
    """Makes the blocks of one place; what did not change is not drawn again."""

    def __init__(self, talk: Talk, place: Place) -> None:
        self._talk = talk
        self.place = place
        self.unread_after: int | None = None
        """Messages of others after this seq stand below the unread line."""
        self._cache: dict[Key, tuple[MessageDoc, Around, Block]] = {}
        self._pen: Pen | None = None

    def blocks(self, pen: Pen, *, spaced: bool) -> list[Block]:
        """All blocks, oldest first."""
        if pen is not self._pen:
            self._cache.clear()
            self._pen = pen
        room = self._talk.rooms.get(self.place[0])
        if room is None:
            return []
        made = list(self._thread(room, pen, spaced) if self.place[1] else self._main(room, pen, spaced))
        there = {block.key for block in made}
        self._cache = {key: kept for key, kept in self._cache.items() if key in there}
        return made

    def messages(self) -> list[MessageDoc]:
        """The messages of the place, oldest first."""
        room = self._talk.rooms.get(self.place[0])
        if room is None:
            return []
        root = self.place[1]
        return [
            room.messages[seq]
            for seq in sorted(room.messages)
            if (room.messages[seq].thread or 0) == root or (root and seq == root)
        ]

    def _main(self, room: Room, pen: Pen, spaced: bool) -> Iterator[Block]:
        receipts = Receipts(room)
        happened = list(self._talk.notices_of(room.id))
        before = _Before()
        line_drawn = self.unread_after is None
        own_ids: list[str] = []
        for message in self.messages():
            while happened and happened[0].seq < message.seq:
                yield from self._happened(happened.pop(0), pen, before)
            if not line_drawn and self._is_new(message, room):
                line_drawn = True
                yield self._new(message.at, pen, before)
            yield from self._day(message.at, pen, before)
            if message.user == room.me and message.client_id:
                own_ids.append(message.client_id)
            receipt = None
            if message.user == room.me and not message.deleted_at:
                receipt = receipts.of(message.seq)
            around = self._around(message, room, before, spaced=spaced)
            yield self._drawn(pen, message, dataclasses.replace(around, receipt=receipt))
        for event in happened:
            yield from self._happened(event, pen, before)
        yield from self._pendings(room, pen, before, own_ids, spaced)

    def _thread(self, room: Room, pen: Pen, spaced: bool) -> Iterator[Block]:
        before = _Before()
        messages = self.messages()
        own_ids: list[str] = []
        for message in messages:
            around = self._around(message, room, before, spaced=spaced)
            yield self._drawn(pen, message, dataclasses.replace(around, in_thread=True))
            if message.seq == self.place[1]:
                count = max(len(messages) - 1, message.replies.count if message.replies else 0)
                before.user = ""
                words = "no replies yet" if not count else "1 reply" if count == 1 else f"{count} replies"
                yield pen.rule(Key("replies"), words)
            if message.client_id:
                own_ids.append(message.client_id)
        yield from self._pendings(room, pen, before, own_ids, spaced)

    def _drawn(self, pen: Pen, message: MessageDoc, around: Around) -> Block:
        key = Key("message", message.seq)
        known = self._cache.get(key)
        if known is not None and known[0] is message and known[1] == around:
            return known[2]
        block = pen.message(message, around)
        self._cache[key] = (message, around, block)
        return block

    def _day(self, at: int, pen: Pen, before: _Before) -> Iterator[Block]:
        day = day_of(at)
        if before.day != day:
            before.day = day
            before.user = ""
            yield pen.rule(Key("day", day.toordinal()), day_name(at, self._talk.now()))

    def _new(self, at: int, pen: Pen, before: _Before) -> Block:
        """The unread line; where a day begins as well, one line says both."""
        words = "new"
        if before.day != day_of(at):
            words = f"{day_name(at, self._talk.now())} · new"
        before.day, before.user = day_of(at), ""
        return pen.rule(Key("new"), words, colour=pen.colours.bad)

    def _happened(self, event: Event, pen: Pen, before: _Before) -> Iterator[Block]:
        words = notice(event, self._talk.names.name)
        if words is not None:
            yield from self._day(event.at, pen, before)
            before.user = ""
            yield pen.notice(event.seq, words, event.at)

    def _is_new(self, message: MessageDoc, room: Room) -> bool:
        after = self.unread_after
        return after is not None and message.seq > after and message.user != room.me

    def _around(self, message: MessageDoc, room: Room, before: _Before, *, spaced: bool) -> Around:
        names = self._talk.names
        state = self._talk.state
        grouped = (
            before.user == message.user
            and message.at - before.at < GROUP_MS
            and message.reply_to is None
            and message.forward is None
        )
        # A blank line keeps people apart, but not from a line across.
        apart = spaced and bool(before.user)
        before.user, before.at = message.user, message.at
        mentioned = (
            message.user != room.me
            and isinstance(message.content, Words)
            and (room.me in message.content.mentions or message.content.mention_all)
        )
        return Around(
            author="You" if message.user == room.me else names.name(message.user),
            grouped=grouped,
            spaced=apart,
            answered=self._answered(message, room),
            forwarded=names.name(message.forward.user) if message.forward is not None else "",
            starred=state is not None and (room.id, message.seq) in state.bookmarks,
            mentioned=mentioned,
        )

    def _answered(self, message: MessageDoc, room: Room) -> tuple[str, str, str] | None:
        if message.quote is not None:
            return message.quote.user, self._talk.names.name(message.quote.user), ""
        if message.reply_to is None:
            return None
        return self._answer(message.reply_to, room)

    def _answer(self, seq: int, room: Room) -> tuple[str, str, str]:
        answered = room.messages.get(seq)
        user = answered.user if answered is not None else ""
        author = "You" if user == room.me else self._talk.names.name(user) if user else ""
        return user, author, answered_words(answered)

    def _pendings(
        self, room: Room, pen: Pen, before: _Before, seen: list[str], spaced: bool
    ) -> Iterator[Block]:
        for pending in self._talk.pendings.of(self.place, seen):
            yield from self._day(pending.at, pen, before)
            recent = pending.at - before.at < GROUP_MS
            grouped = recent and before.user == room.me and pending.reply_to is None
            apart = spaced and bool(before.user)
            before.user, before.at = room.me, pending.at
            answered = self._answer(pending.reply_to, room) if pending.reply_to is not None else None
            yield pen.pending(pending, Around(author="You", grouped=grouped, spaced=apart, answered=answered))
