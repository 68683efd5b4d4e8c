"""The database file: how it is opened, brought to the newest schema, and named anew after a restore."""

from __future__ import annotations

import secrets
from importlib import resources
from pathlib import Path
from typing import Any

from tertulia.adapters.sqlite.engine import READ_ONLY, READ_WRITE, Connection, connect

PAGE_CACHE_KIB = 64 * 1024
WAL_KEEP_BYTES = 64 * 1024 * 1024
BUSY_MS = 5000


class SchemaTooNew(Exception):
    """The database was written by a newer version of the program; it was left as it is."""


def migrations() -> list[tuple[int, str, str]]:
    """Number, name and text of every script, in order."""
    folder = resources.files(f"{__package__}.migrations")
    names = sorted(entry.name for entry in folder.iterdir() if entry.name.endswith(".sql"))
    return [(int(name[:4]), name, (folder / name).read_text("utf-8")) for name in names]


def version(connection: Connection) -> int:
    """The number of the newest migration that the database has; 0 for an empty file."""
    known = connection.execute("SELECT 1 FROM sqlite_schema WHERE name = 'schema_version'").get
    if not known:
        return 0
    newest: Any = connection.execute("SELECT max(number) FROM schema_version").get
    return int(newest or 0)


def migrate(connection: Connection) -> int:
    """Bring a database to the newest schema, one transaction for each script; returns its version.

    Raises SchemaTooNew, having changed nothing.
    """
    have = version(connection)
    scripts = migrations()
    newest = scripts[-1][0]
    if have > newest:
        raise SchemaTooNew(
            f"The database has schema {have}, this program knows {newest} at most: "
            "install a newer version of the program, or restore a backup made before."
        )
    for number, name, text in scripts:
        if number <= have:
            continue
        connection.execute("BEGIN IMMEDIATE")
        try:
            connection.execute(
                "CREATE TABLE IF NOT EXISTS schema_version (number INTEGER PRIMARY KEY, name TEXT NOT NULL)"
            )
            connection.execute(text)
            connection.execute("INSERT INTO schema_version VALUES (?, ?)", (number, name))
            connection.execute("COMMIT")
        except BaseException:
            if connection.in_transaction:
                connection.execute("ROLLBACK")
            raise
    return newest


def open_writer(path: Path, *, vfs: str | None, synchronous: str) -> Connection:
    """The only connection that writes.  Checkpoints are run by the caller, who must know of their
    failures: SQLite's own automatic ones keep them to themselves."""
    if synchronous not in ("OFF", "NORMAL", "FULL", "EXTRA"):
        raise ValueError(f"synchronous is OFF, NORMAL, FULL or EXTRA, not {synchronous!r}")
    connection = connect(str(path), vfs=vfs)
    connection.set_busy_timeout(BUSY_MS)
    connection.execute("PRAGMA journal_mode = WAL")
    connection.execute(f"PRAGMA synchronous = {synchronous}")
    connection.execute("PRAGMA wal_autocheckpoint = 0")
    connection.execute("PRAGMA secure_delete = ON")
    connection.execute(f"PRAGMA cache_size = -{PAGE_CACHE_KIB}")
    connection.execute(f"PRAGMA journal_size_limit = {WAL_KEEP_BYTES}")
    return connection


def open_reader(path: Path, *, vfs: str | None) -> Connection:
    """A connection that cannot write."""
    connection = connect(str(path), flags=READ_ONLY, vfs=vfs)
    connection.set_busy_timeout(BUSY_MS)
    connection.execute(f"PRAGMA cache_size = -{PAGE_CACHE_KIB // 4}")
    return connection


def meta(connection: Connection, name: str) -> str:
    """A value of the meta table; "" when it is not there."""
    found: Any = connection.execute("SELECT value FROM meta WHERE name = ?", (name,)).get
    return str(found or "")


def set_meta(connection: Connection, name: str, value: str) -> None:
    """Write a value of the meta table."""
    connection.execute("INSERT OR REPLACE INTO meta VALUES (?, ?)", (name, value))


def generation(connection: Connection) -> str:
    """The generation of this database, made at its creation."""
    found = meta(connection, "generation")
    if not found:
        found = secrets.token_hex(8)
        set_meta(connection, "generation", found)
    return found


def stamp_new_generation(path: Path) -> str:
    """Give a restored or imported database a new generation (design rule 1); returns it.

    The database must not be open elsewhere.
    """
    connection = connect(str(path), flags=READ_WRITE)
    try:
        fresh = secrets.token_hex(8)
        set_meta(connection, "generation", fresh)
        return fresh
    finally:
        connection.close()
