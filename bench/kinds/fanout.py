"""One message to a thousand sessions, against a bare C program that sends the same bytes."""

from __future__ import annotations

from functools import partial
from pathlib import Path
from statistics import median

from bench import plan
from bench.context import Bench, figure
from bench.programs import Figures, Server
from bench.rows import Row, judged, stated
from bench.world import Room, Spec

READERS = 1000
ROUNDS = 3
WARM_S = 1.5
MEASURE_S = 4.0


def per_cpu_second(figures: Figures) -> float:
    """Deliveries for each second of CPU that the server used."""
    return figure(figures, "deliveries") / max(figure(figures, "server_cpu"), 0.01)


def _run(bench: Bench, server: Server, lines: Path, window: int, payload: int = 0) -> Figures:
    return bench.load(
        "fanout",
        server,
        lines,
        timeout=120,
        window=window,
        payload=payload,
        warm=WARM_S,
        measure=MEASURE_S,
    )


def fanout(bench: Bench, *, window: int, goal: float) -> list[Row]:
    """Both sides in turn, a few times; the figure is the median of the ratios."""
    made = bench.world(Spec(users=READERS + 1, rooms=[Room(kind="group", members=list(range(READERS + 1)))]))
    room = made.rooms[0]
    lines = plan.write(
        bench.folder / "plan", [plan.Line(token=user.token, conversation=room.id) for user in made.users]
    )
    ours: list[Figures] = []
    bare: list[Figures] = []
    with bench.server() as server, bench.bare_fanout() as floor:
        for _ in range(ROUNDS):
            ours.append(_run(bench, server, lines, window))
            payload = int(figure(ours[-1], "frame_bytes")) - 4
            bare.append(_run(bench, floor, lines, window, payload))
    ratio = median(per_cpu_second(a) / per_cpu_second(b) for a, b in zip(ours, bare, strict=True))
    frame = figure(ours[-1], "frame_bytes")

    def middle(runs: list[Figures], name: str) -> float:
        return median(figure(run, name) for run in runs)

    method = (
        f"{READERS} WebSocket sessions in one group, 200-byte texts (frames of {frame:.0f} bytes), "
        f"{window} publishes outstanding from one more session, each written on its own and over when "
        "acknowledged (logged with fsync) and received by all; deliveries to the readers per CPU second "
        "of the server (all threads), divided by those of bench/c/kernel_fanout.c for frames of the same "
        f"size and as many sockets, one send a frame; {ROUNDS} rounds of {MEASURE_S:.0f} s each in turn, "
        f"median; every seq and body checked at every reader; {bench.where}"
    )
    name = bench.name
    return [
        judged(name, ratio, "times bare C", "at least", goal, method),
        stated(f"{name}.deliveries", median(map(per_cpu_second, ours)), "deliveries per server CPU second"),
        stated(f"{name}.bare_c", median(map(per_cpu_second, bare)), "deliveries per CPU second of bare C"),
        stated(
            f"{name}.deliveries_wall",
            median(figure(run, "deliveries") / figure(run, "seconds") for run in ours),
            "deliveries per second",
        ),
        stated(f"{name}.frames_per_read", middle(ours, "frames_per_read"), "frames per read of a reader"),
        stated(f"{name}.last_p50", middle(ours, "last_p50_ms"), "ms from send to the last of all readers"),
        stated(f"{name}.last_p99", middle(ours, "last_p99_ms"), "ms from send to the last of all readers"),
        stated(f"{name}.load_cpu", middle(ours, "load_cpu") / MEASURE_S, "of the load's core used"),
    ]


BENCHES = {
    "fanout_4": partial(fanout, window=4, goal=1.5),
    "fanout_1": partial(fanout, window=1, goal=0.7),
}
