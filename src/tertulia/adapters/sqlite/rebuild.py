"""Holding the projections against the log, and mending them: `tertulia doctor --rebuild`."""

from __future__ import annotations

import msgspec

from tertulia.adapters.sqlite.engine import Connection
from tertulia.adapters.sqlite.queries import EVENT_COLUMNS, LogRow, encode_fold, to_event
from tertulia.domain.events import Event
from tertulia.domain.views import NOTHING, Fold, fold, folded_seq


class Differences(msgspec.Struct, kw_only=True):
    """What a check found.

    `folds` and `search` were projections that differed from the log; they are mended.  `log_faults` are
    events whose numbers, times or running counts do not follow from the one before: the log itself is
    damaged there, and nothing was changed.
    """

    logs: int = 0
    events: int = 0
    folds: int = 0
    log_faults: int = 0
    search: int = 0


def rebuild_log(connection: Connection, found: Differences) -> None:
    """Check every log and mend the folds, within the caller's transaction."""
    sql = "SELECT no, tenant, id, kind, room, epoch, first_seq FROM log ORDER BY no"
    for row in connection.execute(sql).fetchall():
        found.logs += 1
        _one_log(connection, LogRow(*row), found)
    orphans = connection.execute("SELECT log, seq FROM fold WHERE log NOT IN (SELECT no FROM log)").fetchall()
    connection.executemany("DELETE FROM fold WHERE log = ? AND seq = ?", orphans)
    found.folds += len(orphans)


def _one_log(connection: Connection, log: LogRow, found: Differences) -> None:
    folds: dict[int, Fold] = {}
    previous: Event | None = None
    rows = connection.execute(
        f"SELECT {EVENT_COLUMNS} FROM event WHERE log = ? ORDER BY seq",  # noqa: S608 - a constant
        (log.no,),
    )
    for row in rows:
        event = to_event(log, row)
        found.events += 1
        if not _follows(previous, event, folds):
            found.log_faults += 1
        previous = event
        about = folded_seq(event.kind, event.target, event.thread)
        if about:
            folds[about] = fold(folds.get(about, NOTHING), event)
    stored = {
        seq: (version, doc)
        for seq, version, doc in connection.execute(
            "SELECT seq, version, doc FROM fold WHERE log = ?", (log.no,)
        )
    }
    wanted = {seq: (view.version, encode_fold(view)) for seq, view in folds.items()}
    wrong = [seq for seq in stored.keys() | wanted.keys() if stored.get(seq) != wanted.get(seq)]
    found.folds += len(wrong)
    connection.executemany("DELETE FROM fold WHERE log = ? AND seq = ?", [(log.no, seq) for seq in wrong])
    connection.executemany(
        "INSERT INTO fold (log, seq, version, doc) VALUES (?, ?, ?, ?)",
        [(log.no, seq, *wanted[seq]) for seq in wrong if seq in wanted],
    )


def _follows(previous: Event | None, event: Event, folds: dict[int, Fold]) -> bool:
    """Whether an event's numbers can be the ones after `previous`."""
    seq, at, ordinal, all_ordinal = (
        (previous.seq, previous.at, previous.ordinal, previous.all_ordinal)
        if previous is not None
        else (0, 0, 0, 0)
    )
    raised = event.ordinal - ordinal
    raised_all = event.all_ordinal - all_ordinal
    replies = 0
    if event.thread:
        is_reply = event.kind == "message.new" and not event.target
        replies = folds.get(event.thread, NOTHING).replies + is_reply
    return (
        event.seq == seq + 1
        and event.at >= at
        and event.thread_ordinal == replies
        and (raised, raised_all) in (((0, 0),) if event.thread else ((0, 0), (1, 0), (0, 1), (1, 1)))
    )
