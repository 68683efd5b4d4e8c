"""What each person sees when they look: never more than is theirs, and one moment at a time."""

from __future__ import annotations

import asyncio
from typing import Any

import pytest

from tertulia.application.queries import Queries
from tertulia.application.queries_docs import ConversationDoc, MessageDoc
from tertulia.domain import commands as c
from tertulia.domain.content import Text
from tertulia.domain.records import Cursor, Invite, Mention
from tertulia.domain.unit import Put, SetCursor
from tests.support.own import OwnWorld
from tests.support.world import refused

DAY_MS = 86_400_000


class Seen(OwnWorld):
    """A world to look at."""

    def __init__(self, store: Any = None, **more: Any) -> None:
        super().__init__(store, **more)
        self.queries = Queries(self.store, self.store, self.access, self.profiles, self.clock)

    async def page(self, who: str, conversation: str, **more: Any) -> list[MessageDoc]:
        return (await self.queries.messages.page(self.caller(who), conversation, **more)).items

    async def texts(self, who: str, conversation: str, **more: Any) -> list[str | None]:
        """The texts of a page; None for what is deleted."""
        return [
            doc.content.text if isinstance(doc.content, Text) else None
            for doc in await self.page(who, conversation, **more)
        ]

    async def doc(self, who: str, conversation: str) -> ConversationDoc:
        return await self.queries.conversations.get(self.caller(who), conversation)


@pytest.fixture
async def world() -> Seen:
    made = Seen()
    await made.people("ana", "bob", "eve")
    return made


# --- messages ----------------------------------------------------------------------------------------


async def test_who_joins_later_sees_what_follows(world: Seen) -> None:
    group = await world.create_group("ana", "bob")
    before = await world.say("ana", group, "before")
    await world.add("ana", group, "eve")
    after = await world.say("ana", group, "after")
    assert await world.texts("bob", group) == ["before", "after"]
    assert await world.texts("eve", group) == ["after"]
    assert await world.texts("eve", group, after=0) == ["after"]
    with refused("not_found"):
        await world.queries.messages.get(world.caller("eve"), group, before.seq)
    with refused("not_found"):
        await world.queries.messages.thread(world.caller("eve"), group, before.seq)
    assert (await world.doc("eve", group)).unread == 1
    last = (await world.doc("eve", group)).last_message
    assert last is not None
    assert last.seq == after.seq


async def test_a_history_that_is_open_shows_all_of_it(world: Seen) -> None:
    group = await world.create_group("ana", "bob", history="all")
    await world.say("ana", group, "before")
    await world.add("ana", group, "eve")
    assert await world.texts("eve", group) == ["before"]


async def test_blocked_people_are_silent_but_face_to_face(world: Seen) -> None:
    group = await world.create_group("ana", "bob", "eve")
    direct = await world.direct("ana", "eve")
    for room in (group, direct):
        await world.say("eve", room, "hello")
    await world.say("bob", group, "hi")
    await world.block("ana", "eve")
    assert await world.texts("ana", group) == ["hi"]
    assert await world.texts("bob", group) == ["hello", "hi"]
    assert await world.texts("ana", direct) == ["hello"]
    # The place of what is left out is not filled by older ones.
    page = await world.queries.messages.page(world.caller("ana"), group, limit=1, after=0)
    assert (page.items, page.more) == ([], True)
    await world.say("eve", group, "once more")
    last = (await world.doc("ana", group)).last_message
    assert last is not None
    assert last.user == world.id("bob")


async def test_what_one_hid_is_gone_for_oneself(world: Seen) -> None:
    group = await world.create_group("ana", "bob")
    one, two = await world.say("ana", group, "one"), await world.say("ana", group, "two")
    await world.messages.delete(world.caller("bob"), c.DeleteMessage(conversation=group, seq=two.seq))
    assert await world.texts("bob", group) == ["one"]
    assert await world.texts("ana", group) == ["one", "two"]
    last = (await world.doc("bob", group)).last_message
    assert last is not None
    assert last.seq == one.seq
    with refused("not_found"):
        await world.queries.messages.get(world.caller("bob"), group, two.seq)


async def test_deleted_messages_keep_their_place_and_nothing_else(world: Seen) -> None:
    group = await world.create_group("ana", "bob")
    sent = await world.say("ana", group, "words")
    await world.say("bob", group, "in a thread", thread=sent.seq)
    for emoji in ("+1", "🍚"):
        await world.messages.react(
            world.caller("bob"), c.AddReaction(conversation=group, seq=sent.seq, emoji=emoji)
        )
    (doc,) = await world.page("bob", group)
    assert (doc.reactions, doc.own_reactions) == ({"+1": 1, "🍚": 1}, ["+1", "🍚"])
    command = c.DeleteMessage(conversation=group, seq=sent.seq, everyone=True)
    await world.messages.delete(world.caller("ana"), command)
    (doc,) = await world.page("bob", group)
    assert doc == MessageDoc(
        id=f"{group}.{sent.seq}",
        conversation=group,
        seq=sent.seq,
        at=doc.at,
        user=world.id("ana"),
        content=None,
        deleted_at=world.clock.now_ms(),
        deleted_by=world.id("ana"),
        replies=doc.replies,
        ordinal=1,
        changed_seq=doc.changed_seq,
    )
    assert doc.replies is not None
    assert doc.replies.count == 1
    page = await world.queries.messages.thread(world.caller("ana"), group, sent.seq)
    assert [one.thread for one in page.items] == [sent.seq]
    with refused("not_found"):
        await world.queries.messages.edits(world.caller("ana"), group, sent.seq)
    with refused("not_found"):
        await world.queries.messages.reactions(world.caller("ana"), group, sent.seq, after=None)


async def test_what_has_disappeared_is_not_shown_though_it_is_there(world: Seen) -> None:
    group = await world.create_group("ana", "bob")
    await world.update("ana", group, message_ttl_s=60)
    await world.say("ana", group, "soon gone")
    assert await world.texts("bob", group) == ["soon gone"]
    world.clock.advance(61)
    (doc,) = await world.page("bob", group)
    assert (doc.content, doc.expires_at, doc.deleted_at) == (None, None, None)


async def test_only_main_log_messages_are_on_its_pages(world: Seen) -> None:
    group = await world.create_group("ana", "bob")
    root = await world.say("ana", group, "root")
    for n in range(3):
        await world.say("bob", group, f"reply {n}", thread=root.seq)
    assert await world.texts("ana", group) == ["root"]
    thread = world.queries.messages.thread
    page = await thread(world.caller("ana"), group, root.seq, limit=2)
    assert (len(page.items), page.more) == (2, True)
    page = await thread(world.caller("ana"), group, root.seq, after=page.last, limit=2)
    assert (len(page.items), page.more) == (1, False)
    with refused("not_found"):
        await thread(world.caller("ana"), group, page.items[0].seq)


async def test_bookmarks_stay_when_the_message_goes(world: Seen) -> None:
    group = await world.create_group("ana", "bob")
    sent = await world.say("ana", group, "keep")
    command = c.AddBookmark(conversation=group, seq=sent.seq, note="!")
    await world.personal.add_bookmark(world.caller("bob"), command)
    (mark,), following = await world.queries.messages.bookmarks(world.caller("bob"))
    assert (mark.message is not None, following) == (True, None)
    await world.remove("ana", group, "bob")
    (mark,), _ = await world.queries.messages.bookmarks(world.caller("bob"))
    assert (mark.note, mark.message) == ("!", None)


async def test_mentions_follow_what_one_may_see(world: Seen) -> None:
    group = await world.create_group("ana", "bob", "eve")
    await world.say("ana", group, "@bob come")
    await world.say("eve", group, "@bob stay")
    docs, _ = await world.queries.messages.mentions(world.caller("bob"))
    assert [doc.user for doc in docs] == [world.id("eve"), world.id("ana")]
    await world.block("bob", "eve")
    docs, _ = await world.queries.messages.mentions(world.caller("bob"))
    assert [doc.user for doc in docs] == [world.id("ana")]
    await world.remove("ana", group, "bob")
    assert await world.queries.messages.mentions(world.caller("bob")) == ([], None)


async def test_pages_of_mentions_meet(world: Seen) -> None:
    rooms = [await world.create_group("ana", "bob") for _ in range(3)]
    for room in rooms:
        for _ in range(3):
            await world.say("ana", room, "@bob")
    found: list[tuple[str, int]] = []
    before: tuple[str, int] | None = None
    while True:
        docs, before = await world.queries.messages.mentions(world.caller("bob"), before=before, limit=2)
        found += [(doc.conversation, doc.seq) for doc in docs]
        if before is None:
            break
    assert found == sorted(found, reverse=True)
    assert len(found) == 9


async def test_votes_are_ones_own(world: Seen) -> None:
    from tertulia.domain.content import Poll

    group = await world.create_group("ana", "bob")
    poll = Poll(question="?", options=("a", "b", "c"), multiple=True)
    send = c.SendMessage(conversation=group, content=poll)
    seq = (await world.messages.send(world.caller("ana"), send)).seq
    vote = c.VotePoll(conversation=group, seq=seq, options=(2, 0))
    await world.messages.vote(world.caller("bob"), vote)
    for who, own in (("ana", []), ("bob", [0, 2])):
        (doc,) = await world.page(who, group)
        assert doc.poll is not None
        assert (doc.poll.votes, doc.poll.voters, doc.poll.own) == ([1, 0, 1], 1, own)


# --- conversations -----------------------------------------------------------------------------------


async def test_a_stranger_sees_public_channels_and_nothing_else(world: Seen) -> None:
    group = await world.create_group("ana", "bob")
    closed = await world.create_channel("ana", slug="closed", public=False)
    news = await world.create_channel("ana", slug="news")
    await world.say("ana", news, "headline")
    eve = world.caller("eve")
    for hidden in (group, closed, "nothing"):
        for query in (
            world.queries.conversations.get,
            world.queries.conversations.members,
            world.queries.conversations.receipts,
            world.queries.conversations.invites,
            world.queries.conversations.preferences,
            world.queries.conversations.topics,
            world.queries.messages.page,
            world.queries.messages.pins,
        ):
            with refused("not_found"):
                await query(eve, hidden)
    doc = await world.doc("eve", news)
    assert (doc.role, doc.unread, doc.read, doc.own_capabilities) == (None, 0, 0, ["join", "read"])
    assert await world.texts("eve", news) == ["headline"]
    found, following = await world.queries.conversations.channels(eve)
    assert ([one.id for one in found], following) == ([news], "")
    assert await world.queries.conversations.mine(eve) == ([], "")
    with refused("forbidden"):
        await world.queries.conversations.invites(eve, news)


async def test_the_directory_is_read_in_bounded_steps(world: Seen) -> None:
    ids = [await world.create_channel("ana", slug=f"room-{n}") for n in range(25)]
    await world.conversations.delete(world.caller("ana"), c.DeleteConversation(conversation=ids[3]))
    eve = world.caller("eve")
    found: list[str] = []
    after = ""
    while True:
        page, after = await world.queries.conversations.channels(eve, "ROOM", after=after, limit=4)
        found += [doc.id for doc in page]
        if not after:
            break
    assert found == [one for one in ids if one != ids[3]]
    page, after = await world.queries.conversations.channels(eve, "#room-24")
    assert ([doc.id for doc in page], after) == ([ids[24]], "")


async def test_receipts_are_shared_both_ways_or_not_at_all(world: Seen) -> None:
    group = await world.create_group("ana", "bob", "eve")
    sent = await world.say("ana", group, "hello")
    await world.write(
        SetCursor(log=group, user=world.id("bob"), read=sent.seq, received=sent.seq),
        SetCursor(log=group, user=world.id("eve"), received=sent.seq),
    )

    async def reads(who: str) -> dict[str, int]:
        items, _ = await world.queries.conversations.receipts(world.caller(who), group)
        return {world.name(one.user): one.read for one in items}

    started = 4
    assert await reads("ana") == {"ana": sent.seq, "bob": sent.seq, "eve": started}
    await world.privacy("bob", read_receipts=False)
    assert await reads("ana") == {"ana": sent.seq, "bob": 0, "eve": started}
    assert await reads("bob") == {"ana": 0, "bob": sent.seq, "eve": 0}
    items, _ = await world.queries.conversations.receipts(world.caller("ana"), group)
    assert {one.received for one in items} == {sent.seq}


async def test_members_show_what_they_show(world: Seen) -> None:
    group = await world.create_group("ana", "bob", "eve")
    await world.block("eve", "ana")
    items, _ = await world.queries.conversations.members(world.caller("ana"), group)
    assert {world.name(one.user): one.handle for one in items} == {"ana": "ana", "bob": "bob", "eve": ""}
    pages: list[str] = []
    after = ""
    while True:
        items, after = await world.queries.conversations.members(
            world.caller("ana"), group, after=after, limit=1
        )
        pages += [one.user for one in items]
        if not after:
            break
    assert pages == sorted(pages)
    assert len(pages) == 3


async def test_topics_have_what_is_their_channels(world: Seen) -> None:
    channel = await world.create_channel("ana", "bob")
    topic = await world.create_topic("ana", channel)
    command = c.SetPreferences(conversation=channel, notify="none")
    await world.conversations.set_preferences(world.caller("bob"), command)
    doc = await world.doc("bob", topic)
    assert (doc.parent, doc.role, doc.member_count) == (channel, "member", 2)
    assert doc.preferences.notify == "none"
    found, _ = await world.queries.conversations.topics(world.caller("bob"), channel)
    assert [one.id for one in found] == [topic]
    mine, _ = await world.queries.conversations.mine(world.caller("bob"))
    assert [one.id for one in mine] == [channel]


async def test_unread_is_the_head_less_the_cursor(world: Seen) -> None:
    group = await world.create_group("ana", "bob")
    seqs = [(await world.say("ana", group, text)).seq for text in ("1", "@bob 2", "@all 3", "4")]
    doc = await world.doc("bob", group)
    assert (doc.unread, doc.mentions) == (4, 2)
    await world.write(SetCursor(log=group, user=world.id("bob"), read=seqs[1], received=seqs[1]))
    doc = await world.doc("bob", group)
    assert (doc.unread, doc.mentions, doc.read) == (2, 1, seqs[1])
    doc = await world.doc("ana", group)
    assert (doc.unread, doc.mentions, doc.read) == (0, 0, seqs[-1])


async def test_invites_that_are_no_good_are_not_listed(world: Seen) -> None:
    group = await world.create_group("ana")
    base = {"tenant": "acme", "conversation": group, "created_by": world.id("ana"), "created_at": 1}
    now = world.clock.now_ms()
    rows = (
        Invite(**base, id="1", digest=b"1"),
        Invite(**base, id="2", digest=b"2", revoked_at=1),
        Invite(**base, id="3", digest=b"3", expires_at=now),
        Invite(**base, id="4", digest=b"4", expires_at=now + 1),
        Invite(**base, id="5", digest=b"5", max_uses=2, uses=2),
    )
    await world.write(*(Put(row) for row in rows))
    found, _ = await world.queries.conversations.invites(world.caller("ana"), group)
    assert [one.id for one in found] == ["1", "4"]


async def test_a_document_is_of_one_moment(world: Seen) -> None:
    """While it is read, members come and messages are sent: every part is as of `last_seq`."""
    group = await world.create_group("ana", "bob")
    counts: list[tuple[int, int]] = []
    store = world.store
    plain_count, first = store.count, True

    async def count(*args: Any, **more: Any) -> int:
        nonlocal first
        found = await plain_count(*args, **more)
        if first:
            first = False
            await world.say("ana", group, "in between")
            await world.add("ana", group, "eve")
        return found

    store.count = count
    doc = await world.doc("bob", group)
    store.count = plain_count
    head = await world.head(group)
    counts.append((doc.last_seq, doc.member_count))
    assert counts == [(head.last_seq, 3)]
    assert (doc.message_count, doc.unread) == (1, 1)
    assert doc.last_message is not None


async def test_lists_are_read_without_a_query_for_each(world: Seen) -> None:
    """What is one's own in a page of messages is one read, however long the page."""
    group = await world.create_group("ana", "bob")
    for n in range(60):
        await world.say("ana", group, str(n))
    calls = {"snapshot": 0, "get": 0, "scan": 0, "messages": 0}
    for name in calls:
        plain = getattr(world.store, name)

        async def counted(*args: Any, name: str = name, plain: Any = plain, **more: Any) -> Any:
            calls[name] += 1
            return await plain(*args, **more)

        setattr(world.store, name, counted)
    await world.texts("bob", group, limit=5)
    short = dict(calls)
    calls.update(dict.fromkeys(calls, 0))
    await world.texts("bob", group, limit=60)
    assert calls == {**short, "get": calls["get"], "snapshot": calls["snapshot"]}
    assert sum(calls.values()) <= sum(short.values())
    assert calls["messages"] == 1


# --- one's own ---------------------------------------------------------------------------------------


async def test_people_are_found_by_exactly_one_thing(world: Seen) -> None:
    lists, ana = world.queries.lists, world.caller("ana")
    assert [one.handle for one in await lists.find(ana, handle="@BOB", email=None, phone=None)] == ["bob"]
    assert await lists.find(ana, handle="nobody-here", email=None, phone=None) == []
    with refused("invalid"):
        await lists.find(ana, handle=None, email=None, phone=None)
    with refused("invalid"):
        await lists.find(ana, handle="bob", email="a@b.example", phone=None)
    await world.block("bob", "ana")
    assert await lists.find(ana, handle="bob", email=None, phone=None) == []
    with refused("not_found"):
        await lists.user(ana, world.id("bob"))


async def test_contacts_of_people_who_are_gone_keep_their_row(world: Seen) -> None:
    await world.befriend("ana", "bob")
    await world.disable("bob")
    (contact,), following = await world.queries.lists.contacts(world.caller("ana"))
    assert (contact.user, contact.state, contact.handle, following) == (world.id("bob"), "accepted", "", "")


async def test_lists_go_on_where_the_page_ended(world: Seen) -> None:
    rooms = [await world.create_group("bob", "ana") for _ in range(5)]
    for room in rooms:
        await world.personal.set_draft(world.caller("ana"), c.SetDraft(conversation=room, text="x"))
        await world.personal.schedule(
            world.caller("ana"),
            c.ScheduleMessage(
                conversation=room, content=Text(text="x"), send_at=world.clock.now_ms() + DAY_MS
            ),
        )
    ana, found = world.caller("ana"), []
    after: tuple[str, int] | None = None
    while True:
        drafts, after = await world.queries.lists.drafts(ana, after=after, limit=2)
        found += [one.conversation for one in drafts]
        if after is None:
            break
    assert found == rooms
    scheduled, following = await world.queries.lists.scheduled(ana, limit=3)
    rest, end = await world.queries.lists.scheduled(ana, after=following, limit=3)
    assert ([one.conversation for one in (*scheduled, *rest)], end) == (rooms, "")
    mine, following = await world.queries.conversations.mine(ana, limit=3)
    others, end = await world.queries.conversations.mine(ana, after=following, limit=3)
    assert ([one.id for one in (*mine, *others)], end) == (rooms, "")


async def test_nothing_is_counted_that_belongs_to_somebody_else(world: Seen) -> None:
    group = await world.create_group("ana", "bob", "eve")
    await world.say("ana", group, "@bob")
    assert await world.store.count(Mention, ("acme", world.id("bob"))) == 1
    docs = await asyncio.gather(*(world.doc(who, group) for who in ("bob", "eve")))
    assert [doc.mentions for doc in docs] == [1, 0]
    assert await world.row(Cursor, group, world.id("eve"), 0) is not None
