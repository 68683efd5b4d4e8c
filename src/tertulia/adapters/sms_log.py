"""The SMS sender of a fresh installation: it prints instead of sending (see `mail_log`)."""

from structlog.typing import FilteringBoundLogger

from tertulia.ports.sms import DeliveryFailed, Sms, sms_fault


class LogSmsSender:
    """SmsSender that writes each text to the log as `sms.printed`."""

    def __init__(self, log: FilteringBoundLogger) -> None:
        self._log = log

    async def send(self, sms: Sms) -> None:
        """See SmsSender. Fails only for a text that no sender would send."""
        if fault := sms_fault(sms):
            raise DeliveryFailed(True, fault, code="invalid")
        self._log.info("sms.printed", to=sms.to, text=sms.text, id=sms.id)

    async def check(self) -> str:
        """See SmsSender."""
        return "SMS are printed to the log, not sent"

    async def aclose(self) -> None:
        """See SmsSender; nothing is open."""
