"""Presence: the union of a person's sessions, told to those who look, as far as they may see."""

from __future__ import annotations

import asyncio
from collections.abc import Iterable

import msgspec
import pytest

from tertulia.application.core import Caller
from tertulia.application.ephemeral import Ephemeral
from tertulia.application.presence import Presence, Shown
from tertulia.domain import commands as c
from tertulia.domain.events import SettingsUpdated, encode_body
from tertulia.domain.settings import Privacy, SettingsDocument
from tertulia.domain.signals import Signal
from tertulia.domain.unit import Committed, CursorMoved, NewEvent, Unit
from tests.support.world import World, refused


class FakeAudience:
    """Who sees whom: user → whether with the time they were last seen."""

    def __init__(self, **visible: bool) -> None:
        self.visible = visible
        self.seen = 555
        self.gate: asyncio.Event | None = None
        self.before: dict[str, bool] | None = None
        """What the next answer is, which was read before `visible` became what it is."""

    async def may_see(self, viewer: Caller, users: Iterable[str]) -> dict[str, bool]:
        if self.gate is not None:
            await self.gate.wait()
        visible, self.before = self.visible if self.before is None else self.before, None
        return {user: visible[user] for user in users if user in visible}

    async def last_seen(self, tenant: str, user: str) -> int:
        return self.seen


class Rig:
    def __init__(self, **visible: bool) -> None:
        self.told: list[tuple[str, Shown]] = []
        self.audience = FakeAudience(**visible)
        self.presence = Presence(self.audience, lambda session, shown: self.told.append((session, shown)))

    async def watch(self, viewer: str, session: str, *users: str) -> list[Shown]:
        caller = Caller(tenant="acme", user=viewer, device="d", session=session)
        return await self.presence.watch(caller, session, users)

    def news(self) -> list[tuple[str, str, str, int]]:
        news = [(session, one.user, one.state, one.last_seen) for session, one in self.told]
        self.told.clear()
        return news


async def test_a_person_is_online_while_one_session_is_active() -> None:
    rig = Rig(ana=True)
    rig.presence.opened("bob", "b1")
    assert await rig.watch("bob", "b1", "ana") == [Shown(user="ana", state="offline", last_seen=555)]
    rig.presence.opened("ana", "a1")
    assert rig.news() == [("b1", "ana", "online", 0)]
    rig.presence.opened("ana", "a2")
    rig.presence.set_active("ana", "a1", active=False)
    assert rig.news() == []
    rig.presence.set_active("ana", "a2", active=False)
    assert rig.news() == [("b1", "ana", "away", 0)]
    rig.presence.set_active("ana", "a1", active=True)
    assert rig.news() == [("b1", "ana", "online", 0)]
    assert rig.presence.closed("ana", "a1", 700) is False
    assert rig.news() == [("b1", "ana", "away", 0)]
    assert rig.presence.closed("ana", "a2", 800) is True
    assert rig.news() == [("b1", "ana", "offline", 800)]
    assert rig.presence.closed("ana", "a2", 900) is False
    assert rig.news() == []


async def test_last_seen_only_for_those_who_may_know_it() -> None:
    rig = Rig(ana=False)
    rig.presence.opened("bob", "b1")
    assert await rig.watch("bob", "b1", "ana") == [Shown(user="ana", state="offline")]
    rig.presence.opened("ana", "a1")
    rig.presence.closed("ana", "a1", 800)
    assert rig.news() == [("b1", "ana", "online", 0), ("b1", "ana", "offline", 0)]


async def test_who_is_not_the_viewers_to_see_is_offline_like_nobody() -> None:
    rig = Rig()
    rig.presence.opened("bob", "b1")
    rig.presence.opened("ana", "a1")
    shown = await rig.watch("bob", "b1", "ana", "nobody", "ana")
    assert shown == [Shown(user="ana", state="offline"), Shown(user="nobody", state="offline")]
    rig.presence.closed("ana", "a1", 800)
    assert rig.news() == []
    viewer = Caller(tenant="acme", user="bob", device="d")
    assert await rig.presence.look(viewer, "ana") == Shown(user="ana", state="offline")


async def test_a_list_replaces_the_one_before_and_ends_with_the_session() -> None:
    rig = Rig(ana=True, carl=True)
    rig.presence.opened("bob", "b1")
    await rig.watch("bob", "b1", "ana")
    await rig.watch("bob", "b1", "carl")
    rig.presence.opened("ana", "a1")
    rig.presence.opened("carl", "c1")
    assert rig.news() == [("b1", "carl", "online", 0)]
    rig.presence.closed("bob", "b1", 900)
    rig.presence.closed("carl", "c1", 900)
    assert rig.news() == []
    assert rig.presence._watchers == rig.presence._watched == {}


async def test_a_session_that_ends_while_the_list_is_looked_up_watches_nobody() -> None:
    rig = Rig(ana=True)
    rig.presence.opened("bob", "b1")
    rig.audience.gate = asyncio.Event()
    watching = asyncio.create_task(rig.watch("bob", "b1", "ana"))
    await asyncio.sleep(0)
    rig.presence.closed("bob", "b1", 900)
    rig.audience.gate.set()
    await watching
    assert rig.presence._watchers == rig.presence._watched == {}


async def test_whom_one_blocks_sees_one_go_and_nothing_more() -> None:
    rig = Rig(ana=True)
    for user, session in (("bob", "b1"), ("eve", "e1"), ("ana", "a1")):
        rig.presence.opened(user, session)
    for user, session in (("bob", "b1"), ("eve", "e1")):
        await rig.watch(user, session, "ana")
    rig.presence.hide("ana", "eve")
    assert rig.news() == [("e1", "ana", "offline", 0)]
    rig.presence.set_active("ana", "a1", active=False)
    rig.presence.closed("ana", "a1", 800)
    assert {session for session, *_ in rig.news()} == {"b1"}
    rig.presence.hide("ana", "bob")
    rig.presence.hide("ana", "nobody")
    assert rig.news() == []
    rig.presence.closed("bob", "b1", 900)
    rig.presence.closed("eve", "e1", 900)
    assert rig.presence._watchers == rig.presence._watched == {}


async def test_a_block_while_the_list_is_looked_up_is_not_overlooked() -> None:
    rig = Rig(ana=True)
    rig.presence.opened("eve", "e1")
    rig.audience.gate = asyncio.Event()
    watching = asyncio.create_task(rig.watch("eve", "e1", "ana"))
    await asyncio.sleep(0)
    rig.presence.hide("ana", "eve")
    rig.audience.gate.set()
    rig.audience.before = {"ana": True}
    rig.audience.visible = {}
    assert await watching == [Shown(user="ana", state="offline")]
    rig.presence.opened("ana", "a1")
    assert rig.news() == []


async def test_last_seen_is_told_no_more_once_it_is_private() -> None:
    rig = Rig(ana=True)
    rig.presence.opened("bob", "b1")
    rig.presence.opened("ana", "a1")
    await rig.watch("bob", "b1", "ana")
    rig.presence.hide_last_seen("ana")
    rig.presence.closed("ana", "a1", 800)
    assert rig.news() == [("b1", "ana", "offline", 0)]


async def test_of_a_session_that_is_not_there_nothing_is_known() -> None:
    rig = Rig()
    rig.presence.set_active("ana", "never", active=True)
    assert rig.presence.state("ana") == "offline"
    assert rig.presence.closed("ana", "never", 1) is False


# --- typing, and the news of cursors -----------------------------------------------------------------


class FakeSignals:
    """The port `Signals`: who was told what."""

    def __init__(self, size: int = 3) -> None:
        self.told: list[tuple[str, Signal, str]] = []
        self.sessions = size

    def signal(self, room: str, signal: Signal, *, but: str = "") -> None:
        self.told.append((room, signal, but))

    def size(self, room: str) -> int:
        return self.sessions


class Told:
    """The handlers over a small world."""

    def __init__(self, size: int = 3) -> None:
        self.world = World()
        self.signals = FakeSignals(size)
        self.presence = Presence(FakeAudience(), lambda *_: None)
        self.ephemeral = Ephemeral(self.world.access, self.world.store, self.signals, self.presence)

    async def moved(self, log: str, user: str, **fields: int) -> list[tuple[str, str, int]]:
        cursor = CursorMoved(
            **{"tenant": "acme", "log": log, "room": log, "user": user, "read": 0, "received": 0, **fields}
        )
        self.ephemeral.on_commit([Committed((), cursors=(cursor,))])
        for _ in range(20):
            await asyncio.sleep(0)
        told = [(room, signal.type, signal.seq) for room, signal, _ in self.signals.told]
        self.signals.told.clear()
        return told


async def test_typing_is_told_to_the_room_and_not_to_the_session_itself() -> None:
    rig = Told()
    await rig.world.people("ana", "bob", "eve")
    group = await rig.world.create_group("ana", "bob")
    caller = Caller(tenant="acme", user=rig.world.id("ana"), device="d", session="s1")
    await rig.ephemeral.set_typing(caller, c.SetTyping(conversation=group, thread=4))
    await rig.ephemeral.set_typing(caller, c.SetTyping(conversation=group, composing=False))
    start = Signal(type="typing.start", user=caller.user, conversation=group, thread=4)
    stop = Signal(type="typing.stop", user=caller.user, conversation=group)
    assert rig.signals.told == [(group, start, "s1"), (group, stop, "s1")]
    with refused("not_found"):
        await rig.ephemeral.set_typing(rig.world.caller("eve"), c.SetTyping(conversation=group))


async def test_cursors_are_told_to_all_but_by_those_who_do_not_share_what_they_read() -> None:
    rig = Told()
    await rig.world.people("ana", "bob")
    group = await rig.world.create_group("ana", "bob")
    ana, bob = rig.world.id("ana"), rig.world.id("bob")
    assert await rig.moved(group, ana, read=4, received=5) == [
        (group, "message.received", 5),
        (group, "message.read", 4),
    ]
    await rig.world.privacy("bob", read_receipts=False)
    assert await rig.moved(group, bob, read=4, received=5) == [
        (group, "message.received", 5),
        (bob, "message.read", 4),
    ]


@pytest.mark.parametrize("fields", [{"thread": 3}, {}], ids=["thread", "large room"])
async def test_cursors_of_threads_and_large_rooms_are_told_to_oneself_alone(fields: dict[str, int]) -> None:
    rig = Told(size=3 if fields else 257)
    await rig.world.people("ana")
    group = await rig.world.create_group("ana")
    ana = rig.world.id("ana")
    told = await rig.moved(group, ana, read=4, received=4, **fields)
    assert told == [(ana, "message.received", 4), (ana, "message.read", 4)]


async def test_a_blocked_person_learns_nothing_of_cursors() -> None:
    rig = Told()
    await rig.world.people("ana", "eve")
    direct = await rig.world.direct("ana", "eve")
    group = await rig.world.create_group("ana", "eve")
    ana, eve = rig.world.id("ana"), rig.world.id("eve")
    assert (await rig.moved(direct, ana, read=3, received=3))[0][0] == direct
    await rig.world.block("ana", "eve")
    own = [(ana, "message.received", 4), (ana, "message.read", 4)]
    assert await rig.moved(direct, ana, read=4, received=4) == own
    # At once as well, now that all is known.
    assert await rig.moved(direct, ana, read=4, received=4) == own
    assert (await rig.moved(direct, eve, read=3, received=3))[0][0] == direct
    assert (await rig.moved(group, ana, read=3, received=3))[0][0] == group


async def test_who_left_meanwhile_is_not_spoken_of() -> None:
    rig = Told()
    await rig.world.people("ana", "bob")
    group = await rig.world.create_group("ana", "bob")
    await rig.world.leave("bob", group)
    assert await rig.moved(group, rig.world.id("bob"), read=2, received=2) == []


async def test_settings_that_change_while_they_are_looked_up_count_as_changed() -> None:
    rig = Told()
    await rig.world.people("ana")
    group = await rig.world.create_group("ana")
    ana = rig.world.id("ana")
    cursor = CursorMoved(tenant="acme", log=group, room=group, user=ana, read=4, received=4)
    rig.ephemeral.on_commit([Committed((), cursors=(cursor,))])
    privacy = Privacy(read_receipts=False)
    document = msgspec.Raw(msgspec.json.encode(SettingsDocument(privacy=privacy)))
    changed = NewEvent(
        log=ana, kind="settings.updated", body=encode_body(SettingsUpdated(settings=document)), actor=ana
    )
    unit = Unit(tenant="acme", actor=ana, at=1, events=(changed,))
    committed = await rig.world.store.append(unit)
    rig.ephemeral.on_commit([committed])
    for _ in range(20):
        await asyncio.sleep(0)
    rig.signals.told.clear()
    told = await rig.moved(group, ana, read=5, received=5)
    assert told == [(group, "message.received", 5), (ana, "message.read", 5)]
