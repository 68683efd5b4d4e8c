"""Tokens that are not what they say, and passwords that are guessed, against the whole server."""

from __future__ import annotations

import base64
import hashlib
import hmac
import json
import time
from collections.abc import AsyncIterator, Callable
from pathlib import Path
from typing import Any

import httpx
import pytest

from tertulia.ports.passwords import Verifiers
from tests.support.live import Live, Person

PASSWORD = "a fine long password"


def encode(value: Any) -> str:
    data = value if isinstance(value, bytes) else json.dumps(value, separators=(",", ":")).encode()
    return base64.urlsafe_b64encode(data).rstrip(b"=").decode()


def opened(token: str) -> tuple[dict[str, Any], dict[str, Any]]:
    """Header and claims of a token."""
    head, body, _ = token.split(".")
    return tuple(json.loads(base64.urlsafe_b64decode(part + "==")) for part in (head, body))


def signed(head: dict[str, Any], claims: dict[str, Any], key: bytes, digest: str = "sha256") -> str:
    """A token with an HMAC under this key, whatever its header says."""
    text = f"{encode(head)}.{encode(claims)}"
    return f"{text}.{encode(hmac.digest(key, text.encode(), digest))}"


@pytest.fixture
async def live(tmp_path: Path) -> AsyncIterator[Live]:
    async with Live(tmp_path, fast=True) as one:
        yield one


Forge = Callable[[Live, Person, Person], str]


def _changed(head: dict[str, Any] | None = None, **claims: Any) -> Forge:
    """Ours in everything but this; a claim that is None is left out."""

    def forge(live: Live, ana: Person, bob: Person) -> str:
        old_head, old = opened(live.short_token(ana))
        new = {name: value for name, value in {**old, **claims}.items() if value is not None}
        new_head = {name: v for name, v in {**old_head, **(head or {})}.items() if v is not None}
        return signed(new_head, new, live.program.keys.access)

    return forge


def _unsigned(live: Live, ana: Person, bob: Person) -> str:
    head, claims = opened(live.short_token(ana))
    return f"{encode({**head, 'alg': 'none'})}.{encode(claims)}."


def _body_swapped(live: Live, ana: Person, bob: Person) -> str:
    head, _, signature = live.short_token(ana).split(".")
    return f"{head}.{live.short_token(bob).split('.')[1]}.{signature}"


def _other_key(live: Live, ana: Person, bob: Person) -> str:
    return signed(*opened(live.short_token(ana)), b"k" * 32)


def _key_of_the_other_kid(live: Live, ana: Person, bob: Person) -> str:
    return signed(*opened(live.short_token(ana)), live.program.keys.lasting)


def _empty_key(live: Live, ana: Person, bob: Person) -> str:
    return signed(*opened(live.short_token(ana)), b"")


def _longer_digest(live: Live, ana: Person, bob: Person) -> str:
    head, claims = opened(live.short_token(ana))
    return signed({**head, "alg": "HS512"}, claims, live.program.keys.access, "sha512")


def _twice(live: Live, ana: Person, bob: Person) -> str:
    token = live.short_token(ana)
    return f"{token}.{token}"


FORGED: dict[str, Forge] = {
    "not signed": _unsigned,
    "alg none in capitals": _changed({"alg": "NONE"}),
    "alg left out": _changed({"alg": None}),
    "alg of RSA": _changed({"alg": "RS256"}),
    "alg EdDSA": _changed({"alg": "EdDSA"}),
    "HS512": _longer_digest,
    "another key": _other_key,
    "the key of another kid": _key_of_the_other_kid,
    "an empty key": _empty_key,
    "kid of a file": _changed({"kid": "../../../dev/null"}),
    "kid of SQL": _changed({"kid": "s1' OR '1'='1"}),
    "kid empty": _changed({"kid": ""}),
    "kid left out": _changed({"kid": None}),
    "kid a list": _changed({"kid": ["s1"]}),
    "a key of its own": _changed({"jwk": {"kty": "oct", "k": encode(b"k" * 32)}}),
    "a key from elsewhere": _changed({"jku": "https://evil.example/keys", "x5u": "https://evil.example"}),
    "critical extension": _changed({"crit": ["b64"], "b64": False}),
    "typ of a user token": _changed({"typ": "JWT"}),
    "typ left out": _changed({"typ": None}),
    "expired": _changed(exp=1_000_000_000),
    "exp left out": _changed(exp=None),
    "exp a word": _changed(exp="never"),
    "exp without end": _changed(exp=1e400),
    "another audience": _changed(aud="elsewhere"),
    "aud left out": _changed(aud=None),
    "another issuer": _changed(iss="https://evil.example"),
    "another tenant": _changed(tenant="other", tid="other"),
    "nobody": _changed(sub="01zzzzzzzzzzzzzzzzzzzzzzzz"),
    "sub left out": _changed(sub=None),
    "the claims of somebody else": _body_swapped,
    "a token twice": _twice,
}


async def answers(live: Live, token: str, holder: Person) -> list[tuple[str, str]]:
    """What a token gets at every door: code and words."""
    found: list[tuple[str, str]] = []
    wire = await live.wire()
    wire.send({"type": "sign_in", "token": token})
    answer = await wire.json()
    found.append((answer["code"], answer["detail"]))
    assert (await wire.closed()).code == 4001
    if token.isascii() and "\n" not in token:
        header = await live.wire(headers={"authorization": f"Bearer {token}"})
        answer = await header.json()
        found.append((answer["code"], answer["detail"]))
        assert (await header.closed()).code == 4001
    signed_in = await live.signed_in(holder)
    signed_in.send({"type": "refresh", "token": token})
    answer = await signed_in.json()
    found.append((answer["code"], answer["detail"]))
    assert (await signed_in.closed()).code == 4001
    async with httpx.AsyncClient(base_url=f"http://127.0.0.1:{live.port}", trust_env=False) as http:
        got = await http.get("/v1/me", headers={"authorization": f"Bearer {token}"})
        assert got.status_code == 401
        found.append((got.json()["code"], got.json()["detail"]))
        stream = await http.get("/v1/events", headers={"authorization": f"Bearer {token}"})
        assert stream.status_code == 401
    return found


async def test_forged_tokens_open_no_door(live: Live) -> None:
    ana, bob = await live.people("ana", "bob")
    await live.tenant("other")
    # What is forged is otherwise right: unchanged, it opens.
    caller, _ = await live.program.authenticate(_changed()(live, ana, bob))
    assert caller.user == ana.id
    words: set[tuple[str, str]] = set()
    for name, forge in FORGED.items():
        token = forge(live, ana, bob)
        found = set(await answers(live, token, ana))
        codes = {code for code, _ in found}
        assert codes == {"token_expired" if name == "expired" else "unauthenticated"}, (name, found)
        if name != "expired":
            words |= found
    # Which of them it was is told to nobody.
    assert len({text for _, text in words} - {"The device has been signed out."}) <= 2


async def test_tokens_of_one_kind_are_not_of_another(live: Live) -> None:
    await live.person("ana", password=PASSWORD, email="ana@example.org")
    key = await live.program.administration.create_api_key("default")
    now = int(time.time())
    vouched = signed(
        {"alg": "HS256", "kid": key.id, "typ": "JWT"},
        {"sub": "external-1", "name": "Ana", "iat": now, "exp": now + 60, "aud": "default"},
        key.value.encode(),
    )
    async with httpx.AsyncClient(base_url=f"http://127.0.0.1:{live.port}", trust_env=False) as http:
        answer = await http.post("/v1/sessions", json={"login": "ana", "password": PASSWORD})
        assert answer.status_code == 201, answer.text
        tokens = answer.json()
        me = {"authorization": f"Bearer {tokens['access_token']}"}
        assert (await http.get("/v1/me", headers=me)).status_code == 200
        for wrong in (tokens["refresh_token"], vouched, key.value, PASSWORD):
            header = {"authorization": f"Bearer {wrong}"}
            assert (await http.get("/v1/me", headers=header)).status_code == 401
        for wrong in (tokens["access_token"], vouched, "x"):
            refused = await http.post("/v1/sessions/refresh", json={"refresh_token": wrong})
            assert refused.status_code == 401, refused.text
        for wrong in (tokens["access_token"], tokens["refresh_token"], "a.b.c"):
            refused = await http.post("/v1/sessions/user-token", json={"token": wrong})
            assert (refused.status_code, refused.json()["code"]) == (401, "credentials_refused")
        # A refresh token works once; the second time the device is signed out, at once.
        wire = await live.wire()
        wire.send({"type": "sign_in", "token": tokens["access_token"]})
        assert (await wire.json())["type"] == "hello"
        newer = await http.post("/v1/sessions/refresh", json={"refresh_token": tokens["refresh_token"]})
        newest = await http.post(
            "/v1/sessions/refresh", json={"refresh_token": newer.json()["refresh_token"]}
        )
        assert newest.status_code == 200
        stolen = await http.post("/v1/sessions/refresh", json={"refresh_token": tokens["refresh_token"]})
        assert stolen.status_code == 401
        assert (await wire.closed()).code == 4002
        dead = await http.post("/v1/sessions/refresh", json={"refresh_token": newest.json()["refresh_token"]})
        assert dead.status_code == 401


async def test_user_tokens_of_another_tenant_or_key(live: Live) -> None:
    await live.tenant("other")
    foreign = await live.program.administration.create_api_key("other")
    own = await live.program.administration.create_api_key("default")
    now = int(time.time())
    claims = {"sub": "someone", "name": "Someone", "iat": now, "exp": now + 60, "aud": "default"}
    head = {"alg": "HS256", "kid": own.id, "typ": "JWT"}
    tokens = {
        "the other tenant's": signed({**head, "kid": foreign.id}, claims, foreign.value.encode()),
        "the other tenant's secret under our kid": signed(head, claims, foreign.value.encode()),
        "no alg": f"{encode({**head, 'alg': 'none'})}.{encode(claims)}.",
        "expired": signed(head, {**claims, "iat": now - 900, "exp": now - 600}, own.value.encode()),
        "without end": signed(head, {"sub": "someone", "iat": now, "aud": "default"}, own.value.encode()),
        "a life too long": signed(head, {**claims, "exp": now + 10**9}, own.value.encode()),
        "another audience": signed(head, {**claims, "aud": "other"}, own.value.encode()),
        "no audience": signed(head, {"sub": "s", "iat": now, "exp": now + 60}, own.value.encode()),
        "typ of an access token": signed({**head, "typ": "at+jwt"}, claims, own.value.encode()),
        "the hash of the secret": signed(head, claims, hashlib.sha256(own.value.encode()).digest()),
    }
    seen: set[bytes] = set()
    async with httpx.AsyncClient(base_url=f"http://127.0.0.1:{live.port}", trust_env=False) as http:
        for name, token in tokens.items():
            answer = await http.post("/v1/sessions/user-token", json={"token": token})
            assert (answer.status_code, answer.json()["code"]) == (401, "credentials_refused"), name
            seen.add(answer.content.replace(answer.json()["request_id"].encode(), b""))
        good = await http.post(
            "/v1/sessions/user-token", json={"token": signed(head, claims, own.value.encode())}
        )
        assert good.status_code == 201, good.text
    assert len(seen) == 1


class Counted:
    """The real passwords, and how often they were asked."""

    def __init__(self, live: Live) -> None:
        self.checks = 0
        self._verify = live.program.passwords.verify
        live.program.passwords.verify = self.verify

    async def verify(self, verifiers: Verifiers | None, password: str) -> bool:
        self.checks += 1
        return await self._verify(verifiers, password)


async def test_guessing_passwords(tmp_path: Path) -> None:
    async with Live(tmp_path, fast=True) as live:
        for name in ("ana", "bob"):
            await live.person(name, password=PASSWORD, email=f"{name}@example.org")
        counted = Counted(live)
        async with httpx.AsyncClient(base_url=f"http://127.0.0.1:{live.port}", trust_env=False) as http:

            async def guess(login: str, password: str, **headers: str) -> httpx.Response:
                body = {"login": login, "password": password}
                return await http.post("/v1/sessions", json=body, headers=headers)

            def told(answer: httpx.Response) -> bytes:
                return answer.content.replace(answer.json()["request_id"].encode(), b"")

            # Who is not there, and who is: the same answer after the same work.
            shapes: set[bytes] = set()
            for login in ("ana@example.org", "nobody@example.org", "ana", "no-such", "@@", "+34600000000"):
                before = counted.checks
                answer = await guess(login, "wrong password here")
                assert (answer.status_code, answer.json()["code"]) == (401, "credentials_refused")
                assert counted.checks == before + 1
                shapes.add(told(answer))
            assert len(shapes) == 1
            # Too many guesses at one name: refused before any work, the right one too.
            results = [await guess("bob", f"guess number {n}") for n in range(30)]
            limited = [answer for answer in results if answer.status_code == 429]
            assert 0 < len(results) - len(limited) < 25
            before = counted.checks
            blocked = await guess("bob", PASSWORD)
            assert (blocked.status_code, blocked.json()["code"]) == (429, "rate_limited")
            assert int(blocked.headers["retry-after"]) > 0
            assert counted.checks == before
            # A header does not make it come from elsewhere; another name is not affected yet.
            spoofed = await guess("bob", PASSWORD, **{"X-Forwarded-For": "198.51.100.9"})
            assert spoofed.status_code == 429
            assert (await guess("ana", PASSWORD)).status_code == 201
            # Too many guesses from one address, whatever the names.
            results = [await guess(f"name-{n}", "wrong password here") for n in range(120)]
            assert results[-1].status_code == 429
            assert (await guess("ana", PASSWORD)).status_code == 429
