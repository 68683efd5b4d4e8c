"""What a device needs to be up to date: its logs, and what follows its positions, with what is not its
to see left blank."""

from __future__ import annotations

import msgspec

from tertulia.application.sync import Sync
from tertulia.domain import commands as c
from tertulia.domain.content import Text
from tertulia.domain.events import Event
from tertulia.domain.records import Conversation
from tertulia.domain.unit import Put, SetCursor
from tertulia.domain.visibility import Floor
from tests.support.world import World, refused


class Rig(World):
    """A world with the reads of devices."""

    def _build(self) -> None:
        super()._build()
        self.sync = Sync(self.store, self.store, self.access)

    async def seen(self, who: str, log: str, after: int = 0, limit: int = 1000) -> list[Event]:
        return await self.sync.events(self.caller(who), log, after, limit)

    async def blank(self, who: str, log: str) -> list[int]:
        """The positions that are not theirs to see."""
        events = await self.seen(who, log)
        assert [event.seq for event in events] == list(range(1, len(events) + 1))
        return [event.seq for event in events if event.body is None]


async def test_an_opening_lists_every_log_with_its_head() -> None:
    world = Rig()
    await world.people("ana", "bob", "eve")
    group = await world.create_group("ana", "bob")
    channel = await world.create_channel("bob", "ana")
    topic = await world.create_topic("bob", channel)
    direct = await world.direct("ana", "eve")
    await world.create_group("bob", "eve", name="Not hers")
    await world.say("bob", topic)
    ana = world.id("ana")
    opening = await world.sync.opening(world.caller("ana"))
    assert opening.rooms[0] == ana
    assert set(opening.rooms) == {ana, group, channel, direct}
    assert opening.logs == {**{room: room for room in opening.rooms}, topic: channel}
    assert opening.floors == {}
    heads = await world.sync.heads(world.caller("ana"), [*opening.logs, "nothing"])
    assert [head.log for head in heads] == list(opening.logs)
    assert {head.log: head.kind for head in heads} == {
        ana: "personal", group: "group", channel: "channel", topic: "topic", direct: "direct"
    }  # fmt: skip
    for head in heads:
        assert (await world.head(head.log)).last_seq == head.last_seq


async def test_a_head_says_how_far_its_reader_is() -> None:
    world = Rig()
    await world.people("ana", "bob")
    group = await world.create_group("ana", "bob")
    first = (await world.say("ana", group)).seq
    await world.say("ana", group)
    await world.write(SetCursor(log=group, user=world.id("bob"), read=first, received=first + 1))
    (head,) = await world.sync.heads(world.caller("bob"), [group])
    assert (head.last_seq, head.read, head.received, head.unread) == (first + 1, first, first + 1, 1)
    (own,) = await world.sync.heads(world.caller("ana"), [group])
    assert (own.read, own.unread) == (first + 1, 0)


async def test_heads_of_another_tenant_are_not_there() -> None:
    world = Rig()
    await world.people("ana")
    group = await world.create_group("ana")
    stranger = msgspec.structs.replace(world.caller("ana"), tenant="other")
    assert await world.sync.heads(stranger, [group, world.id("ana")]) == []


async def test_an_opening_leaves_out_what_was_deleted() -> None:
    world = Rig()
    await world.people("ana", "bob")
    channel = await world.create_channel("ana", "bob")
    topic, gone = [await world.create_topic("ana", channel, name) for name in ("One", "Two")]
    await world.conversations.delete(world.caller("ana"), c.DeleteConversation(conversation=gone))
    group = await world.create_group("ana", "bob")
    row = await world.row(Conversation, group)
    # As far as a deletion of a large group is while its members are still being told.
    await world.write(Put(msgspec.structs.replace(row, deleted_at=1)))
    opening = await world.sync.opening(world.caller("bob"))
    assert set(opening.logs) == {world.id("bob"), channel, topic}
    assert set(opening.rooms) == {world.id("bob"), channel}


async def test_an_opening_says_where_ones_history_begins() -> None:
    world = Rig()
    await world.people("ana", "bob")
    closed = await world.create_group("ana", history="joined")
    opened = await world.create_group("ana", history="all")
    from_the_start = await world.create_group("ana", "bob", history="joined")
    for group in (closed, opened):
        since = (await world.say("ana", group)).seq
        await world.add("ana", group, "bob")
    opening = await world.sync.opening(world.caller("bob"))
    assert from_the_start in opening.rooms
    assert opening.floors == {closed: Floor(since, applies=True), opened: Floor(since, applies=False)}


async def test_an_opening_says_whom_and_what_one_does_not_want_to_see() -> None:
    world = Rig()
    await world.people("ana", "bob", "eve")
    await world.block("ana", "eve")
    await world.privacy("ana", read_receipts=False)
    opening = await world.sync.opening(world.caller("ana"))
    assert opening.blocked == {world.id("eve")}
    assert opening.receipts is False
    other = await world.sync.opening(world.caller("bob"))
    assert other.blocked == frozenset()
    assert other.receipts is True


async def test_positions_stay_dense_and_what_is_not_to_be_seen_is_blank() -> None:
    world = Rig()
    await world.people("ana", "bob", "eve")
    group = await world.create_group("ana", "bob", "eve", history="joined")
    first = (await world.say("eve", group)).seq
    hidden = (await world.say("bob", group)).seq
    gone = (await world.say("bob", group)).seq
    await world.block("ana", "eve")
    await world.messages.delete(world.caller("ana"), c.DeleteMessage(conversation=group, seq=hidden))
    await world.messages.delete(
        world.caller("bob"), c.DeleteMessage(conversation=group, seq=gone, everyone=True)
    )
    assert await world.blank("ana", group) == [first, hidden, gone]
    assert await world.blank("bob", group) == [gone]
    await world.unblock("ana", "eve")
    assert await world.blank("ana", group) == [hidden, gone]


async def test_before_the_join_all_is_blank_where_history_begins_there() -> None:
    world = Rig()
    await world.people("ana", "bob", "carl")
    group = await world.create_group("ana", history="joined")
    since = (await world.say("ana", group)).seq
    await world.add("ana", group, "bob")
    assert await world.blank("bob", group) == list(range(1, since + 1))
    assert await world.blank("ana", group) == []
    open_group = await world.create_group("ana", history="all")
    await world.say("ana", open_group)
    await world.add("ana", open_group, "carl")
    assert await world.blank("carl", open_group) == []


async def test_what_is_about_messages_from_before_the_join_is_blank_too() -> None:
    world = Rig()
    await world.people("ana", "bob")
    group = await world.create_group("ana", history="joined")
    old = (await world.say("ana", group)).seq
    join = (await world.add("ana", group, "bob")).seq
    new = (await world.say("ana", group)).seq
    ana = world.caller("ana")
    for seq in (old, new):
        content = Text(text="other words")
        await world.messages.edit(ana, c.EditMessage(conversation=group, seq=seq, content=content))
        await world.messages.react(ana, c.AddReaction(conversation=group, seq=seq, emoji="x"))
        await world.messages.delete(ana, c.DeleteMessage(conversation=group, seq=seq, everyone=True))
    kinds = {event.seq: event.kind for event in await world.seen("bob", group) if event.body is not None}
    assert list(kinds.values()) == ["member.added", "reaction.new", "message.deleted"]
    assert min(kinds) == join


async def test_in_a_direct_conversation_a_block_hides_nothing_that_was_said() -> None:
    world = Rig()
    await world.people("ana", "bob")
    direct = await world.direct("ana", "bob")
    await world.say("bob", direct)
    await world.block("ana", "bob")
    assert await world.blank("ana", direct) == []


async def test_reading_in_pages() -> None:
    world = Rig()
    await world.people("ana", "bob")
    group = await world.create_group("ana", "bob")
    for _ in range(10):
        await world.say("ana", group)
    last = (await world.head(group)).last_seq
    after, seqs = 0, []
    while page := await world.seen("bob", group, after, 4):
        assert len(page) <= 4
        seqs += [event.seq for event in page]
        after = seqs[-1]
    assert seqs == list(range(1, last + 1))
    assert await world.seen("bob", group, last + 100) == []


async def test_logs_that_are_not_theirs_are_not_there() -> None:
    world = Rig()
    await world.people("ana", "bob", "eve")
    group = await world.create_group("ana", "bob")
    direct = await world.direct("ana", "bob")
    await world.leave("bob", group)
    for who, log in (
        ("eve", group),
        ("bob", group),
        ("eve", direct),
        ("eve", world.id("ana")),
        ("eve", "no such log"),
    ):
        with refused("not_found") as one:
            await world.seen(who, log)
        with refused("not_found") as two:
            await world.sync.head(world.caller(who), log)
        assert one.detail == two.detail == "No such conversation."
    assert await world.sync.head(world.caller("ana"), group) == (await world.head(group)).last_seq
    own = world.id("ana")
    assert await world.sync.head(world.caller("ana"), own) == (await world.head(own)).last_seq
    assert next(event.kind for event in await world.seen("ana", own)) == "profile.updated"


async def test_a_public_channel_may_be_read_before_joining() -> None:
    world = Rig()
    await world.people("ana", "eve")
    channel = await world.create_channel("ana")
    topic = await world.create_topic("ana", channel)
    await world.say("ana", topic)
    assert await world.blank("eve", channel) == []
    assert len(await world.seen("eve", topic)) == 2
    await world.update("ana", channel, public=False)
    with refused("not_found"):
        await world.seen("eve", topic)
