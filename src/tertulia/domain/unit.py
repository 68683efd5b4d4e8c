"""What is appended: one all-or-nothing unit of events, row changes and the facts they rest on.

The store rechecks every `Expect` inside the commit's transaction (design rule 6).  A unit that no
longer holds is refused alone; the rest of its batch goes on.
"""

from __future__ import annotations

from typing import Final

import msgspec

from tertulia.domain.events import Event, LogKind
from tertulia.domain.records import KeyPart, Member, Record


class NewEvent(msgspec.Struct, frozen=True, kw_only=True, gc=False):
    """An event before it has a number.

    `countable` events raise the unread count, `at_all` ones the @all count.  `mentions` become
    mention rows of the new seq, `expires_at` an expiry row.  `bumps_epoch` is set by every change
    that may turn an earlier permission decision wrong.  `creates` makes the log in the same commit.
    `erases_target` removes the bodies of `target` and of its edits.  An event with `thread` counts in
    the thread, not in the main log.
    """

    log: str
    kind: str
    body: bytes
    actor: str
    target: int = 0
    thread: int = 0
    countable: bool = False
    at_all: bool = False
    mentions: tuple[str, ...] = ()
    expires_at: int = 0
    bumps_epoch: bool = False
    erases_target: bool = False
    creates: LogKind | None = None
    room: str = ""
    """With `creates`: the conversation whose members see the log; "" means the log itself."""


class EpochIs(msgspec.Struct, frozen=True, gc=False):
    """The log's epoch is still the one the decision rested on; 0: there is no such log."""

    log: str
    epoch: int


class VersionIs(msgspec.Struct, frozen=True, gc=False):
    """A row still has this version; 0: it does not exist."""

    record: type[Record]
    key: tuple[str | int, ...]
    version: int


class ViewIs(msgspec.Struct, frozen=True, gc=False):
    """A message's folded view still has this version (0: never changed since it was sent)."""

    log: str
    seq: int
    version: int


Expect = EpochIs | VersionIs | ViewIs


class Put(msgspec.Struct, frozen=True, gc=False):
    """Insert or replace a row."""

    record: Record


class Join(msgspec.Struct, frozen=True, gc=False):
    """Insert or replace a membership that begins with this unit: the store sets its `since` to the last seq
    that the conversation's log had before the unit, whatever was committed since that was decided."""

    record: Member


class Remove(msgspec.Struct, frozen=True, gc=False):
    """Remove a row; nothing happens when it is not there."""

    record: type[Record]
    key: tuple[str | int, ...]


class SetCursor(msgspec.Struct, frozen=True, kw_only=True, gc=False):
    """Move a member's cursors forward; a smaller value than the stored one changes nothing.  What is
    read is received as well, and a cursor never passes the end of its log."""

    log: str
    user: str
    read: int = 0
    received: int = 0
    thread: int = 0


class BumpEpoch(msgspec.Struct, frozen=True, gc=False):
    """Make earlier permission decisions about a log stale (a block in a direct conversation)."""

    log: str


Write = Put | Join | Remove | SetCursor | BumpEpoch

END: Final = 2**53
"""Beyond every seq: `SetCursor` to it means the end of the log, this unit's events included."""


def write_tenant(write: Write) -> KeyPart | None:
    """Whose row a write changes; None where the log says it."""
    if isinstance(write, SetCursor | BumpEpoch):
        return None
    return write.key[0] if isinstance(write, Remove) else write.record.tenant


def write_log(write: Write) -> str:
    """The log that has to be there for a write; "" for one that needs none."""
    if isinstance(write, SetCursor | BumpEpoch):
        return write.log
    return write.record.conversation if isinstance(write, Join) else ""


class Unit(msgspec.Struct, frozen=True, kw_only=True, gc=False):
    """One append.

    `idem` is the keyed hash of (tenant, user, client_id) and `request` the keyed hash of the request;
    b"" means the caller gave no `client_id`; with an `idem` there is at least one event, and the first
    one carries the `client_id`.  `own_cursor`: the actor's cursors move to the new seq of
    each countable event (design rule 4).
    """

    tenant: str
    actor: str
    at: int
    events: tuple[NewEvent, ...]
    expects: tuple[Expect, ...] = ()
    writes: tuple[Write, ...] = ()
    idem: bytes = b""
    request: bytes = b""
    client_id: str = ""
    own_cursor: bool = True


def bumped_logs(unit: Unit) -> tuple[str, ...]:
    """The logs whose epoch a unit moves, each once."""
    logs = [new.log for new in unit.events if new.bumps_epoch]
    logs += [write.log for write in unit.writes if isinstance(write, BumpEpoch)]
    return tuple(dict.fromkeys(logs)) if logs else ()


class Committed(msgspec.Struct, frozen=True, gc=False):
    """The outcome of an append.  `repeated`: the events are those of the first append of this
    `client_id`; nothing was written now and nothing is to be published.  `bumped` names the logs whose
    epoch moved (by an event or by `BumpEpoch`)."""

    events: tuple[Event, ...]
    repeated: bool = False
    cursors: tuple[CursorMoved, ...] = ()
    bumped: tuple[str, ...] = ()


class CursorMoved(msgspec.Struct, frozen=True, kw_only=True, gc=False):
    """A member's cursors after a commit."""

    tenant: str
    log: str
    room: str
    user: str
    read: int
    received: int
    thread: int = 0


class Head(msgspec.Struct, frozen=True, kw_only=True, gc=False):
    """Where a log stands.

    `epoch` grows with every change that may turn a permission decision wrong.  `first_seq` is the
    smallest seq whose body has not been removed by retention (1 at first).
    """

    log: str
    kind: LogKind
    tenant: str
    room: str
    last_seq: int
    message_count: int
    all_count: int
    updated_at: int
    epoch: int
    first_seq: int = 1
