"""The kinds of bench.  A module here that has `BENCHES` takes part; nothing else needs to know of it.

`BENCHES` maps a bench's name to a function that takes a `bench.context.Bench` and returns its rows: the
first named as the bench and with a goal, the rest `name.what`.
"""

from __future__ import annotations

import importlib
import pkgutil
from collections.abc import Callable

from bench.context import Bench
from bench.rows import Row

Run = Callable[[Bench], list[Row]]

# The order of the issue that asked for them; later ones follow by name.
_FIRST = ("fanout_4", "fanout_1", "durable_sends", "latency", "idle_memory", "reconnect")


def all_benches() -> dict[str, Run]:
    """Every bench by its name, in the order in which they run."""
    found: dict[str, Run] = {}
    for module in pkgutil.iter_modules(__path__):
        benches: dict[str, Run] = getattr(importlib.import_module(f"{__name__}.{module.name}"), "BENCHES", {})
        found.update(benches)
    names = [name for name in _FIRST if name in found] + sorted(name for name in found if name not in _FIRST)
    return {name: found[name] for name in names}
