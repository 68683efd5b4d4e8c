"""The part of apsw that is used here, with types.  apsw's own stubs leave some unknown."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from typing import Any, Protocol, cast

import apsw

Value = str | int | bytes
"""What a column holds."""

Row = tuple[Any, ...]


class Rows(Protocol):
    """What a statement gives."""

    def __iter__(self) -> Iterator[Row]: ...

    def fetchall(self) -> list[Row]: ...

    @property
    def get(self) -> Any:
        """The one value of a one-row, one-column result; None when there is no row."""
        ...


class Connection(Protocol):
    """A connection, used by one thread at a time."""

    def execute(self, statements: str, bindings: Sequence[object] | Mapping[str, object] = ...) -> Rows: ...

    def executemany(self, statements: str, sequenceofbindings: Iterable[Sequence[object]]) -> Rows: ...

    def set_wal_hook(self, callable: Callable[[Any, str, int], int] | None) -> None: ...  # noqa: A002

    def wal_checkpoint(self, dbname: str | None = ..., mode: int = ...) -> tuple[int, int]: ...

    def set_busy_timeout(self, milliseconds: int) -> None: ...

    def changes(self) -> int: ...

    @property
    def in_transaction(self) -> bool: ...

    def close(self, force: bool = ...) -> None: ...


READ_ONLY: int = apsw.SQLITE_OPEN_READONLY
READ_WRITE: int = apsw.SQLITE_OPEN_READWRITE
CREATE: int = apsw.SQLITE_OPEN_READWRITE | apsw.SQLITE_OPEN_CREATE


def connect(path: str, *, flags: int = CREATE, vfs: str | None = None) -> Connection:
    """A connection to a database file.  Raises apsw.Error."""
    return cast(Connection, apsw.Connection(path, flags=flags, vfs=vfs))


def array(values: Iterable[Value]) -> object:
    """Values of one type, to be bound to the parameter of `carray(?)`."""
    make = cast(Callable[[tuple[Value, ...]], object], apsw.carray)  # pyright: ignore[reportUnknownMemberType]
    return make(tuple(values))
