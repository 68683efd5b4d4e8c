"""The programs of a bench: compiled, started on their core, watched, and stopped by their process id."""

from __future__ import annotations

import contextlib
import http.client
import os
import shutil
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Generator, Mapping, Sequence
from pathlib import Path

import msgspec

from bench.machine import on_core

ROOT = Path(__file__).resolve().parent.parent
SOURCES = ROOT / "bench" / "c"
BUILD = ROOT / "bench" / "build"

_LOAD = ("load", "common", "scan", "conn", "session", "fanout", "durable", "latency", "idle", "reconnect")
_PROGRAMS = {"load": _LOAD, "kernel_fanout": ("kernel_fanout", "common")}
_FLAGS = ("-O2", "-std=c11", "-Wall", "-Wextra")

Figures = dict[str, float | str]


class BenchFailed(Exception):
    """A run that gave no figure; the text says why."""


def build() -> None:
    """Compile what is older than its sources.  Raises BenchFailed."""
    compiler = shutil.which(os.environ.get("CC", "cc"))
    if compiler is None:
        raise BenchFailed("no C compiler: install one (on Debian: apt install gcc libc6-dev)")
    BUILD.mkdir(parents=True, exist_ok=True)
    headers = max(path.stat().st_mtime for path in SOURCES.glob("*.h"))
    for name, parts in _PROGRAMS.items():
        sources = [SOURCES / f"{part}.c" for part in parts]
        newest = max(headers, *(path.stat().st_mtime for path in sources))
        target = BUILD / name
        if target.exists() and target.stat().st_mtime > newest:
            continue
        done = subprocess.run(
            [compiler, *_FLAGS, "-o", target, *sources],
            capture_output=True,
            text=True,
            timeout=120,
            check=False,
        )
        if done.returncode:
            raise BenchFailed(f"{name} does not compile: {done.stderr.strip()}")


def free_port() -> int:
    """A port of 127.0.0.1 that nobody listens on."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


class Child:
    """A started program; its output is in `log`."""

    def __init__(
        self, args: Sequence[str | Path], core: int, log: Path, env: Mapping[str, str] | None = None
    ):
        self.log = log
        with log.open("wb") as output, on_core(core):
            self.process = subprocess.Popen(
                [str(arg) for arg in args],
                cwd=ROOT,
                stdin=subprocess.DEVNULL,
                stdout=output,
                stderr=subprocess.STDOUT,
                env={**os.environ, **(env or {})},
            )

    @property
    def pid(self) -> int:
        return self.process.pid

    def check(self) -> None:
        """Raises BenchFailed when the program has ended."""
        code = self.process.poll()
        if code is not None:
            raise BenchFailed(f"{self.log.stem} ended with {code}: {tail(self.log)}")

    def stop(self) -> None:
        """Ask it to end, and kill it when it has not within 20 seconds."""
        if self.process.poll() is not None:
            return
        self.process.send_signal(signal.SIGTERM)
        try:
            self.process.wait(20)
        except subprocess.TimeoutExpired:
            self.process.kill()
            self.process.wait(10)


def tail(path: Path, size: int = 800) -> str:
    """The end of a log."""
    return path.read_bytes()[-size:].decode(errors="replace").strip()


class Server(msgspec.Struct, frozen=True):
    """A server that answers."""

    pid: int
    port: int


@contextlib.contextmanager
def tertulia(data: Path, core: int, log: Path, env: Mapping[str, str] | None = None) -> Generator[Server]:
    """`tertulia serve` on a free port, ready; stopped at the end.

    The limits on how often one user may do something are off: what is asked is how fast the server is.
    """
    port = free_port()
    command = Path(sys.executable).parent / "tertulia"
    child = Child(
        [command, "serve", "--port", str(port), "--data", data],
        core,
        log,
        {"TERTULIA_RATE_LIMITS": "off", **(env or {})},
    )
    try:
        until = time.monotonic() + 30
        while not _ready(port):
            child.check()
            if time.monotonic() > until:
                raise BenchFailed(f"the server was not ready in 30 s: {tail(log)}")
            time.sleep(0.05)
        yield Server(pid=child.pid, port=port)
        child.check()
    finally:
        child.stop()


def _ready(port: int) -> bool:
    connection = http.client.HTTPConnection("127.0.0.1", port, timeout=2)
    try:
        connection.request("GET", "/readyz")
        return connection.getresponse().status == 200
    except (OSError, http.client.HTTPException):
        return False
    finally:
        connection.close()


@contextlib.contextmanager
def kernel_fanout(core: int, log: Path) -> Generator[Server]:
    """The bare C program that fan-out is measured against."""
    port = free_port()
    child = Child([BUILD / "kernel_fanout", str(port)], core, log)
    try:
        until = time.monotonic() + 5
        while True:
            child.check()
            with contextlib.suppress(OSError), socket.create_connection(("127.0.0.1", port), 1):
                break
            if time.monotonic() > until:
                raise BenchFailed("the bare program did not listen within 5 s")
            time.sleep(0.02)
        yield Server(pid=child.pid, port=port)
        child.check()
    finally:
        child.stop()


def load_command(kind: str, server: Server, plan: Path, options: Mapping[str, object]) -> list[str]:
    """The command line of the load generator."""
    command = [str(BUILD / "load"), kind, "--port", str(server.port), "--server", str(server.pid)]
    command += ["--plan", str(plan)]
    for name, value in options.items():
        command += [f"--{name}", str(value)]
    return command


def load(kind: str, server: Server, plan: Path, core: int, *, timeout: float, **options: object) -> Figures:
    """Run the load generator to its end.  Raises BenchFailed with what it complained of."""
    command = load_command(kind, server, plan, options)
    with on_core(core):
        try:
            done = subprocess.run(
                command,
                stdin=subprocess.DEVNULL,
                capture_output=True,
                text=True,
                timeout=timeout,
                check=False,
            )
        except subprocess.TimeoutExpired as late:
            raise BenchFailed(f"the load did not end within {timeout:.0f} s") from late
    if done.returncode:
        raise BenchFailed(done.stderr.strip()[-600:] or f"the load ended with {done.returncode}")
    return msgspec.json.decode(done.stdout, type=Figures)


def module(name: str, args: Sequence[str | Path], core: int, timeout: float) -> bytes:
    """Run a Python module of this package on a core and return what it printed."""
    command = [sys.executable, "-m", name, *map(str, args)]
    with on_core(core):
        try:
            done = subprocess.run(command, cwd=ROOT, capture_output=True, timeout=timeout, check=False)
        except subprocess.TimeoutExpired as late:
            raise BenchFailed(f"{name} did not end within {timeout:.0f} s") from late
    if done.returncode:
        raise BenchFailed(f"{name}: {done.stderr.decode(errors='replace').strip()[-800:]}")
    return done.stdout
