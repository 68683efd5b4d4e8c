from __future__ import annotations
from typing import Any


def document(*_: Any) -> bytes:
    return b"{}"
