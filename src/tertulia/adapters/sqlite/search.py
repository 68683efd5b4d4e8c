"""Full-text search: an index in a file of its own, and the thread that keeps it.

The index is a projection (design rule 12): it follows the events in the order of their commits, knows
its position, and can be made anew from the log at any time.  What it holds of a message are its folded
words and the number of its log; what a person may see is decided at the time of the search.
"""

from __future__ import annotations

import asyncio
import threading
import time
from collections.abc import Callable, Iterable
from contextlib import suppress
from pathlib import Path
from typing import Any

import apsw
import msgspec

from tertulia.adapters.sqlite import schema
from tertulia.adapters.sqlite.engine import Connection, Row, connect
from tertulia.adapters.sqlite.queries import decode_fold
from tertulia.domain.content import Content, plain_text
from tertulia.domain.errors import Refusal
from tertulia.domain.events import MessageNew, decode_body
from tertulia.domain.search_words import words

INDEX = "search.sqlite3"
VERSION = "1"
BATCH = 500
WAIT_S = 5.0
RETRY_S = 0.5
SCRUB_AFTER_S = 1.0
BUSY_BATCH = 100
REST = 49.0
"""While the log is busy the thread takes small bites and then rests this many times as long as it
worked, unless a search waits for it."""

_decode_content = msgspec.json.Decoder(Content).decode

# `ascii` takes every character beyond ASCII for a letter: the words are cut and folded before.
_SCHEMA = """
CREATE TABLE meta (name TEXT PRIMARY KEY, value TEXT NOT NULL) WITHOUT ROWID;
CREATE VIRTUAL TABLE words USING fts5(text, log, tokenize = 'ascii', prefix = '2');
INSERT INTO words (words, rank) VALUES ('secure-delete', 1);
"""
_CHANGES = (
    "SELECT e.id, e.log, e.kind, e.target, e.body, f.doc FROM event e "
    "LEFT JOIN fold f ON f.log = e.log AND f.seq = e.seq WHERE e.id > ? ORDER BY e.id LIMIT ?"
)
_ONE = (
    "SELECT e.id, e.log, e.body, f.doc FROM event e "
    "LEFT JOIN fold f ON f.log = e.log AND f.seq = e.seq "
    "WHERE e.log = ? AND e.seq = ? AND e.kind = 'message.new'"
)


def indexed_text(body: bytes | None, fold: bytes | None) -> str:
    """The folded words of a message as it stands now; "" when it has none or is gone."""
    if body is None:
        return ""
    view = decode_fold(fold) if fold is not None else None
    if view is not None and view.deleted_at:
        return ""
    if view is not None and bytes(view.content):
        content: Content = _decode_content(view.content)
    else:
        new = decode_body("message.new", body)
        assert isinstance(new, MessageNew)
        content = new.content
    return " ".join(words(plain_text(content)))


def _open(path: Path, generation: str, newest: int) -> Connection:
    """The index, empty when it is new, of another log, of another version of itself, or ahead of the
    log's newest event."""
    connection = connect(str(path))
    try:
        connection.set_busy_timeout(schema.BUSY_MS)
        connection.execute("PRAGMA journal_mode = WAL")
        connection.execute("PRAGMA synchronous = NORMAL")
        connection.execute("PRAGMA secure_delete = ON")
        connection.execute(f"PRAGMA journal_size_limit = {schema.WAL_KEEP_BYTES}")
        known = connection.execute("SELECT 1 FROM sqlite_schema WHERE name = 'meta'").get
        mark = f"{generation}/{VERSION}"
        fits = known and schema.meta(connection, "of") == mark
        if fits and int(schema.meta(connection, "position")) <= newest:
            return connection
        connection.execute("BEGIN IMMEDIATE")
        if known:
            connection.execute("DROP TABLE words; DROP TABLE meta")
        connection.execute(_SCHEMA)
        schema.set_meta(connection, "of", mark)
        schema.set_meta(connection, "position", "0")
        connection.execute("COMMIT")
    except BaseException:
        connection.close()
        raise
    return connection


def open_index(path: Path, generation: str, newest: int) -> Connection:
    """`_open`, with a damaged file thrown away: the log holds all that it held."""
    try:
        return _open(path, generation, newest)
    except (apsw.CorruptError, apsw.NotADBError, apsw.SQLError):
        for end in ("", "-wal", "-shm"):
            path.with_name(path.name + end).unlink(missing_ok=True)
        return _open(path, generation, newest)


class Indexer:
    """The thread that follows the log."""

    def __init__(
        self,
        path: Path,
        open_log: Callable[[], Connection],
        *,
        generation: str,
        loop: asyncio.AbstractEventLoop,
        is_busy: Callable[[], bool],
    ) -> None:
        self._loop = loop
        self._is_busy = is_busy
        self._log = open_log()
        newest: Any = self._log.execute("SELECT max(id) FROM event").get
        self._index = open_index(path, generation, int(newest or 0))
        self._position = int(schema.meta(self._index, "position"))
        self._wake = threading.Event()
        self._urge = threading.Event()
        self._stopping = False
        self._scrub = False
        self._failure: BaseException | None = None
        self._waiting: list[tuple[int, asyncio.Future[None]]] = []
        self._tasks: list[tuple[Callable[[], int], asyncio.Future[int]]] = []
        self._thread = threading.Thread(target=self._run, name="sqlite-search", daemon=True)

    def start(self) -> None:
        """Begin to follow."""
        self._wake.set()
        self._thread.start()

    @property
    def position(self) -> int:
        """The newest event that the index knows of."""
        return self._position

    def notify(self) -> None:
        """There are new events; on the event loop only."""
        if not self._wake.is_set():
            self._wake.set()

    async def reach(self, target: int) -> None:
        """Wait until the index knows the event `target`.  Raises Refusal `unavailable` after a while."""
        if self._position >= target:
            return
        if self._failure is not None or self._stopping:
            raise Refusal("unavailable", "The search index is not to be had now.")
        future: asyncio.Future[None] = self._loop.create_future()
        entry = (target, future)
        self._waiting.append(entry)
        self._urge.set()
        self._wake.set()
        try:
            await asyncio.wait_for(future, WAIT_S)
        except TimeoutError:
            raise Refusal(
                "unavailable", "The search index has yet to catch up.", retry_after_ms=2000
            ) from None
        finally:
            with suppress(ValueError):
                self._waiting.remove(entry)

    async def rebuild(self) -> int:
        """Compare the index with the log and mend it; returns the number of differences."""
        future: asyncio.Future[int] = self._loop.create_future()
        self._tasks.append((self._mend, future))
        self._wake.set()
        return await future

    async def stop(self) -> None:
        """End the thread; what it has yet to index it will find at the next start."""
        self._stopping = True
        self._urge.set()
        self._wake.set()
        await asyncio.to_thread(self._thread.join)
        self._index.close()
        self._log.close()
        for _, future in self._waiting:
            if not future.done():
                future.set_exception(Refusal("unavailable", "The server is stopping."))
        for _, future in self._tasks:
            if not future.done():
                future.set_exception(Refusal("unavailable", "The server is stopping."))

    # --- on the loop ----------------------------------------------------------------------------

    def _reached(self) -> None:
        for target, future in self._waiting:
            if not future.done() and self._position >= target:
                future.set_result(None)

    def _failed(self) -> None:
        for _, future in self._waiting:
            if not future.done():
                future.set_exception(Refusal("unavailable", "The search index is not to be had now."))

    # --- in the thread --------------------------------------------------------------------------

    def _call(self, function: Callable[..., None], *arguments: object) -> None:
        with suppress(RuntimeError):
            self._loop.call_soon_threadsafe(function, *arguments)

    def _run(self) -> None:
        while not self._stopping:
            if self._scrub:
                self._empty_wal()
            self._wake.wait(SCRUB_AFTER_S if self._scrub else None)
            self._wake.clear()
            while not self._stopping:
                began = time.perf_counter()
                try:
                    if not self._step():
                        break
                except (apsw.FullError, apsw.BusyError):
                    time.sleep(RETRY_S)
                    continue
                except apsw.Error as error:
                    # The log goes on without a search; the next start tries again.
                    self._failure = error
                    self._call(self._failed)
                    return
                if self._is_busy() and not self._waiting:
                    self._urge.clear()
                    self._urge.wait((time.perf_counter() - began) * REST)

    def _step(self) -> bool:
        """Index some events, or carry out a task; False when there is nothing to do."""
        if self._tasks:
            task, future = self._tasks.pop()
            try:
                found = task()
                self._call(_finish, future, found, None)
            except apsw.Error as error:
                self._call(_finish, future, 0, error)
            return True
        size = BUSY_BATCH if self._is_busy() and not self._waiting else BATCH
        rows = self._log.execute(_CHANGES, (self._position, size)).fetchall()
        if not rows:
            return False
        found = self._texts(rows)
        self._write(found, rows[-1][0])
        self._call(self._reached)
        return True

    def _empty_wal(self) -> None:
        """After a removal: its words must not stay in the index's log file."""
        try:
            self._index.set_busy_timeout(0)
            self._index.wal_checkpoint(mode=apsw.SQLITE_CHECKPOINT_TRUNCATE)
            self._scrub = False
        except apsw.Error:
            # Someone searches just now; the next time will do.
            return
        finally:
            self._index.set_busy_timeout(schema.BUSY_MS)

    def _texts(self, rows: Iterable[Row]) -> dict[int, tuple[int, str]]:
        """Log and words of every message that the events are or are about."""
        found: dict[int, tuple[int, str]] = {}
        for event, log, kind, target, body, fold in rows:
            if kind == "message.new":
                found[event] = (log, indexed_text(body, fold))
            elif kind in ("message.updated", "message.deleted"):
                for about, _, old, changes in self._log.execute(_ONE, (log, target)):
                    found[about] = (log, indexed_text(old, changes))
        return found

    def _write(self, found: dict[int, tuple[int, str]], position: int) -> None:
        index = self._index
        index.execute("BEGIN IMMEDIATE")
        try:
            known = [(event,) for event in found if event <= self._position]
            if known:
                index.executemany("DELETE FROM words WHERE rowid = ?", known)
                self._scrub = True
            index.executemany(
                "INSERT INTO words (rowid, text, log) VALUES (?, ?, ?)",
                [(event, text, str(log)) for event, (log, text) in found.items() if text],
            )
            schema.set_meta(index, "position", str(position))
            index.execute("COMMIT")
        except BaseException:
            if index.in_transaction:
                index.execute("ROLLBACK")
            raise
        self._position = position

    def _mend(self) -> int:
        """Hold every entry against the log; entries beyond the position are no differences."""
        differences = 0
        known = dict(self._stored())
        after = 0
        while not self._stopping:
            rows = self._log.execute(_CHANGES, (after, BATCH)).fetchall()
            rows = [row for row in rows if row[0] <= self._position]
            if not rows:
                break
            wrong: dict[int, tuple[int, str]] = {}
            for event, (log, text) in self._texts(row for row in rows if row[2] == "message.new").items():
                have = known.pop(event, None)
                want = (text, str(log)) if text else None
                if have != want:
                    wrong[event] = (log, text)
            differences += len(wrong)
            self._write(wrong, self._position)
            after = rows[-1][0]
        differences += len(known)
        self._write(dict.fromkeys(known, (0, "")), self._position)
        return differences

    def _stored(self) -> Iterable[tuple[int, tuple[str, str]]]:
        for event, text, log in self._index.execute("SELECT rowid, text, log FROM words"):
            yield event, (text, log)


def _finish(future: asyncio.Future[int], result: int, failure: Exception | None) -> None:
    if future.done():
        return
    if failure is not None:
        future.set_exception(failure)
    else:
        future.set_result(result)
