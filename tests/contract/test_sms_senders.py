"""What every SmsSender promises, whatever it stands on."""

import asyncio
import base64
import json
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass
from typing import Any
from urllib.parse import parse_qs

import pytest
import structlog

from tertulia.adapters.http_guarded import GuardedHttpClient, parse_policy
from tertulia.adapters.sms_log import LogSmsSender
from tertulia.adapters.sms_smpp import SmppSettings, SmppSmsSender
from tertulia.adapters.sms_twilio import TwilioSettings, TwilioSmsSender
from tertulia.adapters.sms_webhook import WebhookSettings, WebhookSmsSender
from tertulia.ports.sms import DeliveryFailed, Sms, SmsSender
from tests.delivery.peers import HttpPeer, Received, http_peer, plain
from tests.delivery.smsc import Line, Smsc, Submitted, accept, pdu, smsc_peer

Taken = list[tuple[str, str]]


@dataclass
class Stand:
    """A sender with its gateway: what the gateway took, and how to make it refuse."""

    sender: SmsSender
    taken: Callable[[], Taken]
    refuse: Callable[[bool], None] | None = None  # permanent?


@asynccontextmanager
async def log_stand() -> AsyncIterator[Stand]:
    with structlog.testing.capture_logs() as lines:
        yield Stand(
            LogSmsSender(structlog.get_logger()),
            lambda: [(e["to"], e["text"]) for e in lines if e["event"] == "sms.printed"],
        )


@asynccontextmanager
async def http_stand(
    make: Callable[[HttpPeer, GuardedHttpClient], SmsSender],
    read: Callable[[Received], tuple[str, str] | None],
) -> AsyncIterator[Stand]:
    async def accepting(request: Received, writer: asyncio.StreamWriter) -> None:
        account = request.method == "GET"
        body = b'{"status": "active"}' if account else b'{"sid": "SM1", "status": "queued"}'
        await plain(200 if account else 201, body)(request, writer)

    async with http_peer(accepting) as peer:
        client = GuardedHttpClient(parse_policy([peer.endpoint]))
        usual = list(peer.answers)
        bad: list[Received] = []

        def refuse(permanent: bool) -> None:
            async def answer(request: Received, writer: asyncio.StreamWriter) -> None:
                bad.append(request)
                await plain(400 if permanent else 503, b"{}")(request, writer)

            peer.answers[:] = [answer, *usual]

        def taken() -> Taken:
            good = [r for r in peer.received if not any(r is each for each in bad)]
            return [got for r in good if (got := read(r)) is not None]

        try:
            yield Stand(make(peer, client), taken, refuse)
        finally:
            await client.aclose()


def twilio_stand() -> Any:
    def make(peer: HttpPeer, client: GuardedHttpClient) -> SmsSender:
        settings = TwilioSettings(
            account_sid="AC1", auth_token="t", sender="+15005550006",
            base_url=f"http://{peer.endpoint}",
        )  # fmt: skip
        return TwilioSmsSender(settings, http=client, now=lambda: 1e9)

    def read(request: Received) -> tuple[str, str] | None:
        form = parse_qs(request.body.decode())
        return (form["To"][0], form["Body"][0]) if request.method == "POST" else None

    return http_stand(make, read)


def webhook_stand() -> Any:
    def make(peer: HttpPeer, client: GuardedHttpClient) -> SmsSender:
        secret = "whsec_" + base64.b64encode(bytes(32)).decode()
        settings = WebhookSettings(url=f"http://{peer.endpoint}/", secret=secret)
        return WebhookSmsSender(settings, http=client, now=lambda: 1e9)

    def read(request: Received) -> tuple[str, str] | None:
        event = json.loads(request.body)
        sent = event["type"] == "sms.send"
        return (event["data"]["to"], event["data"]["text"]) if sent else None

    return http_stand(make, read)


@asynccontextmanager
async def smpp_stand() -> AsyncIterator[Stand]:
    async with smsc_peer() as smsc:
        settings = SmppSettings(
            host="127.0.0.1", port=smsc.port, system_id="casa", password="sesamo",
            sender="Casa", alphabet="ucs2", long_text="payload",
        )  # fmt: skip
        sender = SmppSmsSender(settings)
        bad: list[Submitted] = []

        def refuse(permanent: bool) -> None:
            async def answer(smsc: Smsc, line: Line, sequence: int, got: Submitted) -> None:
                bad.append(got)
                smsc.on_submit = accept
                await line.say(pdu(0x80000004, sequence, status=0x0B if permanent else 0x58))

            smsc.on_submit = answer

        def taken() -> Taken:
            good = [s for s in smsc.submitted if not any(s is each for each in bad)]
            return [
                ("+" + s.destination[2], (s.short_message or s.tlvs[0x424]).decode("utf-16-be")) for s in good
            ]

        try:
            yield Stand(sender, taken, refuse)
        finally:
            await sender.aclose()


STANDS = {
    "log": log_stand,
    "twilio": twilio_stand,
    "webhook": webhook_stand,
    "smpp": smpp_stand,
}
GATEWAYS = [name for name in STANDS if name != "log"]


def sms(**changes: Any) -> Sms:
    return Sms(**({"to": "+34600123456", "text": "Tu clave: 428913", "id": "01JABC"} | changes))


async def failure(attempt: Awaitable[object]) -> DeliveryFailed:
    with pytest.raises(DeliveryFailed) as caught:
        await attempt
    return caught.value


@pytest.mark.parametrize("name", STANDS)
async def test_a_text_arrives_as_it_is(name: str) -> None:
    texts = ["x", "¡Hola! {€} & 100%+", "验证码：428913", "رمزك: 428913\nصالح", "🍵 " * 200, "a" * 1_600]
    async with STANDS[name]() as stand:
        for text in texts:
            await stand.sender.send(sms(text=text))
        assert stand.taken() == [("+34600123456", text) for text in texts]


@pytest.mark.parametrize("name", STANDS)
async def test_check_says_something_and_sends_nothing(name: str) -> None:
    async with STANDS[name]() as stand:
        said = await stand.sender.check()
        assert said
        assert "\n" not in said
        assert stand.taken() == []


@pytest.mark.parametrize("name", STANDS)
@pytest.mark.parametrize(
    "changes",
    [
        {"to": "34600123456"},
        {"to": "+0600123456"},
        {"to": "+34 600 123 456"},
        {"to": "+34600123456\r\nBcc: x"},
        {"to": "+1234567890123456"},
        {"to": "+٣٤٦٠٠١٢٣٤٥٦"},
        {"text": ""},
        {"text": "a" * 1_601},
        {"text": "a\x00b"},
        {"text": "a\x1bb"},
        {"text": "\ud83c"},
        {"id": ""},
        {"id": "a\r\nX: y"},
        {"id": "a" * 65},
    ],
    ids=lambda changes: ascii(next(iter(changes.items())))[:40],
)
async def test_what_no_sender_may_send_reaches_nobody(name: str, changes: dict[str, str]) -> None:
    async with STANDS[name]() as stand:
        failed = await failure(stand.sender.send(sms(**changes)))
        assert (failed.permanent, failed.code) == (True, "invalid")
        assert stand.taken() == []


@pytest.mark.parametrize("name", GATEWAYS)
@pytest.mark.parametrize("permanent", [True, False], ids=["permanent", "temporary"])
async def test_a_refusal_says_whether_to_retry_and_the_retry_works(name: str, permanent: bool) -> None:
    async with STANDS[name]() as stand:
        assert stand.refuse is not None
        stand.refuse(permanent)
        failed = await failure(stand.sender.send(sms()))
        assert failed.permanent is permanent
        assert failed.reason
        assert not any(part in failed.reason for part in ("34600123456", "428913"))
        assert stand.taken() == []
        await stand.sender.send(sms())
        assert len(stand.taken()) == 1


@pytest.mark.parametrize("name", STANDS)
async def test_many_at_once_all_arrive(name: str) -> None:
    async with STANDS[name]() as stand, asyncio.timeout(10):
        await asyncio.gather(*(stand.sender.send(sms(text=f"n{n}", id=f"i{n}")) for n in range(20)))
        assert sorted(stand.taken()) == sorted(("+34600123456", f"n{n}") for n in range(20))


@pytest.mark.parametrize("name", STANDS)
async def test_closing_twice_is_as_good_as_once(name: str) -> None:
    async with STANDS[name]() as stand, asyncio.timeout(5):
        await stand.sender.send(sms())
        await stand.sender.aclose()
        await stand.sender.aclose()
