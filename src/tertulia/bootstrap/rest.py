"""The REST interface over the program's parts."""

from __future__ import annotations

from typing import TYPE_CHECKING

import tertulia
from tertulia.protocols.rest.app import make_app
from tertulia.protocols.rest.services import RestServices
from tertulia.protocols.rest.shell import App, keep_transport
from tertulia.protocols.ws import asyncapi

if TYPE_CHECKING:
    from tertulia.bootstrap import Program


def rest_app(program: Program, tenant: str) -> App:
    """The ASGI application, its requests counted.  Raises ValueError as `make_app`."""
    settings = program.settings
    services = RestServices(
        authenticate=program.authenticate,
        accounts=program.accounts,
        sign_in=program.sign_in,
        recovery=program.recovery,
        devices=program.devices,
        presence=program.presence,
        receipts=program.receipts,
        registry=program.registry,
        queries=program.queries,
        sync=program.sync,
        hub=program.hub,
        limiter=program.limiter,
        clock=program.clock,
        ids=program.ids,
        meter=program.metrics,
        cursor_key=program.keys.cursor,
        seen=program.seen,
        asyncapi=asyncapi.document(settings.brand, tertulia.__version__),
        render_metrics=program.metrics.render,
        problems=program.health.problems,
        version=tertulia.__version__,
        brand=settings.brand,
        tenant=tenant,
        rate_limits=settings.rate_limits,
        trusted_proxies=settings.trusted_proxies,
        cors_origins=settings.cors_origins,
        body_limit=settings.body_limit,
        heartbeat_s=settings.heartbeat_s,
        max_sessions=settings.max_sessions,
    )
    return keep_transport(program.metrics.measured(make_app(services)))
