"""Twenty people write at once from three devices each: every device sees one and the same order."""

from __future__ import annotations

import asyncio
from pathlib import Path

from tests.torture.load import Load, Mix
from tests.torture.scene import Result, scene

PEOPLE = 20
DEVICES = 3


async def one_order(folder: Path, seed: int, *, short: bool) -> Result:
    """In one group, edits, reactions and deletions among the messages; some devices come late."""
    async with scene("one_order", folder, seed, 60 if short else 180) as stage:
        await stage.populate(people=PEOPLE, devices=DEVICES, rooms=(tuple(range(PEOPLE)),))
        await stage.server.start()
        early, late = stage.devices[:-PEOPLE], stage.devices[-PEOPLE:]
        for device in early:
            device.start(stage.server.port)
        mix = Mix(edits=0.15, reactions=0.2, deletions=0.05)
        load = Load(stage.devices, run="o", dice=stage.dice, mix=mix, pause_s=0.1, size=(20, 120))
        load.start()
        for device in late:
            await asyncio.sleep(0.05 if short else 0.2)
            device.start(stage.server.port)
        await stage.online()
        await asyncio.sleep(2 if short else 20)
        await load.stop()
        await stage.compare(restart=not short)
        kinds = [sent.kind for device in stage.devices for sent in device.sent]
        stage.result.figures = {
            "messages": kinds.count("message.new"),
            "edits": kinds.count("message.updated"),
            "reactions": kinds.count("reaction.new"),
            "deletions": kinds.count("message.deleted"),
            "read by page after a long absence": sum(device.truncations for device in stage.devices),
        }
    return stage.result
