"""The tenant's own limits, at hand for every decision."""

from __future__ import annotations

from tertulia.domain.errors import Refusal
from tertulia.domain.records import Tenant
from tertulia.ports.clock import Clock
from tertulia.ports.message_store import Directory


class Tenants:
    """Reads tenant rows; a copy is used for at most `fresh_s` seconds."""

    def __init__(self, directory: Directory, clock: Clock, fresh_s: float = 5.0) -> None:
        self._directory = directory
        self._clock = clock
        self._fresh_s = fresh_s
        self._known: dict[str, tuple[float, Tenant]] = {}

    def cached(self, tenant: str) -> Tenant | None:
        """The tenant if it is at hand and fresh; never waits."""
        entry = self._known.get(tenant)
        if entry is None or self._clock.monotonic() >= entry[0]:
            return None
        return entry[1]

    async def get(self, tenant: str) -> Tenant:
        """The tenant.  Raises Refusal `not_found`."""
        found = self.cached(tenant)
        if found is None:
            found = await self._directory.get(Tenant, tenant)
            if found is None:
                raise Refusal("not_found", "No such tenant.")
            self._known[tenant] = (self._clock.monotonic() + self._fresh_s, found)
        return found
