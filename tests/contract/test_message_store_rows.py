"""What every message store promises about rows: keys, indexes, scans and snapshots."""

from __future__ import annotations

import asyncio
import itertools

import pytest
from msgspec.inspect import IntType, LiteralType, StrType, type_info
from msgspec.structs import fields, replace

from tertulia.domain.errors import Refusal
from tertulia.domain.records import (
    RECORDS,
    Conversation,
    Device,
    Identity,
    Invite,
    Member,
    Outbox,
    Reaction,
    Record,
    Scheduled,
    User,
    Versioned,
)
from tertulia.domain.unit import BumpEpoch, Join, Put, Remove, SetCursor, Write
from tests.contract.store_factory import Store
from tests.contract.units import AT, TENANT, made, member, text, unit


def user(name: str, *, handle: str = "", external: str = "", tenant: str = TENANT) -> User:
    return User(tenant=tenant, id=name, handle=handle, name=name, created_at=AT, external=external)


async def put(store: Store, *records: Record) -> None:
    """Rows of one tenant after another's, each tenant's in one unit."""
    for tenant, rows in itertools.groupby(records, lambda record: record.tenant):
        await store.append(unit(tenant=tenant, writes=tuple(Put(row) for row in rows)))


async def conflict(store: Store, *records: Record) -> str | None:
    with pytest.raises(Refusal) as caught:
        await put(store, *records)
    assert caught.value.code == "conflict"
    return caught.value.field


def sample(record: type[Record]) -> Record:
    """A row of a class, with a value of its own in each field that has no default."""
    given: dict[str, object] = {}
    for field in fields(record):
        if not field.required:
            continue
        kind = type_info(field.type)
        if isinstance(kind, LiteralType):
            given[field.name] = kind.values[0]
        elif isinstance(kind, StrType):
            given[field.name] = f"{field.name} of {record.table}"
        elif isinstance(kind, IntType):
            given[field.name] = 7
        elif "tuple" in str(field.type):
            given[field.name] = (1, 2)
        else:
            given[field.name] = field.name.encode()
    return record(**given)


@pytest.mark.parametrize("record", RECORDS, ids=lambda record: record.table)
async def test_every_kind_of_row_comes_back_as_it_was_put(store: Store, record: type[Record]) -> None:
    row = sample(record)
    await put(store, row)
    assert await store.get_versioned(record, *row.key()) == Versioned(record=row, version=1)
    assert await store.scan(record, ()) == [row]
    await put(store, row)
    assert await store.get_versioned(record, *row.key()) == Versioned(record=row, version=2)
    gone = unit(tenant=row.tenant, writes=(Remove(record, row.key()),))
    await store.append(gone)
    assert await store.get(record, *row.key()) is None
    assert await store.count(record, ()) == 0
    await store.append(gone)


async def test_no_unit_touches_what_is_another_tenants(store: Store) -> None:
    await store.append(unit(made("a"), writes=(Put(user("ann")), member("a", "ann"))))
    theirs = Member(tenant=TENANT, conversation="a", user="eve", role="owner", joined_at=AT)
    mine = replace(theirs, tenant="t2")
    wrong: list[Write] = [
        Put(user("eve")),
        Put(theirs),
        Join(theirs),
        Join(mine),
        Remove(User, (TENANT, "ann")),
        SetCursor(log="a", user="eve", read=1),
        BumpEpoch("a"),
    ]
    for write in wrong:
        with pytest.raises(ValueError, match="another tenant"):
            await store.append(unit(tenant="t2", writes=(write,)))
    head = await store.head("a")
    assert head is not None
    assert head.epoch == 1
    assert await store.count(User, ()) == await store.count(Member, ()) == 1


async def test_a_membership_begins_with_the_unit_that_makes_it(store: Store) -> None:
    def join(name: str, since: int = 7) -> Join:
        return Join(
            Member(tenant=TENANT, conversation="a", user=name, role="guest", joined_at=AT, since=since)
        )

    async def since(name: str) -> int:
        row = await store.get(Member, TENANT, "a", name)
        assert row is not None
        return row.since

    await store.append(unit(made("a"), text("a"), writes=(join("ann"),)))
    assert await since("ann") == 0
    # All at once: whatever was decided on, it counts what is there when the unit is taken.
    units = [unit(text("a")), unit(made("b"), text("a"), text("b"), text("a"), writes=(join("bob"),))]
    units += [unit(text("a")), unit(writes=(join("cid"),)), unit(text("a"))]
    await asyncio.gather(*(store.append(each) for each in units))
    assert (await since("bob"), await since("cid")) == (3, 6)
    await store.append(unit(text("a"), writes=(join("bob"),)))
    assert await since("bob") == 7
    with pytest.raises(ValueError, match="no log"):
        await store.append(
            unit(
                writes=(Join(Member(tenant=TENANT, conversation="x", user="y", role="guest", joined_at=AT)),)
            )
        )


async def test_a_key_has_all_its_fields(store: Store) -> None:
    with pytest.raises(ValueError, match="key"):
        await store.get(Member, TENANT, "a")


async def test_the_last_write_of_a_unit_holds(store: Store) -> None:
    await store.append(
        unit(
            writes=(
                Put(user("ann", handle="one")),
                Put(user("ann", handle="two")),
                Remove(User, (TENANT, "ann")),
                Put(user("ann", handle="three")),
                Put(user("bob")),
                Remove(User, (TENANT, "bob")),
            )
        )
    )
    assert await store.scan(User, (TENANT,)) == [user("ann", handle="three")]


# --- unique indexes ------------------------------------------------------------------------------


async def test_a_unique_value_belongs_to_one_row(store: Store) -> None:
    await put(store, user("ann", handle="x"), user("bob", handle="y"))
    assert await conflict(store, user("cid", handle="x")) == "handle"
    assert await conflict(store, user("bob", handle="x")) == "handle"
    assert (
        await conflict(store, user("cid", handle="z", external="e"), user("dan", external="e")) == "external"
    )
    await put(store, user("ann", handle="x", external="e"))
    await put(store, user("cid", handle="x", tenant="t2"))
    assert [row.id for row in await store.scan(User, (TENANT,))] == ["ann", "bob"]
    assert await store.scan(User, (TENANT, "x"), index="handle") == [user("ann", handle="x", external="e")]


async def test_empty_values_are_never_in_each_others_way(store: Store) -> None:
    await put(store, user("ann"), user("bob"))
    await put(
        store,
        Invite(tenant=TENANT, conversation="a", id="1", digest=b"", created_by="ann", created_at=AT),
        Invite(tenant=TENANT, conversation="a", id="2", digest=b"", created_by="ann", created_at=AT),
    )
    digest = Invite(tenant=TENANT, conversation="a", id="3", digest=b"d", created_by="ann", created_at=AT)
    await put(store, digest)
    other = Invite(tenant=TENANT, conversation="b", id="3", digest=b"d", created_by="ann", created_at=AT)
    assert await conflict(store, other) == "digest"
    assert [row.id for row in await store.scan(User, (TENANT, ""), index="handle")] == ["ann", "bob"]


async def test_a_freed_value_can_be_taken(store: Store) -> None:
    await put(store, user("ann", handle="x"))
    await put(store, user("ann", handle="y"))
    await put(store, user("bob", handle="x"))
    await store.append(unit(writes=(Remove(User, (TENANT, "ann")), Put(user("cid", handle="y")))))
    await put(store, user("bob", handle="z"), user("cid", handle="x"), user("dan", handle="y"))
    handles = {row.id: row.handle for row in await store.scan(User, (TENANT,))}
    assert handles == {"bob": "z", "cid": "x", "dan": "y"}


async def test_unique_values_within_one_batch(store: Store) -> None:
    units = [unit(writes=(Put(user(name, handle="x")),)) for name in ("ann", "bob")]
    units.append(unit(writes=(Put(user("ann", handle="y")),)))
    units.append(unit(writes=(Put(user("bob", handle="x")),)))
    units.append(unit(writes=(Remove(User, (TENANT, "ann")), Put(user("cid", handle="y")))))
    done = await asyncio.gather(*[store.append(each) for each in units], return_exceptions=True)
    assert [isinstance(each, Refusal) for each in done] == [False, True, False, False, False]
    handles = {row.id: row.handle for row in await store.scan(User, (TENANT,))}
    assert handles == {"bob": "x", "cid": "y"}


# --- scans ---------------------------------------------------------------------------------------


def reaction(seq: int, emoji: str, name: str) -> Reaction:
    return Reaction(tenant=TENANT, conversation="a", seq=seq, emoji=emoji, user=name, at=AT)


async def test_scans_walk_the_key_in_order(store: Store) -> None:
    rows = [reaction(seq, emoji, name) for seq in (2, 10) for emoji in "+-" for name in ("ann", "bob")]
    await put(
        store, *reversed(rows), Reaction(tenant="t2", conversation="a", seq=2, emoji="+", user="x", at=1)
    )
    key = (TENANT, "a")
    assert await store.scan(Reaction, key) == rows
    assert await store.scan(Reaction, (*key, 2)) == rows[:4]
    assert await store.scan(Reaction, (*key, 2, "-")) == rows[2:4]
    assert await store.scan(Reaction, rows[3].key()) == [rows[3]]
    assert await store.scan(Reaction, key, limit=3) == rows[:3]
    assert await store.scan(Reaction, key, after=rows[2].key(), limit=3) == rows[3:6]
    assert await store.scan(Reaction, key, after=rows[7].key()) == []
    assert await store.scan(Reaction, key, reverse=True, limit=2) == [rows[7], rows[6]]
    assert await store.scan(Reaction, key, reverse=True, after=rows[6].key(), limit=2) == [rows[5], rows[4]]
    assert await store.scan(Reaction, (TENANT, "b")) == []
    assert await store.count(Reaction, key) == 8
    assert await store.count(Reaction, (*key, 2, "+")) == 2
    assert await store.count(Reaction, ()) == 9


async def test_scans_walk_an_index_in_order(store: Store) -> None:
    await store.append(
        unit(writes=tuple(member(log, name) for log in ("c", "a", "b") for name in ("bob", "ann")))
    )
    mine = await store.scan(Member, (TENANT, "ann"), index="user")
    assert [row.conversation for row in mine] == ["a", "b", "c"]
    beyond = await store.scan(Member, (TENANT, "ann"), index="user", after=(TENANT, "ann", "a"), limit=1)
    assert [row.conversation for row in beyond] == ["b"]
    down = await store.scan(Member, (TENANT, "ann"), index="user", after=(TENANT, "ann", "c"), reverse=True)
    assert [row.conversation for row in down] == ["b", "a"]
    assert await store.count(Member, (TENANT, "ann"), index="user") == 3


async def test_rows_with_the_same_index_values_come_in_key_order(store: Store) -> None:
    rows = [
        Identity(tenant=TENANT, kind=kind, value=value, user="ann")
        for kind, value in (("email", "a@x"), ("email", "b@x"), ("phone", "+1"))
    ]
    await put(store, *reversed(rows))
    assert await store.scan(Identity, (TENANT, "ann"), index="user") == rows
    assert await store.scan(Identity, (TENANT, "ann"), index="user", reverse=True) == rows[::-1]


async def test_scans_of_a_unique_index(store: Store) -> None:
    await put(store, user("ann", handle="z"), user("bob", handle="y"), user("cid"))
    assert [row.id for row in await store.scan(User, (TENANT,), index="handle")] == ["cid", "bob", "ann"]
    assert [row.id for row in await store.scan(User, (TENANT, "y"), index="handle")] == ["bob"]
    assert await store.count(User, (TENANT, "y"), index="handle") == 1


async def test_wrong_scans_are_refused(store: Store) -> None:
    with pytest.raises(ValueError, match="index"):
        await store.scan(User, (TENANT,), index="nothing")
    with pytest.raises(ValueError, match="longer"):
        await store.scan(User, (TENANT, "a", "b"))
    with pytest.raises(ValueError, match="after"):
        await store.scan(User, (TENANT,), after=(TENANT,))
    with pytest.raises(ValueError, match="no field"):
        await store.due(User, "handle", (TENANT, "x"), 1, 1)


async def test_due_rows_come_in_order_and_up_to_the_time(store: Store) -> None:
    def work(name: str, topic: str, due_at: int) -> Outbox:
        return Outbox(tenant=TENANT, id=name, topic=topic, due_at=due_at, payload=b"p")

    rows = [work("c", "push", 5), work("a", "push", 7), work("b", "push", 7), work("d", "push", 9)]
    await put(store, *reversed(rows), work("e", "mail", 1))
    assert await store.due(Outbox, "due", ("push",), 7, 10) == rows[:3]
    assert await store.due(Outbox, "due", ("push",), 7, 2) == rows[:2]
    assert await store.due(Outbox, "due", ("push",), 4, 2) == []
    await put(store, work("c", "push", 50))
    assert await store.due(Outbox, "due", ("push",), 8, 10) == rows[1:3]

    def later(name: str, send_at: int, tenant: str = TENANT) -> Scheduled:
        return Scheduled(
            tenant=tenant,
            user="ann",
            id=name,
            conversation="a",
            send_at=send_at,
            command=b"",
            created_at=AT,
        )

    await put(store, later("x", 2), later("y", 1, "t2"), later("z", 3))
    assert [row.id for row in await store.due(Scheduled, "due", (), 2, 10)] == ["y", "x"]


# --- snapshots -----------------------------------------------------------------------------------


async def test_a_snapshot_gives_heads_and_rows_in_the_order_asked_for(store: Store) -> None:
    await store.append(unit(made("a"), writes=(member("a", "ann"), member("a", "bob"))))
    heads, rows = await store.snapshot(
        ["b", "a"],
        [(Member, (TENANT, "a", "bob")), (Conversation, (TENANT, "a")), (Member, (TENANT, "a", "ann"))],
    )
    assert heads == [None, await store.head("a")]
    found = [row.record for row in rows if row is not None]
    assert rows[1] is None
    assert [row.user for row in found if isinstance(row, Member)] == ["bob", "ann"]


async def test_a_snapshot_never_shows_half_a_unit(store: Store) -> None:
    await store.append(unit(made("a"), writes=(Put(user("n")),)))

    async def write() -> None:
        for _ in range(60):
            await store.append(
                unit(text("a"), writes=(Put(user("n")), SetCursor(log="a", user="bob", read=9999)))
            )

    async def watch() -> int:
        seen = 0
        while not writing.done():
            (head,), (row,) = await store.snapshot(["a"], [(User, (TENANT, "n"))])
            assert head is not None
            assert row is not None
            assert head.last_seq == row.version
            seen += 1
            await asyncio.sleep(0)
        return seen

    writing = asyncio.ensure_future(write())
    assert await watch() > 0
    await writing


async def test_rows_may_hold_every_byte(store: Store) -> None:
    device = Device(
        tenant=TENANT,
        user="ann",
        id="d",
        name="n\x00m ✓",
        created_at=AT,
        seen_at=AT,
        secret=bytes(range(256)),
    )
    await put(store, device)
    assert await store.get(Device, TENANT, "ann", "d") == device
