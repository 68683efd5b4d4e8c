"""News of cursors: told when they can be, lost without a sound when the store has closed."""

from __future__ import annotations

import asyncio
import gc
from typing import Any

from tertulia.application.ephemeral import Ephemeral
from tertulia.application.presence import Presence
from tertulia.domain.errors import Refusal
from tertulia.domain.signals import Signal
from tertulia.domain.unit import Committed, CursorMoved
from tests.support.world import TENANT, World


class Told:
    """The connected sessions: what each room was told."""

    def __init__(self) -> None:
        self.signals: list[tuple[str, Signal]] = []

    def signal(self, room: str, signal: Signal, *, but: str = "") -> None:
        self.signals.append((room, signal))

    def size(self, room: str) -> int:
        return 2


class Closed:
    """A directory whose store has been closed."""

    def __init__(self, directory: Any) -> None:
        self.directory = directory

    async def get(self, *_: object) -> Any:
        raise Refusal("unavailable", "The server is stopping.")


async def moved(world: World, directory: Any) -> Told:
    told = Told()
    group = await world.create_group("ana", "bob")
    presence = Presence(None, lambda _session, _shown: None)
    ephemeral = Ephemeral(world.access, directory, told, presence)
    move = CursorMoved(tenant=TENANT, log=group, room=group, user=world.id("bob"), read=2, received=2)
    ephemeral.on_commit([Committed(events=(), cursors=(move,))])
    for _ in range(20):
        await asyncio.sleep(0)
    return told


async def test_a_cursor_that_moved_is_told_to_the_room() -> None:
    world = World()
    await world.people("ana", "bob")
    told = await moved(world, world.store)
    assert [signal.type for _, signal in told.signals] == ["message.received", "message.read"]


async def test_nothing_is_heard_of_a_store_that_has_closed() -> None:
    heard: list[object] = []
    asyncio.get_running_loop().set_exception_handler(lambda _loop, context: heard.append(context))
    world = World()
    await world.people("ana", "bob")
    told = await moved(world, Closed(world.store))
    gc.collect()
    await asyncio.sleep(0)
    assert (told.signals, heard) == ([], [])
