"""Coming back: what was missed arrives in order, nothing twice that was held, nothing lost."""

from __future__ import annotations

import asyncio
import random
from pathlib import Path

import pytest

from tests.support.live import Live, Person, Talk, text
from tests.support.wire import Json, Wire


async def resumed(talk: Talk) -> None:
    await talk.wait(lambda one: one["type"] == "resumed", "resumed")


def heads(talk: Talk) -> dict[str, int]:
    return {head["conversation"]: head["seq"] for head in talk.hello["heads"]}


async def test_hello_says_where_every_log_stands(tmp_path: Path) -> None:
    async with Live(tmp_path) as live:
        ana, bob, eve = await live.people("ana", "bob", "eve")
        group = await live.group(ana, bob)
        channel = await live.channel(ana)
        await live.group(bob, eve)
        last = (await live.say(bob, group)).seq
        talk = await live.talk(ana)
        hello = talk.hello
        assert (hello["user"], hello["device"], hello["tenant"]) == (ana.id, ana.device, "default")
        assert hello["generation"] == live.program.store.generation
        assert hello["limits"] == {"frame_bytes": 262_144, "replay": 500}
        assert {head["conversation"]: head["kind"] for head in hello["heads"]} == {
            ana.id: "personal",
            group: "group",
            channel: "channel",
        }
        assert heads(talk)[group] == last
        sessions = {(await live.talk(ana)).hello["session"] for _ in range(3)}
        assert len(sessions) == 3


async def test_what_was_missed_follows_the_hello(tmp_path: Path) -> None:
    async with Live(tmp_path) as live:
        ana, bob = await live.people("ana", "bob")
        group, other = await live.group(ana, bob), await live.group(ana, bob)
        talk = await live.talk(ana)
        held = heads(talk)
        await talk.close()
        seqs = [(await live.say(bob, group, str(n))).seq for n in range(20)]
        third = await live.group(bob, ana)
        again = await live.talk(ana, held, generation=talk.hello["generation"])
        await resumed(again)
        assert again.seqs(group) == seqs
        assert again.of(other) == []
        # The new conversation is told of in the personal log, and its head in the hello.
        joined = await again.event("conversation.joined")
        assert (joined["conversation"], joined["body"]["conversation"]) == (ana.id, third)
        assert heads(again)[third] > 0
        # With the very same positions nothing is missing, and positions beyond the end do no harm.
        for positions in (heads(again), {log: seq + 100 for log, seq in heads(again).items()}):
            quiet = await live.talk(ana, positions)
            await resumed(quiet)
            assert [frame for frame in quiet.frames if "seq" in frame] == []
            await live.say(bob, group, "live")
            await quiet.event("message.new", conversation=group)


async def test_resume_may_be_asked_for_later(tmp_path: Path) -> None:
    async with Live(tmp_path) as live:
        ana, bob = await live.people("ana", "bob")
        group = await live.group(ana, bob)
        seqs = [(await live.say(bob, group, str(n))).seq for n in range(5)]
        talk = await live.talk(ana)
        talk.wire.send({"type": "resume", "positions": {group: seqs[1]}})
        await resumed(talk)
        assert talk.seqs(group) == seqs[2:]


async def test_logs_that_are_not_ones_own_are_passed_over(tmp_path: Path) -> None:
    async with Live(tmp_path) as live:
        ana, bob, eve = await live.people("ana", "bob", "eve")
        group, secret = await live.group(ana, bob), await live.group(bob, eve)
        seq = (await live.say(bob, group)).seq
        await live.say(bob, secret, "a secret")
        positions = {secret: 0, "nothing": 0, bob.id: 0, group: seq - 1}
        talk = await live.talk(ana, positions)
        await resumed(talk)
        assert talk.seqs(group) == [seq]
        assert {frame.get("conversation") for frame in talk.frames} == {group}


async def test_too_long_a_gap_is_truncated_and_read_in_pages(tmp_path: Path) -> None:
    async with Live(tmp_path, limits={"replay": 50}) as live:
        ana, bob = await live.people("ana", "bob")
        group, other = await live.group(ana, bob), await live.group(ana, bob)
        start = (await live.say(bob, group)).seq
        for number in range(51):
            await live.say(bob, group, str(number))
        exactly = [(await live.say(bob, other, str(n))).seq for n in range(50)]
        talk = await live.talk(ana, {group: start, other: exactly[0] - 1})
        await resumed(talk)
        gap = await talk.wait(lambda one: one["type"] == "truncated", "truncated")
        assert gap == {"type": "truncated", "conversation": group, "from": start + 1, "to": start + 51}
        assert talk.seqs(group) == []
        assert talk.seqs(other) == exactly
        after, seqs = gap["from"] - 1, list[int]()
        while True:
            answer = await talk.ask("events.read", conversation=group, after=after, limit=20)
            seqs += [event["seq"] for event in answer["events"]]
            after = seqs[-1]
            if not answer["more"]:
                break
        assert seqs == list(range(gap["from"], gap["to"] + 1))
        seq = (await live.say(bob, group, "live")).seq
        await talk.event("message.new", seq=seq)


async def test_positions_of_another_generation_mean_nothing(tmp_path: Path) -> None:
    async with Live(tmp_path) as live:
        ana, bob = await live.people("ana", "bob")
        group = await live.group(ana, bob)
        await live.say(bob, group)
        talk = await live.talk(ana, {group: 0}, generation="of before the restore")
        answer = await talk.wait(lambda one: one["type"] == "resync", "resync")
        assert answer == {"type": "resync", "generation": live.program.store.generation}
        await talk.settle()
        assert talk.frames == []
        seq = (await live.say(bob, group)).seq
        await talk.event("message.new", seq=seq)


async def test_a_restart_keeps_the_generation_and_the_positions(tmp_path: Path) -> None:
    async with Live(tmp_path) as live:
        ana, bob = await live.people("ana", "bob")
        group = await live.group(ana, bob)
        held = (await live.say(bob, group)).seq
        generation = live.program.store.generation
        missed = (await live.say(bob, group)).seq
    async with Live(tmp_path) as live:
        talk = await live.talk(ana, {group: held}, generation=generation)
        await resumed(talk)
        assert talk.seqs(group) == [missed]


class Device:
    """A client that loses its connection again and again, and keeps what it got."""

    def __init__(self, live: Live, person: Person, seed: int) -> None:
        self.live = live
        self.person = person
        self.random = random.Random(seed)
        self.held: dict[str, int] = {}
        self.log: dict[str, list[int]] = {}
        self.connects = 0

    async def run(self, logs: list[str], stop: asyncio.Event) -> None:
        self.log = {log: [] for log in logs}
        while True:
            stopping = stop.is_set()
            wire = await Wire.websocket(self.live.port)
            try:
                positions = {log: self.held.get(log, 0) for log in logs}
                wire.send({"type": "sign_in", "token": self.person.token, "positions": positions})
                self.connects += 1
                frames = 0
                patience = self.random.randrange(1, 60)
                while frames < patience or stopping:
                    try:
                        async with asyncio.timeout(0.3):
                            found = await wire.json()
                    except TimeoutError:
                        break
                    frames += 1
                    if found["type"] == "hello":
                        target = {head["conversation"]: head["seq"] for head in found["heads"]}
                    if found["type"] == "resumed" and stopping:
                        assert all(self.held[log] == target[log] for log in logs)
                        return
                    self._take(found)
            finally:
                wire.abort()

    def _take(self, found: Json) -> None:
        log = found.get("conversation", "")
        if log not in self.log or "seq" not in found or found["type"] in ("message.read", "message.received"):
            return
        held = self.held.get(log, 0)
        if found["seq"] <= held:
            return
        assert found["seq"] == held + 1, f"a gap in {log}: {held} → {found['seq']}"
        self.held[log] = found["seq"]
        self.log[log].append(found["seq"])


@pytest.mark.parametrize("seed", [1, 2])
async def test_reconnecting_during_traffic_loses_nothing(tmp_path: Path, seed: int) -> None:
    async with Live(tmp_path) as live:
        ana, bob, carl = await live.people("ana", "bob", "carl")
        logs = [await live.group(ana, bob, carl) for _ in range(3)]
        writers = [await live.talk(one) for one in (ana, bob)]
        devices = [Device(live, carl, seed * 10 + n) for n in range(4)]
        stop = asyncio.Event()
        running = [asyncio.create_task(device.run(logs, stop)) for device in devices]
        sent = 0
        for number in range(250):
            posts = [
                writer.post("message.send", conversation=log, content=text(f"{number}"))
                for writer in writers
                for log in logs
            ]
            answers = await asyncio.gather(*posts)
            sent += len(answers)
            assert {answer["type"] for answer in answers} == {"ack"}
        stop.set()
        async with asyncio.timeout(20):
            await asyncio.gather(*running)
        for device in devices:
            assert device.connects > 3
            for log in logs:
                head = await live.program.store.head(log)
                assert head is not None
                assert device.log[log] == list(range(1, head.last_seq + 1))


async def test_membership_changes_while_devices_connect(tmp_path: Path) -> None:
    """Connecting, joining, leaving and blocking at once: whoever is out in the end hears nothing more."""
    async with Live(tmp_path) as live:
        ana, bob, eve = await live.people("ana", "bob", "eve")
        group = await live.group(ana, bob, eve)
        one = await live.talk(ana)
        for number in range(15):
            connecting = [asyncio.create_task(live.talk(bob)) for _ in range(4)]
            await asyncio.sleep(0.001 * (number % 5))
            await one.do("member.remove", conversation=group, user=bob.id)
            talks = await asyncio.gather(*connecting)
            seq = (await one.say(group, "among us"))["seq"]
            for talk in talks:
                await talk.settle()
                assert seq not in talk.seqs(group), number
                await talk.close()
            connecting = [asyncio.create_task(live.talk(bob)) for _ in range(4)]
            await asyncio.sleep(0.001 * (number % 5))
            await one.do("member.add", conversation=group, user=bob.id)
            talks = await asyncio.gather(*connecting)
            seq = (await one.say(group, "all of us"))["seq"]
            for talk in talks:
                await talk.event("message.new", seq=seq)
                await talk.close()
