"""The REST interface as one ASGI application."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any, Final, cast

import structlog
from litestar import Controller, Litestar
from litestar.datastructures import State
from litestar.di import Provide
from litestar.exceptions import HTTPException
from litestar.handlers import HTTPRouteHandler
from litestar.routes import HTTPRoute

from tertulia.domain.errors import Refusal
from tertulia.protocols.rest.address import ClientAddresses
from tertulia.protocols.rest.context import provide_call, provide_visit
from tertulia.protocols.rest.controllers_accounts import (
    AccountsController,
    PasswordController,
    SessionsController,
)
from tertulia.protocols.rest.controllers_conversations import ChannelsController, ConversationsController
from tertulia.protocols.rest.controllers_marks import MarksController
from tertulia.protocols.rest.controllers_me import MeController
from tertulia.protocols.rest.controllers_members import InvitesController, MembersController
from tertulia.protocols.rest.controllers_messages import MessagesController, SearchController
from tertulia.protocols.rest.controllers_people import (
    ContactsController,
    ReportsController,
    UsersController,
)
from tertulia.protocols.rest.controllers_server import OPENAPI, ServerController
from tertulia.protocols.rest.controllers_streams import StreamsController
from tertulia.protocols.rest.cursors import Cursors
from tertulia.protocols.rest.failures import on_exception, on_http_exception, on_refusal
from tertulia.protocols.rest.guard import ROUTE, make_guard
from tertulia.protocols.rest.limits import Limits
from tertulia.protocols.rest.openapi import document
from tertulia.protocols.rest.routes import BY_KEY, ROUTES, Route
from tertulia.protocols.rest.services import RestServices
from tertulia.protocols.rest.shell import App, Shell
from tertulia.protocols.rest.strict import StrictBodies

CONTROLLERS: Final[tuple[type[Controller], ...]] = (
    AccountsController,
    SessionsController,
    PasswordController,
    MeController,
    UsersController,
    ContactsController,
    ReportsController,
    ConversationsController,
    ChannelsController,
    MembersController,
    InvitesController,
    MessagesController,
    SearchController,
    MarksController,
    StreamsController,
    ServerController,
)


def make_app(services: RestServices) -> App:
    """The application.

    Raises ValueError: a proxy that is no address, a handler that is not in `routes.ROUTES` or the other
    way round, a limiter without one of the rules."""
    limits = Limits(services.limiter, enabled=services.rate_limits)
    for route in ROUTES:
        if route.rule:
            limits.check(route.rule)
    guard = make_guard(
        services, Cursors(services.cursor_key), limits, ClientAddresses(services.trusted_proxies)
    )
    inner = Litestar(
        route_handlers=CONTROLLERS,
        dependencies={
            "call": Provide(provide_call, sync_to_thread=False),
            "visit": Provide(provide_visit, sync_to_thread=False),
        },
        guards=[guard],
        exception_handlers={
            Refusal: on_refusal,
            HTTPException: on_http_exception,
            Exception: on_exception,
        },
        plugins=[StrictBodies()],
        state=State(),
        # The shell bounds bodies and logs.
        request_max_body_size=None,
        logging_config=None,
        # The framework would serve pages of its own; see `openapi`.
        openapi_config=None,
    )
    listed = list_handlers(inner.routes)
    for route, handler in listed:
        handler.opt[ROUTE] = route
        handler.operation_id = route.name
    inner.state[OPENAPI] = document(CONTROLLERS, services.brand, services.version, listed)
    return Shell(
        cast(App, inner),
        clock=services.clock,
        ids=services.ids,
        meter=services.meter,
        log=structlog.get_logger("tertulia.http"),
        body_limit=services.body_limit,
        cors_origins=services.cors_origins,
    )


def list_handlers(routes: Iterable[Any]) -> list[tuple[Route, HTTPRouteHandler]]:
    """Every handler with its line of the table.  Raises ValueError when one is without the other."""
    found: list[tuple[Route, HTTPRouteHandler]] = []
    missing: list[str] = []
    for one in routes:
        if not isinstance(one, HTTPRoute):
            continue
        path = one.path_format
        for method, (handler, _) in one.route_handler_map.items():
            if method == "OPTIONS":
                continue
            route = BY_KEY.get((method, path))
            if route is None:
                missing.append(f"{method} {path}")
            else:
                found.append((route, handler))
    idle = {route.key for route in ROUTES} - {route.key for route, _ in found}
    if missing or idle:
        raise ValueError(f"handlers that are not in the table: {missing}; lines without a handler: {idle}")
    return found
