"""How a change to an account is carried out: decide on rows, append, and again when they moved."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Sequence
from typing import Generic, TypeVar

import msgspec

from tertulia.application.core import ATTEMPTS
from tertulia.application.limits import RateLimiter, Try
from tertulia.domain.errors import Refusal
from tertulia.domain.unit import Expect, NewEvent, Unit, Write
from tertulia.ports.clock import Clock
from tertulia.ports.message_store import MessageStore
from tertulia.ports.passwords import Busy

T = TypeVar("T")


class Draft(msgspec.Struct, Generic[T], frozen=True, kw_only=True):
    """What was decided, and the answer once it is on disk.  Without events and writes nothing is
    appended."""

    result: T
    actor: str = ""
    events: tuple[NewEvent, ...] = ()
    expects: tuple[Expect, ...] = ()
    writes: tuple[Write, ...] = ()


class Units:
    """Appends drafts.  What concerns accounts has no `client_id`: codes and tokens are good for one use,
    and that is what makes a repeat harmless."""

    def __init__(self, store: MessageStore, clock: Clock) -> None:
        self._store = store
        self._clock = clock

    async def carry_out(self, tenant: str, decide: Callable[[], Awaitable[Draft[T]]]) -> T:
        """Decide until what was decided on still holds at the commit; returns the draft's result.

        Raises Refusal: what `decide` raises, `stale` when too much changes at once, and what the store
        raises."""
        refusal = Refusal("stale", "Too much changed at once; try again.", retry_after_ms=100)
        for _ in range(ATTEMPTS):
            draft = await decide()
            if not draft.events and not draft.writes:
                return draft.result
            try:
                await self._store.append(
                    Unit(
                        tenant=tenant,
                        actor=draft.actor,
                        at=self._clock.now_ms(),
                        events=draft.events,
                        expects=draft.expects,
                        writes=draft.writes,
                    )
                )
            except Refusal as refused:
                # A unique index is a fact that the decision rested on as well.
                if refused.code not in ("stale", "conflict"):
                    raise
                refusal = refused
                continue
            return draft.result
        raise refusal


def require(limiter: RateLimiter, tries: Sequence[Try]) -> None:
    """Take from all limits or from none.  Raises Refusal `rate_limited`."""
    decision = limiter.take_all(tries)
    if not decision.allowed:
        raise Refusal("rate_limited", "Too many tries; wait.", retry_after_ms=decision.retry_after_ms)


def give_back(limiter: RateLimiter, tries: Sequence[Try]) -> None:
    """What was tried was right and does not count."""
    for one in tries:
        limiter.give(one.rule, one.key, one.cost)


async def not_busy(work: Awaitable[T]) -> T:
    """The outcome of work on a password.

    Raises Refusal `unavailable` when too many passwords are being worked on."""
    try:
        return await work
    except Busy as busy:
        raise Refusal(
            "unavailable", "Too many people are signing in; try again.", retry_after_ms=busy.retry_after_ms
        ) from None
