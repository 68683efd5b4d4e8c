"""The disks misbehave as they say: what was synced is there after a power cut, the rest may not be."""

from __future__ import annotations

import sqlite3
import subprocess
import sys
from contextlib import closing
from pathlib import Path

import apsw
import pytest

from tertulia.adapters.sqlite.engine import connect
from tests.torture.vfs import LossyDisk, QuotaDisk

WRITER = """
import sys
import apsw
from tests.torture.vfs import LossyDisk

disk = LossyDisk("lossy")
path, synchronous, fate, seed = sys.argv[1:]
connection = apsw.Connection(path, vfs="lossy")
reader = apsw.Connection(path, vfs="lossy")
connection.execute("PRAGMA journal_mode = WAL")
connection.execute(f"PRAGMA synchronous = {synchronous}")
connection.execute("PRAGMA wal_autocheckpoint = 20")
connection.execute("CREATE TABLE IF NOT EXISTS t (n INTEGER, text TEXT)")
for n in range(150):
    connection.execute("INSERT INTO t VALUES (?, ?)", (n, str(n) * 200))
    print("committed", n, flush=True)
    if n % 50 == 49:
        connection.wal_checkpoint(mode=apsw.SQLITE_CHECKPOINT_TRUNCATE)
assert reader.execute("SELECT count(*) FROM t").get == 150
connection.execute("BEGIN")
connection.execute("INSERT INTO t VALUES (-1, 'never committed')")
connection.execute("UPDATE t SET text = 'x' WHERE n < 100")
connection.cache_flush()
disk.cut(int(seed), fate)
"""


def write_and_cut(path: Path, synchronous: str, fate: str, seed: int) -> int:
    """How many rows were committed before the power went."""
    run = subprocess.run(
        [sys.executable, "-c", WRITER, str(path), synchronous, fate, str(seed)],
        capture_output=True,
        text=True,
        timeout=60,
    )
    assert run.returncode == 9, run.stderr
    return run.stdout.count("committed")


def prepare(path: Path) -> None:
    """An empty database that is safely there."""
    with closing(sqlite3.connect(path)) as connection:
        connection.execute("PRAGMA journal_mode = WAL")
        connection.execute("CREATE TABLE t (n INTEGER, text TEXT)")


def survived(path: Path) -> list[tuple[int, str]]:
    path.with_name(path.name + "-shm").unlink(missing_ok=True)
    with closing(sqlite3.connect(path)) as connection:
        assert connection.execute("PRAGMA integrity_check").fetchall() == [("ok",)]
        return connection.execute("SELECT n, text FROM t ORDER BY n").fetchall()


@pytest.mark.parametrize("fate", ["nothing", "some", "half_pages"])
@pytest.mark.parametrize("seed", [1, 2])
def test_what_was_synced_survives(tmp_path: Path, fate: str, seed: int) -> None:
    path = tmp_path / "a.db"
    prepare(path)
    committed = write_and_cut(path, "FULL", fate, seed)
    assert survived(path) == [(n, str(n) * 200) for n in range(committed)]


def test_what_was_not_synced_is_lost(tmp_path: Path) -> None:
    path = tmp_path / "a.db"
    prepare(path)
    assert write_and_cut(path, "OFF", "nothing", 1) == 150
    assert survived(path) == []


def test_some_of_what_was_not_synced_tears_the_file(tmp_path: Path) -> None:
    path = tmp_path / "a.db"
    prepare(path)
    before = path.read_bytes()
    write_and_cut(path, "OFF", "some", 3)
    assert path.read_bytes() != before
    with pytest.raises((sqlite3.DatabaseError, AssertionError)):
        assert len(survived(path)) == 150


def test_a_failed_sync_takes_what_it_should_have_brought(tmp_path: Path) -> None:
    disk = LossyDisk("failing")
    path = str(tmp_path / "a.db")
    connection = connect(path, vfs="failing")
    connection.execute("PRAGMA journal_mode = WAL")
    connection.execute("PRAGMA synchronous = FULL")
    connection.execute("CREATE TABLE t (n INTEGER)")
    connection.execute("INSERT INTO t VALUES (1)")
    disk.fail_sync("-wal")
    with pytest.raises(apsw.IOError) as caught:
        connection.execute("INSERT INTO t VALUES (2)")
    assert getattr(caught.value, "extendedresult", 0) == apsw.SQLITE_IOERR_FSYNC
    copy = tmp_path / "copy.db"
    copy.write_bytes(Path(path).read_bytes())
    Path(f"{copy}-wal").write_bytes(Path(f"{path}-wal").read_bytes())
    with closing(sqlite3.connect(copy)) as other:
        assert other.execute("SELECT n FROM t").fetchall() == [(1,)]
    connection.close()
    disk.unregister()


def test_there_is_room_until_there_is_none(tmp_path: Path) -> None:
    disk = QuotaDisk("quota")
    connection = connect(str(tmp_path / "a.db"), vfs="quota")
    connection.execute("PRAGMA journal_mode = WAL")
    connection.execute("CREATE TABLE t (n INTEGER, text TEXT)")
    disk.room = 40_000
    rows = [(n, "x" * 2000) for n in range(100)]
    with pytest.raises(apsw.FullError):
        any(connection.execute("INSERT INTO t VALUES (?, ?)", row).fetchall() for row in rows)
    count = connection.execute("SELECT count(*) FROM t").get
    assert 0 < int(str(count)) < 40
    disk.room = 1 << 30
    connection.execute("INSERT INTO t VALUES (0, 'again')")
    connection.close()
    disk.unregister()
