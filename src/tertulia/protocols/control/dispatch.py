"""From a request to the use case that carries it out; the same for the socket and for a folder that no
server has open."""

from __future__ import annotations

import contextlib
import os
from collections.abc import Callable
from pathlib import Path
from typing import Final, Protocol

import tertulia
from tertulia.application.administration import Administration
from tertulia.application.operations import Operations
from tertulia.domain.errors import Refusal
from tertulia.protocols.control import requests as r

SNAPSHOT: Final = "snapshot-{id}.sqlite3"
SNAPSHOTS: Final = "snapshot-*.sqlite3*"


class Storehouse(Protocol):
    """What the channel asks of the store itself."""

    @property
    def generation(self) -> str: ...

    @property
    def path(self) -> Path: ...

    async def backup(self, path: str | os.PathLike[str]) -> None: ...

    async def rebuild_projections(self) -> object: ...


class Control:
    """Carries out the operator's requests."""

    def __init__(
        self,
        administration: Administration,
        operations: Operations,
        store: Storehouse,
        new_id: Callable[[], str],
    ) -> None:
        self._administration = administration
        self._operations = operations
        self._store = store
        self._new_id = new_id

    async def carry_out(self, request: r.Request, scope: contextlib.ExitStack) -> object:
        """The result, which JSON can hold.  What must go with the asker is left to `scope`.

        Raises Refusal."""
        match request:
            case r.Ping():
                return r.Pong(pid=os.getpid(), version=tertulia.__version__)
            case r.Snapshot():
                return await self._snapshot(scope)
            case r.Rebuild():
                return await self._store.rebuild_projections()
            case r.TenantShow() | r.TenantSet() | r.ApiKeyCreate() | r.ApiKeyList() | r.ApiKeyRevoke():
                return await self._tenants(request)
            case _:
                return await self._users(request)

    async def _tenants(
        self, request: r.TenantShow | r.TenantSet | r.ApiKeyCreate | r.ApiKeyList | r.ApiKeyRevoke
    ) -> object:
        match request:
            case r.TenantShow():
                return await self._operations.tenant(request.tenant)
            case r.TenantSet():
                return await self._operations.update_tenant(request.tenant, request.changes)
            case r.ApiKeyCreate():
                return await self._administration.create_api_key(request.tenant)
            case r.ApiKeyList():
                return await self._operations.api_keys(request.tenant)
            case r.ApiKeyRevoke():
                await self._administration.revoke_api_key(request.tenant, request.key)
                return r.Ok()

    async def _users(
        self,
        request: r.UserList
        | r.UserShow
        | r.UserCreate
        | r.BotCreate
        | r.UserPassword
        | r.UserDisable
        | r.UserOperator
        | r.TokenIssue,
    ) -> object:
        tenant = request.tenant
        match request:
            case r.UserList():
                return await self._operations.users(tenant, request.after, request.limit)
            case r.UserCreate():
                return await self._administration.create_user(tenant, request.user)
            case r.BotCreate():
                return await self._administration.create_bot(tenant, request.handle, request.name)
            case _:
                who = (await self._administration.find(tenant, request.who)).id
        match request:
            case r.UserShow():
                return await self._operations.user(tenant, who)
            case r.UserPassword():
                await self._administration.set_password(tenant, who, request.password)
            case r.UserDisable():
                await self._administration.set_disabled(tenant, who, disabled=request.disabled)
            case r.UserOperator():
                return await self._operations.set_operator(tenant, who, operator=request.operator)
            case r.TokenIssue():
                return await self._administration.issue_token(tenant, who, request.device_name)
        return await self._operations.user(tenant, who)

    async def _snapshot(self, scope: contextlib.ExitStack) -> r.SnapshotMade:
        folder = self._store.path.parent
        path = folder / SNAPSHOT.format(id=self._new_id())
        scope.callback(_remove, path)
        try:
            await self._store.backup(path)
        except OSError as error:
            raise Refusal("storage_full", f"No copy could be made: {error.strerror}.") from error
        return r.SnapshotMade(name=path.name, generation=self._store.generation, version=tertulia.__version__)


def _remove(path: Path) -> None:
    for one in (path, path.with_name(path.name + ".part")):
        one.unlink(missing_ok=True)


def remove_leftovers(folder: Path) -> None:
    """Remove the snapshots of a process that was killed.  The folder must be the caller's."""
    for path in folder.glob(SNAPSHOTS):
        path.unlink(missing_ok=True)
