"""The settings: one typed class, read from a TOML file and from `TERTULIA_…` variables.

Every field carries its own sentence; `tertulia settings` and docs/settings.md are made from them, and
the sample file too, so that none of the three can drift from what the program reads.
"""

from __future__ import annotations

import difflib
import re
import tomllib
import types
from collections.abc import Mapping
from pathlib import Path
from typing import Annotated, Any, Final, Literal, cast, get_args, get_origin, get_type_hints

import msgspec
from msgspec import Meta

PREFIX = "TERTULIA_"
SETTINGS_VARIABLE = "TERTULIA_SETTINGS"
"""Names the settings file; it is not a setting itself."""

SECRET_FILE = "secret"  # noqa: S105 - its name
"""In the data folder: what all keys are derived from."""

Port = Annotated[int, Meta(ge=1, le=65535)]


class Settings(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """All settings with their defaults.  Secrets are never shown by `describe`."""

    host: Annotated[str, Meta(description="Address to listen on.")] = "127.0.0.1"
    port: Annotated[int, Meta(ge=0, le=65535, description="Port to listen on; 0 takes a free one.")] = 8420
    data: Annotated[str, Meta(description="Folder of everything that is kept.")] = "data"
    public_url: Annotated[
        str, Meta(description="Address by which people reach this server; empty: host and port.")
    ] = ""
    brand: Annotated[str, Meta(min_length=1, max_length=40, description="The name people see.")] = "Tertulia"

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

    open_sign_up: Annotated[
        bool,
        Meta(
            description="Whether anyone may sign up, as a new data folder begins; "
            "`tertulia tenant set` changes it."
        ),
    ] = True
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
    min_free_bytes: Annotated[
        int, Meta(ge=0, description="Free space under which the server says that it is not ready.")
    ] = 67_108_864
    drain_s: Annotated[
        float, Meta(ge=0, le=300, description="Seconds that a stop waits for what is under way.")
    ] = 10.0


class BadSettings(Exception):
    """A settings file or variable that cannot be used; the text says which and why."""


class Setting(msgspec.Struct, frozen=True, kw_only=True):
    """What a setting is.  `default` and `value` are as they stand in a TOML file; those of secrets are
    "***" when they are set."""

    name: str
    variable: str
    kind: str
    bounds: str
    default: str
    value: str
    description: str
    secret: bool


_MASK: Final = "***"
_PLAIN: Final[dict[str, Any]] = get_type_hints(Settings)
_FULL: Final[dict[str, Any]] = get_type_hints(Settings, include_extras=True)
_AT: Final = re.compile(r"(?P<what>.*) - at `\$\.(?P<name>\w+)(?P<rest>[^`]*)`", re.DOTALL)
_UNKNOWN: Final = re.compile(r"Object contains unknown field `(?P<name>[^`]*)`")
_GROUPS: Final[Mapping[str, str]] = types.MappingProxyType(
    {
        "host": "Where it listens and what it is called",
        "tls_certificate": "TLS, proxies and other origins",
        "log_format": "Logs",
        "open_sign_up": "Accounts and limits",
        "mail": "Mail",
        "sms": "SMS and what is fetched from elsewhere",
        "heartbeat_s": "Connections and operation",
    }
)
"""The heading before a setting; tests hold every name to exist."""


# --- reading -------------------------------------------------------------------------------------


def _from_text(name: str, text: str) -> object:
    kind = _PLAIN[name]
    if get_origin(kind) is tuple:
        return [part.strip() for part in text.split(",") if part.strip()]
    if kind is bool:
        lowered = text.strip().lower()
        if lowered in ("1", "true", "yes", "on"):
            return True
        if lowered in ("0", "false", "no", "off"):
            return False
        raise BadSettings(f"{PREFIX}{name.upper()} must be on or off, not {text!r}")
    return text


def _reason(error: msgspec.ValidationError) -> str:
    text = str(error)
    if found := _UNKNOWN.match(text):
        name = found["name"]
        near = difflib.get_close_matches(name, Settings.__struct_fields__, n=1)
        return f"there is no setting {name!r}" + (f"; did you mean {near[0]!r}?" if near else "")
    if found := _AT.fullmatch(text):
        what = found["what"]
        return f"{found['name']}{found['rest']}: {what[:1].lower()}{what[1:]}"
    return text


def _convert(values: Mapping[str, object], *, strict: bool, where: str) -> Settings:
    try:
        return msgspec.convert(values, type=Settings, strict=strict)
    except msgspec.ValidationError as error:
        raise BadSettings(where + _reason(error)) from error


def _check(settings: Settings) -> None:
    """What no single field can tell.  Raises BadSettings."""
    if bool(settings.tls_certificate) != bool(settings.tls_key):
        raise BadSettings("tls_certificate and tls_key go together: set both or neither")
    if settings.mail == "smtp" and not (settings.smtp_host and settings.mail_from):
        raise BadSettings('mail = "smtp" needs smtp_host and mail_from')
    needed = {
        "log": (),
        "twilio": ("sms_account", "sms_secret", "sms_from"),
        "webhook": ("sms_url", "sms_secret"),
        "smpp": ("sms_url", "sms_account"),
    }[settings.sms]
    missing = [name for name in needed if not getattr(settings, name)]
    if missing:
        raise BadSettings(f'sms = "{settings.sms}" needs {" and ".join(missing)}')
    if settings.sms == "smpp" and not re.fullmatch(r"[^:]+(:\d{1,5})?|.+:\d{1,5}", settings.sms_url):
        raise BadSettings("sms_url: for SMPP this is host:port")


def load(
    *,
    file: Path | None = None,
    environment: Mapping[str, str] | None = None,
    overrides: Mapping[str, object] | None = None,
) -> Settings:
    """The settings: defaults, then the file, then the environment, then `overrides` (the command line).

    Raises BadSettings: unknown names in the file, values out of bounds, a file that is not TOML,
    settings that do not go together.  Nothing of a secret is in its text."""
    values: dict[str, object] = {}
    if file is not None:
        try:
            values.update(tomllib.loads(file.read_text("utf-8")))
        except OSError as error:
            raise BadSettings(f"{file}: {error.strerror or error}") from error
        except (UnicodeDecodeError, tomllib.TOMLDecodeError) as error:
            raise BadSettings(f"{file}: not TOML: {error}") from error
        _convert(values, strict=True, where=f"{file}: ")
    for name in Settings.__struct_fields__:
        text = (environment or {}).get(PREFIX + name.upper())
        if text is not None:
            values[name] = _from_text(name, text)
            _convert({name: values[name]}, strict=False, where=f"{PREFIX}{name.upper()}: ")
    values.update({name: value for name, value in (overrides or {}).items() if value is not None})
    settings = _convert(values, strict=False, where="")
    _check(settings)
    return settings


def unknown_variables(environment: Mapping[str, str]) -> list[str]:
    """The `TERTULIA_…` variables that mean nothing to the server: misspelt, as a rule."""
    known = {PREFIX + name.upper() for name in Settings.__struct_fields__} | {SETTINGS_VARIABLE}
    return sorted(name for name in environment if name.startswith(PREFIX) and name not in known)


# --- describing ----------------------------------------------------------------------------------


def _toml(value: object) -> str:
    """A value as TOML writes it; JSON's strings are TOML's basic strings."""
    return msgspec.json.encode(value).decode()


def _metas(name: str) -> list[Meta]:
    return [one for one in get_args(_FULL[name])[1:] if isinstance(one, Meta)]


def _kind(name: str) -> str:
    kind = _PLAIN[name]
    if get_origin(kind) is Literal:
        return " or ".join(_toml(choice) for choice in get_args(kind))
    if get_origin(kind) is tuple:
        return "list of texts"
    return {str: "text", int: "whole number", float: "number", bool: "true or false"}[kind]


def _bounds(metas: list[Meta]) -> str:
    parts: list[str] = []
    for meta in metas:
        if meta.ge is not None:
            parts.append(f"at least {meta.ge}")
        if meta.le is not None:
            parts.append(f"at most {meta.le}")
        if meta.min_length is not None:
            parts.append("not empty" if meta.min_length == 1 else f"at least {meta.min_length} long")
        if meta.max_length is not None:
            parts.append(f"at most {meta.max_length} characters")
    return ", ".join(parts)


def describe(settings: Settings | None = None) -> list[Setting]:
    """Every setting in the order of the file, with the values of `settings` (the defaults without)."""
    plain = Settings()
    settings = settings or plain
    found: list[Setting] = []
    for name in Settings.__struct_fields__:
        metas = _metas(name)
        extra = {key: one for meta in metas for key, one in (meta.extra or {}).items()}
        secret = bool(cast(object, extra.get("secret")))
        value: object = getattr(settings, name)
        found.append(
            Setting(
                name=name,
                variable=PREFIX + name.upper(),
                kind=_kind(name),
                bounds=_bounds(metas),
                default=_toml(getattr(plain, name)),
                value=_MASK if secret and value else _toml(value),
                description=next((meta.description for meta in metas if meta.description), ""),
                secret=secret,
            )
        )
    return found


def sample() -> str:
    """A settings file with everything in it, commented out."""
    lines = [
        "# Settings of Tertulia.  What is commented out has the value that stands there.",
        f"# Each may be given as a variable instead: {PREFIX}PORT=8420 wins over `port` here.",
    ]
    for one in describe():
        if one.name in _GROUPS:
            lines += ["", f"# --- {_GROUPS[one.name]} ---"]
        hint = ", ".join(part for part in (one.kind, one.bounds) if part)
        lines += ["", f"# {one.description} ({hint})", f"#{one.name} = {one.default}"]
    return "\n".join(lines) + "\n"


def markdown() -> str:
    """docs/settings.md."""
    lines = [
        "# Settings",
        "",
        "Made by `tertulia settings --markdown` from `src/tertulia/config.py`; do not edit it by hand.",
        "",
        "`tertulia serve --settings FILE` reads a TOML file (`tertulia settings --sample` prints one to",
        f"begin with); `{SETTINGS_VARIABLE}` names it as well. A variable wins over the file, and an option",
        "of the command line over both. Lists are written with commas in a variable, switches as `on` or",
        "`off`. `tertulia settings` shows what is in force, without the secrets.",
    ]
    for one in describe():
        if one.name in _GROUPS:
            lines += [
                "",
                f"## {_GROUPS[one.name]}",
                "",
                "| Setting | Variable | Default | What it is |",
                "|---|---|---|---|",
            ]
        hint = "; ".join(part for part in (one.kind, one.bounds, "secret" if one.secret else "") if part)
        lines.append(f"| `{one.name}` | `{one.variable}` | `{one.default}` | {one.description} ({hint}) |")
    return "\n".join(lines) + "\n"
