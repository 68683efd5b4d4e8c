"""What all scenarios share: a world, a server, devices, and the comparison at the end."""

from __future__ import annotations

import asyncio
import random
import shutil
import sqlite3
import time
from collections.abc import AsyncGenerator, Callable, Sequence
from contextlib import asynccontextmanager, closing
from pathlib import Path

import msgspec

from tests.torture.device import PAGE, Device, Frames, canonical, entry_of
from tests.torture.judge import Entry, Evidence, Finding, judge
from tests.torture.programs import Server
from tests.torture.wire import connect
from tests.torture.world import Login, World, make_world

DATABASE = "tertulia.sqlite3"
SETTLE_S = 60.0
QUIET_S = 0.3

_EVENTS = (
    "SELECT e.seq, e.kind, e.actor, e.at, e.client_id, e.target, e.body FROM event e "
    "JOIN log l ON l.no = e.log WHERE l.id = ? ORDER BY e.id"
)


class Result(msgspec.Struct, kw_only=True):
    """How a scenario went.  `stored` counts the events that were added, `received` those that all devices
    got together; `figures` are what is special about the scenario."""

    name: str
    holds: bool = True
    seconds: float = 0.0
    sent: int = 0
    acknowledged: int = 0
    stored: int = 0
    received: int = 0
    devices: int = 0
    figures: dict[str, float | int | str] = {}
    findings: list[str] = []

    def demand(self, holds: bool, otherwise: str) -> None:
        """Something that must hold, and what is to be said when it does not."""
        if not holds:
            self.holds = False
            self.findings.append(otherwise)

    def blame(self, findings: Sequence[Finding], where: str = "") -> None:
        """Take in what the judge found."""
        for finding in findings[:20]:
            self.demand(False, f"{where}{finding.flaw}: {finding.detail}")
        if len(findings) > 20:
            self.findings.append(f"{where}… and {len(findings) - 20} more")


class Damaged(Exception):
    """The database file is not one any more."""


def read_database(folder: Path, logs: Sequence[str]) -> dict[str, list[Entry]]:
    """The logs as they stand in the file, read by Python's own SQLite.  Raises Damaged."""
    try:
        with closing(sqlite3.connect(folder / DATABASE)) as connection:
            sound = connection.execute("PRAGMA integrity_check").fetchall()
            if sound != [("ok",)]:
                raise Damaged(str(sound)[:500])
            return {log: [_entry(row) for row in connection.execute(_EVENTS, (log,))] for log in logs}
    except sqlite3.DatabaseError as error:
        raise Damaged(str(error)) from error


def _entry(row: tuple[int, str, str, int, str, int, bytes | None]) -> Entry:
    seq, kind, user, at, client_id, target, body = row
    return Entry(
        seq=seq,
        kind=kind,
        user=user,
        at=at,
        client_id=client_id,
        target=target,
        body=canonical(bytes(body)) if body is not None else b"",
    )


async def read_server(port: int, login: Login, logs: Sequence[str]) -> dict[str, list[Entry]]:
    """The logs as the server gives them to a member who holds nothing."""
    answers: asyncio.Queue[bytes] = asyncio.Queue()
    wire = await connect(port, answers.put_nowait, lambda _code: answers.put_nowait(b""))
    found: dict[str, list[Entry]] = {log: [] for log in logs}
    try:
        wire.send(msgspec.json.encode({"type": "sign_in", "token": login.token}))
        for log in logs:
            more = True
            while more:
                after = found[log][-1].seq if found[log] else 0
                asked = {
                    "type": "events.read",
                    "ref": "r",
                    "conversation": log,
                    "after": after,
                    "limit": PAGE,
                }
                wire.send(msgspec.json.encode(asked))
                page = await _page(answers)
                found[log] += [entry_of(bytes(event)) for event in page.events]
                more = page.more
    finally:
        wire.abort()
    return found


class _Answer(msgspec.Struct):
    type: str
    code: str = ""
    events: list[msgspec.Raw] = []
    more: bool = False


async def _page(answers: asyncio.Queue[bytes]) -> _Answer:
    while True:
        data = await asyncio.wait_for(answers.get(), 20)
        if not data:
            raise ConnectionError("the server hung up on a reader")
        frame = msgspec.json.decode(data, type=_Answer)
        if frame.type == "events":
            return frame
        if frame.type == "error":
            raise ConnectionError(f"a reader was refused: {frame.code}")


class Scene:
    """A world, the server on it, and devices that are connected to it."""

    def __init__(self, name: str, folder: Path, seed: int) -> None:
        self.folder = folder
        self.data = folder / "data"
        self.dice = random.Random(f"{name} {seed}")
        self.server = Server(self.data, folder / "server.log")
        self.world = World(logins=[], rooms=[], floor={})
        self.devices: list[Device] = []
        self.frames = Frames()
        self.result = Result(name=name)
        self._copies = 0

    async def populate(self, *, people: int, devices: int = 1, rooms: Sequence[Sequence[int]]) -> None:
        """Make the world and, not connected yet, a `Device` for each of its devices."""
        self.world = await make_world(self.data, people=people, devices=devices, rooms=rooms)
        for place, logins in enumerate(self.world.logins):
            mine = [room for room, members in zip(self.world.rooms, rooms, strict=True) if place in members]
            for number, login in enumerate(logins):
                name = f"p{place}d{number}"
                device = Device(name, login.user, login.token, mine, self.frames)
                self.devices.append(device)

    def connect(self) -> None:
        """All devices begin to connect, and do so whenever they lose the connection."""
        for device in self.devices:
            device.start(self.server.port)

    async def until(self, holds: Callable[[], bool], seconds: float, what: str) -> None:
        """Wait for something.  Raises TimeoutError with `what` did not happen."""
        end = time.monotonic() + seconds
        while not holds():
            for device in self.devices:
                device.check()
            if time.monotonic() > end:
                raise TimeoutError(f"{what}: not within {seconds:.0f} s")
            await asyncio.sleep(0.02)

    async def online(self, seconds: float = 30.0) -> None:
        """All devices are signed in."""
        await self.until(lambda: all(d.online.is_set() for d in self.devices), seconds, "all devices online")

    async def offline(self, seconds: float = 10.0) -> None:
        """All devices have noticed that the server is gone."""
        await self.until(lambda: all(d.wire is None for d in self.devices), seconds, "all devices offline")

    async def settle(self, seconds: float = SETTLE_S) -> None:
        """Everything is answered and everybody has everything."""

        def settled() -> bool:
            if any(device.outbox for device in self.devices):
                return False
            heads = dict(self.world.floor)
            for device in self.devices:
                for log, seq in device.positions.items():
                    heads[log] = max(heads[log], seq)
                for ack in device.acknowledged:
                    if ack.log in heads:
                        heads[ack.log] = max(heads[ack.log], ack.seq)
            return all(seq == heads[log] for device in self.devices for log, seq in device.positions.items())

        try:
            await self.until(settled, seconds, "answers to everything, and everything on all devices")
            await asyncio.sleep(QUIET_S)
            await self.until(settled, seconds, "answers to everything, and everything on all devices")
        except TimeoutError as late:
            # The judge will say what is missing where.
            waiting = sum(len(device.outbox) for device in self.devices)
            self.result.demand(False, f"{late}; {waiting} commands unanswered")

    def evidence(self, stored: dict[str, list[Entry]], *, complete: bool) -> Evidence:
        """What all sides saw so far."""
        accepted = {(ack.user, ack.client_id) for device in self.devices for ack in device.acknowledged}
        refused = {(device.user, client_id) for device in self.devices for client_id in device.refused}
        return Evidence(
            sent=[sent for device in self.devices for sent in device.sent],
            acknowledged=[ack for device in self.devices for ack in device.acknowledged],
            refused=refused - accepted,
            stored=stored,
            received={device.name: device.received() for device in self.devices},
            floor=self.world.floor,
            complete=complete,
        )

    def survivors(self) -> list[Finding]:
        """What is wrong with the files that a dead server left, as they are: read from a copy, before any
        server has touched them."""
        self._copies += 1
        copy = self.folder / f"copy{self._copies}"
        copy.mkdir()
        for path in self.data.glob(f"{DATABASE}*"):
            if not path.name.endswith("-shm"):
                shutil.copy(path, copy / path.name)
        try:
            stored = read_database(copy, self.world.rooms)
        except Damaged as damage:
            return [Finding("lost", f"the database is damaged: {damage}")]
        finally:
            shutil.rmtree(copy)
        return judge(self.evidence(stored, complete=False))

    async def close(self) -> None:
        """Disconnect all devices."""
        await asyncio.gather(*(device.stop() for device in self.devices))

    async def compare(self, *, restart: bool = True, fetch: Callable[[], Path] | None = None) -> None:
        """Read the logs from a new server (without `restart`: from the one that runs), stop it, read what is
        stored, and let the judge speak.  `fetch` brings the files to where they can be read."""
        await self.settle()
        await self.close()
        if restart:
            await self.server.stop()
            await self.server.start()
        read: dict[str, list[Entry]] = {}
        for room, login in self._readers():
            read |= await read_server(self.server.port, login, [room])
        await self.server.stop()
        try:
            stored = read_database(fetch() if fetch is not None else self.data, self.world.rooms)
        except Damaged as damage:
            self.result.demand(False, f"the database is damaged: {damage}")
            return
        evidence = self.evidence(stored, complete=True)
        evidence.read = read
        self.result.blame(judge(evidence))
        self.count(evidence)

    def _readers(self) -> list[tuple[str, Login]]:
        """A member of each room."""
        by_user = {logins[0].user: logins[0] for logins in self.world.logins}
        found: list[tuple[str, Login]] = []
        for room in self.world.rooms:
            member = next(device for device in self.devices if room in device.positions)
            found.append((room, by_user[member.user]))
        return found

    def count(self, evidence: Evidence) -> None:
        """The row of the table."""
        result = self.result
        result.sent = len({(sent.user, sent.client_id) for sent in evidence.sent})
        result.acknowledged = len({(a.user, a.client_id) for a in evidence.acknowledged})
        result.stored = sum(len(e) - self.world.floor[log] for log, e in evidence.stored.items())
        result.received = sum(len(e) for logs in evidence.received.values() for e in logs.values())
        result.devices = len(self.devices)


@asynccontextmanager
async def scene(name: str, folder: Path, seed: int, seconds: float) -> AsyncGenerator[Scene]:
    """A scene that ends in time and leaves no process; what it raises is a finding."""
    folder.mkdir(parents=True)
    one = Scene(name, folder, seed)
    began = time.monotonic()

    def failed(_loop: asyncio.AbstractEventLoop, context: dict[str, object]) -> None:
        # A fault of the torture's own client must not pass for silence of the server.
        one.result.demand(False, f"{context.get('message')}: {context.get('exception')!r}")

    asyncio.get_running_loop().set_exception_handler(failed)
    try:
        async with asyncio.timeout(seconds):
            yield one
    except Exception as error:  # noqa: BLE001 - whatever it was, the scenario did not hold
        one.result.demand(False, f"{type(error).__name__}: {error}; {one.server.tail(600)}")
    finally:
        await one.close()
        one.server.end()
        one.result.seconds = round(time.monotonic() - began, 2)
