"""What is one's own: profile, settings, devices, drafts, bookmarks, blocks, and lists of messages."""

from __future__ import annotations

from typing import Annotated

import msgspec
from litestar import Controller, delete, get, patch, put
from litestar.params import JSONBody, QueryParameter

from tertulia.application.queries_docs import (
    BlockDoc,
    BookmarkDoc,
    DraftDoc,
    MeDoc,
    MessageDoc,
    ScheduledDoc,
    ThreadDoc,
)
from tertulia.domain import commands as c
from tertulia.domain.commands import Accepted
from tertulia.domain.settings import SettingsDocument
from tertulia.protocols.common.frames import EventFrame, VoidFrame
from tertulia.protocols.rest.answers import DeviceDoc, Page
from tertulia.protocols.rest.context import (
    CallDependency,
    Cursor,
    IdempotencyKey,
    Limit,
    PathId,
    PathSeq,
)
from tertulia.protocols.rest.events import After, events_page
from tertulia.protocols.rest.requests import (
    BookmarkBody,
    DraftBody,
    PresenceBody,
    ProfilePatch,
    SettingsPatchBody,
)


class MeController(Controller):
    """`/v1/me`."""

    path = "/v1/me"
    tags = ("Me",)

    # --- profile and settings --------------------------------------------------------------------

    @get("")
    async def get_me(self, call: CallDependency) -> MeDoc:
        """One's own profile."""
        return await call.services.queries.lists.me(call.caller)

    @patch("")
    async def update_me(
        self, call: CallDependency, data: JSONBody[ProfilePatch], client_id: IdempotencyKey = ""
    ) -> MeDoc:
        """Change one's profile."""
        command = c.UpdateProfile(
            client_id=client_id or None,
            name=data.name,
            handle=data.handle,
            photo=data.photo,
            status=data.status,
        )
        await call.do(command)
        return await call.services.queries.lists.me(call.caller)

    @get("/settings")
    async def get_settings(self, call: CallDependency) -> SettingsDocument:
        """One's settings, the whole document."""
        return await call.services.queries.lists.settings(call.caller)

    @patch("/settings")
    async def update_settings(
        self, call: CallDependency, data: JSONBody[SettingsPatchBody], client_id: IdempotencyKey = ""
    ) -> SettingsDocument:
        """Replace the fields that are given."""
        patch_of = msgspec.Raw(msgspec.json.encode(data))
        await call.do(c.UpdateSettings(client_id=client_id or None, settings=patch_of))
        return await call.services.queries.lists.settings(call.caller)

    # --- devices ---------------------------------------------------------------------------------

    @get("/devices")
    async def list_devices(self, call: CallDependency) -> Page[DeviceDoc]:
        """The devices that are signed in, the one used last first."""
        devices = await call.services.devices.devices(call.caller)
        items = [
            DeviceDoc(
                id=one.id,
                name=one.name,
                created_at=one.created_at,
                seen_at=one.seen_at,
                current=one.current,
            )
            for one in devices
        ]
        return Page(items=items)

    @delete("/devices/{device:str}", status_code=200)
    async def revoke_device(
        self, call: CallDependency, device: PathId, client_id: IdempotencyKey = ""
    ) -> Accepted:
        """Sign a device out: its streams are closed and its tokens refused from now on."""
        return await call.do(c.RevokeDevice(client_id=client_id or None, device=device))

    # --- drafts and bookmarks --------------------------------------------------------------------

    @get("/drafts")
    async def list_drafts(
        self, call: CallDependency, cursor: Cursor = "", limit: Limit = 50
    ) -> Page[DraftDoc]:
        """What one is writing, on all of one's devices."""
        after = call.after_place("drafts", cursor)
        items, following = await call.services.queries.lists.drafts(call.caller, after=after, limit=limit)
        return call.page("drafts", items, following)

    @put("/drafts/{conversation:str}")
    async def set_draft(
        self,
        call: CallDependency,
        conversation: PathId,
        data: JSONBody[DraftBody],
        client_id: IdempotencyKey = "",
    ) -> Accepted:
        """Keep a draft; an empty text removes it."""
        return await call.do(
            c.SetDraft(
                client_id=client_id or None,
                conversation=conversation,
                text=data.text,
                thread=data.thread,
                reply_to=data.reply_to,
            )
        )

    @get("/bookmarks")
    async def list_bookmarks(
        self, call: CallDependency, cursor: Cursor = "", limit: Limit = 50
    ) -> Page[BookmarkDoc]:
        """One's bookmarks, by conversation and seq."""
        after = call.after_place("bookmarks", cursor)
        items, following = await call.services.queries.messages.bookmarks(
            call.caller, after=after, limit=limit
        )
        return call.page("bookmarks", items, following)

    @put("/bookmarks/{conversation:str}/{seq:int}")
    async def add_bookmark(
        self,
        call: CallDependency,
        conversation: PathId,
        seq: PathSeq,
        data: JSONBody[BookmarkBody],
        client_id: IdempotencyKey = "",
    ) -> Accepted:
        """Keep a message at hand; another note replaces the one before."""
        return await call.do(
            c.AddBookmark(client_id=client_id or None, conversation=conversation, seq=seq, note=data.note)
        )

    @delete("/bookmarks/{conversation:str}/{seq:int}", status_code=200)
    async def remove_bookmark(
        self, call: CallDependency, conversation: PathId, seq: PathSeq, client_id: IdempotencyKey = ""
    ) -> Accepted:
        """Remove a bookmark."""
        return await call.do(
            c.RemoveBookmark(client_id=client_id or None, conversation=conversation, seq=seq)
        )

    # --- messages ----------------------------------------------------------------------------------

    @get("/mentions")
    async def list_mentions(
        self, call: CallDependency, cursor: Cursor = "", limit: Limit = 50
    ) -> Page[MessageDoc]:
        """Messages that mention one by name: conversation by conversation, the newest first in each."""
        before = call.after_place("mentions", cursor)
        items, following = await call.services.queries.messages.mentions(
            call.caller, before=before, limit=limit
        )
        return call.page("mentions", items, following)

    @get("/scheduled")
    async def list_scheduled(
        self, call: CallDependency, cursor: Cursor = "", limit: Limit = 50
    ) -> Page[ScheduledDoc]:
        """One's messages that wait for their time."""
        after = call.after_id("scheduled", cursor)
        items, following = await call.services.queries.lists.scheduled(call.caller, after=after, limit=limit)
        return call.page("scheduled", items, following)

    @delete("/scheduled/{schedule:str}", status_code=200)
    async def cancel_scheduled(
        self, call: CallDependency, schedule: PathId, client_id: IdempotencyKey = ""
    ) -> Accepted:
        """Take a waiting message back."""
        return await call.do(c.CancelSchedule(client_id=client_id or None, schedule=schedule))

    @get("/threads")
    async def list_threads(
        self, call: CallDependency, cursor: Cursor = "", limit: Limit = 50
    ) -> Page[ThreadDoc]:
        """The threads that one follows."""
        after = call.after_place("threads", cursor)
        items, following = await call.services.queries.messages.threads(call.caller, after=after, limit=limit)
        return call.page("threads", items, following)

    @get("/events")
    async def list_own_events(
        self,
        call: CallDependency,
        after: After = 0,
        cursor: Cursor = "",
        limit: Annotated[int, QueryParameter(ge=1, le=1000, description="Events on a page.")] = 200,
    ) -> Page[EventFrame | VoidFrame]:
        """The events of one's own log that follow `after`, in the form of the WebSocket's frames."""
        return await events_page(call, call.caller.user, after, cursor, limit)

    # --- blocks and presence -----------------------------------------------------------------------

    @get("/blocks")
    async def list_blocks(
        self, call: CallDependency, cursor: Cursor = "", limit: Limit = 50
    ) -> Page[BlockDoc]:
        """Whom one blocked."""
        after = call.after_id("blocks", cursor)
        items, following = await call.services.queries.lists.blocks(call.caller, after=after, limit=limit)
        return call.page("blocks", items, following)

    @put("/blocks/{user:str}")
    async def block_user(
        self, call: CallDependency, user: PathId, client_id: IdempotencyKey = ""
    ) -> Accepted:
        """Block someone: neither reaches nor sees the other."""
        return await call.do(c.BlockUser(client_id=client_id or None, user=user))

    @delete("/blocks/{user:str}", status_code=200)
    async def unblock_user(
        self, call: CallDependency, user: PathId, client_id: IdempotencyKey = ""
    ) -> Accepted:
        """Take a block back."""
        return await call.do(c.UnblockUser(client_id=client_id or None, user=user))

    @put("/presence", status_code=204)
    async def set_presence(self, call: CallDependency, data: JSONBody[PresenceBody]) -> None:
        """Show the event streams of this device as active or away."""
        command = c.SetPresence(state=data.state)
        caller = call.caller
        for session in call.services.hub.sessions_of(caller.user):
            if session.caller.device == caller.device:
                await call.services.registry.dispatch(session.caller, command)
