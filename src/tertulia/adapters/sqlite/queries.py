"""What is read of the log: plain functions over a connection.

The caller holds the transaction, so that several of them see one snapshot.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import Any

import msgspec

from tertulia.adapters.sqlite.engine import Connection, array
from tertulia.domain.errors import Refusal
from tertulia.domain.events import Event, LogKind
from tertulia.domain.unit import Committed, Head
from tertulia.domain.views import NOTHING, Fold, MessageView

EVENT_COLUMNS = (
    "seq, kind, actor, at, ordinal, all_ordinal, thread_ordinal, target, thread, key_id, client_id, body"
)
_E_COLUMNS = ", ".join(f"e.{name}" for name in EVENT_COLUMNS.split(", "))

decode_fold = msgspec.json.Decoder(Fold).decode
encode_fold = msgspec.json.Encoder().encode


class LogRow(msgspec.Struct, frozen=True, gc=False):
    """The row of a log, without its head."""

    no: int
    tenant: str
    id: str
    kind: LogKind
    room: str
    epoch: int
    first_seq: int


def find_log(connection: Connection, log: str) -> LogRow | None:
    """The log with this id."""
    for row in connection.execute(
        "SELECT no, tenant, id, kind, room, epoch, first_seq FROM log WHERE id = ?", (log,)
    ):
        return LogRow(*row)
    return None


def to_event(log: LogRow, row: Sequence[Any]) -> Event:
    """An event from a row of `EVENT_COLUMNS`."""
    seq, kind, actor, at, ordinal, all_ordinal, thread_ordinal, target, thread, key_id, client_id, body = row
    return Event(
        tenant=log.tenant,
        log=log.id,
        room=log.room,
        log_kind=log.kind,
        seq=seq,
        kind=kind,
        actor=actor,
        at=at,
        ordinal=ordinal,
        all_ordinal=all_ordinal,
        thread_ordinal=thread_ordinal,
        target=target,
        thread=thread,
        key_id=key_id,
        client_id=client_id,
        body=body,
    )


_HEAD = (
    "SELECT l.no, l.tenant, l.id, l.kind, l.room, l.epoch, l.first_seq, "
    "e.seq, e.ordinal, e.all_ordinal, e.at FROM {} "
    "CROSS JOIN event e ON e.log = l.no AND e.seq = (SELECT max(seq) FROM event WHERE log = l.no)"
)
_ONE_HEAD = _HEAD.format("log l") + " WHERE l.id = ?"
_MANY_HEADS = _HEAD.format("carray(?) c CROSS JOIN log l ON l.id = c.value")


def _to_head(row: Sequence[Any]) -> Head:
    _, tenant, log, kind, room, epoch, first_seq, seq, ordinal, all_ordinal, at = row
    return Head(
        log=log,
        kind=kind,
        tenant=tenant,
        room=room,
        last_seq=seq,
        message_count=ordinal,
        all_count=all_ordinal,
        updated_at=at,
        epoch=epoch,
        first_seq=first_seq,
    )


def head_row(connection: Connection, log: str) -> Sequence[Any] | None:
    """no, tenant, id, kind, room, epoch, first_seq, last seq, ordinal, all_ordinal, at of a log."""
    for row in connection.execute(_ONE_HEAD, (log,)):
        return row
    return None


def head(connection: Connection, log: str) -> Head | None:
    """See `MessageStore.head`."""
    row = head_row(connection, log)
    return _to_head(row) if row is not None else None


def heads(connection: Connection, logs: Sequence[str]) -> list[Head | None]:
    """See `MessageStore.heads`."""
    if len(logs) <= 1:
        return [head(connection, log) for log in logs]
    wanted = array(dict.fromkeys(logs))
    found = {row[2]: _to_head(row) for row in connection.execute(_MANY_HEADS, (wanted,))}
    return [found.get(log) for log in logs]


def events(connection: Connection, log: str, after: int, limit: int, until: int) -> list[Event]:
    """See `MessageStore.events`."""
    row = find_log(connection, log)
    if row is None:
        return []
    rows = connection.execute(
        f"SELECT {EVENT_COLUMNS} FROM event WHERE log = ? AND seq > ? AND seq <= ? "  # noqa: S608
        "ORDER BY seq LIMIT ?",
        (row.no, after, until or 2**62, limit),
    )
    return [to_event(row, found) for found in rows]


_VIEW = f"SELECT {_E_COLUMNS}, f.doc FROM event e LEFT JOIN fold f ON f.log = e.log AND f.seq = e.seq "  # noqa: S608


def _to_view(log: LogRow, row: Sequence[Any]) -> MessageView:
    doc = row[-1]
    return MessageView(event=to_event(log, row[:-1]), fold=NOTHING if doc is None else decode_fold(doc))


def message(connection: Connection, log: str, seq: int) -> MessageView | None:
    """See `MessageStore.message`."""
    row = find_log(connection, log)
    if row is None:
        return None
    for found in connection.execute(
        _VIEW + "WHERE e.log = ? AND e.seq = ? AND e.kind = 'message.new'", (row.no, seq)
    ):
        return _to_view(row, found)
    return None


def messages(
    connection: Connection,
    log: str,
    *,
    before: int,
    after: int,
    limit: int,
    thread: int,
    floor: int,
) -> list[MessageView]:
    """See `MessageStore.messages`."""
    row = find_log(connection, log)
    if row is None:
        return []
    if thread:
        which, values = "e.thread = ? AND e.thread > 0 AND e.kind = 'message.new'", [thread]
    else:
        which, values = "e.main = 1", []
    direction = "ASC" if after else "DESC"
    found = connection.execute(
        f"{_VIEW} WHERE e.log = ? AND {which} AND e.seq > ? AND e.seq < ? ORDER BY e.seq {direction} LIMIT ?",
        (row.no, *values, max(after, floor), before or 2**62, limit),
    )
    views = [_to_view(row, each) for each in found]
    return views if after else views[::-1]


def edits(connection: Connection, log: str, seq: int) -> list[Event]:
    """See `MessageStore.edits`."""
    row = find_log(connection, log)
    if row is None or seq <= 0:
        return []
    rows = connection.execute(
        f"SELECT {EVENT_COLUMNS} FROM event "  # noqa: S608
        "WHERE log = ? AND target = ? AND target > 0 AND kind = 'message.updated' ORDER BY seq",
        (row.no, seq),
    )
    return [to_event(row, found) for found in rows]


_UNIT = (
    "SELECT l.no, l.tenant, l.id, l.kind, l.room, l.epoch, l.first_seq, "  # noqa: S608
    f"{_E_COLUMNS} FROM event e JOIN log l ON l.no = e.log WHERE e.id >= ? AND e.id < ? ORDER BY e.id"
)

Outcome = tuple[bytes, Committed]
"""The request hash of a unit that was appended before, and what it gave."""


def outcomes(connection: Connection, idems: Iterable[bytes]) -> dict[bytes, Outcome]:
    """The first outcomes of those idempotency keys that were used."""
    keys = tuple(idems)
    if len(keys) == 1:
        sql, wanted = "SELECT id, idem, request, span FROM event WHERE idem = ?", keys[0]
    else:
        sql = (
            "SELECT e.id, e.idem, e.request, e.span FROM carray(?) c "
            "CROSS JOIN event e ON e.idem = c.value AND e.idem IS NOT NULL"
        )
        wanted = array(keys)
    return {
        idem: (request, Committed(events=_unit_events(connection, first, span), repeated=True))
        for first, idem, request, span in connection.execute(sql, (wanted,)).fetchall()
    }


def _unit_events(connection: Connection, first: int, span: int) -> tuple[Event, ...]:
    rows = connection.execute(_UNIT, (first, first + span))
    return tuple(to_event(LogRow(*row[:7]), row[7:]) for row in rows)


def same_request(found: Outcome, request: bytes) -> Committed:
    """The first outcome, for a repeat of the same request.  Raises Refusal `client_id_reused`."""
    if found[0] != request:
        raise Refusal("client_id_reused", "This client_id was used for another request.")
    return found[1]


def outcome(connection: Connection, idem: bytes, request: bytes) -> Committed | None:
    """See `MessageStore.outcome`."""
    found = outcomes(connection, (idem,)).get(idem) if idem else None
    return None if found is None else same_request(found, request)
