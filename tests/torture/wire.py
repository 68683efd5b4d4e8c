"""A WebSocket client of its own (RFC 6455), small enough to trust: nothing of the server's or the SDK's.

It can do what libraries do not offer: stop reading from its socket, and be a thousand cheaply.
"""

from __future__ import annotations

import asyncio
import base64
import hashlib
import os
import socket
from collections.abc import Callable
from typing import cast

GUID = b"258EAFA5-E914-47DA-95CA-C5AB0DC85B11"
CONNECT_S = 15.0


class HandshakeFailed(Exception):
    """There is no server, or it does not want to."""


class Wire(asyncio.Protocol):
    """One connection.  `on_text` gets each text message, `on_closed` the close code once (1006: none)."""

    def __init__(self, on_text: Callable[[bytes], None], on_closed: Callable[[int], None]) -> None:
        self._on_text = on_text
        self._on_closed = on_closed
        self._buffer = bytearray()
        self._transport: asyncio.Transport | None = None
        self._upgraded: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        self._key = base64.b64encode(os.urandom(16))
        self._parts: bytearray | None = None
        self.close_code = 1006

    # --- asyncio ---------------------------------------------------------------------------------

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._transport = cast(asyncio.Transport, transport)
        self._transport.write(
            b"GET /v1/ws HTTP/1.1\r\nHost: 127.0.0.1\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n"
            b"Sec-WebSocket-Version: 13\r\nSec-WebSocket-Key: " + self._key + b"\r\n\r\n"
        )

    def data_received(self, data: bytes) -> None:
        self._buffer += data
        if not self._upgraded.done() and not self._upgrade():
            return
        self._frames()

    def connection_lost(self, exc: Exception | None) -> None:
        self._transport = None
        if not self._upgraded.done():
            self._upgraded.set_exception(HandshakeFailed("the connection ended"))
            return
        self._on_closed(self.close_code)

    # --- RFC 6455 --------------------------------------------------------------------------------

    def _upgrade(self) -> bool:
        head, found, rest = bytes(self._buffer).partition(b"\r\n\r\n")
        if not found:
            return False
        proof = base64.b64encode(hashlib.sha1(self._key + GUID).digest())
        if not head.startswith(b"HTTP/1.1 101") or proof not in head:
            self._upgraded.set_exception(HandshakeFailed(head[:100].decode(errors="replace")))
            self.abort()
            return False
        self._buffer = bytearray(rest)
        self._upgraded.set_result(None)
        return True

    def _frames(self) -> None:
        buffer = self._buffer
        at, end = 0, len(buffer)
        while end - at >= 2:
            size, start = buffer[at + 1], at + 2
            if size == 126:
                size, start = int.from_bytes(buffer[at + 2 : at + 4], "big"), at + 4
            elif size == 127:
                size, start = int.from_bytes(buffer[at + 2 : at + 10], "big"), at + 10
            if start + size > end:
                break
            first = buffer[at]
            payload = bytes(buffer[start : start + size])
            at = start + size
            self._frame(first, payload)
            if self._transport is None:
                break
        del buffer[:at]

    def _frame(self, first: int, payload: bytes) -> None:
        kind = first & 0x0F
        if kind == 8:
            self.close_code = int.from_bytes(payload[:2], "big") if len(payload) >= 2 else 1005
            self._write(8, payload[:2])
            if self._transport is not None:
                self._transport.close()
        elif kind == 9:
            self._write(10, payload)
        elif kind == 1 and first & 0x80:
            self._on_text(payload)
        elif kind in (0, 1):
            self._parts = self._parts if self._parts is not None else bytearray()
            self._parts += payload
            if first & 0x80:
                whole, self._parts = bytes(self._parts), None
                self._on_text(whole)

    def _write(self, kind: int, payload: bytes) -> None:
        if self._transport is None or self._transport.is_closing():
            return
        size = len(payload)
        if size < 126:
            head = bytes((0x80 | kind, 0x80 | size))
        elif size < 65536:
            head = bytes((0x80 | kind, 0xFE)) + size.to_bytes(2, "big")
        else:
            head = bytes((0x80 | kind, 0xFF)) + size.to_bytes(8, "big")
        mask = os.urandom(4)
        key = int.from_bytes((mask * (size // 4 + 1))[:size], "big")
        masked = (int.from_bytes(payload, "big") ^ key).to_bytes(size, "big")
        self._transport.write(head + mask + masked)

    # --- for the client --------------------------------------------------------------------------

    async def opened(self) -> None:
        """The upgrade is done.  Raises HandshakeFailed."""
        await self._upgraded

    def send(self, *texts: bytes) -> None:
        """Text messages, if the connection is still there."""
        for text in texts:
            self._write(1, text)

    def stall(self) -> None:
        """Take nothing more from the socket."""
        if self._transport is not None:
            self._transport.pause_reading()

    def unstall(self) -> None:
        """Take what has come meanwhile."""
        if self._transport is not None:
            self._transport.resume_reading()

    def abort(self) -> None:
        """End it without a word."""
        if self._transport is not None:
            self._transport.abort()


async def connect(
    port: int,
    on_text: Callable[[bytes], None],
    on_closed: Callable[[int], None],
    *,
    receive_buffer: int = 0,
) -> Wire:
    """An upgraded connection to 127.0.0.1.  Raises OSError, HandshakeFailed."""
    loop = asyncio.get_running_loop()
    raw = socket.socket()
    raw.setblocking(False)
    if receive_buffer:
        raw.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, receive_buffer)
    wire: Wire | None = None
    try:
        async with asyncio.timeout(CONNECT_S):
            await loop.sock_connect(raw, ("127.0.0.1", port))
            _, wire = await loop.create_connection(lambda: Wire(on_text, on_closed), sock=raw)
            await wire.opened()
    except BaseException as error:
        if wire is not None:
            wire.abort()
        else:
            raw.close()
        if isinstance(error, TimeoutError):
            raise HandshakeFailed("no answer in time") from None
        raise
    return wire
