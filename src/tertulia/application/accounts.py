"""Signing up: an address, a code that comes back from it, and then a user.

Whoever asks learns nothing about who has an account: known and unknown addresses get the same answers,
after the same work, with the same limits.  What is different reaches only the owner of the address.
"""

from __future__ import annotations

from collections.abc import AsyncIterator

import msgspec

from tertulia.application.account_types import CodeSent, SignedIn, SignUp, Verify
from tertulia.application.account_units import Draft, Units, give_back, not_busy, require
from tertulia.application.code_letters import CodeLetters
from tertulia.application.devices import Devices
from tertulia.application.limits import RateLimiter, Try
from tertulia.application.new_users import (
    Person,
    birth,
    require_address,
    require_handle,
    require_language,
    require_password,
)
from tertulia.application.tenants import Tenants
from tertulia.domain.accounts import (
    CODE_KEPT_MS,
    CODE_LIFETIME_MS,
    SIGN_UP_LIFETIME_MS,
    Address,
    client_key,
    guessed,
    judge_code,
    spent,
)
from tertulia.domain.errors import Refusal
from tertulia.domain.profile_rules import normalise_name
from tertulia.domain.records import Code, Device, HandleTaken, Identity, Key, R, User, Versioned
from tertulia.domain.unit import Put, Remove, VersionIs, Write
from tertulia.ports.clock import Clock
from tertulia.ports.ids import Ids
from tertulia.ports.message_store import Directory
from tertulia.ports.passwords import Passwords, Verifiers

CODE_SENT = CodeSent(expires_in_s=CODE_LIFETIME_MS // 1000)

_SWEEP_PAGE = 500


class Pending(msgspec.Struct, frozen=True, kw_only=True):
    """A sign-up that waits for its code (`Identity.sign_up`, as JSON)."""

    user: str
    handle: str
    name: str
    language: str
    verifiers: Verifiers
    expires_at: int


class Accounts:
    """Sign-up and verification.

    Until the code comes back there is no user, no log and no handle: a sign-up is one row at its
    address, replaced by the next one to that address (so that nobody can wait there with a password of
    their own) and swept away after a day.  A handle belongs to whoever verifies first; the other is
    told at verification and chooses another, with the same code.
    """

    def __init__(
        self,
        directory: Directory,
        units: Units,
        tenants: Tenants,
        devices: Devices,
        letters: CodeLetters,
        passwords: Passwords,
        limiter: RateLimiter,
        clock: Clock,
        ids: Ids,
    ) -> None:
        self._directory = directory
        self._units = units
        self._tenants = tenants
        self._devices = devices
        self._letters = letters
        self._passwords = passwords
        self._limiter = limiter
        self._clock = clock
        self._ids = ids

    async def sign_up(self, tenant: str, request: SignUp, client_address: str) -> CodeSent:
        """Ask for an account.

        The address gets a code or, when it has an account, a note that says so.  Raises Refusal:
        `forbidden` (this tenant takes nobody), `invalid` (with `field`), `handle_taken`,
        `rate_limited`, `unavailable`."""
        row = await self._tenants.get(tenant)
        if not row.open_sign_up:
            raise Refusal("forbidden", "Nobody can sign up here; ask the operator for an account.")
        address = require_address(request.address)
        handle = require_handle(request.handle)
        name = normalise_name(request.name)
        language = require_language(request.language)
        require_password(request.password, handle=handle, addresses=(address,))
        require(self._limiter, (Try("sign_up.client", (tenant, client_key(client_address))),))
        await self._require_free(tenant, handle)
        # Only now: a person who looks for a free handle does not run out of codes.
        require(self._limiter, code_tries(tenant, address, client_address))
        verifiers = await not_busy(self._passwords.make(request.password))

        async def decide() -> Draft[None]:
            found = await self._directory.get_versioned(Identity, tenant, address.kind, address.value)
            writes: tuple[Write, ...]
            if found is not None and found.record.verified_at:
                writes = (
                    self._letters.hollow(row, "verify", address),
                    self._letters.notice(row, "known", address, language),
                )
            else:
                pending = Pending(
                    user=self._ids.new_id(),
                    handle=handle,
                    name=name,
                    language=language,
                    verifiers=verifiers,
                    expires_at=self._clock.now_ms() + SIGN_UP_LIFETIME_MS,
                )
                writes = (
                    Put(_waiting(tenant, address, pending)),
                    *self._letters.fresh(row, "verify", address, pending.user, language),
                )
            version = found.version if found is not None else 0
            return Draft(
                result=None, expects=(VersionIs(Identity, _key(tenant, address), version),), writes=writes
            )

        await self._units.carry_out(tenant, decide)
        return CODE_SENT

    async def resend(self, tenant: str, address: str, client_address: str) -> CodeSent:
        """Send another code to an address at which a sign-up waits; the one before is dead.

        Raises Refusal `invalid`, `rate_limited`."""
        row = await self._tenants.get(tenant)
        where = require_address(address)
        require(self._limiter, code_tries(tenant, where, client_address))

        async def decide() -> Draft[None]:
            found = await self._directory.get_versioned(Identity, tenant, where.kind, where.value)
            pending = self._pending(found)
            writes: tuple[Write, ...]
            if pending is None:
                writes = (self._letters.hollow(row, "verify", where),)
            else:
                writes = self._letters.fresh(row, "verify", where, pending.user, pending.language)
            version = found.version if found is not None else 0
            return Draft(
                result=None, expects=(VersionIs(Identity, _key(tenant, where), version),), writes=writes
            )

        await self._units.carry_out(tenant, decide)
        return CODE_SENT

    async def verify(self, tenant: str, request: Verify, client_address: str) -> SignedIn:
        """Bring the code back: the account is made, and its first device signed in.

        Raises Refusal: `credentials_refused` for a wrong, used or expired code and for an address that
        waits for none (five wrong guesses and the code is dead), `handle_taken` (the code stays good:
        come back with another `handle`), `invalid`, `rate_limited`."""
        await self._tenants.get(tenant)
        address = require_address(request.address)
        other = require_handle(request.handle) if request.handle is not None else ""
        tries = (Try("sign_in.client", (tenant, client_key(client_address))),)
        require(self._limiter, tries)

        async def decide() -> Draft[tuple[User, Device, str] | None]:
            code = await self._directory.get_versioned(Code, tenant, "verify", address.value)
            found = await self._directory.get_versioned(Identity, tenant, address.kind, address.value)
            if code is None:
                return Draft(result=None)
            now = self._clock.now_ms()
            verdict = judge_code(code.record, self._letters.digest(code.record, request.code), now)
            expects = (VersionIs(Code, code.record.key(), code.version),)
            if verdict == "dead":
                return Draft(result=None)
            pending = self._pending(found)
            if verdict == "wrong" or found is None or pending is None or pending.user != code.record.user:
                return Draft(result=None, expects=expects, writes=(Put(guessed(code.record)),))
            handle = other or pending.handle
            taken = await self._directory.get(HandleTaken, tenant, handle)
            if taken is not None and taken.user == pending.user:
                return Draft(result=None)  # by this very code, since the rows above were read
            if taken is not None:
                raise _handle_taken()
            born = birth(
                tenant,
                Person(
                    id=pending.user,
                    handle=handle,
                    name=pending.name,
                    language=pending.language,
                    verifiers=msgspec.json.encode(pending.verifiers),
                    addresses=(address,),
                ),
                now,
            )
            added = self._devices.first(tenant, pending.user, request.device_name)
            return Draft(
                result=(born.user, added.device, added.refresh_token),
                actor=pending.user,
                events=(*born.events, *added.events),
                expects=(
                    *expects,
                    VersionIs(Identity, _key(tenant, address), found.version),
                    *born.expects,
                ),
                writes=(*born.writes, *added.writes, Put(spent(code.record))),
            )

        outcome = await self._units.carry_out(tenant, decide)
        if outcome is None:
            raise code_refused()
        give_back(self._limiter, tries)
        return self._devices.signed_in(*outcome)

    async def pending_password(self, tenant: str, address: Address) -> Verifiers | None:
        """The password of a sign-up that waits at an address; None when none does."""
        found = await self._directory.get_versioned(Identity, tenant, address.kind, address.value)
        pending = self._pending(found)
        return pending.verifiers if pending is not None else None

    async def sweep(self, tenant: str) -> int:
        """Remove the sign-ups that nobody finished and the codes that are long dead; returns how many
        rows went.  Reads every address of the tenant: once a day is enough."""
        now = self._clock.now_ms()
        removed = 0
        async for identity in self._every(Identity, tenant):
            if identity.sign_up and _read(identity).expires_at <= now:
                removed += await self._remove(identity)
        async for code in self._every(Code, tenant):
            if code.expires_at + CODE_KEPT_MS <= now:
                removed += await self._remove(code)
        return removed

    async def _every(self, record: type[R], tenant: str) -> AsyncIterator[R]:
        after: Key | None = None
        while True:
            page = await self._directory.scan(record, (tenant,), after=after, limit=_SWEEP_PAGE)
            for row in page:
                yield row
            if len(page) < _SWEEP_PAGE:
                return
            after = page[-1].key()

    async def _remove(self, row: Identity | Code) -> int:
        async def decide() -> Draft[int]:
            record, key = type(row), row.key()
            found = await self._directory.get_versioned(record, *key)
            if found is None or found.record != row:
                return Draft(result=0)
            return Draft(
                result=1, expects=(VersionIs(record, key, found.version),), writes=(Remove(record, key),)
            )

        return await self._units.carry_out(row.tenant, decide)

    def _pending(self, found: Versioned[Identity] | None) -> Pending | None:
        """The sign-up that waits there and has not expired."""
        if found is None or found.record.verified_at or not found.record.sign_up:
            return None
        pending = _read(found.record)
        return pending if pending.expires_at > self._clock.now_ms() else None

    async def _require_free(self, tenant: str, handle: str) -> None:
        if await self._directory.get(HandleTaken, tenant, handle) is not None:
            raise _handle_taken()


def code_tries(tenant: str, address: Address, client_address: str) -> tuple[Try, Try]:
    """What asking for a code takes."""
    return (
        Try("code.address", (tenant, address.value)),
        Try("code.client", (tenant, client_key(client_address))),
    )


def code_refused() -> Refusal:
    """The one answer to a code that does not count."""
    return Refusal("credentials_refused", "The code is wrong or has expired.", field="code")


def _handle_taken() -> Refusal:
    return Refusal("handle_taken", "Somebody has this handle.", field="handle")


def _waiting(tenant: str, address: Address, pending: Pending) -> Identity:
    return Identity(
        tenant=tenant,
        kind=address.kind,
        value=address.value,
        user="",
        findable=False,
        sign_up=msgspec.json.encode(pending),
    )


def _read(identity: Identity) -> Pending:
    return msgspec.json.decode(identity.sign_up, type=Pending)


def _key(tenant: str, address: Address) -> Key:
    return tenant, address.kind, address.value
