"""The figures for Prometheus: counted as plain numbers, read by Prometheus's own parser."""

from __future__ import annotations

import asyncio
import re
import threading
from pathlib import Path
from typing import Any

import pytest
from prometheus_client.parser import text_string_to_metric_families

from tertulia.adapters.clock_seeded import SeededClock
from tertulia.adapters.metrics_prometheus import (
    CLOSE_REASONS,
    SECONDS,
    Figures,
    Histogram,
    PrometheusMetrics,
)
from tertulia.domain.events import Event
from tertulia.domain.unit import Committed


def figures(**changes: Any) -> Figures:
    known: dict[str, Any] = {
        "sessions": {"websocket": 3, "sse": 1},
        "connections": 5,
        "queues": {"writer": 7, "readers": 0, "searches": 0},
        "outbox": {"mail": 2},
        "search_lag": 4,
        "limiter_dropped": 6,
        "ready": True,
    }
    return Figures(**{**known, **changes})


def read(metrics: PrometheusMetrics) -> dict[tuple[str, frozenset[tuple[str, str]]], float]:
    families = text_string_to_metric_families(metrics.render().decode())
    return {
        (sample.name, frozenset(sample.labels.items())): sample.value
        for family in families
        for sample in family.samples
    }


def value(metrics: PrometheusMetrics, name: str, **labels: str) -> float:
    return read(metrics)[name, frozenset(labels.items())]


def event(kind: str, at: int) -> Event:
    return Event(
        tenant="t",
        log="l",
        room="l",
        log_kind="group",
        seq=1,
        kind=kind,
        actor="a",
        at=at,
        ordinal=1,
        all_ordinal=0,
    )


@pytest.fixture
def clock() -> SeededClock:
    return SeededClock()


@pytest.fixture
def metrics(clock: SeededClock) -> PrometheusMetrics:
    made = PrometheusMetrics(clock, "1.2.3")
    made.follow(figures)
    return made


def test_everything_has_help_and_a_unit_in_its_name(metrics: PrometheusMetrics) -> None:
    families = list(text_string_to_metric_families(metrics.render().decode()))
    ours = [family for family in families if family.name.startswith("tertulia_")]
    assert len(ours) > 15
    assert [family.name for family in ours if not family.documentation] == []
    assert len({family.name for family in families}) == len(families)
    process = {family.name for family in families if family.name.startswith("process_")}
    assert {"process_resident_memory_bytes", "process_cpu_seconds", "process_open_fds"} <= process
    assert value(metrics, "tertulia_build_info", version="1.2.3") == 1


def test_figures_of_the_moment(metrics: PrometheusMetrics) -> None:
    assert value(metrics, "tertulia_sessions", protocol="websocket") == 3
    assert value(metrics, "tertulia_sessions", protocol="sse") == 1
    assert value(metrics, "tertulia_connections") == 5
    assert value(metrics, "tertulia_queue", queue="writer") == 7
    assert value(metrics, "tertulia_outbox_due", topic="mail") == 2
    assert value(metrics, "tertulia_search_lag_events") == 4
    assert value(metrics, "tertulia_limiter_dropped_total") == 6
    assert value(metrics, "tertulia_ready") == 1


async def test_commits_are_counted_by_what_they_hold(metrics: PrometheusMetrics, clock: SeededClock) -> None:
    at = clock.now_ms()
    clock.advance(0.03)
    metrics.on_commit(
        [
            Committed(events=(event("message.new", at), event("device.added", at + 20))),
            Committed(events=(event("message.new", at + 10),)),
            Committed(events=()),
        ]
    )
    metrics.delivered(5)
    metrics.delivered(2)
    await asyncio.sleep(0)
    assert value(metrics, "tertulia_sends_total") == 2
    assert value(metrics, "tertulia_events_total") == 3
    assert value(metrics, "tertulia_sign_ins_total") == 1
    assert value(metrics, "tertulia_deliveries_total") == 7
    # Once for the batch, by its oldest event.
    assert value(metrics, "tertulia_delivery_seconds_count") == 1
    assert value(metrics, "tertulia_delivery_seconds_sum") == pytest.approx(0.03)


async def test_a_batch_without_events_tells_no_latency(metrics: PrometheusMetrics) -> None:
    metrics.on_commit([Committed(events=())])
    await asyncio.sleep(0)
    assert value(metrics, "tertulia_delivery_seconds_count") == 0


def test_closes_and_refusals_by_code(metrics: PrometheusMetrics) -> None:
    for code in (4003, 4003, 0, 4999):
        metrics.closed("websocket", code)
    metrics.refused("rest", "not_found")
    closes = "tertulia_closes_total"
    assert value(metrics, closes, protocol="websocket", code="4003", reason="too_slow") == 2
    assert value(metrics, closes, protocol="websocket", code="0", reason="gone") == 1
    assert value(metrics, closes, protocol="websocket", code="4999", reason="other") == 1
    assert value(metrics, "tertulia_refusals_total", protocol="rest", code="not_found") == 1


def test_every_close_code_of_the_edges_has_a_reason() -> None:
    from tertulia.protocols.ws import connection
    from tertulia.sessions import hub

    codes = {
        code
        for module in (connection, hub)
        for name, code in vars(module).items()
        if name.startswith("CLOSE_") and isinstance(code, int)
    }
    assert len(codes) > 5
    assert codes <= set(CLOSE_REASONS)


def test_batches_from_the_writers_thread(metrics: PrometheusMetrics) -> None:
    def work() -> None:
        for n in range(1000):
            metrics.batch(n % 3 + 1, 0.002, "full" if n % 100 == 0 else "committed")

    thread = threading.Thread(target=work)
    thread.start()
    while thread.is_alive():
        metrics.render()
    thread.join()
    assert value(metrics, "tertulia_commits_total", outcome="committed") == 990
    assert value(metrics, "tertulia_commits_total", outcome="full") == 10
    assert value(metrics, "tertulia_commit_seconds_count") == 1000
    assert value(metrics, "tertulia_commit_units_sum") == value(metrics, "tertulia_units_total")


def test_histograms_count_up_to_their_bounds() -> None:
    histogram = Histogram((1, 2, 5))
    for one in (0.5, 1, 1.5, 5, 7, 100):
        histogram.observe(one)
    assert histogram.buckets() == [("1", 2), ("2", 3), ("5", 4), ("+Inf", 6)]
    assert histogram.total == 115
    assert list(SECONDS) == sorted(SECONDS)


async def test_requests_by_template_and_never_by_what_was_asked(
    metrics: PrometheusMetrics, clock: SeededClock
) -> None:
    async def app(scope: Any, _receive: Any, send: Any) -> None:
        clock.advance(0.2)
        if scope["path"] == "/boom":
            raise RuntimeError
        if scope["path"] != "/none":
            scope["path_template"] = "/v1/users/{user}"
        await send({"type": "http.response.start", "status": 200 if scope["path"] != "/none" else 404})
        await send({"type": "http.response.body", "body": b""})

    sent: list[Any] = []

    async def send(message: Any) -> None:
        sent.append(message)

    measured = metrics.measured(app)
    for method, path in (("GET", "/v1/users/a"), ("GET", "/v1/users/b"), ("BREW", "/none")):
        await measured({"type": "http", "method": method, "path": path}, None, send)  # pyright: ignore[reportArgumentType]
    with pytest.raises(RuntimeError):
        await measured({"type": "http", "method": "GET", "path": "/boom"}, None, send)  # pyright: ignore[reportArgumentType]
    await measured({"type": "lifespan", "path": "/x"}, None, send)  # pyright: ignore[reportArgumentType]
    requests = "tertulia_requests_total"
    assert value(metrics, requests, method="GET", route="/v1/users/{user}", status="200") == 2
    assert value(metrics, requests, method="OTHER", route="(none)", status="404") == 1
    assert value(metrics, requests, method="GET", route="(none)", status="500") == 1
    times = "tertulia_request_seconds_sum"
    assert value(metrics, times, method="GET", route="/v1/users/{user}") == pytest.approx(0.4)
    assert len(sent) == 8


async def test_the_loop_is_watched() -> None:
    from tertulia.adapters.clock_system import SystemClock

    metrics = PrometheusMetrics(SystemClock(), "1")
    watch = asyncio.create_task(metrics.watch_loop(0.01))
    await asyncio.sleep(0.03)
    end = SystemClock().monotonic() + 0.2
    while SystemClock().monotonic() < end:
        pass
    await asyncio.sleep(0.03)
    watch.cancel()
    await asyncio.gather(watch, return_exceptions=True)
    assert value(metrics, "tertulia_loop_lag_seconds_count") >= 2
    assert value(metrics, "tertulia_loop_lag_seconds_sum") > 0.15


def test_the_operators_document_names_every_metric(metrics: PrometheusMetrics) -> None:
    document = (Path(__file__).resolve().parents[2] / "docs/operations.md").read_text("utf-8")
    named = set(re.findall(r"`(tertulia_\w+?)(?:\{[\w,]*\})?`", document))
    families = text_string_to_metric_families(metrics.render().decode())
    ours = [family for family in families if family.name.startswith("tertulia_")]
    assert named == {family.name + ("_total" if family.type == "counter" else "") for family in ours}


def test_two_programs_do_not_mix(clock: SeededClock) -> None:
    one, other = PrometheusMetrics(clock, "1"), PrometheusMetrics(clock, "1")
    one.delivered(3)
    assert value(other, "tertulia_deliveries_total") == 0
