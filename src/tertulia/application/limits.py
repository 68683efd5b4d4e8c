"""How often each caller may do each thing, counted in this process.

Counts are not shared between nodes and do not outlive the process: a limit here bounds load and
guessing, it is not an account of anything.  With n nodes a caller who reaches all of them has n times
the rule.
"""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Mapping, Sequence
from typing import Final, NamedTuple

from tertulia.domain.guessing import (
    Bucket,
    Decision,
    State,
    full_at_ms,
    give,
    peek,
    refill,
    take,
)
from tertulia.ports.clock import Clock

Key = tuple[str | int, ...]
"""Whose try it is, tenant first: `("acme", user_id)`, `("acme", "203.0.113.7")`."""

# How many of the least recently used buckets are looked at to find one that can go.
_SCAN: Final = 32


class Try(NamedTuple):
    """One try under one rule."""

    rule: str
    key: Key
    cost: int = 1


class RateLimiter:
    """Token buckets by rule and key, each rule with room for `max_keys` of them.

    When a rule's room is full, the least recently used bucket that has filled up again goes first:
    forgetting it changes no decision.  When none of the 32 least recently used has filled up, the one
    of them that is closest to full goes, and `dropped` counts it.  So somebody who tries under endless
    keys can make the limiter forget only the buckets that had least to remember, and only those of the
    same rule; how far is seen in `dropped`.

    Not for use by several threads.  `take` costs a few microseconds and never waits.
    """

    def __init__(self, clock: Clock, rules: Mapping[str, Bucket], *, max_keys: int = 50_000) -> None:
        if max_keys < 1:
            raise ValueError("a limiter has room for at least one key")
        self._clock = clock
        self._rules = dict(rules)
        self._max_keys = max_keys
        self._buckets: dict[str, OrderedDict[Key, State]] = {name: OrderedDict() for name in self._rules}
        self.dropped: int = 0

    def __len__(self) -> int:
        """Buckets now kept, over all rules."""
        return sum(len(buckets) for buckets in self._buckets.values())

    def rule(self, name: str) -> Bucket:
        """The rule of that name.  Raises `KeyError` when there is none."""
        return self._rules[name]

    def take(self, rule: str, key: Key, cost: int = 1) -> Decision:
        """Try once.  Raises `KeyError` for an unknown rule and `ValueError` for a cost that the rule
        could never allow; both are defects of the caller."""
        bucket = self._rules[rule]
        buckets = self._buckets[rule]
        state, decision = take(bucket, buckets.get(key), self._now_ms(), cost)
        self._keep(bucket, buckets, key, state)
        return decision

    def take_all(self, tries: Sequence[Try]) -> Decision:
        """Try under several rules at once: either each gives its tokens or none does.

        Returns the refusal with the longest wait, or the allowance with the fewest tokens left.  An
        address that is refused thereby takes nothing from the account it tries, so that it cannot
        keep that account's owner out.  Each pair of rule and key stands in `tries` once at most.
        Raises as `take` does, and `ValueError` for no tries.
        """
        if not tries:
            raise ValueError("nothing to try")
        now_ms = self._now_ms()
        refused = [
            decision
            for one in tries
            if not (
                decision := peek(
                    self._rules[one.rule], self._buckets[one.rule].get(one.key), now_ms, one.cost
                )
            ).allowed
        ]
        if refused:
            return max(refused, key=lambda decision: decision.retry_after_ms)
        taken = [self.take(one.rule, one.key, one.cost) for one in tries]
        return min(taken, key=lambda decision: decision.remaining)

    def give(self, rule: str, key: Key, amount: int = 1) -> None:
        """Put back what a try took that should not count, such as a password that was right."""
        buckets = self._buckets[rule]
        state = buckets.get(key)
        if state is not None:
            buckets[key] = give(self._rules[rule], state, self._now_ms(), amount)

    def forget(self, rule: str, key: Key) -> None:
        """Start afresh, as after a password was reset."""
        self._buckets[rule].pop(key, None)

    def _now_ms(self) -> int:
        # Not the wall clock: an hour that it jumps would open or close every bucket.
        return int(self._clock.monotonic() * 1000)

    def _keep(self, rule: Bucket, buckets: OrderedDict[Key, State], key: Key, state: State) -> None:
        if key not in buckets and len(buckets) >= self._max_keys:
            self._make_room(rule, buckets, state.at_ms)
        buckets[key] = state
        buckets.move_to_end(key)

    def _make_room(self, rule: Bucket, buckets: OrderedDict[Key, State], now_ms: int) -> None:
        victim: Key | None = None
        fullest = -1.0
        for index, (key, state) in enumerate(buckets.items()):
            if full_at_ms(rule, state) <= now_ms:
                del buckets[key]
                return
            if index >= _SCAN:
                break
            tokens = refill(rule, state, now_ms).tokens
            if tokens > fullest:
                victim, fullest = key, tokens
        if victim is not None:
            del buckets[victim]
            self.dropped += 1
