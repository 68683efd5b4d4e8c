"""Joining, leaving, adding, removing, roles and invites."""

from __future__ import annotations

import itertools

import msgspec
import pytest

from tertulia.adapters.sqlite import SqliteStore
from tertulia.application import rows
from tertulia.domain import commands as c
from tertulia.domain import events as e
from tertulia.domain import membership as rules
from tertulia.domain.errors import Refusal
from tertulia.domain.permissions import capabilities
from tertulia.domain.records import Conversation, Cursor, Draft, Invite, Member, ThreadFollow
from tertulia.domain.unit import Put, SetCursor
from tests.support.world import TENANT, MemoryStore, Unhurried, World, later, refused, together

ROLES = e.ROLES


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


# --- joining -----------------------------------------------------------------------------------------


async def test_anyone_joins_a_public_channel(world):
    channel = await world.create_channel("ana")
    await world.say("ana", channel)
    answer = await world.join("bob", channel)
    (event,) = await world.events(channel, 3)
    assert (event.kind, event.seq, event.actor) == ("member.added", answer.seq, world.id("bob"))
    assert e.decode_body(event.kind, event.body) == e.MemberAdded(
        user=world.id("bob"), role="member", by="join"
    )
    member = await world.member(channel, "bob")
    assert (member.role, member.since, member.joined_at) == ("member", 3, world.clock.now_ms())
    assert await world.unread(channel, "bob") == 0
    (joined,) = await world.bodies("bob", "conversation.joined")
    assert (joined.conversation, joined.kind, joined.role) == (channel, "channel", "member")
    await world.say("ana", channel)
    assert await world.unread(channel, "bob") == 1
    await world.say("bob", channel)


async def test_joining_twice_is_one_membership(world):
    channel = await world.create_channel("ana")
    await world.join("bob", channel)
    before = await world.head(channel)
    again = await world.join("bob", channel)
    assert (again.conversation, again.repeated) == (channel, True)
    assert await world.head(channel) == before


async def test_what_is_not_open_is_not_joined(world):
    private = await world.create_channel("ana", slug="private", public=False)
    group = await world.create_group("ana")
    direct = await world.direct("ana", "cat")
    for where in (private, group, direct, "nowhere"):
        with refused("not_found"):
            await world.join("bob", where)
    public = await world.create_channel("ana", slug="open")
    topic = await world.create_topic("ana", public)
    with refused("invalid"):
        await world.join("bob", topic)
    assert await world.members(public) == {"ana": "owner"}


async def test_a_full_channel_takes_nobody(world):
    await world.set_tenant(max_members=2)
    channel = await world.create_channel("ana")
    await world.join("bob", channel)
    with refused("limit_reached"):
        await world.join("cat", channel)
    await world.leave("bob", channel)
    await world.join("cat", channel)


@pytest.mark.parametrize("nodes", [1, 2])
async def test_a_crowd_joins_at_once(busy, nodes):
    await busy.set_tenant(max_members=21)
    names = [f"p{n}" for n in range(30)]
    await busy.people(*names)
    channel = await busy.create_channel("ana")
    servers = [busy, busy.node()][:nodes]
    answers = await together(
        *(server.join(name, channel) for name, server in zip(names, itertools.cycle(servers)))
    )
    assert {a.code for a in answers if isinstance(a, Refusal)} == {"limit_reached"}
    assert len(await busy.members(channel)) == 21
    assert len(await busy.bodies(channel, "member.added")) == 21
    assert all(len(server.turns) == 0 for server in servers)


async def test_a_crowd_joins_a_talking_channel_on_sqlite(tmp_path):
    store = await SqliteStore.open(tmp_path)
    try:
        world = World(store)
        names = [f"p{n}" for n in range(20)]
        await world.people("ana", *names)
        channel = await world.create_channel("ana")
        answers = await together(
            *(world.join(name, channel) for name in names),
            *(world.say("ana", channel, str(n)) for n in range(20)),
        )
        assert not [answer for answer in answers if isinstance(answer, Refusal)]
        assert len(await world.members(channel)) == 21
        events = await world.events(channel)
        assert [event.seq for event in events] == list(range(1, 43))
    finally:
        await store.close()


async def test_the_same_join_many_times_at_once(busy):
    channel = await busy.create_channel("ana")
    other = busy.node()
    answers = await together(*(node.join("bob", channel) for node in (busy, other) * 10))
    assert all(isinstance(answer, c.Accepted) for answer in answers)
    assert len(await busy.bodies(channel, "member.added")) == 2
    assert len(await busy.bodies("bob", "conversation.joined")) == 1


async def test_a_cached_stranger_is_known_once_they_joined(world):
    channel = await world.create_channel("ana")
    assert await world.may("bob", channel)
    with refused("forbidden"):
        await world.say("bob", channel)
    await world.join("bob", channel)
    await world.say("bob", channel)
    topic = await world.create_topic("bob", channel)
    await world.say("bob", topic)
    await world.leave("bob", channel)
    with refused("forbidden"):
        await world.say("bob", topic)


# --- adding ------------------------------------------------------------------------------------------


async def test_an_added_member_sees_what_follows(world):
    group = await world.create_group("ana")
    await world.say("ana", group, "before")
    answer = await world.add("ana", group, "bob")
    (body,) = (await world.bodies(group, "member.added"))[1:]
    assert body == e.MemberAdded(user=world.id("bob"), role="member", by="add")
    member = await world.member(group, "bob")
    assert member.since == answer.seq - 1
    standing = await world.access.standing(world.caller("bob"), group)
    assert standing.floor == answer.seq - 1
    assert await world.unread(group, "bob") == 0
    (joined,) = await world.events("bob", 1)
    assert (joined.kind, joined.actor) == ("conversation.joined", world.id("ana"))
    await world.update("ana", group, history="all")
    assert (await world.access.standing(world.caller("bob"), group)).floor == 0


async def test_adding_twice(world):
    group = await world.create_group("ana", "bob")
    assert (await world.add("ana", group, "bob")).repeated
    with refused("conflict"):
        await world.add("ana", group, "bob", "admin")
    assert await world.members(group) == {"ana": "owner", "bob": "member"}


async def test_who_may_add(world):
    group = await world.create_group("ana", "bob")
    for role in ("member", "moderator", "guest"):
        await world.set_role("ana", group, "bob", role)
        with refused("forbidden"):
            await world.add("bob", group, "cat")
    await world.set_role("ana", group, "bob", "admin")
    await world.add("bob", group, "cat")
    with refused("not_found"):
        await world.add("dan", group, "dan")
    direct = await world.direct("ana", "bob")
    channel = await world.create_channel("ana")
    topic = await world.create_topic("ana", channel)
    for where in (direct, topic):
        with refused("forbidden"):
            await world.add("ana", where, "dan")


async def test_people_who_cannot_be_added(world):
    group = await world.create_group("ana")
    await world.block("bob", "ana")
    with refused("not_found", field="user") as blocked:
        await world.add("ana", group, "bob")
    with refused("not_found", field="user") as nobody:
        command = c.AddMember(conversation=group, user="nobody")
        await world.membership.add_member(world.caller("ana"), command)
    assert blocked.detail == nobody.detail
    await world.privacy("cat", add_to_groups="nobody")
    with refused("forbidden", field="user"):
        await world.add("ana", group, "cat")
    await world.privacy("cat", add_to_groups="contacts")
    with refused("forbidden", field="user"):
        await world.add("ana", group, "cat")
    await world.befriend("ana", "cat")
    await world.add("ana", group, "cat")
    await world.block("ana", "dan")
    with refused("forbidden", field="user"):
        await world.add("ana", group, "dan")
    await world.unblock("ana", "dan")
    await world.disable("dan")
    with refused("not_found", field="user"):
        await world.add("ana", group, "dan")
    assert await world.members(group) == {"ana": "owner", "cat": "member"}


async def test_a_change_of_mind_between_decision_and_commit_counts(busy, monkeypatch):
    group = await busy.create_group("ana")
    append = busy.store.append

    async def first_privacy(unit):
        monkeypatch.undo()
        await busy.privacy("bob", add_to_groups="nobody")
        return await append(unit)

    monkeypatch.setattr(busy.store, "append", first_privacy, raising=False)
    with refused("forbidden"):
        await busy.add("ana", group, "bob")
    assert await busy.member(group, "bob") is None


# --- roles, as a table -----------------------------------------------------------------------------------


def may_give(actor: str, role: str) -> bool:
    if actor == "owner":
        return True
    return actor == "admin" and ROLES.index(role) > ROLES.index("admin")


@pytest.mark.parametrize("role", ROLES)
@pytest.mark.parametrize("actor", ROLES)
async def test_the_role_that_one_may_add_with(world, actor, role):
    group = await world.create_group("ana", "bob")
    if actor != "member":
        await world.set_role("ana", group, "bob", actor)
    if may_give(actor, role):
        await world.add("bob", group, "cat", role)
        assert (await world.member(group, "cat")).role == role
        assert (await world.bodies("cat", "conversation.joined"))[0].role == role
    else:
        with refused("forbidden"):
            await world.add("bob", group, "cat", role)
        assert await world.member(group, "cat") is None


@pytest.mark.parametrize("target", ROLES)
@pytest.mark.parametrize("actor", ROLES)
async def test_whose_role_one_may_change_and_whom_one_may_remove(world, actor, target):
    group = await world.create_group("ana", "bob", "cat")
    for who, role in (("cat", target), ("bob", actor)):
        if role != "member":
            await world.set_role("ana", group, who, role)
    stronger = actor == "owner" or ROLES.index(actor) < ROLES.index(target)
    for role in ROLES:
        if role == target:
            continue
        if actor in ("owner", "admin") and stronger and may_give(actor, role):
            answer = await world.set_role("bob", group, "cat", role)
            (event,) = await world.events(group, answer.seq - 1)
            body = e.decode_body(event.kind, event.body)
            assert (event.kind, body) == (
                "member.updated",
                e.MemberUpdated(user=world.id("cat"), role=role),
            )
            assert (await world.member(group, "cat")).role == role
            await world.set_role("ana", group, "cat", target)
        else:
            with refused("forbidden"):
                await world.set_role("bob", group, "cat", role)
            assert (await world.member(group, "cat")).role == target
    if actor in ("owner", "admin", "moderator") and stronger:
        await world.remove("bob", group, "cat")
        assert await world.member(group, "cat") is None
    else:
        with refused("forbidden"):
            await world.remove("bob", group, "cat")
        assert (await world.member(group, "cat")).role == target


async def test_a_role_counts_from_its_commit_on(world):
    group = await world.create_group("ana", "bob")
    sent = await world.say("ana", group)
    delete = c.DeleteMessage(conversation=group, seq=sent.seq, everyone=True)
    with refused("forbidden"):
        await world.messages.delete(world.caller("bob"), delete)
    await world.set_role("ana", group, "bob", "moderator")
    assert "delete_any" in capabilities(await world.access.standing(world.caller("bob"), group))
    await world.messages.delete(world.caller("bob"), delete)


async def test_an_owner_makes_others_owners_and_stays_one(world):
    group = await world.create_group("ana", "bob")
    await world.set_role("ana", group, "bob", "owner")
    assert await world.members(group) == {"ana": "owner", "bob": "owner"}
    await world.set_role("bob", group, "ana", "guest")
    assert await world.members(group) == {"ana": "guest", "bob": "owner"}


async def test_there_is_always_an_owner(world):
    group = await world.create_group("ana", "bob")
    for role in ROLES[1:]:
        with refused("conflict"):
            await world.set_role("ana", group, "ana", role)
    await world.set_role("ana", group, "bob", "owner")
    await world.set_role("ana", group, "ana", "admin")
    with refused("forbidden"):
        await world.set_role("ana", group, "ana", "owner")
    assert await world.members(group) == {"ana": "admin", "bob": "owner"}


async def test_stepping_down(world):
    group = await world.create_group("ana", "bob", "cat")
    await world.set_role("ana", group, "bob", "admin")
    await world.set_role("bob", group, "bob", "member")
    with refused("forbidden"):
        await world.set_role("bob", group, "bob", "guest")


async def test_roles_of_nobody(world):
    group = await world.create_group("ana")
    direct = await world.direct("ana", "bob")
    with refused("not_found"):
        await world.set_role("ana", group, "bob", "admin")
    with refused("forbidden"):
        await world.set_role("ana", direct, "bob", "admin")
    with refused("not_found"):
        await world.set_role("bob", group, "ana", "member")
    before = await world.head(group)
    assert (await world.set_role("ana", group, "ana", "owner")).repeated
    assert await world.head(group) == before


@pytest.mark.parametrize("nodes", [1, 2])
async def test_two_owners_step_down_at_once(busy, nodes):
    group = await busy.create_group("ana", "bob", "cat")
    await busy.set_role("ana", group, "bob", "owner")
    other = busy.node() if nodes == 2 else busy
    answers = await together(
        busy.set_role("ana", group, "ana", "member"), other.set_role("bob", group, "bob", "member")
    )
    assert [a.code for a in answers if isinstance(a, Refusal)] == ["conflict"]
    assert sorted((await busy.members(group)).values()) == ["member", "member", "owner"]


@pytest.mark.parametrize("nodes", [1, 2])
async def test_two_owners_leave_at_once(busy, nodes):
    group = await busy.create_group("ana", "bob", "cat")
    await busy.set_role("ana", group, "bob", "owner")
    other = busy.node() if nodes == 2 else busy
    answers = await together(busy.leave("ana", group), other.leave("bob", group))
    assert [a.code for a in answers if isinstance(a, Refusal)] == ["conflict"]
    assert list((await busy.members(group)).values()).count("owner") == 1


@pytest.mark.parametrize("nodes", [1, 2])
async def test_two_owners_demote_each_other_at_once(busy, nodes):
    group = await busy.create_group("ana", "bob")
    await busy.set_role("ana", group, "bob", "owner")
    other = busy.node() if nodes == 2 else busy
    answers = await together(
        busy.set_role("ana", group, "bob", "member"), other.set_role("bob", group, "ana", "member")
    )
    assert [a.code for a in answers if isinstance(a, Refusal)] == ["forbidden"]
    assert list((await busy.members(group)).values()).count("owner") == 1


async def test_a_demoted_admin_on_a_server_that_lags_behind_changes_nothing(busy):
    group = await busy.create_group("ana", "bob", "cat")
    await busy.set_role("ana", group, "bob", "admin")
    late = busy.node(deaf=True)
    await late.add("bob", group, "dan")
    await busy.set_role("ana", group, "bob", "member")
    with refused("forbidden"):
        await late.remove("bob", group, "cat")
    assert "cat" in await busy.members(group)


# --- leaving and removing ------------------------------------------------------------------------------


async def traces(world, conversation, who):
    """The number of rows that a member leaves behind."""
    user = world.id(who)
    drafts = await world.store.scan(Draft, (TENANT, user))
    follows = await world.store.scan(ThreadFollow, (TENANT, user), index="user")
    cursors = await world.store.scan(Cursor, (TENANT, user), index="user")
    return [len([r for r in rows if r.conversation == conversation]) for rows in (drafts, follows, cursors)]


async def leave_traces(world, conversation, who):
    root = await world.say("ana", conversation, "root")
    await world.say(who, conversation, "reply", thread=root.seq)
    user = world.id(who)
    await world.write(
        Put(Draft(tenant=TENANT, user=user, conversation=conversation, thread=0, text="hm")),
        Put(Draft(tenant=TENANT, user=user, conversation=conversation, thread=root.seq, text="hm")),
        SetCursor(log=conversation, user=user, read=root.seq),
    )


async def test_leaving_takes_everything_along(world):
    channel = await world.create_channel("ana", "bob", slug="news")
    topic = await world.create_topic("ana", channel)
    other = await world.create_group("ana", "bob")
    for where in (channel, topic, other):
        await leave_traces(world, where, "bob")
    prefer = c.SetPreferences(conversation=channel, notify="none")
    await world.conversations.set_preferences(world.caller("bob"), prefer)
    assert await traces(world, topic, "bob") == [2, 1, 2]
    answer = await world.leave("bob", channel)
    (event,) = await world.events(channel, answer.seq - 1)
    assert e.decode_body(event.kind, event.body) == e.MemberRemoved(user=world.id("bob"), left=True)
    assert await world.member(channel, "bob") is None
    (left,) = await world.bodies("bob", "conversation.left")
    assert left.conversation == channel
    assert await traces(world, channel, "bob") == [0, 0, 0]
    assert await traces(world, topic, "bob") == [0, 0, 0]
    assert await traces(world, other, "bob") == [2, 1, 2]
    await world.join("bob", channel)
    assert (await world.member(channel, "bob")).notify == "all"
    assert await world.unread(channel, "bob") == 0


async def test_a_removed_member_is_out_at_once(world):
    group = await world.create_group("ana", "bob", "cat")
    await world.say("bob", group)
    answer = await world.remove("ana", group, "bob")
    (event,) = await world.events(group, answer.seq - 1)
    assert (event.kind, event.actor) == ("member.removed", world.id("ana"))
    assert e.decode_body(event.kind, event.body) == e.MemberRemoved(user=world.id("bob"))
    assert len(await world.bodies("bob", "conversation.left")) == 1
    assert not await world.may("bob", group)
    with refused("not_found"):
        await world.say("bob", group)
    with refused("not_found"):
        await world.remove("ana", group, "bob")
    await world.say("cat", group)


async def test_coming_back_starts_afresh(world):
    group = await world.create_group("ana", "bob")
    await world.say("ana", group)
    await world.remove("ana", group, "bob")
    await world.say("ana", group)
    answer = await world.add("ana", group, "bob")
    assert (await world.member(group, "bob")).since == answer.seq - 1
    assert await world.unread(group, "bob") == 0
    await world.say("ana", group)
    assert await world.unread(group, "bob") == 1


async def test_who_may_remove(world):
    group = await world.create_group("ana", "bob", "cat")
    with refused("forbidden"):
        await world.remove("bob", group, "cat")
    with refused("not_found"):
        await world.remove("dan", group, "cat")
    with refused("not_found"):
        await world.remove("ana", group, "dan")
    direct = await world.direct("ana", "bob")
    with refused("forbidden"):
        await world.remove("ana", direct, "bob")


async def test_removing_oneself_is_leaving(world):
    group = await world.create_group("ana", "bob")
    await world.remove("bob", group, "bob")
    (body,) = await world.bodies(group, "member.removed")
    assert body.left
    other = await world.create_group("ana", "cat")
    with refused("conflict"):
        await world.remove("ana", other, "ana")


async def test_the_last_owner_stays_while_there_are_others(world):
    group = await world.create_group("ana", "bob")
    with refused("conflict") as refusal:
        await world.leave("ana", group)
    assert "owner" in refusal.detail
    await world.set_role("ana", group, "bob", "owner")
    await world.leave("ana", group)
    assert await world.members(group) == {"bob": "owner"}


async def test_an_owner_among_many_is_found(world, monkeypatch):
    monkeypatch.setattr(rows, "PAGE", 2)
    names = [f"p{n}" for n in range(7)]
    await world.people(*names)
    group = await world.create_group("ana", *names)
    with refused("conflict"):
        await world.leave("ana", group)
    await world.set_role("ana", group, "p6", "owner")
    await world.leave("ana", group)


async def test_the_last_one_out_deletes_the_conversation(world):
    channel = await world.create_channel("ana", "bob", slug="news")
    await world.leave("bob", channel)
    answer = await world.leave("ana", channel)
    assert (await world.kinds(channel))[-2:] == ["member.removed", "conversation.deleted"]
    assert answer.seq == (await world.head(channel)).last_seq - 1
    row = await world.row(Conversation, channel)
    assert (row.deleted_at, row.listed, row.slug) == (world.clock.now_ms(), 0, "")
    assert not await world.may("bob", channel)
    with refused("not_found"):
        await world.join("bob", channel)


@pytest.mark.parametrize("nodes", [1, 2])
async def test_joining_while_the_last_one_leaves(busy, nodes):
    channel = await busy.create_channel("ana")
    other = busy.node() if nodes == 2 else busy
    gone, came = await together(busy.leave("ana", channel), other.join("bob", channel))
    row = await busy.row(Conversation, channel)
    members = await busy.members(channel)
    if isinstance(gone, Refusal):
        assert gone.code == "conflict"
        assert (row.deleted_at, members) == (0, {"ana": "owner", "bob": "member"})
    else:
        assert isinstance(came, Refusal)
        assert came.code == "not_found"
        assert (row.deleted_at > 0, members) == (True, {})


async def test_what_cannot_be_left(world):
    direct = await world.direct("ana", "bob")
    channel = await world.create_channel("ana")
    topic = await world.create_topic("ana", channel)
    group = await world.create_group("ana")
    for who, where, code in (
        ("ana", direct, "forbidden"),
        ("ana", topic, "forbidden"),
        ("bob", channel, "forbidden"),
        ("bob", group, "not_found"),
        ("bob", "nowhere", "not_found"),
    ):
        with refused(code):
            await world.leave(who, where)
    assert len(await world.members(direct)) == 2


async def test_a_repeat_of_leaving_gets_its_first_answer(world):
    group = await world.create_group("ana", "bob")
    command = c.LeaveConversation(conversation=group, client_id="x")
    first = await world.membership.leave(world.caller("bob"), command)
    again = await world.membership.leave(world.caller("bob"), command)
    assert again == msgspec.structs.replace(first, repeated=True)
    await world.add("ana", group, "bob")
    late = await world.membership.leave(world.caller("bob"), command)
    assert late == again
    assert "bob" in await world.members(group)


# --- invites -------------------------------------------------------------------------------------------


async def invite(world, who, conversation, **fields):
    command = c.CreateInvite(conversation=conversation, **fields)
    return await world.membership.create_invite(world.caller(who), command)


async def accept(world, who, token, **fields):
    return await world.membership.accept_invite(world.caller(who), c.AcceptInvite(token=token, **fields))


async def test_an_invite_lets_people_in(world):
    group = await world.create_group("ana")
    await world.say("ana", group)
    made = await invite(world, "ana", group)
    assert made.secret.startswith(made.created + ".")
    assert 16 <= len(made.secret) <= 128
    (told,) = await world.bodies(group, "invite.created")
    assert told.invite == made.created
    answer = await accept(world, "bob", made.secret)
    assert answer.conversation == group
    (event,) = await world.events(group, answer.seq - 1)
    body = e.decode_body(event.kind, event.body)
    assert (event.kind, body) == (
        "member.added",
        e.MemberAdded(user=world.id("bob"), role="member", by="invite"),
    )
    member = await world.member(group, "bob")
    assert (member.role, member.since) == ("member", answer.seq - 1)
    assert await world.unread(group, "bob") == 0
    assert (await world.bodies("bob", "conversation.joined"))[0].conversation == group
    assert (await world.row(Invite, group, made.created)).uses == 1
    await world.say("bob", group)


async def test_the_secret_is_nowhere_but_in_the_answer(world):
    group = await world.create_group("ana", "bob")
    made = await invite(world, "ana", group)
    row = await world.row(Invite, group, made.created)
    tail = made.secret.partition(".")[2]
    stored = msgspec.json.encode(row) + b"".join(event.body or b"" for event in await world.events(group))
    assert tail.encode() not in stored


async def test_a_repeat_gets_the_same_secret(world):
    group = await world.create_group("ana", "bob")
    await world.set_role("ana", group, "bob", "admin")
    first = await invite(world, "bob", group, client_id="1")
    again = await invite(world, "bob", group, client_id="1")
    assert again == msgspec.structs.replace(first, repeated=True)
    await world.set_role("ana", group, "bob", "member")
    late = await invite(world, "bob", group, client_id="1")
    assert late == again
    assert await world.store.count(Invite, (TENANT, group)) == 1
    assert (await accept(world, "cat", late.secret)).conversation == group


async def test_a_member_already_takes_no_use(world):
    group = await world.create_group("ana", "bob")
    made = await invite(world, "ana", group, max_uses=1)
    before = await world.head(group)
    answer = await accept(world, "bob", made.secret)
    assert (answer.conversation, answer.repeated) == (group, True)
    assert await world.head(group) == before
    assert (await world.row(Invite, group, made.created)).uses == 0
    await accept(world, "cat", made.secret)
    assert (await accept(world, "cat", made.secret)).repeated


async def test_a_repeat_of_accepting_gets_its_first_answer(world):
    group = await world.create_group("ana")
    made = await invite(world, "ana", group, max_uses=1)
    first = await accept(world, "bob", made.secret, client_id="1")
    again = await accept(world, "bob", made.secret, client_id="1")
    assert again == msgspec.structs.replace(first, repeated=True)
    await world.remove("ana", group, "bob")
    assert await accept(world, "bob", made.secret, client_id="1") == again
    assert await world.member(group, "bob") is None


async def test_tokens_that_never_were_are_not_found(world):
    group = await world.create_group("ana")
    made = await invite(world, "ana", group)
    head, _, tail = made.secret.partition(".")
    other = await invite(world, "ana", group)
    swapped = f"{other.created}.{tail}"
    flipped = made.secret[:-1] + ("A" if made.secret[-1] != "A" else "B")
    for token in (f"{head}.{'A' * len(tail)}", swapped, flipped, "x" * 16, f"{made.secret}=", head + "." * 4):
        with refused("not_found") as refusal:
            await accept(world, "bob", token)
        assert refusal.detail == "No such invite."
    await world.membership.revoke_invite(
        world.caller("ana"), c.RevokeInvite(conversation=group, invite=made.created)
    )
    with refused("not_found"):
        await accept(world, "bob", flipped)
    assert await world.members(group) == {"ana": "owner"}


async def test_a_token_is_of_one_tenant(world):
    group = await world.create_group("ana")
    made = await invite(world, "ana", group)
    stranger = msgspec.structs.replace(world.caller("bob"), tenant="other")
    with refused("not_found"):
        await world.membership.accept_invite(stranger, c.AcceptInvite(token=made.secret))


async def test_invites_end(world):
    group = await world.create_group("ana")
    now = world.clock.now_ms()
    with refused("invalid", field="expires_at"):
        await invite(world, "ana", group, expires_at=now)
    dated = await invite(world, "ana", group, expires_at=now + 1000)
    once = await invite(world, "ana", group, max_uses=1)
    revoked = await invite(world, "ana", group)
    await world.membership.revoke_invite(
        world.caller("ana"), c.RevokeInvite(conversation=group, invite=revoked.created)
    )
    world.clock.advance(0.999)
    await accept(world, "bob", dated.secret)
    world.clock.advance(0.001)
    await accept(world, "cat", once.secret)
    answers = set()
    for ended in (dated, once, revoked):
        with refused("expired") as refusal:
            await accept(world, "dan", ended.secret)
        answers.add(refusal.detail)
    assert len(answers) == 1
    fine = await invite(world, "ana", group)
    await world.conversations.delete(world.caller("ana"), c.DeleteConversation(conversation=group))
    with refused("expired"):
        await accept(world, "dan", fine.secret)


async def test_revoking(world):
    group = await world.create_group("ana", "bob")
    elsewhere = await world.create_group("bob")
    made = await invite(world, "ana", group)
    revoke = c.RevokeInvite(conversation=group, invite=made.created)
    with refused("forbidden"):
        await world.membership.revoke_invite(world.caller("bob"), revoke)
    with refused("not_found"):
        await world.membership.revoke_invite(
            world.caller("bob"), c.RevokeInvite(conversation=elsewhere, invite=made.created)
        )
    with refused("not_found"):
        await world.membership.revoke_invite(
            world.caller("ana"), c.RevokeInvite(conversation=group, invite="none")
        )
    answer = await world.membership.revoke_invite(world.caller("ana"), revoke)
    (event,) = await world.events(group, answer.seq - 1)
    assert event.kind == "invite.revoked"
    again = await world.membership.revoke_invite(world.caller("ana"), revoke)
    assert again.repeated
    assert (await world.head(group)).last_seq == answer.seq


async def test_who_may_invite(world):
    group = await world.create_group("ana", "bob")
    for role in ("member", "moderator"):
        await world.set_role("ana", group, "bob", role)
        with refused("forbidden"):
            await invite(world, "bob", group)
    with refused("not_found"):
        await invite(world, "cat", group)
    direct = await world.direct("ana", "bob")
    channel = await world.create_channel("ana")
    topic = await world.create_topic("ana", channel)
    for where in (direct, topic):
        with refused("forbidden"):
            await invite(world, "ana", where)


@pytest.mark.parametrize("nodes", [1, 2])
async def test_the_last_use_is_taken_once(busy, nodes):
    names = [f"p{n}" for n in range(12)]
    await busy.people(*names)
    group = await busy.create_group("ana")
    made = await invite(busy, "ana", group, max_uses=5)
    servers = [busy, busy.node()][:nodes]
    answers = await together(
        *(accept(server, name, made.secret) for name, server in zip(names, itertools.cycle(servers)))
    )
    codes = [a.code for a in answers if isinstance(a, Refusal)]
    assert codes == ["expired"] * 7
    assert len(await busy.members(group)) == 6
    assert (await busy.row(Invite, group, made.created)).uses == 5


@pytest.mark.parametrize("steps", range(25))
async def test_revoking_while_someone_accepts(busy, steps):
    group = await busy.create_group("ana")
    made = await invite(busy, "ana", group)
    other = busy.node()
    revoke = c.RevokeInvite(conversation=group, invite=made.created)
    await together(
        later(steps, busy.membership.revoke_invite(busy.caller("ana"), revoke)),
        accept(other, "bob", made.secret),
    )
    row = await busy.row(Invite, group, made.created)
    assert row.revoked_at
    assert row.uses == ("bob" in await busy.members(group))


async def test_a_full_group_takes_nobody_by_invite(world):
    await world.set_tenant(max_members=2)
    group = await world.create_group("ana", "bob")
    made = await invite(world, "ana", group, max_uses=1)
    with refused("limit_reached"):
        await accept(world, "cat", made.secret)
    assert (await world.row(Invite, group, made.created)).uses == 0


async def test_invites_that_ended_make_room(world, monkeypatch):
    monkeypatch.setattr(rules, "MAX_INVITES", 3)
    group = await world.create_group("ana")
    ended = await invite(world, "ana", group, expires_at=world.clock.now_ms() + 1)
    await invite(world, "ana", group)
    await invite(world, "ana", group)
    with refused("limit_reached"):
        await invite(world, "ana", group)
    world.clock.advance(1)
    await invite(world, "ana", group)
    assert await world.row(Invite, group, ended.created) is None
    assert await world.store.count(Invite, (TENANT, group)) == 3
    with refused("limit_reached"):
        await invite(world, "ana", group)


# --- whatever happens --------------------------------------------------------------------------------------


async def test_the_events_tell_the_members(busy):
    """What happened at once, on two servers, adds up to the rows."""
    names = [f"p{n}" for n in range(6)]
    await busy.people(*names)
    channel = await busy.create_channel("ana", "bob", "cat")
    await busy.set_role("ana", channel, "bob", "owner")
    other = busy.node()
    await together(
        *(other.join(name, channel) for name in names),
        busy.leave("ana", channel),
        other.set_role("bob", channel, "cat", "admin"),
        busy.remove("bob", channel, "p0"),
        other.add("bob", channel, "dan", "moderator"),
        busy.leave("p1", channel),
        other.remove("cat", channel, "p2"),
    )
    members: dict[str, str] = {}
    for event in await busy.events(channel):
        body = e.decode_body(event.kind, event.body)
        if isinstance(body, e.MemberAdded | e.MemberUpdated):
            members[busy.name(body.user)] = body.role
        elif isinstance(body, e.MemberRemoved):
            del members[busy.name(body.user)]
    assert members == await busy.members(channel)
    assert "owner" in members.values()
    for name in ("ana", "bob", "cat", "dan", *names):
        joined = len(await busy.bodies(name, "conversation.joined"))
        left = len(await busy.bodies(name, "conversation.left"))
        assert joined - left == (name in members)
    events = {event.seq: event for event in await busy.events(channel)}
    for row in await busy.store.scan(Member, (TENANT, channel)):
        assert row.since == 0 or events[row.since + 1].kind == "member.added"


@pytest.mark.parametrize("steps", range(16, 32))
async def test_what_is_said_while_someone_joins_is_before_their_time_or_after_it(busy, steps):
    group = await busy.create_group("ana", history="joined")
    added, said = await together(busy.add("ana", group, "bob"), later(steps, busy.say("ana", group)))
    member = await busy.member(group, "bob")
    assert member.since == added.seq - 1
    assert await busy.unread(group, "bob") == int(said.seq > added.seq)


@pytest.mark.parametrize("steps", range(40))
async def test_what_was_read_before_a_removal_is_not_kept_after_it(busy, steps):
    """A standing that loads while the member is removed answers that one call at most."""
    group = await busy.create_group("ana", "bob")
    other = busy.node()
    await busy.say("ana", group)
    await together(busy.remove("ana", group, "bob"), later(steps, other.may("bob", group)))
    assert not await other.may("bob", group)
