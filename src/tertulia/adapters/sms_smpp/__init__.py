"""SMS over SMPP 3.4, as a transmitter.

Own code, because no library fits (tried in November 2026). `smpp34` 1.5 is asynchronous and kept,
but its client reports a refused bind as a time-out, so that a wrong password cannot be told from a
slow gateway, panics on a password of nine characters, and takes neither an own certificate
authority nor timers. `aiosmpplib` 0.7 is asynchronous and kept, but is a queue whose callbacks
report later, without TLS and without a bound on what it reads. `smpplib`, `naz`, `smpp.pdu` and
the others are blocking or no longer kept. What a transmitter needs is small: the codec and the
texts are pure modules beside this one. `smpp34` serves as the gateway in our tests.
"""

import asyncio
import re
import ssl
from typing import Literal
from zlib import crc32

import msgspec

from tertulia.adapters.sms_smpp.codec import (
    ENQUIRE_LINK,
    MAX_MESSAGE_ID,
    OK,
    SUBMIT_SM,
    Party,
    SmppBroken,
    bind_body,
    c_string,
    failure_of,
    read_c_string,
    submit_body,
)
from tertulia.adapters.sms_smpp.session import SmppSession
from tertulia.adapters.sms_smpp.text import Part, split_text
from tertulia.ports.sms import DeliveryFailed, Sms, sms_fault

__all__ = ["SmppSettings", "SmppSmsSender"]

_INTERNATIONAL = re.compile(r"\+[1-9][0-9]{3,14}")


class SmppSettings(msgspec.Struct, frozen=True, kw_only=True):
    """One account at one gateway.

    `sender`: a number with `+`, a name of at most 11 characters, or a short code; `sender_ton` and
    `sender_npi` overrule what that implies. `seconds` bounds connecting and each answer,
    `enquire_seconds` is the pause between keep-alives, `hold_seconds` the pause after a bind that
    failed, so that a wrong password does not lock the account. `window` submits are unanswered at
    most, `max_waiting` texts under way.
    """

    host: str
    system_id: str
    password: str
    sender: str
    port: int = 2775
    system_type: str = ""
    tls: bool = False
    sender_ton: int | None = None
    sender_npi: int | None = None
    alphabet: Literal["gsm7", "ucs2"] = "gsm7"
    long_text: Literal["udh", "payload"] = "udh"
    seconds: float = 10.0
    enquire_seconds: float = 30.0
    hold_seconds: float = 5.0
    window: int = 10
    max_waiting: int = 100


class SmppSmsSender:
    """SmsSender over one connection that is bound at the first text and again when it broke.

    One text more than `max_waiting` fails at once as temporary. A long text of which one part
    failed counts as failed; a retry repeats all its parts under the same reference number.
    """

    def __init__(self, settings: SmppSettings, *, ssl_context: ssl.SSLContext | None = None) -> None:
        """Raises ValueError for settings that the protocol cannot carry."""
        try:
            self._bind = bind_body(settings.system_id, settings.password, settings.system_type)
        except ValueError as error:
            raise ValueError(f"system_id, password or system_type: {error}") from None
        self._source = _source(settings)
        self._settings = settings
        self._tls = (ssl_context or ssl.create_default_context()) if settings.tls else None
        self._session: SmppSession | None = None
        self._opening = asyncio.Lock()
        self._window = asyncio.Semaphore(settings.window)
        self._waiting = 0
        self._closed = False
        self._held_until = 0.0
        self._held: DeliveryFailed | None = None

    async def send(self, sms: Sms) -> None:
        """See SmsSender."""
        if fault := sms_fault(sms):
            raise DeliveryFailed(True, fault, code="invalid")
        settings = self._settings
        if self._waiting >= settings.max_waiting:
            raise DeliveryFailed(False, "too many texts under way", code="throttled")
        parts = split_text(
            sms.text,
            crc32(sms.id.encode()) & 0xFF,
            alphabet=settings.alphabet,
            long_text=settings.long_text,
        )
        self._waiting += 1
        try:
            for part in parts:
                async with self._window:
                    await self._submit(sms.to, part)
        finally:
            self._waiting -= 1

    async def check(self) -> str:
        """See SmsSender."""
        session = await self._bound()
        answer = await session.ask(ENQUIRE_LINK)
        if answer.status != OK:
            raise failure_of(answer.status, "enquire_link")
        known = f" ({session.peer})" if session.peer else ""
        way = "TLS" if self._tls else "no TLS"
        return f"{self._settings.host}:{self._settings.port}{known} bound, {way}"

    async def aclose(self) -> None:
        """See SmsSender; unbinds."""
        self._closed = True
        async with self._opening:
            session, self._session = self._session, None
            if session is not None:
                await session.close()

    async def _submit(self, to: str, part: Part) -> None:
        session = await self._bound()
        answer = await session.ask(
            SUBMIT_SM,
            submit_body(
                self._source,
                Party(1, 1, to.removeprefix("+")),
                data_coding=part.data_coding,
                esm_class=part.esm_class,
                short_message=part.short_message,
                payload=part.payload,
            ),
        )
        if answer.status != OK:
            raise failure_of(answer.status, "submit")
        try:
            read_c_string(answer.body, MAX_MESSAGE_ID)
        except SmppBroken as error:
            raise DeliveryFailed(False, str(error), code="protocol") from error

    async def _bound(self) -> SmppSession:
        async with self._opening:
            if self._closed:
                raise DeliveryFailed(False, "the sender is closed", code="unreachable")
            if self._session is not None:
                if self._session.alive:
                    return self._session
                await self._session.end()
                self._session = None
            now = asyncio.get_running_loop().time()
            if self._held is not None and now < self._held_until:
                held, wait = self._held, self._held_until - now
                raise DeliveryFailed(
                    held.permanent, f"{held.reason} (a moment ago)", code=held.code, retry_after=wait
                )
            try:
                self._session = await SmppSession.open(
                    self._settings.host,
                    self._settings.port,
                    self._bind,
                    tls=self._tls,
                    seconds=self._settings.seconds,
                    enquire_seconds=self._settings.enquire_seconds,
                )
            except DeliveryFailed as error:
                self._held = error
                later = asyncio.get_running_loop().time() + self._settings.hold_seconds
                self._held_until = later
                raise
            return self._session


def _source(settings: SmppSettings) -> Party:
    """The sender's address: SMPP 3.4 sections 5.2.5 to 5.2.8."""
    sender = settings.sender
    if _INTERNATIONAL.fullmatch(sender):
        party = Party(1, 1, sender[1:])
    elif sender.isdigit() and len(sender) <= 8:
        party = Party(3, 0, sender)  # network specific: a short code
    elif sender and len(sender) <= 11 and not sender.startswith("+"):
        party = Party(5, 0, sender)  # alphanumeric
    else:
        raise ValueError("sender is no number with +, short code or name of 11 characters")
    c_string(sender, 21)
    ton = party.ton if settings.sender_ton is None else settings.sender_ton
    npi = party.npi if settings.sender_npi is None else settings.sender_npi
    if not (0 <= ton <= 255 and 0 <= npi <= 255):
        raise ValueError("sender_ton and sender_npi are octets")
    return Party(ton, npi, party.address)
