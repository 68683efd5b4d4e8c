"""Drafts, bookmarks and messages to be sent later."""

from __future__ import annotations

from itertools import pairwise

import msgspec
import pytest

from tertulia.domain import commands as c
from tertulia.domain import events as e
from tertulia.domain.content import Poll, Text
from tertulia.domain.records import Bookmark, Draft, Scheduled
from tertulia.domain.schedules import MAX_AHEAD_MS
from tertulia.domain.unit import Put
from tests.support.own import OwnWorld, interleave
from tests.support.world import TENANT, refused, together

HOUR = 3_600_000


@pytest.fixture
async def world():
    made = OwnWorld()
    interleave(made.store)
    await made.people("ana", "bob", "eve")
    return made


@pytest.fixture
async def group(world):
    return await world.create_group("ana", "bob")


# --- drafts ----------------------------------------------------------------------------------------


async def draft(world, who, conversation, text, **fields):
    command = c.SetDraft(conversation=conversation, text=text, **fields)
    return await world.personal.set_draft(world.caller(who), command)


async def drafts(world, who):
    rows = await world.store.scan(Draft, (TENANT, world.id(who)))
    return {(row.conversation, row.thread): (row.text, row.reply_to) for row in rows}


async def told_drafts(world, who):
    known = {}
    for body in await world.bodies(who, "draft.updated"):
        known[(body.conversation, body.thread)] = (body.text, body.reply_to or 0)
    return {place: text for place, text in known.items() if text[0]}


async def test_drafts_are_kept_by_place_and_every_device_learns_of_them(world, group):
    root = (await world.say("bob", group)).seq
    answer = await draft(world, "ana", group, "hel")
    assert answer.conversation == world.id("ana")
    await draft(world, "ana", group, "hello", reply_to=root)
    await draft(world, "ana", group, "in thread", thread=root)
    expected = {(group, 0): ("hello", root), (group, root): ("in thread", 0)}
    assert await drafts(world, "ana") == await told_drafts(world, "ana") == expected
    assert await drafts(world, "bob") == {}
    await draft(world, "ana", group, "")
    assert await drafts(world, "ana") == await told_drafts(world, "ana") == {(group, root): ("in thread", 0)}


async def test_the_same_draft_again_makes_no_event(world, group):
    await draft(world, "ana", group, "hello")
    world.clock.advance(1)
    assert (await draft(world, "ana", group, "hello")).repeated
    await draft(world, "ana", group, "")
    assert (await draft(world, "ana", group, "")).repeated
    assert len(await world.bodies("ana", "draft.updated")) == 2


async def test_drafts_need_a_conversation_that_one_reads_and_places_that_are_there(world, group):
    with refused("not_found"):
        await draft(world, "eve", group, "hello")
    with refused("not_found"):
        await draft(world, "eve", "nowhere", "hello")
    root = (await world.say("bob", group)).seq
    reply = (await world.say("bob", group, thread=root)).seq
    with refused("not_found"):
        await draft(world, "ana", group, "hello", thread=reply + 1)
    with refused("not_found"):
        await draft(world, "ana", group, "hello", reply_to=reply + 1)
    with refused("invalid", field="thread"):
        await draft(world, "ana", group, "hello", thread=reply)
    with refused("invalid", field="text"):
        await draft(world, "ana", group, "a\x00")
    assert await drafts(world, "ana") == {}


async def test_a_draft_can_be_removed_where_one_no_longer_reads(world):
    direct = await world.direct("ana", "bob")
    await draft(world, "ana", direct, "hello")
    group = await world.create_group("bob", "eve")
    row = Draft(tenant=TENANT, user=world.id("ana"), conversation=group, thread=0, text="left over")
    await world.write(Put(row))
    await draft(world, "ana", group, "")
    assert await drafts(world, "ana") == {(direct, 0): ("hello", 0)}


async def test_of_two_devices_that_write_at_once_one_wins_for_all(world, group):
    await draft(world, "ana", group, "one")
    await together(*(draft(world, "ana", group, text) for text in ("", "", "two", "two")))
    assert await drafts(world, "ana") == await told_drafts(world, "ana")
    texts = [body.text for body in await world.bodies("ana", "draft.updated")]
    assert all(one != two for one, two in pairwise(["", *texts]))


async def test_drafts_are_bounded(world, group, monkeypatch):
    monkeypatch.setattr("tertulia.application.personal.MAX_DRAFTS", 1)
    other = await world.create_group("ana")
    await draft(world, "ana", group, "one")
    with refused("limit_reached"):
        await draft(world, "ana", other, "two")
    await draft(world, "ana", group, "still")
    await draft(world, "ana", group, "")
    await draft(world, "ana", other, "two")


# --- bookmarks -------------------------------------------------------------------------------------


async def bookmark(world, who, conversation, seq, **fields):
    command = c.AddBookmark(conversation=conversation, seq=seq, **fields)
    return await world.personal.add_bookmark(world.caller(who), command)


async def unbookmark(world, who, conversation, seq):
    command = c.RemoveBookmark(conversation=conversation, seq=seq)
    return await world.personal.remove_bookmark(world.caller(who), command)


async def bookmarks(world, who):
    rows = await world.store.scan(Bookmark, (TENANT, world.id(who)))
    return {row.seq: row.note for row in rows}


async def test_bookmarks_have_a_note_that_can_change(world, group):
    seq = (await world.say("bob", group)).seq
    await bookmark(world, "ana", group, seq)
    first = await world.row(Bookmark, world.id("ana"), group, seq)
    world.clock.advance(1)
    assert (await bookmark(world, "ana", group, seq)).repeated
    await bookmark(world, "ana", group, seq, note="later")
    row = await world.row(Bookmark, world.id("ana"), group, seq)
    assert (row.note, row.at) == ("later", first.at)
    assert [b.note for b in await world.bodies("ana", "bookmark.added")] == ["", "later"]
    assert await bookmarks(world, "bob") == {}
    await unbookmark(world, "ana", group, seq)
    assert (await unbookmark(world, "ana", group, seq)).repeated
    assert await bookmarks(world, "ana") == {}
    assert await world.bodies("ana", "bookmark.removed") == [e.BookmarkChanged(conversation=group, seq=seq)]


async def test_only_what_one_sees_is_bookmarked(world):
    group = await world.create_group("bob")
    before = (await world.say("bob", group)).seq
    with refused("not_found"):
        await bookmark(world, "ana", group, before)
    await world.add("bob", group, "ana")
    sent = (await world.say("bob", group)).seq
    gone = (await world.say("bob", group)).seq
    hidden = (await world.say("bob", group)).seq
    bob = world.caller("bob")
    await world.messages.delete(bob, c.DeleteMessage(conversation=group, seq=gone, everyone=True))
    await world.messages.delete(world.caller("ana"), c.DeleteMessage(conversation=group, seq=hidden))
    for seq in (before, gone, hidden, hidden + 50):
        with refused("not_found"):
            await bookmark(world, "ana", group, seq)
    with refused("invalid", field="note"):
        await bookmark(world, "ana", group, sent, note="\x00")
    await bookmark(world, "ana", group, sent)
    await world.remove("bob", group, "ana")
    await unbookmark(world, "ana", group, sent)
    assert await bookmarks(world, "ana") == {}


async def test_bookmarks_are_bounded(world, group, monkeypatch):
    monkeypatch.setattr("tertulia.application.personal.MAX_BOOKMARKS", 1)
    one, two = [(await world.say("bob", group)).seq for _ in range(2)]
    await bookmark(world, "ana", group, one)
    with refused("limit_reached"):
        await bookmark(world, "ana", group, two)
    await bookmark(world, "ana", group, one, note="again")


# --- later -----------------------------------------------------------------------------------------


async def schedule(world, who, conversation, text="later", after=HOUR, **fields):
    command = c.ScheduleMessage(
        **{
            "conversation": conversation,
            "content": Text(text=text),
            "send_at": world.clock.now_ms() + after,
            **fields,
        }
    )
    return await world.personal.schedule(world.caller(who), command)


async def cancel(world, who, ident):
    return await world.personal.cancel_schedule(world.caller(who), c.CancelSchedule(schedule=ident))


async def pending(world, who):
    return await world.store.scan(Scheduled, (TENANT, world.id(who)))


async def test_a_scheduled_message_waits_as_the_command_it_will_be(world, group):
    root = (await world.say("bob", group)).seq
    at = world.clock.now_ms() + HOUR
    answer = await schedule(world, "ana", group, "hi", thread=root, reply_to=root)
    (row,) = await pending(world, "ana")
    assert (row.id, row.send_at, row.conversation) == (answer.created, at, group)
    command = msgspec.json.decode(row.command, type=c.SendMessage)
    assert command == c.SendMessage(
        client_id=row.id, conversation=group, content=Text(text="hi"), thread=root, reply_to=root
    )
    (body,) = await world.bodies("ana", "schedule.created")
    assert body == e.ScheduleChanged(
        schedule=row.id,
        conversation=group,
        send_at=at,
        content=Text(text="hi"),
        thread=root,
        reply_to=root,
    )
    assert (await world.head(group)).last_seq == root
    assert "schedule.created" not in await world.kinds("bob")


async def test_a_repeat_names_the_same_schedule_also_when_its_time_is_over(world, group):
    at = world.clock.now_ms() + 1000
    first = await schedule(world, "ana", group, client_id="s1", send_at=at)
    again = await schedule(world, "ana", group, client_id="s1", send_at=at)
    assert again == msgspec.structs.replace(first, repeated=True)
    world.clock.advance(5)
    late = await schedule(world, "ana", group, client_id="s1", send_at=at)
    assert late == again
    assert len(await pending(world, "ana")) == 1


async def test_what_could_not_be_sent_is_not_scheduled(world, group):
    await world.set_tenant(max_text=10)
    with refused("not_found"):
        await schedule(world, "eve", group)
    with refused("too_large"):
        await schedule(world, "ana", group, "x" * 11)
    with refused("invalid", field="content.text"):
        await schedule(world, "ana", group, "  ")
    with refused("invalid", field="content.options"):
        await schedule(world, "ana", group, content=Poll(question="?", options=("a", "a")))
    for field in ("thread", "reply_to"):
        with refused("not_found"):
            await schedule(world, "ana", group, **{field: 99})
    reply = (await world.say("bob", group, thread=(await world.say("bob", group)).seq)).seq
    with refused("invalid", field="thread"):
        await schedule(world, "ana", group, thread=reply)
    for after in (0, -1, MAX_AHEAD_MS + 1):
        with refused("invalid", field="send_at"):
            await schedule(world, "ana", group, after=after)
    await world.update("ana", group, who_may_send="admin")
    with refused("forbidden"):
        await schedule(world, "bob", group)
    assert await pending(world, "ana") == await pending(world, "bob") == []


async def test_at_most_so_many_wait_also_when_they_come_at_once(world, group, monkeypatch):
    monkeypatch.setattr("tertulia.domain.schedules.MAX_PENDING", 3)
    await schedule(world, "ana", group)
    outcomes = await together(*(schedule(world, "ana", group) for _ in range(5)))
    assert len(await pending(world, "ana")) == 3
    assert sorted(getattr(o, "code", "ok") for o in outcomes) == ["limit_reached"] * 3 + ["ok"] * 2
    await schedule(world, "bob", group)
    await cancel(world, "ana", (await pending(world, "ana"))[0].id)
    await schedule(world, "ana", group)


async def test_a_waiting_message_can_be_taken_back_by_its_owner_until_its_time(world, group):
    one = (await schedule(world, "ana", group)).created
    two = (await schedule(world, "ana", group, after=2 * HOUR)).created
    for ident in (one, "nothing"):
        with refused("not_found"):
            await cancel(world, "bob", ident)
    await cancel(world, "ana", one)
    with refused("not_found"):
        await cancel(world, "ana", one)
    assert [row.id for row in await pending(world, "ana")] == [two]
    assert [b.schedule for b in await world.bodies("ana", "schedule.cancelled")] == [one]
    world.clock.advance(2 * 3600)
    with refused("already_done"):
        await cancel(world, "ana", two)
    assert [row.id for row in await pending(world, "ana")] == [two]
