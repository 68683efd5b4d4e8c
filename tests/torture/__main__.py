"""`python -m tests.torture`: run the scenarios, print a table, exit with 1 when one did not hold."""

from __future__ import annotations

import argparse
import sys
import tempfile
from collections.abc import Awaitable
from pathlib import Path

import msgspec
import uvloop

from tests.torture.report import table
from tests.torture.scenarios import SCENARIOS, variants
from tests.torture.scene import Result


def run(name: str, *, short: bool, seed: int) -> list[Result]:
    """One scenario, in a temporary folder that is removed afterwards."""
    results: list[Result] = []
    for number, scenario in enumerate(variants(name, short=short)):
        with tempfile.TemporaryDirectory(prefix=f"torture-{name}-") as folder:
            results.append(uvloop.run(_finished(scenario(Path(folder) / str(number), seed, short=short))))
    return results


async def _finished(awaited: Awaitable[Result]) -> Result:
    return await awaited


def main() -> int:
    """The command line."""
    parser = argparse.ArgumentParser(prog="python -m tests.torture", description=__doc__)
    parser.add_argument("--short", action="store_true", help="a few seconds each")
    parser.add_argument(
        "--only", choices=list(SCENARIOS), action="append", help="this scenario; may be repeated"
    )
    parser.add_argument("--seed", type=int, default=1, help="another seed, another course of events")
    parser.add_argument("--out", type=Path, help="write the results to this file as JSON")
    asked = parser.parse_args()
    results: list[Result] = []
    for name in asked.only or SCENARIOS:
        print(f"{name} …", file=sys.stderr, flush=True)
        results += run(name, short=asked.short, seed=asked.seed)
    print(table(results))
    if asked.out is not None:
        asked.out.write_bytes(msgspec.json.format(msgspec.json.encode(results), indent=2) + b"\n")
    return 0 if all(result.holds for result in results) else 1


if __name__ == "__main__":
    sys.exit(main())
