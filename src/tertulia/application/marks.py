"""What people put on messages: reactions, pins, votes, and following a thread."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from typing import Final

from tertulia.application.access import Access, expects
from tertulia.application.core import Caller, Executor, Plan
from tertulia.application.rows import visible_message
from tertulia.application.tenants import Tenants
from tertulia.application.turns import Turns
from tertulia.domain import commands as c
from tertulia.domain import events as e
from tertulia.domain.content import Content
from tertulia.domain.errors import Refusal
from tertulia.domain.message_rules import check_emoji, check_vote
from tertulia.domain.permissions import Standing, decide
from tertulia.domain.records import Pin, Reaction, ThreadFollow, Vote
from tertulia.domain.unit import NewEvent, Put, Remove, SetCursor, VersionIs, ViewIs, Write
from tertulia.domain.views import MessageView
from tertulia.ports.clock import Clock
from tertulia.ports.message_store import Directory, MessageStore

MAX_REACTION_KINDS: Final = 20
MAX_PINS: Final = 100

OnMessage = (
    c.EditMessage
    | c.DeleteMessage
    | c.AddReaction
    | c.RemoveReaction
    | c.PinMessage
    | c.UnpinMessage
    | c.VotePoll
    | c.ClosePoll
)


class Marks:
    """Handlers of the commands about a message that is there; `Messages` adds those that write one."""

    def __init__(
        self,
        store: MessageStore,
        directory: Directory,
        access: Access,
        tenants: Tenants,
        executor: Executor,
        clock: Clock,
    ) -> None:
        self._store = store
        self._directory = directory
        self._access = access
        self._tenants = tenants
        self._executor = executor
        self._clock = clock
        self._turns = Turns()

    async def react(self, caller: Caller, command: c.AddReaction | c.RemoveReaction) -> c.Accepted:
        """Add or remove one's reaction; doing it twice changes nothing."""
        adds = isinstance(command, c.AddReaction)

        async def plan() -> Plan:
            standing = await self._access.require(caller, command.conversation, "react")
            view, _ = await self._message(caller, standing, command.seq)
            refusal = check_emoji(command.emoji) if adds else None
            if refusal is not None:
                raise refusal
            key = (caller.tenant, command.conversation, command.seq, command.emoji, caller.user)
            there = await self._directory.get_versioned(Reaction, *key)
            if (there is not None) == adds:
                return nothing(command)
            kinds = view.fold.reactions
            if adds and command.emoji not in kinds and len(kinds) >= MAX_REACTION_KINDS:
                raise Refusal(
                    "limit_reached", f"A message has at most {MAX_REACTION_KINDS} different reactions."
                )
            row = Reaction(
                tenant=caller.tenant,
                conversation=command.conversation,
                seq=command.seq,
                emoji=command.emoji,
                user=caller.user,
                at=self._clock.now_ms(),
            )
            kind = "reaction.new" if adds else "reaction.removed"
            return Plan(
                events=(about(caller, view, kind, e.ReactionChanged(emoji=command.emoji)),),
                expects=(
                    *expects(standing),
                    VersionIs(Reaction, key, there.version if there is not None else 0),
                    ViewIs(view.event.log, view.seq, view.fold.version),
                ),
                writes=(Put(row) if adds else Remove(Reaction, key),),
            )

        return await self._in_turn(caller, command, plan)

    async def pin(self, caller: Caller, command: c.PinMessage | c.UnpinMessage) -> c.Accepted:
        """Pin or unpin a message of the conversation; doing it twice changes nothing."""
        pins = isinstance(command, c.PinMessage)

        async def plan() -> Plan:
            standing = await self._access.require(caller, command.conversation, "pin")
            view, _ = await self._message(caller, standing, command.seq)
            if view.fold.pinned == pins:
                return nothing(command)
            if pins and await self._directory.count(Pin, (caller.tenant, command.conversation)) >= MAX_PINS:
                raise Refusal("limit_reached", f"A conversation has at most {MAX_PINS} pinned messages.")
            row = Pin(
                tenant=caller.tenant,
                conversation=command.conversation,
                seq=command.seq,
                by=caller.user,
                at=self._clock.now_ms(),
            )
            kind = "message.pinned" if pins else "message.unpinned"
            return Plan(
                events=(about(caller, view, kind, e.Empty()),),
                expects=(*expects(standing), ViewIs(view.event.log, view.seq, view.fold.version)),
                writes=(Put(row) if pins else Remove(Pin, row.key()),),
            )

        return await self._in_turn(caller, command, plan)

    async def vote(self, caller: Caller, command: c.VotePoll) -> c.Accepted:
        """Vote in an open poll, in place of one's earlier vote; no options withdraw it."""

        async def plan() -> Plan:
            standing = await self._access.require(caller, command.conversation, "poll")
            view, poll = await self._message(caller, standing, command.seq)
            refusal = check_vote(poll, command.options)
            if refusal is not None:
                raise refusal
            if view.fold.closed:
                raise Refusal("already_done", "The poll is closed.")
            key = (caller.tenant, command.conversation, command.seq, caller.user)
            before = await self._directory.get_versioned(Vote, *key)
            previous = before.record.options if before is not None else ()
            options = tuple(sorted(command.options))
            if previous == options:
                return nothing(command)
            row = Vote(
                tenant=caller.tenant,
                conversation=command.conversation,
                seq=command.seq,
                user=caller.user,
                options=options,
            )
            body = e.PollVoted(options=options, previous=previous)
            return Plan(
                events=(about(caller, view, "poll.voted", body),),
                expects=(
                    *expects(standing),
                    VersionIs(Vote, key, before.version if before is not None else 0),
                    ViewIs(view.event.log, view.seq, view.fold.version),
                ),
                writes=(Put(row) if options else Remove(Vote, key),),
            )

        return await self._in_turn(caller, command, plan)

    async def close_poll(self, caller: Caller, command: c.ClosePoll) -> c.Accepted:
        """Close a poll for good: its author, or who may delete any message."""

        async def plan() -> Plan:
            standing = await self._access.require(caller, command.conversation, "poll")
            view, poll = await self._message(caller, standing, command.seq)
            refusal = check_vote(poll, ())
            if refusal is not None:
                raise refusal
            if view.event.actor != caller.user:
                refusal = decide(standing, "delete_any")
                if refusal is not None:
                    raise refusal
            if view.fold.closed:
                raise Refusal("already_done", "The poll is closed.")
            return Plan(
                events=(about(caller, view, "poll.closed", e.Empty()),),
                expects=(*expects(standing), ViewIs(view.event.log, view.seq, view.fold.version)),
            )

        return await self._in_turn(caller, command, plan)

    async def follow(self, caller: Caller, command: c.FollowThread | c.UnfollowThread) -> c.Accepted:
        """Follow a thread, or stop.  Who follows has read the replies that are there."""
        follows = isinstance(command, c.FollowThread)

        async def plan() -> Plan:
            standing = await self._access.require(caller, command.conversation, "read")
            if standing.member is None:
                raise Refusal("forbidden", "Join the channel first.")
            view, _ = await self._message(caller, standing, command.thread)
            if view.event.thread:
                raise Refusal("invalid", "A reply cannot be the root of a thread.", field="thread")
            row = ThreadFollow(
                tenant=caller.tenant,
                conversation=command.conversation,
                root=command.thread,
                user=caller.user,
            )
            there = await self._directory.get_versioned(ThreadFollow, *row.key())
            if (there is not None) == follows:
                return nothing(command)
            body = e.ThreadFollowed(conversation=command.conversation, thread=command.thread)
            writes: tuple[Write, ...] = (Remove(ThreadFollow, row.key()),)
            if follows:
                last = view.fold.last_reply_seq
                cursor = SetCursor(log=command.conversation, user=caller.user, thread=view.seq, read=last)
                writes = (Put(row), cursor)
            return Plan(
                events=(personal(caller, "thread.followed" if follows else "thread.unfollowed", body),),
                expects=(
                    *expects(standing),
                    VersionIs(ThreadFollow, row.key(), there.version if there is not None else 0),
                ),
                writes=writes,
            )

        return await self._executor.run(caller, command, plan)

    # --- looking up ------------------------------------------------------------------------------

    async def _message(self, caller: Caller, standing: Standing, seq: int) -> tuple[MessageView, Content]:
        return await visible_message(
            self._store, self._directory, caller, standing, seq, self._clock.now_ms()
        )

    async def _in_turn(
        self, caller: Caller, command: OnMessage, plan: Callable[[], Awaitable[Plan]]
    ) -> c.Accepted:
        # All of these rest on the message's view: a crowd that votes or reacts at once would make each
        # other decide again and again.
        async with self._turns.of(command.conversation, command.seq):
            return await self._executor.run(caller, command, plan)


def nothing(command: OnMessage | c.FollowThread | c.UnfollowThread) -> Plan:
    """It is so already: no event."""
    return Plan(answer=c.Accepted(conversation=command.conversation, repeated=True))


def about(caller: Caller, view: MessageView, kind: str, body: e.Body, *, erases: bool = False) -> NewEvent:
    """An event that changes a message."""
    return NewEvent(
        log=view.event.log,
        kind=kind,
        body=e.encode_body(body),
        actor=caller.user,
        target=view.seq,
        erases_target=erases,
    )


def personal(caller: Caller, kind: str, body: e.Body) -> NewEvent:
    """An event of the caller's own log, for all of their devices."""
    return NewEvent(log=caller.user, kind=kind, body=e.encode_body(body), actor=caller.user)
