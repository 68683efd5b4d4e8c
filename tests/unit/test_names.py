"""Handles, e-mail addresses and phone numbers have one normal form or none."""

from __future__ import annotations

import unicodedata

import phonenumbers
import pytest
from hypothesis import given
from hypothesis import strategies as st

from tertulia.domain.names import (
    NAME_REASONS,
    NameRefused,
    normalise_email,
    normalise_handle,
    normalise_phone,
)


def reason_of(function, *args):
    with pytest.raises(NameRefused) as caught:
        function(*args)
    assert isinstance(caught.value, ValueError)
    assert caught.value.reason in NAME_REASONS
    return caught.value.reason


def normal_or_none(function, *args):
    """None when refused; any other exception fails the test."""
    try:
        return function(*args)
    except NameRefused:
        return None


@pytest.mark.parametrize(
    ("typed", "stored"),
    [
        ("Alice", "alice"),
        ("a.b-c_9", "a.b-c_9"),
        ("ＡＬＩＣＥ", "alice"),  # full width maps to ASCII
        ("Jose\u0301", "josé"),  # NFC
        ("straße", "straße"),  # lower case, never case folding: ß stays
        ("ÅSA", "åsa"),
        ("\u212bsa", "åsa"),  # ANGSTROM SIGN
        ("Борис", "борис"),
        ("अनिता", "अनिता"),
        ("דוד", "דוד"),
        ("李雷tech", "李雷tech"),
        ("अनिता१", "अनिता१"),
        ("x" * 32, "x" * 32),
        ("zz", "zz"),
    ],
)
def test_handles_have_one_form(typed, stored):
    assert normalise_handle(typed) == stored


@pytest.mark.parametrize(
    ("typed", "reason"),
    [
        ("", "empty"),
        ("a", "too_short"),
        ("x" * 33, "too_long"),
        ("x" * 100_000, "too_long"),
        ("has space", "characters"),
        ("tab\tbed", "characters"),
        ("new\nline", "characters"),
        ("nul\x00nul", "characters"),
        ("a@b", "characters"),
        ("a/b", "characters"),
        ("smile😀", "characters"),
        ("a\u200db", "characters"),
        ("a\u202eb", "characters"),
        ("\ud800ab", "characters"),
        ("ﬁnance", "characters"),  # ligature: has a compatibility form
        ("\u0301abc", "characters"),  # begins with a mark
        ("1\u0301a", "characters"),
        ("דודa", "characters"),  # bidi rule
        ("user٣", "characters"),  # bidi rule
        ("_alice", "edge"),
        ("alice.", "edge"),
        ("-alice", "edge"),
        ("__", "edge"),
        ("pаypal", "mixed_scripts"),  # Cyrillic а
        ("αdmin", "mixed_scripts"),
        ("me", "reserved"),
        ("Admin", "reserved"),
        ("ＡＬＬ", "reserved"),
        ("a.d.m.i.n", "reserved"),
        ("no-reply", "reserved"),
        ("mailer-daemon", "reserved"),
        ("here", "reserved"),
        ("system", "reserved"),
        ("01hzz3v9k5q2w8e4r6t7y1x0ab"[:26], "reserved"),
    ],
)
def test_what_cannot_be_a_handle_says_why(typed, reason):
    assert reason_of(normalise_handle, typed) == reason


@given(st.text(max_size=40))
def test_a_handle_is_its_own_normal_form(text):
    handle = normal_or_none(normalise_handle, text)
    if handle is None:
        return
    assert normalise_handle(handle) == handle
    assert 2 <= len(handle) <= 32
    assert handle == unicodedata.normalize("NFC", handle) == handle.lower()
    assert handle.isprintable()
    assert not set(handle) & set(" @/:#<>\"'&?")


@given(st.from_regex(r"[a-zA-Z][a-zA-Z0-9]{7,20}Q[a-z]", fullmatch=True))
def test_plain_words_in_any_case_are_one_handle(word):
    assert normalise_handle(word) == normalise_handle(word.upper()) == normalise_handle(word.lower())


@pytest.mark.parametrize(
    ("typed", "stored"),
    [
        ("Ana.Gomez@Example.COM", "ana.gomez@example.com"),
        ("  ana@example.com ", "ana@example.com"),
        ("ana+chat@example.com", "ana+chat@example.com"),
        ("o'brien!#$%&*/=?^_`{|}~-@example.com", "o'brien!#$%&*/=?^_`{|}~-@example.com"),
        ("ana@bücher.example", "ana@xn--bcher-kva.example"),
        ("ana@BÜCHER.example", "ana@xn--bcher-kva.example"),
        ("ana@XN--BCHER-KVA.example", "ana@xn--bcher-kva.example"),
        ("ana@例え。テスト", "ana@xn--r8jz45g.xn--zckzah"),
        ("ana@faß.example", "ana@xn--fa-hia.example"),
        ("ana@\u212aelvin.example", "ana@kelvin.example"),
        ("a@b.co", "a@b.co"),
        ("a" * 64 + "@b.co", "a" * 64 + "@b.co"),
    ],
)
def test_addresses_have_one_form(typed, stored):
    assert normalise_email(typed) == stored


@pytest.mark.parametrize(
    ("typed", "reason"),
    [
        ("", "empty"),
        ("   ", "empty"),
        ("ana", "email_syntax"),
        ("@example.com", "email_syntax"),
        ("a@b@example.com", "email_syntax"),
        (".ana@example.com", "email_syntax"),
        ("ana.@example.com", "email_syntax"),
        ("a..na@example.com", "email_syntax"),
        ("a na@example.com", "email_syntax"),
        ('"a na"@example.com', "email_syntax"),
        ("ana(x)@example.com", "email_syntax"),
        ("ana,bob@example.com", "email_syntax"),
        ("Ana <ana@example.com>", "email_syntax"),
        ("ana@example.com\r\nBcc: all@example.com", "email_syntax"),
        ("ana@example.com\r\nBcc: all", "email_domain"),
        ("ana\r\nBcc:x@example.com", "email_syntax"),
        ("ana@example.com\n", "email_domain"),
        ("\nana@example.com", "email_syntax"),
        ("ana\x00@example.com", "email_syntax"),
        ("\u212aana@example.com", "email_syntax"),  # KELVIN SIGN folds to k
        ("josé@example.com", "email_syntax"),
        ("ana@", "email_domain"),
        ("ana@localhost", "email_domain"),
        ("ana@example..com", "email_domain"),
        ("ana@example.com.", "email_domain"),
        ("ana@-example.com", "email_domain"),
        ("ana@example-.com", "email_domain"),
        ("ana@ex_ample.com", "email_domain"),
        ("ana@ex ample.com", "email_domain"),
        ("ana@[127.0.0.1]", "email_domain"),
        ("ana@127.0.0.1", "email_domain"),
        ("ana@xn--.example", "email_domain"),
        ("ana@" + "a" * 64 + ".com", "email_domain"),
        ("ana@\u2488example.com", "email_domain"),  # DIGIT ONE FULL STOP
        ("a" * 65 + "@b.co", "too_long"),
        ("ana@" + ".".join(["a" * 60] * 5), "too_long"),
        ("ana@" + ".".join(x * 50 for x in "aüöäë") + ".com", "too_long"),
    ],
)
def test_what_cannot_be_an_address_says_why(typed, reason):
    assert reason_of(normalise_email, typed) == reason


def test_a_domain_that_only_its_a_labels_make_too_long_is_refused():
    labels = ".".join(letter * 42 for letter in "üöäë")
    assert len("ana@" + labels + ".com") < 254
    assert reason_of(normalise_email, "a" * 64 + "@" + labels + ".com") == "too_long"


@given(st.one_of(st.emails(), st.text(max_size=60).map(lambda t: t + "@example.com"), st.text()))
def test_an_address_is_its_own_normal_form_and_safe_in_a_header(text):
    address = normal_or_none(normalise_email, text)
    if address is None:
        return
    assert normalise_email(address) == address
    assert address.isascii()
    assert address.isprintable()
    assert address == address.lower()
    assert address.count("@") == 1
    assert len(address) <= 254
    assert not set(address) & set(' \r\n\t"<>()[],;:\\')


@pytest.mark.parametrize(
    ("typed", "region", "stored"),
    [
        ("+34 600 12 34 56", None, "+34600123456"),
        ("600 123 456", "ES", "+34600123456"),
        ("600-123-456", "es", "+34600123456"),
        ("0034600123456", "ES", "+34600123456"),
        ("(415) 555-2671", "US", "+14155552671"),
        ("+1 415.555.2671", "ES", "+14155552671"),
        ("+1 415 555 2671", "??", "+14155552671"),
        ("06 12345678", "NL", "+31612345678"),
        ("+39 06 1234 5678", None, "+390612345678"),  # Italy keeps the zero
        ("\uff0b34 600123456", None, "+34600123456"),
        ("+٣٤٦٠٠١٢٣٤٥٦", None, "+34600123456"),
    ],
)
def test_phone_numbers_have_one_form(typed, region, stored):
    assert normalise_phone(typed, region) == stored


@pytest.mark.parametrize(
    ("typed", "region", "reason"),
    [
        ("", None, "empty"),
        ("600123456", None, "phone_region"),
        ("600123456", "XX", "phone_region"),
        ("600123456", "SPAIN", "phone_region"),
        ("600123456", "E1", "phone_region"),
        ("+", None, "phone_syntax"),
        ("+1-800-FLOWERS", None, "phone_syntax"),
        ("+34600123456;ext=5", None, "phone_syntax"),
        ("+34600123456\r\nX: y", None, "phone_syntax"),
        ("tel:+34600123456", None, "phone_syntax"),
        ("+999123456789", None, "phone_syntax"),
        ("+34 600", None, "phone_number"),
        ("+34 600 123 456 789 0", None, "phone_number"),
        ("555-2671", "US", "phone_number"),  # local form without its area
        ("112", "ES", "phone_number"),
        ("0000000000", "JP", "phone_number"),  # another number when read again
        ("+81 10000000000000", None, "phone_number"),  # 16 digits
        ("+" + "1" * 70, None, "too_long"),
    ],
)
def test_what_cannot_be_a_phone_number_says_why(typed, region, reason):
    assert reason_of(normalise_phone, typed, region) == reason


@given(st.sampled_from(sorted(phonenumbers.SUPPORTED_REGIONS)))
def test_every_country_s_example_is_taken_in_both_forms(region):
    number = phonenumbers.example_number_for_type(region, phonenumbers.PhoneNumberType.MOBILE)
    if number is None:
        return
    e164 = phonenumbers.format_number(number, phonenumbers.PhoneNumberFormat.E164)
    national = phonenumbers.format_number(number, phonenumbers.PhoneNumberFormat.NATIONAL)
    assert normalise_phone(e164) == e164
    assert normalise_phone(national, region) == e164


@given(st.text(alphabet="+0123456789 ()-.", max_size=24), st.sampled_from([None, "US", "ES", "JP"]))
def test_a_phone_number_is_its_own_normal_form(text, region):
    number = normal_or_none(normalise_phone, text, region)
    if number is None:
        return
    assert normalise_phone(number) == normalise_phone(number, "FR") == number
    assert number[0] == "+"
    assert number[1:].isdigit()
    assert len(number) <= 16
