"""The short form of the torture: every scenario once, small, as `make torture` runs it."""

from __future__ import annotations

import subprocess
import sys
import threading
from pathlib import Path

import msgspec
import pytest

from tests.torture.scenarios import SCENARIOS
from tests.torture.scene import Result

ROOT = Path(__file__).parents[2]
LANES = (
    ("slow_reader", "kill", "clock", "same_client_id"),
    ("power", "disk_full", "one_order", "fatal_sync"),
)
"""Run side by side: most of the time each waits for a process to start."""

SECONDS = 240
"""A machine that does nothing else needs a sixth of this."""


def run(lane: tuple[str, ...], out: Path, said: list[str]) -> None:
    """One lane, to its end; what it printed goes to `said`."""
    names = [part for name in lane for part in ("--only", name)]
    command = [sys.executable, "-m", "tests.torture", "--short", "--out", str(out), *names]
    done = subprocess.run(
        command, cwd=ROOT, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, timeout=SECONDS
    )
    said.append(done.stdout)


@pytest.fixture(scope="module")
def results(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Result]:
    """All rows of the table, by their names."""
    folder = tmp_path_factory.mktemp("torture")
    outs = [folder / f"{number}.json" for number in range(len(LANES))]
    said: list[str] = []
    threads = [
        threading.Thread(target=run, args=(lane, out, said)) for lane, out in zip(LANES, outs, strict=True)
    ]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    print("\n".join(said))
    found: dict[str, Result] = {}
    for out in outs:
        assert out.exists(), said
        found |= {one.name: one for one in msgspec.json.decode(out.read_bytes(), type=list[Result])}
    return found


def test_every_scenario_is_in_a_lane() -> None:
    assert sorted(name for lane in LANES for name in lane) == sorted(SCENARIOS)


@pytest.mark.parametrize("name", list(SCENARIOS))
def test_the_scenario_holds(results: dict[str, Result], name: str) -> None:
    mine = [result for result in results.values() if result.name.split(" ")[0] == name]
    assert mine
    for result in mine:
        assert result.findings == []
        assert result.holds
        assert result.sent > 0
        assert result.acknowledged > 0


def test_what_is_not_synced_is_found_lost(results: dict[str, Result]) -> None:
    """The power cuts see a build that does not sync; otherwise `power` would prove nothing."""
    assert int(results["power (broken build)"].figures["found lost, as it must"]) > 0
    assert results["power"].stored == results["power"].acknowledged > 0


def test_one_client_id_is_one_event(results: dict[str, Result]) -> None:
    assert results["same_client_id"].stored == 2
    assert results["same_client_id"].figures["repeats"] == 99 + 49 + 100
