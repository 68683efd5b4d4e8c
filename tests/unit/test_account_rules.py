"""The pure rules about accounts: names, clients, codes, room for devices, and the notices."""

from __future__ import annotations

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from tertulia.domain.accounts import (
    CODE_ATTEMPTS,
    MAX_DEVICES,
    Address,
    Login,
    clean_device_name,
    client_key,
    guessed,
    is_live,
    judge_code,
    make_room,
    read_address,
    read_login,
    spent,
)
from tertulia.domain.letters import LANGUAGES
from tertulia.domain.names import NameRefused
from tertulia.domain.notices import compose_notice
from tertulia.domain.records import Code, Device
from tertulia.ports.sms import Sms, sms_fault


@pytest.mark.parametrize(
    ("typed", "login"),
    [
        ("Ana@Example.org", Login("email", "ana@example.org")),
        ("+34 600 123 456", Login("phone", "+34600123456")),
        ("@Ana", Login("handle", "ana")),
        (" ana ", Login("handle", "ana")),
        ("600123456", Login("handle", "600123456")),
        ("", Login("unknown", "")),
        ("@", Login("unknown", "@")),
        ("a@b@", Login("unknown", "a@b@")),
        ("+", Login("unknown", "+")),
        ("x" * 300, Login("unknown", "x" * 64)),
    ],
)
def test_what_was_typed_to_sign_in(typed, login):
    assert read_login(typed) == login


@given(st.text())
def test_no_login_fails(typed):
    read_login(typed)
    client_key(typed)
    assert clean_device_name(typed) == clean_device_name(clean_device_name(typed))
    assert len(clean_device_name(typed)) <= 64


def test_where_a_code_can_be_sent():
    assert read_address("Ana@Example.org") == Address("email", "ana@example.org")
    assert read_address("+34 600 123 456") == Address("phone", "+34600123456")
    for text in ("", "ana", "600123456", "ana@"):
        with pytest.raises(NameRefused):
            read_address(text)


def test_a_device_name_is_one_line():
    assert clean_device_name("  Ana's\nphone\x00 ") == "Ana'sphone"


@pytest.mark.parametrize(
    ("address", "key"),
    [
        ("203.0.113.7", "203.0.113.7"),
        ("2001:db8:1:2:3:4:5:6", "2001:db8:1:2::"),
        ("2001:db8:1:2::ffff%eth0", "2001:db8:1:2::"),
        ("::ffff:203.0.113.7", "203.0.113.7"),
        ("fe80::1%eth0", "fe80::"),
        ("somewhere", "somewhere"),
        ("", ""),
    ],
)
def test_whose_tries_count_together(address, key):
    assert client_key(address) == key


def test_a_code_is_judged_in_order():
    code = Code(tenant="t", purpose="verify", address="a", digest=b"right", expires_at=100, user="u")
    assert judge_code(code, b"right", 99) == "right"
    assert judge_code(code, b"wrong", 99) == "wrong"
    assert judge_code(code, b"right", 100) == "dead"
    for n in range(CODE_ATTEMPTS):
        assert judge_code(code, b"right", 0) == "right"
        code = guessed(code)
        assert code.attempts == n + 1
    assert judge_code(code, b"right", 0) == "dead"
    used = spent(msgspec.structs.replace(code, attempts=0))
    assert judge_code(used, b"", 0) == "dead"


def device(n: int, *, seen: int = 0, revoked: int = 0, expires: int = 1000) -> Device:
    return Device(
        tenant="t",
        user="u",
        id=f"d{n:03}",
        name="",
        created_at=0,
        seen_at=seen,
        revoked_at=revoked,
        expires_at=expires,
    )


devices = st.lists(
    st.builds(
        device,
        st.integers(0, 999),
        seen=st.integers(0, 50),
        revoked=st.sampled_from([0, 0, 0, 7]),
        expires=st.sampled_from([1000, 1000, 500]),
    ),
    unique_by=lambda one: one.id,
    max_size=120,
)


@given(devices)
def test_room_for_one_more(known):
    room = make_room(known, 500)
    live = [one for one in known if is_live(one, 500)]
    stay = [one for one in live if one not in room.revoke]
    assert len(stay) == min(len(live), MAX_DEVICES - 1)
    assert all(is_live(one, 500) for one in room.revoke)
    assert not any(is_live(one, 500) for one in room.remove)
    assert len(room.remove) == min(100, len(known) - len(live))
    if room.revoke and stay:
        assert max(one.seen_at for one in room.revoke) <= min(one.seen_at for one in stay)


@pytest.mark.parametrize("language", LANGUAGES)
@pytest.mark.parametrize("kind", ["known", "password"])
def test_a_notice_in_every_language(kind, language):
    notice = compose_notice(kind, language=language, brand="Acme {x}")
    assert notice.language == language
    for text in (notice.subject, notice.text, notice.sms):
        assert "Acme {x}" in text
        assert "http" not in text
    assert sms_fault(Sms(to="+34600123456", text=notice.sms, id="1")) is None
    # One SMS: 160 of the GSM alphabet, 70 of any other.
    assert len(notice.sms) <= (160 if notice.sms.isascii() else 70)
    assert len({compose_notice(kind, language=one, brand="Acme").text for one in LANGUAGES}) == len(LANGUAGES)


def test_a_notice_needs_a_brand_that_can_stand_in_it():
    with pytest.raises(ValueError, match="brand"):
        compose_notice("known", language="en", brand="a\nb")
