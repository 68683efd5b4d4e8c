"""The interactive page at /docs: three files of our own, no other host, no inline script."""

from __future__ import annotations

from collections.abc import Mapping
from functools import cache
from importlib.resources import files
from types import MappingProxyType
from typing import Final

import msgspec

CONTENT_SECURITY_POLICY: Final = (
    "default-src 'none'; script-src 'self'; style-src 'self'; connect-src 'self'; img-src 'self' data:; "
    "base-uri 'none'; form-action 'none'; frame-ancestors 'none'"
)

_MEDIA_TYPES: Final = {
    "index.html": "text/html; charset=utf-8",
    "app.js": "text/javascript; charset=utf-8",
    "style.css": "text/css; charset=utf-8",
}


class PageFile(msgspec.Struct, frozen=True):
    """A file as it is served."""

    data: bytes
    media_type: str
    headers: Mapping[str, str]


@cache
def page_file(name: str) -> PageFile | None:
    """One of the page's files; None for any other name."""
    media_type = _MEDIA_TYPES.get(name)
    if media_type is None:
        return None
    headers = {"content-security-policy": CONTENT_SECURITY_POLICY, "cache-control": "no-cache"}
    return PageFile((files(__name__) / name).read_bytes(), media_type, MappingProxyType(headers))
