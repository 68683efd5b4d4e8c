"""Messages: every command, what it refuses, what happens at once and what a repeat gets."""

from __future__ import annotations

import itertools
from typing import Any

import msgspec
import pytest

from tertulia.application import marks as subject
from tertulia.application.marks import MAX_REACTION_KINDS
from tertulia.domain import commands as c
from tertulia.domain import events as e
from tertulia.domain.content import Attachment, ContactCard, Encrypted, Location, Poll, Text
from tertulia.domain.errors import Refusal
from tertulia.domain.records import (
    Cursor,
    Expiry,
    Hidden,
    Mention,
    Pin,
    Reaction,
    ThreadFollow,
    Vote,
)
from tertulia.domain.views import current_content
from tests.support.world import TENANT, MemoryStore, Unhurried, World, refused, together

POLL = Poll(question="Tea?", options=("yes", "no", "maybe"))
MANY = Poll(question="Tea?", options=("yes", "no", "maybe"), multiple=True)


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


@pytest.fixture
async def group(world):
    return await world.create_group("ana", "bob", "cat")


def act(world: World, who: str, command: Any) -> Any:
    """Carry out any command about messages."""
    messages = world.messages
    handlers = {
        c.SendMessage: messages.send,
        c.ForwardMessage: messages.forward,
        c.EditMessage: messages.edit,
        c.DeleteMessage: messages.delete,
        c.AddReaction: messages.react,
        c.RemoveReaction: messages.react,
        c.PinMessage: messages.pin,
        c.UnpinMessage: messages.pin,
        c.VotePoll: messages.vote,
        c.ClosePoll: messages.close_poll,
        c.FollowThread: messages.follow,
        c.UnfollowThread: messages.follow,
    }
    return handlers[type(command)](world.caller(who), command)


def send(world, who, conversation, content, **fields):
    return act(world, who, c.SendMessage(conversation=conversation, content=content, **fields))


def edit(world, who, conversation, seq, text, **fields):
    command = c.EditMessage(conversation=conversation, seq=seq, content=Text(text=text), **fields)
    return act(world, who, command)


async def new(world, conversation, seq):
    """The body that a message began with."""
    event = (await world.message(conversation, seq)).event
    return e.decode_body(event.kind, event.body)


async def content(world, conversation, seq):
    """The content of a message as it stands now; None once deleted."""
    raw = current_content(await world.message(conversation, seq))
    return msgspec.json.decode(raw, type=Text | Poll) if raw else None


def on_message(conversation, seq):
    """Every command that acts on a message."""
    where = {"conversation": conversation, "seq": seq}
    return [
        c.EditMessage(**where, content=Text(text="x")),
        c.DeleteMessage(**where),
        c.DeleteMessage(**where, everyone=True),
        c.AddReaction(**where, emoji="+"),
        c.RemoveReaction(**where, emoji="+"),
        c.PinMessage(**where),
        c.UnpinMessage(**where),
        c.VotePoll(**where, options=(0,)),
        c.ClosePoll(**where),
        c.FollowThread(conversation=conversation, thread=seq),
        c.UnfollowThread(conversation=conversation, thread=seq),
        c.SendMessage(conversation=conversation, content=Text(text="x"), thread=seq),
        c.SendMessage(conversation=conversation, content=Text(text="x"), reply_to=seq),
        c.SendMessage(
            conversation=conversation, content=Text(text="x"), quote=c.QuoteRequest(seq=seq, text="h")
        ),
        c.ForwardMessage(conversation=conversation, from_conversation=conversation, from_seq=seq),
    ]


# --- what cannot be seen cannot be acted on --------------------------------------------------------------


@pytest.mark.parametrize("n", range(15))
async def test_a_message_that_is_not_there(world, group, n):
    await world.set_role("ana", group, "bob", "owner")
    event = (await world.head(group)).last_seq
    for seq in (event, event + 50):
        with refused("not_found") as refusal:
            await act(world, "bob", on_message(group, seq)[n])
        assert refusal.detail == "No such message."


@pytest.mark.parametrize("n", range(15))
async def test_a_conversation_that_is_not_there(world, group, n):
    sent = await world.say("ana", group)
    answers = []
    for where in (group, "nowhere"):
        with refused("not_found") as refusal:
            await act(world, "dan", on_message(where, sent.seq)[n])
        answers.append(refusal.detail)
    assert answers[0] == answers[1] == "No such conversation."


HIDDEN_WAYS = ["deleted", "expired", "before", "hidden", "blocked"]


@pytest.mark.parametrize("n", range(15))
@pytest.mark.parametrize("way", HIDDEN_WAYS)
async def test_a_message_that_is_not_to_be_seen(world, group, way, n):
    """Owners too act on nothing that they do not see."""
    await world.set_role("ana", group, "bob", "owner")
    if way == "expired":
        await world.update("ana", group, message_ttl_s=10)
    sent = await world.say("ana", group)
    delete = c.DeleteMessage(conversation=group, seq=sent.seq)
    who = "bob"
    match way:
        case "deleted":
            await act(world, "ana", msgspec.structs.replace(delete, everyone=True))
        case "expired":
            world.clock.advance(10)
        case "before":
            await world.add("ana", group, "dan", "owner")
            who = "dan"
        case "hidden":
            await act(world, "bob", delete)
        case "blocked":
            await world.block("bob", "ana")
    before = (await world.events(group), await world.events(who))
    with refused("not_found") as refusal:
        await act(world, who, on_message(group, sent.seq)[n])
    assert refusal.detail == "No such message."
    assert (await world.events(group), await world.events(who)) == before


async def test_who_is_blocked_in_a_direct_conversation_is_seen_there(world):
    direct = await world.direct("ana", "bob")
    sent = await world.say("bob", direct)
    await world.block("ana", "bob")
    await act(world, "ana", c.DeleteMessage(conversation=direct, seq=sent.seq))
    with refused("not_found"):
        await act(world, "ana", c.DeleteMessage(conversation=direct, seq=sent.seq))


# --- sending ---------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "body",
    [
        Text(text="hi **there**"),
        Text(text="", attachments=(Attachment(blob="b", name="a.txt", media_type="text/plain", size=3),)),
        POLL,
        Location(latitude=1.5, longitude=-2.5, name="Here"),
        ContactCard(name="Bob", email="bob@example.org"),
        Encrypted(scheme="mls:1", ciphertext="AAAA"),
    ],
    ids=["text", "attachment", "poll", "location", "contact", "encrypted"],
)
async def test_every_content_is_kept_as_it_was_sent(world, group, body):
    answer = await send(world, "ana", group, body)
    assert (await new(world, group, answer.seq)).content == body
    assert answer == c.Accepted(conversation=group, seq=answer.seq, at=world.clock.now_ms())
    assert await world.unread(group, "bob") == 1
    assert await world.unread(group, "ana") == 0
    fast = world.messages.send_now(world.caller("ana"), c.SendMessage(conversation=group, content=body))
    committed = await fast
    assert (await new(world, group, committed.events[0].seq)).content == body


@pytest.mark.parametrize(
    ("body", "code", "field"),
    [
        (Text(text="  \n "), "invalid", "content.text"),
        (Text(text="a\x00b"), "invalid", "content.text"),
        (Text(text="x" * 8001), "too_large", "content.text"),
        (Poll(question="?", options=("a", "a")), "invalid", "content.options"),
    ],
    ids=["blank", "nul", "long", "poll"],
)
async def test_content_that_is_refused(world, group, body, code, field):
    before = await world.head(group)
    with refused(code, field=field):
        await send(world, "ana", group, body)
    await world.say("bob", group)
    command = c.SendMessage(conversation=group, content=body)
    await world.tenants.get(TENANT)
    assert world.messages.send_now(world.caller("bob"), command) is None
    assert (await world.head(group)).last_seq == before.last_seq + 1


async def test_a_tenant_limits_the_length(world, group):
    await world.set_tenant(max_text=5)
    await world.say("ana", group, "12345")
    with refused("too_large"):
        await world.say("ana", group, "123456")


@pytest.mark.parametrize(
    ("raw", "code"),
    [
        (b'{"a":1}', ""),
        (b"null", ""),
        (b"[1]", "invalid"),
        (b'"x"', "invalid"),
        (b'{"a":"' + b"x" * 8200 + b'"}', "too_large"),
        (b'{"a":' * 30 + b"1" + b"}" * 30, "invalid"),
    ],
    ids=["object", "null", "list", "text", "long", "deep"],
)
async def test_foreign_payloads(world, group, raw, code):
    call = world.say("ana", group, "hi", foreign=msgspec.Raw(raw))
    if code:
        with refused(code, field="foreign"):
            await call
    else:
        kept = (await new(world, group, (await call).seq)).foreign
        assert kept == (msgspec.UNSET if raw == b"null" else msgspec.Raw(raw))


async def test_a_foreign_payload_comes_off_the_wire(world, group):
    wire = (
        b'{"type":"message.send","conversation":"%s","content":{"type":"text","text":"hi"},"foreign":{"a":1}}'
    )
    command = msgspec.json.decode(wire % group.encode(), type=c.SendMessage)
    answer = await act(world, "ana", command)
    assert (await new(world, group, answer.seq)).foreign == msgspec.Raw(b'{"a":1}')


async def test_who_may_not_send(world, group):
    await world.update("ana", group, who_may_send="moderator")
    with refused("forbidden"):
        await world.say("bob", group)
    await world.set_role("ana", group, "bob", "moderator")
    await world.say("bob", group)
    channel = await world.create_channel("ana")
    with refused("forbidden"):
        await world.say("bob", channel)
    direct = await world.direct("ana", "bob")
    await world.block("bob", "ana")
    with refused("peer_unavailable"):
        await world.say("ana", direct)
    with refused("forbidden"):
        await world.say("bob", direct)
    await world.unblock("bob", "ana")
    await world.disable("bob")
    with refused("peer_unavailable"):
        await world.say("ana", direct)


async def test_sending_at_once_needs_everything_at_hand(world, group):
    other = world.node()
    command = c.SendMessage(conversation=group, content=Text(text="hi"), client_id="1")
    assert other.messages.send_now(world.caller("ana"), command) is None
    first = await other.messages.send(world.caller("ana"), command)
    future = other.messages.send_now(world.caller("ana"), command)
    committed = await future
    assert committed.repeated
    assert committed.events[0].seq == first.seq
    for fields in (
        {"thread": first.seq},
        {"reply_to": first.seq},
        {"quote": c.QuoteRequest(seq=first.seq, text="hi")},
        {"foreign": msgspec.Raw(b"{}")},
        {"content": Text(text="hi @bob")},
        {"content": Text(text="hi", mentions=(world.id("bob"),))},
        {"content": Text(text="hi", mention_all=True)},
        {"content": Text(text="hi", mention_here=True)},
    ):
        harder = msgspec.structs.replace(command, client_id=None, **fields)
        assert other.messages.send_now(world.caller("ana"), harder) is None
    stranger = msgspec.structs.replace(command, client_id=None)
    assert other.messages.send_now(world.caller("dan"), stranger) is None
    await world.update("ana", group, who_may_send="owner")
    await other.access.standing(world.caller("bob"), group)
    assert other.messages.send_now(world.caller("bob"), stranger) is None


async def test_sending_at_once_on_old_knowledge_is_stale(world, group):
    late = world.node(deaf=True)
    await late.say("bob", group)
    await world.remove("ana", group, "bob")
    command = c.SendMessage(conversation=group, content=Text(text="hi"))
    with refused("stale"):
        await late.messages.send_now(world.caller("bob"), command)
    with refused("not_found"):
        await late.messages.send(world.caller("bob"), command)


async def test_many_send_at_once(busy):
    group = await busy.create_group("ana", "bob", "cat")
    other = busy.node()
    who = itertools.cycle(["ana", "bob", "cat"])
    answers = await together(
        *(
            server.say(name, group, str(n), client_id=str(n))
            for n, name, server in zip(range(40), who, itertools.cycle([busy, other]))
        ),
        *(server.say("ana", group, "same", client_id="same") for server in (busy, other) * 10),
    )
    assert not [answer for answer in answers if isinstance(answer, Refusal)]
    events = await busy.events(group)
    assert [event.seq for event in events] == list(range(1, 4 + 1 + 41))
    assert len({answer.seq for answer in answers}) == 41
    assert sum(not answer.repeated for answer in answers) == 41


async def test_sending_while_the_ground_moves(busy):
    group = await busy.create_group("ana", "bob", "cat")
    answers = await together(
        *(busy.say("bob", group, str(n)) for n in range(10)),
        busy.add("ana", group, "dan"),
        busy.update("ana", group, name="Other"),
        busy.remove("ana", group, "cat"),
    )
    assert not [answer for answer in answers if isinstance(answer, Refusal)]


# --- repeats -----------------------------------------------------------------------------------------------


async def test_a_repeat_gets_its_first_answer_whatever_happened_since(world, group):
    """One of each command, done; then everything is undone, deleted, forbidden; then each again."""
    other = await world.create_group("bob")
    poll = await send(world, "bob", group, POLL)
    first = await world.say("bob", group, "first")
    second = await world.say("ana", group, "second")
    await world.set_role("ana", group, "bob", "moderator")
    where = {"conversation": group}
    commands = [
        c.SendMessage(**where, content=Text(text="hi @cat"), client_id="1"),
        c.SendMessage(**where, content=Text(text="re"), thread=second.seq, client_id="2"),
        c.EditMessage(**where, seq=first.seq, content=Text(text="better"), client_id="3"),
        c.AddReaction(**where, seq=second.seq, emoji="+", client_id="4"),
        c.RemoveReaction(**where, seq=second.seq, emoji="+", client_id="5"),
        c.PinMessage(**where, seq=second.seq, client_id="6"),
        c.UnpinMessage(**where, seq=second.seq, client_id="7"),
        c.VotePoll(**where, seq=poll.seq, options=(1,), client_id="8"),
        c.ClosePoll(**where, seq=poll.seq, client_id="9"),
        c.FollowThread(**where, thread=first.seq, client_id="10"),
        c.UnfollowThread(**where, thread=first.seq, client_id="11"),
        c.ForwardMessage(conversation=other, from_conversation=group, from_seq=second.seq, client_id="12"),
        c.DeleteMessage(**where, seq=second.seq, client_id="13"),
        c.DeleteMessage(**where, seq=first.seq, everyone=True, client_id="14"),
    ]
    answers = [await act(world, "bob", command) for command in commands]
    logs = [group, other, "bob"]

    async def all_again():
        before = [await world.events(log) for log in logs]
        for command, answer in zip(commands, answers, strict=True):
            again = await act(world, "bob", command)
            assert again == msgspec.structs.replace(answer, repeated=True), command
        assert [await world.events(log) for log in logs] == before

    await all_again()
    await act(world, "ana", c.DeleteMessage(conversation=group, seq=second.seq, everyone=True))
    await all_again()
    await world.remove("ana", group, "bob")
    await all_again()
    for command in commands:
        changed = msgspec.structs.replace(command, conversation="elsewhere")
        with refused("client_id_reused"):
            await act(world, "bob", changed)


async def test_a_client_id_is_ones_own(world, group):
    one = await world.say("ana", group, client_id="1")
    two = await world.say("bob", group, client_id="1")
    assert one.seq != two.seq


async def test_a_repeat_longer_than_the_limit_is_by_now(world, group):
    command = c.SendMessage(conversation=group, content=Text(text="12345"), client_id="1")
    first = await world.messages.send(world.caller("ana"), command)
    await world.set_tenant(max_text=3)
    await world.tenants.get(TENANT)
    assert world.messages.send_now(world.caller("ana"), command) is None
    assert (await world.messages.send(world.caller("ana"), command)).seq == first.seq


# --- mentions --------------------------------------------------------------------------------------------


async def test_mentions_are_found_in_the_text(world, group):
    text = Text(text="@bob and @Cat, @dan, @nobody, @ana; `@bob`", mentions=(world.id("dan"),))
    answer = await send(world, "ana", group, text)
    kept = (await new(world, group, answer.seq)).content
    assert kept.mentions == (world.id("bob"), world.id("cat"))
    assert (kept.mention_all, kept.mention_here) == (False, False)
    for who, there in (("bob", True), ("cat", True), ("dan", False), ("ana", False)):
        row = await world.row(Mention, world.id(who), group, answer.seq)
        assert (row is not None) == there


async def test_what_the_client_claims_to_mention_does_not_count(world, group):
    claim = Text(text="hi", mentions=(world.id("bob"),), mention_all=True, mention_here=True)
    answer = await send(world, "cat", group, claim)
    assert (await new(world, group, answer.seq)).content == Text(text="hi")
    assert (await world.head(group)).all_count == 0
    assert await world.store.count(Mention, (TENANT,)) == 0


async def test_everyone_is_for_moderators(world, group):
    await send(world, "bob", group, Text(text="@all @here"))
    assert (await world.head(group)).all_count == 0
    answer = await send(world, "ana", group, Text(text="@all @here"))
    kept = (await new(world, group, answer.seq)).content
    assert (kept.mention_all, kept.mention_here) == (True, True)
    assert (await world.head(group)).all_count == 1


async def test_one_is_not_mentioned_by_people_one_blocked(world, group):
    await world.block("bob", "ana")
    answer = await send(world, "ana", group, Text(text="@bob @cat"))
    assert (await new(world, group, answer.seq)).content.mentions == (world.id("cat"),)
    assert await world.store.count(Mention, (TENANT, world.id("bob"))) == 0


async def test_mentions_in_a_topic_are_of_the_channels_members(world):
    channel = await world.create_channel("ana", "bob")
    topic = await world.create_topic("ana", channel)
    answer = await send(world, "ana", topic, Text(text="@bob @cat"))
    assert (await new(world, topic, answer.seq)).content.mentions == (world.id("bob"),)


# --- threads ---------------------------------------------------------------------------------------------


async def following(world, conversation, root):
    rows = await world.store.scan(ThreadFollow, (TENANT, conversation, root))
    return {world.name(row.user) for row in rows}


async def test_a_thread_counts_for_itself(world, group):
    root = await world.say("ana", group)
    unread = await world.unread(group, "cat")
    reply = await world.say("bob", group, "re", thread=root.seq)
    view = await world.message(group, root.seq)
    assert (view.fold.replies, view.fold.last_reply_seq) == (1, reply.seq)
    assert await world.unread(group, "cat") == unread
    assert await following(world, group, root.seq) == {"ana", "bob"}
    cursor = await world.row(Cursor, group, world.id("bob"), root.seq)
    assert (cursor.read, cursor.ordinal) == (reply.seq, 1)
    with refused("invalid", field="thread"):
        await world.say("ana", group, thread=reply.seq)
    with refused("invalid", field="thread"):
        await act(world, "ana", c.FollowThread(conversation=group, thread=reply.seq))


async def test_who_stopped_following_is_left_alone(world, group):
    root = await world.say("ana", group)
    await world.say("bob", group, thread=root.seq)
    await act(world, "ana", c.UnfollowThread(conversation=group, thread=root.seq))
    await world.say("cat", group, thread=root.seq)
    assert await following(world, group, root.seq) == {"bob", "cat"}
    await world.say("ana", group, thread=root.seq)
    assert await following(world, group, root.seq) == {"ana", "bob", "cat"}


async def test_who_left_follows_nothing(world, group):
    root = await world.say("bob", group)
    await world.leave("bob", group)
    await world.say("ana", group, thread=root.seq)
    assert await following(world, group, root.seq) == {"ana"}


async def test_following_starts_with_what_was_read(world, group):
    root = await world.say("ana", group)
    await world.say("bob", group, thread=root.seq)
    last = await world.say("bob", group, thread=root.seq)
    follow = c.FollowThread(conversation=group, thread=root.seq)
    answer = await act(world, "cat", follow)
    assert answer.conversation == world.id("cat")
    cursor = await world.row(Cursor, group, world.id("cat"), root.seq)
    assert (cursor.read, cursor.ordinal) == (last.seq, 2)
    assert (await act(world, "cat", follow)).repeated
    (told,) = await world.bodies("cat", "thread.followed")
    assert told == e.ThreadFollowed(conversation=group, thread=root.seq)
    unfollow = c.UnfollowThread(conversation=group, thread=root.seq)
    await act(world, "cat", unfollow)
    assert (await act(world, "cat", unfollow)).repeated
    assert len(await world.bodies("cat", "thread.unfollowed")) == 1
    assert await following(world, group, root.seq) == {"ana", "bob"}


async def test_a_thread_without_replies_may_be_followed(world, group):
    root = await world.say("ana", group)
    await act(world, "bob", c.FollowThread(conversation=group, thread=root.seq))
    assert await following(world, group, root.seq) == {"bob"}


async def test_strangers_follow_nothing(world):
    channel = await world.create_channel("ana")
    root = await world.say("ana", channel)
    with refused("forbidden"):
        await act(world, "bob", c.FollowThread(conversation=channel, thread=root.seq))


# --- replies, quotes, forwards -----------------------------------------------------------------------------


async def test_replies_and_quotes_name_what_they_are_about(world, group):
    first = await world.say("ana", group, "one two three")
    answer = await world.say(
        "bob", group, "so", reply_to=first.seq, quote=c.QuoteRequest(seq=first.seq, text="two")
    )
    body = await new(world, group, answer.seq)
    assert body.reply_to == first.seq
    assert (body.quote.seq, body.quote.user, body.quote.text) == (first.seq, world.id("ana"), "two")


async def test_a_quote_stands_in_the_message(world, group):
    first = await world.say("ana", group, "one two three")
    secret = await send(world, "ana", group, Encrypted(scheme="mls", ciphertext="AAAA"))
    for seq, text in ((first.seq, "four"), (secret.seq, "AAAA")):
        with refused("invalid", field="quote.text"):
            await world.say("bob", group, quote=c.QuoteRequest(seq=seq, text=text))
    await edit(world, "ana", group, first.seq, "four")
    await world.say("bob", group, quote=c.QuoteRequest(seq=first.seq, text="four"))
    with refused("invalid", field="quote.text"):
        await world.say("bob", group, quote=c.QuoteRequest(seq=first.seq, text="two"))


async def test_a_forward_says_where_it_came_from(world, group):
    first = await send(world, "ana", group, Text(text="for @bob and @all"))
    await edit(world, "ana", group, first.seq, "edited @bob")
    other = await world.create_group("bob", "ana")
    command = c.ForwardMessage(conversation=other, from_conversation=group, from_seq=first.seq)
    answer = await act(world, "bob", command)
    body = await new(world, other, answer.seq)
    assert body.content == Text(text="edited @bob")
    assert (body.forward.conversation, body.forward.seq, body.forward.user) == (
        group,
        first.seq,
        world.id("ana"),
    )
    assert await world.store.count(Mention, (TENANT, world.id("bob"), other)) == 0
    root = await world.say("ana", other)
    threaded = msgspec.structs.replace(command, thread=root.seq)
    await act(world, "bob", threaded)
    assert (await world.message(other, root.seq)).fold.replies == 1
    assert await following(world, other, root.seq) == {"ana", "bob"}
    with refused("not_found"):
        await act(world, "bob", msgspec.structs.replace(command, thread=999))


async def test_a_poll_is_forwarded_without_its_votes(world, group):
    poll = await send(world, "ana", group, POLL)
    await act(world, "bob", c.VotePoll(conversation=group, seq=poll.seq, options=(0,)))
    command = c.ForwardMessage(conversation=group, from_conversation=group, from_seq=poll.seq)
    answer = await act(world, "bob", command)
    assert (await world.message(group, answer.seq)).fold.votes == ()
    await act(world, "bob", c.VotePoll(conversation=group, seq=answer.seq, options=(1,)))


async def test_forwarding_needs_both_sides(world, group):
    sent = await world.say("ana", group)
    away = await world.create_group("dan")
    command = c.ForwardMessage(conversation=away, from_conversation=group, from_seq=sent.seq)
    for who in ("dan", "bob"):
        with refused("not_found"):
            await act(world, who, command)
    quiet = await world.create_group("ana", "bob")
    await world.update("ana", quiet, who_may_send="owner")
    with refused("forbidden"):
        await act(world, "bob", msgspec.structs.replace(command, conversation=quiet))


async def test_one_forwards_nothing_from_where_one_was_removed(world, group):
    late = world.node(deaf=True)
    sent = await world.say("ana", group)
    own = await world.create_group("bob")
    command = c.ForwardMessage(conversation=own, from_conversation=group, from_seq=sent.seq)
    await act(late, "bob", command)
    await world.remove("ana", group, "bob")
    with refused("not_found"):
        await act(late, "bob", command)


# --- editing ---------------------------------------------------------------------------------------------


async def test_an_edit_keeps_what_was_before(world, group):
    sent = await world.say("ana", group, "one")
    answer = await edit(world, "ana", group, sent.seq, "two @bob")
    assert (await content(world, group, sent.seq)).text == "two @bob"
    (change,) = await world.store.edits(group, sent.seq)
    assert (change.seq, change.target) == (answer.seq, sent.seq)
    body = e.decode_body(change.kind, change.body)
    assert body.content.mentions == (world.id("bob"),)
    assert (await new(world, group, sent.seq)).content.text == "one"
    assert await world.unread(group, "bob") == 1


async def test_an_edit_that_changes_nothing_is_no_event(world, group):
    sent = await world.say("ana", group, "one @bob")
    before = await world.head(group)
    assert (await edit(world, "ana", group, sent.seq, "one @bob")).repeated
    assert await world.head(group) == before


async def test_edits_that_are_refused(world, group):
    sent = await world.say("ana", group)
    poll = await send(world, "ana", group, POLL)
    forwarded = await act(
        world, "ana", c.ForwardMessage(conversation=group, from_conversation=group, from_seq=sent.seq)
    )
    with refused("forbidden"):
        await edit(world, "bob", group, sent.seq, "x")
    with refused("invalid", field="content.text"):
        await edit(world, "ana", group, sent.seq, " ")
    with refused("too_large"):
        await edit(world, "ana", group, sent.seq, "x" * 8001)
    with refused("invalid", field="content.type"):
        await edit(world, "ana", group, poll.seq, "x")
    with refused("invalid", field="content.type"):
        await act(world, "ana", c.EditMessage(conversation=group, seq=sent.seq, content=POLL))
    with refused("invalid", field="content"):
        changed = Poll(question="Coffee?", options=("yes", "no"))
        await act(world, "ana", c.EditMessage(conversation=group, seq=poll.seq, content=changed))
    with refused("invalid", field="content"):
        await edit(world, "ana", group, forwarded.seq, "words in someone's mouth")
    await world.set_role("ana", group, "bob", "owner")
    with refused("forbidden"):
        await edit(world, "bob", group, sent.seq, "x")


@pytest.mark.parametrize("nodes", [1, 2])
async def test_edits_at_once_all_stand_in_the_history(busy, nodes):
    group = await busy.create_group("ana", "bob")
    sent = await busy.say("ana", group, "0")
    servers = [busy, busy.node()][:nodes]
    answers = await together(
        *(
            edit(server, "ana", group, sent.seq, str(n))
            for n, server in zip(range(1, 7), itertools.cycle(servers))
        )
    )
    assert not [answer for answer in answers if isinstance(answer, Refusal)]
    edits = await busy.store.edits(group, sent.seq)
    assert len(edits) == 6
    last = e.decode_body(edits[-1].kind, edits[-1].body).content
    assert await content(busy, group, sent.seq) == last
    assert (await busy.message(group, sent.seq)).fold.edits == 6


# --- deleting --------------------------------------------------------------------------------------------


async def test_deleting_for_everyone_erases(world, group):
    await world.update("ana", group, message_ttl_s=60)
    sent = await world.say("ana", group, "hello @bob")
    await edit(world, "ana", group, sent.seq, "hullo @bob")
    await act(world, "ana", c.PinMessage(conversation=group, seq=sent.seq))
    answer = await act(world, "ana", c.DeleteMessage(conversation=group, seq=sent.seq, everyone=True))
    view = await world.message(group, sent.seq)
    assert view.event.body is None
    assert (view.fold.deleted_by, view.fold.pinned) == (world.id("ana"), False)
    assert [edit.body for edit in await world.store.edits(group, sent.seq)] == [None]
    assert (await world.head(group)).last_seq == answer.seq
    for record in (Pin, Expiry, Mention):
        assert await world.store.count(record, (TENANT,)) == 0


async def test_whose_messages_one_may_delete(world, group):
    delete = c.DeleteMessage(conversation=group, seq=1, everyone=True)
    for who, allowed in (("bob", True), ("cat", False), ("ana", True)):
        sent = await world.say("bob", group)
        command = msgspec.structs.replace(delete, seq=sent.seq)
        if allowed:
            await act(world, who, command)
            assert await content(world, group, sent.seq) is None
        else:
            with refused("forbidden"):
                await act(world, who, command)
    direct = await world.direct("ana", "bob")
    sent = await world.say("bob", direct)
    with refused("forbidden"):
        await act(world, "ana", c.DeleteMessage(conversation=direct, seq=sent.seq, everyone=True))
    await world.block("ana", "bob")
    await act(world, "bob", c.DeleteMessage(conversation=direct, seq=sent.seq, everyone=True))


async def test_deleting_for_oneself_is_ones_own_affair(world, group):
    sent = await world.say("ana", group)
    before = await world.head(group)
    answer = await act(world, "bob", c.DeleteMessage(conversation=group, seq=sent.seq))
    assert answer.conversation == world.id("bob")
    (told,) = await world.bodies("bob", "message.hidden")
    assert told == e.MessageHidden(conversation=group, seq=sent.seq)
    assert await world.row(Hidden, world.id("bob"), group, sent.seq) is not None
    assert await world.head(group) == before
    await act(world, "cat", c.AddReaction(conversation=group, seq=sent.seq, emoji="+"))


async def test_two_devices_hide_at_once(busy):
    group = await busy.create_group("ana", "bob")
    sent = await busy.say("ana", group)
    other = busy.node()
    delete = c.DeleteMessage(conversation=group, seq=sent.seq)
    answers = await together(act(busy, "bob", delete), act(other, "bob", delete))
    assert [a.code for a in answers if isinstance(a, Refusal)] == ["not_found"]
    assert len(await busy.bodies("bob", "message.hidden")) == 1


async def test_nothing_happens_to_a_message_after_its_deletion(busy):
    group = await busy.create_group("ana", "bob", "cat")
    other = busy.node()
    sent = await busy.say("ana", group)
    where = {"conversation": group, "seq": sent.seq}
    await together(
        act(other, "bob", c.AddReaction(**where, emoji="+")),
        act(busy, "ana", c.DeleteMessage(**where, everyone=True)),
        act(other, "cat", c.AddReaction(**where, emoji="-")),
        act(other, "ana", c.EditMessage(**where, content=Text(text="x"))),
        act(other, "ana", c.PinMessage(**where)),
    )
    kinds = [event.kind for event in await busy.events(group) if event.target == sent.seq]
    assert kinds[-1] == "message.deleted"
    assert kinds.count("message.deleted") == 1
    view = await busy.message(group, sent.seq)
    assert (view.fold.reactions, view.fold.pinned) == ({}, False)
    assert await busy.store.count(Pin, (TENANT,)) == 0


# --- reactions and pins ------------------------------------------------------------------------------------


async def test_reactions_count_once_for_each_person(world, group):
    sent = await world.say("ana", group)
    add = c.AddReaction(conversation=group, seq=sent.seq, emoji="👍")
    remove = c.RemoveReaction(conversation=group, seq=sent.seq, emoji="👍")
    assert (await act(world, "bob", remove)).repeated
    await act(world, "bob", add)
    await act(world, "cat", add)
    assert (await act(world, "bob", add)).repeated
    assert (await world.message(group, sent.seq)).fold.reactions == {"👍": 2}
    assert await world.store.count(Reaction, (TENANT, group, sent.seq)) == 2
    await act(world, "bob", remove)
    await act(world, "bob", msgspec.structs.replace(add, emoji="🎉"))
    assert (await world.message(group, sent.seq)).fold.reactions == {"👍": 1, "🎉": 1}
    await act(world, "cat", remove)
    assert (await world.message(group, sent.seq)).fold.reactions == {"🎉": 1}
    rows = await world.store.scan(Reaction, (TENANT, group, sent.seq))
    assert [(row.emoji, world.name(row.user)) for row in rows] == [("🎉", "bob")]


async def test_a_message_has_so_many_reactions(world, group):
    sent = await world.say("ana", group)
    add = c.AddReaction(conversation=group, seq=sent.seq, emoji="x")
    for n in range(MAX_REACTION_KINDS):
        await act(world, "bob", msgspec.structs.replace(add, emoji=f"e{n}"))
    with refused("limit_reached"):
        await act(world, "bob", msgspec.structs.replace(add, emoji="one more"[:3]))
    await act(world, "cat", msgspec.structs.replace(add, emoji="e0"))
    await act(world, "bob", c.RemoveReaction(conversation=group, seq=sent.seq, emoji="e1"))
    await act(world, "cat", add)


@pytest.mark.parametrize("emoji", ["a b", "\n", "x\x07", "\u2028"])
async def test_a_reaction_can_be_shown(world, group, emoji):
    sent = await world.say("ana", group)
    with refused("invalid", field="emoji"):
        await act(world, "bob", c.AddReaction(conversation=group, seq=sent.seq, emoji=emoji))


async def test_strangers_do_not_react(world):
    channel = await world.create_channel("ana")
    sent = await world.say("ana", channel)
    with refused("forbidden"):
        await act(world, "bob", c.AddReaction(conversation=channel, seq=sent.seq, emoji="+"))


async def test_a_crowd_reacts_at_once(busy):
    names = [f"p{n}" for n in range(40)]
    await busy.people(*names)
    group = await busy.create_group("ana", *names)
    sent = await busy.say("ana", group)
    add = c.AddReaction(conversation=group, seq=sent.seq, emoji="+")
    answers = await together(*(act(busy, name, add) for name in names + names))
    assert not [answer for answer in answers if isinstance(answer, Refusal)]
    assert (await busy.message(group, sent.seq)).fold.reactions == {"+": 40}
    assert await busy.store.count(Reaction, (TENANT, group)) == 40


async def test_one_person_reacts_on_two_servers_at_once(busy):
    group = await busy.create_group("ana", "bob")
    sent = await busy.say("ana", group)
    other = busy.node()
    add = c.AddReaction(conversation=group, seq=sent.seq, emoji="+")
    await together(*(act(server, "bob", add) for server in (busy, other) * 3))
    assert (await busy.message(group, sent.seq)).fold.reactions == {"+": 1}


async def test_pins(world, group):
    sent = await world.say("bob", group)
    pin = c.PinMessage(conversation=group, seq=sent.seq)
    unpin = c.UnpinMessage(conversation=group, seq=sent.seq)
    with refused("forbidden"):
        await act(world, "bob", pin)
    assert (await act(world, "ana", unpin)).repeated
    await act(world, "ana", pin)
    assert (await act(world, "ana", pin)).repeated
    assert (await world.message(group, sent.seq)).fold.pinned
    row = await world.row(Pin, group, sent.seq)
    assert (world.name(row.by), row.at) == ("ana", world.clock.now_ms())
    await act(world, "ana", unpin)
    assert not (await world.message(group, sent.seq)).fold.pinned
    assert await world.row(Pin, group, sent.seq) is None
    direct = await world.direct("ana", "bob")
    sent = await world.say("ana", direct)
    await act(world, "bob", c.PinMessage(conversation=direct, seq=sent.seq))


async def test_a_conversation_has_so_many_pins(world, group, monkeypatch):
    monkeypatch.setattr(subject, "MAX_PINS", 1)
    one, two = await world.say("ana", group), await world.say("ana", group)
    await act(world, "ana", c.PinMessage(conversation=group, seq=one.seq))
    with refused("limit_reached"):
        await act(world, "ana", c.PinMessage(conversation=group, seq=two.seq))
    await act(world, "ana", c.UnpinMessage(conversation=group, seq=one.seq))
    await act(world, "ana", c.PinMessage(conversation=group, seq=two.seq))


# --- polls -----------------------------------------------------------------------------------------------


def vote(world, who, conversation, seq, *options, **fields):
    return act(world, who, c.VotePoll(conversation=conversation, seq=seq, options=options, **fields))


async def test_votes_replace_each_other(world, group):
    poll = await send(world, "ana", group, MANY)
    await vote(world, "bob", group, poll.seq, 2, 0)
    await vote(world, "cat", group, poll.seq, 0)
    fold = (await world.message(group, poll.seq)).fold
    assert (fold.votes, fold.voters) == ((2, 0, 1), 2)
    assert (await vote(world, "bob", group, poll.seq, 0, 2)).repeated
    await vote(world, "bob", group, poll.seq, 1)
    fold = (await world.message(group, poll.seq)).fold
    assert (fold.votes, fold.voters) == ((1, 1, 0), 2)
    assert (await world.row(Vote, group, poll.seq, world.id("bob"))).options == (1,)
    await vote(world, "bob", group, poll.seq)
    fold = (await world.message(group, poll.seq)).fold
    assert (fold.votes, fold.voters) == ((1, 0, 0), 1)
    assert await world.row(Vote, group, poll.seq, world.id("bob")) is None
    assert (await vote(world, "bob", group, poll.seq)).repeated
    await vote(world, "bob", group, poll.seq, 2)
    assert (await world.message(group, poll.seq)).fold.voters == 2


async def test_votes_that_are_refused(world, group):
    poll = await send(world, "ana", group, POLL)
    many = await send(world, "ana", group, MANY)
    text = await world.say("ana", group)
    for seq, options in ((poll.seq, (3,)), (poll.seq, (0, 1)), (many.seq, (1, 1))):
        with refused("invalid", field="options"):
            await vote(world, "bob", group, seq, *options)
    with refused("not_found"):
        await vote(world, "bob", group, text.seq, 0)
    channel = await world.create_channel("ana")
    poll = await send(world, "ana", channel, POLL)
    with refused("forbidden"):
        await vote(world, "bob", channel, poll.seq, 0)


async def test_a_poll_closes_once(world, group):
    poll = await send(world, "bob", group, POLL)
    text = await world.say("bob", group)
    close = c.ClosePoll(conversation=group, seq=poll.seq)
    with refused("forbidden"):
        await act(world, "cat", close)
    with refused("not_found"):
        await act(world, "bob", msgspec.structs.replace(close, seq=text.seq))
    await vote(world, "cat", group, poll.seq, 1)
    await act(world, "bob", close)
    for attempt in (act(world, "bob", close), vote(world, "cat", group, poll.seq, 0)):
        with refused("already_done"):
            await attempt
    fold = (await world.message(group, poll.seq)).fold
    assert (fold.closed, fold.votes) == (True, (0, 1))
    other = await send(world, "bob", group, POLL)
    await act(world, "ana", msgspec.structs.replace(close, seq=other.seq))


@pytest.mark.parametrize("nodes", [1, 2])
async def test_votes_and_the_close_at_once(busy, nodes):
    names = [f"p{n}" for n in range(20)]
    await busy.people(*names)
    group = await busy.create_group("ana", *names)
    poll = await send(busy, "ana", group, POLL)
    servers = [busy, busy.node()][:nodes]
    half = [
        vote(server, name, group, poll.seq, n % 3)
        for n, (name, server) in enumerate(zip(names, itertools.cycle(servers)))
    ]
    close = [act(server, "ana", c.ClosePoll(conversation=group, seq=poll.seq)) for server in servers]
    answers = await together(*half[:10], *close, *half[10:])
    closed = answers[10 : 10 + nodes]
    assert [a.code for a in closed if isinstance(a, Refusal)] == ["already_done"] * (nodes - 1)
    cast = [a for a in (*answers[:10], *answers[10 + nodes :]) if isinstance(a, c.Accepted)]
    late = [a.code for a in (*answers[:10], *answers[10 + nodes :]) if isinstance(a, Refusal)]
    assert set(late) <= {"already_done"}
    view = await busy.message(group, poll.seq)
    assert (view.fold.voters, sum(view.fold.votes)) == (len(cast), len(cast))
    about = [event.kind for event in await busy.events(group) if event.target == poll.seq]
    assert about == ["poll.voted"] * len(cast) + ["poll.closed"]
    rows = await busy.store.scan(Vote, (TENANT, group, poll.seq))
    tally = [0, 0, 0]
    for row in rows:
        tally[row.options[0]] += 1
    assert (*tally,) == view.fold.votes


async def test_one_voter_on_two_servers_at_once(busy):
    group = await busy.create_group("ana", "bob")
    poll = await send(busy, "ana", group, POLL)
    other = busy.node()
    await together(*(vote(server, "bob", group, poll.seq, n) for n, server in enumerate((busy, other, busy))))
    fold = (await busy.message(group, poll.seq)).fold
    assert (fold.voters, sum(fold.votes)) == (1, 1)
    row = await busy.row(Vote, group, poll.seq, busy.id("bob"))
    assert fold.votes[row.options[0]] == 1


# --- disappearing ----------------------------------------------------------------------------------------


async def test_messages_disappear_after_the_conversations_time(world, group):
    before = await world.say("ana", group)
    await world.update("ana", group, message_ttl_s=60)
    sent = await world.say("ana", group)
    fast = world.messages.send_now(
        world.caller("ana"), c.SendMessage(conversation=group, content=Text(text="hi"))
    )
    committed = await fast
    at = world.clock.now_ms() + 60_000
    for seq in (sent.seq, committed.events[0].seq):
        assert (await new(world, group, seq)).expires_at == at
        assert (await world.row(Expiry, group, seq)).at == at
    assert (await new(world, group, before.seq)).expires_at is None
    react = c.AddReaction(conversation=group, seq=sent.seq, emoji="+")
    world.clock.advance(59.999)
    await act(world, "bob", react)
    await edit(world, "ana", group, sent.seq, "edited")
    world.clock.advance(0.001)
    with refused("not_found"):
        await act(world, "cat", react)
    await act(world, "cat", msgspec.structs.replace(react, seq=before.seq))
    await world.update("ana", group, message_ttl_s=0)
    assert (await new(world, group, (await world.say("ana", group)).seq)).expires_at is None


async def test_a_topic_has_its_channels_time(world):
    channel = await world.create_channel("ana")
    topic = await world.create_topic("ana", channel)
    await world.update("ana", channel, message_ttl_s=5)
    sent = await world.say("ana", topic)
    assert (await new(world, topic, sent.seq)).expires_at == world.clock.now_ms() + 5000


async def test_no_turn_is_held_for_ever(world, group):
    sent = await world.say("ana", group)
    for command in on_message(group, sent.seq):
        try:
            await act(world, "bob", command)
        except Refusal:
            continue
    assert len(world.messages._turns) == 0
