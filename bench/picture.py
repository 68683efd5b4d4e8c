"""The results as a picture: how far each goal was passed, and the figures behind it."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import matplotlib as mpl

mpl.use("Agg")

from matplotlib import pyplot as plt

from bench.rows import Row, number

_GOOD, _BAD, _LINE = "#2f7d6b", "#b5482f", "#30343b"


def margin(row: Row) -> float:
    """How many times better than its goal a row is; below 1 it misses it."""
    if not row.value or not row.goal:
        return 0.0
    return row.value / row.goal if row.unit.endswith("at least") else row.goal / row.value


def draw(path: Path, rows: Sequence[Row], machine: str) -> None:
    """Write the picture of all rows that have a goal."""
    judged = [row for row in rows if row.goal is not None and row.value is not None]
    figure, axes = plt.subplots(figsize=(10, 1.6 + 0.62 * max(1, len(judged))), layout="constrained")
    places = range(len(judged))
    margins = [margin(row) for row in judged]
    colours = [_GOOD if row.holds else _BAD for row in judged]
    axes.barh(places, margins, color=colours, height=0.62)
    axes.axvline(1, color=_LINE, linewidth=1.2, linestyle="--")
    axes.set_yticks(places, [row.name for row in judged])
    axes.invert_yaxis()
    axes.set_xlim(0, max([1.5, *margins]) * 1.45)
    axes.set_xlabel("times better than the goal (dashed line)")
    for place, row in zip(places, judged, strict=True):
        what, _, sense = row.unit.rpartition(", ")
        text = f" {number(row.value)} {what}\n ({sense} {number(row.goal)})"
        axes.text(max(1.0, margins[place]), place, text, va="center", fontsize=8, color=_LINE)
    for side in ("top", "right"):
        axes.spines[side].set_visible(False)
    axes.set_title("Tertulia, make bench", loc="left", fontweight="bold")
    figure.supxlabel(machine, fontsize=7, color="#767b84")
    figure.savefig(path, dpi=130)
    plt.close(figure)
