"""Short ways to write the units that the contract suite appends."""

from __future__ import annotations

import hashlib

from tertulia.domain.content import Content, Text
from tertulia.domain.events import (
    LogKind,
    MessageDeleted,
    MessageNew,
    MessageUpdated,
    PollVoted,
    ReactionChanged,
    Role,
    encode_body,
)
from tertulia.domain.records import Block, Conversation, Member
from tertulia.domain.unit import Expect, NewEvent, Put, Unit, Write

TENANT = "t1"
AT = 1_700_000_000_000


def digest(text: str) -> bytes:
    return hashlib.blake2b(text.encode(), digest_size=16).digest()


def unit(
    *events: NewEvent,
    actor: str = "ann",
    at: int = AT,
    tenant: str = TENANT,
    expects: tuple[Expect, ...] = (),
    writes: tuple[Write, ...] = (),
    client_id: str = "",
    request: str = "",
    own_cursor: bool = True,
) -> Unit:
    return Unit(
        tenant=tenant,
        actor=actor,
        at=at,
        events=events,
        expects=expects,
        writes=writes,
        client_id=client_id,
        idem=digest(f"{tenant}/{actor}/{client_id}") if client_id else b"",
        request=digest(request) if client_id else b"",
        own_cursor=own_cursor,
    )


def text(
    log: str,
    words: str | Content = "hello",
    *,
    actor: str = "ann",
    thread: int = 0,
    mentions: tuple[str, ...] = (),
    at_all: bool = False,
    expires_at: int = 0,
    creates: LogKind | None = None,
    countable: bool = True,
) -> NewEvent:
    content = Text(text=words) if isinstance(words, str) else words
    return NewEvent(
        log=log,
        kind="message.new",
        body=encode_body(MessageNew(content=content)),
        actor=actor,
        thread=thread,
        countable=countable,
        mentions=mentions,
        at_all=at_all,
        expires_at=expires_at,
        creates=creates,
    )


def made(log: str, kind: LogKind = "group", *, actor: str = "ann", room: str = "") -> NewEvent:
    """The first event of a new log."""
    return NewEvent(log=log, kind="conversation.created", body=b"{}", actor=actor, creates=kind, room=room)


def about(
    log: str, kind: str, target: int, body: bytes = b"{}", *, actor: str = "ann", erases: bool = False
) -> NewEvent:
    return NewEvent(log=log, kind=kind, body=body, actor=actor, target=target, erases_target=erases)


def edit(log: str, target: int, words: str, *, actor: str = "ann") -> NewEvent:
    body = encode_body(MessageUpdated(content=Text(text=words)))
    return about(log, "message.updated", target, body, actor=actor)


def delete(log: str, target: int, *, actor: str = "ann") -> NewEvent:
    return about(log, "message.deleted", target, encode_body(MessageDeleted()), actor=actor, erases=True)


def react(log: str, target: int, emoji: str, *, actor: str = "ann", gone: bool = False) -> NewEvent:
    kind = "reaction.removed" if gone else "reaction.new"
    return about(log, kind, target, encode_body(ReactionChanged(emoji=emoji)), actor=actor)


def vote(
    log: str, target: int, options: tuple[int, ...], previous: tuple[int, ...] = (), actor: str = "ann"
) -> NewEvent:
    body = encode_body(PollVoted(options=options, previous=previous))
    return about(log, "poll.voted", target, body, actor=actor)


def conversation(log: str, **fields: object) -> Put:
    record = Conversation(
        **{"tenant": TENANT, "id": log, "kind": "group", "created_at": AT, "created_by": "ann", **fields}
    )
    return Put(record)


def member(log: str, user: str, *, since: int = 0, role: Role = "member") -> Put:
    return Put(Member(tenant=TENANT, conversation=log, user=user, role=role, joined_at=AT, since=since))


def block(user: str, other: str) -> Put:
    return Put(Block(tenant=TENANT, user=user, other=other, at=AT))
