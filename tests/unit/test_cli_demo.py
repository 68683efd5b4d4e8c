"""The demo's world: whole, believable, the same each time."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from tertulia.adapters.clock_system import SystemClock
from tertulia.adapters.sqlite import SqliteStore
from tertulia.cli import demo, demo_world
from tertulia.config import Settings, load
from tertulia.domain.events import decode_body
from tertulia.domain.records import Conversation, Cursor, Member, User

NOW = 1_790_000_000_000


def quick(folder: Path) -> Settings:
    return load(overrides={"data": str(folder), "argon2_memory_kib": 64})


async def everything(folder: Path) -> dict[str, object]:
    """All that a reader of the store sees, with the passwords left out."""
    store = await SqliteStore.open(folder)
    try:
        conversations = await store.scan(Conversation, ("default",))
        logs: dict[str, object] = {}
        for row in conversations:
            events = await store.events(row.id, 0, 10_000)
            logs[row.id] = [
                (one.seq, one.kind, one.actor, one.at, one.thread, one.target, one.body) for one in events
            ]
        return {
            "users": await store.scan(User, ("default",)),
            "conversations": conversations,
            "members": await store.scan(Member, ("default",)),
            "cursors": await store.scan(Cursor, ("default",)),
            "logs": logs,
        }
    finally:
        await store.close()


async def test_the_same_seed_and_time_give_the_same_world(tmp_path: Path) -> None:
    made: list[dict[str, object]] = []
    for name, seed in (("one", 1), ("again", 1), ("other", 2)):
        await demo._fill(quick(tmp_path / name), NOW, seed)
        made.append(await everything(tmp_path / name))
    assert made[0] == made[1]
    assert made[0] != made[2]


async def test_the_world_has_something_of_everything(tmp_path: Path) -> None:
    await demo._fill(quick(tmp_path / "x"), NOW)
    store = await SqliteStore.open(tmp_path / "x")
    users = {user.id: user for user in await store.scan(User, ("default",))}
    assert sorted(user.handle for user in users.values() if not user.bot) == sorted(demo_world.EVERYONE)
    assert [user.handle for user in users.values() if user.bot] == ["till"]
    conversations = {row.id: row for row in await store.scan(Conversation, ("default",))}
    kinds = [row.kind for row in conversations.values()]
    assert {kind: kinds.count(kind) for kind in set(kinds)} == {
        "direct": 5,
        "group": 2,
        "channel": 2,
        "topic": 3,
    }
    seen: set[str] = set()
    threads = unread = 0
    newest = 0
    hours: set[int] = set()
    for row in conversations.values():
        events = await store.events(row.id, 0, 10_000)
        assert [one.at for one in events] == sorted(one.at for one in events)
        for one in events:
            seen.add(one.kind)
            threads += one.thread > 0
            if one.kind == "message.new":
                newest = max(newest, one.at)
                hours.add(one.at // 3_600_000 % 24)
                assert one.body is not None
                decode_body(one.kind, one.body)
        head = await store.head(row.id)
        assert head is not None
        for member in await store.scan(Member, ("default", row.id)):
            cursor = await store.get(Cursor, "default", row.id, member.user, 0)
            unread += head.message_count - (cursor.ordinal if cursor is not None else 0) > 0
    assert seen >= {
        "message.new",
        "message.updated",
        "message.pinned",
        "reaction.new",
        "poll.voted",
        "topic.created",
        "member.added",
    }
    assert threads >= 10
    assert unread >= 8
    assert len(hours) >= 8
    assert NOW - 15 * 60_000 < newest <= NOW
    await store.close()


def test_what_is_written_names_what_there_is() -> None:
    rooms = {*demo_world.GROUPS, *demo_world.CHANNELS, *demo_world.TOPICS, *demo_world.DIRECTS}
    people = {*demo_world.EVERYONE, demo_world.BOT.handle}
    keys: set[str] = set()
    for step in sorted(demo_world.STEPS, key=lambda step: demo._at(step.at, NOW)):
        assert demo._at(step.at, NOW) <= NOW
        match step:
            case demo_world.Read():
                assert {step.room} <= rooms
                assert set(step.who) <= people
            case demo_world.Say() | demo_world.Ask():
                assert step.room in rooms
                assert step.who in people
                if isinstance(step, demo_world.Say):
                    assert {step.thread, step.reply} - {""} <= keys
                keys.add(step.key)
            case _:
                assert step.key in keys
                assert step.who in people


def test_the_world_looks_recent_whenever_it_is_made(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    demo.fill(quick(tmp_path / "data"))
    assert "lola, mateo" in capsys.readouterr().out
    marker = json.loads((tmp_path / "data" / "demo.json").read_bytes())
    assert marker["password"] == demo.PASSWORD
    assert SystemClock().now_ms() > NOW
    demo.fill(quick(tmp_path / "data"))
    assert demo.PASSWORD in capsys.readouterr().out
