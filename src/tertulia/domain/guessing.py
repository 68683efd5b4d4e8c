"""How often something may be tried: token buckets, without a clock and without a place to keep them.

A bucket holds `capacity` tokens, starts full and gains `refill_per_second`.  Each try takes tokens;
a try that finds too few is refused, takes nothing and is told when the same try would succeed.  Over
any span of t seconds at most `capacity + t * refill_per_second` tokens are taken.

A wrong password costs a token; one that was right gives its token back (`give`), so that a person's
own sign-ins never count against them.  Guessing is limited twice, per account and per address: the
first stops many machines from trying one account, the second one machine from trying many accounts.
"""

from __future__ import annotations

import math
from typing import Final, NamedTuple

# Sums of fractions may fall short of a whole token by rounding; a wait that was promised to be long
# enough has to be.
_ROUNDING: Final = 1e-6


class Bucket(NamedTuple("Bucket", [("capacity", int), ("refill_per_second", float)])):
    """A rule: `capacity` tokens at most, `refill_per_second` tokens regained each second.

    Raises `ValueError` unless both are positive and finite and a full refill ends within a year.
    """

    __slots__ = ()

    def __new__(cls, capacity: int, refill_per_second: float) -> Bucket:
        """Check the two figures."""
        if capacity < 1:
            raise ValueError("a bucket holds at least one token")
        if not (math.isfinite(refill_per_second) and refill_per_second > 0):
            raise ValueError("a bucket must refill")
        if capacity / refill_per_second > 366 * 86_400:
            raise ValueError("a bucket must refill within a year")
        return super().__new__(cls, capacity, refill_per_second)

    @property
    def window_seconds(self) -> int:
        """Seconds in which an empty bucket fills; `w` of a RateLimit-Policy field."""
        return math.ceil(self.capacity / self.refill_per_second)


class State(NamedTuple):
    """A bucket at a moment: the tokens it held at `at_ms`, in milliseconds of whatever clock is used.

    A monotonic clock serves best; a clock that goes back costs the refill of the time it repeats and
    nothing else.
    """

    tokens: float
    at_ms: int


class Decision(NamedTuple):
    """The answer to one try, in the units of the RateLimit fields (but milliseconds).

    `retry_after_ms` is 0 when allowed, otherwise the wait after which the same try succeeds if no
    other comes between.  `remaining` are whole tokens left, `reset_ms` the time until the bucket is
    full again (draft-ietf-httpapi-ratelimit-headers: `r` and `t`).
    """

    allowed: bool
    limit: int
    remaining: int
    retry_after_ms: int
    reset_ms: int


# Ten wrong passwords at once for an account, then one every three minutes: 490 a day, against a
# password that is at least eight characters and not a common one.
SIGN_IN_PER_ACCOUNT: Final = Bucket(10, 1 / 180)
# An address may be an office or a mobile network behind one translator.
SIGN_IN_PER_ADDRESS: Final = Bucket(50, 1 / 6)


def full(rule: Bucket, now_ms: int) -> State:
    """A bucket that nothing has been taken from."""
    return State(float(rule.capacity), now_ms)


def refill(rule: Bucket, state: State, now_ms: int) -> State:
    """`state` brought forward to `now_ms`."""
    elapsed = max(0, now_ms - state.at_ms)
    tokens = state.tokens + elapsed * rule.refill_per_second / 1000
    return State(min(float(rule.capacity), tokens), now_ms)


def take(rule: Bucket, state: State | None, now_ms: int, cost: int = 1) -> tuple[State, Decision]:
    """Try to take `cost` tokens at `now_ms`; a `state` of None is a full bucket.

    Returns the new state (brought forward, but nothing taken, when refused) and the decision.
    Raises `ValueError` unless 1 <= `cost` <= capacity: more could never be allowed.
    """
    if not 1 <= cost <= rule.capacity:
        raise ValueError("the cost of a try lies between one token and the bucket's capacity")
    now = full(rule, now_ms) if state is None else refill(rule, state, now_ms)
    allowed = now.tokens + _ROUNDING >= cost
    if allowed:
        now = State(max(0.0, now.tokens - cost), now_ms)
    return now, _decision(rule, now, cost, allowed=allowed)


def give(rule: Bucket, state: State, now_ms: int, amount: int = 1) -> State:
    """Put `amount` tokens back, up to the capacity, for a try that should not have counted."""
    now = refill(rule, state, now_ms)
    return State(min(float(rule.capacity), now.tokens + amount), now_ms)


def peek(rule: Bucket, state: State | None, now_ms: int, cost: int = 1) -> Decision:
    """What `take` would decide, while nothing is taken."""
    now = full(rule, now_ms) if state is None else refill(rule, state, now_ms)
    return _decision(rule, now, cost, allowed=now.tokens + _ROUNDING >= cost)


def full_at_ms(rule: Bucket, state: State) -> int:
    """When the bucket will be full; from then on it says no more than no bucket at all."""
    missing = rule.capacity - state.tokens
    return state.at_ms + math.ceil(missing / rule.refill_per_second * 1000)


def _decision(rule: Bucket, now: State, cost: int, *, allowed: bool) -> Decision:
    wait = 0
    if not allowed:
        wait = max(1, math.ceil((cost - now.tokens) / rule.refill_per_second * 1000))
    return Decision(
        allowed=allowed,
        limit=rule.capacity,
        remaining=math.floor(now.tokens + _ROUNDING),
        retry_after_ms=wait,
        reset_ms=full_at_ms(rule, now) - now.at_ms,
    )
