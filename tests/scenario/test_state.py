"""Old state plus the events = a fresh fetch, for every command and for everyone who watches.

Real clients of the SDK hold their states over real connections; each step is carried out by someone, and
then every client's state must say what a new fetch of everything says."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import Any, Final

import msgspec

from tertulia.domain import commands as c
from tertulia.domain.content import ContactCard, Location, Poll, Text
from tertulia.domain.records import Block
from tertulia_client import Client, Options
from tertulia_client.fetching import fetch_all
from tertulia_client.models import TokensDoc
from tertulia_client.state import State
from tests.support.live import Live, Person

WATCHERS: Final = ("ana", "bob", "carl", "eve")


class Stage:
    """The people with their clients, and what the steps have made so far."""

    def __init__(self, live: Live) -> None:
        self.live = live
        self.people: dict[str, Person] = {}
        self.clients: dict[str, Client] = {}
        self.made: dict[str, Any] = {}

    async def enter(self) -> None:
        """Everyone signs in and looks at everything."""
        for name in WATCHERS:
            self.people[name] = await self.live.person(name)
        for name, person in self.people.items():
            tokens = TokensDoc(
                access_token=person.token, expires_in=3600, refresh_token="none", user=person.id,
                device=person.device,
            )  # fmt: skip
            client = await Client.with_tokens(
                f"http://127.0.0.1:{self.live.port}",
                tokens,
                options=Options(transport="websocket", auto_received=False, messages=200, trust_env=False),
            )
            self.clients[name] = client
            await client.connect()

    async def leave(self) -> None:
        for client in self.clients.values():
            await client.close()

    def id(self, name: str) -> str:
        return self.people[name].id

    async def do(self, name: str, command: c.Command) -> c.Accepted:
        return await self.live.do(self.people[name], command)

    async def say(self, name: str, conversation: str, words: str = "words", **fields: Any) -> int:
        command = c.SendMessage(conversation=conversation, content=Text(text=words), **fields)
        return (await self.do(name, command)).seq

    async def look_everywhere(self) -> None:
        """Members and pins are fetched when they are looked at: everyone looks."""
        for client in self.clients.values():
            for room in list(client.state.rooms.values()):
                if room.members is None:
                    await client.load_members(room.id)
                if room.pins is None:
                    await client.load_pins(room.id)

    # --- comparing -------------------------------------------------------------------------------

    async def heads(self, name: str) -> dict[str, int]:
        """Where the logs of this person stand."""
        caller, sync = self.people[name].caller, self.live.program.sync
        opening = await sync.opening(caller)
        return {head.log: head.last_seq for head in await sync.heads(caller, list(opening.logs))}

    async def caught_up(self, name: str) -> None:
        """Wait until the client has every event that is there for it."""
        client = self.clients[name]
        person = self.people[name]
        await self.live.program.receipts.settled(person.caller, "")
        async with asyncio.timeout(10):
            while True:
                if not client.state.wants and client.state.positions == await self.heads(name):
                    return
                await asyncio.sleep(0.005)

    async def compare(self, step: str) -> None:
        """Every state against a fresh one."""
        for name in WATCHERS:
            try:
                await self.caught_up(name)
            except TimeoutError:
                state = self.clients[name].state
                raise AssertionError(
                    f"{step}: {name} is not up to date: wants {dict(state.wants)}, "
                    f"{state.positions} of {await self.heads(name)}"
                ) from None
            wrong: list[str] = []
            # Cursors are told by signals, a moment after the commit; the rest must agree at once.
            for attempt in range(40):
                wrong = await self.differences(name)
                if not wrong:
                    break
                await asyncio.sleep(0.01 * attempt)
            assert not wrong, f"after {step}, {name} differs (held, fetched):\n" + "\n".join(wrong)

    async def differences(self, name: str) -> list[str]:
        client = self.clients[name]
        fetched = await fetch_all(client.rest, client.state.position)
        fresh = State.from_fetch(fetched).facts()
        held = client.state.facts()
        mine, theirs = held.pop("conversations"), fresh.pop("conversations")
        assert isinstance(mine, dict)
        assert isinstance(theirs, dict)
        wrong = [f"{key}: {held[key]!r} ≠ {fresh[key]!r}" for key in fresh if held[key] != fresh[key]]
        if set(mine) != set(theirs):
            wrong.append(f"conversations: {set(mine)} ≠ {set(theirs)}")
        for ident in set(mine) & set(theirs):
            peer = mine[ident]["peer"]
            if peer and await self.live.program.store.get(Block, "default", peer, self.id(name)) is not None:
                # Whoever is blocked is not told; they find out when they try.
                mine[ident]["own_capabilities"] = theirs[ident]["own_capabilities"]
            wrong += self._room(client, ident, mine[ident], theirs[ident])
        return wrong

    def _room(self, client: Client, ident: str, mine: dict[str, Any], theirs: dict[str, Any]) -> list[str]:
        wrong: list[str] = []
        held, fresh = mine.pop("messages"), theirs.pop("messages")
        for key, value in theirs.items():
            if key in ("members", "pins") and mine[key] is None:
                continue
            if mine[key] != value:
                wrong.append(f"{ident} {key}: {mine[key]!r} ≠ {value!r}")
        since = client.state.rooms[ident].since
        for seq, message in fresh.items():
            if seq in held and held[seq] != message:
                fields = {
                    field: (held[seq].get(field), message.get(field))
                    for field in {*held[seq], *message}
                    if held[seq].get(field) != message.get(field)
                }
                wrong.append(f"{ident} message {seq}: {fields}")
            if seq not in held and seq >= since and message.get("thread") is None:
                wrong.append(f"{ident} message {seq} is not held")
        for seq, message in held.items():
            # Of a thread whose root is from before one's time only what happens is told.
            if seq not in fresh and (message.get("thread") is None or message["thread"] in fresh):
                wrong.append(f"{ident} message {seq} is held, and not there")
        return wrong


async def until(there: Callable[[], Awaitable[bool]]) -> None:
    """Wait for what comes by itself."""
    for _ in range(400):
        if await there():
            return
        await asyncio.sleep(0.02)
    raise AssertionError("it never came")


Step = tuple[str, str, Callable[[Stage], Awaitable[Any]]]
STEPS: list[Step] = []


def step(command: str, about: str = "") -> Callable[[Callable[[Stage], Awaitable[Any]]], None]:
    """One use of a command, in the order of this file."""

    def add(run: Callable[[Stage], Awaitable[Any]]) -> None:
        STEPS.append((command, about, run))

    return add


def test_every_command_is_a_step() -> None:
    assert {command for command, _, _ in STEPS} == set(c.COMMANDS)


async def test_old_state_and_events_are_a_fresh_fetch(tmp_path: Path) -> None:
    async with Live(tmp_path, fast=True) as live:
        stage = Stage(live)
        await stage.enter()
        try:
            for command, about, run in STEPS:
                await run(stage)
                await stage.compare(f"{command} ({about})")
                await stage.look_everywhere()
        finally:
            await stage.leave()


# --- the steps -------------------------------------------------------------------------------------------


@step("conversation.create_group")
async def _(s: Stage) -> None:
    made = await s.do(
        "ana", c.CreateGroup(name="Group", members=(s.id("bob"), s.id("carl")), description="About")
    )
    s.made["group"] = made.created


@step("conversation.create_channel", "public")
async def _(s: Stage) -> None:
    made = await s.do("ana", c.CreateChannel(name="News", slug="news", members=(s.id("bob"),)))
    s.made["channel"] = made.created


@step("conversation.open_direct")
async def _(s: Stage) -> None:
    s.made["direct"] = (await s.do("ana", c.OpenDirect(user=s.id("bob")))).created


@step("conversation.open_direct", "with oneself")
async def _(s: Stage) -> None:
    s.made["notes"] = (await s.do("carl", c.OpenDirect(user=s.id("carl")))).created


@step("message.send", "text")
async def _(s: Stage) -> None:
    s.made["text"] = await s.say("ana", s.made["group"], "hello")


@step("message.send", "from everyone, with mentions")
async def _(s: Stage) -> None:
    await s.say("bob", s.made["group"], "hey @carl")
    await s.say("carl", s.made["group"], "hey @bob and @ana")
    await s.say("ana", s.made["group"], "@all listen")
    await s.say("bob", s.made["direct"], "just us")
    await s.say("carl", s.made["notes"], "note to self")


@step("message.send", "reply, quote and other contents")
async def _(s: Stage) -> None:
    group = s.made["group"]
    await s.say("bob", group, "yes", reply_to=s.made["text"])
    await s.say("carl", group, "well", quote=c.QuoteRequest(seq=s.made["text"], text="hell"))
    for content in (Location(latitude=1.5, longitude=2, name="Here"), ContactCard(name="Someone")):
        await s.do("ana", c.SendMessage(conversation=group, content=content))


@step("message.send", "in a thread")
async def _(s: Stage) -> None:
    group = s.made["group"]
    await s.say("bob", group, "first reply", thread=s.made["text"])
    await s.say("carl", group, "second reply", thread=s.made["text"])
    await s.say("ana", group, "third reply @bob", thread=s.made["text"])


@step("message.edit")
async def _(s: Stage) -> None:
    await s.do(
        "ana",
        c.EditMessage(conversation=s.made["group"], seq=s.made["text"], content=Text(text="hello, world")),
    )


@step("reaction.add")
async def _(s: Stage) -> None:
    for name, emoji in (("ana", "👍"), ("bob", "👍"), ("carl", "🎉"), ("bob", "🎉")):
        await s.do(name, c.AddReaction(conversation=s.made["group"], seq=s.made["text"], emoji=emoji))


@step("reaction.remove")
async def _(s: Stage) -> None:
    for name, emoji in (("bob", "👍"), ("carl", "🎉"), ("bob", "🎉")):
        await s.do(name, c.RemoveReaction(conversation=s.made["group"], seq=s.made["text"], emoji=emoji))


@step("message.pin")
async def _(s: Stage) -> None:
    await s.do("ana", c.PinMessage(conversation=s.made["group"], seq=s.made["text"]))
    await s.do("ana", c.PinMessage(conversation=s.made["group"], seq=s.made["text"] + 1))


@step("message.unpin")
async def _(s: Stage) -> None:
    await s.do("ana", c.UnpinMessage(conversation=s.made["group"], seq=s.made["text"]))


@step("poll.vote")
async def _(s: Stage) -> None:
    poll = Poll(question="?", options=("a", "b", "c"), multiple=True)
    group = s.made["group"]
    s.made["poll"] = seq = (await s.do("bob", c.SendMessage(conversation=group, content=poll))).seq
    for name, options in (("ana", (0, 2)), ("bob", (1,)), ("ana", (1,)), ("carl", (0,)), ("carl", ())):
        await s.do(name, c.VotePoll(conversation=group, seq=seq, options=options))


@step("poll.close")
async def _(s: Stage) -> None:
    await s.do("bob", c.ClosePoll(conversation=s.made["group"], seq=s.made["poll"]))


@step("message.forward")
async def _(s: Stage) -> None:
    await s.do(
        "ana",
        c.ForwardMessage(
            conversation=s.made["direct"], from_conversation=s.made["group"], from_seq=s.made["text"]
        ),
    )


@step("message.received")
async def _(s: Stage) -> None:
    await s.do("carl", c.MarkReceived(conversation=s.made["group"], seq=s.made["text"] + 2))


@step("message.read")
async def _(s: Stage) -> None:
    await s.do("carl", c.MarkRead(conversation=s.made["group"], seq=s.made["text"] + 2))
    await s.do("ana", c.MarkRead(conversation=s.made["group"], seq=s.made["poll"]))


@step("message.read", "in a thread")
async def _(s: Stage) -> None:
    head = await s.live.program.store.head(s.made["group"])
    assert head is not None
    await s.do("bob", c.MarkRead(conversation=s.made["group"], seq=head.last_seq, thread=s.made["text"]))


@step("thread.unfollow")
async def _(s: Stage) -> None:
    await s.do("carl", c.UnfollowThread(conversation=s.made["group"], thread=s.made["text"]))
    await s.say("ana", s.made["group"], "and on", thread=s.made["text"])


@step("thread.follow")
async def _(s: Stage) -> None:
    await s.do("carl", c.FollowThread(conversation=s.made["group"], thread=s.made["text"]))
    await s.say("bob", s.made["group"], "and on", thread=s.made["text"])


@step("message.delete", "for oneself")
async def _(s: Stage) -> None:
    await s.do("bob", c.DeleteMessage(conversation=s.made["group"], seq=s.made["text"] + 2))


@step("message.delete", "for everyone")
async def _(s: Stage) -> None:
    group = s.made["group"]
    gone = await s.say("bob", group, "forget it @ana @all")
    await s.do("carl", c.AddReaction(conversation=group, seq=gone, emoji="👍"))
    await s.do("bob", c.DeleteMessage(conversation=group, seq=gone, everyone=True))
    # A moderator's word, about a pinned one.
    await s.do("ana", c.DeleteMessage(conversation=group, seq=s.made["text"] + 1, everyone=True))
    # A reply, and the root of a thread.
    reply = await s.say("carl", group, "to go", thread=s.made["text"])
    await s.do("carl", c.DeleteMessage(conversation=group, seq=reply, everyone=True))
    await s.do("ana", c.DeleteMessage(conversation=group, seq=s.made["text"], everyone=True))


@step("draft.set")
async def _(s: Stage) -> None:
    group = s.made["group"]
    await s.do("bob", c.SetDraft(conversation=group, text="to be"))
    await s.do("bob", c.SetDraft(conversation=group, text="in a thread", thread=s.made["poll"]))
    await s.do("bob", c.SetDraft(conversation=group, text="to be or not", reply_to=s.made["poll"]))
    await s.do("carl", c.SetDraft(conversation=group, text="gone soon"))
    await s.do("carl", c.SetDraft(conversation=group, text=""))


@step("bookmark.add")
async def _(s: Stage) -> None:
    for note in ("", "a note"):
        await s.do("bob", c.AddBookmark(conversation=s.made["group"], seq=s.made["poll"], note=note))
    await s.do("ana", c.AddBookmark(conversation=s.made["group"], seq=s.made["poll"]))


@step("bookmark.remove")
async def _(s: Stage) -> None:
    await s.do("ana", c.RemoveBookmark(conversation=s.made["group"], seq=s.made["poll"]))


@step("schedule.create")
async def _(s: Stage) -> None:
    now = s.live.clock.now_ms()
    ids: list[str] = []
    for later in (10**7, 10**8):
        command = c.ScheduleMessage(
            conversation=s.made["group"], content=Text(text="later"), send_at=now + later
        )
        ids.append((await s.do("ana", command)).created)
    s.made["schedules"] = ids


@step("schedule.cancel")
async def _(s: Stage) -> None:
    await s.do("ana", c.CancelSchedule(schedule=s.made["schedules"][0]))


@step("schedule.create", "and its time comes")
async def _(s: Stage) -> None:
    before = await s.live.program.store.head(s.made["direct"])
    assert before is not None
    command = c.ScheduleMessage(
        conversation=s.made["direct"], content=Text(text="now"), send_at=s.live.clock.now_ms() + 150
    )
    await s.do("bob", command)

    async def sent() -> bool:
        head = await s.live.program.store.head(s.made["direct"])
        waiting = await s.clients["bob"].rest.me.scheduled(None)
        return head is not None and head.last_seq > before.last_seq and not waiting.items

    await until(sent)


@step("topic.create")
async def _(s: Stage) -> None:
    s.made["topic"] = (await s.do("bob", c.CreateTopic(conversation=s.made["channel"], name="Topic"))).created


@step("message.send", "in a topic")
async def _(s: Stage) -> None:
    s.made["in topic"] = await s.say("ana", s.made["topic"], "on topic @bob")
    await s.say("bob", s.made["channel"], "in the channel")


@step("conversation.join")
async def _(s: Stage) -> None:
    await s.do("eve", c.JoinChannel(conversation=s.made["channel"]))
    await s.say("eve", s.made["topic"], "hello, all")


@step("member.set_role")
async def _(s: Stage) -> None:
    for name, role in (("eve", "moderator"), ("bob", "guest"), ("bob", "admin")):
        await s.do("ana", c.SetRole(conversation=s.made["channel"], user=s.id(name), role=role))


@step("preferences.set")
async def _(s: Stage) -> None:
    await s.do("bob", c.SetPreferences(conversation=s.made["channel"], notify="mentions", pinned=True))
    await s.do("ana", c.SetPreferences(conversation=s.made["group"], archived=True, muted_until=5))


@step("conversation.update", "words")
async def _(s: Stage) -> None:
    await s.do(
        "ana",
        c.UpdateConversation(
            conversation=s.made["group"], name="Renamed", description="Else", message_ttl_s=86_400
        ),
    )
    await s.do("bob", c.UpdateConversation(conversation=s.made["topic"], name="Off topic"))
    await s.do("bob", c.UpdateConversation(conversation=s.made["direct"], message_ttl_s=3600))
    await s.say("ana", s.made["group"], "disappears")


@step("conversation.update", "rules")
async def _(s: Stage) -> None:
    await s.do(
        "ana", c.UpdateConversation(conversation=s.made["channel"], who_may_send="moderator", slug="old-news")
    )
    await s.do("ana", c.UpdateConversation(conversation=s.made["channel"], public=False))


@step("member.add")
async def _(s: Stage) -> None:
    await s.do("ana", c.AddMember(conversation=s.made["group"], user=s.id("eve"), role="guest"))
    await s.say("eve", s.made["group"], "thanks")
    await s.do("bob", c.AddMember(conversation=s.made["channel"], user=s.id("carl")))


@step("conversation.update", "history")
async def _(s: Stage) -> None:
    await s.do("ana", c.UpdateConversation(conversation=s.made["group"], history="all"))


@step("conversation.update", "history back")
async def _(s: Stage) -> None:
    await s.do("ana", c.UpdateConversation(conversation=s.made["group"], history="joined"))


@step("member.remove")
async def _(s: Stage) -> None:
    await s.do("ana", c.RemoveMember(conversation=s.made["channel"], user=s.id("carl")))
    await s.do("ana", c.RemoveMember(conversation=s.made["group"], user=s.id("carl")))
    await s.say("ana", s.made["group"], "without him")


@step("invite.create")
async def _(s: Stage) -> None:
    made = await s.do("ana", c.CreateInvite(conversation=s.made["group"]))
    s.made["invite"], s.made["secret"] = made.created, made.secret


@step("invite.accept")
async def _(s: Stage) -> None:
    await s.do("carl", c.AcceptInvite(token=s.made["secret"]))
    await s.say("carl", s.made["group"], "back again")


@step("invite.revoke")
async def _(s: Stage) -> None:
    await s.do("ana", c.RevokeInvite(conversation=s.made["group"], invite=s.made["invite"]))


@step("conversation.leave")
async def _(s: Stage) -> None:
    await s.do("eve", c.LeaveConversation(conversation=s.made["channel"]))
    await s.say("ana", s.made["channel"], "gone")


@step("profile.update")
async def _(s: Stage) -> None:
    await s.do("bob", c.UpdateProfile(name="Robert", status="here", handle="robert"))


@step("settings.update")
async def _(s: Stage) -> None:
    document = msgspec.json.encode({"appearance": {"theme": "dark"}, "privacy": {"photo": "nobody"}})
    await s.do("bob", c.UpdateSettings(settings=msgspec.Raw(document)))


@step("contact.request")
async def _(s: Stage) -> None:
    await s.do("ana", c.RequestContact(user=s.id("bob")))
    await s.do("eve", c.RequestContact(user=s.id("bob")))
    await s.do("carl", c.RequestContact(user=s.id("ana")))


@step("contact.accept")
async def _(s: Stage) -> None:
    await s.do("bob", c.AcceptContact(user=s.id("ana")))


@step("contact.remove")
async def _(s: Stage) -> None:
    await s.do("bob", c.RemoveContact(user=s.id("eve")))


@step("user.block", "a member of a group, a contact, and the other of a direct conversation")
async def _(s: Stage) -> None:
    await s.say("bob", s.made["group"], "before the block", thread=s.made["poll"])
    await s.do("ana", c.BlockUser(user=s.id("bob")))


@step("message.send", "by the blocked one")
async def _(s: Stage) -> None:
    group = s.made["group"]
    seq = await s.say("bob", group, "unseen @all @ana")
    await s.do("bob", c.EditMessage(conversation=group, seq=seq, content=Text(text="unseen still")))
    await s.say("bob", group, "unseen reply", thread=s.made["poll"])
    own = await s.say("ana", group, "seen")
    await s.do("bob", c.AddReaction(conversation=group, seq=own, emoji="👍"))
    await s.do("carl", c.AddReaction(conversation=group, seq=seq, emoji="👍"))
    gone = await s.say("bob", group, "unseen and gone")
    await s.do("bob", c.DeleteMessage(conversation=group, seq=gone, everyone=True))
    await s.say("carl", group, "seen too")


@step("user.unblock")
async def _(s: Stage) -> None:
    await s.do("ana", c.UnblockUser(user=s.id("bob")))
    await s.say("bob", s.made["direct"], "again")


@step("report.create")
async def _(s: Stage) -> None:
    await s.do("ana", c.CreateReport(user=s.id("bob"), reason="spam"))


@step("device.revoke")
async def _(s: Stage) -> None:
    spare = await s.live.device(s.people["ana"], "spare")
    await s.do("ana", c.RevokeDevice(device=spare.device))
    await s.live.device(s.people["ana"], "another")


@step("typing.set")
async def _(s: Stage) -> None:
    await s.do("carl", c.SetTyping(conversation=s.made["group"]))


@step("presence.set")
async def _(s: Stage) -> None:
    await s.do("carl", c.SetPresence(state="away"))


@step("message.send", "that disappears")
async def _(s: Stage) -> None:
    group = s.made["group"]
    await s.do("ana", c.UpdateConversation(conversation=group, message_ttl_s=1))
    seq = await s.say("carl", group, "gone in a second @bob")
    await s.do("bob", c.AddReaction(conversation=group, seq=seq, emoji="👍"))

    async def gone() -> bool:
        view = await s.live.program.store.message(group, seq)
        return view is not None and view.fold.deleted_at > 0

    await until(gone)


@step("conversation.delete", "a topic, a channel, a group")
async def _(s: Stage) -> None:
    await s.do("ana", c.DeleteConversation(conversation=s.made["topic"]))
    await s.do("ana", c.DeleteConversation(conversation=s.made["group"]))


@step("conversation.delete", "with its topics")
async def _(s: Stage) -> None:
    made = (await s.do("bob", c.CreateTopic(conversation=s.made["channel"], name="Last"))).created
    await s.say("bob", made, "last words")
    await s.do("ana", c.DeleteConversation(conversation=s.made["channel"]))
