"""What the operator does with tenants, users and keys.

Nothing here asks who calls: the command line of the machine does, which has the data anyway.
"""

from __future__ import annotations

from typing import Final

import msgspec

from tertulia.application.account_types import ApiKeyMade, NewUser, SignedIn, device_view
from tertulia.application.account_units import Draft, Units, not_busy
from tertulia.application.devices import Devices
from tertulia.application.new_users import (
    Person,
    birth,
    require_address,
    require_handle,
    require_language,
    require_password,
)
from tertulia.application.recovery import Recovery
from tertulia.application.sign_in import find_user
from tertulia.domain.accounts import Address, read_login
from tertulia.domain.errors import Refusal, not_found
from tertulia.domain.letters import brand_fault
from tertulia.domain.profile_rules import normalise_name
from tertulia.domain.records import (
    ApiKey,
    Conversation,
    Device,
    HandleTaken,
    Identity,
    Key,
    Member,
    Tenant,
    User,
)
from tertulia.domain.unit import BumpEpoch, Expect, Put, VersionIs, Write
from tertulia.ports.clock import Clock
from tertulia.ports.ids import Ids
from tertulia.ports.message_store import Directory
from tertulia.ports.passwords import Passwords
from tertulia.ports.tokens import AccessTokens

DEFAULT_TENANT: Final = "default"
MAX_API_KEYS: Final = 20

_PAGE: Final = 500


class Administration:
    """The operator's use cases.

    `lasting` issues tokens under the same keys as those of people, but for `lasting_s` seconds."""

    def __init__(
        self,
        directory: Directory,
        units: Units,
        devices: Devices,
        recovery: Recovery,
        passwords: Passwords,
        lasting: AccessTokens,
        clock: Clock,
        ids: Ids,
        *,
        lasting_s: int,
    ) -> None:
        self._directory = directory
        self._units = units
        self._devices = devices
        self._recovery = recovery
        self._passwords = passwords
        self._lasting = lasting
        self._lasting_s = lasting_s
        self._clock = clock
        self._ids = ids

    # --- tenants ---------------------------------------------------------------------------------

    async def ensure_default_tenant(self, name: str, *, open_sign_up: bool = True) -> Tenant:
        """The one tenant of a new server, made at the first start; later starts change nothing.

        `name` stands in its letters.  Raises Refusal `invalid`."""
        fault = brand_fault(name)
        if fault is not None:
            raise Refusal("invalid", f"The name cannot be used: {fault}.", field="name")

        async def decide() -> Draft[Tenant]:
            found = await self._directory.get(Tenant, DEFAULT_TENANT)
            if found is not None:
                return Draft(result=found)
            row = Tenant(
                tenant=DEFAULT_TENANT,
                name=name.strip(),
                created_at=self._clock.now_ms(),
                open_sign_up=open_sign_up,
            )
            return Draft(result=row, expects=(VersionIs(Tenant, (DEFAULT_TENANT,), 0),), writes=(Put(row),))

        return await self._units.carry_out(DEFAULT_TENANT, decide)

    async def create_api_key(self, tenant: str) -> ApiKeyMade:
        """A secret with which a customer's backend signs user tokens (HS256, `kid` is its id).

        It is shown this once.  Raises Refusal `not_found`, `limit_reached` (20 that are not revoked)."""
        await self._tenant(tenant)
        key = ApiKey(
            tenant=tenant,
            id=self._ids.new_id(),
            secret=self._ids.token(32),
            created_at=self._clock.now_ms(),
        )

        async def decide() -> Draft[ApiKeyMade]:
            known = await self._directory.scan(ApiKey, (tenant,), limit=1000)
            if sum(not row.revoked_at for row in known) >= MAX_API_KEYS:
                raise Refusal("limit_reached", f"A tenant has at most {MAX_API_KEYS} keys; revoke one.")
            return Draft(result=ApiKeyMade(id=key.id, value=key.secret), writes=(Put(key),))

        return await self._units.carry_out(tenant, decide)

    async def revoke_api_key(self, tenant: str, key_id: str) -> None:
        """Tokens signed with it are refused from now on; devices that signed in with them stay.

        Raises Refusal `not_found`."""

        async def decide() -> Draft[None]:
            found = await self._directory.get_versioned(ApiKey, tenant, key_id)
            if found is None:
                raise not_found("key")
            if found.record.revoked_at:
                return Draft(result=None)
            row = msgspec.structs.replace(found.record, revoked_at=self._clock.now_ms(), secret="")
            return Draft(
                result=None, expects=(VersionIs(ApiKey, row.key(), found.version),), writes=(Put(row),)
            )

        await self._units.carry_out(tenant, decide)

    # --- users -----------------------------------------------------------------------------------

    async def find(self, tenant: str, who: str) -> User:
        """The user with this id, handle, e-mail address or phone number.  Raises Refusal `not_found`."""
        user = await self._directory.get(User, tenant, who)
        user = user or await find_user(self._directory, tenant, read_login(who))
        if user is None:
            raise not_found("user")
        return user

    async def create_user(self, tenant: str, request: NewUser) -> User:
        """Make a user; the addresses are taken as verified.

        A sign-up that waits at one of them is forgotten.  Raises Refusal: `not_found` (the tenant),
        `invalid` with `field`, `handle_taken`, `conflict` (somebody has the address)."""
        await self._tenant(tenant)
        handle = require_handle(request.handle)
        addresses = _addresses(request)
        verifiers = b""
        if request.password is not None:
            require_password(request.password, handle=handle, addresses=addresses)
            verifiers = msgspec.json.encode(await not_busy(self._passwords.make(request.password)))
        person = Person(
            id=self._ids.new_id(),
            handle=handle,
            name=normalise_name(request.name),
            language=require_language(request.language),
            operator=request.operator,
            verifiers=verifiers,
            addresses=addresses,
        )
        return await self._give_birth(tenant, person)

    async def create_bot(self, tenant: str, handle: str, name: str) -> User:
        """Make a bot: a user without a password, who signs in with what `issue_token` gives.

        Raises Refusal `not_found` (the tenant), `invalid`, `handle_taken`."""
        await self._tenant(tenant)
        person = Person(
            id=self._ids.new_id(), handle=require_handle(handle), name=normalise_name(name), bot=True
        )
        return await self._give_birth(tenant, person)

    async def set_password(self, tenant: str, user: str, password: str) -> None:
        """Give the user with this id a password; all their devices are signed out.

        Raises Refusal `not_found`, `invalid` (bots have none)."""
        row = await self._tenant(tenant)
        found = await self._directory.get(User, tenant, user)
        if found is None:
            raise not_found("user")
        if found.bot:
            raise Refusal("invalid", "A bot has no password; issue a token.")
        require_password(password, handle=found.handle or None)
        verifiers = await not_busy(self._passwords.make(password))

        async def decide() -> Draft[None]:
            new = await self._recovery.replacing(row, found, verifiers)
            return Draft(result=None, actor=user, events=new.events, expects=new.expects, writes=new.writes)

        await self._units.carry_out(tenant, decide)

    async def set_disabled(self, tenant: str, user: str, *, disabled: bool) -> None:
        """Shut a user out, or let them in again.  Shutting out signs all their devices out; others see a
        disabled user as one who does not exist.

        Raises Refusal `not_found`."""

        async def decide() -> Draft[None]:
            found = await self._directory.get_versioned(User, tenant, user)
            if found is None:
                raise not_found("user")
            if found.record.disabled == disabled:
                return Draft(result=None)
            row = msgspec.structs.replace(found.record, disabled=disabled)
            expects: list[Expect] = [VersionIs(User, row.key(), found.version)]
            # What others may do in a direct conversation rests on whether its peer is there.
            writes: list[Write] = [Put(row), *(BumpEpoch(log) for log in await self._directs(tenant, user))]
            ended = await self._devices.ending(tenant, user)
            if disabled:
                expects += ended.expects
                writes += ended.writes
            return Draft(
                result=None,
                actor=user,
                events=ended.events if disabled else (),
                expects=tuple(expects),
                writes=tuple(writes),
            )

        await self._units.carry_out(tenant, decide)

    async def issue_token(self, tenant: str, user: str, device_name: str) -> SignedIn:
        """A lasting access token for the user with this id (a bot, above all), with a device of its own:
        revoking the device ends the token.  It cannot be refreshed.

        Raises Refusal `not_found`, `forbidden` (disabled)."""

        async def decide() -> Draft[tuple[User, Device]]:
            lifetime_ms = self._lasting_s * 1000
            found, added = await self._devices.adding(tenant, user, device_name, lifetime_ms=lifetime_ms)
            return Draft(
                result=(found, added.device),
                actor=user,
                events=added.events,
                expects=added.expects,
                writes=added.writes,
            )

        found, device = await self._units.carry_out(tenant, decide)
        issued = self._lasting.issue(user, tenant, device.id)
        return SignedIn(
            access_token=issued.token,
            expires_in_s=self._lasting_s,
            refresh_token="",
            user=found,
            device=device_view(device, device.id),
        )

    # --- parts -----------------------------------------------------------------------------------

    async def _tenant(self, tenant: str) -> Tenant:
        found = await self._directory.get(Tenant, tenant)
        if found is None:
            raise not_found("tenant")
        return found

    async def _give_birth(self, tenant: str, person: Person) -> User:
        async def decide() -> Draft[User]:
            if await self._directory.get(HandleTaken, tenant, person.handle) is not None:
                raise Refusal("handle_taken", "Somebody has this handle.", field="handle")
            expects = [await self._free(tenant, address) for address in person.addresses]
            born = birth(tenant, person, self._clock.now_ms())
            return Draft(
                result=born.user,
                actor=person.id,
                events=born.events,
                expects=(*born.expects, *expects),
                writes=born.writes,
            )

        return await self._units.carry_out(tenant, decide)

    async def _free(self, tenant: str, address: Address) -> Expect:
        key: Key = (tenant, address.kind, address.value)
        found = await self._directory.get_versioned(Identity, *key)
        if found is not None and found.record.verified_at:
            raise Refusal("conflict", "Somebody has this address.", field=address.kind)
        return VersionIs(Identity, key, found.version if found is not None else 0)

    async def _directs(self, tenant: str, user: str) -> list[str]:
        logs: list[str] = []
        after: Key | None = None
        while True:
            page = await self._directory.scan(Member, (tenant, user), index="user", after=after, limit=_PAGE)
            for member in page:
                found = await self._directory.get(Conversation, tenant, member.conversation)
                if found is not None and found.kind == "direct":
                    logs.append(found.id)
            if len(page) < _PAGE:
                return logs
            after = (tenant, user, page[-1].conversation)


def _addresses(request: NewUser) -> tuple[Address, ...]:
    found: list[Address] = []
    for kind, text in (("email", request.email), ("phone", request.phone)):
        if text is None:
            continue
        address = require_address(text, kind)
        if address.kind != kind:
            raise Refusal("invalid", f"`{kind}` holds an address of the other kind.", field=kind)
        found.append(address)
    return tuple(found)
