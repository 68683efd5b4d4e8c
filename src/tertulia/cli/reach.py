"""Getting a request to whoever has the data: the running server, or this process when none runs."""

from __future__ import annotations

import asyncio
import contextlib
import functools
import socket
import time
from collections.abc import Callable, Generator
from pathlib import Path
from typing import Any, Final, TypeVar

import msgspec

from tertulia.adapters.sqlite import FolderInUse, SchemaTooNew
from tertulia.adapters.sqlite.store import DATABASE
from tertulia.cli.failure import REFUSED, UNAVAILABLE, Failure
from tertulia.config import Settings
from tertulia.domain.errors import Refusal
from tertulia.protocols.control import codec
from tertulia.protocols.control.place import SOCKET, reachable
from tertulia.protocols.control.requests import Request

T = TypeVar("T")

WAIT_S: Final = 10.0
"""How long a server that starts or stops may keep the folder without answering."""

ANSWER_S: Final = 6 * 3600.0


class Line:
    """A way to ask; `served`: by a running server."""

    def __init__(self, exchange: Callable[[Request], bytes], *, served: bool) -> None:
        self._exchange = exchange
        self.served = served

    def ask(self, request: Request, kind: type[T]) -> T:
        """The result.  Raises Failure with the refusal's sentence."""
        try:
            return msgspec.json.decode(self._exchange(request), type=kind)
        except Refusal as refusal:
            field = f" (field {refusal.field})" if refusal.field else ""
            raise Failure(f"{refusal.detail} [{refusal.code}{field}]", REFUSED) from None
        except (OSError, codec.BadFrame) as error:
            raise Failure(f"The server did not answer: {error or 'it is gone'}.", UNAVAILABLE) from None


@contextlib.contextmanager
def reach(settings: Settings) -> Generator[Line]:
    """A line to the data of these settings, open for the block.

    Raises Failure: no data there, or a process that has the folder and does not answer."""
    folder = Path(settings.data)
    if not (folder / DATABASE).exists():
        raise Failure(
            f"There is no data in {folder}. Start the server once, or name the folder with --data.", REFUSED
        )
    end = time.monotonic() + WAIT_S
    while True:
        connection = connect(folder)
        if connection is not None:
            with connection:
                yield Line(functools.partial(_exchange, connection), served=True)
            return
        with contextlib.ExitStack() as stack:
            try:
                line = stack.enter_context(_opened(settings))
            except FolderInUse:
                if time.monotonic() > end:
                    raise Failure(
                        f"{folder} is in use by a process that does not answer.", UNAVAILABLE
                    ) from None
                time.sleep(0.1)
                continue
            yield line
            return


def connect(folder: Path) -> socket.socket | None:
    """A connection to the server that has the folder; None when none listens.

    Raises Failure when this user may not."""
    connection = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
    connection.settimeout(ANSWER_S)
    try:
        with reachable(folder / SOCKET) as address:
            connection.connect(address)
    except (FileNotFoundError, ConnectionRefusedError):
        connection.close()
        return None
    except OSError as error:
        connection.close()
        raise Failure(
            f"The running server cannot be asked: {error.strerror or error}.", UNAVAILABLE
        ) from None
    return connection


def _exchange(connection: socket.socket, request: Request) -> bytes:
    connection.sendall(codec.encode_request(request))
    frames = codec.Frames()
    while True:
        data = connection.recv(65_536)
        if not data:
            raise ConnectionResetError("it closed the connection")
        for payload in frames.feed(data):
            return codec.decode_answer(payload)


@contextlib.contextmanager
def _opened(settings: Settings) -> Generator[Line]:
    from tertulia.bootstrap import build

    with contextlib.ExitStack() as scope, asyncio.Runner() as runner:
        try:
            program: Any = runner.run(build(settings))
        except (ValueError, SchemaTooNew) as error:
            raise Failure(str(error)) from None
        try:
            opening = program.administration.ensure_default_tenant(
                settings.brand, open_sign_up=settings.open_sign_up
            )
            runner.run(opening)

            def exchange(request: Request) -> bytes:
                answer = runner.run(program.control.carry_out(request, scope))
                return msgspec.json.encode(answer)

            yield Line(exchange, served=False)
        finally:
            runner.run(program.stop())
