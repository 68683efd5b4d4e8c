"""Sends what is in the outbox, in order within each lane, until the server has answered for good."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Mapping
from typing import Any

import msgspec

from tertulia_client.backoff import Backoff
from tertulia_client.feed import Acknowledged, Feed, SendRefused
from tertulia_client.http import ApiError, Unreachable
from tertulia_client.models import Accepted
from tertulia_client.outbox import Entry, Outbox

TRANSIENT = frozenset(
    {"rate_limited", "unavailable", "storage_full", "stale", "internal", "token_expired", "unauthenticated"}
)
MAX_INTERNAL = 20


class Retry(msgspec.Struct, frozen=True):
    """Try the same again, not before `floor_s`."""

    why: str
    floor_s: float = 0.0


class GiveUp(msgspec.Struct, frozen=True):
    """The answer will not change."""

    why: str


def after_error(code: str, retry_after_s: float | None, faults: int) -> Retry | GiveUp:
    """What to do with an entry that the server refused.  `faults`: how often in a row it failed by a
    fault of the server's own; a message that breaks the server must not stop its lane for ever."""
    if code not in TRANSIENT:
        return GiveUp(code)
    if code == "internal" and faults >= MAX_INTERNAL:
        return GiveUp(f"the server failed {faults} times")
    return Retry(code, retry_after_s or 0.0)


class Sent:
    """A message that is in the outbox.  It will be sent even when nobody waits for it."""

    def __init__(self, client_id: str, conversation: str, answer: asyncio.Future[Accepted]) -> None:
        self.client_id = client_id
        self.conversation = conversation
        self._answer = answer

    @property
    def done(self) -> bool:
        return self._answer.done()

    async def acknowledged(self) -> Accepted:
        """The server's answer: the message is durably in the log, at `seq`.

        Raises ApiError when it was refused for good.  Waits while there is no connection."""
        return await asyncio.shield(self._answer)


class Sender:
    """Takes entries from the outbox whenever `ready()` and carries them out by `call`.

    At most `window` lanes are under way at once, each with one entry."""

    def __init__(
        self,
        outbox: Outbox,
        call: Callable[[Mapping[str, Any]], Awaitable[Accepted]],
        ready: Callable[[], bool],
        feed: Feed,
        *,
        backoff: Backoff,
        draw: Callable[[], float],
        clock: Callable[[], float],
        window: int = 16,
    ) -> None:
        self._outbox = outbox
        self._call = call
        self._ready = ready
        self._feed = feed
        self._backoff = backoff
        self._draw = draw
        self._clock = clock
        self._window = window
        self._wake = asyncio.Event()
        self._settled = asyncio.Event()
        self._busy: dict[str, asyncio.Task[None]] = {}
        self._not_before: dict[str, float] = {}
        self._faults: dict[str, int] = {}
        self._waiting: dict[str, asyncio.Future[Accepted]] = {}

    async def put(self, command: Mapping[str, Any], client_id: str, lane: str) -> Sent:
        """Keep a command for sending.  Raises OutboxFull, ValueError."""
        fields = {**command, "client_id": client_id}
        await self._outbox.put(lane, client_id, fields)
        answer: asyncio.Future[Accepted] = asyncio.get_running_loop().create_future()
        answer.add_done_callback(lambda done: done.cancelled() or done.exception())
        self._waiting[client_id] = answer
        self._wake.set()
        return Sent(client_id, lane, answer)

    def connected(self) -> None:
        """A connection stands: what waited because there was none is tried now."""
        self._not_before.clear()
        self._wake.set()

    async def idle(self) -> None:
        """Until the outbox is empty."""
        while await self._outbox.count():
            self._settled.clear()
            await self._settled.wait()

    async def run(self) -> None:
        """Until cancelled."""
        try:
            while True:
                self._wake.clear()
                try:
                    async with asyncio.timeout(await self._start()):
                        await self._wake.wait()
                except TimeoutError:
                    pass
        finally:
            tasks = list(self._busy.values())
            for task in tasks:
                task.cancel()
            await asyncio.gather(*tasks, return_exceptions=True)

    async def _start(self) -> float | None:
        """Begin with what may begin; seconds until the next one may."""
        if not self._ready():
            return None
        soonest: float | None = None
        for entry in await self._outbox.heads():
            if entry.lane in self._busy or len(self._busy) >= self._window:
                continue
            wait = self._not_before.get(entry.lane, 0.0) - self._clock()
            if wait > 0:
                soonest = wait if soonest is None else min(soonest, wait)
                continue
            self._busy[entry.lane] = asyncio.ensure_future(self._try(entry))
        return soonest

    async def _try(self, entry: Entry) -> None:
        try:
            accepted = await self._call(entry.command)
        except ApiError as error:
            await self._refused(entry, error)
        except Unreachable:
            await self._later(entry, 0.0)
        else:
            await self._outbox.remove(entry.client_id)
            self._feed.put(
                Acknowledged(
                    client_id=entry.client_id,
                    conversation=accepted.conversation,
                    seq=accepted.seq,
                    repeated=accepted.repeated,
                )
            )
            self._settle(entry, accepted)
        finally:
            del self._busy[entry.lane]
            self._wake.set()
            self._settled.set()

    async def _refused(self, entry: Entry, error: ApiError) -> None:
        faults = self._faults.get(entry.client_id, 0) + (error.code == "internal")
        verdict = after_error(error.code, error.retry_after, faults)
        if isinstance(verdict, Retry):
            self._faults[entry.client_id] = faults
            await self._later(entry, verdict.floor_s)
            return
        # Told before it is removed: after a crash in between it is refused, and told, once more.
        self._feed.put(
            SendRefused(
                client_id=entry.client_id, code=error.code, detail=error.detail, command=entry.command
            )
        )
        await self._outbox.remove(entry.client_id)
        self._settle(entry, error)

    async def _later(self, entry: Entry, floor_s: float) -> None:
        attempts = await self._outbox.failed(entry.client_id)
        delay = self._backoff.delay(max(0, attempts - 1), self._draw, floor_s)
        self._not_before[entry.lane] = self._clock() + delay

    def _settle(self, entry: Entry, outcome: Accepted | ApiError) -> None:
        self._faults.pop(entry.client_id, None)
        self._not_before.pop(entry.lane, None)
        answer = self._waiting.pop(entry.client_id, None)
        if answer is None or answer.done():
            return
        if isinstance(outcome, ApiError):
            answer.set_exception(outcome)
        else:
            answer.set_result(outcome)
