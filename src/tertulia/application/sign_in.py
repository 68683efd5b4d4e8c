"""Signing in: with a password, or with a token by which a customer's backend vouches for a user."""

from __future__ import annotations

import msgspec

from tertulia.application.account_types import PasswordSignIn, SignedIn
from tertulia.application.account_units import Draft, Units, give_back, not_busy, require
from tertulia.application.accounts import Accounts
from tertulia.application.devices import Devices
from tertulia.application.limits import RateLimiter, Try
from tertulia.application.new_users import Person, birth
from tertulia.application.recovery import verifiers_of
from tertulia.application.tenants import Tenants
from tertulia.domain.accounts import Address, Login, client_key, read_login
from tertulia.domain.errors import Refusal
from tertulia.domain.jwt import TokenRefused, UserClaims
from tertulia.domain.profile_rules import normalise_name
from tertulia.domain.records import ApiKey, Credential, Device, Identity, Tenant, User, Versioned
from tertulia.domain.unit import Put, VersionIs, Write
from tertulia.ports.clock import Clock
from tertulia.ports.ids import Ids
from tertulia.ports.message_store import Directory
from tertulia.ports.passwords import Busy, Passwords, Verifiers
from tertulia.ports.tokens import ApiSecret, TenantKeys, UserTokens

_Granted = tuple[User, Device, str]


class SignIn:
    """Makes devices of users who can show who they are.

    Guessing is limited by what was typed, whether there is such an account or not, and by the client's
    address.  By what was typed and not by the account it names: otherwise one could learn from the
    limits which handle belongs to which address.  What was right takes nothing from either.
    """

    def __init__(
        self,
        directory: Directory,
        units: Units,
        tenants: Tenants,
        devices: Devices,
        accounts: Accounts,
        passwords: Passwords,
        user_tokens: UserTokens,
        limiter: RateLimiter,
        clock: Clock,
        ids: Ids,
    ) -> None:
        self._directory = directory
        self._units = units
        self._tenants = tenants
        self._devices = devices
        self._accounts = accounts
        self._passwords = passwords
        self._user_tokens = user_tokens
        self._limiter = limiter
        self._clock = clock
        self._ids = ids

    async def sign_in(self, tenant: str, request: PasswordSignIn, client_address: str) -> SignedIn:
        """Sign in with a password.

        One password is checked whoever is named.  With 50 devices signed in, the one idle longest is
        signed out.  Raises Refusal: `credentials_refused` for an unknown name, a wrong password and an
        account without one alike; and, only with the right password, `verification_required` (the
        code has not come back yet) and `forbidden` (the account is disabled); `rate_limited`,
        `unavailable`."""
        await self._tenants.get(tenant)
        login = read_login(request.login)
        tries = (
            Try("sign_in.account", (tenant, login.value)),
            Try("sign_in.client", (tenant, client_key(client_address))),
        )
        require(self._limiter, tries)
        proven: bytes | None = None

        async def decide() -> Draft[_Granted | None]:
            nonlocal proven
            user, credential = await self._account(tenant, login)
            stored = verifiers_of(credential.record) if credential is not None else None
            pending = None
            if stored is None:
                pending = await self._waiting(tenant, login)
            if credential is None or credential.record.verifiers != proven:
                right = await not_busy(self._passwords.verify(stored or pending, request.password))
                if not right:
                    raise Refusal("credentials_refused", "Name or password is wrong.")
            if user is None or credential is None or stored is None:
                return Draft(result=None)
            proven = credential.record.verifiers
            user, added = await self._devices.adding(tenant, user.id, request.device_name)
            return Draft(
                result=(user, added.device, added.refresh_token),
                actor=user.id,
                events=added.events,
                expects=(
                    VersionIs(Credential, credential.record.key(), credential.version),
                    *added.expects,
                ),
                writes=(*added.writes, *await self._renewed(credential.record, stored, request)),
            )

        granted = await self._units.carry_out(tenant, decide)
        give_back(self._limiter, tries)
        if granted is None:
            raise Refusal("verification_required", "Enter the code that was sent to this address first.")
        return self._devices.signed_in(*granted)

    async def sign_in_with_user_token(
        self, tenant: str, token: str, device_name: str, client_address: str
    ) -> SignedIn:
        """Sign in with a token that the customer's backend signed; its `sub` names the user, who is made
        when there is none yet (without a handle, with the token's `name`).

        Raises Refusal: `credentials_refused` for any token that proves nothing, `forbidden` (the
        account is disabled), `rate_limited`."""
        row = await self._tenants.get(tenant)
        tries = (Try("sign_in.client", (tenant, client_key(client_address))),)
        require(self._limiter, tries)
        try:
            claims = self._user_tokens.verify(token, await self._keys(row))
        except TokenRefused:
            raise Refusal("credentials_refused", "The user token is not valid.") from None
        give_back(self._limiter, tries)

        async def decide() -> Draft[_Granted]:
            known = await self._directory.scan(User, (tenant, claims.external_id), index="external", limit=1)
            if not known:
                return self._first(tenant, claims, device_name)
            user, added = await self._devices.adding(tenant, known[0].id, device_name)
            return Draft(
                result=(user, added.device, added.refresh_token),
                actor=user.id,
                events=added.events,
                expects=added.expects,
                writes=added.writes,
            )

        return self._devices.signed_in(*await self._units.carry_out(tenant, decide))

    async def _account(self, tenant: str, login: Login) -> tuple[User | None, Versioned[Credential] | None]:
        user = await find_user(self._directory, tenant, login)
        credential = await self._directory.get_versioned(
            Credential, tenant, user.id if user is not None else ""
        )
        return user, credential

    async def _waiting(self, tenant: str, login: Login) -> Verifiers | None:
        if login.kind not in ("email", "phone"):
            return None
        return await self._accounts.pending_password(tenant, Address(login.kind, login.value))

    async def _renewed(
        self, credential: Credential, stored: Verifiers, request: PasswordSignIn
    ) -> tuple[Write, ...]:
        """The same password with the costs that are now set; now is when it is at hand."""
        if not self._passwords.needs_rehash(stored):
            return ()
        try:
            fresh = await self._passwords.make(request.password)
        except Busy:
            return ()
        return (Put(msgspec.structs.replace(credential, verifiers=msgspec.json.encode(fresh))),)

    async def _keys(self, tenant: Tenant) -> TenantKeys:
        rows = await self._directory.scan(ApiKey, (tenant.tenant,), limit=1000)
        return TenantKeys(
            tenant_id=tenant.tenant,
            secrets=tuple(ApiSecret(row.id, row.secret) for row in rows if not row.revoked_at),
            jwks=tenant.jwks,
        )

    def _first(self, tenant: str, claims: UserClaims, device_name: str) -> Draft[_Granted]:
        ident = self._ids.new_id()
        try:
            name = normalise_name(claims.name)
        except Refusal:
            name = claims.external_id[:128]
        person = Person(id=ident, handle="", name=name, external=claims.external_id)
        born = birth(tenant, person, self._clock.now_ms())
        added = self._devices.first(tenant, ident, device_name)
        return Draft(
            result=(born.user, added.device, added.refresh_token),
            actor=ident,
            events=(*born.events, *added.events),
            expects=born.expects,
            writes=(*born.writes, *added.writes),
        )


async def find_user(directory: Directory, tenant: str, login: Login) -> User | None:
    """Who has this name.  The same reads whether anybody does or not."""
    if login.kind in ("email", "phone"):
        identity = await directory.get(Identity, tenant, login.kind, login.value)
        verified = identity is not None and identity.verified_at
        return await directory.get(User, tenant, identity.user if identity and verified else "")
    if login.kind == "unknown":
        return None
    found = await directory.scan(User, (tenant, login.value), index="handle", limit=1)
    return found[0] if found else None
