"""The time, as far as the program may know it."""

from __future__ import annotations

from typing import Protocol


class Clock(Protocol):
    """Two clocks with different promises; neither blocks, both may be called from any thread."""

    def now_ms(self) -> int:
        """Wall clock, milliseconds since 1970-01-01T00:00:00Z (Unix time, without leap seconds).

        It may step in either direction when the host is set right.  Use it for what people read and
        for what outlives the process (expiry, timestamps), never to measure how long something took.
        """
        ...

    def monotonic(self) -> float:
        """Seconds since an unspecified start; never decreases while the process runs.

        Use it for durations, time-outs and rates.  It means nothing to another process.
        """
        ...
