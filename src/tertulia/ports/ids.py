"""Fresh identifiers and secrets."""

from __future__ import annotations

from typing import Final, Protocol

ID_LENGTH: Final = 26


class Ids(Protocol):
    """Where every id and every secret of the program comes from.  Safe to call from any thread."""

    def new_id(self) -> str:
        """A new identifier: 26 characters of lower-case Crockford base32 (the ULID's form).

        The first ten hold a wall-clock millisecond, the other sixteen 80 bits.  From one source
        every id is greater than the one before it, also within a millisecond and when the wall
        clock steps back.  An id is not a secret: within a millisecond the next one can be guessed.
        """
        ...

    def token(self, nbytes: int = 32) -> str:
        """A secret of `nbytes` unpredictable octets, written in base64url without padding.

        Raises `ValueError` when `nbytes` is below 16, which is too few for a secret.
        """
        ...

    def code(self, digits: int = 6) -> str:
        """A one-time code for people to type: `digits` decimal digits, each value equally likely,
        leading zeros kept.  So short a secret needs a limit on guesses.

        Raises `ValueError` unless 4 <= `digits` <= 12.
        """
        ...
