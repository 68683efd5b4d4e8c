"""The interface as an OpenAPI 3.1 document.

The framework contributes what it knows of the handlers: operations, parameters, docstrings.  Bodies come
from msgspec's own schemas of the structs that are decoded and encoded, so that no bound is lost on the way;
refusals come from the table of routes.
"""

from __future__ import annotations

import inspect
from collections.abc import Iterable, Sequence
from functools import lru_cache
from typing import Annotated, Any, Final, Optional, get_args, get_origin

import msgspec
from litestar import Controller, Litestar
from litestar.di import Provide
from litestar.handlers import HTTPRouteHandler
from litestar.openapi import OpenAPIConfig
from litestar.params import ParameterKwarg
from litestar.response import Response
from msgspec import Meta

from tertulia.domain.errors import Code
from tertulia.protocols.common.frames import EventFrame
from tertulia.protocols.common.schemas import EventUnion, Schema, describe
from tertulia.protocols.rest import problems
from tertulia.protocols.rest.answers import Page, ReadyDoc
from tertulia.protocols.rest.context import provide_call, provide_visit
from tertulia.protocols.rest.handlers import list_handlers
from tertulia.protocols.rest.problems import Problem
from tertulia.protocols.rest.routes import ROUTES, Route
from tertulia.protocols.rest.sse import StreamEvent
from tertulia.protocols.rest.strict import StrictBodies

JSON: Final = "application/json"

_THEIRS: Final = "/-/"
"""Where the framework would serve its own pages; nobody ever asks this application for anything."""

TAGS: Final = (
    ("Accounts", "Signing up and in, passwords."),
    ("Me", "What is one's own."),
    ("People", "Others: profiles, contacts, reports."),
    ("Conversations", "Direct conversations, groups, channels and their topics."),
    ("Members", "Who is in a conversation, and how one gets there."),
    ("Messages", "What people write and what is put on it."),
    ("Streams", "Events as they happen."),
    ("Server", "Health, figures and descriptions."),
)

DESCRIPTION: Final = """\
Chat for people, apps and devices.

* A request that is refused changes nothing; the answer is a problem document (RFC 9457) with a stable
  `code` and the `request_id` by which the operator finds it.
* What one may not see looks exactly like what does not exist: `not_found`.
* A command with an `Idempotency-Key` may be repeated: the repeat gets the first answer again.
* Lists come in pages: `next_cursor` is given back as `cursor`, until it is null.
* Times are Unix milliseconds."""

EXAMPLES: Final[dict[str, Any]] = {
    "sign_up": {
        "email": "ana@example.org",
        "password": "correct horse battery",
        "handle": "ana",
        "name": "Ana",
    },
    "verify_account": {"address": "ana@example.org", "code": "123456", "device": "Ana's laptop"},
    "sign_in": {"login": "ana", "password": "correct horse battery", "device": "Ana's laptop"},
    "create_conversation": {"kind": "group", "name": "Sunday lunch"},
    "send_message": {"content": {"type": "text", "text": "Hello, **world**"}},
    "set_cursors": {"read": 12},
    "set_typing": {"composing": True},
}

_PLAIN: Final[dict[str, tuple[str, Schema]]] = {
    "metrics": ("text/plain", {"type": "string"}),
    "docs_page": ("text/html", {"type": "string"}),
    "docs_file": ("text/plain", {"type": "string"}),
    "stream_events": ("text/event-stream", {"$ref": "#/components/schemas/StreamEvent"}),
    "get_openapi": (JSON, {"$ref": "#/components/schemas/JsonObject"}),
    "get_asyncapi": (JSON, {"$ref": "#/components/schemas/JsonObject"}),
}
"""Answers that no struct is behind."""

_LEADS_TO: Final[dict[str, dict[str, str]]] = {
    "get_me": {"user": "$response.body#/id"},
    "create_conversation": {"conversation": "$response.body#/id"},
    "create_topic": {"conversation": "$response.body#/id"},
    "send_message": {"conversation": "$response.body#/conversation", "seq": "$response.body#/seq"},
    "forward_message": {"conversation": "$response.body#/conversation", "seq": "$response.body#/seq"},
    "create_invite": {
        "conversation": "$request.path.conversation",
        "invite": "$response.body#/created",
    },
    "schedule_message": {"schedule": "$response.body#/created"},
}
"""What an answer gives for the paths of other operations (OpenAPI links)."""

_HEADERS: Final[dict[str, Schema]] = {
    "X-Request-Id": {"description": "Names the request in the server's log.", "schema": {"type": "string"}},
    "RateLimit": {
        "description": "What is left under the rule, and the seconds until all of it is "
        "(draft-ietf-httpapi-ratelimit-headers).",
        "schema": {"type": "string"},
    },
    "RateLimit-Policy": {
        "description": "The rule: requests in a window of seconds.",
        "schema": {"type": "string"},
    },
    "Retry-After": {
        "description": "Seconds after which the same request may succeed.",
        "schema": {"type": "integer", "minimum": 1},
    },
    "Location": {"description": "Where it is.", "schema": {"type": "string"}},
    "WWW-Authenticate": {"description": "How to sign in (RFC 6750).", "schema": {"type": "string"}},
    "Allow": {"description": "The methods of the resource.", "schema": {"type": "string"}},
}

_STATUS_TEXT: Final = {200: "Done", 201: "Made", 202: "Taken", 204: "Done; there is nothing to say"}


_OF_COMMANDS: Final[tuple[Code, ...]] = (
    "not_found",
    "forbidden",
    "conflict",
    "client_id_reused",
    "stale",
    "storage_full",
)


def refusals_of(route: Route, *, has_body: bool, has_parameters: bool, in_path: bool) -> list[Code]:
    """All codes that a route may answer with."""
    is_action = not route.is_command and route.method != "GET"
    kinds: tuple[tuple[bool, tuple[Code, ...]], ...] = (
        (True, ("internal",)),
        (bool(route.rule), ("rate_limited", "unavailable")),
        (not route.public, ("unauthenticated", "token_expired")),
        (has_body, ("malformed", "invalid", "too_large", "unsupported")),
        (has_parameters, ("malformed",)),
        (has_parameters and route.rule != "", ("invalid",)),
        (in_path, ("not_found",)),
        (route.is_command, _OF_COMMANDS),
        (is_action, ("stale", "storage_full", "not_found")),
        (True, route.refusals),
    )
    return list(dict.fromkeys(code for holds, codes in kinds if holds for code in codes))


@lru_cache(maxsize=4)
def document(controllers: tuple[type[Controller], ...], title: str, version: str) -> bytes:
    """The document, as JSON.  It takes a while and depends on nothing else, so it is kept.

    Raises ValueError as `list_handlers`."""
    app = Litestar(
        route_handlers=controllers,
        dependencies={
            "call": Provide(provide_call, sync_to_thread=False),
            "visit": Provide(provide_visit, sync_to_thread=False),
        },
        plugins=[StrictBodies()],
        logging_config=None,
        openapi_config=OpenAPIConfig(
            title=title,
            version=version,
            create_examples=False,
            path=_THEIRS,
            operation_id_creator=lambda handler, _method, _path: handler.handler_name,
        ),
    )
    draft: Schema = app.openapi_schema.to_schema()
    # In the order of the table, which is the one to read.
    ours = (one for one in app.routes if not f"{one.path}/".startswith(_THEIRS))
    pairs = sorted(list_handlers(ours), key=lambda pair: ROUTES.index(pair[0]))
    wanted = _Wanted(pairs)
    refused: dict[str, Schema] = {}
    paths: dict[str, Schema] = {}
    for route, handler in pairs:
        operation = draft["paths"][route.path][route.method.lower()]
        paths.setdefault(route.path, {})[route.method.lower()] = _operation(
            route, handler, operation, wanted, refused
        )
    _link(paths)
    return msgspec.json.encode(
        {
            "openapi": "3.1.0",
            "info": {"title": title, "version": version, "description": DESCRIPTION},
            "servers": [{"url": "/"}],
            "tags": [{"name": name, "description": text} for name, text in TAGS],
            "paths": paths,
            "components": {
                "schemas": wanted.components,
                "responses": dict(sorted(refused.items())),
                "headers": _HEADERS,
                "securitySchemes": {
                    "bearer": {
                        "type": "http",
                        "scheme": "bearer",
                        "description": "The `access_token` of a sign-in (RFC 6750).",
                    }
                },
            },
        }
    )


def _link(paths: dict[str, Schema]) -> None:
    """Say of every answer that makes something which operations it leads to: those that need nothing else,
    and use what is newest in it."""
    operations = [one for item in paths.values() for one in item.values()]
    for maker in operations:
        gives = _LEADS_TO.get(maker["operationId"], {})
        newest = list(gives)[-1] if gives else ""
        links: Schema = {}
        for other in operations:
            needs = {one["name"] for one in other.get("parameters", ()) if one["in"] == "path"}
            if newest in needs and needs <= set(gives):
                links[other["operationId"]] = {
                    "operationId": other["operationId"],
                    "parameters": {name: gives[name] for name in sorted(needs)},
                }
        for status, answer in maker["responses"].items():
            if links and status in ("200", "201"):
                answer["links"] = links


class _Wanted:
    """The schemas of everything that handlers take and give."""

    def __init__(self, pairs: Iterable[tuple[Route, HTTPRouteHandler]]) -> None:
        types: dict[str, Any] = {"problem": Problem, "ready": ReadyDoc, "stream": StreamEvent}
        for route, handler in pairs:
            body = handler.parsed_data_field
            if body is not None:
                types[f"body {route.name}"] = body.raw
            answer = answer_type(handler)
            if answer is not None and route.name not in _PLAIN:
                types[f"answer {route.name}"] = answer
        schemas, self.components = describe(types.values())
        self._schemas = dict(zip(types, schemas, strict=True))

    def __getitem__(self, name: str) -> Schema:
        return self._schemas[name]

    def get(self, name: str) -> Schema | None:
        """None: there is no such body."""
        return self._schemas.get(name)


_EVENT_PAGE: Final[list[Any]] = [
    ("items", list[EventUnion]),
    ("next_cursor", Optional[Annotated[str, Meta(max_length=1024)]], None),  # noqa: UP045
]
EventPage: Any = msgspec.defstruct("EventPage", _EVENT_PAGE, kw_only=True)
"""`Page` of all kinds of events: a generic's name would list them."""


def answer_type(handler: HTTPRouteHandler) -> Any:
    """What a handler answers with; None for nothing."""
    annotation = handler.parsed_fn_signature.return_type.raw
    if get_origin(annotation) is Response:
        (annotation,) = get_args(annotation)
    if get_origin(annotation) is Page and EventFrame in get_args(get_args(annotation)[0]):
        return EventPage
    return None if annotation in (None, type(None)) else annotation


def _operation(
    route: Route,
    handler: HTTPRouteHandler,
    draft: Schema,
    wanted: _Wanted,
    refused: dict[str, Schema],
) -> Schema:
    text = " ".join(inspect.cleandoc(handler.fn.__doc__ or "").split())
    parameters = [_parameter(handler, one) for one in draft.get("parameters") or ()]
    body = wanted.get(f"body {route.name}")
    operation: Schema = {
        "operationId": route.name,
        "tags": list(handler.resolve_tags()),
        "summary": text.partition(". ")[0].rstrip("."),
        "description": text,
        "security": [] if route.public else [{"bearer": []}],
    }
    if parameters:
        operation["parameters"] = parameters
    if body is not None:
        media: Schema = {"schema": body}
        if route.name in EXAMPLES:
            media["example"] = EXAMPLES[route.name]
        operation["requestBody"] = {"required": True, "content": {JSON: media}}
    codes = refusals_of(
        route,
        has_body=body is not None,
        has_parameters=bool(parameters),
        in_path=any(one["in"] == "path" for one in parameters),
    )
    operation["responses"] = {
        **_successes(route, handler, wanted),
        **_refusals(codes, refused, limited=bool(route.rule)),
    }
    return operation


def _parameter(handler: HTTPRouteHandler, draft: Schema) -> Schema:
    found = {
        name: draft[name] for name in ("name", "in", "required", "description", "schema") if name in draft
    }
    schema = dict(found.get("schema", {}))
    # Absent is not null: a parameter that is given has a value.
    choices = [one for one in schema.pop("oneOf", ()) if one.get("type") != "null"]
    if len(choices) == 1:
        schema = {**schema, **choices[0]}
    for name in ("title", "description"):
        schema.pop(name, None)
    if isinstance(schema.get("type"), list):
        schema["type"] = next(one for one in schema["type"] if one != "null")
    if not schema.get("default", True):
        # Stands for a parameter that was not given.
        del schema["default"]
    for field in handler.parsed_fn_signature.parameters.values():
        bounds = field.kwarg_definition
        if isinstance(bounds, ParameterKwarg) and draft["name"] in (field.name, bounds.name):
            # The framework leaves out a bound of 0, and writes whole ones as 1.0.
            limits = {"minimum": bounds.ge, "maximum": bounds.le}
            schema.update({name: int(value) for name, value in limits.items() if value is not None})
    found["schema"] = schema
    return found


def _header(name: str) -> Schema:
    return {"$ref": f"#/components/headers/{name}"}


def _headers(*names: str, limited: bool) -> Schema:
    usual = ("X-Request-Id", *(("RateLimit", "RateLimit-Policy") if limited else ()))
    return {name: _header(name) for name in (*usual, *names)}


def _successes(route: Route, handler: HTTPRouteHandler, wanted: _Wanted) -> Schema:
    media_type, schema = _PLAIN.get(route.name, (JSON, wanted.get(f"answer {route.name}")))
    statuses = [handler.status_code]
    if route.creates:
        statuses = [200, 201]
    found: Schema = {}
    for status in statuses:
        there = route.creates and status == 200
        answer: Schema = {
            "description": "It was there already" if there else _STATUS_TEXT[status],
            "headers": _headers(*(("Location",) if route.creates else ()), limited=bool(route.rule)),
        }
        if schema is not None:
            answer["content"] = {media_type: {"schema": schema}}
        found[str(status)] = answer
    if route.name == "readiness":
        found["503"] = {**found["200"], "description": "Not ready"}
    return found


def _refusals(codes: Sequence[Code], refused: dict[str, Schema], *, limited: bool) -> Schema:
    """References by status; what they refer to is left in `refused`."""
    by_status: dict[int, list[Code]] = {}
    for code in codes:
        by_status.setdefault(problems.TABLE[code][0], []).append(code)
    found: Schema = {}
    for status, some in sorted(by_status.items()):
        some.sort()
        name = "_".join((f"refused_{status}", *some)) + ("" if limited else "_unlimited")
        refused[name] = _refusal(status, some, limited=limited)
        found[str(status)] = {"$ref": f"#/components/responses/{name}"}
    return found


def _refusal(status: int, codes: Sequence[Code], *, limited: bool) -> Schema:
    extra = {401: ("WWW-Authenticate",), 429: ("Retry-After",), 503: ("Retry-After",)}.get(status, ())
    exact: Schema = {
        "type": "object",
        "properties": {"status": {"const": status}, "code": {"enum": list(codes)}},
    }
    schema: Schema = {"allOf": [{"$ref": "#/components/schemas/Problem"}, exact]}
    return {
        "description": "; ".join(f"`{code}`: {problems.TABLE[code][1].lower()}" for code in codes),
        "headers": _headers(*extra, limited=limited),
        "content": {problems.MEDIA_TYPE: {"schema": schema}},
    }
