"""When a worker looks again: at a time, or as soon as somebody rings."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from typing import Final

Sleep = Callable[[float], Awaitable[None]]
"""Waits that many seconds; `asyncio.sleep` outside of tests."""

MAX_BACKOFF_S: Final = 3600.0


def backoff_s(attempt: int, fraction: float, *, base_s: float, cap_s: float) -> float:
    """Seconds to wait after the `attempt`-th failure (from 1): doubling from `base_s` to `cap_s`, of
    which `fraction` (0 to 1) decides the upper half, so that what failed together does not come back
    together."""
    full = min(cap_s, base_s * 2.0 ** min(attempt - 1, 60))
    return full * (0.5 + 0.5 * fraction)


class Bell:
    """Wakes one waiter.  Rung while nobody waits, it wakes the next one at once."""

    def __init__(self, sleep: Sleep) -> None:
        self._sleep = sleep
        self._rung = asyncio.Event()

    def ring(self) -> None:
        """Wake the waiter.  On the event loop only."""
        self._rung.set()

    async def wait(self, seconds: float) -> None:
        """Return after `seconds` or when rung, whichever comes first; at least one turn of the loop."""
        if not self._rung.is_set() and seconds > 0:
            await self._first(seconds)
        else:
            await asyncio.sleep(0)
        self._rung.clear()

    async def _first(self, seconds: float) -> None:
        waits: list[asyncio.Future[object]] = [
            asyncio.ensure_future(_object(self._sleep(seconds))),
            asyncio.ensure_future(_object(self._rung.wait())),
        ]
        try:
            await asyncio.wait(waits, return_when=asyncio.FIRST_COMPLETED)
        finally:
            for wait in waits:
                wait.cancel()
            await asyncio.gather(*waits, return_exceptions=True)


async def _object(waited: Awaitable[object]) -> object:
    return await waited
