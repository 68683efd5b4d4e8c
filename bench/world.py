"""A prepared world: `python -m bench.world SPEC DATA MADE` fills a data folder and writes what it made.

It builds the program as the server does and uses the same commands as people, so that what a bench
meets is what the program itself writes.  It ends before the server starts.
"""

from __future__ import annotations

import asyncio
import sys
from collections.abc import Awaitable, Callable, Iterable
from pathlib import Path
from typing import Literal, TypeVar

import msgspec
import uvloop

from bench.plan import text_of

T = TypeVar("T")
R = TypeVar("R")

AT_ONCE = 256
# What one command may name; the rest are added one by one.
FIRST_MEMBERS = 400


class Room(msgspec.Struct, frozen=True, kw_only=True):
    """A conversation of users (by their place in the world), with so many messages in it.

    Message n has the text `text_of(place of the room, its seq)`."""

    kind: Literal["direct", "group"]
    members: list[int]
    messages: int = 0


class Spec(msgspec.Struct, frozen=True, kw_only=True):
    """What is wanted."""

    users: int
    rooms: list[Room]


class MadeUser(msgspec.Struct, frozen=True, kw_only=True):
    """A user with a device: a valid access token, and the last seq of the personal log."""

    id: str
    token: str
    head: int


class MadeRoom(msgspec.Struct, frozen=True, kw_only=True):
    """A conversation and its last seq."""

    id: str
    head: int


class Made(msgspec.Struct, frozen=True, kw_only=True):
    """What is there, in the order of the spec."""

    generation: str
    users: list[MadeUser]
    rooms: list[MadeRoom]


async def _all(make: Callable[[T], Awaitable[R]], items: Iterable[T]) -> list[R]:
    """The results of many calls, a bounded number of them at a time."""
    gate = asyncio.Semaphore(AT_ONCE)

    async def one(item: T) -> R:
        async with gate:
            return await make(item)

    return await asyncio.gather(*(one(item) for item in items))


async def make(spec: Spec, data: Path) -> Made:
    """Fill an empty data folder."""
    from tertulia.application.account_types import NewUser
    from tertulia.application.core import Caller
    from tertulia.bootstrap import DEFAULT_TENANT, build
    from tertulia.config import Settings
    from tertulia.domain import commands as c
    from tertulia.domain.content import Text

    program = await build(Settings(data=str(data)))
    await program.administration.ensure_default_tenant("Bench")
    dispatch = program.registry.dispatch

    async def user(number: int) -> tuple[Caller, str]:
        request = NewUser(handle=f"bench{number}", name=f"Bench {number}")
        made = await program.administration.create_user(DEFAULT_TENANT, request)
        signed_in = await program.administration.issue_token(DEFAULT_TENANT, made.id, "bench")
        caller = Caller(tenant=DEFAULT_TENANT, user=made.id, device=signed_in.device.id)
        return caller, signed_in.access_token

    async def room(place: int) -> str:
        asked = spec.rooms[place]
        members = [people[number][0] for number in asked.members]
        owner, rest = members[0], [member.user for member in members[1:]]
        if asked.kind == "direct":
            made = await dispatch(owner, c.OpenDirect(user=rest[0]))
        else:
            first = tuple(rest[:FIRST_MEMBERS])
            made = await dispatch(owner, c.CreateGroup(name=f"Group {place}", members=first))
            for one in rest[FIRST_MEMBERS:]:
                await dispatch(owner, c.AddMember(conversation=made.created, user=one))
        conversation = made.created
        seq = await head(conversation)
        for number in range(asked.messages):
            seq += 1
            content = Text(text=text_of(place, seq))
            sender = members[number % len(members)]
            sent = await dispatch(sender, c.SendMessage(conversation=conversation, content=content))
            if sent.seq != seq:
                raise SystemExit(f"a message became seq {sent.seq} where {seq} was due")
        return conversation

    async def head(log: str) -> int:
        found = await program.store.head(log)
        if found is None:
            raise SystemExit(f"there is no log {log}")
        return found.last_seq

    people = await _all(user, range(spec.users))
    rooms = await _all(room, range(len(spec.rooms)))
    made = Made(
        generation=program.store.generation,
        users=[
            MadeUser(id=caller.user, token=token, head=await head(caller.user)) for caller, token in people
        ],
        rooms=[MadeRoom(id=conversation, head=await head(conversation)) for conversation in rooms],
    )
    await program.stop()
    return made


def main() -> None:
    spec = msgspec.json.decode(Path(sys.argv[1]).read_bytes(), type=Spec)
    data = Path(sys.argv[2])
    data.mkdir(parents=True)
    Path(sys.argv[3]).write_bytes(msgspec.json.encode(uvloop.run(make(spec, data))))


if __name__ == "__main__":
    main()
