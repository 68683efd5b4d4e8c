"""The store in memory: plain dictionaries, for tests and as the model that other stores are held to.

A unit is worked out on a copy of what it touches and takes the place of the old state only as a whole.
Nothing is durable.
"""

from __future__ import annotations

import asyncio
import secrets
from collections.abc import Callable, Sequence
from typing import cast

import msgspec
from msgspec.structs import replace

from tertulia.domain.content import Content, plain_text
from tertulia.domain.errors import Refusal
from tertulia.domain.events import Event, LogKind
from tertulia.domain.records import (
    Block,
    Conversation,
    Cursor,
    Expiry,
    Hidden,
    Index,
    Key,
    Member,
    Mention,
    R,
    Record,
    Versioned,
)
from tertulia.domain.search_words import holds, terms, words
from tertulia.domain.unit import (
    BumpEpoch,
    Committed,
    CursorMoved,
    EpochIs,
    Expect,
    Head,
    Join,
    NewEvent,
    Put,
    Remove,
    SetCursor,
    Unit,
    VersionIs,
    bumped_logs,
    write_log,
    write_tenant,
)
from tertulia.domain.views import NOTHING, Fold, MessageView, current_content, fold, folded_seq
from tertulia.ports.message_store import CommitListener, SearchHit, SearchQuery

_decode_content = msgspec.json.Decoder(Content).decode

Rows = dict[Key, tuple[Record, int]]


class _Log:
    """One log: its description and its events."""

    def __init__(self, tenant: str, log: str, kind: LogKind, room: str) -> None:
        self.tenant, self.id, self.room = tenant, log, room
        self.kind: LogKind = kind
        self.epoch = 1
        self.events: list[Event] = []
        self.folds: dict[int, Fold] = {}

    def copy(self) -> _Log:
        """A log that can be changed without changing this one."""
        other = _Log(self.tenant, self.id, self.kind, self.room)
        other.epoch, other.events, other.folds = self.epoch, list(self.events), dict(self.folds)
        return other

    def head(self) -> Head:
        """Where the log stands."""
        last = self.events[-1]
        return Head(
            log=self.id,
            kind=self.kind,
            tenant=self.tenant,
            room=self.room,
            last_seq=last.seq,
            message_count=last.ordinal,
            all_count=last.all_ordinal,
            updated_at=last.at,
            epoch=self.epoch,
        )

    def view(self, event: Event) -> MessageView:
        """A message as it stands now."""
        return MessageView(event=event, fold=self.folds.get(event.seq, NOTHING))


def _exempt(values: Key) -> bool:
    return not values[-1]


def _index(record: type[Record], name: str) -> Index:
    for index in record.indexes:
        if index.name == name:
            return index
    raise ValueError(f"{record.table} has no index {name!r}")


def _values(record: Record, fields: Sequence[str]) -> Key:
    return tuple(getattr(record, name) for name in fields)


class _Draft:
    """The state after a unit, while it is being worked out."""

    def __init__(self, logs: dict[str, _Log], tables: dict[type[Record], Rows]) -> None:
        self._old_logs, self._old_tables = logs, tables
        self.logs: dict[str, _Log] = {}
        self.tables: dict[type[Record], Rows] = {}

    def log(self, log: str) -> _Log | None:
        """A log, to be read."""
        return self.logs.get(log) or self._old_logs.get(log)

    def own_log(self, log: str) -> _Log:
        """A log, to be changed."""
        if log not in self.logs:
            self.logs[log] = self._old_logs[log].copy()
        return self.logs[log]

    def rows(self, record: type[Record]) -> Rows:
        """A table, to be read."""
        return self.tables[record] if record in self.tables else self._old_tables.get(record, {})

    def own_rows(self, record: type[Record]) -> Rows:
        """A table, to be changed."""
        if record not in self.tables:
            self.tables[record] = dict(self._old_tables.get(record, {}))
        return self.tables[record]

    def put(self, record: Record) -> None:
        """Insert or replace a row.  Raises Refusal `conflict`."""
        rows = self.own_rows(type(record))
        key = record.key()
        for index in record.indexes:
            values = _values(record, index.fields)
            if not index.unique or _exempt(values):
                continue
            for other, (row, _) in rows.items():
                if other != key and _values(row, index.fields) == values:
                    raise Refusal("conflict", "Another one has this already.", field=index.fields[-1])
        version = rows[key][1] if key in rows else 0
        rows[key] = (record, version + 1)


class MemoryStore:
    """`MessageStore` and `Directory` in memory.  To be made on a running event loop."""

    def __init__(self) -> None:
        self.generation = secrets.token_hex(8)
        self._logs: dict[str, _Log] = {}
        self._tables: dict[type[Record], Rows] = {}
        self._outcomes: dict[bytes, tuple[bytes, list[tuple[str, int]]]] = {}
        self._order: list[tuple[str, int]] = []
        self._listeners: list[CommitListener] = []
        self._closed = False

    # --- appends --------------------------------------------------------------------------------

    def append(self, unit: Unit) -> asyncio.Future[Committed]:
        """See `MessageStore.append`."""
        loop = asyncio.get_running_loop()
        future: asyncio.Future[Committed] = loop.create_future()
        try:
            committed = self._append(unit)
        except Exception as error:  # noqa: BLE001 - it goes to the one who asked
            future.set_exception(error)
            return future
        loop.call_soon(self._answer, future, committed)
        return future

    def _answer(self, future: asyncio.Future[Committed], committed: Committed) -> None:
        if not future.done():
            future.set_result(committed)
        if committed.repeated:
            return
        for listener in self._listeners:
            try:
                listener([committed])
            except Exception as error:  # noqa: BLE001 - one listener must not silence the others
                context = {"message": "A commit listener failed.", "exception": error}
                asyncio.get_running_loop().call_exception_handler(context)

    def _append(self, unit: Unit) -> Committed:
        if self._closed:
            raise Refusal("unavailable", "The server is stopping.")
        if unit.idem:
            repeated = self._outcome(unit.idem, unit.request)
            if repeated is not None:
                return repeated
            if not unit.events:
                raise ValueError("a unit with an idempotency key has an event")
        draft = _Draft(self._logs, self._tables)
        if not all(self._holds(draft, expect) for expect in unit.expects):
            raise Refusal("stale", "What this rests on has changed meanwhile.")
        self._check(draft, unit)
        events = tuple(
            self._event(draft, unit, new, unit.client_id if n == 0 else "")
            for n, new in enumerate(unit.events)
        )
        moved = self._write(draft, unit)
        self._logs.update(draft.logs)
        self._tables.update(draft.tables)
        places = [(event.log, event.seq) for event in events]
        self._order += places
        if unit.idem:
            self._outcomes[unit.idem] = (unit.request, places)
        return Committed(events=events, cursors=moved, bumped=bumped_logs(unit))

    def _holds(self, draft: _Draft, expect: Expect) -> bool:
        if isinstance(expect, VersionIs):
            row = draft.rows(expect.record).get(expect.key)
            return (row[1] if row else 0) == expect.version
        log = draft.log(expect.log)
        if isinstance(expect, EpochIs):
            return (log.epoch if log else 0) == expect.epoch
        return (log.folds.get(expect.seq, NOTHING).version if log else 0) == expect.version

    def _check(self, draft: _Draft, unit: Unit) -> None:
        made: set[str] = set()
        for new in unit.events:
            log = draft.log(new.log)
            if new.creates is not None and log is not None:
                raise Refusal("stale", "This log was made meanwhile.")
            if new.creates is not None and new.log in made:
                raise ValueError(f"the log {new.log} is made twice")
            if new.creates is not None:
                made.add(new.log)
            elif log is None and new.log not in made:
                raise ValueError(f"there is no log {new.log}")
            if log is not None and log.tenant != unit.tenant:
                raise ValueError(f"the log {new.log} is of another tenant")
            last = len(log.events) if log is not None else 0
            if not (0 <= new.target <= last and 0 <= new.thread <= last):
                raise ValueError(f"{new.kind} is about an event that {new.log} does not have")
        for write in unit.writes:
            if write_tenant(write) not in (None, unit.tenant):
                raise ValueError("a row of another tenant")
            name = write_log(write)
            if not name or name in made:
                continue
            log = draft.log(name)
            if log is None:
                raise ValueError(f"there is no log {name}")
            if log.tenant != unit.tenant:
                raise ValueError(f"the log {name} is of another tenant")

    def _event(self, draft: _Draft, unit: Unit, new: NewEvent, client_id: str) -> Event:
        if new.creates is not None:
            draft.logs[new.log] = _Log(unit.tenant, new.log, new.creates, new.room or new.log)
        log = draft.own_log(new.log)
        last = log.events[-1] if log.events else None
        replies = log.folds.get(new.thread, NOTHING).replies
        is_reply = new.kind == "message.new" and not new.target
        event = Event(
            tenant=log.tenant,
            log=log.id,
            room=log.room,
            log_kind=log.kind,
            seq=len(log.events) + 1,
            kind=new.kind,
            actor=new.actor,
            at=max(unit.at, last.at if last else 0),
            ordinal=(last.ordinal if last else 0) + (new.countable and not new.thread),
            all_ordinal=(last.all_ordinal if last else 0) + (new.at_all and not new.thread),
            thread_ordinal=replies + is_reply if new.thread else 0,
            target=new.target,
            thread=new.thread,
            body=new.body,
            client_id=client_id,
        )
        log.events.append(event)
        about = folded_seq(new.kind, new.target, new.thread)
        if about:
            log.folds[about] = fold(log.folds.get(about, NOTHING), event)
        if new.bumps_epoch:
            log.epoch += 1
        if new.erases_target and new.target:
            self._erase(log, new.target)
        for user in dict.fromkeys(new.mentions):
            draft.put(Mention(tenant=log.tenant, user=user, conversation=log.id, seq=event.seq))
        if new.expires_at:
            draft.put(Expiry(tenant=log.tenant, conversation=log.id, seq=event.seq, at=new.expires_at))
        if new.countable and unit.own_cursor:
            self._set_cursor(
                draft,
                SetCursor(log=log.id, user=new.actor, read=event.seq, received=event.seq, thread=new.thread),
            )
        return event

    def _erase(self, log: _Log, target: int) -> None:
        for n, event in enumerate(log.events):
            edit = event.kind == "message.updated" and event.target == target
            if event.seq == target or edit:
                log.events[n] = replace(event, body=None)

    def _set_cursor(self, draft: _Draft, write: SetCursor) -> CursorMoved | None:
        log = draft.own_log(write.log)
        key = (log.tenant, log.id, write.user, write.thread)
        row = draft.rows(Cursor).get(key)
        if row is not None:
            old = cast(Cursor, row[0])
        else:
            old = Cursor(tenant=log.tenant, conversation=log.id, user=write.user, thread=write.thread)
        last = len(log.events)
        read = max(min(write.read, last), old.read)
        received = max(min(write.received, last), read, old.received)
        if (read, received) == (old.read, old.received):
            return None
        ordinal, all_ordinal = old.ordinal, old.all_ordinal
        if read > old.read and write.thread:
            counts = [e.thread_ordinal for e in log.events[:read] if e.thread == write.thread]
            ordinal, all_ordinal = (counts[-1] if counts else 0), 0
        elif read > old.read:
            ordinal, all_ordinal = log.events[read - 1].ordinal, log.events[read - 1].all_ordinal
        draft.put(
            Cursor(
                tenant=log.tenant,
                conversation=log.id,
                user=write.user,
                thread=write.thread,
                read=read,
                received=received,
                ordinal=ordinal,
                all_ordinal=all_ordinal,
            )
        )
        return CursorMoved(
            tenant=log.tenant,
            log=log.id,
            room=log.room,
            user=write.user,
            read=read,
            received=received,
            thread=write.thread,
        )

    def _write(self, draft: _Draft, unit: Unit) -> tuple[CursorMoved, ...]:
        moved: list[CursorMoved] = []
        for write in unit.writes:
            match write:
                case Put():
                    draft.put(write.record)
                case Join():
                    log = write.record.conversation
                    here = sum(new.log == log for new in unit.events)
                    draft.put(replace(write.record, since=len(draft.own_log(log).events) - here))
                case Remove():
                    draft.own_rows(write.record).pop(write.key, None)
                case SetCursor():
                    move = self._set_cursor(draft, write)
                    if move is not None:
                        moved.append(move)
                case BumpEpoch():
                    draft.own_log(write.log).epoch += 1
        return tuple(moved)

    def on_commit(self, listener: CommitListener) -> None:
        """See `MessageStore.on_commit`."""
        self._listeners.append(listener)

    def _outcome(self, idem: bytes, request: bytes) -> Committed | None:
        found = self._outcomes.get(idem)
        if found is None:
            return None
        if found[0] != request:
            raise Refusal("client_id_reused", "This client_id was used for another request.")
        events = tuple(self._logs[log].events[seq - 1] for log, seq in found[1])
        return Committed(events=events, repeated=True)

    async def outcome(self, idem: bytes, request: bytes) -> Committed | None:
        """See `MessageStore.outcome`."""
        return self._outcome(idem, request)

    # --- reads of the log -----------------------------------------------------------------------

    async def settled(self) -> None:
        """See `MessageStore.settled`: listeners are told in the loop's next turn."""
        await asyncio.sleep(0)

    async def head(self, log: str) -> Head | None:
        """See `MessageStore.head`."""
        return self._head(log)

    def _head(self, log: str) -> Head | None:
        found = self._logs.get(log)
        return found.head() if found is not None else None

    async def heads(self, logs: Sequence[str]) -> list[Head | None]:
        """See `MessageStore.heads`."""
        return [self._head(log) for log in logs]

    def _events(self, log: str) -> list[Event]:
        return self._logs[log].events if log in self._logs else []

    async def events(self, log: str, after: int, limit: int, until: int = 0) -> list[Event]:
        """See `MessageStore.events`."""
        found = [e for e in self._events(log) if e.seq > after and (not until or e.seq <= until)]
        return found[:limit]

    async def message(self, log: str, seq: int) -> MessageView | None:
        """See `MessageStore.message`."""
        for event in self._events(log):
            if event.seq == seq and event.kind == "message.new":
                return self._logs[log].view(event)
        return None

    async def messages(
        self,
        log: str,
        *,
        before: int = 0,
        after: int = 0,
        limit: int = 50,
        thread: int = 0,
        floor: int = 0,
    ) -> list[MessageView]:
        """See `MessageStore.messages`."""
        found = [
            self._logs[log].view(event)
            for event in self._events(log)
            if event.kind == "message.new"
            and event.thread == thread
            and event.seq > max(after, floor)
            and (not before or event.seq < before)
        ]
        return found[:limit] if after else found[-limit:]

    async def edits(self, log: str, seq: int) -> list[Event]:
        """See `MessageStore.edits`."""
        return [e for e in self._events(log) if e.kind == "message.updated" and e.target == seq]

    async def search(self, query: SearchQuery) -> list[SearchHit]:
        """See `MessageStore.search`."""
        wanted = terms(query.text)
        hits: list[SearchHit] = []
        for position in range(len(self._order), 0, -1):
            log, seq = self._order[position - 1]
            event = self._logs[log].events[seq - 1]
            if not wanted or event.kind != "message.new" or (query.before and position >= query.before):
                continue
            view = self._logs[log].view(event)
            content = current_content(view)
            asked = (
                (not query.sender or event.actor == query.sender)
                and event.at >= query.since
                and (not query.until or event.at <= query.until)
            )
            if not asked or not content or not self._may_see(query, event):
                continue
            if holds(words(plain_text(_decode_content(content))), wanted):
                hits.append(SearchHit(view=view, position=position))
        return hits[: query.limit]

    def _may_see(self, query: SearchQuery, event: Event) -> bool:
        def row(record: type[R], *key: str | int) -> R | None:
            found = self._versioned(record, (query.tenant, *key))
            return found.record if found is not None else None

        conversation = row(Conversation, event.log)
        if conversation is None or conversation.deleted_at:
            return False
        home = row(Conversation, conversation.parent) if conversation.parent else conversation
        if home is None or home.deleted_at or query.conversation not in ("", event.log, home.id):
            return False
        member = row(Member, home.id, query.user)
        if member is None:
            return False
        if home is conversation and home.history == "joined" and event.seq <= member.since:
            return False
        if row(Hidden, query.user, event.log, event.seq) is not None:
            return False
        return conversation.kind == "direct" or row(Block, query.user, event.actor) is None

    # --- rows -----------------------------------------------------------------------------------

    async def get(self, record: type[R], *key: str | int) -> R | None:
        """See `Directory.get`."""
        found = self._versioned(record, key)
        return found.record if found is not None else None

    async def get_versioned(self, record: type[R], *key: str | int) -> Versioned[R] | None:
        """See `Directory.get_versioned`."""
        return self._versioned(record, key)

    def _versioned(self, record: type[R], key: Key) -> Versioned[R] | None:
        if len(key) != len(record.key_fields):
            raise ValueError(f"{record.table}: a key has the fields {record.key_fields}")
        row = self._tables.get(record, {}).get(key)
        return Versioned(record=cast(R, row[0]), version=row[1]) if row is not None else None

    async def snapshot(
        self, logs: Sequence[str], rows: Sequence[tuple[type[Record], Key]]
    ) -> tuple[list[Head | None], list[Versioned[Record] | None]]:
        """See `Directory.snapshot`."""
        return [self._head(log) for log in logs], [self._versioned(record, key) for record, key in rows]

    def _sorted(self, record: type[R], index: str, prefix: Key) -> tuple[tuple[str, ...], list[R]]:
        fields = _index(record, index).fields if index else record.key_fields
        if len(prefix) > len(fields):
            raise ValueError(f"{record.table}: {prefix} is longer than {fields}")
        rows = [cast(R, row) for row, _ in self._tables.get(record, {}).values()]
        rows = [row for row in rows if _values(row, fields[: len(prefix)]) == prefix]
        return fields, sorted(rows, key=lambda row: (_values(row, fields), row.key()))

    async def scan(
        self,
        record: type[R],
        prefix: Key,
        *,
        index: str = "",
        after: Key | None = None,
        limit: int = 1000,
        reverse: bool = False,
    ) -> list[R]:
        """See `Directory.scan`."""
        fields, rows = self._sorted(record, index, prefix)
        if after is not None and len(after) != len(fields):
            raise ValueError(f"{record.table}: `after` has the fields {fields}")
        if reverse:
            rows.reverse()
        beyond: Callable[[Key], bool] = lambda values: (  # noqa: E731
            after is None or (values < after if reverse else values > after)
        )
        return [row for row in rows if beyond(_values(row, fields))][:limit]

    async def due(self, record: type[R], index: str, prefix: Key, until: int, limit: int) -> list[R]:
        """See `Directory.due`."""
        fields, rows = self._sorted(record, index, prefix)
        if len(prefix) == len(fields):
            raise ValueError(f"{record.table}: no field follows {prefix}")
        return [row for row in rows if getattr(row, fields[len(prefix)]) <= until][:limit]

    async def count(self, record: type[Record], prefix: Key, *, index: str = "") -> int:
        """See `Directory.count`."""
        return len(self._sorted(record, index, prefix)[1])

    async def close(self) -> None:
        """See `MessageStore.close`."""
        self._closed = True
