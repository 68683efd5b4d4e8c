"""As much HTTP/1.1 as the torture needs, by the standard library."""

from __future__ import annotations

import asyncio
import http.client
from typing import Any

import msgspec

TIMEOUT_S = 15


def _request(port: int, method: str, path: str, token: str, body: object) -> tuple[int, dict[str, Any]]:
    connection = http.client.HTTPConnection("127.0.0.1", port, timeout=TIMEOUT_S)
    try:
        headers = {"Authorization": f"Bearer {token}", "Content-Type": "application/json"}
        data = msgspec.json.encode(body) if body is not None else None
        connection.request(method, path, data, headers)
        answer = connection.getresponse()
        text = answer.read()
        return answer.status, msgspec.json.decode(text) if text else {}
    finally:
        connection.close()


async def request(
    port: int, method: str, path: str, token: str = "", body: object = None
) -> tuple[int, dict[str, Any]]:
    """Status and JSON of an answer.  Raises OSError."""
    return await asyncio.to_thread(_request, port, method, path, token, body)
