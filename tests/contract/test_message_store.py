"""What every message store promises about logs: numbers, repeats, expectations, cursors, views."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import Sequence

import pytest
from msgspec.structs import replace

from tertulia.domain.content import Poll, Text
from tertulia.domain.errors import Refusal
from tertulia.domain.events import Event
from tertulia.domain.records import Cursor, Expiry, Mention, User
from tertulia.domain.unit import (
    BumpEpoch,
    Committed,
    EpochIs,
    NewEvent,
    Put,
    Remove,
    SetCursor,
    Unit,
    VersionIs,
    ViewIs,
)
from tertulia.domain.views import current_content
from tests.contract.store_factory import Store, StoreFactory
from tests.contract.units import (
    AT,
    TENANT,
    about,
    delete,
    digest,
    edit,
    made,
    react,
    text,
    unit,
    vote,
)


async def refused(store: Store, given: Unit) -> Refusal:
    with pytest.raises(Refusal) as caught:
        await store.append(given)
    return caught.value


async def settled(store: Store, units: Sequence[Unit]) -> list[Committed | BaseException]:
    """Append all at once, so that a store may take them as one batch."""
    return await asyncio.gather(*[store.append(each) for each in units], return_exceptions=True)


def user(name: str, *, handle: str = "", external: str = "") -> User:
    return User(tenant=TENANT, id=name, handle=handle, name=name, created_at=AT, external=external)


# --- numbers -------------------------------------------------------------------------------------


async def test_seq_is_dense_from_1_in_each_log(store: Store) -> None:
    await store.append(unit(made("a")))
    await store.append(unit(made("b")))
    await settled(store, [unit(text("ab"[n % 2], str(n))) for n in range(50)])
    for log in "ab":
        events = await store.events(log, 0, 100)
        assert [event.seq for event in events] == list(range(1, 27))
        assert {event.log for event in events} == {log}


async def test_an_event_comes_back_as_it_was_committed(store: Store) -> None:
    await store.append(unit(made("a", "channel")))
    done = await store.append(unit(text("a", "hi"), client_id="c1", at=AT + 5))
    (event,) = done.events
    assert (await store.events("a", 1, 10)) == [event]
    assert event == Event(
        tenant=TENANT,
        log="a",
        room="a",
        log_kind="channel",
        seq=2,
        kind="message.new",
        actor="ann",
        at=AT + 5,
        ordinal=1,
        all_ordinal=0,
        body=text("a", "hi").body,
        client_id="c1",
    )


async def test_a_topics_events_name_the_room_of_its_channel(store: Store) -> None:
    done = await store.append(unit(made("topic", "topic", room="channel")))
    assert done.events[0].room == "channel"
    head = await store.head("topic")
    assert head is not None
    assert (head.room, head.kind, head.log) == ("channel", "topic", "topic")


async def test_a_unit_may_write_to_several_logs_and_twice_to_one(store: Store) -> None:
    done = await store.append(
        unit(made("a"), made("ann", "personal"), text("a", "one"), text("a", "two"), client_id="c")
    )
    assert [(event.log, event.seq) for event in done.events] == [("a", 1), ("ann", 1), ("a", 2), ("a", 3)]
    assert [event.client_id for event in done.events] == ["c", "", "", ""]
    again = await store.append(
        unit(made("a"), made("ann", "personal"), text("a", "one"), text("a", "two"), client_id="c")
    )
    assert again == Committed(events=done.events, repeated=True)


async def test_times_never_decrease_within_a_log(store: Store) -> None:
    await store.append(unit(made("a"), at=AT))
    await store.append(unit(text("a"), at=AT + 100))
    late = await store.append(unit(text("a"), at=AT + 50))
    assert late.events[0].at == AT + 100
    other = await store.append(unit(made("b"), at=AT + 50))
    assert other.events[0].at == AT + 50
    head = await store.head("a")
    assert head is not None
    assert head.updated_at == AT + 100


async def test_reading_events_in_pages(store: Store) -> None:
    await store.append(unit(made("a")))
    await settled(store, [unit(text("a", str(n))) for n in range(9)])
    assert [event.seq for event in await store.events("a", 0, 4)] == [1, 2, 3, 4]
    assert [event.seq for event in await store.events("a", 4, 4)] == [5, 6, 7, 8]
    assert [event.seq for event in await store.events("a", 8, 4)] == [9, 10]
    assert [event.seq for event in await store.events("a", 2, 100, until=5)] == [3, 4, 5]
    assert await store.events("a", 10, 4) == []
    assert await store.events("nowhere", 0, 4) == []


# --- heads ---------------------------------------------------------------------------------------


async def test_heads_count_messages_and_keep_the_order_asked_for(store: Store) -> None:
    await store.append(unit(made("a")))
    await store.append(unit(made("b", "direct")))
    await store.append(unit(text("a", at_all=True)))
    await store.append(unit(text("a"), at=AT + 7))
    await store.append(unit(react("a", 2, "+")))
    missing, b, a, again = await store.heads(["nowhere", "b", "a", "a"])
    assert missing is None
    assert a is not None
    assert again == a
    assert (a.last_seq, a.message_count, a.all_count, a.updated_at) == (4, 2, 1, AT + 7)
    assert (a.kind, a.tenant, a.first_seq, a.epoch) == ("group", TENANT, 1, 1)
    assert b is not None
    assert (b.last_seq, b.message_count, b.kind) == (1, 0, "direct")
    assert await store.head("a") == a
    assert await store.heads([]) == []


async def test_epochs_grow_with_what_bumps_them(store: Store) -> None:
    await store.append(unit(made("a")))
    await store.append(
        unit(NewEvent(log="a", kind="member.removed", body=b"{}", actor="ann", bumps_epoch=True))
    )
    await store.append(unit(writes=(BumpEpoch("a"),)))
    head = await store.head("a")
    assert head is not None
    assert (head.epoch, head.last_seq) == (3, 2)


# --- repeats -------------------------------------------------------------------------------------


async def test_a_repeat_gets_the_first_outcome_and_writes_nothing(store: Store) -> None:
    await store.append(unit(made("a")))
    first = await store.append(unit(text("a"), client_id="c1", request="hello"))
    again = await store.append(unit(text("a"), client_id="c1", request="hello", at=AT + 99))
    assert not first.repeated
    assert again == Committed(events=first.events, repeated=True)
    assert len(await store.events("a", 0, 10)) == 2


async def test_another_request_under_the_same_client_id_is_refused(store: Store) -> None:
    await store.append(unit(made("a")))
    await store.append(unit(text("a"), client_id="c1", request="hello"))
    assert (await refused(store, unit(text("a"), client_id="c1", request="other"))).code == "client_id_reused"
    assert len(await store.events("a", 0, 10)) == 2
    await store.append(unit(text("a", actor="bob"), actor="bob", client_id="c1", request="other"))


async def test_the_same_unit_a_hundred_times_at_once_gives_one_event(store: Store) -> None:
    await store.append(unit(made("a")))
    same = unit(text("a"), client_id="c1", request="hello")
    done = await asyncio.gather(*[store.append(same) for _ in range(100)])
    assert sum(not each.repeated for each in done) == 1
    assert {each.events[0].seq for each in done} == {2}
    assert len(await store.events("a", 0, 10)) == 2


async def test_a_repeat_is_known_even_when_its_expectations_fail_now(store: Store) -> None:
    await store.append(unit(made("a")))
    given = unit(text("a"), client_id="c1", request="x", expects=(EpochIs("a", 1),))
    first = await store.append(given)
    await store.append(unit(writes=(BumpEpoch("a"),)))
    assert (await store.append(given)).events == first.events


async def test_a_refused_unit_may_be_tried_again_under_its_client_id(store: Store) -> None:
    await store.append(unit(made("a")))
    given = unit(text("a"), client_id="c1", request="x", expects=(EpochIs("a", 2),))
    assert (await refused(store, given)).code == "stale"
    await store.append(unit(writes=(BumpEpoch("a"),)))
    assert not (await store.append(given)).repeated


async def test_outcome_tells_what_a_client_id_gave(store: Store) -> None:
    await store.append(unit(made("a")))
    given = unit(text("a"), client_id="c1", request="x")
    assert await store.outcome(given.idem, given.request) is None
    first = await store.append(given)
    assert await store.outcome(given.idem, given.request) == Committed(events=first.events, repeated=True)
    with pytest.raises(Refusal) as caught:
        await store.outcome(given.idem, digest("other"))
    assert caught.value.code == "client_id_reused"


async def test_an_idempotency_key_needs_an_event(store: Store) -> None:
    await store.append(unit(made("a")))
    with pytest.raises(ValueError, match="has an event"):
        await store.append(unit(client_id="c1", writes=(BumpEpoch("a"),)))
    head = await store.head("a")
    assert head is not None
    assert head.epoch == 1


# --- expectations --------------------------------------------------------------------------------


async def test_an_epoch_that_moved_on_is_stale(store: Store) -> None:
    assert (await refused(store, unit(made("b"), expects=(EpochIs("a", 1),)))).code == "stale"
    await store.append(unit(made("a"), expects=(EpochIs("a", 0),)))
    await store.append(unit(text("a"), expects=(EpochIs("a", 1),)))
    await store.append(unit(writes=(BumpEpoch("a"),)))
    assert (await refused(store, unit(text("a"), expects=(EpochIs("a", 1),)))).code == "stale"
    await store.append(unit(text("a"), expects=(EpochIs("a", 2),)))


async def test_row_versions_count_changes(store: Store) -> None:
    key = (TENANT, "ann")
    await store.append(unit(writes=(Put(user("ann")),), expects=(VersionIs(User, key, 0),)))
    assert (await refused(store, unit(expects=(VersionIs(User, key, 0),)))).code == "stale"
    await store.append(unit(writes=(Put(user("ann", handle="x")),), expects=(VersionIs(User, key, 1),)))
    found = await store.get_versioned(User, *key)
    assert found is not None
    assert (found.version, found.record.handle) == (2, "x")
    await store.append(unit(writes=(Remove(User, key),), expects=(VersionIs(User, key, 2),)))
    await store.append(unit(writes=(Put(user("ann")), Put(user("ann"))), expects=(VersionIs(User, key, 0),)))
    found = await store.get_versioned(User, *key)
    assert found is not None
    assert found.version == 2


async def test_a_views_version_counts_the_events_folded_in(store: Store) -> None:
    await store.append(unit(made("a"), text("a")))
    await store.append(unit(edit("a", 2, "x"), expects=(ViewIs("a", 2, 0),)))
    assert (await refused(store, unit(edit("a", 2, "y"), expects=(ViewIs("a", 2, 0),)))).code == "stale"
    await store.append(unit(edit("a", 2, "y"), expects=(ViewIs("a", 2, 1),)))
    assert (await refused(store, unit(expects=(ViewIs("nowhere", 2, 1),)))).code == "stale"
    await store.append(unit(expects=(ViewIs("nowhere", 2, 0),)))


async def test_expectations_see_the_units_before_them(store: Store) -> None:
    await store.append(unit(made("a"), text("a", Poll(question="?", options=("x", "y")))))
    closing = unit(about("a", "poll.closed", 2), expects=(ViewIs("a", 2, 0),))
    done = await settled(store, [closing] * 5)
    assert sum(isinstance(each, Committed) for each in done) == 1
    assert {each.code for each in done if isinstance(each, Refusal)} == {"stale"}


async def test_a_log_is_made_once(store: Store) -> None:
    done = await settled(store, [unit(made("a")) for _ in range(3)])
    assert sum(isinstance(each, Committed) for each in done) == 1
    assert {each.code for each in done if isinstance(each, Refusal)} == {"stale"}


@pytest.mark.parametrize(
    "wrong",
    [
        unit(text("nowhere")),
        unit(made("b"), made("b")),
        unit(edit("a", 9, "x")),
        unit(text("a", thread=9)),
        unit(text("a"), tenant="t2"),
        unit(writes=(BumpEpoch("nowhere"),)),
        unit(writes=(SetCursor(log="nowhere", user="ann", read=1),)),
        unit(text("a"), about("a", "message.updated", 1, b'{"content":7}')),
    ],
    ids=["log", "twice", "target", "thread", "tenant", "epoch", "cursor", "body"],
)
async def test_a_wrong_unit_changes_nothing_and_harms_no_other(store: Store, wrong: Unit) -> None:
    await store.append(unit(made("a")))
    before, failed, after = await settled(store, [unit(text("a", "1")), wrong, unit(text("a", "2"))])
    assert isinstance(before, Committed)
    assert isinstance(after, Committed)
    assert isinstance(failed, Exception)
    assert not isinstance(failed, Refusal)
    assert [event.seq for event in await store.events("a", 0, 9)] == [1, 2, 3]
    assert after.events[0].seq == 3
    head = await store.head("a")
    assert head is not None
    assert (head.message_count, head.epoch) == (2, 1)
    assert await store.head("b") is None


async def test_one_refused_unit_does_not_fail_its_batch(store: Store) -> None:
    await store.append(unit(made("a")))
    units = [unit(text("a", str(n)), expects=(EpochIs("a", 1 if n % 3 else 2),)) for n in range(30)]
    done = await settled(store, units)
    assert [isinstance(each, Committed) for each in done] == [bool(n % 3) for n in range(30)]
    assert [event.seq for event in await store.events("a", 0, 99)] == list(range(1, 22))


async def test_a_refused_unit_leaves_no_row_behind(store: Store) -> None:
    await store.append(unit(writes=(Put(user("ann", handle="ann")),)))
    taking = unit(
        made("a"),
        writes=(
            Put(user("bob", handle="bob")),
            Remove(User, (TENANT, "ann")),
            Put(user("cid", handle="bob")),
        ),
    )
    refusal, done = await settled(store, [taking, unit(writes=(Put(user("dan", handle="bob")),))])
    assert isinstance(refusal, Refusal)
    assert refusal.code == "conflict"
    assert isinstance(done, Committed)
    assert [row.id for row in await store.scan(User, (TENANT,))] == ["ann", "dan"]
    assert await store.head("a") is None


# --- cursors -------------------------------------------------------------------------------------


async def unread(store: Store, log: str, name: str) -> tuple[int, int]:
    """Unread messages and unread @all, as a client's list shows them."""
    cursor = await store.get(Cursor, TENANT, log, name, 0)
    head = await store.head(log)
    assert head is not None
    if cursor is None:
        return head.message_count, head.all_count
    return head.message_count - cursor.ordinal, head.all_count - cursor.all_ordinal


async def test_sending_moves_ones_own_cursor(store: Store) -> None:
    await store.append(unit(made("a")))
    done = await store.append(unit(text("a")))
    await store.append(unit(text("a", actor="bob", at_all=True), actor="bob"))
    assert done.cursors == ()
    assert await store.get(Cursor, TENANT, "a", "ann", 0) == Cursor(
        tenant=TENANT, conversation="a", user="ann", read=2, received=2, ordinal=1
    )
    assert await unread(store, "a", "ann") == (1, 1)
    await store.append(unit(text("a")))
    versioned = await store.get_versioned(Cursor, TENANT, "a", "ann", 0)
    assert versioned is not None
    assert (versioned.version, versioned.record.read) == (2, 4)
    assert await unread(store, "a", "bob") == (1, 0)
    assert await unread(store, "a", "cid") == (3, 1)


async def test_own_cursors_are_left_alone_when_asked_or_when_it_does_not_count(store: Store) -> None:
    await store.append(unit(made("a")))
    await store.append(unit(text("a"), own_cursor=False))
    await store.append(unit(text("a", countable=False)))
    await store.append(unit(react("a", 2, "+")))
    assert await store.get(Cursor, TENANT, "a", "ann", 0) is None
    assert await unread(store, "a", "ann") == (1, 0)


async def test_cursors_move_forward_only_and_unread_is_arithmetic(store: Store) -> None:
    await store.append(unit(made("a")))
    for n in range(6):
        await store.append(unit(text("a", str(n), at_all=n == 4)))
        await store.append(unit(react("a", 2, "+")))
    move = await store.append(unit(writes=(SetCursor(log="a", user="bob", read=6, received=8),)))
    (moved,) = move.cursors
    assert (moved.user, moved.read, moved.received, moved.room, moved.thread) == ("bob", 6, 8, "a", 0)
    assert await unread(store, "a", "bob") == (3, 1)
    back = await store.append(unit(writes=(SetCursor(log="a", user="bob", read=3, received=4),)))
    assert back.cursors == ()
    assert await unread(store, "a", "bob") == (3, 1)
    mixed = await store.append(unit(writes=(SetCursor(log="a", user="bob", read=7, received=1),)))
    assert (mixed.cursors[0].read, mixed.cursors[0].received) == (7, 8)
    await store.append(unit(writes=(SetCursor(log="a", user="bob", read=13),)))
    cursor = await store.get_versioned(Cursor, TENANT, "a", "bob", 0)
    assert cursor is not None
    assert (cursor.record.read, cursor.record.received, cursor.version) == (13, 13, 3)
    assert await unread(store, "a", "bob") == (0, 0)


async def test_a_cursor_never_passes_the_end_of_its_log(store: Store) -> None:
    await store.append(unit(made("a"), text("a")))
    done = await store.append(unit(writes=(SetCursor(log="a", user="bob", read=99, received=99),)))
    assert (done.cursors[0].read, done.cursors[0].received) == (2, 2)
    await store.append(unit(text("a")))
    assert await unread(store, "a", "bob") == (1, 0)


async def test_a_cursor_at_nothing_makes_no_row(store: Store) -> None:
    await store.append(unit(made("a")))
    done = await store.append(unit(writes=(SetCursor(log="a", user="bob"),)))
    assert done.cursors == ()
    assert await store.get(Cursor, TENANT, "a", "bob", 0) is None


async def test_cursor_moves_of_one_batch_add_up(store: Store) -> None:
    await store.append(unit(made("a")))
    units = [unit(text("a", str(n))) for n in range(5)]
    units.append(unit(writes=(SetCursor(log="a", user="ann", read=2),)))
    units += [unit(text("a", str(n))) for n in range(5)]
    units += [unit(writes=(SetCursor(log="a", user="bob", read=n),)) for n in (3, 9, 5)]
    done = await settled(store, units)
    assert [len(each.cursors) for each in done if isinstance(each, Committed)] == [0] * 11 + [1, 1, 0]
    ann = await store.get_versioned(Cursor, TENANT, "a", "ann", 0)
    bob = await store.get_versioned(Cursor, TENANT, "a", "bob", 0)
    assert ann is not None
    assert bob is not None
    assert (ann.record.read, ann.record.ordinal, ann.version) == (11, 10, 10)
    assert (bob.record.read, bob.record.ordinal, bob.version) == (9, 8, 2)


async def test_a_cursor_may_be_removed_and_set_in_one_unit(store: Store) -> None:
    await store.append(unit(made("a"), text("a"), text("a")))
    key = (TENANT, "a", "ann", 0)
    await store.append(unit(writes=(Remove(Cursor, key), SetCursor(log="a", user="ann", read=2))))
    cursor = await store.get_versioned(Cursor, *key)
    assert cursor is not None
    assert (cursor.record.read, cursor.version) == (2, 1)
    await store.append(unit(text("a"), writes=(Remove(Cursor, key),)))
    assert await store.get(Cursor, *key) is None


# --- mentions and expiry ------------------------------------------------------------------------


async def test_mentions_and_expiry_become_rows_of_the_new_seq(store: Store) -> None:
    await store.append(unit(made("a")))
    await store.append(unit(text("a", mentions=("bob", "cid", "bob"), expires_at=AT + 60)))
    await store.append(unit(text("a", mentions=("bob",))))
    bob = await store.scan(Mention, (TENANT, "bob", "a"))
    assert [row.seq for row in bob] == [2, 3]
    assert await store.count(Mention, (TENANT, "cid")) == 1
    expiries = await store.due(Expiry, "due", (), AT + 60, 10)
    assert expiries == [Expiry(tenant=TENANT, conversation="a", seq=2, at=AT + 60)]
    assert await store.due(Expiry, "due", (), AT + 59, 10) == []


# --- views ---------------------------------------------------------------------------------------


async def test_views_fold_in_what_happened_since(store: Store) -> None:
    await store.append(unit(made("a")))
    await store.append(unit(text("a", Poll(question="?", options=("x", "y", "z")))))
    await store.append(unit(text("a", "first")))
    await settled(
        store,
        [
            unit(edit("a", 3, "second")),
            unit(react("a", 3, "+", actor="bob")),
            unit(react("a", 3, "+", actor="cid")),
            unit(react("a", 3, "-", actor="cid")),
            unit(react("a", 3, "-", actor="cid", gone=True)),
            unit(about("a", "message.pinned", 3)),
            unit(vote("a", 2, (0, 2), actor="bob")),
            unit(vote("a", 2, (2,), actor="cid")),
            unit(vote("a", 2, (1,), (0, 2), actor="bob")),
            unit(about("a", "poll.closed", 2), at=AT + 9),
        ],
    )
    poll, words = await store.messages("a")
    assert (poll.fold.votes, poll.fold.voters, poll.fold.closed) == ((0, 1, 1), 2, True)
    assert poll.fold.version == 4
    assert (words.fold.reactions, words.fold.pinned, words.fold.edits) == ({"+": 2}, True, 1)
    assert words.fold.version == 6
    assert b"second" in current_content(words)
    assert words.event.body == text("a", "first").body
    assert await store.message("a", 3) == words
    await store.append(unit(about("a", "message.unpinned", 3)))
    view = await store.message("a", 3)
    assert view is not None
    assert not view.fold.pinned


async def test_only_messages_have_views(store: Store) -> None:
    await store.append(unit(made("a"), text("a")))
    await store.append(unit(react("a", 2, "+")))
    assert await store.message("a", 1) is None
    assert await store.message("a", 3) is None
    assert await store.message("a", 4) is None
    assert await store.message("nowhere", 1) is None
    assert await store.message("a", 2) is not None


async def test_erasure_takes_the_words_and_leaves_the_numbers(store: Store) -> None:
    await store.append(unit(made("a"), text("a", "secret"), text("a", "other")))
    await settled(
        store,
        [
            unit(edit("a", 2, "secret too")),
            unit(edit("a", 3, "other too")),
            unit(react("a", 2, "+")),
            unit(delete("a", 2, actor="mod"), actor="mod", at=AT + 5),
            unit(edit("a", 2, "after")),
        ],
    )
    events = await store.events("a", 0, 20)
    assert [event.seq for event in events] == list(range(1, 9))
    assert [event.body is None for event in events] == [n in (2, 4) for n in range(1, 9)]
    gone, other = await store.messages("a")
    assert gone.event.body is None
    assert (gone.fold.deleted_by, gone.fold.deleted_at, gone.fold.reactions) == ("mod", AT + 5, {})
    assert current_content(gone) == b""
    assert b"other too" in current_content(other)
    assert [event.body is None for event in await store.edits("a", 2)] == [True, False]
    head = await store.head("a")
    assert head is not None
    assert head.message_count == 2


async def test_a_repeat_of_an_erased_message_names_it_without_its_words(store: Store) -> None:
    await store.append(unit(made("a")))
    given = unit(text("a", "secret"), client_id="c1")
    await store.append(given)
    await store.append(unit(delete("a", 2)))
    again = await store.append(given)
    assert again.repeated
    assert (again.events[0].seq, again.events[0].body) == (2, None)


async def test_a_repeat_in_the_batch_that_erased_it(store: Store) -> None:
    await store.append(unit(made("a"), text("a", "old")))
    sent, edited = unit(text("a", "secret"), client_id="c1"), unit(edit("a", 2, "secret"), client_id="c2")
    later = unit(edit("a", 3, "later"), client_id="c3")
    done = await settled(store, [sent, edited, unit(delete("a", 3)), unit(delete("a", 2)), later])
    assert all(isinstance(each, Committed) for each in done)
    await store.append(unit(text("a")))
    done = await settled(store, [sent, edited, later])
    bodies = [each.events[0].body is None for each in done if isinstance(each, Committed)]
    assert bodies == [True, True, False]
    given = unit(text("a", "secret"), client_id="c4")
    first, _, again = await settled(store, [given, unit(delete("a", 9)), given])
    assert isinstance(first, Committed)
    assert isinstance(again, Committed)
    assert first.events[0].seq == again.events[0].seq == 9
    assert first.events[0].body is not None
    assert (again.repeated, again.events[0].body) == (True, None)


async def test_edits_are_listed_in_order(store: Store) -> None:
    await store.append(unit(made("a"), text("a"), text("a")))
    for words in ("one", "two", "three"):
        await store.append(unit(edit("a", 2, words)))
        await store.append(unit(react("a", 2, words)))
    assert [event.seq for event in await store.edits("a", 2)] == [4, 6, 8]
    assert await store.edits("a", 3) == []
    assert await store.edits("nowhere", 1) == []


# --- threads -------------------------------------------------------------------------------------


async def test_replies_count_in_their_thread_only(store: Store) -> None:
    await store.append(unit(made("a"), text("a", "root"), text("a", "other root")))
    done = await settled(
        store,
        [
            unit(text("a", "r1", thread=2, actor="bob"), actor="bob", at=AT + 1),
            unit(text("a", "main", actor="bob"), actor="bob", at=AT + 2),
            unit(text("a", "q1", thread=3, actor="bob"), actor="bob", at=AT + 3),
            unit(text("a", "r2", thread=2, at_all=True), at=AT + 4),
        ],
    )
    events = [each.events[0] for each in done if isinstance(each, Committed)]
    assert [event.thread_ordinal for event in events] == [1, 0, 1, 2]
    assert [event.ordinal for event in events] == [2, 3, 3, 3]
    assert [event.all_ordinal for event in events] == [0, 0, 0, 0]
    root = await store.message("a", 2)
    assert root is not None
    assert (root.fold.replies, root.fold.last_reply_seq, root.fold.last_reply_at) == (2, 7, AT + 4)
    assert [view.seq for view in await store.messages("a")] == [2, 3, 5]
    assert [view.seq for view in await store.messages("a", thread=2)] == [4, 7]
    assert await store.get(Cursor, TENANT, "a", "bob", 2) == Cursor(
        tenant=TENANT, conversation="a", user="bob", thread=2, read=4, received=4, ordinal=1
    )
    main = await store.get(Cursor, TENANT, "a", "bob", 0)
    assert main is not None
    assert main.read == 5


async def test_a_threads_cursor_counts_replies(store: Store) -> None:
    await store.append(unit(made("a"), text("a", "root")))
    for n in range(4):
        await store.append(unit(text("a", str(n), thread=2)))
        await store.append(unit(text("a", "between")))
    await store.append(unit(writes=(SetCursor(log="a", user="bob", thread=2, read=6),)))
    cursor = await store.get(Cursor, TENANT, "a", "bob", 2)
    assert cursor is not None
    assert (cursor.read, cursor.ordinal, cursor.all_ordinal) == (6, 2, 0)
    last = unit(text("a", "more", thread=2))
    move = unit(writes=(SetCursor(log="a", user="bob", thread=2, read=11),))
    await settled(store, [last, move])
    cursor = await store.get(Cursor, TENANT, "a", "bob", 2)
    assert cursor is not None
    assert (cursor.read, cursor.ordinal) == (11, 5)


# --- pages of messages ---------------------------------------------------------------------------


async def test_pages_of_messages_in_both_directions(store: Store) -> None:
    await store.append(unit(made("a")))
    for n in range(10):
        await store.append(unit(text("a", str(n))))
        await store.append(unit(react("a", 2, "+")))
    await store.append(unit(delete("a", 10)))
    seqs = [2 * n for n in range(1, 11)]

    async def page(**how: int) -> list[int]:
        return [view.seq for view in await store.messages("a", **how)]

    assert await page() == seqs
    assert await page(limit=3) == [16, 18, 20]
    assert await page(limit=3, before=16) == [10, 12, 14]
    assert await page(limit=3, before=4) == [2]
    assert await page(limit=3, after=1) == [2, 4, 6]
    assert await page(limit=3, after=6) == [8, 10, 12]
    assert await page(limit=3, after=19) == [20]
    assert await page(limit=3, after=20) == []
    assert await page(after=4, before=10) == [6, 8]
    assert await page(floor=15) == [16, 18, 20]
    assert await page(limit=2, before=16, floor=13) == [14]
    assert await page(limit=2, after=2, floor=13) == [14, 16]
    assert await store.messages("nowhere") == []


# --- listeners -----------------------------------------------------------------------------------


async def test_listeners_hear_of_commits_in_order_and_of_nothing_else(store: Store) -> None:
    heard: list[Committed] = []
    store.on_commit(heard.extend)
    await store.append(unit(made("a")))
    units = [unit(text("a", str(n)), client_id=f"c{n % 20}") for n in range(30)]
    units.append(unit(text("a"), expects=(EpochIs("a", 7),)))
    units.append(unit(writes=(Put(user("ann")),)))
    units.append(unit(writes=(SetCursor(log="a", user="bob", read=3),)))
    await settled(store, units)
    assert [event.seq for each in heard for event in each.events] == list(range(1, 22))
    assert not any(each.repeated for each in heard)
    assert [moved.read for each in heard for moved in each.cursors] == [3]


async def test_listeners_hear_of_units_that_only_write_rows(store: Store) -> None:
    heard: list[Committed] = []
    store.on_commit(heard.extend)
    done = await store.append(unit(writes=(Put(user("ann")),)))
    assert heard == [done] == [Committed(events=())]


async def test_listeners_are_told_before_the_sender_goes_on(store: Store) -> None:
    heard: list[Committed] = []
    store.on_commit(heard.extend)
    done = await store.append(unit(made("a")))
    assert heard == [done]


async def test_listeners_hear_whose_epoch_moved(store: Store) -> None:
    heard: list[Committed] = []
    await store.append(unit(made("a"), made("b"), made("c")))
    store.on_commit(heard.extend)
    again = replace(text("a"), bumps_epoch=True)
    await settled(store, [unit(again, text("b"), again, writes=(BumpEpoch("c"),)), unit(text("a"))])
    await store.append(unit(writes=(BumpEpoch("b"),)))
    assert [each.bumped for each in heard] == [("a", "c"), (), ("b",)]


async def test_a_listener_that_fails_silences_nobody(store: Store) -> None:
    heard: list[Committed] = []
    problems: list[dict[str, object]] = []
    asyncio.get_running_loop().set_exception_handler(lambda _, context: problems.append(context))

    def fail(_: Sequence[Committed]) -> None:
        raise RuntimeError("a broken listener")

    store.on_commit(fail)
    store.on_commit(heard.extend)
    await store.append(unit(made("a")))
    assert len(heard) == 1
    assert len(problems) == 1


async def test_a_sender_who_goes_away_does_not_stop_the_commit(store: Store) -> None:
    await store.append(unit(made("a")))
    task = asyncio.ensure_future(store.append(unit(text("a"))))
    task.cancel()
    with contextlib.suppress(asyncio.CancelledError):
        await task
    await store.append(unit(text("a")))
    assert len(await store.events("a", 0, 9)) == 3


# --- closing -------------------------------------------------------------------------------------


async def test_close_commits_what_is_queued_and_then_refuses(store_factory: StoreFactory) -> None:
    store = await store_factory.open()
    waiting = [store.append(unit(made("a")))]
    waiting += [store.append(unit(text("a", str(n)))) for n in range(100)]
    await store.close()
    assert [(await each).events[0].seq for each in waiting] == list(range(1, 102))
    assert (await refused(store, unit(text("a")))).code == "unavailable"
    await store.close()


async def test_every_log_has_one_generation(store: Store) -> None:
    assert len(store.generation) >= 16
    assert store.generation == store.generation


async def test_text_of_every_script_survives(store: Store) -> None:
    words = "Ñandú 你好 مرحبا 🎉 \x00 end"
    await store.append(unit(made("a"), text("a", Text(text=words))))
    (view,) = await store.messages("a")
    assert view.event.body == text("a", words).body
