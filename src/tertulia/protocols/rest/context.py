"""Who asks and how: what every handler gets beside its parameters."""

from __future__ import annotations

from typing import Annotated, Any, Final

import msgspec
from litestar.connection import Request
from litestar.di import NamedDependency
from litestar.params import HeaderParameter, PathParameter, QueryParameter, SkipValidation
from litestar.response import Response

from tertulia.application.core import Caller
from tertulia.domain.commands import Accepted, Command
from tertulia.protocols.rest.answers import Page
from tertulia.protocols.rest.cursors import MAX_LENGTH, Cursors, Values
from tertulia.protocols.rest.services import RestServices

CONTEXT: Final = "tertulia.context"
"""Where the guard leaves the `Visit` or `Call` in the scope."""

MAX_LIMIT: Final = 200


class Visit(msgspec.Struct, frozen=True, kw_only=True):
    """A request for which nobody has signed in."""

    services: RestServices
    cursors: Cursors
    address: str
    """Where it comes from; "" when that is unknown."""

    request_id: str
    given: frozenset[str]
    """Names in the query."""


class Call(Visit, frozen=True, kw_only=True):
    """A request of someone who has signed in, until the token's end (Unix ms)."""

    caller: Caller
    expires_at_ms: int

    async def do(self, command: Command) -> Accepted:
        """Carry out a command.  Raises Refusal."""
        return await self.services.registry.dispatch(self.caller, command)

    def opened(self, name: str, cursor: str, *places: str | int) -> Values | None:
        """Where the list goes on.  Raises Refusal `invalid`."""
        return self.cursors.open((name, self.caller.user, *places), cursor) if cursor else None

    def after_id(self, name: str, cursor: str, *places: str | int) -> str:
        """The id that the list goes on after; "" at its beginning."""
        values = self.opened(name, cursor, *places)
        return str(values[0]) if values else ""

    def after_seq(self, name: str, cursor: str, *places: str | int) -> int:
        """The seq that the list goes on after; 0 at its beginning."""
        values = self.opened(name, cursor, *places)
        return int(values[0]) if values else 0

    def after_place(self, name: str, cursor: str, *places: str | int) -> tuple[str, int] | None:
        """The conversation and seq that the list goes on after; None at its beginning."""
        values = self.opened(name, cursor, *places)
        return (str(values[0]), int(values[1])) if values else None

    def sealed(self, name: str, values: Values | None, *places: str | int) -> str | None:
        """The cursor for the next page; None: there is none."""
        return self.cursors.seal((name, self.caller.user, *places), values) if values else None

    def page(
        self, name: str, items: list[Any], following: Values | str | int | None, *places: str | int
    ) -> Page[Any]:
        """A page of the list `name` (of the resource `places`) that goes on after `following`."""
        values = (following,) if isinstance(following, str | int) and following else following or None
        assert not isinstance(values, str | int)
        return Page(items=items, next_cursor=self.sealed(name, values, *places))


def provide_call(request: Request[Any, Any, Any]) -> Call:
    """The dependency `call`."""
    return request.scope[CONTEXT]  # pyright: ignore - put there by the guard


def provide_visit(request: Request[Any, Any, Any]) -> Visit:
    """The dependency `visit`."""
    return request.scope[CONTEXT]  # pyright: ignore - put there by the guard


CallDependency = NamedDependency[SkipValidation[Call]]
VisitDependency = NamedDependency[SkipValidation[Visit]]

# --- parameters ----------------------------------------------------------------------------------

# None of them may be null: the framework would read the text "null" as that.
IdempotencyKey = Annotated[
    str,
    HeaderParameter(
        name="Idempotency-Key",
        max_length=128,
        pattern=r"^[\x21-\x7e]*$",
        description="A repeat with the same key and the same request gets the first answer again; with "
        "another request it is refused.",
    ),
]
Cursor = Annotated[
    str,
    QueryParameter(max_length=MAX_LENGTH, description="`next_cursor` of the page before, as it was."),
]
Limit = Annotated[int, QueryParameter(ge=1, le=MAX_LIMIT, description="Items on a page.")]
PathId = Annotated[str, PathParameter(min_length=1, max_length=64)]
PathSeq = Annotated[int, PathParameter(ge=1, le=2**53)]
QuerySeq = Annotated[int, QueryParameter(ge=0, le=2**53)]


def made(accepted: Accepted, location: str) -> Response[Accepted]:
    """201 with where it is; 200 when it was there already."""
    return created(accepted, location, new=not accepted.repeated)


def created(document: Any, location: str, *, new: bool = True) -> Response[Any]:
    """A document of something that was made."""
    headers = {"location": location} if location else {}
    return Response(document, status_code=201 if new else 200, headers=headers)
