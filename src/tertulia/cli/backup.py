"""The file that `tertulia backup` writes and `tertulia restore` reads.

A plain tar: `manifest.json` first, then the files that it names with their sizes and SHA-256.  The search
index is not in it; it is made anew from the log.
"""

from __future__ import annotations

import contextlib
import datetime
import hashlib
import io
import os
import tarfile
from collections.abc import Generator, Mapping
from pathlib import Path
from typing import IO, Annotated, Final

import apsw
import msgspec
from msgspec import Meta

from tertulia.adapters.sqlite import SchemaTooNew, schema
from tertulia.adapters.sqlite.engine import READ_ONLY, connect
from tertulia.adapters.sqlite.store import DATABASE
from tertulia.cli.failure import Failure
from tertulia.config import SECRET_FILE

FORMAT: Final = 1
MANIFEST: Final = "manifest.json"
MAX_MANIFEST: Final = 65_536
NAMES: Final = (DATABASE, SECRET_FILE)
_CHUNK: Final = 1 << 20


class Entry(msgspec.Struct, frozen=True, kw_only=True):
    """One file of a backup."""

    name: str
    size: Annotated[int, Meta(ge=0)]
    sha256: Annotated[str, Meta(pattern=r"^[0-9a-f]{64}$")]


class Manifest(msgspec.Struct, frozen=True, kw_only=True):
    """What a backup holds, and of which state."""

    format: int
    program: str
    created_at: str
    generation: str
    schema: int
    files: Annotated[list[Entry], Meta(max_length=16)]


# --- writing -------------------------------------------------------------------------------------


def write(path: Path, sources: Mapping[str, Path], *, program: str, generation: str) -> Manifest:
    """Write a backup of these files (name in the backup → where it is); it is on disk when this returns.

    Raises Failure: `path` exists, a file cannot be read, or there is no room; nothing is left then."""
    if path.exists():
        raise Failure(f"{path} exists; a backup overwrites nothing.")
    part = path.with_name(path.name + ".part")
    with contextlib.ExitStack() as stack:
        try:
            files = {name: stack.enter_context(source.open("rb")) for name, source in sources.items()}
            descriptor = os.open(part, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
        except FileExistsError:
            raise Failure(f"{part} is left of a backup that did not end; remove it.") from None
        except OSError as error:
            raise Failure(f"The backup cannot be written: {error.strerror}: {error.filename}.") from None
        stack.callback(part.unlink, missing_ok=True)
        manifest = Manifest(
            format=FORMAT,
            program=program,
            created_at=datetime.datetime.now(datetime.UTC).isoformat(timespec="seconds"),
            generation=generation,
            schema=_schema_of(sources[DATABASE]),
            files=[_entry(name, file) for name, file in files.items()],
        )
        try:
            with os.fdopen(descriptor, "wb") as out:
                _write_tar(out, manifest, files)
                out.flush()
                os.fsync(out.fileno())
            # Unlike a rename, a link never replaces what somebody put there meanwhile.
            os.link(part, path)
        except FileExistsError:
            raise Failure(f"{path} exists; a backup overwrites nothing.") from None
        except OSError as error:
            raise Failure(f"The backup cannot be written: {error.strerror}.") from None
    _sync_folder(path.parent)
    return manifest


def _entry(name: str, file: IO[bytes]) -> Entry:
    digest = hashlib.sha256()
    size = 0
    file.seek(0)
    while chunk := file.read(_CHUNK):
        digest.update(chunk)
        size += len(chunk)
    file.seek(0)
    return Entry(name=name, size=size, sha256=digest.hexdigest())


def _write_tar(out: IO[bytes], manifest: Manifest, files: Mapping[str, IO[bytes]]) -> None:
    document = msgspec.json.format(msgspec.json.encode(manifest), indent=2)
    with tarfile.open(fileobj=out, mode="w", format=tarfile.PAX_FORMAT) as tar:
        tar.addfile(_member(MANIFEST, len(document)), io.BytesIO(document))
        for entry in manifest.files:
            tar.addfile(_member(entry.name, entry.size), files[entry.name])


def _member(name: str, size: int) -> tarfile.TarInfo:
    member = tarfile.TarInfo(name)
    member.size = size
    member.mode = 0o600
    return member


def _schema_of(database: Path) -> int:
    connection = connect(str(database), flags=READ_ONLY)
    try:
        return schema.version(connection)
    finally:
        connection.close()


# --- reading -------------------------------------------------------------------------------------


def restore(path: Path, folder: Path) -> Manifest:
    """Put a backup's files into a new or empty folder, and give the database a new generation, so that
    clients forget their positions.

    Raises Failure: the folder holds something, the file is damaged or of a newer program.  Nothing is
    left in the folder then."""
    newest = schema.migrations()[-1][0]
    try:
        with _filled(folder) as made, _opened(path) as tar:
            manifest = _manifest(tar)
            if manifest.schema > newest:
                raise Failure(
                    f"The backup has schema {manifest.schema}, this program knows {newest} at most: "
                    "install a newer version."
                )
            _extract(tar, manifest, folder, made)
            _check_database(folder / _part(DATABASE))
            schema.stamp_new_generation(folder / _part(DATABASE))
            for name in sorted(NAMES, key=DATABASE.__eq__):
                # The database comes last: without it the folder is no data folder.
                source, target = folder / _part(name), folder / name
                with source.open("rb") as handle:
                    os.fsync(handle.fileno())
                source.rename(target)
                made.append(target)
            _sync_folder(folder)
    except (tarfile.TarError, EOFError):
        raise Failure(f"{path} is damaged, or no backup.") from None
    except OSError as error:
        raise Failure(f"The backup cannot be restored: {error.strerror or error}.") from None
    return manifest


def _part(name: str) -> str:
    return name + ".part"


@contextlib.contextmanager
def _opened(path: Path) -> Generator[tarfile.TarFile]:
    # Without compression: a bomb has nowhere to hide.
    with tarfile.open(path, mode="r:") as tar:
        yield tar


@contextlib.contextmanager
def _filled(folder: Path) -> Generator[list[Path]]:
    """A new or empty folder; the files that are listed go again, and the folder, when it fails."""
    made: list[Path] = []
    new = not folder.exists()
    folder.mkdir(parents=True, exist_ok=True, mode=0o700)
    if any(folder.iterdir()):
        raise Failure(f"{folder} is not empty; a backup is restored into an empty folder.")
    try:
        yield made
    except BaseException:
        for one in made:
            one.unlink(missing_ok=True)
        if new:
            with contextlib.suppress(OSError):
                folder.rmdir()
        raise


def _manifest(tar: tarfile.TarFile) -> Manifest:
    member = tar.next()
    if member is None or member.name != MANIFEST or not member.isreg() or member.size > MAX_MANIFEST:
        raise Failure("This is no backup of Tertulia: there is no manifest at its beginning.")
    file = tar.extractfile(member)
    assert file is not None
    try:
        manifest = msgspec.json.decode(file.read(), type=Manifest)
    except msgspec.DecodeError:
        raise Failure("The backup's manifest cannot be read.") from None
    if manifest.format != FORMAT:
        raise Failure(f"The backup has format {manifest.format}; this program knows {FORMAT}.")
    if sorted(entry.name for entry in manifest.files) != sorted(NAMES):
        raise Failure("The backup's manifest does not name the files that belong to one.")
    return manifest


def _extract(tar: tarfile.TarFile, manifest: Manifest, folder: Path, made: list[Path]) -> None:
    for entry in manifest.files:
        member = tar.next()
        if member is None or member.name != entry.name or not member.isreg() or member.size != entry.size:
            raise Failure(f"The backup is damaged: {entry.name} is not what the manifest says.")
        file = tar.extractfile(member)
        assert file is not None
        path = folder / _part(entry.name)
        made.append(path)
        digest = hashlib.sha256()
        descriptor = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
        with os.fdopen(descriptor, "wb") as out:
            while chunk := file.read(_CHUNK):
                digest.update(chunk)
                out.write(chunk)
        if digest.hexdigest() != entry.sha256:
            raise Failure(f"The backup is damaged: the SHA-256 of {entry.name} does not fit.")
    if tar.next() is not None:
        raise Failure("The backup is damaged: it holds more than the manifest says.")


def _check_database(path: Path) -> None:
    try:
        connection = connect(str(path), flags=READ_ONLY)
        try:
            found = connection.execute("PRAGMA quick_check(1)").get
            schema.version(connection)
        finally:
            connection.close()
    except (apsw.Error, SchemaTooNew) as error:
        raise Failure(f"The backup's database cannot be read: {error}.") from None
    if found != "ok":
        raise Failure(f"The backup's database is damaged: {found}.")


def _sync_folder(folder: Path) -> None:
    descriptor = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
