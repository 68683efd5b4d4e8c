"""The guarded HTTP client: the one way out for everything the server fetches.

It resolves each name itself, judges every address (`tertulia.domain.outbound`) and opens the
connection to an address it has judged, while Host, SNI and certificate check keep the name: a
second answer of the resolver (DNS rebinding) never counts. Each redirect is judged anew.

It stands on httpcore, the engine of httpx, with `httpx.URL` as the only parser, because httpcore
has no cookie jar, no proxies from the environment and no redirects of its own; nothing is carried
from one request to the next but idle connections, which were judged when they were opened.
"""

import asyncio
import ipaddress
import re
import socket
import ssl
from collections.abc import AsyncIterable, Iterable, Sequence
from concurrent.futures import ThreadPoolExecutor
from typing import Protocol, cast

import httpcore
import httpx

from tertulia.domain.outbound import (
    DEFAULT_PORTS,
    URL_REASONS,
    Address,
    Allowed,
    OutboundPolicy,
    Refused,
    Target,
    judge_address,
    judge_url,
    literal_address,
    parse_policy,
)
from tertulia.ports.http import Header, HttpFailed, HttpLimits, HttpRequest, HttpResponse

__all__ = [
    "Allowed",
    "GuardedHttpClient",
    "OutboundPolicy",
    "Refused",
    "Resolver",
    "SystemResolver",
    "judge_address",
    "judge_url",
    "parse_policy",
]

MAX_URL = 8_192
MAX_ADDRESSES = 16  # of one name are looked at
MAX_DIALS = 4  # of the allowed ones are tried
REDIRECTS = frozenset({301, 302, 303, 307, 308})

_TOKEN = re.compile(r"[!#$%&'*+.^_`|~0-9A-Za-z-]+")
_OURS = frozenset({"host", "content-length", "transfer-encoding", "connection", "accept-encoding"})
# What may follow a redirect to another origin; anything else might be a credential.
_HARMLESS = frozenset({"accept", "accept-language", "user-agent"})


class Resolver(Protocol):
    """Names to addresses."""

    async def resolve(self, host: str, port: int) -> Sequence[Address]:
        """All addresses of `host`, best first. Raises OSError when there is none."""
        ...


class SystemResolver:
    """The machine's resolver, on a few threads of its own so that slow DNS blocks nobody else.

    At most `threads` look-ups run; further ones wait, within their request's time.
    """

    def __init__(self, threads: int = 8) -> None:
        self._threads = ThreadPoolExecutor(threads, thread_name_prefix="resolver")

    async def resolve(self, host: str, port: int) -> Sequence[Address]:
        """See Resolver."""
        found = await asyncio.get_running_loop().run_in_executor(self._threads, _look_up, host, port)
        return [ipaddress.ip_address(address) for address in dict.fromkeys(found)]

    def close(self) -> None:
        """Let the threads end; does not wait for a look-up that hangs."""
        self._threads.shutdown(wait=False, cancel_futures=True)


def _look_up(host: str, port: int) -> list[str]:
    rows = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM)
    return [str(row[4][0]) for row in rows]


class _GuardedBackend(httpcore.AsyncNetworkBackend):
    """Opens connections for the pool: the only place where a name becomes an address."""

    def __init__(
        self, policy: OutboundPolicy, resolver: Resolver, dialer: httpcore.AsyncNetworkBackend
    ) -> None:
        self._policy = policy
        self._resolver = resolver
        self._dialer = dialer

    async def connect_tcp(
        self,
        host: str,
        port: int,
        timeout: float | None = None,
        local_address: str | None = None,
        socket_options: Iterable[httpcore.SOCKET_OPTION] | None = None,
    ) -> httpcore.AsyncNetworkStream:
        """Resolve, judge, and connect to an address that was judged."""
        failure: Exception | None = None
        for address in (await self._allowed(host, port))[:MAX_DIALS]:
            try:
                return await self._dialer.connect_tcp(
                    str(address), port, timeout, local_address, socket_options
                )
            except (httpcore.ConnectError, httpcore.ConnectTimeout) as error:
                failure = error
        raise failure or httpcore.ConnectError("no address")

    async def connect_unix_socket(
        self,
        path: str,
        timeout: float | None = None,
        socket_options: Iterable[httpcore.SOCKET_OPTION] | None = None,
    ) -> httpcore.AsyncNetworkStream:
        """Never: no URL leads here."""
        raise HttpFailed("refused_address", "unix_socket")

    async def sleep(self, seconds: float) -> None:
        """Part of the backend's interface."""
        await self._dialer.sleep(seconds)

    async def _allowed(self, host: str, port: int) -> list[Address]:
        literal = literal_address(host)
        if literal is not None:
            addresses: Sequence[Address] = [literal]
        else:
            try:
                addresses = await self._resolver.resolve(host, port)
            except (OSError, UnicodeError) as error:
                raise HttpFailed("unresolved", f"{host} has no address") from error
        if self._policy.trusts(host, port):
            return list(addresses)
        verdicts = [(address, judge_address(address, self._policy)) for address in addresses[:MAX_ADDRESSES]]
        allowed = [address for address, verdict in verdicts if isinstance(verdict, Allowed)]
        if not allowed:
            reasons = sorted({verdict.reason for _, verdict in verdicts})
            raise HttpFailed("refused_address", f"{host}: {', '.join(reasons) or 'no address'}")
        return allowed


class GuardedHttpClient:
    """HttpClient under one OutboundPolicy; HTTP/1.1, `http` and `https` only.

    At most `max_in_flight` requests are under way; one more fails at once with `busy`. Bodies are
    asked for unencoded and one that is encoded all the same is refused, so that `max_body` bounds
    memory. `ssl_context` is for an operator's own certificate authority.
    """

    def __init__(
        self,
        policy: OutboundPolicy | None = None,
        *,
        resolver: Resolver | None = None,
        ssl_context: ssl.SSLContext | None = None,
        user_agent: str = "Tertulia",
        max_in_flight: int = 128,
        dialer: httpcore.AsyncNetworkBackend | None = None,
    ) -> None:
        self._policy = policy or OutboundPolicy()
        self._own_resolver = SystemResolver() if resolver is None else None
        self._user_agent = user_agent
        self._max_in_flight = max_in_flight
        self._in_flight = 0
        self._closed = False
        backend = _GuardedBackend(
            self._policy,
            resolver or cast("Resolver", self._own_resolver),
            dialer or cast("httpcore.AsyncNetworkBackend", httpcore.AnyIOBackend()),
        )
        self._pool = httpcore.AsyncConnectionPool(
            ssl_context=ssl_context or httpx.create_ssl_context(),
            max_connections=max_in_flight,
            max_keepalive_connections=16,
            keepalive_expiry=30.0,
            network_backend=backend,
        )

    async def request(self, request: HttpRequest) -> HttpResponse:
        """See HttpClient."""
        if self._closed:
            raise HttpFailed("busy", "the client is closed")
        if self._in_flight >= self._max_in_flight:
            raise HttpFailed("busy", "too many requests under way")
        self._in_flight += 1
        try:
            async with asyncio.timeout(request.limits.seconds):
                return await self._follow(request)
        except (TimeoutError, httpcore.TimeoutException) as error:
            raise HttpFailed("timeout", f"no answer in {request.limits.seconds:g} s") from error
        except ssl.SSLError as error:
            raise HttpFailed("tls", _tls_reason(error)) from error
        except (httpcore.NetworkError, OSError) as error:
            if (broken := _tls_error(error)) is not None:
                raise HttpFailed("tls", _tls_reason(broken)) from error
            raise HttpFailed("unreachable", "no connection, or it broke") from error
        except (httpcore.ProtocolError, httpcore.UnsupportedProtocol) as error:
            raise HttpFailed("protocol", "the answer is not HTTP") from error
        finally:
            self._in_flight -= 1

    async def aclose(self) -> None:
        """See HttpClient."""
        self._closed = True
        await self._pool.aclose()
        if self._own_resolver is not None:
            self._own_resolver.close()

    async def _follow(self, request: HttpRequest) -> HttpResponse:
        method: str = request.method
        body, headers = request.body, _checked(request.headers)
        url, target = self._judged(request.url)
        for hop in range(request.limits.redirects + 1):
            answer = await self._once(method, url, target, headers, body, request.limits)
            place = answer.header("location") if answer.status in REDIRECTS else None
            if place is None or request.limits.redirects == 0:
                return answer
            if hop == request.limits.redirects:
                break
            before = target
            try:
                joined = str(url.join(place))
            except httpx.InvalidURL as error:
                raise HttpFailed("refused_url", "redirect to what is not a URL") from error
            url, target = self._judged(joined)
            if before.scheme == "https" and target.scheme != "https":
                raise HttpFailed("refused_url", "redirect from https to http")
            if answer.status in (301, 302, 303) and method not in ("GET", "HEAD"):
                method, body = "GET", b""
                headers = [(k, v) for k, v in headers if k.lower() != "content-type"]
            if (before.scheme, before.host, before.port) != (
                target.scheme,
                target.host,
                target.port,
            ):
                if body:
                    raise HttpFailed("refused_url", "redirect of a body to another origin")
                headers = [(k, v) for k, v in headers if k.lower() in _HARMLESS]
        raise HttpFailed("too_many_redirects", f"more than {request.limits.redirects}")

    def _judged(self, text: str) -> tuple[httpx.URL, Target]:
        if len(text) > MAX_URL:
            raise HttpFailed("refused_url", "too long")
        try:
            url = httpx.URL(text)
        except (httpx.InvalidURL, TypeError, ValueError) as error:
            raise HttpFailed("refused_url", "not a URL") from error
        host = url.raw_host.decode("ascii").lower().removesuffix(".")
        if (literal := literal_address(host)) is not None:
            host = str(literal)
        port = DEFAULT_PORTS.get(url.scheme, 0) if url.port is None else url.port
        target = Target(scheme=url.scheme, host=host, port=port, has_userinfo=bool(url.userinfo))
        verdict = judge_url(target, self._policy)
        if isinstance(verdict, Refused):
            kind = "refused_url" if verdict.reason in URL_REASONS else "refused_address"
            raise HttpFailed(kind, verdict.reason)
        return url, target

    async def _once(
        self,
        method: str,
        url: httpx.URL,
        target: Target,
        headers: list[Header],
        body: bytes,
        limits: HttpLimits,
    ) -> HttpResponse:
        named = f"[{target.host}]" if ":" in target.host else target.host
        default = target.port == DEFAULT_PORTS[target.scheme]
        sent: list[Header] = [
            ("Host", named if default else f"{named}:{target.port}"),
            ("Accept-Encoding", "identity"),
        ]
        if not any(key.lower() == "user-agent" for key, _ in headers):
            sent.append(("User-Agent", self._user_agent))
        if body or method in ("POST", "PUT"):
            sent.append(("Content-Length", str(len(body))))
        sent += headers
        seconds = limits.seconds
        response = await self._pool.handle_async_request(
            httpcore.Request(
                method,
                httpcore.URL(scheme=target.scheme, host=target.host, port=target.port, target=url.raw_path),
                headers=[(k.encode("ascii"), v.encode("ascii")) for k, v in sent],
                content=body,
                extensions={"timeout": dict.fromkeys(("connect", "read", "write", "pool"), seconds)},
            )
        )
        received = tuple((k.decode("latin-1"), v.decode("latin-1")) for k, v in response.headers)
        answer = HttpResponse(status=response.status, url=str(url), headers=received, body=b"")
        try:
            if method == "HEAD" or (
                limits.redirects and answer.status in REDIRECTS and answer.header("location")
            ):
                return answer
            stream = cast("AsyncIterable[bytes]", response.stream)
            whole = await _read(answer, stream, limits.max_body)
        finally:
            await response.aclose()
        return HttpResponse(status=answer.status, url=answer.url, headers=received, body=whole)


async def _read(answer: HttpResponse, stream: AsyncIterable[bytes], most: int) -> bytes:
    if (answer.header("content-encoding") or "identity").strip().lower() != "identity":
        raise HttpFailed("protocol", "an encoded body though none was asked for")
    stated = answer.header("content-length") or ""
    if stated.isdigit() and int(stated[:18]) > most:
        raise HttpFailed("too_large", f"more than {most} bytes")
    body = bytearray()
    async for chunk in stream:
        body += chunk
        if len(body) > most:
            raise HttpFailed("too_large", f"more than {most} bytes")
    return bytes(body)


def _checked(headers: Iterable[Header]) -> list[Header]:
    checked = list(headers)
    for name, value in checked:
        if _TOKEN.fullmatch(name) is None or name.lower() in _OURS:
            raise HttpFailed("protocol", "a header that may not be set")
        if not value.isascii() or any(ord(c) < 0x20 or ord(c) == 0x7F for c in value):
            raise HttpFailed("protocol", "a header value that is not printable ASCII")
    return checked


def _tls_error(error: BaseException) -> ssl.SSLError | None:
    """httpcore hides why a handshake failed in the chain of causes."""
    seen: BaseException | None = error
    while seen is not None and not isinstance(seen, ssl.SSLError):
        seen = seen.__cause__ or seen.__context__
    return seen


def _tls_reason(error: ssl.SSLError) -> str:
    if isinstance(error, ssl.SSLCertVerificationError):
        return f"certificate refused: {error.verify_message}"
    return f"no handshake: {error.reason or 'broken off'}"
