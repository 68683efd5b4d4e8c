"""The outcome of a bench: rows, and the files and table they are written to."""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path
from typing import Literal

import msgspec


class Row(msgspec.Struct, frozen=True, kw_only=True):
    """One figure.

    `goal` None: the figure is stated, nobody asks more of it, and `holds` says no more than that it was
    measured.  `value` None: the bench failed, and `method` tells why.  `method` is enough to measure it
    again.
    """

    name: str
    value: float | None
    unit: str
    goal: float | None = None
    holds: bool = True
    method: str = ""


Sense = Literal["at least", "at most"]


def judged(name: str, value: float, unit: str, sense: Sense, goal: float, method: str) -> Row:
    """A row with a goal; the unit tells which way is good."""
    holds = value >= goal if sense == "at least" else value <= goal
    return Row(
        name=name, value=rounded(value), unit=f"{unit}, {sense}", goal=goal, holds=holds, method=method
    )


def stated(name: str, value: float, unit: str, method: str = "") -> Row:
    """A row without a goal."""
    return Row(name=name, value=rounded(value), unit=unit, method=method)


def failed(name: str, why: str) -> Row:
    """The row of a bench that gave no figure."""
    return Row(name=name, value=None, unit="", holds=False, method=f"failed: {why}")


def rounded(value: float) -> float:
    """Four digits that count, or all before the point."""
    return float(f"{value:.4g}") if abs(value) < 1000 else round(value)


def bench_of(row: Row) -> str:
    """The bench that a row is of: its name up to the first dot."""
    return row.name.partition(".")[0]


def merge(path: Path, new: Iterable[Row], order: list[str]) -> list[Row]:
    """Put rows into a results file and return all of its rows, in the order of their benches.

    Rows of benches that did not run now stay as they were."""
    fresh = list(new)
    ran = {bench_of(row) for row in fresh}
    try:
        old = msgspec.json.decode(path.read_bytes(), type=list[Row])
    except (FileNotFoundError, msgspec.MsgspecError):
        old = []
    rows = [row for row in old if bench_of(row) not in ran and bench_of(row) in order] + fresh
    rows.sort(key=lambda row: order.index(bench_of(row)))
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(msgspec.json.format(msgspec.json.encode(rows), indent=1) + b"\n")
    return rows


def number(value: float | None) -> str:
    """A figure as people read it."""
    if value is None:
        return "-"
    return f"{value:,.0f}" if abs(value) >= 1000 or value == int(value) else f"{value:,.4g}"


def table(rows: Iterable[Row]) -> str:
    """The rows as text: goals first in each bench, absolutes indented below."""
    lines = [f"{'':2}{'figure':34} {'value':>12}  {'goal':>8}  {'holds':5}  unit"]
    for row in rows:
        absolute = "." in row.name
        name = f"  {row.name}" if absolute else row.name
        goal = number(row.goal) if row.goal is not None else ""
        verdict = "" if row.goal is None and row.holds else "yes" if row.holds else "NO"
        lines.append(f"{'':2}{name:34} {number(row.value):>12}  {goal:>8}  {verdict:5}  {row.unit}")
        if row.value is None:
            lines.append(f"      {row.method}")
    return "\n".join(lines)
