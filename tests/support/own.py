"""`World` with the use cases that are about people themselves, and with a simulated passing of time."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from typing import Any

import structlog
from structlog.testing import LogCapture

from tertulia.adapters.clock_seeded import SeededClock
from tertulia.application.people import People
from tertulia.application.personal import Personal
from tertulia.application.profiles import Profiles
from tertulia.application.receipts import Receipts
from tertulia.domain.unit import Committed, Unit
from tests.support.world import World


class OwnWorld(World):
    """People, profiles, personal things and receipts over the same store."""

    def __init__(self, store: Any = None, **more: Any) -> None:
        super().__init__(store, **more)
        self.profiles = Profiles(self.store)
        self.everyone = People(self.store, self.store, self.access, self.profiles, self.executor, self.clock)
        self.personal = Personal(
            self.store,
            self.store,
            self.access,
            self.tenants,
            self.executor,
            self.clock,
            self.ids,
        )
        self.receipts = Receipts(self.store, self.store, self.access, self.executor)


def interleave(store: Any) -> None:
    """Make every read of a memory store a turn of the loop, as those of a real one are: calls that run
    at once then decide on rows that the others change."""
    for name in ("get", "get_versioned", "scan", "snapshot", "count", "due", "head", "message"):
        setattr(store, name, _yielding(getattr(store, name)))


def _yielding(read: Callable[..., Awaitable[Any]]) -> Callable[..., Awaitable[Any]]:
    async def after_a_turn(*args: Any, **more: Any) -> Any:
        found = await read(*args, **more)
        await asyncio.sleep(0)
        return found

    return after_a_turn


class Gate:
    """Stands before a store's `append`: lets tests hold, refuse or break what passes.

    `before` is awaited for every unit; what it raises, the append raises.  `after` too: the unit is then
    on disk all the same.  `appended` keeps all units that passed."""

    def __init__(self, store: Any) -> None:
        self._append: Callable[[Unit], Awaitable[Committed]] = store.append
        self.before: Callable[[Unit], Awaitable[None]] = _pass
        self.after: Callable[[Unit], Awaitable[None]] = _pass
        self.hold: asyncio.Event | None = None
        self.appended: list[Unit] = []
        store.append = self.append

    async def append(self, unit: Unit) -> Committed:
        await self.before(unit)
        if self.hold is not None:
            await self.hold.wait()
        committed = await self._append(unit)
        self.appended.append(unit)
        await self.after(unit)
        return committed


async def _pass(_: Unit) -> None:
    return


class PassingTime:
    """A `sleep` under a seeded clock: time passes only when everybody waits, from one due time to the
    next, until `until_s` seconds have passed in all."""

    def __init__(self, clock: SeededClock) -> None:
        self._clock = clock
        self._waiting: list[tuple[float, int, asyncio.Future[None]]] = []
        self._count = 0
        self.slept: list[float] = []

    async def sleep(self, seconds: float) -> None:
        future: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        self._count += 1
        self.slept.append(seconds)
        self._waiting.append((self._clock.monotonic() + seconds, self._count, future))
        await future

    async def quiet(self) -> None:
        """Let everybody run until nothing moves without time passing."""
        for _ in range(60):
            await asyncio.sleep(0)

    async def pass_s(self, seconds: float) -> None:
        """Let that much time pass, waking sleepers when they are due."""
        end = self._clock.monotonic() + seconds
        while True:
            await self.quiet()
            self._waiting = [w for w in self._waiting if not w[2].done()]
            due = min(self._waiting, default=None)
            if due is None or due[0] > end:
                break
            self._clock.advance(max(0.0, due[0] - self._clock.monotonic()))
            self._waiting.remove(due)
            due[2].set_result(None)
        self._clock.advance(max(0.0, end - self._clock.monotonic()))


def captured_log() -> tuple[Any, LogCapture]:
    """A logger and what was logged with it."""
    capture = LogCapture()
    return structlog.wrap_logger(structlog.PrintLogger(), processors=[capture]), capture
