"""How a session begins, whatever its protocol."""

from __future__ import annotations

from tertulia.application.sync import OwnHead, Sync
from tertulia.sessions.hub import Hub
from tertulia.sessions.session import Session


async def follow_all(sync: Sync, hub: Hub, session: Session) -> list[OwnHead]:
    """Follow everything that the session's user is in; where all those logs stand, read after that.

    For a session that is attached and held: what is committed from now on is above these heads and waits
    for it, and nothing falls between the two.  Raises Refusal."""
    caller = session.caller
    opening = await sync.opening(caller)
    hub.follow(session, opening.rooms, opening.blocked, opening.floors, receipts=opening.receipts)
    rooms = frozenset(session.rooms)
    logs = [log for log, room in opening.logs.items() if room in rooms]
    logs += rooms.difference(opening.rooms)
    return await sync.heads(caller, logs)
