"""Scheduled and disappearing messages: once, whatever happens between two steps."""

from __future__ import annotations

import asyncio

import msgspec
import pytest

from tertulia.domain import commands as c
from tertulia.domain import events as e
from tertulia.domain.content import Text
from tertulia.domain.errors import Refusal
from tertulia.domain.records import Expiry, Mention, Pin, Scheduled, User
from tertulia.domain.unit import Put, Remove
from tertulia.workers.timers import IDLE_S, MAX_TRIES, Timers
from tests.support.own import Gate, OwnWorld, PassingTime, captured_log, interleave
from tests.support.world import TENANT, refused

HOUR = 3600


class Crash(BaseException):
    """The process dies here."""


@pytest.fixture
async def world():
    made = OwnWorld()
    await made.people("ana", "bob")
    made.time = PassingTime(made.clock)
    log, made.logged = captured_log()
    made.timers = timers(made, log)
    made.store.on_commit(made.timers.on_commit)
    return made


def timers(world, log):
    return Timers(world.store, world.store, world.messages, world.clock, world.time.sleep, lambda: 0.5, log)


@pytest.fixture
async def group(world):
    return await world.create_group("ana", "bob")


@pytest.fixture
async def running(world):
    task = asyncio.ensure_future(world.timers.run())
    yield
    task.cancel()
    await asyncio.gather(task, return_exceptions=True)
    assert task.cancelled()


async def schedule(world, who, conversation, text="later", after=HOUR, **fields):
    command = c.ScheduleMessage(
        conversation=conversation,
        content=Text(text=text),
        send_at=world.clock.now_ms() + int(after * 1000),
        **fields,
    )
    return (await world.personal.schedule(world.caller(who), command)).created


async def texts(world, conversation):
    return [body.content.text for body in await world.bodies(conversation, "message.new")]


async def waiting(world):
    return await world.store.scan(Scheduled, (TENANT,))


# --- scheduled -------------------------------------------------------------------------------------


async def test_a_message_is_sent_when_its_time_has_come(world, group, running):
    ident = await schedule(world, "ana", group, "happy new year", after=100)
    await world.time.pass_s(99)
    assert await texts(world, group) == []
    await world.time.pass_s(1)
    await world.time.quiet()
    assert await texts(world, group) == ["happy new year"]
    (message,) = [event for event in await world.events(group) if event.kind == "message.new"]
    assert (message.actor, message.client_id) == (world.id("ana"), ident)
    (sent,) = await world.bodies("ana", "schedule.sent")
    assert sent == e.ScheduleChanged(schedule=ident, conversation=group, seq=message.seq)
    assert await waiting(world) == []


async def test_a_nearer_message_wakes_the_worker(world, group, running):
    await world.time.quiet()
    await schedule(world, "ana", group, "soon", after=0.25)
    await world.time.pass_s(0.25)
    await world.time.quiet()
    assert await texts(world, group) == ["soon"]


async def test_messages_go_in_the_order_of_their_times(world, group, running):
    for after in (30, 10, 20):
        await schedule(world, "ana", group, str(after), after=after)
    world.clock.advance(HOUR)
    await world.time.pass_s(2)
    assert await texts(world, group) == ["10", "20", "30"]


async def test_more_than_a_batch_is_dealt_with_at_once(world, group, monkeypatch):
    monkeypatch.setattr("tertulia.workers.timers.BATCH", 2)
    for n in range(5):
        await schedule(world, "ana", group, str(n), after=1 + n)
    world.clock.advance(HOUR)
    assert [await world.timers.step() for _ in range(3)] == [0.0, 0.0, IDLE_S]
    assert len(await texts(world, group)) == 5


@pytest.mark.parametrize("step", ["before_send", "after_send", "before_removal", "after_removal"])
async def test_a_crash_between_steps_neither_doubles_nor_loses(world, group, step):
    ident = await schedule(world, "ana", group)
    world.clock.advance(HOUR)
    gate = Gate(world.store)

    async def crash(unit):
        sending = any(event.kind == "message.new" for event in unit.events)
        removing = any(type(write) is Remove for write in unit.writes)
        if sending if "send" in step else removing:
            raise Crash

    if step.startswith("before"):
        gate.before = crash
    else:
        gate.after = crash
    with pytest.raises(Crash):
        await world.timers.step()
    gate.before = gate.after = nothing
    world.access.forget(group)
    await timers(world, captured_log()[0]).step()
    assert await texts(world, group) == ["later"]
    (sent,) = await world.bodies("ana", "schedule.sent")
    assert (sent.schedule, sent.seq) == (ident, (await world.head(group)).last_seq)
    assert await waiting(world) == []


async def nothing(_):
    return


async def test_two_workers_send_once(world, group):
    interleave(world.store)
    await schedule(world, "ana", group)
    world.clock.advance(HOUR)
    other = timers(world, captured_log()[0])
    await asyncio.gather(world.timers.step(), other.step())
    assert await texts(world, group) == ["later"]
    assert len(await world.bodies("ana", "schedule.sent")) == 1


async def test_what_may_not_be_sent_any_more_fails_and_says_why(world, group):
    ident = await schedule(world, "bob", group)
    await world.remove("ana", group, "bob")
    world.clock.advance(HOUR)
    await world.timers.step()
    assert await texts(world, group) == []
    assert await world.bodies("bob", "schedule.failed") == [
        e.ScheduleChanged(schedule=ident, conversation=group, failed="not_found")
    ]
    assert await waiting(world) == []


async def test_sent_before_a_crash_is_sent_though_it_would_be_refused_by_now(world, group):
    await schedule(world, "bob", group)
    world.clock.advance(HOUR)
    gate = Gate(world.store)

    async def crash(unit):
        if any(type(write) is Remove for write in unit.writes):
            raise Crash

    gate.before = crash
    with pytest.raises(Crash):
        await world.timers.step()
    gate.before = nothing
    seq = (await world.head(group)).last_seq
    await world.remove("ana", group, "bob")
    await world.timers.step()
    assert [body.seq for body in await world.bodies("bob", "schedule.sent")] == [seq]
    assert await texts(world, group) == ["later"]


async def test_an_account_that_is_off_sends_nothing(world, group):
    await schedule(world, "bob", group)
    row = await world.row(User, world.id("bob"))
    await world.write(Put(msgspec.structs.replace(row, disabled=True)))
    world.clock.advance(HOUR)
    await world.timers.step()
    assert await texts(world, group) == []
    assert [body.failed for body in await world.bodies("bob", "schedule.failed")] == ["forbidden"]


async def test_what_cannot_be_read_fails(world, group):
    await schedule(world, "ana", group)
    (row,) = await waiting(world)
    await world.write(Put(msgspec.structs.replace(row, command=b"{}")))
    world.clock.advance(HOUR)
    await world.timers.step()
    assert [body.failed for body in await world.bodies("ana", "schedule.failed")] == ["invalid"]


async def test_a_full_disk_delays_and_loses_nothing(world, group, running):
    gate = Gate(world.store)
    await schedule(world, "ana", group, after=1)

    async def full(_):
        raise Refusal("storage_full", "No space.")

    gate.before = full
    await world.time.pass_s(HOUR)
    assert len(world.time.slept) < HOUR  # it waits longer and longer
    assert await texts(world, group) == []
    gate.before = nothing
    await world.time.pass_s(60)
    assert await texts(world, group) == ["later"]
    assert [body.seq for body in await world.bodies("ana", "schedule.sent")] == [
        (await world.head(group)).last_seq
    ]
    assert await world.bodies("ana", "schedule.failed") == []


async def test_one_row_that_always_breaks_fails_in_the_end_and_stops_nobody(world, group, running):
    other = await world.direct("bob", "ana")
    send = world.messages.send

    async def breaks(caller, command):
        if caller.user == world.id("ana"):
            raise RuntimeError("a defect")
        return await send(caller, command)

    world.messages.send = breaks
    await schedule(world, "ana", group, "broken", after=1)
    await schedule(world, "bob", other, "whole", after=1)
    await world.time.pass_s(2)
    assert await texts(world, other) == ["whole"]
    await world.time.pass_s(HOUR)
    assert [body.failed for body in await world.bodies("ana", "schedule.failed")] == ["internal"]
    defects = [entry for entry in world.logged.entries if entry["event"] == "timers.defect"]
    assert len(defects) == MAX_TRIES
    assert "broken" not in repr([{**entry, "exc_info": None} for entry in world.logged.entries])


async def test_the_worker_outlives_a_store_that_breaks(world, group, running):
    await schedule(world, "ana", group, after=1)
    due = world.store.due

    async def broken(*_args, **_more):
        raise OSError("no disk")

    world.store.due = broken
    await world.time.pass_s(10)
    world.store.due = due
    await world.time.pass_s(60)
    assert await texts(world, group) == ["later"]


async def test_a_message_taken_back_in_time_is_not_sent(world, group, running):
    ident = await schedule(world, "ana", group, after=10)
    await world.time.pass_s(9)
    await world.personal.cancel_schedule(world.caller("ana"), c.CancelSchedule(schedule=ident))
    await world.time.pass_s(60)
    assert await texts(world, group) == []
    assert await world.bodies("ana", "schedule.sent") == []


async def test_a_clock_that_is_set_is_noticed_within_a_second(world, group, running):
    await schedule(world, "ana", group)
    await world.time.quiet()
    world.clock.step_wall(HOUR)
    await world.time.pass_s(IDLE_S)
    await world.time.quiet()
    assert await texts(world, group) == ["later"]


# --- disappearing ----------------------------------------------------------------------------------


@pytest.fixture
async def fleeting(world, group):
    await world.update("ana", group, message_ttl_s=60)
    return group


async def expiries(world):
    return [row.seq for row in await world.store.scan(Expiry, (TENANT,))]


async def test_a_mention_goes_with_the_message_that_made_it(world, fleeting, running):
    await world.say("ana", fleeting, "@bob look")
    assert await world.store.count(Mention, (TENANT, world.id("bob"))) == 1
    await world.time.pass_s(61)
    assert await world.store.count(Mention, (TENANT,)) == 0


async def test_a_message_disappears_with_its_edits_when_its_time_is_over(world, fleeting, running):
    seq = (await world.say("bob", fleeting, "secret")).seq
    edit = c.EditMessage(conversation=fleeting, seq=seq, content=Text(text="more secret"))
    await world.messages.edit(world.caller("bob"), edit)
    await world.messages.pin(world.caller("ana"), c.PinMessage(conversation=fleeting, seq=seq))
    await world.time.pass_s(59)
    assert (await world.message(fleeting, seq)).event.body is not None
    await world.time.pass_s(1 + IDLE_S)
    events = await world.events(fleeting)
    gone = events[-1]
    assert (gone.kind, gone.target, gone.actor) == ("message.deleted", seq, world.id("bob"))
    assert e.decode_body(gone.kind, gone.body) == e.MessageDeleted(by_timer=True)
    assert not any(b"secret" in (event.body or b"") for event in events)
    assert (await world.message(fleeting, seq)).fold.deleted_at
    assert await expiries(world) == []
    assert await world.row(Pin, fleeting, seq) is None


async def test_messages_without_a_timer_stay(world, group, running):
    seq = (await world.say("bob", group, "hello")).seq
    await world.time.pass_s(600)
    assert (await world.message(group, seq)).event.body is not None


@pytest.mark.parametrize("when", ["before", "after"])
async def test_a_crash_at_the_end_of_a_message_makes_one_end(world, fleeting, when):
    await world.say("bob", fleeting)
    world.clock.advance(61)
    gate = Gate(world.store)

    async def crash(_):
        raise Crash

    setattr(gate, when, crash)
    with pytest.raises(Crash):
        await world.timers.step()
    setattr(gate, when, nothing)
    await timers(world, captured_log()[0]).step()
    assert (await world.kinds(fleeting)).count("message.deleted") == 1
    assert await expiries(world) == []


async def test_two_workers_end_a_message_once(world, fleeting):
    interleave(world.store)
    for _ in range(5):
        await world.say("bob", fleeting)
    world.clock.advance(61)
    await asyncio.gather(world.timers.step(), timers(world, captured_log()[0]).step())
    assert (await world.kinds(fleeting)).count("message.deleted") == 5


async def test_of_a_message_deleted_by_hand_a_row_that_is_left_only_goes(world, fleeting):
    seq = (await world.say("bob", fleeting)).seq
    row = await world.row(Expiry, fleeting, seq)
    delete = c.DeleteMessage(conversation=fleeting, seq=seq, everyone=True)
    await world.messages.delete(world.caller("bob"), delete)
    last = (await world.head(fleeting)).last_seq
    await world.write(Put(row), Put(msgspec.structs.replace(row, seq=1)))
    world.clock.advance(61)
    await world.timers.step()
    assert (await world.head(fleeting)).last_seq == last
    assert await expiries(world) == []


async def test_a_pin_in_the_last_moment_does_not_save_a_message(world, fleeting):
    seq = (await world.say("bob", fleeting)).seq
    world.clock.advance(61)
    gate = Gate(world.store)

    async def pin_first(_):
        gate.before = nothing
        world.clock.step_wall(-61)  # to people the message is gone as soon as its time is over
        command = c.PinMessage(conversation=fleeting, seq=seq)
        await world.messages.pin(world.caller("ana"), command)
        world.clock.step_wall(61)

    gate.before = pin_first
    await world.timers.step()
    assert (await world.kinds(fleeting))[-2:] == ["message.pinned", "message.deleted"]
    assert (await world.message(fleeting, seq)).fold.deleted_at
    assert await world.row(Pin, fleeting, seq) is None


async def test_the_end_reaches_messages_whose_author_left(world, fleeting):
    await world.say("bob", fleeting)
    await world.leave("bob", fleeting)
    world.clock.advance(61)
    await world.timers.step()
    assert (await world.kinds(fleeting))[-1] == "message.deleted"


async def test_an_end_is_not_a_deletion_that_others_can_ask_for(world, fleeting):
    seq = (await world.say("ana", fleeting)).seq
    with refused("forbidden"):
        await world.messages.delete(
            world.caller("bob"), c.DeleteMessage(conversation=fleeting, seq=seq, everyone=True)
        )
