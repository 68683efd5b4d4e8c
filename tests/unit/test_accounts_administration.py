"""The operator's use cases, the rows that they make, and a restart on disk."""

from __future__ import annotations

import pytest

from tertulia.adapters.clock_seeded import SeededClock
from tertulia.adapters.sqlite import SqliteStore
from tertulia.application.account_types import NewUser
from tertulia.domain.records import (
    ApiKey,
    Conversation,
    HandleTaken,
    Identity,
    Member,
    Tenant,
    User,
)
from tertulia.domain.unit import NewEvent, Put, Unit
from tests.support.accounts import PASSWORD, TENANT, CountedStore, House
from tests.support.world import refused, together


@pytest.fixture
async def house():
    return await House.open()


async def test_the_first_start_makes_the_tenant_and_later_ones_leave_it():
    house = House(CountedStore())
    results = await together(*[house.admin.ensure_default_tenant(f"Name {n}") for n in range(3)])
    assert len({row.name for row in results}) == 1
    house.store.units.clear()
    again = await house.admin.ensure_default_tenant("Another")
    assert again == await house.store.get(Tenant, "default") == results[0]
    assert house.store.units == []


@pytest.mark.parametrize("name", ["", "a\nb", "x" * 41])
async def test_a_name_that_cannot_stand_in_a_letter(name):
    house = House()
    with refused("invalid", field="name"):
        await house.admin.ensure_default_tenant(name)
    assert await house.store.scan(Tenant, ()) == []


async def test_a_user_made_by_the_operator(house):
    request = NewUser(
        handle="Ana",
        name="Ana",
        password=PASSWORD,
        email="Ana@example.org",
        phone="+34600123456",
        operator=True,
    )
    user = await house.admin.create_user(TENANT, request)
    assert (user.handle, user.operator, user.bot) == ("ana", True, False)
    for login in ("ana", "ana@example.org", "+34600123456"):
        assert (await house.sign_in(login)).user == user
    assert PASSWORD not in repr(request)
    assert await house.letters() == []
    for who in (user.id, "ana", "@ana", "ana@example.org", "+34600123456"):
        assert await house.admin.find(TENANT, who) == user
    for who in ("", "nobody", "0" * 26):
        with refused("not_found"):
            await house.admin.find(TENANT, who)


async def test_an_operators_user_takes_the_place_of_a_waiting_sign_up(house):
    code = await house.asks("ana@example.org", "ana")
    user = await house.made("ana", email="ana@example.org")
    with refused("credentials_refused"):
        await house.verify("ana@example.org", code)
    assert (await house.store.get(Identity, TENANT, "email", "ana@example.org")).user == user


async def test_a_sign_up_beside_the_operators_user(house):
    code = await house.asks("ana@example.org", "ana")
    results = await together(
        house.verify("ana@example.org", code), house.made("other", email="ana@example.org")
    )
    assert sorted(getattr(result, "code", "made") for result in results) in (
        ["conflict", "made"],
        ["credentials_refused", "made"],
    )
    assert len(await house.store.scan(User, (TENANT,))) == 1


@pytest.mark.parametrize(
    ("code", "field", "changes"),
    [
        ("invalid", "handle", {"handle": "root"}),
        ("invalid", "name", {"name": "\x00"}),
        ("invalid", "password", {"password": "short"}),
        ("invalid", "email", {"email": "+34600123456"}),
        ("invalid", "email", {"email": "nobody"}),
        ("invalid", "phone", {"phone": "bob@example.org"}),
        ("invalid", "language", {"language": "??"}),
        ("handle_taken", "handle", {"handle": "ana"}),
        ("conflict", "email", {"email": "ana@example.org"}),
    ],
    ids=lambda value: repr(value) if isinstance(value, dict) else value,
)
async def test_what_cannot_be_made(house, code, field, changes):
    await house.made("ana", email="ana@example.org")
    house.store.units.clear()
    with refused(code, field=field):
        await house.admin.create_user(TENANT, NewUser(**{"handle": "bob", "name": "Bob", **changes}))
    assert house.store.units == []
    with refused("not_found"):
        await house.admin.create_user("elsewhere", NewUser(handle="bob", name="Bob"))


async def test_two_users_with_one_handle_at_once(house):
    results = await together(house.made("ana"), house.made("ana"))
    assert sorted(getattr(result, "code", "made") for result in results) == ["handle_taken", "made"]


async def test_a_bot_signs_in_with_its_token_only(house):
    bot = await house.admin.create_bot(TENANT, "robot", "Robot")
    assert bot.bot
    token = await house.admin.issue_token(TENANT, bot.id, "server")
    assert (token.refresh_token, token.expires_in_s) == ("", 365 * 86_400)
    house.clock.advance(364 * 86_400)
    caller = await house.devices.authenticate(token.access_token)
    assert caller.user == bot.id
    assert [device.id for device in await house.devices.devices(caller)] == [token.device.id]
    await house.devices.sign_out(caller)
    with refused("unauthenticated"):
        await house.devices.authenticate(token.access_token)
    with refused("credentials_refused"):
        await house.sign_in("robot")
    with refused("invalid"):
        await house.admin.set_password(TENANT, bot.id, PASSWORD)
    with refused("not_found"):
        await house.admin.create_bot("elsewhere", "robot", "Robot")


async def test_a_password_set_by_the_operator(house):
    signed_in = await house.person()
    await house.admin.set_password(TENANT, signed_in.user.id, "from the operator")
    assert house.revoked == [(TENANT, signed_in.user.id, signed_in.device.id)]
    await house.sign_in("ana", "from the operator")
    assert (await house.letters())[-1].kind == "notice"
    with refused("invalid", field="password"):
        await house.admin.set_password(TENANT, signed_in.user.id, "short")
    for user in ("nobody", "ana"):
        with refused("not_found"):
            await house.admin.set_password(TENANT, user, "from the operator")


async def test_tokens_are_for_users_who_are_there(house):
    user = await house.made("ana")
    with refused("not_found"):
        await house.admin.issue_token(TENANT, "nobody", "x")
    await house.admin.set_disabled(TENANT, user, disabled=True)
    with refused("forbidden"):
        await house.admin.issue_token(TENANT, user, "x")
    with refused("not_found"):
        await house.admin.set_disabled(TENANT, "nobody", disabled=True)


async def test_disabling_moves_what_rests_on_the_user(house):
    user = await house.made("ana")
    for log, kind in (("direct1", "direct"), ("group1", "group")):
        row = Conversation(tenant=TENANT, id=log, kind=kind, created_at=0, created_by=user)
        member = Member(tenant=TENANT, conversation=log, user=user, role="member", joined_at=0)
        made = NewEvent(log=log, kind="conversation.created", body=b"{}", actor=user, creates=kind)
        unit = Unit(tenant=TENANT, actor=user, at=0, events=(made,), writes=(Put(row), Put(member)))
        await house.store.append(unit)
    before = [head.epoch for head in await house.store.heads(["direct1", "group1"])]
    await house.admin.set_disabled(TENANT, user, disabled=True)
    after = [head.epoch for head in await house.store.heads(["direct1", "group1"])]
    assert after == [before[0] + 1, before[1]]
    house.store.units.clear()
    await house.admin.set_disabled(TENANT, user, disabled=True)
    assert house.store.units == []


async def test_keys_are_bounded_and_go(house):
    made = [await house.admin.create_api_key(TENANT) for _ in range(20)]
    assert len({key.value for key in made}) == 20
    assert all(len(key.value) >= 32 for key in made)
    assert made[0].value not in repr(made[0])
    with refused("limit_reached"):
        await house.admin.create_api_key(TENANT)
    await house.admin.revoke_api_key(TENANT, made[0].id)
    await house.admin.revoke_api_key(TENANT, made[0].id)
    assert (await house.store.get(ApiKey, TENANT, made[0].id)).secret == ""
    await house.admin.create_api_key(TENANT)
    with refused("not_found"):
        await house.admin.revoke_api_key(TENANT, "nothing")
    with refused("not_found"):
        await house.admin.create_api_key("elsewhere")


async def test_everything_outlives_the_process(tmp_path):
    clock = SeededClock()
    houses = 0

    async def start() -> tuple[House, SqliteStore]:
        nonlocal houses
        houses += 1
        store = await SqliteStore.open(tmp_path)
        return await House.open(store, clock, seed=houses), store

    house, store = await start()
    code = await house.asks("ana@example.org", "ana")
    await store.close()

    house, store = await start()
    first = await house.verify("ana@example.org", code)
    gone = await house.sign_in("ana")
    await house.devices.sign_out(house.caller(gone))
    with refused("credentials_refused"):
        await house.verify("ana@example.org", code)
    await store.close()

    house, store = await start()
    assert (await house.devices.authenticate(first.access_token)).user == first.user.id
    with refused("unauthenticated"):
        await house.devices.authenticate(gone.access_token)
    second = await house.devices.refresh(TENANT, first.refresh_token)
    await store.close()

    house, store = await start()
    clock.advance(60)
    with refused("token_expired"):
        await house.devices.refresh(TENANT, first.refresh_token)
    with refused("unauthenticated"):
        await house.devices.authenticate(second.access_token)
    with refused("handle_taken"):
        await house.asks("bob@example.org", "ana")
    await house.sign_in("ana")
    assert await store.get(HandleTaken, TENANT, "ana") is not None
    assert await house.kinds(first.user.id) == [
        "profile.updated",
        *["device.added", "device.added", "device.revoked"],
        *["device.revoked", "device.added"],
    ]
    await store.close()
