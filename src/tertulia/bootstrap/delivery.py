"""How mail and SMS leave: the adapters that the settings name."""

from __future__ import annotations

from typing import Any

from tertulia.adapters.http_guarded import GuardedHttpClient
from tertulia.adapters.mail_log import LogMailer
from tertulia.adapters.mail_smtp import SmtpMailer, SmtpSettings
from tertulia.adapters.sms_log import LogSmsSender
from tertulia.adapters.sms_smpp import SmppSettings, SmppSmsSender
from tertulia.adapters.sms_twilio import TwilioSettings, TwilioSmsSender
from tertulia.adapters.sms_webhook import WebhookSettings, WebhookSmsSender
from tertulia.config import Settings
from tertulia.domain.outbound import OutboundPolicy, parse_policy
from tertulia.ports.clock import Clock
from tertulia.ports.mail import Mailer
from tertulia.ports.sms import SmsSender


def outbound(settings: Settings) -> OutboundPolicy:
    """What the server may fetch.  Raises ValueError."""
    ports = (80, 443)
    return parse_policy(settings.outbound_allow, ports=ports)


def mailer(settings: Settings, clock: Clock, log: Any) -> Mailer:
    """How mail leaves."""
    if settings.mail == "log":
        return LogMailer(log)
    return SmtpMailer(
        SmtpSettings(
            host=settings.smtp_host,
            port=settings.smtp_port,
            sender=settings.mail_from,
            brand=settings.brand,
            tls=settings.smtp_security,
            username=settings.smtp_username or None,
            password=settings.smtp_password or None,
        ),
        now=lambda: clock.now_ms() / 1000,
    )


def sms_sender(settings: Settings, clock: Clock, http: GuardedHttpClient, log: Any) -> SmsSender:
    """How SMS leave."""

    def now() -> float:
        return clock.now_ms() / 1000

    match settings.sms:
        case "log":
            return LogSmsSender(log)
        case "twilio":
            account = TwilioSettings(
                account_sid=settings.sms_account,
                auth_token=settings.sms_secret,
                sender=settings.sms_from,
                base_url=settings.sms_url or "https://api.twilio.com",
            )
            return TwilioSmsSender(account, http=http, now=now)
        case "webhook":
            hook = WebhookSettings(url=settings.sms_url, secret=settings.sms_secret)
            return WebhookSmsSender(hook, http=http, now=now)
        case "smpp":
            host, _, port = settings.sms_url.rpartition(":")
            gateway = SmppSettings(
                host=host or settings.sms_url,
                port=int(port) if host else 2775,
                system_id=settings.sms_account,
                password=settings.sms_secret,
                sender=settings.sms_from,
            )
            return SmppSmsSender(gateway)
