"""The judge finds what was planted, and nothing in what is right."""

from __future__ import annotations

from collections.abc import Callable

import msgspec
import pytest

from tests.torture.judge import VOID, Ack, Entry, Evidence, Finding, Sent, judge

ROOM = "room"
ANA, BOB = "ana", "bob"


def body(text: str) -> bytes:
    return msgspec.json.encode({"content": {"text": text, "type": "text"}})


def message(seq: int, user: str = ANA, text: str | None = None) -> Entry:
    said = text if text is not None else f"text {seq}"
    return Entry(seq=seq, kind="message.new", user=user, at=1000 + seq, client_id=f"c{seq}", body=body(said))


def log() -> list[Entry]:
    """Made by the server (1), messages, an edit (5) and a deletion (7) of 3; 6 reacts to 2."""
    return [
        Entry(seq=1, kind="conversation.created", user=ANA, at=1000, body=b"{}"),
        message(2),
        message(3, BOB),
        message(4),
        Entry(
            seq=5, kind="message.updated", user=BOB, at=1005, client_id="c5", target=3, body=body("better")
        ),
        Entry(
            seq=6, kind="reaction.new", user=BOB, at=1005, client_id="c6", target=2, body=b'{"emoji":"+1"}'
        ),
        Entry(seq=7, kind="message.deleted", user=BOB, at=1007, client_id="c7", target=3, body=b"{}"),
        message(8),
    ]


def erased(entries: list[Entry]) -> list[Entry]:
    """What the store has after the deletion: headers without bodies."""
    return [msgspec.structs.replace(e, body=b"") if e.seq in (3, 5) else e for e in entries]


def void(seq: int) -> Entry:
    return Entry(seq=seq, kind=VOID)


SAID = {2: "text 2", 3: "text 3", 4: "text 4", 5: "better", 6: "+1", 7: "", 8: "text 8"}


def evidence() -> Evidence:
    """Everything is right: one device saw all live, another came after the deletion."""
    sent = [
        Sent(client_id=e.client_id, user=e.user, log=ROOM, kind=e.kind, target=e.target, said=SAID[e.seq])
        for e in log()[1:]
    ]
    late = [void(e.seq) if e.seq in (3, 5) else e for e in log()]
    return Evidence(
        sent=[*sent, Sent(client_id="c9", user=ANA, log=ROOM, kind="message.new", said="refused")],
        acknowledged=[Ack(one.client_id, one.user, ROOM, seq) for seq, one in enumerate(sent, 2)],
        refused=[(ANA, "c9")],
        stored={ROOM: erased(log())},
        read={ROOM: late},
        received={"early": {ROOM: log()}, "late": {ROOM: list(late)}},
        floor={ROOM: 1},
    )


def flaws(found: list[Finding]) -> set[str]:
    return {finding.flaw for finding in found}


def test_what_is_right_is_left_alone() -> None:
    assert judge(evidence()) == []


def test_nothing_at_all_is_right_as_well() -> None:
    assert judge(Evidence(stored={})) == []


def test_a_repeated_acknowledgement_is_right() -> None:
    given = evidence()
    given.acknowledged = [*given.acknowledged, given.acknowledged[0]]
    assert judge(given) == []


def test_an_unanswered_command_may_be_stored_or_not() -> None:
    given = evidence()
    given.acknowledged = given.acknowledged[:-1]
    assert judge(given) == []
    given.stored = {ROOM: erased(log())[:-1]}
    given.read = {ROOM: given.read[ROOM][:-1]}
    given.received = {name: {ROOM: logs[ROOM][:-1]} for name, logs in given.received.items()}
    assert judge(given) == []


def stored(change: Callable[[list[Entry]], None]) -> Callable[[Evidence], None]:
    def plant(given: Evidence) -> None:
        entries = list(given.stored[ROOM])
        change(entries)
        given.stored = {ROOM: entries}

    return plant


def received(change: Callable[[list[Entry]], None], device: str = "early") -> Callable[[Evidence], None]:
    def plant(given: Evidence) -> None:
        entries = list(given.received[device][ROOM])
        change(entries)
        given.received = {**given.received, device: {ROOM: entries}}

    return plant


def read(change: Callable[[list[Entry]], None]) -> Callable[[Evidence], None]:
    def plant(given: Evidence) -> None:
        entries = list(given.read[ROOM])
        change(entries)
        given.read = {ROOM: entries}

    return plant


def other(index: int, **fields: object) -> Callable[[list[Entry]], None]:
    def change(entries: list[Entry]) -> None:
        entries[index] = msgspec.structs.replace(entries[index], **fields)

    return change


def swap(entries: list[Entry]) -> None:
    entries[1], entries[2] = entries[2], entries[1]


def end(entries: list[Entry]) -> None:
    del entries[-1]


def middle(entries: list[Entry]) -> None:
    del entries[3]


def twice(entries: list[Entry]) -> None:
    entries.insert(4, entries[3])


def stored_again(entries: list[Entry]) -> None:
    entries.append(msgspec.structs.replace(entries[3], seq=9, at=1010))


def strange(entries: list[Entry]) -> None:
    entries.append(msgspec.structs.replace(entries[3], seq=9, at=1010, client_id="who"))


def refused(entries: list[Entry]) -> None:
    entries.append(message(9, ANA, "refused"))


def answered_twice(given: Evidence) -> None:
    first = given.acknowledged[0]
    given.acknowledged = [*given.acknowledged, Ack(first.client_id, first.user, ROOM, 4)]


def never_sent(given: Evidence) -> None:
    given.sent = given.sent[1:]


def empty_handed(given: Evidence) -> None:
    given.received = {**given.received, "early": {ROOM: []}}


@pytest.mark.parametrize(
    ("plant", "flaw"),
    [
        # an acknowledged message that is not stored: at the end, and within
        pytest.param(stored(end), "lost", id="loss at the end"),
        pytest.param(stored(middle), "lost", id="loss within"),
        pytest.param(stored(middle), "hole", id="hole in the store"),
        # its place was given to somebody else
        pytest.param(stored(other(3, client_id="c2")), "lost", id="place of another id"),
        pytest.param(stored(other(3, user=BOB)), "lost", id="place of another person"),
        pytest.param(stored(stored_again), "doubled", id="stored twice"),
        pytest.param(stored(twice), "doubled", id="number twice"),
        pytest.param(stored(swap), "reordered", id="store reordered"),
        pytest.param(stored(other(3, body=body("forged"))), "differs", id="stored body"),
        pytest.param(stored(other(5, target=4)), "differs", id="stored target"),
        pytest.param(stored(other(3, kind="message.updated")), "differs", id="stored kind"),
        pytest.param(stored(other(3, body=b"")), "differs", id="body gone without a deletion"),
        pytest.param(stored(other(7, at=5)), "time", id="time runs back"),
        pytest.param(stored(strange), "invented", id="nobody sent it"),
        pytest.param(stored(refused), "refused_but_stored", id="refused and stored"),
        pytest.param(answered_twice, "two_answers", id="two answers"),
        pytest.param(never_sent, "invented", id="acknowledged and never sent"),
        pytest.param(received(middle), "hole", id="hole on a device"),
        pytest.param(received(end), "hole", id="end missing on a device"),
        pytest.param(empty_handed, "hole", id="a device got nothing"),
        pytest.param(received(twice), "doubled", id="delivered twice"),
        pytest.param(received(swap), "reordered", id="delivered out of order"),
        pytest.param(received(other(3, body=body("forged"))), "differs", id="delivered body"),
        pytest.param(received(other(3, at=1)), "differs", id="delivered time"),
        pytest.param(received(other(3, kind=VOID)), "differs", id="void for no reason"),
        pytest.param(received(lambda e: e.append(message(9))), "lost", id="shown and not stored"),
        pytest.param(received(other(2, user=ANA), "early"), "differs", id="erased, with another author"),
        pytest.param(read(end), "hole", id="reading ends early"),
        pytest.param(read(other(3, body=body("forged"))), "differs", id="reading differs"),
    ],
)
def test_a_planted_flaw_is_found(plant: Callable[[Evidence], None], flaw: str) -> None:
    given = evidence()
    plant(given)
    assert flaw in flaws(judge(given))


def test_an_incomplete_device_is_right_when_it_need_not_be_complete() -> None:
    given = evidence()
    received(end)(given)
    given.complete = False
    assert judge(given) == []
    received(middle)(given)
    assert flaws(judge(given)) == {"hole"}


def test_what_was_there_before_needs_no_sender() -> None:
    given = evidence()
    given.sent = [sent for sent in given.sent if sent.client_id != "c2"]
    given.acknowledged = given.acknowledged[1:]
    given.floor = {ROOM: 2}
    assert judge(given) == []
    given.floor = {ROOM: 1}
    assert flaws(judge(given)) == {"invented"}
