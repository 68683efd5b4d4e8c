"""The mailer of a fresh installation: it prints instead of sending.

So a newcomer who signs up sees the code on the terminal. For that the log must show the text,
which no other log line of the program ever does; `tertulia doctor` says that it is in use.
"""

from structlog.typing import FilteringBoundLogger

from tertulia.ports.mail import DeliveryFailed, Mail, mail_fault


class LogMailer:
    """Mailer that writes each mail to the log as `mail.printed`."""

    def __init__(self, log: FilteringBoundLogger) -> None:
        self._log = log

    async def send(self, mail: Mail) -> None:
        """See Mailer. Fails only for a mail that no mailer would send."""
        if fault := mail_fault(mail):
            raise DeliveryFailed(True, fault, code="invalid")
        self._log.info(
            "mail.printed",
            to=mail.to,
            subject=mail.subject,
            text=mail.text,
            kind=mail.kind,
            message_id=mail.message_id,
        )

    async def check(self) -> str:
        """See Mailer."""
        return "mail is printed to the log, not sent"
