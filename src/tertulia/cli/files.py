"""How many files a server may have open at once."""

from __future__ import annotations

import resource
from typing import Final

FDS_BESIDE: Final = 256
"""File descriptors that a server uses beside its connections."""


def files_needed(max_sessions: int) -> int:
    """File descriptors that a server with so many connections may use."""
    return max_sessions + FDS_BESIDE


def allow_files(max_sessions: int) -> None:
    """Raise the process's own limit on open files as far as it may, and is useful."""
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    wanted = files_needed(max_sessions)
    if hard != resource.RLIM_INFINITY:
        wanted = min(wanted, hard)
    if soft != resource.RLIM_INFINITY and soft < wanted:
        resource.setrlimit(resource.RLIMIT_NOFILE, (wanted, hard))
