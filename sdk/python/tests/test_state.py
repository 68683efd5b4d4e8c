"""The reducer: what events make of a state is what a fetch would say."""

from typing import Any

import msgspec
import pytest

from tertulia_client import content as k
from tertulia_client import events as e
from tertulia_client.events import CursorMoved, Event, decode_event
from tertulia_client.folding import fold, from_event
from tertulia_client.models import (
    ConversationDoc,
    MeDoc,
    MemberDoc,
    MessageDoc,
    PollDoc,
    RepliesDoc,
    ThreadDoc,
)
from tertulia_client.state import Draft, Fetched, State, ThreadPlace, Want

ME = "me"


class Log:
    """Makes a log's events, numbered and counted as a server does."""

    def __init__(self, name: str = "c", seq: int = 0, ordinal: int = 0) -> None:
        self.name = name
        self.seq = seq
        self.ordinal = ordinal

    def add(self, kind: str, user: str = "you", body: e.Body | None = None, **more: Any) -> Event:
        self.seq += 1
        self.ordinal += kind == "message.new" and not more.get("thread")
        return Event(
            kind=kind,
            conversation=self.name,
            seq=self.seq,
            at=100 + self.seq,
            user=user,
            ordinal=self.ordinal,
            body=body or e.Empty(),
            **more,
        )

    def say(self, text: str = "x", user: str = "you", content: k.Content | None = None, **more: Any) -> Event:
        body = e.MessageNew(content=content or k.Text(text=text))
        return self.add("message.new", user, body, **more)


def doc(**more: Any) -> ConversationDoc:
    return ConversationDoc(**{"id": "c", "kind": "group", "role": "member", "member_count": 2, **more})


def state(**more: Any) -> State:
    fetched = {
        "conversations": [doc()],
        "members": {"c": [MemberDoc(user=ME, role="member")]},
        "pins": {"c": []},
    }
    return State.from_fetch(
        Fetched(me=MeDoc(id=ME, handle="me", name="Me"), position=0, **{**fetched, **more})
    )


def applied(known: State, *events: Event) -> State:
    for event in events:
        assert known.apply(event) == "applied"
    return known


def test_a_message_is_counted_and_shown() -> None:
    log = Log()
    room = applied(state(), log.say("hi"), log.say("ho", client_id="k")).rooms["c"]
    assert (room.last_seq, room.message_count, room.unread, room.read, room.updated_at) == (2, 2, 2, 0, 102)
    assert room.last_message == MessageDoc(
        id="c.2",
        conversation="c",
        seq=2,
        at=102,
        user="you",
        content=k.Text(text="ho"),
        client_id="k",
        ordinal=2,
    )


def test_a_known_event_changes_nothing_and_a_hole_is_not_papered_over() -> None:
    log = Log()
    known = applied(state(), first := log.say())
    before = known.facts()
    assert known.apply(first) == "duplicate"
    assert known.facts() == before
    log.say()
    assert known.apply(log.say()) == "waiting"
    assert Want("conversation", "c") in known.wants
    assert "c" not in known.rooms
    known.put_conversation(doc(last_seq=2, message_count=2, unread=2))
    assert known.rooms["c"].last_seq == 3
    assert known.rooms["c"].unread == 3


def test_every_change_of_a_message_is_folded_in() -> None:
    log = Log()
    known = applied(
        state(),
        log.say("one"),
        log.add("message.updated", "you", e.MessageUpdated(content=k.Text(text="two")), target=1),
        log.add("reaction.new", "you", e.ReactionChanged(emoji="👍"), target=1),
        log.add("reaction.new", ME, e.ReactionChanged(emoji="👍"), target=1),
        log.add("reaction.new", ME, e.ReactionChanged(emoji="🎉"), target=1),
        log.add("reaction.removed", ME, e.ReactionChanged(emoji="🎉"), target=1),
        log.add("message.pinned", "you", target=1),
        log.say("reply", ME, thread=1, thread_ordinal=1),
    )
    message = known.rooms["c"].messages[1]
    assert message == MessageDoc(
        id="c.1",
        conversation="c",
        seq=1,
        at=101,
        user="you",
        content=k.Text(text="two"),
        edited_at=102,
        edits=1,
        reactions={"👍": 2},
        own_reactions=["👍"],
        pinned=True,
        replies=RepliesDoc(count=1, last_seq=8, last_at=108),
        ordinal=1,
        changed_seq=8,
    )
    assert known.rooms["c"].pins == {1}
    assert known.rooms["c"].last_message == message, "a reply is not of the main log"
    applied(known, log.add("message.deleted", "boss", e.MessageDeleted(), target=1))
    assert known.rooms["c"].messages[1] == MessageDoc(
        id="c.1",
        conversation="c",
        seq=1,
        at=101,
        user="you",
        content=None,
        deleted_at=109,
        deleted_by="boss",
        replies=RepliesDoc(count=1, last_seq=8, last_at=108),
        ordinal=1,
        changed_seq=9,
    )
    assert known.rooms["c"].pins == set()


def test_a_poll_is_tallied() -> None:
    log = Log()
    poll = k.Poll(question="?", options=("a", "b", "c"), multiple=True)
    known = applied(
        state(),
        log.say(content=poll),
        log.add("poll.voted", "you", e.PollVoted(options=(0, 1)), target=1),
        log.add("poll.voted", ME, e.PollVoted(options=(2, 1)), target=1),
        log.add("poll.voted", "you", e.PollVoted(options=(), previous=(0, 1)), target=1),
        log.add("poll.closed", "you", target=1),
    )
    assert known.rooms["c"].messages[1].poll == PollDoc(votes=[0, 1, 1], voters=1, closed=True, own=[1, 2])


def test_an_event_that_a_fetched_message_holds_already_is_not_folded_twice() -> None:
    log = Log()
    first = from_event(log.say())
    reaction = log.add("reaction.new", "you", e.ReactionChanged(emoji="x"), target=1)
    fetched = fold(first, reaction, ME)
    assert fold(fetched, reaction, ME) == fetched
    known = state()
    applied(known, Log().say())
    known.put_messages("c", [fetched])
    applied(known, reaction)
    assert known.rooms["c"].messages[1].reactions == {"x": 1}


def test_a_change_that_a_fetched_page_lacks_is_made_good() -> None:
    log = Log()
    old = from_event(log.say("old"))
    known = state(
        conversations=[
            doc(last_seq=9, message_count=9, last_message=msgspec.structs.replace(old, seq=9, id="c.9"))
        ]
    )
    log.seq, log.ordinal = 9, 9
    applied(known, log.add("reaction.new", "you", e.ReactionChanged(emoji="x"), target=1))
    known.put_messages("c", [old])
    assert known.rooms["c"].messages[1].reactions == {"x": 1}


def test_unread_and_mentions_follow_the_read_cursor() -> None:
    log = Log()
    known = applied(
        state(),
        log.say("1"),
        log.add("reaction.new", "you", e.ReactionChanged(emoji="x"), target=1),
        log.say("3", content=k.Text(text="@me", mentions=(ME,))),
        log.say("in thread", thread=1),
        log.say("5", content=k.Text(text="@all @me", mentions=(ME,), mention_all=True)),
        log.say("6"),
    )
    room = known.rooms["c"]
    assert (room.unread, room.mentions) == (4, 3)
    for seq, unread, mentions in ((2, 3, 3), (1, 3, 3), (4, 2, 2), (5, 1, 0), (99, 0, 0)):
        known.signal(CursorMoved(conversation="c", user=ME, seq=seq, read=True))
        assert (room.unread, room.mentions) == (unread, mentions), f"read to {seq}"
    assert (room.read, room.received) == (6, 6)


def test_mentions_count_as_the_message_was_sent() -> None:
    log = Log()
    known = applied(
        state(),
        log.say("1"),
        sent := log.say("2", content=k.Text(text="@me", mentions=(ME,))),
        edit := log.add("message.updated", "you", e.MessageUpdated(content=k.Text(text="-")), target=2),
        log.say("4"),
    )
    room = known.rooms["c"]
    known.put_messages("c", [fold(from_event(sent), edit, ME)])
    known.signal(CursorMoved(conversation="c", user=ME, seq=1, read=True))
    assert room.mentions == 1
    assert not known.wants
    # One that was only ever fetched, after its edit, has to be asked about.
    later = state(conversations=[doc(last_seq=4, message_count=3, unread=3, mentions=1)])
    later.put_messages("c", [fold(from_event(sent), edit, ME)])
    later.signal(CursorMoved(conversation="c", user=ME, seq=1, read=True))
    assert list(later.wants) == [Want("conversation", "c")]
    later.put_conversation(doc(last_seq=4, message_count=3, read=1, received=1, unread=2, mentions=1))
    assert (later.rooms["c"].mentions, later.rooms["c"].unread) == (1, 2)


def test_a_deleted_message_mentions_nobody_by_name() -> None:
    log = Log()
    both = k.Text(text="@all @me", mentions=(ME,), mention_all=True)
    known = applied(state(), log.say(content=both), log.say(content=both))
    assert known.rooms["c"].mentions == 4
    applied(known, log.add("message.deleted", "you", e.MessageDeleted(), target=1))
    assert known.rooms["c"].mentions == 3
    known.signal(CursorMoved(conversation="c", user=ME, seq=2, read=True))
    assert known.rooms["c"].mentions == 0
    applied(known, log.add("message.deleted", "you", e.MessageDeleted(), target=2))
    assert known.rooms["c"].mentions == 0
    assert not known.wants


def test_a_conversation_one_is_no_member_of_does_not_come_in() -> None:
    known, own = state(conversations=[]), Log(ME)
    known.put_conversation(doc(id="public", kind="channel", role=None))
    applied(known, own.add("conversation.joined", ME, e.ConversationJoined(conversation="c", kind="group")))
    applied(known, own.add("conversation.left", ME, e.ConversationLeft(conversation="c")))
    known.put_conversation(doc())
    assert known.rooms == {}, "the document was late"
    applied(known, own.add("conversation.joined", ME, e.ConversationJoined(conversation="c", kind="group")))
    known.put_conversation(doc())
    assert list(known.rooms) == ["c"]


def test_ones_own_message_reads_what_was_before_it() -> None:
    log = Log()
    known = applied(state(), log.say(), log.say("mine", ME))
    room = known.rooms["c"]
    assert (room.unread, room.read, room.received, room.mentions) == (0, 2, 2, 0)
    applied(known, log.say())
    assert room.unread == 1


def test_a_reply_of_ones_own_moves_the_threads_place_only() -> None:
    log = Log()
    known = applied(state(), log.say(), log.say("mine", ME, thread=1))
    assert known.rooms["c"].unread == 1
    assert known.threads == {("c", 1): ThreadPlace(2, 0)}
    applied(known, log.say(thread=1))
    assert known.threads == {("c", 1): ThreadPlace(2, 1)}
    known.signal(CursorMoved(conversation="c", user=ME, seq=3, read=True, thread=1))
    assert known.threads == {("c", 1): ThreadPlace(3, 0)}


def test_a_reply_to_ones_own_message_asks_for_the_threads() -> None:
    log = Log()
    known = applied(state(), log.say("mine", ME), log.say(thread=1))
    assert Want("threads") in known.wants
    known.put_threads([ThreadDoc(conversation="c", thread=1, read=0, unread=1)])
    assert known.threads == {("c", 1): ThreadPlace(0, 1)}
    assert Want("threads") not in known.wants


def test_others_cursors_only_go_forward() -> None:
    log = Log()
    known = applied(state(), log.say(), log.say())
    for seq, read in ((2, False), (1, True), (1, False)):
        known.signal(CursorMoved(conversation="c", user="you", seq=seq, read=read))
    place = known.rooms["c"].receipts["you"]
    assert (place.read, place.received) == (1, 2)


def test_a_place_that_is_not_ours_to_see_moves_the_position() -> None:
    log = Log()
    known = applied(state(), log.say(), log.add("void", body=e.Void()))
    assert known.rooms["c"].last_seq == 2
    assert list(known.rooms["c"].messages) == [1]
    assert not known.wants, "this one said what it counts"
    log.ordinal = 0
    applied(known, log.add("void", body=e.Void()))
    assert list(known.wants) == [Want("conversation", "c")]
    ahead = doc(last_seq=4, message_count=3, name="of later")
    known.put_conversation(ahead)
    assert list(known.wants) == [Want("conversation", "c")], "of another moment"
    assert known.rooms["c"].name == ""
    known.put_conversation(
        doc(last_seq=3, message_count=2, unread=2, updated_at=777, name="renamed", mentions=1)
    )
    room = known.rooms["c"]
    assert (room.name, room.unread, room.mentions, room.updated_at) == ("renamed", 2, 1, 777)
    assert room.last_seq == 3
    assert room.members is None, "there are more than were known"
    assert not known.wants


def test_a_hidden_reply_counts_when_it_says_where_it_stood() -> None:
    log = Log()
    known = applied(state(), log.say("mine", ME), log.add("void", "", e.Void(), thread=1))
    room = known.rooms["c"]
    assert room.messages[1].replies == RepliesDoc(count=1, last_seq=2, last_at=102)
    assert list(known.wants) == [Want("threads")]


def test_after_an_unblock_the_window_begins_anew() -> None:
    log, own = Log(), Log(ME)
    first, second = log.say("from you"), log.say("from other", user="other")
    reply = log.say("in thread", user="other", thread=2)
    known = applied(state(), first, second, reply)
    applied(known, own.add("user.blocked", ME, e.BlockChanged(user="you")))
    applied(known, own.add("user.unblocked", ME, e.BlockChanged(user="you")))
    assert Want("messages", "c") in known.wants
    known.put_messages("c", [from_event(first), fold(from_event(second), reply, ME)], restart=True)
    assert sorted(known.rooms["c"].messages) == [1, 2]
    assert not known.wants


def test_a_joined_channel_brings_its_topics() -> None:
    known = state(conversations=[])
    known.put_conversation(doc(kind="channel"))
    assert list(known.wants) == [Want("topics", "c")]
    known.put_topics("c", [doc(id="t", kind="topic", parent="c", last_seq=4)])
    assert known.rooms["t"].last_seq == 4
    assert not known.wants


def test_members_and_roles() -> None:
    log = Log()
    known = applied(
        state(),
        log.add("member.added", "you", e.MemberAdded(user="new", role="guest")),
        log.add("member.updated", "you", e.MemberUpdated(user="new", role="admin")),
        log.add("member.added", "you", e.MemberAdded(user="brief", role="member")),
        log.add("member.removed", "brief", e.MemberRemoved(user="brief", left=True)),
    )
    room = known.rooms["c"]
    assert (room.member_count, room.members) == (3, {ME: "member", "new": "admin"})
    assert not known.wants
    applied(known, log.add("member.updated", "you", e.MemberUpdated(user=ME, role="owner")))
    assert room.role == "owner"
    assert Want("conversation", "c") in known.wants, "what one may do now is the server's to say"
    known.put_conversation(doc(own_capabilities=["send", "read"]))
    assert room.own_capabilities == ["read", "send"]
    assert not known.wants


def test_a_description_changes_by_the_fields_that_are_there() -> None:
    log = Log()
    known = state(conversations=[doc(name="old", description="stays")])
    applied(
        known, log.add("conversation.updated", "you", e.ConversationUpdated(name="new", message_ttl_s=60))
    )
    room = known.rooms["c"]
    assert (room.name, room.description, room.message_ttl_s) == ("new", "stays", 60)
    assert not known.wants
    applied(known, log.add("conversation.updated", "you", e.ConversationUpdated(who_may_send="admin")))
    assert Want("conversation", "c") in known.wants


@pytest.mark.parametrize("how", ["left", "removed", "deleted"])
def test_a_conversation_that_ended_takes_what_hung_on_it(how: str) -> None:
    known = state(
        conversations=[doc(kind="channel"), doc(id="topic", kind="topic", parent="c"), doc(id="other")]
    )
    known.drafts = {("c", 0): Draft("x"), ("topic", 0): Draft("y"), ("other", 0): Draft("z")}
    event = {
        "left": Log(ME).add("conversation.left", ME, e.ConversationLeft(conversation="c")),
        "removed": Log().add("member.removed", "you", e.MemberRemoved(user=ME)),
        "deleted": Log().add("conversation.deleted"),
    }[how]
    applied(known, event)
    assert sorted(known.rooms) == ["other"]
    assert sorted(known.drafts) == [("other", 0)]
    assert sorted(known.gone) == ["c", "topic"]


def test_a_joined_conversation_is_fetched_and_what_came_meanwhile_follows() -> None:
    known = state(conversations=[])
    own, log = Log(ME), Log("new", seq=4, ordinal=2)
    applied(known, own.add("conversation.joined", ME, e.ConversationJoined(conversation="new", kind="group")))
    early = log.say("early")
    assert known.apply(early) == "waiting"
    late = log.say("late")
    assert known.apply(late) == "waiting"
    assert list(known.wants) == [Want("conversation", "new")]
    known.put_conversation(
        doc(id="new", last_seq=5, message_count=3, unread=1, last_message=from_event(early))
    )
    room = known.rooms["new"]
    assert (room.last_seq, room.unread, sorted(room.messages)) == (6, 2, [5, 6])
    assert not known.wants


def test_ones_own_lists_follow_the_personal_log() -> None:
    known, own = state(), Log(ME)
    applied(
        known,
        own.add("contact.updated", ME, e.ContactChanged(user="a", state="requested")),
        own.add("contact.updated", "a", e.ContactChanged(user="a", state="accepted")),
        own.add("contact.updated", "b", e.ContactChanged(user="b", state="received")),
        own.add("contact.updated", ME, e.ContactChanged(user="b", state="removed")),
        own.add("draft.updated", ME, e.DraftUpdated(conversation="c", text="t", reply_to=4)),
        own.add("draft.updated", ME, e.DraftUpdated(conversation="c", thread=3, text="t")),
        own.add("draft.updated", ME, e.DraftUpdated(conversation="c", thread=3)),
        own.add("bookmark.added", ME, e.BookmarkChanged(conversation="c", seq=1, note="n")),
        own.add("bookmark.added", ME, e.BookmarkChanged(conversation="c", seq=2)),
        own.add("bookmark.removed", ME, e.BookmarkChanged(conversation="c", seq=2)),
        own.add("device.added", ME, e.DeviceChanged(device="d1", name="phone")),
        own.add("device.added", ME, e.DeviceChanged(device="d2", name="desk")),
        own.add("device.revoked", ME, e.DeviceChanged(device="d1")),
        own.add("profile.updated", ME, e.ProfileUpdated(status="away", photo="")),
        own.add(
            "preferences.updated", ME, e.PreferencesUpdated(conversation="c", notify="none", pinned=True)
        ),
        own.add("schedule.created", ME, e.ScheduleChanged(schedule="s1", conversation="c", send_at=9)),
        own.add("schedule.created", ME, e.ScheduleChanged(schedule="s2", conversation="c", send_at=9)),
        own.add("schedule.sent", ME, e.ScheduleChanged(schedule="s1", conversation="c", seq=3)),
    )
    facts = known.facts()
    assert facts["contacts"] == {"a": "accepted"}
    assert facts["drafts"] == {"c/0": {"text": "t", "reply_to": 4}}
    assert facts["bookmarks"] == {"c/1": "n"}
    assert facts["devices"] == {"d2": "desk"}
    assert facts["schedules"] == {"s2": {"conversation": "c", "send_at": 9}}
    assert (known.me.name, known.me.status) == ("Me", "away")
    assert known.rooms["c"].preferences.notify == "none"
    assert known.rooms["c"].preferences.pinned
    assert known.position == 18


def test_hidden_and_blocked_messages_are_gone() -> None:
    log, own = Log(), Log(ME)
    known = state(conversations=[doc(), doc(id="d", kind="direct", peer="you")])
    known.put_pins("c", [])
    direct = Log("d")
    applied(
        known,
        log.say(),
        log.say(user="other"),
        log.add("message.pinned", "other", target=2),
        direct.say(),
        own.add("message.hidden", ME, e.MessageHidden(conversation="c", seq=2)),
    )
    assert sorted(known.rooms["c"].messages) == [1]
    assert known.rooms["c"].pins == set()
    applied(known, own.add("user.blocked", ME, e.BlockChanged(user="you")))
    assert known.rooms["c"].messages == {}
    assert sorted(known.rooms["d"].messages) == [1]
    assert known.blocks == {"you"}
    assert list(known.wants) == [Want("conversation", "d")]
    applied(known, own.add("user.unblocked", ME, e.BlockChanged(user="you")))
    assert known.blocks == set()
    assert Want("messages", "c") in known.wants


def test_settings_and_unknown_kinds() -> None:
    known = state()
    frame = (
        b'{"type":"settings.updated","conversation":"me","seq":1,"at":1,"user":"me",'
        b'"body":{"settings":{"appearance":{"theme":"dark"}}}}'
    )
    applied(known, decode_event(frame))
    assert known.settings.appearance.theme == "dark"
    frame = b'{"type":"mood.changed","conversation":"me","seq":2,"body":{"mood":"good"}}'
    applied(known, decode_event(frame))
    assert known.position == 2


def test_topics_share_the_members_of_their_channel() -> None:
    log = Log()
    known = state(conversations=[doc(kind="channel"), doc(id="t", kind="topic", parent="c")])
    applied(
        known,
        log.add("member.added", "you", e.MemberAdded(user="new", role="guest")),
        log.add("topic.created", "you", e.TopicCreated(topic="t2", name="more")),
    )
    assert known.rooms["t"].member_count == 3
    assert list(known.wants) == [Want("conversation", "t2")]


def test_two_ways_to_the_same_state_are_equal() -> None:
    """From events, and from the documents that a server would answer with after them."""
    log = Log()
    hello = log.say("hello", content=k.Text(text="@me", mentions=(ME,)))
    moved = applied(state(), hello, log.add("message.pinned", "you", target=1))
    message = msgspec.structs.replace(from_event(hello), pinned=True, changed_seq=2)
    fresh = state(
        conversations=[
            doc(
                last_seq=2,
                message_count=1,
                updated_at=102,
                unread=1,
                mentions=1,
                last_message=message,
            )
        ],
        messages={"c": [message]},
        pins={"c": [message]},
    )
    assert moved.facts() == fresh.facts()
