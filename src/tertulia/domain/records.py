"""Rows: the current state that commits change beside the log.

A record is a typed row with a primary key and declared indexes; stores know nothing else about it.
Every key starts with the tenant.  A store keeps a `version` beside each row, 1 at first and one more
with every change; an append may rest on it (`VersionIs`).  Index fields are columns; all other fields
may be added later with a default and need no migration.
"""

from __future__ import annotations

from typing import ClassVar, Generic, Literal, TypeVar

import msgspec

from tertulia.domain.events import ConversationKind, Role

KeyPart = str | int
Key = tuple[KeyPart, ...]


class Index(msgspec.Struct, frozen=True):
    """A named index.  `unique`: two rows with the same values are refused (`conflict`), rows whose
    values hold "" or 0 in the last field excepted."""

    name: str
    fields: tuple[str, ...]
    unique: bool = False


class Record(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    """Base of all rows."""

    table: ClassVar[str] = ""
    key_fields: ClassVar[tuple[str, ...]] = ()
    indexes: ClassVar[tuple[Index, ...]] = ()

    tenant: str

    def key(self) -> Key:
        """The primary key's values, in the order of `key_fields`."""
        return tuple(getattr(self, name) for name in self.key_fields)


R = TypeVar("R", bound=Record)


class Versioned(msgspec.Struct, Generic[R], frozen=True):
    """A row and its version."""

    record: R
    version: int


# --- tenants and people --------------------------------------------------------------------------


class Tenant(Record, frozen=True, kw_only=True, omit_defaults=True):
    """One customer's world.  Limits are per tenant; 0 means the server's default."""

    table: ClassVar[str] = "tenant"
    key_fields: ClassVar[tuple[str, ...]] = ("tenant",)

    name: str
    created_at: int
    max_text: int = 8000
    max_members: int = 10_000
    open_sign_up: bool = True
    signing_secret_id: str = ""
    jwks: str = ""


class ApiKey(Record, frozen=True, kw_only=True, omit_defaults=True):
    """A secret with which a customer's backend signs user tokens (HS256)."""

    table: ClassVar[str] = "api_key"
    key_fields: ClassVar[tuple[str, ...]] = ("tenant", "id")

    id: str
    secret: str
    created_at: int
    revoked_at: int = 0


class User(Record, frozen=True, kw_only=True, omit_defaults=True):
    """A person or bot.  `external` is the customer backend's own id for the user ("" for people who
    signed up here).  Handles are never reused: `HandleTaken` outlives the user, and `handles_at` holds
    when the newest ones were taken (Unix ms; see `profile_rules.handle_times`)."""

    table: ClassVar[str] = "user"
    key_fields: ClassVar[tuple[str, ...]] = ("tenant", "id")
    indexes: ClassVar[tuple[Index, ...]] = (
        Index("handle", ("tenant", "handle"), unique=True),
        Index("external", ("tenant", "external"), unique=True),
    )

    id: str
    handle: str
    name: str
    created_at: int
    external: str = ""
    photo: str = ""
    status: str = ""
    bot: bool = False
    operator: bool = False
    disabled: bool = False
    handles_at: tuple[int, ...] = ()


class HandleTaken(Record, frozen=True, kw_only=True, omit_defaults=True):
    """A handle that was ever given out, and to whom."""

    table: ClassVar[str] = "handle_taken"
    key_fields: ClassVar[tuple[str, ...]] = ("tenant", "handle")

    handle: str
    user: str


class Identity(Record, frozen=True, kw_only=True, omit_defaults=True):
    """An e-mail address or phone number: a user's, verified, or one that a sign-up waits at.

    While it waits `verified_at` is 0, `user` is "" and `sign_up` holds what was asked for (JSON); no
    user exists before the code has come back."""

    table: ClassVar[str] = "identity"
    key_fields: ClassVar[tuple[str, ...]] = ("tenant", "kind", "value")
    indexes: ClassVar[tuple[Index, ...]] = (Index("user", ("tenant", "user")),)

    kind: Literal["email", "phone"]
    value: str
    user: str
    verified_at: int = 0
    findable: bool = True
    sign_up: bytes = b""


class Credential(Record, frozen=True, kw_only=True, omit_defaults=True):
    """A user's password verifiers (argon2id and SCRAM keys), as JSON."""

    table: ClassVar[str] = "credential"
    key_fields: ClassVar[tuple[str, ...]] = ("tenant", "user")

    user: str
    verifiers: bytes
    changed_at: int


class Code(Record, frozen=True, kw_only=True, omit_defaults=True):
    """A one-time code that was sent to an address; only its keyed hash is stored."""

    table: ClassVar[str] = "code"
    key_fields: ClassVar[tuple[str, ...]] = ("tenant", "purpose", "address")

    purpose: Literal["verify", "reset"]
    address: str
    digest: bytes
    expires_at: int
    attempts: int = 0
    user: str = ""


class Device(Record, frozen=True, kw_only=True, omit_defaults=True):
    """One login of a user, with its refresh-token family.  Secrets are stored as SHA-256 only."""

    table: ClassVar[str] = "device"
    key_fields: ClassVar[tuple[str, ...]] = ("tenant", "user", "id")
    indexes: ClassVar[tuple[Index, ...]] = (Index("family", ("tenant", "family"), unique=True),)

    user: str
    id: str
    name: str
    created_at: int
    seen_at: int
    family: str = ""
    counter: int = 0
    secret: bytes = b""
    previous: bytes = b""
    rotated_at: int = 0
    expires_at: int = 0
    revoked_at: int = 0


class Settings(Record, frozen=True, kw_only=True, omit_defaults=True):
    """A user's settings document (see `domain/settings.py`), as JSON."""

    table: ClassVar[str] = "settings"
    key_fields: ClassVar[tuple[str, ...]] = ("tenant", "user")

    user: str
    document: bytes


class LastSeen(Record, frozen=True, kw_only=True, omit_defaults=True):
    """When a user's last session ended (Unix ms)."""

    table: ClassVar[str] = "last_seen"
    key_fields: ClassVar[tuple[str, ...]] = ("tenant", "user")

    user: str
    at: int


class Contact(Record, frozen=True, kw_only=True, omit_defaults=True):
    """How `user` stands to `other`: both sides have a row of their own."""

    table: ClassVar[str] = "contact"
    key_fields: ClassVar[tuple[str, ...]] = ("tenant", "user", "other")

    user: str
    other: str
    state: Literal["requested", "received", "accepted"]
    at: int


class Block(Record, frozen=True, kw_only=True, omit_defaults=True):
    """`user` has blocked `other`."""

    table: ClassVar[str] = "block"
    key_fields: ClassVar[tuple[str, ...]] = ("tenant", "user", "other")
    indexes: ClassVar[tuple[Index, ...]] = (Index("other", ("tenant", "other", "user")),)

    user: str
    other: str
    at: int


class Report(Record, frozen=True, kw_only=True, omit_defaults=True):
    """A person's report of a message or of a person, kept for moderation."""

    table: ClassVar[str] = "report"
    key_fields: ClassVar[tuple[str, ...]] = ("tenant", "id")

    id: str
    reporter: str
    at: int
    user: str
    reason: str
    note: str = ""
    conversation: str = ""
    seq: int = 0
    state: Literal["open", "closed"] = "open"


# --- conversations -------------------------------------------------------------------------------


class Conversation(Record, frozen=True, kw_only=True, omit_defaults=True):
    """A conversation's current description.  Its log has the same id.

    `pair` is the sorted two user ids of a direct conversation ("" otherwise), `slug` a channel's
    name in links, `parent` a topic's channel.
    """

    table: ClassVar[str] = "conversation"
    key_fields: ClassVar[tuple[str, ...]] = ("tenant", "id")
    indexes: ClassVar[tuple[Index, ...]] = (
        Index("pair", ("tenant", "pair"), unique=True),
        Index("slug", ("tenant", "slug"), unique=True),
        Index("parent", ("tenant", "parent", "id")),
        Index("listed", ("tenant", "listed", "id")),
    )

    id: str
    kind: ConversationKind
    created_at: int
    created_by: str
    name: str = ""
    description: str = ""
    photo: str = ""
    pair: str = ""
    slug: str = ""
    parent: str = ""
    listed: int = 0
    public: bool = False
    history: Literal["all", "joined"] = "joined"
    message_ttl_s: int = 0
    who_may_send: Role = "guest"
    deleted_at: int = 0


class Member(Record, frozen=True, kw_only=True, omit_defaults=True):
    """A user's membership.  `since` is the log's last seq before the join (set by the write `Join`): with
    `history="joined"` the member sees what follows it.  Preferences (`notify` …) are the member's own."""

    table: ClassVar[str] = "member"
    key_fields: ClassVar[tuple[str, ...]] = ("tenant", "conversation", "user")
    indexes: ClassVar[tuple[Index, ...]] = (Index("user", ("tenant", "user", "conversation")),)

    conversation: str
    user: str
    role: Role
    joined_at: int
    since: int = 0
    notify: Literal["all", "mentions", "none"] = "all"
    muted_until: int = 0
    pinned: bool = False
    archived: bool = False


class Invite(Record, frozen=True, kw_only=True, omit_defaults=True):
    """An invite link.  The token is a secret: only its SHA-256 is the key."""

    table: ClassVar[str] = "invite"
    key_fields: ClassVar[tuple[str, ...]] = ("tenant", "conversation", "id")
    indexes: ClassVar[tuple[Index, ...]] = (Index("digest", ("tenant", "digest"), unique=True),)

    conversation: str
    id: str
    digest: bytes
    created_by: str
    created_at: int
    expires_at: int = 0
    max_uses: int = 0
    uses: int = 0
    revoked_at: int = 0


class Pin(Record, frozen=True, kw_only=True, omit_defaults=True):
    table: ClassVar[str] = "pin"
    key_fields: ClassVar[tuple[str, ...]] = ("tenant", "conversation", "seq")

    conversation: str
    seq: int
    by: str
    at: int


class Reaction(Record, frozen=True, kw_only=True, omit_defaults=True):
    """`user` reacted to a message with `emoji`."""

    table: ClassVar[str] = "reaction"
    key_fields: ClassVar[tuple[str, ...]] = ("tenant", "conversation", "seq", "emoji", "user")
    indexes: ClassVar[tuple[Index, ...]] = (Index("own", ("tenant", "conversation", "user", "seq")),)

    conversation: str
    seq: int
    emoji: str
    user: str
    at: int


class Vote(Record, frozen=True, kw_only=True, omit_defaults=True):
    """A user's vote in a poll: the numbers of the chosen options."""

    table: ClassVar[str] = "vote"
    key_fields: ClassVar[tuple[str, ...]] = ("tenant", "conversation", "seq", "user")

    conversation: str
    seq: int
    user: str
    options: tuple[int, ...]


class ThreadFollow(Record, frozen=True, kw_only=True, omit_defaults=True):
    """`user` follows the thread at `root`; their place is the cursor of that thread."""

    table: ClassVar[str] = "thread_follow"
    key_fields: ClassVar[tuple[str, ...]] = ("tenant", "conversation", "root", "user")
    indexes: ClassVar[tuple[Index, ...]] = (Index("user", ("tenant", "user", "conversation", "root")),)

    conversation: str
    root: int
    user: str


class Hidden(Record, frozen=True, kw_only=True, omit_defaults=True):
    """A message that `user` deleted for themselves."""

    table: ClassVar[str] = "hidden"
    key_fields: ClassVar[tuple[str, ...]] = ("tenant", "user", "conversation", "seq")

    user: str
    conversation: str
    seq: int


class Draft(Record, frozen=True, kw_only=True, omit_defaults=True):
    table: ClassVar[str] = "draft"
    key_fields: ClassVar[tuple[str, ...]] = ("tenant", "user", "conversation", "thread")

    user: str
    conversation: str
    thread: int
    text: str
    reply_to: int = 0
    at: int = 0


class Bookmark(Record, frozen=True, kw_only=True, omit_defaults=True):
    table: ClassVar[str] = "bookmark"
    key_fields: ClassVar[tuple[str, ...]] = ("tenant", "user", "conversation", "seq")

    user: str
    conversation: str
    seq: int
    note: str = ""
    at: int = 0


class Scheduled(Record, frozen=True, kw_only=True, omit_defaults=True):
    """A message to be sent at `send_at`; `command` is the JSON of the send command."""

    table: ClassVar[str] = "scheduled"
    key_fields: ClassVar[tuple[str, ...]] = ("tenant", "user", "id")
    indexes: ClassVar[tuple[Index, ...]] = (Index("due", ("send_at", "tenant", "user", "id")),)

    user: str
    id: str
    conversation: str
    send_at: int
    command: bytes
    created_at: int


class Outbox(Record, frozen=True, kw_only=True, omit_defaults=True):
    """Work that follows a commit: claimed by one worker at a time, deleted when done.

    `due_at` is when it may be tried next; a claim moves it forward, so that a worker that dies frees
    its claims by itself.
    """

    table: ClassVar[str] = "outbox"
    key_fields: ClassVar[tuple[str, ...]] = ("tenant", "id")
    indexes: ClassVar[tuple[Index, ...]] = (Index("due", ("topic", "due_at", "id")),)

    id: str
    topic: str
    due_at: int
    payload: bytes
    attempts: int = 0
    created_at: int = 0


# --- rows that the store itself writes within an append -----------------------------------------


class Cursor(Record, frozen=True, kw_only=True, omit_defaults=True):
    """A member's two cursors into a log (`thread` 0) or a thread.  `ordinal` and `all_ordinal` are
    the counts at `read`, so that unread is a subtraction (design rule 4)."""

    table: ClassVar[str] = "cursor"
    key_fields: ClassVar[tuple[str, ...]] = ("tenant", "conversation", "user", "thread")
    indexes: ClassVar[tuple[Index, ...]] = (Index("user", ("tenant", "user", "conversation", "thread")),)

    conversation: str
    user: str
    thread: int = 0
    read: int = 0
    received: int = 0
    ordinal: int = 0
    all_ordinal: int = 0


class Mention(Record, frozen=True, kw_only=True, omit_defaults=True):
    """A personal mention of `user` in a message."""

    table: ClassVar[str] = "mention"
    key_fields: ClassVar[tuple[str, ...]] = ("tenant", "user", "conversation", "seq")

    user: str
    conversation: str
    seq: int


class Expiry(Record, frozen=True, kw_only=True, omit_defaults=True):
    """A message that disappears at `at`."""

    table: ClassVar[str] = "expiry"
    key_fields: ClassVar[tuple[str, ...]] = ("tenant", "conversation", "seq")
    indexes: ClassVar[tuple[Index, ...]] = (Index("due", ("at", "tenant", "conversation", "seq")),)

    conversation: str
    seq: int
    at: int


RECORDS: tuple[type[Record], ...] = (
    Tenant,
    ApiKey,
    User,
    HandleTaken,
    Identity,
    Credential,
    Code,
    Device,
    Settings,
    LastSeen,
    Contact,
    Block,
    Report,
    Conversation,
    Member,
    Invite,
    Pin,
    Reaction,
    Vote,
    ThreadFollow,
    Hidden,
    Draft,
    Bookmark,
    Scheduled,
    Outbox,
    Cursor,
    Mention,
    Expiry,
)
