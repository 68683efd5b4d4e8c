"""When to try again: exponential back-off with full jitter, as a pure function."""

from __future__ import annotations

from collections.abc import Callable

import msgspec


class Backoff(msgspec.Struct, frozen=True, kw_only=True):
    """The n-th wait is drawn evenly from [`base_s` / 2, min(`cap_s`, `base_s` · 2ⁿ)].

    The lower bound keeps a crowd of clients from coming back within the same instant; the even draw
    spreads the rest.  `floor_s` is what the server asked for and is never undercut.
    """

    base_s: float = 0.5
    cap_s: float = 30.0

    def delay(self, attempt: int, draw: Callable[[], float], floor_s: float = 0.0) -> float:
        """Seconds to wait before attempt `attempt` (0: the first retry); `draw` gives [0, 1).

        With a floor the draw comes on top of it, so that clients who were all told the same number do
        not all return together."""
        if attempt < 0:
            raise ValueError("attempts count from 0")
        # 2**64 is beyond every cap; a larger exponent would only overflow the float.
        high = min(self.cap_s, self.base_s * 2.0 ** min(attempt, 64))
        low = min(self.base_s / 2, high)
        return floor_s + low + draw() * (high - low)
