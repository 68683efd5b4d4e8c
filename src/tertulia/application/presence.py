"""Presence and typing: ephemeral, and shown only to those who look.

A user is online while one of their sessions is active, away while all of them are, offline without
any.  A session names the people whose presence it shows (`watch`); it hears of their changes, as far
as their privacy allows.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from typing import Final, Literal, Protocol

import msgspec

from tertulia.application.core import Caller

State = Literal["online", "away", "offline"]

_ATTEMPTS: Final = 4


class Shown(msgspec.Struct, frozen=True, kw_only=True):
    """What a viewer is told: `last_seen` in Unix ms, 0 when unknown or not theirs to know."""

    user: str
    state: State
    last_seen: int = 0


class Audience(Protocol):
    """Whose presence a viewer may see, and whether with the time they were last seen."""

    async def may_see(self, viewer: Caller, users: Iterable[str]) -> dict[str, bool]:
        """The users that are visible at all → whether `last_seen` may be shown."""
        ...

    async def last_seen(self, tenant: str, user: str) -> int: ...


Tell = Callable[[str, Shown], None]
"""(session id, what to show)."""


class Presence:
    """The sessions of this node and who watches whom.  Every session has an id of its own."""

    def __init__(self, audience: Audience, tell: Tell) -> None:
        self._audience = audience
        self._tell = tell
        self._active: dict[str, dict[str, bool]] = {}
        self._watchers: dict[str, dict[str, bool]] = {}
        self._watched: dict[str, tuple[str, ...]] = {}
        self._hidings = 0

    def state(self, user: str) -> State:
        """The union of a user's sessions."""
        sessions = self._active.get(user)
        if not sessions:
            return "offline"
        return "online" if any(sessions.values()) else "away"

    def opened(self, user: str, session: str) -> None:
        self._change(user, session, active=True)

    def closed(self, user: str, session: str, now_ms: int) -> bool:
        """True when this was the user's last session: they were last seen now."""
        before = self.state(user)
        sessions = self._active.get(user, {})
        sessions.pop(session, None)
        if not sessions:
            self._active.pop(user, None)
        for watched in self._watched.pop(session, ()):
            self._unwatch(watched, session)
        after = self.state(user)
        if before != after:
            self._announce(user, after, now_ms if after == "offline" else 0)
        return after == "offline" and before != "offline"

    def set_active(self, user: str, session: str, *, active: bool) -> None:
        """Of a session that is open; of others nothing is known."""
        if session in self._active.get(user, {}):
            self._change(user, session, active=active)

    async def watch(self, viewer: Caller, session: str, users: Iterable[str]) -> list[Shown]:
        """From now on this session hears of these users (in place of those before); how they are now.
        Those who are not the viewer's to see, or do not exist, are offline like everyone away."""
        wanted = list(dict.fromkeys(users))
        visible: dict[str, bool] = {}
        for _ in range(_ATTEMPTS):
            before = self._hidings
            visible = await self._audience.may_see(viewer, wanted)
            if before == self._hidings:
                break
        for watched in self._watched.pop(session, ()):
            self._unwatch(watched, session)
        if session in self._active.get(viewer.user, {}):
            self._watched[session] = tuple(visible)
            for user, with_last_seen in visible.items():
                self._watchers.setdefault(user, {})[session] = with_last_seen
        return [await self._shown(viewer, user, visible) for user in wanted]

    def hide(self, user: str, viewer: str) -> None:
        """The user blocked the viewer: from now on they are offline to them, like everyone away."""
        self._hidings += 1
        there = self.state(user) != "offline"
        for session in self._active.get(viewer, ()):
            if user in self._watched.get(session, ()):
                self._watched[session] = tuple(one for one in self._watched[session] if one != user)
                self._unwatch(user, session)
                if there:
                    self._tell(session, Shown(user=user, state="offline"))

    def hide_last_seen(self, user: str) -> None:
        """The user does not show everyone when they were last seen: whoever watches them is told of it no
        more, and those who may know see it again when they look anew."""
        self._hidings += 1
        watchers = self._watchers.get(user, {})
        watchers.update(dict.fromkeys(watchers, False))

    async def look(self, viewer: Caller, user: str) -> Shown:
        """One user's presence, once."""
        return await self._shown(viewer, user, await self._audience.may_see(viewer, [user]))

    async def _shown(self, viewer: Caller, user: str, visible: dict[str, bool]) -> Shown:
        if user not in visible:
            return Shown(user=user, state="offline")
        state = self.state(user)
        seen = 0
        if state == "offline" and visible[user]:
            seen = await self._audience.last_seen(viewer.tenant, user)
        return Shown(user=user, state=state, last_seen=seen)

    def _change(self, user: str, session: str, *, active: bool) -> None:
        before = self.state(user)
        self._active.setdefault(user, {})[session] = active
        after = self.state(user)
        if before != after:
            self._announce(user, after, 0)

    def _announce(self, user: str, state: State, seen: int) -> None:
        for session, with_last_seen in tuple(self._watchers.get(user, {}).items()):
            self._tell(session, Shown(user=user, state=state, last_seen=seen if with_last_seen else 0))

    def _unwatch(self, user: str, session: str) -> None:
        watchers = self._watchers.get(user)
        if watchers is not None:
            watchers.pop(session, None)
            if not watchers:
                del self._watchers[user]
