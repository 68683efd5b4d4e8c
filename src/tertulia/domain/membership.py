"""Who belongs to a conversation and what it is like: the rules, as pure functions.

Each says why it refuses, and says no more than the caller may know.
"""

from __future__ import annotations

import base64
from typing import Any, Final

import msgspec

from tertulia.domain.commands import UpdateConversation
from tertulia.domain.errors import Refusal
from tertulia.domain.events import ConversationKind, ConversationUpdated, Role
from tertulia.domain.permissions import outranks, rank
from tertulia.domain.profile_rules import check_photo, normalise_name
from tertulia.domain.records import Conversation, Invite, Member
from tertulia.domain.settings import Audience

MAX_CONVERSATIONS: Final = 5000
"""How many conversations a person may be in by their own doing."""

MAX_TOPICS: Final = 1000
MAX_INVITES: Final = 200

_UPDATABLE: Final[dict[ConversationKind, frozenset[str]]] = {
    "direct": frozenset({"message_ttl_s"}),
    "topic": frozenset({"name", "description", "photo"}),
    "group": frozenset({"name", "description", "photo", "history", "message_ttl_s", "who_may_send"}),
    "channel": frozenset(
        {"name", "description", "photo", "slug", "public", "history", "message_ttl_s", "who_may_send"}
    ),
}
_FIELDS: Final = ConversationUpdated.__struct_fields__


class Addressee(msgspec.Struct, frozen=True, kw_only=True):
    """A person whom a command names, as the caller stands to them.

    `blocks`: they blocked the caller; `blocked`: the caller blocked them; `contact`: they accepted the
    caller as a contact.  `exists` is False for an account that is off too.
    """

    user: str
    exists: bool
    blocks: bool = False
    blocked: bool = False
    contact: bool = False
    add_to_groups: Audience = "everyone"


def check_reachable(person: Addressee, field: str = "user") -> Refusal | None:
    """Whether the caller may turn to someone: `forbidden` for whom they blocked themselves, otherwise
    `not_found` alike for nobody, an account that is off and one that blocked the caller."""
    if person.blocked:
        return Refusal("forbidden", "You have blocked this person.", field=field)
    if not person.exists or person.blocks:
        return Refusal("not_found", "No such user.", field=field)
    return None


def check_addable(person: Addressee, field: str = "user") -> Refusal | None:
    """Whether the caller may make someone a member without asking them."""
    refusal = check_reachable(person, field)
    if refusal is not None:
        return refusal
    match person.add_to_groups:
        case "everyone":
            welcome = True
        case "contacts":
            welcome = person.contact
        case "nobody":
            welcome = False
    if welcome:
        return None
    return Refusal("forbidden", "This person cannot be added; send them an invite instead.", field=field)


def too_many_members(limit: int) -> Refusal:
    """The tenant's limit stands in the way."""
    return Refusal("limit_reached", f"A conversation has at most {limit} members.")


# --- roles ---------------------------------------------------------------------------------------


def check_gives(actor: Member, role: Role) -> Refusal | None:
    """Owners give any role, others only those that are weaker than their own."""
    if actor.role == "owner" or rank(actor.role) < rank(role):
        return None
    return Refusal("forbidden", f"Your role does not allow giving the role {role}.", field="role")


def check_set_role(actor: Member, target: Member, role: Role, *, another_owner: bool) -> Refusal | None:
    """Whether `actor`, who may set roles, may give `target` this one.

    Everyone may step down themselves.  `another_owner`: someone else than the target is an owner."""
    steps_down = actor.user == target.user and rank(role) > rank(target.role)
    if not steps_down:
        if not outranks(actor, target):
            return Refusal("forbidden", "Your role does not allow changing this member.", field="user")
        refusal = check_gives(actor, role)
        if refusal is not None:
            return refusal
    if target.role == "owner" and role != "owner" and not another_owner:
        return Refusal("conflict", "A conversation needs an owner: make someone else an owner first.")
    return None


def check_remove(actor: Member, target: Member) -> Refusal | None:
    """Whether `actor`, who may remove members, may remove this one.  Never leaves a conversation
    without an owner, because only owners remove owners."""
    if outranks(actor, target):
        return None
    return Refusal("forbidden", "Your role does not allow removing this member.", field="user")


def check_leave(member: Member, *, alone: bool, another_owner: bool) -> Refusal | None:
    """The last owner stays as long as there are others."""
    if member.role != "owner" or alone or another_owner:
        return None
    return Refusal(
        "conflict", "You are the last owner: make someone else an owner first, or delete the conversation."
    )


# --- what a conversation is like -----------------------------------------------------------------


def check_description(text: str) -> str:
    """The text itself.  Raises Refusal `invalid` for control characters other than line ends and tabs."""
    if any((char < " " and char not in "\n\r\t") or char == "\x7f" for char in text):
        raise Refusal("invalid", "A description cannot hold control characters.", field="description")
    return text


def conversation_changes(conversation: Conversation, command: UpdateConversation) -> ConversationUpdated:
    """What the command changes; all fields absent when nothing is different.

    Raises Refusal `invalid` for a field that this kind of conversation does not have."""
    changes: dict[str, Any] = {}
    for field in _FIELDS:
        value = getattr(command, field)
        if value is None:
            continue
        if field not in _UPDATABLE[conversation.kind]:
            raise Refusal("invalid", f"A {conversation.kind} has no `{field}` to change.", field=field)
        if field == "name":
            value = normalise_name(value)
        elif field == "description":
            value = check_description(value)
        elif field == "photo":
            value = check_photo(value)
        if value != getattr(conversation, field):
            changes[field] = value
    return ConversationUpdated(**changes)


def changed_conversation(conversation: Conversation, changes: ConversationUpdated) -> Conversation:
    """The row after `conversation.updated`."""
    fields: dict[str, Any] = {
        name: value for name in _FIELDS if (value := getattr(changes, name)) is not None
    }
    if changes.public is not None:
        fields["listed"] = int(changes.public)
    return msgspec.structs.replace(conversation, **fields)


def deleted_conversation(conversation: Conversation, at: int) -> Conversation:
    """The row after `conversation.deleted`: it gives its slug back and is listed nowhere."""
    return msgspec.structs.replace(conversation, deleted_at=at, slug="", listed=0)


# --- invites -------------------------------------------------------------------------------------


def invite_token(invite: str, digest: bytes) -> str:
    """The secret of an invite link: `{invite id}.{keyed digest in base64url}`."""
    return f"{invite}.{base64.urlsafe_b64encode(digest).rstrip(b'=').decode('ascii')}"


def is_live(invite: Invite, now_ms: int) -> bool:
    """Whether an invite still lets someone in."""
    if invite.revoked_at or (invite.max_uses and invite.uses >= invite.max_uses):
        return False
    return not invite.expires_at or now_ms < invite.expires_at


def check_invite(invite: Invite, now_ms: int) -> Refusal | None:
    """What someone hears who holds the invite's token: `expired` when it lets nobody in any more."""
    return None if is_live(invite, now_ms) else invite_expired()


def invite_expired() -> Refusal:
    """One answer for all that ends an invite: its date, its uses, its owner's word, its conversation."""
    return Refusal("expired", "This invite is no longer valid.")
