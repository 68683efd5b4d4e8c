"""Starts the terminal client."""

from __future__ import annotations

import logging
import os
import sys
from pathlib import Path

from tertulia.cli.chat.app import ChatApp
from tertulia.cli.chat.gateway import Server, server_address
from tertulia.cli.chat.profiles import Profile, state_folder
from tertulia.cli.failure import USAGE, Failure


def chat(*, url: str, handle: str, sign_up: bool, profile: str) -> None:
    """Run until the person quits.  Raises Failure when there is no terminal, or for a bad profile."""
    if not sys.stdin.isatty() or not sys.stdout.isatty():
        raise Failure("chat needs a terminal", USAGE)
    folder = state_folder()
    try:
        kept = Profile(folder, profile)
    except ValueError as error:
        raise Failure(str(error), USAGE) from error
    _log_to_file(kept.log_file)
    app = ChatApp(
        Server(kept),
        kept,
        url=server_address(url),
        handle=handle.lstrip("@"),
        sign_up=sign_up,
    )
    app.run()


def _log_to_file(file: Path) -> None:
    """Warnings go to a file: on the screen they would tear the picture."""
    file.parent.mkdir(parents=True, exist_ok=True, mode=0o700)
    handle = os.open(file, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600)
    handler = logging.StreamHandler(os.fdopen(handle, "w", encoding="utf-8"))
    handler.setFormatter(logging.Formatter("%(asctime)s %(levelname)s %(name)s: %(message)s"))
    root = logging.getLogger()
    root.handlers = [handler]
    root.setLevel(logging.WARNING)
