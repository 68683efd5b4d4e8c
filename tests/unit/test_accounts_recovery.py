"""New passwords: what the code opens, what the old password opens, and who is out afterwards."""

from __future__ import annotations

import asyncio

import msgspec
import pytest

from tertulia.application.account_types import ChangePassword, CodeSent, ConfirmReset
from tertulia.domain.errors import Refusal
from tertulia.domain.records import Code, Credential, Device, Identity
from tertulia.domain.unit import Put, Unit
from tertulia.ports.mail import Mail, mail_fault
from tertulia.ports.sms import Sms, sms_fault
from tests.support.accounts import CLIENT, PASSWORD, TENANT, House, code_in, wrong
from tests.support.world import refused, together

ADDRESS = "ana@example.org"
NEW = "an even longer password"


@pytest.fixture
async def house():
    return await House.open()


async def ask(house, address=ADDRESS, client=CLIENT):
    before = len(await house.letters())
    assert await house.recovery.request_reset(TENANT, address, client) == CodeSent(expires_in_s=900)
    return code_in((await house.letters())[before:])


async def confirm(house, code, password=NEW, address=ADDRESS, client=CLIENT):
    request = ConfirmReset(address=address, code=code, password=password)
    await house.recovery.confirm_reset(TENANT, request, client)


async def test_a_code_sets_a_new_password_and_signs_everybody_out(house):
    first = await house.person(language="zh")
    second = await house.sign_in("ana")
    code = await ask(house)
    letter = (await house.letters())[-1]
    assert (letter.to, letter.kind, mail_fault(letter)) == (ADDRESS, "reset", None)
    assert "密码" in letter.subject
    await confirm(house, code)
    assert sorted(house.revoked) == sorted((TENANT, first.user.id, one.device.id) for one in (first, second))
    assert (await house.kinds(first.user.id)).count("device.revoked") == 2
    for one in (first, second):
        with refused("unauthenticated"):
            await house.devices.authenticate(one.access_token)
        with refused("token_expired"):
            await house.devices.refresh(TENANT, one.refresh_token)
    with refused("credentials_refused"):
        await house.sign_in("ana")
    assert (await house.sign_in("ana", NEW)).user.id == first.user.id
    notice = (await house.letters())[-1]
    assert isinstance(notice, Mail)
    assert (notice.to, notice.kind, code_in([notice])) == (ADDRESS, "notice", "")
    with refused("credentials_refused"):
        await confirm(house, code, "yet another password")


async def test_known_and_unknown_addresses_look_alike(house):
    await house.person("known@example.org", "known")
    disabled = await house.person("disabled@example.org", "disabled")
    await house.admin.set_disabled(TENANT, disabled.user.id, disabled=True)
    await house.asks("waits@example.org", "waits")
    seen = []
    for address in ("known@example.org", "nobody@example.org", "disabled@example.org", "waits@example.org"):
        house.store.units.clear()
        house.passwords.work.clear()
        house.revoked.clear()
        assert bool(await ask(house, address)) == (address == "known@example.org")
        guesses = []
        for _ in range(6):
            with pytest.raises(Refusal) as info:
                await confirm(house, "000000", address=address)
            guesses.append((info.value.code, info.value.detail, info.value.field))
        seen.append((guesses, len(house.store.units), tuple(house.passwords.work)))
    assert seen == [seen[0]] * 4
    guesses, units, work = seen[0]
    assert set(guesses) == {("credentials_refused", "The code is wrong or has expired.", "code")}
    assert units == 1 + 5
    assert work == ("make",) * 6


async def test_a_code_is_for_the_user_it_was_sent_to(house):
    await house.person()
    code = await ask(house)
    other = await house.made("bob")
    identity = await house.store.get(Identity, TENANT, "email", ADDRESS)
    moved = msgspec.structs.replace(identity, user=other)
    await house.store.append(Unit(tenant=TENANT, actor="", at=0, events=(), writes=(Put(moved),)))
    with refused("credentials_refused"):
        await confirm(house, code)
    await house.sign_in("bob")


async def test_right_and_wrong_codes_cost_the_same(house):
    await house.person()
    code = await ask(house)
    work = []
    for guess in (wrong(code), code):
        house.passwords.work.clear()
        try:
            await confirm(house, guess)
        except Refusal as refusal:
            assert refusal.code == "credentials_refused"
        work.append(list(house.passwords.work))
    assert work == [["make"], ["make"]]


async def test_five_wrong_guesses_kill_the_code(house):
    await house.person()
    code = await ask(house)
    results = await together(*[confirm(house, wrong(code)) for _ in range(20)])
    assert {result.code for result in results} == {"credentials_refused"}
    assert (await house.store.get(Code, TENANT, "reset", ADDRESS)).attempts == 5
    with refused("credentials_refused"):
        await confirm(house, code)
    await house.sign_in("ana")


async def test_a_code_for_one_purpose_is_none_for_another(house):
    code = await house.asks(ADDRESS)
    with refused("credentials_refused"):
        await confirm(house, code)
    await house.verify(ADDRESS, code)
    reset = await ask(house)
    with refused("credentials_refused"):
        await house.verify(ADDRESS, reset)
    await confirm(house, reset)


async def test_the_code_expires(house):
    await house.person()
    code = await ask(house)
    house.clock.advance(900)
    with refused("credentials_refused"):
        await confirm(house, code)


async def test_a_password_that_may_not_be_leaves_the_code_good(house):
    await house.person(handle="a-longer-handle")
    code = await ask(house)
    for bad in ("short", "password1", ADDRESS, "a-longer-handle"):
        with refused("invalid", field="password"):
            await confirm(house, code, bad)
    await confirm(house, code)


async def test_one_code_at_once_counts_once(house):
    await house.person()
    code = await ask(house)
    results = await together(*[confirm(house, code, f"a long password {n}") for n in range(4)])
    codes = [getattr(result, "code", "done") for result in results]
    assert sorted(codes) == ["credentials_refused"] * 3 + ["done"]
    await house.sign_in("ana", f"a long password {codes.index('done')}")


async def test_a_sign_in_beside_a_reset_does_not_stay(house):
    await house.person()
    code = await ask(house)
    # As many turns of the loop before the other begins as there are places where they could cross.
    for turns in range(25):
        password = PASSWORD if turns == 0 else f"a long password {turns - 1}"
        signing = asyncio.create_task(house.sign_in("ana", password))
        for _ in range(turns):
            await asyncio.sleep(0)
        await confirm(house, code, f"a long password {turns}")
        await asyncio.wait([signing])
        live = [row for row in await house.store.scan(Device, (TENANT,)) if not row.revoked_at]
        assert live == []
        house.clock.advance(3600)
        code = await ask(house)


async def test_requests_are_limited_alike(house):
    await house.person("known@example.org", "known")
    house.clock.advance(3600)
    waits = []
    for address in ("known@example.org", "nobody@example.org"):
        for n in range(5):
            await ask(house, address, f"198.51.100.{n}")
        with pytest.raises(Refusal) as info:
            await ask(house, address, "198.51.100.9")
        waits.append((info.value.code, info.value.retry_after_ms))
    assert waits == [("rate_limited", 1_800_000)] * 2
    with refused("invalid", field="address"):
        await ask(house, "nobody")


async def test_a_reset_opens_the_door_that_guessing_had_shut(house):
    await house.person()
    for n in range(10):
        with refused("credentials_refused"):
            await house.sign_in("ana", "a wrong password", client=f"198.51.100.{n}")
    with refused("rate_limited"):
        await house.sign_in("ana")
    await confirm(house, await ask(house))
    await house.sign_in("ana", NEW)


async def test_by_phone_everything_comes_as_sms(house):
    phone = "+34600123456"
    await house.person(phone)
    await confirm(house, await ask(house, phone), address=phone)
    letters = await house.letters()
    assert all(isinstance(letter, Sms) and sms_fault(letter) is None for letter in letters)
    assert len(letters) == 3


async def test_a_damaged_code_is_refused(house):
    await house.person()
    await ask(house)
    for code in ("", "12345", "1234567890", "abcdef"):
        with refused("credentials_refused"):
            await confirm(house, code)


# --- by the old password -------------------------------------------------------------------------


async def change(house, signed_in, current=PASSWORD, new=NEW):
    await house.recovery.change_password(house.caller(signed_in), ChangePassword(current=current, new=new))


async def test_the_old_password_sets_a_new_one_and_the_others_are_out(house):
    here, there = await house.person(), await house.sign_in("ana")
    await change(house, here)
    assert house.revoked == [(TENANT, here.user.id, there.device.id)]
    await house.devices.authenticate(here.access_token)
    await house.devices.refresh(TENANT, here.refresh_token)
    with refused("credentials_refused"):
        await house.sign_in("ana")
    await house.sign_in("ana", NEW)
    assert (await house.letters())[-1].kind == "notice"


async def test_a_change_without_other_devices_is_one_too(house):
    here = await house.person()
    await change(house, here)
    await house.sign_in("ana", NEW)


async def test_the_wrong_old_password_changes_nothing_and_is_limited(house):
    here = await house.person()
    house.store.units.clear()
    for _ in range(10):
        with refused("credentials_refused", field="current"):
            await change(house, here, "a wrong password")
    with refused("rate_limited"):
        await change(house, here)
    assert house.store.units == []
    await house.sign_in("ana")


async def test_who_has_no_password_cannot_change_it(house):
    bot = await house.admin.create_bot(TENANT, "robot", "Robot")
    token = await house.admin.issue_token(TENANT, bot.id, "server")
    house.passwords.work.clear()
    with refused("credentials_refused"):
        await change(house, token)
    assert house.passwords.work == ["verify"]
    assert await house.store.get(Credential, TENANT, bot.id) is None


async def test_the_new_password_follows_the_rules(house):
    here = await house.person(handle="a-longer-handle")
    for bad in ("short", "qwertyuiop", "a-longer-handle", ADDRESS):
        with refused("invalid", field="new"):
            await change(house, here, new=bad)
    await house.sign_in("a-longer-handle")


async def test_two_changes_at_once_are_one(house):
    here, there = await house.person(), await house.sign_in("ana")
    results = await together(change(house, here, new=NEW), change(house, there, new="quite another one"))
    codes = [getattr(result, "code", "done") for result in results]
    assert sorted(codes) == ["credentials_refused", "done"]
    await house.sign_in("ana", NEW if codes[0] == "done" else "quite another one")


async def test_busy(house):
    here = await house.person()
    code = await ask(house)
    house.passwords.busy = True
    with refused("unavailable"):
        await change(house, here)
    with refused("unavailable"):
        await confirm(house, code)
    house.passwords.busy = False
    await confirm(house, code)
