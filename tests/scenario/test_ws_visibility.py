"""Who sees what of a conversation, and from when on."""

from __future__ import annotations

from pathlib import Path

from tests.support.live import Live, Talk
from tests.support.wire import Json

VOID = {"type", "conversation", "seq", "at", "ordinal", "all_ordinal", "thread", "thread_ordinal"}
"""All that a void tells."""


async def read(talk: Talk, conversation: str) -> list[Json]:
    """The whole log as this person may read it, which has every number once."""
    answer = await talk.ask("events.read", conversation=conversation, after=0, limit=1000)
    assert answer["type"] == "events", answer
    events = answer["events"]
    assert [event["seq"] for event in events] == list(range(1, len(events) + 1))
    assert all(set(event) <= VOID for event in events if event["type"] == "void")
    return events


def voids(events: list[Json]) -> list[int]:
    return [event["seq"] for event in events if event["type"] == "void"]


async def test_a_blocked_person_is_void_in_groups(tmp_path: Path) -> None:
    async with Live(tmp_path) as live:
        ana, bob, eve = await live.people("ana", "bob", "eve")
        group = await live.group(ana, bob, eve)
        before = (await live.say(eve, group, "before the block")).seq
        one, two, other = await live.talk(ana), await live.talk(bob), await live.talk(eve)
        await one.do("user.block", user=eve.id)
        seq = (await other.say(group, "after it"))["seq"]
        assert set(await one.event("void", conversation=group, seq=seq)) <= VOID
        assert (await two.event("message.new", seq=seq))["user"] == eve.id
        await other.do("typing.set", conversation=group)
        await two.event("typing.start", user=eve.id)
        last = (await two.say(group, "fine"))["seq"]
        await one.event("message.new", seq=last)
        assert not [
            frame for frame in one.frames if frame["type"] == "message.new" and frame["user"] == eve.id
        ]
        assert not [frame for frame in one.frames if frame["type"].startswith("typing")]
        assert {before, seq} <= set(voids(await read(one, group)))
        assert voids(await read(two, group)) == []
        # What the blocked one wrote cannot be acted on; she herself is not told of anything.
        answer = await one.refused("reaction.add", conversation=group, seq=seq, emoji="x")
        assert answer["code"] == "not_found"
        await other.do("reaction.add", conversation=group, seq=last, emoji="x")
        await one.do("user.unblock", user=eve.id)
        assert voids(await read(one, group)) == []
        await other.say(group, "again")
        await one.event("message.new", user=eve.id)


async def test_a_block_ends_a_direct_conversation(tmp_path: Path) -> None:
    async with Live(tmp_path) as live:
        ana, eve = await live.people("ana", "eve")
        direct = await live.direct(ana, eve)
        one, other = await live.talk(ana), await live.talk(eve)
        await other.say(direct, "hello")
        await one.event("message.new", conversation=direct)
        await one.do("user.block", user=eve.id)
        refused = await other.refused(
            "message.send", conversation=direct, content={"type": "text", "text": "?"}
        )
        assert refused["code"] == "peer_unavailable"
        assert (await other.refused("typing.set", conversation=direct))["code"] == "peer_unavailable"
        answer = await one.refused("message.send", conversation=direct, content={"type": "text", "text": "?"})
        assert answer["code"] == "forbidden"
        # The same words as for someone whose account is off.
        carl = await live.person("carl")
        gone = await live.direct(eve, carl)
        await live.program.administration.set_disabled("default", carl.id, disabled=True)
        same = await other.refused("message.send", conversation=gone, content={"type": "text", "text": "?"})
        assert {**same, "ref": ""} == {**refused, "ref": ""}
        # What was said stays.
        assert voids(await read(one, direct)) == []
        await one.do("user.unblock", user=eve.id)
        await other.say(direct, "again")
        await one.event("message.new", conversation=direct)


async def test_joining_and_leaving(tmp_path: Path) -> None:
    async with Live(tmp_path) as live:
        ana, bob = await live.people("ana", "bob")
        one, two = await live.talk(ana), await live.talk(bob)
        group = (await one.do("conversation.create_group", name="G"))["created"]
        for words in ("one", "two"):
            await one.say(group, words)
        await two.settle()
        assert two.of(group) == []
        await one.do("member.add", conversation=group, user=bob.id)
        joined = await two.event("conversation.joined")
        assert joined["body"] == {"conversation": group, "kind": "group"}
        # He sees his own coming and what follows, and what was before as blanks.
        added = await two.event("member.added", conversation=group)
        seq = (await one.say(group, "three"))["seq"]
        await two.event("message.new", seq=seq)
        events = await read(two, group)
        assert voids(events) == list(range(1, added["seq"]))
        answer = await two.refused("reaction.add", conversation=group, seq=added["seq"] - 1, emoji="x")
        assert answer["code"] == "not_found"
        # Gone, he sees his own going and nothing that follows.
        await one.do("member.remove", conversation=group, user=bob.id)
        await two.event("member.removed", conversation=group)
        await two.event("conversation.left")
        last = (await one.say(group, "four"))["seq"]
        await two.settle()
        assert last not in two.seqs(group)
        answer = await two.refused("events.read", conversation=group, after=0)
        missing = await two.refused("events.read", conversation="01AAAAAAAAAAAAAAAAAAAAAAAA", after=0)
        assert {**answer, "ref": ""} == {**missing, "ref": ""}
        # Back again he sees from then on; what he had seen before is behind the new floor.
        await one.do("member.add", conversation=group, user=bob.id)
        again = await two.event("member.added", conversation=group)
        assert voids(await read(two, group)) == list(range(1, again["seq"]))
        # A group whose history is for all shows it from the start.
        await one.do("conversation.update", conversation=group, history="all")
        assert voids(await read(two, group)) == []


async def test_a_public_channel_its_topics_and_a_private_one(tmp_path: Path) -> None:
    async with Live(tmp_path) as live:
        ana, bob, eve = await live.people("ana", "bob", "eve")
        channel = await live.channel(ana)
        one, two, other = await live.talk(ana), await live.talk(bob), await live.talk(eve)
        topic = (await one.do("topic.create", conversation=channel, name="Topic"))["created"]
        await one.say(topic, "first")
        # A stranger may read it, and is told nothing.
        assert len(await read(other, topic)) == 2
        assert other.of(channel) == other.of(topic) == []
        refused = await other.refused(
            "message.send", conversation=topic, content={"type": "text", "text": "x"}
        )
        assert refused["code"] == "forbidden"
        # A member of the channel is told of its topics too, also of those that are new.
        await two.do("conversation.join", conversation=channel)
        seq = (await one.say(topic, "second"))["seq"]
        await two.event("message.new", conversation=topic, seq=seq)
        fresh = (await one.do("topic.create", conversation=channel, name="Fresh"))["created"]
        assert (await two.event("topic.created", conversation=channel))["body"]["topic"] == fresh
        await two.say(fresh, "mine")
        await one.event("message.new", conversation=fresh)
        assert {head["conversation"] for head in (await live.talk(bob)).hello["heads"]} >= {
            channel,
            topic,
            fresh,
        }
        # Once it is private, strangers do not see that it is there.
        await one.do("conversation.update", conversation=channel, public=False)
        for log in (channel, topic, fresh):
            assert (await other.refused("events.read", conversation=log, after=0))["code"] == "not_found"
        await two.do("conversation.leave", conversation=channel)
        await one.say(topic, "third")
        await two.settle()
        assert two.seqs(topic) == []


async def test_threads(tmp_path: Path) -> None:
    async with Live(tmp_path) as live:
        ana, bob = await live.people("ana", "bob")
        group = await live.group(ana, bob)
        one, two = await live.talk(ana), await live.talk(bob)
        root = (await one.say(group, "root"))["seq"]
        for number in range(1, 4):
            await two.say(group, f"reply {number}", thread=root)
        replies = [await one.event("message.new", thread=root) for _ in range(3)]
        assert [reply["thread_ordinal"] for reply in replies] == [1, 2, 3]
        # Replies do not count in the main log.
        after = (await one.say(group, "main"))["seq"]
        main = await two.event("message.new", seq=after)
        assert main["ordinal"] == 2
        answer = await one.refused(
            "message.send", conversation=group, content={"type": "text", "text": "x"}, thread=root + 1
        )
        assert (answer["code"], answer["field"]) == ("invalid", "thread")
        await one.do("message.read", conversation=group, seq=root + 3, thread=root)
        await one.event("message.read", thread=root)
        await two.settle()
        assert not [frame for frame in two.frames if frame["type"] == "message.read"]


async def test_invites(tmp_path: Path) -> None:
    async with Live(tmp_path) as live:
        ana, bob, eve = await live.people("ana", "bob", "eve")
        group = await live.group(ana)
        one, two, other = await live.talk(ana), await live.talk(bob), await live.talk(eve)
        made = await one.do("invite.create", conversation=group, max_uses=1)
        assert made["secret"] not in str(one.frames)
        joined = await two.do("invite.accept", token=made["secret"])
        assert joined["conversation"] == group
        await two.event("conversation.joined")
        assert (await other.refused("invite.accept", token=made["secret"]))["code"] == "expired"
        assert (await other.refused("invite.accept", token="x" * 40))["code"] == "not_found"


async def test_what_was_before_one_joined_is_void_live_as_in_the_log(tmp_path: Path) -> None:
    async with Live(tmp_path) as live:
        ana, bob, carl = await live.people("ana", "bob", "carl")
        group = await live.group(ana, bob)
        old = (await live.say(ana, group, "before")).seq
        one, two, late = await live.talk(ana), await live.talk(bob), await live.talk(carl)
        await one.do("member.add", conversation=group, user=carl.id)
        again = await live.talk(carl)
        words = {"type": "text", "text": "before, in other words"}
        edit = (await one.do("message.edit", conversation=group, seq=old, content=words))["seq"]
        await two.event("message.updated", conversation=group, seq=edit)
        for talk in (late, again):
            assert set(await talk.event("void", conversation=group, seq=edit)) <= VOID
        new = (await one.say(group, "after"))["seq"]
        edit = (await one.do("message.edit", conversation=group, seq=new, content=words))["seq"]
        for talk in (late, again):
            await talk.event("message.updated", conversation=group, seq=edit)
        assert edit not in voids(await read(late, group))
