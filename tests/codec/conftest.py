"""These tests run on the loop that the server runs on."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

import uvloop


def pytest_asyncio_loop_factories(config: Any, item: Any) -> Mapping[str, Callable[[], Any]]:
    """uvloop, as in production."""
    return {"uvloop": uvloop.new_event_loop}
