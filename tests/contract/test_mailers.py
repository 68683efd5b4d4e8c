"""What every Mailer promises, whatever it stands on."""

import asyncio
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass
from typing import Any

import pytest
import structlog

from tertulia.adapters.mail_log import LogMailer
from tertulia.adapters.mail_smtp import SmtpMailer, SmtpSettings
from tertulia.domain.letters import LANGUAGES, compose
from tertulia.ports.mail import DeliveryFailed, Mail, Mailer
from tests.delivery.smtp_peer import smtp_peer

Taken = list[tuple[str, str, str]]


@dataclass
class Stand:
    mailer: Mailer
    taken: Callable[[], Taken]  # to, subject, text


@asynccontextmanager
async def log_stand() -> AsyncIterator[Stand]:
    with structlog.testing.capture_logs() as lines:
        yield Stand(
            LogMailer(structlog.get_logger()),
            lambda: [(e["to"], e["subject"], e["text"]) for e in lines if e["event"] == "mail.printed"],
        )


@asynccontextmanager
async def smtp_stand() -> AsyncIterator[Stand]:
    async with smtp_peer() as peer:
        settings = SmtpSettings(
            host="127.0.0.1", port=peer.port, sender="no-reply@casa.example", brand="Casa",
            tls="none", seconds=5.0,
        )  # fmt: skip
        yield Stand(
            SmtpMailer(settings, now=lambda: 1e9),
            lambda: [(m["To"], m["Subject"], m.get_content().replace("\r\n", "\n")) for m in peer.messages],
        )


STANDS = {"log": log_stand, "smtp": smtp_stand}


def mail(**changes: Any) -> Mail:
    given: dict[str, Any] = {
        "to": "ana@example.org", "subject": "Hi", "text": "428913\n", "kind": "verify",
        "message_id": "m1",
    }  # fmt: skip
    return Mail(**(given | changes))


@pytest.mark.parametrize("name", STANDS)
async def test_letters_arrive_as_they_were_written(name: str) -> None:
    async with STANDS[name]() as stand:
        expected: Taken = []
        for language in LANGUAGES:
            letter = compose("reset", language=language, brand="Té", code="428913", minutes=10)
            expected.append(("ana@example.org", letter.subject, letter.text))
            await stand.mailer.send(mail(subject=letter.subject, text=letter.text, kind="reset"))
        assert stand.taken() == expected


@pytest.mark.parametrize("name", STANDS)
async def test_check_says_something_and_sends_nothing(name: str) -> None:
    async with STANDS[name]() as stand:
        said = await stand.mailer.check()
        assert said
        assert "\n" not in said
        assert stand.taken() == []


@pytest.mark.parametrize("name", STANDS)
@pytest.mark.parametrize(
    "changes",
    [
        {"to": "ana@example.org\r\nBcc: eve@example.org"},
        {"to": "ana@example.org,eve@example.org"},
        {"to": ""},
        {"subject": "a\nb"},
        {"subject": ""},
        {"message_id": "a b"},
        {"text": "\x00"},
        {"html": "\x00"},
    ],
    ids=lambda changes: ascii(next(iter(changes.items())))[:40],
)
async def test_what_no_mailer_may_send_reaches_nobody(name: str, changes: dict[str, str]) -> None:
    async with STANDS[name]() as stand:
        with pytest.raises(DeliveryFailed) as caught:
            await stand.mailer.send(mail(**changes))
        assert (caught.value.permanent, caught.value.code) == (True, "invalid")
        assert stand.taken() == []


@pytest.mark.parametrize("name", STANDS)
async def test_many_at_once_all_arrive(name: str) -> None:
    async with STANDS[name]() as stand, asyncio.timeout(20):
        await asyncio.gather(*(stand.mailer.send(mail(subject=f"n{n}")) for n in range(20)))
        assert sorted(subject for _, subject, _ in stand.taken()) == sorted(f"n{n}" for n in range(20))
