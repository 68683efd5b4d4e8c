"""Password verifiers by argon2id (RFC 9106) and SCRAM keys (RFC 5802, RFC 7677), in threads."""

from __future__ import annotations

import asyncio
import hashlib
import hmac
import os
import threading
from collections.abc import Callable
from concurrent.futures import Future, ThreadPoolExecutor
from typing import Final, Literal, TypeVar

from argon2 import PasswordHasher, Type
from argon2.exceptions import InvalidHashError, VerificationError, VerifyMismatchError

from tertulia.domain.passwords import PasswordRefused, prepare, scram_form
from tertulia.ports.passwords import Busy, ScramKeys, Verifiers

T = TypeVar("T")

_SALT_OCTETS: Final = 16
_HASH_OCTETS: Final = 32
# What a password that cannot be prepared is hashed as, so that its refusal takes as long.
_PLACEHOLDER: Final = "never anybody's password"


class Argon2Passwords:
    """The `Passwords` port.

    The default cost is the second recommendation of RFC 9106 §4 (64 MiB, three passes, four lanes):
    about 130 ms and, with two threads, at most 128 MiB at any time.  SCRAM keys cost less to guess
    than argon2id and would be the weakest thing stored; `scram_iterations` is therefore far above the
    4,096 that RFC 7677 §4 demands, and about what a phone still computes in a moment.

    `workers` requests are computed at once, `waiting` more may wait in the order they came; what comes
    then is refused with `Busy`.  A caller who stops waiting frees his place in the line; work that has
    begun is finished, and holds its place until then.
    """

    def __init__(
        self,
        *,
        memory_kib: int = 65_536,
        time_cost: int = 3,
        parallelism: int = 4,
        scram_iterations: int = 100_000,
        workers: int = 2,
        waiting: int = 64,
    ) -> None:
        if scram_iterations < 4096:
            raise ValueError("RFC 7677 demands at least 4096 iterations")
        self._hasher = PasswordHasher(
            time_cost=time_cost,
            memory_cost=memory_kib,
            parallelism=parallelism,
            hash_len=_HASH_OCTETS,
            salt_len=_SALT_OCTETS,
            type=Type.ID,
        )
        # A hash that no password is known for; checking against it costs what any check costs.
        self._nobody = (
            f"$argon2id$v=19$m={memory_kib},t={time_cost},p={parallelism}$" + "A" * 22 + "$" + "A" * 43
        )
        self._scram_iterations = scram_iterations
        self._places = threading.BoundedSemaphore(workers + waiting)
        self._executor = ThreadPoolExecutor(workers, thread_name_prefix="passwords")

    async def make(self, password: str) -> Verifiers:
        """See `Passwords.make`."""
        return await self._run(lambda: self._make(password))

    async def verify(self, verifiers: Verifiers | None, password: str) -> bool:
        """See `Passwords.verify`."""
        return await self._run(lambda: self._verify(verifiers, password))

    def needs_rehash(self, verifiers: Verifiers) -> bool:
        """See `Passwords.needs_rehash`."""
        return (
            self._hasher.check_needs_rehash(verifiers.argon2id)
            or verifiers.scram_sha256.iterations != self._scram_iterations
            or verifiers.scram_sha1.iterations != self._scram_iterations
        )

    def close(self) -> None:
        """Cancel what waits, wait for what runs (one hash at most for each thread), end the threads.

        Blocks for a fraction of a second; call it when the loop has nothing else to do.
        """
        self._executor.shutdown(wait=True, cancel_futures=True)

    async def _run(self, work: Callable[[], T]) -> T:
        if not self._places.acquire(blocking=False):
            raise Busy(retry_after_ms=1000)
        try:
            future = self._executor.submit(work)
        except BaseException:
            self._places.release()
            raise
        future.add_done_callback(self._leave)
        return await asyncio.wrap_future(future)

    def _leave(self, _: Future[T]) -> None:
        self._places.release()

    def _make(self, password: str) -> Verifiers:
        prepared = prepare(password)
        octets = scram_form(prepared).encode()
        return Verifiers(
            argon2id=self._hasher.hash(prepared),
            scram_sha256=scram_keys("sha256", octets, os.urandom(_SALT_OCTETS), self._scram_iterations),
            scram_sha1=scram_keys("sha1", octets, os.urandom(_SALT_OCTETS), self._scram_iterations),
        )

    def _verify(self, verifiers: Verifiers | None, password: str) -> bool:
        stored = self._nobody if verifiers is None else verifiers.argon2id
        try:
            prepared = prepare(password)
        except PasswordRefused:
            stored, prepared = self._nobody, _PLACEHOLDER
        try:
            return self._hasher.verify(stored, prepared)
        except VerifyMismatchError:
            return False
        except (VerificationError, InvalidHashError) as error:
            raise ValueError("the stored password hash is damaged") from error


def scram_keys(
    algorithm: Literal["sha1", "sha256"], password: bytes, salt: bytes, iterations: int
) -> ScramKeys:
    """StoredKey and ServerKey of RFC 5802 §3, for a password in its SASLprep form."""
    salted = hashlib.pbkdf2_hmac(algorithm, password, salt, iterations)
    client_key = hmac.digest(salted, b"Client Key", algorithm)
    return ScramKeys(
        salt=salt,
        iterations=iterations,
        stored_key=hashlib.new(algorithm, client_key).digest(),
        server_key=hmac.digest(salted, b"Server Key", algorithm),
    )
