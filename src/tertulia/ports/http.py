"""Outbound HTTP: one request to an address that the server's policy allows."""

from collections.abc import Sequence
from datetime import UTC
from email.utils import parsedate_to_datetime
from typing import Literal, Protocol

import msgspec

Header = tuple[str, str]

HttpFailure = Literal[
    "refused_url",  # the URL is not one that may be asked: scheme, port, user info, odd host
    "refused_address",  # the host is, or leads only to, addresses that may not be reached
    "unresolved",  # the name has no address
    "unreachable",  # no connection, or one that broke
    "timeout",
    "tls",  # no trustworthy certificate for the name
    "too_large",
    "too_many_redirects",
    "protocol",  # not HTTP, or an encoding that was not asked for
    "busy",  # too many requests under way here; nothing was sent
]


class HttpFailed(Exception):
    """No usable answer. `reason` is for logs: it never holds a path, a query or a header."""

    def __init__(self, code: HttpFailure, reason: str) -> None:
        super().__init__(f"{code}: {reason}")
        self.code: HttpFailure = code
        self.reason = reason


class HttpLimits(msgspec.Struct, frozen=True, kw_only=True):
    """What one request may cost: bytes of body, seconds for all of it, redirects followed."""

    max_body: int = 256 * 1024
    seconds: float = 10.0
    redirects: int = 0


class HttpRequest(msgspec.Struct, frozen=True, kw_only=True):
    """What to ask. Header names and values are ASCII without line breaks."""

    url: str
    method: Literal["GET", "HEAD", "POST", "PUT", "DELETE"] = "GET"
    headers: tuple[Header, ...] = ()
    body: bytes = b""
    limits: HttpLimits = HttpLimits()


class HttpResponse(msgspec.Struct, frozen=True, kw_only=True):
    """The answer; `url` is the one that gave it, after redirects."""

    status: int
    url: str
    headers: tuple[Header, ...]
    body: bytes

    def header(self, name: str) -> str | None:
        """The first value of header `name`, whatever its case."""
        wanted = name.lower()
        return next((value for key, value in self.headers if key.lower() == wanted), None)


class HttpClient(Protocol):
    """The only way in which the server fetches anything."""

    async def request(self, request: HttpRequest) -> HttpResponse:
        """Ask once and return the answer, whatever its status.

        Raises HttpFailed, and nothing else. With `busy`, `refused_url` and `refused_address`
        nothing was sent to the refused target.
        """
        ...

    async def aclose(self) -> None:
        """Close idle connections; requests under way fail."""
        ...


MAX_RETRY_AFTER = 86_400.0


def retry_after_seconds(headers: Sequence[Header], now: float) -> float | None:
    """Read Retry-After (RFC 9110 section 10.2.3) as seconds from `now` (Unix time), or None.

    Both forms, seconds and date, are understood; the result lies between 0 and a day.
    """
    value = next((v.strip() for k, v in headers if k.lower() == "retry-after"), "")
    if value.isascii() and value.isdigit():
        return min(float(value[:9]), MAX_RETRY_AFTER)
    try:
        when = parsedate_to_datetime(value)
    except (ValueError, IndexError, TypeError):
        return None
    moment = when.replace(tzinfo=UTC) if when.tzinfo is None else when
    return min(max(moment.timestamp() - now, 0.0), MAX_RETRY_AFTER)
