"""What a bench is given: its cores, a folder of its own, and a way to a prepared server."""

from __future__ import annotations

import contextlib
from collections.abc import Generator, Mapping
from pathlib import Path

import msgspec

from bench import machine, programs
from bench.machine import Cores
from bench.programs import Figures, Server
from bench.world import Made, Spec


class Bench:
    """One bench's surroundings."""

    def __init__(self, name: str, cores: Cores, folder: Path) -> None:
        """`folder` is empty, of this bench alone, and on the disk that the figures are about."""
        self.name = name
        self.cores = cores
        self.folder = folder
        self._loads = 0

    @property
    def where(self) -> str:
        """The part of a method that is the same for all: cores and disk."""
        return f"127.0.0.1, {self.cores.words()}, data on {machine.file_system(self.folder)}"

    def world(self, spec: Spec) -> Made:
        """Fill the data folder of the server that `server` will start."""
        asked, made = self.folder / "spec.json", self.folder / "made.json"
        asked.write_bytes(msgspec.json.encode(spec))
        programs.module("bench.world", [asked, self.folder / "data", made], self.cores.load, 180)
        return msgspec.json.decode(made.read_bytes(), type=Made)

    @contextlib.contextmanager
    def server(self, env: Mapping[str, str] | None = None) -> Generator[Server]:
        """`tertulia serve` over that folder, on its core."""
        log = self.folder / "server.log"
        with programs.tertulia(self.folder / "data", self.cores.server, log, env) as server:
            yield server

    @contextlib.contextmanager
    def bare_fanout(self) -> Generator[Server]:
        """The bare C program, on the server's core."""
        with programs.kernel_fanout(self.cores.server, self.folder / "kernel_fanout.log") as server:
            yield server

    def load(self, kind: str, server: Server, plan: Path, *, timeout: float, **options: object) -> Figures:
        """Run the load generator on the load's core; each run has its own `client_id`s."""
        self._loads += 1
        run = f"{self.name}-{self._loads}"
        return programs.load(kind, server, plan, self.cores.load, timeout=timeout, run=run, **options)


def figure(figures: Figures, name: str) -> float:
    """A number that a load or baseline printed."""
    value = figures[name]
    if isinstance(value, str):
        raise TypeError(f"{name} is a text")
    return value
