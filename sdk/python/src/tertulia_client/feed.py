"""What an application reads: log events, signals and news of the connection, in one bounded queue."""

from __future__ import annotations

import asyncio
from collections import deque
from typing import Any

import msgspec

from tertulia_client.events import Event, Signal


class Connected(msgspec.Struct, frozen=True):
    """The connection stands and the replay is over: what follows is live."""

    transport: str


class Disconnected(msgspec.Struct, frozen=True):
    """The connection is gone; the next try comes after `retry_in_s`."""

    why: str
    retry_in_s: float


class Stopped(msgspec.Struct, frozen=True):
    """The client gave up; the last event there is.  `signed_out`: the person must sign in again."""

    why: str
    signed_out: bool = False


class Synchronised(msgspec.Struct, frozen=True):
    """`client.state` was built anew from fetched documents: show it afresh."""


class RoomLoaded(msgspec.Struct, frozen=True):
    """A conversation was fetched and is in `client.state` now."""

    conversation: str


class RoomGone(msgspec.Struct, frozen=True):
    """A conversation is not (or no longer) ours to see."""

    conversation: str


class Acknowledged(msgspec.Struct, frozen=True, kw_only=True):
    """A message of the outbox is durably in the log."""

    client_id: str
    conversation: str
    seq: int
    repeated: bool = False


class SendRefused(msgspec.Struct, frozen=True, kw_only=True):
    """A message of the outbox was refused for good and has left it; `command` is what it was."""

    client_id: str
    code: str
    detail: str
    command: dict[str, Any]


class Lagged(msgspec.Struct, frozen=True):
    """The application read too slowly and these events left the queue unread: log → (first, last seq).

    `client.state` holds what they changed; the events themselves can be read with `client.rest.events`."""

    missed: dict[str, tuple[int, int]]


News = (
    Event
    | Signal
    | Connected
    | Disconnected
    | Stopped
    | Synchronised
    | RoomLoaded
    | RoomGone
    | Acknowledged
    | SendRefused
    | Lagged
)


class Feed:
    """A queue of at most `capacity` entries that never makes its writer wait.

    When it is full, the oldest log event gives way and is named by the next `Lagged`; signals are not
    taken in at all once it is half full.  News of the connection and of one's own sends always find room:
    they are few (one for each command or connection)."""

    def __init__(self, capacity: int = 10_000) -> None:
        if capacity < 2:
            raise ValueError("a feed holds at least two entries")
        self._capacity = capacity
        self._entries: deque[News] = deque()
        self._events = 0
        self._missed: dict[str, tuple[int, int]] = {}
        self._ready = asyncio.Event()
        self._closed = False

    def put(self, news: News) -> None:
        """Never waits."""
        if self._closed:
            return
        if isinstance(news, Signal) and len(self._entries) >= self._capacity // 2:
            return
        if isinstance(news, Event):
            if self._events and len(self._entries) >= self._capacity:
                self._drop_oldest()
            self._events += 1
        self._entries.append(news)
        self._ready.set()

    def close(self) -> None:
        """What is in it can still be read."""
        self._closed = True
        self._ready.set()

    async def get(self) -> News | None:
        """The next entry; null: closed and empty."""
        while not self._entries and not self._missed:
            if self._closed:
                return None
            self._ready.clear()
            await self._ready.wait()
        if self._missed:
            missed, self._missed = self._missed, {}
            return Lagged(missed)
        news = self._entries.popleft()
        if isinstance(news, Event):
            self._events -= 1
        return news

    def _drop_oldest(self) -> None:
        for index, news in enumerate(self._entries):
            if isinstance(news, Event):
                del self._entries[index]
                self._events -= 1
                first, _ = self._missed.get(news.conversation, (news.seq, 0))
                self._missed[news.conversation] = (first, news.seq)
                return
