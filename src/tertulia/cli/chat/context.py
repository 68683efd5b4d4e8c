"""What the parts of the screen share."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from dataclasses import dataclass

from tertulia.cli.chat.colours import Colours
from tertulia.cli.chat.talk import Talk


@dataclass
class Context:
    """`attempt` runs what may be refused and tells the person when it is; `say` tells them something."""

    talk: Talk
    colours: Colours
    attempt: Callable[[Awaitable[object]], None]
    say: Callable[[str], None]
