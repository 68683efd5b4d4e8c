import asyncio
import base64
import hashlib
import hmac
import json
from collections.abc import Awaitable
from email.utils import formatdate
from typing import Any
from urllib.parse import parse_qs

import pytest

from tertulia.adapters.http_guarded import GuardedHttpClient, parse_policy
from tertulia.adapters.sms_twilio import TwilioSettings, TwilioSmsSender
from tertulia.adapters.sms_webhook import WebhookSettings, WebhookSmsSender, read_secret, sign
from tertulia.ports.http import HttpFailed, HttpRequest, HttpResponse, retry_after_seconds
from tertulia.ports.sms import DeliveryFailed, Sms, SmsSender
from tests.delivery.peers import Answer, Received, http_peer, plain, unused_port

NOW = 1_790_000_000.5
KEY = bytes(range(32))
SMS = Sms(to="+34600123456", text="Tu clave: 428913 & más=¿sí?+%", id="01JABC")
ACCEPTED = plain(201, b'{"sid": "SM1", "status": "queued", "error_code": null}')


def make(kind: str, endpoint: str, client: GuardedHttpClient) -> SmsSender:
    if kind == "twilio":
        settings = TwilioSettings(
            account_sid="AC0123", auth_token="s3cret", sender="+15005550006",
            base_url=f"http://{endpoint}/",
        )  # fmt: skip
        return TwilioSmsSender(settings, http=client, now=lambda: NOW)
    hook = WebhookSettings(url=f"http://{endpoint}/hook", secret="whsec_" + base64.b64encode(KEY).decode())
    return WebhookSmsSender(hook, http=client, now=lambda: NOW)


async def attempt(kind: str, *answers: Answer, check: bool = False) -> list[Received]:
    async with http_peer(*answers) as peer:
        client = GuardedHttpClient(parse_policy([peer.endpoint]))
        try:
            sender = make(kind, peer.endpoint, client)
            await (sender.check() if check else sender.send(SMS))
        finally:
            await client.aclose()
    return peer.received


async def failure(tried: Awaitable[object]) -> DeliveryFailed:
    with pytest.raises(DeliveryFailed) as caught:
        await tried
    assert "34600123456" not in caught.value.reason
    assert "s3cret" not in caught.value.reason
    return caught.value


async def test_the_request_that_twilio_gets() -> None:
    (got,) = await attempt("twilio", ACCEPTED)
    assert (got.method, got.target) == ("POST", "/2010-04-01/Accounts/AC0123/Messages.json")
    assert got.headers["content-type"] == "application/x-www-form-urlencoded"
    assert base64.b64decode(got.headers["authorization"].removeprefix("Basic ")) == (b"AC0123:s3cret")
    assert got.headers["idempotency-key"] == "01JABC"
    assert parse_qs(got.body.decode(), strict_parsing=True) == {
        "To": ["+34600123456"],
        "From": ["+15005550006"],
        "Body": ["Tu clave: 428913 & más=¿sí?+%"],
    }


async def test_a_messaging_service_is_named_as_such() -> None:
    async with http_peer(ACCEPTED) as peer:
        client = GuardedHttpClient(parse_policy([peer.endpoint]))
        settings = TwilioSettings(
            account_sid="AC1", auth_token="t", sender="MG77", base_url=f"http://{peer.endpoint}"
        )
        await TwilioSmsSender(settings, http=client, now=lambda: NOW).send(SMS)
        await client.aclose()
    form = parse_qs(peer.received[0].body.decode())
    assert form["MessagingServiceSid"] == ["MG77"]
    assert "From" not in form


async def test_the_request_that_a_webhook_gets_verifies() -> None:
    (got,) = await attempt("webhook", plain(204))
    assert (got.method, got.target) == ("POST", "/hook")
    assert got.headers["webhook-id"] == "01JABC"
    assert got.headers["webhook-timestamp"] == "1790000000"
    assert json.loads(got.body) == {
        "type": "sms.send",
        "timestamp": "2026-09-21T14:13:20Z",
        "data": {"to": SMS.to, "text": SMS.text},
    }
    # As a receiver does it, from the convention's own words.
    content = f"{got.headers['webhook-id']}.{got.headers['webhook-timestamp']}.".encode() + got.body
    expected = base64.b64encode(hmac.digest(KEY, content, hashlib.sha256)).decode()
    assert got.headers["webhook-signature"] == f"v1,{expected}"


async def test_checks_send_nothing() -> None:
    (got,) = await attempt("twilio", plain(200, b'{"status": "active"}'), check=True)
    assert (got.method, got.target) == ("GET", "/2010-04-01/Accounts/AC0123.json")
    (got,) = await attempt("webhook", plain(200), check=True)
    assert (json.loads(got.body)["type"], json.loads(got.body)["data"]) == ("sms.check", {})
    failed = await failure(attempt("twilio", plain(200, b'{"status": "suspended"}'), check=True))
    assert (failed.permanent, failed.code) == (True, "credentials")


@pytest.mark.parametrize("kind", ["twilio", "webhook"])
@pytest.mark.parametrize(
    ("status", "permanent", "code"),
    [
        (302, True, "protocol"),
        (400, True, "refused"),
        (401, True, "credentials"),
        (403, True, "credentials"),
        (404, True, "refused"),
        (408, False, "refused"),
        (410, True, "refused"),
        (429, False, "throttled"),
        (500, False, "refused"),
        (503, False, "refused"),
    ],
)
async def test_every_status_has_its_meaning(kind: str, status: int, permanent: bool, code: str) -> None:
    answer = plain(status, b"{}", {"Location": "/elsewhere", "Retry-After": "17"})
    failed = await failure(attempt(kind, answer))
    assert (failed.permanent, failed.code) == (permanent, code)
    assert failed.retry_after == (None if permanent else 17.0)
    assert f"http {status}" in failed.reason


async def test_twilios_error_code_is_in_the_reason_and_its_words_are_not() -> None:
    body = b'{"code": 21211, "message": "The To number +34600123456 is not valid", "status": 400}'
    failed = await failure(attempt("twilio", plain(400, body)))
    assert failed.reason == "http 400, code 21211"


@pytest.mark.parametrize(
    ("body", "permanent", "code"),
    [
        (b"<html>sign in to the wifi</html>", False, "protocol"),
        (b"", False, "protocol"),
        (b"[]", False, "protocol"),
        (b'{"status": "queued"}', False, "protocol"),
        (b'{"sid": "SM1", "status": "failed", "error_code": 30007}', True, "refused"),
    ],
)
async def test_a_2xx_that_did_not_take_the_text(body: bytes, permanent: bool, code: str) -> None:
    failed = await failure(attempt("twilio", plain(200, body)))
    assert (failed.permanent, failed.code) == (permanent, code)


@pytest.mark.parametrize("kind", ["twilio", "webhook"])
async def test_no_listener_a_broken_line_and_an_endless_answer(kind: str) -> None:
    async def hang_up(_: Received, _writer: asyncio.StreamWriter) -> None:
        return

    assert (await failure(attempt(kind, hang_up))).permanent is False
    failed = await failure(attempt(kind, plain(200, b"x" * 100_000)))
    assert (failed.permanent, failed.code) == (False, "protocol")
    client = GuardedHttpClient(parse_policy([endpoint := f"127.0.0.1:{await unused_port()}"]))
    failed = await failure(make(kind, endpoint, client).send(SMS))
    assert (failed.permanent, failed.code) == (False, "unreachable")
    await client.aclose()


@pytest.mark.parametrize("kind", ["twilio", "webhook"])
async def test_an_address_that_is_not_listed_is_refused_for_good(kind: str) -> None:
    async with http_peer() as peer:
        client = GuardedHttpClient()
        failed = await failure(make(kind, peer.endpoint, client).send(SMS))
        await client.aclose()
    assert (failed.permanent, failed.code) == (True, "refused")
    assert peer.received == []


class Fails:
    """An HttpClient that fails in a given way."""

    def __init__(self, code: Any) -> None:
        self.code = code

    async def request(self, request: HttpRequest) -> HttpResponse:
        raise HttpFailed(self.code, "said so")

    async def aclose(self) -> None: ...


@pytest.mark.parametrize(
    ("way", "permanent", "code"),
    [
        ("timeout", False, "timeout"),
        ("tls", False, "tls"),
        ("busy", False, "throttled"),
        ("unresolved", False, "unreachable"),
        ("unreachable", False, "unreachable"),
        ("too_large", False, "protocol"),
        ("refused_url", True, "refused"),
        ("refused_address", True, "refused"),
    ],
)
async def test_every_failure_of_the_way_has_its_meaning(way: str, permanent: bool, code: str) -> None:
    for kind in ("twilio", "webhook"):
        failed = await failure(make(kind, "gateway.example", Fails(way)).send(SMS))
        assert (failed.permanent, failed.code) == (permanent, code)


@pytest.mark.parametrize(
    ("value", "seconds"),
    [
        ("0", 0.0),
        ("120", 120.0),
        (" 7 ", 7.0),
        ("99999999999999", 86_400.0),
        (formatdate(NOW + 90, usegmt=True), pytest.approx(90, abs=1)),
        (formatdate(NOW - 90, usegmt=True), 0.0),
        (formatdate(NOW + 1e7, usegmt=True), 86_400.0),
        ("-5", None),
        ("soon", None),
        ("1.5", None),
        ("", None),
        ("٣", None),
    ],
    ids=str,
)
def test_retry_after_in_both_forms(value: str, seconds: float | None) -> None:
    assert retry_after_seconds([("X", "1"), ("retry-AFTER", value)], NOW) == seconds


def test_retry_after_left_out() -> None:
    assert retry_after_seconds([("Date", "x")], NOW) is None


@pytest.mark.parametrize(
    "secret", ["", "whsec_", "whsec_!!!", "whsec_c2hvcnQ=", base64.b64encode(KEY).decode(), "é"]
)
def test_a_secret_that_is_none_is_refused_and_not_repeated(secret: str) -> None:
    with pytest.raises(ValueError, match="24 to 64 bytes") as caught:
        WebhookSmsSender(WebhookSettings(url="https://x", secret=secret), http=Fails("tls"), now=lambda: NOW)
    assert secret in ("", "whsec_") or secret not in str(caught.value)


@pytest.mark.parametrize(
    "changes", [{"account_sid": "../x"}, {"account_sid": ""}, {"auth_token": ""}, {"sender": ""}],
    ids=str,
)  # fmt: skip
def test_an_account_that_is_none_is_refused(changes: dict[str, str]) -> None:
    given = {"account_sid": "AC1", "auth_token": "t", "sender": "+15005550006"} | changes
    with pytest.raises(ValueError, match=r"account_sid|auth_token"):
        TwilioSmsSender(TwilioSettings(**given), http=Fails("tls"), now=lambda: NOW)


def test_the_signature_of_a_published_example() -> None:
    key = read_secret("whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw")
    signature = sign(key, "msg_p5jXN8AQM9LWM0D4loKWxJek", 1614265330, b'{"test": 2432232314}')
    assert signature == "v1,g0hM9SsE+OTPJTGt/tmIKtSyZlE3uFJELVlNIOLJ1OE="
