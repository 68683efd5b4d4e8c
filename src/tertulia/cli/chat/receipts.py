"""How far one's own messages have come."""

from __future__ import annotations

from bisect import bisect_left
from collections.abc import Iterable
from dataclasses import dataclass
from typing import Literal

from tertulia_client import Room

Progress = Literal["sent", "received", "read"]


@dataclass(frozen=True)
class Receipt:
    """`readers`: how many have read it, where more than one could; otherwise 0."""

    progress: Progress
    readers: int = 0

    @property
    def mark(self) -> str:
        """✓ is in the log, ✓✓ has reached somebody's device."""
        tick = "✓" if self.progress == "sent" else "✓✓"
        return f"{tick} {self.readers}" if self.readers else tick


class Receipts:
    """The others' cursors of a conversation, counted once for all messages."""

    def __init__(self, room: Room) -> None:
        others: Iterable[tuple[int, int]] = [
            (place.read, place.received) for user, place in room.receipts.items() if user != room.me
        ]
        self._reads = sorted(read for read, _ in others)
        self._receiveds = sorted(max(read, received) for read, received in others)
        self._alone = room.kind == "direct"

    def of(self, seq: int) -> Receipt:
        """The receipt of one's own message `seq`."""
        read = len(self._reads) - bisect_left(self._reads, seq)
        if read:
            return Receipt("read", 0 if self._alone else read)
        received = len(self._receiveds) - bisect_left(self._receiveds, seq)
        return Receipt("received" if received else "sent")
