"""What the client remembers between runs: servers, people and their refresh tokens.

One file for each profile, readable by its owner only.  Two people on one machine account, or two devices
of one person, use two profiles: a refresh token is good for one use, so two programs must not share it.
"""

from __future__ import annotations

import os
import re
import sys
import tempfile
from collections.abc import Mapping
from pathlib import Path

import msgspec

from tertulia_client import TokensDoc

PROFILE = re.compile(r"[A-Za-z0-9][A-Za-z0-9_.-]{0,63}\Z")


class Account(msgspec.Struct, kw_only=True):
    """Someone who is signed in at a server; `conversation` is the one they looked at last."""

    url: str
    user: str
    device: str
    refresh_token: str
    handle: str = ""
    conversation: str = ""


class Saved(msgspec.Struct, kw_only=True):
    """The file's content; the account that was used last comes first."""

    accounts: list[Account] = []
    url: str = ""
    theme: str = ""


def state_folder(environment: Mapping[str, str] = os.environ, platform: str = sys.platform) -> Path:
    """Where programs keep what is theirs alone (XDG Base Directory Specification, `XDG_STATE_HOME`)."""
    named = environment.get("XDG_STATE_HOME", "")
    # The specification has relative paths ignored.
    if named and Path(named).is_absolute():
        return Path(named) / "tertulia"
    if platform == "win32" and (local := environment.get("LOCALAPPDATA")):
        return Path(local) / "Tertulia"
    if platform == "darwin":
        return Path.home() / "Library" / "Application Support" / "Tertulia"
    return Path.home() / ".local" / "state" / "tertulia"


class Profile:
    """One profile's file and the outboxes that belong to it."""

    def __init__(self, folder: Path, name: str = "default") -> None:
        """Raises ValueError for a name that cannot be a file's."""
        if not PROFILE.match(name):
            raise ValueError("a profile's name is made of letters, digits, dots, dashes and underscores")
        self._folder = folder / "chat" / name
        self._file = self._folder / "accounts.json"
        self.name = name
        self.saved = self._load()

    def account(self, url: str = "", handle: str = "") -> Account | None:
        """The last account used, of that server and handle when they are given."""
        for account in self.saved.accounts:
            if url and account.url != url:
                continue
            if handle and account.handle.casefold() != handle.casefold():
                continue
            return account
        return None

    def signed_in(self, url: str, tokens: TokensDoc) -> Account:
        """Keep a new pair of tokens, and put its account first."""
        known = self._known(url, tokens.user)
        account = Account(
            url=url,
            user=tokens.user,
            device=tokens.device,
            refresh_token=tokens.refresh_token,
            handle=known.handle if known is not None else "",
            conversation=known.conversation if known is not None else "",
        )
        self.saved.accounts = [account, *(one for one in self.saved.accounts if one is not known)]
        self.saved.url = url
        self._store()
        return account

    def note(self, account: Account, *, handle: str = "", conversation: str = "") -> None:
        """Remember more about an account."""
        known = self._known(account.url, account.user)
        if known is None:
            return
        before = (known.handle, known.conversation)
        known.handle = handle or known.handle
        known.conversation = conversation or known.conversation
        if before != (known.handle, known.conversation):
            self._store()

    def forget(self, account: Account) -> None:
        """The account is signed out."""
        known = self._known(account.url, account.user)
        self.saved.accounts = [one for one in self.saved.accounts if one is not known]
        self._store()

    def remember_theme(self, theme: str) -> None:
        """For the sign-in screen of the next run."""
        if theme != self.saved.theme:
            self.saved.theme = theme
            self._store()

    @property
    def log_file(self) -> Path:
        """Where warnings go."""
        return self._folder / "chat.log"

    def outbox(self, url: str, user: str) -> Path:
        """The file in which what is unsent waits."""
        safe = re.sub(r"[^A-Za-z0-9]+", "-", f"{url} {user}").strip("-")
        self._make_folder()
        return self._folder / f"outbox-{safe[-120:]}.db"

    def _known(self, url: str, user: str) -> Account | None:
        return next((one for one in self.saved.accounts if (one.url, one.user) == (url, user)), None)

    def _load(self) -> Saved:
        try:
            return msgspec.json.decode(self._file.read_bytes(), type=Saved)
        except (OSError, msgspec.DecodeError):
            return Saved()

    def _make_folder(self) -> None:
        self._folder.mkdir(parents=True, exist_ok=True, mode=0o700)

    def _store(self) -> None:
        """Whole or not at all: a refresh token that is half written signs its owner out."""
        self._make_folder()
        # mkstemp makes files that nobody else can read.
        handle, name = tempfile.mkstemp(dir=self._folder, prefix=".accounts-")
        try:
            with os.fdopen(handle, "wb") as file:
                file.write(msgspec.json.format(msgspec.json.encode(self.saved), indent=2))
                file.flush()
                os.fsync(file.fileno())
            os.replace(name, self._file)
        except BaseException:
            Path(name).unlink(missing_ok=True)
            raise
