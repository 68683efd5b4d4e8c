"""Everybody comes back at once, as after a restart of the server or of the network."""

from __future__ import annotations

from bench import machine, plan
from bench.context import Bench, figure
from bench.programs import BenchFailed
from bench.rows import Row, judged, stated
from bench.world import Room, Spec

CLIENTS = 5000
GROUP = 100
MESSAGES = 40
MISSED = 20
GOAL_S = 15.0


def reconnect(bench: Bench) -> list[Row]:
    """Seconds until the last of all clients has what it missed and was told so."""
    limit = machine.raise_file_limit()
    if limit < CLIENTS + 200:
        raise BenchFailed(f"{limit} open files are allowed here and {CLIENTS + 200} are needed")
    rooms = [
        Room(kind="group", members=list(range(n, n + GROUP)), messages=MESSAGES)
        for n in range(0, CLIENTS, GROUP)
    ]
    made = bench.world(Spec(users=CLIENTS, rooms=rooms))
    lines: list[plan.Line] = []
    for number, user in enumerate(made.users):
        room = made.rooms[number // GROUP]
        held = room.head - MISSED
        lines.append(
            plan.Line(
                token=user.token,
                conversation=room.id,
                writer=number // GROUP,
                next=held + 1,
                last=room.head,
                sign_in={
                    "positions": {room.id: held, user.id: user.head},
                    "generation": made.generation,
                },
            )
        )
    with bench.server() as server:
        got = bench.load("reconnect", server, plan.write(bench.folder / "plan", lines), timeout=120)
    resumed, troubles = figure(got, "resumed"), figure(got, "troubles")
    if troubles or resumed < CLIENTS:
        raise BenchFailed(
            f"{resumed:.0f} of {CLIENTS} resumed, {troubles:.0f} troubles, the first: {got['first_trouble']}"
        )
    if figure(got, "missed_events") != CLIENTS * MISSED:
        raise BenchFailed(f"{figure(got, 'missed_events'):.0f} missed events came, not {CLIENTS * MISSED}")
    method = (
        f"{CLIENTS} clients connect in the same moment to a server that was just started, sign in with "
        f"their positions, and get hello, the {MISSED} events each missed in a group of {GROUP} (every seq "
        "and body checked) and `resumed`; seconds from the first connect to the last `resumed`, no error "
        f"answer and no lost connection allowed; {bench.where}"
    )
    name = bench.name
    return [
        judged(
            name, figure(got, "resumed_last_s"), "s until the last has resumed", "at most", GOAL_S, method
        ),
        stated(f"{name}.p50", figure(got, "resumed_p50_s"), "s until half have resumed"),
        stated(f"{name}.hello_last", figure(got, "hello_last_s"), "s until the last was greeted"),
        stated(f"{name}.errors", troubles, "error answers and lost connections"),
        stated(
            f"{name}.cpu",
            figure(got, "server_cpu") / CLIENTS * 1e6,
            "microseconds of server CPU for each client",
        ),
    ]


BENCHES = {"reconnect": reconnect}
