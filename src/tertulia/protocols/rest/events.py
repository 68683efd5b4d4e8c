"""Pages of a log, for those who fill gaps."""

from __future__ import annotations

from typing import Annotated

from litestar.params import QueryParameter

from tertulia.domain.errors import Refusal
from tertulia.protocols.common.frames import EventFrame, VoidFrame, event_frame
from tertulia.protocols.rest.answers import Page
from tertulia.protocols.rest.context import Call

After = Annotated[int, QueryParameter(ge=0, le=2**53, description="The last seq that is known; 0 at first.")]


async def events_page(
    call: Call, log: str, after: int, cursor: str, limit: int
) -> Page[EventFrame | VoidFrame]:
    """The events that follow `after` or the page before; every position is among them."""
    if after and cursor:
        raise Refusal("invalid", "Give either `after` or `cursor`.", field="cursor")
    place = call.opened("events", cursor, log)
    start = int(place[0]) if place else after
    found = await call.services.sync.events(call.caller, log, start, limit + 1)
    page = found[:limit]
    items: list[EventFrame | VoidFrame] = [event_frame(event) for event in page]
    return call.page("events", items, page[-1].seq if len(found) > limit else None, log)
