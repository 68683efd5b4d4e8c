"""How events read outside the program: JSON objects, the same in WebSocket frames, in event streams and
in pages of a log.
"""

from __future__ import annotations

from typing import Literal

import msgspec

from tertulia.application.sync import OwnHead
from tertulia.domain.events import Event, LogKind


class EventFrame(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    type: str
    conversation: str
    seq: int
    at: int
    user: str
    ordinal: int
    all_ordinal: int = 0
    thread: int = 0
    thread_ordinal: int = 0
    target: int = 0
    client_id: str = ""
    body: msgspec.Raw


class VoidFrame(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True, tag="void"):
    """A position that is not the reader's to see, or whose body was erased.  The counts keep unread
    right."""

    conversation: str
    seq: int
    at: int = 0
    ordinal: int = 0
    all_ordinal: int = 0
    thread: int = 0
    thread_ordinal: int = 0


class HeadDoc(msgspec.Struct, frozen=True, kw_only=True):
    """Where a log stands, and the reader's own cursors in it: `unread` messages follow `read`."""

    conversation: str
    kind: LogKind
    seq: int
    updated_at: int
    read: int
    received: int
    unread: int


class Hello(msgspec.Struct, frozen=True, kw_only=True):
    type: Literal["hello"] = "hello"
    session: str
    tenant: str
    user: str
    device: str
    generation: str
    at: int
    expires_at: int
    heartbeat_ms: int
    limits: dict[str, int]
    heads: list[HeadDoc]


class Truncated(msgspec.Struct, frozen=True, kw_only=True, rename={"from_": "from"}):
    """Events `from`..`to` of a log were not replayed; read them by `events.read` or over REST."""

    type: Literal["truncated"] = "truncated"
    conversation: str
    from_: int
    to: int


class Resync(msgspec.Struct, frozen=True, kw_only=True):
    """Positions of another generation mean nothing: forget them and fetch anew."""

    type: Literal["resync"] = "resync"
    generation: str


class Resumed(msgspec.Struct, frozen=True, kw_only=True):
    type: Literal["resumed"] = "resumed"


def void_frame(event: Event) -> VoidFrame:
    """What a reader gets in place of an event that is not theirs to see."""
    return VoidFrame(
        conversation=event.log,
        seq=event.seq,
        at=event.at,
        ordinal=event.ordinal,
        all_ordinal=event.all_ordinal,
        thread=event.thread,
        thread_ordinal=event.thread_ordinal,
    )


def event_frame(event: Event) -> EventFrame | VoidFrame:
    """How an event reads on the wire; an erased one is a void."""
    if event.body is None:
        return void_frame(event)
    return EventFrame(
        type=event.kind,
        conversation=event.log,
        seq=event.seq,
        at=event.at,
        user=event.actor,
        ordinal=event.ordinal,
        all_ordinal=event.all_ordinal,
        thread=event.thread,
        thread_ordinal=event.thread_ordinal,
        target=event.target,
        client_id=event.client_id,
        body=msgspec.Raw(event.body),
    )


def head_doc(head: OwnHead) -> HeadDoc:
    """A head as `hello` lists it."""
    return HeadDoc(
        conversation=head.log,
        kind=head.kind,
        seq=head.last_seq,
        updated_at=head.updated_at,
        read=head.read,
        received=head.received,
        unread=head.unread,
    )
