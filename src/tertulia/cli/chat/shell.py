"""What the main screen needs of the program around it."""

from __future__ import annotations

from collections.abc import Awaitable
from typing import Protocol

from tertulia.cli.chat.colours import Colours
from tertulia_client.models import Appearance, SettingsDoc


class Shell(Protocol):
    @property
    def colours(self) -> Colours: ...

    def now(self) -> int:
        """Unix milliseconds."""
        ...

    def attempt(self, work: Awaitable[object]) -> None:
        """Run what may be refused, and tell the person when it is."""
        ...

    def say(self, words: str) -> None:
        """Tell the person something in passing."""
        ...

    def signed_in(self, handle: str, settings: SettingsDoc) -> None:
        """Who one is, and how they like it, is known."""
        ...

    def like(self, appearance: Appearance) -> None:
        """Wear the look that the settings ask for."""
        ...

    def signed_out(self, why: str) -> None:
        """This device is signed out: the person must sign in again."""
        ...

    def opened(self, conversation: str) -> None:
        """Remember which conversation is looked at."""
        ...

    async def quit(self) -> None: ...
