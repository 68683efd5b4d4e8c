"""Messages that were handed over and are not in the log yet, or were refused."""

from __future__ import annotations

import dataclasses
from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any

import msgspec

from tertulia_client import Content, Entry, OtherContent, SendRefused

Place = tuple[str, int]
"""A conversation and the root of a thread in it; 0: the conversation itself."""


@dataclass(frozen=True)
class Pending:
    """One such message.  `why` is empty while it waits; `seq` is known between its acknowledgement and
    its event."""

    client_id: str
    place: Place
    content: Content
    at: int
    reply_to: int | None = None
    quote: tuple[int, str] | None = None
    why: str = ""
    seq: int = 0


class Pendings:
    """All of them, in the order of sending."""

    def __init__(self) -> None:
        self._all: dict[str, Pending] = {}

    def put(self, pending: Pending) -> None:
        self._all[pending.client_id] = pending

    def restore(self, entry: Entry, at: int) -> None:
        """A message of an earlier run that still waits."""
        kept = _of_command(entry.client_id, entry.command, at)
        if kept is not None:
            self._all.setdefault(entry.client_id, kept)

    def drop(self, client_id: str) -> Pending | None:
        return self._all.pop(client_id, None)

    def acknowledged(self, client_id: str, seq: int, *, seen: bool) -> None:
        """In the log as `seq`; once its event has been `seen` there is nothing pending."""
        known = self._all.get(client_id)
        if known is None:
            return
        if seen:
            del self._all[client_id]
        else:
            self._all[client_id] = dataclasses.replace(known, seq=seq)

    def refused(self, news: SendRefused, at: int) -> Pending | None:
        """It will not be sent; it stays here until it is sent again or dropped."""
        known = self._all.get(news.client_id) or _of_command(news.client_id, news.command, at)
        if known is None:
            return None
        failed = dataclasses.replace(known, why=news.detail or news.code, seq=0)
        self._all[news.client_id] = failed
        return failed

    def of(self, place: Place, seen: Iterable[str] = ()) -> list[Pending]:
        """Those of a place, without those whose message is there already (`seen` client ids)."""
        there = set(seen)
        return [one for one in self._all.values() if one.place == place and one.client_id not in there]

    def get(self, client_id: str) -> Pending | None:
        return self._all.get(client_id)

    @property
    def waiting(self) -> int:
        return sum(1 for one in self._all.values() if not one.why and not one.seq)

    def failed_in(self, conversation: str) -> bool:
        return any(one.why and one.place[0] == conversation for one in self._all.values())


def _of_command(client_id: str, command: dict[str, Any], at: int) -> Pending | None:
    """A message of an earlier run, which only the outbox remembered."""
    if command.get("type") != "message.send":
        return None
    try:
        content = msgspec.convert(command.get("content"), Content)
    except msgspec.ValidationError:
        content = OtherContent(kind="unknown")
    thread, reply_to = command.get("thread"), command.get("reply_to")
    return Pending(
        client_id,
        (str(command.get("conversation", "")), thread if isinstance(thread, int) else 0),
        content,
        at,
        reply_to if isinstance(reply_to, int) else None,
    )
