"""Ephemeral things that people are told: typing, presence, cursors that moved.  They may be lost."""

from __future__ import annotations

from typing import Literal

import msgspec

SignalType = Literal[
    "typing.start",
    "typing.stop",
    "presence",
    "message.read",
    "message.received",
    "user.updated",
]


class Signal(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    """One ephemeral fact about `user`.  `seq` is the cursor's place, `last_seen` in Unix ms."""

    type: SignalType
    user: str
    conversation: str = ""
    thread: int = 0
    seq: int = 0
    state: str = ""
    last_seen: int = 0
