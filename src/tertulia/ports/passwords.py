"""Making and checking password verifiers."""

from __future__ import annotations

from typing import Protocol

import msgspec


class Busy(Exception):
    """Too many passwords are being hashed; nothing was done.  Try again after `retry_after_ms`."""

    def __init__(self, retry_after_ms: int) -> None:
        super().__init__("too many passwords are being hashed")
        self.retry_after_ms = retry_after_ms


class ScramKeys(msgspec.Struct, frozen=True):
    """What a SCRAM server stores (RFC 5802 §3): it can check a proof but not make one."""

    salt: bytes
    iterations: int
    stored_key: bytes
    server_key: bytes


class Verifiers(msgspec.Struct, frozen=True):
    """Everything stored of one password: a verifier for each way to sign in.

    All are made together when the password is known, because none can be made from another.
    `argon2id` is an encoded hash (`$argon2id$v=19$…`), of the OpaqueString form (RFC 8265 §4.2).  The
    SCRAM keys (RFC 5802, RFC 7677) are of the SASLprep form.  Octets are base64 in JSON.
    """

    argon2id: str
    scram_sha256: ScramKeys
    scram_sha1: ScramKeys

    def __repr__(self) -> str:
        return "Verifiers(…)"


class Passwords(Protocol):
    """Slow on purpose, never on the event loop, and bounded: beyond a fixed number of requests under
    way or waiting, each further one is refused at once with `Busy`."""

    async def make(self, password: str) -> Verifiers:
        """New verifiers, with fresh salts.

        Whether the password may be chosen is asked before (`domain.passwords.password_fault`).
        Raises `PasswordRefused` for what cannot be prepared at all and `Busy`.
        """
        ...

    async def verify(self, verifiers: Verifiers | None, password: str) -> bool:
        """Whether `password` is the one that `verifiers` were made of.

        None stands for an account that does not exist or has no password: the same work is done and
        the answer is False, so that the time tells nobody who has an account.  A password that could
        never have been chosen is False too, after the same work.

        Raises `Busy`, and `ValueError` when the stored hash is damaged.
        """
        ...

    def needs_rehash(self, verifiers: Verifiers) -> bool:
        """True when `verifiers` were made with other costs than those now set; make new ones at the
        next sign-in, when the password is at hand."""
        ...
