"""A live connection of a device: its bounded outbox and where it stands in its logs."""

from __future__ import annotations

from collections.abc import Callable
from typing import Protocol

from tertulia.application.core import Caller
from tertulia.domain.events import Event
from tertulia.domain.signals import Signal


class Encoder(Protocol):
    """Turns what is to be told into one protocol's bytes, once for all of its sessions."""

    def event(self, event: Event) -> bytes: ...

    def void(self, event: Event) -> bytes:
        """What a reader gets in place of an event that is not theirs to see."""
        ...

    def signal(self, signal: Signal) -> bytes: ...

    def shared(self, frame: bytes) -> tuple[object, ...]:
        """One frame in the form in which `Session.write_shared` takes it, made once for a crowd."""
        ...


class Sink(Protocol):
    """The writing side of a connection."""

    def write(self, data: bytes) -> None: ...

    def backlog(self) -> int:
        """Bytes that were written and not yet taken by the network."""
        ...

    def close(self, code: int, reason: str) -> None:
        """Say why, then end the connection; what is in its outbox is dropped."""
        ...


class Session:
    """One signed-in connection.

    While it is being brought up to date (`hold`), live events wait aside; `release` lets those through
    that the replay did not cover.  `out` is what the next flush writes, by `write`; the backlog is looked
    at while the session is `congested` (always, unless its connection keeps the flag).  `changed`: rooms,
    users and settings that changed while what there was at first is being read.
    """

    __slots__ = (
        "blocked",
        "caller",
        "changed",
        "closed",
        "congested",
        "encoder",
        "expires_at_ms",
        "held",
        "id",
        "out",
        "receipts",
        "rooms",
        "sink",
        "write",
        "write_shared",
    )

    def __init__(self, caller: Caller, encoder: Encoder, sink: Sink, expires_at_ms: int) -> None:
        self.id = caller.session
        self.caller = caller
        self.encoder = encoder
        self.sink = sink
        self.expires_at_ms = expires_at_ms
        self.rooms: tuple[str, ...] = ()
        self.blocked: frozenset[str] = frozenset()
        self.receipts = True
        self.changed: set[str] | None = None
        self.out: list[bytes] = []
        self.held: list[tuple[str, int, bytes]] | None = None
        self.closed = False
        self.congested = True
        self.write = sink.write
        self.write_shared: Callable[..., object] = sink.write
