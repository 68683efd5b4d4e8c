"""What the SQLite store promises beyond the contract: durability, migrations, failures, backups."""

from __future__ import annotations

import asyncio
import subprocess
import sys
import threading
from collections.abc import AsyncIterator, Callable, Iterator
from pathlib import Path

import apsw
import pytest

from tertulia.adapters.sqlite import (
    BatchReport,
    Differences,
    FolderInUse,
    SchemaTooNew,
    SqliteStore,
    schema,
    stamp_new_generation,
)
from tertulia.adapters.sqlite.engine import connect
from tertulia.adapters.sqlite.reader import Readers
from tertulia.adapters.sqlite.store import DATABASE
from tertulia.adapters.sqlite.tables import TABLES
from tertulia.adapters.sqlite.writer import MAX_WAITING
from tertulia.domain.content import Poll
from tertulia.domain.errors import Refusal
from tertulia.domain.records import Cursor, Mention, User
from tertulia.domain.unit import Committed, Put, SetCursor, Unit
from tertulia.ports.message_store import SearchQuery
from tests.contract.units import (
    AT,
    TENANT,
    conversation,
    delete,
    edit,
    made,
    member,
    react,
    text,
    unit,
    vote,
)

Open = Callable[..., "asyncio.Future[SqliteStore]"]


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    return tmp_path / "data"


@pytest.fixture
async def store(folder: Path) -> AsyncIterator[SqliteStore]:
    store = await SqliteStore.open(folder)
    yield store
    await store.close()


async def refusal_of(store: SqliteStore, given: Unit) -> Refusal:
    with pytest.raises(Refusal) as caught:
        await store.append(given)
    return caught.value


async def eventually(check: Callable[[], bool]) -> None:
    for _ in range(400):
        if check():
            return
        await asyncio.sleep(0.05)


async def world(store: SqliteStore) -> None:
    """Some of everything."""
    await store.append(unit(made("a"), writes=(conversation("a"), member("a", "ann"), member("a", "bob"))))
    await store.append(unit(text("a", Poll(question="?", options=("x", "y"))), client_id="c1", request="r"))
    await store.append(unit(text("a", "needle", mentions=("bob",), at_all=True)))
    await store.append(unit(edit("a", 3, "changed needle")))
    await store.append(unit(react("a", 3, "+", actor="bob")))
    await store.append(unit(vote("a", 2, (1,), actor="bob")))
    await store.append(unit(text("a", "reply", thread=3, actor="bob"), actor="bob"))
    await store.append(unit(text("a", "secret words"), at=AT + 5))
    await store.append(unit(delete("a", 8)))
    await store.append(unit(writes=(SetCursor(log="a", user="bob", read=4),)))


# --- durability ----------------------------------------------------------------------------------


async def test_everything_is_there_after_a_restart(folder: Path) -> None:
    store = await SqliteStore.open(folder)
    await world(store)
    before = (
        await store.events("a", 0, 100),
        await store.head("a"),
        await store.messages("a"),
        await store.messages("a", thread=3),
        [await store.scan(record, ()) for record in TABLES],
        store.generation,
    )
    await store.close()
    store = await SqliteStore.open(folder)
    after = (
        await store.events("a", 0, 100),
        await store.head("a"),
        await store.messages("a"),
        await store.messages("a", thread=3),
        [await store.scan(record, ()) for record in TABLES],
        store.generation,
    )
    assert after == before
    again = await store.append(
        unit(text("a", Poll(question="?", options=("x", "y"))), client_id="c1", request="r")
    )
    assert again == Committed(events=(before[0][1],), repeated=True)
    with pytest.raises(Refusal, match="client_id"):
        await store.append(unit(text("a"), client_id="c1", request="other"))
    more = await store.append(unit(text("a", "more")))
    assert (more.events[0].seq, more.events[0].ordinal) == (10, 4)
    assert more.events[0].at == AT + 5
    hits = await store.search(SearchQuery(tenant=TENANT, user="bob", text="needle"))
    assert [hit.view.seq for hit in hits] == [3]
    await store.close()


async def test_what_was_acknowledged_survives_a_killed_process(folder: Path) -> None:
    script = """
import asyncio, os, sys
from tertulia.adapters.sqlite import SqliteStore
from tests.contract.units import made, text, unit
async def main():
    store = await SqliteStore.open(sys.argv[1])
    await store.append(unit(made("a")))
    for n in range(20):
        done = await store.append(unit(text("a", str(n)), client_id=str(n)))
    print(done.events[0].seq, flush=True)
    os._exit(9)
asyncio.run(main())
"""
    run = subprocess.run(
        [sys.executable, "-c", script, str(folder)], capture_output=True, text=True, timeout=60
    )
    assert (run.returncode, run.stdout.strip()) == (9, "21"), run.stderr
    store = await SqliteStore.open(folder)
    assert [event.seq for event in await store.events("a", 0, 100)] == list(range(1, 22))
    assert (await store.append(unit(text("a", "7"), client_id="7"))).repeated
    await store.close()


async def test_a_new_generation_is_stamped_after_a_restore(folder: Path) -> None:
    store = await SqliteStore.open(folder)
    await world(store)
    first = store.generation
    await store.close()
    stamped = stamp_new_generation(folder / DATABASE)
    store = await SqliteStore.open(folder)
    assert store.generation == stamped != first
    hits = await store.search(SearchQuery(tenant=TENANT, user="bob", text="needle"))
    assert len(hits) == 1
    await store.close()


# --- the folder ----------------------------------------------------------------------------------


async def test_a_folder_is_opened_once(folder: Path) -> None:
    store = await SqliteStore.open(folder)
    with pytest.raises(FolderInUse):
        await SqliteStore.open(folder)
    script = (
        "import asyncio, sys; from tertulia.adapters.sqlite import SqliteStore; "
        "asyncio.run(SqliteStore.open(sys.argv[1]))"
    )
    run = subprocess.run(
        [sys.executable, "-c", script, str(folder)], capture_output=True, text=True, timeout=60
    )
    assert run.returncode == 1
    assert "in use by another process" in run.stderr
    await store.append(unit(made("a")))
    await store.close()
    store = await SqliteStore.open(folder)
    await store.close()


# --- migrations ----------------------------------------------------------------------------------


def squeezed(sql: str) -> str:
    return "".join(sql.split())


async def test_the_migrated_schema_is_what_the_records_ask_for(store: SqliteStore, folder: Path) -> None:
    connection = connect(str(folder / DATABASE))
    have = {
        squeezed(sql) for (sql,) in connection.execute("SELECT sql FROM sqlite_schema WHERE sql IS NOT NULL")
    }
    want = {squeezed(sql) for table in TABLES.values() for sql in table.create_sql()}
    assert want <= have
    names = {name for (name,) in connection.execute("SELECT name FROM sqlite_schema WHERE type = 'table'")}
    assert names == {table.name for table in TABLES.values()} | {
        "meta",
        "log",
        "event",
        "fold",
        "schema_version",
    }
    connection.close()


async def test_migrations_are_numbered_without_holes() -> None:
    assert [number for number, _, _ in schema.migrations()] == list(range(1, len(schema.migrations()) + 1))


async def test_a_newer_database_is_refused_and_left_alone(folder: Path) -> None:
    store = await SqliteStore.open(folder)
    await store.close()
    connection = connect(str(folder / DATABASE))
    connection.execute("INSERT INTO schema_version VALUES (99, '0099_future.sql')")
    connection.execute("PRAGMA wal_checkpoint(TRUNCATE)")
    connection.close()
    before = (folder / DATABASE).read_bytes()
    with pytest.raises(SchemaTooNew, match="newer version of the program"):
        await SqliteStore.open(folder)
    assert (folder / DATABASE).read_bytes() == before


async def test_a_failed_migration_changes_nothing(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    real = schema.migrations()
    broken = [*real, (2, "0002_broken.sql", "CREATE TABLE fresh (a); CREATE TABLE log (b);")]
    monkeypatch.setattr(schema, "migrations", lambda: broken)
    with pytest.raises(apsw.SQLError):
        await SqliteStore.open(folder)
    monkeypatch.setattr(schema, "migrations", lambda: real)
    store = await SqliteStore.open(folder)
    await store.append(unit(made("a")))
    await store.close()
    connection = connect(str(folder / DATABASE))
    assert connection.execute("SELECT max(number) FROM schema_version").get == 1
    assert connection.execute("SELECT 1 FROM sqlite_schema WHERE name = 'fresh'").get is None
    connection.close()


# --- failures of the disk ------------------------------------------------------------------------


class FaultyFile(apsw.VFSFile):
    """A file whose writes or syncs fail while its disk says so."""

    def __init__(self, disk: FaultyDisk, name: object, flags: list[int]) -> None:
        self._disk = disk
        self._is_database = isinstance(name, apsw.URIFilename) and name.filename().endswith(DATABASE)
        super().__init__("", name, flags)

    def xWrite(self, data: bytes, offset: int) -> None:  # noqa: N802
        if self._disk.full:
            raise apsw.FullError("no room")
        super().xWrite(data, offset)

    def xSync(self, flags: int) -> None:  # noqa: N802
        if self._disk.broken or (self._disk.broken_database and self._is_database):
            raise apsw.IOError("cannot sync")
        super().xSync(flags)


class FaultyDisk(apsw.VFS):
    """A VFS that fails on demand."""

    def __init__(self, name: str) -> None:
        self.full = False
        self.broken = False
        self.broken_database = False
        super().__init__(name, "")

    def xOpen(self, name: object, flags: list[int]) -> FaultyFile:  # noqa: N802
        return FaultyFile(self, name, flags)


@pytest.fixture
def disk() -> Iterator[FaultyDisk]:
    disk = FaultyDisk("faulty")
    yield disk
    disk.unregister()


async def test_a_full_disk_refuses_and_heals(folder: Path, disk: FaultyDisk) -> None:
    failures: list[BaseException] = []
    reports: list[BatchReport] = []
    store = await SqliteStore.open(folder, vfs="faulty", on_fatal=failures.append, observe=reports.append)
    await store.append(unit(made("a")))
    await store.append(unit(text("a")))
    disk.full = True
    done = await asyncio.gather(
        *[store.append(unit(text("a", str(n)), client_id=str(n))) for n in range(20)],
        return_exceptions=True,
    )
    assert {each.code for each in done if isinstance(each, Refusal)} == {"storage_full"}
    assert len(done) == len([each for each in done if isinstance(each, Refusal)])
    assert [event.seq for event in await store.events("a", 0, 9)] == [1, 2]
    disk.full = False
    done = await asyncio.gather(*[store.append(unit(text("a", str(n)), client_id=str(n))) for n in range(20)])
    assert [each.events[0].seq for each in done] == list(range(3, 23))
    assert failures == []
    await store.close()
    # The writer tells of a batch after its answers are on their way.
    assert [report.outcome for report in reports if report.outcome != "committed"][:1] == ["full"]


async def test_a_failed_sync_is_fatal(folder: Path, disk: FaultyDisk) -> None:
    failures: list[BaseException] = []
    store = await SqliteStore.open(folder, vfs="faulty", on_fatal=failures.append)
    await store.append(unit(made("a")))
    disk.broken = True
    done = await asyncio.gather(
        *[store.append(unit(text("a", str(n)))) for n in range(20)], return_exceptions=True
    )
    assert [each.code for each in done if isinstance(each, Refusal)] == ["unavailable"] * 20
    disk.broken = False
    assert (await refusal_of(store, unit(text("a")))).code == "unavailable"
    await asyncio.sleep(0)
    assert len(failures) == 1
    assert isinstance(failures[0], apsw.IOError)
    await store.close()


async def test_a_failed_sync_of_a_checkpoint_is_fatal(
    folder: Path, disk: FaultyDisk, monkeypatch: pytest.MonkeyPatch
) -> None:
    """SQLite's automatic checkpoints would keep this to themselves."""
    failures: list[BaseException] = []
    store = await SqliteStore.open(folder, vfs="faulty", on_fatal=failures.append)
    await store.append(unit(made("a")))
    disk.broken_database = True
    monkeypatch.setattr("tertulia.adapters.sqlite.writer.CHECKPOINT_PAGES", 1)
    await asyncio.gather(store.append(unit(text("a"))), return_exceptions=True)
    await eventually(lambda: bool(failures))
    assert len(failures) == 1
    assert (await refusal_of(store, unit(text("a")))).code == "unavailable"
    disk.broken_database = False
    await store.close()


# --- bounded queues ------------------------------------------------------------------------------


async def test_a_full_queue_refuses_at_once(folder: Path) -> None:
    entered, go_on = threading.Event(), threading.Event()
    reports: list[BatchReport] = []

    def observe(report: BatchReport) -> None:
        reports.append(report)
        entered.set()
        go_on.wait(30)

    store = await SqliteStore.open(folder, observe=observe)
    first = store.append(unit(made("a")))
    assert await asyncio.to_thread(entered.wait, 30)
    waiting = [store.append(unit(text("a", "x"))) for _ in range(MAX_WAITING)]
    refusal = await refusal_of(store, unit(text("a", "x")))
    assert refusal.code == "unavailable"
    assert refusal.retry_after_ms
    assert store.stats().waiting_units == MAX_WAITING
    go_on.set()
    await first
    done = await asyncio.gather(*waiting)
    assert done[-1].events[0].seq == MAX_WAITING + 1
    assert store.stats().waiting_units == 0
    await store.close()
    assert sum(report.units for report in reports) == MAX_WAITING + 1
    assert max(report.units for report in reports) > 100
    assert {report.outcome for report in reports} == {"committed"}


async def test_a_full_reading_queue_refuses_at_once(tmp_path: Path) -> None:
    go_on = threading.Event()
    connect(str(tmp_path / "x")).close()
    readers = Readers(
        lambda: connect(str(tmp_path / "x")),
        loop=asyncio.get_running_loop(),
        threads=1,
        max_waiting=1,
    )
    started = threading.Event()

    def block(_: object) -> bool:
        started.set()
        return go_on.wait(30)

    busy = asyncio.ensure_future(readers.run(block))
    assert await asyncio.to_thread(started.wait, 30)
    queued = asyncio.ensure_future(readers.run(lambda _: 7))
    await asyncio.sleep(0)
    with pytest.raises(Refusal) as caught:
        await readers.run(lambda _: 8)
    assert caught.value.code == "unavailable"
    go_on.set()
    assert (await busy, await queued) == (True, 7)
    await readers.stop()
    with pytest.raises(Refusal):
        await readers.run(lambda _: 9)


# --- operation -----------------------------------------------------------------------------------


async def test_a_backup_made_while_writing_is_one_moment(store: SqliteStore, tmp_path: Path) -> None:
    await world(store)
    running = True
    counter = Put(User(tenant=TENANT, id="n", handle="", name="", created_at=1))

    async def write() -> int:
        count = 0
        while running:
            await store.append(unit(text("a", "x"), writes=(counter,)))
            count += 1
        return count

    writers = [asyncio.ensure_future(write()) for _ in range(4)]
    await asyncio.sleep(0.05)
    copy = tmp_path / "copy" / DATABASE
    copy.parent.mkdir()
    await store.backup(copy)
    with pytest.raises(FileExistsError):
        await store.backup(copy)
    running = False
    written = sum(await asyncio.gather(*writers))
    stamp_new_generation(copy)
    restored = await SqliteStore.open(copy.parent)
    assert restored.generation != store.generation
    head = await restored.head("a")
    versioned = await restored.get_versioned(User, TENANT, "n")
    assert head is not None
    assert versioned is not None
    assert 0 < versioned.version < written
    assert head.last_seq == 9 + versioned.version
    events = await restored.events("a", 0, 100_000)
    assert [event.seq for event in events] == list(range(1, head.last_seq + 1))
    assert events == (await store.events("a", 0, 100_000))[: head.last_seq]
    await restored.close()


async def test_a_sound_store_needs_no_mending(store: SqliteStore) -> None:
    await world(store)
    found = await store.rebuild_projections()
    assert found == Differences(logs=1, events=9)


async def test_damaged_projections_are_mended(folder: Path) -> None:
    store = await SqliteStore.open(folder)
    await world(store)
    before = await store.messages("a")
    query = SearchQuery(tenant=TENANT, user="bob", text="needle")
    hits = await store.search(query)
    await store.close()
    connection = connect(str(folder / DATABASE))
    connection.execute("UPDATE fold SET doc = '{\"version\":9}' WHERE seq = 3")
    connection.execute("DELETE FROM fold WHERE seq = 2")
    connection.execute("INSERT INTO fold VALUES (1, 1, 1, '{}'), (77, 1, 1, '{}')")
    connection.close()
    index = connect(str(folder / "search.sqlite3"))
    (row,) = index.execute("SELECT rowid FROM words WHERE words MATCH 'needle'").fetchall()
    index.execute("DELETE FROM words WHERE rowid = ?", row)
    index.execute("INSERT INTO words (rowid, text, log) VALUES (1, 'needle', '1')")
    index.close()
    store = await SqliteStore.open(folder)
    assert await store.messages("a") != before
    found = await store.rebuild_projections()
    assert found == Differences(logs=1, events=9, folds=4, search=2)
    assert await store.messages("a") == before
    assert await store.search(query) == hits
    assert await store.rebuild_projections() == Differences(logs=1, events=9)
    await store.append(unit(react("a", 3, "-")))
    view = await store.message("a", 3)
    assert view is not None
    assert view.fold.reactions == {"+": 1, "-": 1}
    await store.close()


async def test_a_damaged_log_is_reported(folder: Path) -> None:
    store = await SqliteStore.open(folder)
    await world(store)
    await store.close()
    connection = connect(str(folder / DATABASE))
    connection.execute("UPDATE event SET ordinal = 7 WHERE seq = 3")
    connection.close()
    store = await SqliteStore.open(folder)
    assert (await store.rebuild_projections()).log_faults == 2
    await store.close()


async def test_the_index_is_made_anew_when_it_is_lost_or_damaged(folder: Path) -> None:
    store = await SqliteStore.open(folder)
    await world(store)
    await store.close()
    query = SearchQuery(tenant=TENANT, user="bob", text="needle")
    for damage in (None, b"this is not a database" * 500):
        index = folder / "search.sqlite3"
        index.unlink()
        if damage is not None:
            index.write_bytes(damage)
        store = await SqliteStore.open(folder)
        assert [hit.view.seq for hit in await store.search(query)] == [3]
        assert store.stats().search_position == store.stats().last_event_id == 9
        await store.close()


async def test_the_index_is_made_anew_when_it_is_ahead_of_the_log(folder: Path) -> None:
    store = await SqliteStore.open(folder)
    await world(store)
    await store.search(SearchQuery(tenant=TENANT, user="bob", text="needle"))
    await store.close()
    index = connect(str(folder / "search.sqlite3"))
    index.execute("UPDATE meta SET value = '99' WHERE name = 'position'")
    index.execute("INSERT INTO words (rowid, text, log) VALUES (98, 'needle', '1')")
    index.close()
    store = await SqliteStore.open(folder)
    hits = await store.search(SearchQuery(tenant=TENANT, user="bob", text="needle"))
    assert [hit.view.seq for hit in hits] == [3]
    assert await store.rebuild_projections() == Differences(logs=1, events=9)
    await store.close()


async def test_erased_words_are_in_no_file(store: SqliteStore, folder: Path) -> None:
    await store.append(unit(made("a"), writes=(conversation("a"), member("a", "bob"))))
    secret = "xyzzyplugh"
    for n in range(40):
        await store.append(unit(text("a", f"{secret} {n}")))
    await store.append(unit(edit("a", 2, f"{secret} again")))
    hits = await store.search(SearchQuery(tenant=TENANT, user="bob", text=secret))
    assert len(hits) == 40
    for seq in range(2, 42):
        await store.append(unit(delete("a", seq)))
    assert await store.search(SearchQuery(tenant=TENANT, user="bob", text=secret)) == []

    def holders() -> list[str]:
        return [path.name for path in folder.iterdir() if secret.encode() in path.read_bytes()]

    await eventually(lambda: not holders())
    assert holders() == []


async def test_rows_written_by_the_store_have_versions_like_others(store: SqliteStore) -> None:
    await store.append(unit(made("a")))
    await asyncio.gather(*[store.append(unit(text("a", str(n), mentions=("bob",)))) for n in range(50)])
    cursor = await store.get_versioned(Cursor, TENANT, "a", "ann", 0)
    assert cursor is not None
    assert (cursor.version, cursor.record.read, cursor.record.ordinal) == (50, 51, 50)
    assert await store.count(Mention, (TENANT, "bob", "a")) == 50


async def test_a_log_that_fell_out_of_the_cache_goes_on_where_it_was(
    folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from tertulia.adapters.sqlite.batch import LogCache

    monkeypatch.setattr(LogCache.__init__, "__defaults__", (3,))
    store = await SqliteStore.open(folder)
    await store.append(unit(*[made(f"log{n}") for n in range(10)]))
    for round_ in range(3):
        done = await asyncio.gather(
            *[store.append(unit(text(f"log{n}", "x"), at=AT + round_)) for n in range(10)]
        )
        assert {each.events[0].seq for each in done} == {round_ + 2}
        assert {each.events[0].ordinal for each in done} == {round_ + 1}
    assert (await store.rebuild_projections()).log_faults == 0
    await store.close()
