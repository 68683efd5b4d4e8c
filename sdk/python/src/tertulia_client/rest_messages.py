"""The routes about messages."""

from __future__ import annotations

from typing import Any

import msgspec

from tertulia_client.content import Content
from tertulia_client.http import PAGE, Http, path
from tertulia_client.models import Accepted, EditDoc, MessageDoc, Page, ReactionDoc


def plain(content: Content) -> dict[str, Any]:
    """A content as it goes over the wire."""
    return msgspec.to_builtins(content)


class Messages:
    """Messages of a conversation, named by its id and their seq."""

    def __init__(self, http: Http) -> None:
        self._http = http

    async def list(
        self,
        conversation: str,
        *,
        before: int | None = None,
        after: int | None = None,
        limit: int = 50,
        cursor: str | None = None,
    ) -> Page[MessageDoc]:
        """A page of the main log: the newest, or those around a seq.  In ascending order."""
        where = path("conversations", conversation, "messages")
        return await self._http.get(
            where, Page[MessageDoc], before=before, after=after, limit=limit, cursor=cursor
        )

    async def get(self, conversation: str, seq: int) -> MessageDoc:
        return await self._http.get(path("conversations", conversation, "messages", seq), MessageDoc)

    async def send(
        self,
        conversation: str,
        content: Content,
        *,
        client_id: str,
        thread: int | None = None,
        reply_to: int | None = None,
        quote: tuple[int, str] | None = None,
    ) -> Accepted:
        """`quote`: the seq of a message, and the passage that stands there."""
        body = {
            "content": plain(content),
            "thread": thread,
            "reply_to": reply_to,
            "quote": {"seq": quote[0], "text": quote[1]} if quote is not None else None,
        }
        where = path("conversations", conversation, "messages")
        return await self._http.command("POST", where, body, client_id=client_id)

    async def edit(
        self, conversation: str, seq: int, content: Content, *, client_id: str | None = None
    ) -> Accepted:
        where = path("conversations", conversation, "messages", seq)
        return await self._http.command("PATCH", where, {"content": plain(content)}, client_id=client_id)

    async def delete(self, conversation: str, seq: int, *, everyone: bool = False) -> Accepted:
        """`everyone` false: only for oneself."""
        where = path("conversations", conversation, "messages", seq)
        return await self._http.command("DELETE", f"{where}?everyone={'true' if everyone else 'false'}")

    async def edits(self, conversation: str, seq: int) -> Page[EditDoc]:
        """The wordings of a message, oldest first."""
        where = path("conversations", conversation, "messages", seq, "edits")
        return await self._http.get(where, Page[EditDoc])

    async def thread(
        self, conversation: str, seq: int, *, cursor: str | None = None, limit: int = PAGE
    ) -> Page[MessageDoc]:
        """The replies to a message."""
        where = path("conversations", conversation, "messages", seq, "thread")
        return await self._http.get(where, Page[MessageDoc], cursor=cursor, limit=limit)

    async def follow(self, conversation: str, thread: int, *, follows: bool = True) -> Accepted:
        where = path("conversations", conversation, "messages", thread, "thread", "follow")
        return await self._http.command("PUT" if follows else "DELETE", where)

    async def react(self, conversation: str, seq: int, emoji: str, *, add: bool = True) -> Accepted:
        where = path("conversations", conversation, "messages", seq, "reactions", emoji)
        return await self._http.command("PUT" if add else "DELETE", where)

    async def reactions(self, conversation: str, seq: int, cursor: str | None = None) -> Page[ReactionDoc]:
        where = path("conversations", conversation, "messages", seq, "reactions")
        return await self._http.get(where, Page[ReactionDoc], cursor=cursor, limit=PAGE)

    async def pin(self, conversation: str, seq: int, *, pinned: bool = True) -> Accepted:
        where = path("conversations", conversation, "messages", seq, "pin")
        return await self._http.command("PUT" if pinned else "DELETE", where)

    async def pins(self, conversation: str, cursor: str | None = None) -> Page[MessageDoc]:
        where = path("conversations", conversation, "pins")
        return await self._http.get(where, Page[MessageDoc], cursor=cursor, limit=PAGE)

    async def vote(self, conversation: str, seq: int, options: tuple[int, ...]) -> Accepted:
        """In place of one's earlier vote; no options withdraw it."""
        where = path("conversations", conversation, "messages", seq, "vote")
        return await self._http.command("PUT", where, {"options": options})

    async def close_poll(self, conversation: str, seq: int) -> Accepted:
        return await self._http.command("POST", path("conversations", conversation, "messages", seq, "close"))

    async def forward(
        self,
        conversation: str,
        seq: int,
        to: str,
        *,
        thread: int | None = None,
        client_id: str | None = None,
    ) -> Accepted:
        """Send a copy of a message to the conversation `to`."""
        where = path("conversations", conversation, "messages", seq, "forward")
        body = {"conversation": to, "thread": thread}
        return await self._http.command("POST", where, body, client_id=client_id)

    async def schedule(
        self,
        conversation: str,
        content: Content,
        send_at: int,
        *,
        client_id: str,
        thread: int | None = None,
        reply_to: int | None = None,
    ) -> Accepted:
        """Send at `send_at` (Unix ms); the answer's `created` is the schedule's id."""
        body = {"content": plain(content), "send_at": send_at, "thread": thread, "reply_to": reply_to}
        where = path("conversations", conversation, "scheduled")
        return await self._http.command("POST", where, body, client_id=client_id)

    async def search(
        self,
        q: str,
        *,
        conversation: str | None = None,
        sender: str | None = None,
        cursor: str | None = None,
        limit: int = 50,
    ) -> Page[MessageDoc]:
        """Newest first; only what the caller may see."""
        return await self._http.get(
            path("search"),
            Page[MessageDoc],
            q=q,
            conversation=conversation,
            sender=sender,
            cursor=cursor,
            limit=limit,
        )
