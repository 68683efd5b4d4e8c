"""What the contract suite of the message store runs on: a way to open, close and reopen each store."""

from __future__ import annotations

from abc import ABC, abstractmethod
from pathlib import Path

from tertulia.adapters.sqlite import SqliteStore
from tertulia.adapters.store_memory import MemoryStore

Store = MemoryStore | SqliteStore


class StoreFactory(ABC):
    """Opens stores of one kind; the data of a durable one outlive `close`."""

    durable = False

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.opened: list[Store] = []

    @abstractmethod
    async def open(self) -> Store:
        """A store, empty the first time; `close` ends it."""

    async def close(self) -> None:
        for store in self.opened:
            await store.close()
        self.opened.clear()


class MemoryFactory(StoreFactory):
    async def open(self) -> Store:
        store = MemoryStore()
        self.opened.append(store)
        return store


class SqliteFactory(StoreFactory):
    durable = True

    async def open(self) -> Store:
        store = await SqliteStore.open(self.folder / "data")
        self.opened.append(store)
        return store


FACTORIES: dict[str, type[StoreFactory]] = {"memory": MemoryFactory, "sqlite": SqliteFactory}
