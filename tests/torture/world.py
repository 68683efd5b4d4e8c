"""The people of a scenario: made in the data folder by the program itself, before the server starts."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from pathlib import Path

import msgspec

from tertulia.application.account_types import NewUser
from tertulia.application.core import Caller
from tertulia.bootstrap import DEFAULT_TENANT, build
from tertulia.config import Settings
from tertulia.domain import commands as c

AT_ONCE = 64
FIRST_MEMBERS = 400


class Login(msgspec.Struct, frozen=True):
    """One device and its lasting access token."""

    user: str
    token: str


class World(msgspec.Struct, kw_only=True):
    """`logins[p]` are the devices of person p, `rooms` the ids of the conversations, and `floor` is where
    each of them stood.  `short` are tokens of ten minutes, of the first device of each person."""

    logins: list[list[Login]]
    rooms: list[str]
    floor: dict[str, int]
    short: list[Login] = []

    @property
    def users(self) -> list[str]:
        """The people's ids."""
        return [devices[0].user for devices in self.logins]


async def make_world(data: Path, *, people: int, devices: int, rooms: Sequence[Sequence[int]]) -> World:
    """`rooms` are groups of people by their place; each person has so many devices."""
    program = await build(Settings(data=str(data)))
    await program.administration.ensure_default_tenant("Torture")
    short: dict[int, Login] = {}
    gate = asyncio.Semaphore(AT_ONCE)

    async def person(number: int) -> list[Login]:
        async with gate:
            request = NewUser(handle=f"person{number}", name=f"Person {number}")
            made = await program.administration.create_user(DEFAULT_TENANT, request)
            tokens = [
                await program.administration.issue_token(DEFAULT_TENANT, made.id, f"device {n}")
                for n in range(devices)
            ]
            brief = program.tokens.issue(made.id, DEFAULT_TENANT, tokens[0].device.id)
            short[number] = Login(made.id, brief.token)
            return [Login(made.id, one.access_token) for one in tokens]

    async def room(number: int, members: Sequence[int]) -> str:
        ids = [logins[place][0].user for place in members]
        owner = Caller(tenant=DEFAULT_TENANT, user=ids[0], device="")
        first = tuple(ids[1 : FIRST_MEMBERS + 1])
        made = await program.registry.dispatch(owner, c.CreateGroup(name=f"Room {number}", members=first))
        for user in ids[FIRST_MEMBERS + 1 :]:
            await program.registry.dispatch(owner, c.AddMember(conversation=made.created, user=user))
        return made.created

    try:
        logins = list(await asyncio.gather(*(person(number) for number in range(people))))
        made = [await room(number, members) for number, members in enumerate(rooms)]
        heads = await program.store.heads(made)
        floor = {head.log: head.last_seq for head in heads if head is not None}
        brief = [short[number] for number in range(people)]
        return World(logins=logins, rooms=made, floor=floor, short=brief)
    finally:
        await program.stop()
