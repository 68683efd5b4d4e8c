"""Every route answers well, by HTTP over the whole program."""

from __future__ import annotations

import base64
import hashlib
import hmac
import json
import time
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import pytest
from structlog.testing import capture_logs

from tertulia.protocols.rest.routes import ROUTES
from tests.support.rest import PASSWORD, TENANT, Api, Asker, api

STREAM = ("GET", "/v1/events")
"""Has tests of its own: its answer does not end."""


@pytest.fixture
async def server(tmp_path: Path) -> AsyncIterator[Api]:
    async with api(tmp_path, rate_limits=False) as one:
        yield one


def say(words: str, **fields: Any) -> dict[str, Any]:
    return {"content": {"type": "text", "text": words}, **fields}


async def test_all_of_them(server: Api) -> None:
    """Two people go through everything; afterwards no line of the table is left that was not carried
    out."""
    with capture_logs() as logs:
        await _accounts(server)
        ana, bob = await server.person("ana", email="ana@x.example"), await server.person("bob")
        await _me(server, ana)
        await _people(ana, bob)
        group = await _conversations(ana, bob)
        await _members(ana, bob, group)
        await _messages(ana, bob, group)
        await _server(server)
    done = {
        (one["method"], one["route"])
        for one in logs
        if one["event"] == "http.request" and one["status"] < 300
    }
    assert {route.key for route in ROUTES} - done == {STREAM}


async def _accounts(server: Api) -> None:
    someone = server.stranger()
    asked = {"email": "eva@example.org", "password": PASSWORD, "handle": "eva", "name": "Eva"}
    sent = await someone.do("POST", "/v1/accounts", asked, status=202)
    assert sent == {"expires_in": 900}
    address = {"address": "eva@example.org"}
    assert await someone.do("POST", "/v1/accounts/resend", address, status=202) == sent
    code = await server.code()
    answer = await someone.ask("POST", "/v1/accounts/verify", {**address, "code": code, "device": "Phone"})
    tokens = answer.json()
    assert answer.status_code == 201
    assert set(tokens) == {"access_token", "expires_in", "refresh_token", "user", "device", "token_type"}
    assert answer.headers["location"] == f"/v1/me/devices/{tokens['device']}"

    signed_in = await someone.do(
        "POST", "/v1/sessions", {"login": "@eva", "password": PASSWORD, "device": "Laptop"}, status=201
    )
    eva = server.signed_in(signed_in)
    assert eva.id == tokens["user"]
    again = {"refresh_token": signed_in["refresh_token"]}
    renewed = await someone.do("POST", "/v1/sessions/refresh", again)
    assert renewed["user"] == eva.id
    assert renewed["refresh_token"] != signed_in["refresh_token"]
    change = {"current": PASSWORD, "new": "another fine password"}
    await eva.do("POST", "/v1/password", change, status=204)
    await eva.do("DELETE", "/v1/sessions/current", status=204)
    await eva.do("GET", "/v1/me", status=401)

    assert await someone.do("POST", "/v1/password/reset", address, status=202) == sent
    reset = {**address, "code": await server.code(), "password": "a third fine password"}
    await someone.do("POST", "/v1/password/reset/confirm", reset, status=204)
    key = await server.program.administration.create_api_key(TENANT)
    body = {"token": _user_token(key.id, key.value), "device": "App"}
    made = await someone.do("POST", "/v1/sessions/user-token", body, status=201)
    assert (await server.signed_in(made).get("/v1/me"))["name"] == "Zoe"


def _user_token(key_id: str, secret: str) -> str:
    """As a customer's backend makes one (RFC 7515, HS256)."""

    def part(data: bytes) -> str:
        return base64.urlsafe_b64encode(data).rstrip(b"=").decode()

    now = int(time.time())
    claims = {"sub": "customer-7", "name": "Zoe", "aud": TENANT, "iat": now, "exp": now + 300}
    head = {"alg": "HS256", "typ": "JWT", "kid": key_id}
    text = ".".join(part(json.dumps(one).encode()) for one in (head, claims))
    return f"{text}.{part(hmac.digest(secret.encode(), text.encode(), hashlib.sha256))}"


async def _me(server: Api, ana: Asker) -> None:
    me = await ana.get("/v1/me")
    assert (me["id"], me["handle"], me["identities"][0]["value"]) == (ana.id, "ana", "ana@x.example")
    assert (await ana.do("PATCH", "/v1/me", {"status": "Here"}))["status"] == "Here"
    settings = await ana.get("/v1/me/settings")
    assert settings["appearance"]["theme"] == "system"
    changed = await ana.do("PATCH", "/v1/me/settings", {"appearance": {"theme": "dark"}})
    assert changed["appearance"] == {**settings["appearance"], "theme": "dark"}
    assert await ana.get("/v1/me/settings") == changed

    phone = await server.device("ana", "Phone")
    devices = (await ana.get("/v1/me/devices"))["items"]
    assert {one["name"]: one["current"] for one in devices} == {"Laptop": True, "Phone": False}
    other = next(one["id"] for one in devices if not one["current"])
    await ana.do("DELETE", f"/v1/me/devices/{other}")
    await phone.do("GET", "/v1/me", status=401)
    await ana.do("PUT", "/v1/me/presence", {"state": "away"}, status=204)
    events = await ana.get("/v1/me/events", after=1)
    assert [one["seq"] for one in events["items"]] == list(range(2, 2 + len(events["items"])))
    assert {"settings.updated", "device.revoked"} <= {one["type"] for one in events["items"]}


async def _people(ana: Asker, bob: Asker) -> None:
    assert (await ana.get(f"/v1/users/{bob.id}"))["handle"] == "bob"
    assert [one["id"] for one in (await ana.get("/v1/users", handle="@Bob"))["items"]] == [bob.id]
    assert (await ana.get("/v1/users", email="nobody@example.org"))["items"] == []
    assert await ana.get(f"/v1/users/{bob.id}/presence") == {
        "user": bob.id,
        "state": "offline",
        "last_seen": None,
    }
    await ana.do("PUT", f"/v1/contacts/{bob.id}")
    assert [(one["user"], one["state"]) for one in await bob.every("/v1/contacts")] == [(ana.id, "received")]
    await bob.do("PUT", f"/v1/contacts/{ana.id}")
    assert [one["state"] for one in await ana.every("/v1/contacts")] == ["accepted"]
    assert (await ana.get(f"/v1/users/{bob.id}"))["contact_state"] == "accepted"
    await ana.do("DELETE", f"/v1/contacts/{bob.id}")
    await ana.do("PUT", f"/v1/me/blocks/{bob.id}")
    assert [one["user"] for one in await ana.every("/v1/me/blocks")] == [bob.id]
    assert (await ana.get(f"/v1/users/{bob.id}"))["blocked_by_me"]
    await ana.do("DELETE", f"/v1/me/blocks/{bob.id}")
    report = {"user": bob.id, "reason": "spam", "note": "again and again"}
    assert (await ana.do("POST", "/v1/reports", report, status=201))["created"]
    assert (await ana.do("POST", "/v1/reports", report))["repeated"]


async def _conversations(ana: Asker, bob: Asker) -> str:
    direct = {"kind": "direct", "user": bob.id}
    opened = await ana.do("POST", "/v1/conversations", direct, status=201)
    assert (opened["peer"], opened["member_count"], opened["role"]) == (bob.id, 2, "member")
    assert (await bob.do("POST", "/v1/conversations", {"kind": "direct", "user": ana.id}))["id"] == opened[
        "id"
    ]

    body = {"kind": "group", "name": "Lunch", "members": [bob.id], "history": "all"}
    answer = await ana.ask("POST", "/v1/conversations", body, headers={"idempotency-key": "g-1"})
    assert answer.status_code == 201
    group = answer.json()
    assert answer.headers["location"] == f"/v1/conversations/{group['id']}"
    assert (group["role"], group["unread"], group["last_message"]) == ("owner", 0, None)
    assert {"delete", "invite", "send"} <= set(group["own_capabilities"])
    repeat = await ana.ask("POST", "/v1/conversations", body, headers={"idempotency-key": "g-1"})
    assert (repeat.status_code, repeat.json()["id"]) == (200, group["id"])
    assert await ana.get(f"/v1/conversations/{group['id']}") == group

    where = f"/v1/conversations/{group['id']}"
    changed = await ana.do("PATCH", where, {"description": "Sundays", "message_ttl_s": 0})
    assert changed["description"] == "Sundays"
    assert changed["last_seq"] == group["last_seq"] + 1
    assert await bob.get(f"{where}/preferences") == {
        "notify": "all",
        "muted_until": 0,
        "pinned": False,
        "archived": False,
    }
    muted = await bob.do("PATCH", f"{where}/preferences", {"notify": "mentions", "pinned": True})
    assert muted["notify"] == "mentions"
    assert (await bob.get(where))["preferences"] == muted
    assert {one["id"] for one in await bob.every("/v1/conversations", limit=1)} == {opened["id"], group["id"]}
    events = await bob.get(f"{where}/events", after=0, limit=2)
    assert [one["type"] for one in events["items"]] == ["conversation.created", "member.added"]
    rest = await bob.get(f"{where}/events", cursor=events["next_cursor"], limit=1000)
    assert [one["seq"] for one in rest["items"]] == [3, 4]
    await ana.do("PUT", f"{where}/typing", {"composing": True}, status=204)

    body = {"kind": "channel", "name": "News", "slug": "news", "description": "All of it"}
    news = await ana.do("POST", "/v1/conversations", body, status=201)
    shown = (await bob.get("/v1/channels", q="EW"))["items"]
    assert [(one["id"], one["role"], one["own_capabilities"]) for one in shown] == [
        (news["id"], None, ["join", "read"])
    ]
    assert (await bob.get("/v1/channels", q="#nothing"))["items"] == []
    topic = await ana.do("POST", f"/v1/conversations/{news['id']}/topics", {"name": "Sports"}, status=201)
    assert (topic["kind"], topic["parent"], topic["role"]) == ("topic", news["id"], "owner")
    assert [one["id"] for one in await bob.every(f"/v1/conversations/{news['id']}/topics")] == [topic["id"]]
    await bob.do("POST", f"/v1/conversations/{news['id']}/join")
    assert (await bob.get(f"/v1/conversations/{topic['id']}"))["role"] == "member"
    await bob.do("POST", f"/v1/conversations/{news['id']}/leave")
    await ana.do("DELETE", f"/v1/conversations/{news['id']}")
    await ana.do("GET", f"/v1/conversations/{news['id']}", status=404)
    return group["id"]


async def _members(ana: Asker, bob: Asker, group: str) -> None:
    where = f"/v1/conversations/{group}"
    members = await ana.every(f"{where}/members", limit=1)
    assert {one["user"]: (one["role"], one["handle"]) for one in members} == {
        ana.id: ("owner", "ana"),
        bob.id: ("member", "bob"),
    }
    await ana.do("PUT", f"{where}/members/{bob.id}", {"role": "admin"}, headers={"idempotency-key": "m"})
    same = await ana.do(
        "PUT", f"{where}/members/{bob.id}", {"role": "admin"}, headers={"idempotency-key": "m"}
    )
    assert same["repeated"]
    await ana.do("DELETE", f"{where}/members/{bob.id}")
    await bob.do("GET", where, status=404)
    invite = await ana.do("POST", f"{where}/invites", {"max_uses": 3}, status=201)
    (listed,) = await ana.every(f"{where}/invites")
    assert (listed["id"], listed["max_uses"], listed["uses"]) == (invite["created"], 3, 0)
    assert "secret" not in listed
    joined = await bob.do("POST", "/v1/invites/accept", {"token": invite["secret"]})
    assert joined["conversation"] == group
    await ana.do("DELETE", f"{where}/invites/{invite['created']}")
    assert await ana.every(f"{where}/invites") == []


async def _messages(ana: Asker, bob: Asker, group: str) -> None:
    where = f"/v1/conversations/{group}"
    answer = await ana.ask("POST", f"{where}/messages", say("Paella on Sunday, @bob?"))
    first = answer.json()["seq"]
    assert answer.headers["location"] == f"{where}/messages/{first}"
    assert [one["seq"] for one in await bob.every("/v1/me/mentions")] == [first]
    doc = await bob.get(f"{where}/messages/{first}")
    assert (doc["id"], doc["user"], doc["content"]["mentions"]) == (f"{group}.{first}", ana.id, [bob.id])
    seen = await bob.get(where)
    assert (seen["unread"], seen["mentions"], seen["last_message"]) == (1, 1, doc)
    await bob.do("PUT", f"{where}/cursors", {"read": first, "received": first}, status=204)
    seen = await bob.get(where)
    assert (seen["unread"], seen["mentions"], seen["read"], seen["received"]) == (0, 0, first, first)
    receipts = {one["user"]: one for one in await ana.every(f"{where}/receipts", limit=1)}
    assert receipts[bob.id] == {"user": bob.id, "read": first, "received": first}

    quote = {"seq": first, "text": "Paella"}
    reply = await bob.do("POST", f"{where}/messages", say("Yes", reply_to=first, quote=quote), status=201)
    doc = await ana.get(f"{where}/messages/{reply['seq']}")
    assert (doc["reply_to"], doc["quote"]) == (first, {"seq": first, "user": ana.id, "text": "Paella"})
    await ana.do("PATCH", f"{where}/messages/{first}", say("Cocido on Sunday, @bob?"))
    edits = await bob.every(f"{where}/messages/{first}/edits", limit=1)
    assert [one["content"]["text"][:6] for one in edits] == ["Paella", "Cocido"]

    await bob.do("POST", f"{where}/messages", say("In a thread", thread=first), status=201)
    thread = await ana.every(f"{where}/messages/{first}/thread", limit=1)
    assert [(one["content"]["text"], one["thread"]) for one in thread] == [("In a thread", first)]
    (followed,) = await ana.every("/v1/me/threads")
    assert (followed["thread"], followed["unread"], followed["root"]["replies"]["count"]) == (first, 1, 1)
    await ana.do("DELETE", f"{where}/messages/{first}/thread/follow")
    await ana.do("PUT", f"{where}/messages/{first}/thread/follow")
    assert (await ana.get("/v1/me/threads"))["items"][0]["unread"] == 0

    await _marks(ana, bob, where, first)
    await _own(ana, where, group, first)

    later = {**say("Later"), "send_at": int(time.time() * 1000) + 3_600_000}
    answer = await ana.ask("POST", f"{where}/scheduled", later)
    schedule = answer.json()["created"]
    assert answer.headers["location"] == f"/v1/me/scheduled/{schedule}"
    (waiting,) = await ana.every("/v1/me/scheduled")
    assert (waiting["id"], waiting["content"], waiting["send_at"]) == (
        schedule,
        later["content"],
        later["send_at"],
    )
    await ana.do("DELETE", f"/v1/me/scheduled/{schedule}")

    found = await bob.every("/v1/search", q="cocido sunday", conversation=group, sender=ana.id)
    assert [one["seq"] for one in found] == [first]
    copy = await bob.do(
        "POST", f"{where}/messages/{first}/forward", {"conversation": group, "thread": None}, status=201
    )
    doc = await ana.get(f"{where}/messages/{copy['seq']}")
    assert doc["forward"] == {"conversation": group, "seq": first, "user": ana.id}
    await ana.do("DELETE", f"{where}/messages/{first}?everyone=true")
    doc = await bob.get(f"{where}/messages/{first}")
    assert (doc["content"], doc["deleted_by"], doc["replies"]["count"]) == (None, ana.id, 1)


async def _marks(ana: Asker, bob: Asker, where: str, seq: int) -> None:
    message = f"{where}/messages/{seq}"
    await ana.do("PUT", f"{message}/reactions/%F0%9F%8D%9A")
    await bob.do("PUT", f"{message}/reactions/%F0%9F%8D%9A")
    await bob.do("PUT", f"{message}/reactions/yes")
    doc = await bob.get(message)
    assert (doc["reactions"], doc["own_reactions"]) == ({"🍚": 2, "yes": 1}, ["yes", "🍚"])
    reactions = await ana.every(f"{message}/reactions", limit=1)
    assert [(one["emoji"], one["user"]) for one in reactions] == [
        ("yes", bob.id),
        *sorted([("🍚", ana.id), ("🍚", bob.id)]),
    ]
    await bob.do("DELETE", f"{message}/reactions/yes")
    assert (await bob.get(message))["own_reactions"] == ["🍚"]
    await ana.do("PUT", f"{message}/pin")
    assert [one["seq"] for one in await bob.every(f"{where}/pins")] == [seq]
    await ana.do("DELETE", f"{message}/pin")
    assert await bob.every(f"{where}/pins") == []

    poll = {"content": {"type": "poll", "question": "Where?", "options": ["Here", "There"], "multiple": True}}
    made = await ana.do("POST", f"{where}/messages", poll, status=201)
    question = f"{where}/messages/{made['seq']}"
    assert (await bob.get(question))["poll"] == {"votes": [0, 0], "voters": 0, "closed": False, "own": []}
    await bob.do("PUT", f"{question}/vote", {"options": [1, 0]})
    assert (await bob.get(question))["poll"] == {"votes": [1, 1], "voters": 1, "closed": False, "own": [0, 1]}
    await ana.do("POST", f"{question}/close")
    assert (await ana.get(question))["poll"] == {"votes": [1, 1], "voters": 1, "closed": True, "own": []}


async def _own(ana: Asker, where: str, group: str, seq: int) -> None:
    await ana.do("PUT", f"/v1/me/drafts/{group}", {"text": "half a", "reply_to": seq})
    (draft,) = await ana.every("/v1/me/drafts")
    assert (draft["text"], draft["thread"], draft["reply_to"]) == ("half a", None, seq)
    await ana.do("PUT", f"/v1/me/drafts/{group}", {"text": ""})
    assert await ana.every("/v1/me/drafts") == []
    await ana.do("PUT", f"/v1/me/bookmarks/{group}/{seq}", {"note": "the plan"})
    (bookmark,) = await ana.every("/v1/me/bookmarks")
    assert (bookmark["note"], bookmark["message"]["seq"]) == ("the plan", seq)
    await ana.do("DELETE", f"/v1/me/bookmarks/{group}/{seq}")
    assert await ana.every("/v1/me/bookmarks") == []
    page = await ana.get(f"{where}/messages", limit=1)
    assert page["next_cursor"]
    assert (await ana.get(f"{where}/messages", limit=2, after=0))["items"][0]["seq"] == seq


async def _server(server: Api) -> None:
    someone = server.stranger()
    assert await someone.get("/healthz") == {"status": "ok"}
    assert (await someone.get("/readyz"))["status"] == "ready"
    metrics = await someone.ask("GET", "/metrics")
    assert b"tertulia_requests_total{" in metrics.content
    assert metrics.headers["content-type"].startswith("text/plain; version=0.0.4")
    assert (await someone.get("/v1/openapi.json"))["openapi"] == "3.1.0"
    assert (await someone.get("/v1/asyncapi.json"))["asyncapi"] == "3.0.0"
    page = await someone.ask("GET", "/docs")
    assert "script-src 'self'" in page.headers["content-security-policy"]
    for file, kind in (("app.js", "text/javascript"), ("style.css", "text/css")):
        part = await someone.ask("GET", f"/docs/{file}")
        assert part.headers["content-type"].startswith(kind)
        assert f'"/docs/{file}"' in page.text
    assert "//" not in page.text.replace("<!doctype", "").split("<body>")[0].replace("</", "")


async def test_pages_in_both_directions(server: Api) -> None:
    ana = await server.person("ana")
    group = await ana.do("POST", "/v1/conversations", {"kind": "group", "name": "Notes"}, status=201)
    where = f"/v1/conversations/{group['id']}/messages"
    seqs = [(await ana.do("POST", where, say(str(n)), status=201))["seq"] for n in range(7)]
    newest = await ana.get(where, limit=3)
    assert [one["seq"] for one in newest["items"]] == seqs[-3:]
    older = await ana.get(where, limit=3, cursor=newest["next_cursor"])
    assert [one["seq"] for one in older["items"]] == seqs[1:4]
    oldest = await ana.get(where, limit=3, cursor=older["next_cursor"])
    assert ([one["seq"] for one in oldest["items"]], oldest["next_cursor"]) == (seqs[:1], None)
    from_start = await ana.get(where, limit=4, after=0)
    assert [one["seq"] for one in from_start["items"]] == seqs[:4]
    on = await ana.get(where, limit=4, cursor=from_start["next_cursor"])
    assert ([one["seq"] for one in on["items"]], on["next_cursor"]) == (seqs[4:], None)
    assert [one["seq"] for one in (await ana.get(where, before=seqs[2]))["items"]] == seqs[:2]
    assert [one["seq"] for one in (await ana.get(where, after=seqs[5]))["items"]] == seqs[6:]


async def test_a_cursor_belongs_to_its_list_and_to_who_got_it(server: Api) -> None:
    ana, bob = await server.person("ana"), await server.person("bob")
    for name in ("One", "Two"):
        body = {"kind": "group", "name": name, "members": [bob.id]}
        await ana.do("POST", "/v1/conversations", body, status=201)
    cursor = (await ana.get("/v1/conversations", limit=1))["next_cursor"]
    assert len((await ana.get("/v1/conversations", cursor=cursor))["items"]) == 1
    swapped = cursor[:-1] + ("A" if cursor[-1] != "A" else "B")
    for who, path, value in (
        (bob, "/v1/conversations", cursor),
        (ana, "/v1/contacts", cursor),
        (ana, "/v1/channels", cursor),
        (ana, "/v1/conversations", swapped),
        (ana, "/v1/conversations", cursor[:-4]),
        (ana, "/v1/conversations", "null"),
    ):
        answer = await who.ask("GET", path, params={"cursor": value})
        assert (answer.status_code, answer.json()["field"]) == (422, "cursor"), (path, value)


async def test_a_repeat_gets_the_first_answer_again(server: Api) -> None:
    ana = await server.person("ana")
    group = await ana.do("POST", "/v1/conversations", {"kind": "group", "name": "Notes"}, status=201)
    where = f"/v1/conversations/{group['id']}/messages"
    key = {"headers": {"idempotency-key": "null"}}
    first = await ana.do("POST", where, say("once"), status=201, **key)
    again = await ana.do("POST", where, say("once"), status=200, **key)
    assert again == {**first, "repeated": True}
    other = await ana.ask("POST", where, say("twice"), **key)
    assert (other.status_code, other.json()["code"]) == (409, "client_id_reused")
    assert [one["content"]["text"] for one in await ana.every(where)] == ["once"]
