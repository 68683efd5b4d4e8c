"""Rows as a batch sees them: read once, changed in memory, written at its end."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import Any, cast

from tertulia.adapters.sqlite.engine import Connection
from tertulia.adapters.sqlite.tables import TABLES, Table
from tertulia.domain.errors import Refusal
from tertulia.domain.records import Key, Record
from tertulia.domain.unit import Put, Remove, Write


class Slot:
    """A row as the batch sees it."""

    __slots__ = ("changed", "key", "record", "stored", "version")

    def __init__(self, key: Key, record: Record | None, version: int) -> None:
        self.key = key
        self.record = record
        self.version = version
        self.stored = version > 0
        self.changed = False


Undo = list[tuple[Slot, Record | None, int, bool]]
UniqueKey = tuple[type[Record], str, Key]


class RowCache:
    """The rows that one transaction reads and changes, and who holds which unique value."""

    def __init__(self, connection: Connection) -> None:
        self._connection = connection
        self._slots: dict[type[Record], dict[Key, Slot]] = {}
        self._owners: dict[UniqueKey, Key | None] = {}

    def holds(self, record: type[Record]) -> bool:
        """Whether any row of a class was looked at."""
        return record in self._slots

    def slot(self, record: type[Record], key: Key) -> Slot:
        """A row, read when it was not yet."""
        slots = self._slots.get(record)
        if slots is None:
            slots = self._slots[record] = {}
        slot = slots.get(key)
        if slot is None:
            found = TABLES[record].get(self._connection, key)
            slot = Slot(key, None, 0) if found is None else Slot(key, found.record, found.version)
            slots[key] = slot
        return slot

    def put_new(self, record: Record) -> None:
        """A row whose key holds a new seq: nobody can have it yet, but this unit may name a user twice."""
        slots = self._slots.setdefault(type(record), {})
        key = record.key()
        slot = slots.get(key)
        if slot is None:
            slot = slots[key] = Slot(key, None, 0)
        if slot.record is None:
            slot.record, slot.version, slot.changed = record, 1, True

    def write_unique(self, writes: Sequence[Write]) -> None:
        """The writes to tables with unique indexes, undone together when one is refused."""
        undo: Undo = []
        owners: list[tuple[UniqueKey, Key | None]] = []
        try:
            for write in writes:
                if type(write) is Put:
                    table = TABLES[type(write.record)]
                    if table.unique:
                        self._put_unique(table, write.record, undo, owners)
                elif type(write) is Remove:
                    table = TABLES[write.record]
                    if table.unique:
                        self._remove_unique(table, write.key, undo, owners)
        except Refusal:
            for place, owner in reversed(owners):
                self._owners[place] = owner
            for slot, record, version, changed in reversed(undo):
                slot.record, slot.version, slot.changed = record, version, changed
            raise

    def _put_unique(
        self,
        table: Table[Any],
        record: Record,
        undo: Undo,
        owners: list[tuple[UniqueKey, Key | None]],
    ) -> None:
        key = record.key()
        slot = self.slot(table.record, key)
        for index in table.unique:
            values = table.values(record, index)
            before = table.values(slot.record, index) if slot.record is not None else None
            if values == before:
                continue
            if values[-1]:
                place = (table.record, index.name, values)
                owner = self._owner(table, place)
                if owner is not None and owner != key:
                    raise Refusal("conflict", "Another one has this already.", field=index.fields[-1])
                owners.append((place, owner))
                self._owners[place] = key
            if before is not None and before[-1]:
                self._free(table, (table.record, index.name, before), owners)
        undo.append((slot, slot.record, slot.version, slot.changed))
        slot.record, slot.changed = record, True
        slot.version += 1

    def _remove_unique(
        self,
        table: Table[Any],
        key: Key,
        undo: Undo,
        owners: list[tuple[UniqueKey, Key | None]],
    ) -> None:
        slot = self.slot(table.record, key)
        if slot.record is None:
            return
        for index in table.unique:
            values = table.values(slot.record, index)
            if values[-1]:
                self._free(table, (table.record, index.name, values), owners)
        undo.append((slot, slot.record, slot.version, slot.changed))
        slot.record, slot.version, slot.changed = None, 0, True

    def _owner(self, table: Table[Any], place: UniqueKey) -> Key | None:
        if place in self._owners:
            return self._owners[place]
        index = next(each for each in table.unique if each.name == place[1])
        owner: Key | None = None
        for row in self._connection.execute(table.owner_sql(index), place[2]):
            owner = cast(Key, tuple(row))
        self._owners[place] = owner
        return owner

    def _free(self, table: Table[Any], place: UniqueKey, owners: list[tuple[UniqueKey, Key | None]]) -> None:
        owners.append((place, self._owner(table, place)))
        self._owners[place] = None

    def flush(self) -> None:
        """Write what was changed."""
        for record, slots in self._slots.items():
            self._flush(TABLES[record], slots.values())

    def _flush(self, table: Table[Any], slots: Iterable[Slot]) -> None:
        changed = [slot for slot in slots if slot.changed]
        if not changed:
            return
        # With a unique index all old rows go first: a value may pass from one row to another.
        gone = [slot.key for slot in changed if slot.stored and (table.unique or slot.record is None)]
        if gone:
            self._connection.executemany(table.delete, gone)
        rows = [table.row(slot.record, slot.version) for slot in changed if slot.record is not None]
        if rows:
            self._connection.executemany(table.upsert, rows)
