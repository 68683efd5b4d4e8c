"""Every route of REST × everyone: the same table as for commands, and one more for what is only read."""

from __future__ import annotations

import json
import re
from collections import Counter
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any, Final

import httpx
import msgspec
import pytest

from tertulia.domain import commands as c
from tertulia.protocols.rest.routes import ROUTES, Route
from tests.support.live import Live, Person
from tests.support.matrix import ACTORS, CASES, NO_ID, OWN, REPORT, Cast, Kind, Place

BY_NAME: Final = {route.name: route for route in ROUTES}

READERS: Final[dict[str, str]] = {
    # Everyone who may read the conversation.
    "get_conversation": "reads",
    "list_members": "reads",
    "list_topics": "reads",
    "list_events": "reads",
    "list_messages": "reads",
    "get_message": "reads",
    "list_edits": "reads",
    "list_thread": "reads",
    "list_reactions": "reads",
    "list_pins": "reads",
    "get_preferences": "reads",
    # Members alone: how far the others have read is no stranger's business.
    "list_receipts": "belongs",
    # Those who make them.
    "list_invites": "invites",
}
OWN_LISTS: Final = {
    "get_me": "",
    "get_settings": "",
    "list_devices": "",
    "list_drafts": "",
    "list_bookmarks": "",
    "list_mentions": "",
    "list_scheduled": "",
    "list_threads": "",
    "list_own_events": "",
    "list_blocks": "",
    "list_contacts": "",
    "list_conversations": "",
    "list_channels": "",
    "search": "?q=words",
}
"""What everyone has, of their own."""

PEOPLE: Final = {"find_users": "?handle=target", "get_user": "", "get_presence": ""}
ACCOUNTS: Final = {"sign_out", "change_password"}
STREAMS: Final = {"stream_events"}
PUBLIC: Final = {
    "sign_up", "verify_account", "resend_code", "sign_in", "sign_in_with_user_token", "refresh_session",
    "request_password_reset", "confirm_password_reset", "get_openapi", "get_asyncapi", "docs_page",
    "docs_file", "health", "readiness", "metrics",
}  # fmt: skip


@pytest.fixture
async def cast(tmp_path: Path) -> AsyncIterator[Cast]:
    async with Live(tmp_path, serve=False, fast=True) as live:
        cast = Cast(live)
        await cast.gather()
        yield cast


@pytest.fixture
async def http(cast: Cast) -> AsyncIterator[httpx.AsyncClient]:
    transport = httpx.ASGITransport(app=cast.live.program.app)
    async with httpx.AsyncClient(transport=transport, base_url="http://localhost") as client:
        yield client


async def call(
    http: httpx.AsyncClient, person: Person | None, method: str, path: str, body: Any = None
) -> httpx.Response:
    headers = {} if person is None else {"authorization": f"Bearer {person.token}"}
    return await http.request(method, path, headers=headers, **({} if body is None else {"json": body}))


def code_of(answer: httpx.Response) -> str:
    """ "ok", or the problem's code."""
    if answer.is_success:
        return "ok"
    assert answer.headers["content-type"].startswith("application/problem+json"), answer.text
    problem = answer.json()
    assert problem["status"] == answer.status_code < 500, problem
    return problem["code"]


def shown(answer: httpx.Response) -> tuple[int, dict[str, str], bytes]:
    """All that a caller is told, but for what is another with each request."""
    headers = {
        name: value
        for name, value in answer.headers.items()
        if name not in ("x-request-id", "ratelimit", "content-length")
    }
    body = re.sub(rb'"(request_id|instance)":"[^"]*"', b"", answer.content)
    return answer.status_code, headers, body


def request_of(route: Route, command: c.Command) -> tuple[str, Any]:
    """Path (with its query) and body by which a route carries out a command."""
    fields: dict[str, Any] = json.loads(msgspec.json.encode(command))
    del fields["type"]
    query = ""
    match command:
        case c.ForwardMessage():
            fields = {
                "conversation": command.from_conversation,
                "seq": command.from_seq,
                "body": {"conversation": command.conversation},
            }
        case c.FollowThread() | c.UnfollowThread():
            fields["seq"] = fields.pop("thread")
        case c.DeleteMessage():
            query = f"?everyone={str(fields.pop('everyone', False)).lower()}"
        case c.MarkRead():
            fields["read"] = fields.pop("seq")
        case c.MarkReceived():
            fields["received"] = fields.pop("seq")
        case c.OpenDirect() | c.CreateGroup() | c.CreateChannel():
            kind = {c.OpenDirect: "direct", c.CreateGroup: "group", c.CreateChannel: "channel"}
            fields["kind"] = kind[type(command)]
        case c.UpdateSettings():
            fields = {"body": fields["settings"]}
        case c.VotePoll():
            fields.setdefault("options", [])
        case c.SetDraft():
            fields.setdefault("text", "")
        case _:
            pass
    path = route.path
    for name in re.findall(r"\{(\w+)\}", path):
        path = path.replace("{" + name + "}", str(fields.pop(name)))
    body = fields.pop("body", fields)
    has_body = route.method in ("POST", "PUT", "PATCH") and (bool(body) or route.name in WITH_BODY)
    return path + query, body if has_body else None


WITH_BODY: Final = {"set_draft", "add_bookmark", "create_invite", "set_typing", "set_member", "vote"}
NO_ROUTE: Final = {"contact.accept"}
"""Commands that no route has: PUT of a contact accepts too."""


def route_of(command: c.Command) -> Route:
    return next(route for route in ROUTES if route.is_command and type(command) in route.does)


def test_every_route_is_in_a_table() -> None:
    tables = (READERS, OWN_LISTS, PEOPLE, ACCOUNTS, STREAMS, PUBLIC)
    listed = Counter(name for table in tables for name in table)
    assert max(listed.values()) == 1
    tried = {case.command for case in (*CASES, *OWN)}
    for route in ROUTES:
        if route.is_command:
            assert {str(command.__struct_config__.tag) for command in route.does} <= tried, route.name
            assert route.name not in listed
        else:
            assert route.name in listed, f"{route.name} is in no table: say who may come"
            assert route.public == (route.name in PUBLIC)
    assert set(listed) <= set(BY_NAME)
    reached = {
        str(command.__struct_config__.tag) for route in ROUTES if route.is_command for command in route.does
    }
    assert reached == set(c.COMMANDS) - NO_ROUTE


async def test_nobody_comes_without_a_token(cast: Cast, http: httpx.AsyncClient) -> None:
    place = await cast.place("public channel")
    names = {"conversation": place.id, "seq": place.other, "user": cast.target.id, "emoji": "x"}
    off = cast.people["d"]
    headers = (
        "Bearer nonsense",
        "Bearer",
        f"Basic {off.token}",
        f"Bearer {off.token}x",
        "Bearer a.b.c",
    )
    for route in ROUTES:
        path = re.sub(r"\{(\w+)\}", lambda found: str(names.get(found[1], NO_ID)), route.path)
        body = {} if route.method in ("POST", "PUT", "PATCH") else None
        if route.public:
            assert (await call(http, None, route.method, path, body)).status_code not in (401, 403, 500)
            continue
        answers = [await call(http, one, route.method, path, body) for one in (None, off)]
        answers += [
            await http.request(route.method, path, headers={"authorization": header}) for header in headers
        ]
        for answer in answers:
            assert answer.status_code == 401, (route.name, answer.text)
            assert answer.headers["www-authenticate"].startswith("Bearer")
            assert answer.json()["code"] == "unauthenticated"
        # Whether what is asked for is there changes nothing.
        elsewhere = re.sub(r"\{(\w+)\}", NO_ID if "seq" not in route.path else "1", route.path)
        assert shown(await call(http, None, route.method, elsewhere, body)) == shown(answers[0])


@pytest.mark.parametrize("kind", ["group", "public channel", "private topic", "direct", "blocked direct"])
async def test_routes_that_carry_out_commands(cast: Cast, http: httpx.AsyncClient, kind: Kind) -> None:
    wrong: list[str] = []
    tried = 0
    for case in (*CASES, REPORT):
        if kind not in case.kinds:
            continue
        for actor in ACTORS:
            place = await cast.place(kind)
            command = case.build(cast, place, actor)
            route = route_of(command)
            path, body = request_of(route, command)
            answer = await call(http, cast.people[actor], route.method, path, body)
            found, expected = code_of(answer), case.expected(place, actor)
            tried += 1
            if found != expected:
                wrong.append(f"{route.name} ({case.name}) by {actor}: {found}, not {expected}: {answer.text}")
            if found == "ok" and (case.changes or found != expected):
                cast.changed(kind)
    assert not wrong, "\n".join(wrong)
    assert tried > 200


async def test_routes_that_carry_out_commands_about_no_conversation(
    cast: Cast, http: httpx.AsyncClient
) -> None:
    await cast.live.channel(cast.author, slug="taken")
    wrong: list[str] = []
    for case in OWN:
        if case.command in NO_ROUTE:
            continue
        for actor in ACTORS:
            command = case.build(cast, actor)
            route = route_of(command)
            path, body = request_of(route, command)
            answer = await call(http, cast.people[actor], route.method, path, body)
            if code_of(answer) != case.expected(actor):
                wrong.append(f"{route.name} ({case.name}) by {actor}: {code_of(answer)}: {answer.text}")
    assert not wrong, "\n".join(wrong)


def expected_read(how: str, place: Place, actor: str) -> str:
    """Who may read what, as a table."""
    if actor == "d":
        return "unauthenticated"
    if actor in place.members:
        if how == "invites":
            fits = actor in "OA" and place.kind in ("group", "public channel", "private channel")
            return "ok" if fits else "forbidden"
        return "ok"
    if actor == "f" or place.kind not in ("public channel", "topic"):
        return "not_found"
    return "ok" if how == "reads" else "forbidden"


@pytest.mark.parametrize(
    "kind",
    ["group", "public channel", "private channel", "topic", "private topic", "direct", "blocked direct"],
)
async def test_routes_that_read(cast: Cast, http: httpx.AsyncClient, kind: Kind) -> None:
    place = await cast.place(kind)
    wrong: list[str] = []
    for name, how in READERS.items():
        path = BY_NAME[name].path.replace("{conversation}", place.id).replace("{seq}", str(place.other))
        nowhere = path.replace(place.id, NO_ID)
        for actor in ACTORS:
            answer = await call(http, cast.people[actor], "GET", path)
            found, expected = code_of(answer), expected_read(how, place, actor)
            if found != expected:
                wrong.append(f"{name} by {actor}: {found}, not {expected}: {answer.text}")
            if found == "not_found":
                # What one may not see is what is not there, octet for octet.
                assert shown(answer) == shown(await call(http, cast.people[actor], "GET", nowhere))
            if found != "ok":
                for secret in ("words", cast.author.id, cast.people["O"].id):
                    assert secret not in answer.text, (name, actor)
    assert not wrong, "\n".join(wrong)


async def test_answers_to_strangers_are_those_about_nothing(cast: Cast, http: httpx.AsyncClient) -> None:
    """Of the routes that change something, too."""
    compared = 0
    for kind in ("group", "private channel", "direct"):
        place = await cast.place(kind)
        for case in (*CASES, REPORT):
            if kind not in case.kinds:
                continue
            for actor in "xsf":
                if case.expected(place, actor) != "not_found":
                    continue
                command = case.build(cast, place, actor)
                route = route_of(command)
                path, body = request_of(route, command)
                if place.id not in path:
                    continue
                answer = await call(http, cast.people[actor], route.method, path, body)
                missing = await call(
                    http, cast.people[actor], route.method, path.replace(place.id, NO_ID), body
                )
                assert answer.status_code == 404
                assert shown(answer) == shown(missing), (case.name, actor)
                compared += 1
    assert compared > 100


async def test_everyones_own_lists_hold_what_is_their_own(cast: Cast, http: httpx.AsyncClient) -> None:
    await cast.place("private channel")
    await cast.place("direct")
    secrets = {"O": "the author's words"}
    for name, query in OWN_LISTS.items():
        for actor in ACTORS:
            answer = await call(http, cast.people[actor], "GET", BY_NAME[name].path + query)
            assert code_of(answer) == ("unauthenticated" if actor == "d" else "ok"), (
                name,
                actor,
                answer.text,
            )
            if actor in "sf":
                for hidden in secrets.values():
                    assert hidden not in answer.text, (name, actor)
            if actor == "f":
                ids = [one.id for letter, one in cast.people.items() if letter != "f"]
                assert not [one for one in (*ids, cast.author.id, cast.target.id) if one in answer.text], name


async def test_people_as_others_see_them(cast: Cast, http: httpx.AsyncClient) -> None:
    owner, off, missing = cast.people["O"], cast.people["d"], NO_ID
    for name in ("get_user", "get_presence"):
        path = BY_NAME[name].path
        for actor in "AmbsfO":
            person = cast.people[actor]
            about = {who: await call(http, person, "GET", path.replace("{user}", who)) for who in (
                owner.id, off.id, missing)}  # fmt: skip
            nobody = shown(about[missing])
            # Someone whose account is off, someone who blocked the viewer, someone of another tenant
            # and someone who never was are one and the same.
            assert _without(shown(about[off.id]), off.id) == _without(nobody, missing), (name, actor)
            hidden = actor in "bf"
            same = _without(shown(about[owner.id]), owner.id) == _without(nobody, missing)
            assert same == (hidden or (name == "get_presence" and same)), (name, actor)
    # The same handle in two tenants is two people.
    for actor, who in (("s", cast.target), ("f", cast.namesake)):
        answer = await call(http, cast.people[actor], "GET", "/v1/users?handle=target")
        assert answer.json()["items"][0]["id"] == who.id
    answer = await call(http, cast.people["b"], "GET", "/v1/users?handle=the-owner")
    nothing = await call(http, cast.people["b"], "GET", "/v1/users?handle=no-such-person")
    assert shown(answer) == shown(nothing)


def _without(answer: tuple[int, dict[str, str], bytes], ident: str) -> tuple[int, dict[str, str], bytes]:
    return answer[0], answer[1], answer[2].replace(ident.encode(), b"")
