"""Typing, presence and the news of cursors: told to those who are there, kept nowhere."""

from __future__ import annotations

import asyncio
from collections import OrderedDict
from collections.abc import Sequence

from tertulia.application.access import Access
from tertulia.application.core import Caller
from tertulia.application.presence import Presence
from tertulia.domain import commands as c
from tertulia.domain import settings as settings_rules
from tertulia.domain.records import Settings
from tertulia.domain.signals import Signal
from tertulia.domain.unit import Committed, CursorMoved
from tertulia.ports.message_store import Directory
from tertulia.ports.signals import Signals

BROADCAST_SESSIONS = 256
"""Cursors are told to everyone in rooms with no more sessions than this (design rule 9)."""

_PRIVACY_KNOWN = 50_000
_WAITING_MAX = 10_000


class Ephemeral:
    """Handlers of the ephemeral commands, and the store listener that tells of moved cursors."""

    def __init__(self, access: Access, directory: Directory, signals: Signals, presence: Presence) -> None:
        self._access = access
        self._directory = directory
        self._signals = signals
        self._presence = presence
        self._shares: OrderedDict[tuple[str, str], bool] = OrderedDict()
        self._waiting: set[asyncio.Task[None]] = set()

    async def set_typing(self, caller: Caller, command: c.SetTyping) -> c.Accepted:
        """Tell the others of the conversation that the caller writes, or stopped."""
        standing = await self._access.require(caller, command.conversation, "typing")
        kind = "typing.start" if command.composing else "typing.stop"
        signal = Signal(
            type=kind, user=caller.user, conversation=command.conversation, thread=command.thread or 0
        )
        self._signals.signal(standing.home.id, signal, but=caller.session)
        return c.Accepted(conversation=command.conversation)

    async def set_presence(self, caller: Caller, command: c.SetPresence) -> c.Accepted:
        """Online or away, for the caller's session (over REST there is none: nothing happens)."""
        self._presence.set_active(caller.user, caller.session, active=command.state == "online")
        return c.Accepted()

    def on_commit(self, batch: Sequence[Committed]) -> None:
        """Store listener.  Whether a person shares what they have read is looked up once."""
        for committed in batch:
            for event in committed.events:
                if event.kind == "settings.updated":
                    self._shares.pop((event.tenant, event.log), None)
            for moved in committed.cursors:
                shares = self._shares.get((moved.tenant, moved.user))
                if shares is not None:
                    self._tell(moved, shares=shares)
                elif len(self._waiting) < _WAITING_MAX:
                    task = asyncio.get_running_loop().create_task(self._look_up_and_tell(moved))
                    self._waiting.add(task)
                    task.add_done_callback(self._waiting.discard)

    async def _look_up_and_tell(self, moved: CursorMoved) -> None:
        row = await self._directory.get(Settings, moved.tenant, moved.user)
        privacy = settings_rules.read(row.document if row is not None else None).privacy
        self._shares[(moved.tenant, moved.user)] = privacy.read_receipts
        if len(self._shares) > _PRIVACY_KNOWN:
            self._shares.popitem(last=False)
        self._tell(moved, shares=privacy.read_receipts)

    def _tell(self, moved: CursorMoved, *, shares: bool) -> None:
        all_of_them = not moved.thread and self._signals.size(moved.room) <= BROADCAST_SESSIONS
        for kind, seq in (("message.received", moved.received), ("message.read", moved.read)):
            if not seq:
                continue
            signal = Signal(
                type="message.read" if kind == "message.read" else "message.received",
                user=moved.user,
                conversation=moved.log,
                thread=moved.thread,
                seq=seq,
            )
            public = all_of_them and (shares or kind == "message.received")
            self._signals.signal(moved.room if public else moved.user, signal)
