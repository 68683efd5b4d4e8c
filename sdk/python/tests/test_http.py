"""Requests: problems, rates, tokens, paging."""

import asyncio
import json
from collections.abc import Callable

import httpx
import pytest
from hypothesis import given
from hypothesis import strategies as st

from tertulia_client.http import ApiError, BadAnswer, Http, SignedOut, Tokens, Unreachable, every, path
from tertulia_client.models import Accepted, MeDoc, Page, TokensDoc
from tertulia_client.rest import Rest
from tertulia_client.sse import Parser, ServerEvent

Answer = Callable[[httpx.Request], httpx.Response]
ME = {"id": "u", "handle": "h", "name": "N"}


def http(answer: Answer, tokens: Tokens | None = None) -> Http:
    return Http("http://peer", tokens, transport=httpx.MockTransport(answer))


def pair(n: int, life: int = 3600) -> TokensDoc:
    return TokensDoc(access_token=f"a{n}", expires_in=life, refresh_token=f"r{n}", user="u", device="d")


async def test_a_problem_becomes_an_error_with_all_it_says() -> None:
    problem = {
        "type": "about:blank",
        "status": 409,
        "code": "handle_taken",
        "detail": "Taken.",
        "request_id": "r",
    }
    client = http(lambda _: httpx.Response(409, json={**problem, "field": "handle"}))
    with pytest.raises(ApiError) as caught:
        await Rest(client).me.update(handle="x")
    error = caught.value
    assert (error.code, error.detail, error.status) == ("handle_taken", "Taken.", 409)
    assert (error.request_id, error.field, error.retry_after) == ("r", "handle", None)


@pytest.mark.parametrize(("status", "code"), [(404, "not_found"), (502, "unavailable"), (418, "internal")])
async def test_an_answer_of_something_in_between_is_an_error_too(status: int, code: str) -> None:
    client = http(lambda _: httpx.Response(status, text="<html>nginx</html>"))
    with pytest.raises(ApiError) as caught:
        await client.get("/v1/me", MeDoc)
    assert (caught.value.code, caught.value.status) == (code, status)


async def test_an_answer_of_another_shape_is_named() -> None:
    client = http(lambda _: httpx.Response(200, json={"id": 7}))
    with pytest.raises(BadAnswer, match="/v1/me"):
        await client.get("/v1/me", MeDoc)


async def test_no_answer_is_told_as_such() -> None:
    def fail(request: httpx.Request) -> httpx.Response:
        raise httpx.ReadTimeout("slow", request=request)

    with pytest.raises(Unreachable):
        await http(fail).get("/v1/me", MeDoc)


@pytest.mark.parametrize(
    ("method", "key", "status", "tries"),
    [
        ("GET", None, 429, 2),
        ("PUT", None, 503, 2),
        ("POST", "k", 429, 2),
        ("POST", None, 429, 1),
        ("GET", None, 500, 1),
    ],
)
async def test_only_what_is_safe_is_repeated(method: str, key: str | None, status: int, tries: int) -> None:
    seen: list[httpx.Request] = []

    def answer(request: httpx.Request) -> httpx.Response:
        seen.append(request)
        if len(seen) == 1:
            return httpx.Response(status, headers={"Retry-After": "0"}, json={"code": "rate_limited"})
        return httpx.Response(200, json={"seq": 4})

    client = http(answer)
    if tries == 1:
        with pytest.raises(ApiError):
            await client.command(method, "/v1/x", client_id=key)
    else:
        assert (await client.command(method, "/v1/x", client_id=key)).seq == 4
    assert len(seen) == tries
    if key:
        assert {request.headers["idempotency-key"] for request in seen} == {key}


async def test_a_long_wait_is_the_callers_to_decide() -> None:
    client = http(
        lambda _: httpx.Response(429, headers={"Retry-After": "3600"}, json={"code": "rate_limited"})
    )
    with pytest.raises(ApiError) as caught:
        await client.get("/v1/me", MeDoc)
    assert caught.value.retry_after == 3600


@pytest.mark.parametrize(
    "headers",
    [{"RateLimit-Remaining": "7", "RateLimit-Reset": "30"}, {"RateLimit": '"default";r=7;t=30'}],
)
async def test_the_rate_limit_is_read(headers: dict[str, str]) -> None:
    client = http(lambda _: httpx.Response(200, json=ME, headers=headers))
    await client.get("/v1/me", MeDoc)
    assert client.rate_limit is not None
    assert (client.rate_limit.remaining, client.rate_limit.reset_s) == (7, 30)


async def test_an_expired_token_is_renewed_in_one_request_and_stored_before_use() -> None:
    log: list[str] = []
    stored: list[TokensDoc] = []

    async def answer(request: httpx.Request) -> httpx.Response:
        if request.url.path == "/v1/sessions/refresh":
            log.append(json.loads(request.content)["refresh_token"])
            await asyncio.sleep(0.01)
            return httpx.Response(200, json={"access_token": "a2", "expires_in": 60, "refresh_token": "r2"})
        if request.headers["authorization"] != "Bearer a2":
            return httpx.Response(401, json={"code": "token_expired"})
        assert stored
        return httpx.Response(200, json=ME)

    client = Http(
        "http://peer", Tokens(pair(1), on_change=stored.append), transport=httpx.MockTransport(answer)
    )
    await asyncio.gather(*(client.get("/v1/me", MeDoc) for _ in range(20)))
    assert log == ["r1"]
    assert stored == [TokensDoc(access_token="a2", expires_in=60, refresh_token="r2", user="u", device="d")]


async def test_a_token_about_to_expire_is_renewed_before_it_is_used() -> None:
    now = 0.0
    used: list[str] = []

    def answer(request: httpx.Request) -> httpx.Response:
        if request.url.path == "/v1/sessions/refresh":
            return httpx.Response(200, json={"access_token": "a2", "expires_in": 600, "refresh_token": "r2"})
        used.append(request.headers["authorization"])
        return httpx.Response(200, json=ME)

    client = http(answer, Tokens(pair(1, 100), clock=lambda: now))
    await client.get("/v1/me", MeDoc)
    now = 95.0
    await client.get("/v1/me", MeDoc)
    assert used == ["Bearer a1", "Bearer a2"]


async def test_a_refused_refresh_means_signed_out_and_a_failed_one_does_not() -> None:
    status = 401

    def answer(request: httpx.Request) -> httpx.Response:
        if request.url.path == "/v1/sessions/refresh":
            return httpx.Response(
                status, json={"code": "credentials_refused" if status == 401 else "internal"}
            )
        return httpx.Response(401, json={"code": "token_expired"})

    client = http(answer, Tokens(pair(1)))
    with pytest.raises(SignedOut):
        await client.get("/v1/me", MeDoc)
    status = 500
    with pytest.raises(ApiError) as caught:
        await client.get("/v1/me", MeDoc)
    assert not isinstance(caught.value, SignedOut)


async def test_a_token_that_stays_refused_ends_in_an_error() -> None:
    def answer(request: httpx.Request) -> httpx.Response:
        if request.url.path == "/v1/sessions/refresh":
            return httpx.Response(200, json={"access_token": "a2", "expires_in": 600, "refresh_token": "r2"})
        return httpx.Response(401, json={"code": "unauthenticated"})

    with pytest.raises(ApiError, match="unauthenticated"):
        await http(answer, Tokens(pair(1))).get("/v1/me", MeDoc)


async def test_nothing_signed_in_asks_for_no_token() -> None:
    client = http(lambda r: httpx.Response(200, json=ME if "authorization" not in r.headers else {}))
    assert (await client.get("/v1/me", MeDoc)).id == "u"
    with pytest.raises(ApiError, match="unauthenticated"):
        await client.access_token()


async def test_all_pages_are_read_up_to_a_bound() -> None:
    async def fetch(cursor: str | None) -> Page[int]:
        start = int(cursor or 0)
        return Page(items=[start, start + 1], next_cursor=str(start + 2) if start < 8 else None)

    assert await every(fetch) == list(range(10))
    assert await every(fetch, most=5) == [0, 1, 2, 3, 4]


async def test_parts_of_a_path_are_quoted_and_null_fields_left_out() -> None:
    seen: list[httpx.Request] = []

    def answer(request: httpx.Request) -> httpx.Response:
        seen.append(request)
        return httpx.Response(204)

    rest = Rest(http(answer))
    assert await rest.messages.react("c/../x", 3, "👍/") == Accepted()
    assert seen[0].url.raw_path == b"/v1/conversations/c%2F..%2Fx/messages/3/reactions/%F0%9F%91%8D%2F"
    await rest.me.update(name="n")
    assert json.loads(seen[1].content) == {"name": "n"}
    assert path("a b", 1) == "/v1/a%20b/1"


# --- the event stream's format ---------------------------------------------------------------------


def test_fields_of_a_stream_are_read_as_the_standard_says() -> None:
    parser = Parser()
    stream = (
        "\ufeff: comment\nid: 1\ndata: a\ndata:b\ndata:  c\n\n"
        "event: named\rdata\r\r"
        "id: 2\nnothing here\n\n"
        "retry: 1500\r\ndata: d\r\n\r\ndata: never ended"
    )
    events = parser.feed(stream.encode())
    assert events == [
        ServerEvent(data="a\nb\n c", id="1"),
        ServerEvent(data="", event="named", id="1"),
        ServerEvent(data="d", id="2"),
    ]
    assert parser.retry_s == 1.5
    assert parser.last_id == "2"


@given(
    texts=st.lists(st.text(st.characters(codec="utf-8", exclude_characters="\r\n\0")), max_size=5),
    end=st.sampled_from(["\n", "\r", "\r\n"]),
    cuts=st.lists(st.integers(0, 400), max_size=20),
)
def test_a_stream_may_be_cut_anywhere(texts: list[str], end: str, cuts: list[int]) -> None:
    stream = "".join(f"id: {n}{end}data: {text}{end}{end}" for n, text in enumerate(texts)).encode()
    # A lone carriage return at the very end might be half of a pair: one more byte settles it.
    stream += b":"
    parser, got = Parser(), []
    for start, stop in zip([0, *sorted(cuts)], [*sorted(cuts), len(stream) + 400], strict=True):
        got += parser.feed(stream[start:stop])
    assert [(e.id, e.data) for e in got] == [(str(n), text) for n, text in enumerate(texts)]


def test_an_endless_line_is_refused() -> None:
    parser = Parser()
    for _ in range(4):
        parser.feed(b"x" * 2**20)
    with pytest.raises(ValueError, match="too long"):
        parser.feed(b"x")
