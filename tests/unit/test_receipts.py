"""Received and read cursors: valid or refused at once, written soon, never backward."""

from __future__ import annotations

import asyncio

import pytest

from tertulia.application.receipts import Receipts
from tertulia.domain import commands as c
from tertulia.domain.errors import Refusal
from tertulia.domain.records import Cursor
from tertulia.domain.unit import SetCursor
from tests.support.own import Gate, OwnWorld
from tests.support.world import refused


@pytest.fixture
async def world():
    made = OwnWorld()
    await made.people("ana", "bob", "eve", "zoe")
    return made


@pytest.fixture
async def group(world):
    made = await world.create_group("eve", "ana", "bob")
    for n in range(10):
        await world.say("eve", made, f"m{n}")
    return made


async def read(world, who, conversation, seq, **fields):
    command = c.MarkRead(conversation=conversation, seq=seq, **fields)
    return await world.receipts.mark_read(world.caller(who), command)


async def received(world, who, conversation, seq):
    command = c.MarkReceived(conversation=conversation, seq=seq)
    return await world.receipts.mark_received(world.caller(who), command)


async def cursor(world, who, conversation, thread=0):
    await world.receipts.settled(world.caller(who), conversation)
    row = await world.row(Cursor, conversation, world.id(who), thread)
    return (row.read, row.received) if row is not None else None


async def test_marks_move_the_cursors_and_count_what_is_unread(world, group):
    head = await world.head(group)
    answer = await received(world, "ana", group, head.last_seq)
    assert answer == c.Accepted(conversation=group)
    assert (await cursor(world, "ana", group))[1] == head.last_seq
    assert await world.unread(group, "ana") == 10
    await read(world, "ana", group, head.last_seq - 3)
    assert await cursor(world, "ana", group) == (head.last_seq - 3, head.last_seq)
    assert await world.unread(group, "ana") == 3
    assert world.committed[-1].cursors[0].read == head.last_seq - 3


async def test_cursors_never_go_back(world, group):
    last = (await world.head(group)).last_seq
    await read(world, "ana", group, last)
    assert await cursor(world, "ana", group) == (last, last)
    appended = len(world.committed)
    await read(world, "ana", group, last - 5)
    await received(world, "ana", group, last - 5)
    assert await cursor(world, "ana", group) == (last, last)
    assert len(world.committed) == appended


async def test_beyond_the_end_is_refused(world, group):
    last = (await world.head(group)).last_seq
    for mark in (read, received):
        with refused("invalid", field="seq"):
            await mark(world, "ana", group, last + 1)


async def test_only_members_have_cursors(world, group):
    for mark in (read, received):
        for conversation in (group, "nowhere"):
            with refused("not_found"):
                await mark(world, "zoe", conversation, 1)
    channel = await world.create_channel("ana")
    with refused("forbidden"):
        await read(world, "zoe", channel, 1)
    await world.join("zoe", channel)
    await world.say("ana", channel)
    last = (await world.head(channel)).last_seq
    await read(world, "zoe", channel, last)
    assert await cursor(world, "zoe", channel) == (last, last)


async def test_a_topic_has_cursors_of_its_own(world):
    channel = await world.create_channel("ana", "bob")
    topic = await world.create_topic("ana", channel)
    sent = await world.say("ana", topic)
    before = await cursor(world, "bob", channel)
    await read(world, "bob", topic, sent.seq)
    assert await cursor(world, "bob", topic) == (sent.seq, sent.seq)
    assert await cursor(world, "bob", channel) == before


async def test_a_thread_has_a_cursor_of_its_own(world, group):
    root = (await world.say("bob", group)).seq
    reply = (await world.say("bob", group, thread=root)).seq
    before = await cursor(world, "ana", group)
    await read(world, "ana", group, reply, thread=root)
    assert await cursor(world, "ana", group, thread=root) == (reply, reply)
    assert await cursor(world, "ana", group) == before
    with refused("not_found"):
        await read(world, "ana", group, reply, thread=reply + 5)
    with refused("not_found"):
        await read(world, "ana", group, reply, thread=reply)
    with refused("invalid", field="seq"):
        await read(world, "ana", group, reply + 1, thread=root)
    delete = c.DeleteMessage(conversation=group, seq=root, everyone=True)
    await world.messages.delete(world.caller("bob"), delete)
    last = (await world.say("bob", group)).seq
    await read(world, "ana", group, last, thread=root)
    assert await cursor(world, "ana", group, thread=root) == (last, last)


async def test_a_mark_is_answered_before_it_is_on_disk(world, group):
    gate = Gate(world.store)
    gate.hold = asyncio.Event()
    before = await world.row(Cursor, group, world.id("ana"), 0)
    await read(world, "ana", group, 7)
    assert await world.row(Cursor, group, world.id("ana"), 0) == before
    gate.hold.set()
    assert (await cursor(world, "ana", group))[0] == 7


async def test_marks_that_come_while_one_is_written_go_as_one(world, group):
    gate = Gate(world.store)
    gate.hold = asyncio.Event()
    last = (await world.head(group)).last_seq
    await read(world, "ana", group, 6)
    await asyncio.sleep(0)
    for seq in (7, 9, 8):
        await read(world, "ana", group, seq)
    await received(world, "ana", group, last)
    await read(world, "bob", group, 7)
    gate.hold.set()
    assert await cursor(world, "ana", group) == (9, last)
    moves = [write for unit in gate.appended for write in unit.writes if write.user == world.id("ana")]
    assert moves == [
        SetCursor(log=group, user=world.id("ana"), read=6, received=6),
        SetCursor(log=group, user=world.id("ana"), read=9, received=last),
    ]


async def test_a_mark_after_the_write_makes_another(world, group):
    gate = Gate(world.store)
    for seq in (6, 7):
        await read(world, "ana", group, seq)
        assert (await cursor(world, "ana", group))[0] == seq
    assert len(gate.appended) == 2


async def test_whoever_was_removed_meanwhile_gets_no_cursor(world, group):
    gate = Gate(world.store)

    async def remove_first(unit):
        if unit.actor == world.id("bob"):
            gate.before = nothing
            await world.remove("eve", group, "bob")

    gate.before, nothing = remove_first, gate.before
    await read(world, "bob", group, 9)
    assert await cursor(world, "bob", group) is None
    assert world.receipts.dropped == 1


async def test_a_refused_write_is_made_up_for_by_the_next_mark(world, group):
    gate = Gate(world.store)

    async def full(_):
        raise Refusal("storage_full", "No space.")

    gate.before, nothing = full, gate.before
    await read(world, "ana", group, 7)
    await world.receipts.settled(world.caller("ana"), group)
    assert world.receipts.dropped == 1
    gate.before = nothing
    await read(world, "ana", group, 7)
    assert (await cursor(world, "ana", group))[0] == 7


async def test_cursors_on_their_way_are_bounded(world, group):
    world.receipts = Receipts(world.store, world.store, world.access, world.executor, max_moving=1)
    gate = Gate(world.store)
    gate.hold = asyncio.Event()
    await read(world, "ana", group, 7)
    with refused("unavailable"):
        await read(world, "bob", group, 7)
    await read(world, "ana", group, 9)
    gate.hold.set()
    await world.receipts.close()
    assert (await cursor(world, "ana", group))[0] == 9
    assert (await cursor(world, "bob", group))[0] < 7


async def test_closing_writes_what_is_under_way(world, group):
    gate = Gate(world.store)
    gate.hold = asyncio.Event()
    await read(world, "ana", group, 7)
    await asyncio.sleep(0)
    await read(world, "ana", group, 9)
    closing = asyncio.ensure_future(world.receipts.close())
    await asyncio.sleep(0)
    assert not closing.done()
    gate.hold.set()
    await closing
    assert (await world.row(Cursor, group, world.id("ana"), 0)).read == 9


async def test_a_client_id_is_no_hindrance(world, group):
    for seq in (6, 7):
        await read(world, "ana", group, seq, client_id="same")
        assert (await cursor(world, "ana", group))[0] == seq
