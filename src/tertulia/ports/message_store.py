"""The conversation log and the rows that change with it."""

from __future__ import annotations

from asyncio import Future
from collections.abc import Callable, Sequence
from typing import Protocol

import msgspec

from tertulia.domain.events import Event
from tertulia.domain.records import Key, R, Record, Versioned
from tertulia.domain.unit import Committed, Head, Unit
from tertulia.domain.views import MessageView

CommitListener = Callable[[Sequence[Committed]], None]
"""Called on the event loop after each commit, in commit order, with its units (repeats and refusals left
out).  It runs before those who wait for their `append` go on."""


class SearchQuery(msgspec.Struct, frozen=True, kw_only=True):
    """A full-text search by one member.  Only what `user` may see is found: conversations they are a
    member of (and their topics), from their join on where history is `joined`, nothing they hid, nothing
    from people they blocked, nothing deleted.  `before` is the last result of the page before."""

    tenant: str
    user: str
    text: str
    conversation: str = ""
    sender: str = ""
    since: int = 0
    until: int = 0
    before: int = 0
    limit: int = 50


class SearchHit(msgspec.Struct, frozen=True, kw_only=True):
    """One found message; `position` pages on (`SearchQuery.before`)."""

    view: MessageView
    position: int


class MessageStore(Protocol):
    """Owns the logs, their heads and all rows.

    Promise: when `append` answers, the unit is on disk (fsync) and every later read sees it; seq is
    dense from 1 in each log; a repeated `idem` gives the first outcome and writes nothing.
    """

    @property
    def generation(self) -> str:
        """Changes whenever seqs may have been given out twice (restore, import): clients then forget
        their positions (design rule 1)."""
        ...

    def append(self, unit: Unit) -> Future[Committed]:
        """Commit one unit; the answer is a future of the running event loop.

        Raises Refusal: `stale` (an Expect no longer holds, or the log that an event `creates` is there
        already: decide again), `client_id_reused`, `conflict` (a unique index; `field` names its last
        field), `storage_full`, `unavailable` (the queue is full or closing).  Raises ValueError for what
        no decision should give: a log that is not there, a log or row of another tenant, a `target` or
        `thread` that the log did not have before the unit, an `idem` without an event.  The errors come
        through the awaitable; units are committed in the order of the calls.
        """
        ...

    async def outcome(self, idem: bytes, request: bytes) -> Committed | None:
        """The first outcome of this idempotency key, with `repeated` set; None when it is new.

        Raises Refusal `client_id_reused` when it was used for another request."""
        ...

    def on_commit(self, listener: CommitListener) -> None: ...

    async def settled(self) -> None:
        """Wait until the commit listeners have been told of all that reads could see which have returned: a
        read may see a commit a moment before they do."""
        ...

    async def head(self, log: str) -> Head | None: ...

    async def heads(self, logs: Sequence[str]) -> list[Head | None]:
        """The heads, in the order asked for, from one snapshot."""
        ...

    async def events(self, log: str, after: int, limit: int, until: int = 0) -> list[Event]:
        """Events with seq > `after` (and <= `until` when given), ascending, at most `limit`."""
        ...

    async def message(self, log: str, seq: int) -> MessageView | None:
        """None when `seq` is not a message."""
        ...

    async def messages(
        self,
        log: str,
        *,
        before: int = 0,
        after: int = 0,
        limit: int = 50,
        thread: int = 0,
        floor: int = 0,
    ) -> list[MessageView]:
        """A page of messages in ascending order: the last `limit` with seq < `before` (0: the end),
        or, with `after`, the first `limit` above it.  `thread` 0: the main log without replies.
        Only seq > `floor`.  Deleted messages are among them, with an empty content."""
        ...

    async def edits(self, log: str, seq: int) -> list[Event]:
        """The `message.updated` events of a message, ascending."""
        ...

    async def search(self, query: SearchQuery) -> list[SearchHit]:
        """Newest first.  Waits until the index has caught up with every commit before the call."""
        ...

    async def close(self) -> None:
        """Commit what is queued, then stop."""
        ...


class Directory(Protocol):
    """Reads of rows.  Writes go with a Unit through `MessageStore.append`."""

    async def get(self, record: type[R], *key: str | int) -> R | None: ...

    async def get_versioned(self, record: type[R], *key: str | int) -> Versioned[R] | None: ...

    async def snapshot(
        self, logs: Sequence[str], rows: Sequence[tuple[type[Record], Key]]
    ) -> tuple[list[Head | None], list[Versioned[Record] | None]]:
        """Heads and rows from one consistent snapshot."""
        ...

    async def scan(
        self,
        record: type[R],
        prefix: Key,
        *,
        index: str = "",
        after: Key | None = None,
        limit: int = 1000,
        reverse: bool = False,
    ) -> list[R]:
        """Rows whose primary key (or `index`) begins with `prefix`, in key order, those beyond `after`
        (the values of all fields of the key or index, of the last row of the page before)."""
        ...

    async def due(self, record: type[R], index: str, prefix: Key, until: int, limit: int) -> list[R]:
        """Rows whose `index` begins with `prefix` and whose next field is <= `until`, in order."""
        ...

    async def count(self, record: type[Record], prefix: Key, *, index: str = "") -> int: ...
