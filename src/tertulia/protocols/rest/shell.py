"""Around the framework: request ids, size limits, CORS, the headers of every answer, the access log.

The log holds the route's template and never a path, a query or a body: those say who and what people
look for.
"""

from __future__ import annotations

import re
from collections.abc import Awaitable, Callable, Sequence
from typing import Any, Final, Protocol

from tertulia.domain.errors import Refusal
from tertulia.ports.clock import Clock
from tertulia.ports.ids import Ids
from tertulia.ports.metrics import Meter
from tertulia.protocols.rest import problems

REQUEST_ID: Final = "tertulia.request_id"
FIELDS: Final = "tertulia.fields"
"""Where the guard leaves the RateLimit fields of the answer."""

CODE: Final = "tertulia.code"
"""Where the code of a refusal is left for the log."""

ENDLESS: Final = frozenset({"/v1/events"})
"""Answers that HEAD cannot wait for."""

_LEFT_BEHIND: Final = (CODE, "path_template")

Scope = dict[str, Any]
Receive = Callable[[], Awaitable[Any]]
Send = Callable[[Any], Awaitable[None]]
App = Callable[[Any, Any, Any], Awaitable[None]]
Header = tuple[bytes, bytes]

_REQUEST_ID: Final = re.compile(r"[A-Za-z0-9._-]{1,64}")

SECURITY_HEADERS: Final[tuple[Header, ...]] = (
    (b"x-content-type-options", b"nosniff"),
    (b"referrer-policy", b"no-referrer"),
    (b"cross-origin-resource-policy", b"same-origin"),
)
NO_CONTENT_POLICY: Final = b"default-src 'none'; frame-ancestors 'none'"

_ALLOW_METHODS: Final = b"GET, POST, PUT, PATCH, DELETE"
_ALLOW_HEADERS: Final = b"Authorization, Content-Type, Idempotency-Key, Last-Event-ID, X-Request-Id"
_EXPOSE_HEADERS: Final = b"Location, RateLimit, RateLimit-Policy, Retry-After, WWW-Authenticate, X-Request-Id"


class Log(Protocol):
    """The part of structlog that is used here."""

    def info(self, event: str, **words: Any) -> Any: ...
    def error(self, event: str, **words: Any) -> Any: ...


class TooLarge(Exception):
    """A body beyond the limit that did not say its size before."""


class Shell:
    """An ASGI application around another one."""

    def __init__(
        self,
        app: App,
        *,
        clock: Clock,
        ids: Ids,
        meter: Meter,
        log: Log,
        body_limit: int,
        cors_origins: Sequence[str],
    ) -> None:
        self._app = app
        self._clock = clock
        self._ids = ids
        self._meter = meter
        self._log = log
        self._body_limit = body_limit
        self._any_origin = "*" in cors_origins
        self._origins = frozenset(origin.rstrip("/") for origin in cors_origins)

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        await _Exchange(self, scope, receive, send).run()

    # --- what an exchange asks -------------------------------------------------------------------

    def request_id(self, headers: dict[bytes, bytes]) -> str:
        """The client's own, when it is one that can stand in a log; else a new one."""
        given = headers.get(b"x-request-id", b"").decode("latin-1")
        return given if _REQUEST_ID.fullmatch(given) else self._ids.new_id()

    def origin(self, headers: dict[bytes, bytes]) -> bytes | None:
        """What `Access-Control-Allow-Origin` says; None: the origin may not call."""
        origin = headers.get(b"origin")
        if origin is None:
            return None
        if self._any_origin:
            return b"*"
        return origin if origin.decode("latin-1").rstrip("/") in self._origins else None

    def has_origins(self) -> bool:
        """Whether answers differ by origin."""
        return bool(self._origins) and not self._any_origin

    @property
    def body_limit(self) -> int:
        return self._body_limit

    async def pass_on(self, scope: Scope, receive: Receive, send: Send) -> None:
        """The application inside."""
        await self._app(scope, receive, send)

    def now(self) -> float:
        return self._clock.monotonic()

    def answered(self, scope: Scope, status: int, began: float) -> None:
        """One request is done."""
        code = scope.get(CODE)
        if code is not None:
            self._meter.refused("rest", code)
        words = {} if code is None else {"code": code}
        self._log.info(
            "http.request",
            method=scope["method"],
            route=scope.get("path_template") or "-",
            status=status,
            ms=round((self._clock.monotonic() - began) * 1000, 1),
            request_id=scope[REQUEST_ID],
            **words,
        )

    def failed(self, scope: Scope, error: BaseException) -> None:
        """A defect of ours; the client learns the request's id and no more."""
        self._log.error(
            "http.failed",
            route=scope.get("path_template") or "-",
            request_id=scope[REQUEST_ID],
            exc_info=error,
        )


class _Exchange:
    """One request and its answer."""

    def __init__(self, shell: Shell, scope: Scope, receive: Receive, send: Send) -> None:
        self._shell = shell
        self._scope = scope
        self._receive = receive
        self._send = send
        self._asked = scope
        """The scope as the application inside gets it."""
        self._headers = dict[bytes, bytes](scope["headers"])
        self._status = 0
        self._read = 0
        self._began = shell.now()
        scope[REQUEST_ID] = shell.request_id(self._headers)

    async def run(self) -> None:
        try:
            if self._is_preflight():
                await self._answer(204, self._preflight_headers(), b"")
            elif self._announced() > self._shell.body_limit:
                await self._refuse(_too_large(self._shell.body_limit))
            elif self._is_head():
                # Answered as GET is, without the body (RFC 9110 §9.3.2); the server's scope stays as it is.
                self._asked = {**self._scope, "method": "GET"}
                await self._shell.pass_on(self._asked, self._bounded, self._sending)
                self._scope.update({name: self._asked[name] for name in _LEFT_BEHIND if name in self._asked})
            else:
                await self._shell.pass_on(self._scope, self._bounded, self._sending)
        except TooLarge:
            await self._refuse(_too_large(self._shell.body_limit))
        except Exception as error:  # noqa: BLE001 - nothing internal may reach the client
            self._shell.failed(self._scope, error)
            await self._refuse(Refusal("internal", "The server failed; try again."))
        finally:
            self._shell.answered(self._scope, self._status or 499, self._began)

    # --- the body in -------------------------------------------------------------------------------

    def _is_head(self) -> bool:
        return self._scope["method"] == "HEAD" and self._scope["path"] not in ENDLESS

    def _announced(self) -> int:
        text = self._headers.get(b"content-length", b"0")
        return int(text) if text.isdigit() else 0

    async def _bounded(self) -> Any:
        message = await self._receive()
        if message["type"] == "http.request":
            self._read += len(message.get("body", b""))
            if self._read > self._shell.body_limit:
                raise TooLarge
        return message

    # --- CORS (WHATWG Fetch §3.2) --------------------------------------------------------------------

    def _is_preflight(self) -> bool:
        headers = self._headers
        return (
            self._scope["method"] == "OPTIONS"
            and b"origin" in headers
            and b"access-control-request-method" in headers
        )

    def _preflight_headers(self) -> list[Header]:
        if self._shell.origin(self._headers) is None:
            return []
        return [
            (b"access-control-allow-methods", _ALLOW_METHODS),
            (b"access-control-allow-headers", _ALLOW_HEADERS),
            (b"access-control-max-age", b"600"),
        ]

    # --- the answer out ------------------------------------------------------------------------------

    async def _sending(self, message: Any) -> None:
        if message["type"] == "http.response.start":
            self._status = int(message["status"])
            message = {**message, "headers": self._with_ours(message.get("headers") or ())}
        elif self._scope["method"] == "HEAD":
            message = {**message, "body": b""}
        await self._send(message)

    def _with_ours(self, headers: Sequence[Header]) -> list[Header]:
        there = {name for name, _ in headers}
        ours: list[Header] = [
            (b"x-request-id", self._scope[REQUEST_ID].encode()),
            *self._fields(),
            *SECURITY_HEADERS,
        ]
        if b"content-security-policy" not in there:
            ours.append((b"content-security-policy", NO_CONTENT_POLICY))
        if b"cache-control" not in there:
            ours.append((b"cache-control", b"no-store"))
        origin = self._shell.origin(self._headers)
        if origin is not None:
            ours.append((b"access-control-allow-origin", origin))
            ours.append((b"access-control-expose-headers", _EXPOSE_HEADERS))
        if self._shell.has_origins():
            ours.append((b"vary", b"Origin"))
        return [*headers, *ours]

    def _fields(self) -> Sequence[Header]:
        return self._asked.get(FIELDS, ())

    async def _refuse(self, refusal: Refusal) -> None:
        self._scope[CODE] = refusal.code
        if self._status:
            # The answer has begun: breaking it off is all that is left.
            raise refusal
        status = problems.status_of(refusal)
        document = problems.problem(refusal, self._scope[REQUEST_ID])
        headers = [(b"content-type", problems.MEDIA_TYPE.encode())]
        if refusal.code == "too_large":
            headers.append((b"connection", b"close"))
        await self._answer(status, headers, problems.body_of(document))

    async def _answer(self, status: int, headers: list[Header], body: bytes) -> None:
        if body:
            headers = [*headers, (b"content-length", str(len(body)).encode())]
        await self._sending({"type": "http.response.start", "status": status, "headers": headers})
        await self._sending({"type": "http.response.body", "body": body})


def _too_large(limit: int) -> Refusal:
    return Refusal("too_large", f"A body has at most {limit} bytes.")


def keep_transport(app: App) -> App:
    """An application that finds the server's transport in the scope (`sse.TRANSPORT`), where the server is
    one that has it: to be the outermost.

    ASGI has no word for cutting a connection off; uvicorn's `send` is a method of the object that knows."""

    async def outermost(scope: Scope, receive: Receive, send: Send) -> None:
        scope["tertulia.transport"] = getattr(getattr(send, "__self__", None), "transport", None)
        await app(scope, receive, send)

    return outermost
