"""The use cases about accounts over a store, with passwords that cost nothing and are counted."""

from __future__ import annotations

import asyncio
import hashlib
import re
from collections.abc import Awaitable, Callable, Sequence
from typing import Any

import msgspec

from tertulia.adapters.clock_seeded import SeededClock, SeededIds
from tertulia.adapters.store_memory import MemoryStore
from tertulia.adapters.tokens_jose import JoseAccessTokens, JoseUserTokens
from tertulia.application.account_types import (
    NewUser,
    PasswordSignIn,
    SignedIn,
    SignUp,
    Verify,
)
from tertulia.application.account_units import Units
from tertulia.application.accounts import Accounts
from tertulia.application.administration import Administration
from tertulia.application.code_letters import CodeLetters
from tertulia.application.core import Caller, Executor, KeyedHash
from tertulia.application.devices import Devices
from tertulia.application.limits import RateLimiter
from tertulia.application.recovery import Recovery
from tertulia.application.sign_in import SignIn
from tertulia.application.tenants import Tenants
from tertulia.domain.accounts import ACCOUNT_RULES
from tertulia.domain.records import Key, Outbox, R, Record, Versioned
from tertulia.domain.unit import Committed, Head, Unit
from tertulia.ports.mail import Mail
from tertulia.ports.passwords import Busy, ScramKeys, Verifiers
from tertulia.ports.sms import Sms

TENANT = "default"
PASSWORD = "a fine long password"
CLIENT = "203.0.113.7"

_NO_KEYS = ScramKeys(salt=b"", iterations=4096, stored_key=b"", server_key=b"")


class CountedPasswords:
    """The `Passwords` port without its cost.  `work` lists what was done; `gate` holds a check up until
    it is set."""

    def __init__(self) -> None:
        self.work: list[str] = []
        self.busy = False
        self.version = 1
        self.gate: asyncio.Event | None = None
        self.waiting = asyncio.Event()

    async def make(self, password: str) -> Verifiers:
        """See `Passwords.make`."""
        await self._work("make")
        return Verifiers(f"v{self.version}:{self._hash(password)}", _NO_KEYS, _NO_KEYS)

    async def verify(self, verifiers: Verifiers | None, password: str) -> bool:
        """See `Passwords.verify`."""
        await self._work("verify")
        return verifiers is not None and verifiers.argon2id.partition(":")[2] == self._hash(password)

    def needs_rehash(self, verifiers: Verifiers) -> bool:
        """See `Passwords.needs_rehash`."""
        return not verifiers.argon2id.startswith(f"v{self.version}:")

    async def _work(self, what: str) -> None:
        if self.busy:
            raise Busy(1500)
        self.work.append(what)
        gate = self.gate
        if gate is not None:
            self.waiting.set()
            await gate.wait()
        await asyncio.sleep(0)

    @staticmethod
    def _hash(password: str) -> str:
        return hashlib.sha256(password.encode()).hexdigest()


class CountedStore(MemoryStore):
    """Memory that remembers what was asked of it, and whose reads take a turn of the loop as those of
    other stores do: what runs at once crosses."""

    def __init__(self) -> None:
        super().__init__()
        self.units: list[Unit] = []
        self.interlude: Callable[[], Awaitable[Any]] | None = None
        """What comes between the next decision and its commit, once."""

    def append(self, unit: Unit) -> asyncio.Future[Committed]:
        """See `MessageStore.append`."""
        other, self.interlude = self.interlude, None
        if other is not None:
            return asyncio.ensure_future(self._append_after(other, unit))
        return self._append_now(unit)

    def _append_now(self, unit: Unit) -> asyncio.Future[Committed]:
        self.units.append(unit)
        return super().append(unit)

    async def _append_after(self, other: Callable[[], Awaitable[Any]], unit: Unit) -> Committed:
        await other()
        return await self._append_now(unit)

    async def get(self, record: type[R], *key: str | int) -> R | None:
        """See `Directory.get`."""
        await asyncio.sleep(0)
        return await super().get(record, *key)

    async def get_versioned(self, record: type[R], *key: str | int) -> Versioned[R] | None:
        """See `Directory.get_versioned`."""
        await asyncio.sleep(0)
        return await super().get_versioned(record, *key)

    async def snapshot(
        self, logs: Sequence[str], rows: Sequence[tuple[type[Record], Key]]
    ) -> tuple[list[Head | None], list[Versioned[Record] | None]]:
        """See `Directory.snapshot`."""
        await asyncio.sleep(0)
        return await super().snapshot(logs, rows)

    async def scan(self, record: type[R], prefix: Key, **more: Any) -> list[R]:
        """See `Directory.scan`."""
        await asyncio.sleep(0)
        return await super().scan(record, prefix, **more)


class House:
    """Everything about accounts, over one store.  To be made on a running loop."""

    def __init__(
        self,
        store: Any = None,
        clock: SeededClock | None = None,
        seed: int = 0,
        passwords: Any = None,
    ) -> None:
        self.clock = clock or SeededClock()
        self.ids = SeededIds(self.clock, seed)
        self.store = store if store is not None else CountedStore()
        self.passwords = passwords or CountedPasswords()
        self.limiter = RateLimiter(self.clock, ACCOUNT_RULES)
        self.revoked: list[tuple[str, str, str]] = []
        self.tenants = Tenants(self.store, self.clock)
        keyed = KeyedHash(b"a secret of the tests")
        executor = Executor(self.store, self.clock, keyed, lambda _: None)
        units = Units(self.store, self.clock)
        letters = CodeLetters(keyed, self.ids, self.clock)
        keys = [("k1", b"access key of the tests, 32 octets")]
        self.tokens = self._tokens(keys, 600)
        self.devices = Devices(
            self.store,
            units,
            executor,
            self.tokens,
            self.clock,
            self.ids,
            refresh_key=b"refresh key of the tests, 32 octets",
            on_device_revoked=lambda *who: self.revoked.append(who),
            capacity=100,
        )
        self.store.on_commit(self.devices.on_commit)
        self.accounts = Accounts(
            self.store,
            units,
            self.tenants,
            self.devices,
            letters,
            self.passwords,
            self.limiter,
            self.clock,
            self.ids,
        )
        self.recovery = Recovery(
            self.store,
            units,
            self.tenants,
            self.devices,
            letters,
            self.passwords,
            self.limiter,
            self.clock,
        )
        self.signing = SignIn(
            self.store,
            units,
            self.tenants,
            self.devices,
            self.accounts,
            self.passwords,
            JoseUserTokens(self.clock),
            self.limiter,
            self.clock,
            self.ids,
        )
        self.admin = Administration(
            self.store,
            units,
            self.devices,
            self.recovery,
            self.passwords,
            self._tokens(keys, 365 * 86_400),
            self.clock,
            self.ids,
            lasting_s=365 * 86_400,
        )

    def _tokens(self, keys: list[tuple[str, bytes]], lifetime_s: int) -> JoseAccessTokens:
        return JoseAccessTokens(
            self.clock, self.ids, keys, issuer="tests", audience="tests", lifetime_s=lifetime_s
        )

    @classmethod
    async def open(cls, *args: Any, **kwargs: Any) -> House:
        """A house with its tenant."""
        house = cls(*args, **kwargs)
        await house.admin.ensure_default_tenant("Acme")
        return house

    # --- people ----------------------------------------------------------------------------------

    async def asks(self, address: str, handle: str = "ana", password: str = PASSWORD, **more: Any) -> str:
        """Somebody signs up; returns the code that was sent, "" when none was."""
        request = SignUp(
            **{"address": address, "password": password, "handle": handle, "name": "Ana", **more}
        )
        before = await self.letters()
        await self.accounts.sign_up(TENANT, request, CLIENT)
        return code_in((await self.letters())[len(before) :])

    async def verify(self, address: str, code: str, client: str = CLIENT, **more: Any) -> SignedIn:
        """The code comes back."""
        return await self.accounts.verify(TENANT, Verify(address=address, code=code, **more), client)

    async def person(self, address: str = "ana@example.org", handle: str = "ana", **more: Any) -> SignedIn:
        """A person who signed up and verified."""
        return await self.verify(address, await self.asks(address, handle, **more))

    async def made(self, handle: str, **more: Any) -> str:
        """The id of a user made by the operator, with the password of the tests."""
        request = NewUser(**{"handle": handle, "name": handle.title(), "password": PASSWORD, **more})
        return (await self.admin.create_user(TENANT, request)).id

    async def sign_in(
        self, login: str, password: str = PASSWORD, client: str = CLIENT, **more: Any
    ) -> SignedIn:
        """Sign in with a password."""
        request = PasswordSignIn(login=login, password=password, **more)
        return await self.signing.sign_in(TENANT, request, client)

    def caller(self, signed_in: SignedIn) -> Caller:
        """The device as a caller."""
        return Caller(tenant=TENANT, user=signed_in.user.id, device=signed_in.device.id)

    # --- looking ---------------------------------------------------------------------------------

    async def letters(self) -> list[Mail | Sms]:
        """Everything that was sent, in order."""
        rows = await self.store.scan(Outbox, (TENANT,))
        return [msgspec.json.decode(row.payload, type=Mail if row.topic == "mail" else Sms) for row in rows]

    async def kinds(self, log: str) -> list[str]:
        """The kinds of a log's events."""
        return [event.kind for event in await self.store.events(log, 0, 1000)]


def code_in(letters: list[Mail | Sms]) -> str:
    """The code in the last of these letters, "" for none."""
    found = re.search(r"\b[0-9]{6}\b", letters[-1].text) if letters else None
    return found.group() if found else ""


def wrong(code: str) -> str:
    """Another code."""
    return f"{(int(code) + 1) % 1_000_000:06d}"
