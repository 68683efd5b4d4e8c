"""Messages: sending, forwarding, editing and deleting."""

from __future__ import annotations

from asyncio import Future

import msgspec

from tertulia.application.access import expects
from tertulia.application.core import Caller, Plan
from tertulia.application.marks import Marks, about, nothing, personal
from tertulia.application.rows import hanging_on
from tertulia.domain import commands as c
from tertulia.domain import events as e
from tertulia.domain.content import Content, Forward, Quote, Text
from tertulia.domain.errors import Refusal
from tertulia.domain.mentions import find_mentions
from tertulia.domain.message_rules import (
    check_content,
    check_edit,
    check_foreign,
    quoted,
)
from tertulia.domain.permissions import Standing, capabilities, decide
from tertulia.domain.records import (
    Block,
    Hidden,
    Member,
    ThreadFollow,
    User,
)
from tertulia.domain.unit import (
    Committed,
    NewEvent,
    Put,
    VersionIs,
    ViewIs,
    Write,
)


class Messages(Marks):
    """Handlers of the message commands; each returns the Accepted of its first event."""

    # --- sending ---------------------------------------------------------------------------------

    def send_now(self, caller: Caller, command: c.SendMessage) -> Future[Committed] | None:
        """The append of a plain message for which everything is at hand; None: use `send`.

        The same decision as `send`, without a turn of the event loop.  A future that ends in Refusal
        `stale` must be answered by `send`.  Raises Refusal of the store (its queue is full).
        """
        content = command.content
        if (
            command.thread is not None
            or command.reply_to is not None
            or command.quote is not None
            or command.foreign is not msgspec.UNSET
            or (type(content) is Text and _mentions(content))
        ):
            return None
        standing = self._access.cached(caller, command.conversation)
        tenant = self._tenants.cached(caller.tenant)
        if standing is None or tenant is None or decide(standing, "send") is not None:
            return None
        if check_content(content, tenant) is not None:
            # A repeat may have been within limits that have been lowered since.
            return None
        plan = self._plan(caller, standing, command, content)
        idem = self._executor.idempotency(caller, command)
        return self._store.append(self._executor.unit(caller, command, plan, idem))

    async def send(self, caller: Caller, command: c.SendMessage) -> c.Accepted:
        """Send a message.

        Mentions are read from the text; those of people who are not members, or who blocked the caller,
        are plain text.  A reply in a thread makes its author a follower of it, the first one the author of
        the root too.

        Raises Refusal as `permissions.decide`; `invalid` and `too_large` for the content; `not_found` when
        the message that is answered or quoted is not there for the caller."""

        async def plan() -> Plan:
            standing = await self._access.require(caller, command.conversation, "send")
            tenant = await self._tenants.get(caller.tenant)
            refusal = check_foreign(command.foreign) or check_content(command.content, tenant)
            if refusal is not None:
                raise refusal
            content = await self._resolve_mentions(caller, standing, command.content)
            writes: tuple[Write, ...] = ()
            if command.thread is not None:
                writes = await self._following(caller, standing, command.thread)
            if command.reply_to is not None:
                await self._message(caller, standing, command.reply_to)
            quote = None
            if command.quote is not None:
                view, text = await self._message(caller, standing, command.quote.seq)
                quote = quoted(view, text, command.quote.text)
            return self._plan(caller, standing, command, content, quote=quote, writes=writes)

        return await self._executor.run(caller, command, plan)

    async def forward(self, caller: Caller, command: c.ForwardMessage) -> c.Accepted:
        """Send a copy of a message that the caller may read; it names where it came from."""

        async def plan() -> Plan:
            source = await self._access.require(caller, command.from_conversation, "read")
            view, content = await self._message(caller, source, command.from_seq)
            standing = await self._access.require(caller, command.conversation, "send")
            tenant = await self._tenants.get(caller.tenant)
            if isinstance(content, Text):
                content = msgspec.structs.replace(content, mentions=(), mention_all=False, mention_here=False)
            refusal = check_content(content, tenant)
            if refusal is not None:
                raise refusal
            writes: tuple[Write, ...] = ()
            if command.thread is not None:
                writes = await self._following(caller, standing, command.thread)
            send = c.SendMessage(conversation=command.conversation, content=content, thread=command.thread)
            origin = Forward(conversation=command.from_conversation, seq=view.seq, user=view.event.actor)
            made = self._plan(caller, standing, send, content, forward=origin, writes=writes)
            rests = tuple(dict.fromkeys((*made.expects, *expects(source))))
            return msgspec.structs.replace(made, expects=rests)

        return await self._executor.run(caller, command, plan)

    def _plan(
        self,
        caller: Caller,
        standing: Standing,
        command: c.SendMessage,
        content: Content,
        *,
        quote: Quote | None = None,
        forward: Forward | None = None,
        writes: tuple[Write, ...] = (),
    ) -> Plan:
        ttl = standing.conversation.message_ttl_s or standing.home.message_ttl_s
        expires_at = self._clock.now_ms() + ttl * 1000 if ttl else 0
        is_text = type(content) is Text
        body = e.MessageNew(
            content=content,
            reply_to=command.reply_to,
            quote=quote,
            forward=forward,
            expires_at=expires_at or None,
            foreign=msgspec.UNSET if command.foreign == msgspec.Raw(b"null") else command.foreign,
        )
        thread = command.thread or 0
        event = NewEvent(
            log=command.conversation,
            kind="message.new",
            body=e.encode_body(body),
            actor=caller.user,
            thread=thread,
            countable=True,
            at_all=is_text and content.mention_all,
            mentions=content.mentions if is_text else (),
            expires_at=expires_at,
        )
        return Plan(events=(event,), expects=expects(standing), writes=writes)

    async def _resolve_mentions(self, caller: Caller, standing: Standing, content: Content) -> Content:
        """The text with the mentions that its words make, whatever the client claimed."""
        if not isinstance(content, Text):
            return content
        found = find_mentions(content.text)
        mentions: list[str] = []
        for handle in found.handles:
            people = await self._directory.scan(User, (caller.tenant, handle), index="handle", limit=1)
            if not people or people[0].id == caller.user:
                continue
            user = people[0].id
            _, (member, block) = await self._directory.snapshot(
                (),
                (
                    (Member, (caller.tenant, standing.home.id, user)),
                    (Block, (caller.tenant, user, caller.user)),
                ),
            )
            if member is not None and block is None:
                mentions.append(user)
        may_all = "mention_all" in capabilities(standing)
        return msgspec.structs.replace(
            content,
            mentions=tuple(mentions),
            mention_all=found.everyone and may_all,
            mention_here=found.here and may_all,
        )

    async def _following(self, caller: Caller, standing: Standing, root_seq: int) -> tuple[Write, ...]:
        """What a reply in a thread makes follow it.  Only the first one brings in the root's author, who may
        have stopped following since."""
        root, _ = await self._message(caller, standing, root_seq)
        if root.event.thread:
            raise Refusal("invalid", "A reply cannot be the root of a thread.", field="thread")
        log, author = standing.conversation.id, root.event.actor
        followers = [caller.user]
        if author != caller.user and not root.fold.replies:
            there = await self._directory.get(Member, caller.tenant, standing.home.id, author)
            if there is not None:
                followers.append(author)
        return tuple(
            Put(ThreadFollow(tenant=caller.tenant, conversation=log, root=root_seq, user=user))
            for user in followers
        )

    # --- changing --------------------------------------------------------------------------------

    async def edit(self, caller: Caller, command: c.EditMessage) -> c.Accepted:
        """Replace the content of one's own message; earlier contents stay as its history."""

        async def plan() -> Plan:
            standing = await self._access.require(caller, command.conversation, "edit_own")
            tenant = await self._tenants.get(caller.tenant)
            view, before = await self._message(caller, standing, command.seq)
            if view.event.actor != caller.user:
                raise Refusal("forbidden", "Only the author edits a message.")
            refusal = check_content(command.content, tenant) or check_edit(view, before, command.content)
            if refusal is not None:
                raise refusal
            content = await self._resolve_mentions(caller, standing, command.content)
            if content == before:
                return nothing(command)
            body = e.MessageUpdated(content=content)
            return Plan(
                events=(about(caller, view, "message.updated", body),),
                expects=(*expects(standing), ViewIs(view.event.log, view.seq, view.fold.version)),
            )

        return await self._in_turn(caller, command, plan)

    async def delete(self, caller: Caller, command: c.DeleteMessage) -> c.Accepted:
        """Delete for oneself (an event of the personal log) or for everyone (erases the bodies)."""

        async def plan() -> Plan:
            standing = await self._access.require(caller, command.conversation, "read")
            view, _ = await self._message(caller, standing, command.seq)
            if not command.everyone:
                body = e.MessageHidden(conversation=command.conversation, seq=command.seq)
                row = Hidden(
                    tenant=caller.tenant,
                    user=caller.user,
                    conversation=command.conversation,
                    seq=command.seq,
                )
                return Plan(
                    events=(personal(caller, "message.hidden", body),),
                    expects=(VersionIs(Hidden, row.key(), 0),),
                    writes=(Put(row),),
                )
            own = view.event.actor == caller.user
            refusal = decide(standing, "delete_own" if own else "delete_any")
            if refusal is not None:
                raise refusal
            event = about(caller, view, "message.deleted", e.MessageDeleted(), erases=True)
            return Plan(
                events=(event,),
                expects=(*expects(standing), ViewIs(view.event.log, view.seq, view.fold.version)),
                writes=hanging_on(view),
            )

        return await self._in_turn(caller, command, plan)


def _mentions(text: Text) -> bool:
    return "@" in text.text or bool(text.mentions) or text.mention_all or text.mention_here
