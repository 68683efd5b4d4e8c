"""What a device needs to be up to date: its logs, and what follows its positions, with what is not its
to see left blank."""

from __future__ import annotations

from tertulia.application.sync import Sync
from tertulia.domain import commands as c
from tertulia.domain.events import Event
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
    heads = {head.log: (head.kind, head.last_seq, head.room) for head in opening.heads}
    assert set(heads) == {ana, group, channel, direct, topic}
    assert heads[topic] == ("topic", 2, channel)
    assert heads[ana][0] == "personal"
    for log, (_, seq, _) in heads.items():
        assert (await world.head(log)).last_seq == seq
    assert [head.log for head in await world.sync.heads([topic, "nothing", ana])] == [topic, ana]


async def test_an_opening_leaves_out_topics_that_are_gone() -> None:
    world = Rig()
    await world.people("ana")
    channel = await world.create_channel("ana")
    kept, gone = await world.create_topic("ana", channel), await world.create_topic("ana", channel)
    await world.conversations.delete(world.caller("ana"), c.DeleteConversation(conversation=gone))
    opening = await world.sync.opening(world.caller("ana"))
    assert {head.log for head in opening.heads} == {world.id("ana"), channel, kept}


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
