"""The REST interface as one ASGI application."""

from __future__ import annotations

from typing import Final, cast

import structlog
from litestar import Controller, Litestar
from litestar.datastructures import State
from litestar.di import Provide
from litestar.exceptions import HTTPException

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
from tertulia.protocols.rest.handlers import list_handlers
from tertulia.protocols.rest.limits import Limits
from tertulia.protocols.rest.openapi import document
from tertulia.protocols.rest.routes import ROUTES
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
    for route, handler in list_handlers(inner.routes):
        handler.opt[ROUTE] = route
    inner.state[OPENAPI] = document(CONTROLLERS, services.brand, services.version)
    return Shell(
        cast(App, inner),
        clock=services.clock,
        ids=services.ids,
        meter=services.meter,
        log=structlog.get_logger("tertulia.http"),
        body_limit=services.body_limit,
        cors_origins=services.cors_origins,
    )
