"""New passwords: by a code, by the old one, or by the operator.  Whoever held the old one is out."""

from __future__ import annotations

import msgspec

from tertulia.application.account_types import ChangePassword, CodeSent, ConfirmReset
from tertulia.application.account_units import Draft, Units, give_back, not_busy, require
from tertulia.application.accounts import CODE_SENT, code_refused, code_tries
from tertulia.application.code_letters import CodeLetters
from tertulia.application.core import Caller
from tertulia.application.devices import Devices
from tertulia.application.limits import RateLimiter, Try
from tertulia.application.new_users import require_address, require_password
from tertulia.application.tenants import Tenants
from tertulia.domain import settings as settings_rules
from tertulia.domain.accounts import Address, client_key, guessed, judge_code, spent
from tertulia.domain.errors import Refusal, not_found
from tertulia.domain.records import Code, Credential, Identity, Settings, Tenant, User
from tertulia.domain.unit import Expect, NewEvent, Put, VersionIs, Write
from tertulia.ports.clock import Clock
from tertulia.ports.message_store import Directory
from tertulia.ports.passwords import Passwords, Verifiers


class NewPassword(msgspec.Struct, frozen=True, kw_only=True):
    """The part of a unit that gives a user a new password."""

    events: tuple[NewEvent, ...]
    expects: tuple[Expect, ...]
    writes: tuple[Write, ...]


class Recovery:
    """Replaces passwords.

    With the password go the devices that were signed in with it (the one that changes it stays), and
    the owner is told at their verified addresses: by e-mail, or by SMS when there is none.
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
    ) -> None:
        self._directory = directory
        self._units = units
        self._tenants = tenants
        self._devices = devices
        self._letters = letters
        self._passwords = passwords
        self._limiter = limiter
        self._clock = clock

    async def request_reset(self, tenant: str, address: str, client_address: str) -> CodeSent:
        """Send a code to an address, when it has an account; the answer does not tell.

        Raises Refusal `invalid`, `rate_limited`."""
        row = await self._tenants.get(tenant)
        where = require_address(address)
        require(self._limiter, code_tries(tenant, where, client_address))

        async def decide() -> Draft[None]:
            user = await self._owner(tenant, where)
            settings = await self._directory.get(Settings, tenant, user.id if user is not None else "")
            writes: tuple[Write, ...]
            if user is None:
                writes = (self._letters.hollow(row, "reset", where),)
            else:
                writes = self._letters.fresh(row, "reset", where, user.id, _language(settings))
            return Draft(result=None, writes=writes)

        await self._units.carry_out(tenant, decide)
        return CODE_SENT

    async def confirm_reset(self, tenant: str, request: ConfirmReset, client_address: str) -> None:
        """Set a new password with the code; all devices are signed out.

        Raises Refusal: `credentials_refused` for a wrong, used or expired code and for an address that
        has none (five wrong guesses and the code is dead), `invalid` for a password that may not be
        chosen, `rate_limited`, `unavailable`."""
        row = await self._tenants.get(tenant)
        address = require_address(request.address)
        require_password(request.password, addresses=(address,))
        tries = (Try("sign_in.client", (tenant, client_key(client_address))),)
        require(self._limiter, tries)
        # Made before the code is looked at: a right code takes no longer than a wrong one.
        verifiers = await not_busy(self._passwords.make(request.password))

        async def decide() -> Draft[User | None]:
            code = await self._directory.get_versioned(Code, tenant, "reset", address.value)
            user = await self._owner(tenant, address)
            if code is None:
                return Draft(result=None)
            digest = self._letters.digest(code.record, request.code)
            verdict = judge_code(code.record, digest, self._clock.now_ms())
            expects = (VersionIs(Code, code.record.key(), code.version),)
            if verdict == "dead":
                return Draft(result=None)
            if verdict == "wrong" or user is None or user.id != code.record.user:
                return Draft(result=None, expects=expects, writes=(Put(guessed(code.record)),))
            require_password(request.password, handle=user.handle or None)
            new = await self.replacing(row, user, verifiers)
            return Draft(
                result=user,
                actor=user.id,
                events=new.events,
                expects=(*expects, *new.expects),
                writes=(*new.writes, Put(spent(code.record))),
            )

        user = await self._units.carry_out(tenant, decide)
        if user is None:
            raise code_refused()
        give_back(self._limiter, tries)
        for name in (address.value, user.handle):
            self._limiter.forget("sign_in.account", (tenant, name))

    async def change_password(self, caller: Caller, request: ChangePassword) -> None:
        """Replace the password by the caller's own word; the caller's other devices are signed out.

        Raises Refusal: `credentials_refused` when `current` is not the password (or there is none),
        `invalid` with field `new`, `rate_limited`, `unavailable`."""
        row = await self._tenants.get(caller.tenant)
        tries = (Try("sign_in.account", (caller.tenant, "id", caller.user)),)
        require(self._limiter, tries)
        proven = await self._directory.get_versioned(Credential, caller.tenant, caller.user)
        stored = verifiers_of(proven.record) if proven is not None else None
        if not await not_busy(self._passwords.verify(stored, request.current)):
            raise Refusal("credentials_refused", "This is not the password.", field="current")
        give_back(self._limiter, tries)
        assert proven is not None
        user = await self._directory.get(User, caller.tenant, caller.user)
        if user is None or user.disabled:
            raise not_found("user")
        require_password(
            request.new,
            handle=user.handle or None,
            addresses=await self._addresses(caller.tenant, user.id),
            field="new",
        )
        verifiers = await not_busy(self._passwords.make(request.new))

        async def decide() -> Draft[bool]:
            now = await self._directory.get_versioned(Credential, caller.tenant, caller.user)
            if now is None or now.record.verifiers != proven.record.verifiers:
                return Draft(result=False)
            new = await self.replacing(row, user, verifiers, keep=caller.device)
            return Draft(
                result=True, actor=user.id, events=new.events, expects=new.expects, writes=new.writes
            )

        if not await self._units.carry_out(caller.tenant, decide):
            raise Refusal("credentials_refused", "The password was changed meanwhile.", field="current")

    async def replacing(
        self, tenant: Tenant, user: User, verifiers: Verifiers, keep: str = ""
    ) -> NewPassword:
        """What gives a user a new password, signs out all devices but `keep`, and tells the owner."""
        key = (tenant.tenant, user.id)
        found = await self._directory.get_versioned(Credential, *key)
        ended = await self._devices.ending(tenant.tenant, user.id, keep)
        credential = Credential(
            tenant=tenant.tenant,
            user=user.id,
            verifiers=msgspec.json.encode(verifiers),
            changed_at=self._clock.now_ms(),
        )
        settings = await self._directory.get(Settings, *key)
        addresses = await self._addresses(*key)
        told = [address for address in addresses if address.kind == "email"] or list(addresses)
        notices = [self._letters.notice(tenant, "password", address, _language(settings)) for address in told]
        return NewPassword(
            events=ended.events,
            expects=(
                VersionIs(Credential, key, found.version if found is not None else 0),
                *ended.expects,
            ),
            writes=(Put(credential), *ended.writes, *notices),
        )

    async def _addresses(self, tenant: str, user: str) -> tuple[Address, ...]:
        rows = await self._directory.scan(Identity, (tenant, user), index="user", limit=100)
        return tuple(Address(row.kind, row.value) for row in rows if row.verified_at)

    async def _owner(self, tenant: str, address: Address) -> User | None:
        """Whose verified address it is; None as well when they are disabled."""
        identity = await self._directory.get(Identity, tenant, address.kind, address.value)
        known = identity is not None and identity.verified_at
        user = await self._directory.get(User, tenant, identity.user if identity and known else "")
        return user if user is not None and not user.disabled else None


def verifiers_of(credential: Credential) -> Verifiers:
    """The verifiers in a row."""
    return msgspec.json.decode(credential.verifiers, type=Verifiers)


def _language(settings: Settings | None) -> str:
    return settings_rules.read(settings.document if settings is not None else None).appearance.language
