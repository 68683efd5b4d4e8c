"""The machine that is measured on: its cores, its limits, and what others do on it meanwhile."""

from __future__ import annotations

import os
import resource
from collections.abc import Generator
from contextlib import contextmanager
from pathlib import Path

import msgspec


class Cores(msgspec.Struct, frozen=True):
    """One core for the server and one for the load; the same one where there is no second."""

    server: int
    load: int

    def words(self) -> str:
        """How the method of a row names them."""
        if self.server == self.load:
            return f"server and load share core {self.server}, the only one: figures are lower for it"
        return f"server on core {self.server}, load on core {self.load}"


def cores() -> Cores:
    """The first two cores that this process may use."""
    mine = sorted(os.sched_getaffinity(0))
    return Cores(server=mine[0], load=mine[1] if len(mine) > 1 else mine[0])


@contextmanager
def on_core(core: int) -> Generator[None]:
    """Children started inside run on this core only, from their first instruction on."""
    before = os.sched_getaffinity(0)
    os.sched_setaffinity(0, {core})
    try:
        yield
    finally:
        os.sched_setaffinity(0, before)


def raise_file_limit(wanted: int = 20_000) -> int:
    """Let this process and its children open `wanted` files if the system allows it; returns the limit."""
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    if soft >= wanted:
        return soft
    for high in (max(hard, wanted), hard):
        try:
            resource.setrlimit(resource.RLIMIT_NOFILE, (min(wanted, high), high))
            break
        except (ValueError, PermissionError):
            continue
    return resource.getrlimit(resource.RLIMIT_NOFILE)[0]


def resident(pid: int) -> tuple[int, int]:
    """Bytes of resident and of proportional memory of a process (`smaps_rollup`, proc(5))."""
    values: dict[str, int] = {}
    for line in Path(f"/proc/{pid}/smaps_rollup").read_text().splitlines():
        name, _, rest = line.partition(":")
        if rest.strip().endswith("kB"):
            values[name] = int(rest.split()[0]) * 1024
    return values["Rss"], values["Pss"]


def cpu_seconds(pid: int) -> float:
    """CPU seconds of a process so far: user and system, all threads."""
    fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")


class Busy(msgspec.Struct, frozen=True):
    """What one core did in a while, in seconds."""

    busy: float
    stolen: float


def busy(core: int) -> Busy:
    """CPU seconds that a core has been busy since the machine started, and that its host took away."""
    tick = os.sysconf("SC_CLK_TCK")
    for line in Path("/proc/stat").read_text().splitlines():
        name, *fields = line.split()
        if name == f"cpu{core}":
            user, nice, system, _, _, irq, soft, steal = (int(field) / tick for field in fields[:8])
            return Busy(busy=user + nice + system + irq + soft, stolen=steal)
    raise LookupError(f"core {core} is not in /proc/stat")


def describe() -> str:
    """The processor and kernel, for the picture."""
    model = "unknown processor"
    for line in Path("/proc/cpuinfo").read_text().splitlines():
        if line.startswith("model name"):
            model = line.partition(":")[2].strip()
            break
    return f"{model}, {os.cpu_count()} cores, Linux {os.uname().release}"


def file_system(path: Path) -> str:
    """The type of the file system that holds `path`."""
    best, kind = "", "unknown"
    target = str(path.resolve())
    for line in Path("/proc/mounts").read_text().splitlines():
        _, mount, type_, *_ = line.split()
        inside = target == mount or target.startswith(mount.rstrip("/") + "/")
        if inside and len(mount) >= len(best):
            best, kind = mount, type_
    return kind
