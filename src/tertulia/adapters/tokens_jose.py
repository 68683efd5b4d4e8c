"""Signed tokens by joserfc: our access tokens (HS256), and user tokens of customers (HS256, JWKS).

The compact form and the claims are judged in `domain.jwt`; here keys are chosen and signatures checked.
The key decides the algorithm, never the token (RFC 8725 §3.1): each key serves exactly one, and a
token that names another is refused before any octet of it is signed or verified.
"""

from __future__ import annotations

import base64
import hashlib
import re
from collections import OrderedDict
from collections.abc import Mapping, Sequence
from typing import Final, NamedTuple, cast

import msgspec
from joserfc.errors import JoseError
from joserfc.jwk import ECKey, Key, OctKey, OKPKey, RSAKey
from joserfc.jws import JWSRegistry, serialize_compact

from tertulia.domain.jwt import (
    ACCESS_TYPE,
    MAX_KID,
    AccessClaims,
    Algorithm,
    Compact,
    TokenRefused,
    UserClaims,
    access_claims,
    check_access_type,
    check_user_type,
    is_plain_kid,
    open_compact,
    read_object,
    user_claims,
)
from tertulia.ports.clock import Clock
from tertulia.ports.ids import Ids
from tertulia.ports.tokens import IssuedToken, JwksRefused, TenantKeys

_MIN_SECRET_OCTETS: Final = 32
_MAX_JWKS_OCTETS: Final = 65_536
_MAX_JWKS_KEYS: Final = 32
_BASE64URL: Final = re.compile(r"[A-Za-z0-9_-]+")
_RSA_BITS: Final = range(2048, 8193)
_PRIVATE_MEMBERS: Final = ("d", "p", "q", "dp", "dq", "qi", "oth", "k")

# joserfc warns of the name EdDSA; the model of Ed25519 is the same signature.
_MODELS: Final = {
    "HS256": JWSRegistry.algorithms["HS256"],
    "RS256": JWSRegistry.algorithms["RS256"],
    "ES256": JWSRegistry.algorithms["ES256"],
    "EdDSA": JWSRegistry.algorithms["Ed25519"],
}


class _Verifier(NamedTuple):
    """A key and the one algorithm that it serves."""

    algorithm: Algorithm
    key: Key


def _check_signature(token: Compact, verifiers: Mapping[str, _Verifier]) -> None:
    verifier = verifiers.get(token.kid)
    if verifier is None:
        raise TokenRefused("kid_unknown" if is_plain_kid(token.kid) else "kid_malformed")
    if verifier.algorithm != token.algorithm:
        raise TokenRefused("alg_of_other_key")
    try:
        good = _MODELS[verifier.algorithm].verify(token.signed, token.signature, verifier.key)
    except (ValueError, JoseError) as error:
        raise TokenRefused("bad_signature") from error
    if not good:
        raise TokenRefused("bad_signature")


def _secret_verifier(secret: bytes) -> _Verifier:
    if len(secret) < _MIN_SECRET_OCTETS:
        raise ValueError("an HS256 secret has at least 32 octets (RFC 7518 §3.2)")
    return _Verifier("HS256", OctKey.import_key(secret))


# --- our own -------------------------------------------------------------------------------------


class JoseAccessTokens:
    """The `AccessTokens` port: JWTs in the form of RFC 9068 (`typ: at+jwt`), signed with HS256.

    `keys` are pairs of key id and secret; the first signs, all verify, so that a secret is changed by
    putting a new one in front and dropping the old one a lifetime later.

    What was verified is remembered, for at most `cache_size` tokens (the least recently used is
    forgotten first) and never beyond its `exp`; a refusal is not remembered.  For one thread.
    """

    def __init__(
        self,
        clock: Clock,
        ids: Ids,
        keys: Sequence[tuple[str, bytes]],
        *,
        issuer: str,
        audience: str,
        lifetime_s: int = 600,
        cache_size: int = 20_000,
    ) -> None:
        if not keys:
            raise ValueError("no key to sign with")
        if lifetime_s < 1:
            raise ValueError("a token lives for a second at least")
        self._clock = clock
        self._ids = ids
        self._verifiers = {kid: _secret_verifier(secret) for kid, secret in keys}
        if len(self._verifiers) != len(keys):
            raise ValueError("two keys have the same id")
        kid = keys[0][0]
        self._signer = self._verifiers[kid].key
        self._header: dict[str, object] = {"alg": "HS256", "kid": kid, "typ": ACCESS_TYPE}
        self._issuer = issuer
        self._audience = audience
        self._lifetime_s = lifetime_s
        self._cache: OrderedDict[bytes, AccessClaims] = OrderedDict()
        self._cache_size = cache_size

    def issue(self, user_id: str, tenant_id: str, device_id: str) -> IssuedToken:
        """See `AccessTokens.issue`."""
        issued_at = self._clock.now_ms() // 1000
        expires_at = issued_at + self._lifetime_s
        token_id = self._ids.new_id()
        payload = msgspec.json.encode(
            {
                "iss": self._issuer,
                "aud": self._audience,
                "sub": user_id,
                "tid": tenant_id,
                "did": device_id,
                "iat": issued_at,
                "exp": expires_at,
                "jti": token_id,
            }
        )
        token = serialize_compact(self._header, payload, self._signer, ["HS256"])
        return IssuedToken(token=token, token_id=token_id, expires_at=expires_at)

    def verify(self, token: str, *, tenant_id: str | None = None) -> AccessClaims:
        """See `AccessTokens.verify`."""
        now_ms = self._clock.now_ms()
        name = hashlib.blake2b(token.encode("utf-8", "surrogatepass"), digest_size=20).digest()
        claims = self._cache.get(name)
        if claims is None:
            claims = self._verify(token, now_ms)
            self._remember(name, claims)
        elif claims.expires_at * 1000 <= now_ms:
            del self._cache[name]
            raise TokenRefused("expired")
        else:
            self._cache.move_to_end(name)
        if tenant_id is not None and claims.tenant_id != tenant_id:
            raise TokenRefused("other_tenant")
        return claims

    def _verify(self, token: str, now_ms: int) -> AccessClaims:
        opened = open_compact(token)
        check_access_type(opened)
        _check_signature(opened, self._verifiers)
        return access_claims(opened.payload, issuer=self._issuer, audience=self._audience, now_ms=now_ms)

    def _remember(self, name: bytes, claims: AccessClaims) -> None:
        if self._cache_size < 1:
            return
        if len(self._cache) >= self._cache_size:
            self._cache.popitem(last=False)
        self._cache[name] = claims


# --- customers' ----------------------------------------------------------------------------------


class JoseUserTokens:
    """The `UserTokens` port.

    Key sets are parsed once and remembered for at most `cache_size` tenants (the least recently used
    is forgotten first); a changed secret or document is another entry.  For one thread.
    """

    def __init__(self, clock: Clock, *, cache_size: int = 1_000) -> None:
        self._clock = clock
        self._cache: OrderedDict[TenantKeys, dict[str, _Verifier]] = OrderedDict()
        self._cache_size = max(1, cache_size)

    def verify(self, token: str, keys: TenantKeys) -> UserClaims:
        """See `UserTokens.verify`."""
        opened = open_compact(token)
        check_user_type(opened)
        _check_signature(opened, self._verifiers(keys))
        return user_claims(
            opened.payload,
            kid=opened.kid,
            tenant_id=keys.tenant_id,
            issuer=keys.issuer,
            max_lifetime_s=keys.max_lifetime_s,
            now_ms=self._clock.now_ms(),
        )

    def check_jwks(self, document: str) -> int:
        """See `UserTokens.check_jwks`."""
        return len(_parse_jwks(document))

    def _verifiers(self, keys: TenantKeys) -> dict[str, _Verifier]:
        known = self._cache.get(keys)
        if known is not None:
            self._cache.move_to_end(keys)
            return known
        try:
            verifiers = _parse_jwks(keys.jwks) if keys.jwks else {}
            for secret in keys.secrets:
                # A secret and a public key under one id would leave the choice to the token.
                if secret.key_id in verifiers:
                    raise ValueError("two keys have the same id")
                verifiers[secret.key_id] = _secret_verifier(secret.secret.encode())
        except ValueError as error:
            raise TokenRefused("keys_unusable") from error
        if len(self._cache) >= self._cache_size:
            self._cache.popitem(last=False)
        self._cache[keys] = verifiers
        return verifiers


def _parse_jwks(document: str) -> dict[str, _Verifier]:
    """The usable keys of a JWK Set by their ids.  Raises `JwksRefused`."""
    if len(document) > _MAX_JWKS_OCTETS:
        raise JwksRefused("oversize")
    try:
        members = read_object(document.encode("utf-8", "surrogatepass")).get("keys")
    except TokenRefused as error:
        raise JwksRefused("malformed") from error
    if not isinstance(members, list):
        raise JwksRefused("malformed")
    entries = cast(list[object], members)
    if len(entries) > _MAX_JWKS_KEYS:
        raise JwksRefused("too_many_keys")
    verifiers: dict[str, _Verifier] = {}
    for entry in entries:
        if not isinstance(entry, dict):
            raise JwksRefused("malformed")
        jwk = cast(dict[str, object], entry)
        verifier = _parse_jwk(jwk)
        if verifier is None:
            continue
        kid = _jwk_id(jwk)
        if kid in verifiers:
            raise JwksRefused("kid_twice")
        verifiers[kid] = verifier
    if not verifiers:
        raise JwksRefused("no_usable_key")
    return verifiers


def _jwk_id(jwk: dict[str, object]) -> str:
    kid = jwk.get("kid")
    if kid is None:
        raise JwksRefused("kid_missing")
    if not isinstance(kid, str) or not 1 <= len(kid) <= MAX_KID or not kid.isprintable():
        raise JwksRefused("kid_malformed")
    return kid


def _parse_jwk(jwk: dict[str, object]) -> _Verifier | None:
    """None for a key that is of no use here.  A secret in a public document is refused: it has leaked,
    and an `oct` key published by mistake would let anyone sign."""
    kty = jwk.get("kty")
    if kty == "oct":
        raise JwksRefused("symmetric_key")
    if any(member in jwk for member in _PRIVATE_MEMBERS):
        raise JwksRefused("private_key")
    algorithm: Algorithm
    names: tuple[str, ...]
    if kty == "RSA":
        algorithm, names = "RS256", ("RS256",)
    elif kty == "EC" and jwk.get("crv") == "P-256":
        algorithm, names = "ES256", ("ES256",)
    elif kty == "OKP" and jwk.get("crv") == "Ed25519":
        algorithm, names = "EdDSA", ("EdDSA", "Ed25519")
    else:
        return None
    if jwk.get("use", "sig") != "sig" or jwk.get("alg", algorithm) not in names:
        return None
    operations = jwk.get("key_ops", ["verify"])
    if not isinstance(operations, list):
        raise JwksRefused("malformed")
    if "verify" not in cast(list[object], operations):
        return None
    return _Verifier(algorithm, _import_public(jwk))


def _import_public(jwk: dict[str, object]) -> Key:
    # Only what makes up the key: certificates, addresses and the rest of the entry stay outside.
    material: dict[str, str | list[str]] = {}
    for name in ("kty", "crv", "n", "e", "x", "y"):
        value = jwk.get(name)
        if isinstance(value, str):
            if not _BASE64URL.fullmatch(value):
                raise JwksRefused("malformed")
            material[name] = value
    try:
        if jwk["kty"] == "RSA":
            # Before the key is built: what an oversized one costs should not be spent to find out.
            if _modulus_bits(cast(str, material["n"])) not in _RSA_BITS:
                raise JwksRefused("weak_key")
            return RSAKey.import_key(material)
        kind = ECKey if jwk["kty"] == "EC" else OKPKey
        return kind.import_key(material)
    except JwksRefused:
        raise
    except (ValueError, TypeError, KeyError, JoseError) as error:
        raise JwksRefused("malformed") from error


def _modulus_bits(modulus: str) -> int:
    octets = base64.urlsafe_b64decode(modulus + "=" * (-len(modulus) % 4))
    return int.from_bytes(octets, "big").bit_length()
