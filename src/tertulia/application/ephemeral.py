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
from tertulia.domain.errors import Refusal
from tertulia.domain.events import BlockChanged, Event, SettingsUpdated, decode_body
from tertulia.domain.permissions import Standing
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
                if event.log_kind == "personal":
                    self._note(event)
            for moved in committed.cursors:
                shares = self._shares.get((moved.tenant, moved.user))
                standing = self._access.cached(_caller(moved), moved.log)
                if shares is not None and standing is not None:
                    self._tell(moved, standing, shares=shares)
                elif len(self._waiting) < _WAITING_MAX:
                    task = asyncio.get_running_loop().create_task(self._look_up_and_tell(moved))
                    self._waiting.add(task)
                    task.add_done_callback(self._waiting.discard)

    def _note(self, event: Event) -> None:
        """What a person lets others see may be different from now on."""
        if event.kind not in ("settings.updated", "user.blocked") or event.body is None:
            return
        body = decode_body(event.kind, event.body)
        if isinstance(body, SettingsUpdated):
            privacy = settings_rules.read(bytes(body.settings)).privacy
            self._shares[(event.tenant, event.log)] = privacy.read_receipts
            if privacy.last_seen != "everyone":
                self._presence.hide_last_seen(event.log)
        elif isinstance(body, BlockChanged):
            self._presence.hide(event.log, body.user)

    async def _look_up_and_tell(self, moved: CursorMoved) -> None:
        try:
            standing = await self._access.standing(_caller(moved), moved.log)
            row = await self._directory.get(Settings, moved.tenant, moved.user)
        except Refusal:
            # No longer theirs, or not to be read now (the server stops): news of a cursor may be lost.
            return
        privacy = settings_rules.read(row.document if row is not None else None).privacy
        # A change that was committed while this was read goes before it.
        shares = self._shares.setdefault((moved.tenant, moved.user), privacy.read_receipts)
        if len(self._shares) > _PRIVACY_KNOWN:
            self._shares.popitem(last=False)
        self._tell(moved, standing, shares=shares)

    def _tell(self, moved: CursorMoved, standing: Standing, *, shares: bool) -> None:
        # Whom one has blocked learns in no way that one is still there.
        all_of_them = (
            not moved.thread
            and not standing.blocking
            and self._signals.size(moved.room) <= BROADCAST_SESSIONS
        )
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


def _caller(moved: CursorMoved) -> Caller:
    return Caller(tenant=moved.tenant, user=moved.user, device="")
