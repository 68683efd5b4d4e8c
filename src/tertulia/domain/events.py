"""Events: what a log is made of.

An event is a permanent, pseudonymous header and a body that can be erased on its own
(design rule 8).  The header says who did what kind of thing when and to which earlier event; the
body (JSON of the struct that `BODIES` names for the kind) holds everything a person wrote.
"""

from __future__ import annotations

from typing import Literal, get_args

import msgspec

from tertulia.domain.content import Content, Forward, Quote

ConversationKind = Literal["direct", "group", "channel", "topic"]
LogKind = Literal["direct", "group", "channel", "topic", "personal"]
Role = Literal["owner", "admin", "moderator", "member", "guest"]


class Event(msgspec.Struct, frozen=True, kw_only=True, gc=False):
    """One committed entry of a log.

    `seq` is dense from 1 in its log; `at` (Unix ms) never decreases within a log.  `ordinal` and
    `all_ordinal` are running counts of countable messages and of @all messages up to and including
    this event (design rule 4), `thread_ordinal` of replies in its thread.  `target` is the seq that
    the event is about (0: none), `thread` the seq of the thread's root (0: the main log).  `room` is
    the id of the conversation whose members see it.  `body` is None once erased.
    """

    tenant: str
    log: str
    room: str
    log_kind: LogKind
    seq: int
    kind: str
    actor: str
    at: int
    ordinal: int
    all_ordinal: int
    thread_ordinal: int = 0
    target: int = 0
    thread: int = 0
    key_id: str = ""
    body: bytes | None = b"{}"
    client_id: str = ""


# --- bodies, by kind ---------------------------------------------------------------------------


class Body(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    """Base of every event body."""


class MessageNew(Body, frozen=True, kw_only=True, omit_defaults=True):
    content: Content
    reply_to: int | None = None
    quote: Quote | None = None
    forward: Forward | None = None
    expires_at: int | None = None
    foreign: msgspec.Raw | msgspec.UnsetType = msgspec.UNSET
    """Raw and None do not go together: msgspec would take nothing but null."""


class MessageUpdated(Body, frozen=True, kw_only=True, omit_defaults=True):
    content: Content


class Empty(Body, frozen=True, kw_only=True, omit_defaults=True):
    """A body with nothing in it: the header says it all."""


class MessageDeleted(Body, frozen=True, kw_only=True, omit_defaults=True):
    by_timer: bool = False


class ReactionChanged(Body, frozen=True, kw_only=True, omit_defaults=True):
    emoji: str


class PollVoted(Body, frozen=True, kw_only=True, omit_defaults=True):
    options: tuple[int, ...]
    previous: tuple[int, ...] = ()


class ConversationCreated(Body, frozen=True, kw_only=True, omit_defaults=True):
    kind: ConversationKind
    name: str = ""
    description: str = ""
    slug: str = ""
    public: bool = False
    history: Literal["all", "joined"] = "joined"
    parent: str | None = None


class ConversationUpdated(Body, frozen=True, kw_only=True, omit_defaults=True):
    """The fields that changed, with their new values; the rest are absent."""

    name: str | None = None
    description: str | None = None
    photo: str | None = None
    slug: str | None = None
    public: bool | None = None
    history: Literal["all", "joined"] | None = None
    message_ttl_s: int | None = None
    who_may_send: Role | None = None


class MemberAdded(Body, frozen=True, kw_only=True, omit_defaults=True):
    user: str
    role: Role
    by: Literal["add", "join", "invite", "create"] = "add"


class MemberRemoved(Body, frozen=True, kw_only=True, omit_defaults=True):
    user: str
    left: bool = False


class MemberUpdated(Body, frozen=True, kw_only=True, omit_defaults=True):
    user: str
    role: Role


class TopicCreated(Body, frozen=True, kw_only=True, omit_defaults=True):
    topic: str
    name: str


class InviteChanged(Body, frozen=True, kw_only=True, omit_defaults=True):
    invite: str


# personal log


class ConversationJoined(Body, frozen=True, kw_only=True, omit_defaults=True):
    conversation: str
    kind: ConversationKind
    role: Role = "member"
    history: Literal["all", "joined"] = "joined"


class ConversationLeft(Body, frozen=True, kw_only=True, omit_defaults=True):
    conversation: str


class PreferencesUpdated(Body, frozen=True, kw_only=True, omit_defaults=True):
    conversation: str
    notify: Literal["all", "mentions", "none"] = "all"
    muted_until: int = 0
    pinned: bool = False
    archived: bool = False


class SettingsUpdated(Body, frozen=True, kw_only=True, omit_defaults=True):
    settings: msgspec.Raw


class ProfileUpdated(Body, frozen=True, kw_only=True, omit_defaults=True):
    name: str | None = None
    handle: str | None = None
    photo: str | None = None
    status: str | None = None


class ContactChanged(Body, frozen=True, kw_only=True, omit_defaults=True):
    user: str
    state: Literal["requested", "received", "accepted", "removed"]


class BlockChanged(Body, frozen=True, kw_only=True, omit_defaults=True):
    user: str


class DraftUpdated(Body, frozen=True, kw_only=True, omit_defaults=True):
    conversation: str
    thread: int = 0
    text: str = ""
    reply_to: int | None = None


class BookmarkChanged(Body, frozen=True, kw_only=True, omit_defaults=True):
    conversation: str
    seq: int
    note: str = ""


class MessageHidden(Body, frozen=True, kw_only=True, omit_defaults=True):
    conversation: str
    seq: int


class ScheduleChanged(Body, frozen=True, kw_only=True, omit_defaults=True):
    schedule: str
    conversation: str
    send_at: int = 0
    content: Content | None = None
    thread: int | None = None
    reply_to: int | None = None
    seq: int | None = None
    failed: str | None = None


class DeviceChanged(Body, frozen=True, kw_only=True, omit_defaults=True):
    device: str
    name: str = ""


class Reported(Body, frozen=True, kw_only=True, omit_defaults=True):
    report: str


class ThreadFollowed(Body, frozen=True, kw_only=True, omit_defaults=True):
    conversation: str
    thread: int


BODIES: dict[str, type[Body]] = {
    "message.new": MessageNew,
    "message.updated": MessageUpdated,
    "message.deleted": MessageDeleted,
    "message.pinned": Empty,
    "message.unpinned": Empty,
    "reaction.new": ReactionChanged,
    "reaction.removed": ReactionChanged,
    "poll.voted": PollVoted,
    "poll.closed": Empty,
    "conversation.created": ConversationCreated,
    "conversation.updated": ConversationUpdated,
    "conversation.deleted": Empty,
    "member.added": MemberAdded,
    "member.removed": MemberRemoved,
    "member.updated": MemberUpdated,
    "topic.created": TopicCreated,
    "invite.created": InviteChanged,
    "invite.revoked": InviteChanged,
    # personal log
    "conversation.joined": ConversationJoined,
    "conversation.left": ConversationLeft,
    "preferences.updated": PreferencesUpdated,
    "settings.updated": SettingsUpdated,
    "profile.updated": ProfileUpdated,
    "contact.updated": ContactChanged,
    "user.blocked": BlockChanged,
    "user.unblocked": BlockChanged,
    "draft.updated": DraftUpdated,
    "bookmark.added": BookmarkChanged,
    "bookmark.removed": BookmarkChanged,
    "message.hidden": MessageHidden,
    "schedule.created": ScheduleChanged,
    "schedule.cancelled": ScheduleChanged,
    "schedule.sent": ScheduleChanged,
    "schedule.failed": ScheduleChanged,
    "device.added": DeviceChanged,
    "device.revoked": DeviceChanged,
    "report.created": Reported,
    "thread.followed": ThreadFollowed,
    "thread.unfollowed": ThreadFollowed,
}

_encode = msgspec.json.Encoder().encode
_decoders = {kind: msgspec.json.Decoder(body) for kind, body in BODIES.items()}


def encode_body(body: Body) -> bytes:
    """The stored form of a body: compact JSON in UTF-8."""
    return _encode(body)


def decode_body(kind: str, body: bytes) -> Body:
    """The struct that `encode_body` wrote for an event of this kind."""
    return _decoders[kind].decode(body)


ROLES: tuple[Role, ...] = get_args(Role)
