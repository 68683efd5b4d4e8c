# pyright: reportUntypedBaseClass=false, reportUnknownMemberType=false
"""The hand-over: uvicorn takes every connection, upgrades to `/v1/ws` go on as picows connections.

`picows.WSProtocol` is not a public class; its release is pinned and tests/codec/test_ws_edge.py proves
the hand-over.  RFC 6455 §4.1 has clients wait for the 101 before they send a frame, so nothing that
uvicorn has read can be a frame.
"""

from __future__ import annotations

import asyncio
from typing import Any

from picows import WSAutoPingStrategy, WSListener, WSUpgradeRequest
from picows import picows as _picows

from tertulia.protocols.ws.connection import Connection, Services

_Base: Any = _picows.WSProtocol  # pyright: ignore - compiled, and without type information
READ_BUFFER = 2048
HANDSHAKE_S = 10
REQUEST_MAX = 16_000
"""Bytes of an upgrade request; picows ends what is longer without a word."""

TOO_LARGE = b"HTTP/1.1 431 Request Header Fields Too Large\r\nConnection: close\r\nContent-Length: 0\r\n\r\n"


class _Quiet:
    """A logger that is none: picows makes one more logger for each connection it gets a real one for."""

    def isEnabledFor(self, level: int) -> bool:  # noqa: N802 - the name that logging gave it
        return False

    def log(self, *_: object, **__: object) -> None: ...

    debug = info = warning = error = exception = log


QUIET = _Quiet()


def bearer(request: WSUpgradeRequest) -> str | None:
    """The token of an `Authorization: Bearer` header (RFC 6750 §2.1), None without one."""
    scheme, _, token = str(request.headers.get("authorization", "")).partition(" ")
    return token.strip() or None if scheme.lower() == "bearer" else None


def one_connection_header(request: bytes) -> bytes:
    """The request with a Connection header that names the upgrade alone.

    It is a list (RFC 9110 §7.6.1) in which browsers write `keep-alive` too, or several headers; picows
    wants one word."""
    head, *lines = request.split(b"\r\n")
    kept: list[bytes] = []
    options: list[bytes] = []
    for line in lines:
        name, _, value = line.partition(b":")
        if name.lower() == b"connection":
            options += [option.strip().lower() for option in value.split(b",")]
        else:
            kept.append(line)
    upgrades = [b"connection: upgrade"] if b"upgrade" in options else []
    return b"\r\n".join((head, *upgrades, *kept))


def _forget_request(http: Any, upgrade: Any) -> None:
    """Let go of the request's headers and parser, which nobody reads any more: two kilobytes of each idle
    session.  uvloop holds on to the protocol that a transport had first, and picows to the request."""
    if http is not None:
        http.scope, http.headers, http.parser = None, [], None
    if upgrade is not None:
        upgrade.headers.clear()


def make_protocol(services: Services, path: str = "/v1/ws") -> type[asyncio.BaseProtocol]:
    """The class that uvicorn is given as `ws`."""

    def route(request: WSUpgradeRequest) -> WSListener | None:
        raw: Any = request.path
        asked: str = raw if isinstance(raw, str) else raw.decode("latin-1")
        return Connection(services, bearer(request)) if asked.partition("?")[0] == path else None

    class Protocol(_Base):
        """What uvicorn makes for an upgrade; it must take part in uvicorn's count of connections."""

        def __init__(self, config: Any, server_state: Any, app_state: Any, _loop: Any = None) -> None:
            super().__init__(
                None,  # host and port, path: for clients
                None,
                False,  # is_client_side
                route,
                QUIET,
                True,  # disconnect_on_exception
                HANDSHAKE_S,
                False,  # auto ping: one sweep over all connections does it, see Connection.tend
                20,
                20,
                WSAutoPingStrategy.PING_WHEN_IDLE,
                False,  # auto pong: Connection answers, and looks at what waits already
                services.limits.frame_bytes,
                None,  # extra headers
                READ_BUFFER,
            )
            self.connections: set[Any] = server_state.connections

        def connection_made(self, transport: Any) -> None:
            self.connections.add(self)
            self.before: Any = transport.get_protocol()
            super().connection_made(transport)

        def connection_lost(self, exc: Exception | None) -> None:
            self.connections.discard(self)
            super().connection_lost(exc)

        def data_received(self, data: bytes) -> None:
            """uvicorn replays the upgrade request here."""
            if len(data) > REQUEST_MAX:
                self.transport.underlying_transport.write(TOO_LARGE)
                self.transport.disconnect()
                return
            view = memoryview(one_connection_header(data))
            while view:
                buffer = self.get_buffer(-1)
                count = min(len(buffer), len(view))
                buffer[:count] = view[:count]
                self.buffer_updated(count)
                view = view[count:]
            _forget_request(self.before, self.transport.request)
            self.before = None

        def shutdown(self) -> None:
            """uvicorn stops: the hub has said so to the signed-in ones already."""
            listener = self.listener
            if isinstance(listener, Connection):
                listener.close(1001, "reconnect: the server stops")
            else:
                self.transport.disconnect()

    return Protocol
