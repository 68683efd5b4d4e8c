"""Every index of a record is used by the reads that name it: no scan reads a whole tenant."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from tertulia.adapters.sqlite import schema
from tertulia.adapters.sqlite.tables import TABLES
from tertulia.domain.records import RECORDS, Index, Record

CASES = [(record, index) for record in RECORDS for index in record.indexes]


class Watched:
    """A connection that keeps the plan of each statement."""

    def __init__(self, connection: Any) -> None:
        self.connection = connection
        self.plans: list[str] = []

    def execute(self, sql: str, values: Any = ()) -> Any:
        rows = self.connection.execute("EXPLAIN QUERY PLAN " + sql, values)
        self.plans.append("; ".join(row[3] for row in rows))
        return self.connection.execute(sql, values)


@pytest.mark.parametrize(("record", "index"), CASES, ids=[f"{r.table}-{i.name}" for r, i in CASES])
def test_a_read_by_an_index_uses_it(record: type[Record], index: Index, tmp_path: Path) -> None:
    connection = schema.open_writer(tmp_path / "db", vfs=None, synchronous="FULL")
    try:
        schema.migrate(connection)
        watched: Any = Watched(connection)
        table = TABLES[record]
        kinds = {"TEXT": "x", "INTEGER": 7, "BLOB": b"x"}
        values = tuple(kinds[table.types[name]] for name in index.fields)
        # A partial index serves whole look-ups, an ordinary one every beginning.
        prefix = values if index.unique else values[:-1]
        table.scan(watched, prefix, index=index.name)
        table.count(watched, prefix, index.name)
        for plan in watched.plans:
            assert f"INDEX {record.table}_{index.name} (" in plan, plan
            assert "SCAN" not in plan, plan
    finally:
        connection.close()
