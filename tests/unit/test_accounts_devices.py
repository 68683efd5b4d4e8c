"""Tokens of devices: renewing, copying, listing, revoking, and who a token speaks for."""

from __future__ import annotations

import asyncio

import msgspec
import pytest

from tertulia.adapters.tokens_jose import JoseAccessTokens
from tertulia.domain.commands import RevokeDevice
from tertulia.domain.errors import Refusal
from tertulia.domain.records import Device, Tenant, User
from tertulia.domain.unit import Put, Unit
from tests.support.accounts import TENANT, House
from tests.support.world import refused, together


@pytest.fixture
async def house():
    return await House.open()


# --- renewing ------------------------------------------------------------------------------------


async def test_a_refresh_token_is_good_for_one_use(house):
    first = await house.person()
    house.clock.advance(300)
    second = await house.devices.refresh(TENANT, first.refresh_token)
    assert second.refresh_token != first.refresh_token
    assert second.access_token != first.access_token
    assert (second.device.id, second.device.seen_at) == (first.device.id, house.clock.now_ms())
    assert (second.user, second.expires_in_s) == (first.user, 600)
    house.clock.advance(59 * 86_400)
    third = await house.devices.refresh(TENANT, second.refresh_token)
    house.clock.advance(59 * 86_400)
    await house.devices.refresh(TENANT, third.refresh_token)
    assert await house.kinds(first.user.id) == ["profile.updated", "device.added"]


async def test_a_lost_answer_is_given_again_once(house):
    first = await house.person()
    lost = await house.devices.refresh(TENANT, first.refresh_token)
    house.clock.advance(9)
    again = await house.devices.refresh(TENANT, first.refresh_token)
    assert again.refresh_token == lost.refresh_token
    assert house.revoked == []
    with refused("token_expired"):
        await house.devices.refresh(TENANT, first.refresh_token)
    assert house.revoked == [(TENANT, first.user.id, first.device.id)]


async def test_a_copied_token_signs_the_device_out(house):
    first = await house.person()
    other = await house.sign_in("ana")
    second = await house.devices.refresh(TENANT, first.refresh_token)
    house.clock.advance(11)
    with refused("token_expired"):
        await house.devices.refresh(TENANT, first.refresh_token)
    assert house.revoked == [(TENANT, first.user.id, first.device.id)]
    assert (await house.kinds(first.user.id))[-1] == "device.revoked"
    with refused("token_expired"):
        await house.devices.refresh(TENANT, second.refresh_token)
    with refused("unauthenticated"):
        await house.devices.authenticate(second.access_token)
    await house.devices.authenticate(other.access_token)
    await house.devices.refresh(TENANT, other.refresh_token)


async def test_two_uses_at_once_get_one_successor(house):
    first = await house.person()
    results = await together(*[house.devices.refresh(TENANT, first.refresh_token) for _ in range(2)])
    assert len({result.refresh_token for result in results}) == 1
    assert house.revoked == []
    await house.devices.refresh(TENANT, results[0].refresh_token)


async def test_what_cannot_be_used_is_refused_alike(house):
    first = await house.person()
    late = await house.sign_in("ana")
    out = await house.sign_in("ana")
    await house.devices.sign_out(house.caller(out))
    lost = await house.person("bob@example.org", "bob")
    await house.admin.set_disabled(TENANT, lost.user.id, disabled=True)
    seen = set()
    tokens = ["", "nothing", first.refresh_token[:-1] + "!", out.refresh_token, lost.refresh_token]
    tokens.append(tampered(first.refresh_token))
    for token in tokens:
        with pytest.raises(Refusal) as info:
            await house.devices.refresh(TENANT, token)
        seen.add((info.value.code, info.value.detail))
    with pytest.raises(Refusal) as info:
        await house.devices.refresh("elsewhere", first.refresh_token)
    seen.add((info.value.code, info.value.detail))
    house.clock.advance(60 * 86_400)
    with pytest.raises(Refusal) as info:
        await house.devices.refresh(TENANT, late.refresh_token)
    seen.add((info.value.code, info.value.detail))
    assert seen == {("token_expired", "The refresh token cannot be used; sign in again.")}


def tampered(token: str) -> str:
    """The same form, another secret."""
    head, _, secret = token.rpartition(".")
    return f"{head}.{'B' if secret[0] == 'A' else 'A'}{secret[1:]}"


async def test_a_device_signed_out_while_it_renews_stays_out(house):
    first = await house.person()
    results = await together(
        house.devices.refresh(TENANT, first.refresh_token),
        house.devices.sign_out(house.caller(first)),
    )
    row = await house.store.get(Device, TENANT, first.user.id, first.device.id)
    assert row.revoked_at
    if not isinstance(results[0], Refusal):
        with refused("token_expired"):
            await house.devices.refresh(TENANT, results[0].refresh_token)


# --- listing and signing out ---------------------------------------------------------------------


async def test_a_list_of_devices_marks_the_one_that_asks(house):
    first = await house.person()
    house.clock.advance(5)
    second = await house.sign_in("ana", device_name="desk")
    await house.person("bob@example.org", "bob")
    listed = await house.devices.devices(house.caller(first))
    assert [(d.id, d.current, d.name) for d in listed] == [
        (second.device.id, False, "desk"),
        (first.device.id, True, ""),
    ]
    assert set(msgspec.to_builtins(listed[0])) == {"id", "name", "created_at", "seen_at", "current"}


async def test_a_revoked_device_is_out_at_once(house):
    first, second = await house.person(), await house.sign_in("ana")
    await house.devices.authenticate(second.access_token)
    command = RevokeDevice(device=second.device.id, client_id="r-1")
    answer = await house.devices.revoke_device(house.caller(first), command)
    assert (answer.conversation, answer.repeated) == (first.user.id, False)
    assert house.revoked == [(TENANT, first.user.id, second.device.id)]
    for check in (house.devices.recall, house.devices.authenticate):
        with refused("unauthenticated"):
            outcome = check(second.access_token)
            assert outcome is not None
            await outcome
    with refused("token_expired"):
        await house.devices.refresh(TENANT, second.refresh_token)
    assert [d.id for d in await house.devices.devices(house.caller(first))] == [first.device.id]

    again = await house.devices.revoke_device(house.caller(first), command)
    assert (again.seq, again.repeated) == (answer.seq, True)
    assert len(house.revoked) == 1
    with refused("not_found"):
        await house.devices.revoke_device(house.caller(first), RevokeDevice(device=second.device.id))
    with refused("client_id_reused"):
        await house.devices.revoke_device(
            house.caller(first), RevokeDevice(device=first.device.id, client_id="r-1")
        )


async def test_others_devices_are_not_there(house):
    ana = await house.person()
    bob = await house.person("bob@example.org", "bob")
    for device in (bob.device.id, "0" * 26):
        with refused("not_found"):
            await house.devices.revoke_device(house.caller(ana), RevokeDevice(device=device))
    await house.devices.authenticate(bob.access_token)


async def test_two_revocations_at_once_are_one(house):
    first, second = await house.person(), await house.sign_in("ana")
    command = RevokeDevice(device=second.device.id)
    results = await together(*[house.devices.revoke_device(house.caller(first), command) for _ in range(3)])
    assert sorted(getattr(result, "code", "done") for result in results) == ["done", "not_found", "not_found"]
    assert (await house.kinds(first.user.id)).count("device.revoked") == 1


async def test_signing_out_twice_is_signing_out(house):
    first = await house.person()
    await house.devices.sign_out(house.caller(first))
    await house.devices.sign_out(house.caller(first))
    assert len(house.revoked) == 1
    with refused("unauthenticated"):
        await house.devices.authenticate(first.access_token)


# --- who a token speaks for ----------------------------------------------------------------------


async def test_a_device_at_hand_needs_no_read(house):
    first = await house.person()
    assert house.devices.recall(first.access_token) is None
    caller = await house.devices.authenticate(first.access_token, "s-1")
    assert house.devices.recall(first.access_token, "s-1") == caller
    assert (caller.session, caller.operator) == ("s-1", False)
    house.clock.advance(30)
    assert house.devices.recall(first.access_token) is None


async def test_an_operator_is_known_as_one(house):
    await house.made("root1", operator=True)
    signed_in = await house.sign_in("root1")
    assert (await house.devices.authenticate(signed_in.access_token)).operator
    assert house.devices.recall(signed_in.access_token).operator


async def test_an_expired_token_says_so_and_a_false_one_says_nothing(house):
    first = await house.person()
    forger = JoseAccessTokens(
        house.clock,
        house.ids,
        [("k1", b"another key of the tests, 32 octets")],
        issuer="tests",
        audience="tests",
    )
    forged = forger.issue(first.user.id, TENANT, first.device.id).token
    for token in ("", "nothing", forged, first.refresh_token):
        with refused("unauthenticated"):
            await house.devices.authenticate(token)
    house.clock.advance(600)
    with refused("token_expired"):
        await house.devices.authenticate(first.access_token)
    with refused("unauthenticated"):
        await house.devices.authenticate(forged)


async def test_a_token_speaks_for_a_device_of_its_own_tenant_only(house):
    first = await house.person()
    stray = house.tokens.issue(first.user.id, "elsewhere", first.device.id).token
    with refused("unauthenticated"):
        await house.devices.authenticate(stray)
    bob = await house.person("bob@example.org", "bob")
    mixed = house.tokens.issue(bob.user.id, TENANT, first.device.id).token
    with refused("unauthenticated"):
        await house.devices.authenticate(mixed)


async def test_the_disabled_speak_for_nobody(house):
    first = await house.person()
    await house.devices.authenticate(first.access_token)
    await house.admin.set_disabled(TENANT, first.user.id, disabled=True)
    assert house.revoked == [(TENANT, first.user.id, first.device.id)]
    with refused("unauthenticated"):
        await house.devices.authenticate(first.access_token)
    # The row alone is enough, as where another node wrote it.
    other = await house.person("bob@example.org", "bob")
    await write(house, msgspec.structs.replace(other.user, disabled=True))
    with refused("unauthenticated"):
        await house.devices.authenticate(other.access_token)
    with refused("token_expired"):
        await house.devices.refresh(TENANT, other.refresh_token)


async def test_what_another_node_revoked_is_refused_soon(house):
    first = await house.person()
    await house.devices.authenticate(first.access_token)
    row = await house.store.get(Device, TENANT, first.user.id, first.device.id)
    await write(house, msgspec.structs.replace(row, revoked_at=1))
    house.clock.advance(30)
    with refused("unauthenticated"):
        await house.devices.authenticate(first.access_token)


async def test_a_device_revoked_while_it_is_loaded_is_refused(house):
    first = await house.person()
    reading, go = asyncio.Event(), asyncio.Event()
    get = house.store.get

    async def slow(record, *key):
        found = await get(record, *key)
        if record is Device:
            reading.set()
            await go.wait()
        return found

    house.store.get = slow
    loading = asyncio.create_task(house.devices.authenticate(first.access_token))
    await reading.wait()
    house.store.get = get
    await house.devices.sign_out(house.caller(first))
    go.set()
    with refused("unauthenticated"):
        await loading
    with refused("unauthenticated"):
        house.devices.recall(first.access_token)


async def test_what_is_at_hand_is_bounded(house):
    tokens = []
    for n in range(150):
        user = await house.made(f"person-{n}")
        tokens.append((await house.sign_in(f"person-{n}")).access_token)
        await house.devices.authenticate(tokens[-1])
        assert user
    known = [house.devices.recall(token) is not None for token in tokens]
    assert known == [False] * 50 + [True] * 100


async def write(house: House, row: Device | User | Tenant) -> None:
    await house.store.append(Unit(tenant=TENANT, actor="", at=0, events=(), writes=(Put(row),)))
