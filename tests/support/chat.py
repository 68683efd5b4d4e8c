"""A made-up world for the terminal client: a client without a server, that keeps a real `State`."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from datetime import UTC, datetime
from types import SimpleNamespace
from typing import Any

import msgspec

from tertulia_client import (
    Acknowledged,
    ApiError,
    ClientStopped,
    Connected,
    Content,
    CursorMoved,
    Disconnected,
    Entry,
    Event,
    MessageDeleted,
    MessageNew,
    MessageUpdated,
    Poll,
    PollVoted,
    Presence,
    ReactionChanged,
    RoomGone,
    SendRefused,
    Sent,
    State,
    Stopped,
    Synchronised,
    Text,
    Typing,
    Unreachable,
)
from tertulia_client import events as e
from tertulia_client.feed import Feed
from tertulia_client.models import (
    Accepted,
    BookmarkDoc,
    ConversationDoc,
    MeDoc,
    MemberDoc,
    MessageDoc,
    Page,
    PreferencesDoc,
    PresenceDoc,
    ReceiptDoc,
    SettingsDoc,
    UserDoc,
)

NOON = int(datetime(2026, 3, 4, 12, 0, tzinfo=UTC).timestamp() * 1000)
MINUTE = 60_000
ALL = [
    "read", "send", "react", "edit_own", "delete_own", "delete_any", "pin", "mention_all", "poll", "update",
    "add_members", "remove_members", "invite", "leave", "create_topic", "typing",
]  # fmt: skip
ME = "me"


class FakeClient:
    """What `tertulia_client.Client` does, without a server.  `log` names what was asked of it."""

    def __init__(self, *, now: int = NOON) -> None:
        self.clock = now
        self.user = ME
        self.connected = False
        self.log: list[tuple[Any, ...]] = []
        self.online = True
        self.refuse: str = ""
        self.people: dict[str, UserDoc] = {}
        self.members: dict[str, list[MemberDoc]] = {}
        self.receipts: dict[str, list[ReceiptDoc]] = {}
        self.presence: dict[str, PresenceDoc] = {}
        self.channels: dict[str, ConversationDoc] = {}
        self.older: dict[str, list[MessageDoc]] = {}
        self.closed = False
        self._state: State | None = State(MeDoc(id=ME, handle="mira", name="Mira Santos"))
        self._known = False
        self._feed = Feed()
        self._waiting: list[dict[str, Any]] = []
        self._number = 0
        self.rest = FakeRest(self)
        self.add_person(ME, "mira", "Mira Santos")

    # --- making the world --------------------------------------------------------------------------

    @property
    def world(self) -> State:
        assert self._state is not None
        return self._state

    def add_person(self, user: str, handle: str, name: str, *, presence: str = "offline") -> None:
        self.people[user] = UserDoc(id=user, handle=handle, name=name)
        self.presence[user] = msgspec.convert({"user": user, "state": presence}, PresenceDoc)

    def add_room(self, room: str, kind: str, *users: str, **fields: Any) -> None:
        doc = msgspec.convert(
            {
                "id": room,
                "kind": kind,
                "role": "owner",
                "own_capabilities": ALL,
                "member_count": len(users) + 1,
                "created_at": self.clock,
                **fields,
            },
            ConversationDoc,
        )
        self.world.put_conversation(doc)
        self.members[room] = [
            MemberDoc(user=user, role="owner" if user == ME else "member", handle=doc.handle, name=doc.name)
            for user in (ME, *users)
            for doc in [self.people[user]]
        ]

    def event(self, room: str, kind: str, body: e.Body, *, user: str = ME, **fields: Any) -> Event:
        there = self.world.rooms.get(room)
        seq = there.last_seq + 1 if there is not None else self.world.position + 1
        ordinal = there.message_count if there is not None else 0
        if kind == "message.new" and not fields.get("thread"):
            ordinal += 1
        event = Event(
            kind=kind,
            conversation=room,
            seq=seq,
            at=self.clock,
            user=user,
            ordinal=ordinal,
            body=body,
            **fields,
        )
        assert self.world.apply(event) == "applied"
        self._feed.put(event)
        return event

    def write(self, room: str, user: str, content: str | Content, *, after: int = 0, **fields: Any) -> int:
        """A message of somebody, `after` milliseconds after the last thing that happened."""
        self.clock += after
        if isinstance(content, str):
            handles = {doc.handle: doc.id for doc in self.people.values()}
            words = {word.strip(",.!?@") for word in content.split() if word.startswith("@")}
            mentions = tuple(handles[word] for word in words if word in handles)
            content = Text(text=content, mentions=mentions, mention_all="@all" in content)
        thread = fields.pop("thread", 0)
        client_id = fields.pop("client_id", "")
        body = MessageNew(content=content, **fields)
        return self.event(room, "message.new", body, user=user, thread=thread, client_id=client_id).seq

    def react(self, room: str, seq: int, emoji: str, *users: str) -> None:
        for user in users:
            self.event(room, "reaction.new", ReactionChanged(emoji=emoji), user=user, target=seq)

    def vote(self, room: str, seq: int, user: str, *options: int) -> None:
        self.event(room, "poll.voted", PollVoted(options=options), user=user, target=seq)

    def says(self, signal: Typing | Presence | CursorMoved) -> None:
        self.world.signal(signal)
        self._feed.put(signal)

    def seen_by(self, room: str, user: str, seq: int, *, read: bool = True) -> None:
        self.says(CursorMoved(conversation=room, user=user, seq=seq, read=read))

    def go_offline(self, *, retry_in_s: float = 4.0) -> None:
        self.online = self.connected = False
        self._feed.put(Disconnected("no connection", retry_in_s))

    async def go_online(self) -> None:
        self.online = self.connected = True
        self._feed.put(Connected("websocket"))
        waiting, self._waiting = self._waiting, []
        for command in waiting:
            self._deliver(command)

    def stop(self, why: str, *, signed_out: bool) -> None:
        self._feed.put(Stopped(why, signed_out))
        self._feed.close()

    # --- what Client has ---------------------------------------------------------------------------

    @property
    def state(self) -> State:
        if not self._known:
            raise ClientStopped("not connected yet")
        return self.world

    async def connect(self, *, wait: bool = True) -> None:
        self.connected = self._known = self.online
        if self.online:
            self._feed.put(Synchronised())
            self._feed.put(Connected("websocket"))

    async def close(self, *, wait_s: float = 1.0) -> None:
        self.closed = True
        self._feed.close()

    async def events(self) -> AsyncIterator[Any]:
        while (news := await self._feed.get()) is not None:
            yield news

    async def send(self, conversation: str, content: Content, **fields: Any) -> Sent:
        self._number += 1
        client_id = f"c{self._number}"
        command = {
            "type": "message.send",
            "client_id": client_id,
            "conversation": conversation,
            "content": msgspec.to_builtins(content),
            **{name: value for name, value in fields.items() if value is not None},
        }
        self.log.append(("send", conversation, content, fields))
        if self.online:
            asyncio.get_running_loop().call_soon(self._deliver, command)
        else:
            self._waiting.append(command)
        return Sent(client_id, conversation, asyncio.get_running_loop().create_future())

    def _deliver(self, command: dict[str, Any]) -> None:
        client_id, room = command["client_id"], command["conversation"]
        if self.refuse:
            self._feed.put(
                SendRefused(client_id=client_id, code="forbidden", detail=self.refuse, command=command)
            )
            return
        content = msgspec.convert(command["content"], Content)
        self.clock += 1000
        seq = self.write(
            room,
            ME,
            content,
            client_id=client_id,
            thread=command.get("thread") or 0,
            reply_to=command.get("reply_to"),
        )
        self._feed.put(Acknowledged(client_id=client_id, conversation=room, seq=seq))

    async def unsent(self) -> int:
        return len(self._waiting)

    async def waiting(self) -> list[Entry]:
        return [
            Entry(number=at, lane=one["conversation"], client_id=one["client_id"], command=one)
            for at, one in enumerate(self._waiting)
        ]

    async def call(self, command: str, **fields: Any) -> Accepted:
        self.asked("call", command, fields)
        return Accepted()

    async def typing(self, conversation: str, *, composing: bool = True, thread: int | None = None) -> None:
        self.log.append(("typing", conversation, composing))

    def watch(self, users: Any) -> None:
        self.log.append(("watch", tuple(users)))
        for user in users:
            known = self.presence.get(user)
            if known is not None:
                self.says(Presence(user=user, state=known.state, last_seen=known.last_seen or 0))

    def mark_read(self, conversation: str, seq: int, *, thread: int | None = None) -> None:
        self.log.append(("read", conversation, seq, thread))
        self.world.signal(
            CursorMoved(conversation=conversation, user=ME, seq=seq, read=True, thread=thread or 0)
        )

    async def load_messages(self, conversation: str, *, limit: int = 50) -> bool:
        self.asked("older", conversation)
        kept = self.older.get(conversation, [])
        page, self.older[conversation] = kept[-limit:], kept[:-limit]
        self.world.put_messages(conversation, page, whole=len(page) < limit)
        return bool(page)

    async def load_thread(self, conversation: str, root: int) -> None:
        self.asked("thread", conversation, root)

    async def person(self, user: str) -> UserDoc:
        self.asked("person", user)
        if user not in self.people:
            raise ApiError("not_found", "There is no such person.", status=404)
        return self.people[user]

    def asked(self, *what: Any) -> None:
        self.log.append(what)
        if not self.online:
            raise Unreachable("no connection")

    def did(self, name: str) -> list[tuple[Any, ...]]:
        """What was asked under a name."""
        return [entry for entry in self.log if entry[0] == name]


class FakeRest:
    """The routes that the terminal client uses; all others do not exist."""

    def __init__(self, client: FakeClient) -> None:  # noqa: C901 - many small routes
        c = client

        async def edit(conversation: str, seq: int, content: Content) -> Accepted:
            c.asked("edit", conversation, seq, content)
            c.event(conversation, "message.updated", MessageUpdated(content=content), target=seq)
            return Accepted()

        async def delete(conversation: str, seq: int, *, everyone: bool = False) -> Accepted:
            c.asked("delete", conversation, seq, everyone)
            if everyone:
                c.event(conversation, "message.deleted", MessageDeleted(), target=seq)
            else:
                c.event(ME, "message.hidden", e.MessageHidden(conversation=conversation, seq=seq))
            return Accepted()

        async def react(conversation: str, seq: int, emoji: str, *, add: bool = True) -> Accepted:
            c.asked("react", conversation, seq, emoji, add)
            kind = "reaction.new" if add else "reaction.removed"
            c.event(conversation, kind, ReactionChanged(emoji=emoji), target=seq)
            return Accepted()

        async def pin(conversation: str, seq: int, *, pinned: bool = True) -> Accepted:
            c.asked("pin", conversation, seq, pinned)
            kind = "message.pinned" if pinned else "message.unpinned"
            c.event(conversation, kind, e.Empty(), target=seq)
            return Accepted()

        async def vote(conversation: str, seq: int, options: tuple[int, ...]) -> Accepted:
            c.asked("vote", conversation, seq, options)
            poll = c.world.rooms[conversation].messages[seq].poll
            previous = tuple(poll.own) if poll is not None else ()
            c.event(conversation, "poll.voted", PollVoted(options=options, previous=previous), target=seq)
            return Accepted()

        async def search(q: str, **fields: Any) -> Page[MessageDoc]:
            c.asked("search", q, fields)
            docs = [
                doc
                for room in c.world.rooms.values()
                for doc in [*room.messages.values(), *c.older.get(room.id, [])]
                if isinstance(doc.content, Text) and q.casefold() in doc.content.text.casefold()
            ]
            return Page(items=sorted(docs, key=lambda doc: -doc.at))

        async def pins(conversation: str, cursor: str | None = None) -> Page[MessageDoc]:
            c.asked("pins", conversation)
            docs = c.world.rooms[conversation].messages.values()
            return Page(items=[doc for doc in docs if doc.pinned])

        async def bookmarks(cursor: str | None = None) -> Page[BookmarkDoc]:
            c.asked("bookmarks")
            marks = [
                BookmarkDoc(conversation=room, seq=seq, message=c.world.rooms[room].messages.get(seq))
                for room, seq in c.world.bookmarks
            ]
            return Page(items=marks)

        async def forward(conversation: str, seq: int, to: str) -> Accepted:
            c.asked("forward", conversation, seq, to)
            return Accepted()

        async def members(conversation: str, cursor: str | None = None) -> Page[MemberDoc]:
            c.asked("members", conversation)
            return Page(items=c.members.get(conversation, []))

        async def receipts(conversation: str) -> Page[ReceiptDoc]:
            c.asked("receipts", conversation)
            return Page(items=c.receipts.get(conversation, []))

        async def channels(q: str = "") -> Page[ConversationDoc]:
            c.asked("channels", q)
            return Page(items=[doc for doc in c.channels.values() if q.casefold() in doc.name.casefold()])

        async def join(conversation: str) -> Accepted:
            c.asked("join", conversation)
            doc = msgspec.structs.replace(c.channels[conversation], role="member", own_capabilities=ALL)
            c.world.put_conversation(doc)
            return Accepted()

        async def leave(conversation: str) -> Accepted:
            c.asked("leave", conversation)
            c.world.forget(conversation)
            c._feed.put(RoomGone(conversation))
            return Accepted()

        async def open_direct(user: str) -> ConversationDoc:
            c.asked("open_direct", user)
            c.add_room(f"d-{user}", "direct", user, peer=user)
            return ConversationDoc(id=f"d-{user}", kind="direct", peer=user)

        async def create_group(name: str, members: tuple[str, ...] = ()) -> ConversationDoc:
            c.asked("create_group", name, members)
            c.add_room("g-new", "group", *members, name=name)
            return ConversationDoc(id="g-new", kind="group", name=name)

        async def create_channel(name: str, slug: str) -> ConversationDoc:
            c.asked("create_channel", name, slug)
            c.add_room("c-new", "channel", name=name, slug=slug)
            return ConversationDoc(id="c-new", kind="channel", name=name)

        async def create_invite(conversation: str) -> Accepted:
            c.asked("create_invite", conversation)
            return Accepted(secret="invite123.secret456789")

        async def accept_invite(token: str) -> Accepted:
            c.asked("accept_invite", token)
            c.add_room("g-invited", "group", name="Invited")
            return Accepted(conversation="g-invited")

        async def set_member(conversation: str, user: str) -> Accepted:
            c.asked("set_member", conversation, user)
            return Accepted()

        async def set_preferences(conversation: str, **fields: Any) -> None:
            c.asked("set_preferences", conversation, fields)
            now = c.world.rooms[conversation].preferences
            new: PreferencesDoc = msgspec.structs.replace(now, **fields)
            values = {name: getattr(new, name) for name in new.__struct_fields__}
            c.event(ME, "preferences.updated", e.PreferencesUpdated(conversation=conversation, **values))

        async def find(*, handle: str) -> list[UserDoc]:
            c.asked("find", handle)
            return [doc for doc in c.people.values() if doc.handle == handle]

        async def presence(user: str) -> PresenceDoc:
            c.asked("presence", user)
            return c.presence.get(user) or PresenceDoc(user=user, state="offline")

        async def set_draft(
            conversation: str, text: str, *, thread: int | None = None, reply_to: int | None = None
        ) -> None:
            c.asked("set_draft", conversation, text)
            body = e.DraftUpdated(conversation=conversation, thread=thread or 0, text=text)
            c.event(ME, "draft.updated", body)

        async def add_bookmark(conversation: str, seq: int) -> None:
            c.asked("add_bookmark", conversation, seq)
            c.event(ME, "bookmark.added", e.BookmarkChanged(conversation=conversation, seq=seq))

        async def remove_bookmark(conversation: str, seq: int) -> None:
            c.asked("remove_bookmark", conversation, seq)
            c.event(ME, "bookmark.removed", e.BookmarkChanged(conversation=conversation, seq=seq))

        async def update_settings(**sections: dict[str, Any]) -> None:
            c.asked("update_settings", sections)
            settings = msgspec.convert({**msgspec.to_builtins(c.world.settings), **sections}, SettingsDoc)
            c.event(ME, "settings.updated", e.SettingsUpdated(settings=settings))

        async def sign_out() -> None:
            c.asked("sign_out")

        self.messages = SimpleNamespace(
            edit=edit,
            delete=delete,
            react=react,
            pin=pin,
            vote=vote,
            search=search,
            forward=forward,
            pins=pins,
        )
        self.conversations = SimpleNamespace(
            members=members, receipts=receipts, channels=channels, join=join, leave=leave,
            open_direct=open_direct, create_group=create_group, create_channel=create_channel,
            create_invite=create_invite, accept_invite=accept_invite, set_member=set_member,
            set_preferences=set_preferences,
        )  # fmt: skip
        self.people = SimpleNamespace(find=find, presence=presence)
        self.me = SimpleNamespace(
            set_draft=set_draft, add_bookmark=add_bookmark, remove_bookmark=remove_bookmark,
            update_settings=update_settings, bookmarks=bookmarks,
        )  # fmt: skip
        self.accounts = SimpleNamespace(sign_out=sign_out)


class FakeGateway:
    """Every sign-in ends with the same client, but for the password "wrong"."""

    def __init__(self, client: FakeClient) -> None:
        self.client = client
        self.log: list[tuple[Any, ...]] = []

    async def resume(self, account: Any) -> Any:
        self.log.append(("resume", account.url, account.user))
        return self.client

    async def sign_in(self, url: str, login: str, password: str) -> Any:
        self.log.append(("sign_in", url, login))
        if password == "wrong":
            raise ApiError("unauthenticated", "The login or the password is wrong.\x1b[2J", status=401)
        return self.client

    async def sign_up(self, url: str, address: str, handle: str, name: str, password: str) -> None:
        self.log.append(("sign_up", url, address, handle, name))

    async def verify(self, url: str, address: str, code: str) -> Any:
        self.log.append(("verify", url, address, code))
        return self.client

    async def resend(self, url: str, address: str) -> None:
        self.log.append(("resend", address))

    async def forgot(self, url: str, address: str) -> None:
        self.log.append(("forgot", url, address))

    async def reset(self, url: str, address: str, code: str, password: str) -> None:
        self.log.append(("reset", address, code))


def small_world() -> FakeClient:
    """A believable morning in a small firm, as Mira sees it."""
    c = FakeClient(now=NOON - 26 * 60 * MINUTE)
    c.add_person("ada", "ada", "Ada Okafor", presence="online")
    c.add_person("jonas", "jonas", "Jonas Lindqvist", presence="away")
    c.add_person("yuki", "yuki", "Yuki Tanaka", presence="online")
    c.add_person("leila", "leila", "Leila Haddad")
    c.add_person("bot", "deploybot", "Deploy Bot", presence="online")
    c.add_room("d-ada", "direct", "ada", peer="ada")
    c.add_room("d-jonas", "direct", "jonas", peer="jonas")
    c.add_room("g-launch", "group", "ada", "jonas", "yuki", name="Launch crew")
    c.add_room(
        "c-general", "channel", "ada", "jonas", "yuki", "leila", "bot", name="general", slug="general",
        description="Everything that concerns all of us", public=True, preferences={"pinned": True},
    )  # fmt: skip
    c.add_room("t-coffee", "topic", "ada", "jonas", name="Coffee machine", parent="c-general")
    c.add_room("c-deploys", "channel", "bot", name="deploys", slug="deploys", preferences={"notify": "none"})

    c.write("c-deploys", "bot", "web 4.12.1 is live (2 min 14 s)")
    c.write("t-coffee", "jonas", "It makes that *noise* again", after=MINUTE)
    c.write("c-general", "leila", "New desks arrive on Friday 🎉", after=5 * MINUTE)
    c.clock = NOON - 170 * MINUTE
    c.write("d-jonas", "jonas", "Can you look at the invoice before lunch?", after=MINUTE)
    c.write("d-jonas", ME, "Sure", after=3 * MINUTE)
    c.seen_by("d-jonas", "jonas", 2)
    g = "g-launch"
    c.write(g, "yuki", "Morning! The new landing page is on staging.", after=4 * MINUTE)
    c.write(g, "yuki", "Copy is final, pictures come at ten.", after=MINUTE)
    first = c.write(
        g,
        "ada",
        "Looks **great**. One thing: the sign-up button is below the fold on a phone.",
        after=9 * MINUTE,
    )
    c.react(g, first, "👀", "yuki", ME)
    c.write(
        g,
        "yuki",
        "Good catch, moved it:\n```\n.hero { min-height: 60svh; }\n```",
        after=6 * MINUTE,
        reply_to=first,
    )
    c.write(g, ME, "Tested on the oldest phone I own, all good now ✓", after=8 * MINUTE)
    poll = c.write(
        g,
        "jonas",
        Poll(question="When do we go live?", options=("Today 16:00", "Tomorrow 9:00", "Monday")),
        after=12 * MINUTE,
    )
    c.vote(g, poll, "ada", 1)
    c.vote(g, poll, "jonas", 1)
    c.vote(g, poll, "yuki", 0)
    c.vote(g, poll, ME, 1)
    party = c.write(g, "ada", "Tomorrow it is. I bring cake.", after=15 * MINUTE)
    c.react(g, party, "🎉", "jonas", "yuki", ME)
    c.react(g, party, "🍰", "yuki")
    c.write(g, "jonas", "Which one?", after=MINUTE, thread=party)
    c.write(g, "ada", "The lemon one, of course", after=MINUTE, thread=party)
    c.write(g, ME, "I'll write the announcement tonight", after=2 * MINUTE)
    own = c.write(g, ME, "and schedule the newsletter for 9:30", after=MINUTE)
    for user in ("ada", "yuki"):
        c.seen_by(g, user, own)
    c.seen_by(g, "jonas", own, read=False)
    read = c.world.rooms[g].last_seq
    c.mark_read(g, read)
    c.write(
        g, "jonas", "@mira can you add the *changelog* to it? https://example.org/changes", after=20 * MINUTE
    )
    c.write("d-ada", ME, "Lunch at one?", after=MINUTE)
    c.write("d-ada", "ada", "Yes! The place by the river?", after=2 * MINUTE)
    c.write("d-ada", "ada", "I'm buying", after=MINUTE)
    c.write("c-general", "leila", "@all the fire drill is at 15:00", after=2 * MINUTE)
    c.clock = NOON
    c.log.clear()
    return c
