"""Tells the server how far one has read and received: coalesced, and kept until it is told."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Mapping
from typing import Any

from tertulia_client.http import ApiError, Unreachable
from tertulia_client.models import Accepted

PAUSE_S = 0.2


class Cursors:
    """One pending place for each conversation and thread, whatever the number of moves."""

    def __init__(
        self, call: Callable[[Mapping[str, Any]], Awaitable[Accepted]], ready: Callable[[], bool]
    ) -> None:
        self._call = call
        self._ready = ready
        self._reads: dict[tuple[str, int], int] = {}
        self._receipts: dict[str, int] = {}
        self._wake = asyncio.Event()

    def read(self, conversation: str, thread: int, seq: int) -> None:
        place = (conversation, thread)
        self._reads[place] = max(seq, self._reads.get(place, 0))
        self._wake.set()

    def received(self, conversation: str, seq: int) -> None:
        self._receipts[conversation] = max(seq, self._receipts.get(conversation, 0))
        self._wake.set()

    def connected(self) -> None:
        self._wake.set()

    async def run(self) -> None:
        """Until cancelled."""
        while True:
            await self._wake.wait()
            self._wake.clear()
            if self._ready():
                try:
                    await self.flush()
                except Unreachable:
                    continue
            await asyncio.sleep(PAUSE_S)

    async def flush(self) -> None:
        """Tell all that is pending.  Raises Unreachable.

        What is refused is dropped: a place that may not be told will not be later either, but for one
        that is too much at once."""
        while self._reads:
            (conversation, thread), seq = next(iter(self._reads.items()))
            fields: dict[str, Any] = {"type": "message.read", "conversation": conversation, "seq": seq}
            if thread:
                fields["thread"] = thread
            elif self._receipts.get(conversation, 0) <= seq:
                self._receipts.pop(conversation, None)
            if await self._told(fields) and self._reads.get((conversation, thread)) == seq:
                del self._reads[(conversation, thread)]
        while self._receipts:
            conversation, seq = next(iter(self._receipts.items()))
            fields = {"type": "message.received", "conversation": conversation, "seq": seq}
            if await self._told(fields) and self._receipts.get(conversation) == seq:
                del self._receipts[conversation]

    async def _told(self, fields: Mapping[str, Any]) -> bool:
        try:
            await self._call(fields)
        except ApiError as error:
            if error.retry_after is not None or error.code in ("rate_limited", "unavailable"):
                await asyncio.sleep(min(error.retry_after or 1.0, 30.0))
                return False
        return True
