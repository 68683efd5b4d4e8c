import asyncio
import gzip
import ipaddress
import time
from collections.abc import AsyncIterator, Iterable
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import httpcore
import pytest

from tertulia.adapters.http_guarded import (
    GuardedHttpClient,
    OutboundPolicy,
    SystemResolver,
    parse_policy,
)
from tertulia.domain.outbound import Address
from tertulia.ports.http import HttpFailed, HttpLimits, HttpRequest
from tests.delivery.peers import Received, http_peer, make_certificate, plain, unused_port


class ScriptedResolver:
    """Gives each look-up the next list of addresses; the last is repeated."""

    def __init__(self, *answers: list[str]) -> None:
        self.answers = list(answers)
        self.asked: list[str] = []

    async def resolve(self, host: str, port: int) -> list[Address]:
        self.asked.append(host)
        answer = self.answers.pop(0) if len(self.answers) > 1 else self.answers[0]
        if not answer:
            raise OSError("no such name")
        return [ipaddress.ip_address(text) for text in answer]


class RecordingDialer(httpcore.AsyncNetworkBackend):
    """Records where it was sent; goes to `port` of 127.0.0.1 instead of the public address."""

    def __init__(self, port: int | None = None, dead: Iterable[str] = ()) -> None:
        self.dialed: list[tuple[str, int]] = []
        self._port, self._dead = port, set(dead)
        self._real = httpcore.AnyIOBackend()

    async def connect_tcp(
        self,
        host: str,
        port: int,
        timeout: float | None = None,
        local_address: str | None = None,
        socket_options: object = None,
    ) -> httpcore.AsyncNetworkStream:
        self.dialed.append((host, port))
        if self._port is None or host in self._dead:
            raise httpcore.ConnectError("nobody there")
        return await self._real.connect_tcp("127.0.0.1", self._port, timeout=timeout)


@asynccontextmanager
async def client_of(policy: OutboundPolicy | None = None, **rest: Any) -> AsyncIterator[GuardedHttpClient]:
    client = GuardedHttpClient(policy, **rest)
    try:
        yield client
    finally:
        await client.aclose()


async def failure(client: GuardedHttpClient, request: HttpRequest) -> HttpFailed:
    with pytest.raises(HttpFailed) as caught:
        await client.request(request)
    return caught.value


async def test_a_request_reaches_a_listed_endpoint_whole() -> None:
    async with (
        http_peer(plain(201, b"made", {"X-Way": "here"})) as peer,
        client_of(parse_policy([peer.endpoint]), user_agent="Casa") as client,
    ):
        answer = await client.request(
            HttpRequest(
                url=f"http://{peer.endpoint}/a%20b?c=d#e",
                method="POST",
                headers=(("Content-Type", "text/plain"),),
                body=b"hola",
            )
        )
        assert (answer.status, answer.body, answer.header("x-way")) == (201, b"made", "here")
        (got,) = peer.received
        assert (got.method, got.target, got.body) == ("POST", "/a%20b?c=d", b"hola")
        assert got.headers["host"] == peer.endpoint
        assert got.headers["user-agent"] == "Casa"
        assert got.headers["accept-encoding"] == "identity"


@pytest.mark.parametrize(
    ("url", "code", "reason"),
    [
        ("http://127.0.0.1/", "refused_address", "loopback"),
        ("http://127.0.0.1:9/", "refused_url", "port"),
        ("http://[::1]/", "refused_address", "loopback"),
        ("http://[::ffff:127.0.0.1]/", "refused_address", "ipv4_mapped"),
        ("http://[64:ff9b::7f00:1]/", "refused_address", "nat64"),
        ("http://[fe80::1%25lo]/", "refused_address", "scoped"),
        ("http://2130706433/", "refused_url", "numeric_host"),
        ("http://127.1/", "refused_url", "numeric_host"),
        ("http://１２７.0.0.1/", "refused_url", "not a URL"),
        ("http://a@127.0.0.1/", "refused_url", "userinfo"),
        ("http://example.org\\@127.0.0.1/", "refused_url", "userinfo"),
        ("ftp://example.org/", "refused_url", "scheme"),
        ("file:///etc/passwd", "refused_url", "scheme"),
        ("//example.org/", "refused_url", "scheme"),
        ("http:///nowhere", "refused_url", "host"),
        ("http://example.org/\r\nX: y", "refused_url", "not a URL"),
        ("http://example.org/" + "a" * 9000, "refused_url", "too long"),
    ],
    ids=lambda value: value[:40],
)
async def test_a_bad_url_is_refused_before_anything_is_resolved(url: str, code: str, reason: str) -> None:
    resolver, dialer = ScriptedResolver(["1.1.1.1"]), RecordingDialer()
    async with client_of(resolver=resolver, dialer=dialer) as client:
        failed = await failure(client, HttpRequest(url=url))
    assert (failed.code, failed.reason) == (code, reason)
    assert resolver.asked == []
    assert dialer.dialed == []


async def test_a_name_that_leads_inside_is_refused() -> None:
    resolver, dialer = ScriptedResolver(["127.0.0.1", "10.0.0.1", "::1"]), RecordingDialer()
    async with client_of(resolver=resolver, dialer=dialer) as client:
        failed = await failure(client, HttpRequest(url="http://inside.example/"))
    assert failed.code == "refused_address"
    assert failed.reason == "inside.example: loopback, private"
    assert dialer.dialed == []


async def test_the_machines_own_resolver_is_judged_too() -> None:
    async with client_of() as client:
        failed = await failure(client, HttpRequest(url="http://localhost/"))
    assert failed.code == "refused_address"


async def test_the_systems_resolver_reports_a_name_that_does_not_exist() -> None:
    resolver = SystemResolver(threads=1)
    try:
        async with asyncio.timeout(20), client_of(resolver=resolver) as client:
            failed = await failure(client, HttpRequest(url="http://nowhere.invalid/"))
    finally:
        resolver.close()
    assert failed.code == "unresolved"


async def test_only_the_public_ones_of_several_addresses_are_dialed_and_all_are_tried() -> None:
    async with http_peer(plain(200, b"ok")) as peer:
        resolver = ScriptedResolver(["10.0.0.1", "1.1.1.1", "::1", "8.8.8.8"])
        dialer = RecordingDialer(peer.port, dead=["1.1.1.1"])
        async with client_of(resolver=resolver, dialer=dialer) as client:
            answer = await client.request(HttpRequest(url="http://mixed.example/"))
    assert answer.body == b"ok"
    assert dialer.dialed == [("1.1.1.1", 80), ("8.8.8.8", 80)]
    assert peer.received[0].headers["host"] == "mixed.example"


async def test_rebinding_between_check_and_connection_has_no_second_answer_to_use() -> None:
    async with http_peer(plain(200, b"ok")) as peer:
        resolver = ScriptedResolver(["1.1.1.1"], ["127.0.0.1"])
        dialer = RecordingDialer(peer.port)
        async with client_of(resolver=resolver, dialer=dialer) as client:
            await client.request(HttpRequest(url="http://rebind.example/"))
            assert resolver.asked == ["rebind.example"]
            assert dialer.dialed == [("1.1.1.1", 80)]
            failed = await failure(client, HttpRequest(url="http://rebind.example/"))
    assert failed.code == "refused_address"
    assert dialer.dialed == [("1.1.1.1", 80)]


async def test_rebinding_over_real_sockets_cannot_reach_the_other_address() -> None:
    """127.0.0.2 stands for the public address, 127.0.0.1 for the victim on the same port."""
    async with http_peer(plain(200, b"secret")) as victim:
        outside = await asyncio.start_server(lambda _r, w: w.close(), "127.0.0.2", victim.port)
        async with outside:
            policy = OutboundPolicy(
                ports=frozenset({victim.port}), networks=(ipaddress.ip_network("127.0.0.2/32"),)
            )
            resolver = ScriptedResolver(["127.0.0.2"], ["127.0.0.1"])
            async with client_of(policy, resolver=resolver) as client:
                url = f"http://rebind.example:{victim.port}/"
                assert (await failure(client, HttpRequest(url=url))).code == "protocol"
                assert (await failure(client, HttpRequest(url=url))).code == "refused_address"
    assert victim.received == []


@pytest.mark.parametrize("status", [301, 302, 303, 307, 308])
async def test_a_redirect_to_loopback_is_refused(status: int) -> None:
    async with http_peer() as victim:
        to = f"http://127.0.0.1:{victim.port}/admin"
        async with http_peer(plain(status, b"", {"Location": to})) as peer:
            policy = OutboundPolicy(
                ports=frozenset({80, victim.port}), endpoints=frozenset({("127.0.0.1", peer.port)})
            )
            async with client_of(policy) as client:
                failed = await failure(
                    client,
                    HttpRequest(url=f"http://{peer.endpoint}/", limits=HttpLimits(redirects=3)),
                )
    assert (failed.code, failed.reason) == ("refused_address", "loopback")
    assert victim.received == []


async def test_a_redirect_to_a_name_that_leads_inside_is_refused() -> None:
    async with http_peer(plain(302, b"", {"Location": "http://inside.example/"})) as peer:
        resolver = ScriptedResolver(["1.1.1.1"], ["192.168.0.1"])
        dialer = RecordingDialer(peer.port)
        async with client_of(resolver=resolver, dialer=dialer) as client:
            failed = await failure(
                client, HttpRequest(url="http://outside.example/", limits=HttpLimits(redirects=3))
            )
    assert failed.code == "refused_address"
    assert dialer.dialed == [("1.1.1.1", 80)]


async def test_redirects_are_followed_up_to_the_limit_and_credentials_stay_home() -> None:
    async with http_peer(plain(200, b"there")) as other:
        hops = [
            plain(302, b"x" * 100, {"Location": "/two?q=1"}),
            plain(302, b"", {"Location": f"http://{other.endpoint}/three"}),
        ]
        async with (
            http_peer(*hops) as first,
            client_of(parse_policy([first.endpoint, other.endpoint])) as client,
        ):
            request = HttpRequest(
                url=f"http://{first.endpoint}/one",
                headers=(("Authorization", "Basic eA=="), ("Accept", "text/html")),
                limits=HttpLimits(redirects=2),
            )
            answer = await client.request(request)
    assert (answer.body, answer.url) == (b"there", f"http://{other.endpoint}/three")
    assert [r.target for r in first.received] == ["/one", "/two?q=1"]
    assert first.received[1].headers["authorization"] == "Basic eA=="
    assert "authorization" not in other.received[0].headers
    assert other.received[0].headers["accept"] == "text/html"


async def test_too_many_redirects_and_none_asked_for() -> None:
    async with (
        http_peer(plain(302, b"", {"Location": "/again"})) as peer,
        client_of(parse_policy([peer.endpoint])) as client,
    ):
        url = f"http://{peer.endpoint}/"
        failed = await failure(client, HttpRequest(url=url, limits=HttpLimits(redirects=3)))
        assert failed.code == "too_many_redirects"
        assert len(peer.received) == 4
        assert (await client.request(HttpRequest(url=url))).status == 302


async def test_a_body_is_not_carried_to_another_origin_and_303_turns_into_get() -> None:
    async with http_peer(plain(200, b"seen")) as other:
        there = {"Location": f"http://{other.endpoint}/x"}
        async with (
            http_peer(plain(307, b"", there), plain(303, b"", there)) as first,
            client_of(parse_policy([first.endpoint, other.endpoint])) as client,
        ):
            request = HttpRequest(
                url=f"http://{first.endpoint}/",
                method="POST",
                body=b"secret",
                limits=HttpLimits(redirects=1),
            )
            assert (await failure(client, request)).code == "refused_url"
            assert other.received == []
            assert (await client.request(request)).body == b"seen"
    assert (other.received[0].method, other.received[0].body) == ("GET", b"")


async def test_a_stated_and_an_unstated_oversize_body_are_refused() -> None:
    async def endless(_: Received, writer: asyncio.StreamWriter) -> None:
        writer.write(b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n")
        while not writer.is_closing():
            writer.write(b"1000\r\n" + b"x" * 4096 + b"\r\n")
            await writer.drain()

    async with (
        http_peer(plain(200, b"x" * 2000), endless, plain(200, b"x" * 1000)) as peer,
        client_of(parse_policy([peer.endpoint])) as client,
    ):
        request = HttpRequest(url=f"http://{peer.endpoint}/", limits=HttpLimits(max_body=1000))
        assert (await failure(client, request)).code == "too_large"
        assert (await failure(client, request)).code == "too_large"
        assert len((await client.request(request)).body) == 1000


async def test_a_stated_oversize_body_is_not_waited_for() -> None:
    async def promise(_: Received, writer: asyncio.StreamWriter) -> None:
        writer.write(b"HTTP/1.1 200 OK\r\nContent-Length: 99999999999999999999\r\n\r\n")
        await asyncio.sleep(30)

    async with (
        http_peer(promise) as peer,
        client_of(parse_policy([peer.endpoint])) as client,
    ):
        request = HttpRequest(url=f"http://{peer.endpoint}/", limits=HttpLimits(seconds=1.0))
        assert (await failure(client, request)).code == "too_large"


async def test_a_compressed_bomb_is_refused_unread() -> None:
    bomb = gzip.compress(b"\0" * 10_000_000)
    async with (
        http_peer(plain(200, bomb, {"Content-Encoding": "gzip"})) as peer,
        client_of(parse_policy([peer.endpoint])) as client,
    ):
        failed = await failure(client, HttpRequest(url=f"http://{peer.endpoint}/"))
    assert failed.code == "protocol"


async def test_a_slow_body_a_slow_head_and_a_drip_end_in_time() -> None:
    async def drip(_: Received, writer: asyncio.StreamWriter) -> None:
        writer.write(b"HTTP/1.1 200 OK\r\nContent-Length: 100000\r\n\r\n")
        while True:
            writer.write(b".")
            await writer.drain()
            await asyncio.sleep(0.02)

    async def silent(_: Received, writer: asyncio.StreamWriter) -> None:
        await asyncio.sleep(30)

    async with (
        http_peer(drip, silent) as peer,
        client_of(parse_policy([peer.endpoint])) as client,
    ):
        request = HttpRequest(url=f"http://{peer.endpoint}/", limits=HttpLimits(seconds=0.3))
        for _ in range(2):
            before = time.monotonic()
            assert (await failure(client, request)).code == "timeout"
            assert time.monotonic() - before < 2


async def test_a_resolver_that_hangs_ends_in_time() -> None:
    class Hanging(ScriptedResolver):
        async def resolve(self, host: str, port: int) -> list[Address]:
            await asyncio.sleep(30)
            return []

    async with client_of(resolver=Hanging()) as client:
        request = HttpRequest(url="http://slow.example/", limits=HttpLimits(seconds=0.2))
        assert (await failure(client, request)).code == "timeout"


async def test_garbage_and_a_closed_port() -> None:
    async def garbage(_: Received, writer: asyncio.StreamWriter) -> None:
        writer.write(b"SSH-2.0-OpenSSH_9\r\n\r\n")

    port = await unused_port()
    async with (
        http_peer(garbage) as peer,
        client_of(parse_policy([peer.endpoint, f"127.0.0.1:{port}"])) as client,
    ):
        failed = await failure(client, HttpRequest(url=f"http://{peer.endpoint}/"))
        assert failed.code == "protocol"
        failed = await failure(client, HttpRequest(url=f"http://127.0.0.1:{port}/"))
        assert failed.code == "unreachable"


async def test_one_request_too_many_is_refused_at_once_and_the_place_comes_back() -> None:
    gate = asyncio.Event()

    async def wait(_: Received, writer: asyncio.StreamWriter) -> None:
        await gate.wait()
        await plain(200, b"ok")(_, writer)

    async with (
        http_peer(wait) as peer,
        client_of(parse_policy([peer.endpoint]), max_in_flight=2) as client,
    ):
        request = HttpRequest(url=f"http://{peer.endpoint}/")
        first = [asyncio.create_task(client.request(request)) for _ in range(2)]
        await peer.got(2)
        assert (await failure(client, request)).code == "busy"
        gate.set()
        assert [answer.body for answer in await asyncio.gather(*first)] == [b"ok", b"ok"]
        assert (await client.request(request)).body == b"ok"


async def test_tls_keeps_the_name_while_the_address_is_the_judged_one(tmp_path: Path) -> None:
    good, other = make_certificate(tmp_path, "api.example"), make_certificate(tmp_path, "x.example")
    async with http_peer(plain(200, b"safe"), tls=good.server) as peer:
        resolver, dialer = ScriptedResolver(["1.1.1.1"]), RecordingDialer(peer.port)
        async with client_of(resolver=resolver, dialer=dialer, ssl_context=good.client) as client:
            assert (await client.request(HttpRequest(url="https://api.example/"))).body == b"safe"
            failed = await failure(client, HttpRequest(url="https://else.example/"))
            assert failed.code == "tls"
        async with client_of(resolver=resolver, dialer=dialer, ssl_context=other.client) as client:
            failed = await failure(client, HttpRequest(url="https://api.example/"))
            assert failed.code == "tls"
            assert "certificate refused" in failed.reason
    assert dialer.dialed == [("1.1.1.1", 443)] * 3
    assert len(peer.received) == 1


async def test_https_never_falls_back_to_http(tmp_path: Path) -> None:
    certificate = make_certificate(tmp_path, "api.example")
    down = plain(302, b"", {"Location": "http://api.example/"})
    async with http_peer(down, tls=certificate.server) as peer:
        resolver, dialer = ScriptedResolver(["1.1.1.1"]), RecordingDialer(peer.port)
        async with client_of(resolver=resolver, dialer=dialer, ssl_context=certificate.client) as client:
            request = HttpRequest(url="https://api.example/", limits=HttpLimits(redirects=2))
            failed = await failure(client, request)
    assert failed.code == "refused_url"
    assert len(dialer.dialed) == 1


@pytest.mark.parametrize(
    "header",
    [("Host", "x"), ("content-length", "3"), ("X", "a\r\nY: b"), ("A b", "c"), ("X", "é")],
    ids=lambda header: f"{header[0]}-{len(header[1])}",
)
async def test_headers_that_would_break_the_request_are_refused(header: tuple[str, str]) -> None:
    async with (
        http_peer() as peer,
        client_of(parse_policy([peer.endpoint])) as client,
    ):
        failed = await failure(client, HttpRequest(url=f"http://{peer.endpoint}/", headers=(header,)))
    assert failed.code == "protocol"
    assert peer.received == []


async def test_closing_ends_what_is_under_way_and_what_comes_after() -> None:
    async def silent(_: Received, writer: asyncio.StreamWriter) -> None:
        await asyncio.sleep(30)

    async with http_peer(silent) as peer:
        client = GuardedHttpClient(parse_policy([peer.endpoint]))
        request = HttpRequest(url=f"http://{peer.endpoint}/")
        under_way = asyncio.create_task(failure(client, request))
        await peer.got(1)
        await client.aclose()
        async with asyncio.timeout(2):
            assert (await under_way).code == "unreachable"
        assert (await failure(client, request)).code == "busy"
