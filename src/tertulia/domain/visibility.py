"""What one person may see of another: pure rules over rows.

Someone who blocked the viewer, someone whose account is off and someone who never was look alike.
"""

from __future__ import annotations

from typing import Literal

import msgspec

from tertulia.domain.events import Event
from tertulia.domain.records import User
from tertulia.domain.settings import Audience, SettingsDocument

ContactState = Literal["none", "requested", "received", "accepted"]


_WORDS = frozenset({"message.new", "message.updated"})


def hidden_by_block(event: Event) -> bool:
    """Whether those who blocked the event's actor get a void in its place.

    What a blocked person writes is hidden, but in a direct conversation; what they change (roles, votes,
    names) is not, since everyone's picture of the conversation must agree."""
    return event.kind in _WORDS and event.log_kind != "direct"


class Floor(msgspec.Struct, frozen=True):
    """Where a member's time in a conversation begins: after `since`.  What was before is hidden from them
    while `applies`, that is while the conversation's history is `joined`."""

    since: int
    applies: bool


def beneath(event: Event, floor: int) -> bool:
    """Whether a reader whose history begins after `floor` gets a void in an event's place: it is from before
    their time, or is about what was (an edit would show its words, a reaction that it is there)."""
    return event.seq <= floor or 0 < event.target <= floor


class Relation(msgspec.Struct, frozen=True, kw_only=True):
    """How `viewer` and `owner` stand to each other.

    `blocks`: the viewer blocked the owner; `blocked`: the owner blocked the viewer.
    """

    viewer: str
    owner: str
    contact: ContactState = "none"
    blocks: bool = False
    blocked: bool = False

    @property
    def own(self) -> bool:
        """The viewer looks at themselves."""
        return self.viewer == self.owner


class ProfileView(msgspec.Struct, frozen=True, kw_only=True):
    """A person as someone else sees them.  `photo` is "" when it is not the viewer's to see."""

    id: str
    handle: str
    name: str
    photo: str = ""
    status: str = ""
    bot: bool = False
    contact_state: ContactState = "none"
    blocked_by_me: bool = False


def allows(audience: Audience, relation: Relation) -> bool:
    """Whether the viewer is among those to whom the owner shows something (see `domain/settings.py`)."""
    match audience:
        case "everyone":
            return True
        case "contacts":
            return relation.own or relation.contact == "accepted"
        case "nobody":
            return relation.own


def exists_for(user: User | None, relation: Relation) -> bool:
    """Whether the owner exists at all as far as the viewer may know."""
    if user is None or user.disabled:
        return False
    return relation.own or not relation.blocked


def profile(user: User | None, settings: SettingsDocument, relation: Relation) -> ProfileView | None:
    """The owner as the viewer sees them; None when there is nobody to see."""
    if user is None or not exists_for(user, relation):
        return None
    return ProfileView(
        id=user.id,
        handle=user.handle,
        name=user.name,
        photo=user.photo if allows(settings.privacy.photo, relation) else "",
        status=user.status,
        bot=user.bot,
        contact_state=relation.contact,
        blocked_by_me=relation.blocks,
    )


def findable(kind: Literal["email", "phone"], settings: SettingsDocument) -> bool:
    """Whether the owner agreed to be found by this kind of address."""
    return settings.privacy.findable_by_email if kind == "email" else settings.privacy.findable_by_phone


def pair_of(one: str, other: str) -> str:
    """`Conversation.pair` of the direct conversation of two users."""
    return ":".join(sorted((one, other)))
