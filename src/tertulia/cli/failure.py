"""How a command ends when it cannot do what was asked: one line, and a code that scripts can read."""

from __future__ import annotations

from typing import Final

REFUSED: Final = 1
"""What was asked was refused, or a check failed."""

USAGE: Final = 2
"""The command line or the settings are wrong."""

UNAVAILABLE: Final = 3
"""A port or folder is in use, or the running server cannot be reached."""

STORAGE: Final = 70
"""The storage failed while the server ran."""


class Failure(Exception):
    """Ends the command with this line and exit code."""

    def __init__(self, text: str, code: int = REFUSED) -> None:
        super().__init__(text)
        self.code = code
