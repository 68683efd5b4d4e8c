"""A real SMTP server (aiosmtpd) on the test's own loop, with scripted refusals."""

import asyncio
import email
import email.policy
import ssl
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from email.message import EmailMessage
from typing import Any

from aiosmtpd.smtp import SMTP, AuthResult, Envelope, LoginPassword, Session

USER, PASSWORD = b"casa", b"s\xc3\xa9samo"


@dataclass
class SmtpPeer:
    """aiosmtpd's handler: keeps what arrives, refuses what it was told to refuse."""

    port: int = 0
    refuse: dict[str, str] = field(default_factory=dict)  # "RCPT" | "DATA" | "MAIL" -> reply
    pause: float = 0.0
    envelopes: list[Envelope] = field(default_factory=list)
    sessions: list[Session] = field(default_factory=list)

    @property
    def messages(self) -> list[EmailMessage]:
        return [
            email.message_from_bytes(bytes(e.content or b""), policy=email.policy.default)
            for e in self.envelopes
        ]

    async def handle_MAIL(  # noqa: N802
        self, _server: SMTP, _session: Session, envelope: Envelope, address: str, options: list[str]
    ) -> str:
        await asyncio.sleep(self.pause)
        if "MAIL" in self.refuse:
            return self.refuse["MAIL"]
        envelope.mail_from = address
        envelope.mail_options.extend(options)
        return "250 OK"

    async def handle_RCPT(  # noqa: N802
        self, _server: SMTP, _session: Session, envelope: Envelope, address: str, options: list[str]
    ) -> str:
        if "RCPT" in self.refuse:
            return self.refuse["RCPT"]
        envelope.rcpt_tos.append(address)
        return "250 OK"

    async def handle_DATA(self, _server: SMTP, session: Session, envelope: Envelope) -> str:  # noqa: N802
        if "DATA" in self.refuse:
            return self.refuse["DATA"]
        self.envelopes.append(envelope)
        self.sessions.append(session)
        return "250 kept"


def authenticate(
    _server: SMTP, _session: Session, _envelope: Envelope, _mechanism: str, data: Any
) -> AuthResult:
    right = isinstance(data, LoginPassword) and (data.login, data.password) == (USER, PASSWORD)
    return AuthResult(success=right, handled=False)


@asynccontextmanager
async def smtp_peer(
    *,
    starttls: ssl.SSLContext | None = None,
    implicit: ssl.SSLContext | None = None,
    auth: bool = False,
    utf8: bool = True,
) -> AsyncIterator[SmtpPeer]:
    peer = SmtpPeer()
    transports: list[asyncio.Transport] = []

    class Server(SMTP):
        def connection_made(self, transport: Any) -> None:
            transports.append(transport)
            super().connection_made(transport)

    def make() -> SMTP:
        return Server(
            peer,
            hostname="mail.test",
            tls_context=starttls,
            require_starttls=starttls is not None,
            auth_required=auth,
            auth_require_tls=implicit is None,
            authenticator=authenticate if auth else None,
            enable_SMTPUTF8=utf8,
            loop=asyncio.get_running_loop(),
        )

    server = await asyncio.get_running_loop().create_server(make, "127.0.0.1", 0, ssl=implicit)
    peer.port = server.sockets[0].getsockname()[1]
    try:
        yield peer
    finally:
        server.close()
        for transport in transports:
            transport.close()
        await asyncio.sleep(0.01)
