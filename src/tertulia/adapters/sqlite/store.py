"""The SQLite store: the log and all rows of one machine."""

from __future__ import annotations

import asyncio
import fcntl
import os
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import IO

import msgspec

from tertulia.adapters.sqlite import queries, schema, search, search_query
from tertulia.adapters.sqlite.engine import Connection
from tertulia.adapters.sqlite.reader import Readers
from tertulia.adapters.sqlite.rebuild import Differences, rebuild_log
from tertulia.adapters.sqlite.tables import TABLES, table
from tertulia.adapters.sqlite.writer import Job, Observer, Outcome, Writer
from tertulia.domain.events import Event
from tertulia.domain.records import Key, R, Record, Versioned
from tertulia.domain.unit import Committed, Head, Unit
from tertulia.domain.views import MessageView
from tertulia.ports.message_store import CommitListener, SearchHit, SearchQuery

DATABASE = "tertulia.sqlite3"
LOCK = "lock"
MAX_WAITING_SEARCHES = 256
BUSY_S = 0.1
"""The log is busy for this long after a commit."""


class FolderInUse(Exception):
    """Another process has this data folder open."""


class StoreStats(msgspec.Struct, frozen=True):
    """Where the store stands: units, reads and searches that wait, the newest committed event, and the
    newest one that the search index knows of."""

    waiting_units: int
    waiting_reads: int
    waiting_searches: int
    last_event_id: int
    search_position: int


def _lock(folder: Path) -> IO[bytes]:
    handle = (folder / LOCK).open("ab")
    try:
        fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except OSError:
        handle.close()
        raise FolderInUse(f"{folder} is in use by another process.") from None
    return handle


def _ignore(_error: BaseException) -> None:
    """The default for `on_fatal`: the store refuses everything from then on, no more."""


class SqliteStore:
    """`MessageStore` and `Directory` over one SQLite database in a folder.  Made by `open`."""

    def __init__(
        self,
        folder: Path,
        *,
        vfs: str | None,
        synchronous: str,
        on_fatal: Callable[[BaseException], None],
        observe: Observer | None,
    ) -> None:
        """Not to be called directly: opens files and threads.  See `open`."""
        self._loop = asyncio.get_running_loop()
        self._path = folder / DATABASE
        self._vfs = vfs
        self._listeners: list[CommitListener] = []
        self._closed = False
        self._lock = _lock(folder)
        try:
            self._connection = schema.open_writer(self._path, vfs=vfs, synchronous=synchronous)
            try:
                schema.migrate(self._connection)
                self._generation = schema.generation(self._connection)
                self._writer = Writer(
                    self._connection,
                    loop=self._loop,
                    deliver=self._deliver,
                    on_fatal=on_fatal,
                    observe=observe,
                )
                index = folder / search.INDEX
                self._indexer = search.Indexer(
                    index,
                    self._open_reader,
                    generation=self._generation,
                    loop=self._loop,
                    is_busy=self._is_busy,
                )
                self._searchers = Readers(
                    lambda: search_query.prepare(self._open_reader, index),
                    loop=self._loop,
                    threads=1,
                    max_waiting=MAX_WAITING_SEARCHES,
                    name="sqlite-searcher",
                )
                self._readers = Readers(self._open_reader, loop=self._loop)
            except BaseException:
                self._connection.close()
                raise
        except BaseException:
            self._lock.close()
            raise
        self._writer.start()
        self._indexer.start()

    @classmethod
    async def open(
        cls,
        folder: str | os.PathLike[str],
        *,
        vfs: str | None = None,
        synchronous: str = "FULL",
        on_fatal: Callable[[BaseException], None] = _ignore,
        observe: Observer | None = None,
    ) -> SqliteStore:
        """Open the store in a folder, which is made when it is not there.

        `vfs` names a registered SQLite VFS; `synchronous` other than FULL breaks the promise of
        `append` (torture tests prove it).  `on_fatal` is called once on the loop after a failed fsync
        (design rule 13): the process must end.  `observe` is called in the writer's thread.

        Raises FolderInUse, SchemaTooNew, or apsw.Error for a file that cannot be read.
        """
        path = Path(folder)
        await asyncio.to_thread(path.mkdir, parents=True, exist_ok=True)
        return cls(path, vfs=vfs, synchronous=synchronous, on_fatal=on_fatal, observe=observe)

    def _is_busy(self) -> bool:
        return time.monotonic() - self._writer.committed_at < BUSY_S

    def _open_reader(self) -> Connection:
        return schema.open_reader(self._path, vfs=self._vfs)

    # --- the log --------------------------------------------------------------------------------

    @property
    def generation(self) -> str:
        """See `MessageStore.generation`."""
        return self._generation

    @property
    def path(self) -> Path:
        """The database file."""
        return self._path

    def append(self, unit: Unit) -> asyncio.Future[Committed]:
        """See `MessageStore.append`; the result is a plain future of the loop."""
        return self._writer.put(unit)

    def on_commit(self, listener: CommitListener) -> None:
        """See `MessageStore.on_commit`."""
        self._listeners.append(listener)

    def _deliver(self, jobs: Sequence[Job], outcomes: Sequence[Outcome]) -> None:
        """On the loop: answer a batch.  Listeners run before those who wait for an answer go on."""
        news: list[Committed] = []
        for (_, future), outcome in zip(jobs, outcomes, strict=True):
            if isinstance(outcome, Exception):
                if not future.done():
                    future.set_exception(outcome)
                continue
            if not future.done():
                future.set_result(outcome)
            if not outcome.repeated:
                news.append(outcome)
        if news:
            self._indexer.notify()
            for listener in self._listeners:
                try:
                    listener(news)
                except Exception as error:  # noqa: BLE001 - one listener must not silence the others
                    context = {"message": "A commit listener failed.", "exception": error}
                    self._loop.call_exception_handler(context)

    async def settled(self) -> None:
        """See `MessageStore.settled`."""
        await self._writer.settled()

    async def outcome(self, idem: bytes, request: bytes) -> Committed | None:
        """See `MessageStore.outcome`."""
        return await self._readers.run(lambda c: queries.outcome(c, idem, request))

    async def head(self, log: str) -> Head | None:
        """See `MessageStore.head`."""
        return await self._readers.run(lambda c: queries.head(c, log))

    async def heads(self, logs: Sequence[str]) -> list[Head | None]:
        """See `MessageStore.heads`."""
        return await self._readers.run(lambda c: queries.heads(c, logs))

    async def events(self, log: str, after: int, limit: int, until: int = 0) -> list[Event]:
        """See `MessageStore.events`."""
        return await self._readers.run(lambda c: queries.events(c, log, after, limit, until))

    async def message(self, log: str, seq: int) -> MessageView | None:
        """See `MessageStore.message`."""
        return await self._readers.run(lambda c: queries.message(c, log, seq))

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
        """See `MessageStore.messages`."""
        return await self._readers.run(
            lambda c: queries.messages(
                c, log, before=before, after=after, limit=limit, thread=thread, floor=floor
            )
        )

    async def edits(self, log: str, seq: int) -> list[Event]:
        """See `MessageStore.edits`."""
        return await self._readers.run(lambda c: queries.edits(c, log, seq))

    async def search(self, query: SearchQuery) -> list[SearchHit]:
        """See `MessageStore.search`."""
        await self._indexer.reach(self._writer.last_id)
        return await self._searchers.run(lambda c: search_query.search(c, query))

    # --- rows -----------------------------------------------------------------------------------

    async def get(self, record: type[R], *key: str | int) -> R | None:
        """See `Directory.get`."""
        found = await self._readers.run(lambda c: table(record).get(c, key))
        return found.record if found is not None else None

    async def get_versioned(self, record: type[R], *key: str | int) -> Versioned[R] | None:
        """See `Directory.get_versioned`."""
        return await self._readers.run(lambda c: table(record).get(c, key))

    async def snapshot(
        self, logs: Sequence[str], rows: Sequence[tuple[type[Record], Key]]
    ) -> tuple[list[Head | None], list[Versioned[Record] | None]]:
        """See `Directory.snapshot`."""

        def read(
            connection: Connection,
        ) -> tuple[list[Head | None], list[Versioned[Record] | None]]:
            heads = queries.heads(connection, logs)
            return heads, [TABLES[record].get(connection, key) for record, key in rows]

        return await self._readers.run(read)

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
        """See `Directory.scan`."""
        return await self._readers.run(
            lambda c: table(record).scan(c, prefix, index=index, after=after, limit=limit, reverse=reverse)
        )

    async def due(self, record: type[R], index: str, prefix: Key, until: int, limit: int) -> list[R]:
        """See `Directory.due`."""
        return await self._readers.run(lambda c: table(record).due(c, index, prefix, until, limit))

    async def count(self, record: type[Record], prefix: Key, *, index: str = "") -> int:
        """See `Directory.count`."""
        return await self._readers.run(lambda c: TABLES[record].count(c, prefix, index))

    # --- operation ------------------------------------------------------------------------------

    def stats(self) -> StoreStats:
        """Figures for metrics; costs nothing."""
        return StoreStats(
            waiting_units=self._writer.waiting,
            waiting_reads=self._readers.waiting,
            waiting_searches=self._searchers.waiting,
            last_event_id=self._writer.last_id,
            search_position=self._indexer.position,
        )

    async def rebuild_projections(self) -> Differences:
        """Hold the folds and the search index against the log, and mend them.  Appends wait meanwhile."""
        found = Differences()
        await self._writer.carry_out(lambda connection: rebuild_log(connection, found))
        await self._indexer.reach(self._writer.last_id)
        found.search = await self._indexer.rebuild()
        return found

    async def backup(self, path: str | os.PathLike[str]) -> None:
        """Write a consistent copy of the database to `path`, which must not exist, while appends go on.

        The copy is on disk when this returns.  Whoever restores it calls `stamp_new_generation`.
        """
        await asyncio.to_thread(self._back_up, Path(path))

    def _back_up(self, path: Path) -> None:
        if path.exists():
            raise FileExistsError(path)
        part = path.with_name(path.name + ".part")
        part.unlink(missing_ok=True)
        connection = self._open_reader()
        try:
            connection.execute("VACUUM INTO ?", (str(part),))
        finally:
            connection.close()
        with part.open("rb") as handle:
            os.fsync(handle.fileno())
        part.rename(path)
        folder = os.open(path.parent, os.O_RDONLY)
        try:
            os.fsync(folder)
        finally:
            os.close(folder)

    async def close(self) -> None:
        """See `MessageStore.close`."""
        if self._closed:
            return
        self._closed = True
        await self._writer.stop()
        await self._searchers.stop()
        await self._indexer.stop()
        await self._readers.stop()
        await asyncio.to_thread(self._connection.close)
        self._lock.close()
