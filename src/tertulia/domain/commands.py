"""Commands: everything a signed-in person can ask to change.

One struct per command; its tag is the name on every wire (`message.send`).  `COMMANDS` is the
registry that the access matrix and the state tests enumerate: a command that is not listed there
cannot be dispatched.  Every command may carry a `client_id`: a repeat with the same one and the same
fields gets the first answer again, with other fields it is refused (`client_id_reused`).
"""

from __future__ import annotations

from typing import Annotated, ClassVar, Literal

import msgspec
from msgspec import Meta

from tertulia.domain.content import Content, Emoji, Id, Seq
from tertulia.domain.events import Role

ClientId = Annotated[str, Meta(min_length=1, max_length=128, pattern=r"^[\x21-\x7e]+$")]
Name = Annotated[str, Meta(min_length=1, max_length=128)]
Slug = Annotated[str, Meta(min_length=2, max_length=64, pattern=r"^[a-z0-9][a-z0-9-]*[a-z0-9]$")]
UserIds = Annotated[tuple[Id, ...], Meta(max_length=500)]
Millis = Annotated[int, Meta(ge=0, le=2**53)]


class Command(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True, forbid_unknown_fields=True):
    """Base of all commands."""

    durable: ClassVar[bool] = True
    """False: an ephemeral command; nothing is written to a log."""

    client_id: ClientId | None = None
    ref: Annotated[str, Meta(max_length=64)] | None = None
    """Names the request on its connection; the answer repeats it.  Not part of what is asked."""


# --- messages ------------------------------------------------------------------------------------


class SendMessage(Command, frozen=True, kw_only=True, tag="message.send"):
    """Send a message.  `thread`: the seq of the root it answers in a thread."""

    conversation: Id
    content: Content
    thread: Seq | None = None
    reply_to: Seq | None = None
    quote: QuoteRequest | None = None
    foreign: msgspec.Raw | msgspec.UnsetType = msgspec.UNSET


class QuoteRequest(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """A passage of an earlier message; the server checks that it stands there."""

    seq: Seq
    text: Annotated[str, Meta(min_length=1, max_length=4096)]


class ForwardMessage(Command, frozen=True, kw_only=True, tag="message.forward"):
    """Send a copy of a message that one may read to another conversation."""

    conversation: Id
    from_conversation: Id
    from_seq: Seq
    thread: Seq | None = None


class EditMessage(Command, frozen=True, kw_only=True, tag="message.edit"):
    conversation: Id
    seq: Seq
    content: Content


class DeleteMessage(Command, frozen=True, kw_only=True, tag="message.delete"):
    """`everyone` false: only for oneself (all of one's devices)."""

    conversation: Id
    seq: Seq
    everyone: bool = False


class AddReaction(Command, frozen=True, kw_only=True, tag="reaction.add"):
    conversation: Id
    seq: Seq
    emoji: Emoji


class RemoveReaction(Command, frozen=True, kw_only=True, tag="reaction.remove"):
    conversation: Id
    seq: Seq
    emoji: Emoji


class PinMessage(Command, frozen=True, kw_only=True, tag="message.pin"):
    conversation: Id
    seq: Seq


class UnpinMessage(Command, frozen=True, kw_only=True, tag="message.unpin"):
    conversation: Id
    seq: Seq


class VotePoll(Command, frozen=True, kw_only=True, tag="poll.vote"):
    """Replaces one's earlier vote; no options withdraws it."""

    conversation: Id
    seq: Seq
    options: Annotated[tuple[Annotated[int, Meta(ge=0, le=19)], ...], Meta(max_length=20)]


class ClosePoll(Command, frozen=True, kw_only=True, tag="poll.close"):
    conversation: Id
    seq: Seq


class ScheduleMessage(Command, frozen=True, kw_only=True, tag="schedule.create"):
    """Send later; `send_at` in Unix ms, at most a year ahead."""

    conversation: Id
    content: Content
    send_at: Millis
    thread: Seq | None = None
    reply_to: Seq | None = None


class CancelSchedule(Command, frozen=True, kw_only=True, tag="schedule.cancel"):
    schedule: Id


class MarkRead(Command, frozen=True, kw_only=True, tag="message.read"):
    """Everything up to `seq` is read (and received).  With `thread`, within that thread."""

    durable: ClassVar[bool] = False

    conversation: Id
    seq: Seq
    thread: Seq | None = None


class MarkReceived(Command, frozen=True, kw_only=True, tag="message.received"):
    durable: ClassVar[bool] = False

    conversation: Id
    seq: Seq


class FollowThread(Command, frozen=True, kw_only=True, tag="thread.follow"):
    conversation: Id
    thread: Seq


class UnfollowThread(Command, frozen=True, kw_only=True, tag="thread.unfollow"):
    conversation: Id
    thread: Seq


class SetDraft(Command, frozen=True, kw_only=True, tag="draft.set"):
    """An empty text removes the draft."""

    conversation: Id
    text: Annotated[str, Meta(max_length=65536)]
    thread: Seq | None = None
    reply_to: Seq | None = None


class AddBookmark(Command, frozen=True, kw_only=True, tag="bookmark.add"):
    conversation: Id
    seq: Seq
    note: Annotated[str, Meta(max_length=500)] = ""


class RemoveBookmark(Command, frozen=True, kw_only=True, tag="bookmark.remove"):
    conversation: Id
    seq: Seq


# --- conversations -------------------------------------------------------------------------------


class OpenDirect(Command, frozen=True, kw_only=True, tag="conversation.open_direct"):
    """The one direct conversation with `user`: made when it is not there yet."""

    user: Id


class CreateGroup(Command, frozen=True, kw_only=True, tag="conversation.create_group"):
    name: Name
    members: UserIds = ()
    description: Annotated[str, Meta(max_length=2000)] = ""
    history: Literal["all", "joined"] = "joined"


class CreateChannel(Command, frozen=True, kw_only=True, tag="conversation.create_channel"):
    """A public channel is listed, found by search and joined by anyone of the tenant."""

    name: Name
    slug: Slug
    description: Annotated[str, Meta(max_length=2000)] = ""
    public: bool = True
    members: UserIds = ()


class CreateTopic(Command, frozen=True, kw_only=True, tag="topic.create"):
    """A named sub-log of a channel; it inherits the channel's members and permissions."""

    conversation: Id
    name: Name


class UpdateConversation(Command, frozen=True, kw_only=True, tag="conversation.update"):
    """Fields that are absent stay as they are.  `message_ttl_s`: messages sent from now on disappear
    after that many seconds (0: never)."""

    conversation: Id
    name: Name | None = None
    description: Annotated[str, Meta(max_length=2000)] | None = None
    photo: Annotated[str, Meta(max_length=512)] | None = None
    slug: Slug | None = None
    public: bool | None = None
    history: Literal["all", "joined"] | None = None
    message_ttl_s: Annotated[int, Meta(ge=0, le=31_536_000)] | None = None
    who_may_send: Role | None = None


class DeleteConversation(Command, frozen=True, kw_only=True, tag="conversation.delete"):
    conversation: Id


class JoinChannel(Command, frozen=True, kw_only=True, tag="conversation.join"):
    conversation: Id


class LeaveConversation(Command, frozen=True, kw_only=True, tag="conversation.leave"):
    conversation: Id


class AddMember(Command, frozen=True, kw_only=True, tag="member.add"):
    conversation: Id
    user: Id
    role: Role = "member"


class RemoveMember(Command, frozen=True, kw_only=True, tag="member.remove"):
    conversation: Id
    user: Id


class SetRole(Command, frozen=True, kw_only=True, tag="member.set_role"):
    """Giving `owner` away keeps one's own role: a conversation may have several owners, never none."""

    conversation: Id
    user: Id
    role: Role


class CreateInvite(Command, frozen=True, kw_only=True, tag="invite.create"):
    """The link's secret comes back once, in the answer.  0: no limit."""

    conversation: Id
    expires_at: Millis = 0
    max_uses: Annotated[int, Meta(ge=0, le=100_000)] = 0


class RevokeInvite(Command, frozen=True, kw_only=True, tag="invite.revoke"):
    conversation: Id
    invite: Id


class AcceptInvite(Command, frozen=True, kw_only=True, tag="invite.accept"):
    token: Annotated[str, Meta(min_length=16, max_length=128)]


class SetPreferences(Command, frozen=True, kw_only=True, tag="preferences.set"):
    """One's own view of a conversation: how it notifies, and where it stands in the list."""

    conversation: Id
    notify: Literal["all", "mentions", "none"] | None = None
    muted_until: Millis | None = None
    pinned: bool | None = None
    archived: bool | None = None


# --- people --------------------------------------------------------------------------------------


class UpdateProfile(Command, frozen=True, kw_only=True, tag="profile.update"):
    name: Name | None = None
    handle: Annotated[str, Meta(min_length=2, max_length=64)] | None = None
    photo: Annotated[str, Meta(max_length=512)] | None = None
    status: Annotated[str, Meta(max_length=280)] | None = None


class UpdateSettings(Command, frozen=True, kw_only=True, tag="settings.update"):
    """Replaces the given sections of the settings document (see `domain/settings.py`)."""

    settings: msgspec.Raw


class RequestContact(Command, frozen=True, kw_only=True, tag="contact.request"):
    user: Id


class AcceptContact(Command, frozen=True, kw_only=True, tag="contact.accept"):
    user: Id


class RemoveContact(Command, frozen=True, kw_only=True, tag="contact.remove"):
    """Also declines a request and withdraws one's own."""

    user: Id


class BlockUser(Command, frozen=True, kw_only=True, tag="user.block"):
    user: Id


class UnblockUser(Command, frozen=True, kw_only=True, tag="user.unblock"):
    user: Id


class CreateReport(Command, frozen=True, kw_only=True, tag="report.create"):
    """Report a person, or one of their messages (`conversation` and `seq`)."""

    user: Id
    reason: Literal["spam", "abuse", "illegal", "other"]
    note: Annotated[str, Meta(max_length=2000)] = ""
    conversation: Id | None = None
    seq: Seq | None = None


class RevokeDevice(Command, frozen=True, kw_only=True, tag="device.revoke"):
    """Signs a device out: its sessions are closed and its tokens refused from now on."""

    device: Id


# --- ephemeral -----------------------------------------------------------------------------------


class SetTyping(Command, frozen=True, kw_only=True, tag="typing.set"):
    durable: ClassVar[bool] = False

    conversation: Id
    composing: bool = True
    thread: Seq | None = None


class SetPresence(Command, frozen=True, kw_only=True, tag="presence.set"):
    durable: ClassVar[bool] = False

    state: Literal["online", "away"]


COMMAND_TYPES: tuple[type[Command], ...] = (
    SendMessage,
    ForwardMessage,
    EditMessage,
    DeleteMessage,
    AddReaction,
    RemoveReaction,
    PinMessage,
    UnpinMessage,
    VotePoll,
    ClosePoll,
    ScheduleMessage,
    CancelSchedule,
    MarkRead,
    MarkReceived,
    FollowThread,
    UnfollowThread,
    SetDraft,
    AddBookmark,
    RemoveBookmark,
    OpenDirect,
    CreateGroup,
    CreateChannel,
    CreateTopic,
    UpdateConversation,
    DeleteConversation,
    JoinChannel,
    LeaveConversation,
    AddMember,
    RemoveMember,
    SetRole,
    CreateInvite,
    RevokeInvite,
    AcceptInvite,
    SetPreferences,
    UpdateProfile,
    UpdateSettings,
    RequestContact,
    AcceptContact,
    RemoveContact,
    BlockUser,
    UnblockUser,
    CreateReport,
    RevokeDevice,
    SetTyping,
    SetPresence,
)

COMMANDS: dict[str, type[Command]] = {str(cls.__struct_config__.tag): cls for cls in COMMAND_TYPES}


class Accepted(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    """The answer to a command.

    `conversation` and `seq` name the event that it made (for a personal log: the user's id), `at` its
    time.  `repeated`: this `client_id` was done before, and this is its first answer.  `created` is the
    id of what was made (conversation, invite, schedule, report); `secret` is an invite's token.
    """

    conversation: str = ""
    seq: int = 0
    at: int = 0
    repeated: bool = False
    created: str = ""
    secret: str = ""
