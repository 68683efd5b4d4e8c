"""The control socket of a running server: who may speak, and what becomes of those who cannot."""

from __future__ import annotations

import json
import os
import socket
import stat
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from tertulia.cli import reach as reaching
from tertulia.cli.failure import Failure
from tertulia.config import Settings
from tertulia.protocols.control import codec
from tertulia.protocols.control import requests as r
from tertulia.protocols.control.place import reachable
from tests.support.process import Server, inside, serving


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    with serving(tmp_path_factory.mktemp("control") / "data") as one:
        yield one


def dial(server: Server) -> socket.socket:
    connection = reaching.connect(server.data)
    assert connection is not None
    connection.settimeout(10)
    return connection


def ping(connection: socket.socket) -> bytes:
    connection.sendall(codec.encode_request(r.Ping()))
    return connection.recv(65_536)


def test_only_its_owner_may_speak(server: Server) -> None:
    there = (server.data / "control").stat()
    assert stat.S_ISSOCK(there.st_mode)
    assert stat.S_IMODE(there.st_mode) == 0o600
    assert there.st_uid == os.geteuid()


def test_requests_in_a_row_and_in_pieces(server: Server) -> None:
    with dial(server) as connection:
        for octet in codec.encode_request(r.Ping()):
            connection.sendall(bytes((octet,)))
        first = json.loads(connection.recv(65_536)[4:])
        assert first["result"]["pid"] == server.process.pid
        connection.sendall(codec.encode_request(r.TenantShow(tenant="none")) + codec.encode_request(r.Ping()))
        data = b""
        frames = codec.Frames()
        found: list[bytes] = []
        while len(found) < 2:
            data = connection.recv(65_536)
            found += frames.feed(data)
        assert [json.loads(one)["type"] for one in found] == ["refused", "done"]


def test_what_is_no_frame_ends_that_connection_alone(server: Server) -> None:
    with dial(server) as good:
        for data in (b"\xff\xff\xff\xff", b"GET / HTTP/1.1\r\nHost: x\r\n\r\n"):
            with dial(server) as bad:
                bad.sendall(data)
                assert bad.recv(100) == b""
        with dial(server) as odd:
            odd.sendall(codec.frame(b"not json"))
            assert b"malformed" in odd.recv(65_536)
            assert b"pid" in ping(odd)
        assert b"pid" in ping(good)


def test_connections_are_bounded(server: Server) -> None:
    held = [dial(server) for _ in range(8)]
    try:
        for one in held:
            assert b"pid" in ping(one)
        with dial(server) as more:
            assert b"unavailable" in more.recv(65_536)
            assert more.recv(100) == b""
    finally:
        for one in held:
            one.close()
    end = time.monotonic() + 5
    while time.monotonic() < end:
        with dial(server) as again:
            if b"pid" in ping(again):
                return
    raise AssertionError("no room again")


def test_a_snapshot_goes_when_the_asker_goes(server: Server) -> None:
    with dial(server) as connection:
        connection.sendall(codec.encode_request(r.Snapshot()))
        assert b"snapshot-" in connection.recv(65_536)
        assert len(list(server.data.glob("snapshot-*"))) == 1
    end = time.monotonic() + 5
    while list(server.data.glob("snapshot-*")) and time.monotonic() < end:
        time.sleep(0.02)
    assert list(server.data.glob("snapshot-*")) == []


def test_a_folder_with_a_long_name(tmp_path: Path) -> None:
    deep = tmp_path / ("d" * 120) / "data"
    deep.parent.mkdir()
    with serving(deep) as server:
        with dial(server) as connection:
            assert b"pid" in ping(connection)
        assert inside("tenant", "show", "--data", deep).returncode == 0
    with reachable(tmp_path / "short") as address:
        assert address == str(tmp_path / "short")


def test_a_socket_that_a_killed_server_left_is_no_obstacle(tmp_path: Path) -> None:
    data = tmp_path / "data"
    with serving(data) as server:
        server.process.kill()
        server.process.wait(10)
    assert (data / "control").exists()
    assert inside("tenant", "show", "--data", data).returncode == 0
    with serving(data) as server:
        assert inside("tenant", "show", "--data", data).returncode == 0
        assert server.stop() == 0
    assert not (data / "control").exists()


def test_a_folder_that_is_held_by_something_else(
    tmp_path: Path, server: Server, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A process that has the lock and no channel: said, after a while."""
    monkeypatch.setattr(reaching, "WAIT_S", 0.3)
    monkeypatch.setattr(reaching, "connect", lambda _: None)
    with (
        pytest.raises(Failure, match="does not answer") as caught,
        reaching.reach(Settings(data=str(server.data))),
    ):
        raise AssertionError
    assert caught.value.code == 3
