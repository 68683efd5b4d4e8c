"""The routes about conversations."""

from __future__ import annotations

from tertulia_client.http import PAGE, Http, path
from tertulia_client.models import (
    Accepted,
    ConversationDoc,
    History,
    InviteDoc,
    MemberDoc,
    Notify,
    Page,
    PreferencesDoc,
    ReceiptDoc,
    Role,
)


class Conversations:
    """Conversations, their members, topics, invites and one's own place in them."""

    def __init__(self, http: Http) -> None:
        self._http = http

    async def list(self, cursor: str | None = None) -> Page[ConversationDoc]:
        """Those that the caller is a member of."""
        return await self._http.get(path("conversations"), Page[ConversationDoc], cursor=cursor, limit=PAGE)

    async def get(self, conversation: str) -> ConversationDoc:
        return await self._http.get(path("conversations", conversation), ConversationDoc)

    async def open_direct(self, user: str, *, client_id: str | None = None) -> ConversationDoc:
        """The one direct conversation with someone, made when it is not there yet."""
        body = {"kind": "direct", "user": user}
        return await self._http.send(
            "POST", path("conversations"), ConversationDoc, body, client_id=client_id
        )

    async def create_group(
        self,
        name: str,
        members: tuple[str, ...] = (),
        *,
        description: str = "",
        history: History = "joined",
        client_id: str | None = None,
    ) -> ConversationDoc:
        body = {
            "kind": "group",
            "name": name,
            "members": members,
            "description": description,
            "history": history,
        }
        return await self._http.send(
            "POST", path("conversations"), ConversationDoc, body, client_id=client_id
        )

    async def create_channel(
        self,
        name: str,
        slug: str,
        *,
        description: str = "",
        public: bool = True,
        members: tuple[str, ...] = (),
        client_id: str | None = None,
    ) -> ConversationDoc:
        body = {
            "kind": "channel",
            "name": name,
            "slug": slug,
            "description": description,
            "public": public,
            "members": members,
        }
        return await self._http.send(
            "POST", path("conversations"), ConversationDoc, body, client_id=client_id
        )

    async def update(
        self,
        conversation: str,
        *,
        name: str | None = None,
        description: str | None = None,
        photo: str | None = None,
        slug: str | None = None,
        public: bool | None = None,
        history: History | None = None,
        message_ttl_s: int | None = None,
        who_may_send: Role | None = None,
        client_id: str | None = None,
    ) -> None:
        """Fields that are null stay as they are."""
        body = {
            "name": name,
            "description": description,
            "photo": photo,
            "slug": slug,
            "public": public,
            "history": history,
            "message_ttl_s": message_ttl_s,
            "who_may_send": who_may_send,
        }
        await self._http.command("PATCH", path("conversations", conversation), body, client_id=client_id)

    async def delete(self, conversation: str) -> None:
        """For everyone."""
        await self._http.command("DELETE", path("conversations", conversation))

    async def channels(self, q: str = "", cursor: str | None = None) -> Page[ConversationDoc]:
        """The public channels of the tenant, by name."""
        return await self._http.get(path("channels"), Page[ConversationDoc], q=q or None, cursor=cursor)

    async def join(self, conversation: str) -> Accepted:
        return await self._http.command("POST", path("conversations", conversation, "join"))

    async def leave(self, conversation: str) -> Accepted:
        return await self._http.command("POST", path("conversations", conversation, "leave"))

    async def members(self, conversation: str, cursor: str | None = None) -> Page[MemberDoc]:
        where = path("conversations", conversation, "members")
        return await self._http.get(where, Page[MemberDoc], cursor=cursor, limit=PAGE)

    async def set_member(self, conversation: str, user: str, role: Role = "member") -> Accepted:
        """Add someone, or change their role."""
        where = path("conversations", conversation, "members", user)
        return await self._http.command("PUT", where, {"role": role})

    async def remove_member(self, conversation: str, user: str) -> Accepted:
        return await self._http.command("DELETE", path("conversations", conversation, "members", user))

    async def topics(self, conversation: str, cursor: str | None = None) -> Page[ConversationDoc]:
        where = path("conversations", conversation, "topics")
        return await self._http.get(where, Page[ConversationDoc], cursor=cursor, limit=PAGE)

    async def create_topic(
        self, conversation: str, name: str, *, client_id: str | None = None
    ) -> ConversationDoc:
        where = path("conversations", conversation, "topics")
        return await self._http.send("POST", where, ConversationDoc, {"name": name}, client_id=client_id)

    async def invites(self, conversation: str, cursor: str | None = None) -> Page[InviteDoc]:
        where = path("conversations", conversation, "invites")
        return await self._http.get(where, Page[InviteDoc], cursor=cursor, limit=PAGE)

    async def create_invite(
        self,
        conversation: str,
        *,
        expires_at: int = 0,
        max_uses: int = 0,
        client_id: str | None = None,
    ) -> Accepted:
        """The link's token is in the answer's `secret`, this once.  0: no limit."""
        where = path("conversations", conversation, "invites")
        body = {"expires_at": expires_at, "max_uses": max_uses}
        return await self._http.command("POST", where, body, client_id=client_id)

    async def revoke_invite(self, conversation: str, invite: str) -> None:
        await self._http.command("DELETE", path("conversations", conversation, "invites", invite))

    async def accept_invite(self, token: str, *, client_id: str | None = None) -> Accepted:
        return await self._http.command(
            "POST", path("invites", "accept"), {"token": token}, client_id=client_id
        )

    async def preferences(self, conversation: str) -> PreferencesDoc:
        return await self._http.get(path("conversations", conversation, "preferences"), PreferencesDoc)

    async def set_preferences(
        self,
        conversation: str,
        *,
        notify: Notify | None = None,
        muted_until: int | None = None,
        pinned: bool | None = None,
        archived: bool | None = None,
    ) -> None:
        """Fields that are null stay as they are."""
        body = {"notify": notify, "muted_until": muted_until, "pinned": pinned, "archived": archived}
        await self._http.command("PATCH", path("conversations", conversation, "preferences"), body)

    async def typing(self, conversation: str, *, composing: bool = True, thread: int | None = None) -> None:
        body = {"composing": composing, "thread": thread}
        await self._http.command("PUT", path("conversations", conversation, "typing"), body)

    async def set_cursors(
        self,
        conversation: str,
        *,
        read: int | None = None,
        received: int | None = None,
        thread: int | None = None,
    ) -> None:
        """Everything up to these seqs is read, or received; a smaller one than before changes nothing."""
        body = {"read": read, "received": received, "thread": thread}
        await self._http.command("PUT", path("conversations", conversation, "cursors"), body)

    async def receipts(self, conversation: str, cursor: str | None = None) -> Page[ReceiptDoc]:
        where = path("conversations", conversation, "receipts")
        return await self._http.get(where, Page[ReceiptDoc], cursor=cursor, limit=PAGE)
