"""`tertulia serve --demo`: ten days of a small world, made by the same handlers that people's commands
reach, under a clock that is moved from one step to the next."""

from __future__ import annotations

import asyncio
import os
from pathlib import Path
from typing import Final

import msgspec

from tertulia.adapters.clock_seeded import SeededClock, SeededIds
from tertulia.adapters.clock_system import SystemClock, SystemIds
from tertulia.adapters.sqlite import FolderInUse
from tertulia.adapters.sqlite.store import DATABASE
from tertulia.application.account_types import NewUser
from tertulia.application.core import Caller
from tertulia.bootstrap import DEFAULT_TENANT, Program, build
from tertulia.cli import demo_world as world
from tertulia.cli.failure import UNAVAILABLE, Failure
from tertulia.config import Settings
from tertulia.domain import commands as c
from tertulia.domain.content import Poll, Text
from tertulia.ports.clock import Clock

MARKER: Final = "demo.json"
PASSWORD: Final = "books-and-coffee"  # noqa: S105 - the demo's, and printed
SEED: Final = 1869
_DAY_MS: Final = 86_400_000
_MINUTE_MS: Final = 60_000


class Marker(msgspec.Struct, frozen=True, kw_only=True):
    """Left in the data folder once the demo is whole."""

    handles: list[str]
    password: str


class _Ids(SeededIds):
    """Ids from the seed; secrets stay secret."""

    def __init__(self, clock: Clock, seed: int) -> None:
        super().__init__(clock, seed)
        self._secrets = SystemIds(clock)

    def token(self, nbytes: int = 32) -> str:
        """See `Ids.token`."""
        return self._secrets.token(nbytes)

    def code(self, digits: int = 6) -> str:
        """See `Ids.code`."""
        return self._secrets.code(digits)


def fill(settings: Settings) -> None:
    """Fill an empty data folder, and say how to sign in; one that was filled before is left as it is.

    Raises Failure for a folder with other data in it, or in use."""
    folder = Path(settings.data)
    marker = folder / MARKER
    try:
        made = msgspec.json.decode(marker.read_bytes(), type=Marker)
    except FileNotFoundError:
        if (folder / DATABASE).exists():
            raise Failure(
                f"{folder} holds data that are no demo; give --demo an empty folder with --data.", UNAVAILABLE
            ) from None
        try:
            asyncio.run(_fill(settings, SystemClock().now_ms()))
        except FolderInUse:
            text = f"The data folder {folder} is in use by another process."
            raise Failure(text, UNAVAILABLE) from None
        made = Marker(handles=list(world.EVERYONE), password=PASSWORD)
        marker.write_bytes(msgspec.json.encode(made))
        os.chmod(marker, 0o600)
    except msgspec.DecodeError:
        raise Failure(f"{marker} cannot be read; use another folder.", UNAVAILABLE) from None
    print(
        f"Demo: sign in as {', '.join(made.handles)}; the password of all is {made.password}",
        flush=True,
    )


async def _fill(settings: Settings, now_ms: int, seed: int = SEED) -> None:
    start = min(_at(step.at, now_ms) for step in world.STEPS) - 30 * _MINUTE_MS
    clock = SeededClock(start)
    program = await build(settings, clock=clock, ids=_Ids(clock, seed))
    try:
        await Filling(program, clock, now_ms).run()
    finally:
        await program.stop()


def _at(when: world.When, now_ms: int) -> int:
    """Unix ms of a step."""
    if isinstance(when, int):
        return now_ms - when * _MINUTE_MS
    days, clock = when
    hours, minutes = map(int, clock.split(":"))
    return now_ms // _DAY_MS * _DAY_MS - days * _DAY_MS + (hours * 60 + minutes) * _MINUTE_MS


class Filling:
    """Carries the steps out, in the order of their times."""

    def __init__(self, program: Program, clock: SeededClock, now_ms: int) -> None:
        self._program = program
        self._clock = clock
        self._now_ms = now_ms
        self._callers: dict[str, Caller] = {}
        self._rooms: dict[str, str] = {}
        self._messages: dict[str, tuple[str, int]] = {}

    async def run(self) -> None:
        """Fill the store."""
        settings = self._program.settings
        await self._program.administration.ensure_default_tenant(
            settings.brand, open_sign_up=settings.open_sign_up
        )
        await self._people()
        await self._conversations()
        for step in sorted(world.STEPS, key=lambda step: _at(step.at, self._now_ms)):
            # A second of its own for each, so that no two look like one.
            ahead_ms = _at(step.at, self._now_ms) - self._clock.now_ms()
            self._clock.advance(max(ahead_ms / 1000, 1.0))
            await self._step(step)

    async def _do(self, who: str, command: c.Command) -> c.Accepted:
        return await self._program.registry.dispatch(self._callers[who], command)

    async def _people(self) -> None:
        administration = self._program.administration
        for person in world.PEOPLE:
            request = NewUser(
                handle=person.handle,
                name=person.name,
                password=PASSWORD,
                email=f"{person.handle}@demo.example",
                language=person.language,
                operator=person.handle == "amara",
            )
            user = await administration.create_user(DEFAULT_TENANT, request)
            self._callers[person.handle] = Caller(tenant=DEFAULT_TENANT, user=user.id, device="demo")
        bot = await administration.create_bot(DEFAULT_TENANT, world.BOT.handle, world.BOT.name)
        self._callers[world.BOT.handle] = Caller(tenant=DEFAULT_TENANT, user=bot.id, device="demo")
        for person in (*world.PEOPLE, world.BOT):
            await self._do(person.handle, c.UpdateProfile(status=person.status))

    async def _conversations(self) -> None:
        for key, (name, description, members) in world.GROUPS.items():
            command = c.CreateGroup(
                name=name,
                description=description,
                members=tuple(self._callers[one].user for one in members[1:]),
                history="all",
            )
            self._rooms[key] = (await self._do(members[0], command)).created
        for key, (name, slug, description, owner, members) in world.CHANNELS.items():
            command = c.CreateChannel(name=name, slug=slug, description=description)
            room = self._rooms[key] = (await self._do(owner, command)).created
            for one in members:
                await self._do(one, c.JoinChannel(conversation=room))
        bot = self._callers[world.BOT.handle].user
        await self._do("amara", c.AddMember(conversation=self._rooms["news"], user=bot))
        for key, (channel, name, maker) in world.TOPICS.items():
            made = await self._do(maker, c.CreateTopic(conversation=self._rooms[channel], name=name))
            self._rooms[key] = made.created
        for key, (first, second) in world.DIRECTS.items():
            made = await self._do(first, c.OpenDirect(user=self._callers[second].user))
            self._rooms[key] = made.created

    async def _step(self, step: world.Step) -> None:
        match step:
            case world.Say():
                await self._say(step)
            case world.Ask():
                content = Poll(question=step.question, options=step.options)
                command = c.SendMessage(conversation=self._rooms[step.room], content=content)
                self._name(step.key, await self._do(step.who, command))
            case world.Read():
                for who in step.who:
                    await self._read(who, self._rooms[step.room])
            case _:
                await self._about(step)

    async def _say(self, step: world.Say) -> None:
        command = c.SendMessage(
            conversation=self._rooms[step.room],
            content=Text(text=step.text),
            thread=self._messages[step.thread][1] if step.thread else None,
            reply_to=self._messages[step.reply][1] if step.reply else None,
        )
        self._name(step.key, await self._do(step.who, command))

    async def _about(self, step: world.Vote | world.React | world.Pin | world.Edit) -> None:
        room, seq = self._messages[step.key]
        match step:
            case world.Vote():
                command = c.VotePoll(conversation=room, seq=seq, options=(step.option,))
            case world.React():
                command = c.AddReaction(conversation=room, seq=seq, emoji=step.emoji)
            case world.Pin():
                command = c.PinMessage(conversation=room, seq=seq)
            case world.Edit():
                command = c.EditMessage(conversation=room, seq=seq, content=Text(text=step.text))
        await self._do(step.who, command)

    async def _read(self, who: str, room: str) -> None:
        head = await self._program.store.head(room)
        if head is not None:
            await self._do(who, c.MarkRead(conversation=room, seq=head.last_seq))

    def _name(self, key: str, accepted: c.Accepted) -> None:
        if key:
            self._messages[key] = (accepted.conversation, accepted.seq)
