"""What the operator can ask, with the bounds of every field.  `who` is an id, handle or address."""

from __future__ import annotations

from typing import Annotated

import msgspec
from msgspec import Meta

from tertulia.application.account_types import DeviceName, Discreet, Handle, NewUser, Password, PersonName
from tertulia.application.operations import TenantChanges

Name = Annotated[str, Meta(min_length=1, max_length=254)]


class Asked(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """Base of the requests."""


class OfTenant(Asked, frozen=True, kw_only=True):
    tenant: Name = "default"


class Ping(Asked, frozen=True, kw_only=True, tag="ping"):
    """Whether the server answers."""


class UserList(OfTenant, frozen=True, kw_only=True, tag="user.list"):
    after: Annotated[str, Meta(max_length=64)] = ""
    limit: Annotated[int, Meta(ge=1, le=200)] = 200


class UserShow(OfTenant, frozen=True, kw_only=True, tag="user.show"):
    who: Name


class UserCreate(OfTenant, frozen=True, kw_only=True, tag="user.create"):
    user: NewUser


class BotCreate(OfTenant, frozen=True, kw_only=True, tag="user.bot"):
    handle: Handle
    name: PersonName


class UserPassword(OfTenant, Discreet, frozen=True, kw_only=True, tag="user.password"):
    secret = frozenset({"password"})

    who: Name
    password: Password


class UserDisable(OfTenant, frozen=True, kw_only=True, tag="user.disable"):
    who: Name
    disabled: bool


class UserOperator(OfTenant, frozen=True, kw_only=True, tag="user.operator"):
    who: Name
    operator: bool


class TenantShow(OfTenant, frozen=True, kw_only=True, tag="tenant.show"):
    pass


class TenantSet(OfTenant, frozen=True, kw_only=True, tag="tenant.set"):
    changes: TenantChanges


class ApiKeyCreate(OfTenant, frozen=True, kw_only=True, tag="api_key.create"):
    pass


class ApiKeyList(OfTenant, frozen=True, kw_only=True, tag="api_key.list"):
    pass


class ApiKeyRevoke(OfTenant, frozen=True, kw_only=True, tag="api_key.revoke"):
    key: Name


class TokenIssue(OfTenant, frozen=True, kw_only=True, tag="token.issue"):
    who: Name
    device_name: DeviceName = ""


class Snapshot(Asked, frozen=True, kw_only=True, tag="snapshot"):
    """A consistent copy of the database, in the data folder; it goes when the connection ends."""


class Rebuild(Asked, frozen=True, kw_only=True, tag="rebuild"):
    """Make the projections anew from the log."""


Request = (
    Ping
    | UserList
    | UserShow
    | UserCreate
    | BotCreate
    | UserPassword
    | UserDisable
    | UserOperator
    | TenantShow
    | TenantSet
    | ApiKeyCreate
    | ApiKeyList
    | ApiKeyRevoke
    | TokenIssue
    | Snapshot
    | Rebuild
)


class Pong(msgspec.Struct, frozen=True, kw_only=True):
    """The answer to `Ping`: the server's process and version."""

    pid: int
    version: str


class SnapshotMade(msgspec.Struct, frozen=True, kw_only=True):
    """The answer to `Snapshot`: the copy's name in the data folder, and where it was made."""

    name: str
    generation: str
    version: str


class Ok(msgspec.Struct, frozen=True, kw_only=True):
    """The answer where there is nothing to tell."""

    ok: bool = True
