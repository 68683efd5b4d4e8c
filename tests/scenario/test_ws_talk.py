"""People talk over WebSocket, on several devices: what one does the others see, once and in order."""

from __future__ import annotations

import asyncio
from pathlib import Path
from typing import Any

from tests.support.live import Live, Talk, text


async def test_two_people_talk(tmp_path: Path) -> None:
    async with Live(tmp_path) as live:
        ana, bob = await live.people("ana", "bob")
        one, two = await live.talk(ana), await live.talk(bob)
        made = await one.do("conversation.open_direct", user=bob.id)
        direct = made["created"]
        await two.event("conversation.joined")
        sent = await one.say(direct, "hello", client_id="first")
        own = await one.event("message.new", conversation=direct)
        got = await two.event("message.new", conversation=direct)
        assert own == got
        assert (got["seq"], got["at"], got["user"]) == (sent["seq"], sent["at"], ana.id)
        assert got["body"] == {"content": {"type": "text", "text": "hello"}}
        # The same client_id once more: the first answer, and nobody is told again.
        again = await one.say(direct, "hello", client_id="first")
        assert again == {**sent, "repeated": True}
        assert (await one.refused("message.send", client_id="first", conversation=direct, content=text("x")))[
            "code"
        ] == "client_id_reused"
        reply = await two.say(direct, "hi", reply_to=sent["seq"])
        assert reply["seq"] == sent["seq"] + 1
        assert (await one.event("message.new", conversation=direct))["body"]["reply_to"] == sent["seq"]
        await two.event("message.new", conversation=direct, seq=reply["seq"])
        await one.settle()
        assert one.of(direct) == two.of(direct)


async def test_three_devices_each_see_one_sequence(tmp_path: Path) -> None:
    async with Live(tmp_path) as live:
        people = await live.people("ana", "bob", "carl")
        group = await live.group(*people)
        devices: list[list[Talk]] = []
        for person in people:
            more = [person, await live.device(person, "phone"), await live.device(person, "tablet")]
            devices.append([await live.talk(one) for one in more])
        everyone = [talk for mine in devices for talk in mine]

        async def chatter(talk: Talk, number: int) -> list[int]:
            return [(await talk.say(group, f"{number} {n}"))["seq"] for n in range(10)]

        seqs = await asyncio.gather(*(chatter(talk, number) for number, talk in enumerate(everyone)))
        for talk in everyone:
            await talk.settle()
        log = [one for one in everyone[0].of(group) if one["type"] == "message.new"]
        assert sorted(seq for mine in seqs for seq in mine) == [one["seq"] for one in log]
        assert log == sorted(log, key=lambda one: one["seq"])
        assert [one["ordinal"] for one in log] == list(range(1, 91))
        for talk in everyone:
            assert [one for one in talk.of(group) if one["type"] == "message.new"] == log
        # What one sent is in the order in which it was sent.
        for mine in seqs:
            assert mine == sorted(mine)


async def test_commands_of_one_connection_are_carried_out_in_order(tmp_path: Path) -> None:
    async with Live(tmp_path) as live:
        ana = await live.person("ana")
        group = await live.group(ana)
        talk = await live.talk(ana)
        posted = [talk.post("message.send", conversation=group, content=text(f"{n}")) for n in range(200)]
        answers = await asyncio.gather(*posted)
        seqs = [answer["result"]["seq"] for answer in answers]
        assert seqs == list(range(seqs[0], seqs[0] + 200))
        # Of different kinds as well: each finds what those before it made.
        edit = talk.post("message.edit", conversation=group, seq=seqs[0], content=text("b"))
        react = talk.post("reaction.add", conversation=group, seq=seqs[0], emoji="👍")
        gone = talk.post("message.delete", conversation=group, seq=seqs[0], everyone=True)
        late = talk.post("reaction.add", conversation=group, seq=seqs[0], emoji="👎")
        results = await asyncio.gather(edit, react, gone, late)
        assert [one["type"] for one in results] == ["ack", "ack", "ack", "error"]
        assert results[-1]["code"] == "not_found"


async def test_changes_of_a_message(tmp_path: Path) -> None:
    async with Live(tmp_path) as live:
        ana, bob = await live.people("ana", "bob")
        group = await live.group(ana, bob)
        one, two = await live.talk(ana), await live.talk(bob)
        seq = (await one.say(group, "helo"))["seq"]
        await one.do("message.edit", conversation=group, seq=seq, content=text("hello"))
        await two.do("reaction.add", conversation=group, seq=seq, emoji="👍")
        await two.do("reaction.remove", conversation=group, seq=seq, emoji="👍")
        await one.do("message.pin", conversation=group, seq=seq)
        await one.do("message.delete", conversation=group, seq=seq, everyone=True)
        await two.settle()
        changes = [(event["type"], event.get("target"), event["user"]) for event in two.of(group)]
        assert changes == [
            ("message.new", None, ana.id),
            ("message.updated", seq, ana.id),
            ("reaction.new", seq, bob.id),
            ("reaction.removed", seq, bob.id),
            ("message.pinned", seq, ana.id),
            ("message.deleted", seq, ana.id),
        ]
        # Whoever reads the log now does not get the words any more.
        answer = await two.ask("events.read", conversation=group, after=seq - 1, limit=10)
        kinds = [event["type"] for event in answer["events"]]
        assert kinds == [
            "void",
            "void",
            "reaction.new",
            "reaction.removed",
            "message.pinned",
            "message.deleted",
        ]
        assert "hello" not in str(answer)


async def test_polls_forwards_and_mentions(tmp_path: Path) -> None:
    async with Live(tmp_path) as live:
        ana, bob = await live.people("ana", "bob")
        group = await live.group(ana, bob)
        direct = await live.direct(ana, bob)
        one, two = await live.talk(ana), await live.talk(bob)
        poll = {"type": "poll", "question": "When?", "options": ["now", "later"]}
        seq = (await one.do("message.send", conversation=group, content=poll))["seq"]
        await two.do("poll.vote", conversation=group, seq=seq, options=[1])
        await two.do("poll.vote", conversation=group, seq=seq, options=[0])
        votes = [await one.event("poll.voted"), await one.event("poll.voted")]
        assert [vote["body"] for vote in votes] == [{"options": [1]}, {"options": [0], "previous": [1]}]
        await one.do("poll.close", conversation=group, seq=seq)
        assert (await two.refused("poll.vote", conversation=group, seq=seq, options=[1]))[
            "code"
        ] == "already_done"
        asked = (await one.say(group, "what do you say, @bob?"))["seq"]
        got = await two.event("message.new", seq=asked)
        assert got["body"]["content"]["mentions"] == [bob.id]
        await two.do("message.forward", conversation=direct, from_conversation=group, from_seq=asked)
        forwarded = await one.event("message.new", conversation=direct)
        assert forwarded["body"]["forward"] == {"conversation": group, "seq": asked, "user": ana.id}


async def test_ones_own_things_are_told_to_ones_own_devices_alone(tmp_path: Path) -> None:
    async with Live(tmp_path) as live:
        ana, bob = await live.people("ana", "bob")
        group = await live.group(ana, bob)
        seq = (await live.say(bob, group)).seq
        phone = await live.device(ana)
        one, two, other = await live.talk(ana), await live.talk(phone), await live.talk(bob)
        things: list[tuple[str, dict[str, Any], str]] = [
            ("draft.set", {"conversation": group, "text": "to be contin"}, "draft.updated"),
            ("bookmark.add", {"conversation": group, "seq": seq, "note": "n"}, "bookmark.added"),
            ("bookmark.remove", {"conversation": group, "seq": seq}, "bookmark.removed"),
            ("message.delete", {"conversation": group, "seq": seq}, "message.hidden"),
            ("preferences.set", {"conversation": group, "pinned": True}, "preferences.updated"),
            ("settings.update", {"settings": {"appearance": {"theme": "dark"}}}, "settings.updated"),
            ("profile.update", {"status": "away"}, "profile.updated"),
            ("contact.request", {"user": bob.id}, "contact.updated"),
            ("user.block", {"user": bob.id}, "user.blocked"),
            ("user.unblock", {"user": bob.id}, "user.unblocked"),
            ("report.create", {"user": bob.id, "reason": "spam"}, "report.created"),
        ]
        for kind, fields, expected in things:
            await one.do(kind, **fields)
            event = await two.event(expected)
            assert event["conversation"] == ana.id, kind
        await other.settle()
        # Bob hears of the request, and that it was taken back by the block, and of nothing else.
        assert {event["type"] for event in other.frames if event.get("conversation") != group} <= {
            "contact.updated",
            "user.updated",
        }
        assert "to be contin" not in str(other.frames)


# --- what is kept nowhere ------------------------------------------------------------------------------


async def test_typing(tmp_path: Path) -> None:
    async with Live(tmp_path) as live:
        ana, bob, eve = await live.people("ana", "bob", "eve")
        group = await live.group(ana, bob)
        one, two, other = await live.talk(ana), await live.talk(bob), await live.talk(eve)
        await one.do("typing.set", conversation=group)
        assert await two.event("typing.start") == {
            "type": "typing.start",
            "conversation": group,
            "user": ana.id,
        }
        await one.do("typing.set", conversation=group, composing=False, thread=1)
        assert (await two.event("typing.stop"))["thread"] == 1
        assert (await other.refused("typing.set", conversation=group))["code"] == "not_found"
        for talk in (one, other):
            await talk.settle()
            assert not [frame for frame in talk.frames if frame["type"].startswith("typing")]


async def test_receipts_and_who_does_not_share_them(tmp_path: Path) -> None:
    async with Live(tmp_path) as live:
        ana, bob, carl = await live.people("ana", "bob", "carl")
        group = await live.group(ana, bob, carl)
        one, two, three = await live.talk(ana), await live.talk(bob), await live.talk(carl)
        seq = (await one.say(group))["seq"]
        await two.do("message.received", conversation=group, seq=seq)
        await one.event("message.received", user=bob.id, seq=seq)
        await two.do("message.read", conversation=group, seq=seq)
        read = await one.event("message.read", user=bob.id, seq=seq)
        assert read == {"type": "message.read", "user": bob.id, "conversation": group, "seq": seq}
        await three.event("message.read", user=bob.id, seq=seq)
        # Carl turns it off: nobody learns what he read, and he learns of nobody.
        await three.do("settings.update", settings={"privacy": {"read_receipts": False}})
        again = (await one.say(group))["seq"]
        await three.do("message.read", conversation=group, seq=again)
        await three.event("message.read", user=carl.id, seq=again)
        await one.event("message.received", user=carl.id, seq=again)
        await two.do("message.read", conversation=group, seq=again)
        await one.event("message.read", user=bob.id, seq=again)
        await three.settle()
        for talk, hidden in ((one, carl), (two, carl), (three, bob)):
            assert not [
                frame
                for frame in talk.frames
                if frame["type"] == "message.read" and frame["user"] == hidden.id and frame["seq"] == again
            ]


async def test_presence_and_its_privacy(tmp_path: Path) -> None:
    async with Live(tmp_path) as live:
        ana, bob, shy = await live.people("ana", "bob", "shy")
        shy_talk = await live.talk(shy)
        await shy_talk.do("settings.update", settings={"privacy": {"last_seen": "nobody"}})
        await shy_talk.close()
        one = await live.talk(ana)
        answer = await one.ask("presence.watch", users=[bob.id, shy.id, "nobody"])
        assert answer["type"] == "done"
        assert await one.event("presence", user=bob.id) == {
            "type": "presence",
            "user": bob.id,
            "state": "offline",
        }
        await one.event("presence", user=shy.id, state="offline")
        await one.event("presence", user="nobody", state="offline")
        two = await live.talk(bob)
        await one.event("presence", user=bob.id, state="online")
        await two.do("presence.set", state="away")
        await one.event("presence", user=bob.id, state="away")
        await two.close()
        gone = await one.event("presence", user=bob.id, state="offline")
        assert gone["last_seen"] > 0
        shy_talk = await live.talk(shy)
        await one.event("presence", user=shy.id, state="online")
        await shy_talk.close()
        assert "last_seen" not in await one.event("presence", user=shy.id, state="offline")
        # Once it is kept, it is shown to those who look later.
        for _ in range(100):
            await asyncio.sleep(0.02)
            await one.ask("presence.watch", users=[bob.id])
            if "last_seen" in await one.event("presence", user=bob.id):
                break
        else:
            raise AssertionError("never kept")
        # Whoever is blocked sees nobody: at once, and when they look again.
        two = await live.talk(bob)
        await one.event("presence", user=bob.id, state="online")
        await two.do("user.block", user=ana.id)
        gone = await one.event("presence", user=bob.id)
        assert gone == {"type": "presence", "user": bob.id, "state": "offline"}
        await one.ask("presence.watch", users=[bob.id])
        await one.event("presence", user=bob.id, state="offline")
        await two.do("presence.set", state="away")
        await one.settle()
        assert not [frame for frame in one.frames if frame["type"] == "presence" and frame["user"] == bob.id]
