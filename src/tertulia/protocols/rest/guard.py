"""What every request passes before its handler: a body of the right kind, who asks, and how often."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Iterable
from typing import Any, Final, cast

from litestar.connection import ASGIConnection
from litestar.exceptions import HTTPException
from litestar.handlers import BaseRouteHandler

from tertulia.domain.accounts import client_key
from tertulia.domain.errors import Refusal
from tertulia.protocols.rest.address import ClientAddresses
from tertulia.protocols.rest.context import CONTEXT, Call, Visit
from tertulia.protocols.rest.cursors import Cursors
from tertulia.protocols.rest.limits import Limits
from tertulia.protocols.rest.routes import ROUTES, Route
from tertulia.protocols.rest.services import RestServices
from tertulia.protocols.rest.shell import FIELDS, REQUEST_ID

ROUTE: Final = "route"
"""Where a handler's `Route` is among its options."""

MAX_TOKEN: Final = 8192

_Connection = ASGIConnection[Any, Any, Any, Any]


def bearer(header: str | None) -> str | None:
    """The token of an `Authorization` header (RFC 6750 §2.1).

    None without one.  Raises Refusal `unauthenticated` for another scheme and for what is no token."""
    if header is None:
        return None
    scheme, _, token = header.partition(" ")
    token = token.strip()
    if scheme.lower() != "bearer" or not token or len(token) > MAX_TOKEN or not token.isascii():
        raise Refusal("unauthenticated", "Sign in with a bearer token.")
    return token


def check_body(connection: _Connection) -> None:
    """Raises Refusal `unsupported` for a body that is not plain JSON."""
    headers = connection.headers
    encoding = headers.get("content-encoding", "identity").strip().lower()
    if encoding not in ("", "identity"):
        raise Refusal("unsupported", "Send the body without a content coding.")
    media_type, _, parameters = headers.get("content-type", "").partition(";")
    charset = parameters.partition("charset=")[2].partition(";")[0].strip().strip('"').lower()
    if media_type.strip().lower() != "application/json" or charset not in ("", "utf-8", "utf8"):
        raise Refusal("unsupported", "Send a body of the type application/json.")


def allowed(methods: Iterable[str]) -> str:
    """`Allow` for a resource that handlers have these methods of."""
    names = {"OPTIONS", *methods}
    if "GET" in names:
        names.add("HEAD")
    return ", ".join(sorted(names))


def methods_of(connection: _Connection) -> str:
    """`Allow` for the path of a request (RFC 9110 §10.2.1)."""
    path = cast(dict[str, Any], connection.scope).get("path_template")
    return allowed({route.method for route in ROUTES if route.path == path})


def make_guard(
    services: RestServices, cursors: Cursors, limits: Limits, addresses: ClientAddresses
) -> Callable[[_Connection, BaseRouteHandler], Awaitable[None]]:
    """The guard of all handlers.  It leaves a `Visit` or `Call` in the scope."""

    async def guard(connection: _Connection, handler: BaseRouteHandler) -> None:
        route = handler.opt.get(ROUTE)
        if not isinstance(route, Route):
            raise HTTPException(status_code=204, headers={"allow": methods_of(connection)})
        scope = cast(dict[str, Any], connection.scope)
        peer = scope.get("client")
        address = addresses.of(
            peer[0] if peer else None,
            [value for name, value in scope["headers"] if name == b"x-forwarded-for"],
        )
        request_id = scope[REQUEST_ID]
        given = frozenset(connection.query_params)
        if route.public:
            if route.rule:
                _take(scope, limits, route, ("", client_key(address)))
            scope[CONTEXT] = Visit(
                services=services, cursors=cursors, address=address, request_id=request_id, given=given
            )
        else:
            token = bearer(connection.headers.get("authorization"))
            if token is None:
                raise Refusal("unauthenticated", "Sign in with a bearer token.")
            caller, expires_at = await services.authenticate(token)
            _take(scope, limits, route, (caller.tenant, caller.user))
            scope[CONTEXT] = Call(
                services=services,
                cursors=cursors,
                address=address,
                request_id=request_id,
                given=given,
                caller=caller,
                expires_at_ms=expires_at,
            )
        if handler.parsed_data_field is not None:
            check_body(connection)

    return guard


def _take(scope: dict[str, Any], limits: Limits, route: Route, key: tuple[str, str]) -> None:
    fields, refusal = limits.take(route.rule, key)
    scope[FIELDS] = fields
    if refusal is not None:
        raise refusal
