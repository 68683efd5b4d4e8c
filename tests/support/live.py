"""The whole program on a free port, in the test's own loop, and people who talk to it.

    async with Live(tmp_path) as live:
        ana, bob = await live.people("ana", "bob")
        talk = await live.talk(ana)
        answer = await talk.ask("message.send", conversation=group, content=text("hello"))

A test has failed when the program logged an exception, whatever else happened.
"""

from __future__ import annotations

import asyncio
import contextlib
import itertools
import json
import logging
from collections.abc import AsyncIterator, Callable
from pathlib import Path
from types import TracebackType
from typing import Any

import msgspec
import structlog
import uvicorn

from tertulia.adapters.clock_system import SystemClock
from tertulia.application.account_types import NewUser
from tertulia.application.core import Caller
from tertulia.bootstrap import DEFAULT_TENANT, Program, build
from tertulia.config import Settings
from tertulia.domain import commands as c
from tertulia.domain.content import Text
from tertulia.domain.records import Tenant
from tertulia.domain.unit import Put, Unit
from tertulia.protocols.ws import edge
from tests.support.wire import PATIENCE, Closed, Json, Wire

OTHER_TENANT = "other"


def text(words: str, **fields: Any) -> Json:
    """A text's content."""
    return {"type": "text", "text": words, **fields}


class MovableClock(SystemClock):
    """The host's clocks, which can be moved on."""

    def __init__(self) -> None:
        self._ahead = 0.0

    def now_ms(self) -> int:
        return super().now_ms() + int(self._ahead * 1000)

    def monotonic(self) -> float:
        return super().monotonic() + self._ahead

    def advance(self, seconds: float) -> None:
        self._ahead += seconds


class Person(msgspec.Struct):
    """Someone with an account and a device."""

    name: str
    id: str
    tenant: str
    device: str
    token: str

    @property
    def caller(self) -> Caller:
        return Caller(tenant=self.tenant, user=self.id, device=self.device)


class _PicowsLog:
    """What picows would log; an exception of ours in its callbacks is only seen here."""

    def __init__(self) -> None:
        self.exceptions: list[str] = []

    def isEnabledFor(self, level: int) -> bool:  # noqa: N802
        return False

    def log(self, *_: object, **__: object) -> None: ...

    debug = info = warning = error = log

    def exception(self, *args: object, **_: object) -> None:
        import traceback

        self.exceptions.append(f"{args}\n{traceback.format_exc()}")


class _Records(logging.Handler):
    def __init__(self) -> None:
        super().__init__(logging.WARNING)
        self.lines: list[str] = []

    def emit(self, record: logging.LogRecord) -> None:
        if record.levelno >= logging.ERROR or record.exc_info:
            self.lines.append(self.format(record))


class _Server(uvicorn.Server):
    """uvicorn that says when it listens."""

    def __init__(self, config: uvicorn.Config) -> None:
        super().__init__(config)
        self.ready = asyncio.Event()

    async def startup(self, sockets: Any = None) -> None:
        await super().startup(sockets)
        self.ready.set()


class Live:
    """A server with its store on disk.  `limits` are those of the WebSocket edge.  `serve` off: the
    program alone, on no port; `fast`: what it keeps need not outlive the host."""

    def __init__(
        self,
        data: Path,
        *,
        limits: dict[str, Any] | None = None,
        clock: Any = None,
        serve: bool = True,
        fast: bool = False,
        **settings: Any,
    ) -> None:
        self.serve = serve
        self.fast = fast
        self.settings = Settings(
            **{"data": str(data), "port": 0, "rate_limits": False, "argon2_memory_kib": 1024, **settings}
        )
        self.limits = limits or {}
        self.clock = clock or MovableClock()
        self.port = 0
        self.logged: list[Any] = []
        self.allowed: set[str] = set()
        """Events that the program may log as an error in this test."""
        self._picows = _PicowsLog()
        self._records = _Records()
        self._loop_errors: list[str] = []
        self._talks: list[Talk] = []
        self._wires: list[Wire] = []
        self._exit = contextlib.AsyncExitStack()
        self._numbers = itertools.count(1)

    async def __aenter__(self) -> Live:
        loop = asyncio.get_running_loop()
        loop.set_exception_handler(lambda _, context: self._loop_errors.append(str(context)))
        self._exit.callback(loop.set_exception_handler, None)
        self._exit.enter_context(self._captured_logs())
        self.program: Program = await build(
            self.settings, clock=self.clock, synchronous="OFF" if self.fast else "FULL"
        )
        self.program.ws = msgspec.structs.replace(
            self.program.ws, limits=msgspec.structs.replace(self.program.ws.limits, **self.limits)
        )
        self.program.ws_protocol = edge.make_protocol(self.program.ws)
        await self.program.start()
        if not self.serve:
            return self
        config = uvicorn.Config(
            self.program.app,
            port=0,
            loop="none",
            http="httptools",
            ws=self.program.ws_protocol,
            lifespan="off",
            log_config=None,
            access_log=False,
            server_header=False,
            proxy_headers=False,
            timeout_graceful_shutdown=2,
            ssl_certfile=self.settings.tls_certificate or None,
            ssl_keyfile=self.settings.tls_key or None,
        )
        self._server = _Server(config)
        self._serving = asyncio.create_task(self._server._serve())
        async with asyncio.timeout(PATIENCE):
            await self._server.ready.wait()
        self.port = self._server.servers[0].sockets[0].getsockname()[1]
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, value: BaseException | None, trace: TracebackType | None
    ) -> None:
        async with asyncio.timeout(30):
            for talk in self._talks:
                await talk.close()
            for wire in self._wires:
                await wire.close()
            if self.serve:
                self._server.should_exit = True
                await self._serving
            await self.program.stop()
            await self._exit.aclose()
        if kind is None:
            self.check()

    @contextlib.contextmanager
    def _captured_logs(self) -> Any:
        before = structlog.get_config()
        quiet, edge.QUIET = edge.QUIET, self._picows
        logging.getLogger().addHandler(self._records)

        def keep(_: Any, level: str, entry: Any) -> Any:
            self.logged.append({**entry, "log_level": level})
            raise structlog.DropEvent

        structlog.configure(processors=[keep])
        try:
            yield
        finally:
            structlog.configure(**before)
            edge.QUIET = quiet
            logging.getLogger().removeHandler(self._records)

    def check(self) -> None:
        """Nothing went wrong inside so far."""
        errors = [
            entry
            for entry in self.logged
            if (entry["log_level"] in ("error", "critical") or entry.get("exc_info"))
            and entry.get("event") not in self.allowed
        ]
        assert errors == []
        assert self._picows.exceptions == []
        assert self._records.lines == []
        assert self._loop_errors == []

    # --- people ----------------------------------------------------------------------------------

    async def tenant(self, name: str, **fields: Any) -> None:
        """One more tenant."""
        row = Tenant(**{"tenant": name, "name": name.title(), "created_at": 0, **fields})
        await self.program.store.append(
            Unit(tenant=name, actor="", at=self.clock.now_ms(), events=(), writes=(Put(row),))
        )

    async def person(self, name: str, tenant: str = DEFAULT_TENANT, **fields: Any) -> Person:
        """Someone new; the name is the handle too."""
        request = NewUser(handle=name, name=name.title(), **fields)
        made = await self.program.administration.create_user(tenant, request)
        return await self.device(Person(name, made.id, tenant, "", ""), "laptop")

    async def people(self, *names: str, tenant: str = DEFAULT_TENANT) -> list[Person]:
        return [await self.person(name, tenant) for name in names]

    async def device(self, person: Person, name: str = "phone") -> Person:
        """The same person on one more device."""
        made = await self.program.administration.issue_token(person.tenant, person.id, name)
        return Person(person.name, person.id, person.tenant, made.device.id, made.access_token)

    def short_token(self, person: Person) -> str:
        """An access token as people get it: it ends in minutes."""
        return self.program.tokens.issue(person.id, person.tenant, person.device).token

    def next_number(self) -> int:
        """A number that was not used before."""
        return next(self._numbers)

    # --- doing -----------------------------------------------------------------------------------

    async def do(self, person: Person, command: c.Command) -> c.Accepted:
        """A command, not by any wire."""
        return await self.program.registry.dispatch(person.caller, command)

    async def group(self, owner: Person, *others: Person, **fields: Any) -> str:
        command = c.CreateGroup(name="Group", members=tuple(one.id for one in others), **fields)
        return (await self.do(owner, command)).created

    async def channel(self, owner: Person, *others: Person, **fields: Any) -> str:
        slug = f"channel-{next(self._numbers)}"
        members = tuple(one.id for one in others)
        command = c.CreateChannel(**{"name": "Channel", "slug": slug, "members": members, **fields})
        return (await self.do(owner, command)).created

    async def direct(self, one: Person, other: Person) -> str:
        return (await self.do(one, c.OpenDirect(user=other.id))).created

    async def say(self, person: Person, conversation: str, words: str = "hello", **fields: Any) -> c.Accepted:
        return await self.do(
            person, c.SendMessage(conversation=conversation, content=Text(text=words), **fields)
        )

    # --- connecting ------------------------------------------------------------------------------

    async def wire(self, **options: Any) -> Wire:
        """A raw WebSocket, not signed in."""
        wire = await Wire.websocket(self.port, **options)
        self._wires.append(wire)
        return wire

    async def http(self, **options: Any) -> Wire:
        """A raw connection."""
        wire = await Wire.connect(self.port, **options)
        self._wires.append(wire)
        return wire

    async def signed_in(self, person: Person, **options: Any) -> Wire:
        """A raw WebSocket after its hello."""
        wire = await self.wire(**options)
        wire.send({"type": "sign_in", "token": person.token})
        hello = await wire.json()
        assert hello["type"] == "hello", hello
        return wire

    async def talk(self, person: Person, positions: dict[str, int] | None = None, **fields: Any) -> Talk:
        """A client that keeps reading."""
        wire = await Wire.websocket(self.port)
        talk = Talk(wire, person)
        self._talks.append(talk)
        await talk.sign_in(positions, **fields)
        return talk


class Talk:
    """A well-behaved client: it reads all the time and keeps what came."""

    def __init__(self, wire: Wire, person: Person) -> None:
        self.wire = wire
        self.person = person
        self.frames: list[Json] = []
        """Everything that came and is no answer to `ask`."""
        self.hello: Json = {}
        self.end: Closed | None = None
        self._answers: dict[str, asyncio.Future[Json]] = {}
        self._news = asyncio.Event()
        self._refs = itertools.count(1)
        self._reading: asyncio.Task[None] | None = None

    async def sign_in(self, positions: dict[str, int] | None = None, **fields: Any) -> None:
        message: Json = {"type": "sign_in", "token": self.person.token, **fields}
        if positions is not None:
            message["positions"] = positions
        self.wire.send(message)
        self.hello = await self.wire.json()
        assert self.hello["type"] == "hello", self.hello
        self._reading = asyncio.create_task(self._read())

    async def _read(self) -> None:
        try:
            while True:
                found = await self._next()
                waiting = self._answers.pop(found.get("ref") or "", None)
                if waiting is not None and not waiting.done():
                    waiting.set_result(found)
                else:
                    self.frames.append(found)
                self._news.set()
        except Closed as closed:
            self.end = closed
        finally:
            for waiting in self._answers.values():
                if not waiting.done():
                    waiting.set_exception(self.end or Closed(0))
                    waiting.exception()
            self._news.set()

    async def _next(self) -> Json:
        while True:
            try:
                return await self.wire.json()
            except TimeoutError:
                continue

    def post(self, type: str, **fields: Any) -> asyncio.Future[Json]:  # noqa: A002
        """A frame; the future is its answer."""
        ref = f"r{next(self._refs)}"
        future: asyncio.Future[Json] = asyncio.get_running_loop().create_future()
        self._answers[ref] = future
        self.wire.send({"type": type, "ref": ref, **fields})
        return future

    async def ask(self, type: str, **fields: Any) -> Json:  # noqa: A002
        """A frame and its answer."""
        async with asyncio.timeout(PATIENCE):
            return await self.post(type, **fields)

    async def do(self, type: str, **fields: Any) -> Json:  # noqa: A002
        """A command that must be accepted: its result."""
        answer = await self.ask(type, **fields)
        assert answer["type"] == "ack", answer
        return answer["result"]

    async def say(self, conversation: str, words: str = "hello", **fields: Any) -> Json:
        return await self.do("message.send", conversation=conversation, content=text(words), **fields)

    async def refused(self, type: str, **fields: Any) -> Json:  # noqa: A002
        """A frame that must be refused: its error."""
        answer = await self.ask(type, **fields)
        assert answer["type"] == "error", answer
        return answer

    async def wait(self, wanted: Callable[[Json], bool], what: str = "a frame") -> Json:
        """The first frame that is wanted, taken out; waits for it."""
        try:
            async with asyncio.timeout(PATIENCE):
                while True:
                    for place, found in enumerate(self.frames):
                        if wanted(found):
                            return self.frames.pop(place)
                    if self.end is not None:
                        raise AssertionError(f"closed ({self.end}) instead of {what}")
                    self._news.clear()
                    await self._news.wait()
        except TimeoutError:
            raise AssertionError(f"no {what}; there is {self.frames}") from None

    async def event(self, kind: str, **fields: Any) -> Json:
        """The next frame of this type with these fields."""
        return await self.wait(
            lambda one: one["type"] == kind and all(one.get(name) == value for name, value in fields.items()),
            f"{kind} {fields}",
        )

    async def settle(self) -> None:
        """Wait until everything that was on its way to this client is here."""
        answer = await self.ask("ping")
        assert answer["type"] == "pong"

    def of(self, conversation: str) -> list[Json]:
        """The events of a log that came, voids included."""
        return [
            one
            for one in self.frames
            if one.get("conversation") == conversation
            and "seq" in one
            and one["type"] not in ("message.read", "message.received")
        ]

    def seqs(self, conversation: str) -> list[int]:
        return [one["seq"] for one in self.of(conversation)]

    async def closed(self) -> Closed:
        """Wait until the server ends this connection."""
        async with asyncio.timeout(PATIENCE):
            while self.end is None:
                self._news.clear()
                await self._news.wait()
        return self.end

    async def close(self) -> None:
        """Go away."""
        if self._reading is not None:
            self._reading.cancel()
            await asyncio.gather(self._reading, return_exceptions=True)
        await self.wire.close()


@contextlib.asynccontextmanager
async def live(data: Path, **options: Any) -> AsyncIterator[Live]:
    """See `Live`."""
    async with Live(data, **options) as one:
        yield one


def dumps(value: Any) -> bytes:
    return json.dumps(value, separators=(",", ":")).encode()
