"""What is worth a sound."""

from __future__ import annotations

from tertulia.cli.chat.listing import is_muted
from tertulia.cli.chat.talk import Talk
from tertulia_client import Event, MessageNew, Text


def rings(talk: Talk, event: Event) -> bool:
    """Whether the bell rings for somebody's message, by one's settings: it does for those to oneself and
    to a group, and for mentions anywhere."""
    room, state = talk.rooms.get(event.conversation), talk.state
    if room is None or state is None or not isinstance(event.body, MessageNew):
        return False
    settings = state.settings.notifications
    if not settings.sound or settings.notify == "none" or is_muted(room, talk.now()):
        return False
    content = event.body.content
    named = isinstance(content, Text) and (talk.me in content.mentions or content.mention_all)
    if "mentions" in (room.preferences.notify, settings.notify):
        return named or room.kind == "direct"
    return named or room.kind in ("direct", "group")
