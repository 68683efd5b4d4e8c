"""What a device needs to be up to date: where its logs stand, and what follows the positions it holds."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import msgspec

from tertulia.application.access import Access
from tertulia.application.core import Caller
from tertulia.domain import settings as settings_rules
from tertulia.domain.events import Event
from tertulia.domain.records import Block, Conversation, Cursor, Hidden, Key, Member, Record, Settings
from tertulia.domain.unit import Head
from tertulia.domain.visibility import Floor, beneath, hidden_by_block
from tertulia.ports.message_store import Directory, MessageStore

MAX_CONVERSATIONS = 10_000
MAX_HIDDEN = 100_000


class Opening(msgspec.Struct, frozen=True, kw_only=True):
    """What a device that connects is to be told of, and how.

    `rooms` are the ids to follow (the personal one first); `logs` all logs in them, topics included, each
    with its room; `floors` where the caller's history begins in those that they joined later."""

    rooms: tuple[str, ...]
    logs: Mapping[str, str]
    floors: Mapping[str, Floor]
    blocked: frozenset[str]
    receipts: bool


class OwnHead(Head, frozen=True, kw_only=True, gc=False):
    """Where a log stands, and where its reader stands in it."""

    read: int = 0
    received: int = 0
    unread: int = 0


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
        """The caller's logs and how they are to be shown; those of deleted conversations left out."""
        tenant, user = caller.tenant, caller.user
        members = await self._directory.scan(Member, (tenant, user), index="user", limit=MAX_CONVERSATIONS)
        wanted: list[tuple[type[Record], Key]] = [
            (Conversation, (tenant, member.conversation)) for member in members
        ]
        _, found = await self._directory.snapshot((), [*wanted, (Settings, (tenant, user))])
        *rows, document = [row.record if row is not None else None for row in found]
        rooms, logs, floors = [user], {user: user}, dict[str, Floor]()
        for member, row in zip(members, rows, strict=True):
            if not isinstance(row, Conversation) or row.deleted_at:
                continue
            rooms.append(row.id)
            logs[row.id] = row.id
            if member.since:
                floors[row.id] = Floor(member.since, row.history == "joined")
            if row.kind == "channel":
                topics = await self._directory.scan(Conversation, (tenant, row.id), index="parent")
                logs.update((topic.id, row.id) for topic in topics if not topic.deleted_at)
        settings = settings_rules.read(document.document if isinstance(document, Settings) else None)
        return Opening(
            rooms=tuple(rooms),
            logs=logs,
            floors=floors,
            blocked=await self.blocked(caller),
            receipts=settings.privacy.read_receipts,
        )

    async def heads(self, caller: Caller, logs: Sequence[str]) -> list[OwnHead]:
        """Where these logs of the caller stand now.  The commit listeners know of all that is below: whoever
        holds back live events while this is read has them all, and none comes again later."""
        tenant, user = caller.tenant, caller.user
        heads, rows = await self._directory.snapshot(logs, [(Cursor, (tenant, log, user, 0)) for log in logs])
        await self._store.settled()
        return [
            _own(head, row.record if row is not None else None)
            for head, row in zip(heads, rows, strict=True)
            if head is not None and head.tenant == tenant
        ]

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
            if beneath(event, floor)
            or event.seq in hidden
            or (event.kind == "message.updated" and event.target in hidden)
            or (event.actor in blocked and hidden_by_block(event))
            else event
            for event in events
        ]


def without_body(event: Event) -> Event:
    """The position alone."""
    return msgspec.structs.replace(event, body=None)


def _own(head: Head, cursor: Record | None) -> OwnHead:
    fields = {name: getattr(head, name) for name in head.__struct_fields__}
    if not isinstance(cursor, Cursor):
        return OwnHead(**fields, unread=head.message_count)
    unread = head.message_count - cursor.ordinal
    return OwnHead(**fields, read=cursor.read, received=cursor.received, unread=unread)
