"""What is one's own alone, on all of one's devices: drafts, bookmarks, messages to be sent later."""

from __future__ import annotations

from typing import Final

import msgspec

from tertulia.application.access import Access, expects
from tertulia.application.core import Caller, Executor, Plan, accepted
from tertulia.application.messages import personal
from tertulia.application.rows import visible_message
from tertulia.application.tenants import Tenants
from tertulia.domain import commands as c
from tertulia.domain import events as e
from tertulia.domain.errors import Refusal, not_found
from tertulia.domain.message_rules import check_content
from tertulia.domain.permissions import Standing
from tertulia.domain.profile_rules import check_note
from tertulia.domain.records import Bookmark, Draft, Scheduled
from tertulia.domain.schedules import check_pending, check_send_at
from tertulia.domain.unit import EpochIs, Put, Remove, VersionIs
from tertulia.domain.views import MessageView
from tertulia.ports.clock import Clock
from tertulia.ports.ids import Ids
from tertulia.ports.message_store import Directory, MessageStore

MAX_DRAFTS: Final = 1000
MAX_BOOKMARKS: Final = 5000


class Personal:
    """Handlers of these commands; every one is an event of the caller's own log."""

    def __init__(
        self,
        store: MessageStore,
        directory: Directory,
        access: Access,
        tenants: Tenants,
        executor: Executor,
        clock: Clock,
        ids: Ids,
    ) -> None:
        self._store = store
        self._directory = directory
        self._access = access
        self._tenants = tenants
        self._executor = executor
        self._clock = clock
        self._ids = ids

    # --- drafts ----------------------------------------------------------------------------------

    async def set_draft(self, caller: Caller, command: c.SetDraft) -> c.Accepted:
        """Keep what the caller is writing, one text for each conversation and thread; the last device to
        write wins.  An empty text removes it, also where the caller can no longer read.

        Raises Refusal `not_found`, `invalid`, `limit_reached` (1,000 drafts)."""
        refusal = check_note(command.text, "text")
        if refusal is not None:
            raise refusal
        key = (caller.tenant, caller.user, command.conversation, command.thread or 0)

        async def plan() -> Plan:
            there = await self._directory.get_versioned(Draft, *key)
            unchanged = VersionIs(Draft, key, there.version if there is not None else 0)
            if not command.text:
                if there is None:
                    return _nothing(caller)
                body = e.DraftUpdated(conversation=command.conversation, thread=key[3])
                return Plan(
                    events=(personal(caller, "draft.updated", body),),
                    expects=(unchanged,),
                    writes=(Remove(Draft, key),),
                )
            standing = await self._access.require(caller, command.conversation, "read")
            await self._check_places(caller, standing, command.thread, command.reply_to)
            row = Draft(
                tenant=caller.tenant,
                user=caller.user,
                conversation=command.conversation,
                thread=key[3],
                text=command.text,
                reply_to=command.reply_to or 0,
                at=self._clock.now_ms(),
            )
            if there is not None and msgspec.structs.replace(there.record, at=row.at) == row:
                return _nothing(caller)
            if there is None:
                await self._room_for(Draft, caller, MAX_DRAFTS, "drafts")
            body = e.DraftUpdated(
                conversation=row.conversation,
                thread=row.thread,
                text=row.text,
                reply_to=command.reply_to,
            )
            return Plan(
                events=(personal(caller, "draft.updated", body),),
                expects=(unchanged, *expects(standing)),
                writes=(Put(row),),
            )

        return await self._executor.run(caller, command, plan)

    # --- bookmarks -------------------------------------------------------------------------------

    async def add_bookmark(self, caller: Caller, command: c.AddBookmark) -> c.Accepted:
        """Keep a message at hand, with a note; again, with another note, replaces the note.

        Raises Refusal `not_found`, `invalid`, `limit_reached` (5,000 bookmarks)."""
        refusal = check_note(command.note)
        if refusal is not None:
            raise refusal
        key = (caller.tenant, caller.user, command.conversation, command.seq)

        async def plan() -> Plan:
            standing = await self._access.require(caller, command.conversation, "read")
            await self._message(caller, standing, command.seq)
            there = await self._directory.get_versioned(Bookmark, *key)
            if there is not None and there.record.note == command.note:
                return _nothing(caller)
            if there is None:
                await self._room_for(Bookmark, caller, MAX_BOOKMARKS, "bookmarks")
            row = Bookmark(
                tenant=caller.tenant,
                user=caller.user,
                conversation=command.conversation,
                seq=command.seq,
                note=command.note,
                at=there.record.at if there is not None else self._clock.now_ms(),
            )
            body = e.BookmarkChanged(conversation=row.conversation, seq=row.seq, note=row.note)
            return Plan(
                events=(personal(caller, "bookmark.added", body),),
                expects=(
                    VersionIs(Bookmark, key, there.version if there is not None else 0),
                    *expects(standing),
                ),
                writes=(Put(row),),
            )

        return await self._executor.run(caller, command, plan)

    async def remove_bookmark(self, caller: Caller, command: c.RemoveBookmark) -> c.Accepted:
        """Also of a message that the caller can no longer read.  Doing it twice changes nothing."""
        key = (caller.tenant, caller.user, command.conversation, command.seq)

        async def plan() -> Plan:
            there = await self._directory.get_versioned(Bookmark, *key)
            if there is None:
                return _nothing(caller)
            body = e.BookmarkChanged(conversation=command.conversation, seq=command.seq)
            return Plan(
                events=(personal(caller, "bookmark.removed", body),),
                expects=(VersionIs(Bookmark, key, there.version),),
                writes=(Remove(Bookmark, key),),
            )

        return await self._executor.run(caller, command, plan)

    # --- later -----------------------------------------------------------------------------------

    async def schedule(self, caller: Caller, command: c.ScheduleMessage) -> c.Accepted:
        """Send a message at a later time; whether it may be sent is asked now and then again.

        `created` is the schedule's id, and the `client_id` of the message that it becomes.  Raises
        Refusal as sending does, `invalid` (`send_at`), `limit_reached` (100 waiting)."""

        async def plan() -> Plan:
            now = self._clock.now_ms()
            standing = await self._access.require(caller, command.conversation, "send")
            refusal = check_send_at(command.send_at, now) or check_content(
                command.content, await self._tenants.get(caller.tenant)
            )
            if refusal is not None:
                raise refusal
            await self._check_places(caller, standing, command.thread, command.reply_to)
            # All schedules of a person are made one after another, so that the limit is exact.
            head = await self._store.head(caller.user)
            refusal = check_pending(await self._directory.count(Scheduled, (caller.tenant, caller.user)))
            if refusal is not None:
                raise refusal
            ident = self._ids.new_id()
            send = c.SendMessage(
                client_id=ident,
                conversation=command.conversation,
                content=command.content,
                thread=command.thread,
                reply_to=command.reply_to,
            )
            row = Scheduled(
                tenant=caller.tenant,
                user=caller.user,
                id=ident,
                conversation=command.conversation,
                send_at=command.send_at,
                command=msgspec.json.encode(send),
                created_at=now,
            )
            body = e.ScheduleChanged(
                schedule=ident,
                conversation=command.conversation,
                send_at=command.send_at,
                content=command.content,
                thread=command.thread,
                reply_to=command.reply_to,
            )
            event = msgspec.structs.replace(personal(caller, "schedule.created", body), bumps_epoch=True)
            return Plan(
                events=(event,),
                expects=(EpochIs(caller.user, head.epoch if head is not None else 0), *expects(standing)),
                writes=(Put(row),),
            )

        return await self._executor.run(caller, command, plan, _created)

    async def cancel_schedule(self, caller: Caller, command: c.CancelSchedule) -> c.Accepted:
        """Take a waiting message back.

        Raises Refusal `not_found` when none of the caller's waits under this id, `already_done` when its
        time has come."""
        key = (caller.tenant, caller.user, command.schedule)

        async def plan() -> Plan:
            there = await self._directory.get_versioned(Scheduled, *key)
            if there is None:
                raise not_found("scheduled message")
            # From then on it may be on its way, and cannot be called back.
            if there.record.send_at <= self._clock.now_ms():
                raise Refusal("already_done", "It is being sent.")
            body = e.ScheduleChanged(schedule=command.schedule, conversation=there.record.conversation)
            return Plan(
                events=(personal(caller, "schedule.cancelled", body),),
                expects=(VersionIs(Scheduled, key, there.version),),
                writes=(Remove(Scheduled, key),),
            )

        return await self._executor.run(caller, command, plan)

    # --- looking up ------------------------------------------------------------------------------

    async def _room_for(
        self, record: type[Draft] | type[Bookmark], caller: Caller, limit: int, what: str
    ) -> None:
        if await self._directory.count(record, (caller.tenant, caller.user)) >= limit:
            raise Refusal("limit_reached", f"A person has at most {limit} {what}.")

    async def _message(self, caller: Caller, standing: Standing, seq: int) -> MessageView:
        now = self._clock.now_ms()
        view, _ = await visible_message(self._store, self._directory, caller, standing, seq, now)
        return view

    async def _check_places(
        self, caller: Caller, standing: Standing, thread: int | None, reply_to: int | None
    ) -> None:
        """A thread's root and the message replied to are there, as sending asks."""
        if thread is not None and (await self._message(caller, standing, thread)).event.thread:
            raise Refusal("invalid", "A reply cannot be the root of a thread.", field="thread")
        if reply_to is not None:
            await self._message(caller, standing, reply_to)


def _created(event: e.Event) -> c.Accepted:
    created = ""
    if event.body is not None:
        body = e.decode_body(event.kind, event.body)
        if isinstance(body, e.ScheduleChanged):
            created = body.schedule
    return accepted(event, created=created)


def _nothing(caller: Caller) -> Plan:
    """It is so already."""
    return Plan(answer=c.Accepted(conversation=caller.user, repeated=True))
