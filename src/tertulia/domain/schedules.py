"""When a message may be sent later: pure rules."""

from __future__ import annotations

from typing import Final

from tertulia.domain.errors import Refusal

MAX_PENDING: Final = 100
MAX_AHEAD_MS: Final = 366 * 86_400_000
"""A year, leap years included."""


def check_send_at(send_at: int, now_ms: int) -> Refusal | None:
    """The time lies ahead, and at most a year."""
    if send_at <= now_ms:
        return Refusal("invalid", "`send_at` must lie in the future.", field="send_at")
    if send_at > now_ms + MAX_AHEAD_MS:
        return Refusal("invalid", "`send_at` lies more than a year ahead.", field="send_at")
    return None


def check_pending(pending: int) -> Refusal | None:
    """One more message may wait."""
    if pending >= MAX_PENDING:
        return Refusal("limit_reached", f"At most {MAX_PENDING} messages wait to be sent.")
    return None
