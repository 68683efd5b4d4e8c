"""What bad requests get: the right problem, no more, and nothing changed."""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import httpx
import pytest
from structlog.testing import capture_logs

from tertulia.domain.errors import CODES
from tests.support.rest import PASSWORD, Api, Asker, api

JSON = {"content-type": "application/json"}


@pytest.fixture
async def server(tmp_path: Path) -> AsyncIterator[Api]:
    async with api(tmp_path, rate_limits=False, body_limit=4096) as one:
        yield one


def problem(
    answer: httpx.Response, status: int, code: str, field: str | None = None, case: object = None
) -> dict[str, Any]:
    """The answer is this problem, in its whole form (RFC 9457 §3)."""
    assert answer.status_code == status, (case, answer.text)
    assert answer.headers["content-type"] == "application/problem+json"
    found = answer.json()
    assert (found["status"], found["code"], found.get("field")) == (status, code, field), (case, found)
    assert found["type"] == f"urn:tertulia:problem:{code}"
    assert found["title"]
    assert found["detail"]
    assert found["request_id"] == answer.headers["x-request-id"]
    assert set(found) <= {
        "type",
        "title",
        "status",
        "detail",
        "code",
        "request_id",
        "field",
        "retry_after_ms",
    }
    assert found["code"] in CODES
    for internal in ("Traceback", "litestar", "msgspec", "tertulia.", "/src/"):
        assert internal not in answer.text
    return found


BODIES: list[tuple[bytes, int, str, str | None]] = [
    (b"", 400, "malformed", None),
    (b"{", 400, "malformed", None),
    (b"[]", 400, "malformed", None),
    (b"null", 400, "malformed", None),
    (b'{"kind": "group", "name": "\xff"}', 400, "malformed", None),
    (b'{"kind": "group", "name": "\\ud800"}', 400, "malformed", None),
    (b'{"kind": "group"}', 400, "malformed", "name"),
    (b'{"kind": "group", "name": ""}', 400, "malformed", "name"),
    (b'{"kind": "group", "name": 5}', 400, "malformed", "name"),
    (b'{"kind": "group", "name": "A", "colour": "red"}', 400, "malformed", "colour"),
    (b'{"kind": "group", "name": "A", "history": "some"}', 400, "malformed", "history"),
    (b'{"kind": "group", "name": "A", "members": "bob"}', 400, "malformed", "members"),
    (b'{"kind": "topic", "name": "A"}', 400, "malformed", "kind"),
    (b'{"name": "A"}', 400, "malformed", "kind"),
    (b'{"kind": "group", "name": "\\u0007"}', 422, "invalid", "name"),
    (b'{"kind": "direct", "user": "nobody"}', 404, "not_found", "user"),
    (b'{"kind": "group", "name": "A", "members": ["nobody"]}', 404, "not_found", "members"),
    (b"[" * 3000, 400, "malformed", None),
    (b'{"kind": "group", "name": ' + b"[" * 3000, 400, "malformed", None),
    (b'"' + b"a" * 5000 + b'"', 413, "too_large", None),
]


async def test_bodies(server: Api) -> None:
    ana = await server.person("ana")
    for body, status, code, field in BODIES:
        answer = await ana.http.request("POST", "/v1/conversations", content=body, headers=JSON)
        problem(answer, status, code, field, body[:60])
    assert await ana.every("/v1/conversations") == []


MEDIA_TYPES: list[tuple[dict[str, str], int]] = [
    ({}, 415),
    ({"content-type": "text/plain"}, 415),
    ({"content-type": "application/x-www-form-urlencoded"}, 415),
    ({"content-type": "application/json; charset=latin-1"}, 415),
    ({**JSON, "content-encoding": "gzip"}, 415),
    ({**JSON, "content-encoding": "br"}, 415),
    ({"content-type": 'Application/JSON; charset="UTF-8"'}, 201),
    (JSON, 201),
]


async def test_media_types(server: Api) -> None:
    ana = await server.person("ana")
    body = b'{"kind": "group", "name": "A"}'
    for headers, status in MEDIA_TYPES:
        answer = await ana.http.request("POST", "/v1/conversations", content=body, headers=headers)
        if status == 415:
            problem(answer, 415, "unsupported", case=headers)
        assert answer.status_code == status, headers


PATHS: list[tuple[str, int, str, str | None]] = [
    ("/v1/conversations?limit=0", 400, "malformed", "limit"),
    ("/v1/conversations?limit=201", 400, "malformed", "limit"),
    ("/v1/conversations?limit=ten", 400, "malformed", "limit"),
    ("/v1/conversations?limit=1.5", 400, "malformed", "limit"),
    ("/v1/conversations?limit=", 400, "malformed", "limit"),
    ("/v1/conversations?limit=null", 400, "malformed", "limit"),
    ("/v1/conversations?cursor=" + "a" * 1025, 400, "malformed", "cursor"),
    ("/v1/conversations?cursor=%00", 422, "invalid", "cursor"),
    ("/v1/conversations/x/messages?before=null", 400, "malformed", "before"),
    ("/v1/conversations/x/messages?before=-1", 400, "malformed", "before"),
    ("/v1/conversations/x/messages?before=9007199254740993", 400, "malformed", "before"),
    ("/v1/conversations/x/messages?before=3&after=1", 422, "invalid", "cursor"),
    ("/v1/conversations/x/messages/0", 400, "malformed", "seq"),
    ("/v1/conversations/x/messages/one", 404, "not_found", None),
    ("/v1/conversations/" + "x" * 65, 400, "malformed", "conversation"),
    ("/v1/conversations/x", 404, "not_found", None),
    ("/v1/conversations/%00", 404, "not_found", None),
    ("/v1/conversations/..%2f..%2fetc", 404, "not_found", None),
    ("/v1/search", 400, "malformed", "q"),
    ("/v1/search?q=", 400, "malformed", "q"),
    ("/v1/users", 422, "invalid", None),
    ("/v1/users?handle=ana&email=a@b.example", 422, "invalid", None),
    ("/v1/users?email=nonsense", 422, "invalid", "email"),
    ("/v1/nothing", 404, "not_found", None),
    ("/v1", 404, "not_found", None),
    ("/", 404, "not_found", None),
    ("/docs/secret.txt", 404, "not_found", None),
    ("/docs/..%2f__init__.py", 404, "not_found", None),
]


async def test_paths_and_queries(server: Api) -> None:
    ana = await server.person("ana")
    for path, status, code, field in PATHS:
        problem(await ana.ask("GET", path), status, code, field, path)


async def test_the_text_null_is_a_text(server: Api) -> None:
    ana = await server.person("ana")
    assert (await ana.get("/v1/channels", q="null"))["items"] == []
    body = {"kind": "channel", "name": "Null", "slug": "null"}
    await ana.do("POST", "/v1/conversations", body, status=201)
    body = {"kind": "channel", "name": "Other", "slug": "other"}
    await ana.do("POST", "/v1/conversations", body, status=201)
    assert [one["slug"] for one in (await ana.get("/v1/channels", q="null"))["items"]] == ["null"]


async def test_whole_numbers_may_be_written_as_such(server: Api) -> None:
    """JSON Schema: 1.0 is an integer."""
    ana = await server.person("ana")
    group = await ana.do("POST", "/v1/conversations", {"kind": "group", "name": "A"}, status=201)
    where = f"/v1/conversations/{group['id']}"
    for text, status in (("3600.0", 200), ("3.6e3", 200), ("3600.5", 400), ("1e400", 400), ("-1.0", 400)):
        body = f'{{"message_ttl_s": {text}}}'.encode()
        answer = await ana.http.request("PATCH", where, content=body, headers=JSON)
        assert answer.status_code == status, (text, answer.text)
    assert (await ana.get(where))["message_ttl_s"] == 3600


async def test_methods(server: Api) -> None:
    ana = await server.person("ana")
    for method in ("PUT", "DELETE", "PATCH", "TRACE", "PROPFIND"):
        answer = await ana.ask(method, "/v1/conversations")
        assert answer.status_code == 405
        assert set(answer.headers["allow"].split(", ")) == {"GET", "HEAD", "OPTIONS", "POST"}
        problem(answer, 405, "unsupported", case=method)
    options = await ana.ask("OPTIONS", "/v1/conversations")
    assert (options.status_code, options.headers["allow"]) == (204, "GET, HEAD, OPTIONS, POST")


TOKENS: list[str | None] = [
    None,
    "",
    "Bearer",
    "Bearer ",
    "Bearer x",
    "Bearer " + "a" * 9000,
    "Basic YW5hOnNlY3JldA==",
    "Bearer eyJhbGciOiJub25lIn0.eyJzdWIiOiJhIn0.",
    "Bearer \xff",
]


async def test_tokens(server: Api) -> None:
    someone = server.stranger()
    for header in TOKENS:
        headers = [] if header is None else [(b"authorization", header.encode("latin-1"))]
        answer = await someone.http.request("GET", "/v1/me", headers=headers)
        problem(answer, 401, "unauthenticated", case=header)
        challenge = answer.headers["www-authenticate"]
        assert challenge.startswith('Bearer realm="tertulia"')
        assert ("invalid_token" in challenge) == (header is not None)


async def test_head_is_get_without_the_body(server: Api) -> None:
    ana = await server.person("ana")
    for path, status in (("/healthz", 200), ("/v1/me", 200), ("/v1/users/x", 404), ("/v1/password", 405)):
        head, get = await ana.ask("HEAD", path), await ana.ask("GET", path)
        assert (head.status_code, head.content) == (status, b"")
        own = {"x-request-id", "ratelimit", "content-length"}
        assert {*head.headers} - own == {*get.headers} - own
        for name in {*head.headers} - own:
            assert head.headers[name] == get.headers[name], (path, name)
    assert (await ana.ask("HEAD", "/v1/events")).status_code == 405


async def test_who_asks_is_looked_at_before_what(server: Api) -> None:
    """A stranger learns nothing from how a request is refused."""
    someone = server.stranger()
    for body in (b"{", b'{"kind": "group", "name": "A"}'):
        answer = await someone.http.request("POST", "/v1/conversations", content=body, headers=JSON)
        problem(answer, 401, "unauthenticated")


async def test_what_may_not_be_seen_looks_like_what_is_not_there(server: Api) -> None:
    ana, eve = await server.person("ana"), await server.person("eve")
    group = (await ana.do("POST", "/v1/conversations", {"kind": "group", "name": "A"}, status=201))["id"]
    sent = await ana.do(
        "POST",
        f"/v1/conversations/{group}/messages",
        {"content": {"type": "text", "text": "hush"}},
        status=201,
    )
    absent = group[:-4] + "zzzz"
    for method, path, body in (
        ("GET", "/v1/conversations/{}", None),
        ("GET", "/v1/conversations/{}/events", None),
        ("GET", "/v1/conversations/{}/members", None),
        ("GET", f"/v1/conversations/{{}}/messages/{sent['seq']}", None),
        ("GET", "/v1/search?q=hush&conversation={}", None),
        ("POST", "/v1/conversations/{}/join", None),
        ("PATCH", "/v1/conversations/{}", {"name": "B"}),
        ("PUT", "/v1/conversations/{}/typing", {}),
    ):
        answers = [await eve.ask(method, path.format(name), body) for name in (group, absent)]
        found = [problem(answer, 404, "not_found") for answer in answers]
        assert found[0]["detail"] == found[1]["detail"]
    assert (await eve.get("/v1/search", q="hush"))["items"] == []


async def test_wrong_passwords_are_limited_by_account_and_address(server: Api) -> None:
    await server.person("ana")
    someone = server.stranger()
    body = {"login": "ana", "password": "wrong"}
    outcomes = [(await someone.ask("POST", "/v1/sessions", body)).status_code for _ in range(10)]
    assert outcomes == [401] * 10
    answer = await someone.ask("POST", "/v1/sessions", {"login": "ana", "password": PASSWORD})
    found = problem(answer, 429, "rate_limited")
    assert found["retry_after_ms"] > 0
    assert int(answer.headers["retry-after"]) * 1000 >= found["retry_after_ms"]
    unknown = await someone.ask("POST", "/v1/sessions", {"login": "nobody", "password": "wrong"})
    known = await someone.ask("POST", "/v1/sessions", {"login": "eva", "password": "wrong"})
    assert {**unknown.json(), "request_id": ""} == {**known.json(), "request_id": ""}


async def test_sign_up_says_the_same_of_known_addresses(server: Api) -> None:
    await server.person("ana", email="ana@example.org")
    someone = server.stranger()
    answers: list[Any] = []
    for address in ("ana@example.org", "new@example.org"):
        body = {"email": address, "password": PASSWORD, "handle": "fresh", "name": "F"}
        answers.append(await someone.do("POST", "/v1/accounts", body, status=202))
        answers.append(await someone.do("POST", "/v1/password/reset", {"address": address}, status=202))
    assert answers == [answers[0]] * 4
    for body, field in (
        ({}, "email"),
        ({"email": "a@b.example", "phone": "+34600123456"}, "email"),
        ({"email": "no address"}, "email"),
        ({"phone": "600123456"}, "phone"),
        ({"phone": "a@b.example"}, "phone"),
    ):
        asked = {**body, "password": PASSWORD, "handle": "other", "name": "O"}
        problem(await someone.ask("POST", "/v1/accounts", asked), 422, "invalid", field)


async def test_a_body_is_bounded_whatever_it_says_of_itself(server: Api) -> None:
    ana = await server.person("ana")

    async def endless() -> AsyncIterator[bytes]:
        for _ in range(100):
            yield b" " * 1000

    answer = await ana.http.request("POST", "/v1/conversations", content=endless(), headers=JSON)
    problem(answer, 413, "too_large")


async def test_a_defect_says_nothing_and_is_logged_without_words(
    server: Api, monkeypatch: pytest.MonkeyPatch
) -> None:
    ana = await server.person("ana")

    async def broken(*_: Any) -> Any:
        raise RuntimeError("the secret inside")

    monkeypatch.setattr(server.program.queries.lists, "me", broken)
    with capture_logs() as logs:
        answer = await ana.ask("GET", "/v1/me", headers={"x-request-id": "mine-1"})
    found = problem(answer, 500, "internal")
    assert found["request_id"] == "mine-1"
    assert "secret" not in answer.text
    failed = [one for one in logs if one["event"] == "http.failed"]
    assert [(one["request_id"], one["route"]) for one in failed] == [("mine-1", "/v1/me")]


async def test_request_ids_that_cannot_stand_in_a_log_are_replaced(server: Api) -> None:
    for given in ("", "a b", "x" * 65, "né", "a\nb"):
        answered = await _request_id(server, given)
        assert answered != given
        assert len(answered) == 26
    assert await _request_id(server, "mine.1") == "mine.1"


async def _request_id(server: Api, given: str) -> str:
    """The id of the answer to a request with this one, as no client would send it."""
    scope_headers = [(b"x-request-id", given.encode())]
    messages: list[Any] = []

    async def receive() -> Any:
        return {"type": "http.request", "body": b""}

    async def send(message: Any) -> None:
        messages.append(message)

    scope = {
        "type": "http",
        "method": "GET",
        "path": "/healthz",
        "raw_path": b"/healthz",
        "query_string": b"",
        "headers": scope_headers,
        "client": ("203.0.113.9", 1),
        "server": ("x", 1),
        "scheme": "http",
        "http_version": "1.1",
        "root_path": "",
    }
    await server.app(scope, receive, send)
    return dict(messages[0]["headers"])[b"x-request-id"].decode()


async def test_the_log_holds_neither_words_nor_ids_nor_addresses(server: Api) -> None:
    ana = await server.person("ana")
    with capture_logs() as logs:
        group = await ana.do("POST", "/v1/conversations", {"kind": "group", "name": "Hushed"}, status=201)
        body = {"content": {"type": "text", "text": "whispered words"}}
        await ana.do("POST", f"/v1/conversations/{group['id']}/messages", body, status=201)
        await ana.get("/v1/search", q="whispered")
        await ana.get("/v1/users", email="secret@example.org")
        await ana.ask("GET", "/v1/no/such/whispered")
    text = json.dumps(logs)
    for hidden in ("whispered", "Hushed", "secret@", group["id"], ana.id, ana.token):
        assert hidden not in text
    lines = [one for one in logs if one["event"] == "http.request"]
    assert [one["route"] for one in lines] == [
        "/v1/conversations",
        "/v1/conversations/{conversation}/messages",
        "/v1/search",
        "/v1/users",
        "-",
    ]
    assert {*lines[0]} >= {"method", "status", "ms", "request_id"}


# --- limits, origins, headers ------------------------------------------------------------------------


async def test_rate_limits_are_told_and_hold(tmp_path: Path) -> None:
    async with api(tmp_path) as server:
        ana, bob = await server.person("ana"), await server.person("bob")
        answer = await ana.ask("GET", "/v1/search", params={"q": "a"})
        assert answer.headers["ratelimit-policy"] == '"search";q=30;w=10'
        assert answer.headers["ratelimit"] == '"search";r=29;t=1'
        answers = await asyncio.gather(*(ana.ask("GET", "/v1/search", params={"q": "a"}) for _ in range(60)))
        refused = [one for one in answers if one.status_code == 429]
        assert refused
        found = problem(refused[0], 429, "rate_limited")
        assert found["retry_after_ms"] > 0
        assert int(refused[0].headers["retry-after"]) >= 1
        assert refused[0].headers["ratelimit"].startswith('"search";r=0;t=')
        # Others, and other rules, are not touched by it.
        assert (await bob.ask("GET", "/v1/search", params={"q": "a"})).status_code == 200
        assert (await ana.ask("GET", "/v1/me")).status_code == 200
        for free in ("/healthz", "/readyz", "/metrics", "/docs"):
            assert "ratelimit" not in (await ana.ask("GET", free)).headers


async def test_searching_people_by_address_is_limited_even_without_limits(server: Api) -> None:
    ana = await server.person("ana")
    statuses = [
        (await ana.ask("GET", "/v1/users", params={"email": f"p{n}@example.org"})).status_code
        for n in range(32)
    ]
    assert statuses == [200] * 30 + [429] * 2
    assert (await ana.ask("GET", "/v1/users", params={"handle": "ana"})).status_code == 200


async def test_strangers_are_counted_by_where_they_come_from(tmp_path: Path) -> None:
    async with api(tmp_path, trusted_proxies=("203.0.113.0/24",)) as server:
        proxy = server.stranger("203.0.113.7")
        elsewhere = server.stranger("198.51.100.1")

        async def left(asker: Asker, forwarded: str) -> int:
            body = {"refresh_token": "x"}
            answer = await asker.ask(
                "POST", "/v1/sessions/refresh", body, headers={"x-forwarded-for": forwarded}
            )
            assert answer.status_code == 401
            return int(answer.headers["ratelimit"].split(";")[1].removeprefix("r="))

        assert await left(proxy, "192.0.2.1") == 119
        assert await left(proxy, "10.0.0.1, 192.0.2.1") == 118
        assert await left(proxy, "192.0.2.2") == 119
        # Nobody but the proxy is believed.
        assert await left(elsewhere, "192.0.2.1") == 119
        assert await left(elsewhere, "192.0.2.3") == 118


@pytest.mark.parametrize(
    ("origins", "origin", "allowed"),
    [
        ((), "https://app.example", None),
        (("https://app.example",), "https://app.example", "https://app.example"),
        (("https://app.example/",), "https://app.example", "https://app.example"),
        (("https://app.example",), "https://evil.example", None),
        (("https://app.example",), "null", None),
        (("*",), "https://any.example", "*"),
    ],
    ids=range(6),
)
async def test_origins(tmp_path: Path, origins: tuple[str, ...], origin: str, allowed: str | None) -> None:
    async with api(tmp_path, cors_origins=origins) as server:
        ana = await server.person("ana")
        asked = {"origin": origin, "access-control-request-method": "POST"}
        preflight = await ana.ask("OPTIONS", "/v1/conversations", headers=asked)
        assert preflight.status_code == 204
        assert preflight.headers.get("access-control-allow-origin") == allowed
        assert ("access-control-allow-methods" in preflight.headers) == (allowed is not None)
        for path, status in (("/v1/me", 200), ("/v1/nothing", 404)):
            answer = await ana.ask("GET", path, headers={"origin": origin})
            assert answer.status_code == status
            assert answer.headers.get("access-control-allow-origin") == allowed
            assert "access-control-allow-credentials" not in answer.headers
        if origins and origins != ("*",):
            assert answer.headers["vary"] == "Origin"


async def test_security_headers_are_on_every_answer(server: Api) -> None:
    ana = await server.person("ana")
    for method, path in (("GET", "/v1/me"), ("GET", "/nothing"), ("PUT", "/v1/me"), ("GET", "/docs")):
        headers = (await ana.ask(method, path)).headers
        assert headers["x-content-type-options"] == "nosniff"
        assert headers["referrer-policy"] == "no-referrer"
        assert headers["content-security-policy"].startswith("default-src 'none'")
        assert headers["cache-control"] == ("no-cache" if path == "/docs" else "no-store")


async def test_not_ready_says_why(server: Api) -> None:
    someone = server.stranger()
    server.program.health.draining = True
    answer = await someone.ask("GET", "/readyz")
    assert answer.status_code == 503
    assert answer.json() == {"status": "not_ready", "problems": {"server": "it is stopping"}}
    assert (await someone.ask("GET", "/healthz")).status_code == 200
