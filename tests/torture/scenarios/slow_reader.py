"""A group of 1,000 sessions of which one takes nothing any more: it costs the others nothing."""

from __future__ import annotations

import asyncio
import time
from pathlib import Path

import psutil

from tests.torture.device import Device, text_message
from tests.torture.scene import Result, Scene, scene

TOO_SLOW = 4003
OUTBOX = 1 << 20
"""The server's default (`outbox_bytes`)."""

SPARE = 12 << 20
"""What may be under way besides: for the other sessions, and until the cut is seen."""


def kernel_bytes() -> int:
    """What the host's kernel may take for a reader that takes nothing (the last of `tcp_wmem`)."""
    return int(Path("/proc/sys/net/ipv4/tcp_wmem").read_text().split()[2])


class _Watch:
    """When each message reached each session, from the moment at which it was written."""

    def __init__(self, devices: list[Device]) -> None:
        self.sent: dict[int, float] = {}
        self.last: dict[int, float] = {}
        self.count: dict[int, int] = {}
        for device in devices:
            device.on_arrival = self._arrived

    def _arrived(self, _log: str, seq: int, at: float) -> None:
        self.last[seq] = at
        self.count[seq] = self.count.get(seq, 0) + 1

    def latencies(self, seqs: range) -> list[float]:
        """Milliseconds until the last session had it, sorted."""
        return sorted(1000 * (self.last[seq] - self.sent[seq]) for seq in seqs if seq in self.sent)


def _percentile(values: list[float], share: float) -> float:
    return round(values[min(len(values) - 1, int(len(values) * share))], 1) if values else -1.0


class _Pace:
    """One sender at a steady rate, timed from the intended moment."""

    def __init__(self, stage: Scene, device: Device, watch: _Watch, rate: float, size: int) -> None:
        self.stage = stage
        self.device = device
        self.watch = watch
        self.rate = rate
        self.size = size
        self.number = 0

    async def send(self, seconds: float, until: asyncio.Event | None = None) -> range:
        """Send for so long, or until an event; the seqs that the messages got."""
        room = self.stage.world.rooms[0]
        first = self.stage.world.floor[room] + self.number + 1
        began = time.perf_counter()
        count = 0
        while count < seconds * self.rate and not (until is not None and until.is_set()):
            due = began + count / self.rate
            await asyncio.sleep(max(0.0, due - time.perf_counter()))
            self.number += 1
            count += 1
            # The only sender: its messages get the numbers in order.
            self.watch.sent[self.stage.world.floor[room] + self.number] = due
            text = f"{self.number} " + "東" * self.size
            self.device.submit(text_message(f"s.{self.number}", self.device.user, room, text))
        return range(first, first + count)


class _Eyes:
    """Watches the server's memory and connections, in every phase at the same small cost."""

    def __init__(self, process: psutil.Process) -> None:
        self.cut = asyncio.Event()
        self.peak = 0
        self._process = process
        self._files = 0

    def begin(self) -> int:
        """From now on a connection that ends is the stalled one's.  Returns the memory used now."""
        self._files = self._process.num_fds()
        self.peak = int(self._process.memory_info().rss)
        return self.peak

    async def look(self) -> None:
        """Until cancelled."""
        fewer = 0
        while True:
            files = self._process.num_fds()
            if self._files:
                self.peak = max(self.peak, self._process.memory_info().rss)
                # Thrice: SQLite opens and closes a file now and then.
                fewer = fewer + 1 if files < self._files else 0
                if fewer >= 3:
                    self.cut.set()
            await asyncio.sleep(0.1)


async def slow_reader(folder: Path, seed: int, *, short: bool) -> Result:
    """Latency of the others before, meanwhile and after; the server's memory; what the stalled one gets."""
    people, each = (8, 5) if short else (125, 8)
    # Characters of three bytes.  The kernel takes some MiB for the reader before the server has to.
    rate, size = (50.0, 7_000) if short else (5.0, 7_000)
    async with scene("slow_reader", folder, seed, 60 if short else 240) as stage:
        result = stage.result
        await stage.populate(people=people, devices=each, rooms=(tuple(range(people)),))
        await stage.server.start()
        stage.connect()
        await stage.online(60)
        sender, stalled = stage.devices[0], stage.devices[-1]
        # A small buffer of the reader's own, or its kernel would read on for it.
        await stalled.reconnect(receive_buffer=8192)
        await stage.online()
        watch = _Watch([device for device in stage.devices if device is not stalled])
        pace = _Pace(stage, sender, watch, rate, size)
        process = psutil.Process(stage.server.pid)

        eyes = _Eyes(process)
        looking = asyncio.create_task(eyes.look())
        try:
            await pace.send(1)
            before = await pace.send(2 if short else 12)
            await asyncio.sleep(0.3)
            stalled_at = stalled.positions[stage.world.rooms[0]]
            stalled.stall()
            memory = eyes.begin()
            meanwhile = await pace.send(20 if short else 90, until=eyes.cut)
            result.demand(eyes.cut.is_set(), "the stalled reader was not cut off")
            after = await pace.send(1 if short else 8)
            await asyncio.sleep(0.3)
        finally:
            looking.cancel()
        peak = eyes.peak
        others = [device for device in stage.devices if device is not stalled and device.closes]
        result.demand(not others, f"{len(others)} others lost their connections")

        stalled.unstall()
        await stage.until(lambda: bool(stalled.closes), 15, "the end of the stalled connection")
        code = stalled.closes[0] if stalled.closes else 0
        # 1006: the server gave up waiting for the close frame to leave, too.
        result.demand(code in (TOO_SLOW, 1006), f"the stalled reader was closed with {code}")
        behind = max(watch.last, default=0) - stalled_at
        await stage.online()
        grown = peak - memory
        volume = len(meanwhile) * size * 3
        # The database's own caches keep what is written, twice with the search index.
        allowed = OUTBOX + SPARE + 2 * volume
        result.demand(grown <= allowed, f"the server grew by {grown / 2**20:.1f} MiB meanwhile")
        # What was written to the stalled session before it was given up is all that it could cost.
        allowed = kernel_bytes() + OUTBOX + OUTBOX // 2 + int(rate * size * 3 * 0.5)
        result.demand(volume <= allowed, f"it was given up only after {volume / 2**20:.1f} MiB")
        figures: dict[str, float | int | str] = {"sessions": len(stage.devices)}
        for name, seqs in (("before", before), ("meanwhile", meanwhile), ("after", after)):
            latencies = watch.latencies(seqs)
            result.demand(bool(latencies), f"no message {name}")
            for label, share in (("p50", 0.5), ("p99", 0.99)):
                figures[f"{name} {label} ms"] = _percentile(latencies, share)
        # Held against the worse of the times without: the machine may have other work, too.
        usual = max(float(figures["before p50 ms"]), float(figures["after p50 ms"]))
        slower = float(figures["meanwhile p50 ms"]) - usual
        most = max(500.0 if short else 50.0, usual)
        result.demand(slower <= most, f"the others waited {slower:.0f} ms longer")
        figures |= {
            "given up after, MiB": round(volume / 2**20, 1),
            "memory grew, MiB": round(grown / 2**20, 1),
            "closed with": code,
            "events behind": behind,
        }
        await stage.compare(restart=not short)
        result.figures = figures
    return stage.result
