"""Where a reader of an event stream stands in all of their logs, as one opaque id.

Server-sent events know one id for everything (WHATWG HTML §9.2.4 `Last-Event-ID`), our logs have a number
each (design rule 3).  The id carries the places themselves, sealed: nothing is kept on the server, it is
good after a restart and on every node, and a lost connection costs no write.  It is bounded: the 256 logs
that something happened in last are named, and of all others it is said up to when nothing was missed.  What
happened in one of those is then named to the reader instead of being replayed.
"""

from __future__ import annotations

import hashlib
from collections import OrderedDict
from collections.abc import Iterable
from functools import lru_cache
from typing import Final

import msgspec

from tertulia.domain.unit import Head
from tertulia.protocols.rest.cursors import Cursors

MAX_LOGS: Final = 256
MAX_ID: Final = 8192
"""Characters of an id; one of 256 logs has some 5,000."""

_VERSION: Final = 1


class Places(msgspec.Struct, frozen=True, array_like=True, forbid_unknown_fields=True):
    """What an id holds: (hash of log, seq) of the named logs; of the others, that nothing which is dated
    `others_at` (Unix ms) or before was missed (0: there were no others)."""

    version: int
    generation: str
    others_at: int
    logs: list[tuple[bytes, int]]


_encode = msgspec.msgpack.Encoder().encode
_decode = msgspec.msgpack.Decoder(Places).decode


@lru_cache(maxsize=65_536)
def log_hash(log: str) -> bytes:
    """Eight octets for a log; two of one person's logs share them once in 10^11 people."""
    return hashlib.blake2b(log.encode(), digest_size=8).digest()


class Trail:
    """The places of one reader, kept up as events are sent.

    A place is where the reader was sent to; whether it got there is known from the id that comes back."""

    def __init__(self, cursors: Cursors, user: str, generation: str, *, max_logs: int = MAX_LOGS) -> None:
        self._cursors = cursors
        self._context = ("stream", user)
        self._generation = generation
        self._max_logs = max_logs
        self._places: OrderedDict[str, tuple[int, int]] = OrderedDict()
        """log → (seq, when), the one that something happened in last at the end."""
        self._others_at = 0
        self._latest = 0

    def __len__(self) -> int:
        return len(self._places)

    def note(self, log: str, seq: int, at: int = 0) -> None:
        """The reader was sent everything of a log up to `seq`; `at`: 0 when that is not known."""
        known = self._places.pop(log, None)
        if known is not None:
            seq, at = max(seq, known[0]), max(at, known[1])
        self._latest = max(self._latest, at)
        self._places[log] = (seq, at or self._latest)
        if len(self._places) > self._max_logs:
            _, (_, when) = self._places.popitem(last=False)
            self._others_at = max(self._others_at, when)

    def begin(self, heads: Iterable[Head]) -> None:
        """The reader was sent everything up to these heads, or told that it lacks something of them."""
        for head in sorted(heads, key=lambda head: head.updated_at):
            self.note(head.log, head.last_seq, head.updated_at)

    def id(self) -> str:
        """The places as an id."""
        logs = [(log_hash(log), seq) for log, (seq, _) in self._places.items()]
        places = Places(_VERSION, self._generation, self._others_at, logs)
        return self._cursors.seal_bytes(self._context, _encode(places))


def read_id(cursors: Cursors, user: str, text: str) -> Places | None:
    """The places in an id of this user; None when it is no such id."""
    if len(text) > MAX_ID:
        return None
    data = cursors.open_bytes(("stream", user), text)
    if data is None:
        return None
    try:
        places = _decode(data)
    except msgspec.DecodeError:
        return None
    return places if places.version == _VERSION else None


def behind(places: Places, heads: Iterable[Head]) -> tuple[dict[str, int], list[Head]]:
    """Where a reader with these places has to be brought up to date: what it holds of the logs that are
    named there, and the logs that are not and that something happened in since."""
    named = dict(places.logs)
    held: dict[str, int] = {}
    missed: list[Head] = []
    for head in heads:
        seq = named.get(log_hash(head.log))
        if seq is not None:
            held[head.log] = seq
        elif places.others_at and head.updated_at > places.others_at:
            missed.append(head)
    return held, missed
