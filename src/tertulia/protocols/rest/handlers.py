"""The framework's handlers and the table of routes, line by line."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

from litestar.handlers import HTTPRouteHandler
from litestar.routes import HTTPRoute

from tertulia.protocols.rest.routes import BY_KEY, ROUTES, Route


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
