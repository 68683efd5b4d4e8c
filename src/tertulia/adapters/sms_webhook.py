"""SMS by an operator's own endpoint: a JSON POST signed by the Standard Webhooks convention.

The body is `{"type": "sms.send", "timestamp": "…Z", "data": {"to": "+…", "text": "…"}}`, with
`webhook-id` (the same at each retry: the receiver's key for idempotency), `webhook-timestamp` (Unix
seconds) and `webhook-signature` (`v1,` and base64 of HMAC-SHA256 over `id.timestamp.body`). Any 2xx
means that the receiver has taken the text over.

`tertulia doctor` posts `{"type": "sms.check", …, "data": {}}`, signed alike; the receiver answers
2xx and sends nothing.
"""

import hashlib
import hmac
from base64 import b64decode, b64encode
from binascii import Error as Base64Error
from collections.abc import Callable
from datetime import UTC, datetime

import msgspec

from tertulia.ports.http import HttpClient, HttpFailed, HttpLimits, HttpRequest
from tertulia.ports.sms import DeliveryFailed, Sms, judge_answer, judge_failure, sms_fault

LIMITS = HttpLimits(max_body=64 * 1024, seconds=15.0)
PREFIX = "whsec_"


class WebhookSettings(msgspec.Struct, frozen=True, kw_only=True):
    """Where to post. `secret` is `whsec_` and base64 of 24 to 64 random bytes."""

    url: str
    secret: str


def read_secret(secret: str) -> bytes:
    """The key in a `whsec_…` secret. Raises ValueError when it is none, without repeating it."""
    try:
        key = b64decode(secret.removeprefix(PREFIX), validate=True)
    except (Base64Error, ValueError):
        key = b""
    if not secret.startswith(PREFIX) or not 24 <= len(key) <= 64:
        raise ValueError(f"the secret is not {PREFIX} and base64 of 24 to 64 bytes")
    return key


def sign(key: bytes, message_id: str, timestamp: int, body: bytes) -> str:
    """The value of `webhook-signature` for one delivery."""
    signed = f"{message_id}.{timestamp}.".encode() + body
    return "v1," + b64encode(hmac.new(key, signed, hashlib.sha256).digest()).decode()


class WebhookSmsSender:
    """SmsSender that leaves the sending to a program of the operator's."""

    def __init__(self, settings: WebhookSettings, *, http: HttpClient, now: Callable[[], float]) -> None:
        """`now` is Unix time. Raises ValueError for a secret that is none."""
        self._url = settings.url
        self._key = read_secret(settings.secret)
        self._http = http
        self._now = now

    async def send(self, sms: Sms) -> None:
        """See SmsSender."""
        if fault := sms_fault(sms):
            raise DeliveryFailed(True, fault, code="invalid")
        await self._post(sms.id, "sms.send", {"to": sms.to, "text": sms.text})

    async def check(self) -> str:
        """See SmsSender."""
        await self._post(f"check-{int(self._now())}", "sms.check", {})
        return f"{self._url} accepts our signature"

    async def aclose(self) -> None:
        """See SmsSender; the HTTP client belongs to whoever made it."""

    async def _post(self, message_id: str, kind: str, data: dict[str, str]) -> None:
        now = self._now()
        stamp = datetime.fromtimestamp(int(now), UTC).isoformat().replace("+00:00", "Z")
        body = msgspec.json.encode({"type": kind, "timestamp": stamp, "data": data})
        request = HttpRequest(
            url=self._url,
            method="POST",
            headers=(
                ("Content-Type", "application/json"),
                ("webhook-id", message_id),
                ("webhook-timestamp", str(int(now))),
                ("webhook-signature", sign(self._key, message_id, int(now), body)),
            ),
            body=body,
            limits=LIMITS,
        )
        try:
            response = await self._http.request(request)
        except HttpFailed as error:
            raise judge_failure(error) from error
        if (failed := judge_answer(response, None, now)) is not None:
            raise failed
