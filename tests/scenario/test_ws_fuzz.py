"""Garbage of all kinds against a real connection, while two people talk and notice nothing.

Every frame ends in an answer or in a documented close code; the program logs no exception, nothing of
the garbage is stored, and memory stays where it was."""

from __future__ import annotations

import asyncio
import copy
import json
import os
import random
from collections import Counter
from pathlib import Path
from typing import Any

import psutil
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from tertulia.domain.commands import COMMANDS
from tests.support.live import Live, Person, text
from tests.support.wire import BINARY, CLOSE, CONTINUATION, PING, PONG, TEXT, Closed, Wire, frame

ALLOWED = {1000, 1002, 1003, 1007, 1009, 4004}
ANSWERS = {"error", "ack", "pong", "done", "events", "resumed", "truncated", "resync"}

BODIES: list[dict[str, Any]] = [
    {"type": "message.send", "conversation": "C", "content": text("hello @all")},
    {"type": "message.send", "conversation": "C", "content": text("x"), "thread": 3, "reply_to": 4},
    {"type": "message.send", "conversation": "C", "content": text("x"), "foreign": {"a": [1, {"b": None}]}},
    {
        "type": "message.send",
        "conversation": "C",
        "content": {"type": "poll", "question": "?", "options": ["a", "b"]},
    },
    {
        "type": "message.send",
        "conversation": "C",
        "content": {"type": "location", "latitude": 1, "longitude": 2.5},
    },
    {"type": "message.edit", "conversation": "C", "seq": 3, "content": text("y")},
    {"type": "message.delete", "conversation": "C", "seq": 3, "everyone": True},
    {"type": "reaction.add", "conversation": "C", "seq": 3, "emoji": "👍"},
    {"type": "poll.vote", "conversation": "C", "seq": 3, "options": [0, 1]},
    {"type": "message.read", "conversation": "C", "seq": 3},
    {"type": "typing.set", "conversation": "C", "composing": True},
    {"type": "settings.update", "settings": {"privacy": {"photo": "nobody"}}},
    {"type": "profile.update", "status": "here"},
    {"type": "draft.set", "conversation": "C", "text": "later"},
    {"type": "events.read", "conversation": "C", "after": 0, "limit": 3},
    {"type": "resume", "positions": {"C": 1}, "generation": "g"},
    {"type": "presence.watch", "users": ["u1", "u2"]},
    {"type": "ping", "ref": "p"},
    {"type": "conversation.create_group", "name": "G", "members": ["u1"]},
    {"type": "user.block", "user": "u1"},
]

VALUES: list[Any] = [
    None, True, False, 0, -1, 1, 2**53, 2**63, -(2**63), 10**30, 0.5, 1e308, "", "a", "\x00", "😀" * 20,
    "x" * 300, [], [[]], {}, {"type": "text"}, {"type": "message.send"}, ["a"] * 600,
    {"a": {"b": {"c": []}}}, "\u202e", "'",
]  # fmt: skip


class Mutations:
    """Frames that were right once, from a seed."""

    def __init__(self, seed: int, conversation: str) -> None:
        self.random = random.Random(seed)
        self.conversation = conversation

    def frames(self) -> bytes:
        """One frame, or a few that belong together, as octets on the wire."""
        how = self.random.randrange(20)
        data = self.payload()
        if how < 13:
            return frame(data)
        if how == 13:
            opcode = self.random.choice([TEXT, BINARY, CONTINUATION, PING, PONG, CLOSE, 3, 7, 11, 15])
            return frame(data[: self.random.choice([0, 1, 2, 60, 125, 126, 500])], opcode=opcode)
        if how == 14:
            return frame(data, rsv=self.random.randrange(8), fin=self.random.random() < 0.8)
        if how == 15:
            pieces = [data[n : n + 13] for n in range(0, len(data), 13)] or [b""]
            out = b""
            for number, piece in enumerate(pieces):
                opcode = TEXT if number == 0 else CONTINUATION
                out += frame(piece, opcode=opcode, fin=number == len(pieces) - 1)
                if self.random.random() < 0.1:
                    out += frame(b"?", opcode=self.random.choice([PING, PONG]))
            return out
        if how == 16:
            length = self.random.choice([b"\x7e\x00\x01", b"\x7f" + bytes(8), b"\x7f" + b"\xff" * 8, b"\x7d"])
            return frame(data[:100], length=length)
        if how == 17:
            return frame(data, mask=None if self.random.random() < 0.3 else b"\0\0\0\0")
        whole = bytearray(frame(data))
        for _ in range(self.random.randrange(1, 4)):
            whole[self.random.randrange(len(whole))] ^= 1 << self.random.randrange(8)
        return bytes(whole)

    def payload(self) -> bytes:
        """JSON with something wrong, or no JSON."""
        body = json.loads(
            json.dumps(self.random.choice(BODIES)).replace('"C"', json.dumps(self.conversation))
        )
        for _ in range(self.random.randrange(3)):
            self._change(body)
        data = bytearray(json.dumps(body, ensure_ascii=self.random.random() < 0.5).encode())
        for _ in range(self.random.choice([0, 0, 0, 1, 1, 2, 5])):
            at = self.random.randrange(len(data) + 1)
            match self.random.randrange(5):
                case 0:
                    data[at : at + self.random.randrange(8)] = b""
                case 1:
                    data[at:at] = self.random.randbytes(self.random.randrange(1, 4))
                case 2:
                    data[at:at] = self.random.choice(
                        [b'"', b"{", b"}", b"[", b"]", b",", b":", b"\\", b"\\ud800"]
                    )
                case 3:
                    data[at:at] = data[: self.random.randrange(len(data) + 1)]
                case _:
                    data[at:at] = b"[" * self.random.choice([10, 1000, 20_000])
        return bytes(data)

    def _change(self, body: dict[str, Any]) -> None:
        keys = [*body, "ref", "client_id", "more", "seq", "thread"]
        key = self.random.choice(keys)
        match self.random.randrange(4):
            case 0:
                body.pop(key, None)
            case 1:
                body[key] = copy.deepcopy(self.random.choice(VALUES))
            case 2:
                body["type"] = self.random.choice([*COMMANDS, "sign_in", "refresh", "hello", "void"])
            case _:
                inner = [value for value in body.values() if isinstance(value, dict)]
                (self.random.choice(inner) if inner else body)[key] = copy.deepcopy(
                    self.random.choice(VALUES)
                )


class Attacker:
    """Signs in, sends garbage, reads what comes, and comes again when it was sent away."""

    def __init__(self, live: Live, person: Person) -> None:
        self.live = live
        self.person = person
        self.outcomes: Counter[str] = Counter()
        self.wire: Wire | None = None

    async def send(self, octets: list[bytes]) -> None:
        """Frames in one write; they end in answers and a pong, or in the end of the connection."""
        if self.wire is None:
            self.wire = await self.live.signed_in(self.person)
        wire = self.wire
        wire.write(b"".join(octets))
        # The end of it is found by a ping; when the garbage left a frame open, the ping is part of it.
        wire.write(frame(b"end", opcode=PING))
        try:
            async with asyncio.timeout(0.5 if self.outcomes["silent"] < 3 else 0.2):
                await self._until_pong(wire)
        except TimeoutError:
            # Waiting for the rest of a frame that says it is longer: nothing to answer yet.
            self.outcomes["silent"] += 1
            await self._leave()
        except Closed as closed:
            assert closed.code in ALLOWED, closed
            self.outcomes[str(closed.code)] += 1
            await self._leave()

    async def _until_pong(self, wire: Wire) -> None:
        while True:
            opcode, payload = await wire.frame()
            if opcode == PONG and payload == b"end":
                return
            if opcode == CLOSE:
                raise Closed(int.from_bytes(payload[:2], "big"), payload[2:].decode())
            if opcode == TEXT:
                answer = json.loads(payload)
                if "ref" in answer or answer["type"] in ANSWERS:
                    assert answer["type"] in ANSWERS, answer
                    assert answer.get("code") != "internal", answer
                    self.outcomes[answer.get("code", answer["type"])] += 1

    async def _leave(self) -> None:
        wire, self.wire = self.wire, None
        if wire is not None:
            wire.abort()


class Chat:
    """Two people who talk all the time; what one says the other gets, once and in order."""

    def __init__(self, live: Live) -> None:
        self.live = live
        self.sent: list[tuple[int, str]] = []
        self.slowest = 0.0

    async def __aenter__(self) -> Chat:
        live = self.live
        ana, bob = await live.people("ana", "bob")
        self.group = await live.group(ana, bob)
        self.one, self.two = await live.talk(ana), await live.talk(bob)
        self._task = asyncio.create_task(self._talk())
        return self

    async def _talk(self) -> None:
        loop = asyncio.get_running_loop()
        while True:
            words = f"message {len(self.sent)}"
            before = loop.time()
            answer = await self.one.say(self.group, words)
            self.slowest = max(self.slowest, loop.time() - before)
            self.sent.append((answer["seq"], words))
            await asyncio.sleep(0.02)

    async def __aexit__(self, *_: object) -> None:
        if self._task.done():
            self._task.result()
        self._task.cancel()
        await asyncio.gather(self._task, return_exceptions=True)
        answer = await self.one.say(self.group, "the last")
        await self.two.event("message.new", seq=answer["seq"])
        got = [(one["seq"], one["body"]["content"]["text"]) for one in self.two.of(self.group)]
        # The talk may have been cut off between a commit and its answer.
        assert [one for one in got if one in self.sent] == self.sent
        assert [seq for seq, _ in got] == list(range(got[0][0], got[0][0] + len(got)))
        assert self.one.end is None
        assert self.two.end is None


async def _fuzz(live: Live, seed: int, count: int, batch: int) -> Counter[str]:
    eve = await live.person("eve")
    group = await live.group(eve)
    await live.say(eve, group)
    attacker = Attacker(live, eve)
    mutations = Mutations(seed, group)
    done = 0
    while done < count:
        await attacker.send([mutations.frames() for _ in range(batch)])
        done += batch
    return attacker.outcomes


def _memory() -> int:
    return psutil.Process(os.getpid()).memory_info().rss


async def test_garbage_from_a_seed(tmp_path: Path) -> None:
    async with Live(tmp_path) as live, Chat(live) as chat:
        # One at a time each has its own outcome; many at a time show that they do not depend on it.
        outcomes = await _fuzz(live, 1, 2_200, 1)
        before = _memory()
        await live.person("eve2")
        mutations = Mutations(2, "no such conversation")
        attacker = Attacker(live, await live.person("mallory"))
        for _ in range(1000):
            await attacker.send([frame(mutations.payload()) for _ in range(18)])
        assert _memory() - before < 64 << 20
        live.check()
        assert {"malformed", "not_found", "ack", "pong", "1002", "1003", "1007", "4004"} <= set(outcomes)
        assert len(chat.sent) > 50
        assert chat.slowest < 2


@pytest.mark.slow
@pytest.mark.parametrize("seed", range(10, 13))
async def test_much_more_garbage(tmp_path: Path, seed: int) -> None:
    async with Live(tmp_path) as live, Chat(live) as chat:
        await _fuzz(live, seed, 8_000, 1)
        before = _memory()
        outcomes = Counter[str]()
        attacker = Attacker(live, await live.person("mallory"))
        mutations = Mutations(seed * 1000, "no such conversation")
        for _ in range(3000):
            await attacker.send([mutations.frames() for _ in range(8)])
        outcomes += attacker.outcomes
        assert _memory() - before < 64 << 20
        live.check()
        assert sum(outcomes.values()) > 3000
        assert chat.slowest < 3


_SCALARS = st.none() | st.booleans() | st.integers() | st.floats(allow_nan=True) | st.text(max_size=20)
_VALUES = st.recursive(
    _SCALARS,
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=8), inner, max_size=3),
    max_leaves=10,
)
_NAMES = st.sampled_from(
    [
        "type",
        "ref",
        "client_id",
        "conversation",
        "seq",
        "content",
        "thread",
        "text",
        "users",
        "settings",
        "user",
    ]
)
_FRAMES = st.builds(
    lambda kind, fields: {**fields, "type": kind},
    st.sampled_from([*COMMANDS, "ping", "resume", "events.read", "presence.watch", "sign_in"]),
    st.dictionaries(_NAMES, _VALUES, max_size=5),
)


async def test_shapes_that_hypothesis_finds(tmp_path: Path) -> None:
    async with Live(tmp_path) as live, Chat(live):
        loop = asyncio.get_running_loop()
        attacker = Attacker(live, await live.person("eve"))

        def run() -> None:
            @settings(max_examples=400, deadline=None, database=None, suppress_health_check=list(HealthCheck))
            @given(st.lists(_FRAMES, min_size=1, max_size=5))
            def one(messages: list[dict[str, Any]]) -> None:
                octets = [frame(json.dumps(message)) for message in messages]
                asyncio.run_coroutine_threadsafe(attacker.send(octets), loop).result(10)

            one()

        await asyncio.to_thread(run)
        live.check()
        assert attacker.outcomes["malformed"] > 100
