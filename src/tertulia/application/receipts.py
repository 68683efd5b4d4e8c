"""Received and read: a member's two cursors into each log.

Cursors are state, not events (design rule 9).  A mark is answered as soon as it is known to be valid;
the write follows.  While one write of a cursor is under way, later marks of it are joined into the
next, so that a device that reads fast costs few commits.  A crash in between can leave a cursor
behind, never ahead: the device marks it again.
"""

from __future__ import annotations

import asyncio
from collections.abc import Iterable
from typing import Final

import msgspec

from tertulia.application.access import Access, expects
from tertulia.application.core import Caller, Executor, Plan
from tertulia.domain import commands as c
from tertulia.domain.errors import Refusal, not_found
from tertulia.domain.permissions import Standing
from tertulia.domain.records import Cursor
from tertulia.domain.unit import SetCursor
from tertulia.ports.message_store import Directory, MessageStore

MAX_MOVING: Final = 20_000
"""Cursors that may be on their way to the disk at once; beyond that marks are refused."""


class _Key(msgspec.Struct, frozen=True):
    tenant: str
    log: str
    user: str
    thread: int


class _Move:
    """Where a cursor is to go, and the task that brings it there."""

    __slots__ = ("read", "received", "task")

    def __init__(self, read: int, received: int) -> None:
        self.read = read
        self.received = received
        self.task: asyncio.Task[None] | None = None


class Receipts:
    """Handlers of the cursor commands.  To be used on one event loop."""

    def __init__(
        self,
        store: MessageStore,
        directory: Directory,
        access: Access,
        executor: Executor,
        *,
        max_moving: int = MAX_MOVING,
    ) -> None:
        self._store = store
        self._directory = directory
        self._access = access
        self._executor = executor
        self._max_moving = max_moving
        self._moving: dict[_Key, _Move] = {}
        self.dropped: int = 0
        """Moves that were answered and then refused by the store."""

    async def mark_read(self, caller: Caller, command: c.MarkRead) -> c.Accepted:
        """Everything up to `seq` is read, and so received.  A mark behind the cursor changes nothing.

        Raises Refusal `not_found`, `forbidden` (not a member), `invalid` (beyond the log's end),
        `unavailable`."""
        await self._mark(caller, command.conversation, command.thread, read=command.seq, received=command.seq)
        return c.Accepted(conversation=command.conversation)

    async def mark_received(self, caller: Caller, command: c.MarkReceived) -> c.Accepted:
        """Everything up to `seq` has reached one of the caller's devices.  Raises as `mark_read`."""
        await self._mark(caller, command.conversation, None, read=0, received=command.seq)
        return c.Accepted(conversation=command.conversation)

    async def settled(self, caller: Caller, conversation: str) -> None:
        """Wait until every mark that this caller made here so far is on disk or given up."""
        await _end_of(
            move
            for key, move in self._moving.items()
            if key.tenant == caller.tenant and key.user == caller.user and key.log == conversation
        )

    async def close(self) -> None:
        """Write what is under way.  To be called before the store is closed."""
        while self._moving:
            await _end_of(self._moving.values())

    async def _mark(
        self, caller: Caller, conversation: str, thread: int | None, *, read: int, received: int
    ) -> None:
        standing = await self._member(caller, conversation)
        head = await self._store.head(conversation)
        if head is None:
            raise not_found()
        if received > head.last_seq:
            raise Refusal("invalid", "The conversation is not that long.", field="seq")
        if thread is not None:
            # Also of a root that was deleted: its replies stay.
            root = await self._store.message(conversation, thread)
            if root is None or root.event.thread or thread <= standing.floor:
                raise not_found("message")
        key = _Key(caller.tenant, conversation, caller.user, thread or 0)
        if key not in self._moving:
            there = await self._directory.get(Cursor, caller.tenant, conversation, caller.user, key.thread)
            if there is not None and there.read >= read and there.received >= received:
                return
        move = self._moving.get(key)
        if move is not None:
            move.read, move.received = max(move.read, read), max(move.received, received)
            return
        if len(self._moving) >= self._max_moving:
            raise Refusal("unavailable", "Too many cursors move at once.", retry_after_ms=1000)
        move = self._moving[key] = _Move(read, received)
        move.task = asyncio.create_task(self._bring(key, caller, move))

    async def _member(self, caller: Caller, conversation: str) -> Standing:
        standing = await self._access.require(caller, conversation, "read")
        if standing.member is None:
            raise Refusal("forbidden", "Join the channel first.")
        return standing

    async def _bring(self, key: _Key, caller: Caller, move: _Move) -> None:
        written = (0, 0)
        try:
            while (move.read, move.received) != written:
                written = (move.read, move.received)
                await self._write(key, caller, *written)
        except Refusal:
            # Whoever was removed meanwhile has no cursor; in all other cases the next mark catches up.
            self.dropped += 1
        finally:
            del self._moving[key]

    async def _write(self, key: _Key, caller: Caller, read: int, received: int) -> None:
        async def plan() -> Plan:
            standing = await self._member(caller, key.log)
            write = SetCursor(log=key.log, user=key.user, read=read, received=received, thread=key.thread)
            return Plan(expects=expects(standing), writes=(write,))

        # Without the `client_id` of the marks: joined ones have several, and moving twice is moving once.
        command = c.MarkRead(conversation=key.log, seq=max(read, received), thread=key.thread or None)
        await self._executor.run(caller, command, plan)


async def _end_of(moves: Iterable[_Move]) -> None:
    tasks = [move.task for move in moves if move.task is not None]
    if tasks:
        await asyncio.wait(tasks)
