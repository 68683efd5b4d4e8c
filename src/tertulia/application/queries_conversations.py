"""Conversations as one person sees them: lists, one document, members, receipts, invites."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from typing import Final

from tertulia.application.access import Access
from tertulia.application.core import Caller
from tertulia.application.profiles import Profiles
from tertulia.application.queries_docs import (
    ConversationDoc,
    InviteDoc,
    MemberDoc,
    MessageDoc,
    PreferencesDoc,
    ReceiptDoc,
)
from tertulia.application.queries_messages import MessageQueries
from tertulia.domain import settings as settings_rules
from tertulia.domain.errors import Refusal
from tertulia.domain.membership import is_live
from tertulia.domain.permissions import Standing, capabilities
from tertulia.domain.records import Conversation, Cursor, Invite, Key, Member, Mention, Record, Settings
from tertulia.domain.unit import EpochIs, Head
from tertulia.ports.clock import Clock
from tertulia.ports.message_store import Directory

MAX_MENTIONS: Final = 1000
"""Unread mentions are counted up to here."""

MAX_LISTED_LOOKED: Final = 2000
"""Channels that one request for the directory looks through."""

_ATTEMPTS: Final = 5

_Wanted = tuple[type[Record], Key]


class ConversationQueries:
    """Reads of conversations.  All raise Refusal `not_found` for what the caller may not see."""

    def __init__(
        self,
        directory: Directory,
        access: Access,
        profiles: Profiles,
        messages: MessageQueries,
        clock: Clock,
    ) -> None:
        self._directory = directory
        self._access = access
        self._profiles = profiles
        self._messages = messages
        self._clock = clock

    # --- lists -----------------------------------------------------------------------------------

    async def mine(
        self, caller: Caller, *, after: str = "", limit: int = 50
    ) -> tuple[list[ConversationDoc], str]:
        """The conversations that the caller is a member of, oldest first, without topics; and where the
        next page begins ("": nowhere)."""
        prefix = (caller.tenant, caller.user)
        rows = await self._directory.scan(
            Member, prefix, index="user", after=(*prefix, after) if after else None, limit=limit + 1
        )
        page = [row.conversation for row in rows[:limit]]
        return await self._visible(caller, page), page[-1] if len(rows) > limit else ""

    async def topics(
        self, caller: Caller, channel: str, *, after: str = "", limit: int = 50
    ) -> tuple[list[ConversationDoc], str]:
        """The topics of a channel, oldest first; and where the next page begins."""
        await self._access.require(caller, channel, "read")
        prefix = (caller.tenant, channel)
        rows = await self._directory.scan(
            Conversation, prefix, index="parent", after=(*prefix, after) if after else None, limit=limit + 1
        )
        page = [row.id for row in rows[:limit]]
        return await self._visible(caller, page), page[-1] if len(rows) > limit else ""

    async def channels(
        self, caller: Caller, text: str = "", *, after: str = "", limit: int = 50
    ) -> tuple[list[ConversationDoc], str]:
        """The public channels whose name or slug holds `text` in any case, oldest first; and where the
        next page begins.  Looks through a bounded number, so that a page can be empty and not the last."""
        prefix = (caller.tenant, 1)
        words = text.casefold().removeprefix("#").strip()
        found: list[str] = []
        looked = 0
        more = True
        while more and len(found) < limit and looked < MAX_LISTED_LOOKED:
            rows = await self._directory.scan(
                Conversation, prefix, index="listed", after=(*prefix, after) if after else None, limit=500
            )
            more = len(rows) == 500
            for n, row in enumerate(rows):
                looked, after = looked + 1, row.id
                if not row.deleted_at and (words in row.name.casefold() or words in row.slug):
                    found.append(row.id)
                    if len(found) == limit:
                        more = more or n + 1 < len(rows)
                        break
        return await self._visible(caller, found), after if more else ""

    async def get(self, caller: Caller, conversation: str) -> ConversationDoc:
        """One conversation or topic."""
        (doc,) = await self._documents(caller, [await self._access.require(caller, conversation, "read")])
        return doc

    async def preferences(self, caller: Caller, conversation: str) -> PreferencesDoc:
        """The caller's own view of a conversation; a topic has that of its channel."""
        standing = await self._access.require(caller, conversation, "read")
        member = await self._directory.get(Member, caller.tenant, standing.home.id, caller.user)
        return _preferences(member)

    # --- people ------------------------------------------------------------------------------------

    async def members(
        self, caller: Caller, conversation: str, *, after: str = "", limit: int = 50
    ) -> tuple[list[MemberDoc], str]:
        """The members by user id; and where the next page begins.  Of those who blocked the caller no
        more is shown than that they are there."""
        standing = await self._access.require(caller, conversation, "read")
        rows, following = await self._member_rows(caller, standing, after, limit)
        profiles = await self._profiles.many(caller, [row.user for row in rows])
        items: list[MemberDoc] = []
        for row in rows:
            known = profiles.get(row.user)
            items.append(
                MemberDoc(
                    user=row.user,
                    role=row.role,
                    joined_at=row.joined_at,
                    handle=known.handle if known is not None else "",
                    name=known.name if known is not None else "",
                    photo=known.photo if known is not None else "",
                )
            )
        return items, following

    async def receipts(
        self, caller: Caller, conversation: str, *, after: str = "", limit: int = 50
    ) -> tuple[list[ReceiptDoc], str]:
        """How far the members have received and read, by user id; and where the next page begins.

        Who does not share what they have read is told nothing of others either."""
        standing = await self._access.require(caller, conversation, "read")
        if standing.member is None:
            raise Refusal("forbidden", "Join the channel first.")
        members, following = await self._member_rows(caller, standing, after, limit)
        tenant = caller.tenant
        wanted: list[_Wanted] = [(Settings, (tenant, caller.user))]
        for member in members:
            wanted.append((Cursor, (tenant, conversation, member.user, 0)))
            wanted.append((Settings, (tenant, member.user)))
        _, rows = await self._directory.snapshot((), wanted)
        found = [row.record if row is not None else None for row in rows]
        mine = _shares(found[0])
        items: list[ReceiptDoc] = []
        for n, member in enumerate(members):
            cursor, settings = found[1 + 2 * n], found[2 + 2 * n]
            if not isinstance(cursor, Cursor):
                items.append(ReceiptDoc(user=member.user, read=0, received=0))
                continue
            shown = member.user == caller.user or (mine and _shares(settings))
            items.append(
                ReceiptDoc(user=member.user, read=cursor.read if shown else 0, received=cursor.received)
            )
        return items, following

    async def invites(
        self, caller: Caller, conversation: str, *, after: str = "", limit: int = 50
    ) -> tuple[list[InviteDoc], str]:
        """The invite links that are still good, oldest first; and where the next page begins.

        Raises Refusal `forbidden` for those who may not make any."""
        await self._access.require(caller, conversation, "invite")
        prefix = (caller.tenant, conversation)
        rows = await self._directory.scan(
            Invite, prefix, after=(*prefix, after) if after else None, limit=limit + 1
        )
        now = self._clock.now_ms()
        items = [
            InviteDoc(
                id=row.id,
                conversation=row.conversation,
                created_by=row.created_by,
                created_at=row.created_at,
                expires_at=row.expires_at,
                max_uses=row.max_uses,
                uses=row.uses,
            )
            for row in rows[:limit]
            if is_live(row, now)
        ]
        return items, rows[limit - 1].id if len(rows) > limit else ""

    async def _member_rows(
        self, caller: Caller, standing: Standing, after: str, limit: int
    ) -> tuple[list[Member], str]:
        prefix = (caller.tenant, standing.home.id)
        rows = await self._directory.scan(
            Member, prefix, after=(*prefix, after) if after else None, limit=limit + 1
        )
        return rows[:limit], rows[limit - 1].user if len(rows) > limit else ""

    # --- documents ---------------------------------------------------------------------------------

    async def _visible(self, caller: Caller, conversations: Sequence[str]) -> list[ConversationDoc]:
        """The documents of those that the caller may read."""

        async def standing(conversation: str) -> Standing | None:
            try:
                return await self._access.require(caller, conversation, "read")
            except Refusal as refusal:
                if refusal.code != "not_found":
                    raise
                return None

        found = await asyncio.gather(*map(standing, conversations))
        return await self._documents(caller, [one for one in found if one is not None])

    async def _documents(self, caller: Caller, standings: Sequence[Standing]) -> list[ConversationDoc]:
        """The documents, each as of one moment: what changed while it was read is read again."""
        docs: dict[str, ConversationDoc] = {}
        todo = list(standings)
        for attempt in range(_ATTEMPTS):
            made = await self._once(caller, todo)
            heads, _ = await self._directory.snapshot([one.conversation.id for one in todo], ())
            again: list[Standing] = []
            for standing, head, doc in zip(todo, heads, made, strict=True):
                docs[doc.id] = doc
                if head is None or head.last_seq != doc.last_seq or not _holds(standing, head):
                    again.append(standing)
            if not again or attempt == _ATTEMPTS - 1:
                break
            todo = [await self._access.require(caller, one.conversation.id, "read") for one in again]
        return [docs[one.conversation.id] for one in standings]

    async def _once(self, caller: Caller, standings: Sequence[Standing]) -> list[ConversationDoc]:
        tenant, user = caller.tenant, caller.user
        wanted: list[_Wanted] = []
        for one in standings:
            wanted += [
                (Conversation, (tenant, one.conversation.id)),
                (Member, (tenant, one.home.id, user)),
                (Cursor, (tenant, one.conversation.id, user, 0)),
            ]
        heads, rows = await self._directory.snapshot([one.conversation.id for one in standings], wanted)
        found = [row.record if row is not None else None for row in rows]
        return list(
            await asyncio.gather(
                *(
                    self._document(caller, one, heads[n], found[n * 3 : n * 3 + 3])
                    for n, one in enumerate(standings)
                )
            )
        )

    async def _document(
        self, caller: Caller, standing: Standing, head: Head | None, rows: Sequence[Record | None]
    ) -> ConversationDoc:
        tenant, user = caller.tenant, caller.user
        row, member, cursor = rows
        if not isinstance(row, Conversation):
            row = standing.conversation
        member = member if isinstance(member, Member) else None
        place = cursor if isinstance(cursor, Cursor) and member is not None else None
        read = place.read if place is not None else 0
        mentions = 0
        if member is not None and head is not None:
            prefix = (tenant, user, row.id)
            personal = await self._directory.scan(Mention, prefix, after=(*prefix, read), limit=MAX_MENTIONS)
            mentions = len(personal) + head.all_count - (place.all_ordinal if place is not None else 0)
        last: MessageDoc | None = await self._messages.last(caller, standing)
        count = head.message_count if head is not None else 0
        return ConversationDoc(
            id=row.id,
            kind=row.kind,
            name=row.name,
            description=row.description,
            photo=row.photo,
            slug=row.slug,
            public=row.public,
            history=row.history,
            message_ttl_s=row.message_ttl_s,
            who_may_send=row.who_may_send,
            parent=row.parent or None,
            peer=standing.peer or None,
            created_at=row.created_at,
            role=member.role if member is not None else None,
            own_capabilities=sorted(capabilities(standing)),
            last_seq=head.last_seq if head is not None else 0,
            message_count=count,
            updated_at=head.updated_at if head is not None else 0,
            read=read,
            received=place.received if place is not None else 0,
            unread=count - (place.ordinal if place is not None else 0) if member is not None else 0,
            mentions=mentions,
            preferences=_preferences(member),
            last_message=last,
            member_count=await self._directory.count(Member, (tenant, standing.home.id)),
        )


def _preferences(member: Member | None) -> PreferencesDoc:
    if member is None:
        return PreferencesDoc()
    return PreferencesDoc(
        notify=member.notify,
        muted_until=member.muted_until,
        pinned=member.pinned,
        archived=member.archived,
    )


def _shares(row: Record | None) -> bool:
    document = row.document if isinstance(row, Settings) else None
    return settings_rules.read(document).privacy.read_receipts


def _holds(standing: Standing, head: Head) -> bool:
    return EpochIs(head.log, head.epoch) in standing.epochs
