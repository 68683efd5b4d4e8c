"""Sign-up and verification: what they make, what they refuse, and what nobody learns from them."""

from __future__ import annotations

import msgspec
import pytest

from tertulia.adapters.clock_seeded import SeededClock, SeededIds
from tertulia.application.account_types import CodeSent, SignUp
from tertulia.application.code_letters import CodeLetters
from tertulia.application.core import KeyedHash
from tertulia.domain import settings
from tertulia.domain.errors import Refusal
from tertulia.domain.records import (
    Code,
    Credential,
    Device,
    HandleTaken,
    Identity,
    Outbox,
    Settings,
    Tenant,
    User,
)
from tertulia.domain.unit import Put, Unit
from tertulia.ports.mail import Mail, mail_fault
from tertulia.ports.sms import Sms, sms_fault
from tests.support.accounts import CLIENT, PASSWORD, TENANT, House, code_in, wrong
from tests.support.world import refused, together

ADDRESS = "ana@example.org"


async def test_a_code_makes_an_account(house):
    code = await house.asks("Ana@Example.org", "Ana", name=" Ana  ", language="es-MX")
    assert await house.store.scan(User, (TENANT,)) == []
    assert await house.store.scan(HandleTaken, (TENANT,)) == []
    (letter,) = await house.letters()
    assert isinstance(letter, Mail)
    assert (letter.to, letter.kind, mail_fault(letter)) == (ADDRESS, "verify", None)
    assert "código" in letter.subject
    assert "Acme" in letter.subject

    signed_in = await house.verify(ADDRESS, code, device_name=" phone\n ")
    user = await house.store.get(User, TENANT, signed_in.user.id)
    assert user == signed_in.user
    assert (user.handle, user.name, user.disabled, user.operator) == ("ana", "Ana", False, False)
    identity = await house.store.get(Identity, TENANT, "email", ADDRESS)
    assert identity == Identity(
        tenant=TENANT,
        kind="email",
        value=ADDRESS,
        user=user.id,
        verified_at=house.clock.now_ms(),
        findable=False,
    )
    assert await house.store.get(HandleTaken, TENANT, "ana") is not None
    assert await house.store.get(Credential, TENANT, user.id) is not None
    document = settings.read((await house.store.get(Settings, TENANT, user.id)).document)
    assert document.appearance.language == "es-MX"
    assert await house.kinds(user.id) == ["profile.updated", "device.added"]
    head = await house.store.head(user.id)
    assert (head.kind, head.tenant) == ("personal", TENANT)
    caller = await house.devices.authenticate(signed_in.access_token)
    assert (caller.user, caller.device, caller.tenant) == (user.id, signed_in.device.id, TENANT)
    assert (signed_in.expires_in_s, signed_in.device.name, signed_in.device.current) == (600, "phone", True)
    assert (await house.sign_in(ADDRESS)).user.id == user.id


async def test_by_phone_the_code_comes_as_sms(house):
    code = await house.asks("+34 600 123 456")
    (letter,) = await house.letters()
    assert isinstance(letter, Sms)
    assert (letter.to, sms_fault(letter)) == ("+34600123456", None)
    signed_in = await house.verify("+34600123456", code)
    assert (await house.sign_in("+34600123456")).user.id == signed_in.user.id


async def test_known_and_unknown_addresses_get_the_same_answer_after_the_same_work(house):
    await house.person("known@example.org", "known")
    seen = {}
    for address in ("known@example.org", "new@example.org"):
        house.passwords.work.clear()
        house.store.units.clear()
        request = SignUp(address=address, password=PASSWORD, handle="other", name="Other")
        answer = await house.accounts.sign_up(TENANT, request, CLIENT)
        made = list(house.passwords.work), len(house.store.units)
        guesses = [await refusal_of(house.verify(address, "000000")) for _ in range(6)]
        seen[address] = answer, made, guesses, len(house.store.units)
    assert seen["known@example.org"] == seen["new@example.org"]
    answer, made, guesses, units = seen["new@example.org"]
    assert answer == CodeSent(expires_in_s=900)
    assert made == (["make"], 1)
    # five guesses are counted, each by an append; the sixth meets a dead code
    assert units == 1 + 5
    assert set(guesses) == {("credentials_refused", "The code is wrong or has expired.", "code", None)}


async def test_the_owner_of_a_known_address_is_told(house):
    before = await house.person()
    assert await house.asks(ADDRESS, "intruder", password="another password") == ""
    letter = (await house.letters())[-1]
    assert isinstance(letter, Mail)
    assert (letter.to, letter.kind, mail_fault(letter)) == (ADDRESS, "notice", None)
    assert (await house.sign_in(ADDRESS)).user.id == before.user.id
    with refused("credentials_refused"):
        await house.sign_in(ADDRESS, "another password")


async def test_nobody_signs_up_where_it_is_closed(house):
    row = msgspec.structs.replace(await house.store.get(Tenant, TENANT), open_sign_up=False)
    await house.store.append(Unit(tenant=TENANT, actor="", at=0, events=(), writes=(Put(row),)))
    house.clock.advance(10)
    with refused("forbidden"):
        await house.asks(ADDRESS)
    assert await house.letters() == []
    assert house.passwords.work == []


@pytest.mark.parametrize(
    ("field", "changes"),
    [
        ("address", {"address": "nobody"}),
        ("address", {"address": "a@b"}),
        ("address", {"address": "0600123456"}),
        ("handle", {"handle": "a b"}),
        ("handle", {"handle": "admin"}),
        ("name", {"name": "  "}),
        ("name", {"name": "a\nb"}),
        ("language", {"language": "not a tag"}),
        ("password", {"password": "short"}),
        ("password", {"password": "password1"}),
        ("password", {"password": "ana@example.org"}),
        ("password", {"handle": "a-long-handle", "password": "a-long-handle"}),
    ],
    ids=lambda value: next(iter(value.values())) if isinstance(value, dict) else value,
)
async def test_what_cannot_be_changes_nothing(house, field, changes):
    good = {"address": ADDRESS, "password": PASSWORD, "handle": "ana", "name": "Ana"}
    house.store.units.clear()
    with refused("invalid", field=field):
        await house.accounts.sign_up(TENANT, SignUp(**(good | changes)), CLIENT)
    assert house.store.units == []
    assert house.passwords.work == []


async def test_an_unknown_tenant_is_not_found(house):
    request = SignUp(address=ADDRESS, password=PASSWORD, handle="ana", name="Ana")
    with refused("not_found"):
        await house.accounts.sign_up("elsewhere", request, CLIENT)


async def test_a_taken_handle_is_refused_whatever_the_address(house):
    await house.person()
    for address in (ADDRESS, "new@example.org"):
        with refused("handle_taken", field="handle"):
            await house.asks(address, "ANA")
    assert len(await house.letters()) == 1


async def test_a_handle_belongs_to_whoever_verifies_first(house):
    first = await house.asks("one@example.org", "ana")
    second = await house.asks("two@example.org", "ana")
    winner = await house.verify("two@example.org", second)
    for _ in range(6):
        with refused("handle_taken"):
            await house.verify("one@example.org", first)
    with refused("invalid", field="handle"):
        await house.verify("one@example.org", first, handle="x")
    other = await house.verify("one@example.org", first, handle="Anna")
    assert (winner.user.handle, other.user.handle) == ("ana", "anna")


async def test_two_verifications_of_one_handle_at_once(house):
    codes = [await house.asks(f"{n}@example.org", "ana") for n in range(2)]
    results = await together(*[house.verify(f"{n}@example.org", code) for n, code in enumerate(codes)])
    assert sorted(getattr(result, "code", "in") for result in results) == ["handle_taken", "in"]
    assert len(await house.store.scan(User, (TENANT,))) == 1


async def test_two_verifications_with_one_code_at_once(house):
    code = await house.asks(ADDRESS)
    results = await together(*[house.verify(ADDRESS, code) for _ in range(5)])
    assert sorted(getattr(result, "code", "in") for result in results) == ["credentials_refused"] * 4 + ["in"]
    assert len(await house.store.scan(User, (TENANT,))) == 1
    assert len(await house.store.scan(Device, (TENANT,))) == 1
    with refused("credentials_refused"):
        await house.verify(ADDRESS, code)
    row = await house.store.get(Code, TENANT, "verify", ADDRESS)
    assert (row.digest, row.user) == (b"", "")


async def test_five_wrong_guesses_kill_a_code(house):
    code = await house.asks(ADDRESS)
    for _ in range(4):
        with refused("credentials_refused"):
            await house.verify(ADDRESS, wrong(code))
    again = code_in([await resent(house)])
    for _ in range(5):
        with refused("credentials_refused"):
            await house.verify(ADDRESS, wrong(again))
    with refused("credentials_refused"):
        await house.verify(ADDRESS, again)
    assert await house.store.scan(User, (TENANT,)) == []


async def test_guesses_at_once_count_each(house):
    code = await house.asks(ADDRESS)
    results = await together(*[house.verify(ADDRESS, f"{n:06d}") for n in range(40) if f"{n:06d}" != code])
    assert {result.code for result in results} == {"credentials_refused"}
    row = await house.store.get(Code, TENANT, "verify", ADDRESS)
    assert row.attempts == 5
    with refused("credentials_refused"):
        await house.verify(ADDRESS, code)


async def test_a_code_expires(house):
    code = await house.asks(ADDRESS)
    house.clock.advance(15 * 60)
    with refused("credentials_refused"):
        await house.verify(ADDRESS, code)
    fresh = code_in([await resent(house)])
    house.clock.advance(15 * 60 - 1)
    await house.verify(ADDRESS, fresh)


async def test_a_code_is_good_for_its_address_only(house):
    code = await house.asks(ADDRESS)
    other = await house.asks("bob@example.org", "bob")
    if code != other:
        with refused("credentials_refused"):
            await house.verify("bob@example.org", code)
    with refused("credentials_refused"):
        await house.verify("nobody@example.org", code)


def test_a_digest_binds_the_code_to_all_that_it_is_for():
    letters = CodeLetters(KeyedHash(b"one"), SeededIds(SeededClock()), SeededClock())
    row = Code(tenant="t", purpose="verify", address="a", digest=b"", expires_at=1, user="u")
    changes = [{}, {"tenant": "x"}, {"purpose": "reset"}, {"address": "x"}, {"user": "x"}]
    digests = {letters.digest(msgspec.structs.replace(row, **change), "123456") for change in changes}
    assert len(digests) == len(changes)
    assert letters.digest(row, "123457") not in digests


async def test_a_code_is_for_the_sign_up_it_was_sent_for(house):
    code = await house.asks(ADDRESS)
    mine = await house.store.get(Identity, TENANT, "email", ADDRESS)
    await house.asks(ADDRESS, "thief")
    theirs = await house.store.get(Identity, TENANT, "email", ADDRESS)
    row = await house.store.get(Code, TENANT, "verify", ADDRESS)
    assert mine.sign_up != theirs.sign_up
    await house.store.append(Unit(tenant=TENANT, actor="", at=0, events=(), writes=(Put(mine),)))
    with refused("credentials_refused"):
        await house.verify(ADDRESS, code_in(await house.letters()))
    assert (await house.store.get(Code, TENANT, "verify", ADDRESS)).attempts == row.attempts + 1
    with refused("credentials_refused"):
        await house.verify(ADDRESS, code)


async def test_another_code_ends_the_first(house):
    first = await house.asks(ADDRESS)
    second = code_in([await resent(house)])
    with refused("credentials_refused"):
        await house.verify(ADDRESS, first)
    await house.verify(ADDRESS, second)


async def test_asking_again_tells_nothing_and_sends_nothing_to_nobody(house):
    await house.person()
    sent = len(await house.letters())
    for address in (ADDRESS, "nobody@example.org"):
        units = len(house.store.units)
        assert await house.accounts.resend(TENANT, address, CLIENT) == CodeSent(expires_in_s=900)
        assert len(house.store.units) == units + 1
    assert len(await house.letters()) == sent
    with refused("invalid", field="address"):
        await house.accounts.resend(TENANT, "nobody", CLIENT)


async def test_whoever_waits_at_an_address_is_replaced_with_their_password(house):
    theirs = await house.asks(ADDRESS, "thief", password="the thief's password")
    mine = await house.asks(ADDRESS, "ana")
    with refused("credentials_refused"):
        await house.verify(ADDRESS, theirs)
    signed_in = await house.verify(ADDRESS, mine)
    assert signed_in.user.handle == "ana"
    with refused("credentials_refused"):
        await house.sign_in(ADDRESS, "the thief's password")


async def test_a_sign_up_ends_after_a_day(house):
    await house.asks(ADDRESS)
    house.clock.advance(24 * 3600)
    with refused("credentials_refused"):
        await house.sign_in(ADDRESS)
    sent = len(await house.letters())
    await house.accounts.resend(TENANT, ADDRESS, CLIENT)
    assert len(await house.letters()) == sent


async def test_the_sweep_takes_what_is_over_and_nothing_else(house):
    await house.person("kept@example.org", "kept")
    await house.asks("over@example.org", "over")
    house.clock.advance(24 * 3600)
    code = await house.asks("waits@example.org", "waits")
    assert await house.accounts.sweep(TENANT) == 1
    assert await house.store.get(Identity, TENANT, "email", "over@example.org") is None
    house.clock.advance(15 * 60)
    assert await house.accounts.sweep(TENANT) == 2  # the codes of the first two
    assert [row.address for row in await house.store.scan(Code, (TENANT,))] == ["waits@example.org"]
    assert await house.store.get(Identity, TENANT, "email", "kept@example.org") is not None
    with refused("credentials_refused"):
        await house.verify("waits@example.org", code)
    await house.accounts.resend(TENANT, "waits@example.org", CLIENT)
    await house.verify("waits@example.org", code_in(await house.letters()))
    assert await house.accounts.sweep(TENANT) == 0


async def test_codes_to_one_address_are_limited_whether_it_is_known_or_not(house):
    await house.person("known@example.org", "known")
    waits = {}
    for address, left in (("known@example.org", 4), ("new@example.org", 5)):
        for n in range(left):
            await house.accounts.resend(TENANT, address, f"198.51.100.{n}")
        with refused("rate_limited"):
            await house.asks(address, "other")
        waits[address] = await refusal_of(house.accounts.resend(TENANT, address, "198.51.100.99"))
    assert waits["known@example.org"] == waits["new@example.org"]
    assert waits["new@example.org"][3] == 1_800_000


async def test_codes_for_one_client_are_limited(house):
    for n in range(20):
        await house.accounts.resend(TENANT, f"n{n}@example.org", f"2001:db8::{n:x}")
    with refused("rate_limited"):
        await house.accounts.resend(TENANT, "more@example.org", "2001:db8::ffff")
    await house.accounts.resend(TENANT, "more@example.org", "2001:db8:0:1::1")


async def test_guesses_of_one_client_are_limited_and_right_ones_do_not_count(house):
    for n in range(60):
        await house.verify(f"n{n}@example.org", await _asks_from(house, n))
    for _ in range(50):
        with refused("credentials_refused"):
            await house.verify("nobody@example.org", "000000")
    code = await _asks_from(house, 61)
    with refused("rate_limited"):
        await house.verify("n61@example.org", code)
    await house.verify("n61@example.org", code, client="198.51.100.1")


async def _asks_from(house: House, n: int) -> str:
    request = SignUp(address=f"n{n}@example.org", password=PASSWORD, handle=f"person-{n}", name="N")
    await house.accounts.sign_up(TENANT, request, f"198.51.100.{n}")
    return code_in(await house.letters())


async def test_too_much_work_on_passwords_is_said(house):
    house.passwords.busy = True
    house.store.units.clear()
    refusal = await refusal_of(house.asks(ADDRESS))
    assert (refusal[0], refusal[3]) == ("unavailable", 1500)
    assert house.store.units == []


async def test_what_is_stored_shows_neither_code_nor_password(house):
    code = await house.asks(ADDRESS, password="do not store me")
    rows = [*await house.store.scan(Code, (TENANT,)), *await house.store.scan(Identity, (TENANT,))]
    stored = msgspec.json.encode(rows)
    assert code.encode() not in stored
    assert b"do not store me" not in stored
    assert b"do not store me" not in b"".join(
        row.payload for row in await house.store.scan(Outbox, (TENANT,))
    )


async def test_secrets_are_not_shown(house):
    signed_in = await house.person()
    request = SignUp(address=ADDRESS, password="do not show me", handle="ana", name="Ana")
    shown = repr(request) + repr(signed_in) + f"{request}"
    assert "do not show me" not in shown
    assert signed_in.access_token not in shown
    assert signed_in.refresh_token not in shown
    assert "handle='ana'" in shown


async def resent(house: House) -> Mail | Sms:
    await house.accounts.resend(TENANT, ADDRESS, CLIENT)
    return (await house.letters())[-1]


async def refusal_of(call) -> tuple[str, str, str | None, int | None]:
    with pytest.raises(Refusal) as info:
        await call
    refusal = info.value
    return refusal.code, refusal.detail, refusal.field, refusal.retry_after_ms


@pytest.fixture
async def house():
    return await House.open()
