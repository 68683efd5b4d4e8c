"""Positions: whatever is lost, doubled or out of order, each log is delivered once, in order."""

import random

from hypothesis import given, settings
from hypothesis import strategies as st

from tertulia_client.events import Empty, Event
from tertulia_client.logs import Delivered, LogLost, LogOutput, Logs, Read, Skipped


def event(seq: int, log: str = "c") -> Event:
    return Event(kind="poll.closed", conversation=log, seq=seq, body=Empty())


def delivered(outputs: list[LogOutput]) -> list[int]:
    return [out.event.seq for out in outputs if isinstance(out, Delivered)]


def test_the_first_event_of_an_unknown_log_sets_its_position() -> None:
    logs = Logs()
    assert delivered(logs.feed(event(7))) == [7]
    assert logs.positions == {"c": 7}


def test_what_is_held_is_dropped() -> None:
    logs = Logs({"c": 3})
    assert logs.feed(event(3)) == []
    assert logs.feed(event(1)) == []
    assert delivered(logs.feed(event(4))) == [4]
    assert logs.feed(event(4)) == []


def test_a_hole_asks_once_for_exactly_what_lacks_and_holds_what_came_early() -> None:
    logs = Logs({"c": 3})
    assert logs.feed(event(7)) == [Read("c", 3, 3)]
    assert logs.feed(event(8)) == []
    assert delivered(logs.filled("c", [event(4), event(5), event(6)])) == [4, 5, 6, 7, 8]
    assert logs.positions == {"c": 8}


def test_a_short_answer_is_asked_to_go_on() -> None:
    logs = Logs({"c": 0})
    assert logs.feed(event(9)) == [Read("c", 0, 8)]
    assert logs.filled("c", [event(1), event(2)])[-1] == Read("c", 2, 6)


def test_live_events_can_close_a_hole_before_the_answer_comes() -> None:
    logs = Logs({"c": 0})
    logs.feed(event(3))
    assert delivered(logs.feed(event(1))) == [1]
    assert delivered(logs.feed(event(2))) == [2, 3]
    assert logs.filled("c", [event(1), event(2)]) == []


def test_a_hole_that_is_too_wide_is_skipped_and_what_follows_goes_on() -> None:
    logs = Logs({"c": 10}, max_fill=100)
    out = logs.feed(event(200))
    assert out[0] == Skipped("c", 11, 199)
    assert delivered(out) == [200]


def test_answers_without_the_events_end_in_a_skip() -> None:
    logs = Logs({"c": 0})
    logs.feed(event(3))
    assert logs.filled("c", []) == [Read("c", 0, 2)]
    assert logs.filled("c", []) == [Read("c", 0, 2)]
    out = logs.filled("c", [])
    assert out[0] == Skipped("c", 1, 2)
    assert delivered(out) == [3]


def test_a_log_that_is_no_longer_ours_is_lost_and_other_refusals_are_tried_again() -> None:
    logs = Logs({"c": 0, "d": 0})
    logs.feed(event(3))
    logs.feed(event(3, "d"))
    assert logs.refused("c", "not_found") == [LogLost("c", "not_found")]
    assert "c" not in logs
    assert logs.refused("d", "rate_limited") == []
    assert logs.retry() == [Read("d", 0, 2)]


def test_nothing_is_asked_for_while_a_replay_runs() -> None:
    logs = Logs({"c": 0})
    logs.paused = True
    assert logs.heard("c", 5) == []
    assert logs.feed(event(4)) == []
    logs.paused = False
    assert logs.retry() == [Read("c", 0, 3)]


def test_a_read_of_the_connection_before_does_not_count() -> None:
    logs = Logs({"c": 0})
    assert logs.feed(event(3)) == [Read("c", 0, 2)]
    logs.connected()
    assert logs.retry() == [Read("c", 0, 2)]


def test_no_more_than_the_bound_is_held() -> None:
    logs = Logs({"c": 0}, max_held=2)
    for seq in (9, 8, 7, 6):
        logs.feed(event(seq))
    out = logs.filled("c", [event(seq) for seq in (1, 2, 3, 4, 5, 6, 7)])
    assert delivered(out) == [1, 2, 3, 4, 5, 6, 7, 8, 9]
    logs.feed(event(12))
    assert delivered(logs.filled("c", [event(10), event(11)])) == [10, 11, 12]


def test_a_fetched_log_drops_what_it_covers() -> None:
    logs = Logs({"c": 0})
    logs.feed(event(5))
    assert delivered(logs.adopt("c", 4)) == [5]
    assert logs.adopt("c", 2) == []
    assert logs.positions == {"c": 5}


def test_a_head_that_was_heard_of_before_the_fetch_is_not_forgotten() -> None:
    logs = Logs()
    assert logs.heard("c", 9) == []
    assert logs.adopt("c", 6) == [Read("c", 6, 3)]


@given(
    seed=st.integers(0, 2**32),
    total=st.integers(1, 60),
    loss=st.floats(0, 0.9),
    double=st.floats(0, 0.9),
    reorder=st.integers(0, 20),
    page=st.integers(1, 7),
    held=st.integers(1, 10),
)
@settings(max_examples=300, deadline=None)
def test_a_lossy_doubling_reordering_wire_gives_the_log_once_in_order(
    seed: int, total: int, loss: float, double: float, reorder: int, page: int, held: int
) -> None:
    draw = random.Random(seed)
    log = [event(seq) for seq in range(1, total + 1)]
    wire = [e for e in log if draw.random() >= loss]
    wire += [e for e in log if draw.random() < double]
    wire = [e for _, _, e in sorted((n + draw.uniform(0, reorder), n, e) for n, e in enumerate(wire))]
    logs = Logs({"c": 0}, max_held=held, read_limit=page)
    got: list[int] = []
    reads: list[Read] = []

    def take(outputs: list[LogOutput]) -> None:
        assert not any(isinstance(out, Skipped | LogLost) for out in outputs)
        got.extend(delivered(outputs))
        reads.extend(out for out in outputs if isinstance(out, Read))

    for one in wire:
        take(logs.feed(one))
        if reads and draw.random() < 0.5:
            read = reads.pop(0)
            if draw.random() < 0.2:
                logs.connected()
                reads.clear()
                take(logs.retry())
            else:
                take(logs.filled("c", log[read.after : read.after + read.limit]))
    take(logs.heard("c", total))
    for _ in range(3 * total + 10):
        if not reads:
            break
        read = reads.pop(0)
        take(logs.filled("c", log[read.after : read.after + read.limit]))
    assert got == list(range(1, total + 1))
