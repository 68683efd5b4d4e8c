"""`tertulia doctor`: what is right and what is wrong with an installation."""

from __future__ import annotations

import os
import sys
from typing import Annotated, Any

from cyclopts import Parameter

from tertulia.cli.failure import REFUSED, USAGE, Failure
from tertulia.cli.options import Data, Json, SettingsFile, Where, settings_of
from tertulia.cli.output import print_json
from tertulia.config import Settings, unknown_variables

_COLOURS = {"ok": "\x1b[32m", "warn": "\x1b[33m", "fail": "\x1b[31m"}


def doctor(
    *,
    settings: SettingsFile = None,
    data: Data = None,
    rebuild: Annotated[
        bool, Parameter(negative="", help="Hold folds and search index against the log, and mend them.")
    ] = False,
    json: Json = False,
) -> None:
    """Check settings, disk, clock, database, secret, mail, SMS, TLS and limits.

    Each line is ok, warn or fail with what to do.  Exit code 1 when one of them fails."""
    from tertulia.cli import doctor as checks

    try:
        chosen = settings_of(settings, data=data)
    except Failure as failure:
        found = [checks.Finding("settings", "fail", str(failure))]
        _print(found, json=json)
        sys.exit(USAGE)
    chosen = Where(settings=settings, data=data).load()
    found = [_settings(chosen, checks), *checks.run(chosen)]
    if rebuild:
        found.append(checks.rebuild(chosen))
    _print(found, json=json)
    if any(one.state == "fail" for one in found):
        sys.exit(REFUSED)


def _settings(chosen: Settings, checks: Any) -> Any:
    unknown = unknown_variables(os.environ)
    if unknown:
        names = ", ".join(unknown)
        return checks.Finding("settings", "warn", f"These variables mean nothing to the server: {names}.")
    return checks.Finding("settings", "ok", f"They can be used; the data are in {chosen.data}.")


def _print(found: list[Any], *, json: bool) -> None:
    if json:
        print_json(found)
        return
    colours = sys.stdout.isatty()
    for one in found:
        state = f"{_COLOURS[one.state]}{one.state:<4}\x1b[0m" if colours else f"{one.state:<4}"
        print(f"{state}  {one.check:<10}  {one.text}")
