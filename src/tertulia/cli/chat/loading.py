"""Fetching what is only needed when it is looked at.  All of it raises ApiError and Unreachable."""

from __future__ import annotations

from tertulia.cli.chat.talk import Talk
from tertulia_client import CursorMoved


async def load_receipts(talk: Talk, conversation: str) -> None:
    """How far the others have come."""
    state = talk.state
    page = await talk.client.rest.conversations.receipts(conversation)
    for doc in page.items:
        if state is None or doc.user == talk.me:
            continue
        for seq, read in ((doc.received, False), (doc.read, True)):
            if seq:
                state.signal(CursorMoved(conversation=conversation, user=doc.user, seq=seq, read=read))
    talk.touch(conversation)


async def load_until(talk: Talk, conversation: str, seq: int, *, most: int = 40) -> bool:
    """Load older messages until `seq` is among them; False when it is not to be had."""
    for _ in range(most):
        room = talk.rooms.get(conversation)
        # The messages in hand reach back to `since`, or to the very first when that is 0.
        if room is None or not room.since or room.since <= seq:
            break
        if not await talk.client.load_messages(conversation, limit=100):
            break
    room = talk.rooms.get(conversation)
    return room is not None and seq in room.messages
