"""Who people are to each other: profiles, finding someone, and whose presence one may see."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import Final, Literal

import msgspec

from tertulia.application.core import Caller
from tertulia.application.new_users import require_handle
from tertulia.domain import settings as settings_rules
from tertulia.domain.errors import Refusal, not_found
from tertulia.domain.names import NameRefused, normalise_email, normalise_phone
from tertulia.domain.records import (
    Block,
    Contact,
    Conversation,
    Identity,
    Key,
    LastSeen,
    Member,
    Record,
    Settings,
    User,
    Versioned,
)
from tertulia.domain.settings import SettingsDocument
from tertulia.domain.visibility import (
    ProfileView,
    Relation,
    allows,
    exists_for,
    findable,
    pair_of,
    profile,
)
from tertulia.ports.message_store import Directory

MAX_BATCH: Final = 500
_PAGE: Final = 500


class Known(msgspec.Struct, frozen=True, kw_only=True):
    """Another user's rows as far as the viewer's sight of them depends on them, from one snapshot."""

    user: User | None
    settings: SettingsDocument
    relation: Relation

    @property
    def exists(self) -> bool:
        """Whether the user exists for the viewer."""
        return exists_for(self.user, self.relation)


class Profiles:
    """Reads about people.  Callers limit how often one person may ask."""

    def __init__(self, directory: Directory) -> None:
        self._directory = directory

    # --- profiles --------------------------------------------------------------------------------

    async def get(self, caller: Caller, user: str) -> ProfileView:
        """One person's profile.

        Raises Refusal `not_found` when there is no such person or they blocked the caller."""
        found = (await self.many(caller, [user])).get(user)
        if found is None:
            raise not_found("user")
        return found

    async def many(self, caller: Caller, users: Iterable[str]) -> dict[str, ProfileView]:
        """The profiles of those of `users` that the caller may see, in the order asked for.

        Raises Refusal `limit_reached` for more than 500 different ones."""
        views: dict[str, ProfileView] = {}
        for known in await self._known(caller, users):
            view = profile(known.user, known.settings, known.relation)
            if view is not None:
                views[view.id] = view
        return views

    # --- finding ---------------------------------------------------------------------------------

    async def by_handle(self, caller: Caller, handle: str) -> ProfileView:
        """The person who has this handle now.  Raises Refusal `invalid`, `not_found`."""
        normal = require_handle(handle)
        people = await self._directory.scan(User, (caller.tenant, normal), index="handle", limit=1)
        if not people:
            raise not_found("user")
        return await self.get(caller, people[0].id)

    async def by_email(self, caller: Caller, email: str) -> ProfileView:
        """The person who verified this address and agreed to be found by it.

        Raises Refusal `invalid`, `not_found`."""
        return await self._by_address(caller, "email", _normal("email", email))

    async def by_phone(self, caller: Caller, phone: str, region: str | None = None) -> ProfileView:
        """As `by_email`, for a telephone number; `region` reads one without `+`."""
        return await self._by_address(caller, "phone", _normal("phone", phone, region))

    async def _by_address(self, caller: Caller, kind: Literal["email", "phone"], value: str) -> ProfileView:
        identity = await self._directory.get(Identity, caller.tenant, kind, value)
        if identity is None or not identity.verified_at:
            raise not_found("user")
        if identity.user != caller.user:
            # The setting is asked as well: the row's mark is a copy that could lag behind it.
            settings = await self._directory.get(Settings, caller.tenant, identity.user)
            if not identity.findable or not findable(kind, _document(settings)):
                raise not_found("user")
        return await self.get(caller, identity.user)

    # --- presence --------------------------------------------------------------------------------

    async def may_see(self, viewer: Caller, users: Iterable[str]) -> dict[str, bool]:
        """Those of `users` who exist for the viewer → whether `last_seen` may be shown.

        Raises Refusal `limit_reached` for more than 500 different ones."""
        known = await self._known(viewer, users)
        return {
            one.relation.owner: allows(one.settings.privacy.last_seen, one.relation)
            for one in known
            if one.exists
        }

    async def last_seen(self, tenant: str, user: str) -> int:
        """When the user's last session ended (Unix ms); 0 when that is not known.  Not filtered: ask
        `may_see` first."""
        row = await self._directory.get(LastSeen, tenant, user)
        return row.at if row is not None else 0

    # --- for other use cases ---------------------------------------------------------------------

    async def knows(self, caller: Caller, user: str) -> bool:
        """Whether the caller knows that this user is there: they can see the profile, or both are
        members of one conversation, direct ones included."""
        (known,) = await self._known(caller, [user])
        return known.exists or await self.meets(caller.tenant, caller.user, user)

    async def direct(self, tenant: str, one: str, other: str) -> Conversation | None:
        """The direct conversation of two users, if it was ever opened."""
        found = await self._directory.scan(Conversation, (tenant, pair_of(one, other)), index="pair", limit=1)
        return found[0] if found else None

    async def meets(self, tenant: str, one: str, other: str) -> bool:
        """Whether two users are members of one conversation."""
        after: Key | None = None
        while True:
            rows = await self._directory.scan(Member, (tenant, one), index="user", after=after, limit=_PAGE)
            if not rows:
                return False
            wanted: list[tuple[type[Record], Key]] = [
                (Member, (tenant, row.conversation, other)) for row in rows
            ]
            _, members = await self._directory.snapshot([], wanted)
            if any(member is not None for member in members):
                return True
            after = (tenant, one, rows[-1].conversation)

    async def _known(self, caller: Caller, users: Iterable[str]) -> list[Known]:
        wanted = list(dict.fromkeys(users))
        if len(wanted) > MAX_BATCH:
            raise Refusal("limit_reached", f"Ask for at most {MAX_BATCH} people at once.")
        if not wanted:
            return []
        tenant, viewer = caller.tenant, caller.user
        rows: list[tuple[type[Record], Key]] = []
        for user in wanted:
            rows += [
                (User, (tenant, user)),
                (Settings, (tenant, user)),
                (Contact, (tenant, viewer, user)),
                (Block, (tenant, viewer, user)),
                (Block, (tenant, user, viewer)),
            ]
        _, found = await self._directory.snapshot([], rows)
        return [_one(viewer, user, found[n * 5 : n * 5 + 5]) for n, user in enumerate(wanted)]


def _one(viewer: str, owner: str, rows: Sequence[Versioned[Record] | None]) -> Known:
    user, settings, contact, blocks, blocked = (row.record if row is not None else None for row in rows)
    return Known(
        user=user if isinstance(user, User) else None,
        settings=_document(settings if isinstance(settings, Settings) else None),
        relation=Relation(
            viewer=viewer,
            owner=owner,
            contact=contact.state if isinstance(contact, Contact) else "none",
            blocks=blocks is not None,
            blocked=blocked is not None,
        ),
    )


def _document(row: Settings | None) -> SettingsDocument:
    return settings_rules.read(row.document if row is not None else None)


def _normal(kind: Literal["email", "phone"], text: str, region: str | None = None) -> str:
    try:
        return normalise_email(text) if kind == "email" else normalise_phone(text, region)
    except NameRefused as refused:
        raise Refusal(
            "invalid", f"`{kind}` is not in the form of one ({refused.reason}).", field=kind
        ) from None
