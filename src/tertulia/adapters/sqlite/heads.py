"""The heads of logs, as the writer keeps them."""

from __future__ import annotations

from collections import OrderedDict

from tertulia.adapters.sqlite.engine import Connection
from tertulia.adapters.sqlite.queries import head_row
from tertulia.domain.events import Event, LogKind

CACHED_LOGS = 50_000


class LogState:
    """A log and its head, as of the last unit.  `flushed` is the last seq that is in the table; the
    events after it are `pending`."""

    __slots__ = (
        "all_ordinal",
        "at",
        "epoch",
        "flushed",
        "id",
        "kind",
        "last_seq",
        "no",
        "ordinal",
        "pending",
        "room",
        "stored_epoch",
        "tenant",
    )

    def __init__(self, no: int, tenant: str, log: str, kind: LogKind, room: str) -> None:
        self.no = no
        self.tenant = tenant
        self.id = log
        self.kind: LogKind = kind
        self.room = room
        self.epoch = 1
        self.stored_epoch = 1
        self.last_seq = 0
        self.ordinal = 0
        self.all_ordinal = 0
        self.at = 0
        self.flushed = 0
        self.pending: list[Event] = []


class LogCache:
    """The heads that the writer keeps.  Exact, because nobody else writes."""

    def __init__(self, size: int = CACHED_LOGS) -> None:
        self._size = size
        self._states: OrderedDict[str, LogState] = OrderedDict()

    def get(self, connection: Connection, log: str) -> LogState | None:
        """The state of a log, read when it is not cached; None when there is no such log."""
        state = self._states.get(log)
        if state is not None:
            self._states.move_to_end(log)
            return state
        row = head_row(connection, log)
        if row is None:
            return None
        state = LogState(*row[:5])
        state.epoch = state.stored_epoch = row[5]
        state.last_seq = state.flushed = row[7]
        state.ordinal, state.all_ordinal, state.at = row[8], row[9], row[10]
        self._states[log] = state
        return state

    def put(self, state: LogState) -> None:
        """Keep the state of a log that was made now."""
        self._states[state.id] = state

    def trim(self) -> None:
        """Forget the logs that were not used for longest.  Not while a batch is open."""
        while len(self._states) > self._size:
            self._states.popitem(last=False)

    def clear(self) -> None:
        """Forget all: what was cached may not have been committed."""
        self._states.clear()
