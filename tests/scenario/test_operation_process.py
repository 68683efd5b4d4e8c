"""Starting and stopping the real server."""

from __future__ import annotations

import asyncio
import signal
import socket
import stat
import time
from pathlib import Path

import pytest

from tests.support.process import connected, inside, run, serving


@pytest.fixture
def data(tmp_path: Path) -> Path:
    return tmp_path / "data"


def test_the_first_line_says_where_to_go_and_where_codes_are(data: Path) -> None:
    with serving(data) as server:
        first = server.lines()[0]
        assert first["event"] == "serve.ready"
        assert first["address"].startswith("http://localhost:")
        assert "printed to this log" in first["note"]
        assert server.stop() == 0
    assert [line["event"] for line in server.lines()] == ["serve.ready", "serve.stopping", "serve.stopped"]


def test_what_is_kept_is_its_owners_alone(data: Path) -> None:
    with serving(data):
        modes = {path.name: stat.S_IMODE(path.stat().st_mode) for path in (data, *data.iterdir())}
    assert modes.pop("data") == 0o700
    assert set(modes) >= {"control", "secret", "lock", "tertulia.sqlite3"}
    assert {name: mode for name, mode in modes.items() if mode & 0o077} == {}


def test_a_port_in_use_is_one_line_and_nothing_is_made(data: Path) -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
        done = run("serve", "--port", str(port), "--data", data)
    assert done.returncode == 3
    assert done.stderr == f"tertulia: 127.0.0.1:{port} cannot be listened on: Address already in use.\n"
    assert not data.exists()


def test_a_locked_folder_is_one_line(data: Path) -> None:
    with serving(data):
        done = inside("serve", "--port", "0", "--data", data)
    assert done.returncode == 3
    assert done.stderr == f"tertulia: The data folder {data} is in use by another process.\n"


@pytest.mark.parametrize(
    ("environment", "says"),
    [
        ({"TERTULIA_PORT": "many"}, "TERTULIA_PORT"),
        ({"TERTULIA_HOST": "no such host"}, "cannot be used"),
        ({"TERTULIA_TLS_CERTIFICATE": "none.pem", "TERTULIA_TLS_KEY": "none.pem"}, "TLS"),
        ({"TERTULIA_SETTINGS": "none.toml"}, "none.toml"),
        ({"TERTULIA_TRUSTED_PROXIES": "not/a/network"}, "network"),
        ({"TERTULIA_OUTBOUND_ALLOW": "not/a/network"}, "network"),
    ],
)
def test_bad_settings_are_one_line(data: Path, environment: dict[str, str], says: str) -> None:
    done = inside("serve", "--data", data, TERTULIA_PORT=environment.pop("TERTULIA_PORT", "0"), **environment)
    assert done.returncode in (2, 3)
    assert done.stderr.startswith("tertulia: ")
    assert done.stderr.count("\n") == 1
    assert says in done.stderr


def test_a_file_that_is_no_database_is_one_line(data: Path) -> None:
    data.mkdir()
    (data / "tertulia.sqlite3").write_bytes(b"not a database, but long enough" * 200)
    done = inside("serve", "--port", "0", "--data", data)
    assert done.returncode == 3
    assert done.stderr.startswith(f"tertulia: The database in {data} cannot be opened: ")
    assert done.stderr.count("\n") == 1


async def test_a_stop_answers_what_it_took_and_sends_people_elsewhere(data: Path) -> None:
    with serving(data, TERTULIA_RATE_LIMITS="off") as server:
        tokens = await asyncio.to_thread(server.people, "ana", "bob")
        async with connected(server, tokens["ana"]) as ana, connected(server, tokens["bob"]) as bob:
            made = await ana.do("conversation.create_group", name="Two", members=[bob.hello["user"]])
            room = made["created"]
            await bob.until("conversation.joined")
            sent = [
                ana.start(
                    "message.send",
                    client_id=f"c{n}",
                    conversation=room,
                    content={"type": "text", "text": f"number {n}"},
                )
                for n in range(200)
            ]
            await sent[20]
            began = time.monotonic()
            server.process.send_signal(signal.SIGTERM)
            assert await ana.ended() == await bob.ended() == (1001, "reconnect: the server stops")
            code = await asyncio.to_thread(server.process.wait, 15)
            assert code == 0
            assert time.monotonic() - began < 10
            await asyncio.gather(*sent, return_exceptions=True)
        acks = [one.result() for one in sent if not one.cancelled()]
        assert all(frame["type"] == "ack" for frame in acks)
        acknowledged = {frame["result"]["seq"] for frame in acks}
        seen = {event["seq"] for event in bob.events if event["type"] == "message.new"}
        assert len(acknowledged) > 20
        assert acknowledged <= seen
    with serving(data) as again:
        async with connected(again, tokens["ana"], positions={room: 0}) as ana:
            await ana.until("resumed")
            kept = {event["seq"] for event in ana.events if event["type"] == "message.new"}
            assert acknowledged <= kept
            # Dense: what was not answered is either whole or not there.
            assert kept == set(range(min(kept), max(kept) + 1))
            assert len(kept) <= 200


async def test_a_second_signal_does_not_wait(data: Path) -> None:
    with serving(data, TERTULIA_DRAIN_S="60") as server:
        tokens = await asyncio.to_thread(server.people, "ana")
        # A connection that never ends by itself: half a request.
        with socket.create_connection(("127.0.0.1", int(server.address.rpartition(":")[2]))) as half:
            half.sendall(
                b"POST /v1/accounts HTTP/1.1\r\nHost: x\r\nContent-Type: application/json\r\n"
                b"Content-Length: 10\r\n\r\n"
            )
            async with connected(server, tokens["ana"]) as ana:
                server.process.send_signal(signal.SIGINT)
                assert (await ana.ended())[0] == 1001
            await asyncio.sleep(0.5)
            assert server.process.poll() is None
            server.process.send_signal(signal.SIGINT)
            assert await asyncio.to_thread(server.process.wait, 10) == 0
    assert server.lines()[-1]["event"] == "serve.stopped"


def test_a_demo_is_made_once_and_only_in_an_empty_folder(data: Path) -> None:
    with serving(data, "--demo") as server:
        assert server.stop() == 0
    first = server.log
    assert "sign in as lola, mateo" in first
    assert "books-and-coffee" in first
    size = (data / "tertulia.sqlite3").stat().st_size
    with serving(data, "--demo") as server:
        assert server.stop() == 0
    assert (data / "tertulia.sqlite3").stat().st_size == size
    (data / "demo.json").unlink()
    done = inside("serve", "--demo", "--port", "0", "--data", data)
    assert done.returncode == 3
    assert "no demo" in done.stderr
