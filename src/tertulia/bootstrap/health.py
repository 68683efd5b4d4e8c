"""Whether the server should be sent more work: `/readyz`, and the figures of the moment for `/metrics`."""

from __future__ import annotations

import asyncio
import shutil
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Final

from tertulia.adapters.metrics_prometheus import Figures, PrometheusMetrics
from tertulia.adapters.sqlite import BatchReport, SqliteStore, StoreStats
from tertulia.domain.errors import Refusal
from tertulia.domain.records import Outbox
from tertulia.ports.clock import Clock

QUEUE_FULL: Final = 8_000
"""Units that wait for the writer above which new work should go elsewhere."""

FULL_FOR_S: Final = 10.0
"""So long after a commit that found no room the store does not count as writable; without another one
in between nobody knows."""

SAMPLE_S: Final = 5.0
MAX_DUE: Final = 1000
"""Due rows are counted up to here."""


class Health:
    """Looks at the parts and says what is wrong with them."""

    def __init__(
        self,
        folder: Path,
        min_free_bytes: int,
        metrics: PrometheusMetrics,
        clock: Clock,
        topics: Sequence[str],
    ) -> None:
        self._folder = folder
        self._min_free = min_free_bytes
        self._metrics = metrics
        self._clock = clock
        self._topics = topics
        self._outcome = "committed"
        self._ended_at = 0.0
        self._due: dict[str, int] = {}
        self.draining = False
        self.tasks: list[asyncio.Task[None]] = []
        self.store: SqliteStore
        """Set once it is open: the store itself reports here."""

    def observe(self, report: BatchReport) -> None:
        """The store's observer; in the writer's thread."""
        self._outcome = report.outcome
        self._ended_at = self._clock.monotonic()
        self._metrics.batch(report.units, report.seconds, report.outcome)

    async def watch(self) -> None:
        """Count what is due, now and then, until cancelled."""
        while True:
            try:
                for topic in self._topics:
                    rows = await self.store.due(Outbox, "due", (topic,), self._clock.now_ms(), MAX_DUE)
                    self._due[topic] = len(rows)
            except Refusal:
                # The readers are busy; the next look tells more.
                pass
            await asyncio.sleep(SAMPLE_S)

    # --- readiness -------------------------------------------------------------------------------

    def problems(self) -> dict[str, str]:
        """What is wrong, by part; empty when the server is ready.  Never waits for long."""
        found = {
            "server": "it is stopping" if self.draining else "",
            "store": self._store_problem(self.store.stats()),
            "disk": self._disk_problem(),
            "workers": self._workers_problem(self.tasks),
        }
        return {part: reason for part, reason in found.items() if reason}

    def _store_problem(self, stats: StoreStats) -> str:
        if stats.waiting_units >= QUEUE_FULL:
            return "the queue of the writer is full"
        if self._outcome == "failed":
            return "the storage has failed"
        if self._outcome == "full" and self._clock.monotonic() - self._ended_at < FULL_FOR_S:
            return "the last commit found no room"
        return ""

    def _disk_problem(self) -> str:
        try:
            free = shutil.disk_usage(self._folder).free
        except OSError as error:
            return f"the data folder cannot be looked at: {error.strerror}"
        return "" if free >= self._min_free else f"{free} bytes are free, fewer than {self._min_free}"

    @staticmethod
    def _workers_problem(tasks: Iterable[asyncio.Task[None]]) -> str:
        ended = sorted(task.get_name() for task in tasks if task.done())
        return f"these have ended: {', '.join(ended)}" if ended else ""

    # --- figures ---------------------------------------------------------------------------------

    def figures(self, sessions: dict[str, int], connections: int, limiter_dropped: int) -> Figures:
        """The figures of the moment."""
        stats = self.store.stats()
        return Figures(
            sessions=sessions,
            connections=connections,
            queues={
                "writer": stats.waiting_units,
                "readers": stats.waiting_reads,
                "searches": stats.waiting_searches,
            },
            outbox=dict(self._due),
            search_lag=max(stats.last_event_id - stats.search_position, 0),
            limiter_dropped=limiter_dropped,
            ready=not self.problems(),
        )
