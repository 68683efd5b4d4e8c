"""The settings: one typed class, read from a TOML file and from `TERTULIA_…` variables.

Every field carries its own sentence; `tertulia settings` and docs/settings.md are made from them, and
the sample file too, so that none of the three can drift from what the program reads.
"""

from __future__ import annotations

import tomllib
from collections.abc import Mapping
from pathlib import Path
from typing import Annotated, Any, Literal, get_args, get_origin, get_type_hints

import msgspec
from msgspec import Meta

PREFIX = "TERTULIA_"
Port = Annotated[int, Meta(ge=1, le=65535)]


class Settings(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """All settings with their defaults.  Secrets are never shown by `describe`."""

    host: Annotated[str, Meta(description="Address to listen on.")] = "127.0.0.1"
    port: Annotated[int, Meta(ge=0, le=65535, description="Port to listen on; 0 takes a free one.")] = 8420
    data: Annotated[str, Meta(description="Folder of everything that is kept.")] = "data"
    public_url: Annotated[
        str, Meta(description="Address by which people reach this server; empty: host and port.")
    ] = ""
    brand: Annotated[str, Meta(max_length=64, description="The name people see.")] = "Tertulia"

    tls_certificate: Annotated[str, Meta(description="PEM file; with tls_key: serve TLS.")] = ""
    tls_key: Annotated[str, Meta(description="PEM file of the certificate's key.")] = ""
    trusted_proxies: Annotated[
        tuple[str, ...],
        Meta(description="Proxies whose X-Forwarded-For and X-Forwarded-Proto are believed."),
    ] = ()
    cors_origins: Annotated[
        tuple[str, ...], Meta(description="Web origins that may call the API; `*` for all.")
    ] = ()
    body_limit: Annotated[int, Meta(ge=1024, description="Largest request body, in bytes.")] = 1_048_576

    log_format: Annotated[Literal["text", "json"], Meta(description="How log lines are written.")] = "text"
    log_level: Annotated[
        Literal["debug", "info", "warning", "error"], Meta(description="The least that is logged.")
    ] = "info"

    open_sign_up: Annotated[bool, Meta(description="Whether anyone may sign up.")] = True
    access_token_s: Annotated[
        int, Meta(ge=60, le=86_400, description="Life of an access token, in seconds.")
    ] = 600
    refresh_days: Annotated[
        int, Meta(ge=1, le=365, description="Days after which an unused device is signed out.")
    ] = 60
    rate_limits: Annotated[
        bool,
        Meta(description="Limits on commands and requests of a user; those on guessing always hold."),
    ] = True
    argon2_memory_kib: Annotated[
        int, Meta(ge=8, description="Memory of one password hash (RFC 9106), in KiB.")
    ] = 65_536

    mail: Annotated[
        Literal["log", "smtp"], Meta(description="How mail leaves: printed to the log, or by SMTP.")
    ] = "log"
    smtp_host: Annotated[str, Meta(description="SMTP server.")] = ""
    smtp_port: Annotated[Port, Meta(description="Its port.")] = 587
    smtp_security: Annotated[
        Literal["none", "starttls", "implicit"], Meta(description="How the SMTP connection is secured.")
    ] = "starttls"
    smtp_username: Annotated[str, Meta(description="Name to sign in with; empty: none.")] = ""
    smtp_password: Annotated[str, Meta(description="Its password.", extra={"secret": True})] = ""
    mail_from: Annotated[str, Meta(description="Sender's address of all mail.")] = ""

    sms: Annotated[
        Literal["log", "twilio", "webhook", "smpp"],
        Meta(description="How SMS leave: printed to the log, a Twilio-shaped API, a webhook, or SMPP."),
    ] = "log"
    sms_url: Annotated[str, Meta(description="Base address of the API, webhook, or host:port.")] = ""
    sms_account: Annotated[str, Meta(description="Account SID or SMPP system id.")] = ""
    sms_secret: Annotated[
        str, Meta(description="Auth token, webhook secret or password.", extra={"secret": True})
    ] = ""
    sms_from: Annotated[str, Meta(description="Sender's number or name.")] = ""
    outbound_allow: Annotated[
        tuple[str, ...],
        Meta(description="Private hosts and networks that the server may fetch from nevertheless."),
    ] = ()

    heartbeat_s: Annotated[float, Meta(ge=1, le=300, description="Ping a quiet connection after this.")] = (
        30.0
    )
    outbox_bytes: Annotated[
        int, Meta(ge=65_536, description="Bytes that may wait for one slow reader before it is closed.")
    ] = 1_048_576
    max_sessions: Annotated[int, Meta(ge=1, description="Connections this server accepts.")] = 100_000
    drain_s: Annotated[
        float, Meta(ge=0, le=300, description="Seconds that a stop waits for what is under way.")
    ] = 10.0


class BadSettings(Exception):
    """A settings file or variable that cannot be used; the text says which and why."""


_HINTS: dict[str, Any] = get_type_hints(Settings)


def _from_text(name: str, text: str) -> object:
    kind = _HINTS[name]
    origin = get_origin(kind)
    if origin is tuple or (get_args(kind) and get_args(kind)[0] is str and origin is tuple):
        return [part.strip() for part in text.split(",") if part.strip()]
    if kind is bool:
        lowered = text.strip().lower()
        if lowered in ("1", "true", "yes", "on"):
            return True
        if lowered in ("0", "false", "no", "off"):
            return False
        raise BadSettings(f"{PREFIX}{name.upper()} must be on or off, not {text!r}")
    return text


def load(
    *,
    file: Path | None = None,
    environment: Mapping[str, str] | None = None,
    overrides: Mapping[str, object] | None = None,
) -> Settings:
    """The settings: defaults, then the file, then the environment, then `overrides` (the command line).

    Raises BadSettings: unknown names, values out of bounds, a file that is not TOML."""
    values: dict[str, object] = {}
    if file is not None:
        try:
            values.update(tomllib.loads(file.read_text("utf-8")))
        except (OSError, UnicodeDecodeError, tomllib.TOMLDecodeError) as error:
            raise BadSettings(f"{file}: {error}") from error
    for name in Settings.__struct_fields__:
        text = (environment or {}).get(PREFIX + name.upper())
        if text is not None:
            values[name] = _from_text(name, text)
    values.update({name: value for name, value in (overrides or {}).items() if value is not None})
    try:
        return msgspec.convert(values, type=Settings, strict=False)
    except msgspec.ValidationError as error:
        raise BadSettings(str(error)) from error
