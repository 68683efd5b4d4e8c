"""Requests to the REST interface: tokens, problems, rate limits."""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncGenerator, Awaitable, Callable, Mapping
from contextlib import asynccontextmanager
from typing import Any, TypeVar
from urllib.parse import quote

import httpx
import msgspec

from tertulia_client.models import Accepted, Page, Problem, TokensDoc
from tertulia_client.wire import decode

T = TypeVar("T")

EXPIRY_MARGIN_S = 10.0
PAGE = 200


class ApiError(Exception):
    """The server refused a request; it changed nothing.

    `code` is one of the interface's stable codes, `retry_after` seconds after which the same request may
    succeed, `request_id` what the operator finds it by in the logs."""

    def __init__(
        self,
        code: str,
        detail: str,
        *,
        status: int = 0,
        request_id: str = "",
        retry_after: float | None = None,
        field: str | None = None,
    ) -> None:
        super().__init__(f"{code}: {detail}")
        self.code = code
        self.detail = detail
        self.status = status
        self.request_id = request_id
        self.retry_after = retry_after
        self.field = field


class SignedOut(ApiError):
    """The refresh token is no good any more (the device was revoked, or it was used twice): the person
    must sign in again."""


class Unreachable(Exception):
    """No answer came.  Whether the request was carried out is not known."""


class BadAnswer(Exception):
    """The answer does not have the shape that the interface promises."""


class RateLimit(msgspec.Struct, frozen=True, kw_only=True):
    """What the last answer's `RateLimit` header said: requests left, and seconds until there are more."""

    remaining: int
    reset_s: int


class Tokens:
    """The tokens of one device, renewed by one request at a time.

    `on_change` is told of every new pair before it is used, so that it can be stored: the refresh token
    before it is good no longer.  It must not block."""

    def __init__(
        self,
        doc: TokensDoc,
        *,
        on_change: Callable[[TokensDoc], None] | None = None,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._on_change = on_change
        self._clock = clock
        self._lock = asyncio.Lock()
        self.doc = doc
        self._expires_at = clock() + doc.expires_in

    @property
    def access(self) -> str:
        return self.doc.access_token

    @property
    def lifetime_s(self) -> float:
        """Seconds that the access token is still good for."""
        return self._expires_at - self._clock()

    async def renewed(self, stale: str, renew: Callable[[str], Awaitable[TokensDoc]]) -> str:
        """An access token other than `stale`; `renew` trades the refresh token for a new pair.

        However many ask at once, one request is made."""
        async with self._lock:
            if self.doc.access_token == stale:
                doc = await renew(self.doc.refresh_token)
                doc = msgspec.structs.replace(
                    doc, user=doc.user or self.doc.user, device=doc.device or self.doc.device
                )
                if self._on_change is not None:
                    self._on_change(doc)
                self.doc = doc
                self._expires_at = self._clock() + doc.expires_in
        return self.doc.access_token


class Http:
    """The interface at `url`, on behalf of `tokens` (null: only what needs no sign-in).

    A request that was refused for its rate, or for a server that is not ready, is repeated up to
    `retries` times when repeating it is safe and the wait is at most `max_wait_s`."""

    def __init__(
        self,
        url: str,
        tokens: Tokens | None = None,
        *,
        transport: httpx.AsyncBaseTransport | None = None,
        timeout_s: float = 20.0,
        retries: int = 3,
        max_wait_s: float = 5.0,
        trust_env: bool = True,
    ) -> None:
        """`trust_env`: use the proxy that the environment names."""
        self.url = url.rstrip("/")
        self.trust_env = trust_env
        self.tokens = tokens
        self.rate_limit: RateLimit | None = None
        self._retries = retries
        self._max_wait_s = max_wait_s
        self._client = httpx.AsyncClient(
            base_url=self.url,
            timeout=timeout_s,
            transport=transport,
            follow_redirects=False,
            trust_env=trust_env,
            # Loading the certificate store takes a while, and plain HTTP has no use for it.
            verify=self.url.startswith("https:"),
        )

    async def close(self) -> None:
        await self._client.aclose()

    async def get(self, path: str, shape: type[T], **query: Any) -> T:
        """GET a document.  Queries that are null are left out."""
        return self._read(await self._request("GET", path, query=query), shape)

    async def send(
        self,
        method: str,
        path: str,
        shape: type[T],
        body: Mapping[str, Any] | None = None,
        *,
        client_id: str | None = None,
    ) -> T:
        """A request with a body; `client_id` makes a POST safe to repeat.  Null fields are left out."""
        return self._read(await self._request(method, path, body=body, client_id=client_id), shape)

    async def command(
        self,
        method: str,
        path: str,
        body: Mapping[str, Any] | None = None,
        *,
        client_id: str | None = None,
    ) -> Accepted:
        """A request that is answered by `Accepted`, or by nothing."""
        answer = await self._request(method, path, body=body, client_id=client_id)
        return self._read(answer, Accepted) if answer.content else Accepted()

    async def access_token(self, *, instead_of: str | None = None) -> str:
        """A good access token.  Raises SignedOut, Unreachable, ApiError."""
        tokens = self._signed_in()
        if instead_of is not None:
            return await tokens.renewed(instead_of, self._renew)
        if tokens.lifetime_s < min(EXPIRY_MARGIN_S, tokens.doc.expires_in / 4):
            return await tokens.renewed(tokens.access, self._renew)
        return tokens.access

    @asynccontextmanager
    async def stream(self, path: str, headers: Mapping[str, str]) -> AsyncGenerator[httpx.Response]:
        """An answer that is read as it comes; without a time-out between its parts.

        Raises ApiError, Unreachable."""
        token = await self.access_token()
        request = self._client.build_request(
            "GET",
            path,
            headers={**headers, "Authorization": f"Bearer {token}"},
            timeout=httpx.Timeout(20.0, read=None),
        )
        try:
            response = await self._client.send(request, stream=True)
        except httpx.TransportError as error:
            raise Unreachable(str(error) or type(error).__name__) from error
        try:
            if response.status_code != 200:
                await response.aread()
                raise problem_of(response)
            yield response
        finally:
            await response.aclose()

    async def _request(
        self,
        method: str,
        path: str,
        *,
        query: Mapping[str, Any] | None = None,
        body: Mapping[str, Any] | None = None,
        client_id: str | None = None,
        token: bool = True,
    ) -> httpx.Response:
        headers: dict[str, str] = {}
        content = None
        if body is not None:
            content = msgspec.json.encode({k: v for k, v in body.items() if v is not None})
            headers["Content-Type"] = "application/json"
        if client_id is not None:
            headers["Idempotency-Key"] = client_id
        params = {k: _text(v) for k, v in (query or {}).items() if v is not None}
        repeatable = method != "POST" or client_id is not None
        renewed = False
        tries = 0
        while True:
            access = None
            if token and self.tokens is not None:
                access = await self.access_token()
                headers["Authorization"] = f"Bearer {access}"
            try:
                answer = await self._client.request(
                    method, path, params=params or None, content=content, headers=headers
                )
            except httpx.TransportError as error:
                raise Unreachable(str(error) or type(error).__name__) from error
            self._note(answer)
            if answer.is_success:
                return answer
            problem = problem_of(answer)
            if answer.status_code == 401 and access is not None and not renewed:
                renewed = True
                await self.access_token(instead_of=access)
                continue
            wait = problem.retry_after
            tries += 1
            if (
                not repeatable
                or answer.status_code not in (429, 503)
                or wait is None
                or wait > self._max_wait_s
                or tries > self._retries
            ):
                raise problem
            await asyncio.sleep(wait)

    async def _renew(self, refresh_token: str) -> TokensDoc:
        body = {"refresh_token": refresh_token}
        try:
            answer = await self._request("POST", "/v1/sessions/refresh", body=body, token=False)
        except ApiError as error:
            if error.status in (400, 401, 403):
                raise SignedOut(
                    error.code, error.detail, status=error.status, request_id=error.request_id
                ) from None
            raise
        return self._read(answer, TokensDoc)

    def _signed_in(self) -> Tokens:
        if self.tokens is None:
            raise ApiError("unauthenticated", "Sign in first.", status=401)
        return self.tokens

    def _read(self, answer: httpx.Response, shape: type[T]) -> T:
        try:
            return decode(answer.content, shape)
        except msgspec.DecodeError as error:
            where = f"{answer.request.method} {answer.request.url.path}"
            raise BadAnswer(f"{where}: {error}") from error

    def _note(self, answer: httpx.Response) -> None:
        left, reset = answer.headers.get("ratelimit-remaining"), answer.headers.get("ratelimit-reset")
        if left is None and (header := answer.headers.get("ratelimit")):
            # draft-ietf-httpapi-ratelimit-headers: "name";r=remaining;t=seconds
            fields = dict(part.strip().partition("=")[::2] for part in header.split(";") if "=" in part)
            left, reset = fields.get("r"), fields.get("t")
        try:
            self.rate_limit = RateLimit(remaining=int(left or ""), reset_s=int(reset or "0"))
        except ValueError:
            pass


def problem_of(answer: httpx.Response) -> ApiError:
    """The error that a refused request raises; answers that are no problem document (a proxy's) too."""
    try:
        problem = msgspec.json.decode(answer.content, type=Problem)
    except msgspec.DecodeError:
        problem = Problem(detail=f"HTTP status {answer.status_code}")
    retry_after = None
    if problem.retry_after_ms is not None:
        retry_after = problem.retry_after_ms / 1000
    elif (header := answer.headers.get("retry-after", "")).isdecimal():
        retry_after = float(header)
    return ApiError(
        problem.code or _CODES.get(answer.status_code, "internal"),
        problem.detail or problem.title,
        status=answer.status_code,
        request_id=problem.request_id or answer.headers.get("x-request-id", ""),
        retry_after=retry_after,
        field=problem.field,
    )


_CODES = {
    400: "invalid",
    401: "unauthenticated",
    403: "forbidden",
    404: "not_found",
    409: "conflict",
    413: "too_large",
    429: "rate_limited",
    502: "unavailable",
    503: "unavailable",
    504: "unavailable",
}


def path(*parts: str | int) -> str:
    """A path under /v1 whose parts may hold anything."""
    return "/v1/" + "/".join(quote(str(part), safe="") for part in parts)


async def every(fetch: Callable[[str | None], Awaitable[Page[T]]], most: int = 10_000) -> list[T]:
    """All items of a paged list, at most `most`."""
    items: list[T] = []
    cursor: str | None = None
    while True:
        page = await fetch(cursor)
        items += page.items
        cursor = page.next_cursor
        if cursor is None or len(items) >= most:
            return items[:most]


def _text(value: object) -> str:
    if isinstance(value, bool):
        return "true" if value else "false"
    return str(value)
