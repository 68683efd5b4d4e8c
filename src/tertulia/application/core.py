"""How every command is carried out: decide, append, and again when the ground moved.

A handler turns a command into a `Plan` (a pure decision over rows that were read) and the executor
appends it.  The store rechecks what the plan rested on; when that has changed in between, the handler
decides again on fresh rows.
"""

from __future__ import annotations

import hashlib
from collections.abc import Awaitable, Callable

import msgspec

from tertulia.domain.commands import Accepted, Command
from tertulia.domain.errors import Refusal
from tertulia.domain.events import Event
from tertulia.domain.unit import Committed, EpochIs, Expect, NewEvent, Unit, Write
from tertulia.ports.clock import Clock
from tertulia.ports.message_store import MessageStore

ATTEMPTS = 8


class Caller(msgspec.Struct, frozen=True, kw_only=True):
    """Who asks: a signed-in user on one of their devices."""

    tenant: str
    user: str
    device: str
    session: str = ""
    operator: bool = False


class Plan(msgspec.Struct, frozen=True, kw_only=True):
    """What a handler decided.

    `events` empty: nothing to do, and `answer` is the whole answer.  Otherwise the answer is made from
    the first committed event by `answer_from`, which for a repeat is the event of the first time.
    """

    events: tuple[NewEvent, ...] = ()
    expects: tuple[Expect, ...] = ()
    writes: tuple[Write, ...] = ()
    own_cursor: bool = True
    answer: Accepted = Accepted()
    answer_from: Callable[[Event], Accepted] | None = None


class KeyedHash:
    """Keyed hashes (BLAKE2b, 16 bytes) under the server's secret: idempotency keys, code digests."""

    def __init__(self, secret: bytes) -> None:
        self._key = hashlib.blake2b(secret, digest_size=32, person=b"tertulia-keyed").digest()

    def of(self, data: bytes) -> bytes:
        """16 bytes for one whole text."""
        return hashlib.blake2b(data, key=self._key, digest_size=16).digest()

    def digest(self, *parts: str | bytes) -> bytes:
        """16 bytes; each part goes in with its length, so that no two lists of parts collide."""
        whole = b""
        for part in parts:
            data = part.encode() if isinstance(part, str) else part
            whole += b"%d:%b" % (len(data), data)
        return self.of(whole)


_encode = msgspec.json.Encoder(order="deterministic").encode


def accepted(event: Event, *, repeated: bool = False, created: str = "", secret: str = "") -> Accepted:
    """The answer that names an event."""
    return Accepted(
        conversation=event.log,
        seq=event.seq,
        at=event.at,
        repeated=repeated,
        created=created,
        secret=secret,
    )


class Executor:
    """Runs plans against the store with idempotency and retries."""

    def __init__(
        self, store: MessageStore, clock: Clock, keyed: KeyedHash, forget: Callable[[str], None]
    ) -> None:
        self._store = store
        self._clock = clock
        self._forget = forget
        self.keyed = keyed

    def idempotency(self, caller: Caller, command: Command) -> tuple[bytes, bytes]:
        """(key, request) for the store; (b"", b"") when the command carries no `client_id`."""
        client_id = command.client_id
        if client_id is None:
            return b"", b""
        if command.ref is not None:
            command = msgspec.structs.replace(command, ref=None)
        # None of the three can hold a NUL, and JSON neither: no two texts are alike by accident.
        name = f"idem\0{caller.tenant}\0{caller.user}\0{client_id}".encode()
        return self.keyed.of(name), self.keyed.of(b"request\0" + _encode(command))

    def unit(self, caller: Caller, command: Command, plan: Plan, idem: tuple[bytes, bytes]) -> Unit:
        """The append that carries out a plan."""
        return Unit(
            tenant=caller.tenant,
            actor=caller.user,
            at=self._clock.now_ms(),
            events=plan.events,
            expects=plan.expects,
            writes=plan.writes,
            idem=idem[0],
            request=idem[1],
            client_id=command.client_id or "",
            own_cursor=plan.own_cursor,
        )

    async def run(
        self,
        caller: Caller,
        command: Command,
        decide: Callable[[], Awaitable[Plan]],
        answer_from: Callable[[Event], Accepted] | None = None,
    ) -> Accepted:
        """Carry out one command.

        Raises Refusal.  A `client_id` that was used before gets its first answer, also when the command
        would be refused, or would change nothing, by now; `answer_from` makes it from the first event."""
        idem = self.idempotency(caller, command)
        for attempt in range(ATTEMPTS):
            try:
                plan = await decide()
            except Refusal:
                first = await self._first(idem)
                if first is None:
                    raise
                return self.answer(Plan(answer_from=answer_from), first)
            if plan.answer_from is None and answer_from is not None:
                plan = msgspec.structs.replace(plan, answer_from=answer_from)
            if not plan.events and not plan.writes:
                first = await self._first(idem)
                return plan.answer if first is None else self.answer(plan, first)
            try:
                committed = await self._store.append(self.unit(caller, command, plan, idem))
            except Refusal as refusal:
                if refusal.code != "stale" or attempt == ATTEMPTS - 1:
                    raise
                for expect in plan.expects:
                    if isinstance(expect, EpochIs):
                        self._forget(expect.log)
                continue
            return self.answer(plan, committed)
        raise Refusal("stale", "Too much changed at once; try again.", retry_after_ms=100)

    async def _first(self, idem: tuple[bytes, bytes]) -> Committed | None:
        first = await self._store.outcome(*idem) if idem[0] else None
        return first if first is not None and first.events else None

    @staticmethod
    def answer(plan: Plan, committed: Committed) -> Accepted:
        """The answer for a committed plan."""
        if not committed.events:
            return plan.answer
        event = committed.events[0]
        made = plan.answer_from(event) if plan.answer_from else accepted(event)
        return msgspec.structs.replace(made, repeated=True) if committed.repeated else made
