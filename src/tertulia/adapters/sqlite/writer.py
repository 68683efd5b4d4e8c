"""The one thread that writes: it takes all that waits as the next transaction (group commit).

Units come from the event loop through a bounded queue, and the results of a whole batch go back with
one call into the loop.
"""

from __future__ import annotations

import asyncio
import queue
import threading
import time
from collections.abc import Callable, Sequence
from typing import Any

import apsw
import msgspec

from tertulia.adapters.sqlite import schema
from tertulia.adapters.sqlite.batch import Batch, LogCache, WrongUnit
from tertulia.adapters.sqlite.engine import Connection
from tertulia.domain.errors import Refusal
from tertulia.domain.unit import Committed, Unit

MAX_WAITING = 8192
MAX_BATCH = 1024
CHECKPOINT_PAGES = 3000
RETRY_AFTER_MS = 200

SCRUB_AFTER_S = 1.0

Outcome = Committed | Exception
Job = tuple[Unit, "asyncio.Future[Committed]"]


class Chore:
    """Work other than units that needs the write connection: a transaction of its own."""

    def __init__(self, work: Callable[[Connection], None], future: asyncio.Future[None]) -> None:
        self.work = work
        self.future = future


class BatchReport(msgspec.Struct, frozen=True):
    """What is told to the observer after each batch: units taken, events written, seconds from the
    beginning of the transaction to its end on disk, units still waiting, and how it ended
    ("committed", "full", "failed")."""

    units: int
    events: int
    seconds: float
    waiting: int
    outcome: str


Observer = Callable[[BatchReport], None]
Deliver = Callable[[Sequence[Job], Sequence[Outcome]], None]


def is_fatal(error: BaseException) -> bool:
    """Whether nobody can know any more what is on disk (design rule 13)."""
    if isinstance(error, apsw.IOError):
        # The shared index could not be grown: nothing was written, and there may be room later.
        return getattr(error, "extendedresult", 0) != apsw.SQLITE_IOERR_SHMSIZE
    return isinstance(error, apsw.CorruptError | apsw.NotADBError)


def _is_full(error: BaseException) -> bool:
    return isinstance(error, apsw.FullError) or (isinstance(error, apsw.IOError) and not is_fatal(error))


def _storage_full() -> Refusal:
    return Refusal("storage_full", "The server's storage is full; nothing was written.")


def _unavailable(detail: str, retry_after_ms: int | None = None) -> Refusal:
    return Refusal("unavailable", detail, retry_after_ms=retry_after_ms)


class Writer:
    """Owns the write connection from `start` to `stop`."""

    def __init__(
        self,
        connection: Connection,
        *,
        loop: asyncio.AbstractEventLoop,
        deliver: Deliver,
        on_fatal: Callable[[BaseException], None],
        observe: Observer | None,
        max_waiting: int = MAX_WAITING,
        max_batch: int = MAX_BATCH,
    ) -> None:
        self._connection = connection
        self._loop = loop
        self._deliver = deliver
        self._on_fatal = on_fatal
        self._observe = observe
        self._max_waiting = max_waiting
        self._max_batch = max_batch
        self._queue: queue.SimpleQueue[list[Job] | Chore | None] = queue.SimpleQueue()
        self._gathered: list[Job] = []
        self._waiting = 0
        self._secure = True
        self._logs = LogCache()
        self._closing = False
        self._fatal: BaseException | None = None
        self._wal_pages = 0
        self._scrub = False
        # Commits that were begun (counted in the thread), and how many of them the loop has been told of.
        self._begun = 0
        self._told = 0
        self._unsettled: list[tuple[int, asyncio.Future[None]]] = []
        self.committed_at = 0.0
        """When the last batch was committed (`time.monotonic`)."""
        newest: Any = connection.execute("SELECT max(id) FROM event").get
        self._next_id: int = int(newest or 0) + 1
        newest = connection.execute("SELECT max(no) FROM log").get
        self._next_log: int = int(newest or 0) + 1
        connection.set_wal_hook(self._after_wal_write)
        self._thread = threading.Thread(target=self._run, name="sqlite-writer", daemon=True)

    def start(self) -> None:
        """Begin to take units."""
        self._thread.start()

    @property
    def waiting(self) -> int:
        """Units that have no answer yet."""
        return self._waiting

    @property
    def last_id(self) -> int:
        """The newest event of the whole database that is committed."""
        return self._next_id - 1

    def put(self, unit: Unit) -> asyncio.Future[Committed]:
        """Queue a unit; on the event loop only.

        What comes in one turn of the loop goes to the thread together: waking it costs more than a unit."""
        future: asyncio.Future[Committed] = self._loop.create_future()
        if self._closing or self._fatal is not None:
            future.set_exception(_unavailable("The server is stopping."))
        elif self._waiting >= self._max_waiting:
            future.set_exception(_unavailable("The server is too busy.", RETRY_AFTER_MS))
        else:
            self._waiting += 1
            if not self._gathered:
                self._loop.call_soon(self._submit)
            self._gathered.append((unit, future))
        return future

    def _submit(self) -> None:
        if self._gathered:
            self._queue.put(self._gathered)
            self._gathered = []

    async def carry_out(self, work: Callable[[Connection], None]) -> None:
        """Run `work` in a transaction of its own, between two batches.  Raises what it raises."""
        if self._closing or self._fatal is not None:
            raise _unavailable("The server is stopping.")
        future: asyncio.Future[None] = self._loop.create_future()
        self._submit()
        self._queue.put(Chore(work, future))
        await future

    async def settled(self) -> None:
        """See `MessageStore.settled`; on the event loop only."""
        begun = self._begun
        if begun > self._told:
            future: asyncio.Future[None] = self._loop.create_future()
            self._unsettled.append((begun, future))
            await future

    async def stop(self) -> None:
        """Commit what is queued, then end the thread."""
        if not self._closing:
            self._closing = True
            self._submit()
            self._queue.put(None)
        await asyncio.to_thread(self._thread.join)

    # --- in the thread --------------------------------------------------------------------------

    def _run(self) -> None:
        last = False
        while not last:
            try:
                job = self._queue.get(timeout=SCRUB_AFTER_S if self._scrub else None)
            except queue.Empty:
                self._checkpoint()
                continue
            jobs: list[Job] = []
            while type(job) is list:
                jobs += job
                if len(jobs) >= self._max_batch:
                    break
                try:
                    job = self._queue.get_nowait()
                except queue.Empty:
                    break
            if jobs:
                self._batch(jobs)
                if self._wal_pages >= CHECKPOINT_PAGES:
                    self._checkpoint()
            if isinstance(job, Chore):
                self._carry_out(job)
            last = job is None
        self._connection.set_wal_hook(None)

    def _after_wal_write(self, _connection: Connection, _name: str, pages: int) -> int:
        self._wal_pages = pages
        return apsw.SQLITE_OK

    def _batch(self, jobs: Sequence[Job]) -> None:
        began = time.perf_counter()
        units = [unit for unit, _ in jobs]
        if self._fatal is not None:
            outcomes: list[Outcome] = [_unavailable("The storage has failed.") for _ in units]
            self._hand_over(jobs, outcomes)
            return
        result = "committed"
        events = 0
        try:
            outcomes, events = self._commit(units)
        except Exception as error:  # noqa: BLE001 - it goes to those who asked
            self._roll_back()
            if is_fatal(error):
                result = "failed"
                outcomes = self._failed(error, units)
            elif _is_full(error):
                result = "full"
                outcomes = [_storage_full() for _ in units]
            elif len(units) == 1:
                outcomes = [error]
            else:
                outcomes, events = self._one_by_one(units)
        waiting = self._waiting - len(jobs)
        self._hand_over(jobs, outcomes)
        if self._observe is not None:
            seconds = time.perf_counter() - began
            self._observe(BatchReport(len(units), events, seconds=seconds, waiting=waiting, outcome=result))

    def _commit(self, units: Sequence[Unit]) -> tuple[list[Outcome], int]:
        """One transaction.  Raises what its statements raise; then nothing was written."""
        connection = self._connection
        self._overwrite(_may_erase(units))
        batch = Batch(connection, self._logs, self._next_id, self._next_log)
        connection.execute("BEGIN IMMEDIATE")
        batch.look_up(units)
        outcomes: list[Outcome] = []
        add = batch.add
        for unit in units:
            try:
                outcomes.append(add(unit))
            except (Refusal, WrongUnit) as error:
                outcomes.append(error)
        batch.flush()
        # From here on a read may see it.
        self._begun += 1
        connection.execute("COMMIT")
        self.committed_at = time.monotonic()
        batch.committed()
        self._next_id = batch.next_id
        self._next_log = batch.next_log
        self._scrub = self._scrub or batch.erases
        return outcomes, batch.events

    def _overwrite(self, secure: bool) -> None:
        """Whether what is freed is overwritten.  It costs a fifth of a plain send, which frees nothing that
        anybody wrote: it appends, and moves counters in place."""
        if secure != self._secure:
            self._connection.execute(f"PRAGMA secure_delete = {'ON' if secure else 'OFF'}")
            self._secure = secure

    def _one_by_one(self, units: Sequence[Unit]) -> tuple[list[Outcome], int]:
        """After an error that nobody foresaw: each unit on its own, so that only the guilty one fails."""
        outcomes: list[Outcome] = []
        events = 0
        for unit in units:
            try:
                done, count = self._commit((unit,))
                outcomes += done
                events += count
            except Exception as error:  # noqa: BLE001 - it goes to the one who asked
                self._roll_back()
                if is_fatal(error):
                    return outcomes + self._failed(error, units[len(outcomes) :]), events
                outcomes.append(_storage_full() if _is_full(error) else error)
        return outcomes, events

    def _roll_back(self) -> None:
        self._logs.clear()
        if self._connection.in_transaction:
            try:
                self._connection.execute("ROLLBACK")
            except apsw.Error as error:
                self._fail(error)

    def _failed(self, error: BaseException, units: Sequence[Unit]) -> list[Outcome]:
        self._fail(error)
        return [_unavailable("The storage has failed.") for _ in units]

    def _fail(self, error: BaseException) -> None:
        if self._fatal is None:
            self._fatal = error
            self._call(self._on_fatal, error)

    def _checkpoint(self) -> None:
        """Move the log's pages into the database; after an erasure also empty the log file, in which the
        erased bytes still are."""
        if self._fatal is not None:
            self._scrub = False
            return
        connection = self._connection
        try:
            connection.wal_checkpoint(mode=apsw.SQLITE_CHECKPOINT_PASSIVE)
            self._wal_pages = 0
            if self._scrub:
                connection.set_busy_timeout(0)
                connection.wal_checkpoint(mode=apsw.SQLITE_CHECKPOINT_TRUNCATE)
                self._scrub = False
        except apsw.BusyError:
            # Someone reads an older state; the next time will do.
            return
        except apsw.Error as error:
            if not _is_full(error):
                self._fail(error)
        finally:
            connection.set_busy_timeout(schema.BUSY_MS)

    def _carry_out(self, chore: Chore) -> None:
        failure: Exception | None = None
        if self._fatal is not None:
            failure = _unavailable("The storage has failed.")
        else:
            try:
                self._connection.execute("BEGIN IMMEDIATE")
                chore.work(self._connection)
                self._connection.execute("COMMIT")
            except Exception as error:  # noqa: BLE001 - it goes to the one who asked
                self._roll_back()
                failure = error
                if is_fatal(error):
                    self._fail(error)
            self._logs.clear()
        self._call(_finish, chore.future, failure)

    def _hand_over(self, jobs: Sequence[Job], outcomes: Sequence[Outcome]) -> None:
        self._call(self._delivered, jobs, outcomes, self._begun)

    def _delivered(self, jobs: Sequence[Job], outcomes: Sequence[Outcome], told: int) -> None:
        self._waiting -= len(jobs)
        self._deliver(jobs, outcomes)
        self._told = told
        if self._unsettled:
            for begun, future in self._unsettled:
                if begun <= told and not future.done():
                    future.set_result(None)
            self._unsettled = [entry for entry in self._unsettled if entry[0] > told]

    def _call(self, function: Callable[..., None], *arguments: object) -> None:
        try:
            self._loop.call_soon_threadsafe(function, *arguments)
        except RuntimeError:
            # The loop is closed: nobody waits for an answer any more.
            return


def _may_erase(units: Sequence[Unit]) -> bool:
    return any(unit.writes or any(event.erases_target for event in unit.events) for unit in units)


def _finish(future: asyncio.Future[None], failure: Exception | None) -> None:
    if future.done():
        return
    if failure is not None:
        future.set_exception(failure)
    else:
        future.set_result(None)
