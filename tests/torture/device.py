"""A device as the torture has it: an outbox, a position in every log, and a record of all it was told.

It does what any honest client must: resends what is not acknowledged under the same client_id, says where
it stands when it comes back, and fills what was left out by reading.  It never repairs anything else, so
that every fault of the server stays to be seen.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable, Iterable, Mapping
from typing import Any

import msgspec

from tests.torture.judge import VOID, Ack, Entry, Sent
from tests.torture.wire import HandshakeFailed, Wire, connect

BACK_OFF_S = 0.1
AGAIN_S = 0.2
PAGE = 500

AGAIN = frozenset({"unavailable", "rate_limited", "stale", "internal"})
"""Refusals after which nobody knows, or that pass: the same command is sent again."""

_SIGNALS = frozenset({"message.read", "message.received", "presence", "typing.start", "typing.stop"})


class _Frame(msgspec.Struct):
    type: str
    conversation: str = ""
    seq: int = 0
    ref: str | None = None
    code: str = ""
    result: dict[str, Any] = {}
    generation: str = ""
    from_: int = msgspec.field(default=0, name="from")
    to: int = 0
    events: list[msgspec.Raw] = []
    more: bool = False


class _Wired(msgspec.Struct):
    """An event on the wire."""

    type: str
    conversation: str
    seq: int
    user: str = ""
    at: int = 0
    client_id: str = ""
    target: int = 0
    body: Any = None


_frame = msgspec.json.Decoder(_Frame)
_wired = msgspec.json.Decoder(_Wired)
_canonical = msgspec.json.Encoder(order="sorted").encode


def canonical(body: bytes) -> bytes:
    """JSON in one form for all."""
    return _canonical(msgspec.json.decode(body))


class Frames:
    """Equal frames kept once, and read once: a thousand devices get the same bytes."""

    def __init__(self) -> None:
        self._kept: dict[bytes, bytes] = {}
        self._entries: dict[bytes, Entry] = {}

    def keep(self, frame: bytes) -> bytes:
        """The first of all frames that are equal to this one."""
        return self._kept.setdefault(frame, frame)

    def entry(self, frame: bytes) -> Entry:
        """What `entry_of` says."""
        found = self._entries.get(frame)
        if found is None:
            found = self._entries[frame] = entry_of(frame)
        return found


def entry_of(frame: bytes) -> Entry:
    """An event frame as the judge takes it."""
    event = _wired.decode(frame)
    if event.type == "void":
        return Entry(seq=event.seq, kind=VOID)
    return Entry(
        seq=event.seq,
        kind=event.type,
        user=event.user,
        at=event.at,
        client_id=event.client_id,
        target=event.target,
        body=_canonical(event.body),
    )


class Command(msgspec.Struct, frozen=True, kw_only=True):
    """One command in the outbox: what it is for the judge, and its frame."""

    sent: Sent
    frame: bytes


def command(
    sent: Sent, name: str, *, ref: str | None = None, fields: Mapping[str, object] | None = None
) -> Command:
    """A command's frame; its `ref` is its client_id unless told otherwise."""
    frame = {
        "type": name,
        "ref": ref or sent.client_id,
        "client_id": sent.client_id,
        "conversation": sent.log,
        **(fields or {}),
    }
    return Command(sent=sent, frame=msgspec.json.encode(frame))


def text_message(client_id: str, user: str, log: str, text: str) -> Command:
    """`message.send` of a text."""
    sent = Sent(client_id=client_id, user=user, log=log, kind="message.new", said=text)
    return command(sent, "message.send", fields={"content": {"type": "text", "text": text}})


class Device:
    """One device that stays connected until it is told to stop."""

    def __init__(self, name: str, user: str, token: str, logs: Iterable[str], frames: Frames) -> None:
        """`logs` are those that it follows; it begins with nothing."""
        self.name = name
        self.user = user
        self.token = token
        self.positions: dict[str, int] = dict.fromkeys(logs, 0)
        self.arrivals: dict[str, list[bytes]] = {log: [] for log in self.positions}
        self.outbox: dict[str, Command] = {}
        self._all_frames = frames
        self._refused_frames: dict[str, Command] = {}
        self.sent: list[Sent] = []
        self.acknowledged: list[Ack] = []
        self.repeats = 0
        self.refused: dict[str, str] = {}
        self.refusals: dict[str, int] = {}
        self.connects = 0
        self.closes: list[int] = []
        self.generations: set[str] = set()
        self.truncations = 0
        self.on_arrival: Callable[[str, int, float], None] | None = None
        self.hear: Callable[[dict[str, Any]], None] | None = None
        self.online = asyncio.Event()
        self.wire: Wire | None = None
        self._port = 0
        self._receive_buffer = 0
        self._filling: dict[str, list[bytes]] = {}
        self._until: dict[str, int] = {}
        self._closed = asyncio.Event()
        self._task: asyncio.Task[None] | None = None
        self._later: set[asyncio.TimerHandle] = set()

    # --- coming and going ------------------------------------------------------------------------

    def start(self, port: int) -> None:
        """Connect, and again whenever the connection ends."""
        self._port = port
        self._task = asyncio.get_running_loop().create_task(self._run(), name=self.name)

    async def stop(self) -> None:
        """Disconnect for good."""
        for handle in self._later:
            handle.cancel()
        task, self._task = self._task, None
        if task is not None:
            task.cancel()
            await asyncio.gather(task, return_exceptions=True)
        if self.wire is not None:
            self.wire.abort()
            await self._closed.wait()

    async def reconnect(self, *, receive_buffer: int) -> None:
        """Come back with another size of the socket's own buffer; not counted among `closes`."""
        self._receive_buffer = receive_buffer
        if self.wire is not None:
            self.wire.abort()
            await self._closed.wait()
        self.closes.clear()

    def stall(self) -> None:
        """Read nothing more."""
        if self.wire is not None:
            self.wire.stall()

    def unstall(self) -> None:
        """Read what has come meanwhile."""
        if self.wire is not None:
            self.wire.unstall()

    def check(self) -> None:
        """Raises what ended the device, if something did."""
        if self._task is not None and self._task.done():
            self._task.result()

    async def _run(self) -> None:
        while True:
            self._closed.clear()
            try:
                wire = await connect(self._port, self._text, self._gone, receive_buffer=self._receive_buffer)
            except (OSError, HandshakeFailed):
                await asyncio.sleep(BACK_OFF_S)
                continue
            self.wire = wire
            self.connects += 1
            hello: dict[str, object] = {"type": "sign_in", "token": self.token, "positions": self.positions}
            if self.generations:
                hello["generation"] = next(iter(self.generations))
            wire.send(msgspec.json.encode(hello))
            await self._closed.wait()
            await asyncio.sleep(BACK_OFF_S)

    def _gone(self, code: int) -> None:
        self.closes.append(code)
        self.online.clear()
        self.wire = None
        # What waited for a gap to be read will come again.
        self._filling.clear()
        self._until.clear()
        self._closed.set()

    # --- what it says ----------------------------------------------------------------------------

    def again(self, client_id: str) -> None:
        """Submit once more, as it was, what was refused."""
        del self.refused[client_id]
        asked = self._refused_frames.pop(client_id)
        self.sent.remove(asked.sent)
        self.submit(asked)

    def submit(self, asked: Command) -> None:
        """Put a command into the outbox and send it; it stays there until it is answered."""
        self.sent.append(asked.sent)
        self.outbox[asked.sent.client_id] = asked
        if self.online.is_set() and self.wire is not None:
            self.wire.send(asked.frame)

    def _resend(self, client_id: str) -> None:
        asked = self.outbox.get(client_id)
        if asked is not None and self.online.is_set() and self.wire is not None:
            self.wire.send(asked.frame)

    # --- what it hears ---------------------------------------------------------------------------

    def _text(self, data: bytes) -> None:
        frame = _frame.decode(data)
        kind = frame.type
        if self.hear is not None:
            self.hear(msgspec.json.decode(data))
        if kind == "ack":
            self._ack(frame)
        elif kind == "error":
            self._error(frame)
        elif kind == "hello":
            self.generations.add(frame.generation)
            self.online.set()
            if self.wire is not None:
                self.wire.send(*(asked.frame for asked in self.outbox.values()))
        elif kind == "events":
            self._page(frame)
        elif kind == "truncated":
            self.truncations += 1
            self._filling[frame.conversation] = []
            self._until[frame.conversation] = frame.to
            self._ask(frame.conversation)
        elif kind == "resync":
            self.generations.add(frame.generation)
        elif frame.seq and kind not in _SIGNALS and frame.conversation in self.arrivals:
            waiting = self._filling.get(frame.conversation)
            if waiting is not None:
                waiting.append(data)
            else:
                self._take(frame.conversation, frame.seq, data)

    def _take(self, log: str, seq: int, data: bytes) -> None:
        self.arrivals[log].append(self._all_frames.keep(data))
        if seq > self.positions[log]:
            self.positions[log] = seq
        if self.on_arrival is not None:
            self.on_arrival(log, seq, time.perf_counter())

    def _ask(self, log: str) -> None:
        asked = {
            "type": "events.read",
            "ref": f"fill {log}",
            "conversation": log,
            "after": self.positions[log],
            "limit": min(PAGE, self._until[log] - self.positions[log]),
        }
        if self.wire is not None:
            self.wire.send(msgspec.json.encode(asked))

    def _page(self, frame: _Frame) -> None:
        log = frame.conversation
        if log not in self._filling:
            return
        for raw in frame.events:
            data = bytes(raw)
            self._take(log, _frame.decode(data).seq, data)
        if frame.events and self.positions[log] < self._until[log]:
            self._ask(log)
            return
        del self._until[log]
        for data in self._filling.pop(log):
            self._take(log, _frame.decode(data).seq, data)

    def _ack(self, frame: _Frame) -> None:
        client_id = frame.ref or ""
        self.outbox.pop(client_id, None)
        result = frame.result
        self.acknowledged.append(
            Ack(client_id, self.user, result.get("conversation", ""), result.get("seq", 0))
        )
        if result.get("repeated"):
            self.repeats += 1

    def _error(self, frame: _Frame) -> None:
        client_id = frame.ref or ""
        self.refusals[frame.code] = self.refusals.get(frame.code, 0) + 1
        if client_id not in self.outbox:
            return
        if frame.code in AGAIN:
            loop = asyncio.get_running_loop()
            self._later = {
                handle for handle in self._later if not handle.cancelled() and handle.when() > loop.time()
            }
            self._later.add(loop.call_later(AGAIN_S, self._resend, client_id))
            return
        self._refused_frames[client_id] = self.outbox.pop(client_id)
        self.refused[client_id] = frame.code

    # --- for the judge ---------------------------------------------------------------------------

    def received(self) -> dict[str, list[Entry]]:
        """All that it was told, in order."""
        entry = self._all_frames.entry
        return {log: [entry(data) for data in frames] for log, frames in self.arrivals.items()}
