"""What the REST interface needs of the program."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Mapping
from typing import Protocol

import msgspec

from tertulia.application.accounts import Accounts
from tertulia.application.core import Caller
from tertulia.application.devices import Devices
from tertulia.application.limits import RateLimiter
from tertulia.application.presence import Presence
from tertulia.application.queries import Queries
from tertulia.application.receipts import Receipts
from tertulia.application.recovery import Recovery
from tertulia.application.registry import Registry
from tertulia.application.sign_in import SignIn
from tertulia.application.sync import Sync
from tertulia.ports.clock import Clock
from tertulia.ports.ids import Ids
from tertulia.ports.metrics import Meter
from tertulia.sessions.hub import Hub


class Authenticate(Protocol):
    """From an access token to who it is and until when (Unix ms).  Raises Refusal."""

    async def __call__(self, token: str) -> tuple[Caller, int]: ...


class RestServices(msgspec.Struct, frozen=True, kw_only=True):
    """Everything that `make_app` is given; the settings among them have their defaults here."""

    authenticate: Authenticate
    accounts: Accounts
    sign_in: SignIn
    recovery: Recovery
    devices: Devices
    presence: Presence
    receipts: Receipts
    registry: Registry
    queries: Queries
    sync: Sync
    hub: Hub
    limiter: RateLimiter
    """Its rules must hold those of `limits.REST_RULES` and the commands' own."""

    clock: Clock
    ids: Ids
    meter: Meter
    cursor_key: bytes
    """Seals the cursors of pages and of event streams; it must outlive a restart."""

    seen: Callable[[Caller], Awaitable[None]]
    """Called when a user's last session has ended."""

    asyncapi: bytes
    """The document at /v1/asyncapi.json."""

    render_metrics: Callable[[], bytes]
    problems: Callable[[], Mapping[str, str]]
    """What is wrong with the server, by part; empty: it is ready.  Must not wait."""

    version: str = "0"
    brand: str = "Tertulia"
    tenant: str = "default"
    """Whose people sign up and in here."""

    rate_limits: bool = True
    """False: no limits but those on guessing."""

    trusted_proxies: tuple[str, ...] = ()
    cors_origins: tuple[str, ...] = ()
    body_limit: int = 1_048_576
    heartbeat_s: float = 30.0
    max_sessions: int = 100_000
    sessions_per_user: int = 64
