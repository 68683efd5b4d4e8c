"""Sending one e-mail."""

import re
from typing import Literal, Protocol

import msgspec

from tertulia.ports.delivery import DeliveryCode, DeliveryFailed

__all__ = ["DeliveryCode", "DeliveryFailed", "Mail", "Mailer", "mail_fault"]

MAX_ADDRESS = 254  # RFC 5321 section 4.5.3.1.3, less the angle brackets
MAX_LOCAL_PART = 64  # RFC 5321 section 4.5.3.1.1
MAX_SUBJECT = 500
MAX_BODY = 256 * 1024

# RFC 5322 section 3.2.3 dot-atom, widened by RFC 6532 to all that is not ASCII. Quoted local
# parts and address literals are left out: nobody signs up with them, many servers stumble.
_ATOM = r"[A-Za-z0-9!#$%&'*+/=?^_`{|}~\u00a1-\U0010ffff-]+"
_LABEL = r"[A-Za-z0-9\u00a1-\U0010ffff](?:[A-Za-z0-9\u00a1-\U0010ffff-]*[A-Za-z0-9\u00a1-\U0010ffff])?"
_ADDRESS = re.compile(rf"(?P<local>{_ATOM}(?:\.{_ATOM})*)@{_LABEL}(?:\.{_LABEL})*")
_MESSAGE_ID = re.compile(r"[A-Za-z0-9!#$%&'*+/=?^_`{|}~.-]{1,128}")


class Mail(msgspec.Struct, frozen=True, kw_only=True):
    """One message to one person.

    `message_id` is the caller's idempotency key: a retry carries the same one, so that a mailbox
    that got the message twice can tell. It becomes the left side of the Message-ID header.
    """

    to: str
    subject: str
    text: str
    kind: Literal["verify", "reset", "notice"]
    message_id: str
    html: str | None = None


class Mailer(Protocol):
    """Hands mail to whoever delivers it."""

    async def send(self, mail: Mail) -> None:
        """Return once the next server has taken responsibility for the mail.

        Raises DeliveryFailed, and nothing else, when it has not.
        """
        ...

    async def check(self) -> str:
        """Try the way without sending; say in one line what was found (`tertulia doctor`).

        Raises DeliveryFailed.
        """
        ...


def _has_control(value: str) -> bool:
    return any(ord(c) < 0x20 or 0x7F <= ord(c) <= 0x9F or c in "\u2028\u2029" for c in value)


def address_fault(address: str) -> str | None:
    """Say why `address` is not one plain mailbox (`local@domain`), or None."""
    if len(address.encode("utf-8", "surrogatepass")) > MAX_ADDRESS:
        return "address too long"
    found = _ADDRESS.fullmatch(address) if address.isprintable() else None
    if found is None or len(found["local"].encode("utf-8", "surrogatepass")) > MAX_LOCAL_PART:
        return "not an e-mail address"
    return None


def mail_fault(mail: Mail) -> str | None:
    """Say why no mailer may send `mail`, or None.

    Every mailer asks this first: a line break in a header field would let the writer of one value
    add headers or recipients of their own.
    """
    if fault := address_fault(mail.to):
        return fault
    if not mail.subject or len(mail.subject) > MAX_SUBJECT:
        return "subject empty or too long"
    if _has_control(mail.subject):
        return "control character in the subject"
    if _MESSAGE_ID.fullmatch(mail.message_id) is None:
        return "message id is not 1 to 128 of the characters of a Message-ID"
    bodies = (mail.text, mail.html or "")
    if any(len(body) > MAX_BODY or "\x00" in body for body in bodies):
        return "body too long, or holds NUL"
    if any(0xD800 <= ord(c) <= 0xDFFF for part in (mail.subject, *bodies) for c in part):
        return "text is not Unicode"
    return None
