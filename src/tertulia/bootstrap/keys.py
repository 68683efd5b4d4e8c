"""The secret of a data folder, and the keys that come from it."""

from __future__ import annotations

import hashlib
import os
import secrets
from pathlib import Path

import msgspec

from tertulia.config import SECRET_FILE


class Keys(msgspec.Struct, frozen=True):
    """The server's secrets, each derived from the one in the data folder."""

    keyed: bytes
    access: bytes
    lasting: bytes
    refresh: bytes
    cursor: bytes


def read_keys(folder: Path) -> Keys:
    """The secrets of a data folder; its `secret` file is made when it is not there, readable by the
    owner alone.

    Raises ValueError for a file that is too short to be one."""
    path = folder / SECRET_FILE
    folder.mkdir(parents=True, exist_ok=True, mode=0o700)
    try:
        descriptor = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
    except FileExistsError:
        root = path.read_bytes()
    else:
        root = secrets.token_bytes(32)
        with os.fdopen(descriptor, "wb") as file:
            file.write(root)
            file.flush()
            os.fsync(file.fileno())
    if len(root) < 32:
        raise ValueError(f"{path} is damaged: it holds fewer than 32 bytes")

    def derive(purpose: bytes) -> bytes:
        return hashlib.blake2b(root, digest_size=32, person=purpose[:16]).digest()

    return Keys(*(derive(name) for name in (b"keyed", b"access", b"lasting", b"refresh", b"cursor")))
