"""One at a time: changes that would only make each other stale wait for their turn instead."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator
from contextlib import asynccontextmanager

TurnKey = tuple[str | int, ...]


class Turns:
    """Turns by key, first come first served, within this process.

    Nothing rests on them: the store rechecks every decision, whoever else may write.  They keep a
    crowd that joins, votes or reacts at once from deciding again and again until it gives up.
    """

    def __init__(self) -> None:
        self._waiting: dict[TurnKey, tuple[asyncio.Lock, int]] = {}

    def __len__(self) -> int:
        """Keys that somebody holds or waits for."""
        return len(self._waiting)

    @asynccontextmanager
    async def of(self, *key: str | int) -> AsyncGenerator[None]:
        """Holds the turn of a key.  Not to be entered again by its holder."""
        lock, users = self._waiting.get(key) or (asyncio.Lock(), 0)
        self._waiting[key] = (lock, users + 1)
        try:
            async with lock:
                yield
        finally:
            _, users = self._waiting[key]
            if users == 1:
                del self._waiting[key]
            else:
                self._waiting[key] = (lock, users - 1)
