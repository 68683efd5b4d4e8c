"""How long a send takes when sends come at their own pace, whatever the server does."""

from __future__ import annotations

from bench import plan
from bench.context import Bench, figure
from bench.rows import Row, judged, stated
from bench.world import Room, Spec

GROUPS = 10
MEMBERS = 100
RATE = 200
WARM_S = 3.0
MEASURE_S = 20.0
GOAL_MS = 25.0


def latency(bench: Bench) -> list[Row]:
    """Acknowledgement and last delivery, from the moment at which each send was due."""
    rooms = [
        Room(kind="group", members=list(range(group * MEMBERS, (group + 1) * MEMBERS)))
        for group in range(GROUPS)
    ]
    made = bench.world(Spec(users=GROUPS * MEMBERS, rooms=rooms))
    lines = plan.write(
        bench.folder / "plan",
        [
            plan.Line(token=user.token, conversation=made.rooms[number // MEMBERS].id)
            for number, user in enumerate(made.users)
        ],
    )
    with bench.server() as server:
        got = bench.load("latency", server, lines, timeout=120, rate=RATE, warm=WARM_S, measure=MEASURE_S)
    method = (
        f"open loop: {RATE} sends a second of 200-byte texts for {MEASURE_S:.0f} s, each at its fixed "
        f"time, in turn into {GROUPS} groups of {MEMBERS} ({GROUPS * MEMBERS} sessions, every member "
        "sends); timed from when the send was due to its acknowledgement (after the fsync), and to the "
        f"last of the other {MEMBERS - 1} members; every seq and body checked at every member; "
        f"{bench.where}"
    )
    name = bench.name
    return [
        judged(name, figure(got, "ack_p99_ms"), "ms to the acknowledgement, p99", "at most", GOAL_MS, method),
        stated(f"{name}.ack_p50", figure(got, "ack_p50_ms"), "ms to the acknowledgement, p50"),
        stated(f"{name}.ack_p99", figure(got, "ack_p99_ms"), "ms to the acknowledgement, p99"),
        stated(f"{name}.ack_max", figure(got, "ack_max_ms"), "ms to the acknowledgement, longest"),
        stated(f"{name}.last_p50", figure(got, "last_p50_ms"), "ms to the last member, p50"),
        stated(f"{name}.last_p99", figure(got, "last_p99_ms"), "ms to the last member, p99"),
        stated(f"{name}.last_max", figure(got, "last_max_ms"), "ms to the last member, longest"),
        stated(
            f"{name}.server_cpu",
            figure(got, "server_cpu") / figure(got, "seconds"),
            "of the server's core used",
        ),
        stated(
            f"{name}.latest_send", figure(got, "latest_send_ms"), "ms by which the load sent late, at most"
        ),
    ]


BENCHES = {"latency": latency}
