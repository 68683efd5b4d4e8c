"""Membership: joining, leaving, adding, removing, roles and invites."""

from __future__ import annotations

from typing import Literal, cast

import msgspec

from tertulia.application.access import Access, expects
from tertulia.application.core import Caller, Executor, Plan, accepted
from tertulia.application.rows import (
    addressees,
    another_owner,
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
from tertulia.domain.permissions import Standing, decide
from tertulia.domain.records import Conversation, Invite, Key, Member, Versioned
from tertulia.domain.unit import EpochIs, Expect, NewEvent, Put, Remove, VersionIs, Write
from tertulia.ports.clock import Clock
from tertulia.ports.ids import Ids
from tertulia.ports.message_store import Directory


class Membership:
    """Handlers of the membership commands; each returns the Accepted of its first event.

    Every change rests on the conversation's epoch and moves it, so that two changes never pass each
    other; within the process they take turns.
    """

    def __init__(
        self,
        directory: Directory,
        access: Access,
        tenants: Tenants,
        executor: Executor,
        clock: Clock,
        ids: Ids,
        turns: Turns,
    ) -> None:
        self._directory = directory
        self._access = access
        self._tenants = tenants
        self._executor = executor
        self._clock = clock
        self._ids = ids
        self._turns = turns

    # --- joining ---------------------------------------------------------------------------------

    async def join(self, caller: Caller, command: c.JoinChannel) -> c.Accepted:
        """Join a public channel.  Nothing happens when the caller is a member already.

        Raises Refusal `not_found`, `invalid` for a topic, `limit_reached`."""

        async def plan() -> Plan:
            standing = await self._access.standing(caller, command.conversation)
            if standing.conversation.kind == "topic":
                raise Refusal("invalid", "Join the channel of this topic.", field="conversation")
            if standing.member is not None:
                return _nothing(command.conversation)
            refusal = decide(standing, "join")
            if refusal is not None:
                raise refusal
            await check_room(self._directory, caller)
            conversation = standing.conversation
            return await self._joining(caller, conversation, caller.user, "member", "join", expects(standing))

        async with self._turns.of(command.conversation):
            return await self._executor.run(caller, command, plan)

    async def add_member(self, caller: Caller, command: c.AddMember) -> c.Accepted:
        """Make someone a member.  Nothing happens when they are one with this role.

        Raises Refusal `not_found` for people whom the caller cannot reach, `forbidden` for those who do
        not want to be added and for roles that the caller may not give, `conflict` for a member with
        another role, `limit_reached`."""

        async def plan() -> Plan:
            standing, actor = await self._acting(caller, command.conversation, "add_members")
            refusal = rules.check_gives(actor, command.role)
            if refusal is not None:
                raise refusal
            there = await self._member(caller, command.conversation, command.user)
            if there is not None:
                if there.record.role == command.role:
                    return _nothing(command.conversation)
                raise Refusal("conflict", "This person is a member with another role.", field="role")
            (person,), rests = await addressees(self._directory, caller, (command.user,))
            refusal = rules.check_addable(person)
            if refusal is not None:
                raise refusal
            rests = (*expects(standing), *rests)
            conversation = standing.conversation
            return await self._joining(caller, conversation, command.user, command.role, "add", rests)

        async with self._turns.of(command.conversation):
            return await self._executor.run(caller, command, plan)

    async def accept_invite(self, caller: Caller, command: c.AcceptInvite) -> c.Accepted:
        """Join by an invite's secret.  A member already takes no use of it.

        Raises Refusal `not_found` for a token that never was, `expired` for one that is no longer good,
        `limit_reached`."""

        async def plan() -> Plan:
            found = await self._invite(caller, command.token)
            if found is None:
                raise not_found("invite")
            tenant, home = caller.tenant, found.conversation
            key = (tenant, home, found.id)
            (head,), (invite, row, member) = await self._directory.snapshot(
                [home],
                [(Invite, key), (Conversation, (tenant, home)), (Member, (tenant, home, caller.user))],
            )
            conversation = row.record if row is not None else None
            if head is None or not isinstance(conversation, Conversation) or conversation.deleted_at:
                raise rules.invite_expired()
            if member is not None:
                return _nothing(home)
            if invite is None or not isinstance(invite.record, Invite):
                raise not_found("invite")
            refusal = rules.check_invite(invite.record, self._clock.now_ms())
            if refusal is not None:
                raise refusal
            await check_room(self._directory, caller)
            used = msgspec.structs.replace(invite.record, uses=invite.record.uses + 1)
            rests = (EpochIs(home, head.epoch), VersionIs(Invite, key, invite.version))
            joins = await self._joining(caller, conversation, caller.user, "member", "invite", rests)
            return msgspec.structs.replace(joins, writes=(*joins.writes, Put(used)))

        known = await self._invite(caller, command.token)
        async with self._turns.of(known.conversation if known is not None else command.token):
            return await self._executor.run(caller, command, plan)

    async def _joining(
        self,
        caller: Caller,
        conversation: Conversation,
        user: str,
        role: e.Role,
        by: Literal["add", "join", "invite"],
        rests: tuple[Expect, ...],
    ) -> Plan:
        """One more member, who has read what was there."""
        tenant = await self._tenants.get(caller.tenant)
        members = await self._directory.count(Member, (caller.tenant, conversation.id))
        if members >= tenant.max_members:
            raise rules.too_many_members(tenant.max_members)
        member = Member(
            tenant=caller.tenant,
            conversation=conversation.id,
            user=user,
            role=role,
            joined_at=self._clock.now_ms(),
        )
        body = e.MemberAdded(user=user, role=role, by=by)
        events, writes = joining(conversation, member, body, caller.user)
        rests = (*rests, VersionIs(Member, member.key(), 0))
        return Plan(events=events, expects=rests, writes=writes)

    # --- leaving ---------------------------------------------------------------------------------

    async def leave(self, caller: Caller, command: c.LeaveConversation) -> c.Accepted:
        """Leave a group or channel; the last one to leave deletes it.

        Raises Refusal `conflict` for the last owner while there are others, `forbidden` for a direct
        conversation."""

        async def plan() -> Plan:
            return await self._leaving(caller, command.conversation)

        async with self._turns.of(command.conversation):
            return await self._executor.run(caller, command, plan)

    async def remove_member(self, caller: Caller, command: c.RemoveMember) -> c.Accepted:
        """Take a weaker member out (owners: anyone); oneself: as `leave`.

        Raises Refusal `not_found` for someone who is not a member, `forbidden`."""

        async def plan() -> Plan:
            if command.user == caller.user:
                return await self._leaving(caller, command.conversation)
            standing, actor = await self._acting(caller, command.conversation, "remove_members")
            target = await self._member(caller, command.conversation, command.user)
            if target is None:
                raise not_found("member")
            refusal = rules.check_remove(actor, target.record)
            if refusal is not None:
                raise refusal
            return await self._parting(caller, standing, target.record)

        async with self._turns.of(command.conversation):
            return await self._executor.run(caller, command, plan)

    async def _leaving(self, caller: Caller, conversation: str) -> Plan:
        standing = await self._access.standing(caller, conversation)
        if standing.home.kind == "direct":
            raise Refusal("forbidden", "A direct conversation cannot be left; archive it instead.")
        refusal = decide(standing, "leave")
        if refusal is not None:
            raise refusal
        member = standing.member
        assert member is not None
        owns = member.role == "owner"
        tenant = caller.tenant
        alone = owns and len(await self._directory.scan(Member, (tenant, conversation), limit=2)) < 2
        others = owns and await another_owner(self._directory, tenant, conversation, caller.user)
        refusal = rules.check_leave(member, alone=alone, another_owner=others)
        if refusal is not None:
            raise refusal
        plan = await self._parting(caller, standing, member)
        if not alone:
            return plan
        there = await self._directory.get_versioned(Conversation, tenant, conversation)
        if there is None:
            raise not_found()
        row = rules.deleted_conversation(there.record, self._clock.now_ms())
        deleted = event_in(conversation, "conversation.deleted", e.Empty(), caller.user, bumps_epoch=True)
        return msgspec.structs.replace(
            plan,
            events=(plan.events[0], deleted, *plan.events[1:]),
            expects=(*plan.expects, VersionIs(Conversation, row.key(), there.version)),
            writes=(*plan.writes, Put(row)),
        )

    async def _parting(self, caller: Caller, standing: Standing, target: Member) -> Plan:
        home = standing.home
        body = e.MemberRemoved(user=target.user, left=target.user == caller.user)
        topics = await topics_of(self._directory, caller.tenant, home)
        return Plan(
            events=(
                event_in(home.id, "member.removed", body, caller.user, bumps_epoch=True),
                left(home.id, target.user, caller.user),
            ),
            expects=expects(standing),
            writes=tuple(await parting(self._directory, caller.tenant, home.id, target.user, topics)),
        )

    # --- roles -----------------------------------------------------------------------------------

    async def set_role(self, caller: Caller, command: c.SetRole) -> c.Accepted:
        """Give a member another role.  Nothing happens when they have it.

        Raises Refusal `not_found` for someone who is not a member, `forbidden`, `conflict` when no owner
        would be left."""

        async def plan() -> Plan:
            standing, actor = await self._acting(caller, command.conversation, "set_roles")
            there = await self._member(caller, command.conversation, command.user)
            if there is None:
                raise not_found("member")
            target = there.record
            if target.role == command.role:
                return _nothing(command.conversation)
            others = target.role != "owner" or await another_owner(
                self._directory, caller.tenant, command.conversation, target.user
            )
            refusal = rules.check_set_role(actor, target, command.role, another_owner=others)
            if refusal is not None:
                raise refusal
            body = e.MemberUpdated(user=target.user, role=command.role)
            return Plan(
                events=(
                    event_in(command.conversation, "member.updated", body, caller.user, bumps_epoch=True),
                ),
                expects=(*expects(standing), VersionIs(Member, target.key(), there.version)),
                writes=(Put(msgspec.structs.replace(target, role=command.role)),),
            )

        async with self._turns.of(command.conversation):
            return await self._executor.run(caller, command, plan)

    # --- invites ---------------------------------------------------------------------------------

    async def create_invite(self, caller: Caller, command: c.CreateInvite) -> c.Accepted:
        """Make an invite link; the answer's `secret` is its token, also in the answer to a repeat.

        Raises Refusal `invalid` for an expiry that has passed, `limit_reached` when 200 invites of the
        conversation are still good (those that are not make room)."""

        async def plan() -> Plan:
            standing = await self._access.require(caller, command.conversation, "invite")
            now = self._clock.now_ms()
            if command.expires_at and command.expires_at <= now:
                raise Refusal("invalid", "An invite expires in the future.", field="expires_at")
            invite = self._ids.new_id()
            token = self._token(caller.tenant, command.conversation, invite)
            row = Invite(
                tenant=caller.tenant,
                conversation=command.conversation,
                id=invite,
                digest=self._digest(caller.tenant, token),
                created_by=caller.user,
                created_at=now,
                expires_at=command.expires_at,
                max_uses=command.max_uses,
            )
            room = await self._room_for_invite(caller.tenant, command.conversation, now)
            event: NewEvent = event_in(
                command.conversation, "invite.created", e.InviteChanged(invite=invite), caller.user
            )
            return Plan(events=(event,), expects=expects(standing), writes=(*room, Put(row)))

        def answer(event: e.Event) -> c.Accepted:
            body = e.decode_body(event.kind, event.body or b"")
            assert isinstance(body, e.InviteChanged)
            token = self._token(event.tenant, event.log, body.invite)
            return accepted(event, created=body.invite, secret=token)

        return await self._executor.run(caller, command, plan, answer)

    async def revoke_invite(self, caller: Caller, command: c.RevokeInvite) -> c.Accepted:
        """Make an invite link good for nothing.  Nothing happens when it was revoked before.

        Raises Refusal `not_found` for an invite that is not of this conversation."""

        async def plan() -> Plan:
            standing = await self._access.require(caller, command.conversation, "invite")
            key = (caller.tenant, command.conversation, command.invite)
            there = await self._directory.get_versioned(Invite, *key)
            if there is None:
                raise not_found("invite")
            if there.record.revoked_at:
                return _nothing(command.conversation)
            row = msgspec.structs.replace(there.record, revoked_at=self._clock.now_ms())
            body = e.InviteChanged(invite=row.id)
            return Plan(
                events=(event_in(command.conversation, "invite.revoked", body, caller.user),),
                expects=(*expects(standing), VersionIs(Invite, key, there.version)),
                writes=(Put(row),),
            )

        async with self._turns.of(command.conversation):
            return await self._executor.run(caller, command, plan)

    async def _room_for_invite(self, tenant: str, conversation: str, now: int) -> tuple[Write, ...]:
        """What makes room for one more invite.  Raises Refusal `limit_reached`."""
        invites = await self._directory.scan(Invite, (tenant, conversation), limit=2 * rules.MAX_INVITES)
        if len(invites) < rules.MAX_INVITES:
            return ()
        dead = [invite for invite in invites if not rules.is_live(invite, now)]
        if not dead:
            raise Refusal("limit_reached", f"A conversation has at most {rules.MAX_INVITES} invites.")
        return tuple(Remove(Invite, (tenant, conversation, invite.id)) for invite in dead)

    def _token(self, tenant: str, conversation: str, invite: str) -> str:
        digest = self._executor.keyed.digest("invite", tenant, conversation, invite)
        return rules.invite_token(invite, digest)

    def _digest(self, tenant: str, token: str) -> bytes:
        return self._executor.keyed.digest("invite token", tenant, token)

    async def _invite(self, caller: Caller, token: str) -> Invite | None:
        """The invite that a token opens."""
        # Keys are text and numbers; this index alone ends in octets.
        prefix = cast(Key, (caller.tenant, self._digest(caller.tenant, token)))
        found = await self._directory.scan(Invite, prefix, index="digest", limit=1)
        return found[0] if found else None

    # --- looking up ------------------------------------------------------------------------------

    async def _acting(
        self,
        caller: Caller,
        conversation: str,
        capability: Literal["add_members", "remove_members", "set_roles"],
    ) -> tuple[Standing, Member]:
        standing = await self._access.require(caller, conversation, capability)
        assert standing.member is not None
        return standing, standing.member

    async def _member(self, caller: Caller, conversation: str, user: str) -> Versioned[Member] | None:
        return await self._directory.get_versioned(Member, caller.tenant, conversation, user)


def _nothing(conversation: str) -> Plan:
    return Plan(answer=c.Accepted(conversation=conversation, repeated=True))
