"""From what was raised to a problem document."""

from __future__ import annotations

import re
from typing import Any, Final, cast

from litestar.connection import Request
from litestar.exceptions import HTTPException, ValidationException
from litestar.response import Response

from tertulia.domain.errors import Code, Refusal
from tertulia.protocols.rest import problems
from tertulia.protocols.rest.guard import allowed
from tertulia.protocols.rest.shell import CODE, REQUEST_ID

_Request = Request[Any, Any, Any]

_MISSING: Final = re.compile(r"Missing required \w+ parameter '(?P<name>[\w-]+)'")
_BY_STATUS: Final[dict[int, tuple[Code, str]]] = {
    400: ("malformed", "The request cannot be read."),
    404: ("not_found", "There is nothing here."),
    405: ("unsupported", "This method is not for this resource."),
    413: ("too_large", "The body is too large."),
    415: ("unsupported", "Send a body of the type application/json."),
}


def on_refusal(request: _Request, refusal: Refusal) -> Response[bytes]:
    """A refusal of ours."""
    return _answer(request, refusal, problems.status_of(refusal))


def on_http_exception(request: _Request, error: HTTPException) -> Response[bytes] | Response[None]:
    """A refusal of the framework's, without its own words; and the guard's answer to OPTIONS (204)."""
    if isinstance(error, ValidationException):
        return on_refusal(request, _validation(error))
    if error.status_code == 204:
        return Response(None, status_code=204, headers=error.headers)
    code, detail = _BY_STATUS.get(error.status_code, ("internal", "The server failed; try again."))
    if code == "internal":
        raise error
    response = _answer(request, Refusal(code, detail), error.status_code)
    allow = (error.headers or {}).get("allow")
    if allow is not None:
        response.headers["allow"] = allowed(allow.split(", "))
    return response


def on_exception(request: _Request, error: Exception) -> Response[bytes]:
    """Anything else is a defect: the shell logs it and answers."""
    raise error


def _validation(error: ValidationException) -> Refusal:
    missing = _MISSING.match(error.detail)
    if missing is not None:
        return Refusal("malformed", "This parameter is missing.", field=missing["name"])
    found = cast(list[dict[str, str]], error.extra or [{}])
    first = found[0]
    key = first.get("key") or None
    if key == "data":
        return Refusal("malformed", "A JSON body is needed.")
    return Refusal("malformed", f"{first.get('message') or 'A parameter is out of bounds'}.", field=key)


def _answer(request: _Request, refusal: Refusal, status: int) -> Response[bytes]:
    scope: Any = request.scope
    scope[CODE] = refusal.code
    document = problems.problem(refusal, scope[REQUEST_ID], status)
    token_sent = "authorization" in request.headers
    return Response(
        problems.body_of(document),
        status_code=status,
        media_type=problems.MEDIA_TYPE,
        headers=dict(problems.headers_of(refusal, status, token_sent=token_sent)),
    )
