"""Reads the documents that a client's state starts from."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from functools import partial
from typing import TypeVar

from tertulia_client.http import every
from tertulia_client.models import ConversationDoc, MessageDoc, Page
from tertulia_client.rest import Rest
from tertulia_client.state import Fetched

T = TypeVar("T")


async def fetch_state(rest: Rest, position: int, *, messages: int = 0) -> Fetched:
    """Everything but the members, pins and older messages of conversations, which are loaded when they
    are looked at.

    `position` is where the personal log stood before; what happened since is in the documents or comes
    as events, and doing it twice changes nothing.  `messages`: how many to read of each conversation (0:
    only the last one, which comes with it).  Raises ApiError, Unreachable."""
    conversations = await every(rest.conversations.list)
    for channel in [doc.id for doc in conversations if doc.kind == "channel"]:
        conversations += await every(partial(rest.conversations.topics, channel))
    unique = {doc.id: doc for doc in conversations}
    windows: dict[str, list[MessageDoc]] = {}
    if messages:
        for name in unique:
            windows[name] = (await rest.messages.list(name, limit=messages)).items
    return Fetched(
        me=await rest.me.get(),
        position=position,
        settings=await rest.me.settings(),
        conversations=list(unique.values()),
        messages=windows,
        contacts=await every(rest.people.contacts),
        blocks=await every(rest.me.blocks),
        drafts=await every(rest.me.drafts),
        bookmarks=await every(rest.me.bookmarks),
        scheduled=await every(rest.me.scheduled),
        devices=(await rest.me.devices()).items,
        threads=await every(rest.me.threads),
    )


async def fetch_all(rest: Rest, position: int) -> Fetched:
    """Truly everything, members, pins and all messages with their threads included: for comparing a
    state that was moved by events with one that is fresh."""
    fetched = await fetch_state(rest, position)
    for doc in fetched.conversations:
        fetched.messages[doc.id] = await _all_messages(rest, doc)
        fetched.members[doc.id] = await every(partial(rest.conversations.members, doc.id))
        fetched.pins[doc.id] = await every(partial(rest.messages.pins, doc.id))
    return fetched


async def _all_messages(rest: Rest, doc: ConversationDoc) -> list[MessageDoc]:
    main = await _each(lambda cursor: rest.messages.list(doc.id, cursor=cursor, limit=200))
    found = list(main)
    for root in main:
        if root.replies is not None:
            found += await _each(partial(_thread, rest, doc.id, root.seq))
    return found


async def _thread(rest: Rest, conversation: str, root: int, cursor: str | None) -> Page[MessageDoc]:
    return await rest.messages.thread(conversation, root, cursor=cursor)


async def _each(fetch: Callable[[str | None], Awaitable[Page[T]]]) -> list[T]:
    return await every(fetch, most=1_000_000)
