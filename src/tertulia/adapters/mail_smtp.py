"""Mail by SMTP submission (RFC 5321, RFC 6409) through aiosmtplib; one connection per mail."""

import asyncio
import ssl
from base64 import b64encode
from collections.abc import AsyncGenerator, Callable
from contextlib import asynccontextmanager
from datetime import UTC, datetime
from email.message import EmailMessage
from email.policy import SMTP as SMTP_POLICY
from email.utils import format_datetime
from typing import Literal

import aiosmtplib
import idna
import msgspec

from tertulia.domain.letters import brand_fault
from tertulia.ports.mail import DeliveryFailed, Mail, address_fault, mail_fault

LOOPBACK = frozenset({"localhost", "127.0.0.1", "::1"})
MAX_PLAIN = 66  # "Subject: " and this much stay within a line of 78 (RFC 5322 section 2.1.1)
MAX_WORD = 39  # bytes in one encoded word, so that no line exceeds 76 (RFC 2047 section 2)
# What the client library knows how to say about one attempt; all of it ends as DeliveryFailed.
_FAILURES = (aiosmtplib.SMTPException, OSError, TimeoutError, ValueError)


class SmtpSettings(msgspec.Struct, frozen=True, kw_only=True):
    """Where mail goes. `tls`: `starttls` (port 587) and `implicit` (465) never fall back to plain.

    `seconds` bounds each step, `total_seconds` the whole of one mail. `hello` is our own name for
    EHLO; without it the sender's domain stands in, since asking the resolver for it may hang.
    """

    host: str
    port: int
    sender: str
    brand: str
    tls: Literal["none", "starttls", "implicit"] = "starttls"
    username: str | None = None
    password: str | None = None
    hello: str | None = None
    seconds: float = 20.0
    total_seconds: float = 60.0
    max_in_flight: int = 32


class SmtpMailer:
    """Mailer over one SMTP server.

    At most `max_in_flight` mails are under way; one more fails at once as temporary, so the
    caller's own queue is the only one.
    """

    def __init__(
        self,
        settings: SmtpSettings,
        *,
        now: Callable[[], float],
        ssl_context: ssl.SSLContext | None = None,
    ) -> None:
        """`now` is Unix time. Raises ValueError for settings that cannot work or are unsafe."""
        if fault := address_fault(settings.sender):
            raise ValueError(f"sender: {fault}")
        if fault := brand_fault(settings.brand):
            raise ValueError(fault)
        if (settings.username is None) != (settings.password is None):
            raise ValueError("user name and password go together")
        if settings.username and settings.tls == "none" and settings.host not in LOOPBACK:
            raise ValueError("a password is only sent over TLS or to this machine")
        self._settings = settings
        self._sender = _envelope(settings.sender)
        self._domain = self._sender.rpartition("@")[2]
        self._now = now
        plain = settings.tls == "none"
        self._context = None if plain else ssl_context or ssl.create_default_context()
        self._in_flight = 0

    async def send(self, mail: Mail) -> None:
        """See Mailer."""
        if fault := mail_fault(mail):
            raise DeliveryFailed(True, fault, code="invalid")
        to = _envelope(mail.to)
        message = self._written(mail, to)
        if self._in_flight >= self._settings.max_in_flight:
            raise DeliveryFailed(False, "too many mails under way", code="throttled")
        self._in_flight += 1
        try:
            async with self._session() as server:
                wide = not (to + self._sender).isascii()
                if wide and not server.supports_extension("smtputf8"):
                    raise DeliveryFailed(True, "the server takes no SMTPUTF8 address")
                options = ["SMTPUTF8", "BODY=8BITMIME"] if wide else []  # RFC 6531 section 3.4
                await server.sendmail(self._sender, [to], message, mail_options=options)
        finally:
            self._in_flight -= 1

    async def check(self) -> str:
        """See Mailer."""
        async with self._session() as server:
            await server.noop()
            tls = server.get_transport_info("ssl_object")
            secured = tls.version() if isinstance(tls, ssl.SSLObject) else "no TLS"
        who = "signed in" if self._settings.username is not None else "not signed in"
        return f"{self._settings.host}:{self._settings.port} answers, {secured}, {who}"

    @asynccontextmanager
    async def _session(self) -> AsyncGenerator[aiosmtplib.SMTP]:
        settings = self._settings
        server = aiosmtplib.SMTP(
            hostname=settings.host,
            port=settings.port,
            local_hostname=settings.hello or self._domain,
            timeout=settings.seconds,
            use_tls=settings.tls == "implicit",
            start_tls=False,
            tls_context=self._context,
        )
        try:
            async with asyncio.timeout(settings.total_seconds):
                await server.connect()
                await self._open(server)
                yield server
        except _FAILURES as error:
            raise _failed(error) from error
        else:
            await _say_goodbye(server)
        finally:
            server.close()

    async def _open(self, server: aiosmtplib.SMTP) -> None:
        """Everything between the greeting and the first mail."""
        settings = self._settings
        await server.ehlo()
        if settings.tls == "starttls":
            if not server.supports_extension("starttls"):
                raise DeliveryFailed(True, "the server offers no STARTTLS", code="tls")
            await server.starttls()
            await server.ehlo()  # RFC 3207 section 4.2: what was said before counts no more
        if settings.username is not None and settings.password is not None:
            if not server.supported_auth_methods:
                reason = "the server offers no sign-in that we know"
                raise DeliveryFailed(True, reason, code="credentials")
            await server.login(settings.username, settings.password)

    def _written(self, mail: Mail, to: str) -> bytes:
        """The message as it goes over the wire.

        The header is written here and not by the `email` package, whose folding changes the
        spaces of long names and subjects that are not ASCII.
        """
        body = EmailMessage(policy=SMTP_POLICY)
        body.set_content(mail.text, cte="quoted-printable")
        if mail.html is not None:
            body.add_alternative(mail.html, subtype="html", cte="quoted-printable")
        header = {
            "From": f"{_phrase(self._settings.brand)} <{self._sender}>",
            "To": to,
            "Subject": _unstructured(mail.subject),
            "Date": format_datetime(datetime.fromtimestamp(self._now(), UTC)),
            "Message-ID": f"<{mail.message_id}@{self._domain}>",
            "Auto-Submitted": "auto-generated",  # RFC 3834 section 5.1
            "X-Auto-Response-Suppress": "All",  # the same, as Exchange understands it
        }
        lines = "".join(f"{name}: {value}\r\n" for name, value in header.items())
        return lines.encode() + body.as_bytes()


def _unstructured(text: str) -> str:
    """Header text as it is where that is safe, else as encoded words (RFC 2047 section 5)."""
    if text.isascii() and len(text) <= MAX_PLAIN and "=?" not in text:
        return text
    words: list[bytes] = [b""]
    for character in text:
        encoded = character.encode()
        if len(words[-1]) + len(encoded) > MAX_WORD:
            words.append(b"")
        words[-1] += encoded
    return "\r\n ".join(f"=?utf-8?B?{b64encode(word).decode()}?=" for word in words)


def _phrase(text: str) -> str:
    """A display name: a quoted string (RFC 5322 section 3.2.4) or encoded words."""
    written = _unstructured(text)
    if written != text:
        return written
    escaped = text.replace("\\", "\\\\").replace('"', '\\"')
    return f'"{escaped}"'


def _envelope(address: str) -> str:
    """The address with its domain in ASCII, so that only a local part may ask for SMTPUTF8."""
    local, _, domain = address.rpartition("@")
    if domain.isascii():
        return address
    try:
        return f"{local}@{idna.encode(domain, uts46=True).decode('ascii')}"
    except idna.IDNAError as error:
        raise DeliveryFailed(True, "not an e-mail address", code="invalid") from error


async def _say_goodbye(server: aiosmtplib.SMTP) -> None:
    """QUIT, without which some servers log a broken session; the mail is theirs by now."""
    try:
        await server.quit(timeout=2)
    except _FAILURES:
        pass


def _failed(error: Exception) -> DeliveryFailed:
    """Name a failure by RFC 5321 section 4.2.1: 4yz may be tried again, 5yz may not.

    The server's own words are left out: they often repeat the address.
    """
    if isinstance(error, aiosmtplib.SMTPRecipientsRefused) and error.recipients:
        return _failed(error.recipients[0])
    if isinstance(error, aiosmtplib.SMTPResponseException):
        permanent = 500 <= error.code <= 599
        if isinstance(error, aiosmtplib.SMTPAuthenticationError):
            return DeliveryFailed(permanent, f"smtp {error.code} at sign-in", code="credentials")
        if error.code < 400:
            return DeliveryFailed(False, f"smtp {error.code} out of place", code="protocol")
        code = "refused" if permanent else "throttled"
        return DeliveryFailed(permanent, f"smtp {error.code}", code=code)
    if isinstance(error, TimeoutError):  # SMTPTimeoutError is one
        return DeliveryFailed(False, "no answer in time", code="timeout")
    if (broken := _tls_error(error)) is not None:
        detail = broken.verify_message if isinstance(broken, ssl.SSLCertVerificationError) else broken.reason
        return DeliveryFailed(False, f"no trusted TLS: {detail}", code="tls")
    if isinstance(error, (OSError, aiosmtplib.SMTPServerDisconnected)):
        return DeliveryFailed(False, "no connection, or it broke", code="unreachable")
    return DeliveryFailed(False, type(error).__name__, code="protocol")


def _tls_error(error: BaseException) -> ssl.SSLError | None:
    seen: BaseException | None = error
    while seen is not None and not isinstance(seen, ssl.SSLError):
        seen = seen.__cause__ or seen.__context__
    return seen
