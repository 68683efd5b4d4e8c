"""The list of conversations: what each line says, and in which order."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass

from tertulia.cli.chat.safe import clean_line, clip
from tertulia_client import Room
from tertulia_client.models import PresenceState

ICONS = {"direct": "●", "group": "◆", "channel": "#", "topic": "\u203a"}


@dataclass(frozen=True)
class Line:
    """One conversation in the list.  `presence` is a direct conversation's other person's."""

    id: str
    kind: str
    title: str
    preview: str
    when: int
    unread: int = 0
    mentions: int = 0
    muted: bool = False
    pinned: bool = False
    draft: bool = False
    typing: bool = False
    under: bool = False
    failed: bool = False
    presence: PresenceState | None = None

    @property
    def icon(self) -> str:
        if self.kind == "direct" and self.presence in (None, "offline"):
            return "○"
        return ICONS.get(self.kind, "·")


def title(room: Room, name: Callable[[str], str], rooms: Mapping[str, Room], *, short: bool = False) -> str:
    """What a conversation is called; safe to show."""
    if room.kind == "direct":
        return name(room.peer or "")
    own = clip(clean_line(room.name), 60) or clip(clean_line(room.slug), 60) or room.kind
    if room.kind == "topic" and not short and room.parent is not None and room.parent in rooms:
        return f"{title(rooms[room.parent], name, rooms)} \u203a {own}"
    return own


def is_muted(room: Room, now: int) -> bool:
    """Whether one wants to hear nothing of a conversation at this time."""
    return room.preferences.notify == "none" or room.preferences.muted_until > now


def ordered(lines: Iterable[Line], parents: Mapping[str, str]) -> list[Line]:
    """Pinned ones first, then by the newest message; topics right under their channel (`parents`)."""
    every = list(lines)
    present = {line.id for line in every}
    under: dict[str, list[Line]] = {}
    top: list[Line] = []
    for line in every:
        parent = parents.get(line.id)
        if parent is not None and parent in present:
            under.setdefault(parent, []).append(line)
        else:
            top.append(line)

    def newest(line: Line) -> int:
        return max([line.when, *(topic.when for topic in under.get(line.id, ()))])

    top.sort(key=lambda line: (not line.pinned, -newest(line), line.title.casefold(), line.id))
    found: list[Line] = []
    for line in top:
        found.append(line)
        found += sorted(under.get(line.id, ()), key=lambda topic: (-topic.when, topic.id))
    return found


def matches(text: str, query: str) -> int | None:
    """How well a title answers to what was typed, 0 best; None when it does not.

    Letters must come in order; the beginning of a word counts more than its middle."""
    text, query = text.casefold(), query.casefold().strip()
    if not query:
        return 0
    at = text.find(query)
    if at == 0:
        return 0
    if at > 0:
        return 1 if not text[at - 1].isalnum() else 2
    place = 0
    for letter in query:
        if letter.isspace():
            continue
        place = text.find(letter, place) + 1
        if not place:
            return None
    return 3 + place
