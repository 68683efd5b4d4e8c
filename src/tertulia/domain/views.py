"""The current view of a message: its event with every later change folded in.

`fold` is pure and total: a store calls it inside the commit for each event that has a target (or is
a reply in a thread), and `tertulia doctor --rebuild` replays a whole log through it.
"""

from __future__ import annotations

import msgspec

from tertulia.domain.events import (
    Event,
    MessageNew,
    MessageUpdated,
    PollVoted,
    ReactionChanged,
    decode_body,
)


class Fold(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    """What later events changed about one message.  Absent for a message nothing happened to.

    `content` is the JSON of the newest content, b"" while it is the one first sent.  `votes[i]` counts
    option i.  `version` is the number of events folded in, `changed_seq` the seq of the newest of them:
    a client that fetched the view must not fold it in again.
    """

    version: int = 0
    changed_seq: int = 0
    content: msgspec.Raw = msgspec.Raw()
    edited_at: int = 0
    edits: int = 0
    deleted_at: int = 0
    deleted_by: str = ""
    reactions: dict[str, int] = {}
    votes: tuple[int, ...] = ()
    voters: int = 0
    closed: bool = False
    pinned: bool = False
    replies: int = 0
    last_reply_seq: int = 0
    last_reply_at: int = 0


class MessageView(msgspec.Struct, frozen=True, kw_only=True):
    """A message as it stands now.  `event` is the `message.new` it began with."""

    event: Event
    fold: Fold

    @property
    def seq(self) -> int:
        return self.event.seq


NOTHING = Fold()


def _bumped(counts: dict[str, int], name: str, by: int) -> dict[str, int]:
    value = counts.get(name, 0) + by
    rest = {k: v for k, v in counts.items() if k != name or value > 0}
    if value > 0:
        rest[name] = value
    return rest


def _tally(votes: tuple[int, ...], body: PollVoted) -> tuple[int, ...]:
    size = max([len(votes), *(i + 1 for i in (*body.options, *body.previous))])
    counts = list(votes) + [0] * (size - len(votes))
    for option in body.previous:
        counts[option] -= 1
    for option in body.options:
        counts[option] += 1
    return tuple(counts)


def folded_seq(event_kind: str, target: int, thread: int) -> int:
    """The seq of the message whose view an event changes; 0 when it changes none."""
    if target:
        return target
    return thread if event_kind == "message.new" else 0


def fold(view: Fold, event: Event) -> Fold:
    """The view after `event`, an event whose `folded_seq` is the view's message."""
    view = msgspec.structs.replace(view, version=view.version + 1, changed_seq=event.seq)
    return _changed(view, event)


def _changed(view: Fold, event: Event) -> Fold:
    change = msgspec.structs.replace
    if event.kind == "message.new":
        return change(
            view,
            replies=view.replies + 1,
            last_reply_seq=event.seq,
            last_reply_at=event.at,
        )
    if event.kind == "message.deleted":
        return Fold(
            version=view.version,
            changed_seq=view.changed_seq,
            deleted_at=event.at,
            deleted_by=event.actor,
            replies=view.replies,
            last_reply_seq=view.last_reply_seq,
            last_reply_at=view.last_reply_at,
        )
    if event.kind in ("message.pinned", "message.unpinned"):
        return change(view, pinned=event.kind == "message.pinned")
    if event.kind == "poll.closed":
        return change(view, closed=True)
    if event.body is None:
        return view
    body = decode_body(event.kind, event.body)
    match body:
        case MessageUpdated():
            return change(
                view,
                content=msgspec.Raw(msgspec.json.encode(body.content)),
                edited_at=event.at,
                edits=view.edits + 1,
            )
        case ReactionChanged():
            by = 1 if event.kind == "reaction.new" else -1
            return change(view, reactions=_bumped(view.reactions, body.emoji, by))
        case PollVoted():
            voters = view.voters + bool(body.options) - bool(body.previous)
            return change(view, votes=_tally(view.votes, body), voters=voters)
        case _:
            return view


def current_content(view: MessageView) -> bytes:
    """The JSON of the message's content as it stands now; b"" when it was deleted or erased."""
    if view.fold.deleted_at or view.event.body is None:
        return b""
    if view.fold.content:
        return bytes(view.fold.content)
    body = decode_body("message.new", view.event.body)
    assert isinstance(body, MessageNew)
    return msgspec.json.encode(body.content)
