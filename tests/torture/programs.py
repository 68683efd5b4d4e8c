"""The server as a process: started, ordered about, killed, and always gone in the end."""

from __future__ import annotations

import asyncio
import os
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Sequence
from pathlib import Path

import msgspec

from tests.torture.server import Spec

ROOT = Path(__file__).parents[2]
READY_S = 30.0
STOP_S = 30.0


class ServerFailed(Exception):
    """The server did something that no scenario asked of it."""


def free_port() -> int:
    """A port of 127.0.0.1 that nobody listens on."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


class Server:
    """One server on one data folder and port, through as many processes as it takes."""

    def __init__(self, data: Path, log: Path, *, settings: dict[str, str] | None = None) -> None:
        """`log` gets all its output.  `settings` are those of `tertulia settings`, by name."""
        self.data = data
        self.port = free_port()
        self.starts = 0
        self._log = log
        self._prefix: list[str] = []
        self._process: subprocess.Popen[bytes] | None = None
        wanted = {"rate_limits": "off", "log_level": "warning", **(settings or {})}
        self._environment = {
            name: value for name, value in os.environ.items() if not name.startswith("TERTULIA_")
        }
        self._environment |= {f"TERTULIA_{name.upper()}": value for name, value in wanted.items()}

    @property
    def pid(self) -> int:
        """Of the process that runs."""
        return self._running().pid

    def _running(self) -> subprocess.Popen[bytes]:
        if self._process is None:
            raise ServerFailed("the server does not run")
        return self._process

    def move(self, data: Path, prefix: Sequence[str]) -> None:
        """From the next start on: another data folder, and a command that its own is given to."""
        self.data = data
        self._prefix = list(prefix)

    async def start(self, spec: Spec | None = None) -> None:
        """Start `tertulia serve`, or with a spec `tests.torture.server`, and wait until it listens."""
        if spec is None:
            command = [str(Path(sys.executable).parent / "tertulia"), "serve"]
            command += ["--port", str(self.port), "--data", str(self.data)]
        else:
            command = [sys.executable, "-m", "tests.torture.server", msgspec.json.encode(spec).decode()]
        with self._log.open("ab") as output:
            self._process = subprocess.Popen(
                [*self._prefix, *command],
                cwd=ROOT,
                env=self._environment,
                stdin=subprocess.PIPE,
                stdout=subprocess.PIPE if spec is not None else output,
                stderr=output,
            )
        self.starts += 1
        until = time.monotonic() + READY_S
        while not await self._listens():
            if self._process.poll() is not None:
                raise ServerFailed(f"the server ended with {self._process.returncode}: {self.tail()}")
            if time.monotonic() > until:
                raise ServerFailed(f"the server did not listen within {READY_S:.0f} s: {self.tail()}")
            await asyncio.sleep(0.02)

    async def _listens(self) -> bool:
        try:
            _, writer = await asyncio.open_connection("127.0.0.1", self.port)
        except OSError:
            return False
        writer.close()
        return True

    async def order(self, line: str) -> None:
        """Give an order (see `server`) and wait until it is carried out."""
        await asyncio.to_thread(self._order, line)

    def _order(self, line: str) -> None:
        process = self._running()
        assert process.stdin is not None
        assert process.stdout is not None
        process.stdin.write(line.encode() + b"\n")
        process.stdin.flush()
        while (answer := process.stdout.readline()) and answer != b"done\n":
            pass
        if not answer and not line.startswith("cut"):
            raise ServerFailed(f"no answer to {line!r}: {self.tail()}")

    async def ends(self, seconds: float) -> int:
        """The exit code, once it has ended by itself.  Raises ServerFailed when it does not."""
        process = self._running()
        try:
            code = await asyncio.to_thread(process.wait, seconds)
        except subprocess.TimeoutExpired:
            raise ServerFailed(f"the server still ran after {seconds:.0f} s") from None
        self._release()
        return code

    async def kill(self) -> None:
        """kill -9."""
        self._running().kill()
        await self.ends(STOP_S)

    async def stop(self) -> None:
        """SIGTERM; raises ServerFailed unless it ends in order and in time."""
        self._running().send_signal(signal.SIGTERM)
        code = await self.ends(STOP_S)
        if code != 0:
            raise ServerFailed(f"the server stopped with {code}: {self.tail()}")

    def end(self) -> None:
        """Whatever happened: it does not run any more."""
        process = self._process
        if process is not None:
            process.kill()
            process.wait(STOP_S)
            self._release()

    def _release(self) -> None:
        process, self._process = self._process, None
        if process is not None:
            for pipe in (process.stdin, process.stdout):
                if pipe is not None:
                    pipe.close()

    def tail(self, size: int = 1500) -> str:
        """The end of its output."""
        return self._log.read_bytes()[-size:].decode(errors="replace").strip() if self._log.exists() else ""
