"""What a talk says to whoever shows it."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Literal, Protocol

from tertulia.cli.chat.pending import Pending
from tertulia_client import Event, Stopped


@dataclass(frozen=True)
class LinkState:
    """How the connection stands.  `retry_at` (Unix ms): when the next try is."""

    state: Literal["connecting", "live", "offline", "stopped"]
    why: str = ""
    retry_at: int = 0


@dataclass
class Dirty:
    """What changed since the last look.  `rooms`: conversations whose messages or typing did."""

    everything: bool = False
    rooms: set[str] = field(default_factory=set[str])


class Listener(Protocol):
    """Who shows a talk.  None of these may block."""

    def dirty(self) -> None: ...

    def incoming(self, event: Event) -> None:
        """Somebody else's message came in while connected."""
        ...

    def refused(self, pending: Pending) -> None: ...

    def synchronised(self) -> None:
        """All that was known is known anew: older messages must be loaded again."""
        ...

    def settings_changed(self) -> None: ...

    def room_gone(self, conversation: str) -> None: ...

    def stopped(self, news: Stopped) -> None: ...
