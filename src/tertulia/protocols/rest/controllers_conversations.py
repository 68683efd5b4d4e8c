"""Conversations: opening, describing, deleting; topics, cursors, typing."""

from __future__ import annotations

from typing import Annotated

from litestar import Controller, delete, get, patch, post, put
from litestar.params import JSONBody, QueryParameter
from litestar.response import Response

from tertulia.application.queries_docs import ConversationDoc, PreferencesDoc, ReceiptDoc
from tertulia.domain import commands as c
from tertulia.domain.commands import Accepted, Command
from tertulia.domain.errors import Refusal
from tertulia.protocols.common.frames import EventFrame, VoidFrame
from tertulia.protocols.rest.answers import Page
from tertulia.protocols.rest.context import (
    Call,
    CallDependency,
    Cursor,
    IdempotencyKey,
    Limit,
    PathId,
    created,
)
from tertulia.protocols.rest.events import After, events_page
from tertulia.protocols.rest.requests import (
    ChannelBody,
    ConversationPatch,
    CursorsBody,
    DirectBody,
    GroupBody,
    PreferencesPatch,
    TopicBody,
    TypingBody,
)


async def _made(call: Call, command: Command) -> Response[ConversationDoc]:
    accepted = await call.do(command)
    doc = await call.services.queries.conversations.get(call.caller, accepted.created)
    return created(doc, f"/v1/conversations/{doc.id}", new=not accepted.repeated)


class ConversationsController(Controller):
    """`/v1/conversations`."""

    path = "/v1/conversations"
    tags = ("Conversations",)

    @get("")
    async def list_conversations(
        self, call: CallDependency, cursor: Cursor = "", limit: Limit = 50
    ) -> Page[ConversationDoc]:
        """The conversations that one is a member of, oldest first; topics come with their channel."""
        after = call.after_id("conversations", cursor)
        items, following = await call.services.queries.conversations.mine(
            call.caller, after=after, limit=limit
        )
        return call.page("conversations", items, following)

    @post("", status_code=201)
    async def create_conversation(
        self,
        call: CallDependency,
        data: JSONBody[DirectBody | GroupBody | ChannelBody],
        client_id: IdempotencyKey = "",
    ) -> Response[ConversationDoc]:
        """Open the direct conversation with someone, or make a group or a channel."""
        match data:
            case DirectBody():
                command: Command = c.OpenDirect(client_id=client_id or None, user=data.user)
            case GroupBody():
                command = c.CreateGroup(
                    client_id=client_id or None,
                    name=data.name,
                    members=data.members,
                    description=data.description,
                    history=data.history,
                )
            case ChannelBody():
                command = c.CreateChannel(
                    client_id=client_id or None,
                    name=data.name,
                    slug=data.slug,
                    description=data.description,
                    public=data.public,
                    members=data.members,
                )
        return await _made(call, command)

    @get("/{conversation:str}")
    async def get_conversation(self, call: CallDependency, conversation: PathId) -> ConversationDoc:
        """A conversation or topic, with what one may do there."""
        return await call.services.queries.conversations.get(call.caller, conversation)

    @patch("/{conversation:str}")
    async def update_conversation(
        self,
        call: CallDependency,
        conversation: PathId,
        data: JSONBody[ConversationPatch],
        client_id: IdempotencyKey = "",
    ) -> ConversationDoc:
        """Change what describes a conversation, and its policy."""
        await call.do(
            c.UpdateConversation(
                client_id=client_id or None,
                conversation=conversation,
                name=data.name,
                description=data.description,
                photo=data.photo,
                slug=data.slug,
                public=data.public,
                history=data.history,
                message_ttl_s=data.message_ttl_s,
                who_may_send=data.who_may_send,
            )
        )
        return await call.services.queries.conversations.get(call.caller, conversation)

    @delete("/{conversation:str}", status_code=200)
    async def delete_conversation(
        self, call: CallDependency, conversation: PathId, client_id: IdempotencyKey = ""
    ) -> Accepted:
        """Delete a conversation or topic for everyone."""
        return await call.do(c.DeleteConversation(client_id=client_id or None, conversation=conversation))

    # --- topics ------------------------------------------------------------------------------------

    @get("/{conversation:str}/topics")
    async def list_topics(
        self, call: CallDependency, conversation: PathId, cursor: Cursor = "", limit: Limit = 50
    ) -> Page[ConversationDoc]:
        """The topics of a channel, oldest first."""
        after = call.after_id("topics", cursor, conversation)
        items, following = await call.services.queries.conversations.topics(
            call.caller, conversation, after=after, limit=limit
        )
        return call.page("topics", items, following, conversation)

    @post("/{conversation:str}/topics", status_code=201)
    async def create_topic(
        self,
        call: CallDependency,
        conversation: PathId,
        data: JSONBody[TopicBody],
        client_id: IdempotencyKey = "",
    ) -> Response[ConversationDoc]:
        """Make a topic of a channel."""
        command = c.CreateTopic(client_id=client_id or None, conversation=conversation, name=data.name)
        return await _made(call, command)

    # --- one's own place in it -----------------------------------------------------------------------

    @get("/{conversation:str}/preferences")
    async def get_preferences(self, call: CallDependency, conversation: PathId) -> PreferencesDoc:
        """How a conversation notifies, and where it stands in one's list."""
        return await call.services.queries.conversations.preferences(call.caller, conversation)

    @patch("/{conversation:str}/preferences")
    async def set_preferences(
        self,
        call: CallDependency,
        conversation: PathId,
        data: JSONBody[PreferencesPatch],
        client_id: IdempotencyKey = "",
    ) -> PreferencesDoc:
        """Change one's own view of a conversation."""
        await call.do(
            c.SetPreferences(
                client_id=client_id or None,
                conversation=conversation,
                notify=data.notify,
                muted_until=data.muted_until,
                pinned=data.pinned,
                archived=data.archived,
            )
        )
        return await call.services.queries.conversations.preferences(call.caller, conversation)

    @put("/{conversation:str}/typing", status_code=204)
    async def set_typing(
        self, call: CallDependency, conversation: PathId, data: JSONBody[TypingBody]
    ) -> None:
        """Show the others that one writes, or has stopped to."""
        await call.do(c.SetTyping(conversation=conversation, composing=data.composing, thread=data.thread))

    @put("/{conversation:str}/cursors", status_code=204)
    async def set_cursors(
        self, call: CallDependency, conversation: PathId, data: JSONBody[CursorsBody]
    ) -> None:
        """Move one's cursors on; a smaller seq than before changes nothing."""
        if data.read is None and data.received is None:
            raise Refusal("invalid", "Give `read`, `received` or both.", field="read")
        if data.received is not None:
            await call.do(c.MarkReceived(conversation=conversation, seq=data.received))
        if data.read is not None:
            await call.do(c.MarkRead(conversation=conversation, seq=data.read, thread=data.thread))
        await call.services.receipts.settled(call.caller, conversation)

    @get("/{conversation:str}/receipts")
    async def list_receipts(
        self, call: CallDependency, conversation: PathId, cursor: Cursor = "", limit: Limit = 50
    ) -> Page[ReceiptDoc]:
        """How far the members have received and read, as far as they share it."""
        after = call.after_id("receipts", cursor, conversation)
        items, following = await call.services.queries.conversations.receipts(
            call.caller, conversation, after=after, limit=limit
        )
        return call.page("receipts", items, following, conversation)

    @get("/{conversation:str}/events")
    async def list_events(
        self,
        call: CallDependency,
        conversation: PathId,
        after: After = 0,
        cursor: Cursor = "",
        limit: Annotated[int, QueryParameter(ge=1, le=1000, description="Events on a page.")] = 200,
    ) -> Page[EventFrame | VoidFrame]:
        """The events of a log that follow `after`, in the form of the WebSocket's frames.  Positions that
        are not one's to see are there, as `void`."""
        return await events_page(call, conversation, after, cursor, limit)


class ChannelsController(Controller):
    """`/v1/channels`: the directory."""

    path = "/v1/channels"
    tags = ("Conversations",)

    @get("")
    async def list_channels(
        self,
        call: CallDependency,
        q: Annotated[str, QueryParameter(max_length=128, description="Part of a name or slug.")] = "",
        cursor: Cursor = "",
        limit: Limit = 50,
    ) -> Page[ConversationDoc]:
        """The public channels, oldest first.  A page may be short, or empty, and not the last one."""
        after = call.after_id("channels", cursor, q)
        items, following = await call.services.queries.conversations.channels(
            call.caller, q, after=after, limit=limit
        )
        return call.page("channels", items, following, q)
