"""Members of conversations, and whose presence is shown."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Iterable

from tertulia.cli.chat.names import Names
from tertulia_client import ApiError, BadAnswer, Client, Event, Unreachable
from tertulia_client import events as e
from tertulia_client.models import MemberDoc

MAX_MEMBERS = 1_000
"""Members of one conversation that are listed and completed."""

MAX_WATCHED = 200


class People:
    """Member lists are fetched when they are first asked for, and kept up by events."""

    def __init__(self, client: Client, names: Names, changed: Callable[[], None]) -> None:
        self._client = client
        self._names = names
        self._changed = changed
        self._members: dict[str, dict[str, MemberDoc]] = {}
        self._loading: dict[str, asyncio.Task[None]] = {}
        self._watched: dict[str, None] = {}
        self._told: set[str] = set()

    def members(self, conversation: str) -> list[MemberDoc]:
        """Those who are known; asked for when nobody is."""
        known = self._members.get(conversation)
        if known is None:
            if conversation not in self._loading:
                task = asyncio.ensure_future(self._load(conversation))
                self._loading[conversation] = task
                task.add_done_callback(lambda _: self._loading.pop(conversation, None))
            return []
        return list(known.values())

    async def _load(self, conversation: str) -> None:
        found: dict[str, MemberDoc] = {}
        cursor: str | None = None
        try:
            while len(found) < MAX_MEMBERS:
                page = await self._client.rest.conversations.members(conversation, cursor)
                for doc in page.items:
                    found[doc.user] = doc
                    self._names.learn(doc)
                cursor = page.next_cursor
                if cursor is None:
                    break
        except (ApiError, Unreachable, BadAnswer):
            # Whoever shows them asks again.
            return
        self._members[conversation] = found
        self._changed()

    def event(self, event: Event) -> None:
        """Keep the lists up."""
        there = self._members.get(event.conversation)
        if there is None:
            return
        match event.body:
            case e.MemberAdded(user=user, role=role) | e.MemberUpdated(user=user, role=role):
                there[user] = MemberDoc(user=user, role=role, joined_at=event.at)
            case e.MemberRemoved(user=user):
                there.pop(user, None)
            case _:
                pass

    def watch(self, users: Iterable[str]) -> None:
        """Show the presence of these as well; those who were asked for longest ago give way."""
        for user in users:
            if user:
                self._watched.pop(user, None)
                self._watched[user] = None
        wanted = list(self._watched)[-MAX_WATCHED:]
        self._watched = dict.fromkeys(wanted)
        if set(wanted) != self._told:
            self._told = set(wanted)
            self._client.watch(wanted)
