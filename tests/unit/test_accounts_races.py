"""What happens between a decision and its commit: the commit finds out, and it is decided again."""

from __future__ import annotations

from functools import partial

import msgspec
import pytest

from tertulia.application.account_types import ChangePassword, ConfirmReset
from tertulia.domain.commands import RevokeDevice
from tertulia.domain.records import Device, HandleTaken, Identity, User
from tertulia.domain.unit import Put, Unit
from tests.support.accounts import CLIENT, PASSWORD, TENANT, House, code_in
from tests.support.world import refused
from tests.unit.test_accounts_sign_in import enter, user_token

ADDRESS = "ana@example.org"
NEW = "an even longer password"


@pytest.fixture
async def house():
    return await House.open()


async def live(house):
    return [row for row in await house.store.scan(Device, (TENANT,)) if not row.revoked_at]


async def write(house, *rows):
    await house.store.append(Unit(tenant=TENANT, actor="", at=0, events=(), writes=tuple(map(Put, rows))))


async def reset(house, password=NEW):
    await house.recovery.request_reset(TENANT, ADDRESS, CLIENT)
    code = code_in(await house.letters())
    return partial(
        house.recovery.confirm_reset,
        TENANT,
        ConfirmReset(address=ADDRESS, code=code, password=password),
        CLIENT,
    )


async def test_a_sign_in_before_a_reset_is_out_with_the_others(house):
    await house.person()
    confirm = await reset(house)
    house.store.interlude = partial(house.sign_in, "ana")
    await confirm()
    assert await live(house) == []


async def test_a_reset_before_a_sign_in_refuses_it(house):
    await house.person()
    house.store.interlude = await reset(house)
    with refused("credentials_refused"):
        await house.sign_in("ana")
    assert await live(house) == []


async def test_a_sign_in_before_a_disabling_is_out_with_the_others(house):
    signed_in = await house.person()
    house.store.interlude = partial(house.sign_in, "ana")
    await house.admin.set_disabled(TENANT, signed_in.user.id, disabled=True)
    assert await live(house) == []


async def test_a_change_of_the_profile_survives_a_disabling(house):
    user = (await house.person()).user
    house.store.interlude = partial(write, house, msgspec.structs.replace(user, name="Another"))
    await house.admin.set_disabled(TENANT, user.id, disabled=True)
    row = await house.store.get(User, TENANT, user.id)
    assert (row.name, row.disabled) == ("Another", True)


async def test_a_disabling_before_a_sign_in_refuses_it(house):
    user = (await house.person()).user
    house.store.interlude = partial(house.admin.set_disabled, TENANT, user.id, disabled=True)
    with refused("forbidden"):
        await house.sign_in("ana")
    assert await live(house) == []


async def test_a_disabling_before_a_first_sign_in_refuses_it(house):
    # Without a device to sign out nothing in the personal log moves.
    user = await house.made("ana")
    house.store.interlude = partial(house.admin.set_disabled, TENANT, user, disabled=True)
    with refused("forbidden"):
        await house.sign_in("ana")
    await house.admin.set_disabled(TENANT, user, disabled=False)
    house.store.interlude = partial(house.admin.set_disabled, TENANT, user, disabled=True)
    with refused("forbidden"):
        await house.admin.issue_token(TENANT, user, "x")
    assert await live(house) == []


async def test_two_sign_ins_take_one_place_each(house):
    await house.made("ana")
    for _ in range(49):
        await house.sign_in("ana")
    house.store.interlude = partial(house.sign_in, "ana")
    await house.sign_in("ana")
    assert len(await live(house)) == 50


async def test_a_device_signed_out_while_it_renews_stays_out(house):
    signed_in = await house.person()
    house.store.interlude = partial(house.devices.sign_out, house.caller(signed_in))
    with refused("token_expired"):
        await house.devices.refresh(TENANT, signed_in.refresh_token)
    assert await live(house) == []


async def test_a_renewal_before_a_sign_out_is_lost(house):
    signed_in = await house.person()
    renewed = []

    async def renew():
        renewed.append(await house.devices.refresh(TENANT, signed_in.refresh_token))

    house.store.interlude = renew
    await house.devices.sign_out(house.caller(signed_in))
    with refused("token_expired"):
        await house.devices.refresh(TENANT, renewed[0].refresh_token)
    assert await live(house) == []


async def test_a_device_is_revoked_once(house):
    first, second = await house.person(), await house.sign_in("ana")
    command = RevokeDevice(device=second.device.id)
    revoke = partial(house.devices.revoke_device, house.caller(first), command)
    house.store.interlude = revoke
    with refused("not_found"):
        await revoke()
    assert len(house.revoked) == 1


async def test_a_password_changed_meanwhile_is_not_changed_again(house):
    signed_in = await house.person()

    def change(new):
        request = ChangePassword(current=PASSWORD, new=new)
        return house.recovery.change_password(house.caller(signed_in), request)

    house.store.interlude = partial(change, NEW)
    with refused("credentials_refused", field="current"):
        await change("quite another one")
    await house.sign_in("ana", NEW)


async def test_an_address_verified_meanwhile_is_not_signed_up_again(house):
    code = await house.asks(ADDRESS)
    house.store.interlude = partial(house.verify, ADDRESS, code)
    assert await house.asks(ADDRESS, "other", "another password") == ""
    assert (await house.sign_in(ADDRESS)).user.handle == "ana"
    assert (await house.letters())[-1].kind == "notice"


async def test_an_address_verified_meanwhile_gets_no_other_code(house):
    code = await house.asks(ADDRESS)
    sent = len(await house.letters())
    house.store.interlude = partial(house.verify, ADDRESS, code)
    await house.accounts.resend(TENANT, ADDRESS, CLIENT)
    assert len(await house.letters()) == sent


async def test_an_address_given_away_meanwhile_is_not_taken(house):
    code = await house.asks(ADDRESS)
    house.store.interlude = partial(house.made, "other", email=ADDRESS)
    with refused("credentials_refused"):
        await house.verify(ADDRESS, code)
    assert [user.handle for user in await house.store.scan(User, (TENANT,))] == ["other"]

    code = await house.asks("bob@example.org", "bob")
    house.store.interlude = partial(house.verify, "bob@example.org", code)
    with refused("conflict", field="email"):
        await house.made("bobby", email="bob@example.org")
    owner = (await house.store.get(Identity, TENANT, "email", "bob@example.org")).user
    assert (await house.store.get(User, TENANT, owner)).handle == "bob"


async def test_a_handle_given_out_meanwhile_is_taken_though_nobody_has_it_now(house):
    given = partial(write, house, HandleTaken(tenant=TENANT, handle="ana", user="somebody"))
    house.store.interlude = given
    with refused("handle_taken"):
        await house.made("ana")
    code = await house.asks(ADDRESS, "bob")
    house.store.interlude = partial(write, house, HandleTaken(tenant=TENANT, handle="bob", user="somebody"))
    with refused("handle_taken"):
        await house.verify(ADDRESS, code)
    assert await house.store.scan(User, (TENANT,)) == []


async def test_a_users_first_token_beside_another(house):
    key = await house.admin.create_api_key(TENANT)
    house.store.interlude = partial(enter, house, user_token(house, key))
    signed_in = await enter(house, user_token(house, key))
    assert [user.id for user in await house.store.scan(User, (TENANT,))] == [signed_in.user.id]
    assert len(await live(house)) == 2


async def test_a_disabling_before_a_users_token_refuses_it(house):
    key = await house.admin.create_api_key(TENANT)
    first = await enter(house, user_token(house, key))
    await house.devices.sign_out(house.caller(first))
    house.store.interlude = partial(house.admin.set_disabled, TENANT, first.user.id, disabled=True)
    with refused("forbidden"):
        await enter(house, user_token(house, key))
    assert await live(house) == []


async def test_a_disabling_before_a_renewal_refuses_it(house):
    user = await house.made("ana")
    signed_in = await house.sign_in("ana")
    house.store.interlude = partial(house.admin.set_disabled, TENANT, user, disabled=True)
    with refused("token_expired"):
        await house.devices.refresh(TENANT, signed_in.refresh_token)


async def test_what_never_holds_still_is_given_up(house):
    user = await house.made("ana")
    turns = 0

    async def touch():
        nonlocal turns
        turns += 1
        house.store.interlude = None
        await house.admin.issue_token(TENANT, user, "x")
        house.store.interlude = touch

    house.store.interlude = touch
    with refused("stale"):
        await house.sign_in("ana")
    assert turns == 8
