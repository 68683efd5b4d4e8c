"""Who is writing, here and there."""

from __future__ import annotations

from collections.abc import Callable

from tertulia.cli.chat.pending import Place
from tertulia_client import Client, Typing

LASTS_MS = 6_000
"""How long somebody counts as writing after their last sign of it."""

TELL_MS = 3_000
"""How often the others are told that one writes."""


class Typists:
    """Others who write, until they stop or a time is over; and telling that one writes oneself."""

    def __init__(self, client: Client, now: Callable[[], int]) -> None:
        self._client = client
        self._now = now
        self._until: dict[Place, dict[str, int]] = {}
        self._told: dict[Place, int] = {}

    def heard(self, news: Typing) -> None:
        """Somebody began to write, or stopped."""
        there = self._until.setdefault((news.conversation, news.thread), {})
        if news.composing:
            there[news.user] = self._now() + LASTS_MS
        else:
            there.pop(news.user, None)

    def wrote(self, place: Place, user: str) -> None:
        """Their message is there, so they are done."""
        self._until.get(place, {}).pop(user, None)

    def at(self, place: Place) -> list[str]:
        """The users who write in a place."""
        now = self._now()
        return [user for user, until in self._until.get(place, {}).items() if until > now]

    def expire(self) -> set[str]:
        """End what ends by time; the conversations where somebody did."""
        now = self._now()
        changed: set[str] = set()
        for place, there in list(self._until.items()):
            for user in [user for user, until in there.items() if until <= now]:
                del there[user]
                changed.add(place[0])
            if not there:
                del self._until[place]
        return changed

    def clear(self) -> None:
        """Nothing is known any more."""
        self._until.clear()

    def sent(self, place: Place) -> None:
        """One's own message is on its way; everybody sees that one is done."""
        self._told.pop(place, None)

    async def composing(self, place: Place, text: str) -> None:
        """One's composing line changed; the others are told now and then.  Raises ApiError."""
        thread = place[1] or None
        if not text.strip():
            if self._told.pop(place, None) is not None:
                await self._client.typing(place[0], composing=False, thread=thread)
            return
        now = self._now()
        if now - self._told.get(place, 0) >= TELL_MS:
            self._told[place] = now
            await self._client.typing(place[0], composing=True, thread=thread)
