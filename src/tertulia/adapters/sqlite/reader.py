"""Threads that read: each public read is one job on one of a few read-only connections."""

from __future__ import annotations

import asyncio
import queue
import threading
from collections.abc import Callable
from typing import TypeVar

from tertulia.adapters.sqlite.engine import Connection
from tertulia.domain.errors import Refusal

MAX_WAITING = 32_768
RETRY_AFTER_MS = 200

T = TypeVar("T")
Read = Callable[[Connection], T]


class Readers:
    """A pool of reading threads with a bounded queue."""

    def __init__(
        self,
        opener: Callable[[], Connection],
        *,
        loop: asyncio.AbstractEventLoop,
        threads: int = 2,
        max_waiting: int = MAX_WAITING,
        name: str = "sqlite-reader",
    ) -> None:
        self._loop = loop
        self._max_waiting = max_waiting
        self._closed = False
        self._queue: queue.SimpleQueue[tuple[Read[object], asyncio.Future[object]] | None]
        self._queue = queue.SimpleQueue()
        self._connections = [opener() for _ in range(threads)]
        self._threads = [
            threading.Thread(target=self._run, args=(connection,), name=f"{name}-{n}", daemon=True)
            for n, connection in enumerate(self._connections)
        ]
        for thread in self._threads:
            thread.start()

    @property
    def waiting(self) -> int:
        """Reads in the queue."""
        return self._queue.qsize()

    async def run(self, read: Read[T]) -> T:
        """The result of `read`, which sees one snapshot.  Raises Refusal `unavailable` when the queue
        is full or closed, and what `read` raises."""
        if self._closed:
            raise Refusal("unavailable", "The server is stopping.")
        if self._queue.qsize() >= self._max_waiting:
            raise Refusal("unavailable", "The server is too busy.", retry_after_ms=RETRY_AFTER_MS)
        future: asyncio.Future[T] = self._loop.create_future()
        self._queue.put((read, future))  # pyright: ignore[reportArgumentType]
        return await future

    async def stop(self) -> None:
        """Answer what is queued, then end the threads and close their connections."""
        if not self._closed:
            self._closed = True
            for _ in self._threads:
                self._queue.put(None)
        for thread in self._threads:
            await asyncio.to_thread(thread.join)
        for connection in self._connections:
            connection.close()

    def _run(self, connection: Connection) -> None:
        while (job := self._queue.get()) is not None:
            read, future = job
            result: object = None
            failure: Exception | None = None
            try:
                connection.execute("BEGIN")
                try:
                    result = read(connection)
                finally:
                    if connection.in_transaction:
                        connection.execute("COMMIT")
            except Exception as error:  # noqa: BLE001 - it goes to the one who asked
                failure = error
            try:
                self._loop.call_soon_threadsafe(_finish, future, result, failure)
            except RuntimeError:
                # The loop is closed: nobody waits for an answer any more.
                return


def _finish(future: asyncio.Future[object], result: object, failure: Exception | None) -> None:
    if future.done():
        return
    if failure is not None:
        future.set_exception(failure)
    else:
        future.set_result(result)
