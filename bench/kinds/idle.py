"""What a session costs that is signed in and says nothing."""

from __future__ import annotations

import select
import subprocess
import time
from pathlib import Path

import msgspec

from bench import machine, plan, programs
from bench.context import Bench, figure
from bench.programs import BenchFailed, Figures, Server
from bench.rows import Row, judged, stated
from bench.world import Room, Spec

SESSIONS = 10_000
FIRST = 50
SETTLE_S = 5.0
GROUP = 100
GOAL = 16 * 1024


class _Held:
    """The load generator with its sessions open."""

    def __init__(self, bench: Bench, server: Server, lines: Path) -> None:
        command = programs.load_command("idle", server, lines, {})
        with machine.on_core(bench.cores.load):
            self._process = subprocess.Popen(
                command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.PIPE
            )

    def ready(self, timeout: float) -> Figures:
        """Wait until every session was greeted."""
        output = self._process.stdout
        assert output is not None
        if not select.select([output], [], [], timeout)[0]:
            raise BenchFailed(f"not all sessions were greeted in {timeout:.0f} s")
        line = output.readline()
        if not line:
            raise BenchFailed(self._process.communicate(timeout=10)[1].decode(errors="replace").strip())
        return msgspec.json.decode(line, type=Figures)

    def release(self) -> None:
        """Let them go; raises BenchFailed when one of them had been lost."""
        _, errors = self._process.communicate(timeout=30)
        if self._process.returncode:
            raise BenchFailed(errors.decode(errors="replace").strip())

    def kill(self) -> None:
        if self._process.poll() is None:
            self._process.kill()
            self._process.communicate(timeout=10)


def _grown(bench: Bench, server: Server, lines: Path) -> tuple[int, int, Figures]:
    """Bytes of RSS and PSS with the sessions open, and what the load said."""
    held = _Held(bench, server, lines)
    try:
        greeted = held.ready(150)
        time.sleep(SETTLE_S)
        rss, pss = machine.resident(server.pid)
        held.release()
    finally:
        held.kill()
    return rss, pss, greeted


def idle_memory(bench: Bench) -> list[Row]:
    """Growth of the server's memory from a few sessions to ten thousand, for each of them."""
    limit = machine.raise_file_limit()
    if limit < SESSIONS + 200:
        raise BenchFailed(f"{limit} open files are allowed here and {SESSIONS + 200} are needed")
    direct = [Room(kind="direct", members=[n, n + 1]) for n in range(0, SESSIONS, 2)]
    groups = [Room(kind="group", members=list(range(n, n + GROUP))) for n in range(0, SESSIONS, GROUP)]
    made = bench.world(Spec(users=SESSIONS, rooms=direct + groups))
    lines = [
        plan.Line(token=user.token, conversation=made.rooms[number // 2].id)
        for number, user in enumerate(made.users)
    ]
    few = plan.write(bench.folder / "few", lines[:FIRST])
    all_ = plan.write(bench.folder / "all", lines)
    with bench.server() as server:
        # What the first sessions make the server load once is not theirs.
        _grown(bench, server, few)
        rss0, pss0 = machine.resident(server.pid)
        cpu = machine.cpu_seconds(server.pid)
        rss, pss, greeted = _grown(bench, server, all_)
        cpu = machine.cpu_seconds(server.pid) - cpu
        time.sleep(SETTLE_S)
        after, _ = machine.resident(server.pid)
    each = (rss - rss0) / SESSIONS
    method = (
        f"growth of the server's resident memory (RSS) from after {FIRST} sessions came and went to "
        f"{SESSIONS} sessions signed in and idle for {SETTLE_S:.0f} s, divided by {SESSIONS}; each session "
        f"is of a user of its own, a member of one direct conversation and of one group of {GROUP}; "
        f"{bench.where}"
    )
    name = bench.name
    return [
        judged(name, each, "bytes for each idle session", "at most", GOAL, method),
        stated(f"{name}.pss", (pss - pss0) / SESSIONS, "bytes of PSS for each idle session"),
        stated(f"{name}.empty", rss0 / 2**20, "MiB of the server before"),
        stated(f"{name}.full", rss / 2**20, f"MiB of the server with {SESSIONS} sessions"),
        stated(f"{name}.after", after / 2**20, "MiB of the server when they have gone"),
        stated(f"{name}.sign_ins", SESSIONS / figure(greeted, "seconds"), "sign-ins per second meanwhile"),
        stated(f"{name}.sign_in_cpu", cpu / SESSIONS * 1e6, "microseconds of server CPU for each session"),
    ]


BENCHES = {"idle_memory": idle_memory}
