"""The outbox: every row's work is done, once as a rule, and given up only with a reason."""

from __future__ import annotations

import asyncio
from itertools import pairwise

import msgspec
import pytest

from tertulia.domain.errors import Refusal
from tertulia.domain.records import Outbox
from tertulia.domain.unit import CursorMoved, Put, Remove
from tertulia.ports.delivery import DeliveryFailed
from tertulia.ports.mail import Mail
from tertulia.ports.sms import Sms
from tertulia.workers.letters import MAIL_TOPIC, SMS_TOPIC, mail_handler, sms_handler
from tertulia.workers.outbox import OutboxPolicy, OutboxWorker, any_commit, follows_rows
from tertulia.workers.pacing import Bell, backoff_s
from tests.support.own import Gate, OwnWorld, PassingTime, captured_log, interleave
from tests.support.world import TENANT

POLICY = OutboxPolicy(concurrency=3, lease_s=60, base_s=2, cap_s=300, max_attempts=4, idle_s=1)


class Desk:
    """A handler: does what it is told to for each row and notes what it did."""

    def __init__(self):
        self.done = []
        self.tried = []
        self.failures = []
        self.hold = None
        self.at_once = self.most = 0

    async def __call__(self, row):
        self.tried.append(row.id)
        self.at_once += 1
        self.most = max(self.most, self.at_once)
        try:
            if self.hold is not None:
                await self.hold.wait()
            await asyncio.sleep(0)
            if self.failures:
                failure = self.failures.pop(0)
                if failure is not None:
                    raise failure
            self.done.append(row.id)
        finally:
            self.at_once -= 1


@pytest.fixture
async def world():
    made = OwnWorld()
    await made.people("ana")
    made.time = PassingTime(made.clock)
    made.desk = Desk()
    made.log, made.logged = captured_log()
    made.worker = worker(made)
    made.store.on_commit(made.worker.on_commit)
    return made


def worker(world, **policy):
    return OutboxWorker(
        "mail",
        world.desk,
        world.store,
        world.store,
        world.clock,
        world.time.sleep,
        lambda: 0.0,
        world.log,
        policy=msgspec.structs.replace(POLICY, **policy),
    )


@pytest.fixture
async def running(world):
    task = asyncio.ensure_future(world.worker.run())
    yield task
    task.cancel()
    await asyncio.gather(task, return_exceptions=True)


async def put(world, ident="m1", *, topic="mail", due_s=0.0, payload=b"{}", attempts=0):
    now = world.clock.now_ms()
    row = Outbox(
        tenant=TENANT,
        id=ident,
        topic=topic,
        due_at=now + int(due_s * 1000),
        payload=payload,
        attempts=attempts,
        created_at=now,
    )
    await world.write(Put(row))
    return row


async def left(world):
    return [row.id for row in await world.store.scan(Outbox, (TENANT,))]


def events(world):
    return [(entry["event"], entry.get("code")) for entry in world.logged.entries]


# --- doing -----------------------------------------------------------------------------------------


async def test_work_is_done_and_removed_in_the_order_it_is_due(world, running):
    for n, due in enumerate((3, 1, 2)):
        await put(world, f"m{n}", due_s=due)
    await put(world, "other", topic="sms")
    await world.time.pass_s(0.9)
    assert world.desk.done == []
    await world.time.pass_s(4)
    assert world.desk.done == ["m1", "m2", "m0"]
    assert await left(world) == ["other"]
    assert events(world) == []


async def test_a_commit_that_wakes_is_followed_at_once(world, running):
    await world.time.pass_s(5)
    await put(world)
    world.worker.wake()
    await world.time.quiet()
    assert world.desk.done == ["m1"]


async def test_a_listener_wakes_for_the_commits_that_count(world, running):
    await world.time.pass_s(5)
    await put(world)
    await world.say("ana", await world.create_group("ana"))
    await world.time.quiet()
    assert world.desk.done == ["m1"]


async def test_work_that_comes_with_nothing_but_rows_is_begun_at_once(world, running):
    await world.time.pass_s(5)
    await put(world)
    await world.time.quiet()
    assert world.desk.done == ["m1"]


async def test_which_commits_leave_work_of_accounts(world):
    group = await world.create_group("ana")
    await world.say("ana", group)
    in_group = world.committed[-1]
    assert not follows_rows(in_group)
    assert any_commit(in_group)
    await world.people("bob")
    assert follows_rows(world.committed[-1])
    rows_only = msgspec.structs.replace(in_group, events=())
    assert follows_rows(rows_only)
    moved = CursorMoved(tenant=TENANT, log=group, room=group, user="x", read=1, received=1)
    assert not follows_rows(msgspec.structs.replace(rows_only, cursors=(moved,)))


async def test_no_more_at_once_than_allowed(world, running):
    world.desk.hold = asyncio.Event()
    for n in range(10):
        await put(world, f"m{n}")
        if n == 1:
            await world.time.pass_s(2)
    await world.time.pass_s(2)
    assert world.desk.most == 3
    claimed = [row for row in await world.store.scan(Outbox, (TENANT,)) if row.attempts]
    assert len(claimed) == 3
    world.desk.hold.set()
    await world.time.quiet()
    assert sorted(world.desk.done) == sorted(f"m{n}" for n in range(10))
    assert world.desk.most == 3
    assert await left(world) == []


async def test_two_workers_share_the_work_and_do_none_of_it_twice(world):
    interleave(world.store)
    workers = [world.worker, worker(world)]
    for n in range(6):
        await put(world, f"m{n}")
    for _ in range(3):
        await asyncio.gather(*(each.step() for each in workers))
        await asyncio.gather(*(each.settled() for each in workers))
    assert sorted(world.desk.tried) == [f"m{n}" for n in range(6)]
    assert world.desk.done == world.desk.tried
    assert await left(world) == []


# --- failing ---------------------------------------------------------------------------------------


async def test_a_temporary_failure_is_tried_again_later_and_later(world, running):
    world.desk.failures = [DeliveryFailed(False, "busy", code="throttled") for _ in range(3)]
    await put(world)
    tries = []
    for _ in range(200):
        before = len(world.desk.tried)
        await world.time.pass_s(0.1)
        await world.time.quiet()
        if len(world.desk.tried) > before:
            tries.append(round(world.clock.monotonic(), 1))
    # Half of 2, 4 and 8 seconds, since the random number is 0.
    gaps = [b - a for a, b in pairwise(tries)]
    assert gaps == pytest.approx([1, 2, 4], abs=0.2)
    assert world.desk.done == ["m1"]
    assert await left(world) == []
    assert events(world) == [("outbox.failed", "throttled")] * 3


async def test_the_other_side_may_ask_for_a_longer_pause(world, running):
    world.desk.failures = [DeliveryFailed(False, "wait", code="throttled", retry_after=120)]
    await put(world)
    await world.time.pass_s(119)
    assert world.desk.done == []
    await world.time.pass_s(3)
    assert world.desk.done == ["m1"]


async def test_a_permanent_failure_ends_it(world, running):
    world.desk.failures = [DeliveryFailed(True, "no such mailbox", code="refused")]
    await put(world)
    await world.time.pass_s(600)
    assert world.desk.tried == ["m1"]
    assert await left(world) == []
    assert events(world) == [("outbox.given_up", "refused")]


async def test_it_is_given_up_after_so_many_attempts(world, running):
    world.desk.failures = [DeliveryFailed(False, "down", code="unreachable")] * 10
    await put(world)
    await world.time.pass_s(600)
    assert len(world.desk.tried) == POLICY.max_attempts
    assert await left(world) == []
    assert events(world)[-1] == ("outbox.given_up", "unreachable")
    assert world.logged.entries[-1]["attempts"] == POLICY.max_attempts


async def test_a_defect_of_a_handler_is_a_temporary_failure(world, running):
    world.desk.failures = [RuntimeError("secret text")]
    await put(world)
    await world.time.pass_s(10)
    assert world.desk.done == ["m1"]
    assert events(world) == [("outbox.defect", None), ("outbox.failed", "protocol")]


async def test_a_handler_that_never_ends_is_stopped_before_its_claim_ends(world):
    slow = worker(world, lease_s=0.04)
    world.desk.hold = asyncio.Event()
    await put(world)
    await slow.step()
    await asyncio.wait_for(slow.settled(), 5)
    (row,) = await world.store.scan(Outbox, (TENANT,))
    assert (row.attempts, world.desk.at_once) == (1, 0)
    assert events(world) == [("outbox.failed", "timeout")]


async def test_one_that_fails_holds_up_no_other(world, running):
    world.desk.failures = [DeliveryFailed(False, "down"), None, None]
    for n in range(3):
        await put(world, f"m{n}")
    await world.time.pass_s(0.9)
    assert world.desk.done == ["m1", "m2"]
    assert await left(world) == ["m0"]


# --- crashes ---------------------------------------------------------------------------------------


async def test_who_dies_during_the_work_frees_it_when_the_claim_ends(world):
    world.desk.hold = asyncio.Event()
    task = asyncio.ensure_future(world.worker.run())
    await put(world)
    await world.time.quiet()
    world.worker.wake()
    await world.time.quiet()
    assert world.desk.tried == ["m1"]
    task.cancel()
    await asyncio.wait([task], timeout=5)
    assert task.cancelled()
    assert world.desk.at_once == 0
    world.desk.hold = None
    other = worker(world)
    await other.step()
    await other.settled()
    assert world.desk.done == []
    world.clock.advance(POLICY.lease_s)
    await other.step()
    await other.settled()
    assert world.desk.done == ["m1"]
    assert await left(world) == []


async def test_work_that_kills_its_worker_ends_after_so_many_attempts(world, running):
    await put(world, attempts=POLICY.max_attempts)
    await world.time.pass_s(2)
    assert world.desk.tried == []
    assert await left(world) == []
    assert events(world) == [("outbox.given_up", "attempts")]


async def test_done_but_not_removed_is_done_again_under_the_same_id(world):
    await put(world)
    gate = Gate(world.store)

    async def full(unit):
        if any(type(write) is Remove for write in unit.writes):
            raise Refusal("storage_full", "No space.")

    gate.before = full
    await world.worker.step()
    await world.worker.settled()
    assert (world.desk.done, await left(world)) == (["m1"], ["m1"])
    assert events(world) == [("outbox.not_concluded", "storage_full")]
    gate.before = nothing
    world.clock.advance(POLICY.lease_s)
    await world.worker.step()
    await world.worker.settled()
    assert (world.desk.done, await left(world)) == (["m1", "m1"], [])


async def nothing(_):
    return


async def test_without_a_claim_nothing_is_done(world, running):
    gate = Gate(world.store)

    async def full(_):
        raise Refusal("storage_full", "No space.")

    await put(world)
    gate.before = full
    world.worker.wake()
    await world.time.pass_s(600)
    assert world.desk.tried == []
    assert len(world.time.slept) < 20  # it waits longer and longer
    gate.before = nothing
    await world.time.pass_s(600)
    assert world.desk.done == ["m1"]


async def test_the_worker_outlives_a_store_that_breaks(world, running):
    due = world.store.due

    async def broken(*_args, **_more):
        raise OSError("no disk")

    world.store.due = broken
    await put(world)
    await world.time.pass_s(30)
    world.store.due = due
    await world.time.pass_s(300)
    assert world.desk.done == ["m1"]
    assert ("outbox.broken", None) in events(world)


async def test_a_late_failure_does_not_bring_back_what_another_finished(world):
    world.desk.hold = asyncio.Event()
    world.desk.failures = [DeliveryFailed(False, "late")]
    await put(world)
    await world.worker.step()
    await world.time.quiet()
    await world.write(Remove(Outbox, (TENANT, "m1")))
    world.desk.hold.set()
    await world.worker.settled()
    assert await left(world) == []


async def test_a_clock_set_forward_does_not_start_what_is_under_way_again(world):
    world.desk.hold = asyncio.Event()
    await put(world)
    await world.worker.step()
    await world.time.quiet()
    world.clock.step_wall(3600)
    await world.worker.step()
    await world.time.quiet()
    assert world.desk.tried == ["m1"]
    world.desk.hold.set()
    await world.worker.settled()
    assert world.desk.done == ["m1"]


# --- pacing ----------------------------------------------------------------------------------------


def test_pauses_double_up_to_a_cap_and_chance_takes_at_most_half():
    pauses = [backoff_s(n, 1.0, base_s=2, cap_s=60) for n in range(1, 9)]
    assert pauses == [2, 4, 8, 16, 32, 60, 60, 60]
    assert backoff_s(3, 0.0, base_s=2, cap_s=60) == 4
    assert backoff_s(10_000, 0.5, base_s=2, cap_s=60) == 45


async def test_a_bell_rung_before_the_wait_is_heard(world):
    bell = Bell(world.time.sleep)
    bell.ring()
    await asyncio.wait_for(bell.wait(1000), 1)
    waiting = asyncio.ensure_future(bell.wait(1000))
    await world.time.quiet()
    assert not waiting.done()
    bell.ring()
    await asyncio.wait_for(waiting, 1)
    timed = asyncio.ensure_future(bell.wait(10))
    await world.time.pass_s(10)
    await world.time.quiet()
    assert timed.done()


# --- letters ---------------------------------------------------------------------------------------


class Post:
    def __init__(self):
        self.sent = []

    async def send(self, letter):
        self.sent.append(letter)

    async def check(self):
        return "ok"

    async def aclose(self):
        return


MAIL = Mail(to="ana@example.org", subject="Code", text="123456", kind="verify", message_id="m1")
SMS = Sms(to="+34600123456", text="123456", id="s1")


async def test_letters_reach_the_port_as_they_were_written(world):
    mail, sms = Post(), Post()
    row = await put(world, payload=msgspec.json.encode(MAIL))
    await mail_handler(mail)(row)
    await sms_handler(sms)(msgspec.structs.replace(row, payload=msgspec.json.encode(SMS)))
    assert (mail.sent, sms.sent) == ([MAIL], [SMS])
    assert (MAIL_TOPIC, SMS_TOPIC) == ("mail", "sms")


@pytest.mark.parametrize("handler", [mail_handler, sms_handler], ids=["mail", "sms"])
async def test_an_unreadable_letter_is_given_up_without_quoting_it(world, handler):
    post = Post()
    row = await put(world, payload=b'{"to":"secret@example.org"')
    with pytest.raises(DeliveryFailed) as failed:
        await handler(post)(row)
    assert failed.value.permanent
    assert failed.value.code == "invalid"
    assert "secret" not in failed.value.reason
    assert post.sent == []
