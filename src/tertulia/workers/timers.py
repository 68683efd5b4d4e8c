"""What is due: messages to be sent now, and messages that disappear now.

Each row is dealt with so that a crash between any two steps neither doubles nor loses it: a scheduled
message is sent under its schedule's id, which the log takes once, and the row goes in the same commit
as the news of it; a message disappears in the commit that takes its row away.
"""

from __future__ import annotations

import asyncio
from collections import defaultdict
from collections.abc import Awaitable, Callable, Iterable, Sequence
from typing import Final, TypeVar

import msgspec
from structlog.typing import FilteringBoundLogger

from tertulia.application.core import Caller
from tertulia.application.messages import Messages
from tertulia.application.rows import hanging_on
from tertulia.domain import events as e
from tertulia.domain.commands import SendMessage
from tertulia.domain.errors import Code, Refusal
from tertulia.domain.records import Expiry, Key, Scheduled, User, Versioned
from tertulia.domain.unit import Committed, NewEvent, Remove, Unit, VersionIs, ViewIs
from tertulia.ports.clock import Clock
from tertulia.ports.message_store import Directory, MessageStore
from tertulia.workers.pacing import Bell, Sleep, backoff_s

BATCH: Final = 200
"""Rows of each kind that are looked at in one go."""

AT_ONCE: Final = 32
IDLE_S: Final = 1.0
"""The longest time without a look; so much later than asked may a message disappear."""

TURNS: Final = 8
"""How often a message may change while it disappears before it has to wait."""

MAX_TRIES: Final = 5
"""After so many defects a scheduled message counts as failed."""

_SERVER: Final[frozenset[Code]] = frozenset({"storage_full", "unavailable", "rate_limited"})
_AGAIN: Final[frozenset[Code]] = _SERVER.union(("stale", "internal"))
_SEND: Final = msgspec.json.Decoder(SendMessage)


T = TypeVar("T", Scheduled, Expiry)


class Timers:
    """One worker for all tenants.  Several, on other nodes, do not disturb each other."""

    def __init__(
        self,
        store: MessageStore,
        directory: Directory,
        messages: Messages,
        clock: Clock,
        sleep: Sleep,
        random: Callable[[], float],
        log: FilteringBoundLogger,
    ) -> None:
        self._store = store
        self._directory = directory
        self._messages = messages
        self._clock = clock
        self._random = random
        self._log = log
        self._bell = Bell(sleep)
        self._slots = asyncio.Semaphore(AT_ONCE)
        self._tries: dict[Key, int] = {}
        self._troubles = 0

    def on_commit(self, batch: Sequence[Committed]) -> None:
        """Store listener: something may be due sooner than what is waited for."""
        for committed in batch:
            if any(event.kind == "schedule.created" for event in committed.events):
                self._bell.ring()

    async def run(self) -> None:
        """Work until cancelled."""
        while True:
            await self._bell.wait(await self._look())

    async def _look(self) -> float:
        try:
            pause = await self.step()
        except Exception:  # noqa: BLE001 - the worker outlives every defect, and says so
            self._troubles += 1
            self._log.exception("timers.broken")
            pause = None
        if pause is None:
            return backoff_s(self._troubles, self._random(), base_s=IDLE_S, cap_s=30 * IDLE_S)
        return pause

    async def step(self) -> float | None:
        """Deal with what is due.  Returns how many seconds may pass before the next look; None when
        something was refused that may go through later."""
        now = self._clock.now_ms()
        sends = await self._directory.due(Scheduled, "due", (), now, BATCH)
        ends = await self._directory.due(Expiry, "due", (), now, BATCH)
        due = {row.key() for row in sends} | {row.key() for row in ends}
        self._tries = {key: tries for key, tries in self._tries.items() if key in due}
        done = await asyncio.gather(
            *(self._send_all(rows) for rows in _by_person(sends)),
            *(self._guarded(row, self._expire) for row in ends),
        )
        if not all(done):
            self._troubles += 1
            return None
        self._troubles = 0
        if len(sends) == BATCH or len(ends) == BATCH:
            return 0.0
        return await self._next()

    async def _next(self) -> float:
        sends = await self._directory.scan(Scheduled, (), index="due", limit=1)
        ends = await self._directory.scan(Expiry, (), index="due", limit=1)
        times = [*(row.send_at for row in sends), *(row.at for row in ends)]
        ahead = min(times, default=0) - self._clock.now_ms()
        return min(max(ahead / 1000, 0.01), IDLE_S) if times else IDLE_S

    async def _guarded(self, row: T, deal: Callable[[T], Awaitable[None]]) -> bool:
        key = row.key()
        async with self._slots:
            try:
                await deal(row)
            except Refusal as refusal:
                if refusal.code not in _SERVER:
                    self._tries[key] = self._tries.get(key, 0) + 1
                self._log.warning("timers.refused", table=row.table, code=refusal.code)
                return False
            except Exception:  # noqa: BLE001 - one row must not stop the others
                self._tries[key] = self._tries.get(key, 0) + 1
                self._log.exception("timers.defect", table=row.table)
                return False
        return True

    # --- scheduled messages ----------------------------------------------------------------------

    async def _send_all(self, rows: Iterable[Scheduled]) -> bool:
        """One person's messages, in the order of their times; none overtakes one that has to wait."""
        for row in rows:
            if not await self._guarded(row, self._send):
                return False
        return True

    async def _send(self, due: Scheduled) -> None:
        found = await self._directory.get_versioned(Scheduled, *due.key())
        if found is None or found.record.send_at > self._clock.now_ms():
            return
        row = found.record
        seq, failed = await self._sent(row)
        body = e.ScheduleChanged(
            schedule=row.id, conversation=row.conversation, seq=seq or None, failed=failed
        )
        kind = "schedule.failed" if failed is not None else "schedule.sent"
        await self._append(
            Unit(
                tenant=row.tenant,
                actor=row.user,
                at=self._clock.now_ms(),
                events=(NewEvent(log=row.user, kind=kind, body=e.encode_body(body), actor=row.user),),
                expects=(VersionIs(Scheduled, row.key(), found.version),),
                writes=(Remove(Scheduled, row.key()),),
            )
        )

    async def _sent(self, row: Scheduled) -> tuple[int, Code | None]:
        """The seq of the message, sent now or before a crash; or why there is none and will be none.

        Raises Refusal when it may go through later."""
        user = await self._directory.get(User, row.tenant, row.user)
        if user is None or user.disabled:
            return 0, "forbidden"
        if self._tries.get(row.key(), 0) >= MAX_TRIES:
            return 0, "internal"
        try:
            command = _SEND.decode(row.command)
        except msgspec.DecodeError:
            return 0, "invalid"
        caller = Caller(tenant=row.tenant, user=row.user, device="")
        try:
            return (await self._messages.send(caller, command)).seq, None
        except Refusal as refusal:
            if refusal.code in _AGAIN:
                raise
            return 0, refusal.code

    # --- disappearing messages -------------------------------------------------------------------

    async def _expire(self, due: Expiry) -> None:
        for _ in range(TURNS):
            found = await self._directory.get_versioned(Expiry, *due.key())
            if found is None or found.record.at > self._clock.now_ms():
                return
            if await self._append(await self._end(found)):
                return
        raise Refusal("stale", "Too much changed at once.")

    async def _end(self, found: Versioned[Expiry]) -> Unit:
        """The append that takes the row away, and with it the message if it is still there."""
        row = found.record
        view = await self._store.message(row.conversation, row.seq)
        unit = Unit(
            tenant=row.tenant,
            actor="",
            at=self._clock.now_ms(),
            events=(),
            expects=(VersionIs(Expiry, row.key(), found.version),),
            writes=(Remove(Expiry, row.key()),),
        )
        if view is None or view.fold.deleted_at:
            return unit
        # In the author's name: it was their message, and who does not see them sees none of it.
        event = NewEvent(
            log=row.conversation,
            kind="message.deleted",
            body=e.encode_body(e.MessageDeleted(by_timer=True)),
            actor=view.event.actor,
            target=row.seq,
            erases_target=True,
        )
        return msgspec.structs.replace(
            unit,
            actor=view.event.actor,
            events=(event,),
            expects=(*unit.expects, ViewIs(row.conversation, row.seq, view.fold.version)),
            writes=(*unit.writes, *hanging_on(view)),
        )

    async def _append(self, unit: Unit) -> bool:
        """False when what it rests on has changed.  Raises Refusal."""
        try:
            await self._store.append(unit)
        except Refusal as refusal:
            if refusal.code != "stale":
                raise
            return False
        return True


def _by_person(rows: Iterable[Scheduled]) -> Iterable[Sequence[Scheduled]]:
    people: defaultdict[tuple[str, str], list[Scheduled]] = defaultdict(list)
    for row in rows:
        people[(row.tenant, row.user)].append(row)
    return people.values()
