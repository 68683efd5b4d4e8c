"""Work that follows a commit: claimed, done, removed; tried again when it failed for now.

Every piece of work is done at least once.  A worker that dies after the work and before the removal
has it done again, so handlers pass the row's id on as an idempotency key.
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Sequence

import msgspec
from structlog.typing import FilteringBoundLogger

from tertulia.domain.errors import Refusal
from tertulia.domain.records import Key, Outbox
from tertulia.domain.unit import Committed, Expect, Put, Remove, Unit, VersionIs, Write
from tertulia.ports.clock import Clock
from tertulia.ports.delivery import DeliveryFailed
from tertulia.ports.message_store import Directory, MessageStore
from tertulia.workers.pacing import MAX_BACKOFF_S, Bell, Sleep, backoff_s

Handler = Callable[[Outbox], Awaitable[None]]
"""Does the work of a row.  Raises DeliveryFailed; whatever else it raises counts as temporary."""


class OutboxPolicy(msgspec.Struct, frozen=True, kw_only=True):
    """How a topic is worked on; times in seconds.

    A claim holds for `lease_s`; the handler is stopped after three quarters of it, so that nobody
    claims what is still being done.  With the defaults a row is given up some eight minutes after its
    first failure."""

    concurrency: int = 8
    lease_s: float = 60.0
    base_s: float = 2.0
    cap_s: float = 300.0
    max_attempts: int = 9
    idle_s: float = 1.0
    """The longest time without a look: due times move when the wall clock is set."""


def follows_rows(committed: Committed) -> bool:
    """Whether a commit may have left work of accounts: not when all it did was in conversations."""
    if not committed.events:
        return not committed.cursors
    return any(event.log_kind == "personal" for event in committed.events)


def any_commit(_: Committed) -> bool:
    """Every commit may have left work."""
    return True


class OutboxWorker:
    """Works on the rows of one topic.  Several workers, also on other nodes, share them."""

    def __init__(
        self,
        topic: str,
        handler: Handler,
        store: MessageStore,
        directory: Directory,
        clock: Clock,
        sleep: Sleep,
        random: Callable[[], float],
        log: FilteringBoundLogger,
        *,
        policy: OutboxPolicy | None = None,
        wakes: Callable[[Committed], bool] = any_commit,
    ) -> None:
        """`random` gives numbers from 0 up to 1; `wakes` says which commits are worth a look."""
        self.topic = topic
        self._handler = handler
        self._store = store
        self._directory = directory
        self._clock = clock
        self._random = random
        self._log = log.bind(topic=topic)
        self._policy = policy if policy is not None else OutboxPolicy()
        self._wakes = wakes
        self._bell = Bell(sleep)
        self._running: dict[Key, asyncio.Task[None]] = {}
        self._troubles = 0

    def on_commit(self, batch: Sequence[Committed]) -> None:
        """Store listener: look at once."""
        if any(self._wakes(committed) for committed in batch):
            self._bell.ring()

    def wake(self) -> None:
        """Look at once."""
        self._bell.ring()

    async def run(self) -> None:
        """Work until cancelled.  What is being done then is stopped; its claim ends by itself."""
        try:
            while True:
                await self._bell.wait(await self._look())
        finally:
            tasks = list(self._running.values())
            for task in tasks:
                task.cancel()
            await asyncio.gather(*tasks, return_exceptions=True)

    async def _look(self) -> float:
        try:
            pause = await self.step()
        except Refusal as refusal:
            self._log.warning("outbox.stalled", code=refusal.code)
        except Exception:  # noqa: BLE001 - the worker outlives every defect, and says so
            self._log.exception("outbox.broken")
        else:
            self._troubles = 0
            return pause
        self._troubles += 1
        policy = self._policy
        return backoff_s(self._troubles, self._random(), base_s=policy.idle_s, cap_s=policy.cap_s)

    async def step(self) -> float:
        """Claim what is due, as far as there is room, and begin it.  Returns how many seconds may pass
        before the next look.

        Raises Refusal when the store takes no claims."""
        room = self._policy.concurrency - len(self._running)
        if room <= 0:
            return self._policy.idle_s
        now = self._clock.now_ms()
        limit = self._policy.concurrency + len(self._running)
        rows = await self._directory.due(Outbox, "due", (self.topic,), now, limit)
        # A clock that was set forward makes rows due whose work is still under way here.
        waiting = [row for row in rows if row.key() not in self._running]
        for row in waiting[:room]:
            await self._claim(row)
        if len(waiting) > room:
            return self._policy.idle_s  # whoever finishes rings
        if len(rows) == limit:
            return 0.0
        nearest = await self._directory.scan(Outbox, (self.topic,), index="due", limit=1)
        if not nearest:
            return self._policy.idle_s
        ahead_s = (nearest[0].due_at - self._clock.now_ms()) / 1000
        return min(max(ahead_s, 0.01), self._policy.idle_s)

    async def settled(self) -> None:
        """Wait for the work that has begun."""
        while self._running:
            await asyncio.wait(list(self._running.values()))

    async def _claim(self, row: Outbox) -> None:
        found = await self._directory.get_versioned(Outbox, *row.key())
        if found is None or found.record.due_at > self._clock.now_ms():
            return
        row = found.record
        if row.attempts >= self._policy.max_attempts:
            # Not counted by a failure: the process died each time.
            await self._give_up(row, found.version, "attempts", "never came back")
            return
        claimed = msgspec.structs.replace(
            row,
            attempts=row.attempts + 1,
            due_at=self._clock.now_ms() + round(self._policy.lease_s * 1000),
        )
        if not await self._write(row, Put(claimed), VersionIs(Outbox, row.key(), found.version)):
            return
        task = asyncio.create_task(self._carry_out(claimed, found.version + 1))
        self._running[row.key()] = task
        task.add_done_callback(lambda _: self._finished(row.key()))

    def _finished(self, key: Key) -> None:
        self._running.pop(key, None)
        self._bell.ring()

    async def _carry_out(self, row: Outbox, version: int) -> None:
        failed: DeliveryFailed | None = None
        try:
            async with asyncio.timeout(self._policy.lease_s * 0.75):
                await self._handler(row)
        except DeliveryFailed as failure:
            failed = failure
        except TimeoutError:
            failed = DeliveryFailed(False, "took too long", code="timeout")
        except Exception:  # noqa: BLE001 - whatever a handler raises, its row is tried again
            self._log.exception("outbox.defect", id=row.id, attempt=row.attempts)
            failed = DeliveryFailed(False, "a defect; see the log", code="protocol")
        try:
            await self._conclude(row, version, failed)
        except Refusal as refusal:
            # The claim ends by itself; the work is then done once more.
            self._log.warning("outbox.not_concluded", id=row.id, code=refusal.code)

    async def _conclude(self, row: Outbox, version: int, failed: DeliveryFailed | None) -> None:
        if failed is None:
            # Whoever claimed it meanwhile need not do it again: no condition.
            await self._write(row, Remove(Outbox, row.key()))
            return
        if failed.permanent or row.attempts >= self._policy.max_attempts:
            await self._give_up(row, version, failed.code, failed.reason)
            return
        pause = backoff_s(row.attempts, self._random(), base_s=self._policy.base_s, cap_s=self._policy.cap_s)
        pause = min(max(pause, failed.retry_after or 0.0), MAX_BACKOFF_S)
        self._log.info(
            "outbox.failed",
            id=row.id,
            attempt=row.attempts,
            code=failed.code,
            reason=failed.reason,
            retry_in_s=round(pause, 3),
        )
        later = msgspec.structs.replace(row, due_at=self._clock.now_ms() + round(pause * 1000))
        await self._write(row, Put(later), VersionIs(Outbox, row.key(), version))

    async def _give_up(self, row: Outbox, version: int, code: str, reason: str) -> None:
        removed = await self._write(row, Remove(Outbox, row.key()), VersionIs(Outbox, row.key(), version))
        if removed:
            self._log.error("outbox.given_up", id=row.id, attempts=row.attempts, code=code, reason=reason)

    async def _write(self, row: Outbox, write: Write, *expects: Expect) -> bool:
        """False when another worker was faster.  Raises Refusal."""
        unit = Unit(
            tenant=row.tenant,
            actor="",
            at=self._clock.now_ms(),
            events=(),
            expects=expects,
            writes=(write,),
        )
        try:
            await self._store.append(unit)
        except Refusal as refusal:
            if refusal.code != "stale":
                raise
            return False
        return True
