"""Which handler carries out which command: one table, the same for every protocol."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Mapping
from typing import Any

from tertulia.application.core import Caller
from tertulia.domain.commands import COMMAND_TYPES, Accepted, Command

Handler = Callable[[Caller, Any], Awaitable[Accepted]]
"""Takes the caller and a command of the type it is registered for."""


class Registry:
    """Dispatches commands; complete by construction."""

    def __init__(self, handlers: Mapping[type[Command], Handler]) -> None:
        missing = set(COMMAND_TYPES) - set(handlers)
        unknown = set(handlers) - set(COMMAND_TYPES)
        if missing or unknown:
            raise ValueError(f"commands without handler: {missing}; handlers without command: {unknown}")
        self._handlers = dict(handlers)

    def dispatch(self, caller: Caller, command: Command) -> Awaitable[Accepted]:
        """Carry out a command.  The awaitable raises Refusal."""
        return self._handlers[type(command)](caller, command)
