"""What happens by itself when its time has come."""

from __future__ import annotations

from pathlib import Path

from tests.support.live import Live, MovableClock, text
from tests.support.wire import CLOSE


async def test_disappearing_messages(tmp_path: Path) -> None:
    async with Live(tmp_path) as live:
        ana, bob = await live.people("ana", "bob")
        group = await live.group(ana, bob)
        one, two = await live.talk(ana), await live.talk(bob)
        stays = (await one.say(group, "stays"))["seq"]
        await one.do("conversation.update", conversation=group, message_ttl_s=1)
        goes = (await one.say(group, "goes"))["seq"]
        sent = await two.event("message.new", seq=goes)
        assert sent["body"]["expires_at"] == sent["at"] + 1000
        gone = await two.event("message.deleted", target=goes)
        assert gone["body"] == {"by_timer": True}
        assert gone["at"] >= sent["body"]["expires_at"]
        answer = await two.ask("events.read", conversation=group, after=stays - 1)
        kinds = {event["seq"]: event["type"] for event in answer["events"]}
        assert (kinds[stays], kinds[goes]) == ("message.new", "void")


async def test_scheduled_messages(tmp_path: Path) -> None:
    async with Live(tmp_path) as live:
        ana, bob = await live.people("ana", "bob")
        group = await live.group(ana, bob)
        one, two = await live.talk(ana), await live.talk(bob)
        now = live.clock.now_ms()
        made = await one.do("schedule.create", conversation=group, content=text("later"), send_at=now + 800)
        dropped = await one.do(
            "schedule.create", conversation=group, content=text("never"), send_at=now + 60_000
        )
        await one.do("schedule.cancel", schedule=dropped["created"])
        assert (await one.refused("schedule.cancel", schedule=dropped["created"]))["code"] == "not_found"
        got = await two.event("message.new", conversation=group)
        assert got["body"]["content"]["text"] == "later"
        assert got["user"] == ana.id
        assert got["at"] >= now + 800
        done = await one.event("schedule.sent")
        assert (done["body"]["schedule"], done["body"]["seq"]) == (made["created"], got["seq"])
        await two.settle()
        assert not [frame for frame in two.frames if frame["type"].startswith("schedule")]


async def test_a_schedule_of_someone_who_may_no_longer_send(tmp_path: Path) -> None:
    async with Live(tmp_path) as live:
        ana, bob = await live.people("ana", "bob")
        group = await live.group(ana, bob)
        one, two = await live.talk(ana), await live.talk(bob)
        send_at = live.clock.now_ms() + 600
        await two.do("schedule.create", conversation=group, content=text("later"), send_at=send_at)
        await one.do("member.remove", conversation=group, user=bob.id)
        failed = await two.event("schedule.failed")
        assert failed["body"]["failed"]
        await one.settle()
        assert [event["type"] for event in one.of(group)] == ["member.removed"]


async def test_the_clock_is_set_back_and_forth(tmp_path: Path) -> None:
    """Times in a log never decrease, whatever the host's clock does."""

    class Stepping(MovableClock):
        offset = 0

        def now_ms(self) -> int:
            return super().now_ms() + self.offset

    clock = Stepping()
    async with Live(tmp_path, clock=clock) as live:
        ana = await live.person("ana")
        group = await live.group(ana)
        talk = await live.talk(ana)
        for offset in (0, -3_600_000, 3_600_000, 0, -7_200_000):
            clock.offset = offset
            for _ in range(3):
                await talk.say(group)
        await talk.settle()
        times = [event["at"] for event in talk.of(group)]
        assert times == sorted(times)
        assert len(times) == 15
        assert talk.end is None
        talk.wire.send(b"", opcode=CLOSE)
        assert (await talk.closed()).code == 1000
