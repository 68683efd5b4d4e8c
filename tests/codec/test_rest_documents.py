"""The documents that describe the interfaces: complete, exact, and of one piece with the code."""

from __future__ import annotations

import json
from collections.abc import Iterator
from typing import Any

import msgspec
import pytest

from tertulia.domain.commands import COMMAND_TYPES
from tertulia.domain.events import BODIES
from tertulia.protocols.rest import app as rest_app
from tertulia.protocols.rest import openapi, problems, requests
from tertulia.protocols.rest.routes import ROUTES, Route
from tertulia.protocols.ws import asyncapi, codec


@pytest.fixture(scope="module")
def document() -> Any:
    return json.loads(openapi.document(rest_app.CONTROLLERS, "Tertulia", "1.2.3"))


@pytest.fixture(scope="module")
def described() -> Any:
    return json.loads(asyncapi.document("Tertulia", "1.2.3"))


def operations(document: Any) -> Iterator[tuple[Route, Any]]:
    by_key = {route.key: route for route in ROUTES}
    for path, item in document["paths"].items():
        for method, operation in item.items():
            yield by_key.pop((method.upper(), path)), operation
    assert by_key == {}


def nodes(value: Any, path: str = "") -> Iterator[tuple[str, Any]]:
    yield path, value
    if isinstance(value, dict):
        for name, one in value.items():
            yield from nodes(one, f"{path}/{name}")
    elif isinstance(value, list):
        for n, one in enumerate(value):
            yield from nodes(one, f"{path}/{n}")


def resolve(document: Any, reference: str) -> Any:
    found = document
    for part in reference.removeprefix("#/").split("/"):
        found = found[part]
    return found


def test_every_route_is_described_and_nothing_else(document: Any) -> None:
    found = list(operations(document))
    assert len(found) == len(ROUTES)
    names = [operation["operationId"] for _, operation in found]
    assert len(names) == len(set(names))
    for route, operation in found:
        assert operation["operationId"] == route.name
        assert operation["summary"]
        assert operation["description"]
        assert (operation["security"] == []) == route.public
        assert operation["tags"][0] in {tag["name"] for tag in document["tags"]}


def test_every_command_has_a_route() -> None:
    """All that can be done over the WebSocket can be done by HTTP; accepting a contact is asking for one."""
    reached = {command for route in ROUTES if not isinstance(route.does, str) for command in route.does}
    assert {one.__name__ for one in set(COMMAND_TYPES) - reached} == {"AcceptContact"}


def test_public_routes_are_these() -> None:
    """A list of its own, so that none becomes public by a slip."""
    assert sorted(route.name for route in ROUTES if route.public) == [
        "confirm_password_reset",
        "docs_file",
        "docs_page",
        "get_asyncapi",
        "get_openapi",
        "health",
        "metrics",
        "readiness",
        "refresh_session",
        "request_password_reset",
        "resend_code",
        "sign_in",
        "sign_in_with_user_token",
        "sign_up",
        "verify_account",
    ]


def test_answers_are_all_there(document: Any) -> None:
    for route, operation in operations(document):
        answers = operation["responses"]
        assert "default" not in answers
        assert "500" in answers
        assert ("401" in answers) == (
            not route.public or "credentials_refused" in route.refusals or "token_expired" in route.refusals
        )
        assert ("429" in answers) == bool(route.rule)
        assert ("201" in answers) == route.creates
        assert ("415" in answers) == ("requestBody" in operation)
        if route.is_command:
            assert {"403", "404", "409", "503", "507"} <= set(answers)
        for status, answer in answers.items():
            found = resolve(document, answer["$ref"]) if "$ref" in answer else answer
            assert found["description"]
            content = found.get("content", {})
            if status >= "400" and not (route.name == "readiness" and status == "503"):
                (media,) = content.items()
                assert media[0] == problems.MEDIA_TYPE
                base, exact = media[1]["schema"]["allOf"]
                assert base == {"$ref": "#/components/schemas/Problem"}
                codes = exact["properties"]["code"]["enum"]
                assert codes
                assert all(problems.TABLE[code][0] == int(status) for code in codes)
            elif status == "204":
                assert content == {}
            else:
                assert len(content) == 1


@pytest.mark.parametrize("which", ["document", "described"])
def test_references_lead_somewhere(which: str, request: pytest.FixtureRequest) -> None:
    found = request.getfixturevalue(which)
    references = {one["$ref"] for _, one in nodes(found) if isinstance(one, dict) and "$ref" in one}
    assert references
    for reference in references:
        assert resolve(found, reference)
    if which == "document":
        unused = {f"#/components/schemas/{name}" for name in found["components"]["schemas"]} - references
        assert unused == set()


@pytest.mark.parametrize("which", ["document", "described"])
def test_nothing_is_untyped(which: str, request: pytest.FixtureRequest) -> None:
    document = request.getfixturevalue(which)
    keywords = {"type", "$ref", "enum", "const", "anyOf", "allOf", "oneOf"}
    looked_at = 0
    for path, node in nodes(document):
        *above, last = path.rsplit("/", 2)
        is_schema = last in ("schema", "items", "additionalProperties") or above[-1:] == ["properties"]
        if not is_schema or not isinstance(node, dict):
            continue
        looked_at += 1
        assert keywords & set(node), path
        if node.get("type") == "object":
            assert node.get("properties") or isinstance(node.get("additionalProperties"), dict), path
    assert looked_at > 300
    for name, schema in document["components"]["schemas"].items():
        assert keywords & set(schema), name


def test_requests_are_bounded(document: Any) -> None:
    """Every text and list that comes in has an end, and so has every number."""
    bodies = [
        operation["requestBody"]["content"]["application/json"]["schema"]
        for _, operation in operations(document)
        if "requestBody" in operation
    ]
    seen: set[str] = set()

    def check(schema: Any, path: str) -> None:
        if "$ref" in schema:
            if schema["$ref"] not in seen:
                seen.add(schema["$ref"])
                check(resolve(document, schema["$ref"]), schema["$ref"])
            return
        for some in ("anyOf", "oneOf", "allOf"):
            for n, one in enumerate(schema.get(some, ())):
                check(one, f"{path}/{n}")
        match schema.get("type"):
            case "string":
                assert (
                    "enum" in schema or "maxLength" in schema or schema.get("pattern", "").endswith("{6}$")
                ), path
            case "integer" | "number":
                assert {"minimum", "maximum"} <= set(schema), path
            case "array":
                assert "maxItems" in schema, path
                check(schema["items"], f"{path}/items")
            case "object":
                for name, one in schema["properties"].items():
                    check(one, f"{path}/{name}")

    for n, body in enumerate(bodies):
        check(body, str(n))
    for route, operation in operations(document):
        for parameter in operation.get("parameters", ()):
            check(parameter["schema"], f"{route.name} {parameter['name']}")


def test_unknown_fields_are_refused_everywhere() -> None:
    shapes = [
        one
        for one in vars(requests).values()
        if isinstance(one, type) and issubclass(one, msgspec.Struct) and one.__module__ == requests.__name__
    ]
    assert len(shapes) > 25
    for shape in shapes:
        assert shape.__struct_config__.forbid_unknown_fields, shape


def test_examples_are_good_requests(document: Any) -> None:
    found = 0
    for route, operation in operations(document):
        for media in operation.get("requestBody", {}).get("content", {}).values():
            if "example" in media:
                found += 1
                assert route.name in openapi.EXAMPLES
    assert found == len(openapi.EXAMPLES)
    shapes: dict[str, Any] = {
        "sign_up": requests.SignUpBody,
        "verify_account": requests.VerifyBody,
        "sign_in": requests.SignInBody,
        "create_conversation": requests.NewConversation,
        "send_message": requests.MessageBody,
        "set_cursors": requests.CursorsBody,
        "set_typing": requests.TypingBody,
    }
    for name, shape in shapes.items():
        msgspec.convert(openapi.EXAMPLES[name], shape)


def test_links_use_what_the_answer_has(document: Any) -> None:
    links = 0
    names = {operation["operationId"] for _, operation in operations(document)}
    for _, operation in operations(document):
        for answer in operation["responses"].values():
            for link in answer.get("links", {}).values():
                links += 1
                assert link["operationId"] in names
                schema = resolve(document, answer["content"]["application/json"]["schema"]["$ref"])
                for expression in link["parameters"].values():
                    if expression.startswith("$response.body#/"):
                        assert expression.rsplit("/", 1)[1] in schema["properties"]
    assert links > 50


def test_the_websocket_is_described_whole(described: Any) -> None:
    assert described["asyncapi"] == "3.0.0"
    messages = described["components"]["messages"]
    names = {one["name"] for one in messages.values()}
    commands = {str(one.__struct_config__.tag) for one in (*COMMAND_TYPES, *codec.CONTROL_TYPES)}
    assert names >= commands | set(BODIES) | {"void", "hello", "ack", "error", "resumed", "resync", "pong"}
    sent = described["operations"]["receive_frames"]["messages"]
    told = described["operations"]["send_frames"]["messages"]
    assert len(sent) == len(commands)
    assert len(sent) + len(told) == len(messages)
    for name, message in messages.items():
        schema = resolve(described, message["payload"]["$ref"])
        kind = schema["properties"]["type"]["enum"]
        assert "type" in schema["required"], name
        assert message["name"] in kind or name == "Signal"
    for number in ("1001", "4001", "4003", "4029"):
        assert number in described["info"]["description"]


def test_a_handler_that_is_not_listed_is_no_part_of_the_application(monkeypatch: pytest.MonkeyPatch) -> None:
    from litestar import Controller, get

    from tertulia.protocols.rest import handlers

    class Extra(Controller):
        @get("/v1/extra")
        async def extra(self) -> None:
            """Unlisted."""

    with pytest.raises(ValueError, match="GET /v1/extra"):
        openapi.document((*rest_app.CONTROLLERS, Extra), "T", "0")
    monkeypatch.setattr(
        handlers, "ROUTES", (*ROUTES, Route(method="GET", path="/v1/idle", name="idle", does="idle"))
    )
    with pytest.raises(ValueError, match="/v1/idle"):
        openapi.document(rest_app.CONTROLLERS, "T", "1")
