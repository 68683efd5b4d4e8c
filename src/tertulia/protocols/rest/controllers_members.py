"""Who is in a conversation: joining and leaving, members, roles, invites."""

from __future__ import annotations

from litestar import Controller, delete, get, post, put
from litestar.params import JSONBody
from litestar.response import Response

from tertulia.application.queries_docs import InviteDoc, MemberDoc
from tertulia.domain import commands as c
from tertulia.domain.commands import Accepted
from tertulia.domain.errors import Refusal
from tertulia.protocols.rest.answers import Page
from tertulia.protocols.rest.context import (
    CallDependency,
    Cursor,
    IdempotencyKey,
    Limit,
    PathId,
    made,
)
from tertulia.protocols.rest.requests import AcceptInviteBody, InviteBody, MemberBody


class MembersController(Controller):
    """`/v1/conversations/{conversation}/members` and what leads there."""

    path = "/v1/conversations/{conversation:str}"
    tags = ("Members",)

    @post("/join", status_code=200)
    async def join_channel(
        self, call: CallDependency, conversation: PathId, client_id: IdempotencyKey = ""
    ) -> Accepted:
        """Join a public channel."""
        return await call.do(c.JoinChannel(client_id=client_id or None, conversation=conversation))

    @post("/leave", status_code=200)
    async def leave_conversation(
        self, call: CallDependency, conversation: PathId, client_id: IdempotencyKey = ""
    ) -> Accepted:
        """Leave a group or channel; the last one to leave deletes it."""
        return await call.do(c.LeaveConversation(client_id=client_id or None, conversation=conversation))

    @get("/members")
    async def list_members(
        self, call: CallDependency, conversation: PathId, cursor: Cursor = "", limit: Limit = 50
    ) -> Page[MemberDoc]:
        """The members; those of a topic are its channel's."""
        after = call.after_id("members", cursor, conversation)
        items, following = await call.services.queries.conversations.members(
            call.caller, conversation, after=after, limit=limit
        )
        return call.page("members", items, following, conversation)

    @put("/members/{user:str}")
    async def set_member(
        self,
        call: CallDependency,
        conversation: PathId,
        user: PathId,
        data: JSONBody[MemberBody],
        client_id: IdempotencyKey = "",
    ) -> Accepted:
        """Add someone, or change their role."""
        command = c.AddMember(
            client_id=client_id or None, conversation=conversation, user=user, role=data.role
        )
        try:
            return await call.do(command)
        except Refusal as refusal:
            # A member with another role; or this is the repeat of a request that found them one.
            if refusal.code not in ("conflict", "client_id_reused"):
                raise
        return await call.do(
            c.SetRole(client_id=client_id or None, conversation=conversation, user=user, role=data.role)
        )

    @delete("/members/{user:str}", status_code=200)
    async def remove_member(
        self, call: CallDependency, conversation: PathId, user: PathId, client_id: IdempotencyKey = ""
    ) -> Accepted:
        """Take someone out; oneself: as leaving."""
        return await call.do(
            c.RemoveMember(client_id=client_id or None, conversation=conversation, user=user)
        )

    # --- invites -----------------------------------------------------------------------------------

    @get("/invites")
    async def list_invites(
        self, call: CallDependency, conversation: PathId, cursor: Cursor = "", limit: Limit = 50
    ) -> Page[InviteDoc]:
        """The invite links that are still good; for those who may make some."""
        after = call.after_id("invites", cursor, conversation)
        items, following = await call.services.queries.conversations.invites(
            call.caller, conversation, after=after, limit=limit
        )
        return call.page("invites", items, following, conversation)

    @post("/invites", status_code=201)
    async def create_invite(
        self,
        call: CallDependency,
        conversation: PathId,
        data: JSONBody[InviteBody],
        client_id: IdempotencyKey = "",
    ) -> Response[Accepted]:
        """Make an invite link; its token is the answer's `secret`."""
        accepted = await call.do(
            c.CreateInvite(
                client_id=client_id or None,
                conversation=conversation,
                expires_at=data.expires_at,
                max_uses=data.max_uses,
            )
        )
        return made(accepted, f"/v1/conversations/{conversation}/invites/{accepted.created}")

    @delete("/invites/{invite:str}", status_code=200)
    async def revoke_invite(
        self, call: CallDependency, conversation: PathId, invite: PathId, client_id: IdempotencyKey = ""
    ) -> Accepted:
        """Make an invite link good for nothing."""
        command = c.RevokeInvite(client_id=client_id or None, conversation=conversation, invite=invite)
        return await call.do(command)


class InvitesController(Controller):
    """`/v1/invites`."""

    path = "/v1/invites"
    tags = ("Members",)

    @post("/accept", status_code=200)
    async def accept_invite(
        self, call: CallDependency, data: JSONBody[AcceptInviteBody], client_id: IdempotencyKey = ""
    ) -> Accepted:
        """Become a member by an invite's token; `conversation` in the answer says of what."""
        return await call.do(c.AcceptInvite(client_id=client_id or None, token=data.token))
