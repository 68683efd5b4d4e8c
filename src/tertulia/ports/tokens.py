"""Signed tokens: our own for each request, and those by which a customer's backend vouches for a user.

Every failure is a `TokenRefused` (`domain.jwt`) whose reason is for logs; what is answered to the
caller is the same for all of them, so that a forger learns nothing.
"""

from __future__ import annotations

from typing import Literal, Protocol

import msgspec

from tertulia.domain.jwt import AccessClaims, UserClaims

JwksReason = Literal[
    "oversize",
    "malformed",
    "too_many_keys",
    "symmetric_key",
    "private_key",
    "kid_missing",
    "kid_malformed",
    "kid_twice",
    "weak_key",
    "no_usable_key",
]
"""Why a key set was refused; the set is closed."""


class JwksRefused(ValueError):
    """A document that cannot serve as a tenant's key set; `reason` says why."""

    def __init__(self, reason: JwksReason) -> None:
        super().__init__(reason)
        self.reason: JwksReason = reason


class IssuedToken(msgspec.Struct, frozen=True):
    """A new access token; `expires_at` in Unix seconds."""

    token: str
    token_id: str
    expires_at: int

    def __repr__(self) -> str:
        return f"IssuedToken(token_id={self.token_id!r}, expires_at={self.expires_at})"


class ApiSecret(msgspec.Struct, frozen=True):
    """A secret shared with a customer's backend, for HS256.

    `key_id` is the token's `kid`; the MAC key is the UTF-8 text of `secret`, at least 32 octets
    (RFC 7518 §3.2).
    """

    key_id: str
    secret: str

    def __repr__(self) -> str:
        return f"ApiSecret(key_id={self.key_id!r})"


class TenantKeys(msgspec.Struct, frozen=True):
    """All that may vouch for a tenant's users.

    `jwks` is a JWK Set (RFC 7517 §5) as stored, "" for none.  `issuer` is the `iss` that tokens must
    have, "" for any.  `max_lifetime_s` is the longest life of a user token in seconds.
    """

    tenant_id: str
    secrets: tuple[ApiSecret, ...] = ()
    jwks: str = ""
    issuer: str = ""
    max_lifetime_s: int = 86_400


class AccessTokens(Protocol):
    """Short-lived tokens that we issue and check (RFC 9068's form).  Neither call waits."""

    def issue(self, user_id: str, tenant_id: str, device_id: str) -> IssuedToken:
        """A token for one login of a user."""
        ...

    def verify(self, token: str, *, tenant_id: str | None = None) -> AccessClaims:
        """What a token says, when it is ours, intact and not expired.

        With `tenant_id` it must be of that tenant as well.  Whether the device has been revoked since
        is not known here.  Raises `TokenRefused`.
        """
        ...


class UserTokens(Protocol):
    """Tokens signed by a customer's backend.  Neither call waits or fetches anything."""

    def verify(self, token: str, keys: TenantKeys) -> UserClaims:
        """What a token says of a user of the tenant whose `keys` these are.  Raises `TokenRefused`."""
        ...

    def check_jwks(self, document: str) -> int:
        """The number of usable keys in a JWK Set, before it is stored.

        Keys of a kind or use that is not ours are passed over (RFC 7517 §5).  Raises `JwksRefused`.
        """
        ...
