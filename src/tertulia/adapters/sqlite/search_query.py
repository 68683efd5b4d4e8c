"""Searching: who may see what is part of the statement, so that neither counts nor pages tell more."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import msgspec

from tertulia.adapters.sqlite.engine import Connection, Row
from tertulia.adapters.sqlite.queries import EVENT_COLUMNS, LogRow, decode_fold, find_log, to_event
from tertulia.adapters.sqlite.tables import table
from tertulia.domain.records import Conversation, Member
from tertulia.domain.search_words import Term, terms
from tertulia.domain.views import NOTHING, MessageView
from tertulia.ports.message_store import SearchHit, SearchQuery

MAX_LISTED_LOGS = 400
"""With more logs than this the full-text part does not name them; the rest of the statement does."""

_VISIBLE = """
CREATE TEMP TABLE visible (
    no INTEGER PRIMARY KEY, id TEXT NOT NULL, floor INTEGER NOT NULL, direct INTEGER NOT NULL)
"""
_COLUMNS = ", ".join(f"e.{name}" for name in EVENT_COLUMNS.split(", "))
_SEARCH = f"""
SELECT w.rowid, l.no, l.tenant, l.id, l.kind, l.room, l.epoch, l.first_seq, {_COLUMNS}, f.doc
FROM search.words w
CROSS JOIN main.event e ON e.id = w.rowid
CROSS JOIN temp.visible v ON v.no = e.log
CROSS JOIN main.log l ON l.no = e.log
LEFT JOIN main.fold f ON f.log = e.log AND f.seq = e.seq
WHERE w.words MATCH :match AND w.rowid < :before
AND e.seq > v.floor AND e.seq >= l.first_seq AND e.body IS NOT NULL
AND e.at >= :since AND e.at <= :until AND (:sender = '' OR e.actor = :sender)
AND NOT EXISTS (SELECT 1 FROM main.hidden h WHERE h.tenant = :tenant AND h.user = :user
                AND h.conversation = l.id AND h.seq = e.seq)
AND (v.direct OR NOT EXISTS (SELECT 1 FROM main.block b WHERE b.tenant = :tenant AND b.user = :user
                             AND b.other = e.actor))
ORDER BY w.rowid DESC LIMIT :limit
"""  # noqa: S608 - made of constants


class Visible(msgspec.Struct, frozen=True, array_like=True):
    """A log that a member may read, from above `floor` on."""

    no: int
    id: str
    floor: int
    direct: bool


def prepare(open_log: Callable[[], Connection], index: Path) -> Connection:
    """A connection that reads the log and the index."""
    connection = open_log()
    connection.execute("PRAGMA temp_store = MEMORY")
    connection.execute("ATTACH ? AS search", (str(index),))
    connection.execute(_VISIBLE)
    return connection


def visible_logs(connection: Connection, query: SearchQuery) -> list[Visible]:
    """The logs whose history the user may read: conversations they are a member of, and the topics of
    those."""
    found: list[Visible] = []
    tenant = query.tenant
    for member in table(Member).scan(connection, (tenant, query.user), index="user", limit=1_000_000):
        home = table(Conversation).get(connection, (tenant, member.conversation))
        if home is None or home.record.deleted_at:
            continue
        places = [(home.record, member.since if home.record.history == "joined" else 0)]
        if home.record.kind == "channel":
            topics = table(Conversation).scan(
                connection, (tenant, home.record.id), index="parent", limit=1_000_000
            )
            places += [(topic, 0) for topic in topics if not topic.deleted_at]
        for conversation, floor in places:
            if query.conversation and query.conversation not in (conversation.id, home.record.id):
                continue
            log = find_log(connection, conversation.id)
            if log is not None:
                found.append(Visible(log.no, log.id, floor, conversation.kind == "direct"))
    return found


def match(wanted: tuple[Term, ...], visible: list[Visible]) -> str:
    """The full-text expression: quoted words only, so that nothing a person types is syntax."""
    text = " AND ".join(f'"{" ".join(term.words)}"{" *" if term.prefix else ""}' for term in wanted)
    expression = f"text : ({text})"
    if len(visible) <= MAX_LISTED_LOGS:
        listed = " OR ".join(f'"{log.no}"' for log in visible)
        expression = f"log : ({listed}) AND {expression}"
    return expression


def search(connection: Connection, query: SearchQuery) -> list[SearchHit]:
    """See `MessageStore.search`; the index must have caught up."""
    wanted = terms(query.text)
    visible = visible_logs(connection, query) if wanted else []
    if not visible:
        return []
    connection.execute("DELETE FROM temp.visible")
    connection.execute(
        "INSERT INTO temp.visible "
        "SELECT value ->> 0, value ->> 1, value ->> 2, value ->> 3 FROM json_each(?)",
        (msgspec.json.encode(visible).decode(),),
    )
    values = {
        "match": match(wanted, visible),
        "before": query.before or 2**62,
        "since": query.since,
        "until": query.until or 2**62,
        "sender": query.sender,
        "tenant": query.tenant,
        "user": query.user,
        "limit": query.limit,
    }
    return [_hit(row) for row in connection.execute(_SEARCH, values)]


def _hit(row: Row) -> SearchHit:
    fold = NOTHING if row[-1] is None else decode_fold(row[-1])
    return SearchHit(
        view=MessageView(event=to_event(LogRow(*row[1:8]), row[8:-1]), fold=fold), position=row[0]
    )
