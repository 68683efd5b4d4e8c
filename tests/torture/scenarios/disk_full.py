"""A disk without room: sends are refused and say why, reads go on, and with room again so do the sends.

Once on a small file system that is really full (a tmpfs in a mount namespace of its own, which needs root),
and once on a VFS that gives out no more room, which needs nothing.
"""

from __future__ import annotations

import asyncio
import contextlib
import os
import shutil
import subprocess
import time
from collections.abc import AsyncGenerator, Awaitable, Callable
from contextlib import asynccontextmanager
from pathlib import Path

from tests.torture.device import text_message
from tests.torture.load import Load, Mix
from tests.torture.rest import request
from tests.torture.scene import Result, Scene, read_server, scene
from tests.torture.server import Spec

SIZE = 24 << 20
LEFT = 160 << 10
"""What the ballast leaves free: a few hundred messages."""

PEOPLE = 6
ROOMS = ((0, 1, 2, 3, 4, 5), (0, 1, 2))
PROBE = "roominess"
ENOUGH = 60
"""Refusals after which the disk is known to be full."""


async def _full(
    stage: Scene, fill: Callable[[], Awaitable[None]], free: Callable[[], Awaitable[None]]
) -> None:
    """The course of events, whatever the disk is.  The server runs and everybody is online."""
    result, devices = stage.result, stage.devices
    mix = Mix(edits=0.05, reactions=0.1, deletions=0.0)
    load = Load(devices, run="d", dice=stage.dice, mix=mix, pause_s=0.02)
    load.start()
    await asyncio.sleep(1.0)
    before = sum(len(device.acknowledged) for device in devices)
    connects = [device.connects for device in devices]

    await fill()
    await stage.until(lambda: _refused(stage) >= ENOUGH, 60, f"{ENOUGH} refusals for want of room")
    codes = {code for device in devices for code in device.refusals}
    result.demand(codes == {"storage_full"}, f"without room, sends were refused with {sorted(codes)}")

    # Reads: the whole log, for somebody who signs in only now.
    began = time.monotonic()
    logs = await read_server(stage.server.port, stage.world.logins[0][0], stage.world.rooms)
    result.demand(sum(map(len, logs.values())) >= before, "with a full disk the log reads shorter than it is")
    read_s = time.monotonic() - began
    await _rest_when_full(stage)
    late = stage.devices[-1]
    if late.wire is not None:
        late.wire.abort()
    await stage.until(lambda: late.connects == connects[-1] + 1, 10, "a new session on a full disk")
    await stage.online(10)

    await free()
    load.paused = True
    refused = _refused(stage)
    began = time.monotonic()
    # The same commands again, under the same client_ids, and new ones.
    probe = devices[0]
    again = list(probe.refused)[:20]
    for client_id in again:
        probe.again(client_id)
    probe.submit(text_message("room.again", probe.user, stage.world.rooms[0], f"there is {PROBE} again"))
    await stage.until(lambda: not probe.outbox, 20, "answers with room again")
    healed_s = time.monotonic() - began
    still = [client_id for client_id in (*again, "room.again") if client_id in probe.refused]
    result.demand(not still, f"with room again, still refused: {still[:5]} of {len(again) + 1}")
    search_s = await _search(stage)
    load.paused = False
    await asyncio.sleep(1.5)
    await load.stop()
    result.demand(stage.server.starts == 1, "the server was started anew")
    lost = [device.closes for device in devices[:-1] if device.closes]
    result.demand(not lost, f"connections were lost: {lost}")
    result.figures = {
        "refused with storage_full": refused,
        "accepted on the second try": len(again),
        "whole log read meanwhile, s": round(read_s, 3),
        "sends again after, s": round(healed_s, 3),
        "search whole again after, s": search_s,
    }


async def _rest_when_full(stage: Scene) -> None:
    """The same over REST: a problem that says so, and pages of history."""
    result, port, token = stage.result, stage.server.port, stage.world.logins[0][0].token
    path = f"/v1/conversations/{stage.world.rooms[0]}/messages"
    status, problem = await request(
        port, "POST", path, token, {"content": {"type": "text", "text": "x" * 4000}}
    )
    said = (status, problem.get("code"))
    result.demand(said == (507, "storage_full"), f"without room, REST answered {said}")
    status, page = await request(port, "GET", f"{path}?limit=50", token)
    result.demand(status == 200 and len(page["items"]) == 50, f"history over REST: {status}")
    status, _ = await request(port, "GET", "/healthz")
    result.demand(status == 200, f"/healthz: {status}")


async def _search(stage: Scene) -> float:
    """Seconds until the index knows what was sent with room again."""
    token = stage.world.logins[0][0].token
    began, status = time.monotonic(), 0
    while time.monotonic() - began < 20:
        status, page = await request(stage.server.port, "GET", f"/v1/search?q={PROBE}", token)
        if status == 200 and page["items"]:
            return round(time.monotonic() - began, 2)
        await asyncio.sleep(0.2)
    stage.result.demand(False, f"with room again, the search answers {status}")
    return -1.0


def _refused(stage: Scene) -> int:
    return sum(device.refusals.get("storage_full", 0) for device in stage.devices)


async def disk_full_vfs(folder: Path, seed: int, *, short: bool) -> Result:
    """A VFS that gives out no more room."""
    async with scene("disk_full (VFS)", folder, seed, 60 if short else 120) as stage:
        await stage.populate(people=PEOPLE, rooms=ROOMS)
        await stage.server.start(Spec(port=stage.server.port, data=str(stage.data), disk="quota"))
        stage.connect()
        await stage.online()
        await _full(
            stage,
            lambda: stage.server.order(f"room {LEFT}"),
            lambda: stage.server.order(f"room {1 << 40}"),
        )
        await stage.compare(restart=not short)
    return stage.result


def may_mount() -> bool:
    """Whether a small file system can be had here."""
    if os.geteuid() != 0 or shutil.which("unshare") is None or shutil.which("nsenter") is None:
        return False
    tried = subprocess.run(
        ["unshare", "-m", "mount", "-t", "tmpfs", "-o", "size=1m", "none", "/mnt"],
        capture_output=True,
        timeout=10,
        check=False,
    )
    return tried.returncode == 0


@asynccontextmanager
async def _small_disk(place: Path) -> AsyncGenerator[tuple[int, Path]]:
    """A tmpfs at `place` that only those see who enter the namespace of the process whose pid is given;
    the path leads there from outside."""
    script = f'mount -t tmpfs -o size={SIZE} none "$1" && echo mounted && exec sleep 600'
    place.mkdir()
    keeper = await asyncio.create_subprocess_exec(
        "unshare", "-m", "sh", "-c", script, "sh", str(place), stdout=subprocess.PIPE
    )
    try:
        assert keeper.stdout is not None
        if await asyncio.wait_for(keeper.stdout.readline(), 10) != b"mounted\n":
            raise OSError("no tmpfs could be mounted")
        yield keeper.pid, Path(f"/proc/{keeper.pid}/root{place}")
    finally:
        with contextlib.suppress(ProcessLookupError):
            keeper.kill()
        await keeper.wait()


async def disk_full_tmpfs(folder: Path, seed: int, *, short: bool) -> Result:
    """A file system of 24 MiB that is full."""
    async with scene("disk_full (tmpfs)", folder, seed, 60 if short else 120) as stage:
        await stage.populate(people=PEOPLE, rooms=ROOMS)
        async with _small_disk(folder / "small") as (keeper, inside):
            for path in stage.data.iterdir():
                shutil.copy(path, inside / path.name)
            stage.server.move(folder / "small", ["nsenter", "-t", str(keeper), "-m"])
            await stage.server.start()
            stage.connect()
            await stage.online()
            await _full(stage, lambda: _ballast(inside), lambda: _drop(inside))
            # The namespace ends with its keeper: the judge reads a copy.
            await stage.compare(restart=not short, fetch=lambda: _fetch(inside, folder / "fetched"))
    return stage.result


async def _ballast(inside: Path) -> None:
    """Take all the room but a little; the server takes some of it at the same time."""
    with (inside / "ballast").open("wb", buffering=0) as file, contextlib.suppress(OSError):
        while (free := shutil.disk_usage(inside).free) > LEFT:
            file.write(bytes(min(1 << 20, free - LEFT)))
            await asyncio.sleep(0)


async def _drop(inside: Path) -> None:
    (inside / "ballast").unlink()


def _fetch(inside: Path, folder: Path) -> Path:
    folder.mkdir()
    for path in inside.iterdir():
        if path.is_file() and not path.name.endswith("-shm"):
            shutil.copy(path, folder / path.name)
    return folder
