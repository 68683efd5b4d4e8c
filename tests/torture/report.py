"""The table that a run prints."""

from __future__ import annotations

from collections.abc import Sequence

from tests.torture.scene import Result

_COLUMNS = ("scenario", "holds", "sent", "acknowledged", "stored", "received", "devices", "seconds")


def table(results: Sequence[Result]) -> str:
    """A row for each scenario, what is special about it below, and what is wrong."""
    rows = [_COLUMNS, *(_row(result) for result in results)]
    widths = [max(len(row[n]) for row in rows) for n in range(len(_COLUMNS))]
    lines: list[str] = []
    for number, row in enumerate(rows):
        cells = [
            row[0].ljust(widths[0]),
            *(cell.rjust(width) for cell, width in zip(row[1:], widths[1:], strict=True)),
        ]
        lines.append("  ".join(cells))
        if number:
            lines += _below(results[number - 1])
    return "\n".join(lines)


def _row(result: Result) -> tuple[str, ...]:
    numbers = (result.sent, result.acknowledged, result.stored, result.received, result.devices)
    return (
        result.name,
        "yes" if result.holds else "NO",
        *(f"{number:,}" for number in numbers),
        f"{result.seconds:.1f}",
    )


def _below(result: Result) -> list[str]:
    lines: list[str] = []
    if result.figures:
        lines.append("    " + ", ".join(f"{name}: {value}" for name, value in result.figures.items()))
    lines += [f"    ! {finding}" for finding in result.findings]
    return lines
