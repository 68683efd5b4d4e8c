"""One's own profile and settings, contacts, blocks and reports."""

from __future__ import annotations

import msgspec
import pytest

from tertulia.domain import commands as c
from tertulia.domain import events as e
from tertulia.domain import settings as settings_rules
from tertulia.domain.records import Block, Contact, HandleTaken, Identity, Report, Settings, User
from tertulia.domain.unit import Put
from tests.support.own import Gate, OwnWorld, interleave
from tests.support.world import TENANT, refused, together


@pytest.fixture
async def world():
    made = OwnWorld()
    interleave(made.store)
    await made.people("ana", "bob", "eve")
    return made


async def contact(world, who, other):
    row = await world.row(Contact, world.id(who), world.id(other))
    return row.state if row is not None else None


async def told(world, who):
    """What a person's devices know about their contacts from their own log alone."""
    known = {}
    for body in await world.bodies(who, "contact.updated"):
        known[world.name(body.user)] = body.state
    return {name: state for name, state in known.items() if state != "removed"}


async def held(world, who):
    rows = await world.store.scan(Contact, (TENANT, world.id(who)))
    return {world.name(row.other): row.state for row in rows}


# --- profile ---------------------------------------------------------------------------------------


async def test_a_profile_changes_only_where_asked(world):
    ana = world.caller("ana")
    answer = await world.everyone.update_profile(ana, c.UpdateProfile(name=" Ana M. ", status="out"))
    assert (answer.conversation, answer.seq) == (ana.user, 2)
    row = await world.row(User, ana.user)
    assert (row.name, row.status, row.handle, row.photo) == ("Ana M.", "out", "ana", "")
    body = (await world.bodies("ana", "profile.updated"))[-1]
    assert body == e.ProfileUpdated(name="Ana M.", status="out")


async def test_a_profile_that_is_so_already_makes_no_event(world):
    ana = world.caller("ana")
    await world.everyone.update_profile(ana, c.UpdateProfile(status="out"))
    again = await world.everyone.update_profile(ana, c.UpdateProfile(name="Ana", status="out"))
    assert again.repeated
    assert await world.kinds("ana") == ["profile.updated"] * 2


@pytest.mark.parametrize(
    ("field", "value"),
    [("name", "a\nb"), ("status", "\x07"), ("photo", "javascript:x"), ("handle", "root"), ("handle", "a b")],
    ids=["name", "status", "photo", "reserved", "space"],
)
async def test_bad_fields_change_nothing(world, field, value):
    ana = world.caller("ana")
    with refused("invalid", field=field):
        await world.everyone.update_profile(ana, c.UpdateProfile(**{"name": "New", field: value}))
    assert (await world.row(User, ana.user)).name == "Ana"


async def test_a_handle_is_normalised_and_kept_for_ever(world):
    ana, bob = world.caller("ana"), world.caller("bob")
    await world.everyone.update_profile(ana, c.UpdateProfile(handle="Ana.Maria"))
    assert (await world.row(User, ana.user)).handle == "ana.maria"
    for handle in ("ana.maria", "ANA"):
        with refused("handle_taken", field="handle"):
            await world.everyone.update_profile(bob, c.UpdateProfile(handle=handle))
    assert (await world.row(User, bob.user)).handle == "bob"
    await world.everyone.update_profile(ana, c.UpdateProfile(handle="ana"))
    assert (await world.row(User, ana.user)).handle == "ana"
    assert (await world.row(HandleTaken, "ana.maria")).user == ana.user


async def test_a_person_takes_a_few_new_handles_a_month(world):
    ana = world.caller("ana")

    async def take(handle: str) -> None:
        await world.everyone.update_profile(ana, c.UpdateProfile(handle=handle))

    for n in range(5):
        await take(f"ana{n}")
        world.clock.advance(3600)
    with refused("limit_reached", field="handle"):
        await take("ana5")
    assert await world.row(HandleTaken, "ana5") is None
    # One's own earlier ones cost nothing, and other changes are free.
    await take("ana")
    await take("ana2")
    await world.everyone.update_profile(ana, c.UpdateProfile(name="Ana the Fifth"))
    world.clock.advance(30 * 86_400 - 5 * 3600)
    await take("ana5")
    with refused("limit_reached", field="handle"):
        await take("ana6")
    assert len((await world.row(User, ana.user)).handles_at) == 5


async def test_a_handle_without_its_row_is_not_given_away(world):
    ana, bob = world.caller("ana"), world.caller("bob")
    row = await world.row(User, bob.user)
    await world.write(Put(msgspec.structs.replace(row, handle="bobby")))
    with refused("handle_taken", field="handle"):
        await world.everyone.update_profile(ana, c.UpdateProfile(handle="bobby"))
    await world.everyone.update_profile(bob, c.UpdateProfile(handle="bob2"))
    with refused("handle_taken", field="handle"):
        await world.everyone.update_profile(ana, c.UpdateProfile(handle="bobby"))


async def test_of_many_who_want_a_handle_at_once_one_gets_it(world):
    command = c.UpdateProfile(handle="sol")
    outcomes = await together(
        *(world.everyone.update_profile(world.caller(who), command) for who in ("ana", "bob", "eve"))
    )
    assert sorted(getattr(o, "code", "ok") for o in outcomes) == ["handle_taken", "handle_taken", "ok"]
    owners = await world.store.scan(User, (TENANT, "sol"), index="handle")
    assert [row.id for row in owners] == [(await world.row(HandleTaken, "sol")).user]


async def test_a_handle_that_came_and_went_meanwhile_is_taken_all_the_same(world):
    ana, bob = world.caller("ana"), world.caller("bob")
    gate = Gate(world.store)

    async def come_and_go(unit):
        if unit.actor == bob.user:
            gate.before = nothing
            await world.everyone.update_profile(ana, c.UpdateProfile(handle="sol"))
            await world.everyone.update_profile(ana, c.UpdateProfile(handle="ana"))

    gate.before, nothing = come_and_go, gate.before
    with refused("handle_taken"):
        await world.everyone.update_profile(bob, c.UpdateProfile(handle="sol"))
    assert (await world.row(HandleTaken, "sol")).user == ana.user


async def test_a_repeat_gets_the_first_answer(world):
    ana = world.caller("ana")
    command = c.UpdateProfile(client_id="1", status="out")
    first = await world.everyone.update_profile(ana, command)
    again = await world.everyone.update_profile(ana, command)
    assert again == msgspec.structs.replace(first, repeated=True)
    with refused("client_id_reused"):
        await world.everyone.update_profile(ana, c.UpdateProfile(client_id="1", status="in"))


# --- settings --------------------------------------------------------------------------------------


def patch(**sections):
    return c.UpdateSettings(settings=msgspec.Raw(msgspec.json.encode(sections)))


async def test_settings_change_field_by_field(world):
    ana = world.caller("ana")
    await world.everyone.update_settings(ana, patch(appearance={"theme": "dark"}))
    await world.everyone.update_settings(
        ana, patch(appearance={"font_size": 20}, privacy={"photo": "nobody"})
    )
    document = settings_rules.read((await world.row(Settings, ana.user)).document)
    assert (document.appearance.theme, document.appearance.font_size) == ("dark", 20)
    assert document.privacy.photo == "nobody"
    last = (await world.bodies("ana", "settings.updated"))[-1]
    assert settings_rules.read(bytes(last.settings)) == document


async def test_settings_that_are_so_already_make_no_event(world):
    answer = await world.everyone.update_settings(world.caller("ana"), patch(privacy={"photo": "everyone"}))
    assert answer.repeated
    assert await world.kinds("ana") == ["profile.updated"]
    assert await world.row(Settings, world.id("ana")) is None


@pytest.mark.parametrize(
    ("document", "field"),
    [
        (b'{"appearance":{"font_size":9}}', "settings.appearance.font_size"),
        (b'{"appearance":{"accent":"red"}}', "settings.appearance.accent"),
        (b'{"appearance":{"size":9}}', "settings.appearance.size"),
        (b'{"appearance":{"theme":null}}', "settings.appearance"),
        (b'{"privacy":{"last_seen":"all"}}', "settings.privacy.last_seen"),
        (b'{"privacy":[]}', "settings.privacy"),
        (b'{"other":{}}', "settings.other"),
        (b"[]", "settings"),
        (b"{", "settings"),
        (b"", "settings"),
        (b'{"appearance":{"background":"\xff"}}', "settings"),
    ],
    ids=["bound", "pattern", "unknown", "null", "value", "type", "section", "list", "cut", "empty", "utf8"],
)
async def test_bad_settings_name_the_field_and_change_nothing(world, document, field):
    ana = world.caller("ana")
    with refused("invalid", field=field) as refusal:
        await world.everyone.update_settings(ana, c.UpdateSettings(settings=msgspec.Raw(document)))
    assert refusal.detail.endswith(".")
    assert "`$" not in refusal.detail
    assert await world.row(Settings, ana.user) is None


async def test_being_findable_follows_the_settings(world):
    ana = world.caller("ana")
    for kind, value in (("email", "ana@example.org"), ("phone", "+34600123456")):
        await world.write(
            Put(Identity(tenant=TENANT, kind=kind, value=value, user=ana.user, verified_at=1, findable=False))
        )

    async def findable():
        rows = await world.store.scan(Identity, (TENANT, ana.user), index="user")
        return {row.kind: row.findable for row in rows}

    await world.everyone.update_settings(ana, patch(privacy={"findable_by_email": True}))
    assert await findable() == {"email": True, "phone": False}
    await world.everyone.update_settings(
        ana, patch(privacy={"findable_by_email": False, "findable_by_phone": True})
    )
    assert await findable() == {"email": False, "phone": True}


async def test_two_devices_that_change_settings_at_once_lose_nothing(world):
    ana = world.caller("ana")
    await together(
        *(world.everyone.update_settings(ana, patch(appearance={"font_size": size})) for size in (16, 17)),
        world.everyone.update_settings(ana, patch(appearance={"theme": "dark"})),
        world.everyone.update_settings(ana, patch(notifications={"sound": False})),
    )
    document = settings_rules.read((await world.row(Settings, ana.user)).document)
    assert (document.appearance.theme, document.notifications.sound) == ("dark", False)
    assert document.appearance.font_size in (16, 17)


# --- contacts --------------------------------------------------------------------------------------


async def request(world, who, other, **fields):
    return await world.everyone.request_contact(
        world.caller(who), c.RequestContact(user=world.id(other), **fields)
    )


async def accept(world, who, other):
    return await world.everyone.accept_contact(world.caller(who), c.AcceptContact(user=world.id(other)))


async def remove(world, who, other):
    return await world.everyone.remove_contact(world.caller(who), c.RemoveContact(user=world.id(other)))


async def block(world, who, other, **fields):
    return await world.everyone.block(world.caller(who), c.BlockUser(user=world.id(other), **fields))


async def unblock(world, who, other):
    return await world.everyone.unblock(world.caller(who), c.UnblockUser(user=world.id(other)))


async def test_a_request_is_seen_and_accepted_on_both_sides(world):
    answer = await request(world, "ana", "bob")
    assert answer.conversation == world.id("ana")
    assert (await contact(world, "ana", "bob"), await contact(world, "bob", "ana")) == (
        "requested",
        "received",
    )
    await accept(world, "bob", "ana")
    assert (await contact(world, "ana", "bob"), await contact(world, "bob", "ana")) == (
        "accepted",
        "accepted",
    )
    assert await told(world, "ana") == await held(world, "ana") == {"bob": "accepted"}
    assert await told(world, "bob") == await held(world, "bob") == {"ana": "accepted"}


async def test_both_sides_change_in_one_append(world):
    await request(world, "ana", "bob")
    committed = world.committed[-1]
    assert [event.log for event in committed.events] == [world.id("ana"), world.id("bob")]


async def test_asking_someone_who_asked_is_accepting(world):
    await request(world, "ana", "bob")
    await request(world, "bob", "ana")
    assert await held(world, "ana") == {"bob": "accepted"}
    assert await held(world, "bob") == {"ana": "accepted"}


async def test_two_who_ask_each_other_at_once_are_contacts(world):
    outcomes = await together(request(world, "ana", "bob"), request(world, "bob", "ana"))
    assert [type(outcome) for outcome in outcomes] == [c.Accepted, c.Accepted]
    assert await told(world, "ana") == await held(world, "ana") == {"bob": "accepted"}
    assert await told(world, "bob") == await held(world, "bob") == {"ana": "accepted"}


async def test_doing_it_twice_changes_nothing(world):
    await request(world, "ana", "bob")
    assert (await request(world, "ana", "bob")).repeated
    await accept(world, "bob", "ana")
    for again in (accept(world, "bob", "ana"), accept(world, "ana", "bob"), request(world, "ana", "bob")):
        assert (await again).repeated
    await remove(world, "ana", "bob")
    assert (await remove(world, "ana", "bob")).repeated
    assert len(await world.bodies("ana", "contact.updated")) == 3


async def test_only_the_one_who_was_asked_accepts(world):
    with refused("not_found"):
        await accept(world, "ana", "bob")
    await request(world, "ana", "bob")
    with refused("not_found"):
        await accept(world, "ana", "bob")
    assert await contact(world, "bob", "ana") == "received"


@pytest.mark.parametrize("who", ["ana", "bob"])
async def test_each_side_ends_it_for_both(world, who):
    other = "bob" if who == "ana" else "ana"
    await request(world, "ana", "bob")
    await remove(world, who, other)
    assert await held(world, "ana") == await held(world, "bob") == {}
    assert await told(world, "ana") == await told(world, "bob") == {}
    with refused("not_found"):
        await accept(world, "bob", "ana")


async def test_oneself_is_no_contact(world):
    for call in (request, accept, remove, block):
        with refused("invalid", field="user"):
            await call(world, "ana", "ana")


async def test_missing_off_and_blocking_people_cannot_be_told_apart(world):
    await world.disable("eve")
    await world.block("bob", "ana")
    seen = set()
    for user in ("nobody", world.id("eve"), world.id("bob")):
        with refused("not_found") as refusal:
            await world.everyone.request_contact(world.caller("ana"), c.RequestContact(user=user))
        seen.add(refusal.detail)
    assert len(seen) == 1
    assert await told(world, "bob") == {}


async def test_whom_one_blocked_is_not_asked(world):
    await block(world, "ana", "bob")
    with refused("forbidden"):
        await request(world, "ana", "bob")


async def test_contacts_are_bounded(world, monkeypatch):
    monkeypatch.setattr("tertulia.application.people.MAX_CONTACTS", 1)
    await request(world, "ana", "bob")
    with refused("limit_reached"):
        await request(world, "ana", "eve")
    await request(world, "eve", "ana")
    await request(world, "ana", "eve")
    assert await contact(world, "ana", "eve") == "accepted"


# --- blocks ----------------------------------------------------------------------------------------


async def test_a_block_ends_the_contact_and_is_the_blockers_secret(world):
    await request(world, "ana", "bob")
    await accept(world, "bob", "ana")
    before = await world.kinds("bob")
    answer = await block(world, "ana", "bob")
    assert await world.row(Block, world.id("ana"), world.id("bob")) is not None
    assert await held(world, "ana") == await held(world, "bob") == {}
    assert await told(world, "ana") == await told(world, "bob") == {}
    assert answer.conversation == world.id("ana")
    assert (await world.kinds("ana"))[-2:] == ["user.blocked", "contact.updated"]
    news = await world.events("bob", after=len(before))
    assert [event.kind for event in news] == ["contact.updated"]


async def test_to_the_blocked_it_looks_like_a_removal(world):
    await request(world, "ana", "bob")
    await request(world, "ana", "eve")
    await remove(world, "ana", "bob")
    await block(world, "ana", "eve")
    (of_bob, of_eve) = [(await world.events(who))[-1] for who in ("bob", "eve")]
    assert (of_bob.kind, of_bob.actor, of_bob.body) == (of_eve.kind, of_eve.actor, of_eve.body)


async def test_a_block_without_contact_tells_only_oneself(world):
    await block(world, "ana", "bob")
    assert await world.kinds("bob") == ["profile.updated"]
    assert (await block(world, "ana", "bob")).repeated
    assert await world.kinds("ana") == ["profile.updated", "user.blocked"]


async def test_a_block_makes_earlier_decisions_about_the_direct_conversation_stale(world):
    direct = await world.direct("bob", "ana")
    await world.say("bob", direct)
    epoch = (await world.head(direct)).epoch
    await block(world, "ana", "bob")
    assert (await world.head(direct)).epoch == epoch + 1
    with refused("peer_unavailable"):
        await world.say("bob", direct)
    with refused("forbidden"):
        await world.say("ana", direct)
    await unblock(world, "ana", "bob")
    assert (await world.head(direct)).epoch == epoch + 2
    await world.say("bob", direct)


async def test_a_direct_conversation_that_opens_meanwhile_is_reached_too(world):
    gate = Gate(world.store)
    opened = []

    async def open_first(unit):
        if any(type(write) is Put and type(write.record) is Block for write in unit.writes):
            gate.before = nothing
            opened.append(await world.direct("bob", "ana"))
            await world.access.standing(world.caller("bob"), opened[0])

    gate.before, nothing = open_first, gate.before
    await block(world, "ana", "bob")
    with refused("peer_unavailable"):
        await world.say("bob", opened[0])


async def test_a_block_that_was_taken_back_leaves_no_contact(world):
    await request(world, "bob", "ana")
    await block(world, "ana", "bob")
    await unblock(world, "ana", "bob")
    assert (await unblock(world, "ana", "bob")).repeated
    assert await held(world, "ana") == await held(world, "bob") == {}
    await request(world, "bob", "ana")
    assert await contact(world, "ana", "bob") == "received"


@pytest.mark.parametrize("first", ["block", "request"])
async def test_a_request_and_a_block_at_once_never_leave_both(world, first):
    calls = [block(world, "ana", "bob"), request(world, "bob", "ana")]
    outcomes = await together(*(calls if first == "block" else reversed(calls)))
    assert {getattr(outcome, "code", "ok") for outcome in outcomes} <= {"ok", "not_found"}
    assert await world.row(Block, world.id("ana"), world.id("bob")) is not None
    for who in ("ana", "bob"):
        assert await held(world, who) == await told(world, who) == {}


async def test_who_is_not_there_for_one_cannot_be_blocked(world):
    await world.disable("eve")
    await world.block("bob", "ana")
    details = set()
    for user in ("nobody", world.id("eve"), world.id("bob")):
        with refused("not_found") as refusal:
            await world.everyone.block(world.caller("ana"), c.BlockUser(user=user))
        details.add(refusal.detail)
    assert len(details) == 1


async def test_whom_one_meets_in_a_group_can_be_blocked_though_they_blocked_first(world):
    await world.create_group("eve", "ana", "bob")
    await world.block("bob", "ana")
    await block(world, "ana", "bob")
    assert await world.row(Block, world.id("ana"), world.id("bob")) is not None


async def test_blocks_are_bounded(world, monkeypatch):
    monkeypatch.setattr("tertulia.application.people.MAX_BLOCKS", 1)
    await block(world, "ana", "bob")
    with refused("limit_reached"):
        await block(world, "ana", "eve")


async def test_a_repeated_block_gets_its_first_answer_after_the_unblock(world):
    first = await block(world, "ana", "bob", client_id="b1")
    await unblock(world, "ana", "bob")
    again = await block(world, "ana", "bob", client_id="b1")
    assert again == msgspec.structs.replace(first, repeated=True)
    assert await world.row(Block, world.id("ana"), world.id("bob")) is None


# --- reports ---------------------------------------------------------------------------------------


async def report(world, who, other, **fields):
    command = c.CreateReport(**{"user": world.id(other), "reason": "spam", **fields})
    return await world.everyone.create_report(world.caller(who), command)


async def reports(world):
    return await world.store.scan(Report, (TENANT,))


async def test_a_message_is_reported_with_who_wrote_it(world):
    group = await world.create_group("ana", "bob")
    sent = await world.say("bob", group, "buy!")
    answer = await report(world, "ana", "bob", conversation=group, seq=sent.seq, note="every day")
    (row,) = await reports(world)
    assert (row.id, row.reporter, row.user) == (answer.created, world.id("ana"), world.id("bob"))
    assert (row.conversation, row.seq, row.reason, row.note) == (group, sent.seq, "spam", "every day")
    assert row.state == "open"
    assert await world.bodies("ana", "report.created") == [e.Reported(report=row.id)]
    assert "report.created" not in await world.kinds("bob")


async def test_reports_of_the_same_are_one(world):
    group = await world.create_group("ana", "bob", "eve")
    sent = await world.say("bob", group)
    first = await report(world, "ana", "bob", conversation=group, seq=sent.seq)
    again = await report(world, "ana", "bob", conversation=group, seq=sent.seq, reason="abuse", note="!")
    assert again.repeated
    assert again.created == first.created
    await report(world, "ana", "bob")
    await report(world, "eve", "bob", conversation=group, seq=sent.seq)
    assert len({row.id for row in await reports(world)}) == 3
    outcomes = await together(*(report(world, "eve", "bob") for _ in range(5)))
    assert len({outcome.created for outcome in outcomes}) == 1
    assert len(await reports(world)) == 4
    assert len(await world.bodies("eve", "report.created")) == 2


async def test_a_closed_report_of_a_person_can_be_made_again_one_of_a_message_cannot(world):
    group = await world.create_group("ana", "bob")
    sent = await world.say("bob", group)
    for fields in ({}, {"conversation": group, "seq": sent.seq}):
        await report(world, "ana", "bob", **fields)
    for row in await reports(world):
        await world.write(Put(msgspec.structs.replace(row, state="closed")))
    assert not (await report(world, "ana", "bob", reason="abuse")).repeated
    assert (await report(world, "ana", "bob", conversation=group, seq=sent.seq)).repeated
    states = {row.seq: (row.state, row.reason) for row in await reports(world)}
    assert states == {0: ("open", "abuse"), sent.seq: ("closed", "spam")}


async def test_what_one_cannot_see_cannot_be_reported(world):
    group = await world.create_group("bob", "eve")
    before = await world.say("bob", group)
    with refused("not_found"):
        await report(world, "ana", "bob", conversation=group, seq=before.seq)
    await world.add("bob", group, "ana")
    with refused("not_found"):
        await report(world, "ana", "bob", conversation=group, seq=before.seq)
    sent = await world.say("bob", group)
    with refused("not_found"):
        await report(world, "ana", "bob", conversation=group, seq=sent.seq + 1)
    await world.messages.delete(world.caller("ana"), c.DeleteMessage(conversation=group, seq=sent.seq))
    with refused("not_found"):
        await report(world, "ana", "bob", conversation=group, seq=sent.seq)
    assert await reports(world) == []


async def test_a_report_names_the_author_and_a_whole_place(world):
    group = await world.create_group("ana", "bob", "eve")
    sent = await world.say("bob", group)
    with refused("invalid", field="user"):
        await report(world, "ana", "eve", conversation=group, seq=sent.seq)
    with refused("invalid", field="seq"):
        await report(world, "ana", "bob", conversation=group)
    with refused("invalid", field="seq"):
        await report(world, "ana", "bob", seq=sent.seq)
    with refused("invalid", field="user"):
        await report(world, "ana", "ana")
    with refused("invalid", field="note"):
        await report(world, "ana", "bob", note="\x00")


async def test_missing_and_blocking_people_cannot_be_reported_unless_one_meets_them(world):
    await world.block("bob", "ana")
    for user in ("nobody", world.id("bob")):
        with refused("not_found"):
            await world.everyone.create_report(world.caller("ana"), c.CreateReport(user=user, reason="other"))
    await world.create_group("eve", "ana", "bob")
    await report(world, "ana", "bob")


async def test_whom_one_blocked_can_be_reported(world):
    await block(world, "ana", "bob")
    await report(world, "ana", "bob")
    assert len(await reports(world)) == 1
