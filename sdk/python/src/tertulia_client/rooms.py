"""A conversation as a client knows it: its description, its window of messages, one's place in it."""

from __future__ import annotations

from collections import deque
from collections.abc import Iterable

import msgspec

from tertulia_client import events as e
from tertulia_client.content import Content, Text
from tertulia_client.events import Event
from tertulia_client.folding import fold, folded_seq, from_event
from tertulia_client.models import (
    ConversationDoc,
    ConversationKind,
    History,
    MessageDoc,
    PreferencesDoc,
    Role,
)

MAX_MISSED = 512
MAX_MARKS = 20_000


class Place(msgspec.Struct, frozen=True):
    """How far someone has come."""

    read: int = 0
    received: int = 0


class Room(msgspec.Struct, kw_only=True):
    """One conversation.

    `messages` (seq → message) holds all messages of the main log from `since` on (0: all there are), and
    thread replies among them as they came.  `members` and `pins` are null until they were fetched.
    `receipts` are the others' cursors.  `topics` (id → name) are those whose making was seen.
    """

    id: str
    me: str
    kind: ConversationKind
    name: str = ""
    description: str = ""
    photo: str = ""
    slug: str = ""
    public: bool = False
    history: History = "joined"
    message_ttl_s: int = 0
    who_may_send: Role = "guest"
    parent: str | None = None
    peer: str | None = None
    created_at: int = 0
    role: Role | None = None
    own_capabilities: list[str] = []
    last_seq: int = 0
    message_count: int = 0
    updated_at: int = 0
    read: int = 0
    received: int = 0
    read_ordinal: int = 0
    mentions: int = 0
    preferences: PreferencesDoc = PreferencesDoc()
    member_count: int = 0
    since: int = 0
    messages: dict[int, MessageDoc] = {}
    members: dict[str, Role] | None = None
    pins: set[int] | None = None
    receipts: dict[str, Place] = {}
    topics: dict[str, str] = {}
    veiled: bool = False
    """Something is not known that a fetch would tell: a void hid what it changed, for one."""
    missed: deque[Event] = msgspec.field(default_factory=lambda: deque[Event](maxlen=MAX_MISSED))
    """Changes of messages outside the window, for when a page that lacks them comes in."""
    ordinals: dict[int, int] = {}
    """seq → running count of messages, where it is known."""
    marks: dict[int, int] = {}
    """seq → how many mentions of oneself it holds."""
    named: set[int] = set()
    """Those of them that mention one by name."""
    unsure: set[int] = set()
    """Messages that were fetched after an edit: whom they mentioned is not known."""

    @classmethod
    def of(cls, doc: ConversationDoc, me: str) -> Room:
        """As fetched."""
        names = {field for field in cls.__struct_fields__ if field in doc.__struct_fields__}
        room = cls(me=me, **{name: getattr(doc, name) for name in names})
        room.own_capabilities = sorted(doc.own_capabilities)
        room.read_ordinal = doc.message_count - doc.unread if doc.role is not None else 0
        # Without a last message there is nothing older either.
        room.since = doc.last_message.seq if doc.last_message is not None else 0
        if doc.last_message is not None:
            room.put_messages([doc.last_message])
        return room

    def refresh(self, doc: ConversationDoc) -> bool:
        """Take over what events do not always tell: capabilities, and after a void that hid a change
        (`veiled`) everything.  False: the document is of another moment than the events, and what is
        hidden must be fetched again."""
        self.own_capabilities = sorted(doc.own_capabilities)
        # Cursors are told by signals, which may be lost.
        ahead = doc.read > self.read
        self._move(doc.read, doc.received)
        if ahead and doc.last_seq == self.last_seq and doc.read == self.read:
            self.read_ordinal, self.mentions = doc.message_count - doc.unread, doc.mentions
        if not self.veiled:
            return True
        self.message_count = max(self.message_count, doc.message_count)
        self.updated_at = max(self.updated_at, doc.updated_at)
        if doc.last_seq != self.last_seq:
            return False
        for name in self.__struct_fields__:
            if name in doc.__struct_fields__ and name not in ("own_capabilities", "preferences"):
                setattr(self, name, getattr(doc, name))
        self.read_ordinal = doc.message_count - doc.unread if doc.role is not None else 0
        if self.members is not None and len(self.members) != doc.member_count:
            self.members = None
        self.veiled = False
        return True

    @property
    def unread(self) -> int:
        """Messages of the main log after one's read cursor; 0 for who is not a member."""
        return max(0, self.message_count - self.read_ordinal) if self.role is not None else 0

    @property
    def last_message(self) -> MessageDoc | None:
        """The newest message of the main log."""
        seq = max((seq for seq, message in self.messages.items() if message.thread is None), default=0)
        return self.messages.get(seq)

    def replies_after(self, root: int, seq: int) -> int:
        """Known replies of a thread after `seq`."""
        return sum(1 for m in self.messages.values() if m.thread == root and m.seq > seq)

    # --- documents in ----------------------------------------------------------------------------

    def put_messages(
        self, messages: Iterable[MessageDoc], *, whole: bool = False, restart: bool = False
    ) -> None:
        """Fetched messages, a stretch that reaches or joins what is there; the newer version of each
        stays, and changes that a fetched one lacks are made good.  `restart`: these are the newest, and
        the window begins with them."""
        got = list(messages)
        for doc in got:
            known = self.messages.get(doc.seq)
            if known is None or max(doc.changed_seq, doc.seq) > max(known.changed_seq, known.seq):
                self.messages[doc.seq] = self._caught_up(doc)
            if doc.ordinal:
                self.ordinals[doc.seq] = doc.ordinal
            if known is None and (doc.edits or doc.deleted_at):
                # Mentions count as the message was sent, and those words are gone.
                self.unsure.add(doc.seq)
            elif known is None:
                self._mark(doc.seq, doc.user, doc.content, doc.thread or 0)
        main = [doc.seq for doc in got if doc.thread is None]
        if whole:
            self.since = 0
        elif restart and main:
            self.since = min(main)
            self.messages = {
                seq: m for seq, m in self.messages.items() if m.thread is None and seq >= self.since
            }
        elif main:
            self.since = min(self.since, *main)

    def _caught_up(self, doc: MessageDoc) -> MessageDoc:
        for event in self.missed:
            if folded_seq(event) == doc.seq:
                doc = fold(doc, event, self.me)
        return doc

    # --- events in -------------------------------------------------------------------------------

    def apply(self, event: Event) -> None:
        """The next event of the log."""
        self.last_seq = event.seq
        self.updated_at = max(self.updated_at, event.at)
        # A void may say neither time nor count; the next event brings both.
        self.message_count = max(self.message_count, event.ordinal)
        if event.ordinal and len(self.ordinals) < MAX_MARKS:
            self.ordinals[event.seq] = event.ordinal
        changed = folded_seq(event)
        if changed:
            message = self.messages.get(changed)
            if message is not None:
                self.messages[changed] = fold(message, event, self.me)
            else:
                self.missed.append(event)
        match event.body:
            case e.MessageNew():
                self._message(event, event.body)
            case e.Void():
                # It may have been a message, which counts, or a change by someone who is blocked.
                self.veiled = self.veiled or not event.ordinal
            case e.MessageDeleted():
                self._unmark(event.target)
                if self.pins is not None:
                    self.pins.discard(event.target)
            case _:
                self._description(event)

    def _message(self, event: Event, body: e.MessageNew) -> None:
        self.messages[event.seq] = from_event(event)
        if self.receipts.get(event.user) is not None and not event.thread:
            self.receipts[event.user] = Place(event.seq, event.seq)
        if event.user == self.me and not event.thread:
            self._move(event.seq, event.seq)
            return
        self.mentions += self._mark(event.seq, event.user, body.content, event.thread)

    def _description(self, event: Event) -> None:
        match event.body:
            case e.ConversationCreated() as made:
                self.name, self.description, self.slug = made.name, made.description, made.slug
                self.public, self.history = made.public, made.history
            case e.ConversationUpdated() as change:
                for name in change.__struct_fields__:
                    value = getattr(change, name)
                    if value is not None:
                        setattr(self, name, value)
            case e.MemberAdded(user=user, role=role):
                self.member_count += 1
                self._member(user, role)
            case e.MemberUpdated(user=user, role=role):
                self._member(user, role)
            case e.MemberRemoved(user=user):
                self.member_count -= 1
                self._member(user, None)
            case e.TopicCreated(topic=topic, name=name):
                self.topics[topic] = name
            case e.Empty() if self.pins is not None and event.kind == "message.pinned":
                self.pins.add(event.target)
            case e.Empty() if self.pins is not None and event.kind == "message.unpinned":
                self.pins.discard(event.target)
            case _:
                pass

    def _member(self, user: str, role: Role | None) -> None:
        if user == self.me:
            self.role = role
        if role is None:
            self.receipts.pop(user, None)
        if self.members is None:
            return
        if role is None:
            self.members.pop(user, None)
        else:
            self.members[user] = role

    def _mark(self, seq: int, author: str, content: Content | None, thread: int) -> int:
        """Note and count the mentions of oneself in a message."""
        if not isinstance(content, Text) or author == self.me:
            return 0
        # An @all inside a thread counts there only; a personal mention counts everywhere.
        count = (self.me in content.mentions) + (content.mention_all and not thread)
        if count and len(self.marks) < MAX_MARKS:
            self.marks[seq] = count
            if self.me in content.mentions:
                self.named.add(seq)
        return count

    def _unmark(self, seq: int) -> None:
        """A message that is deleted mentions nobody by name any more; that it was for all still counts."""
        if seq in self.named:
            self.named.discard(seq)
            self.marks[seq] -= 1
            self.mentions -= seq > self.read
        elif seq > self.read and (seq in self.unsure or seq not in self.messages):
            self.veiled = True

    # --- cursors ---------------------------------------------------------------------------------

    def moved(self, moved: e.CursorMoved) -> None:
        """Someone's cursor of the main log moved on; backwards it never goes."""
        read = moved.seq if moved.read else 0
        if moved.user == self.me:
            self._move(read, moved.seq)
            return
        old = self.receipts.get(moved.user, Place())
        self.receipts[moved.user] = Place(max(old.read, read), max(old.received, moved.seq))

    def _move(self, read: int, received: int) -> None:
        read = min(read, self.last_seq)
        self.received = max(self.received, min(received, self.last_seq), read)
        if read <= self.read:
            return
        self.read = read
        self.read_ordinal = max(self.read_ordinal, self._ordinal_at(read))
        known = sum(self.marks.values())
        above = sum(count for seq, count in self.marks.items() if seq > read)
        older = max(0, self.mentions - known) if read < self.since - 1 else 0
        self.mentions = above + older
        self.marks = {seq: count for seq, count in self.marks.items() if seq > read}
        self.named = {seq for seq in self.named if seq > read}
        self.unsure = {seq for seq in self.unsure if seq > read}
        self.veiled = self.veiled or bool(self.unsure)
        self.ordinals = {seq: count for seq, count in self.ordinals.items() if seq >= read}

    def _ordinal_at(self, seq: int) -> int:
        """The running count of messages at `seq`: exact within the window."""
        if seq >= self.last_seq:
            return self.message_count
        below = max((s for s in self.ordinals if s <= seq), default=0)
        if below:
            return self.ordinals[below]
        above = min((s for s in self.ordinals if s > seq), default=0)
        if not above:
            return self.read_ordinal
        message = self.messages.get(above)
        counted = message is not None and message.thread is None
        return self.ordinals[above] - counted

    # --- what one may no longer see --------------------------------------------------------------

    def hide(self, seq: int) -> None:
        """Deleted for oneself."""
        self.messages.pop(seq, None)
        if self.pins is not None:
            self.pins.discard(seq)

    def hide_author(self, user: str) -> None:
        """Blocked: in all but direct conversations their messages are gone."""
        for seq in [seq for seq, message in self.messages.items() if message.user == user]:
            self.hide(seq)

    def facts(self) -> dict[str, object]:
        """The durable part as plain values, in the shape of the conversation's document."""
        left_out = {
            *("me", "since", "veiled", "missed", "ordinals", "marks", "named", "unsure", "receipts"),
            *("read_ordinal", "messages", "members", "pins", "topics", "preferences"),
        }
        plain = {name: getattr(self, name) for name in self.__struct_fields__ if name not in left_out}
        return {
            **plain,
            "unread": self.unread,
            "preferences": msgspec.to_builtins(self.preferences),
            "messages": {seq: msgspec.to_builtins(m) for seq, m in sorted(self.messages.items())},
            "members": dict(self.members) if self.members is not None else None,
            "pins": sorted(self.pins) if self.pins is not None else None,
        }
