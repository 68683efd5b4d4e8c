"""Receiving by server-sent events, for networks that let no WebSocket through.

The stream brings the same frames as the WebSocket; what it lacks is read over REST, and so is everything
that is sent.  Format: WHATWG HTML Living Standard §9.2.6.
"""

from __future__ import annotations

import asyncio
import codecs
from collections.abc import Callable, Mapping
from typing import Any, Literal, cast

import httpx
import msgspec

from tertulia_client.content import Content
from tertulia_client.events import SIGNALS, decode_event, decode_signal
from tertulia_client.http import ApiError, SignedOut, Unreachable
from tertulia_client.link import MAX_FRAME, Ended
from tertulia_client.logs import LogOutput, Logs, Read
from tertulia_client.models import Accepted
from tertulia_client.protocol import (
    CaughtUp,
    Decision,
    Hello,
    Opened,
    Output,
    Reconnect,
    Resync,
    Signalled,
    Stop,
)
from tertulia_client.rest import Rest
from tertulia_client.wire import convert, decode

SILENCE_S = 75.0


class ServerEvent(msgspec.Struct, frozen=True, kw_only=True):
    """One event of the stream; `id` is the last id that the stream has named."""

    data: str
    event: str = "message"
    id: str = ""


class Parser:
    """Bytes as they come → events."""

    def __init__(self) -> None:
        self._decoder = codecs.getincrementaldecoder("utf-8-sig")(errors="replace")
        self._buffer = ""
        self._data: list[str] = []
        self._size = 0
        self._event = ""
        self.last_id = ""
        self.retry_s: float | None = None

    def feed(self, chunk: bytes) -> list[ServerEvent]:
        """Raises ValueError for an event that is too big."""
        text = self._buffer + self._decoder.decode(chunk)
        # A carriage return at the end may be the first half of a line's end.
        held = "\r" if text.endswith("\r") else ""
        text = text[: len(text) - len(held)].replace("\r\n", "\n").replace("\r", "\n")
        *lines, rest = text.split("\n")
        self._buffer = rest + held
        if len(self._buffer) > MAX_FRAME:
            raise ValueError("a line is too long")
        return [event for line in lines if (event := self._line(line)) is not None]

    def _line(self, line: str) -> ServerEvent | None:
        if not line:
            return self._dispatch()
        name, _, value = line.partition(":")
        value = value.removeprefix(" ")
        match name:
            case "data":
                self._size += len(value)
                if self._size > MAX_FRAME:
                    raise ValueError("an event is too big")
                self._data.append(value)
            case "event":
                self._event = value
            case "id" if "\0" not in value:
                self.last_id = value
            case "retry" if value.isascii() and value.isdigit():
                self.retry_s = int(value) / 1000
            case _:
                pass
        return None

    def _dispatch(self) -> ServerEvent | None:
        data, event = self._data, self._event
        self._data, self._event, self._size = [], "", 0
        if not data:
            return None
        return ServerEvent(data="\n".join(data), event=event or "message", id=self.last_id)


class _Named(msgspec.Struct, frozen=True, kw_only=True):
    type: str = ""
    generation: str = ""
    body: msgspec.Raw = msgspec.Raw()


class SseLink:
    """A stream of `/v1/events`; commands go over REST."""

    name = "sse"

    def __init__(
        self,
        rest: Rest,
        logs: Logs,
        generation: str | None,
        handle: Callable[[Output], None],
        *,
        last_id: str = "",
        on_id: Callable[[str], None] | None = None,
        silence_s: float = SILENCE_S,
    ) -> None:
        self._rest = rest
        self._logs = logs
        self._generation = generation
        self._handle = handle
        self._last_id = last_id
        self._on_id = on_id
        self._silence_s = silence_s
        self._opened = False
        self._reading: set[asyncio.Task[None]] = set()

    @property
    def ready(self) -> bool:
        return self._opened

    async def run(self) -> Ended:
        parser = Parser()
        headers = {"Accept": "text/event-stream", "Cache-Control": "no-store"}
        if self._last_id:
            headers["Last-Event-ID"] = self._last_id
        self._logs.connected()
        self._logs.paused = False
        try:
            async with self._rest.http.stream("/v1/events", headers) as response:
                decision = await self._read(response, parser)
        except SignedOut:
            raise
        except ApiError as error:
            decision = _after_refusal(error)
        except Unreachable as error:
            decision = Reconnect(why=f"no connection: {error}")
        finally:
            self._opened_end()
            for task in self._reading:
                task.cancel()
            await asyncio.gather(*self._reading, return_exceptions=True)
        if isinstance(decision, Reconnect) and parser.retry_s is not None:
            decision = msgspec.structs.replace(decision, floor_s=max(decision.floor_s, parser.retry_s))
        return Ended(decision=decision, opened=self._was_open)

    async def call(self, fields: Mapping[str, Any]) -> Accepted:
        """The commands that a client sends by itself, as requests."""
        rest = self._rest
        kind, conversation = fields["type"], cast(str, fields.get("conversation", ""))
        match kind:
            case "message.send":
                quote = fields.get("quote")
                return await rest.messages.send(
                    conversation,
                    convert(fields["content"], cast(type[Content], Content)),
                    client_id=fields["client_id"],
                    thread=fields.get("thread"),
                    reply_to=fields.get("reply_to"),
                    quote=(quote["seq"], quote["text"]) if quote else None,
                )
            case "message.read":
                thread = fields.get("thread")
                await rest.conversations.set_cursors(conversation, read=fields["seq"], thread=thread)
            case "message.received":
                await rest.conversations.set_cursors(conversation, received=fields["seq"])
            case "typing.set":
                composing = bool(fields.get("composing", True))
                await rest.conversations.typing(
                    conversation, composing=composing, thread=fields.get("thread")
                )
            case "presence.set":
                await rest.me.set_presence(cast(Literal["online", "away"], fields["state"]))
            case _:
                raise ApiError("unsupported", f"{kind} is not sent over this transport")
        return Accepted()

    def adopt(self, log: str, position: int) -> None:
        self._dispatch(self._logs.adopt(log, position))

    # --- the stream ------------------------------------------------------------------------------

    _was_open = False

    def _opened_end(self) -> None:
        self._was_open = self._opened
        self._opened = False

    async def _read(self, response: httpx.Response, parser: Parser) -> Decision:
        chunks = response.aiter_raw().__aiter__()
        while True:
            try:
                async with asyncio.timeout(self._silence_s):
                    chunk = await anext(chunks)
            except StopAsyncIteration:
                return Reconnect(why="the server ended the stream")
            except TimeoutError:
                return Reconnect(why="the server is silent")
            except httpx.TransportError as error:
                return Reconnect(why=f"the connection broke: {error}")
            try:
                for event in parser.feed(chunk):
                    self._take(event)
            except (ValueError, msgspec.DecodeError) as error:
                return Reconnect(why=f"the server sent what is no event: {error}", floor_s=1.0)

    def _take(self, event: ServerEvent) -> None:
        named = msgspec.json.decode(event.data, type=_Named)
        kind = named.type
        if kind == "hello":
            self._hello(decode(event.data, Hello))
        elif kind == "resync":
            self._resync(named.generation)
        elif kind in SIGNALS:
            self._handle(Signalled(decode_signal(event.data)))
        elif kind == "void" or named.body:
            self._dispatch(self._logs.feed(decode_event(event.data)))
        # Only now: an id stands for everything before it as well.
        if event.id and event.id != self._last_id:
            self._last_id = event.id
            if self._on_id is not None:
                self._on_id(event.id)

    def _hello(self, hello: Hello) -> None:
        self._opened = True
        self._handle(Opened(hello, tuple(h for h in hello.heads if h.conversation not in self._logs)))
        if self._generation is not None and hello.generation != self._generation:
            self._resync(hello.generation)
            return
        self._generation = hello.generation
        for head in hello.heads:
            self._dispatch(self._logs.heard(head.conversation, head.seq))
        self._handle(CaughtUp())

    def _resync(self, generation: str) -> None:
        if generation == self._generation:
            return
        self._generation = generation
        self._logs.clear()
        self._handle(Resync(generation))
        self._handle(CaughtUp())

    def _dispatch(self, outputs: list[LogOutput]) -> None:
        for output in outputs:
            if isinstance(output, Read):
                task = asyncio.ensure_future(self._fill(output))
                self._reading.add(task)
                task.add_done_callback(self._reading.discard)
            else:
                self._handle(output)

    async def _fill(self, read: Read) -> None:
        try:
            raw = await self._rest.events(read.log, read.after, read.limit)
            events = [decode_event(one) for one in raw]
        except ApiError as error:
            self._dispatch(self._logs.refused(read.log, error.code))
        except (Unreachable, msgspec.DecodeError):
            self._dispatch(self._logs.refused(read.log, "unavailable"))
        else:
            self._dispatch(self._logs.filled(read.log, events))
            return
        await asyncio.sleep(1.0)
        self._dispatch(self._logs.retry())


def _after_refusal(error: ApiError) -> Decision:
    if error.status == 401:
        return Reconnect(why="the access token was refused", new_token=True)
    if error.status in (408, 425, 429) or error.status >= 500:
        return Reconnect(why=f"the server answered {error.status}", floor_s=error.retry_after or 1.0)
    return Stop(f"the server answered {error.status}: {error.code}")
