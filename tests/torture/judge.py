"""The judge: compares what was sent and acknowledged, what is stored, and what every device received.

Pure: no I/O, no clock.  `judge` returns what is wrong; an empty list means that the contract of the log
held (nothing acknowledged lost, nothing doubled, one dense order, the same bodies everywhere).
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from typing import Literal

import msgspec

VOID = "void"

Flaw = Literal[
    "lost",  # acknowledged or delivered, and not stored at that place
    "doubled",  # one client_id stored twice, or one event delivered twice to a device
    "reordered",  # a device got an event after a later one
    "hole",  # a number that is missing, in the store or on a device
    "differs",  # another body, author, kind, target or time than elsewhere
    "two_answers",  # one client_id acknowledged with different numbers
    "invented",  # stored, but nobody sent it
    "refused_but_stored",  # refused with a code that promises that nothing was written
    "time",  # event times decrease within a log
]


class Entry(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    """One event, wherever it was seen.  A void, as the wire has it, has nothing but its number; in the store
    an erased event keeps its header.  `body` is canonical JSON, empty when it was erased."""

    seq: int
    kind: str
    user: str = ""
    at: int = 0
    client_id: str = ""
    target: int = 0
    body: bytes = b""


class Sent(msgspec.Struct, frozen=True, kw_only=True):
    """What a client asked for.  `said` is the part of the event's body that the client wrote (`said_in`)."""

    client_id: str
    user: str
    log: str
    kind: str
    target: int = 0
    said: str = ""


class Ack(msgspec.Struct, frozen=True):
    """An acknowledgement: the event that a command made."""

    client_id: str
    user: str
    log: str
    seq: int


class Finding(msgspec.Struct, frozen=True):
    """One thing that is wrong."""

    flaw: Flaw
    detail: str


class Evidence(msgspec.Struct, kw_only=True):
    """What is compared.

    `stored` is the truth (read from the database file), `read` what the server gives to one who asks for
    the whole log, `received` what each device got, in the order in which it got it.  `refused` holds the
    (user, client_id) that were refused with a promise that nothing was written and never accepted later.
    `floor`: the seq of each log up to which events were there before the first command.  `complete`: every
    device is expected to hold the whole log.
    """

    sent: Sequence[Sent] = ()
    acknowledged: Sequence[Ack] = ()
    refused: Iterable[tuple[str, str]] = ()
    stored: Mapping[str, Sequence[Entry]]
    read: Mapping[str, Sequence[Entry]] = {}
    received: Mapping[str, Mapping[str, Sequence[Entry]]] = {}
    floor: Mapping[str, int] = {}
    complete: bool = True


class _Body(msgspec.Struct):
    content: dict[str, object] = {}
    emoji: str = ""


def said_in(entry: Entry) -> str:
    """The part of an event's body that its author wrote: the text, or the emoji of a reaction."""
    if not entry.body:
        return ""
    body = msgspec.json.decode(entry.body, type=_Body)
    return str(body.content.get("text", "")) if body.content else body.emoji


def judge(evidence: Evidence) -> list[Finding]:
    """Everything that is wrong with the evidence."""
    found: list[Finding] = []
    for log, entries in evidence.stored.items():
        found += _dense(f"the store, {log}", entries)
        found += _times(log, entries)
    found += _acknowledgements(evidence)
    found += _senders(evidence)
    for log, entries in evidence.read.items():
        found += _same(f"read from the server, {log}", entries, evidence.stored.get(log, ()), complete=True)
    for device, logs in evidence.received.items():
        for log, entries in logs.items():
            stored = evidence.stored.get(log, ())
            found += _same(f"{device}, {log}", entries, stored, complete=evidence.complete)
    return found


def _dense(where: str, entries: Sequence[Entry]) -> Iterable[Finding]:
    """The numbers are 1, 2, 3, … in this order; one finding for each place where they are not."""
    seen: set[int] = set()
    last = 0
    for entry in entries:
        if entry.seq in seen:
            yield Finding("doubled", f"{where}: {entry.seq} came twice")
        elif entry.seq < last:
            yield Finding("reordered", f"{where}: {entry.seq} came after {last}")
        seen.add(entry.seq)
        last = max(last, entry.seq)
    missing = last - len(seen)
    if missing > 0:
        first = next(seq for seq in range(1, last + 1) if seq not in seen)
        yield Finding("hole", f"{where}: {missing} of {last} are missing, the first is {first}")


def _times(log: str, entries: Sequence[Entry]) -> Iterable[Finding]:
    latest = 0
    for entry in entries:
        if entry.at < latest:
            yield Finding("time", f"{log}: {entry.seq} is {latest - entry.at} ms older than one before it")
        latest = max(latest, entry.at)


def _acknowledgements(evidence: Evidence) -> Iterable[Finding]:
    stored = {log: {entry.seq: entry for entry in entries} for log, entries in evidence.stored.items()}
    asked = {(sent.user, sent.client_id): sent for sent in evidence.sent}
    answers: dict[tuple[str, str], Ack] = {}
    for ack in evidence.acknowledged:
        key = (ack.user, ack.client_id)
        first = answers.setdefault(key, ack)
        if (first.log, first.seq) != (ack.log, ack.seq):
            yield Finding("two_answers", f"{ack.client_id}: {first.log} {first.seq} and {ack.log} {ack.seq}")
            continue
        if first is not ack or not ack.seq:
            continue
        entry = stored.get(ack.log, {}).get(ack.seq)
        if entry is None:
            yield Finding(
                "lost", f"{ack.client_id}: acknowledged as {ack.log} {ack.seq}, which is not stored"
            )
            continue
        if entry.client_id != ack.client_id or entry.user != ack.user:
            yield Finding("lost", f"{ack.client_id}: {ack.log} {ack.seq} is {entry.client_id!r}'s by now")
            continue
        sent = asked.get(key)
        if sent is None:
            yield Finding("invented", f"{ack.client_id}: acknowledged, but never sent")
        elif wrong := _unlike(sent, entry):
            yield Finding("differs", f"{ack.client_id}: {ack.log} {ack.seq}: {wrong}")


def _unlike(sent: Sent, entry: Entry) -> str:
    if sent.kind != entry.kind or sent.target != entry.target:
        return f"sent {sent.kind} of {sent.target}, stored {entry.kind} of {entry.target}"
    said = said_in(entry)
    return "" if said == sent.said or not entry.body else f"sent {sent.said!r}, stored {said!r}"


def _senders(evidence: Evidence) -> Iterable[Finding]:
    """Every stored event with a client_id was sent, once, and was not refused."""
    asked = {(sent.user, sent.client_id): sent for sent in evidence.sent}
    refused = set(evidence.refused)
    counts: Counter[tuple[str, str]] = Counter()
    for log, entries in evidence.stored.items():
        for entry in entries:
            if not entry.client_id or entry.seq <= evidence.floor.get(log, 0):
                continue
            key = (entry.user, entry.client_id)
            counts[key] += 1
            if key in refused:
                yield Finding("refused_but_stored", f"{entry.client_id}: {log} {entry.seq}")
            sent = asked.get(key)
            if sent is None or sent.log != log:
                yield Finding("invented", f"{log} {entry.seq}: {entry.client_id!r} was not sent there")
            elif wrong := _unlike(sent, entry):
                yield Finding("differs", f"{log} {entry.seq}: {wrong}")
    for (_, client_id), count in counts.items():
        if count > 1:
            yield Finding("doubled", f"{client_id}: stored {count} times")


def _erased(entries: Sequence[Entry]) -> dict[int, int]:
    """The seqs whose bodies were removed by a deletion (their edits too) → the seq of the deletion."""
    gone = {entry.target: entry.seq for entry in reversed(entries) if entry.kind == "message.deleted"}
    edits = {
        entry.seq: gone[entry.target]
        for entry in entries
        if entry.kind == "message.updated" and entry.target in gone and entry.seq < gone[entry.target]
    }
    return {**edits, **gone}


def _same(
    where: str, entries: Sequence[Entry], stored: Sequence[Entry], *, complete: bool
) -> Iterable[Finding]:
    """`entries` are the stored ones from 1 on, in order; with `complete`, all of them.

    A body that was removed in between may have been seen before or not: either is right."""
    yield from _dense(where, entries)
    truth = {entry.seq: entry for entry in stored}
    erased = _erased(stored)
    for entry in entries:
        real = truth.get(entry.seq)
        if real is None:
            yield Finding("lost", f"{where}: {entry.seq} was shown and is not stored")
        elif entry != real and not (entry.seq in erased and _erasure(entry, real)):
            yield Finding("differs", f"{where}: {entry.seq}: {_brief(entry)}, stored {_brief(real)}")
    if complete:
        last = max((entry.seq for entry in entries), default=0)
        want = max(truth, default=0)
        if last < want:
            yield Finding("hole", f"{where}: ends at {last}, the log at {want}")


def _erasure(one: Entry, other: Entry) -> bool:
    """Whether two views of an event differ by nothing but its erased body.  On the wire an erased event is
    a void; in the store its header stays."""
    if VOID in (one.kind, other.kind):
        return True
    return msgspec.structs.replace(one, body=b"") == msgspec.structs.replace(other, body=b"")


def _brief(entry: Entry) -> str:
    return f"{entry.kind} {entry.client_id} at {entry.at} {entry.body[:80].decode(errors='replace')}"
