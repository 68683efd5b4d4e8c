"""One bound connection to an SMSC: requests and their responses, keep-alive, end."""

import asyncio
import ssl
from collections.abc import Callable

from tertulia.adapters.sms_smpp.codec import (
    BIND_TRANSMITTER,
    ENQUIRE_LINK,
    GENERIC_NACK,
    INVALID_COMMAND,
    MAX_SEQUENCE,
    OK,
    RESPONSE,
    UNBIND,
    Pdu,
    PduReader,
    SmppBroken,
    encode,
    failure_of,
    read_c_string,
)
from tertulia.ports.sms import DeliveryFailed

READ = 4_096
MAX_UNSENT = 256 * 1024  # a peer that asks much and reads nothing is let go
GOODBYE = 2.0


class SmppSession:
    """Open it with `open`; it ends by itself when the connection does.

    One task reads, one keeps alive; both end with the session.
    """

    def __init__(
        self,
        reader: asyncio.StreamReader,
        writer: asyncio.StreamWriter,
        *,
        seconds: float,
        enquire_seconds: float,
    ) -> None:
        self._reader = reader
        self._writer = writer
        self._seconds = seconds
        self._enquire_seconds = enquire_seconds
        self._pending: dict[int, tuple[int, asyncio.Future[Pdu]]] = {}
        self._sequence = 0
        self._ended: Callable[[], DeliveryFailed] | None = None
        self._tasks = [asyncio.create_task(self._receive())]
        self.peer = ""

    @classmethod
    async def open(
        cls,
        host: str,
        port: int,
        bind: bytes,
        *,
        tls: ssl.SSLContext | None,
        seconds: float,
        enquire_seconds: float,
    ) -> "SmppSession":
        """Connect and bind with the body `bind`. Raises DeliveryFailed."""
        try:
            async with asyncio.timeout(seconds):
                reader, writer = await asyncio.open_connection(host, port, ssl=tls)
        except TimeoutError as error:
            raise DeliveryFailed(False, "no connection in time", code="timeout") from error
        except ssl.SSLError as error:
            raise DeliveryFailed(False, f"no trusted TLS: {error.reason}", code="tls") from error
        except OSError as error:
            raise DeliveryFailed(False, "no connection", code="unreachable") from error
        session = cls(reader, writer, seconds=seconds, enquire_seconds=enquire_seconds)
        try:
            answer = await session.ask(BIND_TRANSMITTER, bind)
            if answer.status != OK:
                raise failure_of(answer.status, "bind")
            session.peer = read_c_string(answer.body, 16)
        except SmppBroken as error:
            await session.end()
            raise DeliveryFailed(False, str(error), code="protocol") from error
        except BaseException:
            await session.end()
            raise
        session.keep_alive()
        return session

    @property
    def alive(self) -> bool:
        """Whether the next request has a chance."""
        return self._ended is None

    def keep_alive(self) -> None:
        """Send enquire_link from time to time, so that a dead line is found out (section 7.2)."""
        self._tasks.append(asyncio.create_task(self._enquire()))

    async def ask(self, command: int, body: bytes = b"") -> Pdu:
        """Send one request and wait for its response, whatever its status, or generic_nack's.

        Raises DeliveryFailed (temporary) when none comes; a time-out ends the session, because
        what comes late can no longer be told from what is lost.
        """
        if self._ended is not None:
            raise self._ended()
        self._sequence = self._sequence % MAX_SEQUENCE + 1
        sequence = self._sequence
        future: asyncio.Future[Pdu] = asyncio.get_running_loop().create_future()
        self._pending[sequence] = (command, future)
        try:
            async with asyncio.timeout(self._seconds):
                self._writer.write(encode(Pdu(command=command, sequence=sequence, body=body)))
                await self._writer.drain()
                return await future
        except TimeoutError as error:
            self._end(lambda: DeliveryFailed(False, "no answer in time", code="timeout"))
            raise DeliveryFailed(False, "no answer in time", code="timeout") from error
        except OSError as error:
            self._end(_lost)
            raise _lost() from error
        finally:
            self._pending.pop(sequence, None)
            if not future.cancel() and not future.cancelled():
                future.exception()  # the session's end may have been told to nobody

    async def close(self) -> None:
        """Say unbind (section 4.2), wait a little for the answer, end."""
        if self.alive:
            try:
                async with asyncio.timeout(GOODBYE):
                    await self.ask(UNBIND)
            except (DeliveryFailed, TimeoutError):
                pass
        await self.end()

    async def end(self) -> None:
        """Drop the connection; requests under way fail as temporary."""
        self._end(_lost)
        for task in self._tasks:
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)
        try:
            async with asyncio.timeout(GOODBYE):
                await self._writer.wait_closed()
        except (OSError, TimeoutError):
            pass

    def _end(self, failure: Callable[[], DeliveryFailed]) -> None:
        if self._ended is not None:
            return
        self._ended = failure
        for _, future in self._pending.values():
            if not future.done():
                future.set_exception(failure())
        self._writer.close()

    async def _receive(self) -> None:
        pdus = PduReader()
        try:
            while data := await self._reader.read(READ):
                for pdu in pdus.feed(data):
                    if self._ended is None:
                        self._take(pdu)
        except SmppBroken as error:
            reason = str(error)
            self._end(lambda: DeliveryFailed(False, reason, code="protocol"))
        except OSError:
            pass
        finally:
            self._end(_lost)

    def _take(self, pdu: Pdu) -> None:
        if pdu.command & RESPONSE:
            self._settle(pdu)
        elif pdu.command == ENQUIRE_LINK:
            self._reply(Pdu(command=ENQUIRE_LINK | RESPONSE, sequence=pdu.sequence))
        elif pdu.command == UNBIND:
            self._reply(Pdu(command=UNBIND | RESPONSE, sequence=pdu.sequence))
            self._end(lambda: DeliveryFailed(False, "the gateway unbound", code="unreachable"))
        else:  # section 4.3: a command that a transmitter does not take
            status = INVALID_COMMAND
            self._reply(Pdu(command=GENERIC_NACK, sequence=pdu.sequence, status=status))

    def _settle(self, pdu: Pdu) -> None:
        asked, future = self._pending.get(pdu.sequence, (None, None))
        if asked is None or future is None:
            if pdu.command == GENERIC_NACK:
                raise SmppBroken(f"generic_nack 0x{pdu.status:x} for nothing that was asked")
            return  # late: whoever asked has given up
        if pdu.command not in (GENERIC_NACK, asked | RESPONSE):
            raise SmppBroken(f"0x{pdu.command:x} as the answer to 0x{asked:x}")
        if pdu.command == GENERIC_NACK and pdu.status == OK:
            raise SmppBroken("generic_nack without an error")
        if not future.done():
            future.set_result(pdu)

    def _reply(self, pdu: Pdu) -> None:
        if self._writer.transport.get_write_buffer_size() > MAX_UNSENT:
            raise SmppBroken("the gateway does not read")
        self._writer.write(encode(pdu))

    async def _enquire(self) -> None:
        while self.alive:
            await asyncio.sleep(self._enquire_seconds)
            try:
                await self.ask(ENQUIRE_LINK)
            except DeliveryFailed:
                return


def _lost() -> DeliveryFailed:
    return DeliveryFailed(False, "the connection broke", code="unreachable")
