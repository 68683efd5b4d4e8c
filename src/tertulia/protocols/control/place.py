"""Where the control channel is: a Unix socket in the data folder."""

from __future__ import annotations

import contextlib
import os
from collections.abc import Generator
from pathlib import Path
from typing import Final

SOCKET: Final = "control"
_LONGEST: Final = 100
"""Octets of a Unix socket's address that every system takes."""


@contextlib.contextmanager
def reachable(path: Path) -> Generator[str]:
    """An address for a socket's path that is short enough: Unix sockets have room for about a hundred
    octets, folders have more.  Raises OSError where there is no way round."""
    absolute = str(path.absolute())
    if len(os.fsencode(absolute)) <= _LONGEST:
        yield absolute
        return
    descriptor = os.open(path.parent, os.O_RDONLY | os.O_DIRECTORY)
    try:
        folder = Path(f"/proc/self/fd/{descriptor}")
        if not folder.exists():
            raise OSError(f"the path of {path} is too long for a socket; choose a shorter data folder")
        yield str(folder / path.name)
    finally:
        os.close(descriptor)
