"""Figures for Prometheus, in its text format.

Counting is plain integers on the hot path; what the client library costs is paid when somebody reads.
Histograms are observed once for a batch, not once for a message.  Everything is one registry of its
own: two programs in one process do not mix.
"""

from __future__ import annotations

import asyncio
from bisect import bisect_left
from collections import Counter
from collections.abc import Awaitable, Callable, Iterable, Iterator, Mapping, MutableMapping, Sequence
from typing import Any, Final

import msgspec
from prometheus_client import CollectorRegistry, ProcessCollector, generate_latest
from prometheus_client.core import (
    CounterMetricFamily,
    GaugeMetricFamily,
    HistogramMetricFamily,
    InfoMetricFamily,
)
from prometheus_client.registry import Collector

from tertulia.domain.unit import Committed
from tertulia.ports.clock import Clock

SECONDS: Final = (
    0.0005, 0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0,
)  # fmt: skip
SIZES: Final = (1, 2, 4, 8, 16, 32, 64, 128, 256, 512, 1024)

CLOSE_REASONS: Final[Mapping[int, str]] = {
    0: "gone",
    1001: "stopping",
    1002: "protocol_error",
    1003: "binary_frame",
    1007: "not_utf8",
    1009: "too_big",
    4000: "not_signed_in",
    4001: "token",
    4002: "device_revoked",
    4003: "too_slow",
    4004: "malformed",
    4005: "heartbeat_lost",
    4006: "too_many_sessions",
    4007: "rate_limited",
    4008: "replaced",
    4029: "server_full",
}
"""Why a connection ended, by its close code (see the WebSocket protocol's document)."""

Scope = MutableMapping[str, Any]
Receive = Callable[[], Awaitable[Any]]
Send = Callable[[Any], Awaitable[None]]
App = Callable[[Scope, Receive, Send], Awaitable[None]]


class Figures(msgspec.Struct, frozen=True, kw_only=True):
    """What is true at the moment, asked for at each reading."""

    sessions: Mapping[str, int]
    """Signed-in sessions by protocol."""

    connections: int
    """WebSocket connections, signed in or not."""

    queues: Mapping[str, int]
    """What waits, by queue."""

    outbox: Mapping[str, int]
    """Rows that are due, by topic."""

    search_lag: int
    """Events that the search index does not know yet."""

    limiter_dropped: int
    ready: bool


class Histogram:
    """Counts by upper bound.  One thread observes; a reader may be one observation behind."""

    __slots__ = ("bounds", "counts", "total")

    def __init__(self, bounds: Sequence[float]) -> None:
        self.bounds = tuple(bounds)
        self.counts = [0] * (len(self.bounds) + 1)
        self.total = 0.0

    def observe(self, value: float) -> None:
        """Count one value."""
        self.counts[bisect_left(self.bounds, value)] += 1
        self.total += value

    def buckets(self) -> list[tuple[str, float]]:
        """Cumulative counts by bound, "+Inf" last."""
        found: list[tuple[str, float]] = []
        running = 0
        for bound, count in zip((*map(str, self.bounds), "+Inf"), self.counts, strict=True):
            running += count
            found.append((bound, running))
        return found


class PrometheusMetrics(Collector):
    """Counts (see `Meter`) and renders."""

    def __init__(self, clock: Clock, version: str) -> None:
        self._clock = clock
        self._version = version
        self._figures: Callable[[], Figures] | None = None
        self._delivered = 0
        self._sends = 0
        self._events = 0
        self._sign_ins = 0
        self._closed: Counter[tuple[str, int]] = Counter()
        self._refused: Counter[tuple[str, str]] = Counter()
        self._units = 0
        self._batches: Counter[str] = Counter()
        self._commit = Histogram(SECONDS)
        self._batch_units = Histogram(SIZES)
        self._delivery = Histogram(SECONDS)
        self._lag = Histogram(SECONDS)
        self._requests: Counter[tuple[str, str, int]] = Counter()
        self._request_times: dict[tuple[str, str], Histogram] = {}
        self._registry = CollectorRegistry(auto_describe=False)
        self._registry.register(self)
        ProcessCollector(registry=self._registry)

    # --- counting --------------------------------------------------------------------------------

    def delivered(self, count: int) -> None:
        """See `Meter`."""
        self._delivered += count

    def closed(self, protocol: str, code: int) -> None:
        """See `Meter`."""
        self._closed[protocol, code] += 1

    def refused(self, protocol: str, code: str) -> None:
        """See `Meter`."""
        self._refused[protocol, code] += 1

    def batch(self, units: int, seconds: float, outcome: str) -> None:
        """The store's writer has ended a transaction; called in its thread."""
        self._units += units
        self._batches[outcome] += 1
        self._commit.observe(seconds)
        self._batch_units.observe(units)

    def on_commit(self, batch: Sequence[Committed]) -> None:
        """Store listener, to be the last one.  The batch's oldest event tells how long it took from the
        decision to the hand-over to the sockets (to the millisecond, as events are dated)."""
        oldest = 0
        for committed in batch:
            for event in committed.events:
                self._events += 1
                if event.kind == "message.new":
                    self._sends += 1
                elif event.kind == "device.added":
                    self._sign_ins += 1
                if not oldest or event.at < oldest:
                    oldest = event.at
        if oldest:
            asyncio.get_running_loop().call_soon(self._handed_over, oldest)

    def _handed_over(self, at: int) -> None:
        self._delivery.observe(max(self._clock.now_ms() - at, 0) / 1000)

    async def watch_loop(self, every_s: float = 0.5) -> None:
        """Measure how late the event loop wakes what sleeps, until cancelled."""
        while True:
            due = self._clock.monotonic() + every_s
            await asyncio.sleep(every_s)
            self._lag.observe(max(self._clock.monotonic() - due, 0.0))

    def measured(self, app: App) -> App:
        """An ASGI application whose requests are counted, by the route's template: what people ask for
        must not become labels.  Answers that go on for long (event streams) count once they end."""

        async def measure(scope: Scope, receive: Receive, send: Send) -> None:
            if scope["type"] != "http":
                await app(scope, receive, send)
                return
            status = 500
            began = self._clock.monotonic()

            async def sending(message: Any) -> None:
                nonlocal status
                if message["type"] == "http.response.start":
                    status = int(message["status"])
                await send(message)

            try:
                await app(scope, receive, sending)
            finally:
                seconds = self._clock.monotonic() - began
                self.request(str(scope["method"]), _template(scope), status, seconds)

        return measure

    def request(self, method: str, route: str, status: int, seconds: float) -> None:
        """A request was answered.  `route` is a template from a closed set."""
        method = method if method in _METHODS else "OTHER"
        self._requests[method, route, status] += 1
        times = self._request_times.get((method, route))
        if times is None:
            times = self._request_times[method, route] = Histogram(SECONDS)
        times.observe(seconds)

    # --- reading ---------------------------------------------------------------------------------

    def follow(self, figures: Callable[[], Figures]) -> None:
        """Where the figures of the moment come from."""
        self._figures = figures

    def render(self) -> bytes:
        """Everything, in Prometheus's text format (version 0.0.4).  On the event loop."""
        return generate_latest(self._registry)

    def collect(self) -> Iterable[Any]:
        """See prometheus_client's `Collector`."""
        yield InfoMetricFamily("tertulia_build", "The program's version.", {"version": self._version})
        yield from self._counters()
        yield from self._histograms()
        if self._figures is not None:
            yield from _gauges(self._figures())

    def _counters(self) -> Iterator[Any]:
        plain = (
            ("tertulia_sends", "Messages committed.", self._sends),
            ("tertulia_events", "Events committed, of all kinds.", self._events),
            ("tertulia_deliveries", "Events told to sessions.", self._delivered),
            ("tertulia_sign_ins", "Devices signed in.", self._sign_ins),
            ("tertulia_units", "Units taken by the store's writer.", self._units),
        )
        for name, help_text, value in plain:
            yield CounterMetricFamily(name, help_text, value=value)
        closes = CounterMetricFamily(
            "tertulia_closes", "Connections ended, by close code.", labels=("protocol", "code", "reason")
        )
        for (protocol, code), count in self._closed.copy().items():
            closes.add_metric((protocol, str(code), CLOSE_REASONS.get(code, "other")), count)
        yield closes
        refusals = CounterMetricFamily("tertulia_refusals", "Refusals, by code.", labels=("protocol", "code"))
        for (protocol, code), count in self._refused.copy().items():
            refusals.add_metric((protocol, code), count)
        yield refusals
        batches = CounterMetricFamily(
            "tertulia_commits", "Transactions of the store's writer, by outcome.", labels=("outcome",)
        )
        for outcome, count in self._batches.copy().items():
            batches.add_metric((outcome,), count)
        yield batches
        requests = CounterMetricFamily(
            "tertulia_requests", "HTTP requests answered.", labels=("method", "route", "status")
        )
        for (method, route, status), count in self._requests.copy().items():
            requests.add_metric((method, route, str(status)), count)
        yield requests

    def _histograms(self) -> Iterator[Any]:
        plain = (
            ("tertulia_commit_seconds", "From the begin of a transaction to its end on disk.", self._commit),
            ("tertulia_commit_units", "Units in one transaction.", self._batch_units),
            (
                "tertulia_delivery_seconds",
                "From a batch's oldest append to the hand-over to the sockets.",
                self._delivery,
            ),
            ("tertulia_loop_lag_seconds", "How late the event loop wakes a sleeper.", self._lag),
        )
        for name, help_text, histogram in plain:
            yield HistogramMetricFamily(name, help_text, histogram.buckets(), histogram.total)
        times = HistogramMetricFamily(
            "tertulia_request_seconds", "Time to answer an HTTP request.", labels=("method", "route")
        )
        for labels, histogram in self._request_times.copy().items():
            times.add_metric(labels, histogram.buckets(), histogram.total)
        yield times


_METHODS: Final = frozenset({"GET", "HEAD", "POST", "PUT", "PATCH", "DELETE", "OPTIONS"})


def _template(scope: Scope) -> str:
    found = scope.get("path_template")
    return found if isinstance(found, str) and found else "(none)"


def _gauges(figures: Figures) -> Iterator[Any]:
    yield _family("tertulia_sessions", "Signed-in sessions.", "protocol", figures.sessions)
    yield GaugeMetricFamily(
        "tertulia_connections", "WebSocket connections, signed in or not.", value=figures.connections
    )
    yield _family("tertulia_queue", "What waits in a queue.", "queue", figures.queues)
    yield _family("tertulia_outbox_due", "Outbox rows that are due.", "topic", figures.outbox)
    yield GaugeMetricFamily(
        "tertulia_search_lag_events", "Events that the search index lacks.", value=figures.search_lag
    )
    yield GaugeMetricFamily("tertulia_ready", "Whether /readyz says yes.", value=int(figures.ready))
    yield CounterMetricFamily(
        "tertulia_limiter_dropped",
        "Rate-limit buckets forgotten before their time.",
        value=figures.limiter_dropped,
    )


def _family(name: str, help_text: str, label: str, values: Mapping[str, int]) -> GaugeMetricFamily:
    family = GaugeMetricFamily(name, help_text, labels=(label,))
    for key, value in values.items():
        family.add_metric((key,), value)
    return family
