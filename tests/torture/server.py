"""`python -m tests.torture.server SPEC`: `tertulia serve` with another disk or clock underneath.

It is the same program by the same `serve`; only what `bootstrap.build` takes as arguments is another.  Each
line of its input is an order:

    cut SEED FATE      the power goes (disk "lossy"): ends the process with 9
    fail_sync ENDING   the next fsync of a file with this ending fails (disk "lossy")
    room BYTES         so much may still be written (disk "quota")
    step SECONDS       the wall clock is set forward or back (clock "stepped")
"""

from __future__ import annotations

import functools
import os
import sys
import threading
import time
from typing import Any, Literal, cast

import msgspec

from tertulia import bootstrap
from tertulia.cli import serve as cli
from tertulia.cli.logs import set_up_logs
from tertulia.config import load
from tests.torture.vfs import Fate, LossyDisk, QuotaDisk


class Spec(msgspec.Struct, frozen=True, kw_only=True):
    """What is to be otherwise than usual."""

    port: int
    data: str
    disk: Literal["", "lossy", "quota"] = ""
    synchronous: str = "FULL"
    stepped: bool = False


class SteppedClock:
    """The host's clocks; the wall clock with an offset that can be changed at any time."""

    def __init__(self) -> None:
        self._offset_ms = 0

    def now_ms(self) -> int:
        """See `Clock.now_ms`."""
        return time.time_ns() // 1_000_000 + self._offset_ms

    def monotonic(self) -> float:
        """See `Clock.monotonic`."""
        return time.monotonic()

    def step(self, seconds: float) -> None:
        """The wall clock is set; no time passes."""
        self._offset_ms += round(seconds * 1000)


def _obey(disk: LossyDisk | QuotaDisk | None, clock: SteppedClock) -> None:
    for line in sys.stdin:
        match line.split(), disk:
            case ["cut", seed, fate], LossyDisk():
                disk.cut(int(seed), cast(Fate, fate))
            case ["fail_sync", ending], LossyDisk():
                disk.fail_sync(ending)
            case ["room", count], QuotaDisk():
                disk.room = int(count)
            case ["step", seconds], _:
                clock.step(float(seconds))
            case order, _:
                print(f"no such order: {order}", file=sys.stderr, flush=True)
                os._exit(2)
        print("done", flush=True)


def main() -> None:
    """Run until SIGTERM, a power cut or a fatal error."""
    spec = msgspec.json.decode(sys.argv[1], type=Spec)
    disk: LossyDisk | QuotaDisk | None = None
    if spec.disk:
        disk = (LossyDisk if spec.disk == "lossy" else QuotaDisk)("torture")
    clock = SteppedClock()
    overrides: dict[str, Any] = {"synchronous": spec.synchronous}
    if disk is not None:
        overrides["vfs"] = disk.name
    if spec.stepped:
        overrides["clock"] = clock
    # `serve` builds the program by this name.
    cli.build = functools.partial(bootstrap.build, **overrides)  # pyright: ignore[reportAttributeAccessIssue]
    settings = load(environment=os.environ, overrides={"port": spec.port, "data": spec.data})
    set_up_logs(settings.log_format, settings.log_level)
    threading.Thread(target=_obey, args=(disk, clock), name="orders", daemon=True).start()
    cli.serve(settings)


if __name__ == "__main__":
    main()
