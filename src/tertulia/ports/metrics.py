"""What the edges count as they go.  Every call is a few integer operations and never waits."""

from __future__ import annotations

from typing import Protocol


class Meter(Protocol):
    """Counts what operators ask about and no row holds."""

    def delivered(self, count: int) -> None:
        """`count` sessions were told an event."""
        ...

    def closed(self, protocol: str, code: int) -> None:
        """A connection ended with this close code; 0: the other side went, or was lost."""
        ...

    def refused(self, protocol: str, code: str) -> None:
        """A request was refused with this code of `domain.errors`."""
        ...


class NoMeter:
    """Counts nothing; for tests and tools."""

    def delivered(self, count: int) -> None: ...

    def closed(self, protocol: str, code: int) -> None: ...

    def refused(self, protocol: str, code: str) -> None: ...
