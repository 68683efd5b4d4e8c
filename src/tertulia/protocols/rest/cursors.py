"""Opaque cursors: where a list goes on, sealed, so that nobody builds one or uses it elsewhere.

A cursor holds the key of the last row of the page before.  The seal covers the list it belongs to and
who asks, so a cursor of another list, resource or person is `invalid`, and so is one that was altered.
"""

from __future__ import annotations

import base64
import hashlib
import hmac
from typing import Final

import msgspec

from tertulia.domain.errors import Refusal

MAX_LENGTH: Final = 1024
_SEAL: Final = 12

Values = tuple[str | int, ...]

_encode = msgspec.msgpack.Encoder().encode
_decode = msgspec.msgpack.Decoder(Values).decode


class Cursors:
    """Makes and reads cursors under one key."""

    def __init__(self, key: bytes) -> None:
        self._key = hashlib.blake2b(key, digest_size=32, person=b"tertulia-page").digest()

    def seal(self, context: Values, values: Values) -> str:
        """The cursor of a list that goes on after `values`."""
        return self.seal_bytes(context, _encode(values))

    def open(self, context: Values, cursor: str) -> Values:
        """What `seal` was given.  Raises Refusal `invalid`."""
        data = self.open_bytes(context, cursor)
        if data is None:
            raise Refusal("invalid", "This is no cursor of this list.", field="cursor")
        return _decode(data)

    def seal_bytes(self, context: Values, data: bytes) -> str:
        """Octets as a text that only we can have made."""
        return base64.urlsafe_b64encode(self._mac(context, data) + data).rstrip(b"=").decode()

    def open_bytes(self, context: Values, text: str) -> bytes | None:
        """What `seal_bytes` was given; None for anything else."""
        try:
            raw = base64.b64decode(text + "=" * (-len(text) % 4), altchars=b"-_", validate=True)
        except ValueError:
            return None
        seal, data = raw[:_SEAL], raw[_SEAL:]
        return data if hmac.compare_digest(seal, self._mac(context, data)) else None

    def _mac(self, context: Values, data: bytes) -> bytes:
        named = _encode(context)
        state = hashlib.blake2b(key=self._key, digest_size=_SEAL)
        state.update(len(named).to_bytes(4, "big") + named + data)
        return state.digest()
