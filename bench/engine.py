"""The storage engine alone: `python -m bench.engine FOLDER PRODUCERS SECONDS` prints one JSON object.

What durable sends are measured against: SQLite by apsw in WAL mode with `synchronous=FULL`, one thread
that writes all that waits as one transaction, and asyncio producers that wait for their row to be on
disk before they go on.  One row is 200 bytes and has two unique indexes, as a log's has.
"""

from __future__ import annotations

import asyncio
import queue
import sys
import threading
import time
from pathlib import Path

import apsw
import msgspec
import uvloop

from bench.plan import text_of

Job = tuple[tuple[int, int, int, str, str], "asyncio.Future[None]"]

_SCHEMA = """
CREATE TABLE row (id INTEGER PRIMARY KEY, conversation INTEGER, seq INTEGER, sender INTEGER,
                  client_id TEXT, body TEXT);
CREATE UNIQUE INDEX row_seq ON row (conversation, seq);
CREATE UNIQUE INDEX row_client ON row (sender, client_id);
"""
_INSERT = "INSERT INTO row (conversation, seq, sender, client_id, body) VALUES (?, ?, ?, ?, ?)"


def open_database(folder: Path) -> apsw.Connection:
    """A new database with the settings of the bench."""
    connection = apsw.Connection(str(folder / "engine.sqlite3"))
    connection.execute("PRAGMA journal_mode=WAL; PRAGMA synchronous=FULL; PRAGMA wal_autocheckpoint=1000")
    connection.execute(_SCHEMA)
    return connection


def write(
    connection: apsw.Connection, jobs: queue.SimpleQueue[Job | None], loop: asyncio.AbstractEventLoop
) -> None:
    """Commit all that waits, again and again, until None comes."""

    def done(futures: list[asyncio.Future[None]]) -> None:
        for future in futures:
            future.set_result(None)

    while (job := jobs.get()) is not None:
        batch = [job]
        while not jobs.empty():
            more = jobs.get()
            if more is None:
                jobs.put(None)
                break
            batch.append(more)
        connection.execute("BEGIN IMMEDIATE")
        connection.executemany(_INSERT, [row for row, _ in batch])
        connection.execute("COMMIT")
        loop.call_soon_threadsafe(done, [future for _, future in batch])


async def measure(folder: Path, producers: int, seconds: float) -> dict[str, float]:
    """Commits of `producers` closed loops, one row outstanding each, after a second to warm up."""
    loop = asyncio.get_running_loop()
    connection = open_database(folder)
    jobs: queue.SimpleQueue[Job | None] = queue.SimpleQueue()
    thread = threading.Thread(target=write, args=(connection, jobs, loop))
    thread.start()
    finished = [0] * producers
    took: list[float] = []
    stop = False
    bodies = [text_of(0, n) for n in range(64)]

    async def produce(number: int) -> None:
        seq = 0
        while not stop:
            seq += 1
            row = (number, seq, number, f"bench-{number}-{seq}", bodies[seq % 64])
            future: asyncio.Future[None] = loop.create_future()
            began = time.perf_counter()
            jobs.put((row, future))
            await future
            took.append(time.perf_counter() - began)
            finished[number] = seq

    tasks = [asyncio.create_task(produce(number)) for number in range(producers)]
    await asyncio.sleep(1)
    took.clear()
    before, cpu, began = sum(finished), time.process_time(), time.perf_counter()
    await asyncio.sleep(seconds)
    rows, cpu, wall = sum(finished) - before, time.process_time() - cpu, time.perf_counter() - began
    took.sort()
    p50, p99 = (took[int(len(took) * share)] * 1000 for share in (0.5, 0.99))
    stop = True
    await asyncio.gather(*tasks)
    jobs.put(None)
    await asyncio.to_thread(thread.join)
    stored = connection.execute("SELECT count(*) FROM row").get
    connection.close()
    if stored != sum(finished):
        raise SystemExit(f"{sum(finished)} rows were acknowledged and {stored} are stored")
    return {"rows": rows, "seconds": wall, "cpu": cpu, "p50_ms": p50, "p99_ms": p99}


def main() -> None:
    folder, producers, seconds = Path(sys.argv[1]), int(sys.argv[2]), float(sys.argv[3])
    figures = uvloop.run(measure(folder, producers, seconds))
    sys.stdout.write(msgspec.json.encode(figures).decode())


if __name__ == "__main__":
    main()
