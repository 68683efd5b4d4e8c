"""A disk that fails one fsync: nobody can know any more what is on it, so the server must end (70) without
having acknowledged anything of the batch, and the next one must find a sound log."""

from __future__ import annotations

import asyncio
from pathlib import Path

from tests.torture.load import Load
from tests.torture.scene import Result, scene
from tests.torture.server import Spec

FATAL = 70


async def fatal_sync(folder: Path, seed: int, *, short: bool) -> Result:
    """Once at a commit (the WAL), once at a checkpoint (the database); short: at a commit only."""
    endings = ("-wal",) if short else ("-wal", ".sqlite3")
    async with scene("fatal_sync", folder, seed, 45 if short else 120) as stage:
        await stage.populate(people=6, devices=2, rooms=((0, 1, 2, 3, 4, 5), (0, 1)))
        load = Load(stage.devices, run="f", dice=stage.dice, pause_s=0.01)
        spec = Spec(port=stage.server.port, data=str(stage.data), disk="lossy")
        stage.connect()
        load.start()
        unanswered = 0
        for ending in endings:
            await stage.server.start(spec)
            await stage.online()
            await asyncio.sleep(1.0)
            await stage.server.order(f"fail_sync {ending}")
            code = await stage.server.ends(60)
            stage.result.demand(code == FATAL, f"a failed sync of {ending} ended the server with {code}")
            await stage.offline()
            unanswered += sum(len(device.outbox) for device in stage.devices)
            stage.result.demand(unanswered > 0, "nothing was under way when the sync failed")
            # What the failed sync should have brought is gone from the files: whoever was told is a finding.
            stage.result.blame(stage.survivors(), f"after {ending}: ")
        await stage.server.start()
        await stage.online()
        await load.stop()
        await stage.compare(restart=not short)
        stage.result.figures = {
            "failed syncs": len(endings),
            "exit code": FATAL,
            "unanswered then": unanswered,
        }
    return stage.result
