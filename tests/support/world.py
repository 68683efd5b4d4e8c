"""A small world for tests: the real handlers over a store, under a clock that is moved by hand.

    world = World()
    await world.people("ana", "bob")
    group = await world.create_group("ana", "bob")
    sent = await world.say("ana", group, "hello")

People are named in the calls; their ids are `world.id("ana")`.
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Iterator, Sequence
from contextlib import contextmanager
from typing import Any, TypeVar

import msgspec
import pytest

from tertulia.adapters.clock_seeded import SeededClock, SeededIds
from tertulia.adapters.store_memory import MemoryStore
from tertulia.application.access import Access
from tertulia.application.conversations import Conversations
from tertulia.application.core import Caller, Executor, KeyedHash
from tertulia.application.membership import Membership
from tertulia.application.messages import Messages
from tertulia.application.tenants import Tenants
from tertulia.application.turns import Turns
from tertulia.domain import commands as c
from tertulia.domain import events as e
from tertulia.domain.content import Text
from tertulia.domain.errors import Refusal
from tertulia.domain.records import (
    Block,
    Contact,
    Conversation,
    Cursor,
    HandleTaken,
    Member,
    R,
    Settings,
    Tenant,
    User,
)
from tertulia.domain.settings import Privacy, SettingsDocument
from tertulia.domain.unit import BumpEpoch, Committed, Head, NewEvent, Put, Remove, Unit, Write, write_tenant
from tertulia.domain.views import MessageView
from tertulia.domain.visibility import pair_of

TENANT = "acme"

T = TypeVar("T")


@contextmanager
def refused(code: str, *, field: str | None = None) -> Iterator[Refusal]:
    """The block ends in a Refusal of this code (and field); the value holds it afterwards."""
    caught = Refusal("internal", "not refused yet")
    with pytest.raises(Refusal) as info:
        yield caught
    refusal = info.value
    assert refusal.code == code, f"{refusal!r} instead of {code}"
    if field is not None:
        assert refusal.field == field
    caught.code, caught.detail, caught.field = refusal.code, refusal.detail, refusal.field


class Unhurried:
    """A store in memory that lets others go first at every call, so that calls made at once do cross."""

    def __init__(self, store: MemoryStore) -> None:
        self._store = store

    def __getattr__(self, name: str) -> Any:
        found = getattr(self._store, name)
        if name in ("on_commit", "generation"):
            return found

        async def later(*args: Any, **kwargs: Any) -> Any:
            await asyncio.sleep(0)
            result = await found(*args, **kwargs)
            # Longer than a listener takes to hear of a commit: what was read is old by then.
            for _ in range(3):
                await asyncio.sleep(0)
            return result

        return later


class World:
    """One tenant with its people.  To be made on a running loop."""

    def __init__(self, store: Any = None, *, seed: int = 0, **tenant: Any) -> None:
        """`store`: any `MessageStore` that is a `Directory` as well; memory unless given.
        Further arguments are fields of the tenant's row (`max_members=3`)."""
        self.clock = SeededClock()
        self.ids = SeededIds(self.clock, seed)
        self.store = store if store is not None else MemoryStore()
        self.keyed = KeyedHash(b"a secret of the tests")
        self._build()
        self.committed: list[Committed] = []
        self.store.on_commit(self.access.on_commit)
        self.store.on_commit(self.committed.extend)
        self._callers: dict[str, Caller] = {}
        self._tenant = Tenant(**{"tenant": TENANT, "name": "Acme", "created_at": 0, **tenant})
        self._founded = False

    def _build(self) -> None:
        self.access = Access(self.store)
        self.tenants = Tenants(self.store, self.clock)
        self.executor = Executor(self.store, self.clock, self.keyed, self.access.forget)
        self.turns = Turns()
        self.messages = Messages(self.store, self.store, self.access, self.tenants, self.executor, self.clock)
        self.conversations = Conversations(
            self.store,
            self.store,
            self.access,
            self.tenants,
            self.executor,
            self.clock,
            self.ids,
            self.turns,
        )
        self.membership = Membership(
            self.store, self.access, self.tenants, self.executor, self.clock, self.ids, self.turns
        )

    def node(self, *, deaf: bool = False) -> World:
        """A second server over the same store, with caches and turns of its own.  `deaf`: it hears of no
        commit, as one that lags behind."""
        other = World.__new__(World)
        other.__dict__.update(self.__dict__)
        other._build()
        if not deaf:
            self.store.on_commit(other.access.on_commit)
        return other

    # --- people ----------------------------------------------------------------------------------

    async def write(self, *writes: Write) -> None:
        """Write rows of one tenant behind the handlers' back."""
        tenant = str(write_tenant(writes[0]) or TENANT)
        await self.store.append(
            Unit(tenant=tenant, actor="", at=self.clock.now_ms(), events=(), writes=writes)
        )

    async def set_tenant(self, **changes: Any) -> None:
        """Change the tenant's limits; they hold at once."""
        self._tenant = msgspec.structs.replace(self._tenant, **changes)
        self._founded = True
        await self.write(Put(self._tenant))
        self.clock.advance(10)

    async def people(self, *names: str, **fields: Any) -> list[Caller]:
        """Sign people up: the name is their handle too.  `fields` go to their User rows."""
        if not self._founded:
            self._founded = True
            await self.write(Put(self._tenant))
        for name in names:
            user = self.ids.new_id()
            row = User(
                **{
                    "tenant": TENANT,
                    "id": user,
                    "handle": name,
                    "name": name.title(),
                    "created_at": self.clock.now_ms(),
                    **fields,
                }
            )
            born = NewEvent(
                log=user,
                kind="profile.updated",
                body=e.encode_body(e.ProfileUpdated(name=row.name, handle=row.handle)),
                actor=user,
                creates="personal",
            )
            taken = HandleTaken(tenant=TENANT, handle=name, user=user)
            await self.store.append(
                Unit(
                    tenant=TENANT,
                    actor=user,
                    at=self.clock.now_ms(),
                    events=(born,),
                    writes=(Put(row), Put(taken)),
                )
            )
            self._callers[name] = Caller(tenant=TENANT, user=user, device=f"{name}-1")
        return [self._callers[name] for name in names]

    def caller(self, who: str) -> Caller:
        """The person as a caller."""
        return self._callers[who]

    def id(self, who: str) -> str:
        """The person's user id, which is their personal log's too."""
        return self._callers[who].user

    def name(self, user: str) -> str:
        """The name of a user id."""
        return next(name for name, caller in self._callers.items() if caller.user == user)

    async def disable(self, who: str) -> None:
        """Turn the person's account off."""
        row = await self.store.get(User, TENANT, self.id(who))
        await self.write(Put(msgspec.structs.replace(row, disabled=True)), *await self._bumps(who))

    async def block(self, who: str, other: str) -> None:
        """`who` blocks `other`."""
        at = self.clock.now_ms()
        row = Block(tenant=TENANT, user=self.id(who), other=self.id(other), at=at)
        await self.write(Put(row), *await self._bumps(who, other))

    async def unblock(self, who: str, other: str) -> None:
        """`who` takes the block back."""
        key = (TENANT, self.id(who), self.id(other))
        await self.write(Remove(Block, key), *await self._bumps(who, other))

    async def befriend(self, who: str, other: str) -> None:
        """The two become contacts."""
        at = self.clock.now_ms()
        one, two = self.id(who), self.id(other)
        await self.write(
            Put(Contact(tenant=TENANT, user=one, other=two, state="accepted", at=at)),
            Put(Contact(tenant=TENANT, user=two, other=one, state="accepted", at=at)),
        )

    async def privacy(self, who: str, **fields: Any) -> None:
        """Set fields of the person's privacy settings."""
        document = msgspec.json.encode(SettingsDocument(privacy=Privacy(**fields)))
        await self.write(Put(Settings(tenant=TENANT, user=self.id(who), document=document)))

    async def _bumps(self, who: str, other: str | None = None) -> list[BumpEpoch]:
        rows = await self.store.scan(Conversation, (TENANT,))
        user = self.id(who)
        pairs = [pair_of(user, self.id(other))] if other else None
        return [
            BumpEpoch(row.id)
            for row in rows
            if row.kind == "direct"
            and (row.pair in pairs if pairs is not None else user in row.pair.split(":"))
        ]

    # --- conversations -----------------------------------------------------------------------------

    async def direct(self, who: str, other: str) -> str:
        """The id of the direct conversation, opened by `who`."""
        answer = await self.conversations.open_direct(self.caller(who), c.OpenDirect(user=self.id(other)))
        return answer.created

    async def create_group(self, who: str, *others: str, name: str = "Group", **fields: Any) -> str:
        """The id of a new group of these people."""
        members = tuple(self.id(other) for other in others)
        command = c.CreateGroup(name=name, members=members, **fields)
        return (await self.conversations.create_group(self.caller(who), command)).created

    async def create_channel(self, who: str, *others: str, slug: str = "news", **fields: Any) -> str:
        """The id of a new channel with these people."""
        members = tuple(self.id(other) for other in others)
        command = c.CreateChannel(**{"name": slug.title(), "slug": slug, "members": members, **fields})
        return (await self.conversations.create_channel(self.caller(who), command)).created

    async def create_topic(self, who: str, channel: str, name: str = "Topic") -> str:
        """The id of a new topic."""
        command = c.CreateTopic(conversation=channel, name=name)
        return (await self.conversations.create_topic(self.caller(who), command)).created

    async def join(self, who: str, conversation: str) -> c.Accepted:
        """Join a public channel."""
        return await self.membership.join(self.caller(who), c.JoinChannel(conversation=conversation))

    async def leave(self, who: str, conversation: str) -> c.Accepted:
        """Leave a group or channel."""
        return await self.membership.leave(self.caller(who), c.LeaveConversation(conversation=conversation))

    async def add(self, who: str, conversation: str, other: str, role: e.Role = "member") -> c.Accepted:
        """Add a member."""
        command = c.AddMember(conversation=conversation, user=self.id(other), role=role)
        return await self.membership.add_member(self.caller(who), command)

    async def remove(self, who: str, conversation: str, other: str) -> c.Accepted:
        """Remove a member."""
        command = c.RemoveMember(conversation=conversation, user=self.id(other))
        return await self.membership.remove_member(self.caller(who), command)

    async def set_role(self, who: str, conversation: str, other: str, role: e.Role) -> c.Accepted:
        """Give a member another role."""
        command = c.SetRole(conversation=conversation, user=self.id(other), role=role)
        return await self.membership.set_role(self.caller(who), command)

    async def update(self, who: str, conversation: str, **fields: Any) -> c.Accepted:
        """Update a conversation's description or policy."""
        command = c.UpdateConversation(conversation=conversation, **fields)
        return await self.conversations.update(self.caller(who), command)

    # --- messages ----------------------------------------------------------------------------------

    async def say(self, who: str, conversation: str, text: str = "hello", **fields: Any) -> c.Accepted:
        """Send a text; `fields` are those of SendMessage."""
        command = c.SendMessage(conversation=conversation, content=Text(text=text), **fields)
        return await self.messages.send(self.caller(who), command)

    # --- looking -----------------------------------------------------------------------------------

    async def events(self, log: str, after: int = 0) -> list[e.Event]:
        """The events of a log, of a conversation or (by name) of a person."""
        log = self.id(log) if log in self._callers else log
        return await self.store.events(log, after, 100_000)

    async def kinds(self, log: str, after: int = 0) -> list[str]:
        """The kinds of the events of a log."""
        return [event.kind for event in await self.events(log, after)]

    async def bodies(self, log: str, kind: str) -> list[Any]:
        """The bodies of all events of a kind."""
        return [
            e.decode_body(event.kind, event.body)
            for event in await self.events(log)
            if event.kind == kind and event.body is not None
        ]

    async def message(self, conversation: str, seq: int) -> MessageView:
        """A message that is there."""
        view = await self.store.message(conversation, seq)
        assert view is not None
        return view

    async def head(self, log: str) -> Head:
        """The head of a log that is there."""
        head = await self.store.head(log)
        assert head is not None
        return head

    async def row(self, record: type[R], *key: str | int) -> R | None:
        """A row; the tenant is added to the key."""
        return await self.store.get(record, TENANT, *key)

    async def member(self, conversation: str, who: str) -> Member | None:
        """A membership."""
        return await self.row(Member, conversation, self.id(who))

    async def members(self, conversation: str) -> dict[str, e.Role]:
        """Names and roles of all members."""
        rows = await self.store.scan(Member, (TENANT, conversation))
        return {self.name(row.user): row.role for row in rows}

    async def unread(self, conversation: str, who: str) -> int:
        """The member's unread count: head minus cursor."""
        head = await self.head(conversation)
        cursor = await self.row(Cursor, conversation, self.id(who), 0)
        return head.message_count - (cursor.ordinal if cursor is not None else 0)

    async def may(self, who: str, conversation: str) -> bool:
        """Whether the person may read there."""
        try:
            await self.access.standing(self.caller(who), conversation)
        except Refusal as refusal:
            assert refusal.code == "not_found"
            return False
        return True


async def together(*calls: Awaitable[T]) -> list[T | Refusal]:
    """The calls at once; refusals are results, everything else that goes wrong is raised."""
    outcomes: Sequence[T | BaseException] = await asyncio.gather(*calls, return_exceptions=True)
    results: list[T | Refusal] = []
    for outcome in outcomes:
        if isinstance(outcome, BaseException) and not isinstance(outcome, Refusal):
            raise outcome
        results.append(outcome)
    return results


async def later(steps: int, call: Awaitable[T]) -> T:
    """The call, begun after others had so many turns of the loop: tried with all small numbers, two calls
    cross at every point."""
    for _ in range(steps):
        await asyncio.sleep(0)
    return await call
