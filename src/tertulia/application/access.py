"""The only way to get at a conversation: how the caller stands to it.

Standings are cached.  A cached one can be wrong for a moment, never harmful: every append carries the
epochs that its standing rested on, and the store refuses the append when one has moved.
"""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Sequence

from tertulia.application.core import Caller
from tertulia.domain.errors import Refusal, not_found
from tertulia.domain.permissions import Capability, Standing, capabilities, decide
from tertulia.domain.records import Block, Conversation, Key, Member, Record, User
from tertulia.domain.unit import Committed, EpochIs, Expect
from tertulia.ports.message_store import Directory


class Access:
    """Loads and caches standings (least recently used first out, `capacity` entries)."""

    def __init__(self, directory: Directory, capacity: int = 100_000) -> None:
        self._directory = directory
        self._capacity = capacity
        self._known: OrderedDict[tuple[str, str, str], Standing] = OrderedDict()
        self._by_log: dict[str, set[tuple[str, str, str]]] = {}
        self._forgotten = 0

    def cached(self, caller: Caller, conversation: str) -> Standing | None:
        """The standing if it is at hand; never waits."""
        return self._known.get((caller.tenant, caller.user, conversation))

    async def standing(self, caller: Caller, conversation: str) -> Standing:
        """How the caller stands to a conversation.

        Raises Refusal `not_found` when there is none or the caller may not see it."""
        key = (caller.tenant, caller.user, conversation)
        found = self._known.get(key)
        if found is None:
            before = self._forgotten
            found = await self._load(caller, conversation)
            if "read" not in capabilities(found):
                raise not_found()
            # What was read before a change may arrive after it: it answers this call, and no other.
            if before == self._forgotten:
                self._remember(key, found)
        else:
            self._known.move_to_end(key)
        return found

    async def require(self, caller: Caller, conversation: str, capability: Capability) -> Standing:
        """The standing, when it allows `capability`; otherwise the refusal of `permissions.decide`."""
        standing = await self.standing(caller, conversation)
        refusal = decide(standing, capability)
        if refusal is not None:
            raise refusal
        return standing

    def forget(self, log: str) -> None:
        """Drop everything that rested on this log."""
        self._forgotten += 1
        for key in self._by_log.pop(log, ()):
            self._known.pop(key, None)

    def on_commit(self, batch: Sequence[Committed]) -> None:
        """Store listener: drop the standings that rest on a log whose epoch moved."""
        for committed in batch:
            for log in committed.bumped:
                self.forget(log)

    async def _load(self, caller: Caller, conversation: str) -> Standing:
        tenant, user = caller.tenant, caller.user
        for _ in range(4):
            found = await self._directory.get(Conversation, tenant, conversation)
            if found is None:
                raise not_found()
            home_id = found.parent or conversation
            peer = _peer(found, user)
            rows: list[tuple[type[Record], Key]] = [
                (Conversation, (tenant, conversation)),
                (Conversation, (tenant, home_id)),
                (Member, (tenant, home_id, user)),
            ]
            if peer:
                rows += [
                    (Block, (tenant, peer, user)),
                    (Block, (tenant, user, peer)),
                    (User, (tenant, peer)),
                ]
            logs = [conversation] if home_id == conversation else [conversation, home_id]
            heads, records = await self._directory.snapshot(logs, rows)
            values = [r.record if r is not None else None for r in records]
            conv, home, member = values[:3]
            if not isinstance(conv, Conversation) or not isinstance(home, Conversation):
                continue
            epochs = tuple(EpochIs(h.log, h.epoch) for h in heads if h is not None)
            if len(epochs) != len(logs):
                continue
            gone = False
            if peer:
                gone = values[3] is not None or not isinstance(values[5], User) or values[5].disabled
            return Standing(
                conversation=conv,
                home=home,
                member=member if isinstance(member, Member) else None,
                epochs=epochs,
                peer=peer,
                unreachable=gone,
                blocking=bool(peer) and values[4] is not None,
            )
        raise Refusal("unavailable", "The conversation is changing; try again.", retry_after_ms=50)

    def _remember(self, key: tuple[str, str, str], standing: Standing) -> None:
        self._known[key] = standing
        for rest in standing.epochs:
            self._by_log.setdefault(rest.log, set()).add(key)
        while len(self._known) > self._capacity:
            old, gone = self._known.popitem(last=False)
            for rest in gone.epochs:
                keys = self._by_log.get(rest.log)
                if keys is not None:
                    keys.discard(old)
                    if not keys:
                        del self._by_log[rest.log]


def expects(standing: Standing) -> tuple[Expect, ...]:
    """What an append that rests on a standing expects."""
    return standing.epochs


def _peer(conversation: Conversation, user: str) -> str:
    if conversation.kind != "direct":
        return ""
    a, _, b = conversation.pair.partition(":")
    if user not in (a, b):
        return ""
    return b if user == a else a
