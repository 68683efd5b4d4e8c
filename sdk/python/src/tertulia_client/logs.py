"""Where a client stands in each log: drops what it has, holds what came early, asks for what it lacks.

Pure: events go in, events in dense order and wishes to read come out.  The WebSocket session and the
server-sent events both use it.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping

import msgspec

from tertulia_client.events import Event


class Delivered(msgspec.Struct, frozen=True):
    """The next event of its log, exactly once."""

    event: Event


class Read(msgspec.Struct, frozen=True):
    """Events are missing: read those after `after`, at most `limit`, and answer with `Logs.filled`."""

    log: str
    after: int
    limit: int


class Skipped(msgspec.Struct, frozen=True):
    """Too much is missing: the log now stands at `last`, and `first`..`last` are not delivered.  The
    conversation must be fetched as it is now."""

    log: str
    first: int
    last: int


class LogLost(msgspec.Struct, frozen=True):
    """The log is not (or no longer) ours to read."""

    log: str
    code: str


LogOutput = Delivered | Read | Skipped | LogLost

GONE = frozenset({"not_found", "forbidden"})
MAX_FAILURES = 3


class _Log:
    __slots__ = ("asked", "failures", "held", "known", "position", "reading")

    def __init__(self, position: int) -> None:
        self.position = position
        self.known = position
        self.held: dict[int, Event] = {}
        self.reading = False
        self.asked = position
        self.failures = 0


class Logs:
    """The positions of all logs.

    At most `max_held` early events are kept for a log; more are dropped and read again later.  A hole of
    more than `max_fill` events is not filled but skipped.  While `paused` (a replay is under way that
    will close the holes by itself) nothing is asked for.
    """

    def __init__(
        self,
        positions: Mapping[str, int] | None = None,
        *,
        max_held: int = 1000,
        max_fill: int = 5000,
        read_limit: int = 500,
    ) -> None:
        self._logs = {log: _Log(position) for log, position in (positions or {}).items()}
        self._max_held = max_held
        self._max_fill = max_fill
        self._read_limit = read_limit
        self._heads: dict[str, int] = {}
        self.paused = False

    @property
    def positions(self) -> dict[str, int]:
        """Log → last seq delivered."""
        return {name: log.position for name, log in self._logs.items()}

    def __contains__(self, log: str) -> bool:
        return log in self._logs

    def adopt(self, log: str, position: int) -> list[LogOutput]:
        """Everything up to `position` is known by other means (it was fetched)."""
        state = self._logs.setdefault(log, _Log(position))
        state.known = max(state.known, position, self._heads.pop(log, 0))
        if position > state.position:
            state.position = position
            state.held = {seq: event for seq, event in state.held.items() if seq > position}
        return [*self._drain(state), *self._wish(log, state)]

    def forget(self, log: str) -> None:
        """Stop following a log; its next event will start it anew."""
        self._logs.pop(log, None)
        self._heads.pop(log, None)

    def clear(self) -> None:
        """Positions mean nothing any more (another generation)."""
        self._logs.clear()
        self._heads.clear()

    def connected(self) -> None:
        """A new connection: reads that were under way will not be answered."""
        self._heads.clear()
        for state in self._logs.values():
            state.reading = False
            state.failures = 0

    def heard(self, log: str, seq: int) -> list[LogOutput]:
        """The log is known to reach `seq`.  Of a log that is not followed yet it is remembered."""
        state = self._logs.get(log)
        if state is None:
            self._heads[log] = seq
            return []
        state.known = max(state.known, seq)
        return self._wish(log, state)

    def feed(self, event: Event) -> list[LogOutput]:
        """An event as it came, perhaps again, early or late.  The first one of a log that is not
        followed yet sets its position."""
        state = self._logs.setdefault(event.conversation, _Log(event.seq - 1))
        return [*self._take(state, event), *self._wish(event.conversation, state)]

    def filled(self, log: str, events: Iterable[Event]) -> list[LogOutput]:
        """The answer to a `Read`.  Answers that bring nothing are asked for three times, then the hole
        is skipped: a server that cannot show its own events must not be asked for ever."""
        state = self._logs.get(log)
        if state is None:
            return []
        state.reading = False
        out: list[LogOutput] = []
        for event in events:
            if event.conversation == log:
                out += self._take(state, event)
        # Progress since it was asked for, by this answer or by live events that overtook it.
        if state.position > state.asked:
            state.failures = 0
        else:
            state.failures += 1
            if state.failures >= MAX_FAILURES and state.known > state.position:
                return [*out, *self._skip(log, state)]
        return [*out, *self._wish(log, state)]

    def refused(self, log: str, code: str) -> list[LogOutput]:
        """A `Read` was refused.  What may succeed later is asked for by the next `retry`."""
        state = self._logs.get(log)
        if state is None:
            return []
        if code in GONE:
            del self._logs[log]
            return [LogLost(log, code)]
        state.reading = False
        return []

    def retry(self) -> list[LogOutput]:
        """Wishes for all holes that nothing is under way for."""
        out: list[LogOutput] = []
        for log, state in list(self._logs.items()):
            out += self._wish(log, state)
        return out

    def truncated(self, log: str, last: int) -> list[LogOutput]:
        """The replay left out a stretch that ends at `last`."""
        return self.heard(log, last)

    def _take(self, state: _Log, event: Event) -> list[LogOutput]:
        if event.seq <= state.position or event.seq in state.held:
            return []
        state.known = max(state.known, event.seq)
        if event.seq == state.position + 1:
            state.position = event.seq
            return [Delivered(event), *self._drain(state)]
        if len(state.held) < self._max_held:
            state.held[event.seq] = event
        return []

    def _drain(self, state: _Log) -> list[LogOutput]:
        out: list[LogOutput] = []
        while (event := state.held.pop(state.position + 1, None)) is not None:
            state.position = event.seq
            out.append(Delivered(event))
        return out

    def _wish(self, log: str, state: _Log) -> list[LogOutput]:
        if self.paused or state.reading or state.known <= state.position:
            return []
        end = min(state.held, default=state.known + 1)
        missing = end - 1 - state.position
        if missing > self._max_fill:
            return self._skip(log, state)
        state.reading = True
        state.asked = state.position
        return [Read(log, state.position, min(missing, self._read_limit))]

    def _skip(self, log: str, state: _Log) -> list[LogOutput]:
        first = state.position + 1
        state.position = min(state.held, default=state.known + 1) - 1
        state.failures = 0
        return [Skipped(log, first, state.position), *self._drain(state), *self._wish(log, state)]
