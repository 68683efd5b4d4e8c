"""The ``tertulia`` command."""

import sys

from tertulia import __version__


def main() -> None:
    """Print the version."""
    sys.stdout.write(f"tertulia {__version__}\n")
