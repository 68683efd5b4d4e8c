"""Where the history of connected members begins, so that live events tell no more than a replay does.

Kept in the order of commits: what was read for a session that opens gives way to what commits said since.
"""

from __future__ import annotations

from collections.abc import Sequence

from tertulia.domain.events import ConversationUpdated, Event, decode_body
from tertulia.domain.visibility import Floor, beneath
from tertulia.sessions.session import Session


class _Floors:
    """The sessions whose user joined a conversation later, and whether its history begins at the join."""

    __slots__ = ("apply", "since")

    def __init__(self, apply: bool) -> None:
        self.apply = apply
        self.since: dict[Session, int] = {}


class Floors:
    """The floors of all sessions, by log."""

    def __init__(self) -> None:
        self._logs: dict[str, _Floors] = {}
        self._opening: set[Session] = set()
        self._turned: dict[str, bool] = {}
        """Where a conversation's history was changed while sessions open: whether floors apply there now."""

    def __contains__(self, log: str) -> bool:
        return log in self._logs

    def opens(self, session: Session) -> None:
        """From here on its floors may have been read."""
        self._opening.add(session)

    def opened(self, session: Session) -> None:
        """Its floors were put, or never will be."""
        self._opening.discard(session)
        if not self._opening:
            self._turned.clear()

    def put(self, session: Session, log: str, floor: Floor) -> None:
        """A session's floor in a log."""
        floors = self._logs.get(log)
        if floors is None:
            floors = self._logs[log] = _Floors(self._turned.get(log, floor.applies))
        floors.since[session] = floor.since

    def drop(self, session: Session, log: str) -> None:
        """The session follows this log no more."""
        floors = self._logs.get(log)
        if floors is not None and floors.since.pop(session, 0) and not floors.since:
            del self._logs[log]

    def turn(self, unit: Sequence[Event]) -> None:
        """A unit that may have changed whether floors apply."""
        for event in unit:
            if event.kind != "conversation.updated" or event.body is None:
                continue
            body = decode_body(event.kind, event.body)
            if not isinstance(body, ConversationUpdated) or body.history is None:
                continue
            applies = body.history == "joined"
            if self._opening:
                self._turned[event.log] = applies
            if event.log in self._logs:
                self._logs[event.log].apply = applies

    def above(self, event: Event) -> set[Session]:
        """The sessions for which an event is about something from before their time."""
        floors = self._logs.get(event.log)
        if floors is None or not floors.apply:
            return set()
        return {session for session, since in floors.since.items() if beneath(event, since)}
