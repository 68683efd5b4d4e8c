"""Fan-out: who is connected, and getting every event to them in one write a turn.

An event is encoded once per protocol.  Everything that became ready in one turn of the event loop is
joined, and each session gets one write.  A session whose reader falls behind is closed and resumes by
seq; it never costs the others more than that.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Iterable, Mapping, Sequence

from tertulia.domain import settings as settings_rules
from tertulia.domain.events import (
    BlockChanged,
    ConversationJoined,
    ConversationLeft,
    Event,
    SettingsUpdated,
    decode_body,
)
from tertulia.domain.signals import Signal
from tertulia.domain.unit import Committed
from tertulia.domain.visibility import Floor, hidden_by_block
from tertulia.sessions.floors import Floors
from tertulia.sessions.session import Encoder, Session

CLOSE_GOING_AWAY = 1001
CLOSE_TOKEN = 4001
CLOSE_REVOKED = 4002
CLOSE_TOO_SLOW = 4003

BUSY_HOLDS = 20
MAX_HOLDS = 3

HELD_MAX = 5000
"""Live events that may wait while a session is brought up to date."""

RECEIPTS = "receipts"
"""Stands in `Session.changed` for the setting of that name; ids are longer."""

_OF_SESSIONS = frozenset({"conversation.left", "user.blocked", "user.unblocked", "settings.updated"})
"""Kinds of a personal log that change what its sessions are told."""


class Group:
    """A room's sessions of one protocol, and the frames that all of them are to get next."""

    __slots__ = ("encoder", "pending", "sessions")

    def __init__(self, encoder: Encoder) -> None:
        self.encoder = encoder
        self.sessions: dict[Session, None] = {}
        self.pending: list[bytes] = []


Room = dict[Encoder, Group]


class Hub:
    """The sessions of this node.  All methods run on the event loop."""

    def __init__(
        self,
        *,
        outbox_bytes: int = 1 << 20,
        hold_s: float = 0.001,
        busy_sessions: int = 64,
        delivered: Callable[[int], None] | None = None,
        coming: Callable[[], int] = lambda: 0,
    ) -> None:
        """`outbox_bytes` bounds what may wait in one session's connection.  `delivered` counts frames.

        A room with `busy_sessions` sessions or more that was written to a moment ago (`BUSY_HOLDS` times
        `hold_s` seconds) is held for `hold_s`, and up to `MAX_HOLDS` times that while messages are being
        committed (`coming`), so that a busy crowd costs fewer writes; a quiet one never waits."""
        self.outbox_bytes = outbox_bytes
        self._hold_s = hold_s
        self._busy_sessions = busy_sessions
        self._delivered = delivered
        self._coming = coming
        self._rooms: dict[str, Room] = {}
        self._by_user: dict[str, dict[Session, None]] = {}
        self._hiders: dict[str, set[Session]] = {}
        self._floors = Floors()
        self._dirty: list[Session] = []
        self._busy: list[Group] = []
        self._holding: set[Session] = set()
        self._flush_handle: asyncio.Handle | None = None
        self._last_big_flush = 0.0
        self._big = False
        self.sessions: dict[Session, None] = {}
        self._by_id: dict[str, Session] = {}

    # --- coming and going ------------------------------------------------------------------------

    def attach(self, session: Session) -> None:
        """A session begins to follow its user's personal room, by which it learns of joins."""
        user = session.caller.user
        self.sessions[session] = None
        self._by_id[session.id] = session
        self._by_user.setdefault(user, {})[session] = None
        session.rooms = (user,)
        session.changed = set()
        self._floors.opens(session)
        self._enter(session, user)

    def follow(
        self,
        session: Session,
        rooms: Iterable[str],
        blocked: frozenset[str],
        floors: Mapping[str, Floor],
        *,
        receipts: bool = True,
    ) -> None:
        """Follow these rooms as well, hiding what blocked users do there, what is about messages below the
        `floors` (by log), and with `receipts` off how far others have read.

        All of it was read after `attach`, and what changed meanwhile stays as it is now."""
        if session.closed:
            return
        changed, session.changed = session.changed, None
        since = changed or frozenset[str]()
        found = (room for room in rooms if room not in since)
        session.rooms = tuple(dict.fromkeys((*session.rooms, *found)))
        for room in session.rooms:
            self._enter(session, room)
        self._hide(session, session.blocked | (blocked - since))
        for log, floor in floors.items():
            if log not in since:
                self._floors.put(session, log, floor)
        self._floors.opened(session)
        if RECEIPTS not in since:
            session.receipts = receipts

    def detach(self, session: Session) -> None:
        """The connection is gone."""
        if session not in self.sessions:
            return
        del self.sessions[session]
        del self._by_id[session.id]
        mine = self._by_user.get(session.caller.user)
        if mine is not None:
            mine.pop(session, None)
            if not mine:
                del self._by_user[session.caller.user]
        for room in session.rooms:
            self._exit(session, room)
        self._floors.opened(session)
        session.rooms = ()
        self._hide(session, frozenset())
        session.closed = True
        session.out.clear()
        self._holding.discard(session)

    def close(self, session: Session, code: int, reason: str) -> None:
        """End a session."""
        if not session.closed:
            self.detach(session)
            session.sink.close(code, reason)

    def close_device(self, user: str, device: str) -> None:
        """A device was signed out: cut its sessions at once."""
        for session in list(self._by_user.get(user, ())):
            if session.caller.device == device:
                self.close(session, CLOSE_REVOKED, "stop: this device was signed out")

    def close_all(self, code: int = CLOSE_GOING_AWAY, reason: str = "reconnect: the server stops") -> None:
        self.flush()
        for session in list(self.sessions):
            self.close(session, code, reason)

    def sessions_of(self, user: str) -> Sequence[Session]:
        return tuple(self._by_user.get(user, ()))

    def by_id(self, session: str) -> Session | None:
        return self._by_id.get(session)

    def size(self, room: str) -> int:
        """How many sessions follow a room here."""
        return sum(len(group.sessions) for group in self._rooms.get(room, {}).values())

    def expire(self, now_ms: int) -> None:
        """Close the sessions whose access token has run out."""
        for session in [s for s in self.sessions if s.expires_at_ms <= now_ms]:
            self.close(session, CLOSE_TOKEN, "reconnect: the access token has expired")

    def _enter(self, session: Session, room: str) -> None:
        groups = self._rooms.setdefault(room, {})
        group = groups.get(session.encoder)
        if group is None:
            group = groups[session.encoder] = Group(session.encoder)
        self._spread(group)
        group.sessions[session] = None

    def _exit(self, session: Session, room: str) -> None:
        self._floors.drop(session, room)
        groups = self._rooms.get(room)
        group = groups.get(session.encoder) if groups is not None else None
        if groups is None or group is None:
            return
        self._spread(group)
        group.sessions.pop(session, None)
        if not group.sessions:
            del groups[session.encoder]
            if not groups:
                del self._rooms[room]

    def _hide(self, session: Session, blocked: frozenset[str]) -> None:
        for actor in session.blocked - blocked:
            self._hiders[actor].discard(session)
            if not self._hiders[actor]:
                del self._hiders[actor]
        for actor in blocked - session.blocked:
            self._hiders.setdefault(actor, set()).add(session)
        session.blocked = blocked

    # --- telling ---------------------------------------------------------------------------------

    def on_commit(self, batch: Sequence[Committed]) -> None:
        """Store listener: committed events go to the sessions that may see them."""
        for committed in batch:
            events = committed.events
            personal = [event for event in events if event.log_kind == "personal"]
            for event in personal:
                self._before(event, events)
            if committed.bumped:
                self._floors.turn(events)
            for event in events:
                self._tell(event)
            for event in personal:
                self._after(event)

    def signal(self, room: str, signal: Signal, *, but: str = "") -> None:
        """Tell a room something ephemeral; those who blocked its user are left out, and so are
        sessions that are still being brought up to date."""
        groups = self._rooms.get(room)
        if groups is None:
            return
        hiders = self._hiders.get(signal.user, ())
        is_read = signal.type == "message.read"
        for encoder, group in groups.items():
            data = encoder.signal(signal)
            for session in group.sessions:
                if session.id == but or session in hiders or session.held is not None:
                    continue
                if is_read and not session.receipts and session.caller.user != signal.user:
                    continue
                self.send(session, data)

    def send(self, session: Session, data: bytes) -> None:
        """Queue bytes for one session; they go out with the turn's flush."""
        if session.closed:
            return
        if not session.out:
            self._dirty.append(session)
            if self._flush_handle is None:
                self._schedule()
        session.out.append(data)

    def hold(self, session: Session) -> None:
        """Live events for this session wait aside from now on."""
        for group in self._busy:
            self._spread(group)
        session.held = []
        self._holding.add(session)

    def release(self, session: Session, covered: dict[str, int]) -> None:
        """Let the held events through, but those that the replay covered (log → last seq sent)."""
        held, session.held = session.held, None
        self._holding.discard(session)
        for log, seq, data in held or ():
            if seq > covered.get(log, 0):
                self.send(session, data)

    def _tell(self, event: Event) -> None:
        groups = self._rooms.get(event.room)
        if groups is None:
            return
        hiders = self._hiders.get(event.actor) if hidden_by_block(event) else None
        if event.target and event.log in self._floors:
            hiders = self._floors.above(event).union(hiders or ())
        count = 0
        for encoder, group in groups.items():
            data = encoder.event(event)
            size = len(group.sessions)
            count += size
            if size < self._busy_sessions or hiders or self._holding:
                self._tell_each(group, event, data, hiders)
                continue
            if not group.pending:
                self._busy.append(group)
            group.pending.append(data)
        if count >= self._busy_sessions:
            self._big = True
        if self._flush_handle is None and (self._dirty or self._busy):
            self._schedule()
        if self._delivered is not None:
            self._delivered(count)

    def _tell_each(self, group: Group, event: Event, data: bytes, hiders: set[Session] | None) -> None:
        self._spread(group)
        dirty = self._dirty
        full: list[Session] = []
        void: bytes | None = None
        for session in group.sessions:
            if hiders is not None and session in hiders:
                if void is None:
                    void = group.encoder.void(event)
                if not self._tell_one(session, event, void):
                    full.append(session)
                continue
            if session.held is not None:
                if not self._tell_one(session, event, data):
                    full.append(session)
                continue
            out = session.out
            if not out:
                dirty.append(session)
            out.append(data)
        for session in full:
            self.close(session, CLOSE_TOO_SLOW, "reconnect: too much happened while resuming")

    def _tell_one(self, session: Session, event: Event, data: bytes) -> bool:
        """False when no more can wait for this session."""
        if session.held is None:
            self.send(session, data)
        elif len(session.held) >= HELD_MAX:
            return False
        else:
            session.held.append((event.log, event.seq, data))
        return True

    def _before(self, event: Event, unit: Sequence[Event]) -> None:
        sessions = self._by_user.get(event.log)
        if sessions is None or event.kind != "conversation.joined" or event.body is None:
            return
        body = decode_body(event.kind, event.body)
        assert isinstance(body, ConversationJoined)
        room = body.conversation
        # As the store does for `Join`: the time of a member begins with the unit.
        since = next((other.seq for other in unit if other.log == room), 1) - 1
        for session in sessions:
            self._note(session, room)
            if room not in session.rooms:
                session.rooms += (room,)
                self._enter(session, room)
            if since:
                self._floors.put(session, room, Floor(since, body.history == "joined"))

    def _after(self, event: Event) -> None:
        if event.body is None or event.kind not in _OF_SESSIONS:
            return
        body = decode_body(event.kind, event.body)
        for session in self._by_user.get(event.log, ()):
            match body:
                case ConversationLeft(conversation=room):
                    self._note(session, room)
                    session.rooms = tuple(one for one in session.rooms if one != room)
                    self._exit(session, room)
                case BlockChanged(user=user):
                    self._note(session, user)
                    one = frozenset({user})
                    adds = event.kind == "user.blocked"
                    self._hide(session, session.blocked | one if adds else session.blocked - one)
                case SettingsUpdated(settings=settings):
                    self._note(session, RECEIPTS)
                    session.receipts = settings_rules.read(bytes(settings)).privacy.read_receipts
                case _:
                    pass

    @staticmethod
    def _note(session: Session, what: str) -> None:
        if session.changed is not None:
            session.changed.add(what)

    # --- writing ---------------------------------------------------------------------------------

    def _schedule(self) -> None:
        loop = asyncio.get_running_loop()
        if self._big and loop.time() - self._last_big_flush < BUSY_HOLDS * self._hold_s:
            self._flush_handle = loop.call_later(self._hold_s, self._held, 1)
        else:
            self._flush_handle = loop.call_soon(self.flush)

    def _held(self, times: int) -> None:
        if times < MAX_HOLDS and self._coming():
            loop = asyncio.get_running_loop()
            self._flush_handle = loop.call_later(self._hold_s, self._held, times + 1)
        else:
            self.flush()

    def write(self, session: Session) -> None:
        """Write what is ready for one session now."""
        for group in self._busy:
            self._spread(group)
        if session.out and not session.closed:
            data, session.out = b"".join(session.out), []
            session.sink.write(data)

    def _spread(self, group: Group) -> None:
        """What the whole group is to get becomes each session's own, before one of them differs."""
        if group.pending:
            data = b"".join(group.pending)
            group.pending = []
            for session in group.sessions:
                self.send(session, data)

    def _flush_busy(self) -> None:
        busy, self._busy = self._busy, []
        for group in busy:
            frames, group.pending = group.pending, []
            if len(frames) > 1:
                data = b"".join(frames)
                for session in group.sessions:
                    if session.out or session.congested:
                        self.send(session, data)
                    else:
                        session.write(data)
            elif frames:
                [data] = frames
                shared = group.encoder.shared(data)
                for session in group.sessions:
                    if session.out or session.congested:
                        self.send(session, data)
                    else:
                        session.write_shared(*shared)

    def flush(self) -> None:
        """Write everything that is ready: one write a session."""
        self._flush_busy()
        # Only now: what the sessions were sent just above goes out below.
        if self._flush_handle is not None:
            self._flush_handle.cancel()
            self._flush_handle = None
        dirty, self._dirty = self._dirty, []
        limit = self.outbox_bytes
        last: list[bytes] = []
        last_joined = b""
        for session in dirty:
            out = session.out
            if session.closed or not out:
                continue
            if len(out) == 1:
                data = out[0]
            elif out == last:
                # Sessions of a room wait for the very same frames: they are joined once.
                data = last_joined
            else:
                data = last_joined = b"".join(out)
                last = out
            session.out = []
            session.write(data)
            if session.congested and session.sink.backlog() > limit:
                self.close(session, CLOSE_TOO_SLOW, "reconnect: this reader is too slow")
        if self._big:
            self._big = False
            self._last_big_flush = asyncio.get_running_loop().time()
