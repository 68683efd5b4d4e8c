"""Whether the server says that it is ready, and why not."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from tertulia.adapters.clock_seeded import SeededClock
from tertulia.adapters.metrics_prometheus import PrometheusMetrics
from tertulia.adapters.sqlite import BatchReport, SqliteStore
from tertulia.bootstrap.health import FULL_FOR_S, Health
from tertulia.domain.records import Outbox, Tenant
from tertulia.domain.unit import Put, Unit


@pytest.fixture
def clock() -> SeededClock:
    return SeededClock()


@pytest.fixture
async def health(tmp_path: Path, clock: SeededClock) -> AsyncIterator[Health]:
    made = Health(tmp_path, 0, PrometheusMetrics(clock, "1"), clock, ("mail",))
    made.store = await SqliteStore.open(tmp_path, observe=made.observe)
    yield made
    await made.store.close()


def report(outcome: str) -> BatchReport:
    return BatchReport(1, 1, seconds=0.1, waiting=0, outcome=outcome)


async def test_a_server_that_works_is_ready(health: Health) -> None:
    assert health.problems() == {}
    row = Tenant(tenant="t", name="T", created_at=1)
    await health.store.append(Unit(tenant="t", actor="", at=1, events=(), writes=(Put(row),)))
    assert health.problems() == {}
    # The writer answers first and reports then.
    for _ in range(200):
        if b'tertulia_commits_total{outcome="committed"} 1.0' in health._metrics.render():
            break
        await asyncio.sleep(0.01)
    else:
        raise AssertionError("the commit was not reported")


async def test_a_server_that_stops_is_not_ready(health: Health) -> None:
    health.draining = True
    assert health.problems() == {"server": "it is stopping"}


async def test_a_full_disk_is_known_from_the_last_commit_for_a_while(
    health: Health, clock: SeededClock
) -> None:
    health.observe(report("full"))
    assert set(health.problems()) == {"store"}
    clock.advance(FULL_FOR_S + 1)
    assert health.problems() == {}
    health.observe(report("full"))
    health.observe(report("committed"))
    assert health.problems() == {}
    health.observe(report("failed"))
    clock.advance(10 * FULL_FOR_S)
    assert set(health.problems()) == {"store"}


async def test_too_little_space_and_a_folder_that_went(tmp_path: Path, clock: SeededClock) -> None:
    health = Health(tmp_path, 1 << 60, PrometheusMetrics(clock, "1"), clock, ())
    assert "bytes are free" in health._disk_problem()
    health = Health(tmp_path / "gone", 0, PrometheusMetrics(clock, "1"), clock, ())
    assert "cannot be looked at" in health._disk_problem()


async def test_a_worker_that_ended_is_named(health: Health) -> None:
    async def ends() -> None: ...

    async def stays() -> None:
        await asyncio.sleep(60)

    health.tasks = [asyncio.create_task(ends(), name="timers"), asyncio.create_task(stays(), name="mail")]
    await asyncio.sleep(0)
    assert health.problems() == {"workers": "these have ended: timers"}
    health.tasks[1].cancel()


async def test_what_is_due_and_what_waits(health: Health, clock: SeededClock) -> None:
    rows = [
        Outbox(tenant="t", id=str(n), topic="mail", due_at=clock.now_ms() + (n - 2) * 1000, payload=b"x")
        for n in range(5)
    ]
    unit = Unit(tenant="t", actor="", at=1, events=(), writes=tuple(map(Put, rows)))
    await health.store.append(unit)
    watch = asyncio.create_task(health.watch())
    figures = health.figures({}, 0, 0)
    for _ in range(200):
        if figures.outbox:
            break
        await asyncio.sleep(0.01)
        figures = health.figures({"websocket": 1}, 2, 3)
    watch.cancel()
    assert figures.outbox == {"mail": 3}
    assert figures.queues == {"writer": 0, "readers": 0, "searches": 0}
    assert (figures.connections, figures.limiter_dropped, figures.ready) == (2, 3, True)
