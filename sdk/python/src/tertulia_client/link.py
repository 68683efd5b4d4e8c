"""One connection's life: the socket around the state machine of `protocol.py`."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable, Mapping
from typing import Any, Protocol

import msgspec
from websockets.asyncio.client import ClientConnection, connect
from websockets.exceptions import ConnectionClosed, InvalidHandshake, InvalidStatus

from tertulia_client.http import ApiError, Http, Unreachable
from tertulia_client.logs import Logs
from tertulia_client.models import Accepted
from tertulia_client.protocol import (
    Answered,
    Decision,
    HangUp,
    NeedToken,
    Output,
    Reconnect,
    Refused,
    Session,
    Write,
    after_close,
    after_refusal,
)

MAX_FRAME = 4 * 2**20
MAX_UNSENT = 20_000


class Ended(msgspec.Struct, frozen=True, kw_only=True):
    """How a connection ended.  `opened`: it had stood.  `handshake`: the upgrade was refused, perhaps by
    something in between."""

    decision: Decision
    opened: bool = False
    handshake: bool = False


class Link(Protocol):
    """A way to be connected."""

    name: str

    @property
    def ready(self) -> bool:
        """Commands may be given to `call`."""
        ...

    async def run(self) -> Ended:
        """Connect, and hand every output to the owner until the connection ends."""
        ...

    async def call(self, fields: Mapping[str, Any]) -> Accepted:
        """Carry out a command.  Raises ApiError, or Unreachable when the outcome is not known."""
        ...

    def adopt(self, log: str, position: int) -> None:
        """A log was fetched up to `position`."""
        ...


class WebSocketLink:
    """A connection to `/v1/ws`."""

    name = "websocket"

    def __init__(
        self,
        http: Http,
        logs: Logs,
        generation: str | None,
        handle: Callable[[Output], None],
        *,
        clock: Callable[[], float] = time.monotonic,
        open_timeout_s: float = 15.0,
        call_timeout_s: float = 30.0,
    ) -> None:
        self._http = http
        self._handle = handle
        self._clock = clock
        self._open_timeout_s = open_timeout_s
        self._call_timeout_s = call_timeout_s
        self._session = Session(logs, generation=generation, sign_in_timeout_s=open_timeout_s)
        self._unsent: asyncio.Queue[bytes] = asyncio.Queue(MAX_UNSENT)
        self._answers: dict[str, asyncio.Future[Accepted]] = {}
        self._token = ""
        self._hang_up: HangUp | None = None
        self._socket: ClientConnection | None = None
        self._renewing: asyncio.Task[None] | None = None

    @property
    def ready(self) -> bool:
        return self._session.signed_in

    @property
    def session(self) -> Session:
        return self._session

    async def run(self) -> Ended:
        token = self._token = await self._http.access_token()
        base = self._http.url
        url = ("wss" + base[5:] if base.startswith("https") else "ws" + base[4:]) + "/v1/ws"
        try:
            socket = await connect(
                url,
                open_timeout=self._open_timeout_s,
                close_timeout=2.0,
                ping_interval=None,
                max_size=MAX_FRAME,
                compression=None,
                proxy=True if self._http.trust_env else None,
            )
        except InvalidStatus as error:
            wait = error.response.headers.get("Retry-After", "")
            floor = float(wait) if wait.isdecimal() else None
            decision = after_refusal(error.response.status_code, floor)
            return Ended(decision=decision, handshake=True)
        except (OSError, TimeoutError, InvalidHandshake, EOFError) as error:
            why = f"no connection: {error or type(error).__name__}"
            return Ended(decision=Reconnect(why=why))
        self._socket = socket
        opened = False
        helpers = [asyncio.ensure_future(self._write()), asyncio.ensure_future(self._tick())]
        try:
            self._dispatch(self._session.open(token, self._clock()))
            while self._hang_up is None:
                data = await socket.recv()
                if isinstance(data, bytes):
                    self._hang_up = HangUp(1003, "reconnect: the server sent a binary frame")
                    break
                self._dispatch(self._session.receive(data, self._clock()))
                opened = opened or self._session.signed_in
        except ConnectionClosed:
            pass
        finally:
            for helper in helpers:
                helper.cancel()
            if self._renewing is not None:
                self._renewing.cancel()
            await asyncio.gather(*helpers, return_exceptions=True)
            self._session.closed()
            for answer in self._answers.values():
                if not answer.done():
                    answer.set_exception(Unreachable("the connection ended before the answer came"))
            self._answers.clear()
            if self._hang_up is not None:
                await socket.close(self._hang_up.code, self._hang_up.reason)
            else:
                await socket.close()
        return Ended(decision=self._decide(socket), opened=opened)

    async def call(self, fields: Mapping[str, Any]) -> Accepted:
        if not self._session.signed_in:
            raise Unreachable("not connected")
        ref, write = self._session.command(fields, self._clock())
        answer: asyncio.Future[Accepted] = asyncio.get_running_loop().create_future()
        self._answers[ref] = answer
        self._dispatch([write])
        try:
            async with asyncio.timeout(self._call_timeout_s):
                return await answer
        except TimeoutError:
            raise Unreachable("no answer in time") from None
        finally:
            self._answers.pop(ref, None)

    def adopt(self, log: str, position: int) -> None:
        self._dispatch(self._session.adopt(log, position, self._clock()))

    def watch(self, users: list[str]) -> None:
        """Whose presence to be told of from now on."""
        if self._session.signed_in:
            self._dispatch(self._session.watch(users, self._clock()))

    def _decide(self, socket: ClientConnection) -> Decision:
        if self._hang_up is not None:
            return after_close(self._hang_up.code, self._hang_up.reason)
        close = socket.protocol.close_rcvd
        if close is not None:
            return after_close(close.code, close.reason)
        if socket.protocol.close_sent is not None:
            # The library ended it: what came was no WebSocket frame, or too big.
            sent = socket.protocol.close_sent
            return Reconnect(why=f"broken frames: {sent.code} {sent.reason}", floor_s=1.0)
        return after_close(None)

    def _dispatch(self, outputs: list[Output]) -> None:
        for output in outputs:
            match output:
                case Write(data=data):
                    try:
                        self._unsent.put_nowait(data)
                    except asyncio.QueueFull:
                        self._end(HangUp(1008, "reconnect: the server takes nothing"))
                case HangUp():
                    self._end(output)
                case Answered(ref=ref, result=result):
                    answer = self._answers.get(ref)
                    if answer is not None and not answer.done():
                        answer.set_result(result)
                case Refused(ref=str() as ref) if ref in self._answers:
                    if not self._answers[ref].done():
                        self._answers[ref].set_exception(_refusal(output))
                case NeedToken():
                    if self._renewing is None or self._renewing.done():
                        self._renewing = asyncio.ensure_future(self._renew())
                case _:
                    self._handle(output)

    def _end(self, hang_up: HangUp) -> None:
        if self._hang_up is None:
            self._hang_up = hang_up
            socket = self._socket
            if socket is not None:
                # Wakes the reader; the close frame is a courtesy to a peer that may not read it.
                closing = asyncio.ensure_future(socket.close(hang_up.code, hang_up.reason))
                closing.add_done_callback(lambda task: task.cancelled() or task.exception())

    async def _write(self) -> None:
        assert self._socket is not None
        try:
            while True:
                await self._socket.send(await self._unsent.get(), text=True)
        except ConnectionClosed:
            pass

    async def _tick(self) -> None:
        while True:
            await asyncio.sleep(0.5)
            self._dispatch(self._session.tick(self._clock()))

    async def _renew(self) -> None:
        tokens = self._http.tokens
        assert tokens is not None
        try:
            # A request may have renewed it in the meantime.
            token = await self._http.access_token(instead_of=self._token)
        except (ApiError, Unreachable):
            # Asked for again soon; in the end the server closes and the owner finds out.
            return
        self._token = token
        self._dispatch(self._session.refresh(token, tokens.lifetime_s, self._clock()))


def _refusal(refused: Refused) -> ApiError:
    return ApiError(
        refused.code,
        refused.detail,
        field=refused.field,
        retry_after=refused.retry_after_ms / 1000 if refused.retry_after_ms is not None else None,
    )
