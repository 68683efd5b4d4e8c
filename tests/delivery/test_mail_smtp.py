import asyncio
import email
import time
from collections.abc import Awaitable, Callable
from email.header import decode_header, make_header
from email.message import EmailMessage
from email.utils import parsedate_to_datetime
from pathlib import Path
from typing import Any

import pytest

from tertulia.adapters.mail_smtp import SmtpMailer, SmtpSettings
from tertulia.ports.mail import DeliveryFailed, Mail
from tests.delivery.peers import make_certificate, unused_port
from tests.delivery.smtp_peer import PASSWORD, USER, SmtpPeer, smtp_peer

NOW = 1_790_000_000.0


def mail(**changes: Any) -> Mail:
    given: dict[str, Any] = {
        "to": "ana@example.org",
        "subject": "Your code",
        "text": "428913\n",
        "kind": "verify",
        "message_id": "01JABC.verify",
    }
    return Mail(**(given | changes))


def settings(port: int, **changes: Any) -> SmtpSettings:
    given: dict[str, Any] = {
        "host": "127.0.0.1",
        "port": port,
        "sender": "no-reply@casa.example",
        "brand": "Casa Luz",
        "tls": "none",
        "seconds": 5.0,
    }
    return SmtpSettings(**(given | changes))


def mailer(peer: SmtpPeer, ssl_context: Any = None, **changes: Any) -> SmtpMailer:
    return SmtpMailer(settings(peer.port, **changes), now=lambda: NOW, ssl_context=ssl_context)


def content(message: EmailMessage) -> str:
    return str(message.get_content()).replace("\r\n", "\n")


async def failure(attempt: Awaitable[object]) -> DeliveryFailed:
    with pytest.raises(DeliveryFailed) as caught:
        await attempt
    return caught.value


async def test_a_mail_arrives_with_all_its_headers() -> None:
    async with smtp_peer() as peer:
        await mailer(peer).send(mail(text="¡Hola!\n\n428913\n.\n..dots\n"))
    (envelope,), (got,) = peer.envelopes, peer.messages
    assert (envelope.mail_from, envelope.rcpt_tos) == ("no-reply@casa.example", ["ana@example.org"])
    assert got["From"] == "Casa Luz <no-reply@casa.example>"
    assert got["To"] == "ana@example.org"
    assert got["Subject"] == "Your code"
    assert got["Message-ID"] == "<01JABC.verify@casa.example>"
    assert got["Auto-Submitted"] == "auto-generated"
    assert parsedate_to_datetime(got["Date"]).timestamp() == NOW
    assert got.get_content_type() == "text/plain"
    assert content(got) == "¡Hola!\n\n428913\n.\n..dots\n"
    assert bytes(envelope.content or b"").isascii()


@pytest.mark.parametrize(
    ("brand", "subject"),
    [
        ("Casa Luz", "Tu código de verificación"),
        ("مجلس", "رمز التحقق الخاص بك في مجلس"),
        ("茶会 🍵", "您的 茶会 🍵 验证码" * 8),
        ('Luz, "Mar" & <Sol>', "a" * 300),
        ("Café, Ltd. <x@y.z>", "=?utf-8?q?not_encoded?="),
        ("Ünïcödé" * 5 + " SL", "x " * 100 + "é"),
    ],
)
async def test_brand_and_subject_survive_in_every_script(brand: str, subject: str) -> None:
    async with smtp_peer() as peer:
        await mailer(peer, brand=brand).send(mail(subject=subject, text="متن 文本\n"))
    (got,) = peer.messages
    # Decoded by the older parser: the newer one of some Python releases leaves a space between
    # two encoded words of a name (RFC 2047 section 6.2 says it does not count).
    old = email.message_from_bytes(bytes(peer.envelopes[0].content or b""))
    author = str(make_header(decode_header(old["From"])))
    quoted = brand.replace('"', '\\"')
    assert author in (f"{brand} <no-reply@casa.example>", f'"{quoted}" <no-reply@casa.example>')
    assert got["From"].addresses[0].addr_spec == "no-reply@casa.example"
    assert got["Subject"] == subject
    assert content(got) == "متن 文本\n"
    raw = bytes(peer.envelopes[0].content or b"")
    assert raw.isascii()
    assert max(map(len, raw.split(b"\r\n"))) <= 78


async def test_html_is_the_alternative_of_the_text() -> None:
    async with smtp_peer() as peer:
        await mailer(peer).send(mail(html="<p>código</p>"))
    (got,) = peer.messages
    assert got.get_content_type() == "multipart/alternative"
    assert [content(part).strip() for part in got.iter_parts()] == [
        "428913",
        "<p>código</p>",
    ]


async def test_starttls_with_sign_in_and_check(tmp_path: Path) -> None:
    certificate = make_certificate(tmp_path, "localhost", "127.0.0.1")
    async with smtp_peer(starttls=certificate.server, auth=True) as peer:
        sender = mailer(
            peer,
            certificate.client,
            tls="starttls",
            username=USER.decode(),
            password=PASSWORD.decode(),
        )
        await sender.send(mail())
        said = await sender.check()
    assert len(peer.messages) == 1
    assert peer.sessions[0].ssl is not None
    assert peer.sessions[0].authenticated
    assert f"127.0.0.1:{peer.port} answers, TLSv1.3, signed in" == said


# aiosmtpd knows only STARTTLS as TLS, so it has to be told not to insist.
@pytest.mark.filterwarnings("ignore:Requiring AUTH while not requiring TLS")
async def test_implicit_tls_with_sign_in(tmp_path: Path) -> None:
    certificate = make_certificate(tmp_path, "127.0.0.1")
    async with smtp_peer(implicit=certificate.server, auth=True) as peer:
        sender = mailer(
            peer,
            certificate.client,
            tls="implicit",
            username=USER.decode(),
            password=PASSWORD.decode(),
        )
        await sender.send(mail())
        assert "TLSv1.3, signed in" in await sender.check()
    assert len(peer.messages) == 1


async def test_a_wrong_password_is_permanent_and_named(tmp_path: Path) -> None:
    certificate = make_certificate(tmp_path, "127.0.0.1")
    async with smtp_peer(starttls=certificate.server, auth=True) as peer:
        sender = mailer(peer, certificate.client, tls="starttls", username="casa", password="wrong-one")
        for attempt in (sender.send(mail()), sender.check()):
            failed = await failure(attempt)
            assert (failed.permanent, failed.code) == (True, "credentials")
            assert "wrong-one" not in failed.reason
    assert peer.messages == []


async def test_a_server_that_wants_a_sign_in_refuses_without_one(tmp_path: Path) -> None:
    certificate = make_certificate(tmp_path, "127.0.0.1")
    async with smtp_peer(starttls=certificate.server, auth=True) as peer:
        failed = await failure(mailer(peer, certificate.client, tls="starttls").send(mail()))
    assert (failed.permanent, failed.reason) == (True, "smtp 530")


async def test_starttls_never_falls_back() -> None:
    async with smtp_peer() as peer:
        failed = await failure(mailer(peer, tls="starttls").send(mail()))
    assert (failed.permanent, failed.code) == (True, "tls")
    assert peer.messages == []


@pytest.mark.parametrize("mode", ["starttls", "implicit"])
async def test_a_strange_certificate_is_not_trusted(tmp_path: Path, mode: str) -> None:
    served = make_certificate(tmp_path, "127.0.0.1")
    trusted = make_certificate(tmp_path, "localhost", "127.0.0.1")
    tls = {mode: served.server}
    async with smtp_peer(**tls) as peer:
        failed = await failure(mailer(peer, trusted.client, tls=mode).send(mail()))
    assert (failed.permanent, failed.code) == (False, "tls")
    assert "certificate" in failed.reason or "self" in failed.reason
    assert peer.messages == []


async def test_a_certificate_for_another_name_is_not_trusted(tmp_path: Path) -> None:
    certificate = make_certificate(tmp_path, "mail.example")
    async with smtp_peer(starttls=certificate.server) as peer:
        failed = await failure(mailer(peer, certificate.client, tls="starttls").send(mail()))
    assert (failed.permanent, failed.code) == (False, "tls")


@pytest.mark.parametrize(
    ("step", "reply", "permanent", "code"),
    [
        ("RCPT", "550 5.1.1 ana@example.org unknown", True, "refused"),
        ("RCPT", "450 4.2.1 ana@example.org busy", False, "throttled"),
        ("MAIL", "553 no", True, "refused"),
        ("MAIL", "451 later", False, "throttled"),
        ("DATA", "554 5.7.1 spam", True, "refused"),
        ("DATA", "452 4.3.1 disk full", False, "throttled"),
    ],
)
async def test_the_servers_refusals_keep_their_meaning(
    step: str, reply: str, permanent: bool, code: str
) -> None:
    async with smtp_peer() as peer:
        peer.refuse[step] = reply
        failed = await failure(mailer(peer).send(mail()))
        assert (failed.permanent, failed.code) == (permanent, code)
        assert failed.reason == f"smtp {reply[:3]}"
        assert peer.messages == []
        peer.refuse.clear()
        await mailer(peer).send(mail())
    assert len(peer.messages) == 1


@pytest.mark.parametrize(
    "changes",
    [
        {"to": "ana@example.org\r\nBcc: eve@example.org"},
        {"to": "ana@example.org\nRCPT TO:<eve@example.org>"},
        {"to": "ana@example.org, eve@example.org"},
        {"to": "<ana@example.org>"},
        {"to": "ana@example.org>\u2028Bcc:"},
        {"to": "ana@@example.org"},
        {"to": "ana"},
        {"to": "ana@exa mple.org"},
        {"to": "@example.org"},
        {"to": "a\u202ena@example.org"},
        {"to": "a" * 65 + "@example.org"},
        {"to": "ana@" + "a." * 130 + "org"},
        {"subject": "Hi\r\nBcc: eve@example.org"},
        {"subject": "Hi\nX: y"},
        {"subject": "Hi\x00"},
        {"subject": "Hi\x85Bcc: x"},
        {"subject": ""},
        {"subject": "x" * 501},
        {"subject": "\ud800"},
        {"message_id": "a\r\nX: y"},
        {"message_id": "a>b"},
        {"message_id": ""},
        {"text": "a\x00b"},
        {"text": "\udc80"},
        {"text": "x" * 300_000},
        {"html": "\x00"},
    ],
    ids=lambda changes: ascii(next(iter(changes.items())))[:48],
)
async def test_injection_and_nonsense_never_reach_the_server(changes: dict[str, str]) -> None:
    async with smtp_peer() as peer:
        failed = await failure(mailer(peer).send(mail(**changes)))
        assert (failed.permanent, failed.code) == (True, "invalid")
        assert peer.envelopes == []
        assert peer.sessions == []


async def test_a_body_that_looks_like_smtp_is_only_a_body() -> None:
    text = "a\n.\nMAIL FROM:<eve@example.org>\nRCPT TO:<x@example.org>\nDATA\n\r\n.\r\nQUIT\n"
    async with smtp_peer() as peer:
        await mailer(peer).send(mail(text=text))
    (got,) = peer.messages
    assert content(got) == text.replace("\r\n", "\n")


async def test_addresses_beyond_ascii() -> None:
    async with smtp_peer() as peer:
        await mailer(peer).send(mail(to="josé@bücher.example"))
        await mailer(peer).send(mail(to="jose@straße.example"))
    first, second = peer.envelopes
    assert first.rcpt_tos == ["josé@xn--bcher-kva.example"]
    assert "SMTPUTF8" in first.mail_options
    assert second.rcpt_tos == ["jose@xn--strae-oqa.example"]
    assert "SMTPUTF8" not in second.mail_options
    async with smtp_peer(utf8=False) as peer:
        failed = await failure(mailer(peer).send(mail(to="josé@example.org")))
        assert (failed.permanent, failed.code) == (True, "refused")
        assert peer.messages == []


async def test_nobody_listens() -> None:
    sender = SmtpMailer(settings(await unused_port()), now=lambda: NOW)
    for attempt in (sender.send(mail()), sender.check()):
        failed = await failure(attempt)
        assert (failed.permanent, failed.code) == (False, "unreachable")


async def scripted(script: Callable[[asyncio.StreamReader, asyncio.StreamWriter], Awaitable[None]]):
    tasks: set[asyncio.Task[None]] = set()

    async def one(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        try:
            await script(reader, writer)
        except (ConnectionError, asyncio.CancelledError):
            pass
        finally:
            writer.close()

    def accept(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        tasks.add(asyncio.create_task(one(reader, writer)))

    server = await asyncio.start_server(accept, "127.0.0.1", 0)
    return server, server.sockets[0].getsockname()[1], tasks


async def test_a_server_that_says_nothing_hangs_up_or_talks_nonsense() -> None:
    async def silent(_r: asyncio.StreamReader, _w: asyncio.StreamWriter) -> None:
        await asyncio.sleep(30)

    async def hang_up(_r: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        writer.write(b"220 hi\r\n")

    async def web(_r: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        writer.write(b"HTTP/1.1 400 Bad Request\r\n\r\n")

    async def drip(_r: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        while True:
            writer.write(b"220-a\r\n")
            await writer.drain()
            await asyncio.sleep(0.02)

    wanted = [(silent, "timeout"), (hang_up, "unreachable"), (web, "protocol"), (drip, "timeout")]
    for script, code in wanted:
        server, port, tasks = await scripted(script)
        try:
            sender = SmtpMailer(settings(port, seconds=0.3, total_seconds=0.5), now=lambda: NOW)
            before = time.monotonic()
            failed = await failure(sender.send(mail()))
            assert time.monotonic() - before < 3
            assert (failed.permanent, failed.code) == (False, code), script.__name__
        finally:
            server.close()
            for task in tasks:
                task.cancel()
            await asyncio.gather(*tasks, return_exceptions=True)


async def test_steps_that_are_each_in_time_do_not_add_up_to_forever() -> None:
    async def slow(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        writer.write(b"220 hi\r\n")
        while await reader.readline():
            await asyncio.sleep(0.2)
            writer.write(b"250 OK\r\n")

    server, port, tasks = await scripted(slow)
    try:
        sender = SmtpMailer(settings(port, seconds=5.0, total_seconds=0.5), now=lambda: NOW)
        failed = await failure(sender.send(mail()))
        assert (failed.permanent, failed.code) == (False, "timeout")
    finally:
        server.close()
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)


async def test_one_mail_too_many_at_once_is_refused_and_the_place_comes_back() -> None:
    async with smtp_peer() as peer:
        peer.pause = 0.3
        sender = mailer(peer, max_in_flight=1)
        first = asyncio.create_task(sender.send(mail()))
        await asyncio.sleep(0.05)
        failed = await failure(sender.send(mail()))
        assert (failed.permanent, failed.code) == (False, "throttled")
        await first
        peer.pause = 0.0
        await sender.send(mail())
    assert len(peer.messages) == 2


@pytest.mark.parametrize(
    "changes",
    [
        {"sender": "no-reply"},
        {"sender": "a@b\r\nX: y"},
        {"brand": "a\r\nBcc: eve@example.org"},
        {"brand": " "},
        {"username": "x"},
        {"host": "mail.example.org", "username": "x", "password": "y"},
    ],
    ids=str,
)
def test_settings_that_are_unsafe_are_refused(changes: dict[str, str]) -> None:
    with pytest.raises(ValueError, match=r"sender|brand|password"):
        SmtpMailer(settings(587, **changes), now=lambda: NOW)


async def test_the_name_for_hello_needs_no_resolver() -> None:
    async with smtp_peer() as peer:
        await mailer(peer).send(mail())
        await mailer(peer, hello="chat.casa.example").send(mail())
    assert [s.host_name for s in peer.sessions] == ["casa.example", "chat.casa.example"]
