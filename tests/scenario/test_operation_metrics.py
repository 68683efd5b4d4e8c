"""/metrics, /healthz and /readyz of a real server beside real people."""

from __future__ import annotations

import asyncio
from pathlib import Path

import httpx
from prometheus_client.parser import text_string_to_metric_families

from tests.support.process import connected, serving

Samples = dict[tuple[str, frozenset[tuple[str, str]]], float]


async def samples(client: httpx.AsyncClient) -> Samples:
    answer = await client.get("/metrics")
    assert answer.status_code == 200
    assert answer.headers["content-type"].startswith("text/plain; version=0.0.4")
    return {
        (sample.name, frozenset(sample.labels.items())): sample.value
        for family in text_string_to_metric_families(answer.text)
        for sample in family.samples
    }


def one(found: Samples, name: str, **labels: str) -> float:
    return found.get((name, frozenset(labels.items())), 0.0)


async def test_a_talk_is_seen_in_the_figures(tmp_path: Path) -> None:
    with serving(tmp_path / "data") as server:
        tokens = await asyncio.to_thread(server.people, "ana", "bob")
        async with httpx.AsyncClient(base_url=server.address, timeout=10) as client:
            assert (await client.get("/healthz")).status_code == 200
            assert (await client.get("/readyz")).status_code == 200
            async with connected(server, tokens["ana"]) as ana, connected(server, tokens["bob"]) as bob:
                group = await ana.do("conversation.create_group", name="Two", members=[bob.hello["user"]])
                await bob.until("conversation.joined")
                before = await samples(client)
                for n in range(10):
                    await ana.say(group["created"], f"number {n}")
                refused = await bob.start("message.read", conversation="none", seq=1)
                assert refused["code"] == "not_found"
                found = await samples(client)
                assert one(found, "tertulia_sessions", protocol="websocket") == 2
                assert one(found, "tertulia_connections") == 2
                await bob.socket.send("not JSON")
                assert (await bob.ended())[0] == 4004
            signed = {"Authorization": f"Bearer {tokens['ana']}"}
            for path in ("/v1/users/nobody", "/v1/users/nobody-else", "/v1/no/such/route", "/no-such"):
                assert (await client.get(path, headers=signed)).status_code == 404
            after = await samples(client)

        def grown(name: str, **labels: str) -> float:
            return one(found, name, **labels) - one(before, name, **labels)

        assert grown("tertulia_sends_total") == 10
        assert grown("tertulia_deliveries_total") == 20
        assert grown("tertulia_delivery_seconds_count") == grown("tertulia_commit_seconds_count") == 10
        assert 0 < grown("tertulia_commit_seconds_sum") < 10
        assert grown("tertulia_commits_total", outcome="committed") == 10
        assert grown("tertulia_refusals_total", protocol="websocket", code="not_found") == 1
        assert one(found, "tertulia_sign_ins_total") == 2
        assert one(found, "tertulia_ready") == 1
        closes = "tertulia_closes_total"
        assert one(after, closes, protocol="websocket", code="4004", reason="malformed") == 1
        assert one(after, "tertulia_sessions", protocol="websocket") == 0
        routes = {dict(labels)["route"] for (name, labels) in after if name == "tertulia_requests_total"}
        assert "/v1/users/{user}" in routes
        # What people ask for is no label.
        assert not any("no" in route for route in routes - {"(none)"})
        assert one(after, "process_resident_memory_bytes") > 10_000_000


async def test_a_server_with_too_little_space_says_so_and_goes_on(tmp_path: Path) -> None:
    with serving(tmp_path / "data", TERTULIA_MIN_FREE_BYTES=str(1 << 60)) as server:
        async with httpx.AsyncClient(base_url=server.address, timeout=10) as client:
            answer = await client.get("/readyz")
            assert answer.status_code == 503
            assert "bytes are free" in answer.text
            assert (await client.get("/healthz")).status_code == 200
            assert one(await samples(client), "tertulia_ready") == 0
