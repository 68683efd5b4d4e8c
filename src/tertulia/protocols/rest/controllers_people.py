"""Other people: profiles, presence, contacts, reports."""

from __future__ import annotations

from typing import Annotated

from litestar import Controller, delete, get, post, put
from litestar.params import JSONBody, QueryParameter
from litestar.response import Response

from tertulia.application.queries_docs import ContactDoc, UserDoc
from tertulia.domain import commands as c
from tertulia.domain.accounts import client_key
from tertulia.domain.commands import Accepted
from tertulia.domain.errors import Refusal
from tertulia.protocols.rest.answers import Page, PresenceDoc
from tertulia.protocols.rest.context import (
    Call,
    CallDependency,
    Cursor,
    IdempotencyKey,
    Limit,
    PathId,
    made,
)
from tertulia.protocols.rest.requests import ReportBody


def _guess(call: Call) -> None:
    """Take from the limits on finding people by their addresses.  Raises Refusal `rate_limited`."""
    caller, limiter = call.caller, call.services.limiter
    for rule, key in (
        ("find", (caller.tenant, caller.user)),
        ("find.client", (caller.tenant, client_key(call.address))),
    ):
        decision = limiter.take(rule, key)
        if not decision.allowed:
            raise Refusal("rate_limited", "Too many searches; wait.", retry_after_ms=decision.retry_after_ms)


class UsersController(Controller):
    """`/v1/users`."""

    path = "/v1/users"
    tags = ("People",)

    @get("")
    async def find_users(
        self,
        call: CallDependency,
        handle: Annotated[str, QueryParameter(max_length=128)] = "",
        email: Annotated[str, QueryParameter(max_length=254)] = "",
        phone: Annotated[str, QueryParameter(max_length=32)] = "",
    ) -> Page[UserDoc]:
        """The person with exactly this handle, e-mail address or phone number; by an address only those
        who allow it.  Exactly one of the three is given."""
        if email or phone:
            _guess(call)
        lists = call.services.queries.lists
        return Page(
            items=await lists.find(
                call.caller, handle=handle or None, email=email or None, phone=phone or None
            )
        )

    @get("/{user:str}")
    async def get_user(self, call: CallDependency, user: PathId) -> UserDoc:
        """Someone's profile."""
        return await call.services.queries.lists.user(call.caller, user)

    @get("/{user:str}/presence")
    async def get_presence(self, call: CallDependency, user: PathId) -> PresenceDoc:
        """Whether someone is there, as far as they show it."""
        shown = await call.services.presence.look(call.caller, user)
        return PresenceDoc(user=user, state=shown.state, last_seen=shown.last_seen or None)


class ContactsController(Controller):
    """`/v1/contacts`."""

    path = "/v1/contacts"
    tags = ("People",)

    @get("")
    async def list_contacts(
        self, call: CallDependency, cursor: Cursor = "", limit: Limit = 50
    ) -> Page[ContactDoc]:
        """Contacts, and requests both ways."""
        after = call.after_id("contacts", cursor)
        items, following = await call.services.queries.lists.contacts(call.caller, after=after, limit=limit)
        return call.page("contacts", items, following)

    @put("/{user:str}")
    async def add_contact(
        self, call: CallDependency, user: PathId, client_id: IdempotencyKey = ""
    ) -> Accepted:
        """Ask someone to be a contact, or accept who asked."""
        return await call.do(c.RequestContact(client_id=client_id or None, user=user))

    @delete("/{user:str}", status_code=200)
    async def remove_contact(
        self, call: CallDependency, user: PathId, client_id: IdempotencyKey = ""
    ) -> Accepted:
        """End a contact, decline a request or withdraw one's own."""
        return await call.do(c.RemoveContact(client_id=client_id or None, user=user))


class ReportsController(Controller):
    """`/v1/reports`."""

    path = "/v1/reports"
    tags = ("People",)

    @post("", status_code=201)
    async def create_report(
        self, call: CallDependency, data: JSONBody[ReportBody], client_id: IdempotencyKey = ""
    ) -> Response[Accepted]:
        """Report a person, or one message of theirs, to the moderators."""
        command = c.CreateReport(
            client_id=client_id or None,
            user=data.user,
            reason=data.reason,
            note=data.note,
            conversation=data.conversation,
            seq=data.seq,
        )
        return made(await call.do(command), "")
