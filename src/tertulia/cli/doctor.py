"""The checks of `tertulia doctor`.  Each looks at one thing and changes nothing."""

from __future__ import annotations

import asyncio
import datetime
import os
import resource
import shutil
import ssl
import stat
import tempfile
import time
from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import Final, Literal

import apsw
import msgspec
import structlog
from cryptography import x509

from tertulia.adapters.clock_system import SystemClock
from tertulia.adapters.http_guarded import GuardedHttpClient
from tertulia.adapters.sqlite import Differences, FolderInUse, schema
from tertulia.adapters.sqlite.engine import READ_ONLY, connect
from tertulia.adapters.sqlite.store import DATABASE
from tertulia.cli.failure import Failure
from tertulia.cli.files import files_needed
from tertulia.cli.reach import reach
from tertulia.config import SECRET_FILE, Settings
from tertulia.ports.delivery import DeliveryFailed
from tertulia.protocols.control import requests as r

State = Literal["ok", "warn", "fail"]

EXPIRY_WARN_DAYS: Final = 21
WAY_TIMEOUT_S: Final = 30.0
_DAY_MS: Final = 86_400_000


class Finding(msgspec.Struct, frozen=True):
    """One line: what was looked at, how it is, and what to do about it."""

    check: str
    state: State
    text: str


def run(settings: Settings) -> list[Finding]:
    """All checks."""
    folder = Path(settings.data)
    clock = SystemClock()
    return [
        check_folder(folder),
        check_space(folder, settings.min_free_bytes),
        check_clock(clock.now_ms, clock.monotonic, newest_event(folder)),
        check_database(folder),
        check_secret(folder),
        check_tls(settings),
        check_files(settings.max_sessions),
        *asyncio.run(check_ways(settings)),
    ]


# --- the folder ----------------------------------------------------------------------------------


def check_folder(folder: Path) -> Finding:
    """Whether files can be made in it, and whether others may look into it."""
    name = "folder"
    if not folder.exists():
        return Finding(name, "warn", f"{folder} does not exist; the first start makes it.")
    try:
        with tempfile.NamedTemporaryFile(dir=folder, prefix="doctor-") as file:
            file.write(b"x")
            file.flush()
            os.fsync(file.fileno())
    except OSError as error:
        return Finding(
            name, "fail", f"{folder} cannot be written to ({error.strerror}): give it to this user."
        )
    if folder.stat().st_mode & 0o077:
        return Finding(name, "warn", f"Others can look into {folder}: chmod 700 {folder}")
    return Finding(name, "ok", f"{folder} can be written to.")


def check_space(folder: Path, least: int) -> Finding:
    """Free space, where the folder is or will be."""
    there = next(path for path in (folder.absolute(), *folder.absolute().parents) if path.exists())
    free = shutil.disk_usage(there).free
    text = f"{free / 2**30:.1f} GiB are free."
    if free < least:
        return Finding("space", "fail", f"{text} The server says that it is not ready: make room.")
    if free < 4 * least:
        return Finding("space", "warn", f"{text} Make room before it says that it is not ready.")
    return Finding("space", "ok", text)


def check_secret(folder: Path) -> Finding:
    """The file from which all keys come."""
    path = folder / SECRET_FILE
    try:
        there = path.stat()
    except FileNotFoundError:
        if (folder / DATABASE).exists():
            text = f"{path} is missing: all tokens are void. Put it back from a backup."
            return Finding("secret", "fail", text)
        return Finding("secret", "ok", "The first start makes it.")
    except OSError as error:
        return Finding("secret", "fail", f"{path}: {error.strerror}.")
    if there.st_size < 32:
        return Finding("secret", "fail", f"{path} is damaged. Put it back from a backup.")
    if stat.S_IMODE(there.st_mode) & 0o077:
        return Finding("secret", "fail", f"Others can read {path}: chmod 600 {path}")
    if there.st_uid not in (os.geteuid(), folder.stat().st_uid):
        return Finding("secret", "warn", f"{path} belongs to another user than the folder.")
    return Finding("secret", "ok", "Only its owner can read it.")


# --- the clock -----------------------------------------------------------------------------------


def newest_event(folder: Path) -> int:
    """When the newest event was written (Unix ms); 0 when nobody knows."""
    try:
        connection = connect(str(folder / DATABASE), flags=READ_ONLY)
        try:
            found: object = connection.execute("SELECT at FROM event ORDER BY id DESC LIMIT 1").get
        finally:
            connection.close()
    except apsw.Error:
        return 0
    return found if isinstance(found, int) else 0


def check_clock(
    now_ms: Callable[[], int],
    monotonic: Callable[[], float],
    newest: int,
    pause: Callable[[float], None] = time.sleep,
) -> Finding:
    """Whether the wall clock runs, forward, as fast as the other one, and in a year that can be."""
    year = datetime.datetime.fromtimestamp(0, datetime.UTC) + datetime.timedelta(milliseconds=now_ms())
    if not 2025 <= year.year < 2100:
        return Finding("clock", "fail", f"It says {year:%Y-%m-%d}: set it, and run NTP.")
    began, began_at = now_ms(), monotonic()
    before = began
    for _ in range(10):
        pause(0.02)
        now = now_ms()
        if now < before:
            return Finding("clock", "fail", f"It went back by {before - now} ms: run NTP that slews.")
        before = now
    drift = (before - began) - (monotonic() - began_at) * 1000
    if abs(drift) > 50:
        return Finding("clock", "warn", f"It moved {drift:.0f} ms against the monotonic clock: see to NTP.")
    if newest > before + 60_000:
        ahead = (newest - before) / 60_000
        text = f"The newest event is {ahead:.0f} minutes in the future: the clock was set back. Check NTP."
        return Finding("clock", "warn", text)
    return Finding("clock", "ok", f"{year:%Y-%m-%d %H:%M:%S}Z, forward, in step.")


# --- the database --------------------------------------------------------------------------------


def check_database(folder: Path) -> Finding:
    """SQLite's own quick check, and whether this program knows the schema."""
    path = folder / DATABASE
    if not path.exists():
        return Finding("database", "ok", "There is none yet; the first start makes it.")
    try:
        connection = connect(str(path), flags=READ_ONLY)
        try:
            have = schema.version(connection)
            found: object = connection.execute("PRAGMA quick_check(1)").get
        finally:
            connection.close()
    except apsw.Error as error:
        return Finding("database", "fail", f"{path} cannot be read ({error}): restore a backup.")
    newest = schema.migrations()[-1][0]
    if found != "ok":
        return Finding("database", "fail", f"It is damaged ({found}): restore a backup.")
    if have > newest:
        text = f"It has schema {have}, this program knows {newest}: install a newer version."
        return Finding("database", "fail", text)
    if have < newest:
        text = f"It has schema {have}; the next start brings it to {newest}. Make a backup before."
        return Finding("database", "warn", text)
    return Finding("database", "ok", f"The quick check finds nothing; schema {have}.")


def rebuild(settings: Settings) -> Finding:
    """Make the projections anew from the log, by the running server or here."""
    try:
        with reach(settings) as line:
            found = line.ask(r.Rebuild(), Differences)
    except (Failure, FolderInUse) as error:
        return Finding("rebuild", "fail", str(error))
    looked = f"{found.events} events in {found.logs} logs"
    if found.log_faults:
        text = f"{looked}: {found.log_faults} do not follow from those before. Restore a backup."
        return Finding("rebuild", "fail", text)
    if found.folds or found.search:
        text = f"{looked}: {found.folds} folds and {found.search} rows of the search index were mended."
        return Finding("rebuild", "warn", text)
    return Finding("rebuild", "ok", f"{looked}: every projection agrees.")


# --- the host ------------------------------------------------------------------------------------


def check_files(max_sessions: int) -> Finding:
    """Whether the process may have as many connections as the settings allow."""
    # The server itself raises the soft limit up to this one.
    _, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    needed = files_needed(max_sessions)
    if hard == resource.RLIM_INFINITY or hard >= needed:
        return Finding("files", "ok", f"{needed} may be open at once, and are allowed.")
    text = (
        f"{hard} files may be open; max_sessions = {max_sessions} may need {needed}: "
        "raise the hard limit (ulimit -Hn, LimitNOFILE), or lower the setting."
    )
    return Finding("files", "warn", text)


def check_tls(settings: Settings) -> Finding:
    """Whether certificate and key can be read, belong together, and for how long they are good."""
    if not settings.tls_certificate:
        local = settings.host in ("127.0.0.1", "::1", "localhost")
        if local:
            return Finding("tls", "ok", "Off, and only this machine reaches the server.")
        text = "Off: passwords cross the network readable, unless a proxy before it speaks TLS."
        return Finding("tls", "warn", text)
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    try:
        for path in (settings.tls_certificate, settings.tls_key):
            Path(path).open("rb").close()
        # Without a password OpenSSL would ask for one at the terminal.
        context.load_cert_chain(settings.tls_certificate, settings.tls_key, password="")
        ends = _expiry(settings.tls_certificate)
    except ssl.SSLError as error:
        text = f"Certificate and key cannot be used together ({error.reason}): see that they are a pair."
        return Finding("tls", "fail", text)
    except OSError as error:
        return Finding("tls", "fail", f"{error.filename}: {error.strerror}.")
    except ValueError:
        return Finding("tls", "fail", f"{settings.tls_certificate} holds no certificate.")
    days = (ends - SystemClock().now_ms()) / _DAY_MS
    if days < 0:
        return Finding("tls", "fail", f"The certificate has expired {-days:.0f} days ago: renew it.")
    if days < EXPIRY_WARN_DAYS:
        return Finding("tls", "warn", f"The certificate expires in {days:.0f} days: renew it.")
    return Finding("tls", "ok", f"Certificate and key are a pair, good for {days:.0f} days.")


def _expiry(path: str) -> int:
    """When the first certificate of a PEM file expires (Unix ms).  Raises OSError, ValueError."""
    certificate = x509.load_pem_x509_certificate(Path(path).read_bytes())
    return round(certificate.not_valid_after_utc.timestamp() * 1000)


# --- mail and SMS --------------------------------------------------------------------------------


async def check_ways(settings: Settings) -> list[Finding]:
    """Try the ways by which mail and SMS leave, without sending."""
    from tertulia.bootstrap import delivery

    clock = SystemClock()
    log = structlog.get_logger("tertulia")
    http = GuardedHttpClient(delivery.outbound(settings))
    try:
        mailer = delivery.mailer(settings, clock, log)
        sender = delivery.sms_sender(settings, clock, http, log)
        found = [
            await _way("mail", mailer.check, printed=settings.mail == "log"),
            await _way("sms", sender.check, printed=settings.sms == "log"),
        ]
        await sender.aclose()
        return found
    finally:
        await http.aclose()


async def _way(name: str, check: Callable[[], Awaitable[str]], *, printed: bool) -> Finding:
    try:
        async with asyncio.timeout(WAY_TIMEOUT_S):
            text = await check()
    except DeliveryFailed as failed:
        return Finding(name, "fail", f"{failed.reason} ({failed.code}): see the settings of {name}.")
    except TimeoutError:
        return Finding(name, "fail", f"No answer within {WAY_TIMEOUT_S:.0f} s: see the settings of {name}.")
    if printed:
        return Finding(name, "warn", f"{text}: good for a try, not for people. Set `{name}`.")
    return Finding(name, "ok", text)
