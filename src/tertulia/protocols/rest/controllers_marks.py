"""What people put on messages: reactions, pins, votes."""

from __future__ import annotations

from typing import Annotated

from litestar import Controller, delete, get, post, put
from litestar.params import JSONBody, PathParameter

from tertulia.application.queries_docs import MessageDoc, ReactionDoc
from tertulia.domain import commands as c
from tertulia.domain.commands import Accepted
from tertulia.protocols.rest.answers import Page
from tertulia.protocols.rest.context import (
    CallDependency,
    Cursor,
    IdempotencyKey,
    Limit,
    PathId,
    PathSeq,
)
from tertulia.protocols.rest.requests import VoteBody

PathEmoji = Annotated[
    str, PathParameter(min_length=1, max_length=64, description="Percent-encoded, as all of a path is.")
]


class MarksController(Controller):
    """`/v1/conversations/{conversation}/messages/{seq}/…`."""

    path = "/v1/conversations/{conversation:str}"
    tags = ("Messages",)

    @get("/messages/{seq:int}/reactions")
    async def list_reactions(
        self,
        call: CallDependency,
        conversation: PathId,
        seq: PathSeq,
        cursor: Cursor = "",
        limit: Limit = 50,
    ) -> Page[ReactionDoc]:
        """Who reacted how, by emoji and user."""
        place = call.opened("reactions", cursor, conversation, seq)
        items, following = await call.services.queries.messages.reactions(
            call.caller,
            conversation,
            seq,
            after=(str(place[0]), str(place[1])) if place else None,
            limit=limit,
        )
        return call.page("reactions", items, following, conversation, seq)

    @put("/messages/{seq:int}/reactions/{emoji:str}")
    async def add_reaction(
        self,
        call: CallDependency,
        conversation: PathId,
        seq: PathSeq,
        emoji: PathEmoji,
        client_id: IdempotencyKey = "",
    ) -> Accepted:
        """React to a message; twice is once."""
        command = c.AddReaction(client_id=client_id or None, conversation=conversation, seq=seq, emoji=emoji)
        return await call.do(command)

    @delete("/messages/{seq:int}/reactions/{emoji:str}", status_code=200)
    async def remove_reaction(
        self,
        call: CallDependency,
        conversation: PathId,
        seq: PathSeq,
        emoji: PathEmoji,
        client_id: IdempotencyKey = "",
    ) -> Accepted:
        """Take one's reaction back."""
        command = c.RemoveReaction(
            client_id=client_id or None, conversation=conversation, seq=seq, emoji=emoji
        )
        return await call.do(command)

    @get("/pins")
    async def list_pins(
        self, call: CallDependency, conversation: PathId, cursor: Cursor = "", limit: Limit = 50
    ) -> Page[MessageDoc]:
        """The pinned messages, by seq."""
        place = call.after_seq("pins", cursor, conversation)
        items, following = await call.services.queries.messages.pins(
            call.caller, conversation, after=place, limit=limit
        )
        return call.page("pins", items, following, conversation)

    @put("/messages/{seq:int}/pin")
    async def pin_message(
        self, call: CallDependency, conversation: PathId, seq: PathSeq, client_id: IdempotencyKey = ""
    ) -> Accepted:
        """Pin a message."""
        return await call.do(c.PinMessage(client_id=client_id or None, conversation=conversation, seq=seq))

    @delete("/messages/{seq:int}/pin", status_code=200)
    async def unpin_message(
        self, call: CallDependency, conversation: PathId, seq: PathSeq, client_id: IdempotencyKey = ""
    ) -> Accepted:
        """Unpin a message."""
        return await call.do(c.UnpinMessage(client_id=client_id or None, conversation=conversation, seq=seq))

    @put("/messages/{seq:int}/vote")
    async def vote(
        self,
        call: CallDependency,
        conversation: PathId,
        seq: PathSeq,
        data: JSONBody[VoteBody],
        client_id: IdempotencyKey = "",
    ) -> Accepted:
        """Vote in a poll, in place of one's earlier vote; no options withdraw it."""
        command = c.VotePoll(
            client_id=client_id or None, conversation=conversation, seq=seq, options=data.options
        )
        return await call.do(command)

    @post("/messages/{seq:int}/close", status_code=200)
    async def close_poll(
        self, call: CallDependency, conversation: PathId, seq: PathSeq, client_id: IdempotencyKey = ""
    ) -> Accepted:
        """Close a poll for good."""
        return await call.do(c.ClosePoll(client_id=client_id or None, conversation=conversation, seq=seq))
