"""Signed tokens read strictly: the compact form, its header and its claims (RFC 7515, RFC 7519).

Pure: checking a signature is left to an adapter, in the order `open_compact`, signature, claims.  What
is refused follows the best current practices of RFC 8725, cited where each is kept.  Every refusal has
a reason of a closed set for logs and tests; callers answer all of them alike.
"""

from __future__ import annotations

import base64
import binascii
import json
import math
import re
import unicodedata
from typing import Final, Literal, NamedTuple, NoReturn, cast, get_args

import msgspec

TokenReason = Literal[
    "oversize",
    "malformed",
    "duplicate_key",
    "alg_none",
    "alg_refused",
    "crit",
    "embedded_key",
    "wrong_type",
    "kid_missing",
    "kid_malformed",
    "kid_unknown",
    "alg_of_other_key",
    "keys_unusable",
    "bad_signature",
    "claim_missing",
    "claim_invalid",
    "other_issuer",
    "other_audience",
    "other_tenant",
    "expired",
    "not_yet_valid",
    "lifetime",
]
"""Why a token was refused; the set is closed."""

TOKEN_REASONS: Final[tuple[str, ...]] = get_args(TokenReason)

MAX_TOKEN_OCTETS: Final = 8192
MAX_KID: Final = 128
MAX_SUBJECT: Final = 255
MAX_NAME: Final = 128
LEEWAY_S: Final = 60
ACCESS_TYPE: Final = "at+jwt"

Algorithm = Literal["HS256", "RS256", "ES256", "EdDSA"]

# RFC 9864 gives Ed25519 a name of its own and deprecates EdDSA; both mean the same here.
_ALGORITHMS: Final[dict[str, Algorithm]] = {
    "HS256": "HS256",
    "RS256": "RS256",
    "ES256": "ES256",
    "EdDSA": "EdDSA",
    "Ed25519": "EdDSA",
}
_COMPACT: Final = re.compile(r"([A-Za-z0-9_-]+)\.([A-Za-z0-9_-]+)\.([A-Za-z0-9_-]*)")
_PLAIN_KID: Final = re.compile(r"[A-Za-z0-9_.~:=+-]+")
_LATEST: Final = 253_402_300_799  # 9999-12-31T23:59:59Z


class TokenRefused(Exception):
    """A token that proves nothing; `reason` says why, for logs only."""

    def __init__(self, reason: TokenReason) -> None:
        super().__init__(reason)
        self.reason: TokenReason = reason


class Compact(NamedTuple):
    """A token taken apart, nothing of it verified yet."""

    algorithm: Algorithm
    kid: str
    type: str
    signed: bytes
    payload: bytes
    signature: bytes


class AccessClaims(msgspec.Struct, frozen=True):
    """What one of our own access tokens says.  Times are Unix seconds."""

    user_id: str
    tenant_id: str
    device_id: str
    token_id: str
    issued_at: int
    expires_at: int


class UserClaims(msgspec.Struct, frozen=True):
    """What a customer's backend says of a user of its own.  Times are Unix seconds.

    `external_id` is the customer's id of the user, `name` is "" when not given.
    """

    tenant_id: str
    external_id: str
    name: str
    key_id: str
    expires_at: int


# --- taking apart --------------------------------------------------------------------------------


def open_compact(token: str) -> Compact:
    """Take a compact JWS apart (RFC 7515 §3.1) and check its header.

    Raises `TokenRefused`: `oversize` (over 8 KiB), `malformed`, `duplicate_key` (RFC 7515 §4 lets a
    parser refuse them; two parsers that differ would read two tokens), `crit` (no extension is
    understood, §4.1.11, `b64` of RFC 7797 included), `embedded_key` (`jwk`, `jku`, `x5u`, `x5c`: a
    token does not bring the key it is checked with, RFC 8725 §3.10), `alg_none` and `alg_refused`
    (§3.1), `kid_missing`, `kid_malformed`.
    """
    if len(token) > MAX_TOKEN_OCTETS:
        raise TokenRefused("oversize")
    parts = _COMPACT.fullmatch(token)
    if parts is None:
        raise TokenRefused("malformed")
    head, body, signature = parts.groups()
    header = read_object(_octets(head))
    if "crit" in header or "b64" in header:
        raise TokenRefused("crit")
    if not header.keys().isdisjoint(("jwk", "jku", "x5u", "x5c")):
        raise TokenRefused("embedded_key")
    return Compact(
        algorithm=_algorithm(header.get("alg")),
        kid=_kid(header),
        type=_type(header.get("typ", "")),
        signed=f"{head}.{body}".encode("ascii"),
        payload=_octets(body),
        signature=_octets(signature),
    )


def is_plain_kid(kid: str) -> bool:
    """True for a key id without anything that means something to a path, a query or a shell."""
    return _PLAIN_KID.fullmatch(kid) is not None and ".." not in kid


def read_object(octets: bytes) -> dict[str, object]:
    """A JSON object, read strictly: UTF-8, no duplicate names at any depth, no NaN.

    Raises `TokenRefused`: `malformed`, `duplicate_key`.
    """
    try:
        value = cast(
            object,
            json.loads(octets.decode("utf-8"), object_pairs_hook=_no_duplicates, parse_constant=_refuse),
        )
    except (ValueError, RecursionError) as error:
        raise TokenRefused("malformed") from error
    if not isinstance(value, dict):
        raise TokenRefused("malformed")
    return cast(dict[str, object], value)


def _no_duplicates(pairs: list[tuple[str, object]]) -> dict[str, object]:
    members = dict(pairs)
    if len(members) != len(pairs):
        raise TokenRefused("duplicate_key")
    return members


def _refuse(constant: str) -> NoReturn:
    raise TokenRefused("malformed")


def _octets(segment: str) -> bytes:
    """Base64url without padding (RFC 7515 §2), in the one spelling that each value has."""
    try:
        octets = base64.urlsafe_b64decode(segment + "=" * (-len(segment) % 4))
    except binascii.Error as error:
        raise TokenRefused("malformed") from error
    if base64.urlsafe_b64encode(octets).rstrip(b"=") != segment.encode("ascii"):
        raise TokenRefused("malformed")
    return octets


def _algorithm(name: object) -> Algorithm:
    if not isinstance(name, str):
        raise TokenRefused("malformed")
    if name.lower() == "none":
        raise TokenRefused("alg_none")
    algorithm = _ALGORITHMS.get(name)
    if algorithm is None:
        raise TokenRefused("alg_refused")
    return algorithm


def _kid(header: dict[str, object]) -> str:
    if "kid" not in header:
        raise TokenRefused("kid_missing")
    kid = header["kid"]
    if not isinstance(kid, str) or not 1 <= len(kid) <= MAX_KID:
        raise TokenRefused("kid_malformed")
    return kid


def _type(name: object) -> str:
    """RFC 7515 §4.1.9: a media type, in any case, `application/` left out or not."""
    if not isinstance(name, str):
        raise TokenRefused("malformed")
    return name.lower().removeprefix("application/")


# --- claims --------------------------------------------------------------------------------------


def check_access_type(token: Compact) -> None:
    """An access token says so (RFC 9068 §2.1; RFC 8725 §3.11).  Raises `wrong_type`."""
    if token.type != ACCESS_TYPE:
        raise TokenRefused("wrong_type")


def check_user_type(token: Compact) -> None:
    """A user token says `JWT` or nothing, above all not another type.  Raises `wrong_type`."""
    if token.type not in ("", "jwt"):
        raise TokenRefused("wrong_type")


def access_claims(payload: bytes, *, issuer: str, audience: str, now_ms: int) -> AccessClaims:
    """The claims of an access token whose signature is right.

    Raises `TokenRefused`: `claim_missing`, `claim_invalid`, `other_issuer`, `other_audience`,
    `expired`.  No leeway: the clock that issued is the clock that checks.
    """
    claims = read_object(payload)
    if _text(claims, "iss") != issuer:
        raise TokenRefused("other_issuer")
    if _text(claims, "aud") != audience:
        raise TokenRefused("other_audience")
    expires_at = _time(claims, "exp")
    if expires_at * 1000 <= now_ms:
        raise TokenRefused("expired")
    return AccessClaims(
        user_id=_text(claims, "sub"),
        tenant_id=_text(claims, "tid"),
        device_id=_text(claims, "did"),
        token_id=_text(claims, "jti"),
        issued_at=math.floor(_time(claims, "iat")),
        expires_at=math.floor(expires_at),
    )


def user_claims(
    payload: bytes, *, kid: str, tenant_id: str, issuer: str, max_lifetime_s: int, now_ms: int
) -> UserClaims:
    """The claims of a user token whose signature is right.

    `aud` is the tenant, alone or in a list (RFC 7519 §4.1.3; RFC 8725 §3.9); `iss` is compared when
    the tenant has set an `issuer`.  `exp` is required and has no leeway; `iat` and `nbf` may lie
    60 s ahead.  A token lives `max_lifetime_s` at most, from its `iat` or else from 60 s ahead of now.

    Raises `TokenRefused`: `claim_missing`, `claim_invalid`, `other_issuer`, `other_audience`,
    `expired`, `not_yet_valid`, `lifetime`.
    """
    claims = read_object(payload)
    now = now_ms / 1000
    if issuer and _text(claims, "iss") != issuer:
        raise TokenRefused("other_issuer")
    _check_audience(claims, tenant_id)
    expires_at = _time(claims, "exp")
    if expires_at <= now:
        raise TokenRefused("expired")
    latest = now + LEEWAY_S
    issued_at = _time(claims, "iat") if "iat" in claims else latest
    not_before = _time(claims, "nbf") if "nbf" in claims else latest
    if max(issued_at, not_before) > latest:
        raise TokenRefused("not_yet_valid")
    if expires_at > issued_at + max_lifetime_s:
        raise TokenRefused("lifetime")
    subject = _text(claims, "sub")
    name = _text(claims, "name") if "name" in claims else ""
    # Lone surrogates are JSON but not text; control characters have no business in either.
    if len(subject) > MAX_SUBJECT or not subject.isprintable():
        raise TokenRefused("claim_invalid")
    if len(name) > MAX_NAME or any(unicodedata.category(char) in ("Cc", "Cs") for char in name):
        raise TokenRefused("claim_invalid")
    return UserClaims(
        tenant_id=tenant_id,
        external_id=subject,
        name=name,
        key_id=kid,
        expires_at=math.floor(expires_at),
    )


def _check_audience(claims: dict[str, object], tenant_id: str) -> None:
    if "aud" not in claims:
        raise TokenRefused("claim_missing")
    audience = claims["aud"]
    if isinstance(audience, str):
        audience = [audience]
    if not isinstance(audience, list):
        raise TokenRefused("claim_invalid")
    names = cast(list[object], audience)
    if not all(isinstance(name, str) for name in names):
        raise TokenRefused("claim_invalid")
    if tenant_id not in names:
        raise TokenRefused("other_audience")


def _text(claims: dict[str, object], name: str) -> str:
    if name not in claims:
        raise TokenRefused("claim_missing")
    value = claims[name]
    if not isinstance(value, str) or not value:
        raise TokenRefused("claim_invalid")
    return value


def _time(claims: dict[str, object], name: str) -> float:
    """NumericDate (RFC 7519 §2): seconds, with or without a fraction."""
    if name not in claims:
        raise TokenRefused("claim_missing")
    value = claims[name]
    if isinstance(value, bool) or not isinstance(value, (int, float)):
        raise TokenRefused("claim_invalid")
    if not 0 <= value <= _LATEST:  # also false for NaN
        raise TokenRefused("claim_invalid")
    return value
