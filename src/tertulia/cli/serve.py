"""`tertulia serve`: run the server."""

from __future__ import annotations

import asyncio
import gc
import signal
from typing import Any

import structlog
import uvicorn
import uvloop

from tertulia.bootstrap import Program, build
from tertulia.config import Settings


class _Server(uvicorn.Server):
    """uvicorn, with our drain before its own."""

    def __init__(self, config: uvicorn.Config, program: Program) -> None:
        super().__init__(config)
        self._program = program

    async def startup(self, sockets: list[Any] | None = None) -> None:
        await super().startup(sockets)
        if self.started:
            address = _address(self)
            structlog.get_logger("tertulia").info("serve.ready", address=address)

    async def shutdown(self, sockets: list[Any] | None = None) -> None:
        await self._program.drain()
        await super().shutdown(sockets)


def _address(server: uvicorn.Server) -> str:
    config = server.config
    host, port = server.servers[0].sockets[0].getsockname()[:2]
    shown = "localhost" if host in ("127.0.0.1", "::1", "0.0.0.0", "::") else host  # noqa: S104
    return f"{'https' if config.ssl_certfile else 'http'}://{shown}:{port}"


async def _serve(settings: Settings, *, demo: bool) -> None:
    program = await build(settings)
    await program.start()
    config = uvicorn.Config(
        program.app,
        host=settings.host,
        port=settings.port,
        loop="none",
        http="httptools",
        ws=program.ws_protocol,  # pyright: ignore[reportArgumentType] - it is one, see protocols/ws/edge.py
        lifespan="off",
        log_config=None,
        access_log=False,
        backlog=8192,
        server_header=False,
        proxy_headers=False,
        timeout_graceful_shutdown=int(settings.drain_s) or 1,
        ssl_certfile=settings.tls_certificate or None,
        ssl_keyfile=settings.tls_key or None,
    )
    # What was made until here stays; the collector need not look at it again.
    gc.collect()
    gc.freeze()
    try:
        await _Server(config, program).serve()
    finally:
        await program.stop()


def serve(settings: Settings, *, demo: bool = False) -> None:
    """Run until SIGINT or SIGTERM, then drain and stop.  `demo` fills an empty folder with a small world."""
    signal.signal(signal.SIGPIPE, signal.SIG_IGN)
    with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
        runner.run(_serve(settings, demo=demo))
