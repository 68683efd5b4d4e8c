"""The bodies of requests: every field with its bounds, nothing beyond them.

What holds a password, a code or a token does not show it in its `repr` (`Discreet`).
"""

from __future__ import annotations

from typing import Annotated, ClassVar, Literal

import msgspec
from msgspec import UNSET, Meta, UnsetType

from tertulia.application.account_types import (
    Address,
    DeviceName,
    Discreet,
    Handle,
    LanguageTag,
    OneTimeCode,
    Password,
    PersonName,
)
from tertulia.domain.commands import Millis, Name, QuoteRequest, Slug, UserIds
from tertulia.domain.content import Content, Id, Seq
from tertulia.domain.events import Role
from tertulia.domain.settings import Audience, Colour

Description = Annotated[str, Meta(max_length=2000)]
Photo = Annotated[str, Meta(max_length=512)]
Minute = Annotated[int, Meta(ge=0, le=1439)]
BearerToken = Annotated[str, Meta(min_length=1, max_length=8192)]


class Body(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """Base of all request bodies."""


# --- accounts ------------------------------------------------------------------------------------


class SignUpBody(Discreet, frozen=True, kw_only=True):
    """Exactly one of `email` and `phone` (with its country: `+34600123456`)."""

    secret: ClassVar[frozenset[str]] = frozenset({"password"})

    email: Address | None = None
    phone: Address | None = None
    password: Password
    handle: Handle
    name: PersonName
    language: LanguageTag = ""


class VerifyBody(Discreet, frozen=True, kw_only=True):
    """`handle` replaces the one asked for at sign-up, when somebody else got it in between."""

    secret: ClassVar[frozenset[str]] = frozenset({"code"})

    address: Address
    code: OneTimeCode
    device: DeviceName = ""
    handle: Handle | None = None


class AddressBody(Body, frozen=True, kw_only=True):
    """An e-mail address or a phone number."""

    address: Address


class SignInBody(Discreet, frozen=True, kw_only=True):
    """`login`: an address, or a handle with or without `@`.  `device` names this login in the list of
    devices."""

    secret: ClassVar[frozenset[str]] = frozenset({"password"})

    login: Annotated[str, Meta(min_length=1, max_length=254)]
    password: Password
    device: DeviceName = ""


class UserTokenBody(Discreet, frozen=True, kw_only=True):
    """A token that the customer's backend signed."""

    secret: ClassVar[frozenset[str]] = frozenset({"token"})

    token: BearerToken
    device: DeviceName = ""


class RefreshBody(Discreet, frozen=True, kw_only=True):
    """The refresh token is used up."""

    secret: ClassVar[frozenset[str]] = frozenset({"refresh_token"})

    refresh_token: BearerToken


class ConfirmResetBody(Discreet, frozen=True, kw_only=True):
    """The code that was sent, and the new password."""

    secret: ClassVar[frozenset[str]] = frozenset({"code", "password"})

    address: Address
    code: OneTimeCode
    password: Password


class ChangePasswordBody(Discreet, frozen=True, kw_only=True):
    """The password that holds now, and the one that shall hold."""

    secret: ClassVar[frozenset[str]] = frozenset({"current", "new"})

    current: Password
    new: Password


# --- one's own -----------------------------------------------------------------------------------


class ProfilePatch(Body, frozen=True, kw_only=True):
    """Fields that are absent or null stay as they are."""

    name: Name | None = None
    handle: Annotated[str, Meta(min_length=2, max_length=64)] | None = None
    photo: Photo | None = None
    status: Annotated[str, Meta(max_length=280)] | None = None


class AppearancePatch(Body, frozen=True, kw_only=True):
    """Fields that are absent stay as they are."""

    theme: Literal["system", "light", "dark"] | UnsetType = UNSET
    accent: Colour | UnsetType = UNSET
    font_size: Annotated[int, Meta(ge=10, le=32)] | UnsetType = UNSET
    background: Annotated[str, Meta(max_length=128)] | UnsetType = UNSET
    language: LanguageTag | UnsetType = UNSET


class NotificationsPatch(Body, frozen=True, kw_only=True):
    """Fields that are absent stay as they are."""

    notify: Literal["all", "mentions", "none"] | UnsetType = UNSET
    sound: bool | UnsetType = UNSET
    preview: bool | UnsetType = UNSET
    quiet_from: Minute | UnsetType = UNSET
    quiet_to: Minute | UnsetType = UNSET
    time_zone: Annotated[str, Meta(max_length=64, pattern=r"^[A-Za-z0-9_+/-]*$")] | UnsetType = UNSET


class PrivacyPatch(Body, frozen=True, kw_only=True):
    """Fields that are absent stay as they are."""

    last_seen: Audience | UnsetType = UNSET
    photo: Audience | UnsetType = UNSET
    read_receipts: bool | UnsetType = UNSET
    findable_by_email: bool | UnsetType = UNSET
    findable_by_phone: bool | UnsetType = UNSET
    add_to_groups: Audience | UnsetType = UNSET


class SettingsPatchBody(Body, frozen=True, kw_only=True):
    """The sections to change; inside a section only the fields that are given."""

    appearance: AppearancePatch | UnsetType = UNSET
    notifications: NotificationsPatch | UnsetType = UNSET
    privacy: PrivacyPatch | UnsetType = UNSET


class DraftBody(Body, frozen=True, kw_only=True):
    """An empty text removes the draft."""

    text: Annotated[str, Meta(max_length=65536)]
    thread: Seq | None = None
    reply_to: Seq | None = None


class BookmarkBody(Body, frozen=True, kw_only=True):
    """A note to oneself."""

    note: Annotated[str, Meta(max_length=500)] = ""


class PresenceBody(Body, frozen=True, kw_only=True):
    """For the streams of this device; without one nothing is shown."""

    state: Literal["online", "away"]


class ReportBody(Body, frozen=True, kw_only=True):
    """A person, or one of their messages (`conversation` and `seq`)."""

    user: Id
    reason: Literal["spam", "abuse", "illegal", "other"]
    note: Annotated[str, Meta(max_length=2000)] = ""
    conversation: Id | None = None
    seq: Seq | None = None


# --- conversations -------------------------------------------------------------------------------


class DirectBody(Body, frozen=True, kw_only=True, tag="direct", tag_field="kind"):
    """The one direct conversation with `user`; made when it is not there yet."""

    user: Id


class GroupBody(Body, frozen=True, kw_only=True, tag="group", tag_field="kind"):
    """A group that the caller owns.  `history`: what those who join later may read."""

    name: Name
    members: UserIds = ()
    description: Description = ""
    history: Literal["all", "joined"] = "joined"


class ChannelBody(Body, frozen=True, kw_only=True, tag="channel", tag_field="kind"):
    """A channel that the caller owns.  A public one is listed and joined by anyone."""

    name: Name
    slug: Slug
    description: Description = ""
    public: bool = True
    members: UserIds = ()


NewConversation = DirectBody | GroupBody | ChannelBody


class ConversationPatch(Body, frozen=True, kw_only=True):
    """Fields that are absent or null stay as they are."""

    name: Name | None = None
    description: Description | None = None
    photo: Photo | None = None
    slug: Slug | None = None
    public: bool | None = None
    history: Literal["all", "joined"] | None = None
    message_ttl_s: Annotated[int, Meta(ge=0, le=31_536_000)] | None = None
    who_may_send: Role | None = None


class MemberBody(Body, frozen=True, kw_only=True):
    """The role that the person shall have, who becomes a member when they are none."""

    role: Role = "member"


class TopicBody(Body, frozen=True, kw_only=True):
    """A topic's name."""

    name: Name


class InviteBody(Body, frozen=True, kw_only=True):
    """When the link ends (Unix ms), and how many it lets in.  0: no limit."""

    expires_at: Millis = 0
    max_uses: Annotated[int, Meta(ge=0, le=100_000)] = 0


class AcceptInviteBody(Discreet, frozen=True, kw_only=True):
    """The token of an invite link."""

    secret: ClassVar[frozenset[str]] = frozenset({"token"})

    token: Annotated[str, Meta(min_length=16, max_length=128)]


class PreferencesPatch(Body, frozen=True, kw_only=True):
    """Fields that are absent or null stay as they are."""

    notify: Literal["all", "mentions", "none"] | None = None
    muted_until: Millis | None = None
    pinned: bool | None = None
    archived: bool | None = None


class TypingBody(Body, frozen=True, kw_only=True):
    """Whether one writes, in the thread of a root or in the main log."""

    composing: bool = True
    thread: Seq | None = None


class CursorsBody(Body, frozen=True, kw_only=True):
    """Everything up to `read` is read, up to `received` received; at least one of them.  With `thread`,
    `read` is a place in that thread."""

    read: Seq | None = None
    received: Seq | None = None
    thread: Seq | None = None


# --- messages ------------------------------------------------------------------------------------


class MessageBody(Body, frozen=True, kw_only=True):
    """A message.  `thread`: the seq of the root that it answers in a thread."""

    content: Content
    thread: Seq | None = None
    reply_to: Seq | None = None
    quote: QuoteRequest | None = None


class EditBody(Body, frozen=True, kw_only=True):
    """The new wording."""

    content: Content


class VoteBody(Body, frozen=True, kw_only=True):
    """Numbers of options from 0, in place of one's earlier vote; none withdraws it."""

    options: Annotated[tuple[Annotated[int, Meta(ge=0, le=19)], ...], Meta(max_length=20)]


class ForwardBody(Body, frozen=True, kw_only=True):
    """Where a copy goes."""

    conversation: Id
    thread: Seq | None = None


class ScheduleBody(Body, frozen=True, kw_only=True):
    """A message to be sent at `send_at` (Unix ms), at most a year ahead."""

    content: Content
    send_at: Millis
    thread: Seq | None = None
    reply_to: Seq | None = None
