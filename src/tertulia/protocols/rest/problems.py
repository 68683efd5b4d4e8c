"""RFC 9457 problem details: what every refused request is answered with.

One closed table from the codes of `domain.errors` to a status and a title.  What the framework refuses
(an unknown route, a method, a media type) becomes a problem here as well; nothing internal is in any.
"""

from __future__ import annotations

from collections.abc import Mapping
from types import MappingProxyType
from typing import Annotated, Final

import msgspec
from msgspec import Meta

from tertulia.domain.errors import Code, Refusal

MEDIA_TYPE: Final = "application/problem+json"
TYPE_PREFIX: Final = "urn:tertulia:problem:"

TABLE: Final[Mapping[Code, tuple[int, str]]] = MappingProxyType(
    {
        "unauthenticated": (401, "Sign in"),
        "token_expired": (401, "The token has expired"),
        "credentials_refused": (401, "The credentials are refused"),
        "verification_required": (403, "The address is not verified"),
        "malformed": (400, "Not of the shape that is asked for"),
        "invalid": (422, "Not acceptable as it is"),
        "too_large": (413, "Too large"),
        "unsupported": (415, "Not supported"),
        "not_found": (404, "Not found"),
        "forbidden": (403, "Not allowed"),
        "peer_unavailable": (403, "The person cannot be reached"),
        "conflict": (409, "In conflict with what is there"),
        "client_id_reused": (409, "The idempotency key was used for another request"),
        "handle_taken": (409, "The handle is taken"),
        "already_done": (409, "Done already"),
        "stale": (409, "Changed meanwhile"),
        "expired": (410, "Expired"),
        "limit_reached": (409, "A limit is reached"),
        "rate_limited": (429, "Too many requests"),
        "storage_full": (507, "No room to store it"),
        "unavailable": (503, "Not available now"),
        "internal": (500, "The server failed"),
    }
)
"""The status and title of every code."""


class Problem(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    """Why a request was refused; it changed nothing.

    `code` is stable and made for programs, `detail` for whoever wrote the client.  `field` names the
    member of the request that is wrong.  `retry_after_ms`: the same request may succeed after that.
    """

    type: Annotated[
        str, Meta(description="`urn:tertulia:problem:` and the code.", pattern="^urn:tertulia:problem:")
    ]
    title: str
    status: Annotated[int, Meta(ge=400, le=599)]
    detail: str
    code: Code
    request_id: Annotated[str, Meta(description="Names the request in the server's log.")]
    field: str | None = None
    retry_after_ms: Annotated[int, Meta(ge=0)] | None = None


def status_of(refusal: Refusal) -> int:
    """The HTTP status of a refusal."""
    return TABLE[refusal.code][0]


def problem(refusal: Refusal, request_id: str, status: int | None = None) -> Problem:
    """The document for a refusal; `status` where HTTP itself asks for another one (405)."""
    usual, title = TABLE[refusal.code]
    return Problem(
        type=TYPE_PREFIX + refusal.code,
        title=title,
        status=status or usual,
        detail=refusal.detail,
        code=refusal.code,
        request_id=request_id,
        field=refusal.field,
        retry_after_ms=refusal.retry_after_ms,
    )


def headers_of(refusal: Refusal, status: int, *, token_sent: bool) -> list[tuple[str, str]]:
    """The headers that belong to a refusal: `Retry-After` in whole seconds (RFC 9110 §10.2.3), and the
    challenge of a 401 (RFC 6750 §3)."""
    headers: list[tuple[str, str]] = []
    if refusal.retry_after_ms is not None:
        headers.append(("retry-after", str(max(1, -(-refusal.retry_after_ms // 1000)))))
    if status == 401:
        bad = token_sent and refusal.code != "credentials_refused"
        challenge = 'Bearer realm="tertulia"'
        headers.append(("www-authenticate", challenge + (', error="invalid_token"' if bad else "")))
    return headers


_encode = msgspec.json.Encoder().encode


def body_of(document: Problem) -> bytes:
    """The document as it goes out."""
    return _encode(document)
