"""A clock that is moved by hand and ids from a seed: the same scenario gives the same run.

For tests and simulations only: everything here can be predicted.
"""

from __future__ import annotations

import base64
import random
import threading
from typing import Final

from tertulia.domain.ulid import TAIL_BITS, ZERO, next_ulid
from tertulia.ports.clock import Clock

START_MS: Final = 1_750_000_000_000
"""2025-06-15T15:06:40Z, where a seeded clock starts unless told otherwise."""


class SeededClock:
    """Stands still until `advance` or `step_wall` is called."""

    def __init__(self, start_ms: int = START_MS) -> None:
        self._wall_us = start_ms * 1000
        self._monotonic_us = 0

    def now_ms(self) -> int:
        """See `Clock.now_ms`."""
        return self._wall_us // 1000

    def monotonic(self) -> float:
        """See `Clock.monotonic`."""
        return self._monotonic_us / 1_000_000

    def advance(self, seconds: float) -> None:
        """Time passes on both clocks.  Raises `ValueError` for a negative duration."""
        if seconds < 0:
            raise ValueError("time does not run backwards; use step_wall")
        micros = round(seconds * 1_000_000)
        self._wall_us += micros
        self._monotonic_us += micros

    def step_wall(self, seconds: float) -> None:
        """The wall clock is set, forward or (negative) back; no time passes."""
        self._wall_us += round(seconds * 1_000_000)


class SeededIds:
    """Ids and secrets that depend on nothing but the seed, the clock and the order of calls."""

    def __init__(self, clock: Clock, seed: int = 0) -> None:
        self._clock = clock
        self._random = random.Random(seed)
        self._lock = threading.Lock()
        self._last = ZERO

    def new_id(self) -> str:
        """See `Ids.new_id`."""
        with self._lock:
            fresh = self._random.getrandbits(TAIL_BITS)
            self._last = last = next_ulid(self._last, self._clock.now_ms(), fresh)
        return str(last)

    def token(self, nbytes: int = 32) -> str:
        """See `Ids.token`."""
        if nbytes < 16:
            raise ValueError("a secret has at least 16 octets")
        with self._lock:
            octets = self._random.randbytes(nbytes)
        return base64.urlsafe_b64encode(octets).rstrip(b"=").decode("ascii")

    def code(self, digits: int = 6) -> str:
        """See `Ids.code`."""
        if not 4 <= digits <= 12:
            raise ValueError("a code has 4 to 12 digits")
        with self._lock:
            return f"{self._random.randrange(10**digits):0{digits}d}"
