"""The documents that the REST interface answers with.

Times are Unix milliseconds, ids opaque strings, an absent text is "" and an absent number 0 unless the
field says null.  Unknown fields are ignored, so that a newer server can add some.
"""

from __future__ import annotations

from typing import Generic, Literal, TypeVar

import msgspec

from tertulia_client.content import Content, Forward, Quote

ConversationKind = Literal["direct", "group", "channel", "topic"]
Role = Literal["owner", "admin", "moderator", "member", "guest"]
Notify = Literal["all", "mentions", "none"]
History = Literal["all", "joined"]
Audience = Literal["everyone", "contacts", "nobody"]
ContactState = Literal["requested", "received", "accepted"]
PresenceState = Literal["online", "away", "offline"]


class Doc(msgspec.Struct, frozen=True, kw_only=True):
    """Base of all documents."""


T = TypeVar("T")


class Page(msgspec.Struct, Generic[T], frozen=True, kw_only=True):
    """One page of a list; `next_cursor` null: the last one."""

    items: list[T]
    next_cursor: str | None = None


# --- messages ------------------------------------------------------------------------------------


class PollDoc(Doc, frozen=True, kw_only=True):
    """`votes[i]` counts option i (one entry for each option); `own` are the caller's options, sorted."""

    votes: list[int]
    voters: int
    closed: bool
    own: list[int] = []


class RepliesDoc(Doc, frozen=True, kw_only=True):
    """The thread that hangs on a message."""

    count: int
    last_seq: int
    last_at: int


class MessageDoc(Doc, frozen=True, kw_only=True):
    """A message as it stands now, every later change folded in.

    A deleted or erased message stays with `content`, `poll`, `reply_to`, `quote`, `forward` and
    `expires_at` null and no reactions.  `thread` is the seq of the root that it answers (null: the main
    log).  `ordinal` is the running count of countable messages of the main log up to here, so that
    unread can be counted from any position.  `reactions` has no zero counts; `own_reactions` is sorted.
    `changed_seq` is the seq of the newest event that is folded in here (0: none was): events up to it
    must not be applied again.
    """

    id: str
    conversation: str
    seq: int
    at: int
    user: str
    content: Content | None
    reply_to: int | None = None
    quote: Quote | None = None
    forward: Forward | None = None
    thread: int | None = None
    expires_at: int | None = None
    edited_at: int | None = None
    edits: int = 0
    deleted_at: int | None = None
    deleted_by: str | None = None
    reactions: dict[str, int] = {}
    own_reactions: list[str] = []
    poll: PollDoc | None = None
    pinned: bool = False
    replies: RepliesDoc | None = None
    client_id: str | None = None
    ordinal: int = 0
    changed_seq: int = 0


class EditDoc(Doc, frozen=True, kw_only=True):
    """One earlier or current wording: of event `seq`, valid from `at` on."""

    seq: int
    at: int
    content: Content | None


class ReactionDoc(Doc, frozen=True, kw_only=True):
    emoji: str
    user: str
    at: int = 0


class ReceiptDoc(Doc, frozen=True, kw_only=True):
    """How far a member has received and read."""

    user: str
    read: int
    received: int


# --- conversations -------------------------------------------------------------------------------


class PreferencesDoc(Doc, frozen=True, kw_only=True):
    """One's own view of a conversation.  `muted_until` 0: not muted."""

    notify: Notify = "all"
    muted_until: int = 0
    pinned: bool = False
    archived: bool = False


class ConversationDoc(Doc, frozen=True, kw_only=True):
    """A conversation as the caller sees it.

    `last_seq`, `message_count` and `updated_at` are its head; everything else in the document is as of
    that `last_seq`.  `peer` is the other person of a direct conversation, `parent` a topic's channel.
    `role` is null for someone who is not a member; then `read`, `received`, `unread` and `mentions` are 0
    and `preferences` has the defaults.  `last_message` is the newest message of the main log that the
    caller may see, deleted ones included.
    """

    id: str
    kind: ConversationKind
    name: str = ""
    description: str = ""
    photo: str = ""
    slug: str = ""
    public: bool = False
    history: History = "joined"
    message_ttl_s: int = 0
    who_may_send: Role = "guest"
    parent: str | None = None
    peer: str | None = None
    created_at: int = 0
    role: Role | None = None
    own_capabilities: list[str] = []
    last_seq: int = 0
    message_count: int = 0
    updated_at: int = 0
    read: int = 0
    received: int = 0
    unread: int = 0
    mentions: int = 0
    preferences: PreferencesDoc = PreferencesDoc()
    last_message: MessageDoc | None = None
    member_count: int = 0


class MemberDoc(Doc, frozen=True, kw_only=True):
    """A member of a conversation, with what shows of the person."""

    user: str
    role: Role
    joined_at: int = 0
    handle: str = ""
    name: str = ""
    photo: str = ""


class InviteDoc(Doc, frozen=True, kw_only=True):
    """An invite link; its token is only in the answer that made it.  0: no limit."""

    id: str
    conversation: str
    created_by: str
    created_at: int
    expires_at: int = 0
    max_uses: int = 0
    uses: int = 0


class ThreadDoc(Doc, frozen=True, kw_only=True):
    """A followed thread: its root as it stands now, and the caller's place in it."""

    conversation: str
    thread: int
    read: int = 0
    unread: int = 0
    root: MessageDoc | None = None


# --- people --------------------------------------------------------------------------------------


class UserDoc(Doc, frozen=True, kw_only=True):
    """A person as the caller sees them."""

    id: str
    handle: str
    name: str
    photo: str = ""
    status: str = ""
    bot: bool = False
    contact_state: ContactState | Literal["none"] = "none"
    blocked_by_me: bool = False


class IdentityDoc(Doc, frozen=True, kw_only=True):
    kind: Literal["email", "phone"]
    value: str
    verified: bool = False


class MeDoc(Doc, frozen=True, kw_only=True):
    """One's own profile."""

    id: str
    handle: str
    name: str
    photo: str = ""
    status: str = ""
    bot: bool = False
    created_at: int = 0
    identities: list[IdentityDoc] = []


class PresenceDoc(Doc, frozen=True, kw_only=True):
    """`last_seen` null: unknown, or not the caller's to know."""

    user: str
    state: PresenceState
    last_seen: int | None = None


class ContactDoc(Doc, frozen=True, kw_only=True):
    """How the caller stands to `user`; `received`: they asked, and one may accept."""

    user: str
    state: ContactState
    at: int = 0
    handle: str = ""
    name: str = ""
    photo: str = ""


class BlockDoc(Doc, frozen=True, kw_only=True):
    user: str
    at: int = 0


class DeviceDoc(Doc, frozen=True, kw_only=True):
    """`current`: the device that asks."""

    id: str
    name: str
    created_at: int = 0
    seen_at: int = 0
    current: bool = False


class DraftDoc(Doc, frozen=True, kw_only=True):
    conversation: str
    thread: int | None = None
    text: str
    reply_to: int | None = None
    at: int = 0


class BookmarkDoc(Doc, frozen=True, kw_only=True):
    """`message` null: gone, or no longer the caller's to see."""

    conversation: str
    seq: int
    note: str = ""
    at: int = 0
    message: MessageDoc | None = None


class ScheduledDoc(Doc, frozen=True, kw_only=True):
    id: str
    conversation: str
    send_at: int
    content: Content
    thread: int | None = None
    reply_to: int | None = None
    created_at: int = 0


# --- settings ------------------------------------------------------------------------------------


class Appearance(Doc, frozen=True, kw_only=True):
    theme: Literal["system", "light", "dark"] = "system"
    accent: str = "#2f6fed"
    font_size: int = 15
    background: str = ""
    language: str = ""


class Notifications(Doc, frozen=True, kw_only=True):
    """`quiet_from` and `quiet_to` are minutes after midnight in `time_zone`; equal: no quiet hours."""

    notify: Notify = "all"
    sound: bool = True
    preview: bool = True
    quiet_from: int = 0
    quiet_to: int = 0
    time_zone: str = ""


class Privacy(Doc, frozen=True, kw_only=True):
    last_seen: Audience = "everyone"
    photo: Audience = "everyone"
    read_receipts: bool = True
    findable_by_email: bool = False
    findable_by_phone: bool = False
    add_to_groups: Audience = "everyone"


class SettingsDoc(Doc, frozen=True, kw_only=True):
    """The whole settings document."""

    appearance: Appearance = Appearance()
    notifications: Notifications = Notifications()
    privacy: Privacy = Privacy()


# --- answers -------------------------------------------------------------------------------------


class Accepted(Doc, frozen=True, kw_only=True):
    """The answer to a command.

    `conversation` and `seq` name the event that it made (for a personal log: the user's id).
    `repeated`: this `client_id` was done before, and this is its first answer.  `created` is the id of
    what was made, `secret` an invite's token.
    """

    conversation: str = ""
    seq: int = 0
    at: int = 0
    repeated: bool = False
    created: str = ""
    secret: str = ""


class TokensDoc(Doc, frozen=True, kw_only=True):
    """`expires_in`: seconds that the access token is good for.  A refresh token is good for one use."""

    access_token: str
    expires_in: int
    refresh_token: str
    user: str = ""
    device: str = ""


class EventsDoc(Doc, frozen=True, kw_only=True):
    """A stretch of a log, in the form of the WebSocket's event frames."""

    events: list[msgspec.Raw] = []
    more: bool = False


class Problem(Doc, frozen=True, kw_only=True):
    """RFC 9457 problem details with this interface's members."""

    title: str = ""
    status: int = 0
    detail: str = ""
    code: str = ""
    request_id: str = ""
    field: str | None = None
    retry_after_ms: int | None = None
