"""docs/websocket.md, replayed against a real server, and held against the code for what it leaves out."""

from __future__ import annotations

import asyncio
import json
import re
from pathlib import Path
from typing import Any, get_args

from tertulia.domain import commands as c
from tertulia.domain.events import BODIES
from tertulia.domain.signals import SignalType
from tertulia.protocols.ws import codec, connection
from tertulia.sessions import hub
from tests.support.live import Live, Person
from tests.support.wire import PATIENCE, Closed, Json, Wire

PAGE = Path(__file__).parents[2] / "docs" / "websocket.md"
ANY_NUMBER = {"at", "expires_at", "updated_at"}


def blocks() -> list[tuple[list[str], list[tuple[str, Json]]]]:
    """Who and how, and the frames (arrow, frame), of every example."""
    found: list[tuple[list[str], list[tuple[str, Json]]]] = []
    for words, body in re.findall(r"```frames ([^\n]+)\n(.*?)```", PAGE.read_text("utf-8"), re.DOTALL):
        lines = [(line[0], json.loads(line[2:])) for line in body.strip().splitlines()]
        assert {arrow for arrow, _ in lines} <= set("→←")
        found.append((words.split(), lines))
    return found


class Names:
    """What the `<words>` of the page stand for."""

    def __init__(self, **known: Any) -> None:
        self.known: dict[str, Any] = {name.replace("_", " "): value for name, value in known.items()}

    def filled(self, value: Any) -> Any:
        """The frame with everything named in it."""
        if isinstance(value, dict):
            return {self.filled(key): self.filled(inner) for key, inner in value.items()}
        if isinstance(value, list):
            return [self.filled(inner) for inner in value]
        name = _name(value)
        return self.known[name] if name is not None else value

    def fits(self, wanted: Any, got: Any, field: str = "") -> dict[str, Any] | None:
        """What new names stand for when `got` is what the page says; None when it is not."""
        name = _name(wanted)
        if name is not None:
            if name in self.known:
                return {} if self.known[name] == got else None
            # Words for people, and lists that are too long for a page, may be anything.
            return {} if name in ("words", "heads", "events") else {name: got}
        if isinstance(wanted, dict) and isinstance(got, dict):
            pairs = {self.filled(key): inner for key, inner in wanted.items()}
            if set(pairs) != set(got):
                return None
            return self._all((self.fits(inner, got[key], key) for key, inner in pairs.items()))
        if isinstance(wanted, list) and isinstance(got, list):
            if len(wanted) != len(got):
                return None
            return self._all(self.fits(one, other) for one, other in zip(wanted, got, strict=True))
        if field in ANY_NUMBER and isinstance(got, int):
            return {} if got > 10**12 else None
        return {} if wanted == got and type(wanted) is type(got) else None

    @staticmethod
    def _all(parts: Any) -> dict[str, Any] | None:
        found: dict[str, Any] = {}
        for part in parts:
            if part is None:
                return None
            found |= part
        return found


def _name(value: Any) -> str | None:
    found = re.fullmatch(r"<([^<>]+)>", value) if isinstance(value, str) else None
    return found[1] if found else None


class Reader:
    """A connection and what came over it that the page has not named yet."""

    def __init__(self, wire: Wire) -> None:
        self.wire = wire
        self.came: list[Json] = []

    async def expect(self, wanted: Json, names: Names) -> None:
        try:
            async with asyncio.timeout(PATIENCE / 2):
                while True:
                    for place, got in enumerate(self.came):
                        bound = names.fits(wanted, got)
                        if bound is not None:
                            names.known |= bound
                            del self.came[place]
                            return
                    self.came.append(await self.wire.json())
        except (TimeoutError, Closed) as error:
            came = "\n".join(json.dumps(one, ensure_ascii=False) for one in self.came)
            line = json.dumps(wanted, ensure_ascii=False)
            raise AssertionError(f"{line} did not come, but\n{came}") from error


async def test_the_examples_are_what_happens(tmp_path: Path) -> None:
    async with Live(tmp_path, fast=True) as live:
        people: dict[str, Person] = {name: await live.person(name) for name in ("ana", "bob", "carl")}
        spare = await live.device(people["ana"])
        names = Names(
            nothing="01aaaaaaaaaaaaaaaaaaaaaaaa",
            nobody="01bbbbbbbbbbbbbbbbbbbbbbbb",
            in_an_hour=live.clock.now_ms() + 3_600_000,
            spare_device=spare.device,
            **{name: person.id for name, person in people.items()},
            **{f"token_of_{name}": person.token for name, person in people.items()},
            **{f"device_of_{name}": person.device for name, person in people.items()},
        )
        # The spare device's events of the personal log are before those on the page.
        shift = 1
        readers: dict[str, Reader] = {}
        for (who, *how), lines in blocks():
            if "long" in how:
                long = await live.group(people["bob"])
                head = await live.program.store.head(long)
                assert head is not None
                for number in range(502 - head.last_seq):
                    await live.say(people["bob"], long, str(number))
                names.known["long"] = long
            if who not in readers or "new" in how:
                readers[who] = Reader(await live.wire())
            for arrow, frame in lines:
                if arrow == "→":
                    readers[who].wire.send(names.filled(frame))
                else:
                    await readers[who].expect(_shifted(frame, shift), names)


def _shifted(frame: Json, by: int) -> Json:
    """Numbers of ana's own log, as they are with one device more."""
    text = json.dumps(frame)
    if frame.get("type") == "hello" and frame["user"] == "<ana>":
        frame = json.loads(text)
        frame["heads"][0]["seq"] += by
    elif frame.get("conversation") == "<ana>":
        frame = {**frame, "seq": frame["seq"] + by}
    elif frame.get("type") == "ack" and frame["result"].get("conversation") == "<ana>":
        frame = {**frame, "result": {**frame["result"], "seq": frame["result"]["seq"] + by}}
    return frame


def test_everything_has_its_place_on_the_page() -> None:
    page = PAGE.read_text("utf-8")
    sent = {frame["type"] for _, lines in blocks() for arrow, frame in lines if arrow == "→"}
    came = {frame["type"] for _, lines in blocks() for arrow, frame in lines if arrow == "←"}
    control = {str(kind.__struct_config__.tag) for kind in codec.CONTROL_TYPES}
    assert sent == set(c.COMMANDS) | control
    answers = {
        "hello", "ack", "error", "done", "pong", "events", "void", "truncated", "resync", "resumed",
        "message.new",
    }  # fmt: skip
    assert answers <= came
    assert set(get_args(SignalType)) - {"user.updated"} <= came
    for kind in BODIES:
        assert f"`{kind}`" in page, kind
    codes = {
        value
        for module in (connection, hub, codec)
        for name, value in vars(module).items()
        if name.startswith("CLOSE_") and isinstance(value, int)
    }
    assert len(codes) > 8
    table = page.partition("## Close codes")[2].partition("## Limits")[0]
    for code in codes | {1002, 1003, 1009}:
        assert f"| {code} |" in table, code
    limits = connection.Limits()
    numbers = (limits.frame_bytes, limits.commands_in_flight, limits.replay, hub.HELD_MAX)
    for number in (*numbers, limits.sessions_per_user, connection.LIMITED_MAX):
        assert f"{number:,}" in page, number
    assert f"{int(limits.sign_in_s)} seconds" in page
