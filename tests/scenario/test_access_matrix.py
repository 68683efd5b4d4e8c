"""Every command and every route × everyone × every kind of conversation: nobody may do more than the
table says, nobody less, and what one may not see looks like what is not there."""

from __future__ import annotations

from collections import Counter
from collections.abc import AsyncIterator
from pathlib import Path

import msgspec
import pytest

from tertulia.domain import commands as c
from tertulia.domain.errors import Refusal
from tertulia.protocols.ws import codec
from tests.support.live import Live, Person
from tests.support.matrix import ACTORS, CASES, KINDS, NO_ID, OWN, REPORT, Case, Cast, Kind


@pytest.fixture
async def cast(tmp_path: Path) -> AsyncIterator[Cast]:
    async with Live(tmp_path, serve=False, fast=True) as live:
        cast = Cast(live)
        await cast.gather()
        yield cast


async def outcome(live: Live, person: Person, command: c.Command) -> tuple[str, bytes]:
    """What came of it: "ok" or the refusal's code, and the refusal as the wire has it."""
    try:
        caller, _ = await live.program.authenticate(person.token)
        await live.program.registry.dispatch(caller, command)
    except Refusal as refusal:
        return refusal.code, codec.encode(codec.error_frame(refusal, "r"))
    return "ok", b""


def test_every_command_is_in_the_table() -> None:
    listed = {case.command for case in (*CASES, *OWN)}
    assert listed == set(c.COMMANDS)


@pytest.mark.parametrize("kind", KINDS)
async def test_commands_about_a_conversation(cast: Cast, kind: Kind) -> None:
    live = cast.live
    commits = 0

    def count(batch: object) -> None:
        nonlocal commits
        commits += 1

    live.program.store.on_commit(count)
    wrong: list[str] = []
    seen = Counter[str]()
    for case in (*CASES, REPORT):
        if kind not in case.kinds:
            continue
        for actor in ACTORS:
            place = await cast.place(kind)
            command = case.build(cast, place, actor)
            before = commits
            found, _ = await outcome(live, cast.people[actor], command)
            await live.program.receipts.settled(cast.people[actor].caller, place.id)
            expected = case.expected(place, actor)
            seen[found] += 1
            if found != expected:
                wrong.append(f"{case.name} by {actor}: {found}, not {expected}")
            if found != "ok" and commits != before:
                wrong.append(f"{case.name} by {actor}: refused, and yet something was written")
            if found == "ok" and (case.changes or found != expected):
                cast.changed(kind)
    assert not wrong, "\n".join(wrong)
    assert seen["ok"] > 20
    assert seen["not_found"] > 20
    assert seen["unauthenticated"] > 20


async def test_commands_about_oneself_and_others(cast: Cast) -> None:
    await cast.live.channel(cast.author, slug="taken")
    wrong: list[str] = []
    for case in OWN:
        for actor in ACTORS:
            found, _ = await outcome(cast.live, cast.people[actor], case.build(cast, actor))
            if found != case.expected(actor):
                wrong.append(f"{case.name} by {actor}: {found}, not {case.expected(actor)}")
    assert not wrong, "\n".join(wrong)


def _elsewhere(command: c.Command) -> c.Command:
    """The same command about something that is not there."""
    names = {"conversation", "from_conversation", "schedule", "device"} & set(command.__struct_fields__)
    assert names
    if isinstance(command, c.ForwardMessage):
        return msgspec.structs.replace(command, from_conversation=NO_ID)
    return msgspec.structs.replace(command, **dict.fromkeys(names, NO_ID))


@pytest.mark.parametrize("kind", KINDS)
async def test_what_one_may_not_see_looks_like_what_is_not_there(cast: Cast, kind: Kind) -> None:
    """The answers to strangers are octet for octet those about an id that nothing has."""
    compared = 0
    for case in (*CASES, REPORT):
        if kind not in case.kinds or case.name == "invite.accept":
            continue
        place = await cast.place(kind)
        for actor in "xsf":
            if case.expected(place, actor) == "ok" and case.private != "ok":
                continue
            command = case.build(cast, place, actor)
            found, wire = await outcome(cast.live, cast.people[actor], command)
            if case.expected(place, actor) not in ("not_found", "ok"):
                continue
            assert found == case.expected(place, actor)
            if case.name.startswith("message.forward into"):
                missing = msgspec.structs.replace(command, conversation=NO_ID)
            else:
                missing = _elsewhere(command)
            assert await outcome(cast.live, cast.people[actor], missing) == (found, wire), case.name
            compared += 1
    assert compared > 20


async def test_what_one_may_not_see_within_a_conversation(cast: Cast) -> None:
    """Messages that are hidden, before one's time, of the blocked, and deleted are like those that never
    were."""
    live, people = cast.live, cast.people
    place = await cast.place("group")
    owner, member = people["O"], people["m"]
    gone = (await live.say(owner, place.id, "gone")).seq
    await live.do(owner, c.DeleteMessage(conversation=place.id, seq=gone, everyone=True))
    hidden = (await live.say(owner, place.id, "hidden")).seq
    await live.do(member, c.DeleteMessage(conversation=place.id, seq=hidden))
    await live.do(member, c.BlockUser(user=people["g"].id))
    await live.do(owner, c.AddMember(conversation=place.id, user=cast.newcomer.id))
    for case in (*CASES, REPORT):
        command = case.build(cast, place, "m")
        names = {"seq", "thread", "from_seq"} & set(command.__struct_fields__)
        if not names or case.command in ("message.read", "message.received", "bookmark.remove"):
            continue
        if not any(getattr(command, name) for name in names):
            continue

        def about(seq: int, command: c.Command = command, names: set[str] = names) -> c.Command:
            named = [name for name in names if getattr(command, name)]
            return msgspec.structs.replace(command, **dict.fromkeys(named, seq))

        never = await outcome(live, member, about(10_000_000))
        assert never[0] in ("not_found", "forbidden"), case.name
        if never[0] == "forbidden":
            continue
        for seq in (gone, hidden, place.own["g"]):
            assert await outcome(live, member, about(seq)) == never, (case.name, seq)
        assert await outcome(live, cast.newcomer, about(place.other)) == await outcome(
            live, cast.newcomer, about(10_000_000)
        ), case.name


async def test_two_tenants_share_nothing(tmp_path: Path) -> None:
    async with Live(tmp_path, serve=False, fast=True) as live:
        await live.tenant("other")
        ana = await live.person("ana")
        double = await live.person("ana", "other")
        assert ana.id != double.id
        channel = await live.channel(ana, slug="news", name="Ours")
        mirror = await live.channel(double, slug="news", name="Theirs")
        seq = (await live.say(ana, channel, "confidential plans")).seq
        await live.say(double, mirror, "other plans")
        invite = await live.do(ana, c.CreateInvite(conversation=channel))
        program = live.program
        # Ids of one tenant are nothing in the other one.
        for command in (
            c.AcceptInvite(token=invite.secret),
            c.RequestContact(user=ana.id),
            c.OpenDirect(user=ana.id),
            c.JoinChannel(conversation=channel),
            c.AddBookmark(conversation=channel, seq=seq),
            c.CreateReport(user=ana.id, reason="spam"),
            c.RevokeDevice(device=ana.device),
            c.RemoveMember(conversation=channel, user=ana.id),
        ):
            assert (await outcome(live, double, command))[0] == "not_found", command
        # Handles, search and listings find what is of one's own.
        assert (await program.profiles.by_handle(double.caller, "ana")).id == double.id
        assert (await program.profiles.by_handle(ana.caller, "ana")).id == ana.id
        assert await program.profiles.many(double.caller, [ana.id]) == {}
        assert await program.profiles.may_see(double.caller, [ana.id]) == {}
        opening = await program.sync.opening(double.caller)
        assert set(opening.logs) == set(opening.rooms) == {double.id, mirror}
        # A caller who says that he is of another tenant than his token is nobody there.
        forged = msgspec.structs.replace(double.caller, tenant="default")
        with pytest.raises(Refusal, match="No such"):
            await program.registry.dispatch(forged, c.AddBookmark(conversation=channel + "x", seq=1))
        # One device's token of one tenant does not sign in to the other.
        caller, _ = await program.authenticate(double.token)
        assert caller.tenant == "other"


def test_the_table_says_something_of_everyone() -> None:
    for case in CASES:
        assert isinstance(case, Case)
        assert set(case.ok) <= set("OAMmg")
