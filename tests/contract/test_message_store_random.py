"""Random units on two stores at once: the plain one in memory says what the other has to do."""

from __future__ import annotations

import asyncio
import tempfile
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from tertulia.adapters.sqlite import Differences, SqliteStore
from tertulia.adapters.store_memory import MemoryStore
from tertulia.domain.content import Poll
from tertulia.domain.errors import Refusal
from tertulia.domain.records import RECORDS, Cursor, Hidden, Mention, User
from tertulia.domain.unit import (
    BumpEpoch,
    Committed,
    EpochIs,
    Expect,
    Join,
    NewEvent,
    Put,
    Remove,
    SetCursor,
    Unit,
    VersionIs,
    ViewIs,
    Write,
)
from tertulia.ports.message_store import SearchQuery
from tests.contract.store_factory import Store
from tests.contract.units import (
    AT,
    TENANT,
    about,
    block,
    conversation,
    delete,
    edit,
    member,
    react,
    text,
    unit,
    vote,
)

LOGS = ("a", "b", "c")
PEOPLE = ("ann", "bob", "cid")
WORDS = ("red fish", "blue fish", "one red", "two")

logs = st.sampled_from(LOGS)
people = st.sampled_from(PEOPLE)
words = st.sampled_from(WORDS)
seqs = st.integers(1, 12)
small = st.integers(0, 3)


def a_log(log: str, kind: str) -> NewEvent:
    return NewEvent(log=log, kind="conversation.created", body=b"{}", actor="ann", creates=kind)


def handles(name: str, handle: str, external: str) -> Put:
    return Put(User(tenant=TENANT, id=name, handle=handle, name=name, created_at=AT, external=external))


events = st.one_of(
    st.builds(a_log, logs, st.sampled_from(["group", "direct", "channel"])),
    st.builds(
        lambda log, what, actor, at_all, mentions, countable: text(
            log, what, actor=actor, at_all=at_all, mentions=tuple(mentions), countable=countable
        ),
        logs,
        words,
        people,
        st.booleans(),
        st.lists(people, max_size=2),
        st.sampled_from([True, True, True, False]),
    ),
    st.builds(lambda log, what, actor: text(log, what, actor=actor), logs, words, people),
    st.builds(
        lambda log, what, actor, root: text(log, what, actor=actor, thread=root), logs, words, people, seqs
    ),
    st.builds(lambda log: text(log, Poll(question="fish?", options=("x", "y"))), logs),
    st.builds(lambda log, seq, what: edit(log, seq, what), logs, seqs, words),
    st.builds(lambda log, seq: delete(log, seq), logs, seqs),
    st.builds(
        lambda log, seq, emoji, gone, actor: react(log, seq, emoji, gone=gone, actor=actor),
        logs,
        seqs,
        st.sampled_from("+-"),
        st.booleans(),
        people,
    ),
    st.builds(lambda log, seq, option: vote(log, seq, (option,)), logs, seqs, st.integers(0, 1)),
    st.builds(lambda log, seq: about(log, "message.pinned", seq), logs, seqs),
    st.builds(
        lambda log: NewEvent(log=log, kind="member.removed", body=b"{}", actor="ann", bumps_epoch=True),
        logs,
    ),
    st.builds(lambda log, at: text(log, "brief", expires_at=AT + at), logs, small),
)


user_keys = st.tuples(st.just(TENANT), people)
expects: st.SearchStrategy[Expect] = st.one_of(
    st.builds(EpochIs, logs, st.integers(0, 3)),
    st.builds(lambda key, version: VersionIs(User, key, version), user_keys, small),
    st.builds(
        lambda log, name, version: VersionIs(Cursor, (TENANT, log, name, 0), version), logs, people, small
    ),
    st.builds(ViewIs, logs, seqs, small),
)
writes: st.SearchStrategy[Write] = st.one_of(
    st.builds(
        lambda log, name, read, received, thread: SetCursor(
            log=log, user=name, read=read, received=received, thread=thread
        ),
        logs,
        people,
        st.integers(0, 14),
        st.integers(0, 14),
        st.sampled_from([0, 0, 0, 1, 2, 3]),
    ),
    st.builds(handles, people, st.sampled_from(["", "x", "y"]), st.sampled_from(["", "", "e"])),
    st.builds(lambda key: Remove(User, key), user_keys),
    st.builds(lambda log, name: Remove(Cursor, (TENANT, log, name, 0)), logs, people),
    st.builds(lambda log, name, seq: Remove(Mention, (TENANT, name, log, seq)), logs, people, seqs),
    st.builds(BumpEpoch, logs),
    st.builds(conversation, logs, history=st.sampled_from(["all", "joined"])),
    st.builds(member, logs, people, since=small),
    st.builds(lambda log, name: Join(member(log, name).record), logs, people),
    st.builds(block, people, people),
    st.builds(
        lambda name, log, seq: Put(Hidden(tenant=TENANT, user=name, conversation=log, seq=seq)),
        people,
        logs,
        seqs,
    ),
)

units: st.SearchStrategy[Unit] = st.builds(
    lambda new, expect, write, who, at, client_id, request, own: unit(
        *new,
        actor=who,
        at=AT + at,
        expects=tuple(expect),
        writes=tuple(write),
        client_id=client_id,
        request=request,
        own_cursor=own,
    ),
    st.lists(events, max_size=3),
    st.lists(expects, max_size=1),
    st.lists(writes, max_size=3),
    people,
    st.integers(0, 20),
    st.sampled_from(["", "", "", "c1", "c2", "c3"]),
    st.sampled_from(["r", "r", "r", "s"]),
    st.sampled_from([True, True, False]),
)

Outcome = Committed | str


async def outcomes(store: Store, batch: list[Unit]) -> list[Outcome]:
    done = await asyncio.gather(*[store.append(each) for each in batch], return_exceptions=True)
    return [
        each
        if isinstance(each, Committed)
        else each.code
        if isinstance(each, Refusal)
        else type(each).__mro__[-3].__name__
        for each in done
    ]


async def state(store: Store) -> dict[str, object]:
    """All that can be read of a store."""
    found: dict[str, object] = {"heads": await store.heads(LOGS)}
    for log in LOGS:
        found[f"events of {log}"] = await store.events(log, 0, 1000)
        found[f"messages of {log}"] = await store.messages(log)
        found[f"a page of {log}"] = await store.messages(log, before=6, limit=2, floor=1)
        found[f"the next page of {log}"] = await store.messages(log, after=2, limit=2)
        for seq in range(1, 8):
            found[f"{log}.{seq}"] = await store.message(log, seq)
            found[f"edits of {log}.{seq}"] = await store.edits(log, seq)
            found[f"thread {log}.{seq}"] = await store.messages(log, thread=seq)
    for record in RECORDS:
        rows = await store.scan(record, ())
        found[f"rows of {record.table}"] = rows
        found[f"versions of {record.table}"] = [await store.get_versioned(record, *row.key()) for row in rows]
        for index in record.indexes:
            found[f"{record.table} by {index.name}"] = await store.scan(record, (), index=index.name)
    for name in PEOPLE:
        for query in ("fish", "red", '"one red"', "b*"):
            hits = await store.search(SearchQuery(tenant=TENANT, user=name, text=query))
            found[f"{name} searches {query}"] = hits
    return found


async def changes_erased_alone(store: Store) -> bool:
    """Whether a change lost its body and its message did not, which no command does: the view cannot be
    had from the log then."""
    for log in LOGS:
        events = await store.events(log, 0, 1000)
        deleted = {event.target for event in events if event.kind == "message.deleted"}
        gone = [event for event in events if event.body is None and event.target]
        if any(event.kind != "message.updated" or event.target not in deleted for event in gone):
            return True
    return False


async def compare(batches: list[list[Unit]], folder: Path) -> None:
    plain, other = MemoryStore(), await SqliteStore.open(folder)
    heard: tuple[list[Committed], list[Committed]] = ([], [])
    plain.on_commit(heard[0].extend)
    other.on_commit(heard[1].extend)
    made = [unit(a_log(log, "group"), text(log, "first fish"), writes=(conversation(log),)) for log in "ab"]
    try:
        for batch in [made, *batches]:
            assert await outcomes(other, batch) == await outcomes(plain, batch)
            assert heard[1] == heard[0]
        seen = await state(other)
        assert seen == await state(plain)
        if not await changes_erased_alone(other):
            found = await other.rebuild_projections()
            assert found == Differences(logs=found.logs, events=found.events)
            assert await state(other) == seen
    finally:
        await other.close()


BATCHES = st.lists(st.lists(units, min_size=1, max_size=8), max_size=4)


@given(batches=BATCHES)
@settings(max_examples=50, deadline=None, suppress_health_check=[HealthCheck.too_slow])
def test_both_stores_do_the_same(batches: list[list[Unit]]) -> None:
    with tempfile.TemporaryDirectory() as folder:
        asyncio.run(compare(batches, Path(folder)))


@pytest.mark.slow
@given(batches=BATCHES)
@settings(max_examples=500, deadline=None, suppress_health_check=[HealthCheck.too_slow])
def test_both_stores_do_the_same_for_long(batches: list[list[Unit]]) -> None:
    with tempfile.TemporaryDirectory() as folder:
        asyncio.run(compare(batches, Path(folder)))
