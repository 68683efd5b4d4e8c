"""An SMSC for tests, written from the specification without the client's codec."""

import asyncio
import ssl
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass, field


@dataclass
class Submitted:
    """One submit_sm, field by field (SMPP 3.4 section 4.4.1)."""

    service_type: str
    source: tuple[int, int, str]
    destination: tuple[int, int, str]
    esm_class: int
    registered_delivery: int
    data_coding: int
    sm_length: int
    short_message: bytes
    tlvs: dict[int, bytes]


@dataclass
class Bound:
    system_id: str
    password: str
    system_type: str
    version: int
    rest: bytes


class Fields:
    def __init__(self, data: bytes) -> None:
        self.data = data

    def octets(self, count: int) -> bytes:
        assert len(self.data) >= count, "a field is cut short"
        taken, self.data = self.data[:count], self.data[count:]
        return taken

    def number(self, size: int = 1) -> int:
        return int.from_bytes(self.octets(size), "big")

    def string(self) -> str:
        text, _, self.data = self.data.partition(b"\0")
        return text.decode("ascii")


def parse_submit(body: bytes) -> Submitted:
    fields = Fields(body)
    service = fields.string()
    source = (fields.number(), fields.number(), fields.string())
    destination = (fields.number(), fields.number(), fields.string())
    esm_class, _protocol, _priority = fields.number(), fields.number(), fields.number()
    assert fields.string() == ""
    assert fields.string() == ""
    registered, _replace, coding = fields.number(), fields.number(), fields.number()
    _default_id, length = fields.number(), fields.number()
    message = fields.octets(length)
    tlvs: dict[int, bytes] = {}
    while fields.data:
        tag = fields.number(2)
        tlvs[tag] = fields.octets(fields.number(2))
    return Submitted(service, source, destination, esm_class, registered, coding, length, message, tlvs)


def pdu(command: int, sequence: int, status: int = 0, body: bytes = b"") -> bytes:
    whole = b"".join(n.to_bytes(4, "big") for n in (command, status, sequence)) + body
    return (len(whole) + 4).to_bytes(4, "big") + whole


class Line:
    """One connection, as a script sees it."""

    def __init__(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self._reader, self._writer = reader, writer

    async def take(self) -> tuple[int, int, int, bytes]:
        """command, status, sequence, body of the next PDU."""
        length = int.from_bytes(await self._reader.readexactly(4), "big")
        assert 16 <= length < 100_000
        rest = await self._reader.readexactly(length - 4)
        command, status, sequence = (int.from_bytes(rest[i : i + 4], "big") for i in (0, 4, 8))
        return command, status, sequence, rest[12:]

    async def say(self, data: bytes, step: int = 0) -> None:
        for start in range(0, len(data), step or len(data)):
            self._writer.write(data[start : start + (step or len(data))])
            await self._writer.drain()
            if step:
                await asyncio.sleep(0.002)

    def hang_up(self) -> None:
        self._writer.close()


OnSubmit = Callable[["Smsc", Line, int, Submitted], Awaitable[None]]


async def accept(smsc: "Smsc", line: Line, sequence: int, _submitted: Submitted) -> None:
    await line.say(pdu(0x80000004, sequence, body=b"id-%d\0" % len(smsc.submitted)), smsc.step)


@dataclass
class Smsc:
    """Accepts binds of `casa`/`sesamo`; `on_submit` decides about texts."""

    port: int = 0
    on_submit: OnSubmit = accept
    on_bind: Callable[["Smsc", Line, int], Awaitable[None]] | None = None
    on_enquire: Callable[["Smsc", Line, int], Awaitable[None]] | None = None
    step: int = 0  # octets per write, to split what is sent
    bound: list[Bound] = field(default_factory=list)
    submitted: list[Submitted] = field(default_factory=list)
    commands: list[int] = field(default_factory=list)
    answers: list[tuple[int, int, int]] = field(default_factory=list)
    lines: list[Line] = field(default_factory=list)
    news: asyncio.Condition = field(default_factory=asyncio.Condition)

    async def until(self, true: Callable[[], bool]) -> None:
        async with asyncio.timeout(5), self.news:
            await self.news.wait_for(true)

    async def serve(self, line: Line) -> None:
        while True:
            command, status, sequence, body = await line.take()
            async with self.news:
                self.commands.append(command)
                if command & 0x80000000:
                    self.answers.append((command, status, sequence))
                if command == 0x04:
                    self.submitted.append(parse_submit(body))
                self.news.notify_all()
            if command == 0x02:
                await self._bind(line, sequence, body)
            elif command == 0x04:
                await self.on_submit(self, line, sequence, self.submitted[-1])
            elif command == 0x15 and self.on_enquire is not None:
                await self.on_enquire(self, line, sequence)
            elif command in (0x15, 0x06):
                await line.say(pdu(command | 0x80000000, sequence), self.step)

    async def _bind(self, line: Line, sequence: int, body: bytes) -> None:
        fields = Fields(body)
        who = Bound(fields.string(), fields.string(), fields.string(), fields.number(), fields.data)
        self.bound.append(who)
        if self.on_bind is not None:
            await self.on_bind(self, line, sequence)
        elif (who.system_id, who.password) == ("casa", "sesamo"):
            self.lines.append(line)
            answer = b"TestSMSC\0" + bytes.fromhex("0210000134")  # sc_interface_version
            await line.say(pdu(0x80000002, sequence, body=answer), self.step)
        else:
            await line.say(pdu(0x80000002, sequence, status=0x0E), self.step)


@asynccontextmanager
async def smsc_peer(tls: ssl.SSLContext | None = None, **settings: object) -> AsyncIterator[Smsc]:
    smsc = Smsc(**settings)
    tasks: set[asyncio.Task[None]] = set()
    failures: list[BaseException] = []

    async def one(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        try:
            await smsc.serve(Line(reader, writer))
        except (ConnectionError, asyncio.IncompleteReadError, ssl.SSLError, asyncio.CancelledError):
            pass
        except AssertionError as error:
            failures.append(error)
        finally:
            writer.close()

    def arrive(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        tasks.add(asyncio.create_task(one(reader, writer)))

    server = await asyncio.start_server(arrive, "127.0.0.1", 0, ssl=tls)
    smsc.port = server.sockets[0].getsockname()[1]
    try:
        yield smsc
    finally:
        server.close()
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)
        assert failures == []
