"""The store of one machine: one SQLite database in a folder, one thread that writes."""

from tertulia.adapters.sqlite.rebuild import Differences
from tertulia.adapters.sqlite.schema import SchemaTooNew, stamp_new_generation
from tertulia.adapters.sqlite.store import FolderInUse, SqliteStore, StoreStats
from tertulia.adapters.sqlite.writer import BatchReport

__all__ = [
    "BatchReport",
    "Differences",
    "FolderInUse",
    "SchemaTooNew",
    "SqliteStore",
    "StoreStats",
    "stamp_new_generation",
]
