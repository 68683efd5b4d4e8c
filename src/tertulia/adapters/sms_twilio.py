"""SMS by the HTTP API that Twilio made common and other gateways imitate.

`POST {base}/2010-04-01/Accounts/{sid}/Messages.json`, a form, basic authentication.
"""

from base64 import b64encode
from collections.abc import Callable
from typing import Literal
from urllib.parse import quote, urlencode

import msgspec

from tertulia.ports.http import HttpClient, HttpFailed, HttpLimits, HttpRequest
from tertulia.ports.sms import DeliveryFailed, Sms, judge_answer, judge_failure, sms_fault

LIMITS = HttpLimits(max_body=64 * 1024, seconds=15.0)
DEAD = frozenset({"failed", "undelivered", "canceled"})


class TwilioSettings(msgspec.Struct, frozen=True, kw_only=True):
    """One account. `sender` is a number in E.164 form, a name, or a Messaging Service (`MG…`)."""

    account_sid: str
    auth_token: str
    sender: str
    base_url: str = "https://api.twilio.com"


class _Answer(msgspec.Struct):
    """What of the API's answer counts: of a message, and of an error."""

    sid: str | None = None
    status: str | int | None = None
    error_code: int | None = None
    code: int | None = None


class TwilioSmsSender:
    """SmsSender over a Twilio-shaped API.

    `Idempotency-Key` carries the id of the SMS; Twilio itself ignores it, so that there a retry
    after a time-out may send the text twice.
    """

    def __init__(self, settings: TwilioSettings, *, http: HttpClient, now: Callable[[], float]) -> None:
        """`now` is Unix time. Raises ValueError for settings that are no account."""
        if not settings.account_sid.isalnum() or not settings.account_sid.isascii():
            raise ValueError("account_sid is not letters and digits")
        if not settings.auth_token or not settings.sender:
            raise ValueError("auth_token and sender are needed")
        self._settings = settings
        self._http = http
        self._now = now
        self._account = f"{settings.base_url.rstrip('/')}/2010-04-01/Accounts/{quote(settings.account_sid)}"
        pair = f"{settings.account_sid}:{settings.auth_token}".encode()
        self._authorization = ("Authorization", f"Basic {b64encode(pair).decode()}")

    async def send(self, sms: Sms) -> None:
        """See SmsSender."""
        if fault := sms_fault(sms):
            raise DeliveryFailed(True, fault, code="invalid")
        service = self._settings.sender.startswith("MG")
        form = {
            "To": sms.to,
            "MessagingServiceSid" if service else "From": self._settings.sender,
            "Body": sms.text,
        }
        answer = await self._ask(
            "POST",
            f"{self._account}/Messages.json",
            body=urlencode(form).encode(),
            headers=(
                ("Content-Type", "application/x-www-form-urlencoded"),
                ("Idempotency-Key", sms.id),
            ),
        )
        if answer.sid is None:
            raise DeliveryFailed(False, "accepted without a sid", code="protocol")
        if answer.status in DEAD:
            raise DeliveryFailed(True, f"status {answer.status}, code {answer.error_code}")

    async def check(self) -> str:
        """See SmsSender. Reads the account, which sends and costs nothing."""
        answer = await self._ask("GET", f"{self._account}.json")
        if answer.status not in (None, "active"):
            raise DeliveryFailed(True, f"the account is {answer.status}", code="credentials")
        return f"{self._settings.base_url} knows the account, sending as {self._settings.sender}"

    async def aclose(self) -> None:
        """See SmsSender; the HTTP client belongs to whoever made it."""

    async def _ask(
        self,
        method: Literal["GET", "POST"],
        url: str,
        *,
        body: bytes = b"",
        headers: tuple[tuple[str, str], ...] = (),
    ) -> _Answer:
        request = HttpRequest(
            url=url,
            method=method,
            headers=(self._authorization, ("Accept", "application/json"), *headers),
            body=body,
            limits=LIMITS,
        )
        try:
            response = await self._http.request(request)
        except HttpFailed as error:
            raise judge_failure(error) from error
        try:
            answer = msgspec.json.decode(response.body, type=_Answer)
        except msgspec.DecodeError:
            answer = None
        if (failed := judge_answer(response, answer and answer.code, self._now())) is not None:
            raise failed
        if answer is None:
            raise DeliveryFailed(False, f"http {response.status} without JSON", code="protocol")
        return answer
