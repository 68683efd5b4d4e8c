"""The command line: `tertulia serve`, `chat`, `user`, `doctor`, …"""

from tertulia.cli.main import main

__all__ = ["main"]
