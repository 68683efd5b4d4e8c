"""The real command in a process of its own, and people who talk to it.  Everything ends by its own pid."""

from __future__ import annotations

import asyncio
import contextlib
import io
import json
import logging
import os
import re
import signal
import subprocess
import sys
import time
from collections.abc import AsyncIterator, Iterator
from pathlib import Path
from typing import Any
from unittest.mock import patch

import structlog
import websockets

from tertulia.application.account_types import NewUser, SignedIn
from tertulia.cli.main import main
from tertulia.cli.reach import reach
from tertulia.config import Settings
from tertulia.domain.records import User
from tertulia.protocols.control import requests as r

TERTULIA = [sys.executable, "-m", "tertulia"]
START_S = 20.0
PASSWORD = "a fine long password"

FAST = {"TERTULIA_ARGON2_MEMORY_KIB": "64", "TERTULIA_LOG_FORMAT": "json"}


_READY = {
    "json": re.compile(r'"address": ?"(?P<address>http[^"]+)"[^\n]*"event": ?"serve\.ready"'),
    "text": re.compile(r"serve\.ready.*?address=(?P<address>\S+)"),
}


def surroundings(**more: str) -> dict[str, str]:
    """The environment of a command: this one's, without its `TERTULIA_…`."""
    kept = {name: value for name, value in os.environ.items() if not name.startswith("TERTULIA_")}
    return {**kept, **FAST, **more}


def run(
    *arguments: str | Path, stdin: str = "", timeout: float = 60, **environment: str
) -> subprocess.CompletedProcess[str]:
    """A command from its start to its end."""
    return subprocess.run(
        [*TERTULIA, *map(str, arguments)],
        input=stdin,
        capture_output=True,
        text=True,
        timeout=timeout,
        env=surroundings(**environment),
    )


def inside(*arguments: str | Path, stdin: str = "", **environment: str) -> subprocess.CompletedProcess[str]:
    """The same without a process of its own: what a command prints, and its exit code.  Much faster;
    not on a running event loop."""
    out, err = io.StringIO(), io.StringIO()
    code: object = 0
    before = os.umask(0o077)
    handlers, level = logging.getLogger().handlers, logging.getLogger().level
    wanted = [
        patch.dict(os.environ, surroundings(**environment), clear=True),
        patch.object(sys, "argv", ["tertulia", *map(str, arguments)]),
        patch.object(sys, "stdin", io.StringIO(stdin)),
        contextlib.redirect_stdout(out),
        contextlib.redirect_stderr(err),
    ]
    try:
        with contextlib.ExitStack() as stack:
            for one in wanted:
                stack.enter_context(one)
            main()
    except SystemExit as ended:
        code = ended.code or 0
    finally:
        os.umask(before)
        structlog.reset_defaults()
        logging.getLogger().handlers, logging.getLogger().level = handlers, level
    assert isinstance(code, int)
    return subprocess.CompletedProcess([*map(str, arguments)], code, out.getvalue(), err.getvalue())


def answer(*arguments: str | Path, **more: Any) -> Any:
    """What a command that goes well prints with `--json`."""
    done = inside(*arguments, "--json", **more)
    assert done.returncode == 0, done.stderr
    return json.loads(done.stdout)


class Server:
    """A running `tertulia serve`."""

    def __init__(self, process: subprocess.Popen[bytes], log: Path, data: Path, before: int) -> None:
        self.process = process
        self.log_path = log
        self.data = data
        self.address = ""
        self._before = before

    @property
    def log(self) -> str:
        """What this server has written."""
        return self.log_path.read_bytes()[self._before :].decode()

    def lines(self) -> list[dict[str, Any]]:
        """The log's lines, which are JSON."""
        return [json.loads(line) for line in self.log.splitlines() if line.startswith("{")]

    def wait_ready(self, form: str = "json") -> None:
        end = time.monotonic() + START_S
        while time.monotonic() < end:
            found = _READY[form].search(self.log)
            if found is not None:
                self.address = found["address"].replace("localhost", "127.0.0.1")
                return
            if self.process.poll() is not None:
                break
            time.sleep(0.02)
        raise AssertionError(f"no server: {self.log}")

    def stop(self, how: int = signal.SIGTERM, timeout: float = 20) -> int:
        """Signal it and wait; its exit code."""
        self.process.send_signal(how)
        return self.process.wait(timeout)

    @property
    def ws(self) -> str:
        return self.address.replace("http", "ws", 1) + "/v1/ws"

    def people(self, *handles: str) -> dict[str, str]:
        """Users made by the operator: handle → token."""
        tokens: dict[str, str] = {}
        with reach(Settings(data=str(self.data))) as line:
            assert line.served
            for handle in handles:
                new = NewUser(handle=handle, name=handle.title(), password=PASSWORD)
                user = line.ask(r.UserCreate(user=new), User)
                issued = line.ask(r.TokenIssue(who=user.id), SignedIn)
                tokens[handle] = issued.access_token
        return tokens


@contextlib.contextmanager
def serving(data: Path, *arguments: str, form: str = "json", **environment: str) -> Iterator[Server]:
    """A server on a free port, ready; killed at the end when it is still there."""
    log = data.with_name(data.name + ".log")
    with log.open("ab") as out:
        before = out.tell()
        process = subprocess.Popen(
            [*TERTULIA, "serve", "--port", "0", "--data", str(data), *arguments],
            stdin=subprocess.DEVNULL,
            stdout=out,
            stderr=out,
            env=surroundings(**environment),
        )
    try:
        server = Server(process, log, data, before)
        server.wait_ready(form)
        yield server
    finally:
        if process.poll() is None:
            process.kill()
        process.wait(10)


class Peer:
    """A person's WebSocket: commands with their answers, and what else comes."""

    def __init__(self, socket: websockets.ClientConnection) -> None:
        self.socket = socket
        self.hello: dict[str, Any] = {}
        self.events: list[dict[str, Any]] = []
        self.waiting: dict[str, asyncio.Future[dict[str, Any]]] = {}
        self.close: websockets.ConnectionClosed | None = None
        self.reading: asyncio.Task[None] | None = None
        self._refs = 0
        self._sending: set[asyncio.Future[None]] = set()

    async def _read(self) -> None:
        try:
            async for text in self.socket:
                frame = json.loads(text)
                future = self.waiting.pop(frame.get("ref", ""), None)
                if future is not None and not future.done():
                    future.set_result(frame)
                else:
                    self.events.append(frame)
        except websockets.ConnectionClosed as closed:
            self.close = closed
        finally:
            for future in self.waiting.values():
                if not future.done():
                    future.cancel()

    def start(self, kind: str, **fields: Any) -> asyncio.Future[dict[str, Any]]:
        """Send a frame; the future is its answer, cancelled when the connection ends before."""
        self._refs += 1
        ref = str(self._refs)
        future: asyncio.Future[dict[str, Any]] = asyncio.get_running_loop().create_future()
        self.waiting[ref] = future
        data = json.dumps({"type": kind, "ref": ref, **fields}).encode()
        sending = asyncio.ensure_future(self._send(data))
        self._sending.add(sending)
        sending.add_done_callback(self._sending.discard)
        return future

    async def _send(self, data: bytes) -> None:
        with contextlib.suppress(websockets.ConnectionClosed):
            await self.socket.send(data.decode())

    async def do(self, kind: str, **fields: Any) -> dict[str, Any]:
        """A command that goes well; its result."""
        async with asyncio.timeout(10):
            frame = await self.start(kind, **fields)
        assert frame["type"] == "ack", frame
        return frame.get("result", {})

    async def say(self, conversation: str, text: str, **fields: Any) -> dict[str, Any]:
        content = {"type": "text", "text": text}
        return await self.do("message.send", conversation=conversation, content=content, **fields)

    async def until(self, kind: str) -> dict[str, Any]:
        """The first frame of this type that came, or comes."""
        async with asyncio.timeout(10):
            while True:
                for frame in self.events:
                    if frame["type"] == kind:
                        return frame
                await asyncio.sleep(0.005)

    async def ended(self) -> tuple[int, str]:
        """Close code and reason."""
        assert self.reading is not None
        async with asyncio.timeout(15):
            await self.reading
        code, reason = self.socket.close_code, self.socket.close_reason
        return code or 0, reason or ""


@contextlib.asynccontextmanager
async def connected(server: Server, token: str, **resume: Any) -> AsyncIterator[Peer]:
    """A signed-in person."""
    async with websockets.connect(server.ws, compression=None, close_timeout=2) as socket:
        peer = Peer(socket)
        await socket.send(json.dumps({"type": "sign_in", "token": token, **resume}))
        peer.reading = asyncio.ensure_future(peer._read())
        try:
            peer.hello = await peer.until("hello")
            yield peer
        finally:
            peer.reading.cancel()
            await asyncio.gather(peer.reading, return_exceptions=True)
