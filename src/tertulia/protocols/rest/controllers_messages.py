"""Messages: reading, sending, editing, deleting, threads, search."""

from __future__ import annotations

from typing import Annotated, Literal

from litestar import Controller, delete, get, patch, post, put
from litestar.params import JSONBody, QueryParameter
from litestar.response import Response

from tertulia.application.queries_docs import EditDoc, MessageDoc
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
    PathSeq,
    QuerySeq,
    made,
)
from tertulia.protocols.rest.requests import EditBody, ForwardBody, MessageBody, ScheduleBody


class MessagesController(Controller):
    """`/v1/conversations/{conversation}/messages`."""

    path = "/v1/conversations/{conversation:str}"
    tags = ("Messages",)

    @get("/messages")
    async def list_messages(
        self,
        call: CallDependency,
        conversation: PathId,
        before: QuerySeq = 0,
        after: QuerySeq = 0,
        cursor: Cursor = "",
        limit: Limit = 50,
    ) -> Page[MessageDoc]:
        """The newest messages of the main log, those `before` a seq, or those `after` one; ascending.
        `next_cursor` goes on in the same direction."""
        from_one = "after" in call.given
        if bool(before) + from_one + bool(cursor) > 1:
            raise Refusal("invalid", "Give one of `before`, `after` and `cursor`.", field="cursor")
        place = call.opened("messages", cursor, conversation)
        if place is not None:
            forward, seq = place[0] == "after", int(place[1])
        else:
            forward, seq = from_one, after if from_one else before
        messages = call.services.queries.messages
        if forward:
            found = await messages.page(call.caller, conversation, after=seq, limit=limit)
            following = ("after", found.last)
        else:
            found = await messages.page(call.caller, conversation, before=seq, limit=limit)
            following = ("before", found.first)
        return call.page("messages", found.items, following if found.more else None, conversation)

    @post("/messages", status_code=201)
    async def send_message(
        self,
        call: CallDependency,
        conversation: PathId,
        data: JSONBody[MessageBody],
        client_id: IdempotencyKey = "",
    ) -> Response[Accepted]:
        """Send a message.  It is stored for good when the answer comes."""
        accepted = await call.do(
            c.SendMessage(
                client_id=client_id or None,
                conversation=conversation,
                content=data.content,
                thread=data.thread,
                reply_to=data.reply_to,
                quote=data.quote,
            )
        )
        return made(accepted, f"/v1/conversations/{accepted.conversation}/messages/{accepted.seq}")

    @get("/messages/{seq:int}")
    async def get_message(self, call: CallDependency, conversation: PathId, seq: PathSeq) -> MessageDoc:
        """One message as it stands now."""
        return await call.services.queries.messages.get(call.caller, conversation, seq)

    @patch("/messages/{seq:int}")
    async def edit_message(
        self,
        call: CallDependency,
        conversation: PathId,
        seq: PathSeq,
        data: JSONBody[EditBody],
        client_id: IdempotencyKey = "",
    ) -> Accepted:
        """Replace the content of one's own message; the earlier ones are kept."""
        command = c.EditMessage(
            client_id=client_id or None, conversation=conversation, seq=seq, content=data.content
        )
        return await call.do(command)

    @delete("/messages/{seq:int}", status_code=200)
    async def delete_message(
        self,
        call: CallDependency,
        conversation: PathId,
        seq: PathSeq,
        everyone: Annotated[
            Literal["true", "false"], QueryParameter(description="For everyone, or only for oneself.")
        ] = "false",
        client_id: IdempotencyKey = "",
    ) -> Accepted:
        """Delete a message for oneself, or for everyone."""
        command = c.DeleteMessage(
            client_id=client_id or None, conversation=conversation, seq=seq, everyone=everyone == "true"
        )
        return await call.do(command)

    @get("/messages/{seq:int}/edits")
    async def list_edits(
        self,
        call: CallDependency,
        conversation: PathId,
        seq: PathSeq,
        cursor: Cursor = "",
        limit: Limit = 50,
    ) -> Page[EditDoc]:
        """The wordings of a message, oldest first."""
        place = call.after_seq("edits", cursor, conversation, seq)
        items, more = await call.services.queries.messages.edits(
            call.caller, conversation, seq, after=place, limit=limit
        )
        return call.page("edits", items, items[-1].seq if more else None, conversation, seq)

    @post("/messages/{seq:int}/forward", status_code=201)
    async def forward_message(
        self,
        call: CallDependency,
        conversation: PathId,
        seq: PathSeq,
        data: JSONBody[ForwardBody],
        client_id: IdempotencyKey = "",
    ) -> Response[Accepted]:
        """Send a copy of a message to another conversation."""
        accepted = await call.do(
            c.ForwardMessage(
                client_id=client_id or None,
                conversation=data.conversation,
                from_conversation=conversation,
                from_seq=seq,
                thread=data.thread,
            )
        )
        return made(accepted, f"/v1/conversations/{accepted.conversation}/messages/{accepted.seq}")

    @post("/scheduled", status_code=201)
    async def schedule_message(
        self,
        call: CallDependency,
        conversation: PathId,
        data: JSONBody[ScheduleBody],
        client_id: IdempotencyKey = "",
    ) -> Response[Accepted]:
        """Send a message later; `created` in the answer is the schedule's id."""
        accepted = await call.do(
            c.ScheduleMessage(
                client_id=client_id or None,
                conversation=conversation,
                content=data.content,
                send_at=data.send_at,
                thread=data.thread,
                reply_to=data.reply_to,
            )
        )
        return made(accepted, f"/v1/me/scheduled/{accepted.created}")

    # --- threads -----------------------------------------------------------------------------------

    @get("/messages/{seq:int}/thread")
    async def list_thread(
        self,
        call: CallDependency,
        conversation: PathId,
        seq: PathSeq,
        cursor: Cursor = "",
        limit: Limit = 50,
    ) -> Page[MessageDoc]:
        """The replies to a message, oldest first."""
        place = call.after_seq("thread", cursor, conversation, seq)
        found = await call.services.queries.messages.thread(
            call.caller, conversation, seq, after=place, limit=limit
        )
        return call.page("thread", found.items, found.last if found.more else None, conversation, seq)

    @put("/messages/{seq:int}/thread/follow")
    async def follow_thread(
        self, call: CallDependency, conversation: PathId, seq: PathSeq, client_id: IdempotencyKey = ""
    ) -> Accepted:
        """Follow a thread."""
        return await call.do(
            c.FollowThread(client_id=client_id or None, conversation=conversation, thread=seq)
        )

    @delete("/messages/{seq:int}/thread/follow", status_code=200)
    async def unfollow_thread(
        self, call: CallDependency, conversation: PathId, seq: PathSeq, client_id: IdempotencyKey = ""
    ) -> Accepted:
        """Stop following a thread."""
        return await call.do(
            c.UnfollowThread(client_id=client_id or None, conversation=conversation, thread=seq)
        )


class SearchController(Controller):
    """`/v1/search`."""

    path = "/v1/search"
    tags = ("Messages",)

    @get("")
    async def search(
        self,
        call: CallDependency,
        q: Annotated[str, QueryParameter(min_length=1, max_length=256, description="Words to look for.")],
        conversation: Annotated[str, QueryParameter(max_length=64)] = "",
        sender: Annotated[str, QueryParameter(max_length=64)] = "",
        cursor: Cursor = "",
        limit: Limit = 50,
    ) -> Page[MessageDoc]:
        """Messages with all of these words that one may see, newest first."""
        place = call.after_seq("search", cursor, q, conversation, sender)
        items, following = await call.services.queries.messages.search(
            call.caller,
            q,
            conversation=conversation,
            sender=sender,
            before=place,
            limit=limit,
        )
        return call.page("search", items, following, q, conversation, sender)
