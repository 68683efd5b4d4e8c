"""Disks that misbehave, for SQLite (https://sqlite.org/vfs.html).

`kill -9` leaves the page cache of the host, so it proves nothing about fsync.  Here the process's own
memory is the page cache: what SQLite writes stays in memory until `xSync`, the files on the real disk hold
what was synced, and a power cut ends the process after letting a chosen part of the rest through.

What a power cut does to what was not synced, as modelled here: each sector of 512 bytes of each write
arrives or not, on its own and in any order; changes of a file's length and deletions arrive or not; a file
that was made and never synced may be missing.  What was synced is there.  Locks and the shared memory of
the WAL index are the operating system's own: they end with the process, and SQLite makes the index anew.
"""

from __future__ import annotations

import os
import random
import threading
from collections.abc import Callable
from pathlib import Path
from typing import Any, Literal

import apsw

SECTOR = 512
Fate = Literal["nothing", "some", "half_pages"]
"""What arrives of that which was not synced."""


class _Disk:
    """One file: what the process sees (`content`), and what is not on the real disk yet (`pending`)."""

    def __init__(self, path: str, *, new: bool) -> None:
        self.path = path
        self.content = bytearray(Path(path).read_bytes())
        self.new = new
        self.pending: list[tuple[int, bytes] | int] = []
        self.deleted = False

    def write(self, data: bytes, offset: int) -> None:
        if len(self.content) < offset:
            self.content += bytes(offset - len(self.content))
        self.content[offset : offset + len(data)] = data
        self.pending.append((offset, data))

    def truncate(self, size: int) -> None:
        if size < len(self.content):
            del self.content[size:]
        else:
            self.content += bytes(size - len(self.content))
        self.pending.append(size)

    def sync(self) -> None:
        """All of it is on the disk from now on."""
        self._apply(self.pending)
        self.pending.clear()
        self.new = False

    def cut(self, dice: random.Random, fate: Fate) -> None:
        """The power goes."""
        if fate != "nothing":
            unit = 2048 if fate == "half_pages" else SECTOR
            odds = dice.choice((0.1, 0.5, 0.9))
            self._apply([part for op in self.pending for part in _parts(op, unit) if dice.random() < odds])
            if self.deleted and dice.random() < odds:
                Path(self.path).unlink(missing_ok=True)
                return
        if self.new and (fate == "nothing" or dice.random() < 0.5):
            Path(self.path).unlink(missing_ok=True)

    def _apply(self, operations: list[tuple[int, bytes] | int]) -> None:
        handle = os.open(self.path, os.O_RDWR | os.O_CREAT, 0o644)
        try:
            for operation in operations:
                if isinstance(operation, int):
                    os.ftruncate(handle, operation)
                else:
                    os.pwrite(handle, operation[1], operation[0])
        finally:
            os.close(handle)


def _parts(operation: tuple[int, bytes] | int, unit: int) -> list[tuple[int, bytes] | int]:
    """A write cut at the disk's own boundaries; a change of length is one piece."""
    if isinstance(operation, int):
        return [operation]
    offset, data = operation
    parts: list[tuple[int, bytes] | int] = []
    at = 0
    while at < len(data):
        size = min(unit - (offset + at) % unit, len(data) - at)
        parts.append((offset + at, data[at : at + size]))
        at += size
    return parts


class _LossyFile(apsw.VFSFile):
    def __init__(self, vfs: LossyDisk, name: str | apsw.URIFilename, flags: list[int]) -> None:
        path = name.filename() if isinstance(name, apsw.URIFilename) else name
        there = Path(path).exists()
        super().__init__("", name, flags)
        self._vfs = vfs
        self._disk = vfs.opened(path, new=not there)

    def xRead(self, amount: int, offset: int) -> bytes:  # noqa: N802
        with self._vfs.lock:
            return bytes(self._disk.content[offset : offset + amount])

    def xWrite(self, data: Any, offset: int) -> None:  # noqa: N802
        with self._vfs.lock:
            self._disk.write(bytes(data), offset)

    def xTruncate(self, newsize: int) -> None:  # noqa: N802
        with self._vfs.lock:
            self._disk.truncate(newsize)

    def xFileSize(self) -> int:  # noqa: N802
        with self._vfs.lock:
            return len(self._disk.content)

    def xSync(self, flags: int) -> None:  # noqa: N802
        with self._vfs.lock:
            self._vfs.syncing(self._disk)
            self._disk.sync()
            self._vfs.syncs += 1


class LossyDisk(apsw.VFS):
    """A VFS whose files are safe only once they are synced."""

    def __init__(self, name: str) -> None:
        self.lock = threading.RLock()
        self.syncs = 0
        self._disks: dict[str, _Disk] = {}
        self._dead: list[_Disk] = []
        self._fails: Callable[[str], bool] = lambda _path: False
        self.name = name
        super().__init__(name, "")

    def xOpen(self, name: str | apsw.URIFilename | None, flags: list[int]) -> apsw.VFSFile:  # noqa: N802
        if name is None:
            return apsw.VFSFile("", name, flags)
        return _LossyFile(self, name, flags)

    def xAccess(self, pathname: str, flags: int) -> bool:  # noqa: N802
        with self.lock:
            disk = self._disks.get(pathname)
            if disk is not None and flags == apsw.SQLITE_ACCESS_EXISTS:
                # As the unix VFS has it: an empty file is none.
                return len(disk.content) > 0
            if any(dead.path == pathname for dead in self._dead):
                return False
        return super().xAccess(pathname, flags)

    def xDelete(self, filename: str, syncdir: bool) -> None:  # noqa: N802
        with self.lock:
            disk = self._disks.pop(filename, None)
            if disk is None or syncdir:
                super().xDelete(filename, syncdir)
                return
            # Gone for the process; on the disk the name is there until somebody makes it anew.
            disk.deleted = True
            self._dead.append(disk)

    def opened(self, path: str, *, new: bool) -> _Disk:
        """The file of this name, which was opened just now; the same for all connections."""
        with self.lock:
            disk = self._disks.get(path)
            if disk is None:
                dead = [one for one in self._dead if one.path == path]
                self._dead = [one for one in self._dead if one.path != path]
                disk = self._disks[path] = _Disk(path, new=new)
                if dead:
                    # The name was free again: what is on the disk under it is another, deleted file.
                    disk.content.clear()
                    disk.pending.append(0)
            return disk

    def fail_sync(self, ending: str) -> None:
        """The next sync of a file with this ending fails, and what it should have brought to the disk is
        gone: the kernel marks such pages clean (as Linux does after a failed write-back)."""
        left = [1]

        def fails(path: str) -> bool:
            if not path.endswith(ending) or not left:
                return False
            left.clear()
            return True

        self._fails = fails

    def syncing(self, disk: _Disk) -> None:
        """Raises apsw.IOError when this sync is to fail."""
        if self._fails(disk.path):
            disk.pending.clear()
            error = apsw.IOError("the disk does not answer")
            error.extendedresult = apsw.SQLITE_IOERR_FSYNC  # pyright: ignore - what apsw reads
            raise error

    def cut(self, seed: int, fate: Fate) -> None:
        """The power goes: never returns.  Nobody can write or sync meanwhile."""
        self.lock.acquire()
        dice = random.Random(seed)
        for disk in (*self._disks.values(), *self._dead):
            disk.cut(dice, fate)
        os._exit(9)


class _QuotaFile(apsw.VFSFile):
    def __init__(self, vfs: QuotaDisk, name: str | apsw.URIFilename, flags: list[int]) -> None:
        super().__init__("", name, flags)
        self._vfs = vfs

    def xWrite(self, data: Any, offset: int) -> None:  # noqa: N802
        if offset + len(data) > self.xFileSize():
            self._vfs.grow(offset + len(data) - self.xFileSize())
        super().xWrite(data, offset)  # pyright: ignore[reportUnknownMemberType]


class QuotaDisk(apsw.VFS):
    """A VFS on which files may grow by so many bytes only, all of them together."""

    def __init__(self, name: str) -> None:
        self.room = 1 << 40
        self.name = name
        super().__init__(name, "")

    def xOpen(self, name: str | apsw.URIFilename | None, flags: list[int]) -> apsw.VFSFile:  # noqa: N802
        return apsw.VFSFile("", name, flags) if name is None else _QuotaFile(self, name, flags)

    def grow(self, count: int) -> None:
        """Raises apsw.FullError when there is no room for so many bytes more."""
        if count > self.room:
            raise apsw.FullError("no room on this disk")
        self.room -= count
