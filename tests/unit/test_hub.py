"""Fan-out with sinks that are looked into: encoded once, written once, and to those alone who may see it."""

from __future__ import annotations

import asyncio
import itertools
from typing import Any, ClassVar, Literal

import msgspec
import pytest

from tertulia.application.core import Caller
from tertulia.domain import events as e
from tertulia.domain.settings import Privacy, SettingsDocument
from tertulia.domain.signals import Signal
from tertulia.domain.unit import Committed
from tertulia.domain.visibility import Floor
from tertulia.sessions import hub as hub_module
from tertulia.sessions.hub import Hub
from tertulia.sessions.session import Session

GROUP = "group"
_ids = itertools.count(1)


class CountingEncoder:
    """What is told, as readable bytes; `calls` lists what was encoded."""

    def __init__(self, name: str = "a") -> None:
        self.name = name
        self.calls: list[str] = []

    def event(self, event: e.Event) -> bytes:
        return self._made(f"{event.log}:{event.seq}")

    def shared(self, frame: bytes) -> tuple[object, ...]:
        return (frame,)

    def void(self, event: e.Event) -> bytes:
        return self._made(f"void {event.log}:{event.seq}")

    def signal(self, signal: Signal) -> bytes:
        return self._made(f"{signal.type} {signal.user}")

    def _made(self, what: str) -> bytes:
        self.calls.append(what)
        return f"<{self.name} {what}>".encode()


class FakeSink:
    """A connection that remembers what was written."""

    def __init__(self) -> None:
        self.writes: list[bytes] = []
        self.waiting = 0
        self.end: tuple[int, str] | None = None

    def write(self, data: bytes) -> None:
        assert self.end is None, "written after the end"
        self.writes.append(data)

    def backlog(self) -> int:
        return self.waiting

    def close(self, code: int, reason: str) -> None:
        assert self.end is None, "closed twice"
        self.end = (code, reason)

    @property
    def text(self) -> str:
        return b"".join(self.writes).decode()


@pytest.fixture(params=["small", "crowded"], autouse=True)
def crowd(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> None:
    """Every test runs twice: the second time each room counts as a crowd, which is written to as one."""
    if request.param == "crowded":
        monkeypatch.setattr(Rig, "defaults", {"busy_sessions": 1, "hold_s": 0.0})


class Rig:
    """A hub and its sessions; `told` is what the sessions of a user got since the last look."""

    defaults: ClassVar[dict[str, Any]] = {}

    def __init__(self, **options: Any) -> None:
        self.hub = Hub(**{**self.defaults, **options})
        self.encoder = CountingEncoder()
        self.seqs: dict[str, itertools.count[int]] = {}

    def session(
        self,
        user: str,
        *rooms: str,
        blocked: tuple[str, ...] = (),
        device: str = "phone",
        encoder: CountingEncoder | None = None,
        expires: int = 10**15,
        receipts: bool = True,
        floors: dict[str, Floor] | None = None,
    ) -> Session:
        caller = Caller(tenant="acme", user=user, device=device, session=f"s{next(_ids)}")
        session = Session(caller, encoder or self.encoder, FakeSink(), expires)
        session.congested = not self.defaults
        self.hub.attach(session)
        self.hub.follow(session, rooms, frozenset(blocked), floors or {}, receipts=receipts)
        return session

    def event(self, log: str, kind: str = "message.new", actor: str = "ana", **fields: Any) -> e.Event:
        counter = self.seqs.setdefault(log, itertools.count(1))
        body = fields.pop("body", None)
        return e.Event(
            **{
                "tenant": "acme",
                "log": log,
                "room": log,
                "log_kind": "group",
                "seq": next(counter),
                "kind": kind,
                "actor": actor,
                "at": 1,
                "ordinal": 0,
                "all_ordinal": 0,
                "body": e.encode_body(body) if body is not None else b"{}",
                **fields,
            }
        )

    def commit(self, *events: e.Event) -> None:
        bumped = tuple({one.log for one in events if one.kind in ("member.added", "conversation.updated")})
        self.hub.on_commit([Committed(events, bumped=bumped)])

    def turn(self, history: Literal["all", "joined"]) -> None:
        """Change what members see of the time before they joined."""
        self.say(kind="conversation.updated", body=e.ConversationUpdated(history=history))

    def join(self, user: str, history: Literal["all", "joined"] = "joined") -> None:
        """Someone joins the group, as the commands do it."""
        added = e.MemberAdded(user=user, role="member")
        joined = e.ConversationJoined(conversation=GROUP, kind="group", history=history)
        self.commit(
            self.event(GROUP, "member.added", actor=user, body=added),
            self.event(user, "conversation.joined", actor=user, log_kind="personal", body=joined),
        )

    def personal(self, user: str, kind: str, body: e.Body) -> None:
        self.commit(self.event(user, kind, actor=user, log_kind="personal", body=body))

    def say(self, log: str = GROUP, actor: str = "ana", **fields: Any) -> None:
        self.commit(self.event(log, actor=actor, **fields))

    def told(self, session: Session) -> str:
        self.hub.flush()
        sink = session.sink
        assert isinstance(sink, FakeSink)
        text = sink.text
        sink.writes.clear()
        return text


def sink(session: Session) -> FakeSink:
    assert isinstance(session.sink, FakeSink)
    return session.sink


# --- encoding and writing ----------------------------------------------------------------------------


async def test_an_event_is_encoded_once_for_each_protocol() -> None:
    rig = Rig()
    other = CountingEncoder("b")
    one = [rig.session(f"u{n}", GROUP) for n in range(50)]
    two = [rig.session(f"v{n}", GROUP, encoder=other) for n in range(50)]
    rig.say()
    assert rig.encoder.calls == other.calls == ["group:1"]
    assert {rig.told(session) for session in one} == {"<a group:1>"}
    assert {rig.told(session) for session in two} == {"<b group:1>"}
    # And for nobody, not at all.
    rig.say("elsewhere")
    assert rig.encoder.calls == ["group:1"]


async def test_what_became_ready_in_one_turn_is_one_write() -> None:
    rig = Rig()
    session = rig.session("bob", GROUP, "other")
    idle = rig.session("carl", "third")
    rig.say()
    rig.say("other")
    rig.hub.send(session, b"<answer>")
    assert sink(session).writes == []
    await asyncio.sleep(0)
    [written] = sink(session).writes
    # Between one log, another and the answers there is no order.
    assert sorted(written.split(b"<")) == [b"", b"a group:1>", b"a other:1>", b"answer>"]
    assert sink(idle).writes == []
    rig.say()
    await asyncio.sleep(0)
    assert sink(session).writes[1:] == [b"<a group:2>"]


async def test_a_busy_room_costs_fewer_writes_and_a_quiet_one_never_waits() -> None:
    rig = Rig(hold_s=0.05, busy_sessions=3)
    crowd = [rig.session(f"u{n}", GROUP) for n in range(3)]
    quiet = rig.session("dora", "quiet")
    rig.say()
    await asyncio.sleep(0)
    assert len(sink(crowd[0]).writes) == 1
    for _ in range(20):
        rig.say()
        await asyncio.sleep(0)
    assert len(sink(crowd[0]).writes) == 1
    await asyncio.sleep(0.08)
    assert [len(sink(session).writes) for session in crowd] == [2, 2, 2]
    assert sink(crowd[0]).text.count("<a group:") == 21
    rig.say("quiet")
    await asyncio.sleep(0)
    assert sink(quiet).text == "<a quiet:1>"


async def test_deliveries_are_counted() -> None:
    counted: list[int] = []
    rig = Rig(delivered=counted.append)
    for n in range(3):
        rig.session(f"u{n}", GROUP)
    rig.say()
    rig.say("nobody")
    assert counted == [3]


async def test_units_without_events_tell_nothing() -> None:
    rig = Rig()
    session = rig.session("bob", GROUP)
    rig.hub.on_commit([Committed(()), Committed((), repeated=True)])
    assert rig.told(session) == ""


# --- who is told -------------------------------------------------------------------------------------


async def test_a_blocked_persons_events_are_voids_of_the_same_number() -> None:
    rig = Rig()
    blocks = rig.session("bob", GROUP, blocked=("ana",))
    sees = rig.session("carl", GROUP)
    rig.say(actor="ana")
    rig.say(actor="dora")
    assert rig.told(blocks) == "<a void group:1><a group:2>"
    assert rig.told(sees) == "<a group:1><a group:2>"


async def test_what_a_blocked_person_changes_is_no_void() -> None:
    rig = Rig()
    blocks = rig.session("bob", GROUP, blocked=("ana",))
    for kind in ("message.updated", "reaction.new", "member.added", "conversation.updated"):
        rig.say(actor="ana", kind=kind)
    assert rig.told(blocks) == "<a void group:1><a group:2><a group:3><a group:4>"


async def test_the_backlog_of_an_uncongested_reader_is_not_asked_for() -> None:
    rig = Rig(outbox_bytes=100)
    session = rig.session("bob", GROUP)
    sink(session).waiting = 1000
    session.congested = False
    rig.say()
    assert rig.told(session) == "<a group:1>"
    session.congested = True
    rig.say()
    rig.hub.flush()
    assert (sink(session).end or (0,))[0] == 4003


async def test_in_a_direct_conversation_nothing_is_hidden() -> None:
    rig = Rig()
    blocks = rig.session("bob", "direct", blocked=("ana",))
    rig.say("direct", actor="ana", log_kind="direct")
    assert rig.told(blocks) == "<a direct:1>"


async def test_blocking_and_unblocking_hold_at_once_for_all_sessions_of_the_user() -> None:
    rig = Rig()
    one, two = rig.session("bob", GROUP), rig.session("bob", GROUP, device="laptop")
    other = rig.session("carl", GROUP)
    rig.personal("bob", "user.blocked", e.BlockChanged(user="ana"))
    rig.say(actor="ana")
    for session in (one, two):
        assert sorted(rig.told(session).split("<")) == ["", "a bob:1>", "a void group:1>"]
    rig.personal("bob", "user.unblocked", e.BlockChanged(user="ana"))
    rig.say(actor="ana")
    for session in (one, two):
        assert rig.told(session) == "<a bob:2><a group:2>"
    assert rig.told(other) == "<a group:1><a group:2>"
    assert rig.hub._hiders == {}


async def test_who_joins_sees_their_own_join_and_who_left_sees_no_more() -> None:
    rig = Rig()
    bob, carl = rig.session("bob"), rig.session("carl", GROUP)
    joined = rig.event(
        "bob",
        "conversation.joined",
        log_kind="personal",
        body=e.ConversationJoined(conversation=GROUP, kind="group"),
    )
    rig.commit(rig.event(GROUP, "member.added"), joined)
    assert rig.told(bob) == "<a group:1><a bob:1>"
    rig.say()
    assert rig.told(bob) == "<a group:2>"
    left = rig.event(
        "bob", "conversation.left", log_kind="personal", body=e.ConversationLeft(conversation=GROUP)
    )
    rig.commit(rig.event(GROUP, "member.removed"), left)
    assert rig.told(bob) == "<a group:3><a bob:2>"
    rig.say()
    assert rig.told(bob) == ""
    assert rig.told(carl) == "<a group:1><a group:2><a group:3><a group:4>"
    assert rig.hub.size(GROUP) == 1


async def test_a_topic_is_told_in_the_room_of_its_channel() -> None:
    rig = Rig()
    session = rig.session("bob", "channel")
    rig.say("topic", room="channel", log_kind="topic")
    assert rig.told(session) == "<a topic:1>"


async def test_a_session_that_is_gone_leaves_nothing_behind() -> None:
    rig = Rig()
    session = rig.session("bob", GROUP, blocked=("ana",), floors={GROUP: Floor(1, applies=True)})
    opening = Session(Caller(tenant="acme", user="eve", device="x", session="y"), rig.encoder, FakeSink(), 1)
    rig.hub.attach(opening)
    rig.turn("all")
    rig.say()
    rig.hub.detach(opening)
    rig.hub.detach(session)
    rig.hub.detach(session)
    rig.hub.flush()
    floors = rig.hub._floors
    assert floors._logs == floors._turned == {}
    assert floors._opening == set()
    assert sink(session).writes == []
    assert rig.hub._rooms == rig.hub._by_user == rig.hub._hiders == rig.hub.sessions == {}
    assert rig.hub.by_id(session.id) is None
    assert rig.hub.sessions_of("bob") == ()
    rig.hub.send(session, b"late")
    rig.hub.follow(session, ("more",), frozenset(("dora",)), {GROUP: Floor(1, applies=True)})
    rig.hub.flush()
    assert rig.hub._rooms == rig.hub._hiders == {}


# --- what was before one's time ------------------------------------------------------------------------


async def test_what_is_about_messages_from_before_ones_time_is_void() -> None:
    rig = Rig()
    new = rig.session("bob", GROUP, floors={GROUP: Floor(2, applies=True)})
    newer = rig.session("carl", GROUP, floors={GROUP: Floor(3, applies=True)})
    old = rig.session("dora", GROUP)
    for target in (1, 2, 3, 4):
        rig.say(kind="message.updated", target=target)
    rig.say("other-group", room=GROUP, kind="message.updated", target=1)
    assert rig.told(old) == "".join(f"<a group:{n}>" for n in (1, 2, 3, 4)) + "<a other-group:1>"
    assert rig.told(new) == ("<a void group:1><a void group:2><a group:3><a group:4><a other-group:1>")
    assert rig.told(newer).count("void") == 3
    rig.say(kind="reaction.new", target=2)
    rig.say(kind="message.new")
    assert rig.told(new) == "<a void group:5><a group:6>"


async def test_whoever_joins_while_connected_sees_what_comes_after_it() -> None:
    rig = Rig()
    session = rig.session("bob")
    other = rig.session("ana", GROUP)
    rig.say()
    rig.join("bob")
    rig.say(kind="message.updated", target=1)
    rig.say(kind="message.updated", target=2)
    assert rig.told(session).replace("<a bob:1>", "") == "<a group:2><a void group:3><a group:4>"
    assert "void" not in rig.told(other)
    # Again later, that time begins anew.
    rig.personal("bob", "conversation.left", e.ConversationLeft(conversation=GROUP))
    rig.join("bob")
    rig.told(session)
    rig.say(kind="message.updated", target=4)
    assert rig.told(session) == "<a void group:6>"


async def test_where_the_whole_history_is_shown_nothing_is_void() -> None:
    rig = Rig()
    early = rig.session("bob", GROUP, floors={GROUP: Floor(9, applies=False)})
    late = rig.session("carl")
    rig.say()
    rig.join("carl", history="all")
    rig.say(kind="message.updated", target=1)
    assert "void" not in rig.told(early) + rig.told(late)
    rig.turn("joined")
    rig.say(kind="message.updated", target=1)
    assert rig.told(early).endswith("<a void group:5>")
    assert rig.told(late).endswith("<a void group:5>")
    rig.turn("all")
    rig.say(kind="message.updated", target=1)
    assert "void" not in rig.told(early) + rig.told(late)


@pytest.mark.parametrize("first", ["all", "joined"])
async def test_a_history_that_turns_while_a_session_opens(first: Literal["all", "joined"]) -> None:
    rig = Rig()
    session = Session(
        Caller(tenant="acme", user="bob", device="phone", session="new"), rig.encoder, FakeSink(), 10**15
    )
    rig.hub.attach(session)
    rig.turn("all" if first == "joined" else "joined")
    floors = {GROUP: Floor(5, applies=first == "joined")}
    rig.hub.follow(session, ("bob", GROUP), frozenset(), floors)
    rig.say(kind="message.updated", target=1)
    assert rig.told(session) == ("<a group:2>" if first == "joined" else "<a void group:2>")


# --- while a session opens -----------------------------------------------------------------------------


@pytest.mark.parametrize("what", ["left", "joined", "blocked", "unblocked", "receipts"])
async def test_what_changes_while_the_rest_is_read_stays_changed(what: str) -> None:
    """The rows were read before the change, and are followed after it."""
    rig = Rig()
    caller = Caller(tenant="acme", user="bob", device="phone", session="new")
    session = Session(caller, rig.encoder, FakeSink(), 10**15)
    rig.hub.attach(session)
    document = msgspec.json.encode(SettingsDocument(privacy=Privacy(read_receipts=False)))
    bodies: dict[str, tuple[str, e.Body]] = {
        "left": ("conversation.left", e.ConversationLeft(conversation=GROUP)),
        "joined": ("conversation.joined", e.ConversationJoined(conversation="new", kind="group")),
        "blocked": ("user.blocked", e.BlockChanged(user="ana")),
        "unblocked": ("user.unblocked", e.BlockChanged(user="eve")),
        "receipts": ("settings.updated", e.SettingsUpdated(settings=msgspec.Raw(document))),
    }
    rig.personal("bob", *bodies[what])
    rig.hub.follow(session, ("bob", GROUP), frozenset(("eve",)), {}, receipts=True)
    rooms = {
        "left": ("bob",),
        "joined": ("bob", "new", GROUP),
    }.get(what, ("bob", GROUP))
    assert session.rooms == rooms
    assert session.blocked == {"blocked": {"ana", "eve"}, "unblocked": set()}.get(what, {"eve"})
    assert session.receipts is (what != "receipts")
    # From then on changes are changes.
    rig.personal("bob", "conversation.left", e.ConversationLeft(conversation=GROUP))
    assert GROUP not in session.rooms


async def test_held_events_wait_and_those_that_the_replay_covered_are_left_out() -> None:
    rig = Rig()
    session = rig.session("bob", GROUP, "other", blocked=("eve",))
    rig.hub.hold(session)
    for actor in ("ana", "eve", "ana"):
        rig.say(actor=actor)
    rig.say("other")
    rig.hub.send(session, b"<replay>")
    assert rig.told(session) == "<replay>"
    rig.hub.release(session, {GROUP: 1})
    assert rig.told(session) == "<a void group:2><a group:3><a other:1>"
    rig.say()
    assert rig.told(session) == "<a group:4>"


async def test_the_list_of_held_events_is_bounded(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(hub_module, "HELD_MAX", 10)
    rig = Rig()
    session, other = rig.session("bob", GROUP), rig.session("carl", GROUP)
    rig.hub.hold(session)
    for _ in range(10):
        rig.say()
    assert sink(session).end is None
    rig.say()
    assert sink(session).end is not None
    assert sink(session).end[0] == 4003
    assert rig.told(other).count("group") == 11
    rig.hub.release(session, {})
    assert sink(session).writes == []


# --- ends ----------------------------------------------------------------------------------------------


async def test_a_slow_reader_is_closed_and_the_others_are_not() -> None:
    rig = Rig(outbox_bytes=100)
    slow, others = rig.session("slow", GROUP), [rig.session(f"u{n}", GROUP) for n in range(5)]
    slow.congested = True
    sink(slow).waiting = 100
    rig.say()
    rig.hub.flush()
    assert sink(slow).end is None
    sink(slow).waiting = 101
    rig.say()
    rig.hub.flush()
    code, reason = sink(slow).end or (0, "")
    assert (code, reason.split(":")[0]) == (4003, "reconnect")
    rig.say()
    for other in others:
        assert rig.told(other) == "<a group:1><a group:2><a group:3>"
    assert slow not in rig.hub.sessions


async def test_tokens_expire() -> None:
    rig = Rig()
    early, late = rig.session("bob", expires=1000), rig.session("carl", expires=1001)
    rig.hub.expire(999)
    assert sink(early).end is None
    rig.hub.expire(1000)
    assert (sink(early).end or (0,))[0] == 4001
    assert sink(late).end is None


async def test_a_devices_sessions_are_closed_and_no_others() -> None:
    rig = Rig()
    one, twin = rig.session("bob", device="phone"), rig.session("bob", device="phone")
    laptop, other = rig.session("bob", device="laptop"), rig.session("carl", device="phone")
    rig.hub.close_device("bob", "phone")
    assert [(sink(session).end or (0,))[0] for session in (one, twin, laptop, other)] == [4002, 4002, 0, 0]
    rig.hub.close_device("nobody", "phone")


async def test_all_are_closed_with_what_was_ready() -> None:
    rig = Rig()
    session = rig.session("bob", GROUP)
    rig.say()
    rig.hub.close_all()
    assert sink(session).text == "<a group:1>"
    assert (sink(session).end or (0,))[0] == 1001
    assert rig.hub.sessions == {}


# --- signals -------------------------------------------------------------------------------------------


def typing(user: str = "ana") -> Signal:
    return Signal(type="typing.start", user=user, conversation=GROUP)


async def test_signals_go_to_the_room_but_not_to_the_session_they_came_from() -> None:
    rig = Rig()
    mine, twin = rig.session("ana", GROUP), rig.session("ana", GROUP)
    other, elsewhere = rig.session("bob", GROUP), rig.session("carl", "elsewhere")
    rig.hub.signal(GROUP, typing(), but=mine.id)
    assert [rig.told(session) for session in (mine, twin, other, elsewhere)] == [
        "",
        "<a typing.start ana>",
        "<a typing.start ana>",
        "",
    ]
    assert rig.encoder.calls == ["typing.start ana"]
    rig.hub.signal("nowhere", typing())


async def test_signals_of_a_blocked_person_are_left_out() -> None:
    rig = Rig()
    blocks, sees = rig.session("bob", GROUP, blocked=("ana",)), rig.session("carl", GROUP)
    rig.hub.signal(GROUP, typing("ana"))
    rig.hub.signal(GROUP, typing("dora"))
    assert rig.told(blocks) == "<a typing.start dora>"
    assert rig.told(sees) == "<a typing.start ana><a typing.start dora>"


async def test_signals_to_a_session_that_is_being_brought_up_to_date_are_lost() -> None:
    rig = Rig()
    session = rig.session("bob", GROUP)
    rig.hub.hold(session)
    rig.hub.signal(GROUP, typing())
    rig.hub.release(session, {})
    assert rig.told(session) == ""


async def test_who_shares_no_receipts_gets_none_but_their_own() -> None:
    rig = Rig()
    off, on = rig.session("bob", GROUP, receipts=False), rig.session("carl", GROUP)
    for user in ("ana", "bob"):
        rig.hub.signal(GROUP, Signal(type="message.read", user=user, conversation=GROUP, seq=3))
    rig.hub.signal(GROUP, Signal(type="message.received", user="ana", conversation=GROUP, seq=3))
    assert rig.told(off) == "<a message.read bob><a message.received ana>"
    assert rig.told(on) == "<a message.read ana><a message.read bob><a message.received ana>"
    # The setting holds at once when it is changed.
    document = msgspec.json.encode(SettingsDocument(privacy=Privacy(read_receipts=False)))
    rig.personal("carl", "settings.updated", e.SettingsUpdated(settings=msgspec.Raw(document)))
    rig.personal("bob", "settings.updated", e.SettingsUpdated(settings=msgspec.Raw(b"{}")))
    rig.told(off), rig.told(on)
    rig.hub.signal(GROUP, Signal(type="message.read", user="ana", conversation=GROUP, seq=4))
    assert rig.told(off) == "<a message.read ana>"
    assert rig.told(on) == ""


# --- one session at a time -------------------------------------------------------------------------------


async def test_one_session_may_be_written_at_once() -> None:
    rig = Rig()
    session, other = rig.session("bob", GROUP), rig.session("carl", GROUP)
    rig.say()
    rig.hub.write(session)
    assert sink(session).writes == [b"<a group:1>"]
    assert sink(other).writes == []
    rig.say()
    assert rig.told(session) == "<a group:1><a group:2>"
    rig.hub.write(session)
    assert sink(session).writes == []


async def test_a_refusal_in_a_personal_log_that_has_been_erased_changes_nothing() -> None:
    rig = Rig()
    session = rig.session("bob", GROUP)
    for kind in ("conversation.joined", "conversation.left", "user.blocked", "settings.updated"):
        event = rig.event("bob", kind, log_kind="personal")
        rig.commit(msgspec.structs.replace(event, body=None))
    assert session.rooms == ("bob", GROUP)
    assert session.blocked == frozenset()
