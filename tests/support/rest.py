"""The whole program over a folder of its own, asked by HTTP without a socket between.

async with api(tmp_path) as server:
    ana = await server.person("ana")
    answer = await ana.post("/v1/conversations", {"kind": "direct", "user": bob.id})
"""

from __future__ import annotations

from collections.abc import AsyncGenerator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import httpx
import msgspec

from tertulia.application.account_types import NewUser
from tertulia.bootstrap import Program, build
from tertulia.config import Settings
from tertulia.domain.records import Outbox
from tertulia.ports.mail import Mail
from tertulia.ports.sms import Sms
from tests.support.accounts import code_in

PASSWORD = "a fine long password"
TENANT = "default"


class Asker:
    """Someone who asks; signed in when there is a token."""

    def __init__(self, app: Any, token: str = "", user: str = "", *, peer: str = "203.0.113.7") -> None:
        self.id = user
        self.token = token
        headers = {"authorization": f"Bearer {token}"} if token else {}
        self.http = httpx.AsyncClient(
            transport=httpx.ASGITransport(app=app, client=(peer, 40000)),
            base_url="http://tertulia.test",
            headers=headers,
        )

    async def ask(self, method: str, path: str, body: Any = None, **more: Any) -> httpx.Response:
        """One request; `body` as JSON."""
        if body is not None:
            more["content"] = msgspec.json.encode(body)
            more["headers"] = {"content-type": "application/json", **more.get("headers", {})}
        return await self.http.request(method, path, **more)

    async def get(self, path: str, **query: Any) -> Any:
        """A document; the status is 200."""
        answer = await self.ask("GET", path, params={k: v for k, v in query.items() if v is not None})
        assert answer.status_code == 200, answer.text
        return answer.json()

    async def do(self, method: str, path: str, body: Any = None, *, status: int = 200, **more: Any) -> Any:
        """A request with this outcome; what it answers with."""
        answer = await self.ask(method, path, body, **more)
        assert answer.status_code == status, f"{answer.status_code}: {answer.text}"
        return answer.json() if answer.content else None

    async def every(self, path: str, *, limit: int = 50, **query: Any) -> list[Any]:
        """All items of a list, page by page."""
        items: list[Any] = []
        cursor = None
        while True:
            page = await self.get(path, limit=limit, cursor=cursor, **query)
            items += page["items"]
            cursor = page["next_cursor"]
            if cursor is None:
                return items


class Api:
    """A program and those who ask it."""

    def __init__(self, program: Program) -> None:
        self.program = program
        self.app = program.app
        self._askers: list[Asker] = []

    def stranger(self, peer: str = "203.0.113.7") -> Asker:
        """Someone without a token."""
        return self._kept(Asker(self.app, peer=peer))

    def signed_in(self, tokens: Any) -> Asker:
        """Whoever these tokens are of."""
        return self._kept(Asker(self.app, tokens["access_token"], tokens["user"]))

    async def person(self, handle: str, **more: Any) -> Asker:
        """A person whom the operator made, signed in."""
        request = NewUser(**{"handle": handle, "name": handle.title(), "password": PASSWORD, **more})
        await self.program.administration.create_user(TENANT, request)
        return await self.device(handle)

    async def device(self, handle: str, name: str = "Laptop") -> Asker:
        """One more device of a person."""
        body = {"login": handle, "password": PASSWORD, "device": name}
        return self.signed_in(await self.stranger().do("POST", "/v1/sessions", body, status=201))

    async def code(self) -> str:
        """The newest code that was sent."""
        rows = await self.program.store.scan(Outbox, (TENANT,))
        newest = max(rows, key=lambda row: row.id)
        return code_in([msgspec.json.decode(newest.payload, type=Mail if newest.topic == "mail" else Sms)])

    def _kept(self, asker: Asker) -> Asker:
        self._askers.append(asker)
        return asker

    async def close(self) -> None:
        """Close every connection."""
        for asker in self._askers:
            await asker.http.aclose()


@asynccontextmanager
async def api(folder: Path, **settings: Any) -> AsyncGenerator[Api]:
    """A program without its background work, so that what is sent stays to be looked at."""
    program = await build(Settings(data=str(folder), argon2_memory_kib=64, **settings))
    await program.administration.ensure_default_tenant("Tertulia")
    server = Api(program)
    try:
        yield server
    finally:
        await server.close()
        await program.stop()
