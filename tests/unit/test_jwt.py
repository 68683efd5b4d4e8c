"""Tokens taken apart: anything at all in, a token or a reason of the closed set out."""

from __future__ import annotations

import base64
import json

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tertulia.domain.jwt import (
    MAX_TOKEN_OCTETS,
    TOKEN_REASONS,
    Compact,
    TokenRefused,
    access_claims,
    is_plain_kid,
    open_compact,
    read_object,
    user_claims,
)


def segment(value: object) -> str:
    octets = value if isinstance(value, bytes) else json.dumps(value).encode()
    return base64.urlsafe_b64encode(octets).rstrip(b"=").decode()


def token(header: object, payload: object = b"{}", signature: bytes = b"sig") -> str:
    return f"{segment(header)}.{segment(payload)}.{segment(signature)}"


GOOD = {"alg": "HS256", "kid": "k1", "typ": "JWT"}


def reason_of(function, *args, **kwargs):
    with pytest.raises(TokenRefused) as caught:
        function(*args, **kwargs)
    assert caught.value.reason in TOKEN_REASONS
    return caught.value.reason


def test_a_token_comes_apart():
    text = token(GOOD, {"sub": "ana"}, b"\x01\x02")
    head_and_body = text.rpartition(".")[0].encode()
    assert open_compact(text) == Compact("HS256", "k1", "jwt", head_and_body, b'{"sub": "ana"}', b"\x01\x02")


@pytest.mark.parametrize(
    ("typ", "read"), [("JWT", "jwt"), ("application/at+JWT", "at+jwt"), ("", ""), ("x", "x")]
)
def test_types_are_media_types_in_any_case(typ, read):
    assert open_compact(token(GOOD | {"typ": typ})).type == read


def test_unknown_header_members_are_passed_over():
    assert open_compact(token(GOOD | {"x5t": "abc", "own": {"deep": [1]}})).kid == "k1"


@pytest.mark.parametrize(
    ("text", "reason"),
    [
        ("", "malformed"),
        ("...", "malformed"),
        ("a.b", "malformed"),
        ("a.b.c.d.e", "malformed"),
        (token(GOOD) + "\n", "malformed"),
        (" " + token(GOOD), "malformed"),
        (token(GOOD) + "=", "malformed"),
        (token(GOOD).replace(".", ".+", 1), "malformed"),
        ("é" * 10, "malformed"),
        (token(b"not json"), "malformed"),
        (token(b"\xff\xfe"), "malformed"),
        (token([GOOD]), "malformed"),
        (token("text"), "malformed"),
        (token(b'{"alg":NaN}'), "malformed"),
        (token(b"[" * 3000), "malformed"),
        (token(b'{"a":' * 900 + b"1" + b"}" * 900), "malformed"),
        (token(b'{"n":' + b"9" * 5000 + b"}"), "malformed"),
        (token({"kid": "k1"}), "malformed"),
        (token(GOOD | {"alg": ["HS256"]}), "malformed"),
        (token(GOOD | {"alg": None}), "malformed"),
        (token(GOOD | {"typ": 7}), "malformed"),
        (token(b'{"alg":"HS256","alg":"HS256","kid":"k1"}'), "duplicate_key"),
        (token(b'{"alg":"HS256","kid":"k1","x":{"a":1,"a":2}}'), "duplicate_key"),
        (token(b'{"alg":"HS256","kid":"k1","k\\u0069d":"k2"}'), "duplicate_key"),
        (token(GOOD, b"x" * MAX_TOKEN_OCTETS), "oversize"),
        ("a" * 10_000_000, "oversize"),
    ],
)
def test_what_is_not_a_token_is_refused(text, reason):
    assert reason_of(open_compact, text) == reason


def test_each_value_has_one_spelling():
    """The last character of a segment may carry bits that decoders drop."""
    text = token(GOOD, signature=b"1234")
    assert text[-1] == "A"
    assert open_compact(text).signature == b"1234"
    assert reason_of(open_compact, text[:-1] + "B") == "malformed"


@given(st.text(max_size=200))
def test_any_text_gets_an_answer(text):
    assert reason_of(open_compact, text) == "malformed"


json_values = st.recursive(
    st.none() | st.booleans() | st.floats() | st.integers() | st.text(max_size=5),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=5), inner, max_size=3),
    max_leaves=6,
)
names = st.sampled_from(["iss", "aud", "sub", "exp", "iat", "nbf", "name", "tid", "did", "jti"])


@given(st.dictionaries(st.sampled_from(["alg", "kid", "typ", "crit", "jwk", "zip"]), json_values))
def test_any_header_gets_an_answer(header):
    try:
        opened = open_compact(token(header))
    except TokenRefused as refused:
        assert refused.reason in TOKEN_REASONS
    else:
        assert opened.kid == header["kid"]


@given(st.dictionaries(names, json_values))
def test_any_claims_get_an_answer(claims):
    payload = json.dumps(claims).encode()
    for check in (
        lambda: access_claims(payload, issuer="i", audience="a", now_ms=0),
        lambda: user_claims(payload, kid="k", tenant_id="t", issuer="", max_lifetime_s=60, now_ms=0),
    ):
        assert reason_of(check) in TOKEN_REASONS


def test_objects_are_read_as_they_are():
    assert read_object(b'{"a": [1, {"b": "\xc3\xa9"}]}') == {"a": [1, {"b": "é"}]}


@pytest.mark.parametrize("kid", ["k1", "2026-11", "urn:key:1", "abc+def==", "a" * 128])
def test_plain_key_ids(kid):
    assert is_plain_kid(kid)


@pytest.mark.parametrize("kid", ["../k", "/etc/passwd", "k' OR '1'='1", "k\x00", "k;ls", "a b", "k..", "é"])
def test_key_ids_that_mean_something_elsewhere(kid):
    assert not is_plain_kid(kid)


# --- claims --------------------------------------------------------------------------------------

NOW = 1_750_000_000
USER = {"sub": "u-7", "aud": "acme", "exp": NOW + 600}


def read_user(change, *, issuer="", max_lifetime_s=86_400):
    claims = {name: value for name, value in (USER | change).items() if value is not ...}
    return user_claims(
        json.dumps(claims).encode(),
        kid="k1",
        tenant_id="acme",
        issuer=issuer,
        max_lifetime_s=max_lifetime_s,
        now_ms=NOW * 1000,
    )


@pytest.mark.parametrize(
    "change",
    [
        {},
        {"name": "Ana 👩‍💻 Gómez"},
        {"name": ...},
        {"sub": "mailto:ana@example.com"},
        {"sub": "x" * 255},
        {"aud": ["other", "acme"]},
        {"exp": NOW + 0.5},
        {"iat": NOW + 60},
        {"nbf": NOW + 60},
        {"iat": NOW - 86_400 + 600},
        {"iss": "anybody"},
        {"exp": NOW + 86_400 + 60},
    ],
)
def test_user_claims_that_are_taken(change):
    claims = read_user(change)
    assert claims.external_id == change.get("sub", "u-7")
    assert (claims.tenant_id, claims.key_id) == ("acme", "k1")


@pytest.mark.parametrize(
    ("change", "reason"),
    [
        ({"sub": ...}, "claim_missing"),
        ({"aud": ...}, "claim_missing"),
        ({"exp": ...}, "claim_missing"),
        ({"sub": 7}, "claim_invalid"),
        ({"sub": ""}, "claim_invalid"),
        ({"sub": None}, "claim_invalid"),
        ({"sub": "x" * 256}, "claim_invalid"),
        ({"sub": "a\nb"}, "claim_invalid"),
        ({"sub": "\ud800"}, "claim_invalid"),
        ({"name": "x" * 129}, "claim_invalid"),
        ({"name": "a\x00b"}, "claim_invalid"),
        ({"name": ["Ana"]}, "claim_invalid"),
        ({"exp": "tomorrow"}, "claim_invalid"),
        ({"exp": True}, "claim_invalid"),
        ({"exp": 1e300}, "claim_invalid"),
        ({"exp": -1}, "claim_invalid"),
        ({"iat": "now"}, "claim_invalid"),
        ({"nbf": None}, "claim_invalid"),
        ({"aud": {}}, "claim_invalid"),
        ({"aud": ["acme", 7]}, "claim_invalid"),
        ({"aud": "other"}, "other_audience"),
        ({"aud": "ACME"}, "other_audience"),
        ({"aud": []}, "other_audience"),
        ({"exp": NOW}, "expired"),
        ({"exp": NOW - 1}, "expired"),
        ({"exp": 0}, "expired"),
        ({"iat": NOW + 61}, "not_yet_valid"),
        ({"nbf": NOW + 61}, "not_yet_valid"),
        ({"exp": NOW + 86_400 + 61}, "lifetime"),
        ({"iat": NOW - 86_400, "exp": NOW + 1}, "lifetime"),
    ],
)
def test_user_claims_that_are_refused(change, reason):
    assert reason_of(read_user, change) == reason


def test_an_issuer_is_compared_when_one_is_set():
    assert read_user({"iss": "https://acme.example"}, issuer="https://acme.example").external_id
    assert reason_of(read_user, {"iss": "https://evil.example"}, issuer="https://acme.example") == (
        "other_issuer"
    )
    assert reason_of(read_user, {}, issuer="https://acme.example") == "claim_missing"
