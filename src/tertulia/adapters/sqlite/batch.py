"""One transaction of the log: units are checked and numbered one after another, then written at once.

`Batch` is a write-back cache over the writer's connection.  The writer is the only one that writes, so
what it has read stays true until it commits; each unit sees what the units before it did.  A unit that
is refused leaves no trace.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import cast

from msgspec.structs import replace

from tertulia.adapters.sqlite.engine import Connection, Value
from tertulia.adapters.sqlite.heads import LogCache, LogState
from tertulia.adapters.sqlite.queries import (
    Outcome,
    decode_fold,
    encode_fold,
    outcomes,
    same_request,
)
from tertulia.adapters.sqlite.rows import RowCache, Slot
from tertulia.adapters.sqlite.tables import TABLES, Table
from tertulia.domain.errors import Refusal
from tertulia.domain.events import Event
from tertulia.domain.records import Cursor, Expiry, Key, Member, Mention, Record
from tertulia.domain.unit import (
    BumpEpoch,
    Committed,
    CursorMoved,
    EpochIs,
    Expect,
    Join,
    NewEvent,
    Put,
    Remove,
    SetCursor,
    Unit,
    VersionIs,
    ViewIs,
    bumped_logs,
    write_log,
    write_tenant,
)
from tertulia.domain.views import NOTHING, Fold, fold, folded_seq

INSERT_EVENT = "INSERT INTO event VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?)"
_INSERT_LOG = "INSERT INTO log (no, tenant, id, kind, room, epoch, first_seq) VALUES (?, ?, ?, ?, ?, ?, 1)"
_PUT_FOLD = "INSERT OR REPLACE INTO fold (log, seq, version, doc) VALUES (?, ?, ?, ?)"
_ERASE = (
    "UPDATE event SET body = NULL WHERE log = ? AND seq = ?",
    "UPDATE event SET body = NULL WHERE log = ? AND target = ? AND target > 0 AND seq < ? "
    "AND kind = 'message.updated'",
)
_CURSORS: Table[Cursor] = TABLES[Cursor]


class WrongUnit(ValueError):
    """A unit that no decision should have given; found before it changed the batch."""


OwnMove = tuple[Event, int]
"""The last of the events by which someone moved their own cursor in this batch, and how many there were.
The stored row need not be read: a new seq is beyond every cursor."""


class Batch:
    """The units of one transaction."""

    def __init__(self, connection: Connection, logs: LogCache, next_id: int, next_log: int) -> None:
        self._connection = connection
        self._logs = logs
        self.next_id = next_id
        self.next_log = next_log
        self._known: dict[bytes, Outcome] = {}
        self._states: dict[str, LogState] = {}
        self._touched: dict[int, LogState] = {}
        self._new_logs: list[LogState] = []
        self._events: list[tuple[Value | None, ...]] = []
        self._erased: list[tuple[int, int, int]] = []
        self._folds: dict[tuple[int, int], Fold] = {}
        self._changed_folds: set[tuple[int, int]] = set()
        self._rows = RowCache(connection)
        self._own: dict[tuple[int, str, int], OwnMove] = {}
        self.events = 0

    @property
    def erases(self) -> bool:
        """Whether a body is removed."""
        return bool(self._erased)

    def look_up(self, units: Iterable[Unit]) -> None:
        """Find which idempotency keys of the units were used before.  To be called before `add`."""
        keys = {unit.idem for unit in units if unit.idem}
        if keys:
            self._known = outcomes(self._connection, keys)

    def add(self, unit: Unit) -> Committed:
        """Check and number one unit.

        Raises Refusal or WrongUnit, and then the batch is as it was before; anything else spoils it.
        """
        if unit.idem:
            found = self._known.get(unit.idem)
            if found is not None:
                return self._as_it_stands(same_request(found, unit.request))
            if not unit.events:
                raise WrongUnit("a unit with an idempotency key has an event")
        for expect in unit.expects:
            if not self._holds(expect):
                raise Refusal("stale", "What this rests on has changed meanwhile.")
        states = self._check(unit)
        if unit.writes:
            self._rows.write_unique(unit.writes)
        events = self._number(unit, states)
        moved = self._write_rest(unit) if unit.writes else ()
        committed = Committed(events, False, moved, self._bumped(unit))
        if unit.idem:
            self._known[unit.idem] = (unit.request, Committed(events, True))
        return committed

    @staticmethod
    def _bumped(unit: Unit) -> tuple[str, ...]:
        # Most units are one event and nothing else.
        if not unit.writes and len(unit.events) == 1:
            new = unit.events[0]
            return (new.log,) if new.bumps_epoch else ()
        return bumped_logs(unit)

    def _as_it_stands(self, repeated: Committed) -> Committed:
        """A first outcome without the bodies that this batch has erased since."""
        if not self._erased:
            return repeated
        events = [replace(each, body=None) if self._is_erased(each) else each for each in repeated.events]
        return Committed(tuple(events), True)

    def _is_erased(self, event: Event) -> bool:
        state = self._state(event.log)
        return state is not None and any(
            log == state.no
            and (
                event.seq == target
                or (event.kind == "message.updated" and event.target == target and event.seq < seq)
            )
            for log, target, seq in self._erased
        )

    # --- checks: nothing is changed here --------------------------------------------------------

    def _state(self, log: str) -> LogState | None:
        state = self._states.get(log)
        if state is None:
            state = self._logs.get(self._connection, log)
            if state is not None:
                self._states[log] = state
        return state

    def _holds(self, expect: Expect) -> bool:
        if type(expect) is EpochIs:
            state = self._state(expect.log)
            return (state.epoch if state is not None else 0) == expect.epoch
        if type(expect) is VersionIs:
            return self._slot(expect.record, expect.key).version == expect.version
        assert type(expect) is ViewIs
        state = self._state(expect.log)
        return (self._fold(state.no, expect.seq).version if state is not None else 0) == expect.version

    def _check(self, unit: Unit) -> list[LogState | None]:
        """The logs of the unit's events, None for one that the event makes."""
        states: list[LogState | None] = []
        made: set[str] | None = None
        for new in unit.events:
            state = self._state(new.log)
            if new.creates is not None:
                if state is not None:
                    raise Refusal("stale", "This log was made meanwhile.")
                made = made or set()
                if new.log in made:
                    raise WrongUnit(f"the log {new.log} is made twice")
                made.add(new.log)
            elif state is None:
                if made is None or new.log not in made:
                    raise WrongUnit(f"there is no log {new.log}")
            elif state.tenant != unit.tenant:
                raise WrongUnit(f"the log {new.log} is of another tenant")
            if (new.target or new.thread) and (
                state is None or not (0 <= new.target <= state.last_seq and 0 <= new.thread <= state.last_seq)
            ):
                raise WrongUnit(f"{new.kind} is about an event that {new.log} does not have")
            states.append(state)
        for write in unit.writes:
            if write_tenant(write) not in (None, unit.tenant):
                raise WrongUnit("a row of another tenant")
            log = write_log(write)
            if not log or (made is not None and log in made):
                continue
            state = self._state(log)
            if state is None:
                raise WrongUnit(f"there is no log {log}")
            if state.tenant != unit.tenant:
                raise WrongUnit(f"the log {log} is of another tenant")
        return states

    # --- events ---------------------------------------------------------------------------------

    def _number(self, unit: Unit, states: Sequence[LogState | None]) -> tuple[Event, ...]:
        events: list[Event] = []
        rows = self._events
        idem: bytes | None = unit.idem or None
        request = unit.request if idem is not None else None
        client_id = unit.client_id
        span = len(states)
        for new, known in zip(unit.events, states, strict=True):
            state = known if known is not None else self._make(unit, new)
            event = self._event(unit, new, state, client_id)
            seq = event.seq
            rows.append(
                (
                    self.next_id,
                    state.no,
                    seq,
                    1 if new.kind == "message.new" and not new.thread else 0,
                    new.kind,
                    new.actor,
                    event.at,
                    event.ordinal,
                    event.all_ordinal,
                    event.thread_ordinal,
                    new.target,
                    new.thread,
                    span,
                    "",
                    client_id,
                    idem,
                    request,
                    new.body,
                )
            )
            self.next_id += 1
            events.append(event)
            state.pending.append(event)
            self._touched[state.no] = state
            if new.bumps_epoch:
                state.epoch += 1
            if new.erases_target and new.target:
                self._erased.append((state.no, new.target, seq))
            if new.mentions:
                for user in new.mentions:
                    self._rows.put_new(
                        Mention(tenant=state.tenant, user=user, conversation=state.id, seq=seq)
                    )
            if new.expires_at:
                expiry = Expiry(tenant=state.tenant, conversation=state.id, seq=seq, at=new.expires_at)
                self._rows.put_new(expiry)
            if new.countable and unit.own_cursor:
                self._move_own(state, event)
            idem = request = None
            client_id = ""
            span = 1
        return tuple(events)

    def _make(self, unit: Unit, new: NewEvent) -> LogState:
        """The log that an event of this unit makes, or that an earlier one of it made."""
        state = self._state(new.log)
        if state is None:
            assert new.creates is not None
            state = LogState(self.next_log, unit.tenant, new.log, new.creates, new.room or new.log)
            self.next_log += 1
            self._new_logs.append(state)
            self._logs.put(state)
            self._states[new.log] = state
        return state

    def _event(self, unit: Unit, new: NewEvent, state: LogState, client_id: str) -> Event:
        state.last_seq = seq = state.last_seq + 1
        if unit.at > state.at:
            state.at = unit.at
        thread_ordinal = 0
        if new.thread:
            thread_ordinal = self._fold(state.no, new.thread).replies + (
                1 if new.kind == "message.new" and not new.target else 0
            )
        else:
            if new.countable:
                state.ordinal += 1
            if new.at_all:
                state.all_ordinal += 1
        event = Event(
            tenant=state.tenant,
            log=state.id,
            room=state.room,
            log_kind=state.kind,
            seq=seq,
            kind=new.kind,
            actor=new.actor,
            at=state.at,
            ordinal=state.ordinal,
            all_ordinal=state.all_ordinal,
            thread_ordinal=thread_ordinal,
            target=new.target,
            thread=new.thread,
            body=new.body,
            client_id=client_id,
        )
        if new.target or new.thread:
            about = folded_seq(new.kind, new.target, new.thread)
            if about:
                place = (state.no, about)
                self._folds[place] = fold(self._fold(state.no, about), event)
                self._changed_folds.add(place)
        return event

    def _fold(self, no: int, seq: int) -> Fold:
        place = (no, seq)
        known = self._folds.get(place)
        if known is None:
            known = NOTHING
            for (doc,) in self._connection.execute("SELECT doc FROM fold WHERE log = ? AND seq = ?", place):
                known = decode_fold(cast(bytes, doc))
            self._folds[place] = known
        return known

    # --- cursors --------------------------------------------------------------------------------

    def _move_own(self, state: LogState, event: Event) -> None:
        place = (state.no, event.actor, event.thread)
        own = self._own.get(place)
        self._own[place] = (event, 1 if own is None else own[1] + 1)

    def _own_cursor(self, event: Event) -> Cursor:
        thread = event.thread
        return Cursor(
            tenant=event.tenant,
            conversation=event.log,
            user=event.actor,
            thread=thread,
            read=event.seq,
            received=event.seq,
            ordinal=event.thread_ordinal if thread else event.ordinal,
            all_ordinal=0 if thread else event.all_ordinal,
        )

    def _settle_own(self) -> None:
        """Turn the blind cursor moves into rows, since someone wants to see such a row."""
        moves, self._own = self._own, {}
        for event, count in moves.values():
            cursor = self._own_cursor(event)
            slot = self._slot(Cursor, cursor.key())
            slot.record, slot.changed = cursor, True
            slot.version += count

    def _set_cursor(self, write: SetCursor) -> CursorMoved | None:
        state = self._state(write.log)
        assert state is not None
        slot = self._slot(Cursor, (state.tenant, state.id, write.user, write.thread))
        old = slot.record
        if old is None:
            old = Cursor(tenant=state.tenant, conversation=state.id, user=write.user, thread=write.thread)
        assert isinstance(old, Cursor)
        last = state.last_seq
        read = min(write.read, last)
        received = max(min(write.received, last), read, old.received)
        if read <= old.read and received == old.received:
            return None
        ordinal, all_ordinal = old.ordinal, old.all_ordinal
        if read > old.read:
            ordinal, all_ordinal = self._ordinals(state, read, write.thread)
        else:
            read = old.read
        slot.record = Cursor(
            tenant=state.tenant,
            conversation=state.id,
            user=write.user,
            thread=write.thread,
            read=read,
            received=received,
            ordinal=ordinal,
            all_ordinal=all_ordinal,
        )
        slot.version += 1
        slot.changed = True
        return CursorMoved(
            tenant=state.tenant,
            log=state.id,
            room=state.room,
            user=write.user,
            read=read,
            received=received,
            thread=write.thread,
        )

    def _ordinals(self, state: LogState, seq: int, thread: int) -> tuple[int, int]:
        """The two running counts at `seq`; within a thread the number of its replies up to there."""
        if thread:
            for event in reversed(state.pending):
                if event.thread == thread and event.seq <= seq:
                    return event.thread_ordinal, 0
            sql = (
                "SELECT thread_ordinal, 0 FROM event WHERE log = ? AND thread = ? AND thread > 0 "
                "AND seq <= ? ORDER BY seq DESC LIMIT 1"
            )
            for row in self._connection.execute(sql, (state.no, thread, seq)):
                return cast(tuple[int, int], row)
            return 0, 0
        if seq == state.last_seq:
            return state.ordinal, state.all_ordinal
        if seq > state.flushed:
            event = state.pending[seq - state.flushed - 1]
            return event.ordinal, event.all_ordinal
        sql = "SELECT ordinal, all_ordinal FROM event WHERE log = ? AND seq = ?"
        for row in self._connection.execute(sql, (state.no, seq)):
            return cast(tuple[int, int], row)
        raise AssertionError(f"the log {state.id} has no event {seq}")

    # --- rows -----------------------------------------------------------------------------------

    def _slot(self, record: type[Record], key: Key) -> Slot:
        if record is Cursor and self._own:
            self._settle_own()
        return self._rows.slot(record, key)

    def _write_rest(self, unit: Unit) -> tuple[CursorMoved, ...]:
        moved: list[CursorMoved] = []
        for write in unit.writes:
            kind = type(write)
            if kind is SetCursor:
                move = self._set_cursor(cast(SetCursor, write))
                if move is not None:
                    moved.append(move)
            elif kind is Put:
                record = cast(Put, write).record
                if not TABLES[type(record)].unique:
                    slot = self._slot(type(record), record.key())
                    slot.record, slot.changed = record, True
                    slot.version += 1
            elif kind is Remove:
                remove = cast(Remove, write)
                if not TABLES[remove.record].unique:
                    slot = self._slot(remove.record, remove.key)
                    if slot.record is not None:
                        slot.record, slot.version, slot.changed = None, 0, True
            elif kind is Join:
                self._join(cast(Join, write).record, unit)
            else:
                state = self._state(cast(BumpEpoch, write).log)
                assert state is not None
                state.epoch += 1
                self._touched[state.no] = state
        return tuple(moved)

    def _join(self, member: Member, unit: Unit) -> None:
        state = self._state(member.conversation)
        assert state is not None
        since = state.last_seq - sum(new.log == state.id for new in unit.events)
        slot = self._slot(Member, member.key())
        slot.record, slot.changed = replace(member, since=since), True
        slot.version += 1

    # --- the transaction's end ------------------------------------------------------------------

    def flush(self) -> None:
        """Write all that the units changed, each table in one go.  Raises apsw errors."""
        many = self._connection.executemany
        execute = self._connection.execute
        if self._new_logs:
            many(_INSERT_LOG, [(s.no, s.tenant, s.id, s.kind, s.room, s.epoch) for s in self._new_logs])
            for state in self._new_logs:
                state.stored_epoch = state.epoch
        for state in self._touched.values():
            if state.epoch != state.stored_epoch:
                execute("UPDATE log SET epoch = ? WHERE no = ?", (state.epoch, state.no))
                state.stored_epoch = state.epoch
        if self._events:
            many(INSERT_EVENT, self._events)
        for log, target, seq in self._erased:
            execute(_ERASE[0], (log, target))
            execute(_ERASE[1], (log, target, seq))
        if self._changed_folds:
            folds = ((place, self._folds[place]) for place in self._changed_folds)
            many(_PUT_FOLD, [(*place, view.version, encode_fold(view)) for place, view in folds])
        if self._own and self._rows.holds(Cursor):
            self._settle_own()
        if self._own:
            own = self._own.values()
            cursors = [_CURSORS.row(self._own_cursor(event), moves) for event, moves in own]
            many(_CURSORS.change, cursors)
        self._rows.flush()
        self.events = len(self._events)

    def committed(self) -> None:
        """The transaction is on disk: what was pending is stored."""
        for state in self._touched.values():
            state.flushed = state.last_seq
            state.pending.clear()
        self._logs.trim()
