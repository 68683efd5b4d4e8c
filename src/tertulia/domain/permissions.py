"""Who may do what in a conversation: the one place where that is decided.

Pure: from the rows to a set of capabilities, and from a missing capability to the refusal the caller
sees.  Someone who may not see a conversation gets the same answer as when it does not exist.
"""

from __future__ import annotations

from typing import Literal, get_args

import msgspec

from tertulia.domain.errors import Refusal, not_found
from tertulia.domain.events import ROLES, Role
from tertulia.domain.records import Conversation, Member
from tertulia.domain.unit import EpochIs

Capability = Literal[
    "read",
    "send",
    "react",
    "edit_own",
    "delete_own",
    "delete_any",
    "pin",
    "mention_all",
    "poll",
    "update",
    "delete",
    "add_members",
    "remove_members",
    "set_roles",
    "invite",
    "join",
    "leave",
    "create_topic",
    "typing",
]

CAPABILITIES: tuple[Capability, ...] = get_args(Capability)

_READER: frozenset[Capability] = frozenset({"read", "leave"})
_WRITER: frozenset[Capability] = frozenset(
    {"read", "leave", "send", "react", "edit_own", "delete_own", "poll", "typing"}
)
_MODERATOR: frozenset[Capability] = _WRITER.union(
    ("delete_any", "pin", "mention_all", "remove_members", "create_topic")
)
_ADMIN: frozenset[Capability] = _MODERATOR.union(("update", "add_members", "set_roles", "invite"))
_OWNER: frozenset[Capability] = _ADMIN.union(("delete",))

_BY_ROLE: dict[Role, frozenset[Capability]] = {
    "owner": _OWNER,
    "admin": _ADMIN,
    "moderator": _MODERATOR,
    "member": _WRITER.union(("create_topic",)),
    "guest": _WRITER,
}
_DIRECT: frozenset[Capability] = _WRITER.union(("pin", "update")) - {"leave"}
_CHANGES: frozenset[Capability] = frozenset({"send", "react", "poll", "typing", "edit_own", "pin", "update"})


class Standing(msgspec.Struct, frozen=True, kw_only=True):
    """How a user stands to a conversation, and the epochs of the logs that this rests on.

    `member` is None for a stranger.  For a topic, `conversation` is the topic, `home` its channel, and
    `member` the membership in the channel; otherwise `home` is the conversation itself.  `peer` is the
    other person of a direct conversation; `unreachable`: the peer blocked the user or is gone;
    `blocking`: the user blocked the peer.
    """

    conversation: Conversation
    home: Conversation
    member: Member | None
    epochs: tuple[EpochIs, ...]
    peer: str = ""
    unreachable: bool = False
    blocking: bool = False

    @property
    def floor(self) -> int:
        """The seq up to which the history is not the member's to read (0: all is)."""
        if self.member is None or self.conversation.kind == "topic":
            return 0
        return self.member.since if self.home.history == "joined" else 0


def rank(role: Role) -> int:
    """0 for an owner, growing as roles get weaker."""
    return ROLES.index(role)


def capabilities(standing: Standing) -> frozenset[Capability]:
    """Everything the user may do there."""
    conversation, home, member = standing.conversation, standing.home, standing.member
    if conversation.deleted_at or home.deleted_at:
        return frozenset()
    if member is None:
        if home.kind == "channel" and home.public:
            return frozenset({"read", "join"})
        return frozenset()
    if home.kind == "direct":
        if standing.unreachable or standing.blocking:
            return _DIRECT - _CHANGES
        return _DIRECT
    allowed = _BY_ROLE[member.role]
    if home.kind != "channel" or conversation.kind == "topic":
        allowed -= {"create_topic"}
    if conversation.kind == "topic":
        allowed -= {"add_members", "remove_members", "set_roles", "invite", "leave"}
    if rank(member.role) > rank(home.who_may_send):
        allowed -= {"send", "poll", "typing"}
    return allowed


def decide(standing: Standing, capability: Capability) -> Refusal | None:
    """None when allowed; otherwise the refusal, which says no more than the caller may know."""
    allowed = capabilities(standing)
    if capability in allowed:
        return None
    if "read" not in allowed:
        return not_found()
    if standing.home.kind == "direct" and capability in _CHANGES:
        if standing.blocking:
            return Refusal("forbidden", "You have blocked this person.")
        if standing.unreachable:
            return Refusal("peer_unavailable", "This person cannot be reached.")
    if standing.member is None:
        return Refusal("forbidden", "Join the channel first.")
    return Refusal("forbidden", f"Your role does not allow this ({capability}).")


def outranks(actor: Member, target: Member) -> bool:
    """Whether `actor` may remove or change `target`: owners all, others only weaker roles."""
    return actor.role == "owner" or rank(actor.role) < rank(target.role)
