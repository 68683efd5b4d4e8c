"""Signed tokens: what is taken, and each known way to confuse a verifier, by name."""

from __future__ import annotations

import base64
import hmac
import json
import time
import timeit

import pytest
from cryptography.hazmat.primitives.asymmetric import rsa
from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat
from joserfc import jws
from joserfc.jwk import ECKey, OctKey, OKPKey, RSAKey

from tertulia.adapters.clock_seeded import SeededClock, SeededIds
from tertulia.adapters.tokens_jose import JoseAccessTokens, JoseUserTokens
from tertulia.domain.jwt import AccessClaims, TokenRefused, UserClaims
from tertulia.ports.tokens import ApiSecret, JwksRefused, TenantKeys

SECRET = "acme-api-secret-of-more-than-32-octets"
OTHER_SECRET = "other-tenant's-secret-of-32-octets-"
OURS = b"our own signing secret, 32 octets"
ISSUER, AUDIENCE = "https://chat.example", "tertulia"


def b64(octets: bytes) -> str:
    return base64.urlsafe_b64encode(octets).rstrip(b"=").decode()


def sign_hs256(header: object, payload: object, secret: bytes | str) -> str:
    """By hand, so that any header can be written."""
    parts = [
        b64(part if isinstance(part, bytes) else json.dumps(part).encode()) for part in (header, payload)
    ]
    signed = ".".join(parts)
    key = secret.encode() if isinstance(secret, str) else secret
    return f"{signed}.{b64(hmac.digest(key, signed.encode(), 'sha256'))}"


RSA = RSAKey.generate_key(2048)
RSA_PEM = RSA.public_key.public_bytes(Encoding.PEM, PublicFormat.SubjectPublicKeyInfo)
RSA_DER = RSA.public_key.public_bytes(Encoding.DER, PublicFormat.SubjectPublicKeyInfo)
EC = ECKey.generate_key("P-256")
ED = OKPKey.generate_key("Ed25519")
ATTACKER_RSA = RSAKey.generate_key(2048)


def public(key, kid: str, **more: object) -> dict[str, object]:
    return {**key.as_dict(private=False), "kid": kid, **more}


JWKS = json.dumps(
    {
        "keys": [
            public(RSA, "rsa-1", use="sig", alg="RS256"),
            public(EC, "ec-1"),
            public(ED, "ed-1", key_ops=["verify"]),
        ]
    }
)


@pytest.fixture
def clock():
    return SeededClock()


@pytest.fixture
def access(clock):
    return make_access(clock)


def make_access(clock, **changes):
    options = {"keys": [("2026-11", OURS)], "issuer": ISSUER, "audience": AUDIENCE} | changes
    keys = options.pop("keys")
    return JoseAccessTokens(clock, SeededIds(clock), keys, **options)


@pytest.fixture
def users(clock):
    return JoseUserTokens(clock)


ACME = TenantKeys("acme", (ApiSecret("api-1", SECRET),), JWKS)


def claims(clock, **changes: object) -> dict[str, object]:
    now = clock.now_ms() // 1000
    members = {"sub": "u-7", "aud": "acme", "iat": now, "exp": now + 600} | changes
    return {name: value for name, value in members.items() if value is not ...}


def reason_of(function, *args, **kwargs) -> str:
    with pytest.raises(TokenRefused) as caught:
        function(*args, **kwargs)
    assert str(caught.value) == caught.value.reason
    return caught.value.reason


def signed(key, alg: str, kid: str, payload: object, **header: object) -> str:
    return jws.serialize_compact({"alg": alg, "kid": kid, **header}, json.dumps(payload), key, [alg])


# --- access tokens -------------------------------------------------------------------------------


def test_an_access_token_says_whose_it_is(access, clock):
    issued = access.issue("user-1", "acme", "device-1")
    now = clock.now_ms() // 1000
    assert issued.expires_at == now + 600
    assert access.verify(issued.token) == AccessClaims(
        "user-1", "acme", "device-1", issued.token_id, now, now + 600
    )
    assert access.verify(issued.token, tenant_id="acme").user_id == "user-1"
    assert issued.token not in repr(issued)


def test_its_form_is_that_of_rfc_9068(access):
    header, payload, _ = access.issue("user-1", "acme", "device-1").token.split(".")
    head = json.loads(base64.urlsafe_b64decode(header + "=="))
    body = json.loads(base64.urlsafe_b64decode(payload + "=="))
    assert head == {"alg": "HS256", "kid": "2026-11", "typ": "at+jwt"}
    assert set(body) == {"iss", "aud", "sub", "tid", "did", "iat", "exp", "jti"}
    assert (body["iss"], body["aud"]) == (ISSUER, AUDIENCE)


def test_each_access_token_is_another_one(access):
    issued = [access.issue("u", "acme", "d") for _ in range(50)]
    assert len({one.token for one in issued}) == len({one.token_id for one in issued}) == 50


@pytest.mark.parametrize("cache_size", [0, 1, 1000])
def test_an_access_token_ends_to_the_millisecond(clock, cache_size):
    access = make_access(clock, lifetime_s=30, cache_size=cache_size)
    token = access.issue("u", "acme", "d").token
    clock.advance(29.999)
    assert access.verify(token)
    clock.advance(0.001)
    assert reason_of(access.verify, token) == "expired"
    assert reason_of(access.verify, token) == "expired"


def test_a_remembered_token_is_still_checked_for_its_tenant(access):
    token = access.issue("u", "acme", "d").token
    access.verify(token, tenant_id="acme")
    assert reason_of(access.verify, token, tenant_id="other") == "other_tenant"


def test_what_is_remembered_is_bounded(clock):
    access = make_access(clock, cache_size=10)
    tokens = [access.issue("u", "acme", f"d{number}").token for number in range(50)]
    for token in tokens:
        access.verify(token)
        assert len(access._cache) <= 10
        access.verify(tokens[0])
    verified: list[str] = []
    access._verify = lambda token, _now: verified.append(token)
    assert access.verify(tokens[0]) is not None
    assert not verified, "the one that is used most was forgotten"
    del access._verify
    assert all(access.verify(token).tenant_id == "acme" for token in tokens)


def test_a_remembered_token_is_remembered_as_a_whole(access):
    token = access.issue("u", "acme", "d").token
    access.verify(token)
    head, body, signature = token.split(".")
    assert reason_of(access.verify, f"{head}.{body}.{signature[:-4]}AAAA") == "bad_signature"
    assert reason_of(access.verify, f"{head}.{body}.") == "bad_signature"


def test_a_secret_is_changed_without_signing_anybody_out(clock):
    old = make_access(clock)
    new = make_access(clock, keys=[("2026-12", b"the next secret, also 32 octets.."), ("2026-11", OURS)])
    after = make_access(clock, keys=[("2026-12", b"the next secret, also 32 octets..")])
    token = old.issue("u", "acme", "d").token
    assert new.verify(token)
    assert after.verify(new.issue("u", "acme", "d").token)
    assert reason_of(after.verify, token) == "kid_unknown"


@pytest.mark.parametrize(
    "changes",
    [
        {"keys": []},
        {"keys": [("k", b"short")]},
        {"keys": [("k", OURS), ("k", OURS)]},
        {"keys": [("k", RSA_PEM)]},
        {"lifetime_s": 0},
    ],
)
def test_a_setting_that_is_not_safe_is_refused(clock, changes):
    with pytest.raises(ValueError, match=r"key|octets|second"):
        make_access(clock, **changes)


@pytest.mark.slow
@pytest.mark.parametrize(("cache_size", "limit"), [(0, 100e-6), (10, 10e-6)])
def test_checking_an_access_token_takes_less_than_100_microseconds(clock, cache_size, limit):
    access = make_access(clock, cache_size=cache_size)
    token = access.issue("u" * 26, "acme", "d" * 26).token
    # of this thread's own time, since other programs may share the machine
    spent = timeit.repeat(lambda: access.verify(token), number=500, repeat=20, timer=time.thread_time)
    assert min(spent) / 500 < limit


# --- user tokens ---------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("key", "alg", "kid"),
    [
        (OctKey.import_key(SECRET), "HS256", "api-1"),
        (RSA, "RS256", "rsa-1"),
        (EC, "ES256", "ec-1"),
        (ED, "Ed25519", "ed-1"),
    ],
)
@pytest.mark.parametrize("header", [{}, {"typ": "JWT"}, {"typ": "jwt", "x5t": "abc"}])
def test_a_backend_vouches_for_its_user(users, clock, key, alg, kid, header):
    token = signed(key, alg, kid, claims(clock, name="Ana"), **header)
    now = clock.now_ms() // 1000
    assert users.verify(token, ACME) == UserClaims("acme", "u-7", "Ana", kid, now + 600)
    head, body, signature = token.split(".")
    flipped = ("A" if signature[5] != "A" else "B").join((signature[:5], signature[6:]))
    assert reason_of(users.verify, f"{head}.{body}.{flipped}", ACME) == "bad_signature"
    other = b64(json.dumps(claims(clock, sub="admin")).encode())
    assert reason_of(users.verify, f"{head}.{other}.{signature}", ACME) == "bad_signature"


def test_the_older_name_of_ed25519_is_taken_too(users, clock):
    header, payload = (
        b64(json.dumps(part).encode()) for part in ({"alg": "EdDSA", "kid": "ed-1"}, claims(clock))
    )
    signature = ED.get_op_key("sign").sign(f"{header}.{payload}".encode())
    assert users.verify(f"{header}.{payload}.{b64(signature)}", ACME).external_id == "u-7"


def test_a_secret_that_was_taken_back_signs_no_more(users, clock):
    token = signed(OctKey.import_key(SECRET), "HS256", "api-1", claims(clock))
    assert users.verify(token, ACME)
    assert reason_of(users.verify, token, TenantKeys("acme", (), JWKS)) == "kid_unknown"
    changed = TenantKeys("acme", (ApiSecret("api-1", SECRET + "!"),), JWKS)
    assert reason_of(users.verify, token, changed) == "bad_signature"
    assert users.verify(token, ACME)


def test_what_is_remembered_of_tenants_is_bounded(clock):
    users = JoseUserTokens(clock, cache_size=4)
    token = signed(OctKey.import_key(SECRET), "HS256", "api-1", claims(clock))
    for number in range(20):
        users.verify(token, TenantKeys("acme", (ApiSecret("api-1", SECRET),), max_lifetime_s=900 + number))
        assert len(users._cache) <= 4


def test_secrets_do_not_show_in_logs():
    assert SECRET not in repr(ACME)


@pytest.mark.parametrize(
    "keys",
    [
        TenantKeys("acme", (ApiSecret("api-1", "short"),)),
        TenantKeys("acme", (ApiSecret("api-1", RSA_PEM.decode()),)),
        TenantKeys("acme", (ApiSecret("rsa-1", SECRET),), JWKS),
        TenantKeys("acme", (ApiSecret("api-1", SECRET), ApiSecret("api-1", OTHER_SECRET))),
        TenantKeys("acme", (ApiSecret("api-1", SECRET),), "{}"),
    ],
)
def test_keys_that_are_not_safe_vouch_for_nobody(users, clock, keys):
    token = signed(OctKey.import_key(SECRET), "HS256", "api-1", claims(clock))
    assert reason_of(users.verify, token, keys) == "keys_unusable"


# --- token confusion -----------------------------------------------------------------------------

HS = {"alg": "HS256", "kid": "api-1", "typ": "JWT"}
JWK_OF_ATTACKER = public(ATTACKER_RSA, "rsa-1")

USER_ATTACKS = {
    # RFC 8725 §2.1, §3.1: the algorithm
    "alg none, no signature": (lambda c: unsigned(HS | {"alg": "none"}, c), "alg_none"),
    "alg None in other case": (lambda c: unsigned(HS | {"alg": "nOnE"}, c), "alg_none"),
    "alg none, signature kept": (lambda c: sign_hs256(HS | {"alg": "none"}, c, SECRET), "alg_none"),
    "no signature": (lambda c: unsigned(HS, c), "bad_signature"),
    "alg missing": (lambda c: sign_hs256({"kid": "api-1"}, c, SECRET), "malformed"),
    "alg HS512": (lambda c: sign_hs256(HS | {"alg": "HS512"}, c, SECRET), "alg_refused"),
    "alg RS1": (lambda c: sign_hs256(HS | {"alg": "RS1"}, c, SECRET), "alg_refused"),
    "alg in lower case": (lambda c: sign_hs256(HS | {"alg": "hs256"}, c, SECRET), "alg_refused"),
    "alg of JWE": (lambda c: sign_hs256(HS | {"alg": "dir"}, c, SECRET), "alg_refused"),
    "HS256 with the RSA public key (PEM) as secret": (
        lambda c: sign_hs256(HS | {"kid": "rsa-1"}, c, RSA_PEM),
        "alg_of_other_key",
    ),
    "HS256 with the RSA public key (PEM, stripped) as secret": (
        lambda c: sign_hs256(HS | {"kid": "rsa-1"}, c, RSA_PEM.strip()),
        "alg_of_other_key",
    ),
    "HS256 with the RSA public key (DER) as secret": (
        lambda c: sign_hs256(HS | {"kid": "rsa-1"}, c, RSA_DER),
        "alg_of_other_key",
    ),
    "HS256 with the public JWK as secret": (
        lambda c: sign_hs256(HS | {"kid": "ed-1"}, c, json.dumps(public(ED, "ed-1"))),
        "alg_of_other_key",
    ),
    "HS256 with the public key's octets as secret": (
        lambda c: sign_hs256(
            HS | {"kid": "ed-1"}, c, ED.public_key.public_bytes(Encoding.Raw, PublicFormat.Raw)
        ),
        "alg_of_other_key",
    ),
    "RS256 where HMAC is expected": (
        lambda c: signed(ATTACKER_RSA, "RS256", "api-1", c),
        "alg_of_other_key",
    ),
    "ES256 where RSA is expected": (lambda c: signed(EC, "ES256", "rsa-1", c), "alg_of_other_key"),
    "Ed25519 where EC is expected": (lambda c: signed(ED, "Ed25519", "ec-1", c), "alg_of_other_key"),
    "RS256 by another key": (lambda c: signed(ATTACKER_RSA, "RS256", "rsa-1", c), "bad_signature"),
    "ES256 of zeros (CVE-2022-21449)": (
        lambda c: replaced_signature(signed(EC, "ES256", "ec-1", c), bytes(64)),
        "bad_signature",
    ),
    "ES256 in DER": (
        lambda c: replaced_signature(signed(EC, "ES256", "ec-1", c), b"\x30\x06\x02\x01\x01\x02\x01\x01"),
        "bad_signature",
    ),
    "HS256 cut short": (
        lambda c: replaced_signature(sign_hs256(HS, c, SECRET), b"\x00"),
        "bad_signature",
    ),
    "empty secret": (lambda c: sign_hs256(HS, c, b""), "bad_signature"),
    # RFC 8725 §3.10: the key
    "kid missing": (lambda c: sign_hs256({"alg": "HS256"}, c, SECRET), "kid_missing"),
    "kid unknown": (lambda c: sign_hs256(HS | {"kid": "api-2"}, c, SECRET), "kid_unknown"),
    "kid in other case": (lambda c: sign_hs256(HS | {"kid": "API-1"}, c, SECRET), "kid_unknown"),
    "kid empty": (lambda c: sign_hs256(HS | {"kid": ""}, c, SECRET), "kid_malformed"),
    "kid a path": (lambda c: sign_hs256(HS | {"kid": "../../../dev/null"}, c, b""), "kid_malformed"),
    "kid an absolute path": (
        lambda c: sign_hs256(HS | {"kid": "/proc/sys/kernel/randomize_va_space"}, c, b"2\n"),
        "kid_malformed",
    ),
    "kid SQL": (
        lambda c: sign_hs256(HS | {"kid": "x' UNION SELECT 'key' --"}, c, b"key"),
        "kid_malformed",
    ),
    "kid a command": (lambda c: sign_hs256(HS | {"kid": "k|id"}, c, SECRET), "kid_malformed"),
    "kid with NUL": (lambda c: sign_hs256(HS | {"kid": "api-1\x00"}, c, SECRET), "kid_malformed"),
    "kid an address": (
        lambda c: sign_hs256(HS | {"kid": "http://evil.example/k"}, c, SECRET),
        "kid_malformed",
    ),
    "kid very long": (lambda c: sign_hs256(HS | {"kid": "k" * 129}, c, SECRET), "kid_malformed"),
    "kid a number": (lambda c: sign_hs256(HS | {"kid": 1}, c, SECRET), "kid_malformed"),
    "kid a list": (lambda c: sign_hs256(HS | {"kid": ["api-1"]}, c, SECRET), "kid_malformed"),
    "kid an object": (lambda c: sign_hs256(HS | {"kid": {"k": 1}}, c, SECRET), "kid_malformed"),
    "kid null": (lambda c: sign_hs256(HS | {"kid": None}, c, SECRET), "kid_malformed"),
    "kid true": (lambda c: sign_hs256(HS | {"kid": True}, c, SECRET), "kid_malformed"),
    "jwk embedded": (
        lambda c: signed(ATTACKER_RSA, "RS256", "rsa-1", c, jwk=JWK_OF_ATTACKER),
        "embedded_key",
    ),
    "jku": (
        lambda c: signed(ATTACKER_RSA, "RS256", "rsa-1", c, jku="https://evil.example/jwks"),
        "embedded_key",
    ),
    "x5u": (
        lambda c: signed(ATTACKER_RSA, "RS256", "rsa-1", c, x5u="https://evil.example/x5"),
        "embedded_key",
    ),
    "x5c": (lambda c: signed(ATTACKER_RSA, "RS256", "rsa-1", c, x5c=["MIIB"]), "embedded_key"),
    # RFC 7515 §4.1.11
    "crit": (lambda c: sign_hs256(HS | {"crit": ["exp"], "exp": 1}, c, SECRET), "crit"),
    "crit empty": (lambda c: sign_hs256(HS | {"crit": []}, c, SECRET), "crit"),
    "b64 false (RFC 7797)": (lambda c: sign_hs256(HS | {"b64": False}, c, SECRET), "crit"),
    # RFC 8725 §3.11: the type
    "typ of an access token": (lambda c: sign_hs256(HS | {"typ": "at+jwt"}, c, SECRET), "wrong_type"),
    "typ of an access token, as a media type": (
        lambda c: sign_hs256(HS | {"typ": "application/AT+JWT"}, c, SECRET),
        "wrong_type",
    ),
    "typ of something else": (lambda c: sign_hs256(HS | {"typ": "dpop+jwt"}, c, SECRET), "wrong_type"),
    # two readings of one text
    "duplicate claim": (
        lambda c: sign_hs256(HS, json.dumps(c)[:-1].encode() + b', "sub": "admin"}', SECRET),
        "duplicate_key",
    ),
    "duplicate header": (
        lambda c: sign_hs256(b'{"alg":"none","alg":"HS256","kid":"api-1"}', c, SECRET),
        "duplicate_key",
    ),
    "payload not an object": (lambda c: sign_hs256(HS, [c], SECRET), "malformed"),
    "payload nested deep": (lambda c: sign_hs256(HS, b"[" * 4000, SECRET), "malformed"),
    "oversize": (lambda c: sign_hs256(HS, c | {"pad": "x" * 8192}, SECRET), "oversize"),
    "JWE": (lambda c: sign_hs256(HS, c, SECRET) + ".AAAA.AAAA", "malformed"),
    "general JSON form": (
        lambda c: json.dumps({"payload": "e30", "signatures": [{"protected": "e30"}]}),
        "malformed",
    ),
    # claims
    "expired": (lambda c: sign_hs256(HS, c | {"exp": c["iat"] - 1}, SECRET), "expired"),
    "never expires": (lambda c: sign_hs256(HS, without(c, "exp"), SECRET), "claim_missing"),
    "expires in a thousand years": (
        lambda c: sign_hs256(HS, c | {"exp": c["iat"] + 31_536_000_000}, SECRET),
        "lifetime",
    ),
    "not yet valid": (lambda c: sign_hs256(HS, c | {"nbf": c["iat"] + 120}, SECRET), "not_yet_valid"),
    "issued in the future": (
        lambda c: sign_hs256(HS, c | {"iat": c["iat"] + 120}, SECRET),
        "not_yet_valid",
    ),
    "another audience": (lambda c: sign_hs256(HS, c | {"aud": AUDIENCE}, SECRET), "other_audience"),
    "another tenant as audience": (
        lambda c: sign_hs256(HS, c | {"aud": "other"}, SECRET),
        "other_audience",
    ),
    "signed by another tenant": (
        lambda c: sign_hs256(HS | {"kid": "api-9"}, c, OTHER_SECRET),
        "kid_unknown",
    ),
    "signed by another tenant under this one's kid": (
        lambda c: sign_hs256(HS, c, OTHER_SECRET),
        "bad_signature",
    ),
    "signed with our own secret": (
        lambda c: sign_hs256(HS | {"kid": "2026-11"}, c, OURS),
        "kid_unknown",
    ),
}


def unsigned(header: object, payload: object) -> str:
    return ".".join(b64(json.dumps(part).encode()) for part in (header, payload)) + "."


def replaced_signature(token: str, signature: bytes) -> str:
    return f"{token.rpartition('.')[0]}.{b64(signature)}"


def without(payload: dict[str, object], name: str) -> dict[str, object]:
    return {key: value for key, value in payload.items() if key != name}


@pytest.mark.parametrize("attack", USER_ATTACKS)
def test_a_user_token_cannot_be_confused(users, clock, attack):
    make, reason = USER_ATTACKS[attack]
    payload = claims(clock)
    assert users.verify(sign_hs256(HS, payload, SECRET), ACME)  # what the attack starts from
    assert reason_of(users.verify, make(payload), ACME) == reason


def test_another_issuer_is_refused(users, clock):
    keys = TenantKeys("acme", ACME.secrets, JWKS, issuer="https://acme.example")
    good = sign_hs256(HS, claims(clock, iss="https://acme.example"), SECRET)
    assert users.verify(good, keys)
    for issuer in ("https://evil.example", "https://acme.example/", ISSUER):
        token = sign_hs256(HS, claims(clock, iss=issuer), SECRET)
        assert reason_of(users.verify, token, keys) == "other_issuer"


def test_an_access_token_is_no_user_token(users, access):
    token = access.issue("u", "acme", "d").token
    assert reason_of(users.verify, token, ACME) == "wrong_type"


def test_a_user_token_is_no_access_token(access, clock):
    assert reason_of(access.verify, sign_hs256(HS, claims(clock), SECRET)) == "wrong_type"
    forged = claims(clock, iss=ISSUER, aud=AUDIENCE, tid="acme", did="d", jti="j")
    for kid, reason in (("api-1", "kid_unknown"), ("2026-11", "bad_signature")):
        token = sign_hs256(HS | {"typ": "at+jwt", "kid": kid}, forged, SECRET)
        assert reason_of(access.verify, token) == reason


OUR_HEAD = {"alg": "HS256", "kid": "2026-11", "typ": "at+jwt"}

ACCESS_ATTACKS = {
    "alg none": (lambda c: unsigned(OUR_HEAD | {"alg": "none"}, c), "alg_none"),
    "no signature": (lambda c: unsigned(OUR_HEAD, c), "bad_signature"),
    "another secret": (lambda c: sign_hs256(OUR_HEAD, c, SECRET), "bad_signature"),
    "RS256": (lambda c: signed(ATTACKER_RSA, "RS256", "2026-11", c, typ="at+jwt"), "alg_of_other_key"),
    "kid unknown": (lambda c: sign_hs256(OUR_HEAD | {"kid": "2026-10"}, c, OURS), "kid_unknown"),
    "kid a path": (lambda c: sign_hs256(OUR_HEAD | {"kid": "../k"}, c, OURS), "kid_malformed"),
    "crit": (lambda c: sign_hs256(OUR_HEAD | {"crit": ["x"], "x": 1}, c, OURS), "crit"),
    "jwk": (lambda c: sign_hs256(OUR_HEAD | {"jwk": JWK_OF_ATTACKER}, c, OURS), "embedded_key"),
    "typ JWT": (lambda c: sign_hs256(OUR_HEAD | {"typ": "JWT"}, c, OURS), "wrong_type"),
    "typ missing": (lambda c: sign_hs256(without(OUR_HEAD, "typ"), c, OURS), "wrong_type"),
    "another issuer": (lambda c: sign_hs256(OUR_HEAD, c | {"iss": "x"}, OURS), "other_issuer"),
    "another audience": (lambda c: sign_hs256(OUR_HEAD, c | {"aud": "x"}, OURS), "other_audience"),
    "audience a list": (lambda c: sign_hs256(OUR_HEAD, c | {"aud": [AUDIENCE]}, OURS), "claim_invalid"),
    "expired": (lambda c: sign_hs256(OUR_HEAD, c | {"exp": c["iat"]}, OURS), "expired"),
    "no exp": (lambda c: sign_hs256(OUR_HEAD, without(c, "exp"), OURS), "claim_missing"),
    "no tenant": (lambda c: sign_hs256(OUR_HEAD, without(c, "tid"), OURS), "claim_missing"),
    "tenant a list": (lambda c: sign_hs256(OUR_HEAD, c | {"tid": ["acme"]}, OURS), "claim_invalid"),
    "exp true": (lambda c: sign_hs256(OUR_HEAD, c | {"exp": True}, OURS), "claim_invalid"),
    "duplicate tenant": (
        lambda c: sign_hs256(OUR_HEAD, json.dumps(c)[:-1].encode() + b', "tid": "x"}', OURS),
        "duplicate_key",
    ),
    "oversize": (lambda c: sign_hs256(OUR_HEAD, c | {"pad": "x" * 8192}, OURS), "oversize"),
    "nothing": (lambda c: "", "malformed"),
}


@pytest.mark.parametrize("attack", ACCESS_ATTACKS)
def test_an_access_token_cannot_be_confused(access, clock, attack):
    make, reason = ACCESS_ATTACKS[attack]
    payload = claims(clock, iss=ISSUER, aud=AUDIENCE, tid="acme", did="d", jti="j")
    good = sign_hs256(OUR_HEAD, payload, OURS)
    assert access.verify(good).user_id == "u-7"
    assert reason_of(access.verify, make(payload)) == reason
    assert access.verify(good).user_id == "u-7"


# --- key sets ------------------------------------------------------------------------------------


def jwks(*keys: object) -> str:
    return json.dumps({"keys": list(keys)})


def test_usable_keys_are_counted_and_others_passed_over(users):
    assert users.check_jwks(JWKS) == 3
    document = jwks(
        public(RSA, "sign"),
        public(ATTACKER_RSA, "enc", use="enc"),
        public(ATTACKER_RSA, "ps", alg="PS256"),
        public(EC, "wrap", key_ops=["wrapKey"]),
        public(ECKey.generate_key("P-384"), "p384"),
        public(OKPKey.generate_key("X25519"), "x"),
        {"kty": "new-kind", "kid": "n"},
    )
    assert users.check_jwks(document) == 1


def jwk_with(**changes: object) -> dict[str, object]:
    return public(RSA, "k") | changes


def bits(number: int) -> str:
    return b64(number.to_bytes((number.bit_length() + 7) // 8, "big"))


SMALL = rsa.generate_private_key(public_exponent=65537, key_size=1024).public_key().public_numbers()

JWKS_FAULTS = {
    "not json": ("{", "malformed"),
    "not an object": ("[]", "malformed"),
    "no keys": ("{}", "malformed"),
    "keys not a list": ('{"keys": {}}', "malformed"),
    "key not an object": ('{"keys": ["x"]}', "malformed"),
    "duplicate names": ('{"keys": [], "keys": []}', "malformed"),
    "lone surrogate": ('{"keys": "\ud800"}', "malformed"),
    "deep": ('{"keys":' + "[" * 30_000, "malformed"),
    "oversize": (" " * 65_537, "oversize"),
    "empty": ('{"keys": []}', "no_usable_key"),
    "only others": (jwks({"kty": "x"}), "no_usable_key"),
    "too many": (jwks(*[{"kty": "x"}] * 33), "too_many_keys"),
    "a symmetric key": (jwks(jwk_with(), {"kty": "oct", "k": "AAAA", "kid": "s"}), "symmetric_key"),
    "a private key": (jwks({**RSA.as_dict(private=True), "kid": "p"}), "private_key"),
    "a private EC key": (jwks({**EC.as_dict(private=True), "kid": "p"}), "private_key"),
    "no kid": (jwks(RSA.as_dict(private=False, kid=None)), "kid_missing"),
    "kid a number": (jwks(jwk_with(kid=1)), "kid_malformed"),
    "kid empty": (jwks(jwk_with(kid="")), "kid_malformed"),
    "kid long": (jwks(jwk_with(kid="k" * 129)), "kid_malformed"),
    "kid with a line break": (jwks(jwk_with(kid="a\nb")), "kid_malformed"),
    "kid twice": (jwks(jwk_with(), public(EC, "k")), "kid_twice"),
    "1024 bits": (
        jwks({"kty": "RSA", "kid": "k", "n": bits(SMALL.n), "e": "AQAB"}),
        "weak_key",
    ),
    "16384 bits": (
        jwks({"kty": "RSA", "kid": "k", "n": bits((1 << 16_384) - 1), "e": "AQAB"}),
        "weak_key",
    ),
    "exponent 1": (jwks(jwk_with(e="AQ")), "malformed"),
    "modulus missing": (jwks({"kty": "RSA", "kid": "k", "e": "AQAB"}), "malformed"),
    "modulus a number": (jwks(jwk_with(n=7)), "malformed"),
    "modulus not base64": (jwks(jwk_with(n="***")), "malformed"),
    "point off the curve": (
        jwks({"kty": "EC", "crv": "P-256", "kid": "k", "x": b64(b"\1" * 32), "y": b64(b"\2" * 32)}),
        "malformed",
    ),
    "Ed25519 too short": (jwks({"kty": "OKP", "crv": "Ed25519", "kid": "k", "x": "AAAA"}), "malformed"),
    "key_ops not a list": (jwks(jwk_with(key_ops="verify")), "malformed"),
}


@pytest.mark.parametrize("fault", JWKS_FAULTS)
def test_a_key_set_that_is_not_safe_is_refused(users, clock, fault):
    document, reason = JWKS_FAULTS[fault]
    with pytest.raises(JwksRefused) as caught:
        users.check_jwks(document)
    assert caught.value.reason == reason
    keys = TenantKeys("acme", ACME.secrets, document)
    token = sign_hs256(HS, claims(clock), SECRET)
    assert reason_of(users.verify, token, keys) == "keys_unusable"
