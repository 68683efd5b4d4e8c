"""Devices: a user's logins, their tokens, and who a token speaks for."""

from __future__ import annotations

import base64
from collections import OrderedDict
from collections.abc import Callable, Sequence
from typing import Final

import msgspec

from tertulia.application.account_types import DeviceView, SignedIn, device_view
from tertulia.application.account_units import Draft, Units
from tertulia.application.core import Caller, Executor, Plan
from tertulia.domain.accounts import clean_device_name, is_live, make_room
from tertulia.domain.commands import Accepted, RevokeDevice
from tertulia.domain.errors import Refusal, not_found
from tertulia.domain.events import DeviceChanged, decode_body, encode_body
from tertulia.domain.jwt import AccessClaims, TokenRefused
from tertulia.domain.records import Device, Key, User
from tertulia.domain.refresh import (
    StoredFamily,
    Verdict,
    judge,
    refresh_first,
    refresh_parse,
    repeated,
    rotated,
)
from tertulia.domain.unit import Committed, EpochIs, Expect, NewEvent, Put, Remove, VersionIs, Write
from tertulia.ports.clock import Clock
from tertulia.ports.ids import Ids
from tertulia.ports.message_store import Directory
from tertulia.ports.tokens import AccessTokens

OnDeviceRevoked = Callable[[str, str, str], None]
"""(tenant, user, device), called on the event loop after the commit: close its sessions."""

_PAGE: Final = 500

_Who = tuple[str, str, str]


class Added(msgspec.Struct, frozen=True, kw_only=True):
    """A new device's part of a unit, and its first refresh token."""

    device: Device
    refresh_token: str
    events: tuple[NewEvent, ...]
    expects: tuple[Expect, ...]
    writes: tuple[Write, ...]

    def __repr__(self) -> str:
        return f"Added({self.device.id!r})"


class Ended(msgspec.Struct, frozen=True, kw_only=True):
    """The part of a unit that signs devices out."""

    events: tuple[NewEvent, ...]
    expects: tuple[Expect, ...]
    writes: tuple[Write, ...]


class Devices:
    """Logins and their tokens.

    Every event that adds or ends a device moves the epoch of the user's personal log, so that a unit
    which signs all devices out misses none that is being added beside it.

    `authenticate` asks the directory only for a device that is not at hand.  What is at hand (the
    least recently used goes first beyond `capacity`) is trusted for `fresh_s` seconds: that is how
    long a device which another node revoked goes on here.  One that was revoked through this
    process's store is refused at once: register `on_commit` with the store.
    """

    def __init__(
        self,
        directory: Directory,
        units: Units,
        executor: Executor,
        tokens: AccessTokens,
        clock: Clock,
        ids: Ids,
        *,
        refresh_key: bytes,
        on_device_revoked: OnDeviceRevoked,
        refresh_lifetime_s: int = 60 * 86_400,
        capacity: int = 50_000,
        fresh_s: float = 30.0,
    ) -> None:
        self._directory = directory
        self._units = units
        self._executor = executor
        self._tokens = tokens
        self._clock = clock
        self._ids = ids
        self._refresh_key = refresh_key
        self._on_device_revoked = on_device_revoked
        self._refresh_lifetime_ms = refresh_lifetime_s * 1000
        self._capacity = capacity
        self._fresh_s = fresh_s
        self._live: OrderedDict[_Who, tuple[float, bool]] = OrderedDict()
        self._gone: OrderedDict[_Who, None] = OrderedDict()

    # --- who asks --------------------------------------------------------------------------------

    def recall(self, access_token: str, session: str = "") -> Caller | None:
        """Who a token speaks for, when its device is at hand; None: use `authenticate`.  Never waits.

        Raises Refusal `unauthenticated`, `token_expired`."""
        claims = self._claims(access_token)
        who = (claims.tenant_id, claims.user_id, claims.device_id)
        if who in self._gone:
            raise _revoked()
        known = self._live.get(who)
        if known is None or self._clock.monotonic() >= known[0]:
            return None
        self._live.move_to_end(who)
        return _caller(claims, session, operator=known[1])

    async def authenticate(self, access_token: str, session: str = "") -> Caller:
        """Who a token speaks for.

        Raises Refusal `token_expired`, and `unauthenticated` for a token that is not ours, of a device
        that was signed out, or of a user who was disabled."""
        caller = self.recall(access_token, session)
        if caller is not None:
            return caller
        claims = self._claims(access_token)
        who = (claims.tenant_id, claims.user_id, claims.device_id)
        device = await self._directory.get(Device, *who)
        user = await self._directory.get(User, claims.tenant_id, claims.user_id)
        # It may have been revoked while the rows were read.
        if device is None or device.revoked_at or user is None or user.disabled or who in self._gone:
            raise _revoked()
        self._live[who] = (self._clock.monotonic() + self._fresh_s, user.operator)
        self._live.move_to_end(who)
        if len(self._live) > self._capacity:
            self._live.popitem(last=False)
        return _caller(claims, session, operator=user.operator)

    def on_commit(self, batch: Sequence[Committed]) -> None:
        """Store listener: a device that was signed out is refused from now on."""
        for committed in batch:
            for event in committed.events:
                if event.kind != "device.revoked" or event.body is None:
                    continue
                body = decode_body(event.kind, event.body)
                assert isinstance(body, DeviceChanged)
                who = (event.tenant, event.log, body.device)
                self._live.pop(who, None)
                self._gone[who] = None
                if len(self._gone) > self._capacity:
                    self._gone.popitem(last=False)
                self._on_device_revoked(*who)

    def _claims(self, access_token: str) -> AccessClaims:
        try:
            return self._tokens.verify(access_token)
        except TokenRefused as refused:
            if refused.reason == "expired":
                raise Refusal("token_expired", "The access token has expired; refresh it.") from None
            raise Refusal("unauthenticated", "The access token is not valid.") from None

    # --- listing and signing out -----------------------------------------------------------------

    async def devices(self, caller: Caller) -> list[DeviceView]:
        """The caller's devices that are signed in, the one used last first."""
        now = self._clock.now_ms()
        live = [d for d in await self._all(caller.tenant, caller.user) if is_live(d, now)]
        live.sort(key=lambda d: (d.seen_at, d.id), reverse=True)
        return [device_view(device, caller.device) for device in live]

    async def revoke_device(self, caller: Caller, command: RevokeDevice) -> Accepted:
        """Sign one of the caller's devices out.

        Its sessions are closed, its refresh token is dead and its access tokens are refused from now
        on.  Raises Refusal `not_found` for a device that is not the caller's or is not signed in."""

        async def decide() -> Plan:
            key = (caller.tenant, caller.user, command.device)
            found = await self._directory.get_versioned(Device, *key)
            now = self._clock.now_ms()
            if found is None or not is_live(found.record, now):
                raise not_found("device")
            event, write = _revocation(found.record, now)
            return Plan(events=(event,), expects=(VersionIs(Device, key, found.version),), writes=(write,))

        return await self._executor.run(caller, command, decide)

    async def sign_out(self, caller: Caller) -> None:
        """Sign out the device that asks; nothing happens when it is signed out already."""
        try:
            await self.revoke_device(caller, RevokeDevice(device=caller.device))
        except Refusal as refusal:
            if refusal.code != "not_found":
                raise

    async def ending(self, tenant: str, user: str, keep: str = "") -> Ended:
        """What signs out all of a user's devices but `keep`."""
        epoch = await self._epoch(user)
        now = self._clock.now_ms()
        devices = await self._all(tenant, user)
        ends = [_revocation(d, now) for d in devices if d.id != keep and is_live(d, now)]
        return Ended(
            events=tuple(event for event, _ in ends),
            expects=(epoch,),
            writes=tuple(write for _, write in ends),
        )

    # --- signing in ------------------------------------------------------------------------------

    def first(self, tenant: str, user: str, name: str, *, lifetime_ms: int = 0) -> Added:
        """The first device of a user whose personal log is made in the same unit."""
        now = self._clock.now_ms()
        ident = self._ids.new_id()
        octets = base64.urlsafe_b64decode(self._ids.token(32) + "=")
        token, digest = refresh_first(ident, octets, self._refresh_key)
        device = Device(
            tenant=tenant,
            user=user,
            id=ident,
            name=clean_device_name(name),
            created_at=now,
            seen_at=now,
            family=ident,
            secret=digest,
            expires_at=now + (lifetime_ms or self._refresh_lifetime_ms),
        )
        added = _event(device, "device.added")
        return Added(device=device, refresh_token=token, events=(added,), expects=(), writes=(Put(device),))

    async def adding(self, tenant: str, user: str, name: str, *, lifetime_ms: int = 0) -> tuple[User, Added]:
        """One more device of a user; makes room for it (`domain.accounts.make_room`).

        Raises Refusal `not_found`, `forbidden` (the user is disabled)."""
        owner = await self._directory.get_versioned(User, tenant, user)
        if owner is None:
            raise not_found("user")
        if owner.record.disabled:
            raise Refusal("forbidden", "This account is disabled.")
        epoch = await self._epoch(user)
        now = self._clock.now_ms()
        room = make_room(await self._all(tenant, user), now)
        ends = [_revocation(device, now) for device in room.revoke]
        added = self.first(tenant, user, name, lifetime_ms=lifetime_ms)
        return owner.record, msgspec.structs.replace(
            added,
            events=(*(event for event, _ in ends), *added.events),
            expects=(VersionIs(User, owner.record.key(), owner.version), epoch),
            writes=(
                *(write for _, write in ends),
                *(Remove(Device, device.key()) for device in room.remove),
                *added.writes,
            ),
        )

    def signed_in(self, user: User, device: Device, refresh_token: str) -> SignedIn:
        """The answer to a sign-in that is on disk."""
        issued = self._tokens.issue(user.id, user.tenant, device.id)
        return SignedIn(
            access_token=issued.token,
            expires_in_s=max(0, issued.expires_at - self._clock.now_ms() // 1000),
            refresh_token=refresh_token,
            user=user,
            device=device_view(device, device.id),
        )

    async def refresh(self, tenant: str, refresh_token: str) -> SignedIn:
        """New tokens for a device; the refresh token that was given is used up.

        The one before the newest gets the same answer again for ten seconds, once, because an answer
        can be lost.  Any older one has been copied: the device is signed out.  Raises Refusal
        `token_expired` for whatever cannot be used, whatever the reason."""
        presented = refresh_parse(refresh_token, self._refresh_key)
        if presented is None:
            raise _sign_in_again()

        async def decide() -> Draft[tuple[User, Device, str] | None]:
            rows = await self._directory.scan(Device, (tenant, presented.family), index="family", limit=1)
            found = await self._directory.get_versioned(Device, *rows[0].key()) if rows else None
            if found is None:
                return Draft(result=None)
            device, now = found.record, self._clock.now_ms()
            expects = (VersionIs(Device, device.key(), found.version),)
            stored = _family(device)
            following: tuple[StoredFamily, str] | None = None
            match judge(stored, presented, now):
                case Verdict.ROTATE:
                    following = rotated(
                        stored,
                        presented,
                        self._refresh_key,
                        now_ms=now,
                        expires_at=now + self._refresh_lifetime_ms,
                    )
                case Verdict.GRACE:
                    following = repeated(stored, presented, self._refresh_key)
                case Verdict.REUSED:
                    event, write = _revocation(device, now)
                    return Draft(
                        result=None, actor=device.user, events=(event,), expects=expects, writes=(write,)
                    )
                case Verdict.EXPIRED | Verdict.UNKNOWN:
                    pass
            user = await self._directory.get(User, tenant, device.user)
            if following is None or user is None or user.disabled:
                return Draft(result=None)
            family, token = following
            device = msgspec.structs.replace(
                device,
                seen_at=now,
                counter=family.counter,
                secret=family.current,
                previous=family.previous,
                rotated_at=family.rotated_at,
                expires_at=family.expires_at,
            )
            return Draft(
                result=(user, device, token), actor=device.user, expects=expects, writes=(Put(device),)
            )

        outcome = await self._units.carry_out(tenant, decide)
        if outcome is None:
            raise _sign_in_again()
        return self.signed_in(*outcome)

    # --- rows ------------------------------------------------------------------------------------

    async def _epoch(self, user: str) -> EpochIs:
        heads, _ = await self._directory.snapshot([user], [])
        head = heads[0]
        return EpochIs(user, head.epoch if head is not None else 0)

    async def _all(self, tenant: str, user: str) -> list[Device]:
        found: list[Device] = []
        after: Key | None = None
        while True:
            page = await self._directory.scan(Device, (tenant, user), after=after, limit=_PAGE)
            found += page
            if len(page) < _PAGE:
                return found
            after = page[-1].key()


def _family(device: Device) -> StoredFamily:
    return StoredFamily(
        family=device.family,
        counter=device.counter,
        current=device.secret,
        previous=device.previous,
        rotated_at=device.rotated_at,
        expires_at=device.expires_at,
        revoked=bool(device.revoked_at),
    )


def _event(device: Device, kind: str) -> NewEvent:
    return NewEvent(
        log=device.user,
        kind=kind,
        body=encode_body(DeviceChanged(device=device.id, name=device.name)),
        actor=device.user,
        bumps_epoch=True,
    )


def _revocation(device: Device, now_ms: int) -> tuple[NewEvent, Write]:
    # No version is expected of the row: a rotation beside it loses, whichever comes first.
    ended = msgspec.structs.replace(device, revoked_at=now_ms, secret=b"", previous=b"")
    return _event(device, "device.revoked"), Put(ended)


def _caller(claims: AccessClaims, session: str, *, operator: bool) -> Caller:
    return Caller(
        tenant=claims.tenant_id,
        user=claims.user_id,
        device=claims.device_id,
        session=session,
        operator=operator,
    )


def _revoked() -> Refusal:
    return Refusal("unauthenticated", "The device has been signed out.")


def _sign_in_again() -> Refusal:
    return Refusal("token_expired", "The refresh token cannot be used; sign in again.")
