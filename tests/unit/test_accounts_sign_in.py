"""Signing in with a password and with a customer's token, and what guessing gets."""

from __future__ import annotations

import asyncio

import pytest
from joserfc import jwt
from joserfc.jwk import OctKey

from tertulia.adapters.passwords_argon2 import Argon2Passwords
from tertulia.domain.errors import Refusal
from tertulia.domain.records import Credential, Device, User
from tests.support.accounts import PASSWORD, TENANT, House
from tests.support.world import refused, together


@pytest.fixture
async def house():
    return await House.open()


@pytest.mark.parametrize(
    "login", ["ana@example.org", " Ana@EXAMPLE.org ", "+34 600 123 456", "ana", "Ana", "@ana"]
)
async def test_by_every_name(house, login):
    user = await house.made("ana", email="ana@example.org", phone="+34600123456")
    signed_in = await house.sign_in(login, device_name="desk")
    assert (signed_in.user.id, signed_in.device.name) == (user, "desk")
    assert (await house.devices.authenticate(signed_in.access_token)).user == user
    assert (await house.kinds(user))[-1] == "device.added"


async def test_whatever_is_wrong_is_refused_alike_after_the_same_work(house):
    await house.made("ana", email="ana@example.org")
    await house.made("nopass", password=None, email="nopass@example.org")
    await house.admin.create_bot(TENANT, "robot", "Robot")
    await house.asks("waits@example.org", "waits")
    seen = set()
    for login in [
        "ana@example.org",
        "ana",
        "nobody@example.org",
        "nobody",
        "+34600000000",
        "no name at all",
        "@",
        "nopass@example.org",
        "robot",
        "waits@example.org",
        "waits",
    ]:
        house.passwords.work.clear()
        house.store.units.clear()
        with pytest.raises(Refusal) as info:
            await house.sign_in(login, "a wrong password")
        refusal = info.value
        seen.add((refusal.code, refusal.detail, refusal.field, tuple(house.passwords.work)))
        assert house.store.units == []
    assert seen == {("credentials_refused", "Name or password is wrong.", None, ("verify",))}


async def test_who_has_not_verified_learns_it_with_the_right_password_only(house):
    await house.asks("ana@example.org")
    house.passwords.work.clear()
    with refused("verification_required"):
        await house.sign_in("ana@example.org")
    assert house.passwords.work == ["verify"]
    with refused("credentials_refused"):
        await house.sign_in("ana@example.org", "a wrong password")
    assert await house.store.scan(Device, (TENANT,)) == []


async def test_the_disabled_learn_it_with_the_right_password_only(house):
    user = await house.made("ana")
    await house.admin.set_disabled(TENANT, user, disabled=True)
    with refused("forbidden"):
        await house.sign_in("ana")
    with refused("credentials_refused"):
        await house.sign_in("ana", "a wrong password")
    await house.admin.set_disabled(TENANT, user, disabled=False)
    await house.sign_in("ana")


async def test_guesses_at_one_name_are_limited_wherever_they_come_from(house):
    await house.made("ana", email="ana@example.org")
    waits = []
    for name in ("ana@example.org", "nobody@example.org"):
        for n in range(10):
            with refused("credentials_refused"):
                await house.sign_in(name, "a wrong password", client=f"198.51.100.{n}")
        house.passwords.work.clear()
        with pytest.raises(Refusal) as info:
            await house.sign_in(name, client="192.0.2.1")
        assert info.value.code == "rate_limited"
        waits.append(info.value.retry_after_ms)
        assert house.passwords.work == []
    assert waits == [180_000, 180_000]
    house.clock.advance(180)
    await house.sign_in("ana@example.org", client="192.0.2.1")


async def test_guesses_of_one_client_are_limited_over_all_names(house):
    await house.made("ana")
    for n in range(50):
        with refused("credentials_refused"):
            await house.sign_in(f"nobody{n}", "a wrong password", client=f"2001:db8::{n:x}")
    with refused("rate_limited"):
        await house.sign_in("ana", client="2001:db8::99")
    await house.sign_in("ana", client="2001:db8:0:1::99")


async def test_what_was_right_does_not_count(house):
    await house.made("ana")
    for _ in range(70):
        await house.sign_in("ana")


async def test_the_device_idle_longest_makes_room(house):
    first = await house.person()
    house.clock.advance(60)
    second = await house.sign_in("ana")
    house.clock.advance(60)
    first = await house.devices.refresh(TENANT, first.refresh_token)
    others = []
    for _ in range(48):
        house.clock.advance(60)
        others.append(await house.sign_in("ana"))
    caller = house.caller(others[-1])
    assert len(await house.devices.devices(caller)) == 50
    assert house.revoked == []
    house.clock.advance(60)
    latest = await house.sign_in("ana")
    listed = [device.id for device in await house.devices.devices(caller)]
    assert len(listed) == 50
    assert house.revoked == [(TENANT, caller.user, second.device.id)]
    assert second.device.id not in listed
    assert {first.device.id, latest.device.id} <= set(listed)


async def test_sign_ins_at_once_stay_within_the_limit(house):
    await house.made("ana")
    for _ in range(48):
        await house.sign_in("ana")
    results = await together(*[house.sign_in("ana") for _ in range(4)])
    live = await house.devices.devices(house.caller(results[0]))
    assert len(live) == 50
    assert len(house.revoked) == 2


async def test_rows_of_devices_that_ended_go(house):
    signed_in = await house.person()
    for _ in range(5):
        await house.devices.sign_out(house.caller(signed_in))
        signed_in = await house.sign_in("ana")
    assert len(await house.store.scan(Device, (TENANT,))) == 1
    house.clock.advance(61 * 86_400)
    await house.sign_in("ana")
    assert len(await house.store.scan(Device, (TENANT,))) == 1


async def test_old_costs_are_renewed_at_the_next_sign_in(house):
    user = await house.made("ana")
    house.passwords.version = 2
    house.passwords.work.clear()
    results = await together(*[house.sign_in("ana") for _ in range(3)])
    assert not any(isinstance(result, Refusal) for result in results)
    row = await house.store.get(Credential, TENANT, user)
    assert b"v2:" in row.verifiers
    house.passwords.work.clear()
    await house.sign_in("ana")
    assert house.passwords.work == ["verify"]


async def test_a_password_changed_while_it_is_checked_signs_nobody_in(house):
    user = await house.made("ana")
    house.passwords.gate = asyncio.Event()
    old = asyncio.create_task(house.sign_in("ana"))
    await house.passwords.waiting.wait()
    gate, house.passwords.gate = house.passwords.gate, None
    await house.admin.set_password(TENANT, user, "a new long password")
    gate.set()
    with refused("credentials_refused"):
        await old
    assert await house.store.scan(Device, (TENANT,)) == []
    await house.sign_in("ana", "a new long password")


async def test_too_many_at_once_are_told_to_wait(house):
    await house.made("ana")
    house.passwords.busy = True
    with refused("unavailable"):
        await house.sign_in("ana")


async def test_with_the_real_hash():
    passwords = Argon2Passwords(memory_kib=64, time_cost=1, parallelism=1, scram_iterations=4096)
    try:
        house = await House.open(passwords=passwords)
        signed_in = await house.person()
        assert (await house.sign_in("ana")).user == signed_in.user
        for login in ("ana", "nobody"):
            with refused("credentials_refused"):
                await house.sign_in(login, "a wrong password")
        await house.admin.set_password(TENANT, signed_in.user.id, "contraseña larga")
        await house.sign_in("ana", "contrasen\u0303a larga")
    finally:
        passwords.close()


# --- customers' tokens ---------------------------------------------------------------------------


def user_token(house, key, sub="u-1", audience=TENANT, **claims):
    payload = {"sub": sub, "aud": audience, "exp": house.clock.now_ms() // 1000 + 60, **claims}
    return jwt.encode({"alg": "HS256", "kid": key.id}, payload, OctKey.import_key(key.value))


async def enter(house, token, client="203.0.113.9"):
    return await house.signing.sign_in_with_user_token(TENANT, token, "app", client)


async def test_a_token_makes_its_user_once(house):
    key = await house.admin.create_api_key(TENANT)
    first = await enter(house, user_token(house, key, name="Ana  "))
    again = await enter(house, user_token(house, key, name="Another"))
    other = await enter(house, user_token(house, key, sub="u-2"))
    assert first.user.id == again.user.id != other.user.id
    assert (first.user.external, first.user.name, first.user.handle) == ("u-1", "Ana", "")
    assert other.user.name == "u-2"
    assert await house.kinds(first.user.id) == ["profile.updated", "device.added", "device.added"]
    assert len(await house.devices.devices(house.caller(again))) == 2
    with refused("credentials_refused"):
        await house.sign_in("u-1", PASSWORD)


async def test_two_first_tokens_at_once_make_one_user(house):
    key = await house.admin.create_api_key(TENANT)
    results = await together(*[enter(house, user_token(house, key)) for _ in range(4)])
    assert len({result.user.id for result in results}) == 1
    assert len(await house.store.scan(User, (TENANT,))) == 1
    assert len({result.device.id for result in results}) == 4


async def test_a_token_that_proves_nothing_is_refused_alike(house):
    key = await house.admin.create_api_key(TENANT)
    gone = await house.admin.create_api_key(TENANT)
    await house.admin.revoke_api_key(TENANT, gone.id)
    good = user_token(house, key)
    refusals = set()
    for token in [
        "",
        "nothing",
        good[:-4] + "AAAA",
        user_token(house, gone),
        user_token(house, key, audience="elsewhere"),
        user_token(house, key, exp=1),
        house.tokens.issue("u", TENANT, "d").token,
    ]:
        with pytest.raises(Refusal) as info:
            await enter(house, token)
        refusals.add((info.value.code, info.value.detail))
    assert refusals == {("credentials_refused", "The user token is not valid.")}
    assert await house.store.scan(User, (TENANT,)) == []
    await enter(house, good)


async def test_bad_tokens_of_one_client_are_limited(house):
    key = await house.admin.create_api_key(TENANT)
    for _ in range(60):
        await enter(house, user_token(house, key))
    for _ in range(50):
        with refused("credentials_refused"):
            await enter(house, "nothing")
    with refused("rate_limited"):
        await enter(house, user_token(house, key))


async def test_a_disabled_user_does_not_enter_by_token(house):
    key = await house.admin.create_api_key(TENANT)
    user = (await enter(house, user_token(house, key))).user
    await house.admin.set_disabled(TENANT, user.id, disabled=True)
    with refused("forbidden"):
        await enter(house, user_token(house, key))
