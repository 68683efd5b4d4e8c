"""The list of conversations as it stands."""

from __future__ import annotations

from collections.abc import Mapping

from tertulia.cli.chat.contents import summary
from tertulia.cli.chat.listing import Line, is_muted, ordered, title
from tertulia.cli.chat.safe import clean_line
from tertulia.cli.chat.talk import Talk
from tertulia_client import Room


def overview(talk: Talk) -> list[Line]:
    """A line for each conversation; archived ones only while they have something new."""
    shown = {
        one: room
        for one, room in talk.rooms.items()
        if room.role is not None and not (room.preferences.archived and not room.unread)
    }
    parents = {one: room.parent for one, room in shown.items() if room.parent is not None}
    return ordered((_line(talk, room, shown) for room in shown.values()), parents)


def _line(talk: Talk, room: Room, shown: Mapping[str, Room]) -> Line:
    state = talk.state
    presence = state.presence.get(room.peer or "") if state is not None and room.peer else None
    typists = talk.typists((room.id, 0))
    draft = talk.draft((room.id, 0))
    under = room.parent in shown
    last = room.last_message
    if typists:
        preview = "typing…" if room.kind == "direct" else f"{typists[0]} is typing…"
    elif draft:
        preview = clean_line(draft)
    else:
        preview = _preview(talk, room)
    return Line(
        id=room.id,
        kind=room.kind,
        title=title(room, talk.names.name, talk.rooms, short=under),
        preview=preview,
        when=last.at if last is not None else room.updated_at or room.created_at,
        unread=room.unread,
        mentions=room.mentions,
        muted=is_muted(room, talk.now()),
        pinned=room.preferences.pinned,
        draft=bool(draft) and not typists,
        typing=bool(typists),
        under=under,
        failed=talk.pendings.failed_in(room.id),
        presence=presence.state if presence is not None else None,
    )


def _preview(talk: Talk, room: Room) -> str:
    last = room.last_message
    if last is None:
        return ""
    words = summary(last.content)
    if last.user == talk.me:
        return f"You: {words}"
    return words if room.kind == "direct" else f"{talk.names.name(last.user)}: {words}"
