"""`tertulia backup` and `tertulia restore`."""

from __future__ import annotations

import shutil
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

from cyclopts import Parameter

from tertulia.cli.failure import USAGE, Failure
from tertulia.cli.options import Data, Json, SettingsFile, Where
from tertulia.cli.output import note, print_json
from tertulia.cli.reach import reach
from tertulia.config import SECRET_FILE
from tertulia.protocols.control import requests as r

if TYPE_CHECKING:
    from tertulia.cli.backup import Manifest


def backup(
    file: Annotated[Path, Parameter(help="Where to write it; nothing is overwritten.")],
    *,
    settings: SettingsFile = None,
    data: Data = None,
    json: Json = False,
) -> None:
    """Write everything to one file, while the server runs or not.

    It holds the secret that signs tokens, and every message: keep it as you keep the data folder."""
    from tertulia.adapters.sqlite.store import DATABASE
    from tertulia.cli.backup import write as write_file

    where = Where(settings=settings, data=data)
    chosen = where.load()
    folder = Path(chosen.data)
    if file.exists():
        raise Failure(f"{file} exists; a backup overwrites nothing.")
    if not file.absolute().parent.is_dir():
        raise Failure(f"The folder of {file} does not exist.", USAGE)
    with reach(chosen) as line:
        _check_room(folder, file)
        made = line.ask(r.Snapshot(), r.SnapshotMade)
        manifest = write_file(
            file.absolute(),
            {DATABASE: folder / made.name, SECRET_FILE: folder / SECRET_FILE},
            program=made.version,
            generation=made.generation,
        )
    _tell(manifest, json=json)
    if not json:
        note(f"Written to {file}; `tertulia restore {file} --data FOLDER` puts it into an empty folder.")


def restore(
    file: Annotated[Path, Parameter(help="What `tertulia backup` wrote.")],
    *,
    data: Annotated[Path, Parameter(name=["--data", "-d"], help="A new or empty folder.")],
    json: Json = False,
) -> None:
    """Put a backup into an empty folder.  Clients notice, and fetch everything anew."""
    from tertulia.cli.backup import restore as restore_file

    manifest = restore_file(file, data)
    _tell(manifest, json=json)
    if not json:
        note(f"Restored; `tertulia serve --data {data}` runs it.")


def _check_room(folder: Path, file: Path) -> None:
    size = sum(path.stat().st_size for path in folder.glob("tertulia.sqlite3*"))
    for where in (folder, file.absolute().parent):
        free = shutil.disk_usage(where).free
        if free < size * 1.1:
            raise Failure(
                f"A copy of up to {size} bytes is made in the data folder and in that of the backup; "
                f"{where} has {free} free."
            )


def _tell(manifest: Manifest, *, json: bool) -> None:
    if json:
        print_json(manifest)
        return
    for entry in manifest.files:
        print(f"{entry.sha256}  {entry.name}  {entry.size}")
