"""What is to be sent, kept until the server has answered for good.

A durable outbox is one SQLite file (write-ahead log, `synchronous=FULL`) rather than a file of lines: it
removes entries without rewriting, tells a torn write from a whole one by itself, and keeps a second
process out of the same file.  All of its work is done in one thread of its own, never on the event loop.

Every entry has its `client_id` before it is first tried, and the server answers a repeat with the first
answer; so an entry whose outcome is unknown is simply tried again.  Entries of one lane (a conversation)
are sent one after the other; lanes do not wait for each other.
"""

from __future__ import annotations

import asyncio
import sqlite3
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any, Protocol, TypeVar

import msgspec

T = TypeVar("T")


class Entry(msgspec.Struct, frozen=True, kw_only=True):
    """A command (`type` and its fields, `client_id` among them) that waits for its answer.

    `number` grows in the order of putting in; `attempts` counts failed tries."""

    number: int
    lane: str
    client_id: str
    command: dict[str, Any]
    attempts: int = 0


class OutboxInUse(Exception):
    """Another client has this outbox open."""


class OutboxOfOther(Exception):
    """The file belongs to another account; its messages must not be sent as this one's."""


class OutboxFull(Exception):
    """As many entries wait as may; nothing was put in."""


class Outbox(Protocol):
    """Promise: when `put` returns, the entry is there until `remove`, whatever happens to the process."""

    async def put(self, lane: str, client_id: str, command: dict[str, Any]) -> Entry:
        """Raises OutboxFull, and ValueError for a `client_id` that is in use."""
        ...

    async def heads(self) -> list[Entry]:
        """The oldest entry of each lane, oldest first."""
        ...

    async def entries(self, most: int = 1000) -> list[Entry]:
        """All that waits, oldest first, at most `most`."""
        ...

    async def failed(self, client_id: str) -> int:
        """A try did not bring an answer; returns how many have not."""
        ...

    async def remove(self, client_id: str) -> None:
        """Answered for good, or given up.  Nothing happens when it is not there."""
        ...

    async def count(self) -> int: ...

    async def close(self) -> None: ...


class MemoryOutbox:
    """An outbox that ends with the process."""

    def __init__(self, capacity: int = 10_000) -> None:
        self._capacity = capacity
        self._entries: dict[str, Entry] = {}
        self._next = 1

    async def put(self, lane: str, client_id: str, command: dict[str, Any]) -> Entry:
        if client_id in self._entries:
            raise ValueError(f"client_id {client_id!r} is in the outbox already")
        if len(self._entries) >= self._capacity:
            raise OutboxFull(f"{self._capacity} messages wait to be sent")
        entry = Entry(number=self._next, lane=lane, client_id=client_id, command=command)
        self._next += 1
        self._entries[client_id] = entry
        return entry

    async def heads(self) -> list[Entry]:
        first: dict[str, Entry] = {}
        for entry in self._entries.values():
            first.setdefault(entry.lane, entry)
        return list(first.values())

    async def entries(self, most: int = 1000) -> list[Entry]:
        return list(self._entries.values())[:most]

    async def failed(self, client_id: str) -> int:
        entry = self._entries.get(client_id)
        if entry is None:
            return 0
        entry = msgspec.structs.replace(entry, attempts=entry.attempts + 1)
        self._entries[client_id] = entry
        return entry.attempts

    async def remove(self, client_id: str) -> None:
        self._entries.pop(client_id, None)

    async def count(self) -> int:
        return len(self._entries)

    async def close(self) -> None:
        """Nothing to do."""


_SCHEMA = """
CREATE TABLE IF NOT EXISTS account (one INTEGER PRIMARY KEY CHECK (one = 1), name TEXT NOT NULL);
CREATE TABLE IF NOT EXISTS entry (
    number INTEGER PRIMARY KEY AUTOINCREMENT,
    lane TEXT NOT NULL,
    client_id TEXT NOT NULL UNIQUE,
    command BLOB NOT NULL,
    attempts INTEGER NOT NULL DEFAULT 0
);
CREATE INDEX IF NOT EXISTS entry_lane ON entry (lane, number);
"""
_COLUMNS = "number, lane, client_id, command, attempts"


class DiskOutbox:
    """An outbox in a file; make one with `open`."""

    def __init__(self, thread: ThreadPoolExecutor, db: sqlite3.Connection, capacity: int) -> None:
        self._thread = thread
        self._db = db
        self._capacity = capacity
        self._closed = False

    @classmethod
    async def open(cls, path: Path, account: str, *, capacity: int = 10_000) -> DiskOutbox:
        """The outbox of `account` (server and user) in the file, which is made when it is not there.

        Raises OutboxInUse, OutboxOfOther, sqlite3.Error for a file that is no outbox, OSError."""
        thread = ThreadPoolExecutor(1, thread_name_prefix="tertulia-outbox")
        try:
            loop = asyncio.get_running_loop()
            db = await loop.run_in_executor(thread, _open, path, account)
        except BaseException:
            thread.shutdown(wait=False)
            raise
        return cls(thread, db, capacity)

    async def put(self, lane: str, client_id: str, command: dict[str, Any]) -> Entry:
        return await self._run(lambda: self._put(lane, client_id, command))

    async def heads(self) -> list[Entry]:
        return await self._run(self._heads)

    async def entries(self, most: int = 1000) -> list[Entry]:
        return await self._run(lambda: self._entries(most))

    async def failed(self, client_id: str) -> int:
        return await self._run(lambda: self._failed(client_id))

    async def remove(self, client_id: str) -> None:
        await self._run(lambda: self._db.execute("DELETE FROM entry WHERE client_id = ?", (client_id,)))

    async def count(self) -> int:
        return await self._run(self._count)

    async def close(self) -> None:
        if not self._closed:
            await self._run(self._db.close)
            self._closed = True
            self._thread.shutdown(wait=False)

    async def _run(self, work: Callable[[], T]) -> T:
        if self._closed:
            raise RuntimeError("the outbox is closed")
        # Shielded: a caller that is cancelled must not leave the entry half known.
        return await asyncio.shield(asyncio.get_running_loop().run_in_executor(self._thread, work))

    def _put(self, lane: str, client_id: str, command: dict[str, Any]) -> Entry:
        if self._count() >= self._capacity:
            raise OutboxFull(f"{self._capacity} messages wait to be sent")
        try:
            number = self._db.execute(
                "INSERT INTO entry (lane, client_id, command) VALUES (?, ?, ?)",
                (lane, client_id, msgspec.json.encode(command)),
            ).lastrowid
        except sqlite3.IntegrityError:
            raise ValueError(f"client_id {client_id!r} is in the outbox already") from None
        assert number is not None
        return Entry(number=number, lane=lane, client_id=client_id, command=command)

    def _heads(self) -> list[Entry]:
        sql = (
            f"SELECT {_COLUMNS} FROM entry "  # noqa: S608 - a constant
            "WHERE number IN (SELECT min(number) FROM entry GROUP BY lane) ORDER BY number"
        )
        return [_entry(row) for row in self._db.execute(sql)]

    def _entries(self, most: int) -> list[Entry]:
        sql = f"SELECT {_COLUMNS} FROM entry ORDER BY number LIMIT ?"  # noqa: S608 - a constant
        return [_entry(row) for row in self._db.execute(sql, (most,))]

    def _failed(self, client_id: str) -> int:
        sql = "UPDATE entry SET attempts = attempts + 1 WHERE client_id = ? RETURNING attempts"
        rows = self._db.execute(sql, (client_id,)).fetchall()
        return int(rows[0][0]) if rows else 0

    def _count(self) -> int:
        return int(self._db.execute("SELECT count(*) FROM entry").fetchone()[0])


def _entry(row: tuple[int, str, str, bytes, int]) -> Entry:
    number, lane, client_id, command, attempts = row
    return Entry(
        number=number,
        lane=lane,
        client_id=client_id,
        command=msgspec.json.decode(command, type=dict[str, Any]),
        attempts=attempts,
    )


def _open(path: Path, account: str) -> sqlite3.Connection:
    path.parent.mkdir(parents=True, exist_ok=True)
    # Autocommit: every statement is a transaction, on disk when it returns.
    db = sqlite3.connect(path, timeout=1.0, isolation_level=None, check_same_thread=False)
    try:
        # Before the write-ahead log: then no other process can open the file at all.
        db.execute("PRAGMA locking_mode = EXCLUSIVE")
        db.execute("PRAGMA journal_mode = WAL")
        db.execute("PRAGMA synchronous = FULL")
        db.executescript(_SCHEMA)
        db.execute("INSERT OR IGNORE INTO account (one, name) VALUES (1, ?)", (account,))
        owner = db.execute("SELECT name FROM account").fetchone()[0]
        if owner != account:
            raise OutboxOfOther(f"this outbox belongs to {owner!r}")
    except sqlite3.OperationalError as error:
        db.close()
        if "locked" in str(error):
            raise OutboxInUse(f"{path} is in use") from error
        raise
    except BaseException:
        db.close()
        raise
    return db
