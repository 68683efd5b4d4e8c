"""The scenarios, by name, in the order in which they are run."""

from __future__ import annotations

from collections.abc import Awaitable
from pathlib import Path
from typing import Protocol

from tests.torture.scenarios.clock import clock
from tests.torture.scenarios.crash import kill, power, power_without_sync
from tests.torture.scenarios.disk_full import disk_full_tmpfs, disk_full_vfs, may_mount
from tests.torture.scenarios.fatal_sync import fatal_sync
from tests.torture.scenarios.one_order import one_order
from tests.torture.scenarios.same_client_id import same_client_id
from tests.torture.scenarios.slow_reader import slow_reader
from tests.torture.scene import Result


class Scenario(Protocol):
    """Runs in a folder of its own, which must not exist yet, and ends in time."""

    def __call__(self, folder: Path, seed: int, *, short: bool) -> Awaitable[Result]: ...


def variants(name: str, *, short: bool) -> tuple[Scenario, ...]:
    """The parts of a scenario.  Short: of two disks without room only the first."""
    parts = SCENARIOS[name]
    return parts[:1] if short and name == "disk_full" else parts


SCENARIOS: dict[str, tuple[Scenario, ...]] = {
    "kill": (kill,),
    "power": (power, power_without_sync),
    "disk_full": (disk_full_tmpfs, disk_full_vfs) if may_mount() else (disk_full_vfs,),
    "slow_reader": (slow_reader,),
    "same_client_id": (same_client_id,),
    "one_order": (one_order,),
    "clock": (clock,),
    "fatal_sync": (fatal_sync,),
}
