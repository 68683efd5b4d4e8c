"""The session's state machine, by tables and by chance."""

import json
import random
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tertulia_client.events import CursorMoved, Presence, Typing, Void
from tertulia_client.logs import Delivered, LogLost, Logs, Skipped
from tertulia_client.models import Accepted
from tertulia_client.protocol import (
    Answered,
    CaughtUp,
    HangUp,
    NeedToken,
    Opened,
    Output,
    Reconnect,
    Refused,
    Resync,
    Session,
    Signalled,
    Stop,
    Write,
    after_close,
    after_refusal,
)

Frame = dict[str, Any]


def encoded(frame: Frame) -> bytes:
    return json.dumps(frame).encode()


def hello(generation: str = "g", heads: dict[str, int] | None = None, **more: Any) -> bytes:
    listed = [{"conversation": log, "kind": "group", "seq": seq} for log, seq in (heads or {}).items()]
    frame = {"type": "hello", "session": "s", "user": "u", "generation": generation, "heads": listed}
    return encoded({**frame, **more})


def message(seq: int, log: str = "c") -> Frame:
    body = {"content": {"type": "text", "text": f"m{seq}"}}
    return {
        "type": "message.new",
        "conversation": log,
        "seq": seq,
        "at": seq,
        "user": "u",
        "ordinal": seq,
        "body": body,
    }


def written(outputs: list[Output]) -> list[Frame]:
    return [json.loads(out.data) for out in outputs if isinstance(out, Write)]


def delivered(outputs: list[Output]) -> list[int]:
    return [out.event.seq for out in outputs if isinstance(out, Delivered)]


def live(logs: Logs | None = None, **more: Any) -> Session:
    session = Session(logs or Logs())
    session.open("t", 0.0)
    session.receive(hello(**more), 0.0)
    assert session.live
    return session


def test_the_first_frame_of_a_new_client_has_no_positions() -> None:
    session = Session(Logs())
    assert written(session.open("secret", 0.0)) == [{"type": "sign_in", "token": "secret"}]
    outputs = session.receive(hello(heads={"c": 4}), 0.1)
    assert isinstance(outputs[0], Opened)
    assert [head.conversation for head in outputs[0].unknown] == ["c"]
    assert outputs[1:] == [CaughtUp()]


def test_a_client_that_knows_positions_resumes_and_is_live_after_the_replay() -> None:
    session = Session(Logs({"c": 2}), generation="g")
    assert written(session.open("t", 0.0)) == [
        {"type": "sign_in", "token": "t", "positions": {"c": 2}, "generation": "g"}
    ]
    outputs = session.receive(hello(heads={"c": 4}), 0.0)
    assert written(outputs) == [], "the replay closes the hole by itself"
    assert not session.live
    assert session.signed_in
    assert delivered(session.receive(encoded(message(3)), 0.0)) == [3]
    assert delivered(session.receive(encoded(message(4)), 0.0)) == [4]
    assert session.receive(encoded({"type": "resumed"}), 0.0) == [CaughtUp()]
    assert session.live


def test_what_the_replay_left_out_is_read() -> None:
    session = Session(Logs({"c": 2}), generation="g")
    session.open("t", 0.0)
    session.receive(hello(heads={"c": 900}), 0.0)
    cut = {"type": "truncated", "conversation": "c", "from": 3, "to": 900}
    assert session.receive(encoded(cut), 0.0) == []
    frames = written(session.receive(encoded({"type": "resumed"}), 0.0))
    assert len(frames) == 1
    assert frames[0] | {"ref": ""} == {
        "type": "events.read",
        "ref": "",
        "conversation": "c",
        "after": 2,
        "limit": 500,
    }
    page = [message(seq) for seq in range(3, 503)]
    answer = {"type": "events", "ref": frames[0]["ref"], "conversation": "c", "events": page, "more": True}
    outputs = session.receive(encoded(answer), 0.0)
    assert delivered(outputs) == list(range(3, 503))
    assert written(outputs)[0]["after"] == 502


@pytest.mark.parametrize("how", ["by hello", "by frame"])
def test_another_generation_forgets_all_positions(how: str) -> None:
    logs = Logs({"c": 2})
    session = Session(logs, generation="old")
    session.open("t", 0.0)
    if how == "by hello":
        outputs = session.receive(hello("new", {"c": 1}), 0.0)
    else:
        session.receive(hello("old", {"c": 1}), 0.0)
        outputs = session.receive(encoded({"type": "resync", "generation": "new"}), 0.0)
    assert Resync("new") in outputs
    assert CaughtUp() in outputs
    assert logs.positions == {}
    assert session.generation == "new"
    assert session.live


def test_a_resync_that_hello_announced_already_is_done_once() -> None:
    session = Session(Logs({"c": 2}), generation="old")
    session.open("t", 0.0)
    session.receive(hello("new"), 0.0)
    assert session.receive(encoded({"type": "resync", "generation": "new"}), 0.0) == []


def test_a_hole_is_read_and_what_came_early_waits() -> None:
    session = live(Logs({"c": 1}))
    outputs = session.receive(encoded(message(4)), 0.0)
    assert delivered(outputs) == []
    (read,) = written(outputs)
    assert (read["conversation"], read["after"], read["limit"]) == ("c", 1, 2)
    answer = {
        "type": "events",
        "ref": read["ref"],
        "conversation": "c",
        "events": [message(2), {"type": "void", "conversation": "c", "seq": 3}],
        "more": False,
    }
    outputs = session.receive(encoded(answer), 0.0)
    assert delivered(outputs) == [2, 3, 4]
    assert isinstance(outputs[1], Delivered)
    assert outputs[1].event.body == Void()


def test_a_refused_read_is_repeated_later_and_a_lost_log_is_told() -> None:
    session = live(Logs({"c": 1, "d": 1}))
    (read,) = written(session.receive(encoded(message(4)), 0.0))
    busy = {"type": "error", "ref": read["ref"], "code": "rate_limited", "detail": "", "retry_after_ms": 3000}
    assert session.receive(encoded(busy), 10.0) == []
    assert written(session.tick(12.9)) == []
    assert [frame["type"] for frame in written(session.tick(13.1))] == ["events.read"]
    (read,) = written(session.receive(encoded(message(4, "d")), 14.0))
    gone = {"type": "error", "ref": read["ref"], "code": "not_found", "detail": "No such conversation."}
    assert session.receive(encoded(gone), 14.0) == [LogLost("d", "not_found")]


def test_answers_find_their_commands() -> None:
    session = live()
    ref, write = session.command({"type": "message.send", "conversation": "c", "client_id": "k"}, 0.0)
    frame = json.loads(write.data)
    assert next(iter(frame)) == "type"
    assert frame == {"type": "message.send", "ref": ref, "conversation": "c", "client_id": "k"}
    other, _ = session.command({"type": "typing.set", "conversation": "c"}, 0.0)
    assert other != ref
    refused = {"type": "error", "ref": other, "code": "forbidden", "detail": "No.", "field": "x"}
    assert session.receive(encoded(refused), 0.0) == [
        Refused(ref=other, code="forbidden", detail="No.", field="x")
    ]
    ack = {"type": "ack", "ref": ref, "result": {"conversation": "c", "seq": 9, "at": 5}}
    assert session.receive(encoded(ack), 0.0) == [Answered(ref, Accepted(conversation="c", seq=9, at=5))]
    assert session.closed() == frozenset()


def test_the_end_of_a_connection_leaves_outcomes_unknown() -> None:
    session = live()
    ref, _ = session.command({"type": "message.send"}, 0.0)
    assert session.closed() == {ref}
    assert session.receive(encoded(message(1)), 0.0) == []
    assert session.tick(99.0) == []


@pytest.mark.parametrize(
    ("frame", "signal"),
    [
        (
            {"type": "typing.start", "conversation": "c", "user": "v", "thread": 3},
            Typing(conversation="c", user="v", composing=True, thread=3),
        ),
        (
            {"type": "typing.stop", "conversation": "c", "user": "v"},
            Typing(conversation="c", user="v", composing=False),
        ),
        (
            {"type": "presence", "user": "v", "state": "offline", "last_seen": 7},
            Presence(user="v", state="offline", last_seen=7),
        ),
        (
            {"type": "message.read", "conversation": "c", "user": "v", "seq": 5},
            CursorMoved(conversation="c", user="v", seq=5, read=True),
        ),
        (
            {"type": "message.received", "conversation": "c", "user": "v", "seq": 5},
            CursorMoved(conversation="c", user="v", seq=5, read=False),
        ),
    ],
)
def test_signals_pass_beside_the_logs(frame: Frame, signal: object) -> None:
    logs = Logs({"c": 1})
    session = live(logs)
    assert session.receive(encoded(frame), 0.0) == [Signalled(signal)]
    assert logs.positions == {"c": 1}


def test_kinds_that_are_not_known_yet_keep_their_place() -> None:
    session = live(Logs({"c": 1}))
    strange = {"type": "message.sung", "conversation": "c", "seq": 2, "body": {"key": "C"}}
    assert delivered(session.receive(encoded(strange), 0.0)) == [2]
    content = {
        "type": "message.new",
        "conversation": "c",
        "seq": 3,
        "body": {"content": {"type": "hologram"}},
    }
    assert delivered(session.receive(encoded(content), 0.0)) == [3]
    assert session.receive(encoded({"type": "weather", "sky": "blue"}), 0.0) == []


@pytest.mark.parametrize(
    "data",
    [
        b"{",
        b"[]",
        b"7",
        b"\xff",
        b'{"type":7}',
        b'{"type":"events","ref":"x"}',
        b"[" * 100_000,
        b'{"type":"message.new","conversation":"c","seq":"two","body":{}}',
        b'{"type":"message.new","conversation":"c","seq":2,"body":{}}',
    ],
)
def test_what_is_no_frame_ends_the_connection_and_is_tried_anew(data: bytes) -> None:
    session = live(Logs({"c": 1}))
    (hang_up,) = session.receive(data, 0.0)
    assert isinstance(hang_up, HangUp)
    assert len(hang_up.reason.encode()) <= 123
    assert isinstance(after_close(hang_up.code, hang_up.reason), Reconnect)
    assert session.receive(encoded(message(2)), 0.0) == []


def test_an_event_before_hello_is_a_fault_and_an_error_is_told() -> None:
    session = Session(Logs())
    session.open("t", 0.0)
    refused = session.receive(encoded({"type": "error", "code": "token_expired", "detail": "Old."}), 0.0)
    assert refused == [Refused(ref=None, code="token_expired", detail="Old.")]
    (hang_up,) = session.receive(encoded(message(1)), 0.0)
    assert isinstance(hang_up, HangUp)


def test_a_hello_that_does_not_come_is_not_waited_for_long() -> None:
    session = Session(Logs(), sign_in_timeout_s=5)
    session.open("t", 100.0)
    assert session.tick(104.0) == []
    (hang_up,) = session.tick(105.5)
    assert isinstance(hang_up, HangUp)


def test_pings_keep_a_quiet_connection_and_silence_ends_it() -> None:
    session = live(heartbeat_ms=10_000)
    assert session.tick(4.0) == []
    assert [frame["type"] for frame in written(session.tick(5.1))] == ["ping"]
    assert session.tick(5.6) == [], "one at a time"
    session.receive(encoded({"type": "pong", "ref": "~ping", "at": 1}), 5.7)
    assert session.tick(10.0) == []
    for half_seconds in range(21, 52):
        outputs = session.tick(half_seconds / 2)
        assert not any(isinstance(out, HangUp) for out in outputs)
    (hang_up,) = session.tick(25.8)
    assert hang_up == HangUp(4005, "reconnect: the server is silent")


def test_a_new_token_is_asked_for_before_the_old_one_ends() -> None:
    session = live(at=1_000_000, expires_at=1_000_000 + 600_000, heartbeat_ms=600_000)
    assert NeedToken() not in session.tick(539.0)
    assert NeedToken() in session.tick(540.5)
    assert NeedToken() not in session.tick(541.0)
    (frame,) = written(session.refresh("new", 600.0, 542.0))
    assert frame | {"ref": ""} == {"type": "refresh", "ref": "", "token": "new"}
    assert session.receive(encoded({"type": "done", "ref": frame["ref"]}), 542.0) == []
    assert NeedToken() not in session.tick(550.0)


CLOSES: list[tuple[int | None, str, str]] = [
    (None, "", "reconnect"),
    (1000, "", "reconnect"),
    (1001, "", "reconnect"),
    (1002, "", "stop"),
    (1003, "", "stop"),
    (1006, "", "reconnect"),
    (1007, "", "stop"),
    (1009, "", "stop"),
    (1011, "", "reconnect"),
    (4000, "", "reconnect"),
    (4001, "", "new token"),
    (4002, "", "stop"),
    (4003, "", "reconnect"),
    (4004, "", "stop"),
    (4005, "", "reconnect"),
    (4006, "", "reconnect"),
    (4007, "", "reconnect"),
    (4008, "", "stop"),
    (4029, "", "reconnect"),
    (4999, "", "reconnect"),
    # the server's word goes before the table …
    (4006, "stop: too many sessions of this user", "stop"),
    (1011, "stop", "stop"),
    (4999, "stop: closed for good", "stop"),
    (1002, "reconnect: mended", "reconnect"),
    (4001, "reconnect: with a new token", "new token"),
    # … but for a device that was signed out
    (4002, "reconnect", "stop"),
]


@pytest.mark.parametrize(("code", "reason", "wanted"), CLOSES)
def test_every_close_code_has_its_decision(code: int | None, reason: str, wanted: str) -> None:
    decision = after_close(code, reason)
    assert decision.why
    if wanted == "stop":
        assert isinstance(decision, Stop)
    else:
        assert isinstance(decision, Reconnect)
        assert decision.new_token == (wanted == "new token")
        if code in (4006, 4007, 4029):
            assert decision.floor_s > 0


@pytest.mark.parametrize(
    ("status", "wanted"),
    [
        (401, "new token"),
        (429, "reconnect"),
        (503, "reconnect"),
        (500, "reconnect"),
        (404, "stop"),
        (403, "stop"),
    ],
)
def test_a_refused_upgrade_has_its_decision(status: int, wanted: str) -> None:
    decision = after_refusal(status, 7.0)
    if wanted == "stop":
        assert isinstance(decision, Stop)
    else:
        assert isinstance(decision, Reconnect)
        assert decision.new_token == (wanted == "new token")
        assert decision.floor_s == (0.0 if status == 401 else 7.0)


class Wire:
    """A server's logs, and what a lossy network makes of them."""

    def __init__(self, seed: int, loss: float, double: float) -> None:
        self.draw = random.Random(seed)
        self.loss = loss
        self.double = double
        self.logs: dict[str, list[Frame]] = {"a": [], "b": []}

    def commit(self) -> Frame:
        log = self.draw.choice(sorted(self.logs))
        frame = message(len(self.logs[log]) + 1, log)
        self.logs[log].append(frame)
        return frame

    def carried(self, frames: list[Frame]) -> list[Frame]:
        kept = [f for f in frames if self.draw.random() >= self.loss]
        kept += [f for f in frames if self.draw.random() < self.double]
        if self.draw.random() < 0.3:
            self.draw.shuffle(kept)
        return kept

    def answer(self, frame: Frame) -> Frame:
        page = self.logs[frame["conversation"]][frame["after"] :][: min(frame["limit"], 3)]
        return {
            "type": "events",
            "ref": frame["ref"],
            "conversation": frame["conversation"],
            "events": page,
            "more": True,
        }

    def replay(self, positions: dict[str, int]) -> list[Frame]:
        frames: list[Frame] = []
        for log, position in positions.items():
            missed = self.logs[log][position:]
            if len(missed) > 5:
                frames.append(
                    {
                        "type": "truncated",
                        "conversation": log,
                        "from": position + 1,
                        "to": len(self.logs[log]),
                    }
                )
            else:
                frames += missed
        return frames


@given(
    seed=st.integers(0, 2**32),
    steps=st.integers(1, 80),
    loss=st.floats(0, 0.8),
    double=st.floats(0, 0.8),
    breaks=st.floats(0, 0.3),
)
@settings(max_examples=200, deadline=None)
def test_the_clients_logs_equal_the_servers_whatever_the_network_does(
    seed: int, steps: int, loss: float, double: float, breaks: float
) -> None:
    wire = Wire(seed, loss, double)
    logs = Logs({"a": 0, "b": 0}, max_held=4, read_limit=4)
    got: dict[str, list[int]] = {"a": [], "b": []}
    asked: list[Frame] = []
    now = 0.0

    def take(outputs: list[Output]) -> None:
        for out in outputs:
            assert not isinstance(out, Skipped | LogLost | HangUp)
            if isinstance(out, Delivered):
                got[out.event.conversation].append(out.event.seq)
        asked.extend(frame for frame in written(outputs) if frame["type"] == "events.read")

    def connect() -> Session:
        asked.clear()
        session = Session(logs, generation="g")
        (first,) = written(session.open("t", now))
        take(session.receive(hello(heads={log: len(events) for log, events in wire.logs.items()}), now))
        replay = wire.replay(first["positions"])
        cut = wire.draw.randrange(len(replay) + 1) if wire.draw.random() < breaks else len(replay)
        end = [{"type": "resumed"}] if cut == len(replay) else []
        for frame in [*replay[:cut], *end]:
            take(session.receive(encoded(frame), now))
        return session

    def answer_all() -> None:
        for _ in range(1000):
            if asked:
                take(session.receive(encoded(wire.answer(asked.pop(0))), now))

    session = connect()
    for _ in range(steps):
        now += 0.1
        fresh = [wire.commit() for _ in range(wire.draw.randrange(4))]
        for frame in wire.carried(fresh):
            take(session.receive(encoded(frame), now))
        if asked and wire.draw.random() < 0.7:
            take(session.receive(encoded(wire.answer(asked.pop(0))), now))
        if wire.draw.random() < breaks:
            session.closed()
            session = connect()
    wire.draw = random.Random(1)
    session.closed()
    session = connect()
    answer_all()
    take(session.receive(encoded({"type": "resumed"}), now))
    answer_all()
    assert got == {log: list(range(1, len(events) + 1)) for log, events in wire.logs.items()}
