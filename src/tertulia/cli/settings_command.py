"""`tertulia settings`: what can be set, and what is in force."""

from __future__ import annotations

from typing import Annotated

from cyclopts import Parameter

from tertulia import config
from tertulia.cli.options import Data, Json, SettingsFile, settings_of
from tertulia.cli.output import print_json


def settings(
    *,
    settings: SettingsFile = None,
    data: Data = None,
    sample: Annotated[bool, Parameter(negative="", help="Print a settings file to begin with.")] = False,
    markdown: Annotated[bool, Parameter(negative="", help="Print docs/settings.md.")] = False,
    json: Json = False,
) -> None:
    """Show every setting: its value, its default and what it is.  Secrets are masked."""
    if sample:
        print(config.sample(), end="")
        return
    if markdown:
        print(config.markdown(), end="")
        return
    shown = config.describe(settings_of(settings, data=data))
    if json:
        print_json(shown)
        return
    for one in shown:
        default = "" if one.value == one.default else f"    # default: {one.default}"
        print(f"{one.name} = {one.value}{default}")
        print(f"    {one.description} [{one.variable}]")
