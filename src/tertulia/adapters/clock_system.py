"""The host's clocks, and ids and secrets from the operating system's randomness."""

from __future__ import annotations

import secrets
import threading
import time

from tertulia.domain.ulid import TAIL_BITS, Ulid, next_ulid
from tertulia.ports.clock import Clock


class SystemClock:
    """The host's wall clock and its monotonic clock."""

    def now_ms(self) -> int:
        """See `Clock.now_ms`."""
        return time.time_ns() // 1_000_000

    def monotonic(self) -> float:
        """See `Clock.monotonic`."""
        return time.monotonic()


class SystemIds:
    """Ids and secrets for production.

    `floor_ms`: the greatest millisecond that an earlier process put into an id, when known; ids of
    this one then follow those as well, even if the host's clock was set back in between.
    """

    def __init__(self, clock: Clock, *, floor_ms: int = 0) -> None:
        self._clock = clock
        self._lock = threading.Lock()
        self._last = Ulid(floor_ms, 0)

    def new_id(self) -> str:
        """See `Ids.new_id`."""
        fresh = secrets.randbits(TAIL_BITS)
        with self._lock:
            self._last = last = next_ulid(self._last, self._clock.now_ms(), fresh)
        return str(last)

    def token(self, nbytes: int = 32) -> str:
        """See `Ids.token`."""
        if nbytes < 16:
            raise ValueError("a secret has at least 16 octets")
        return secrets.token_urlsafe(nbytes)

    def code(self, digits: int = 6) -> str:
        """See `Ids.code`."""
        if not 4 <= digits <= 12:
            raise ValueError("a code has 4 to 12 digits")
        return f"{secrets.randbelow(10**digits):0{digits}d}"
