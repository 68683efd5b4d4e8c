"""Acknowledged sends of many writers, against the storage engine that commits as many rows."""

from __future__ import annotations

from statistics import median

import msgspec

from bench import plan, programs
from bench.context import Bench, figure
from bench.programs import Figures
from bench.rows import Row, judged, stated
from bench.world import Room, Spec

WRITERS = 64
ROUNDS = 3
WARM_S = 2.0
MEASURE_S = 6.0
GOAL = 0.4


def _engine(bench: Bench, number: int) -> Figures:
    folder = bench.folder / f"engine-{number}"
    folder.mkdir()
    printed = programs.module("bench.engine", [folder, str(WRITERS), str(MEASURE_S)], bench.cores.server, 60)
    return msgspec.json.decode(printed, type=Figures)


def durable_sends(bench: Bench) -> list[Row]:
    """Both sides in turn, a few times; the figure is the median of the ratios."""
    rooms = [Room(kind="direct", members=[2 * pair, 2 * pair + 1]) for pair in range(WRITERS)]
    made = bench.world(Spec(users=2 * WRITERS, rooms=rooms))
    lines = plan.write(
        bench.folder / "plan",
        [
            plan.Line(token=user.token, conversation=made.rooms[number // 2].id, writer=number // 2)
            for number, user in enumerate(made.users)
        ],
    )
    ours: list[Figures] = []
    alone: list[Figures] = []
    with bench.server() as server:
        for number in range(ROUNDS):
            ours.append(bench.load("durable", server, lines, timeout=90, warm=WARM_S, measure=MEASURE_S))
            alone.append(_engine(bench, number))

    def rate(figures: Figures, count: str) -> float:
        return figure(figures, count) / figure(figures, "seconds")

    ratio = median(rate(a, "acks") / rate(b, "rows") for a, b in zip(ours, alone, strict=True))
    by_cpu = median(
        (figure(a, "acks") / figure(a, "server_cpu")) / (figure(b, "rows") / figure(b, "cpu"))
        for a, b in zip(ours, alone, strict=True)
    )
    method = (
        f"{WRITERS} sessions, each sending 200-byte texts with a client_id to one other person in a "
        "conversation of their own, one send outstanding each; acknowledged sends per second of the "
        f"server's one core, divided by rows per second of bench/engine.py on the same core: {WRITERS} "
        "asyncio producers, one writer thread, SQLite by apsw, WAL, synchronous=FULL, group commit, "
        f"200-byte rows with two unique indexes; {ROUNDS} rounds of {MEASURE_S:.0f} s each in turn, "
        "median; every acknowledgement, seq and body checked, all of them at the other person; "
        f"{bench.where}"
    )
    name = bench.name

    def middle(runs: list[Figures], what: str) -> float:
        return median(figure(run, what) for run in runs)

    return [
        judged(name, ratio, "times the storage engine alone", "at least", GOAL, method),
        stated(f"{name}.by_cpu", by_cpu, "the same ratio per CPU second of both"),
        stated(f"{name}.acks", median(rate(run, "acks") for run in ours), "acknowledged sends per second"),
        stated(f"{name}.engine", median(rate(run, "rows") for run in alone), "rows per second of the engine"),
        stated(
            f"{name}.acks_cpu",
            median(figure(run, "acks") / figure(run, "server_cpu") for run in ours),
            "acknowledged sends per server CPU second",
        ),
        stated(
            f"{name}.engine_cpu",
            median(figure(run, "rows") / figure(run, "cpu") for run in alone),
            "rows per CPU second of the engine",
        ),
        stated(f"{name}.ack_p50", middle(ours, "ack_p50_ms"), "ms from send to acknowledgement"),
        stated(f"{name}.ack_p99", middle(ours, "ack_p99_ms"), "ms from send to acknowledgement"),
        stated(f"{name}.reader_p50", middle(ours, "reader_p50_ms"), "ms from send to the other person"),
        stated(f"{name}.reader_p99", middle(ours, "reader_p99_ms"), "ms from send to the other person"),
        stated(f"{name}.engine_p50", middle(alone, "p50_ms"), "ms of a row's commit in the engine"),
        stated(f"{name}.engine_p99", middle(alone, "p99_ms"), "ms of a row's commit in the engine"),
    ]


BENCHES = {"durable_sends": durable_sends}
