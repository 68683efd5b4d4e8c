"""The wall clock is set an hour forward and back while the server runs."""

from __future__ import annotations

import asyncio
import time
from pathlib import Path
from typing import Any

import msgspec

from tests.torture.device import Device, command
from tests.torture.judge import Sent
from tests.torture.load import Load
from tests.torture.scene import Result, Scene, scene
from tests.torture.server import Spec

HOUR = 3600
TOKEN_EXPIRED = 4001
STEPS = (+HOUR, -HOUR, -HOUR, +HOUR, +HOUR, -HOUR)


async def clock(folder: Path, seed: int, *, short: bool) -> Result:
    """Times within a log never decrease, sessions stay, timers go off once, and tokens follow the clock."""
    async with scene("clock", folder, seed, 60 if short else 150) as stage:
        result = stage.result
        await stage.populate(people=6, devices=2, rooms=((0, 1, 2, 3, 4, 5), (0, 1, 2)))
        spec = Spec(port=stage.server.port, data=str(stage.data), stepped=True)
        await stage.server.start(spec)
        stage.connect()
        await stage.online()
        load = Load(stage.devices, run="k", dice=stage.dice, pause_s=0.05)
        load.start()
        steps = STEPS if short else STEPS * 4
        for step in steps:
            await asyncio.sleep(0.25)
            await stage.server.order(f"step {step}")
        lag = await _scheduled(stage)
        await load.stop()
        lost = {device.name: device.closes for device in stage.devices if device.closes}
        result.demand(not lost, f"sessions were lost to a step of the clock: {lost}")
        await _tokens(stage)
        await stage.compare(restart=not short)
        result.figures = {
            "steps of an hour": len(steps) + 7,
            "a timer went off after the step, s": lag,
        }
    return stage.result


async def _scheduled(stage: Scene) -> float:
    """A message for half an hour from now: not sent before, sent when the clock is there, and sent once."""
    device, room = stage.devices[0], stage.world.rooms[0]
    heard: list[str] = []

    def hear(frame: dict[str, Any]) -> None:
        if frame["type"] == "ack" and frame["ref"] == "later":
            heard.append(str(frame["result"]["created"]))

    device.hear = hear
    text = "half an hour later"
    due = int(time.time() * 1000) + HOUR // 2 * 1000
    sent = Sent(client_id="later", user=device.user, log=device.user, kind="schedule.created")
    fields = {"conversation": room, "content": {"type": "text", "text": text}, "send_at": due}
    asked = command(sent, "schedule.create", fields=fields)
    assert device.wire is not None
    device.wire.send(asked.frame)
    await stage.until(lambda: bool(heard), 10, "a schedule")
    # The message that it becomes has the schedule's id as its client_id.
    device.sent.append(Sent(client_id=heard[0], user=device.user, log=room, kind="message.new", said=text))
    device.acknowledged[:] = [ack for ack in device.acknowledged if ack.client_id != "later"]
    await asyncio.sleep(1.5)
    stage.result.demand(not _arrived(device, room, heard[0]), "a scheduled message was sent before its time")
    await stage.server.order(f"step {HOUR}")
    began = time.monotonic()
    await stage.until(
        lambda: _arrived(device, room, heard[0]), 10, "the scheduled message, its time being come"
    )
    lag = round(time.monotonic() - began, 2)
    # Back before its time, and there once more: the judge counts it once.
    await stage.server.order(f"step {-HOUR}")
    await asyncio.sleep(1.2)
    await stage.server.order(f"step {HOUR}")
    await asyncio.sleep(1.2)
    await stage.server.order(f"step {-HOUR}")
    return lag


def _arrived(device: Device, room: str, client_id: str) -> bool:
    return any(
        msgspec.json.decode(data).get("client_id") == client_id for data in device.arrivals[room][-2000:]
    )


async def _tokens(stage: Scene) -> None:
    """A token of ten minutes ends with its time: an hour on its session is closed and it is refused, and
    back again it holds.  A lasting one is not touched by an hour in either direction."""
    result = stage.result
    login = stage.world.short[0]
    device = Device("short", login.user, login.token, [stage.world.rooms[0]], stage.frames)
    device.start(stage.server.port)
    try:
        await stage.until(device.online.is_set, 10, "a session with a short token")
        await stage.server.order(f"step {-HOUR}")
        await asyncio.sleep(1.5)
        result.demand(not device.closes, f"an hour back, a session was closed with {device.closes}")
        await stage.server.order(f"step {2 * HOUR}")
        await stage.until(lambda: len(device.closes) >= 2, 15, "the end of an expired token's session")
        wrong = [code for code in device.closes if code != TOKEN_EXPIRED]
        result.demand(not wrong, f"an expired token's session was closed with {wrong}")
        result.demand(all(d.online.is_set() for d in stage.devices), "lasting tokens were refused an hour on")
        await stage.server.order(f"step {-HOUR}")
        await stage.until(device.online.is_set, 15, "a session with the token, which holds again")
    finally:
        await device.stop()
