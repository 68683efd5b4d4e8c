"""Reads that several handlers need before they decide."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import Final

from tertulia.application.core import Caller
from tertulia.domain import settings as settings_rules
from tertulia.domain.content import Content, Text
from tertulia.domain.errors import Refusal, not_found
from tertulia.domain.events import (
    Body,
    ConversationJoined,
    ConversationLeft,
    MemberAdded,
    encode_body,
)
from tertulia.domain.membership import MAX_CONVERSATIONS, Addressee
from tertulia.domain.message_rules import has_expired, live_content, sent
from tertulia.domain.permissions import Standing
from tertulia.domain.records import (
    Block,
    Contact,
    Conversation,
    Cursor,
    Draft,
    Expiry,
    Hidden,
    Key,
    Member,
    Mention,
    Pin,
    R,
    Record,
    Settings,
    ThreadFollow,
    User,
    Versioned,
)
from tertulia.domain.unit import END, Expect, Join, NewEvent, Remove, SetCursor, VersionIs, Write
from tertulia.domain.views import MessageView
from tertulia.ports.message_store import Directory, MessageStore

PAGE: Final = 1000


async def addressees(
    directory: Directory, caller: Caller, users: Sequence[str]
) -> tuple[list[Addressee], tuple[Expect, ...]]:
    """How the caller stands to these people, from one snapshot, and what that rests on."""
    tenant = caller.tenant
    rows: list[tuple[type[Record], Key]] = []
    for user in users:
        rows += [
            (User, (tenant, user)),
            (Block, (tenant, user, caller.user)),
            (Block, (tenant, caller.user, user)),
            (Contact, (tenant, user, caller.user)),
            (Settings, (tenant, user)),
        ]
    _, found = await directory.snapshot((), rows)
    rests = tuple(
        VersionIs(record, key, row.version if row is not None else 0)
        for (record, key), row in zip(rows, found, strict=True)
    )
    people = [_addressee(user, found[n * 5 : n * 5 + 5]) for n, user in enumerate(users)]
    return people, rests


def _addressee(user: str, rows: Sequence[Versioned[Record] | None]) -> Addressee:
    account, blocks, blocked, contact, settings = [row.record if row is not None else None for row in rows]
    document = settings_rules.read(settings.document if isinstance(settings, Settings) else None)
    return Addressee(
        user=user,
        exists=isinstance(account, User) and not account.disabled,
        blocks=blocks is not None,
        blocked=blocked is not None,
        contact=isinstance(contact, Contact) and contact.state == "accepted",
        add_to_groups=document.privacy.add_to_groups,
    )


async def visible_message(
    store: MessageStore, directory: Directory, caller: Caller, standing: Standing, seq: int, now_ms: int
) -> tuple[MessageView, Content]:
    """A message that the caller may see and act on, with its content as it stands now.

    Raises Refusal `not_found` for all others: none, deleted, disappeared, before the caller's time, hidden
    by them, or (in all but direct conversations) by someone whom they blocked."""
    log = standing.conversation.id
    view, content = live_content(await store.message(log, seq), standing.floor)
    if has_expired(view, now_ms):
        raise not_found("message")
    rows: list[tuple[type[Record], Key]] = [(Hidden, (caller.tenant, caller.user, log, seq))]
    if standing.home.kind != "direct" and view.event.actor != caller.user:
        rows.append((Block, (caller.tenant, caller.user, view.event.actor)))
    _, against = await directory.snapshot((), rows)
    if any(row is not None for row in against):
        raise not_found("message")
    return view, content


def hanging_on(view: MessageView) -> tuple[Write, ...]:
    """Removes the rows that would still speak of a message once it is deleted."""
    tenant, log, seq = view.event.tenant, view.event.log, view.seq
    writes: list[Write] = []
    if view.fold.pinned:
        writes.append(Remove(Pin, (tenant, log, seq)))
    body = sent(view)
    if body is not None and body.expires_at:
        writes.append(Remove(Expiry, (tenant, log, seq)))
    if body is not None and isinstance(body.content, Text):
        writes.extend(Remove(Mention, (tenant, user, log, seq)) for user in body.content.mentions)
    return tuple(writes)


async def check_room(directory: Directory, caller: Caller) -> None:
    """Raises Refusal `limit_reached` when the caller is in as many conversations as one may be."""
    if await directory.count(Member, (caller.tenant, caller.user), index="user") >= MAX_CONVERSATIONS:
        raise Refusal("limit_reached", f"A person is in at most {MAX_CONVERSATIONS} conversations.")


async def another_owner(directory: Directory, tenant: str, conversation: str, user: str) -> bool:
    """Whether someone else than `user` owns the conversation."""
    after: Key | None = None
    while True:
        page = await directory.scan(Member, (tenant, conversation), after=after, limit=PAGE)
        if any(member.role == "owner" and member.user != user for member in page):
            return True
        if len(page) < PAGE:
            return False
        after = page[-1].key()


# --- joining and leaving ---------------------------------------------------------------------------


def event_in(log: str, kind: str, body: Body, actor: str, *, bumps_epoch: bool = False) -> NewEvent:
    """An event of a log that is there."""
    return NewEvent(log=log, kind=kind, body=encode_body(body), actor=actor, bumps_epoch=bumps_epoch)


def joining(
    conversation: Conversation, member: Member, added: MemberAdded, actor: str
) -> tuple[tuple[NewEvent, NewEvent], tuple[Write, Write]]:
    """What makes someone a member who has read what is there: the event of the conversation, that of their
    own log, their row and their cursor."""
    body = ConversationJoined(
        conversation=conversation.id,
        kind=conversation.kind,
        role=member.role,
        history=conversation.history,
    )
    events = (
        event_in(conversation.id, "member.added", added, actor, bumps_epoch=True),
        event_in(member.user, "conversation.joined", body, actor),
    )
    return events, (
        Join(member),
        SetCursor(log=conversation.id, user=member.user, read=END, received=END),
    )


def left(conversation: str, user: str, actor: str) -> NewEvent:
    """The event by which someone's own log learns that they are no longer a member."""
    return event_in(user, "conversation.left", ConversationLeft(conversation=conversation), actor)


async def topics_of(directory: Directory, tenant: str, conversation: Conversation) -> list[str]:
    """The ids of a channel's topics."""
    if conversation.kind != "channel":
        return []
    prefix = (tenant, conversation.id)
    return [row.id for row in await directory.scan(Conversation, prefix, index="parent", limit=PAGE)]


async def parting(
    directory: Directory, tenant: str, conversation: str, user: str, topics: Iterable[str]
) -> list[Write]:
    """Removes a membership and what hangs on it: preferences, drafts, followed threads, cursors; those
    of the channel's topics too."""
    writes: list[Write] = [Remove(Member, (tenant, conversation, user))]
    logs = {conversation, *topics}
    prefix = (tenant, user, conversation) if len(logs) == 1 else (tenant, user)
    rows = (
        *await _all(directory, Draft, prefix),
        *await _all(directory, ThreadFollow, prefix, "user"),
        *await _all(directory, Cursor, prefix, "user"),
    )
    writes.extend(Remove(type(row), row.key()) for row in rows if row.conversation in logs)
    return writes


async def _all(directory: Directory, record: type[R], prefix: Key, index: str = "") -> list[R]:
    rows: list[R] = []
    after: Key | None = None
    fields = next((i.fields for i in record.indexes if i.name == index), record.key_fields)
    while True:
        page = await directory.scan(record, prefix, index=index, after=after, limit=PAGE)
        rows += page
        if len(page) < PAGE:
            return rows
        after = tuple(getattr(page[-1], name) for name in fields)
