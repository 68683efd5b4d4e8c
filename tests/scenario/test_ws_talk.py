from __future__ import annotations

from pathlib import Path

from tests.support.live import Live


async def test_two_people_talk(tmp_path: Path) -> None:
    async with Live(tmp_path) as live:
        ana, bob = await live.people("ana", "bob")
        group = await live.group(ana, bob)
        one, two = await live.talk(ana), await live.talk(bob)
        sent = await one.say(group, "hello")
        assert sent["conversation"] == group
        own = await one.event("message.new", conversation=group)
        got = await two.event("message.new", conversation=group)
        assert own == got
        assert got["seq"] == sent["seq"]
        assert got["body"]["content"]["text"] == "hello"
