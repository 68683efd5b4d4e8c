"""A WebSocket client that can misbehave: bytes in, bytes out, and what a server answered."""

from __future__ import annotations

import asyncio
import base64
import contextlib
import json
import os
import socket
import ssl
from collections.abc import Iterable
from typing import Any

TEXT, BINARY, CLOSE, PING, PONG, CONTINUATION = 1, 2, 8, 9, 10, 0
PATIENCE = 10.0
"""Seconds after which a test that waits has failed."""

Json = dict[str, Any]


class Closed(Exception):
    """The server ended the connection: with a close frame (`code`), or without one (0)."""

    def __init__(self, code: int, reason: str = "") -> None:
        super().__init__(f"{code} {reason}")
        self.code = code
        self.reason = reason


def frame(
    payload: bytes | str,
    opcode: int = TEXT,
    *,
    fin: bool = True,
    rsv: int = 0,
    mask: bytes | None = b"\x11\x22\x33\x44",
    length: bytes | None = None,
) -> bytes:
    """One frame of RFC 6455 §5.2, as a client sends it.  `mask` None: without one, which is wrong;
    `length`: the length field's bytes instead of the right ones (its mask bit is set here)."""
    data = payload.encode() if isinstance(payload, str) else payload
    first = (0x80 if fin else 0) | (rsv << 4) | opcode
    if length is None:
        if len(data) < 126:
            length = bytes((len(data),))
        elif len(data) < 65536:
            length = b"\x7e" + len(data).to_bytes(2, "big")
        else:
            length = b"\x7f" + len(data).to_bytes(8, "big")
    masked = 0x80 if mask is not None else 0
    head = bytes((first, length[0] | masked)) + length[1:]
    if mask is None:
        return head + data
    stretched = (mask * (len(data) // 4 + 1))[: len(data)]
    body = (int.from_bytes(data, "big") ^ int.from_bytes(stretched, "big")).to_bytes(len(data), "big")
    return head + mask + body


def upgrade_request(
    path: str = "/v1/ws", *, drop: Iterable[str] = (), host: str = "localhost", **headers: str
) -> bytes:
    """The request that asks for a WebSocket; `headers` replace or add (`_` reads `-`)."""
    wanted = {
        "host": host,
        "upgrade": "websocket",
        "connection": "Upgrade",
        "sec-websocket-key": base64.b64encode(os.urandom(16)).decode(),
        "sec-websocket-version": "13",
    }
    wanted.update({name.replace("_", "-"): value for name, value in headers.items()})
    lines = [f"{name}: {value}" for name, value in wanted.items() if name not in drop]
    return "\r\n".join((f"GET {path} HTTP/1.1", *lines, "", "")).encode()


class Wire:
    """One TCP (or TLS) connection to a server."""

    def __init__(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self.reader = reader
        self.writer = writer
        self.pongs: list[bytes] = []

    @classmethod
    async def connect(cls, port: int, *, tls: ssl.SSLContext | None = None, receive_buffer: int = 0) -> Wire:
        """A connection over which nothing was said yet."""
        sock = socket.socket()
        if receive_buffer:
            sock.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, receive_buffer)
        sock.setblocking(False)
        try:
            await asyncio.get_running_loop().sock_connect(sock, ("127.0.0.1", port))
        except OSError:
            sock.close()
            raise
        sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        limit = 1 << 24 if not receive_buffer else 1024
        hostname = "localhost" if tls is not None else None
        reader, writer = await asyncio.open_connection(
            sock=sock, ssl=tls, server_hostname=hostname, limit=limit
        )
        return cls(reader, writer)

    @classmethod
    async def websocket(cls, port: int, **options: Any) -> Wire:
        """A connection that was upgraded to `/v1/ws`; `headers` are those of the request."""
        headers = options.pop("headers", {})
        wire = await cls.connect(port, **options)
        wire.write(upgrade_request(**headers))
        status, _, _ = await wire.response()
        assert status == 101, status
        return wire

    # --- out -------------------------------------------------------------------------------------

    def write(self, data: bytes) -> None:
        self.writer.write(data)

    def send(self, message: Json | bytes | str, **options: Any) -> None:
        """One frame; a dict goes as JSON."""
        data = json.dumps(message) if isinstance(message, dict) else message
        self.writer.write(frame(data, **options))

    async def drain(self) -> None:
        await self.writer.drain()

    # --- in --------------------------------------------------------------------------------------

    async def response(self) -> tuple[int, dict[str, str], bytes]:
        """An HTTP response: status, headers, body."""
        async with asyncio.timeout(PATIENCE):
            head = (await self.reader.readuntil(b"\r\n\r\n")).decode("latin-1")
            first, *lines = head.rstrip("\r\n").split("\r\n")
            pairs = [line.partition(":") for line in lines]
            headers = {name.strip().lower(): value.strip() for name, _, value in pairs}
            status = int(first.split(" ")[1])
            body = b""
            if headers.get("transfer-encoding") == "chunked":
                while size := int(await self.reader.readline(), 16):
                    body += await self.reader.readexactly(size)
                    await self.reader.readexactly(2)
                await self.reader.readexactly(2)
            elif status != 101:
                body = await self.reader.readexactly(int(headers.get("content-length", "0")))
            return status, headers, body

    async def frame(self) -> tuple[int, bytes]:
        """The next frame: opcode and payload.  Raises Closed when the connection just ends."""
        async with asyncio.timeout(PATIENCE):
            try:
                first, second = await self.reader.readexactly(2)
                assert first & 0x70 == 0, "a server frame with RSV bits"
                assert second & 0x80 == 0, "a masked server frame"
                size = second & 0x7F
                if size == 126:
                    size = int.from_bytes(await self.reader.readexactly(2), "big")
                elif size == 127:
                    size = int.from_bytes(await self.reader.readexactly(8), "big")
                payload = await self.reader.readexactly(size)
            except (asyncio.IncompleteReadError, ConnectionError) as error:
                raise Closed(0) from error
        assert first & 0x80, "a fragmented server frame"
        return first & 0x0F, payload

    async def json(self) -> Json:
        """The next text frame; pings are answered on the way.  Raises Closed."""
        while True:
            opcode, payload = await self.frame()
            if opcode == TEXT:
                return json.loads(payload)
            if opcode == PING:
                self.send(payload, opcode=PONG)
            elif opcode == PONG:
                self.pongs.append(payload)
            elif opcode == CLOSE:
                code = int.from_bytes(payload[:2], "big")
                with contextlib.suppress(ConnectionError):
                    self.send(payload[:2], opcode=CLOSE)
                raise Closed(code, payload[2:].decode())
            else:
                raise AssertionError(f"opcode {opcode} from the server")

    async def until(self, type: str) -> Json:  # noqa: A002 - the name of the field
        """The next frame of this type; others are dropped."""
        while True:
            found = await self.json()
            if found["type"] == type:
                return found

    async def pong(self) -> bytes:
        """The next pong's payload."""
        while True:
            opcode, payload = await self.frame()
            if opcode == PONG:
                return payload

    async def closed(self) -> Closed:
        """Read on until the server ends the connection."""
        try:
            while True:
                await self.json()
        except Closed as closed:
            return closed

    async def gone(self) -> None:
        """Read on until the connection has ended on the TCP level too."""
        async with asyncio.timeout(PATIENCE):
            with contextlib.suppress(ConnectionError):
                while await self.reader.read(65536):
                    pass

    async def close(self) -> None:
        """Let go."""
        self.writer.close()
        with contextlib.suppress(ConnectionError, ssl.SSLError, TimeoutError):
            async with asyncio.timeout(2):
                await self.writer.wait_closed()

    def abort(self) -> None:
        """Let go at once."""
        self.writer.transport.abort()
