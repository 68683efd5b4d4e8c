"""Messages as one person sees them: pages of the log, threads, pins, mentions, bookmarks, search.

What the reader may not see is absent: messages from before their time, those they hid and, in all but
direct conversations, those of people they blocked.  Pages are cut before these are left out, so a page can
be shorter than asked for and still not be the last one.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Final, cast

import msgspec

from tertulia.application.access import Access
from tertulia.application.core import Caller
from tertulia.application.queries_docs import (
    BookmarkDoc,
    EditDoc,
    MessageDoc,
    PollDoc,
    ReactionDoc,
    RepliesDoc,
    ThreadDoc,
)
from tertulia.application.rows import visible_message
from tertulia.domain.content import Content, Poll
from tertulia.domain.errors import Refusal, not_found
from tertulia.domain.events import MessageUpdated, decode_body
from tertulia.domain.message_rules import content_of, has_expired, sent
from tertulia.domain.permissions import Standing
from tertulia.domain.records import (
    Block,
    Bookmark,
    Cursor,
    Hidden,
    Key,
    Mention,
    Pin,
    Reaction,
    Record,
    ThreadFollow,
    Vote,
)
from tertulia.domain.views import MessageView
from tertulia.ports.clock import Clock
from tertulia.ports.message_store import Directory, MessageStore, SearchQuery

MAX_LAST_LOOKED: Final = 1000
"""So many of the newest messages are looked through for one that the reader may see."""

_Wanted = tuple[type[Record], Key]


class MessagePage(msgspec.Struct, frozen=True, kw_only=True):
    """Messages in ascending order.  `first` and `last` are the seqs that bound the page, those left out
    counted in (0: it is empty); `more` says whether there are any beyond it."""

    items: list[MessageDoc]
    first: int = 0
    last: int = 0
    more: bool = False


class MessageQueries:
    """Reads of messages.  All raise Refusal `not_found` for what the caller may not see."""

    def __init__(self, store: MessageStore, directory: Directory, access: Access, clock: Clock) -> None:
        self._store = store
        self._directory = directory
        self._access = access
        self._clock = clock

    # --- a conversation --------------------------------------------------------------------------

    async def page(
        self,
        caller: Caller,
        conversation: str,
        *,
        before: int = 0,
        after: int | None = None,
        limit: int = 50,
    ) -> MessagePage:
        """The last `limit` messages of the main log with seq < `before` (0: the newest), or, with `after`
        (0: the beginning), the first ones above it."""
        standing = await self._access.require(caller, conversation, "read")
        return await self._page(caller, standing, before=before, after=after, limit=limit)

    async def thread(
        self, caller: Caller, conversation: str, root: int, *, after: int = 0, limit: int = 50
    ) -> MessagePage:
        """The replies to a message, which may have been deleted meanwhile."""
        standing = await self._access.require(caller, conversation, "read")
        view = await self._store.message(conversation, root)
        if view is None or view.event.thread or view.seq <= standing.floor:
            raise not_found("message")
        if not await self.documents(caller, [(standing, view)]):
            raise not_found("message")
        return await self._page(caller, standing, after=max(after, root), limit=limit, thread=root)

    async def _page(
        self,
        caller: Caller,
        standing: Standing,
        *,
        before: int = 0,
        after: int | None = None,
        limit: int = 50,
        thread: int = 0,
    ) -> MessagePage:
        log, floor = standing.conversation.id, standing.floor
        views = await self._store.messages(
            log,
            before=before,
            # The store reads backwards without a place to begin at; nothing is at seq 0 or -1.
            after=-1 if after == 0 else after or 0,
            limit=limit + 1,
            thread=thread,
            floor=floor,
        )
        more = len(views) > limit
        if more:
            views = views[:limit] if after is not None else views[1:]
        if not views:
            return MessagePage(items=[])
        docs = await self.documents(caller, [(standing, view) for view in views])
        return MessagePage(items=docs, first=views[0].seq, last=views[-1].seq, more=more)

    async def get(self, caller: Caller, conversation: str, seq: int) -> MessageDoc:
        """One message, also a deleted one."""
        standing = await self._access.require(caller, conversation, "read")
        view = await self._store.message(conversation, seq)
        docs = await self.documents(caller, [(standing, view)]) if view is not None else []
        if not docs:
            raise not_found("message")
        return docs[0]

    async def last(self, caller: Caller, standing: Standing) -> MessageDoc | None:
        """The newest message of the main log that the caller may see."""
        before, looked, limit = 0, 0, 3
        while looked < MAX_LAST_LOOKED:
            views = await self._store.messages(
                standing.conversation.id, before=before, limit=limit, floor=standing.floor
            )
            docs = await self.documents(caller, [(standing, view) for view in views])
            if docs:
                return docs[-1]
            if len(views) < limit:
                return None
            before, looked, limit = views[0].seq, looked + limit, 200
        return None

    async def edits(
        self, caller: Caller, conversation: str, seq: int, *, after: int = 0, limit: int = 50
    ) -> tuple[list[EditDoc], bool]:
        """The wordings of a message from the first to the current one, those of events beyond `after`;
        and whether there are more."""
        view, standing = await self._visible(caller, conversation, seq)
        first = sent(view)
        found = [EditDoc(seq=seq, at=view.event.at, content=first.content if first is not None else None)]
        for event in await self._store.edits(standing.conversation.id, seq):
            body = decode_body(event.kind, event.body) if event.body is not None else None
            content = body.content if isinstance(body, MessageUpdated) else None
            found.append(EditDoc(seq=event.seq, at=event.at, content=content))
        rest = [edit for edit in found if edit.seq > after]
        return rest[:limit], len(rest) > limit

    async def reactions(
        self, caller: Caller, conversation: str, seq: int, *, after: tuple[str, str] | None, limit: int = 50
    ) -> tuple[list[ReactionDoc], tuple[str, str] | None]:
        """Who reacted to a message, by emoji and user; and where the next page begins."""
        await self._visible(caller, conversation, seq)
        prefix = (caller.tenant, conversation, seq)
        rows = await self._directory.scan(
            Reaction, prefix, after=(*prefix, *after) if after is not None else None, limit=limit + 1
        )
        page = rows[:limit]
        items = [ReactionDoc(emoji=row.emoji, user=row.user, at=row.at) for row in page]
        return items, (page[-1].emoji, page[-1].user) if len(rows) > limit else None

    async def pins(
        self, caller: Caller, conversation: str, *, after: int = 0, limit: int = 50
    ) -> tuple[list[MessageDoc], int]:
        """The pinned messages in the order of their seq; and where the next page begins (0: nowhere)."""
        standing = await self._access.require(caller, conversation, "read")
        prefix = (caller.tenant, conversation)
        rows = await self._directory.scan(Pin, prefix, after=(*prefix, after), limit=limit + 1)
        page = rows[:limit]
        views = [await self._store.message(conversation, row.seq) for row in page]
        docs = await self.documents(caller, [(standing, view) for view in views if view is not None])
        return docs, page[-1].seq if len(rows) > limit else 0

    async def _visible(self, caller: Caller, conversation: str, seq: int) -> tuple[MessageView, Standing]:
        standing = await self._access.require(caller, conversation, "read")
        now = self._clock.now_ms()
        view, _ = await visible_message(self._store, self._directory, caller, standing, seq, now)
        return view, standing

    # --- one's own ---------------------------------------------------------------------------------

    async def mentions(
        self, caller: Caller, *, before: tuple[str, int] | None = None, limit: int = 50
    ) -> tuple[list[MessageDoc], tuple[str, int] | None]:
        """Messages that mention the caller, by conversation, the newest first in each; and where the next
        page begins."""
        prefix = (caller.tenant, caller.user)
        rows = await self._directory.scan(
            Mention,
            prefix,
            after=(*prefix, *before) if before is not None else None,
            limit=limit + 1,
            reverse=True,
        )
        page = rows[:limit]
        found = await self._somewhere(caller, [(row.conversation, row.seq) for row in page])
        docs = [doc for doc in found if doc is not None and doc.content is not None]
        return docs, (page[-1].conversation, page[-1].seq) if len(rows) > limit else None

    async def bookmarks(
        self, caller: Caller, *, after: tuple[str, int] | None = None, limit: int = 50
    ) -> tuple[list[BookmarkDoc], tuple[str, int] | None]:
        """The caller's bookmarks by conversation and seq; and where the next page begins."""
        prefix = (caller.tenant, caller.user)
        rows = await self._directory.scan(
            Bookmark, prefix, after=(*prefix, *after) if after is not None else None, limit=limit + 1
        )
        page = rows[:limit]
        found = await self._somewhere(caller, [(row.conversation, row.seq) for row in page])
        items = [
            BookmarkDoc(conversation=row.conversation, seq=row.seq, note=row.note, at=row.at, message=doc)
            for row, doc in zip(page, found, strict=True)
        ]
        return items, (page[-1].conversation, page[-1].seq) if len(rows) > limit else None

    async def threads(
        self, caller: Caller, *, after: tuple[str, int] | None = None, limit: int = 50
    ) -> tuple[list[ThreadDoc], tuple[str, int] | None]:
        """The threads that the caller follows, by conversation and root; and where the next page
        begins."""
        tenant, user = caller.tenant, caller.user
        rows = await self._directory.scan(
            ThreadFollow,
            (tenant, user),
            index="user",
            after=(tenant, user, *after) if after is not None else None,
            limit=limit + 1,
        )
        page = rows[:limit]
        places = [(row.conversation, row.root) for row in page]
        found = await self._somewhere(caller, places)
        _, cursors = await self._directory.snapshot(
            (), [(Cursor, (tenant, row.conversation, user, row.root)) for row in page]
        )
        items: list[ThreadDoc] = []
        for (conversation, root), doc, row in zip(places, found, cursors, strict=True):
            cursor = cast(Cursor | None, row.record if row is not None else None)
            replies = doc.replies.count if doc is not None and doc.replies is not None else 0
            items.append(
                ThreadDoc(
                    conversation=conversation,
                    thread=root,
                    read=cursor.read if cursor is not None else 0,
                    unread=max(0, replies - (cursor.ordinal if cursor is not None else 0)),
                    root=doc,
                )
            )
        return items, places[-1] if len(rows) > limit else None

    async def search(
        self,
        caller: Caller,
        text: str,
        *,
        conversation: str = "",
        sender: str = "",
        before: int = 0,
        limit: int = 50,
    ) -> tuple[list[MessageDoc], int]:
        """Messages with these words, newest first; and where the next page begins (0: nowhere)."""
        if conversation:
            await self._access.require(caller, conversation, "read")
        query = SearchQuery(
            tenant=caller.tenant,
            user=caller.user,
            text=text,
            conversation=conversation,
            sender=sender,
            before=before,
            limit=limit + 1,
        )
        hits = await self._store.search(query)
        page = hits[:limit]
        seen: dict[str, Standing | None] = {}
        pairs: list[tuple[Standing, MessageView]] = []
        for hit in page:
            standing = await self._standing(caller, hit.view.event.log, seen)
            if standing is not None:
                pairs.append((standing, hit.view))
        docs = [doc for doc in await self.documents(caller, pairs) if doc.content is not None]
        return docs, page[-1].position if len(hits) > limit else 0

    async def _standing(
        self, caller: Caller, conversation: str, seen: dict[str, Standing | None]
    ) -> Standing | None:
        if conversation not in seen:
            try:
                seen[conversation] = await self._access.require(caller, conversation, "read")
            except Refusal as refusal:
                if refusal.code != "not_found":
                    raise
                seen[conversation] = None
        return seen[conversation]

    async def _somewhere(self, caller: Caller, places: Sequence[tuple[str, int]]) -> list[MessageDoc | None]:
        """The messages at these places, None for those that are not the caller's to see."""
        seen: dict[str, Standing | None] = {}
        pairs: list[tuple[Standing, MessageView]] = []
        for conversation, seq in places:
            standing = await self._standing(caller, conversation, seen)
            view = await self._store.message(conversation, seq) if standing is not None else None
            if standing is not None and view is not None:
                pairs.append((standing, view))
        docs = {(doc.conversation, doc.seq): doc for doc in await self.documents(caller, pairs)}
        return [docs.get(place) for place in places]

    # --- documents ---------------------------------------------------------------------------------

    async def documents(
        self, caller: Caller, pairs: Sequence[tuple[Standing, MessageView]]
    ) -> list[MessageDoc]:
        """The documents of those of the messages that the caller may see, in the same order, with one
        read for what is the caller's own in all of them."""
        tenant, user = caller.tenant, caller.user
        wanted: dict[_Wanted, None] = {}
        for standing, view in pairs:
            log, seq, actor = view.event.log, view.seq, view.event.actor
            wanted[Hidden, (tenant, user, log, seq)] = None
            if standing.home.kind != "direct" and actor != user:
                wanted[Block, (tenant, user, actor)] = None
            if view.fold.voters:
                wanted[Vote, (tenant, log, seq, user)] = None
            for emoji in view.fold.reactions:
                wanted[Reaction, (tenant, log, seq, emoji, user)] = None
        if not wanted:
            return []
        _, rows = await self._directory.snapshot((), tuple(wanted))
        there = {key: row.record for key, row in zip(wanted, rows, strict=True) if row is not None}
        now = self._clock.now_ms()
        docs: list[MessageDoc] = []
        for standing, view in pairs:
            log, seq = view.event.log, view.seq
            hidden = (Hidden, (tenant, user, log, seq)) in there
            blocked = standing.home.kind != "direct" and ((Block, (tenant, user, view.event.actor)) in there)
            if hidden or blocked or seq <= standing.floor:
                continue
            own = [
                emoji for emoji in view.fold.reactions if (Reaction, (tenant, log, seq, emoji, user)) in there
            ]
            vote = there.get((Vote, (tenant, log, seq, user)))
            options = vote.options if isinstance(vote, Vote) else ()
            docs.append(message_doc(view, own, options, now))
        return docs


def message_doc(
    view: MessageView, own_reactions: Sequence[str], own_votes: Sequence[int], now_ms: int
) -> MessageDoc:
    """The document of a message.  One whose time is over reads as if it were erased already."""
    event, fold = view.event, view.fold
    content = None if has_expired(view, now_ms) else content_of(view)
    live = content is not None
    body = sent(view) if live else None
    return MessageDoc(
        id=f"{event.log}.{event.seq}",
        conversation=event.log,
        seq=event.seq,
        at=event.at,
        user=event.actor,
        content=content,
        reply_to=body.reply_to if body is not None else None,
        quote=body.quote if body is not None else None,
        forward=body.forward if body is not None else None,
        thread=event.thread or None,
        expires_at=body.expires_at if body is not None else None,
        edited_at=(fold.edited_at or None) if live else None,
        edits=fold.edits if live else 0,
        deleted_at=fold.deleted_at or None,
        deleted_by=fold.deleted_by or None,
        reactions=dict(fold.reactions) if live else {},
        own_reactions=sorted(own_reactions) if live else [],
        poll=_poll(view, content, own_votes),
        pinned=fold.pinned and live,
        replies=_replies(view),
        client_id=event.client_id or None,
        ordinal=event.ordinal,
        changed_seq=fold.changed_seq,
    )


def _poll(view: MessageView, content: Content | None, own: Sequence[int]) -> PollDoc | None:
    if not isinstance(content, Poll):
        return None
    votes = list(view.fold.votes) + [0] * (len(content.options) - len(view.fold.votes))
    return PollDoc(votes=votes, voters=view.fold.voters, closed=view.fold.closed, own=sorted(own))


def _replies(view: MessageView) -> RepliesDoc | None:
    fold = view.fold
    if not fold.replies:
        return None
    return RepliesDoc(count=fold.replies, last_seq=fold.last_reply_seq, last_at=fold.last_reply_at)
