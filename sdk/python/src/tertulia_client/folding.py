"""The current view of a message: the event it began with, with every later one folded in.

The rules are the server's, so that a client that saw all events holds what a fetch would give it.
"""

from __future__ import annotations

import msgspec

from tertulia_client.content import Poll
from tertulia_client.events import (
    Event,
    MessageDeleted,
    MessageNew,
    MessageUpdated,
    PollVoted,
    ReactionChanged,
    Void,
)
from tertulia_client.models import MessageDoc, PollDoc, RepliesDoc

_change = msgspec.structs.replace


def from_event(event: Event) -> MessageDoc:
    """The message that a `message.new` event made."""
    body = event.body
    assert isinstance(body, MessageNew)
    poll = None
    if isinstance(body.content, Poll):
        poll = PollDoc(votes=[0] * len(body.content.options), voters=0, closed=False)
    return MessageDoc(
        id=event.message_id,
        conversation=event.conversation,
        seq=event.seq,
        at=event.at,
        user=event.user,
        content=body.content,
        reply_to=body.reply_to,
        quote=body.quote,
        forward=body.forward,
        thread=event.thread or None,
        expires_at=body.expires_at,
        poll=poll,
        client_id=event.client_id or None,
        ordinal=event.ordinal,
    )


def folded_seq(event: Event) -> int:
    """The seq of the message that an event changes; 0 when it changes none."""
    if event.target:
        return event.target
    # A void that names a thread was a reply there by someone who is blocked.
    return event.thread if event.kind in ("message.new", "void") else 0


def fold(message: MessageDoc, event: Event, me: str) -> MessageDoc:
    """The message after an event whose `folded_seq` it is, as `me` sees it.

    An event that is in it already (`changed_seq`) changes nothing."""
    if event.seq <= message.changed_seq:
        return message
    return _change(_folded(message, event, me), changed_seq=event.seq)


def _folded(message: MessageDoc, event: Event, me: str) -> MessageDoc:
    match event.body:
        case MessageNew() | Void() if event.thread == message.seq:
            return _with_reply(message, event)
        case MessageUpdated(content=content):
            return _change(message, content=content, edited_at=event.at, edits=message.edits + 1)
        case MessageDeleted():
            return _deleted(message, event)
        case ReactionChanged(emoji=emoji):
            return _reacted(message, event, emoji, me)
        case PollVoted() as vote if message.poll is not None:
            return _change(message, poll=_voted(message.poll, vote, own=event.user == me))
        case _:
            pass
    if event.kind in ("message.pinned", "message.unpinned"):
        return _change(message, pinned=event.kind == "message.pinned")
    if event.kind == "poll.closed" and message.poll is not None:
        return _change(message, poll=_change(message.poll, closed=True))
    return message


def _with_reply(message: MessageDoc, event: Event) -> MessageDoc:
    count = message.replies.count if message.replies is not None else 0
    return _change(message, replies=RepliesDoc(count=count + 1, last_seq=event.seq, last_at=event.at))


def _deleted(message: MessageDoc, event: Event) -> MessageDoc:
    return MessageDoc(
        id=message.id,
        conversation=message.conversation,
        seq=message.seq,
        at=message.at,
        user=message.user,
        content=None,
        thread=message.thread,
        deleted_at=event.at,
        deleted_by=event.user or None,
        replies=message.replies,
        client_id=message.client_id,
        ordinal=message.ordinal,
    )


def _reacted(message: MessageDoc, event: Event, emoji: str, me: str) -> MessageDoc:
    added = event.kind == "reaction.new"
    count = message.reactions.get(emoji, 0) + (1 if added else -1)
    reactions = {name: n for name, n in message.reactions.items() if name != emoji or count > 0}
    if count > 0:
        reactions[emoji] = count
    own = message.own_reactions
    if event.user == me:
        rest = {name for name in own if name != emoji}
        own = sorted(rest | {emoji} if added else rest)
    return _change(message, reactions=reactions, own_reactions=own)


def _voted(poll: PollDoc, vote: PollVoted, *, own: bool) -> PollDoc:
    size = max([len(poll.votes), *(option + 1 for option in (*vote.options, *vote.previous))])
    votes = poll.votes + [0] * (size - len(poll.votes))
    for option in vote.previous:
        votes[option] -= 1
    for option in vote.options:
        votes[option] += 1
    return PollDoc(
        votes=votes,
        voters=poll.voters + bool(vote.options) - bool(vote.previous),
        closed=poll.closed,
        own=sorted(vote.options) if own else poll.own,
    )
