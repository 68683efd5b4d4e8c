"""Events as they happen, for networks that let no WebSocket through."""

from __future__ import annotations

from typing import Annotated

from litestar import Controller, get
from litestar.params import HeaderParameter
from litestar.types import ASGIApp

from tertulia.protocols.rest.context import CallDependency
from tertulia.protocols.rest.sse import open_stream
from tertulia.protocols.rest.trail import MAX_ID

LastEventId = Annotated[
    str,
    HeaderParameter(
        name="Last-Event-ID",
        max_length=MAX_ID,
        description="The last `id` that was received: what happened since follows the hello.",
    ),
]


class StreamsController(Controller):
    """`/v1/events`."""

    path = "/v1/events"
    tags = ("Streams",)

    @get("", media_type="text/event-stream")
    async def stream_events(self, call: CallDependency, last_event_id: LastEventId = "") -> ASGIApp:
        """All events of one's conversations and of one's own log, as server-sent events.  Each `data` is a
        frame as on the WebSocket; the first one is `hello`, with the heads of all logs."""
        return open_stream(call, last_event_id)
