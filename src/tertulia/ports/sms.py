"""Sending one SMS."""

import re
from typing import Annotated, Protocol

import msgspec

from tertulia.ports.delivery import DeliveryCode, DeliveryFailed
from tertulia.ports.http import HttpFailed, HttpResponse, retry_after_seconds

__all__ = [
    "E164",
    "DeliveryCode",
    "DeliveryFailed",
    "Sms",
    "SmsSender",
    "judge_answer",
    "judge_failure",
    "sms_fault",
]

# RFC 9110 section 15.5.9, RFC 8470 and RFC 6585: client errors that pass by themselves.
PASSING = frozenset({408, 425, 429})
MAX_TEXT = 1_600  # characters; what the large gateways accept in one request

_E164 = re.compile(r"\+[1-9][0-9]{6,14}")
_ID = re.compile(r"[A-Za-z0-9._:-]{1,64}")

E164 = Annotated[str, msgspec.Meta(pattern=r"^\+[1-9][0-9]{6,14}$")]
"""A telephone number as ITU-T E.164 writes it with its prefix: `+34600123456`."""


class Sms(msgspec.Struct, frozen=True, kw_only=True):
    """One text to one telephone.

    `id` is the caller's idempotency key: a retry carries the same one. Where the gateway knows
    such a key it is passed on; where it does not, a retry after a time-out may arrive twice.
    """

    to: E164
    text: str
    id: str


class SmsSender(Protocol):
    """Hands texts to a gateway."""

    async def send(self, sms: Sms) -> None:
        """Return once the gateway has accepted the whole text.

        Raises DeliveryFailed, and nothing else, when it has not.
        """
        ...

    async def check(self) -> str:
        """Try the way without sending; say in one line what was found (`tertulia doctor`).

        Raises DeliveryFailed.
        """
        ...

    async def aclose(self) -> None:
        """End what is open. Sends that are under way fail as temporary."""
        ...


def sms_fault(sms: Sms) -> str | None:
    """Say why no sender may send `sms`, or None. Every sender asks this first."""
    if _E164.fullmatch(sms.to) is None:
        return "not a telephone number in E.164 form"
    if not sms.text or len(sms.text) > MAX_TEXT:
        return f"text empty or longer than {MAX_TEXT} characters"
    if any((ord(c) < 0x20 and c not in "\n\r") or 0xD800 <= ord(c) <= 0xDFFF for c in sms.text):
        return "control character in the text"
    if _ID.fullmatch(sms.id) is None:
        return "id is not 1 to 64 of A-Z a-z 0-9 . _ : -"
    return None


def judge_answer(response: HttpResponse, vendor_code: int | None, now: float) -> DeliveryFailed | None:
    """What an HTTP gateway's answer means for the text: None when it is accepted. Pure.

    `vendor_code` is the gateway's own number for the error, for the reason; `now` is Unix time.
    """
    status = response.status
    if 200 <= status <= 299:
        return None
    reason = f"http {status}" if vendor_code is None else f"http {status}, code {vendor_code}"
    wait = retry_after_seconds(response.headers, now)
    if status in PASSING or status >= 500:
        code: DeliveryCode = "throttled" if status == 429 else "refused"
        return DeliveryFailed(False, reason, code=code, retry_after=wait)
    if status < 400:
        return DeliveryFailed(True, f"{reason}: not the API", code="protocol")
    return DeliveryFailed(True, reason, code="credentials" if status in (401, 403) else "refused")


def judge_failure(error: HttpFailed) -> DeliveryFailed:
    """What it means for the text when an HTTP gateway gave no usable answer. Pure."""
    codes: dict[str, DeliveryCode] = {
        "timeout": "timeout",
        "tls": "tls",
        "busy": "throttled",
        "unreachable": "unreachable",
        "unresolved": "unreachable",
    }
    permanent = error.code in ("refused_url", "refused_address")
    code = "refused" if permanent else codes.get(error.code, "protocol")
    return DeliveryFailed(permanent, f"{error.code}: {error.reason}", code=code)
