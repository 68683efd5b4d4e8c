"""Event streams over a real server: the same events, one place for all logs, and an end to everything."""

from __future__ import annotations

import asyncio
import contextlib
import json
import socket
from collections.abc import AsyncIterator, Callable
from pathlib import Path
from typing import Any

import httpx
import pytest

from tertulia.domain import commands as c
from tertulia.protocols.rest import sse
from tertulia_client import Text, TokensDoc
from tertulia_client.client import Client, Options
from tests.support.live import Live, Person

Frame = dict[str, Any]


class Listener:
    """A reader of `/v1/events`: what came, in order."""

    def __init__(self, lines: AsyncIterator[str]) -> None:
        self._lines = lines
        self._news = asyncio.Event()
        self.frames: list[Frame] = []
        self.signals: list[Frame] = []
        self.comments = 0
        self.retry = ""
        self.last_id = ""
        self.closed: Frame | None = None
        self.ended = False
        self._task = asyncio.create_task(self._read())

    async def _read(self) -> None:
        name, data, ident = "", "", ""
        try:
            async for line in self._lines:
                field, _, value = line.partition(":")
                value = value.removeprefix(" ")
                match field:
                    case "" if not line:
                        self.last_id = ident or self.last_id
                        if data:
                            self._take(name, json.loads(data))
                        name, data = "", ""
                    case "":
                        self.comments += 1
                    case "event":
                        name = value
                    case "data":
                        data += value
                    case "id":
                        ident = value
                    case "retry":
                        self.retry = value
                    case _:
                        raise AssertionError(line)
                self._news.set()
        except httpx.TransportError:
            pass
        finally:
            self.ended = True
            self._news.set()

    def _take(self, name: str, frame: Frame) -> None:
        if name == "close":
            self.closed = frame
        elif "seq" in frame and frame["type"] not in ("message.read", "message.received"):
            self.frames.append(frame)
        else:
            self.signals.append(frame)

    async def until(self, wanted: Callable[..., Any]) -> None:
        async with asyncio.timeout(10):
            while not wanted(self):
                assert not self.ended or wanted(self), (self.frames, self.closed)
                self._news.clear()
                await self._news.wait()

    def said(self) -> list[str]:
        """The texts that came."""
        return [one["body"]["content"]["text"] for one in self.frames if one["type"] == "message.new"]

    def kinds(self) -> list[str]:
        return [one["type"] for one in self.signals]

    async def stop(self) -> None:
        self._task.cancel()
        await asyncio.gather(self._task, return_exceptions=True)


@contextlib.asynccontextmanager
async def listening(
    live: Live, person: Person, last_id: str = "", token: str = ""
) -> AsyncIterator[Listener]:
    headers = {"authorization": f"Bearer {token or person.token}"}
    if last_id:
        headers["last-event-id"] = last_id
    async with (
        httpx.AsyncClient(base_url=f"http://127.0.0.1:{live.port}", headers=headers) as client,
        client.stream("GET", "/v1/events", timeout=30) as answer,
    ):
        assert answer.status_code == 200
        assert answer.headers["content-type"] == "text/event-stream; charset=utf-8"
        assert answer.headers["cache-control"] == "no-store"
        listener = Listener(answer.aiter_lines())
        try:
            await listener.until(lambda one: "hello" in one.kinds())
            yield listener
        finally:
            await listener.stop()


async def test_the_same_events_as_on_the_websocket(tmp_path: Path) -> None:
    async with Live(tmp_path, fast=True) as live:
        ana, bob = await live.people("ana", "bob")
        group = await live.group(ana, bob)
        talk = await live.talk(bob)
        async with listening(live, bob) as stream:
            assert stream.retry == "3000"
            hello = stream.signals[0]
            assert {**hello, "session": "", "at": 0} == {
                **talk.hello,
                "session": "",
                "at": 0,
                "limits": {"replay": sse.REPLAY},
            }
            assert live.program.presence.state(bob.id) == "online"
            sent = await live.say(ana, group, "one")
            await live.do(ana, c.AddReaction(conversation=group, seq=sent.seq, emoji="+1"))
            await live.do(ana, c.SetTyping(conversation=group))
            await live.do(bob, c.SetDraft(conversation=group, text="half"))
            await stream.until(lambda one: len(one.frames) >= 3 and "typing.start" in one.kinds())
            await talk.event("draft.updated")
            await talk.event("typing.start")
        got = [one for one in talk.frames if "seq" in one]
        assert stream.frames[:2] == got[:2]
        assert [one["type"] for one in stream.frames] == ["message.new", "reaction.new", "draft.updated"]


async def test_resuming_misses_and_repeats_nothing(tmp_path: Path) -> None:
    async with Live(tmp_path, fast=True) as live:
        ana, bob = await live.people("ana", "bob")
        rooms = [await live.group(ana, bob) for _ in range(3)]
        said: list[str] = []
        heard: list[Frame] = []
        last_id = ""
        for turn in range(4):
            async with listening(live, bob, last_id) as stream:
                for room in rooms:
                    said.append(f"{turn} here")
                    await live.say(ana, room, said[-1])
                expected = 6 if last_id else 3
                await stream.until(lambda one, expected=expected: len(one.frames) >= expected)
                assert ("resumed" in stream.kinds()) == bool(last_id)
                last_id = stream.last_id
                heard += stream.frames
            for room in rooms:
                said.append(f"{turn} missed")
                await live.say(ana, room, said[-1])
        texts = [one["body"]["content"]["text"] for one in heard]
        assert sorted(texts) == sorted(said[: len(texts)])
        assert len(texts) == len(said) - 3
        for room in rooms:
            seqs = [one["seq"] for one in heard if one["conversation"] == room]
            assert seqs == list(range(seqs[0], seqs[0] + len(seqs)))


async def test_an_id_outlives_a_restart(tmp_path: Path) -> None:
    async with Live(tmp_path) as live:
        ana, bob = await live.people("ana", "bob")
        group = await live.group(ana, bob)
        async with listening(live, bob) as stream:
            await live.say(ana, group, "before")
            await stream.until(lambda one: one.said() == ["before"])
            last_id = stream.last_id
        await live.say(ana, group, "between")
    async with Live(tmp_path) as live:
        await live.say(ana, group, "after")
        async with listening(live, bob, last_id) as stream:
            await stream.until(lambda one: "resumed" in one.kinds())
            assert stream.said() == ["between", "after"]


@pytest.mark.parametrize("last_id", ["nonsense", "AAAA", "x" * 8000], ids=range(3))
async def test_an_id_that_is_none_means_starting_anew(tmp_path: Path, last_id: str) -> None:
    async with Live(tmp_path, fast=True) as live:
        (ana,) = await live.people("ana")
        async with listening(live, ana, last_id) as stream:
            await stream.until(lambda one: "resync" in one.kinds())
            assert "resumed" not in stream.kinds()
            assert stream.last_id


async def test_another_persons_id_shows_nothing(tmp_path: Path) -> None:
    async with Live(tmp_path, fast=True) as live:
        ana, bob, eve = await live.people("ana", "bob", "eve")
        group = await live.group(ana, bob)
        async with listening(live, bob) as stream:
            await live.say(ana, group, "hush")
            await stream.until(lambda one: one.said() == ["hush"])
            last_id = stream.last_id
        async with listening(live, eve, last_id) as stream:
            await stream.until(lambda one: "resync" in one.kinds())
            assert stream.frames == []
            assert group not in json.dumps(stream.signals)


async def test_what_is_too_much_to_replay_is_named(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sse, "REPLAY", 5)
    async with Live(tmp_path, fast=True) as live:
        ana, bob = await live.people("ana", "bob")
        group = await live.group(ana, bob)
        async with listening(live, bob) as stream:
            first = await live.say(ana, group, "0")
            await stream.until(lambda one: one.said() == ["0"])
            last_id = stream.last_id
        for n in range(6):
            await live.say(ana, group, str(n))
        async with listening(live, bob, last_id) as stream:
            await stream.until(lambda one: "resumed" in one.kinds())
            gap = next(one for one in stream.signals if one["type"] == "truncated")
            assert gap == {
                "type": "truncated",
                "conversation": group,
                "from": first.seq + 1,
                "to": first.seq + 6,
            }
            assert stream.frames == []


async def test_what_happens_while_resuming_comes_once(tmp_path: Path) -> None:
    async with Live(tmp_path, fast=True) as live:
        ana, bob = await live.people("ana", "bob")
        group = await live.group(ana, bob)
        async with listening(live, bob) as stream:
            last_id = stream.last_id
        for n in range(300):
            await live.say(ana, group, str(n))

        async def go_on() -> None:
            for n in range(300, 400):
                await live.say(ana, group, str(n))

        talking = asyncio.create_task(go_on())
        async with listening(live, bob, last_id) as stream:
            await stream.until(lambda one: len(one.said()) == 400)
            await talking
            assert stream.said() == [str(n) for n in range(400)]


async def test_blocked_people_leave_a_void(tmp_path: Path) -> None:
    async with Live(tmp_path, fast=True) as live:
        ana, bob, eve = await live.people("ana", "bob", "eve")
        group = await live.group(ana, bob, eve)
        async with listening(live, bob) as stream:
            await live.do(bob, c.BlockUser(user=eve.id))
            await live.say(eve, group, "unheard")
            await live.say(ana, group, "heard")
            await stream.until(lambda one: "heard" in one.said())
            assert stream.said() == ["heard"]
            (void,) = [one for one in stream.frames if one["type"] == "void"]
            assert set(void) <= {"type", "conversation", "seq", "at", "ordinal", "all_ordinal"}


async def test_a_stream_ends_with_its_token(tmp_path: Path) -> None:
    async with Live(tmp_path, fast=True) as live:
        (ana,) = await live.people("ana")
        async with listening(live, ana, token=live.short_token(ana)) as stream:
            live.clock.advance(live.settings.access_token_s + 1)
            await stream.until(lambda one: one.ended)
            assert stream.closed is not None
            assert stream.closed["code"] == 4001
            assert stream.closed["reason"].startswith("reconnect")
        headers = {"authorization": f"Bearer {live.short_token(ana)[:-2]}"}
        async with httpx.AsyncClient() as client:
            url = f"http://127.0.0.1:{live.port}/v1/events"
            assert (await client.get(url, headers=headers)).status_code == 401


async def test_a_stream_ends_with_its_device(tmp_path: Path) -> None:
    async with Live(tmp_path, fast=True) as live:
        (ana,) = await live.people("ana")
        phone = await live.device(ana)
        async with listening(live, phone) as stream, listening(live, ana) as other:
            await live.do(ana, c.RevokeDevice(device=phone.device))
            await stream.until(lambda one: one.ended)
            assert stream.closed == {
                "type": "close",
                "code": 4002,
                "reason": "stop: this device was signed out",
            }
            await other.until(lambda one: [f["type"] for f in one.frames] == ["device.revoked"])
        await _until(lambda: live.program.presence.state(ana.id) == "offline")
        assert live.program.hub.sessions == {}


async def test_a_server_that_stops_says_so(tmp_path: Path) -> None:
    async with Live(tmp_path, fast=True) as live:
        (ana,) = await live.people("ana")
        async with listening(live, ana) as stream:
            await live.program.drain()
            await stream.until(lambda one: one.ended)
            assert stream.closed is not None
            assert stream.closed["code"] == 1001


async def test_a_quiet_stream_breathes(tmp_path: Path) -> None:
    async with Live(tmp_path, fast=True, heartbeat_s=1) as live:
        (ana,) = await live.people("ana")
        async with listening(live, ana) as stream:
            await stream.until(lambda one: one.comments >= 2)
            assert not stream.ended


async def test_a_reader_that_takes_nothing_is_cut_off_and_costs_nobody(tmp_path: Path) -> None:
    async with Live(tmp_path, fast=True, outbox_bytes=65_536) as live:
        ana, bob, eve = await live.people("ana", "bob", "eve")
        group = await live.group(ana, bob, eve)
        stuck = socket.socket()
        stuck.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
        stuck.setblocking(False)
        loop = asyncio.get_running_loop()
        await loop.sock_connect(stuck, ("127.0.0.1", live.port))
        request = f"GET /v1/events HTTP/1.1\r\nhost: x\r\nauthorization: Bearer {eve.token}\r\n\r\n"
        await loop.sock_sendall(stuck, request.encode())
        await _until(lambda: bool(live.program.hub.sessions_of(eve.id)))
        async with listening(live, bob) as stream:
            # The kernel takes some megabytes for the one that does not read.
            for n in range(2500):
                await live.say(ana, group, f"{n} " + "x" * 4000)
                if not live.program.hub.sessions_of(eve.id):
                    break
            assert not live.program.hub.sessions_of(eve.id)
            await live.say(ana, group, "last")
            await stream.until(lambda one: one.said()[-1:] == ["last"])
            assert len(stream.said()) == n + 2
        await _until(lambda: len(live._server.server_state.connections) == 0)
        stuck.close()


async def test_a_user_has_so_many_streams(tmp_path: Path) -> None:
    async with Live(tmp_path, fast=True) as live, contextlib.AsyncExitStack() as stack:
        ana, bob = await live.people("ana", "bob")
        for _ in range(64):
            await stack.enter_async_context(listening(live, ana))
        async with httpx.AsyncClient() as client:
            url = f"http://127.0.0.1:{live.port}/v1/events"
            answer = await client.get(url, headers={"authorization": f"Bearer {ana.token}"})
            assert (answer.status_code, answer.json()["code"]) == (409, "limit_reached")
        async with listening(live, bob):
            pass


async def test_presence_is_set_for_the_streams_of_a_device(tmp_path: Path) -> None:
    async with Live(tmp_path, fast=True) as live:
        (ana,) = await live.people("ana")
        async with listening(live, ana), httpx.AsyncClient() as client:
            url = f"http://127.0.0.1:{live.port}/v1/me/presence"
            headers = {"authorization": f"Bearer {ana.token}"}
            answer = await client.put(url, headers=headers, json={"state": "away"})
            assert answer.status_code == 204
            assert live.program.presence.state(ana.id) == "away"
        await _until(lambda: live.program.presence.state(ana.id) == "offline")


async def test_the_python_client_talks_over_a_stream(tmp_path: Path) -> None:
    async with Live(tmp_path, fast=True) as live:
        ana, bob = await live.people("ana", "bob")
        group = await live.group(ana, bob)
        tokens = TokensDoc(
            access_token=bob.token, expires_in=600, refresh_token="", user=bob.id, device=bob.device
        )
        options = Options(transport="sse", trust_env=False)
        url = f"http://127.0.0.1:{live.port}"
        async with await Client.with_tokens(url, tokens, options=options) as client:
            async with asyncio.timeout(20):
                await client.connect()

            def newest() -> str:
                last = client.state.rooms[group].last_message
                return last.content.text if last is not None and isinstance(last.content, Text) else ""

            await live.say(ana, group, "one")
            await _until(lambda: newest() == "one")
            await client.send(group, Text(text="two"))
            await _until(lambda: newest() == "two")
            for session in list(live.program.hub.sessions):
                live.program.hub.close(session, 4003, "reconnect: this reader is too slow")
            await live.say(ana, group, "three")
            await _until(lambda: newest() == "three")
            assert client.state.rooms[group].last_seq == 6


async def _until(wanted: Callable[[], bool]) -> None:
    for _ in range(500):
        if wanted():
            return
        await asyncio.sleep(0.02)
    raise AssertionError("it never was so")
