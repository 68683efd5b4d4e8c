"""`tertulia serve`: run the server."""

from __future__ import annotations

import asyncio
import contextlib
import gc
import signal
import socket
import ssl
import sys
from collections.abc import Callable, Generator
from pathlib import Path
from typing import Any, Final

import apsw
import structlog
import uvicorn
import uvloop

from tertulia.adapters.sqlite import FolderInUse, SchemaTooNew
from tertulia.bootstrap import Program, build
from tertulia.cli.failure import REFUSED, UNAVAILABLE, USAGE, Failure
from tertulia.cli.files import allow_files
from tertulia.cli.logs import log_loop_errors
from tertulia.config import Settings

BACKLOG: Final = 8192
SWITCH_S = 0.0005


class _Server(uvicorn.Server):
    """uvicorn, with our drain before its own, and signals that end in an orderly exit."""

    def __init__(
        self, config: uvicorn.Config, program: Program, seconds: float, started: Callable[[], None]
    ) -> None:
        """`started` is called once it serves, and a signal stops it."""
        super().__init__(config)
        self._program = program
        self._told = started
        self._seconds = seconds

    @contextlib.contextmanager
    def capture_signals(self) -> Generator[None]:
        """uvicorn raises the signal again once it has stopped, which would end the process by it.  Here
        the first one stops, the second one does not wait any longer."""
        loop = asyncio.get_running_loop()
        taken = (signal.SIGTERM, signal.SIGINT)
        for one in taken:
            loop.add_signal_handler(one, self._signalled)
        try:
            yield
        finally:
            for one in taken:
                loop.remove_signal_handler(one)

    def _signalled(self) -> None:
        self.force_exit = self.should_exit
        self.should_exit = True

    async def startup(self, sockets: list[Any] | None = None) -> None:
        await super().startup(sockets)
        if self.started:
            self._told()

    async def shutdown(self, sockets: list[Any] | None = None) -> None:
        log = structlog.get_logger("tertulia")
        log.info("serve.stopping", seconds=self._seconds)
        for server in self.servers:
            server.close()
        for one in sockets or ():
            one.close()
        draining = asyncio.ensure_future(self._program.drain(self._seconds))
        while not draining.done() and not self.force_exit:
            await asyncio.wait([draining], timeout=0.05)
        draining.cancel()
        await super().shutdown()
        left = list(self.server_state.tasks)
        for task in left:
            task.cancel()
        await asyncio.gather(*left, return_exceptions=True)


def _listen(settings: Settings) -> list[socket.socket]:
    """Sockets that listen already, so that a port in use is known before anything is opened.

    Raises Failure."""
    host, port = settings.host, settings.port
    try:
        found = socket.getaddrinfo(host or None, port, type=socket.SOCK_STREAM, flags=socket.AI_PASSIVE)
    except (OSError, UnicodeError) as error:
        raise Failure(f"The address {host!r} cannot be used: {error}.", USAGE) from None
    # Every address would get a free port of its own.
    addresses = dict.fromkeys((family, address) for family, _, _, _, address in found[: None if port else 1])
    sockets: list[socket.socket] = []
    try:
        for family, address in addresses:
            one = socket.socket(family, socket.SOCK_STREAM)
            sockets.append(one)
            one.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            if family == socket.AF_INET6:
                one.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_V6ONLY, 1)
            one.bind(address)
            one.listen(BACKLOG)
            one.setblocking(False)
    except OSError as error:
        for one in sockets:
            one.close()
        reason = error.strerror or error
        raise Failure(f"{host}:{port} cannot be listened on: {reason}.", UNAVAILABLE) from None
    return sockets


def shown_address(settings: Settings, listener: socket.socket) -> str:
    """The address to open in a browser."""
    host, port = listener.getsockname()[:2]
    if host in ("127.0.0.1", "::1", "0.0.0.0", "::"):  # noqa: S104
        host = "localhost"
    elif ":" in host:
        host = f"[{host}]"
    return f"{'https' if settings.tls_certificate else 'http'}://{host}:{port}"


def _config(settings: Settings, program: Program) -> uvicorn.Config:
    return uvicorn.Config(
        program.app,
        loop="none",
        http="httptools",
        ws=program.ws_protocol,  # pyright: ignore[reportArgumentType] - it is one, see protocols/ws/edge.py
        lifespan="off",
        log_config=None,
        access_log=False,
        backlog=BACKLOG,
        server_header=False,
        proxy_headers=False,
        timeout_graceful_shutdown=int(settings.drain_s) or 1,
        ssl_certfile=settings.tls_certificate or None,
        ssl_keyfile=settings.tls_key or None,
    )


async def _open(settings: Settings) -> Program:
    """Raises Failure."""
    folder = settings.data
    try:
        return await build(settings)
    except FolderInUse:
        raise Failure(f"The data folder {folder} is in use by another process.", UNAVAILABLE) from None
    except (SchemaTooNew, ValueError) as error:
        raise Failure(str(error)) from None
    except apsw.Error as error:
        raise Failure(f"The database in {folder} cannot be opened: {error}.") from None
    except OSError as error:
        raise Failure(f"The data folder {folder} cannot be used: {error.strerror or error}.") from None


def _announce(settings: Settings, address: str) -> None:
    words: dict[str, object] = {"address": address, "data": str(Path(settings.data).absolute())}
    printed = [name for name, way in (("mail", settings.mail), ("SMS", settings.sms)) if way == "log"]
    if printed:
        words["note"] = f"codes by {' and '.join(printed)} are printed to this log"
    structlog.get_logger("tertulia").info("serve.ready", **words)


async def _serve(settings: Settings, sockets: list[socket.socket]) -> None:
    log_loop_errors(asyncio.get_running_loop())
    program = await _open(settings)
    try:
        try:
            config = _config(settings, program)
            config.load()
        except (OSError, ssl.SSLError) as error:
            raise Failure(f"TLS cannot be set up: {error}.", USAGE) from None
        except ValueError as error:
            raise Failure(str(error), USAGE) from None
        await program.start()
        address = shown_address(settings, sockets[0])
        # What was made until here stays; the collector need not look at it again.
        gc.collect()
        gc.freeze()
        # Almost nothing here makes cycles; looking for them at every 700 new objects is a tenth of a send.
        gc.set_threshold(50_000, 20, 50)
        # The loop and the writer's thread share the interpreter: short turns, or each waits for the other.
        sys.setswitchinterval(SWITCH_S)
        server = _Server(config, program, settings.drain_s, lambda: _announce(settings, address))
        await server.serve(sockets)
    finally:
        await program.stop()
    structlog.get_logger("tertulia").info("serve.stopped")


def serve(settings: Settings, *, demo: bool = False) -> None:
    """Run until SIGINT or SIGTERM, then drain and stop.  `demo` fills an empty folder with a small world.

    Raises Failure: the port or folder is in use, or cannot be used."""
    signal.signal(signal.SIGPIPE, signal.SIG_IGN)
    allow_files(settings.max_sessions)
    sockets = _listen(settings)
    try:
        if demo:
            from tertulia.cli.demo import fill

            fill(settings)
        with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
            runner.run(_serve(settings, sockets))
    except Failure as failure:
        if failure.code == REFUSED:
            failure.code = UNAVAILABLE
        raise
    finally:
        for one in sockets:
            one.close()
