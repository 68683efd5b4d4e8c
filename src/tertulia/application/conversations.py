"""Conversations: opening, creating, describing and deleting them, and one's own preferences."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Final

import msgspec

from tertulia.application.access import Access, expects
from tertulia.application.core import Caller, Executor, Plan, accepted
from tertulia.application.rows import (
    addressees,
    check_room,
    event_in,
    joining,
    left,
    parting,
    topics_of,
)
from tertulia.application.tenants import Tenants
from tertulia.application.turns import Turns
from tertulia.domain import commands as c
from tertulia.domain import events as e
from tertulia.domain import membership as rules
from tertulia.domain.errors import Refusal, not_found
from tertulia.domain.profile_rules import normalise_name
from tertulia.domain.records import Conversation, Member, Outbox
from tertulia.domain.unit import Expect, NewEvent, Put, Remove, SetCursor, Unit, VersionIs, Write
from tertulia.domain.visibility import pair_of
from tertulia.ports.clock import Clock
from tertulia.ports.ids import Ids
from tertulia.ports.message_store import Directory, MessageStore

CHUNK: Final = 500
"""Members whose logs one commit tells of a deletion."""

SWEEP_TOPIC: Final = "conversation.sweep"
"""Outbox topic of a deletion that was not finished; `Conversations.sweep` goes on with it."""

SWEEP_AFTER_MS: Final = 60_000


class Sweep(msgspec.Struct, frozen=True):
    """Payload of `SWEEP_TOPIC` (JSON): a deleted conversation that may have members left."""

    conversation: str
    actor: str


def _created(event: e.Event) -> c.Accepted:
    return accepted(event, created=event.log)


class Conversations:
    """Handlers of the conversation commands; each returns the Accepted of its first event."""

    def __init__(
        self,
        store: MessageStore,
        directory: Directory,
        access: Access,
        tenants: Tenants,
        executor: Executor,
        clock: Clock,
        ids: Ids,
        turns: Turns,
    ) -> None:
        self._store = store
        self._directory = directory
        self._access = access
        self._tenants = tenants
        self._executor = executor
        self._clock = clock
        self._ids = ids
        self._turns = turns

    # --- creating --------------------------------------------------------------------------------

    async def open_direct(self, caller: Caller, command: c.OpenDirect) -> c.Accepted:
        """The one direct conversation with someone (oneself: saved messages), made when there is none.

        Raises Refusal `not_found` for people who do not exist, are off or blocked the caller,
        `forbidden` for those whom the caller blocked, `limit_reached`."""
        pair = pair_of(caller.user, command.user)

        async def plan() -> Plan:
            (person,), rests = await addressees(self._directory, caller, (command.user,))
            refusal = rules.check_reachable(person)
            if refusal is not None:
                raise refusal
            found = await self._directory.scan(Conversation, (caller.tenant, pair), index="pair", limit=1)
            if found:
                there = found[0].id
                return Plan(answer=c.Accepted(conversation=there, created=there, repeated=True))
            await check_room(self._directory, caller)
            row = self._new(caller, "direct", pair=pair)
            both = dict.fromkeys((caller.user, command.user))
            return self._found(caller, row, dict.fromkeys(both, "member"), rests)

        async with self._turns.of(caller.tenant, pair):
            try:
                return await self._executor.run(caller, command, plan, _created)
            except Refusal as refusal:
                if refusal.code != "conflict":
                    raise
            # Elsewhere the other person was first; theirs is there now.
            return await self._executor.run(caller, command, plan, _created)

    async def create_group(self, caller: Caller, command: c.CreateGroup) -> c.Accepted:
        """Make a group that the caller owns.

        Raises Refusal `not_found` or `forbidden` (field `members`) when one of the people may not be
        added by the caller, `limit_reached`."""

        async def plan() -> Plan:
            row = self._new(
                caller,
                "group",
                name=normalise_name(command.name),
                description=rules.check_description(command.description),
                history=command.history,
            )
            return await self._with_members(caller, row, command.members)

        return await self._executor.run(caller, command, plan, _created)

    async def create_channel(self, caller: Caller, command: c.CreateChannel) -> c.Accepted:
        """Make a channel that the caller owns; a public one is listed and open to all.

        Raises Refusal as `create_group`, and `conflict` (field `slug`) for a slug that is in use."""

        async def plan() -> Plan:
            await self._check_slug(caller.tenant, command.slug)
            row = self._new(
                caller,
                "channel",
                name=normalise_name(command.name),
                description=rules.check_description(command.description),
                history="all",
                slug=command.slug,
                public=command.public,
                listed=int(command.public),
            )
            return await self._with_members(caller, row, command.members)

        try:
            return await self._executor.run(caller, command, plan, _created)
        except Refusal as refusal:
            raise (_slug_taken() if refusal.code == "conflict" else refusal) from None

    async def create_topic(self, caller: Caller, command: c.CreateTopic) -> c.Accepted:
        """Make a topic of a channel: a log of its own for the channel's members."""

        async def plan() -> Plan:
            standing = await self._access.require(caller, command.conversation, "create_topic")
            channel = standing.home
            name = normalise_name(command.name)
            count = await self._directory.count(Conversation, (caller.tenant, channel.id), index="parent")
            if count >= rules.MAX_TOPICS:
                raise Refusal("limit_reached", f"A channel has at most {rules.MAX_TOPICS} topics.")
            row = self._new(caller, "topic", name=name, parent=channel.id, history="all")
            told = e.TopicCreated(topic=row.id, name=name)
            return Plan(
                events=(
                    _creation(caller, row),
                    event_in(channel.id, "topic.created", told, caller.user),
                ),
                expects=expects(standing),
                writes=(Put(row), SetCursor(log=row.id, user=caller.user, read=1, received=1)),
            )

        return await self._executor.run(caller, command, plan, _created)

    def _new(
        self,
        caller: Caller,
        kind: e.ConversationKind,
        *,
        name: str = "",
        description: str = "",
        pair: str = "",
        slug: str = "",
        parent: str = "",
        public: bool = False,
        listed: int = 0,
        history: str = "joined",
    ) -> Conversation:
        return Conversation(
            tenant=caller.tenant,
            id=self._ids.new_id(),
            kind=kind,
            created_at=self._clock.now_ms(),
            created_by=caller.user,
            name=name,
            description=description,
            pair=pair,
            slug=slug,
            parent=parent,
            public=public,
            listed=listed,
            history="all" if history == "all" else "joined",
        )

    async def _with_members(self, caller: Caller, row: Conversation, members: Sequence[str]) -> Plan:
        others = [user for user in dict.fromkeys(members) if user != caller.user]
        tenant = await self._tenants.get(caller.tenant)
        if 1 + len(others) > tenant.max_members:
            raise rules.too_many_members(tenant.max_members)
        people, rests = await addressees(self._directory, caller, others)
        for person in people:
            refusal = rules.check_addable(person, "members")
            if refusal is not None:
                raise refusal
        await check_room(self._directory, caller)
        roles: dict[str, e.Role] = {caller.user: "owner", **dict.fromkeys(others, "member")}
        return self._found(caller, row, roles, rests)

    def _found(
        self, caller: Caller, row: Conversation, roles: dict[str, e.Role], rests: tuple[Expect, ...]
    ) -> Plan:
        """A conversation that begins with these members; it has read what it begins with."""
        added: list[NewEvent] = []
        told: list[NewEvent] = []
        writes: list[Write] = [Put(row)]
        for user, role in roles.items():
            member = Member(
                tenant=row.tenant, conversation=row.id, user=user, role=role, joined_at=row.created_at
            )
            body = e.MemberAdded(user=user, role=role, by="create")
            (in_log, in_own), rows = joining(row, member, body, caller.user)
            added.append(in_log)
            told.append(in_own)
            writes += rows
        return Plan(events=(_creation(caller, row), *added, *told), expects=rests, writes=tuple(writes))

    async def _check_slug(self, tenant: str, slug: str) -> None:
        if await self._directory.scan(Conversation, (tenant, slug), index="slug", limit=1):
            raise _slug_taken()

    # --- changing --------------------------------------------------------------------------------

    async def update(self, caller: Caller, command: c.UpdateConversation) -> c.Accepted:
        """Change the fields that are given; the event carries those that are different.

        A direct conversation has only `message_ttl_s` to change, a topic what describes it, a group
        neither `slug` nor `public`.  Raises Refusal `invalid` for other fields, `conflict` (field `slug`)
        for a slug that is in use."""

        async def plan() -> Plan:
            standing = await self._access.require(caller, command.conversation, "update")
            there = await self._directory.get_versioned(Conversation, caller.tenant, command.conversation)
            if there is None:
                raise not_found()
            changes = rules.conversation_changes(there.record, command)
            if changes == e.ConversationUpdated():
                return Plan(answer=c.Accepted(conversation=command.conversation, repeated=True))
            if changes.slug is not None:
                await self._check_slug(caller.tenant, changes.slug)
            event = event_in(
                command.conversation, "conversation.updated", changes, caller.user, bumps_epoch=True
            )
            return Plan(
                events=(event,),
                expects=(*expects(standing), VersionIs(Conversation, there.record.key(), there.version)),
                writes=(Put(rules.changed_conversation(there.record, changes)),),
            )

        async with self._turns.of(command.conversation):
            try:
                return await self._executor.run(caller, command, plan)
            except Refusal as refusal:
                raise (_slug_taken() if refusal.code == "conflict" else refusal) from None

    async def delete(self, caller: Caller, command: c.DeleteConversation) -> c.Accepted:
        """Delete a conversation or topic for all.

        Nobody can reach it from the first commit on; members' own logs learn of it in chunks of 500, and
        what a crash leaves undone waits in the outbox (`SWEEP_TOPIC`)."""
        rest = False

        async def plan() -> Plan:
            nonlocal rest
            standing = await self._access.require(caller, command.conversation, "delete")
            there = await self._directory.get_versioned(Conversation, caller.tenant, command.conversation)
            if there is None:
                raise not_found()
            now = self._clock.now_ms()
            row = rules.deleted_conversation(there.record, now)
            events, writes, rest = await self._parted(row, caller.user)
            if rest:
                payload = msgspec.json.encode(Sweep(row.id, caller.user))
                writes.append(
                    Put(
                        Outbox(
                            tenant=row.tenant,
                            id=row.id,
                            topic=SWEEP_TOPIC,
                            due_at=now + SWEEP_AFTER_MS,
                            payload=payload,
                            created_at=now,
                        )
                    )
                )
            deleted = event_in(row.id, "conversation.deleted", e.Empty(), caller.user, bumps_epoch=True)
            return Plan(
                events=(deleted, *events),
                expects=(*expects(standing), VersionIs(Conversation, row.key(), there.version)),
                writes=(Put(row), *writes),
            )

        async with self._turns.of(command.conversation):
            answer = await self._executor.run(caller, command, plan)
            if rest:
                await self.sweep(caller.tenant, Sweep(command.conversation, caller.user))
        return answer

    async def sweep(self, tenant: str, sweep: Sweep) -> None:
        """Take the members that are left out of a deleted conversation.  To be repeated after a failure;
        nothing happens when it is done, or when another one is at it.

        Raises Refusal of the store."""
        key = (tenant, sweep.conversation)
        while True:
            row = await self._directory.get(Conversation, *key)
            todo = await self._directory.get_versioned(Outbox, *key)
            if row is None or not row.deleted_at or todo is None:
                return
            events, writes, rest = await self._parted(row, sweep.actor)
            now = self._clock.now_ms()
            later = msgspec.structs.replace(todo.record, due_at=now + SWEEP_AFTER_MS)
            unit = Unit(
                tenant=tenant,
                actor=sweep.actor,
                at=now,
                events=tuple(events),
                expects=(VersionIs(Outbox, key, todo.version),),
                writes=(*writes, Put(later) if rest else Remove(Outbox, key)),
            )
            try:
                await self._store.append(unit)
            except Refusal as refusal:
                if refusal.code == "stale":
                    return
                raise

    async def _parted(self, row: Conversation, actor: str) -> tuple[list[NewEvent], list[Write], bool]:
        """What takes the first members out of a conversation, and whether more are left."""
        members = await self._directory.scan(Member, (row.tenant, row.id), limit=CHUNK + 1)
        topics = await topics_of(self._directory, row.tenant, row)
        events: list[NewEvent] = []
        writes: list[Write] = []
        for member in members[:CHUNK]:
            events.append(left(row.id, member.user, actor))
            writes += await parting(self._directory, row.tenant, row.id, member.user, topics)
        return events, writes, len(members) > CHUNK

    # --- one's own view --------------------------------------------------------------------------

    async def set_preferences(self, caller: Caller, command: c.SetPreferences) -> c.Accepted:
        """Change how a conversation notifies and where it stands in one's list; fields that are absent
        stay.  The event, in the caller's own log, carries all of them."""

        async def plan() -> Plan:
            standing = await self._access.standing(caller, command.conversation)
            if standing.conversation.kind == "topic":
                raise Refusal("invalid", "A topic has the preferences of its channel.", field="conversation")
            key = (caller.tenant, command.conversation, caller.user)
            there = await self._directory.get_versioned(Member, *key)
            if there is None:
                raise Refusal("forbidden", "Join the channel first.")
            before = there.record
            after = msgspec.structs.replace(
                before,
                notify=before.notify if command.notify is None else command.notify,
                muted_until=before.muted_until if command.muted_until is None else command.muted_until,
                pinned=before.pinned if command.pinned is None else command.pinned,
                archived=before.archived if command.archived is None else command.archived,
            )
            if after == before:
                return Plan(answer=c.Accepted(conversation=command.conversation, repeated=True))
            body = e.PreferencesUpdated(
                conversation=command.conversation,
                notify=after.notify,
                muted_until=after.muted_until,
                pinned=after.pinned,
                archived=after.archived,
            )
            return Plan(
                events=(event_in(caller.user, "preferences.updated", body, caller.user),),
                expects=(VersionIs(Member, key, there.version),),
                writes=(Put(after),),
            )

        return await self._executor.run(caller, command, plan)


def _creation(caller: Caller, row: Conversation) -> NewEvent:
    body = e.ConversationCreated(
        kind=row.kind,
        name=row.name,
        description=row.description,
        slug=row.slug,
        public=row.public,
        history=row.history,
        parent=row.parent or None,
    )
    return NewEvent(
        log=row.id,
        kind="conversation.created",
        body=e.encode_body(body),
        actor=caller.user,
        bumps_epoch=True,
        creates=row.kind,
        room=row.parent,
    )


def _slug_taken() -> Refusal:
    return Refusal("conflict", "This slug is in use.", field="slug")
