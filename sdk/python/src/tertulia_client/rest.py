"""The REST interface, route by route.

`Rest` groups them: `accounts`, `me`, `people`, `conversations`, `messages`.  All raise `ApiError` when
the server refuses, `Unreachable` when no answer comes, and `SignedOut` when the tokens are no good any
more.  A `client_id` makes a request safe to repeat: the repeat gets the first answer.
"""

from __future__ import annotations

from typing import Any, Literal

import msgspec

from tertulia_client.http import PAGE, Http, path
from tertulia_client.models import (
    Accepted,
    BlockDoc,
    BookmarkDoc,
    ContactDoc,
    DeviceDoc,
    DraftDoc,
    MeDoc,
    MessageDoc,
    Page,
    PresenceDoc,
    ScheduledDoc,
    SettingsDoc,
    ThreadDoc,
    TokensDoc,
    UserDoc,
)
from tertulia_client.rest_conversations import Conversations
from tertulia_client.rest_messages import Messages


class Accounts:
    """Signing up and in; none of these needs a token but `sign_out` and `change_password`."""

    def __init__(self, http: Http) -> None:
        self._http = http

    async def sign_up(
        self,
        *,
        password: str,
        handle: str,
        name: str,
        email: str | None = None,
        phone: str | None = None,
    ) -> None:
        """Ask for an account; a code is sent to the address.  The answer is the same for addresses that
        have one already."""
        body = {"email": email, "phone": phone, "password": password, "handle": handle, "name": name}
        await self._http.command("POST", path("accounts"), body)

    async def verify(self, address: str, code: str, *, device: str = "") -> TokensDoc:
        """Trade the code for an account that is signed in."""
        body = {"address": address, "code": code, "device": device or None}
        return await self._http.send("POST", path("accounts", "verify"), TokensDoc, body)

    async def resend(self, address: str) -> None:
        await self._http.command("POST", path("accounts", "resend"), {"address": address})

    async def sign_in(self, login: str, password: str, *, device: str) -> TokensDoc:
        """`login`: an address or a handle.  `device` names this login in the list of devices."""
        body = {"login": login, "password": password, "device": device}
        return await self._http.send("POST", path("sessions"), TokensDoc, body)

    async def user_token(self, token: str, *, device: str) -> TokensDoc:
        """Trade a token that the customer's backend signed."""
        body = {"token": token, "device": device}
        return await self._http.send("POST", path("sessions", "user-token"), TokensDoc, body)

    async def sign_out(self) -> None:
        """End this device's login."""
        await self._http.command("DELETE", path("sessions", "current"))

    async def reset_password(self, address: str) -> None:
        """Have a code sent; the answer is the same for unknown addresses."""
        await self._http.command("POST", path("password", "reset"), {"address": address})

    async def confirm_reset(self, address: str, code: str, password: str) -> None:
        body = {"address": address, "code": code, "password": password}
        await self._http.command("POST", path("password", "reset", "confirm"), body)

    async def change_password(self, current: str, new: str) -> None:
        await self._http.command("POST", path("password"), {"current": current, "new": new})


class Me:
    """What is one's own."""

    def __init__(self, http: Http) -> None:
        self._http = http

    async def get(self) -> MeDoc:
        return await self._http.get(path("me"), MeDoc)

    async def update(
        self,
        *,
        name: str | None = None,
        handle: str | None = None,
        photo: str | None = None,
        status: str | None = None,
        client_id: str | None = None,
    ) -> None:
        """Fields that are null stay as they are."""
        body = {"name": name, "handle": handle, "photo": photo, "status": status}
        await self._http.command("PATCH", path("me"), body, client_id=client_id)

    async def settings(self) -> SettingsDoc:
        return await self._http.get(path("me", "settings"), SettingsDoc)

    async def update_settings(self, **sections: dict[str, Any]) -> None:
        """Replace the given fields: `appearance={"theme": "dark"}`, `notifications=`, `privacy=`."""
        await self._http.command("PATCH", path("me", "settings"), sections)

    async def devices(self) -> Page[DeviceDoc]:
        return await self._http.get(path("me", "devices"), Page[DeviceDoc])

    async def revoke_device(self, device: str) -> None:
        await self._http.command("DELETE", path("me", "devices", device))

    async def drafts(self, cursor: str | None = None) -> Page[DraftDoc]:
        return await self._http.get(path("me", "drafts"), Page[DraftDoc], cursor=cursor, limit=PAGE)

    async def set_draft(
        self, conversation: str, text: str, *, thread: int | None = None, reply_to: int | None = None
    ) -> None:
        """An empty text removes the draft."""
        body = {"text": text, "thread": thread, "reply_to": reply_to}
        await self._http.command("PUT", path("me", "drafts", conversation), body)

    async def bookmarks(self, cursor: str | None = None) -> Page[BookmarkDoc]:
        return await self._http.get(path("me", "bookmarks"), Page[BookmarkDoc], cursor=cursor, limit=PAGE)

    async def add_bookmark(self, conversation: str, seq: int, note: str = "") -> None:
        await self._http.command("PUT", path("me", "bookmarks", conversation, seq), {"note": note})

    async def remove_bookmark(self, conversation: str, seq: int) -> None:
        await self._http.command("DELETE", path("me", "bookmarks", conversation, seq))

    async def mentions(self, cursor: str | None = None) -> Page[MessageDoc]:
        return await self._http.get(path("me", "mentions"), Page[MessageDoc], cursor=cursor, limit=PAGE)

    async def scheduled(self, cursor: str | None = None) -> Page[ScheduledDoc]:
        return await self._http.get(path("me", "scheduled"), Page[ScheduledDoc], cursor=cursor, limit=PAGE)

    async def cancel_scheduled(self, schedule: str) -> None:
        await self._http.command("DELETE", path("me", "scheduled", schedule))

    async def threads(self, cursor: str | None = None) -> Page[ThreadDoc]:
        return await self._http.get(path("me", "threads"), Page[ThreadDoc], cursor=cursor, limit=PAGE)

    async def blocks(self, cursor: str | None = None) -> Page[BlockDoc]:
        return await self._http.get(path("me", "blocks"), Page[BlockDoc], cursor=cursor, limit=PAGE)

    async def block(self, user: str) -> None:
        await self._http.command("PUT", path("me", "blocks", user))

    async def unblock(self, user: str) -> None:
        await self._http.command("DELETE", path("me", "blocks", user))

    async def set_presence(self, state: Literal["online", "away"]) -> None:
        await self._http.command("PUT", path("me", "presence"), {"state": state})


class People:
    """Others."""

    def __init__(self, http: Http) -> None:
        self._http = http

    async def get(self, user: str) -> UserDoc:
        return await self._http.get(path("users", user), UserDoc)

    async def find(
        self, *, handle: str | None = None, email: str | None = None, phone: str | None = None
    ) -> list[UserDoc]:
        """Exactly one of the three, exactly as it is; addresses only of those who allow it."""
        page = await self._http.get(path("users"), Page[UserDoc], handle=handle, email=email, phone=phone)
        return page.items

    async def presence(self, user: str) -> PresenceDoc:
        return await self._http.get(path("users", user, "presence"), PresenceDoc)

    async def contacts(self, cursor: str | None = None) -> Page[ContactDoc]:
        return await self._http.get(path("contacts"), Page[ContactDoc], cursor=cursor, limit=PAGE)

    async def add_contact(self, user: str) -> None:
        """Ask someone to be a contact, or accept who asked."""
        await self._http.command("PUT", path("contacts", user))

    async def remove_contact(self, user: str) -> None:
        """Also declines a request and withdraws one's own."""
        await self._http.command("DELETE", path("contacts", user))

    async def report(
        self,
        user: str,
        reason: Literal["spam", "abuse", "illegal", "other"],
        *,
        note: str = "",
        conversation: str | None = None,
        seq: int | None = None,
        client_id: str | None = None,
    ) -> Accepted:
        """Report a person, or one message of theirs."""
        body = {"user": user, "reason": reason, "note": note, "conversation": conversation, "seq": seq}
        return await self._http.command("POST", path("reports"), body, client_id=client_id)


class Rest:
    """All routes."""

    def __init__(self, http: Http) -> None:
        self.http = http
        self.accounts = Accounts(http)
        self.me = Me(http)
        self.people = People(http)
        self.conversations = Conversations(http)
        self.messages = Messages(http)

    async def events(self, log: str, after: int, limit: int = 200) -> list[msgspec.Raw]:
        """The events of a log (one's own: the user's id) that follow `after`, as their frames."""
        own = self.http.tokens is not None and log == self.http.tokens.doc.user
        where = path("me", "events") if own else path("conversations", log, "events")
        page = await self.http.get(where, Page[msgspec.Raw], after=after, limit=limit)
        return page.items
