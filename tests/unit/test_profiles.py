"""Profiles, finding people, and whose presence one may see."""

from __future__ import annotations

import msgspec
import pytest

from tertulia.application.profiles import MAX_BATCH
from tertulia.domain import commands as c
from tertulia.domain.records import Identity, LastSeen, User
from tertulia.domain.unit import Put
from tests.support.own import OwnWorld
from tests.support.world import TENANT, refused


@pytest.fixture
async def world():
    made = OwnWorld()
    await made.people("ana", "bob", "eve")
    return made


async def see(world, who, other):
    return await world.profiles.get(world.caller(who), world.id(other))


async def identity(world, who, kind, value, *, verified=1, findable=True):
    await world.write(
        Put(
            Identity(
                tenant=TENANT,
                kind=kind,
                value=value,
                user=world.id(who),
                verified_at=verified,
                findable=findable,
            )
        )
    )


async def with_photo(world, who):
    row = await world.row(User, world.id(who))
    await world.write(Put(msgspec.structs.replace(row, photo="p1", status="here")))


async def test_a_profile_shows_the_person_and_how_one_stands_to_them(world):
    view = await see(world, "ana", "bob")
    assert (view.id, view.handle, view.name) == (world.id("bob"), "bob", "Bob")
    assert (view.contact_state, view.blocked_by_me, view.bot) == ("none", False, False)
    await world.everyone.request_contact(world.caller("ana"), c.RequestContact(user=world.id("bob")))
    assert (await see(world, "ana", "bob")).contact_state == "requested"
    assert (await see(world, "bob", "ana")).contact_state == "received"
    await world.befriend("ana", "bob")
    assert (await see(world, "ana", "bob")).contact_state == "accepted"
    await world.block("ana", "bob")
    assert (await see(world, "ana", "bob")).blocked_by_me


async def test_missing_off_blocking_people_and_those_elsewhere_look_alike(world):
    await world.disable("eve")
    await world.block("bob", "ana")
    stranger = msgspec.structs.replace(await world.row(User, world.id("bob")), tenant="other", id="elsewhere")
    await world.write(Put(stranger))
    details = set()
    for user in ("nobody", world.id("eve"), world.id("bob"), "elsewhere"):
        with refused("not_found") as refusal:
            await world.profiles.get(world.caller("ana"), user)
        details.add(refusal.detail)
    assert len(details) == 1
    assert (await see(world, "bob", "ana")).id == world.id("ana")


@pytest.mark.parametrize("closeness", ["stranger", "asked", "contact", "direct"])
@pytest.mark.parametrize("audience", ["everyone", "contacts", "nobody"])
async def test_photo_and_last_seen_follow_the_owners_privacy(world, audience, closeness):
    await with_photo(world, "bob")
    if closeness == "asked":
        await world.everyone.request_contact(world.caller("ana"), c.RequestContact(user=world.id("bob")))
    elif closeness == "contact":
        await world.befriend("ana", "bob")
    elif closeness == "direct":
        # Anyone may open one.
        await world.direct("ana", "bob")
    await world.privacy("bob", photo=audience, last_seen="nobody")
    shown = audience == "everyone" or (audience == "contacts" and closeness == "contact")
    ana, bob = world.caller("ana"), world.id("bob")
    assert (await see(world, "ana", "bob")).photo == ("p1" if shown else "")
    assert (await see(world, "ana", "bob")).status == "here"
    assert await world.profiles.may_see(ana, [bob]) == {bob: False}
    await world.privacy("bob", photo="nobody", last_seen=audience)
    assert (await see(world, "ana", "bob")).photo == ""
    assert await world.profiles.may_see(ana, [bob]) == {bob: shown}
    assert (await see(world, "bob", "bob")).photo == "p1"
    assert await world.profiles.may_see(world.caller("bob"), [bob]) == {bob: True}


async def test_presence_of_people_who_are_not_there_for_one_is_not_told(world):
    await world.block("bob", "ana")
    await world.disable("eve")
    users = ["nobody", world.id("bob"), world.id("eve"), world.id("ana")]
    assert await world.profiles.may_see(world.caller("ana"), users) == {world.id("ana"): True}
    await world.write(Put(LastSeen(tenant=TENANT, user=world.id("bob"), at=7)))
    assert await world.profiles.last_seen(TENANT, world.id("bob")) == 7
    assert await world.profiles.last_seen(TENANT, world.id("ana")) == 0


async def test_many_profiles_at_once_leave_out_who_is_not_there(world):
    await world.block("bob", "ana")
    ids = [world.id("eve"), "nobody", world.id("bob"), world.id("ana"), world.id("eve")]
    views = await world.profiles.many(world.caller("ana"), ids)
    assert list(views) == [world.id("eve"), world.id("ana")]
    assert [view.handle for view in views.values()] == ["eve", "ana"]
    assert await world.profiles.many(world.caller("ana"), []) == {}


async def test_a_batch_is_bounded(world):
    ana = world.caller("ana")
    assert await world.profiles.many(ana, ["x"] * (MAX_BATCH + 1)) == {}
    for call in (world.profiles.many, world.profiles.may_see):
        with refused("limit_reached"):
            await call(ana, [str(n) for n in range(MAX_BATCH + 1)])


async def test_a_batch_mixes_nobody_up(world):
    await with_photo(world, "bob")
    await with_photo(world, "eve")
    await world.privacy("bob", photo="contacts")
    await world.befriend("ana", "eve")
    await world.block("ana", "eve")
    views = await world.profiles.many(world.caller("ana"), [world.id("bob"), world.id("eve")])
    found = [(v.handle, v.photo, v.contact_state, v.blocked_by_me) for v in views.values()]
    assert found == [("bob", "", "none", False), ("eve", "p1", "accepted", True)]


# --- finding ---------------------------------------------------------------------------------------


async def test_people_are_found_by_the_handle_they_have_now(world):
    ana = world.caller("ana")
    assert (await world.profiles.by_handle(ana, "BOB")).id == world.id("bob")
    await world.everyone.update_profile(world.caller("bob"), c.UpdateProfile(handle="robert"))
    with refused("not_found"):
        await world.profiles.by_handle(ana, "bob")
    with refused("invalid", field="handle"):
        await world.profiles.by_handle(ana, "b b")
    with refused("not_found"):
        await world.profiles.by_handle(ana, "rob")


@pytest.mark.parametrize(
    ("kind", "value", "typed"),
    [("email", "bob@example.org", " Bob@Example.ORG"), ("phone", "+34600123456", "+34 600 12 34 56")],
    ids=["email", "phone"],
)
async def test_people_are_found_by_an_address_only_as_they_agreed(world, kind, value, typed):
    ana = world.caller("ana")
    find = world.profiles.by_email if kind == "email" else world.profiles.by_phone
    setting, other = f"findable_by_{kind}", f"findable_by_{'phone' if kind == 'email' else 'email'}"
    details = set()

    async def not_found():
        with refused("not_found") as refusal:
            await find(ana, typed)
        details.add(refusal.detail)

    await not_found()
    await identity(world, "bob", kind, value)
    await not_found()
    await world.privacy("bob", **{other: True})
    await not_found()
    await world.privacy("bob", **{setting: True})
    assert (await find(ana, typed)).handle == "bob"
    await identity(world, "bob", kind, value, verified=0)
    await not_found()
    await identity(world, "bob", kind, value, findable=False)
    await not_found()
    await identity(world, "bob", kind, value)
    await world.block("bob", "ana")
    await not_found()
    await world.unblock("bob", "ana")
    await world.disable("bob")
    await not_found()
    assert len(details) == 1


async def test_ones_own_address_finds_oneself(world):
    await identity(world, "ana", "email", "ana@example.org", findable=False)
    assert (await world.profiles.by_email(world.caller("ana"), "ana@example.org")).handle == "ana"


async def test_what_is_no_address_is_said_to_be_none(world):
    ana = world.caller("ana")
    with refused("invalid", field="email"):
        await world.profiles.by_email(ana, "ana")
    with refused("invalid", field="phone"):
        await world.profiles.by_phone(ana, "600123456")
    with refused("not_found"):
        await world.profiles.by_phone(ana, "600123456", "ES")


async def test_settings_open_and_close_the_search(world):
    await identity(world, "bob", "email", "bob@example.org", findable=False)
    ana, bob = world.caller("ana"), world.caller("bob")
    for agreed in (True, False):
        document = msgspec.json.encode({"privacy": {"findable_by_email": agreed}})
        await world.everyone.update_settings(bob, c.UpdateSettings(settings=msgspec.Raw(document)))
        if agreed:
            assert (await world.profiles.by_email(ana, "bob@example.org")).handle == "bob"
        else:
            with refused("not_found"):
                await world.profiles.by_email(ana, "bob@example.org")


# --- meeting ---------------------------------------------------------------------------------------


async def test_who_meets_whom(world, monkeypatch):
    monkeypatch.setattr("tertulia.application.profiles._PAGE", 2)
    ana, bob = world.id("ana"), world.id("bob")
    for n in range(5):
        await world.create_group("ana", "eve", name=f"g{n}")
    assert not await world.profiles.meets(TENANT, ana, bob)
    last = await world.create_group("ana", "bob")
    assert await world.profiles.meets(TENANT, ana, bob)
    assert await world.profiles.meets(TENANT, bob, ana)
    await world.leave("bob", last)
    assert not await world.profiles.meets(TENANT, ana, bob)
