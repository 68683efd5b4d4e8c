"""The outbox keeps what it took, in order, whatever happens to the process."""

import asyncio
import os
import signal
import sqlite3
import subprocess
import sys
from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from tertulia_client.outbox import DiskOutbox, MemoryOutbox, Outbox, OutboxFull, OutboxInUse, OutboxOfOther


@pytest.fixture(params=["memory", "disk"])
async def outbox(request: pytest.FixtureRequest, tmp_path: Path) -> AsyncIterator[Outbox]:
    if request.param == "memory":
        made: Outbox = MemoryOutbox(capacity=4)
    else:
        made = await DiskOutbox.open(tmp_path / "out.db", "ada", capacity=4)
    yield made
    await made.close()


async def test_the_oldest_of_each_lane_comes_first(outbox: Outbox) -> None:
    for lane, key in (("c", "1"), ("d", "2"), ("c", "3")):
        await outbox.put(lane, key, {"type": "message.send", "text": f"ü{key}"})
    assert [(e.lane, e.client_id) for e in await outbox.heads()] == [("c", "1"), ("d", "2")]
    assert (await outbox.heads())[0].command == {"type": "message.send", "text": "ü1"}
    assert [e.client_id for e in await outbox.entries()] == ["1", "2", "3"]
    assert [e.client_id for e in await outbox.entries(most=2)] == ["1", "2"]
    await outbox.remove("1")
    assert [e.client_id for e in await outbox.heads()] == ["2", "3"]
    assert await outbox.count() == 2


async def test_a_client_id_is_taken_once(outbox: Outbox) -> None:
    await outbox.put("c", "k", {})
    with pytest.raises(ValueError, match="already"):
        await outbox.put("d", "k", {})
    assert await outbox.count() == 1


async def test_failures_are_counted(outbox: Outbox) -> None:
    await outbox.put("c", "k", {})
    assert [await outbox.failed("k"), await outbox.failed("k")] == [1, 2]
    assert (await outbox.heads())[0].attempts == 2
    assert await outbox.failed("unknown") == 0
    await outbox.remove("unknown")


async def test_a_full_outbox_says_so_and_takes_nothing(outbox: Outbox) -> None:
    for key in range(4):
        await outbox.put("c", str(key), {})
    with pytest.raises(OutboxFull):
        await outbox.put("c", "more", {})
    assert await outbox.count() == 4
    await outbox.remove("0")
    await outbox.put("c", "more", {})


async def test_what_was_put_is_there_after_a_restart(tmp_path: Path) -> None:
    path = tmp_path / "deep" / "out.db"
    first = await DiskOutbox.open(path, "ada")
    for key in "abc":
        await first.put("c", key, {"n": key})
    await first.failed("a")
    await first.close()
    second = await DiskOutbox.open(path, "ada")
    try:
        keys: list[str] = []
        while heads := await second.heads():
            keys.append(heads[0].client_id)
            await second.remove(heads[0].client_id)
        assert keys == ["a", "b", "c"]
    finally:
        await second.close()


async def test_a_file_serves_one_client_and_one_account(tmp_path: Path) -> None:
    path = tmp_path / "out.db"
    mine = await DiskOutbox.open(path, "ada")
    with pytest.raises(OutboxInUse):
        await DiskOutbox.open(path, "ada")
    await mine.put("c", "k", {})
    await mine.close()
    with pytest.raises(OutboxOfOther):
        await DiskOutbox.open(path, "bob")
    again = await DiskOutbox.open(path, "ada")
    assert await again.count() == 1
    await again.close()
    with pytest.raises(RuntimeError):
        await again.count()


async def test_a_file_that_is_no_outbox_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "out.db"
    path.write_bytes(b"not a database at all" * 100)
    with pytest.raises(sqlite3.DatabaseError):
        await DiskOutbox.open(path, "ada")
    assert path.read_bytes().startswith(b"not a database")


WRITER = """
import asyncio, sys
from pathlib import Path
from tertulia_client.outbox import DiskOutbox

async def main():
    outbox = await DiskOutbox.open(Path(sys.argv[1]), "ada")
    n = await outbox.count()
    while True:
        n += 1
        await outbox.put(f"lane{n % 3}", f"{sys.argv[2]}-{n}", {"n": n})
        print(f"{sys.argv[2]}-{n}", flush=True)

asyncio.run(main())
"""


def test_kill_9_loses_nothing_that_was_put(tmp_path: Path) -> None:
    path = tmp_path / "out.db"
    promised: list[str] = []
    for life in range(4):
        process = subprocess.Popen(
            [sys.executable, "-c", WRITER, str(path), str(life)], stdout=subprocess.PIPE, text=True
        )
        assert process.stdout is not None
        promised += [process.stdout.readline().strip() for _ in range(10 + 7 * life)]
        os.kill(process.pid, signal.SIGKILL)
        promised += [line.strip() for line in process.stdout.read().splitlines(keepends=True) if "\n" in line]
        process.wait(10)
        process.stdout.close()

    async def kept() -> dict[str, list[str]]:
        outbox = await DiskOutbox.open(path, "ada")
        lanes: dict[str, list[str]] = {}
        while heads := await outbox.heads():
            for entry in heads:
                lanes.setdefault(entry.lane, []).append(entry.client_id)
                await outbox.remove(entry.client_id)
        await outbox.close()
        return lanes

    lanes = asyncio.run(kept())
    found = {key for keys in lanes.values() for key in keys}
    assert len(promised) >= 80
    assert set(promised) <= found
    assert len(found) - len(promised) <= 4, "at most the one under way in each life is there unpromised"
    for keys in lanes.values():
        order = [key for key in promised if key in keys]
        assert [key for key in keys if key in order] == order
