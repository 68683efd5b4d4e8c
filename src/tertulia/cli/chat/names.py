"""Who is who: names for ids, fetched when somebody first asks for them."""

from __future__ import annotations

import asyncio
from collections.abc import Callable

from tertulia.cli.chat.safe import clean_line, clip
from tertulia_client import ApiError, BadAnswer, Client, Unreachable
from tertulia_client.models import MemberDoc, UserDoc

UNKNOWN = "…"
GONE = "deleted account"
MAX_NAME = 40
_AT_ONCE = 4


class Person:
    """What shows of someone; safe to show."""

    __slots__ = ("bot", "handle", "name", "status")

    def __init__(self, name: str, handle: str, *, status: str = "", bot: bool = False) -> None:
        self.handle = clip(clean_line(handle), MAX_NAME)
        self.name = clip(clean_line(name), MAX_NAME) or self.handle or UNKNOWN
        self.status = clip(clean_line(status), 120)
        self.bot = bot


class Names:
    """Everyone who has been seen.  `learned` is called when a name has come in."""

    def __init__(self, client: Client, learned: Callable[[], None]) -> None:
        self._client = client
        self._learned = learned
        self._people: dict[str, Person] = {}
        self._handles: dict[str, str] = {}
        self._stale: set[str] = set()
        self._wanted: dict[str, None] = {}
        self._wake = asyncio.Event()

    def name(self, user: str) -> str:
        """How to call someone; … until it is known."""
        person = self.person(user)
        return person.name if person is not None else UNKNOWN

    def person(self, user: str) -> Person | None:
        """What is known of someone; asked for when that is nothing, or out of date."""
        known = self._people.get(user)
        if user and (known is None or user in self._stale):
            self._wanted[user] = None
            self._wake.set()
        return known

    def user_of(self, handle: str) -> str | None:
        """The id of someone who has been seen."""
        return self._handles.get(handle.casefold())

    def learn(self, doc: UserDoc | MemberDoc) -> None:
        """A document that says who somebody is."""
        if isinstance(doc, MemberDoc):
            if doc.user not in self._people:
                self._put(doc.user, Person(doc.name, doc.handle))
        else:
            self._put(doc.id, Person(doc.name, doc.handle, status=doc.status, bot=doc.bot))

    def changed(self, user: str) -> None:
        """Somebody's profile is not what it was."""
        if user in self._people:
            self._stale.add(user)

    async def run(self) -> None:
        """Fetch what is asked for, until cancelled."""
        while True:
            await self._wake.wait()
            self._wake.clear()
            while self._wanted:
                some = list(self._wanted)[:_AT_ONCE]
                answers = await asyncio.gather(*(self._fetch(user) for user in some))
                for user in some:
                    self._wanted.pop(user, None)
                self._learned()
                if not any(answers):
                    # No connection: what is shown then is asked for again.
                    await asyncio.sleep(2.0)

    async def _fetch(self, user: str) -> bool:
        try:
            doc = await self._client.person(user)
        except ApiError as error:
            if error.code == "not_found":
                self._put(user, Person(GONE, ""))
                return True
            return False
        except (Unreachable, BadAnswer):
            return False
        self._put(user, Person(doc.name, doc.handle, status=doc.status, bot=doc.bot))
        return True

    def _put(self, user: str, person: Person) -> None:
        self._stale.discard(user)
        self._people[user] = person
        if person.handle:
            self._handles[person.handle.casefold()] = user
