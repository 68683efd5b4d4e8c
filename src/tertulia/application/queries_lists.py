"""One's own lists: profile, settings, contacts, blocks, drafts, what waits to be sent; finding people."""

from __future__ import annotations

import msgspec

from tertulia.application.core import Caller
from tertulia.application.profiles import Profiles
from tertulia.application.queries_docs import (
    BlockDoc,
    ContactDoc,
    DraftDoc,
    IdentityDoc,
    MeDoc,
    ScheduledDoc,
    UserDoc,
)
from tertulia.domain import settings as settings_rules
from tertulia.domain.commands import SendMessage
from tertulia.domain.errors import Refusal, not_found
from tertulia.domain.records import Block, Contact, Draft, Identity, Scheduled, Settings, User
from tertulia.domain.settings import SettingsDocument
from tertulia.domain.visibility import ProfileView
from tertulia.ports.message_store import Directory

_send = msgspec.json.Decoder(SendMessage)


class ListQueries:
    """Reads of what is the caller's own, and of people."""

    def __init__(self, directory: Directory, profiles: Profiles) -> None:
        self._directory = directory
        self._profiles = profiles

    async def me(self, caller: Caller) -> MeDoc:
        """The caller's own profile, with their addresses."""
        user = await self._directory.get(User, caller.tenant, caller.user)
        if user is None:
            raise not_found("user")
        rows = await self._directory.scan(Identity, (caller.tenant, caller.user), index="user", limit=100)
        return MeDoc(
            id=user.id,
            handle=user.handle,
            name=user.name,
            photo=user.photo,
            status=user.status,
            bot=user.bot,
            created_at=user.created_at,
            identities=[
                IdentityDoc(kind=row.kind, value=row.value, verified=bool(row.verified_at)) for row in rows
            ],
        )

    async def settings(self, caller: Caller) -> SettingsDocument:
        """The caller's whole settings document."""
        row = await self._directory.get(Settings, caller.tenant, caller.user)
        return settings_rules.read(row.document if row is not None else None)

    async def contacts(
        self, caller: Caller, *, after: str = "", limit: int = 50
    ) -> tuple[list[ContactDoc], str]:
        """Contacts and requests both ways, by user id; and where the next page begins."""
        prefix = (caller.tenant, caller.user)
        rows = await self._directory.scan(
            Contact, prefix, after=(*prefix, after) if after else None, limit=limit + 1
        )
        page = rows[:limit]
        profiles = await self._profiles.many(caller, [row.other for row in page])
        items: list[ContactDoc] = []
        for row in page:
            known = profiles.get(row.other)
            items.append(
                ContactDoc(
                    user=row.other,
                    state=row.state,
                    at=row.at,
                    handle=known.handle if known is not None else "",
                    name=known.name if known is not None else "",
                    photo=known.photo if known is not None else "",
                )
            )
        return items, page[-1].other if len(rows) > limit else ""

    async def blocks(self, caller: Caller, *, after: str = "", limit: int = 50) -> tuple[list[BlockDoc], str]:
        """Whom the caller blocked, by user id; and where the next page begins."""
        prefix = (caller.tenant, caller.user)
        rows = await self._directory.scan(
            Block, prefix, after=(*prefix, after) if after else None, limit=limit + 1
        )
        items = [BlockDoc(user=row.other, at=row.at) for row in rows[:limit]]
        return items, items[-1].user if len(rows) > limit else ""

    async def drafts(
        self, caller: Caller, *, after: tuple[str, int] | None = None, limit: int = 50
    ) -> tuple[list[DraftDoc], tuple[str, int] | None]:
        """The caller's drafts by conversation and thread; and where the next page begins."""
        prefix = (caller.tenant, caller.user)
        rows = await self._directory.scan(
            Draft, prefix, after=(*prefix, *after) if after is not None else None, limit=limit + 1
        )
        page = rows[:limit]
        items = [
            DraftDoc(
                conversation=row.conversation,
                thread=row.thread or None,
                text=row.text,
                reply_to=row.reply_to or None,
                at=row.at,
            )
            for row in page
        ]
        return items, (page[-1].conversation, page[-1].thread) if len(rows) > limit else None

    async def scheduled(
        self, caller: Caller, *, after: str = "", limit: int = 50
    ) -> tuple[list[ScheduledDoc], str]:
        """The caller's messages that wait to be sent, oldest first; and where the next page begins."""
        prefix = (caller.tenant, caller.user)
        rows = await self._directory.scan(
            Scheduled, prefix, after=(*prefix, after) if after else None, limit=limit + 1
        )
        items: list[ScheduledDoc] = []
        for row in rows[:limit]:
            send = _send.decode(row.command)
            items.append(
                ScheduledDoc(
                    id=row.id,
                    conversation=row.conversation,
                    send_at=row.send_at,
                    content=send.content,
                    thread=send.thread,
                    reply_to=send.reply_to,
                    created_at=row.created_at,
                )
            )
        return items, items[-1].id if len(rows) > limit else ""

    # --- people ------------------------------------------------------------------------------------

    async def user(self, caller: Caller, user: str) -> UserDoc:
        """Someone's profile.  Raises Refusal `not_found`."""
        return user_doc(await self._profiles.get(caller, user))

    async def find(
        self, caller: Caller, *, handle: str | None, email: str | None, phone: str | None
    ) -> list[UserDoc]:
        """The person with exactly this handle or address, if the caller may find them.

        Raises Refusal `invalid` unless exactly one of the three is given."""
        if sum(one is not None for one in (handle, email, phone)) != 1:
            raise Refusal("invalid", "Give one of `handle`, `email` and `phone`.")
        try:
            if handle is not None:
                found = await self._profiles.by_handle(caller, handle.removeprefix("@"))
            elif email is not None:
                found = await self._profiles.by_email(caller, email)
            else:
                found = await self._profiles.by_phone(caller, phone or "")
        except Refusal as refusal:
            if refusal.code != "not_found":
                raise
            return []
        return [user_doc(found)]


def user_doc(view: ProfileView) -> UserDoc:
    """A profile as a document."""
    return UserDoc(
        id=view.id,
        handle=view.handle,
        name=view.name,
        photo=view.photo,
        status=view.status,
        bot=view.bot,
        contact_state=view.contact_state,
        blocked_by_me=view.blocked_by_me,
    )
