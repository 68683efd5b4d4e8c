"""Telling connected people something ephemeral."""

from __future__ import annotations

from typing import Protocol

from tertulia.domain.signals import Signal


class Signals(Protocol):
    """The sessions that are connected, as far as the application needs to know them."""

    def signal(self, room: str, signal: Signal, *, but: str = "") -> None:
        """Tell everyone who follows a room (a user's id: all of their sessions), but not the session
        `but`, nor those who blocked the signal's user."""
        ...

    def size(self, room: str) -> int:
        """How many sessions follow a room."""
        ...
