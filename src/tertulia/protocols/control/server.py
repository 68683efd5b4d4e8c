"""The server's end of the control channel: `control` in the data folder, for its owner alone."""

from __future__ import annotations

import asyncio
import contextlib
import os
import socket
from pathlib import Path
from typing import Any, Final

from tertulia.domain.errors import Refusal
from tertulia.protocols.control import codec
from tertulia.protocols.control.dispatch import Control, remove_leftovers
from tertulia.protocols.control.place import SOCKET, reachable
from tertulia.protocols.control.requests import Snapshot

MAX_CONNECTIONS: Final = 8
IDLE_S: Final = 60.0
HELD_S: Final = 6 * 3600.0
"""How long somebody may take to copy a snapshot."""

HOLDS: Final = str(Snapshot.__struct_config__.tag)


class ControlServer:
    """Answers the operator's requests, those of a connection one after another."""

    def __init__(self, folder: Path, control: Control, log: Any) -> None:
        self._folder = folder
        self._control = control
        self._log = log
        self._server: asyncio.Server | None = None
        self._tasks: set[asyncio.Task[None]] = set()

    async def start(self) -> None:
        """Listen.  The folder must be locked by this process: what is left of another one is removed.

        Raises OSError."""
        path = self._folder / SOCKET
        path.unlink(missing_ok=True)
        remove_leftovers(self._folder)
        with reachable(path) as address:
            listener = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
            try:
                # Before it has a name: nobody else may connect for a moment either.
                os.fchmod(listener.fileno(), 0o600)
                listener.bind(address)
                path.chmod(0o600)  # where the mode of the socket itself does not count
                listener.setblocking(False)
                self._server = await asyncio.start_unix_server(self._accepted, sock=listener, backlog=16)
            except BaseException:
                listener.close()
                raise

    async def stop(self) -> None:
        """End what is under way and remove the socket.  What a command has appended by then stays."""
        if self._server is None:
            return
        self._server.close()
        self._server = None
        for task in self._tasks:
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)
        (self._folder / SOCKET).unlink(missing_ok=True)

    async def _accepted(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        task = asyncio.current_task()
        assert task is not None
        self._tasks.add(task)
        try:
            if len(self._tasks) > MAX_CONNECTIONS:
                refusal = Refusal("unavailable", "Too many commands at once; try again.")
                writer.write(codec.encode_refusal(refusal))
                return
            with contextlib.ExitStack() as scope:
                await self._converse(reader, writer, scope)
        except (ConnectionError, TimeoutError, codec.BadFrame, asyncio.CancelledError):
            # Nobody is there to be told, or the server stops.
            return
        finally:
            self._tasks.discard(task)
            writer.close()

    async def _converse(
        self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter, scope: contextlib.ExitStack
    ) -> None:
        frames = codec.Frames()
        held = False
        while True:
            async with asyncio.timeout(HELD_S if held else IDLE_S):
                data = await reader.read(65_536)
            if not data:
                return
            for payload in frames.feed(data):
                kind, answer = await self._answer(payload, scope)
                held = held or kind == HOLDS
                writer.write(answer)
                async with asyncio.timeout(IDLE_S):
                    await writer.drain()

    async def _answer(self, payload: bytes, scope: contextlib.ExitStack) -> tuple[str, bytes]:
        kind = "?"
        try:
            request = codec.decode_request(payload)
            kind = str(request.__struct_config__.tag)
            answer = codec.encode_result(await self._control.carry_out(request, scope))
        except Refusal as refusal:
            self._log.info("control.refused", request=kind, code=refusal.code)
            return kind, codec.encode_refusal(refusal)
        except Exception:  # noqa: BLE001 - a defect in one request ends neither the channel nor the server
            self._log.exception("control.failed", request=kind)
            return kind, codec.encode_refusal(Refusal("internal", "The server failed; see its log."))
        self._log.info("control.done", request=kind)
        return kind, answer
