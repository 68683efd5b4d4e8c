"""What the operator looks at and sets beside `administration`: lists, a tenant's limits, who is one.

As there, nothing here asks who calls.
"""

from __future__ import annotations

from typing import Annotated, Final

import msgspec
from msgspec import Meta

from tertulia.application.account_units import Draft, Units
from tertulia.domain.accounts import is_live
from tertulia.domain.errors import Refusal, not_found
from tertulia.domain.letters import brand_fault
from tertulia.domain.records import ApiKey, Credential, Device, Identity, Tenant, User
from tertulia.domain.unit import Put, VersionIs
from tertulia.ports.clock import Clock
from tertulia.ports.message_store import Directory
from tertulia.ports.tokens import JwksRefused, UserTokens

PAGE: Final = 200

_SCAN: Final = 1000


class UserPage(msgspec.Struct, frozen=True, kw_only=True):
    """Users in the order of their ids; `after` continues, "" at the end."""

    users: list[User]
    after: str = ""


class UserDetail(msgspec.Struct, frozen=True, kw_only=True):
    """A user as the operator sees them: with verified addresses, live devices, and whether there is a
    password."""

    user: User
    addresses: list[str]
    devices: int
    password: bool


class ApiKeyView(msgspec.Struct, frozen=True, kw_only=True):
    """An API key without its secret."""

    id: str
    created_at: int
    revoked_at: int


class TenantView(msgspec.Struct, frozen=True, kw_only=True):
    """A tenant, its limits, and how its users may be vouched for."""

    tenant: str
    name: str
    created_at: int
    max_text: int
    max_members: int
    open_sign_up: bool
    jwks_keys: int
    api_keys: int
    users: int


class TenantChanges(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """The fields to change; those that are None stay.  `jwks` "" removes the key set."""

    name: Annotated[str, Meta(max_length=128)] | None = None
    max_text: Annotated[int, Meta(ge=1, le=65_536)] | None = None
    max_members: Annotated[int, Meta(ge=2, le=1_000_000)] | None = None
    open_sign_up: bool | None = None
    jwks: Annotated[str, Meta(max_length=262_144)] | None = None


class Operations:
    """The operator's questions, and settings of a tenant."""

    def __init__(self, directory: Directory, units: Units, user_tokens: UserTokens, clock: Clock) -> None:
        self._directory = directory
        self._units = units
        self._user_tokens = user_tokens
        self._clock = clock

    # --- users -----------------------------------------------------------------------------------

    async def users(self, tenant: str, after: str = "", limit: int = PAGE) -> UserPage:
        """A page of a tenant's users.  Raises Refusal `not_found`."""
        await self._tenant(tenant)
        limit = max(1, min(limit, PAGE))
        start = (tenant, after) if after else None
        rows = await self._directory.scan(User, (tenant,), after=start, limit=limit + 1)
        more = len(rows) > limit
        return UserPage(users=rows[:limit], after=rows[limit - 1].id if more else "")

    async def user(self, tenant: str, user: str) -> UserDetail:
        """The user with this id.  Raises Refusal `not_found`."""
        row = await self._directory.get(User, tenant, user)
        if row is None:
            raise not_found("user")
        identities = await self._directory.scan(Identity, (tenant, user), index="user", limit=100)
        devices = await self._directory.scan(Device, (tenant, user), limit=_SCAN)
        now = self._clock.now_ms()
        return UserDetail(
            user=row,
            addresses=[one.value for one in identities if one.verified_at],
            devices=sum(is_live(device, now) for device in devices),
            password=await self._directory.get(Credential, tenant, user) is not None,
        )

    async def set_operator(self, tenant: str, user: str, *, operator: bool) -> User:
        """Make a user an operator, or no longer one; it holds for their next requests within half a
        minute.

        Raises Refusal `not_found`, `invalid` for a bot."""

        async def decide() -> Draft[User]:
            found = await self._directory.get_versioned(User, tenant, user)
            if found is None:
                raise not_found("user")
            if found.record.bot and operator:
                raise Refusal("invalid", "A bot cannot be an operator.")
            if found.record.operator == operator:
                return Draft(result=found.record)
            row = msgspec.structs.replace(found.record, operator=operator)
            return Draft(result=row, expects=(VersionIs(User, row.key(), found.version),), writes=(Put(row),))

        return await self._units.carry_out(tenant, decide)

    # --- tenants ---------------------------------------------------------------------------------

    async def tenant(self, tenant: str) -> TenantView:
        """What a tenant is set to.  Raises Refusal `not_found`."""
        row = await self._tenant(tenant)
        keys = await self._directory.scan(ApiKey, (tenant,), limit=_SCAN)
        return TenantView(
            tenant=row.tenant,
            name=row.name,
            created_at=row.created_at,
            max_text=row.max_text,
            max_members=row.max_members,
            open_sign_up=row.open_sign_up,
            jwks_keys=self._keys_in(row.jwks),
            api_keys=sum(not key.revoked_at for key in keys),
            users=await self._directory.count(User, (tenant,)),
        )

    async def update_tenant(self, tenant: str, changes: TenantChanges) -> TenantView:
        """Change a tenant; what runs goes by it within five seconds.

        Raises Refusal `not_found`, `invalid` with `field`."""
        if changes.name is not None and (fault := brand_fault(changes.name)):
            raise Refusal("invalid", f"The name cannot be used: {fault}.", field="name")
        if changes.jwks:
            try:
                self._user_tokens.check_jwks(changes.jwks)
            except JwksRefused as refused:
                detail = f"The key set cannot be used: {refused.reason.replace('_', ' ')}."
                raise Refusal("invalid", detail, field="jwks") from None

        async def decide() -> Draft[None]:
            found = await self._directory.get_versioned(Tenant, tenant)
            if found is None:
                raise not_found("tenant")
            given = {
                name: value
                for name in changes.__struct_fields__
                if (value := getattr(changes, name)) is not None
            }
            row = msgspec.structs.replace(found.record, **given)
            if row == found.record:
                return Draft(result=None)
            return Draft(
                result=None, expects=(VersionIs(Tenant, (tenant,), found.version),), writes=(Put(row),)
            )

        await self._units.carry_out(tenant, decide)
        return await self.tenant(tenant)

    async def api_keys(self, tenant: str) -> list[ApiKeyView]:
        """A tenant's keys, the oldest first, without their secrets.  Raises Refusal `not_found`."""
        await self._tenant(tenant)
        rows = await self._directory.scan(ApiKey, (tenant,), limit=_SCAN)
        return [ApiKeyView(id=row.id, created_at=row.created_at, revoked_at=row.revoked_at) for row in rows]

    # --- parts -----------------------------------------------------------------------------------

    async def _tenant(self, tenant: str) -> Tenant:
        found = await self._directory.get(Tenant, tenant)
        if found is None:
            raise not_found("tenant")
        return found

    def _keys_in(self, jwks: str) -> int:
        try:
            return self._user_tokens.check_jwks(jwks) if jwks else 0
        except JwksRefused:
            return 0
