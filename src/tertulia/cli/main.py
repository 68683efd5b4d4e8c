"""The `tertulia` command."""

from __future__ import annotations

import os
import sys
from pathlib import Path
from typing import Annotated

import cyclopts
from cyclopts import Parameter

import tertulia
from tertulia.cli.logs import set_up_logs
from tertulia.config import BadSettings, Settings, load

app = cyclopts.App(
    name="tertulia",
    help="The chat platform a business runs on its own servers.",
    version=tertulia.__version__,
)

SettingsFile = Annotated[Path | None, Parameter(name=["--settings", "-s"], help="Settings file (TOML).")]
Data = Annotated[str | None, Parameter(help="Folder of everything that is kept.")]


def settings_of(file: Path | None, **overrides: object) -> Settings:
    """The settings for a command; ends the program with one line when they are bad."""
    if file is None and (named := os.environ.get("TERTULIA_SETTINGS")):
        file = Path(named)
    try:
        return load(file=file, environment=os.environ, overrides=overrides)
    except BadSettings as error:
        sys.exit(f"tertulia: {error}")


@app.command
def serve(
    *,
    settings: SettingsFile = None,
    data: Data = None,
    host: str | None = None,
    port: int | None = None,
    demo: Annotated[bool, Parameter(help="Fill a small world to look around in.")] = False,
) -> None:
    """Run the server."""
    from tertulia.cli.serve import serve as run

    chosen = settings_of(settings, data=data, host=host, port=port)
    set_up_logs(chosen.log_format, chosen.log_level)
    run(chosen, demo=demo)


def main() -> None:
    """Entry point."""
    app()
