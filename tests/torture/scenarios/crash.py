"""`kill` and `power`: the server dies again and again under load, on the same data.

kill -9 leaves what the host's page cache holds; the power cuts do not (see `vfs`).  After every death the
files are read as they are, then the next server starts on them, the devices come back with their positions
and send what was not acknowledged under the same client_ids.
"""

from __future__ import annotations

import asyncio
from pathlib import Path

from tests.torture.load import Load
from tests.torture.programs import ServerFailed
from tests.torture.scene import Result, Scene, scene
from tests.torture.server import Spec
from tests.torture.vfs import Fate

PEOPLE = 8
DEVICES = 2
ROOMS = ((0, 1, 2, 3, 4, 5, 6, 7), (0, 1, 2, 3), (4, 5), (0, 7))
FATES: tuple[Fate, ...] = ("nothing", "some", "half_pages")


async def _prepare(stage: Scene) -> Load:
    await stage.populate(people=PEOPLE, devices=DEVICES, rooms=ROOMS)
    return Load(stage.devices, run="c", dice=stage.dice, pause_s=0.02)


async def _come_back(stage: Scene, *, early: bool) -> None:
    """Let the devices work for a moment; `early`: die while they are still coming back."""
    if early:
        await asyncio.sleep(stage.dice.uniform(0.0, 0.15))
        return
    await stage.online()
    await asyncio.sleep(stage.dice.uniform(0.1, 0.9))


async def kill(folder: Path, seed: int, *, short: bool) -> Result:
    """kill -9 fifty times (short: three), and an orderly stop now and then."""
    rounds = 3 if short else 50
    async with scene("kill", folder, seed, 60 if short else 600) as stage:
        load = await _prepare(stage)
        stops = 0
        await stage.server.start()
        stage.connect()
        load.start()
        for number in range(1, rounds + 1):
            await _come_back(stage, early=number % 5 == 0)
            await stage.server.kill()
            await stage.offline()
            stage.result.blame(stage.survivors(), f"after kill {number}: ")
            await stage.server.start()
            if number % 10 == 0:
                await _come_back(stage, early=False)
                await stage.server.stop()
                await stage.offline()
                stage.result.blame(stage.survivors(), f"after the stop at {number}: ")
                await stage.server.start()
                stops += 1
        await stage.online()
        await load.stop()
        await stage.compare(restart=not short)
        stage.result.figures = {"kills": rounds, "orderly stops": stops, "repeats answered": _repeats(stage)}
    return stage.result


async def power(folder: Path, seed: int, *, short: bool) -> Result:
    """The power goes (short: three times, else 24), and what was not synced is lost or torn."""
    rounds = 3 if short else 24
    async with scene("power", folder, seed, 75 if short else 500) as stage:
        load = await _prepare(stage)
        spec = Spec(port=stage.server.port, data=str(stage.data), disk="lossy")
        await stage.server.start(spec)
        stage.connect()
        load.start()
        for number in range(1, rounds + 1):
            await _come_back(stage, early=number % 6 == 0)
            await _cut(stage, seed + number, FATES[number % 3])
            stage.result.blame(stage.survivors(), f"after cut {number}: ")
            await stage.server.start(spec)
        await stage.online()
        await load.stop()
        await stage.compare(restart=not short)
        stage.result.figures = {"power cuts": rounds, "repeats answered": _repeats(stage)}
    return stage.result


async def power_without_sync(folder: Path, seed: int, *, short: bool) -> Result:
    """The same with a build that does not sync.  It must fail: a torture blind to this sees nothing."""
    async with scene("power (broken build)", folder, seed, 60) as stage:
        load = await _prepare(stage)
        spec = Spec(port=stage.server.port, data=str(stage.data), disk="lossy", synchronous="OFF")
        await stage.server.start(spec)
        stage.connect()
        load.start()
        await stage.online()
        await stage.until(lambda: _acknowledged(stage) >= 50, 20, "50 acknowledgements")
        await _cut(stage, seed, "nothing" if short else "some")
        await load.stop()
        lost = [finding for finding in stage.survivors() if finding.flaw == "lost"]
        stage.result.demand(bool(lost), "synchronous=OFF lost nothing: the power cuts prove nothing")
        stage.result.sent = sum(len(device.sent) for device in stage.devices)
        stage.result.acknowledged = _acknowledged(stage)
        stage.result.devices = len(stage.devices)
        stage.result.figures = {"found lost, as it must": len(lost)}
    return stage.result


async def _cut(stage: Scene, seed: int, fate: Fate) -> None:
    await stage.server.order(f"cut {seed} {fate}")
    code = await stage.server.ends(20)
    if code != 9:
        raise ServerFailed(f"a power cut ended the server with {code}")
    await stage.offline()


def _acknowledged(stage: Scene) -> int:
    return sum(len(device.acknowledged) for device in stage.devices)


def _repeats(stage: Scene) -> int:
    return sum(device.repeats for device in stage.devices)
