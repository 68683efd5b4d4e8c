"""The closed set of reasons for which a request is refused.

Every refusal in the program is a `Refusal` with one of the codes below.  Protocols map the code to
their own form (REST: RFC 9457 problem, WebSocket: an `error` frame); none of them invents another.
"""

from __future__ import annotations

from typing import Literal, get_args

Code = Literal[
    # who you are
    "unauthenticated",
    "token_expired",
    "credentials_refused",
    "verification_required",
    # what was asked
    "invalid",
    "malformed",
    "too_large",
    "unsupported",
    # what you may see and do
    "not_found",
    "forbidden",
    "peer_unavailable",
    # what stands in the way
    "conflict",
    "client_id_reused",
    "handle_taken",
    "already_done",
    "stale",
    "expired",
    "limit_reached",
    "rate_limited",
    # what the server cannot do now
    "storage_full",
    "unavailable",
    "internal",
]

CODES: tuple[str, ...] = get_args(Code)


class Refusal(Exception):
    """A request that was refused and changed nothing.

    `detail` is a sentence for the person who wrote the client; it never holds what the caller may
    not see.  `retry_after_ms` is set when the same request may succeed later.
    """

    def __init__(
        self,
        code: Code,
        detail: str,
        *,
        retry_after_ms: int | None = None,
        field: str | None = None,
    ) -> None:
        super().__init__(detail)
        self.code: Code = code
        self.detail = detail
        self.retry_after_ms = retry_after_ms
        self.field = field

    def __repr__(self) -> str:
        return f"Refusal({self.code!r}, {self.detail!r})"


def not_found(what: str = "conversation") -> Refusal:
    """The one answer for what does not exist and for what the caller may not see."""
    return Refusal("not_found", f"No such {what}.")
