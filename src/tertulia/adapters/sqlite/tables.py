"""How a `Record` class becomes a table: its columns, its statements, its rows.

Generic over the class declarations.  The tables themselves are made by the numbered scripts in
`migrations/`; a test holds both together.
"""

from __future__ import annotations

from collections.abc import Callable
from operator import attrgetter
from typing import Any, Generic, Literal, cast, get_origin, get_type_hints

import msgspec

from tertulia.adapters.sqlite.engine import Connection, Value
from tertulia.domain.records import RECORDS, Index, Key, R, Record, Versioned


def column_type(annotation: object) -> str:
    """The SQLite type of an annotation: TEXT for str and literals of it, INTEGER for int and bool, BLOB
    for bytes."""
    if get_origin(annotation) is Literal:
        annotation = str
    if annotation is bytes:
        return "BLOB"
    if annotation is int or annotation is bool:
        return "INTEGER"
    if annotation is str:
        return "TEXT"
    raise TypeError(f"no column for {annotation}")


def _quoted(names: tuple[str, ...] | list[str]) -> str:
    return ", ".join(f'"{name}"' for name in names)


def _getter(names: list[str]) -> Callable[[object], tuple[Value, ...]]:
    """A function that gives those attributes as a tuple."""
    if len(names) > 1:
        return attrgetter(*names)
    one = attrgetter(*names)

    def only(record: object) -> tuple[Value, ...]:
        return (cast(Value, one(record)),)

    return only


class Table(Generic[R]):
    """The SQL of one record class."""

    def __init__(self, record: type[R]) -> None:
        self.record = record
        self.name = record.table
        self.key_fields = record.key_fields
        self.indexes = record.indexes
        self.unique = tuple(index for index in record.indexes if index.unique)
        self.columns = list(record.key_fields)
        for index in record.indexes:
            self.columns += [name for name in index.fields if name not in self.columns]
        hints = get_type_hints(record)
        self.types = {name: column_type(hints[name]) for name in self.columns}
        self._columns_of = _getter(self.columns)
        self._decode = msgspec.json.Decoder(record).decode
        self._encode = msgspec.json.Encoder().encode
        where_key = " AND ".join(f'"{name}" = ?' for name in self.key_fields)
        rest = [name for name in self.columns if name not in self.key_fields]
        marks = ", ".join("?" * (len(self.columns) + 2))
        columns = f"{_quoted(self.columns)}, version, doc"
        updates = ", ".join(f'"{name}" = excluded."{name}"' for name in [*rest, "version", "doc"])
        self.select = f'SELECT version, doc FROM "{self.name}" WHERE {where_key}'  # noqa: S608
        self.delete = f'DELETE FROM "{self.name}" WHERE {where_key}'  # noqa: S608
        self.insert = f'INSERT INTO "{self.name}" ({columns}) VALUES ({marks})'  # noqa: S608
        self.upsert = f"{self.insert} ON CONFLICT ({_quoted(self.key_fields)}) DO UPDATE SET {updates}"
        # The version inserted is the number of changes, so that the row need not be read first.
        self.change = self.upsert.replace('= excluded."version"', '= version + excluded."version"')

    def create_sql(self) -> list[str]:
        """The table and its indexes as SQL; what the newest migration must amount to."""
        columns = [f'"{name}" {self.types[name]} NOT NULL' for name in self.columns]
        columns += ["version INTEGER NOT NULL", "doc BLOB NOT NULL"]
        columns.append(f"PRIMARY KEY ({_quoted(self.key_fields)})")
        script = [f'CREATE TABLE "{self.name}" ({", ".join(columns)}) WITHOUT ROWID']
        for index in self.indexes:
            head = f'INDEX "{self.name}_{index.name}" ON "{self.name}" ({_quoted(index.fields)})'
            if index.unique:
                script.append(f"CREATE UNIQUE {head} WHERE {self._not_exempt(index)}")
            else:
                script.append(f"CREATE {head}")
        return script

    def _not_exempt(self, index: Index) -> str:
        last = index.fields[-1]
        empty = {"TEXT": "''", "INTEGER": "0", "BLOB": "x''"}[self.types[last]]
        return f'"{last}" <> {empty}'

    def row(self, record: R, version: int) -> tuple[Value, ...]:
        """The parameters of `insert`, `upsert` and `change`."""
        return (*self._columns_of(record), version, self._encode(record))

    def load(self, doc: bytes) -> R:
        """The record that `row` wrote."""
        return self._decode(doc)

    def values(self, record: R, index: Index) -> Key:
        """A record's values of an index."""
        return tuple(getattr(record, name) for name in index.fields)

    def owner_sql(self, index: Index) -> str:
        """Selects the primary key of the row that holds the values of a unique index."""
        where = " AND ".join(f'"{name}" = ?' for name in index.fields)
        return (
            f'SELECT {_quoted(self.key_fields)} FROM "{self.name}" '  # noqa: S608
            f"WHERE {where} AND {self._not_exempt(index)}"
        )

    # --- reads --------------------------------------------------------------------------------

    def get(self, connection: Connection, key: Key) -> Versioned[R] | None:
        """One row by its primary key."""
        if len(key) != len(self.key_fields):
            raise ValueError(f"{self.name}: a key has the fields {self.key_fields}")
        for version, doc in connection.execute(self.select, key):
            return Versioned(record=self._decode(doc), version=version)
        return None

    def _ordering(self, index: str) -> tuple[tuple[str, ...], str]:
        """The fields of the primary key or index, and the term that lets a partial index be used."""
        if not index:
            return self.key_fields, ""
        for known in self.indexes:
            if known.name == index:
                return known.fields, self._not_exempt(known) if known.unique else ""
        raise ValueError(f"{self.name} has no index {index!r}")

    def _where(self, index: str, prefix: Key) -> tuple[tuple[str, ...], str, list[str], list[Value]]:
        """The fields, what to read from, the terms and their values.

        Without statistics SQLite takes the primary key of the tenant for as good as any index and would
        read all of its rows; so the index is named, where its condition holds."""
        fields, exempt = self._ordering(index)
        source = f'"{self.name}"'
        if len(prefix) > len(fields):
            raise ValueError(f"{self.name}: {prefix} is longer than {fields}")
        terms = [f'"{name}" = ?' for name in fields[: len(prefix)]]
        if exempt and len(prefix) == len(fields) and prefix[-1]:
            terms.append(exempt)
        if index and (not exempt or exempt in terms):
            source += f' INDEXED BY "{self.name}_{index}"'
        return fields, source, terms, list(prefix)

    def _ordered(self, fields: tuple[str, ...], source: str, terms: list[str], direction: str) -> str:
        order = [*fields, *(name for name in self.key_fields if name not in fields)]
        where = f" WHERE {' AND '.join(terms)}" if terms else ""
        by = ", ".join(f'"{name}" {direction}' for name in order)
        return f"SELECT doc FROM {source}{where} ORDER BY {by} LIMIT ?"  # noqa: S608

    def scan(
        self,
        connection: Connection,
        prefix: Key,
        *,
        index: str = "",
        after: Key | None = None,
        limit: int = 1000,
        reverse: bool = False,
    ) -> list[R]:
        """See `Directory.scan`."""
        fields, source, terms, values = self._where(index, prefix)
        if after is not None:
            if len(after) != len(fields):
                raise ValueError(f"{self.name}: `after` has the fields {fields}")
            compare = "<" if reverse else ">"
            terms.append(f"({_quoted(fields)}) {compare} ({', '.join('?' * len(fields))})")
            values += after
        sql = self._ordered(fields, source, terms, "DESC" if reverse else "ASC")
        return [self._decode(doc) for (doc,) in connection.execute(sql, [*values, limit])]

    def due(self, connection: Connection, index: str, prefix: Key, until: int, limit: int) -> list[R]:
        """See `Directory.due`."""
        fields, source, terms, values = self._where(index, prefix)
        if len(prefix) == len(fields):
            raise ValueError(f"{self.name}: no field follows {prefix}")
        terms.append(f'"{fields[len(prefix)]}" <= ?')
        sql = self._ordered(fields, source, terms, "ASC")
        return [self._decode(doc) for (doc,) in connection.execute(sql, [*values, until, limit])]

    def count(self, connection: Connection, prefix: Key, index: str = "") -> int:
        """See `Directory.count`."""
        _, source, terms, values = self._where(index, prefix)
        where = f" WHERE {' AND '.join(terms)}" if terms else ""
        found: Any = connection.execute(f"SELECT count(*) FROM {source}{where}", values).get  # noqa: S608
        return int(found)


TABLES: dict[type[Record], Table[Any]] = {record: Table(record) for record in RECORDS}


def table(record: type[R]) -> Table[R]:
    """The table of a record class."""
    return TABLES[record]
