"""How often a request may be made, and the fields that say so.

`RateLimit-Policy` and `RateLimit` as in draft-ietf-httpapi-ratelimit-headers-10 §3 and §4: the rule's
name with its quota `q` in a window of `w` seconds, then what remains (`r`) and the seconds until the quota
is whole again (`t`).
"""

from __future__ import annotations

from collections.abc import Mapping
from types import MappingProxyType
from typing import Final

from tertulia.application.limits import Key, RateLimiter
from tertulia.domain.errors import Refusal
from tertulia.domain.guessing import Bucket, Decision

REST_RULES: Final[Mapping[str, Bucket]] = MappingProxyType(
    {
        # of a user
        "query": Bucket(300, 100.0),
        "search": Bucket(30, 3.0),
        "stream": Bucket(30, 0.5),
        # of a user and of an address: finding people by their addresses is guessing
        "find": Bucket(30, 0.1),
        "find.client": Bucket(60, 0.2),
        # of an address that nobody has signed in from yet
        "public": Bucket(120, 4.0),
    }
)
"""Rules of this interface: a burst, then so many a second.  Those of commands are the same on every
protocol."""

GUESSING: Final = frozenset({"find", "find.client"})
"""Rules that hold even where rate limits are switched off."""


def headers_of(rule: str, bucket: Bucket, decision: Decision) -> list[tuple[bytes, bytes]]:
    """The two fields for a decision."""
    reset = -(-decision.reset_ms // 1000)
    policy = f'"{rule}";q={bucket.capacity};w={bucket.window_seconds}'
    return [
        (b"ratelimit-policy", policy.encode()),
        (b"ratelimit", f'"{rule}";r={decision.remaining};t={reset}'.encode()),
    ]


class Limits:
    """Takes from the rules on behalf of requests."""

    def __init__(self, limiter: RateLimiter, *, enabled: bool) -> None:
        self._limiter = limiter
        self._enabled = enabled

    def check(self, rule: str) -> None:
        """Raises ValueError when the limiter lacks a rule that a route is under."""
        try:
            self._limiter.rule(rule)
        except KeyError:
            raise ValueError(f"the limiter has no rule {rule!r}") from None

    def take(self, rule: str, key: Key) -> tuple[list[tuple[bytes, bytes]], Refusal | None]:
        """One request under a rule: the fields to answer with, and the refusal when it is one too many."""
        if not self._enabled and rule not in GUESSING:
            return [], None
        decision = self._limiter.take(rule, key)
        fields = headers_of(rule, self._limiter.rule(rule), decision)
        if decision.allowed:
            return fields, None
        return fields, Refusal(
            "rate_limited", "Too many requests; slow down.", retry_after_ms=decision.retry_after_ms
        )
