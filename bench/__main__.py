"""`python -m bench [--only NAME[,NAME…]] [--out FILE]`: measure, print, and write JSON and a picture."""

from __future__ import annotations

import argparse
import os
import shutil
import sys
import tempfile
import time
from pathlib import Path

import msgspec

from bench import machine, programs
from bench.context import Bench
from bench.kinds import Run, all_benches
from bench.picture import draw
from bench.programs import BUILD, ROOT, BenchFailed
from bench.rows import Row, failed, merge, table

RESULTS = ROOT / "bench" / "results.json"
# A core that others used for more than this share of a bench makes its figures doubtful.
MUCH = 0.05


def measure(name: str, run: Run, cores: machine.Cores, keep: bool) -> list[Row]:
    """Run one bench in a folder of its own, which is on the disk of the project and removed after it."""
    folder = Path(tempfile.mkdtemp(prefix=f"{name}-", dir=BUILD))
    others = _Others(cores)
    began = time.monotonic()
    try:
        rows = run(Bench(name, cores, folder))
    except BenchFailed as why:
        rows = [failed(name, str(why))]
    finally:
        if keep:
            sys.stdout.write(f"kept {folder}\n")
        else:
            shutil.rmtree(folder, ignore_errors=True)
    note = others.note()
    if note:
        rows[0] = msgspec.structs.replace(rows[0], method=rows[0].method + note)
    sys.stdout.write(f"\n{name} ({time.monotonic() - began:.0f} s){note}\n{table(rows)}\n")
    sys.stdout.flush()
    return rows


class _Others:
    """How much of the two cores somebody else has used since this was made."""

    def __init__(self, cores: machine.Cores) -> None:
        self._cores = sorted({cores.server, cores.load})
        self._began = time.monotonic()
        self._before = self._now()

    def _now(self) -> tuple[float, float]:
        spent = [machine.busy(core) for core in self._cores]
        times = os.times()
        ours = times.user + times.system + times.children_user + times.children_system
        return sum(core.busy for core in spent) - ours, sum(core.stolen for core in spent)

    def note(self) -> str:
        """ "" when the machine was quiet."""
        room = (time.monotonic() - self._began) * len(self._cores)
        foreign, stolen = ((now - then) / room for now, then in zip(self._now(), self._before, strict=True))
        if foreign < MUCH and stolen < MUCH:
            return ""
        used = f"others used {foreign:.0%} of these cores, the host took {stolen:.0%}"
        return f"; the machine was not quiet: {used}"


def main() -> int:
    benches = all_benches()
    parser = argparse.ArgumentParser(prog="python -m bench", description="How fast Tertulia is.")
    parser.add_argument("--only", metavar="NAME", help=f"run one or some: {', '.join(benches)}")
    parser.add_argument("--out", type=Path, default=RESULTS, metavar="FILE", help="where the rows go (JSON)")
    parser.add_argument("--keep", action="store_true", help="keep the data folders and logs")
    asked = parser.parse_args()
    names: list[str] = asked.only.split(",") if asked.only else list(benches)
    unknown = [name for name in names if name not in benches]
    if unknown:
        parser.error(f"no bench {', '.join(unknown)}; there are {', '.join(benches)}")
    machine.raise_file_limit()
    cores = machine.cores()
    try:
        programs.build()
    except BenchFailed as why:
        sys.stderr.write(f"{why}\n")
        return 2
    sys.stdout.write(f"{machine.describe()}; {cores.words()}\n")
    rows: list[Row] = []
    for name in names:
        rows += measure(name, benches[name], cores, asked.keep)
    shown = merge(asked.out, rows, list(benches))
    picture = asked.out.with_suffix(".png")
    draw(picture, shown, machine.describe())
    sys.stdout.write(f"\n{asked.out}\n{picture}\n")
    return 0 if all(row.holds for row in rows) else 1


if __name__ == "__main__":
    sys.exit(main())
