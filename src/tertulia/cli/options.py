"""Options that commands share."""

from __future__ import annotations

import dataclasses
import os
from pathlib import Path
from typing import Annotated

from cyclopts import Parameter

from tertulia.cli.failure import USAGE, Failure
from tertulia.cli.logs import set_up_logs
from tertulia.config import SETTINGS_VARIABLE, BadSettings, Settings, load

SettingsFile = Annotated[Path | None, Parameter(name=["--settings", "-s"], help="Settings file (TOML).")]
Data = Annotated[str | None, Parameter(name=["--data", "-d"], help="Folder of everything that is kept.")]
Json = Annotated[bool, Parameter(name="--json", negative="", help="Print one JSON document.")]


def settings_of(file: Path | None, **overrides: object) -> Settings:
    """The settings for a command.  Raises Failure when they are bad."""
    if file is None and (named := os.environ.get(SETTINGS_VARIABLE)):
        file = Path(named)
    try:
        return load(file=file, environment=os.environ, overrides=overrides)
    except BadSettings as error:
        raise Failure(str(error), USAGE) from None


@Parameter(name="*")
@dataclasses.dataclass(frozen=True, kw_only=True)
class Where:
    """Which data a command is about, and how it answers."""

    settings: SettingsFile = None
    data: Data = None
    tenant: Annotated[str, Parameter(help="Whose users and keys.")] = "default"
    json: Json = False

    def load(self) -> Settings:
        """The settings; logging is quiet from now on, as the answer is what counts."""
        chosen = settings_of(self.settings, data=self.data)
        set_up_logs(chosen.log_format, "warning")
        return chosen
