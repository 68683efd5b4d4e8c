"""The outbox topics `mail` and `sms`: the payload is the JSON of the port's struct."""

from __future__ import annotations

from typing import Final

import msgspec

from tertulia.domain.records import Outbox
from tertulia.ports.delivery import DeliveryFailed
from tertulia.ports.mail import Mail, Mailer
from tertulia.ports.sms import Sms, SmsSender
from tertulia.workers.outbox import Handler

MAIL_TOPIC: Final = "mail"
SMS_TOPIC: Final = "sms"

_MAIL: Final = msgspec.json.Decoder(Mail)
_SMS: Final = msgspec.json.Decoder(Sms)


def mail_handler(mailer: Mailer) -> Handler:
    """Hands a row's mail to the mailer."""

    async def send(row: Outbox) -> None:
        try:
            mail = _MAIL.decode(row.payload)
        except msgspec.DecodeError:
            raise _unreadable() from None
        await mailer.send(mail)

    return send


def sms_handler(sender: SmsSender) -> Handler:
    """Hands a row's text to the gateway."""

    async def send(row: Outbox) -> None:
        try:
            sms = _SMS.decode(row.payload)
        except msgspec.DecodeError:
            raise _unreadable() from None
        await sender.send(sms)

    return send


def _unreadable() -> DeliveryFailed:
    # Without the decoder's words, which quote what people wrote.
    return DeliveryFailed(True, "the payload cannot be read", code="invalid")
