"""The documents that queries answer with: how things read for one person.

Times are Unix milliseconds, ids opaque strings, an absent text is "" and an absent number 0 unless the
field says null.  Fields may be added; none changes its meaning.
"""

from __future__ import annotations

from typing import Annotated, Literal

import msgspec
from msgspec import Meta

from tertulia.domain.content import Content, Forward, Quote
from tertulia.domain.events import ConversationKind, Role
from tertulia.domain.permissions import Capability
from tertulia.domain.visibility import ContactState

Notify = Literal["all", "mentions", "none"]
Count = Annotated[int, Meta(ge=0)]
At = Annotated[int, Meta(ge=0, description="Unix ms.")]
Place = Annotated[int, Meta(ge=0, description="A seq; 0: none.")]


class Doc(msgspec.Struct, frozen=True, kw_only=True):
    """Base of all documents."""


# --- messages ------------------------------------------------------------------------------------


class PollDoc(Doc, frozen=True, kw_only=True):
    """`votes[i]` counts option i (one entry for each option); `own` are the caller's options, sorted."""

    votes: list[Count]
    voters: Count
    closed: bool
    own: list[Count] = []


class RepliesDoc(Doc, frozen=True, kw_only=True):
    """The thread that hangs on a message."""

    count: Count
    last_seq: Place
    last_at: At


class MessageDoc(Doc, frozen=True, kw_only=True):
    """A message as it stands now, every later change folded in.

    A deleted, erased or disappeared message stays with `content`, `poll`, `reply_to`, `quote`, `forward`
    and `expires_at` null and no reactions.  `thread` is the seq of the root that it answers (null: the
    main log).  `ordinal` is the running count of countable messages of the main log up to here, so that
    unread can be counted from any position.  `reactions` has no zero counts; `own_reactions` is sorted.
    `changed_seq` is the seq of the newest event that is folded in here (0: none was): events up to it
    must not be applied again.
    """

    id: str
    conversation: str
    seq: Annotated[int, Meta(ge=1)]
    at: At
    user: str
    content: Content | None
    reply_to: int | None = None
    quote: Quote | None = None
    forward: Forward | None = None
    thread: int | None = None
    expires_at: int | None = None
    edited_at: int | None = None
    edits: Count = 0
    deleted_at: int | None = None
    deleted_by: str | None = None
    reactions: dict[str, Count] = {}
    own_reactions: list[str] = []
    poll: PollDoc | None = None
    pinned: bool = False
    replies: RepliesDoc | None = None
    client_id: str | None = None
    ordinal: Count = 0
    changed_seq: Place = 0


class EditDoc(Doc, frozen=True, kw_only=True):
    """One earlier or current wording: of event `seq`, valid from `at` on."""

    seq: Annotated[int, Meta(ge=1)]
    at: At
    content: Content | None


class ReactionDoc(Doc, frozen=True, kw_only=True):
    """Who reacted how."""

    emoji: str
    user: str
    at: At = 0


class ReceiptDoc(Doc, frozen=True, kw_only=True):
    """How far a member has received and read.  `read` is 0 for those who do not share it, and for all
    others when the caller does not."""

    user: str
    read: Place
    received: Place


# --- conversations -------------------------------------------------------------------------------


class PreferencesDoc(Doc, frozen=True, kw_only=True):
    """One's own view of a conversation.  `muted_until` 0: not muted."""

    notify: Notify = "all"
    muted_until: At = 0
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
    history: Literal["all", "joined"] = "joined"
    message_ttl_s: Count = 0
    who_may_send: Role = "guest"
    parent: str | None = None
    peer: str | None = None
    created_at: At = 0
    role: Role | None = None
    own_capabilities: list[Capability] = []
    last_seq: Place = 0
    message_count: Count = 0
    updated_at: At = 0
    read: Place = 0
    received: Place = 0
    unread: Count = 0
    mentions: Count = 0
    preferences: PreferencesDoc = PreferencesDoc()
    last_message: MessageDoc | None = None
    member_count: Count = 0


class MemberDoc(Doc, frozen=True, kw_only=True):
    """A member of a conversation, with what shows of the person."""

    user: str
    role: Role
    joined_at: At = 0
    handle: str = ""
    name: str = ""
    photo: str = ""


class InviteDoc(Doc, frozen=True, kw_only=True):
    """An invite link; its token is only in the answer that made it.  0: no limit."""

    id: str
    conversation: str
    created_by: str
    created_at: At
    expires_at: At = 0
    max_uses: Count = 0
    uses: Count = 0


class ThreadDoc(Doc, frozen=True, kw_only=True):
    """A followed thread: its root as it stands now, and the caller's place in it.  `root` null: no longer
    the caller's to see."""

    conversation: str
    thread: Annotated[int, Meta(ge=1)]
    read: Place = 0
    unread: Count = 0
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
    contact_state: ContactState = "none"
    blocked_by_me: bool = False


class IdentityDoc(Doc, frozen=True, kw_only=True):
    """An address of one's own."""

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
    created_at: At = 0
    identities: list[IdentityDoc] = []


class ContactDoc(Doc, frozen=True, kw_only=True):
    """How the caller stands to `user`; `received`: they asked, and one may accept."""

    user: str
    state: Literal["requested", "received", "accepted"]
    at: At = 0
    handle: str = ""
    name: str = ""
    photo: str = ""


class BlockDoc(Doc, frozen=True, kw_only=True):
    """Someone whom the caller blocked."""

    user: str
    at: At = 0


class DraftDoc(Doc, frozen=True, kw_only=True):
    """A text that is being written."""

    conversation: str
    thread: int | None = None
    text: str
    reply_to: int | None = None
    at: At = 0


class BookmarkDoc(Doc, frozen=True, kw_only=True):
    """`message` null: gone, or no longer the caller's to see."""

    conversation: str
    seq: Annotated[int, Meta(ge=1)]
    note: str = ""
    at: At = 0
    message: MessageDoc | None = None


class ScheduledDoc(Doc, frozen=True, kw_only=True):
    """A message that waits for its time."""

    id: str
    conversation: str
    send_at: At
    content: Content
    thread: int | None = None
    reply_to: int | None = None
    created_at: At = 0
