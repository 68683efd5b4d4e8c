"""The `tertulia` command."""

from __future__ import annotations

import os
import sys
from typing import Annotated

import cyclopts
from cyclopts import Parameter

import tertulia
from tertulia.cli import backup_commands, doctor_command, operator_commands, settings_command
from tertulia.cli.failure import USAGE, Failure
from tertulia.cli.logs import set_up_logs
from tertulia.cli.options import Data, SettingsFile, settings_of

app = cyclopts.App(
    name="tertulia",
    help="The chat platform a business runs on its own servers.",
    version=tertulia.__version__,
)
for group in (operator_commands.user, operator_commands.tenant, operator_commands.token):
    app.command(group)
app.command(settings_command.settings)
app.command(doctor_command.doctor)
app.command(backup_commands.backup)
app.command(backup_commands.restore)


@app.command
def serve(
    *,
    settings: SettingsFile = None,
    data: Data = None,
    host: Annotated[str | None, Parameter(help="Address to listen on.")] = None,
    port: Annotated[int | None, Parameter(help="Port to listen on; 0 takes a free one.")] = None,
    demo: Annotated[bool, Parameter(help="Fill an empty data folder with a small world first.")] = False,
) -> None:
    """Run the server."""
    from tertulia.cli.serve import serve as run

    chosen = settings_of(settings, data=data, host=host, port=port)
    set_up_logs(chosen.log_format, chosen.log_level)
    run(chosen, demo=demo)


@app.command
def chat(
    *,
    url: Annotated[str, Parameter(help="The server; that of last time by default.")] = "",
    handle: Annotated[
        str, Parameter(name="--as", help="Who to be, of those who signed in here before.")
    ] = "",
    sign_up: Annotated[bool, Parameter(help="Create an account.", negative="")] = False,
    profile: Annotated[str, Parameter(help="Keeps two people on one machine apart.")] = "default",
) -> None:
    """Talk in the terminal."""
    from tertulia.cli.chat.command import chat as run

    run(url=url, handle=handle, sign_up=sign_up, profile=profile)


def main() -> None:
    """Entry point.  Exit codes: 0 done, 1 refused or a check failed, 2 usage or settings, 3 port, folder
    or server not to be had."""
    # Nobody else of this machine may read what is written.
    os.umask(0o077)
    try:
        app(sys.argv[1:], exit_on_error=False)
    except cyclopts.CycloptsError:
        # It has printed what is wrong.
        sys.exit(USAGE)
    except Failure as failure:
        print(f"tertulia: {failure}", file=sys.stderr)
        sys.exit(failure.code)
    except KeyboardInterrupt:
        sys.exit(130)
    except BrokenPipeError:
        # Whoever read the output has enough.
        sys.stderr.close()
        sys.exit(0)
