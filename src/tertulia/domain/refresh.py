"""Refresh tokens that are used once: their form, and what a presented one means.

A login has one family of tokens.  Each use retires the token and yields its successor; a retired token
that turns up again has been copied, nobody can tell by whom, and the whole family ends (RFC 9700
§4.14.2, OAuth 2.1 §4.3.1).

The form is `tr1.<family>.<counter>.<secret>`.  The secret is 32 octets and a tag of 16, in base64url.

- Only SHA-256 of the secret is stored; it has 256 bits, so a slow hash would add nothing.
- The tag is a MAC of the rest under the server's key.  A token without it never was ours and is unknown;
  otherwise whoever learned a family's id could end it by inventing an old token.
- The next secret is a MAC of the present one under the same key.  It can be computed again when the same
  token is presented again, though it is stored nowhere; without the key an old token yields nothing.

Pure: the key, the first secret and the time are handed in.  Changing the key ends every family.
"""

from __future__ import annotations

import base64
import binascii
import hashlib
import hmac
import re
from enum import Enum
from typing import Final

import msgspec

GRACE_MS: Final = 10_000
MIN_KEY_OCTETS: Final = 32

_SECRET_OCTETS: Final = 32
_TAG_OCTETS: Final = 16
_MAX_COUNTER: Final = 2**53 - 1
_FORM: Final = re.compile(r"tr1\.([0-9a-hjkmnp-tv-z]{1,64})\.(0|[1-9][0-9]{0,15})\.([A-Za-z0-9_-]{64})")


class Presented(msgspec.Struct, frozen=True):
    """A refresh token that carries our tag: it was ours once.  `secret` is never stored."""

    family: str
    counter: int
    secret: bytes

    @property
    def digest(self) -> bytes:
        """What is stored of it: SHA-256 of the secret, 32 octets."""
        return hashlib.sha256(self.secret).digest()

    def __repr__(self) -> str:
        return f"Presented(family={self.family!r}, counter={self.counter})"


class StoredFamily(msgspec.Struct, frozen=True):
    """What is stored of a login's tokens.

    `current` and `previous` are SHA-256 of secrets; `previous` is empty before the first use and once
    a lost answer has been repeated.  Times are Unix milliseconds.
    """

    family: str
    counter: int
    current: bytes
    previous: bytes
    rotated_at: int
    expires_at: int
    revoked: bool = False


class Verdict(Enum):
    """What a presented token means, and what must follow.

    - `ROTATE`: the newest one; answer with its successor and store `rotated`.
    - `GRACE`: the one before, right after its use; answer with the newest again and store `repeated`.
    - `REUSED`: retired; revoke the family and the device's sessions.
    - `EXPIRED`: nobody came back in time.
    - `UNKNOWN`: no such family, or it is revoked, or the token is not one of it.

    The last three are answered alike.
    """

    ROTATE = "rotate"
    GRACE = "grace"
    REUSED = "reused"
    EXPIRED = "expired"
    UNKNOWN = "unknown"


def refresh_first(family: str, secret: bytes, key: bytes) -> tuple[str, bytes]:
    """The first token of a family and the digest to store; its counter is 0.

    `secret` are 32 unpredictable octets.  Raises `ValueError` for a secret of another length, a key
    below 32 octets, or a family that does not fit the form.
    """
    if len(secret) != _SECRET_OCTETS:
        raise ValueError("a refresh secret has 32 octets")
    token = Presented(family, 0, secret)
    return refresh_make(token, key), token.digest


def refresh_make(token: Presented, key: bytes) -> str:
    """The text of a token.  Raises `ValueError` as `refresh_first` does."""
    if len(key) < MIN_KEY_OCTETS:
        raise ValueError("a refresh key has at least 32 octets")
    octets = token.secret + _tag(token, key)
    text = f"tr1.{token.family}.{token.counter}.{base64.urlsafe_b64encode(octets).decode('ascii')}"
    if not _FORM.fullmatch(text):
        raise ValueError("the family's id does not fit into a refresh token")
    return text


def refresh_parse(text: str, key: bytes) -> Presented | None:
    """A token that was made with `key`; None for anything else, in any spelling but its own."""
    parts = _FORM.fullmatch(text)
    if parts is None:
        return None
    family, counter, encoded = parts.group(1), int(parts.group(2)), parts.group(3)
    if counter > _MAX_COUNTER:
        return None
    try:
        octets = base64.urlsafe_b64decode(encoded)
    except binascii.Error:
        return None
    token = Presented(family, counter, octets[:_SECRET_OCTETS])
    if not hmac.compare_digest(octets[_SECRET_OCTETS:], _tag(token, key)):
        return None
    return token


def successor(token: Presented, key: bytes) -> Presented:
    """The token that follows `token`: always the same one, and only the key's holder can tell it."""
    secret = hmac.digest(key, b"next" + _framed(token), "sha256")
    return Presented(token.family, token.counter + 1, secret)


def judge(stored: StoredFamily | None, presented: Presented, now_ms: int) -> Verdict:
    """What `presented` means for the family that is stored under its id.

    The grace exists because an answer can be lost after it was committed: an app that was suspended or
    changed networks holds only the retired token and did nothing wrong.  For 10 s after the rotation
    that one token gets the same successor again, once; a thief who is as quick gains nothing that
    the theft of the token had not given, and the second of the two to return after that ends the
    family.  When the wall clock went back since the rotation the grace still holds, once.
    """
    if stored is None or stored.family != presented.family or stored.revoked:
        return Verdict.UNKNOWN
    if stored.expires_at <= now_ms:
        return Verdict.EXPIRED
    if presented.counter > stored.counter:
        # From before a restore: a backup knows less than the client.
        return Verdict.UNKNOWN
    if presented.counter == stored.counter:
        same = hmac.compare_digest(presented.digest, stored.current)
        return Verdict.ROTATE if same else Verdict.UNKNOWN
    if (
        presented.counter == stored.counter - 1
        and now_ms - stored.rotated_at <= GRACE_MS
        and hmac.compare_digest(presented.digest, stored.previous)
    ):
        return Verdict.GRACE
    return Verdict.REUSED


def rotated(
    stored: StoredFamily, presented: Presented, key: bytes, *, now_ms: int, expires_at: int
) -> tuple[StoredFamily, str]:
    """After `ROTATE`: the row to store, on condition that it has not changed, and the new token."""
    following = successor(presented, key)
    row = StoredFamily(
        family=stored.family,
        counter=following.counter,
        current=following.digest,
        previous=stored.current,
        rotated_at=now_ms,
        expires_at=expires_at,
    )
    return row, refresh_make(following, key)


def repeated(stored: StoredFamily, presented: Presented, key: bytes) -> tuple[StoredFamily, str] | None:
    """After `GRACE`: the row to store, on condition that it has not changed, and the newest token once
    more.  None when the server's key has changed since; the token is then unknown."""
    following = successor(presented, key)
    if not hmac.compare_digest(following.digest, stored.current):
        return None
    return msgspec.structs.replace(stored, previous=b""), refresh_make(following, key)


def _framed(token: Presented) -> bytes:
    return f".{token.family}.{token.counter}.".encode("ascii") + token.secret


def _tag(token: Presented, key: bytes) -> bytes:
    return hmac.digest(key, b"tag" + _framed(token), "sha256")[:_TAG_OCTETS]
