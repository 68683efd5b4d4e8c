"""What a device needs to be up to date: its logs' heads, and what follows the positions it holds."""

from __future__ import annotations

import msgspec

from tertulia.application.access import Access
from tertulia.application.core import Caller
from tertulia.domain import settings as settings_rules
from tertulia.domain.events import Event
from tertulia.domain.records import Block, Conversation, Hidden, Member, Settings
from tertulia.domain.unit import Head
from tertulia.domain.visibility import hidden_by_block
from tertulia.ports.message_store import Directory, MessageStore

MAX_CONVERSATIONS = 10_000
MAX_HIDDEN = 100_000


class Opening(msgspec.Struct, frozen=True, kw_only=True):
    """Where a device stands when it connects.

    `rooms` are the ids to follow (the personal one first), `heads` those of every log in them, topics
    included."""

    rooms: tuple[str, ...]
    heads: tuple[Head, ...]
    blocked: frozenset[str]
    receipts: bool


class Sync:
    """Reads for devices that (re)connect, whatever the protocol."""

    def __init__(self, store: MessageStore, directory: Directory, access: Access) -> None:
        self._store = store
        self._directory = directory
        self._access = access

    @property
    def generation(self) -> str:
        return self._store.generation

    async def opening(self, caller: Caller) -> Opening:
        """The caller's logs and how they are to be shown."""
        tenant, user = caller.tenant, caller.user
        members = await self._directory.scan(Member, (tenant, user), index="user", limit=MAX_CONVERSATIONS)
        rooms = (user, *(member.conversation for member in members))
        heads = [head for head in await self._store.heads(rooms) if head is not None]
        for channel in [head.log for head in heads if head.kind == "channel"]:
            topics = await self._directory.scan(Conversation, (tenant, channel), index="parent")
            there = [topic.id for topic in topics if not topic.deleted_at]
            if there:
                found = await self._store.heads(there)
                heads += [head for head in found if head is not None]
        document = await self._directory.get(Settings, tenant, user)
        privacy = settings_rules.read(document.document if document is not None else None).privacy
        return Opening(
            rooms=rooms,
            heads=tuple(heads),
            blocked=await self.blocked(caller),
            receipts=privacy.read_receipts,
        )

    async def heads(self, logs: list[str]) -> list[Head]:
        """Where these logs of the caller stand now.  The commit listeners know of all that is below: whoever
        holds back live events while this is read has them all, and none comes again later."""
        found = await self._store.heads(logs)
        await self._store.settled()
        return [head for head in found if head is not None]

    async def blocked(self, caller: Caller) -> frozenset[str]:
        """Whom the caller blocked."""
        rows = await self._directory.scan(Block, (caller.tenant, caller.user))
        return frozenset(row.other for row in rows)

    async def head(self, caller: Caller, log: str) -> int:
        """The last seq of a log; see `heads` for what that promises.  Raises Refusal `not_found`."""
        if log != caller.user:
            await self._access.require(caller, log, "read")
        head = await self._store.head(log)
        await self._store.settled()
        return head.last_seq if head is not None else 0

    async def events(self, caller: Caller, log: str, after: int, limit: int) -> list[Event]:
        """The events that follow `after`, every position among them: those that the caller may not see
        have no body.

        Raises Refusal `not_found` for a log that is not the caller's to read."""
        if log == caller.user:
            return await self._store.events(log, after, limit)
        standing = await self._access.require(caller, log, "read")
        events = await self._store.events(log, after, limit)
        if not events:
            return events
        blocked = await self.blocked(caller)
        rows = await self._directory.scan(Hidden, (caller.tenant, caller.user, log), limit=MAX_HIDDEN)
        hidden = {row.seq for row in rows}
        floor = standing.floor
        return [
            without_body(event)
            if event.seq <= floor
            or event.seq in hidden
            or (event.kind == "message.updated" and (event.target in hidden or event.target <= floor))
            or (event.actor in blocked and hidden_by_block(event))
            else event
            for event in events
        ]


def without_body(event: Event) -> Event:
    """The position alone."""
    return msgspec.structs.replace(event, body=None)
