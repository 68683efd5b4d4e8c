"""Opening, creating, changing and deleting conversations, and one's own preferences."""

from __future__ import annotations

import msgspec
import pytest

from tertulia.adapters.sqlite import SqliteStore
from tertulia.application import conversations as subject
from tertulia.application import rows
from tertulia.application.conversations import SWEEP_TOPIC, Sweep
from tertulia.domain import commands as c
from tertulia.domain import events as e
from tertulia.domain import membership as rules
from tertulia.domain.records import Contact, Conversation, Cursor, Draft, Member, Outbox
from tertulia.domain.unit import Put
from tests.support.world import TENANT, MemoryStore, Unhurried, World, later, refused, together


@pytest.fixture
async def world():
    made = World()
    await made.people("ana", "bob", "cat", "dan")
    return made


@pytest.fixture
async def busy():
    """A world in which calls made at once do cross."""
    made = World(Unhurried(MemoryStore()))
    await made.people("ana", "bob", "cat", "dan")
    return made


# --- direct ----------------------------------------------------------------------------------------


async def test_a_direct_conversation_is_one_for_both(world):
    direct = await world.direct("ana", "bob")
    assert await world.direct("bob", "ana") == direct
    assert await world.direct("ana", "bob") == direct
    assert await world.kinds(direct) == ["conversation.created", "member.added", "member.added"]
    row = await world.row(Conversation, direct)
    assert row.kind == "direct"
    assert row.pair == ":".join(sorted([world.id("ana"), world.id("bob")]))
    assert await world.members(direct) == {"ana": "member", "bob": "member"}
    assert (await world.head(direct)).kind == "direct"
    for who in ("ana", "bob"):
        (joined,) = await world.bodies(who, "conversation.joined")
        assert (joined.conversation, joined.kind) == (direct, "direct")
        assert await world.unread(direct, who) == 0
    await world.say("bob", direct)
    assert await world.unread(direct, "ana") == 1
    assert await world.unread(direct, "bob") == 0


async def test_opening_names_the_conversation_whether_new_or_not(world):
    command = c.OpenDirect(user=world.id("bob"))
    first = await world.conversations.open_direct(world.caller("ana"), command)
    assert (first.conversation, first.seq, first.repeated) == (first.created, 1, False)
    second = await world.conversations.open_direct(world.caller("ana"), command)
    assert (second.created, second.conversation, second.repeated) == (first.created, first.created, True)


async def test_saved_messages_are_a_direct_conversation_with_oneself(world):
    saved = await world.direct("ana", "ana")
    assert saved == await world.direct("ana", "ana")
    assert await world.members(saved) == {"ana": "member"}
    row = await world.row(Conversation, saved)
    assert row.pair == f"{world.id('ana')}:{world.id('ana')}"
    assert len(await world.bodies("ana", "conversation.joined")) == 1
    await world.say("ana", saved)
    assert await world.unread(saved, "ana") == 0
    assert not await world.may("bob", saved)


async def test_people_who_cannot_be_reached_look_alike(world):
    await world.block("bob", "ana")
    await world.disable("cat")
    answers = []
    for user in (world.id("bob"), world.id("cat"), "nobody"):
        with refused("not_found", field="user") as refusal:
            await world.conversations.open_direct(world.caller("ana"), c.OpenDirect(user=user))
        answers.append((refusal.code, refusal.detail, refusal.field))
    assert len(set(answers)) == 1
    assert await world.store.count(Conversation, (TENANT,)) == 0


async def test_a_block_of_ones_own_comes_first(world):
    """Otherwise the answer would tell the blocked from those who blocked back."""
    await world.block("ana", "bob")
    with refused("forbidden"):
        await world.direct("ana", "bob")
    await world.block("bob", "ana")
    with refused("forbidden"):
        await world.direct("ana", "bob")
    await world.unblock("ana", "bob")
    with refused("not_found"):
        await world.direct("ana", "bob")
    await world.unblock("bob", "ana")
    assert await world.direct("ana", "bob")


async def test_a_direct_conversation_that_is_there_is_not_opened_past_a_block(world):
    direct = await world.direct("ana", "bob")
    await world.block("bob", "ana")
    with refused("not_found"):
        await world.direct("ana", "bob")
    with refused("forbidden"):
        await world.direct("bob", "ana")
    assert await world.may("ana", direct)


async def test_both_open_at_once(busy):
    answers = await together(
        *(busy.direct(a, b) for a, b in [("ana", "bob"), ("bob", "ana")] * 10),
    )
    assert len(set(answers)) == 1
    assert await busy.store.count(Conversation, (TENANT,)) == 1
    assert len(await busy.bodies("bob", "conversation.joined")) == 1


async def test_both_open_at_once_on_two_servers(busy):
    other = busy.node()
    answers = await together(busy.direct("ana", "bob"), other.direct("bob", "ana"))
    assert len(set(answers)) == 1
    assert await busy.store.count(Conversation, (TENANT,)) == 1


async def test_both_open_at_once_on_sqlite(tmp_path):
    store = await SqliteStore.open(tmp_path)
    try:
        world = World(store)
        await world.people("ana", "bob")
        other = world.node()
        answers = await together(world.direct("ana", "bob"), other.direct("bob", "ana"))
        assert len(set(answers)) == 1
        assert await world.members(answers[0]) == {"ana": "member", "bob": "member"}
    finally:
        await store.close()


async def test_a_block_between_decision_and_commit_counts(busy, monkeypatch):
    append = busy.store.append

    async def block_first(unit):
        monkeypatch.undo()
        await busy.block("bob", "ana")
        return await append(unit)

    monkeypatch.setattr(busy.store, "append", block_first, raising=False)
    with refused("not_found"):
        await busy.direct("ana", "bob")


# --- groups ----------------------------------------------------------------------------------------


async def test_a_group_belongs_to_who_made_it(world):
    bob, cat, ana = (world.id(name) for name in ("bob", "cat", "ana"))
    command = c.CreateGroup(name=" Friends ", members=(bob, cat, bob, ana), description="of old")
    answer = await world.conversations.create_group(world.caller("ana"), command)
    group = answer.created
    assert (answer.conversation, answer.seq) == (group, 1)
    assert await world.members(group) == {"ana": "owner", "bob": "member", "cat": "member"}
    row = await world.row(Conversation, group)
    assert (row.kind, row.name, row.description, row.history) == ("group", "Friends", "of old", "joined")
    (created,) = await world.bodies(group, "conversation.created")
    assert created == e.ConversationCreated(kind="group", name="Friends", description="of old")
    added = await world.bodies(group, "member.added")
    assert [(body.user, body.role, body.by) for body in added] == [
        (ana, "owner", "create"),
        (bob, "member", "create"),
        (cat, "member", "create"),
    ]
    assert await world.kinds(group) == ["conversation.created", *["member.added"] * 3]
    for who, role in (("ana", "owner"), ("bob", "member")):
        (joined,) = await world.bodies(who, "conversation.joined")
        assert joined == e.ConversationJoined(conversation=group, kind="group", role=role)
        member = await world.member(group, who)
        assert member.since == 0
        cursor = await world.row(Cursor, group, world.id(who), 0)
        assert (cursor.read, cursor.ordinal) == (4, 0)
    assert not await world.may("dan", group)


@pytest.mark.parametrize("name", ["   ", "a\nb", "\u202eevil", "x\x00"])
async def test_a_name_can_be_read(world, name):
    with refused("invalid", field="name"):
        await world.create_group("ana", name=name)
    with refused("invalid", field="name"):
        await world.create_channel("ana", name=name)
    channel = await world.create_channel("ana")
    with refused("invalid", field="name"):
        await world.create_topic("ana", channel, name)
    with refused("invalid", field="name"):
        await world.update("ana", channel, name=name)


async def test_a_description_has_no_control_characters(world):
    with refused("invalid", field="description"):
        await world.create_group("ana", description="a\x1b[31m")
    assert await world.create_group("ana", description="two\nlines\tand a tab")


async def test_who_does_not_want_to_be_added_is_not(world):
    await world.privacy("bob", add_to_groups="nobody")
    await world.privacy("cat", add_to_groups="contacts")
    for who in ("bob", "cat"):
        with refused("forbidden", field="members") as refusal:
            await world.create_group("ana", "dan", who)
        assert "bob" not in refusal.detail
        assert "contact" not in refusal.detail
    await world.direct("ana", "cat")
    with refused("forbidden"):
        await world.create_group("ana", "cat")
    await world.befriend("ana", "cat")
    assert await world.members(await world.create_group("ana", "cat")) == {"ana": "owner", "cat": "member"}
    await world.befriend("ana", "bob")
    with refused("forbidden"):
        await world.create_group("ana", "bob")
    # Nobody minds being in a group that they make themselves.
    assert await world.create_group("bob")


async def test_a_request_is_not_a_contact(world):
    await world.privacy("cat", add_to_groups="contacts")
    one, two = world.id("ana"), world.id("cat")
    await world.write(
        Put(Contact(tenant=TENANT, user=one, other=two, state="requested", at=1)),
        Put(Contact(tenant=TENANT, user=two, other=one, state="received", at=1)),
    )
    with refused("forbidden"):
        await world.create_group("ana", "cat")


async def test_a_group_with_people_who_cannot_be_reached_is_not_made(world):
    await world.block("bob", "ana")
    await world.disable("cat")
    for members in ((world.id("bob"),), (world.id("cat"),), (world.id("dan"), "nobody")):
        with refused("not_found", field="members") as refusal:
            command = c.CreateGroup(name="G", members=members)
            await world.conversations.create_group(world.caller("ana"), command)
        assert refusal.detail == "No such user."
    await world.block("ana", "dan")
    with refused("forbidden", field="members"):
        await world.create_group("ana", "dan")
    assert await world.store.count(Conversation, (TENANT,)) == 0
    assert await world.kinds("dan") == ["profile.updated"]


async def test_a_tenant_limits_members(world):
    await world.set_tenant(max_members=3)
    with refused("limit_reached"):
        await world.create_group("ana", "bob", "cat", "dan")
    with refused("limit_reached"):
        await world.create_channel("ana", "bob", "cat", "dan")
    assert await world.create_group("ana", "bob", "cat", "ana")


async def test_a_person_is_in_so_many_conversations_by_their_own_doing(world, monkeypatch):
    channel = await world.create_channel("bob")
    monkeypatch.setattr(rows, "MAX_CONVERSATIONS", 1)
    await world.create_group("ana")
    for attempt in (
        world.create_group("ana"),
        world.create_channel("ana", slug="other"),
        world.direct("ana", "bob"),
        world.join("ana", channel),
    ):
        with refused("limit_reached"):
            await attempt
    await world.add("bob", channel, "ana")


async def test_a_repeat_makes_no_second_group(world):
    command = c.CreateGroup(name="G", members=(world.id("bob"),), client_id="1")
    first = await world.conversations.create_group(world.caller("ana"), command)
    await world.update("ana", first.created, name="Other")
    again = await world.conversations.create_group(world.caller("ana"), command)
    assert again == msgspec.structs.replace(first, repeated=True)
    await world.block("bob", "ana")
    refused_by_now = await world.conversations.create_group(world.caller("ana"), command)
    assert refused_by_now == again
    with refused("client_id_reused"):
        await world.conversations.create_group(
            world.caller("ana"), msgspec.structs.replace(command, name="H")
        )
    assert await world.store.count(Conversation, (TENANT,)) == 1


async def test_a_repeat_of_opening_gets_its_first_answer(world):
    command = c.OpenDirect(user=world.id("bob"), client_id="1")
    first = await world.conversations.open_direct(world.caller("ana"), command)
    assert await world.conversations.open_direct(world.caller("ana"), command) == msgspec.structs.replace(
        first, repeated=True
    )
    await world.block("bob", "ana")
    assert (await world.conversations.open_direct(world.caller("ana"), command)).created == first.created


# --- channels and topics -----------------------------------------------------------------------------


async def test_a_public_channel_is_listed_and_open(world):
    channel = await world.create_channel("ana", "bob", slug="news", description="daily")
    row = await world.row(Conversation, channel)
    assert (row.slug, row.public, row.listed, row.history) == ("news", True, 1, "all")
    assert await world.members(channel) == {"ana": "owner", "bob": "member"}
    (created,) = await world.bodies(channel, "conversation.created")
    assert created == e.ConversationCreated(
        kind="channel", name="News", slug="news", public=True, history="all", description="daily"
    )
    assert await world.may("cat", channel)
    with refused("forbidden"):
        await world.say("cat", channel)


async def test_a_private_channel_is_not_there_for_others(world):
    channel = await world.create_channel("ana", slug="secret", public=False)
    row = await world.row(Conversation, channel)
    assert (row.public, row.listed) == (False, 0)
    with refused("not_found"):
        await world.join("bob", channel)
    assert not await world.may("bob", channel)


async def test_a_slug_is_one_channels(world, busy):
    await world.create_channel("ana", slug="news")
    with refused("conflict", field="slug"):
        await world.create_channel("bob", slug="news")
    other = await world.create_channel("bob", slug="other")
    with refused("conflict", field="slug"):
        await world.update("bob", other, slug="news")
    nodes = [busy, busy.node(), busy.node()]
    answers = await together(*(node.create_channel("ana", slug="news") for node in nodes))
    made = [answer for answer in answers if isinstance(answer, str)]
    assert len(made) == 1
    assert [r.field for r in answers if not isinstance(r, str)] == ["slug", "slug"]


async def test_a_topic_is_a_log_for_the_channels_members(world):
    channel = await world.create_channel("ana", "bob", slug="news")
    await world.join("cat", channel)
    command = c.CreateTopic(conversation=channel, name="Sports")
    answer = await world.conversations.create_topic(world.caller("cat"), command)
    topic = answer.created
    assert (answer.conversation, answer.seq) == (topic, 1)
    row = await world.row(Conversation, topic)
    assert (row.kind, row.parent, row.name) == ("topic", channel, "Sports")
    head = await world.head(topic)
    assert (head.kind, head.room) == ("topic", channel)
    (told,) = await world.bodies(channel, "topic.created")
    assert told == e.TopicCreated(topic=topic, name="Sports")
    assert await world.store.count(Member, (TENANT, topic)) == 0
    await world.say("bob", topic)
    with refused("forbidden"):
        await world.say("dan", topic)
    await world.leave("cat", channel)
    with refused("forbidden"):
        await world.say("cat", topic)


async def test_topics_are_made_in_channels_by_members(world, monkeypatch):
    channel = await world.create_channel("ana", "bob", slug="news")
    topic = await world.create_topic("bob", channel)
    group = await world.create_group("ana")
    for where in (topic, group):
        with refused("forbidden"):
            await world.create_topic("ana", where)
    with refused("forbidden"):
        await world.create_topic("cat", channel)
    with refused("not_found"):
        await world.create_topic("cat", group)
    await world.add("ana", channel, "dan", "guest")
    with refused("forbidden"):
        await world.create_topic("dan", channel)
    monkeypatch.setattr(rules, "MAX_TOPICS", 1)
    with refused("limit_reached"):
        await world.create_topic("ana", channel)


# --- changing ----------------------------------------------------------------------------------------


async def test_only_what_changed_is_told(world):
    channel = await world.create_channel("ana", "bob", slug="news", description="old")
    answer = await world.update("ana", channel, name="News", description="new", public=True)
    (told,) = await world.bodies(channel, "conversation.updated")
    assert told == e.ConversationUpdated(description="new")
    assert answer.seq == (await world.head(channel)).last_seq
    row = await world.row(Conversation, channel)
    assert (row.name, row.description) == ("News", "new")


async def test_nothing_changed_is_no_event(world):
    group = await world.create_group("ana", name="G")
    before = (await world.head(group)).last_seq
    for answer in (await world.update("ana", group), await world.update("ana", group, name=" G")):
        assert (answer.conversation, answer.repeated) == (group, True)
    assert (await world.head(group)).last_seq == before


async def test_every_field_of_a_channel(world):
    channel = await world.create_channel("ana", slug="news")
    await world.update(
        "ana",
        channel,
        name="Papers",
        description="d",
        photo="blob1",
        slug="papers",
        public=False,
        history="joined",
        message_ttl_s=60,
        who_may_send="admin",
    )
    row = await world.row(Conversation, channel)
    assert (row.name, row.description, row.photo, row.slug) == ("Papers", "d", "blob1", "papers")
    assert (row.public, row.listed, row.history) == (False, 0, "joined")
    assert (row.message_ttl_s, row.who_may_send) == (60, "admin")
    await world.update("ana", channel, public=True, description="", photo="", message_ttl_s=0)
    row = await world.row(Conversation, channel)
    assert (row.listed, row.description, row.photo, row.message_ttl_s) == (1, "", "", 0)
    (_, second) = await world.bodies(channel, "conversation.updated")
    assert second == e.ConversationUpdated(public=True, description="", photo="", message_ttl_s=0)
    assert await world.create_channel("bob", slug="news")


FIELDS = {
    "name": "N",
    "description": "D",
    "photo": "p",
    "slug": "s2",
    "public": False,
    "history": "all",
    "message_ttl_s": 5,
    "who_may_send": "admin",
}
HAS = {
    "direct": {"message_ttl_s"},
    "topic": {"name", "description", "photo"},
    "group": {"name", "description", "photo", "history", "message_ttl_s", "who_may_send"},
    "channel": set(FIELDS),
}


@pytest.mark.parametrize("kind", list(HAS))
@pytest.mark.parametrize("field", list(FIELDS))
async def test_each_kind_has_its_fields(world, kind, field):
    channel = await world.create_channel("ana", slug="news", public=True)
    await world.update("ana", channel, history="joined")
    where = {
        "direct": lambda: world.direct("ana", "bob"),
        "topic": lambda: world.create_topic("ana", channel),
        "group": lambda: world.create_group("ana"),
    }
    conversation = await where[kind]() if kind in where else channel
    if field in HAS[kind]:
        await world.update("ana", conversation, **{field: FIELDS[field]})
        row = await world.row(Conversation, conversation)
        assert getattr(row, field) == FIELDS[field]
    else:
        before = await world.head(conversation)
        with refused("invalid", field=field):
            await world.update("ana", conversation, **{field: FIELDS[field]})
        assert await world.head(conversation) == before


async def test_a_bad_photo_is_refused(world):
    group = await world.create_group("ana")
    with refused("invalid", field="photo"):
        await world.update("ana", group, photo="javascript:alert(1)")


async def test_who_may_update(world):
    group = await world.create_group("ana", "bob", "cat")
    await world.set_role("ana", group, "bob", "admin")
    await world.set_role("ana", group, "cat", "moderator")
    await world.update("bob", group, name="B")
    with refused("forbidden"):
        await world.update("cat", group, name="C")
    with refused("not_found"):
        await world.update("dan", group, name="D")
    with refused("not_found"):
        await world.update("dan", "nowhere", name="D")


async def test_a_timer_in_a_direct_conversation_is_either_ones(world):
    direct = await world.direct("ana", "bob")
    await world.update("bob", direct, message_ttl_s=30)
    sent = await world.say("ana", direct)
    (event,) = [one for one in await world.events(direct) if one.seq == sent.seq]
    assert e.decode_body(event.kind, event.body).expires_at == world.clock.now_ms() + 30_000
    await world.block("ana", "bob")
    with refused("peer_unavailable"):
        await world.update("bob", direct, message_ttl_s=0)
    with refused("forbidden"):
        await world.update("ana", direct, message_ttl_s=0)


async def test_a_policy_holds_from_its_commit_on(world):
    group = await world.create_group("ana", "bob")
    await world.say("bob", group)
    await world.update("ana", group, who_may_send="admin")
    with refused("forbidden"):
        await world.say("bob", group)
    channel = await world.create_channel("ana", slug="news")
    assert await world.may("dan", channel)
    await world.update("ana", channel, public=False)
    assert not await world.may("dan", channel)


async def test_a_server_that_lags_behind_acts_on_nothing_old(world):
    group = await world.create_group("ana", "bob")
    late = world.node(deaf=True)
    await late.say("bob", group)
    assert late.access.cached(world.caller("bob"), group) is not None
    await world.update("ana", group, who_may_send="admin")
    with refused("forbidden"):
        await late.say("bob", group)
    await late.update("ana", group, who_may_send="member")
    await world.say("bob", group)


async def test_updates_at_once_lose_nothing(busy):
    group = await busy.create_group("ana")
    other = busy.node()
    await together(
        busy.update("ana", group, name="N"),
        other.update("ana", group, description="D"),
        busy.update("ana", group, photo="p"),
        other.update("ana", group, message_ttl_s=9),
    )
    row = await busy.row(Conversation, group)
    assert (row.name, row.description, row.photo, row.message_ttl_s) == ("N", "D", "p", 9)
    assert len(await busy.bodies(group, "conversation.updated")) == 4


# --- deleting ----------------------------------------------------------------------------------------


async def test_a_deleted_conversation_is_there_for_nobody(world):
    channel = await world.create_channel("ana", "bob", slug="news")
    topic = await world.create_topic("ana", channel)
    await world.say("bob", topic)
    delete = c.DeleteConversation(conversation=channel)
    await world.set_role("ana", channel, "bob", "admin")
    for who, code in (("bob", "forbidden"), ("cat", "forbidden")):
        with refused(code):
            await world.conversations.delete(world.caller(who), delete)
    answer = await world.conversations.delete(world.caller("ana"), delete)
    assert (await world.events(channel))[-1].kind == "conversation.deleted"
    assert answer.seq == (await world.head(channel)).last_seq
    row = await world.row(Conversation, channel)
    assert (row.deleted_at, row.listed, row.slug) == (world.clock.now_ms(), 0, "")
    assert await world.members(channel) == {}
    for who in ("ana", "bob"):
        (gone,) = await world.bodies(who, "conversation.left")
        assert gone.conversation == channel
        for log in (channel, topic):
            assert not await world.may(who, log)
            with refused("not_found"):
                await world.say(who, log)
    assert await world.bodies("cat", "conversation.left") == []
    assert await world.store.count(Outbox, (TENANT,)) == 0
    with refused("not_found"):
        await world.conversations.delete(world.caller("ana"), delete)
    assert await world.create_channel("cat", slug="news") != channel


async def test_a_repeat_of_a_deletion_gets_its_first_answer(world):
    group = await world.create_group("ana", "bob")
    delete = c.DeleteConversation(conversation=group, client_id="1")
    first = await world.conversations.delete(world.caller("ana"), delete)
    again = await world.conversations.delete(world.caller("ana"), delete)
    assert again == msgspec.structs.replace(first, repeated=True)
    assert len(await world.bodies("bob", "conversation.left")) == 1


async def test_a_topic_is_deleted_alone(world):
    channel = await world.create_channel("ana", "bob", slug="news")
    topic = await world.create_topic("bob", channel)
    delete = c.DeleteConversation(conversation=topic)
    with refused("forbidden"):
        await world.conversations.delete(world.caller("bob"), delete)
    await world.conversations.delete(world.caller("ana"), delete)
    assert not await world.may("bob", topic)
    assert await world.may("bob", channel)
    assert await world.bodies("bob", "conversation.left") == []


async def test_a_direct_conversation_is_not_deleted(world):
    direct = await world.direct("ana", "bob")
    with refused("forbidden"):
        await world.conversations.delete(world.caller("ana"), c.DeleteConversation(conversation=direct))


async def test_drafts_go_with_the_conversation(world):
    group = await world.create_group("ana", "bob")
    kept = await world.create_group("ana", "bob")
    for where in (group, kept):
        await world.write(
            Put(Draft(tenant=TENANT, user=world.id("bob"), conversation=where, thread=0, text="hm"))
        )
    await world.conversations.delete(world.caller("ana"), c.DeleteConversation(conversation=group))
    left = await world.store.scan(Draft, (TENANT,))
    assert [draft.conversation for draft in left] == [kept]
    assert await world.row(Cursor, group, world.id("bob"), 0) is None
    assert await world.row(Cursor, kept, world.id("bob"), 0) is not None


async def test_many_members_learn_of_a_deletion_in_chunks(world, monkeypatch):
    monkeypatch.setattr(subject, "CHUNK", 3)
    names = [f"p{n}" for n in range(10)]
    await world.people(*names)
    group = await world.create_group("ana", *names)
    before = len(world.committed)
    await world.conversations.delete(world.caller("ana"), c.DeleteConversation(conversation=group))
    lefts = [
        sum(event.kind == "conversation.left" for event in unit.events) for unit in world.committed[before:]
    ]
    assert lefts == [3, 3, 3, 2]
    for name in ("ana", *names):
        assert len(await world.bodies(name, "conversation.left")) == 1
    assert await world.members(group) == {}
    assert await world.store.count(Outbox, (TENANT,)) == 0


async def test_a_deletion_that_was_broken_off_goes_on(world, monkeypatch):
    monkeypatch.setattr(subject, "CHUNK", 2)
    group = await world.create_group("ana", "bob", "cat", "dan")
    append = world.store.append

    def power_cut(unit):
        if any(event.kind == "conversation.deleted" for event in unit.events):
            return append(unit)
        raise ConnectionError

    monkeypatch.setattr(world.store, "append", power_cut)
    with pytest.raises(ConnectionError):
        await world.conversations.delete(world.caller("ana"), c.DeleteConversation(conversation=group))
    monkeypatch.setattr(world.store, "append", append)
    assert len(await world.members(group)) == 2
    for who in ("ana", "bob", "cat", "dan"):
        assert not await world.may(who, group)
    (todo,) = await world.store.scan(Outbox, (TENANT,))
    assert (todo.topic, todo.due_at) == (SWEEP_TOPIC, world.clock.now_ms() + 60_000)
    sweep = msgspec.json.decode(todo.payload, type=Sweep)
    await world.conversations.sweep(TENANT, sweep)
    assert await world.members(group) == {}
    assert await world.store.count(Outbox, (TENANT,)) == 0
    for who in ("ana", "bob", "cat", "dan"):
        assert len(await world.bodies(who, "conversation.left")) == 1
    await world.conversations.sweep(TENANT, sweep)


@pytest.mark.parametrize("steps", range(20))
async def test_two_sweeps_tell_nobody_twice(busy, monkeypatch, steps):
    monkeypatch.setattr(subject, "CHUNK", 1)
    group = await busy.create_group("ana", "bob", "cat", "dan")
    other = busy.node()
    delete = c.DeleteConversation(conversation=group)
    sweep = Sweep(group, busy.id("ana"))
    await together(
        busy.conversations.delete(busy.caller("ana"), delete),
        *(later(steps + n, other.conversations.sweep(TENANT, sweep)) for n in range(0, 60, 20)),
    )
    await other.conversations.sweep(TENANT, sweep)
    assert await busy.members(group) == {}
    for who in ("ana", "bob", "cat", "dan"):
        assert len(await busy.bodies(who, "conversation.left")) == 1


async def test_a_sweep_leaves_the_living_alone(world):
    group = await world.create_group("ana", "bob")
    await world.conversations.sweep(TENANT, Sweep(group, world.id("ana")))
    assert len(await world.members(group)) == 2


# --- preferences ---------------------------------------------------------------------------------------


async def test_preferences_are_told_in_ones_own_log(world):
    group = await world.create_group("ana", "bob")
    before = await world.head(group)
    prefer = c.SetPreferences(conversation=group, notify="mentions", pinned=True)
    answer = await world.conversations.set_preferences(world.caller("bob"), prefer)
    assert answer.conversation == world.id("bob")
    more = c.SetPreferences(conversation=group, muted_until=99, archived=True)
    await world.conversations.set_preferences(world.caller("bob"), more)
    assert await world.bodies("bob", "preferences.updated") == [
        e.PreferencesUpdated(conversation=group, notify="mentions", pinned=True),
        e.PreferencesUpdated(
            conversation=group, notify="mentions", pinned=True, muted_until=99, archived=True
        ),
    ]
    member = await world.member(group, "bob")
    assert (member.notify, member.muted_until, member.pinned, member.archived) == ("mentions", 99, True, True)
    assert (member.role, member.since) == ("member", 0)
    assert await world.head(group) == before
    assert (await world.member(group, "ana")).notify == "all"
    back = c.SetPreferences(conversation=group, notify="all", muted_until=0, pinned=False, archived=False)
    await world.conversations.set_preferences(world.caller("bob"), back)
    member = await world.member(group, "bob")
    assert (member.notify, member.muted_until, member.pinned, member.archived) == ("all", 0, False, False)


async def test_preferences_that_are_so_already_are_no_event(world):
    group = await world.create_group("ana")
    prefer = c.SetPreferences(conversation=group, pinned=True)
    await world.conversations.set_preferences(world.caller("ana"), prefer)
    again = await world.conversations.set_preferences(world.caller("ana"), prefer)
    assert again.repeated
    assert len(await world.bodies("ana", "preferences.updated")) == 1


async def test_preferences_are_for_members(world):
    group = await world.create_group("ana")
    channel = await world.create_channel("ana")
    topic = await world.create_topic("ana", channel)
    for where, code in ((group, "not_found"), ("nowhere", "not_found"), (channel, "forbidden")):
        with refused(code):
            await world.conversations.set_preferences(
                world.caller("bob"), c.SetPreferences(conversation=where, pinned=True)
            )
    with refused("invalid", field="conversation"):
        await world.conversations.set_preferences(
            world.caller("ana"), c.SetPreferences(conversation=topic, pinned=True)
        )


@pytest.mark.parametrize("steps", range(20))
async def test_preferences_survive_a_change_of_role(busy, steps):
    group = await busy.create_group("ana", "bob")
    other = busy.node()
    prefer = c.SetPreferences(conversation=group, notify="none")
    results = await together(
        later(steps, busy.conversations.set_preferences(busy.caller("bob"), prefer)),
        other.set_role("ana", group, "bob", "admin"),
    )
    assert all(isinstance(result, c.Accepted) for result in results)
    member = await busy.member(group, "bob")
    assert (member.role, member.notify) == ("admin", "none")
