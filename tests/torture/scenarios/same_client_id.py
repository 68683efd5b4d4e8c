"""The same client_id a hundred times at once: one event, one first answer, 99 repeats of it."""

from __future__ import annotations

from collections import Counter
from pathlib import Path
from typing import Any

import msgspec

from tests.torture.device import Command, Device, command
from tests.torture.judge import Sent
from tests.torture.scene import Result, Scene, scene

CONNECTIONS = 10
TIMES = 10


class _Ledger:
    """All answers by ref."""

    def __init__(self, devices: list[Device]) -> None:
        self.acks: dict[str, dict[str, Any]] = {}
        self.errors: dict[str, str] = {}
        for device in devices:
            device.hear = self._hear

    def _hear(self, frame: dict[str, Any]) -> None:
        ref = str(frame.get("ref"))
        if frame["type"] == "ack":
            self.acks[ref] = frame["result"]
        elif frame["type"] == "error":
            self.errors[ref] = frame["code"]

    def answered(self) -> int:
        return len(self.acks) + len(self.errors)


def _copy(device: Device, client_id: str, room: str, text: str, ref: str) -> Command:
    sent = Sent(client_id=client_id, user=device.user, log=room, kind="message.new", said=text)
    return command(sent, "message.send", ref=ref, fields={"content": {"type": "text", "text": text}})


async def _burst(
    stage: Scene, mine: list[Device], client_id: str, texts: tuple[str, ...], label: str
) -> _Ledger:
    """Ten copies on each of ten connections, all written before any answer is read."""
    ledger = _Ledger(mine)
    room = stage.world.rooms[0]
    for number, device in enumerate(mine):
        copies = [
            _copy(device, client_id, room, texts[n % len(texts)], f"{label}.{number}.{n}")
            for n in range(TIMES)
        ]
        assert device.wire is not None
        device.wire.send(*(copy.frame for copy in copies))
    await stage.until(lambda: ledger.answered() == len(mine) * TIMES, 20, f"{label}: a hundred answers")
    return ledger


def _once(result: Result, ledger: _Ledger, label: str, *, firsts: int, answers: int) -> int:
    """The one seq of all acknowledgements."""
    seqs = {ack["seq"] for ack in ledger.acks.values()}
    first = sum(not ack.get("repeated", False) for ack in ledger.acks.values())
    result.demand(len(seqs) == 1, f"{label}: one client_id became {sorted(seqs)}")
    result.demand(first == firsts, f"{label}: {first} first answers instead of {firsts}")
    result.demand(len(ledger.acks) == answers, f"{label}: {len(ledger.acks)} acknowledgements of {answers}")
    return min(seqs, default=0)


async def same_client_id(folder: Path, seed: int, *, short: bool) -> Result:
    """From ten connections of five devices of one user; then with other bodies, and after a restart."""
    async with scene("same_client_id", folder, seed, 60) as stage:
        result = stage.result
        # Ten sessions of five devices, and somebody who listens.
        await stage.populate(people=2, devices=CONNECTIONS // 2, rooms=((0, 1),))
        for login in stage.world.logins[0]:
            name = f"again{len(stage.devices)}"
            stage.devices.append(Device(name, login.user, login.token, stage.world.rooms, stage.frames))
        await stage.server.start()
        stage.connect()
        await stage.online()
        mine = [device for device in stage.devices if device.user == stage.world.users[0]]
        room = stage.world.rooms[0]

        ledger = await _burst(stage, mine, "same", ("one body",), "same")
        seq = _once(result, ledger, "same", firsts=1, answers=100)
        other = await _burst(stage, mine, "same", ("another body",), "other")
        codes = Counter(other.errors.values())
        result.demand(codes == {"client_id_reused": 100}, f"another body under the same id: {dict(codes)}")
        result.demand(not other.acks, f"another body was taken {len(other.acks)} times")
        race = await _burst(stage, mine, "race", ("body A", "body B"), "race")
        _once(result, race, "race", firsts=1, answers=50)
        codes = Counter(race.errors.values())
        result.demand(codes == {"client_id_reused": 50}, f"two bodies at once: {dict(codes)}")
        won = _winner(stage, room, "race")

        await stage.server.kill()
        await stage.offline()
        await stage.server.start()
        await stage.online()
        late = await _burst(stage, mine, "same", ("one body",), "late")
        again = _once(result, late, "late", firsts=0, answers=100)
        result.demand(again == seq, f"after a restart {seq} became {again}")
        for client_id, text in (("same", "one body"), ("race", won)):
            sent = Sent(client_id=client_id, user=mine[0].user, log=room, kind="message.new", said=text)
            mine[0].sent.append(sent)
        # By their refs the devices cannot tell whose answer an acknowledgement was.
        for device in mine:
            device.acknowledged.clear()
        await stage.compare(restart=not short)
        everything = (ledger, other, race, late)
        result.sent = len(everything) * CONNECTIONS * TIMES
        result.acknowledged = sum(len(one.acks) for one in everything)
        result.figures = {
            "repeats": sum(bool(a.get("repeated")) for one in everything for a in one.acks.values()),
            "client_id_reused": sum(len(one.errors) for one in everything),
        }
        result.demand(result.stored == 2, f"{result.stored} events stored instead of two")
    return stage.result


def _winner(stage: Scene, room: str, client_id: str) -> str:
    """The body that was stored, as a device was told."""
    frames = [msgspec.json.decode(data) for data in stage.devices[0].arrivals[room]]
    found = [frame for frame in frames if frame.get("client_id") == client_id]
    return str(found[0]["body"]["content"]["text"]) if found else ""
