"""The access matrix: who may do what where, as a table, and the small world in which it is tried.

The table is written down on its own, and not worked out from `domain/permissions.py`: the two must agree.

Letters stand for people: O owner, A admin, M moderator, m member, g guest, b a member whom the owner
blocked, x someone who left, s a stranger of the same tenant, f someone of another tenant, d someone
whose account is off.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, Final, Literal

import msgspec

from tertulia.domain import commands as c
from tertulia.domain.content import Poll, Text
from tests.support.live import OTHER_TENANT, Live, Person

Kind = Literal[
    "group", "public channel", "private channel", "topic", "private topic", "direct", "blocked direct"
]
KINDS: Final[tuple[Kind, ...]] = (
    "group",
    "public channel",
    "private channel",
    "topic",
    "private topic",
    "direct",
    "blocked direct",
)
ACTORS: Final = "OAMmgbxsfd"
NAMES: Final = {
    "O": "owner",
    "A": "admin",
    "M": "moderator",
    "m": "member",
    "g": "guest",
    "b": "blocked",
    "x": "gone",
    "s": "stranger",
    "f": "foreigner",
    "d": "disabled",
}
NO_ID: Final = "01zzzzzzzzzzzzzzzzzzzzzzzz"
"""An id that nothing has."""


class Place(msgspec.Struct):
    """A conversation in which the matrix is tried: the seqs of what stands in it, and its invite."""

    kind: Kind
    id: str
    home: str
    members: str
    own: dict[str, int]
    polls: dict[str, int]
    other: int
    other_poll: int
    author: Person
    author_letter: str = ""
    invite: str = ""
    secret: str = ""

    def message(self, actor: str) -> int:
        """A message of the actor, or the author's when they have none here."""
        return self.own.get(actor, self.other)

    def poll(self, actor: str) -> int:
        return self.polls.get(actor, self.other_poll)


class Cast:
    """The people, and places made anew when something changed them."""

    def __init__(self, live: Live) -> None:
        self.live = live
        self.people: dict[str, Person] = {}
        self.places: dict[Kind, Place] = {}

    async def gather(self) -> None:
        """Everyone, and what is theirs alone."""
        live = self.live
        await live.tenant(OTHER_TENANT)
        for letter, name in NAMES.items():
            tenant = OTHER_TENANT if letter == "f" else "default"
            self.people[letter] = await live.person(f"the-{name}", tenant)
        self.author = await live.person("author")
        self.target = await live.person("target")
        self.newcomer = await live.person("newcomer")
        # The same handle elsewhere is somebody else.
        self.namesake = await live.person("target", OTHER_TENANT)
        self.devices = {
            letter: [(await live.device(one, "spare")).device for _ in range(len(KINDS) + 2)]
            for letter, one in self.people.items()
        }
        await live.do(self.people["O"], c.BlockUser(user=self.people["b"].id))
        self.lobby = await live.channel(self.author)
        self.lobby_message = (await live.say(self.author, self.lobby)).seq
        self.notes = {letter: await live.direct(one, one) for letter, one in self.people.items()}
        self.schedules = {
            letter: (
                await live.do(
                    one,
                    c.ScheduleMessage(
                        conversation=self.notes[letter],
                        content=Text(text="later"),
                        send_at=live.clock.now_ms() + 10**9,
                    ),
                )
            ).created
            for letter, one in self.people.items()
        }
        await live.program.administration.set_disabled("default", self.people["d"].id, disabled=True)

    async def place(self, kind: Kind) -> Place:
        """The place of this kind as it was made."""
        if kind not in self.places:
            self.places[kind] = await (self._pair(kind) if "direct" in kind else self._crowd(kind))
        return self.places[kind]

    def changed(self, kind: Kind) -> None:
        """It is not any more as it was made."""
        self.places.pop(kind, None)

    async def _crowd(self, kind: Kind) -> Place:
        live, people = self.live, self.people
        owner = people["O"]
        # Whom the owner blocked they cannot add: he comes by an invite, as the one who left did.
        if kind == "group":
            home = await live.group(owner, self.author, *(people[one] for one in "AMmg"))
        else:
            public = kind in ("public channel", "topic")
            home = await live.channel(owner, self.author, *(people[one] for one in "AMmg"), public=public)
        for letter, role in (("A", "admin"), ("M", "moderator"), ("g", "guest")):
            await live.do(owner, c.SetRole(conversation=home, user=people[letter].id, role=role))
        made = await live.do(owner, c.CreateInvite(conversation=home))
        for letter in "bx":
            await live.do(people[letter], c.AcceptInvite(token=made.secret))
        log = home
        if "topic" in kind:
            log = (await live.do(owner, c.CreateTopic(conversation=home, name="Topic"))).created
        place = await self._furnish(kind, log, home, "OAMmgbx")
        await live.do(people["x"], c.LeaveConversation(conversation=home))
        place.members = "OAMmgb"
        place.own.pop("x")
        place.polls.pop("x")
        if log == home:
            place.invite, place.secret = made.created, made.secret
        return place

    async def _pair(self, kind: Kind) -> Place:
        live, people = self.live, self.people
        other = "m" if kind == "direct" else "b"
        if kind == "blocked direct":
            await live.do(people["O"], c.UnblockUser(user=people["b"].id))
        log = await live.direct(people["O"], people[other])
        self.author, author = people[other], self.author
        place = await self._furnish(kind, log, log, "O" + other)
        self.author, place.author_letter = author, other
        if kind == "blocked direct":
            await live.do(people["O"], c.BlockUser(user=people["b"].id))
        return place

    async def _furnish(self, kind: Kind, log: str, home: str, members: str) -> Place:
        live = self.live
        poll = Poll(question="?", options=("a", "b"))
        place = Place(
            kind=kind, id=log, home=home, members=members, own={}, polls={}, other=0, other_poll=0,
            author=self.author,
        )  # fmt: skip
        for letter in members:
            one = self.people[letter]
            place.own[letter] = (await live.say(one, log, "words")).seq
            sent = await live.do(one, c.SendMessage(conversation=log, content=poll))
            place.polls[letter] = sent.seq
        place.other = (await live.say(self.author, log, "the author's words")).seq
        sent = await live.do(self.author, c.SendMessage(conversation=log, content=poll))
        place.other_poll = sent.seq
        return place


Build = Callable[[Cast, Place, str], c.Command]


class Case(msgspec.Struct, kw_only=True):
    """One way to use a command, and its outcomes: for members by letter in `ok` (all others `rest`), for
    those outside (`public`: where everyone may read, `private`: elsewhere, and for the foreigner always),
    for both of a direct conversation, and for (who blocked, who was blocked) of a broken one."""

    name: str
    build: Build
    ok: str = ""
    rest: str = "forbidden"
    public: str = "forbidden"
    private: str = "not_found"
    topic: str | None = None
    direct: str = "forbidden"
    broken: tuple[str, str] = ("forbidden", "forbidden")
    topic_rest: str | None = None
    topic_public: str | None = None
    by_kind: dict[str, str] = {}
    """Members for whom it goes through, where a kind differs from `ok`."""
    outcome: str = "ok"
    """What comes of it for those who are allowed."""

    owner: str = ""
    """The owner's outcome in a crowd, where it is another."""
    changes: bool = False
    kinds: tuple[Kind, ...] = KINDS

    @property
    def command(self) -> str:
        return self.name.partition(" ")[0]

    def expected(self, place: Place, actor: str) -> str:
        """What the table says."""
        if actor == "d":
            return "unauthenticated"
        kind = place.kind
        is_topic = "topic" in kind
        if actor not in place.members:
            if actor == "f" or kind not in ("public channel", "topic"):
                return self.private
            return self.topic_public or self.public if is_topic else self.public
        if kind == "direct":
            return self.direct
        if kind == "blocked direct":
            return self.broken["Ob".index(actor)]
        if actor == "O" and self.owner and not is_topic:
            return self.owner
        allowed = self.by_kind.get(kind, self.topic if is_topic and self.topic is not None else self.ok)
        letter = "m" if actor == "b" else actor
        if letter in allowed:
            return self.outcome
        return self.topic_rest or self.rest if is_topic else self.rest


def _text(words: str = "new words") -> Text:
    return Text(text=words)


_CUT: Final = ("forbidden", "peer_unavailable")
_BOTH: Final = ("ok", "ok")
_CROWDS: Final[tuple[Kind, ...]] = ("group", "public channel", "private channel")


def _writes(name: str, build: Build, **more: Any) -> Case:
    return Case(**{"name": name, "build": build, "ok": "OAMmg", "direct": "ok", "broken": _CUT, **more})


def _reads(name: str, build: Build, **more: Any) -> Case:
    """Everyone who may read."""
    return Case(
        **{
            "name": name,
            "build": build,
            "ok": "OAMmg",
            "public": "ok",
            "direct": "ok",
            "broken": _BOTH,
            **more,
        }
    )


def _belongs(name: str, build: Build, **more: Any) -> Case:
    """Every member, whatever their role and whoever blocked whom."""
    return Case(**{"name": name, "build": build, "ok": "OAMmg", "direct": "ok", "broken": _BOTH, **more})


def _leads(name: str, build: Build, ok: str = "OA", **more: Any) -> Case:
    return Case(**{"name": name, "build": build, "ok": ok, "topic": "", **more})


CASES: Final[tuple[Case, ...]] = (
    # messages
    _writes("message.send", lambda w, p, a: c.SendMessage(conversation=p.id, content=_text())),
    _writes(
        "message.send in a thread",
        lambda w, p, a: c.SendMessage(conversation=p.id, content=_text(), thread=p.other),
    ),
    _writes(
        "message.forward into it",
        lambda w, p, a: c.ForwardMessage(
            conversation=p.id,
            from_conversation=w.notes[a] if a == "f" else w.lobby,
            from_seq=1 if a == "f" else w.lobby_message,
        ),
    ),
    _reads(
        "message.forward out of it",
        lambda w, p, a: c.ForwardMessage(
            conversation=w.notes[a], from_conversation=p.id, from_seq=p.other
        ),
    ),
    _writes(
        "message.edit one's own",
        lambda w, p, a: c.EditMessage(conversation=p.id, seq=p.message(a), content=_text("other words")),
    ),
    Case(
        name="message.edit another's",
        build=lambda w, p, a: c.EditMessage(
            conversation=p.id, seq=_others(p, a), content=_text("other words")
        ),
        broken=_CUT,
    ),
    _writes(
        "message.delete one's own",
        lambda w, p, a: c.DeleteMessage(conversation=p.id, seq=p.message(a), everyone=True),
        broken=_BOTH,
        changes=True,
    ),
    Case(
        name="message.delete another's",
        build=lambda w, p, a: c.DeleteMessage(conversation=p.id, seq=_others(p, a), everyone=True),
        ok="OAM",
        changes=True,
    ),
    _reads(
        "message.delete for oneself",
        lambda w, p, a: c.DeleteMessage(conversation=p.id, seq=p.other),
        changes=True,
    ),
    _writes("reaction.add", lambda w, p, a: c.AddReaction(conversation=p.id, seq=p.other, emoji="👍")),
    _writes("reaction.remove", lambda w, p, a: c.RemoveReaction(conversation=p.id, seq=p.other, emoji="👍")),
    _writes("message.pin", lambda w, p, a: c.PinMessage(conversation=p.id, seq=p.other), ok="OAM"),
    _writes("message.unpin", lambda w, p, a: c.UnpinMessage(conversation=p.id, seq=p.other), ok="OAM"),
    _writes("poll.vote", lambda w, p, a: c.VotePoll(conversation=p.id, seq=p.other_poll, options=(1,))),
    _writes(
        "poll.close one's own", lambda w, p, a: c.ClosePoll(conversation=p.id, seq=p.poll(a)), changes=True
    ),
    Case(
        name="poll.close another's",
        build=lambda w, p, a: c.ClosePoll(conversation=p.id, seq=_others_poll(p, a)),
        ok="OAM",
        broken=_CUT,
        changes=True,
    ),
    _writes(
        "schedule.create",
        lambda w, p, a: c.ScheduleMessage(
            conversation=p.id, content=_text(), send_at=w.live.clock.now_ms() + 10**8
        ),
    ),
    Case(
        name="schedule.cancel another's",
        build=lambda w, p, a: c.CancelSchedule(schedule=w.schedules["m" if a != "m" else "O"]),
        rest="not_found", public="not_found", direct="not_found", broken=("not_found", "not_found"),
        kinds=("group",),
    ),
    _belongs("message.read", lambda w, p, a: c.MarkRead(conversation=p.id, seq=p.other)),
    _belongs("message.received", lambda w, p, a: c.MarkReceived(conversation=p.id, seq=p.other)),
    _belongs("thread.follow", lambda w, p, a: c.FollowThread(conversation=p.id, thread=p.other)),
    _belongs("thread.unfollow", lambda w, p, a: c.UnfollowThread(conversation=p.id, thread=p.other)),
    _reads("draft.set", lambda w, p, a: c.SetDraft(conversation=p.id, text="to be")),
    _reads("draft.set to nothing", lambda w, p, a: c.SetDraft(conversation=p.id, text=""), private="ok"),
    _reads("bookmark.add", lambda w, p, a: c.AddBookmark(conversation=p.id, seq=p.other)),
    _reads("bookmark.remove", lambda w, p, a: c.RemoveBookmark(conversation=p.id, seq=p.other), private="ok"),
    _writes("typing.set", lambda w, p, a: c.SetTyping(conversation=p.id)),
    # conversations
    Case(
        name="topic.create",
        build=lambda w, p, a: c.CreateTopic(conversation=p.id, name="More"),
        ok="OAMm",
        by_kind={"group": "", "topic": "", "private topic": ""},
    ),
    _writes(
        "conversation.update",
        lambda w, p, a: c.UpdateConversation(conversation=p.id, message_ttl_s=w.live.next_number())
        if "direct" in p.kind
        else c.UpdateConversation(conversation=p.id, description=f"D{w.live.next_number()}"),
        ok="OA",
    ),
    Case(
        name="conversation.delete",
        build=lambda w, p, a: c.DeleteConversation(conversation=p.id),
        ok="O",
        changes=True,
    ),
    Case(
        name="conversation.join",
        build=lambda w, p, a: c.JoinChannel(conversation=p.id),
        ok="OAMmg", public="ok", direct="ok", broken=_BOTH,
        topic="", topic_rest="invalid", topic_public="invalid",
        changes=True,
    ),
    Case(
        name="conversation.leave",
        build=lambda w, p, a: c.LeaveConversation(conversation=p.id),
        ok="AMmg", topic="", owner="conflict",
        changes=True,
    ),
    _leads(
        "member.add",
        lambda w, p, a: c.AddMember(conversation=p.id, user=w.newcomer.id),
        changes=True,
    ),
    Case(
        name="member.add someone of another tenant",
        build=lambda w, p, a: c.AddMember(conversation=p.id, user=w.namesake.id),
        ok="OA", topic="", outcome="not_found",
    ),
    _leads(
        "member.add an owner",
        lambda w, p, a: c.AddMember(conversation=p.id, user=w.newcomer.id, role="owner"),
        ok="O",
        changes=True,
    ),
    _leads(
        "member.remove",
        lambda w, p, a: c.RemoveMember(conversation=p.id, user=p.author.id),
        ok="OAM",
        changes=True,
        kinds=(*_CROWDS, "topic", "private topic"),
    ),
    _leads(
        "member.remove the owner",
        lambda w, p, a: c.RemoveMember(conversation=p.id, user=w.people["O"].id),
        ok="",
        owner="conflict",
        kinds=_CROWDS,
    ),
    _leads(
        "member.set_role",
        lambda w, p, a: c.SetRole(conversation=p.id, user=p.author.id, role="guest"),
        changes=True,
        kinds=(*_CROWDS, "topic", "private topic"),
    ),
    _leads(
        "member.set_role to one's own rank",
        lambda w, p, a: c.SetRole(conversation=p.id, user=p.author.id, role="admin"),
        ok="O",
        changes=True,
        kinds=_CROWDS,
    ),
    _leads(
        "member.set_role of the owner",
        lambda w, p, a: c.SetRole(conversation=p.id, user=w.people["O"].id, role="guest"),
        ok="",
        owner="conflict",
        kinds=_CROWDS,
    ),
    _leads("invite.create", lambda w, p, a: c.CreateInvite(conversation=p.id)),
    _leads(
        "invite.revoke",
        lambda w, p, a: c.RevokeInvite(conversation=p.id, invite=p.invite),
        changes=True,
        kinds=_CROWDS,
    ),
    Case(
        name="invite.accept",
        build=lambda w, p, a: c.AcceptInvite(token=p.secret),
        ok="OAMmg",
        public="ok",
        private="not_found",
        changes=True,
        kinds=("public channel",),
    ),
    Case(
        name="preferences.set",
        build=lambda w, p, a: c.SetPreferences(conversation=p.id, muted_until=w.live.next_number()),
        ok="OAMmg", direct="ok", broken=_BOTH,
        topic="", topic_rest="invalid", topic_public="invalid",
    ),
)  # fmt: skip


def _others(place: Place, actor: str) -> int:
    """The seq of a message of somebody else."""
    if actor in place.members and "direct" in place.kind:
        return next(seq for letter, seq in place.own.items() if letter != actor)
    return place.other


def _others_poll(place: Place, actor: str) -> int:
    if actor in place.members and "direct" in place.kind:
        return next(seq for letter, seq in place.polls.items() if letter != actor)
    return place.other_poll


class OwnCase(msgspec.Struct, kw_only=True):
    """A command that is about no conversation: the outcome of everyone, and of those who differ."""

    name: str
    build: Callable[[Cast, str], c.Command]
    outcome: str = "ok"
    but: dict[str, str] = {}

    @property
    def command(self) -> str:
        return self.name.partition(" ")[0]

    def expected(self, actor: str) -> str:
        """What the table says."""
        return "unauthenticated" if actor == "d" else self.but.get(actor, self.outcome)


_FOREIGN: Final = {"f": "not_found"}

OWN: Final[tuple[OwnCase, ...]] = (
    OwnCase(name="schedule.cancel", build=lambda w, a: c.CancelSchedule(schedule=w.schedules[a])),
    OwnCase(name="conversation.create_group", build=lambda w, a: c.CreateGroup(name="G")),
    OwnCase(
        name="conversation.create_group with someone",
        build=lambda w, a: c.CreateGroup(name="G", members=(w.target.id,)),
        but=_FOREIGN,
    ),
    OwnCase(
        name="conversation.create_channel",
        build=lambda w, a: c.CreateChannel(name="C", slug=f"own-{a.lower()}{a.isupper():d}"),
    ),
    OwnCase(
        name="conversation.create_channel with someone",
        build=lambda w, a: c.CreateChannel(
            name="C", slug=f"with-{a.lower()}{a.isupper():d}", members=(w.target.id,)
        ),
        but=_FOREIGN,
    ),
    OwnCase(
        name="conversation.create_channel of a slug that is taken",
        build=lambda w, a: c.CreateChannel(name="C", slug="taken"),
        outcome="conflict",
        but={"f": "ok"},
    ),
    OwnCase(name="conversation.open_direct", build=lambda w, a: c.OpenDirect(user=w.target.id), but=_FOREIGN),
    OwnCase(
        name="conversation.open_direct with who blocks",
        build=lambda w, a: c.OpenDirect(user=w.people["O"].id),
        but={"b": "not_found", **_FOREIGN},
    ),
    OwnCase(
        name="conversation.open_direct with the blocked",
        build=lambda w, a: c.OpenDirect(user=w.people["b"].id),
        but={"O": "forbidden", **_FOREIGN},
    ),
    OwnCase(
        name="conversation.open_direct with an account that is off",
        build=lambda w, a: c.OpenDirect(user=w.people["d"].id),
        outcome="not_found",
    ),
    OwnCase(
        name="conversation.open_direct across tenants",
        build=lambda w, a: c.OpenDirect(user=w.namesake.id),
        outcome="not_found",
        but={"f": "ok"},
    ),
    OwnCase(name="profile.update", build=lambda w, a: c.UpdateProfile(status="here")),
    OwnCase(
        name="profile.update to a handle that is taken",
        build=lambda w, a: c.UpdateProfile(handle="newcomer"),
        outcome="handle_taken",
        but={"f": "ok"},
    ),
    OwnCase(
        name="settings.update",
        build=lambda w, a: c.UpdateSettings(settings=msgspec.Raw(b'{"appearance":{"theme":"dark"}}')),
    ),
    OwnCase(name="presence.set", build=lambda w, a: c.SetPresence(state="away")),
    OwnCase(name="contact.request", build=lambda w, a: c.RequestContact(user=w.target.id), but=_FOREIGN),
    OwnCase(
        name="contact.request to who blocks",
        build=lambda w, a: c.RequestContact(user=w.people["O"].id),
        but={"O": "invalid", "b": "not_found", **_FOREIGN},
    ),
    OwnCase(
        name="contact.request to the blocked",
        build=lambda w, a: c.RequestContact(user=w.people["b"].id),
        but={"O": "forbidden", "b": "invalid", **_FOREIGN},
    ),
    OwnCase(
        name="contact.accept of nothing",
        build=lambda w, a: c.AcceptContact(user=w.author.id),
        outcome="not_found",
    ),
    OwnCase(name="contact.remove", build=lambda w, a: c.RemoveContact(user=w.newcomer.id)),
    OwnCase(name="user.block", build=lambda w, a: c.BlockUser(user=w.target.id), but=_FOREIGN),
    OwnCase(name="user.unblock", build=lambda w, a: c.UnblockUser(user=w.target.id)),
    OwnCase(
        name="report.create",
        build=lambda w, a: c.CreateReport(user=w.target.id, reason="spam"),
        but=_FOREIGN,
    ),
    OwnCase(name="device.revoke", build=lambda w, a: c.RevokeDevice(device=w.devices[a].pop())),
    OwnCase(
        name="device.revoke another's",
        build=lambda w, a: c.RevokeDevice(device=w.devices["m" if a != "m" else "O"][0]),
        outcome="not_found",
    ),
)

REPORT: Final = _reads(
    "report.create of a message",
    lambda w, p, a: c.CreateReport(
        user=p.author.id if a != p.author_letter else w.people["O"].id,
        reason="spam",
        conversation=p.id,
        seq=_others(p, a),
    ),
)
