"""Events: what a log is made of, and the signals that pass beside it.

A log is a conversation's, a topic's, or one's own (its id is the user's).  Events are dense from 1.
`match event.body:` tells the kinds apart; a kind that is newer than this client has an `OtherBody`.
"""

from __future__ import annotations

from typing import Any, Literal

import msgspec

from tertulia_client.content import Content, Forward, Quote
from tertulia_client.models import ConversationKind, History, Notify, PresenceState, Role, SettingsDoc
from tertulia_client.wire import convert, decode


class Body(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    """Base of every body."""


class MessageNew(Body, frozen=True, kw_only=True, omit_defaults=True):
    content: Content
    reply_to: int | None = None
    quote: Quote | None = None
    forward: Forward | None = None
    expires_at: int | None = None
    foreign: dict[str, Any] | None = None


class MessageUpdated(Body, frozen=True, kw_only=True, omit_defaults=True):
    content: Content


class MessageDeleted(Body, frozen=True, kw_only=True, omit_defaults=True):
    by_timer: bool = False


class Empty(Body, frozen=True, kw_only=True, omit_defaults=True):
    """The header says it all."""


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
    history: History = "joined"
    parent: str | None = None


class ConversationUpdated(Body, frozen=True, kw_only=True, omit_defaults=True):
    """The fields that changed; the rest are null."""

    name: str | None = None
    description: str | None = None
    photo: str | None = None
    slug: str | None = None
    public: bool | None = None
    history: History | None = None
    message_ttl_s: int | None = None
    who_may_send: Role | None = None


class MemberAdded(Body, frozen=True, kw_only=True, omit_defaults=True):
    user: str
    role: Role
    by: str = "add"


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


class ConversationJoined(Body, frozen=True, kw_only=True, omit_defaults=True):
    conversation: str
    kind: ConversationKind
    role: Role = "member"


class ConversationLeft(Body, frozen=True, kw_only=True, omit_defaults=True):
    conversation: str


class PreferencesUpdated(Body, frozen=True, kw_only=True, omit_defaults=True):
    """All of one's preferences of a conversation, as they are now."""

    conversation: str
    notify: Notify = "all"
    muted_until: int = 0
    pinned: bool = False
    archived: bool = False


class SettingsUpdated(Body, frozen=True, kw_only=True, omit_defaults=True):
    """The whole document, as it is now."""

    settings: SettingsDoc


class ProfileUpdated(Body, frozen=True, kw_only=True, omit_defaults=True):
    """The fields that changed; the rest are null."""

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
    """An empty text: the draft is gone."""

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
    seq: int | None = None
    failed: str | None = None
    thread: int | None = None
    reply_to: int | None = None


class DeviceChanged(Body, frozen=True, kw_only=True, omit_defaults=True):
    device: str
    name: str = ""


class Reported(Body, frozen=True, kw_only=True, omit_defaults=True):
    report: str


class ThreadFollowed(Body, frozen=True, kw_only=True, omit_defaults=True):
    conversation: str
    thread: int


class Void(Body, frozen=True, kw_only=True, omit_defaults=True):
    """A place in the log that is not the reader's to see, or was erased."""


class OtherBody(Body, frozen=True, kw_only=True, omit_defaults=True):
    """The body of a kind that this client does not know."""

    fields: dict[str, Any]


BODIES: dict[str, type[Body]] = {
    "void": Void,
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


class Event(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    """One entry of a log.

    `conversation` is the log, `seq` its number there; `at` (Unix ms) never decreases within a log.
    `ordinal` and `all_ordinal` are running counts of messages and of @all messages in the main log up to
    here, `thread_ordinal` of replies in its thread.  `target` is the seq that the event is about, `thread`
    the root that a reply answers (0: none).
    """

    kind: str
    conversation: str
    seq: int
    body: Body
    at: int = 0
    user: str = ""
    ordinal: int = 0
    all_ordinal: int = 0
    thread: int = 0
    thread_ordinal: int = 0
    target: int = 0
    client_id: str = ""

    @property
    def message_id(self) -> str:
        """The id of this message on every wire."""
        return f"{self.conversation}.{self.seq}"


# --- signals: they may be lost ---------------------------------------------------------------------


class Typing(msgspec.Struct, frozen=True, kw_only=True):
    """Someone writes, or stopped to."""

    conversation: str
    user: str
    composing: bool
    thread: int = 0


class Presence(msgspec.Struct, frozen=True, kw_only=True):
    """`last_seen` 0: unknown, or not one's to know."""

    user: str
    state: PresenceState
    last_seen: int = 0


class CursorMoved(msgspec.Struct, frozen=True, kw_only=True):
    """Someone (oneself too, on another device) has read, or received, up to `seq`."""

    conversation: str
    user: str
    seq: int
    read: bool
    thread: int = 0


class UserUpdated(msgspec.Struct, frozen=True, kw_only=True):
    """Someone's profile changed; it can be fetched anew."""

    user: str


Signal = Typing | Presence | CursorMoved | UserUpdated


# --- decoding --------------------------------------------------------------------------------------


class _Frame(msgspec.Struct, frozen=True, kw_only=True):
    type: str
    conversation: str
    seq: int
    at: int = 0
    user: str = ""
    ordinal: int = 0
    all_ordinal: int = 0
    thread: int = 0
    thread_ordinal: int = 0
    target: int = 0
    client_id: str = ""
    body: msgspec.Raw = msgspec.Raw(b"{}")


class _Signal(msgspec.Struct, frozen=True, kw_only=True):
    type: str
    user: str = ""
    conversation: str = ""
    thread: int = 0
    seq: int = 0
    state: PresenceState = "offline"
    last_seen: int | None = None


SIGNALS = frozenset(
    {"typing.start", "typing.stop", "presence", "message.read", "message.received", "user.updated"}
)

_frame = msgspec.json.Decoder(_Frame)


def decode_event(data: bytes | str | msgspec.Raw) -> Event:
    """The event in a frame.  Raises msgspec.ValidationError or DecodeError."""
    frame = _frame.decode(data)
    shape = BODIES.get(frame.type)
    if shape is None:
        body: Body = OtherBody(fields=msgspec.json.decode(frame.body, type=dict[str, Any]))
    else:
        body = decode(bytes(frame.body), shape)
    return Event(
        kind=frame.type,
        conversation=frame.conversation,
        seq=frame.seq,
        at=frame.at,
        user=frame.user,
        ordinal=frame.ordinal,
        all_ordinal=frame.all_ordinal,
        thread=frame.thread,
        thread_ordinal=frame.thread_ordinal,
        target=frame.target,
        client_id=frame.client_id,
        body=body,
    )


def decode_signal(data: bytes | str) -> Signal:
    """The signal in a frame whose type is one of SIGNALS.  Raises msgspec.ValidationError."""
    frame = convert(msgspec.json.decode(data), _Signal)
    match frame.type:
        case "typing.start" | "typing.stop":
            return Typing(
                conversation=frame.conversation,
                user=frame.user,
                composing=frame.type == "typing.start",
                thread=frame.thread,
            )
        case "presence":
            return Presence(user=frame.user, state=frame.state, last_seen=frame.last_seen or 0)
        case "user.updated":
            return UserUpdated(user=frame.user)
        case _:
            return CursorMoved(
                conversation=frame.conversation,
                user=frame.user,
                seq=frame.seq,
                read=frame.type == "message.read",
                thread=frame.thread,
            )
