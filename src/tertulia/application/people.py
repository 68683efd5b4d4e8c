"""People: one's own profile and settings, contacts, blocks and reports."""

from __future__ import annotations

import re
from typing import Final, Literal

import msgspec

from tertulia.application.access import Access, expects
from tertulia.application.core import Caller, Executor, Plan, accepted
from tertulia.application.messages import personal
from tertulia.application.new_users import require_handle
from tertulia.application.profiles import Profiles
from tertulia.application.rows import visible_message
from tertulia.domain import commands as c
from tertulia.domain import events as e
from tertulia.domain import settings as settings_rules
from tertulia.domain.errors import Refusal, not_found
from tertulia.domain.profile_rules import (
    check_note,
    check_photo,
    handle_times,
    normalise_name,
    normalise_status,
)
from tertulia.domain.records import (
    Block,
    Contact,
    HandleTaken,
    Identity,
    R,
    Report,
    Settings,
    User,
    Versioned,
)
from tertulia.domain.settings import SettingsDocument
from tertulia.domain.unit import BumpEpoch, Expect, NewEvent, Put, Remove, Unit, VersionIs, Write
from tertulia.domain.visibility import findable
from tertulia.ports.clock import Clock
from tertulia.ports.message_store import Directory, MessageStore

MAX_CONTACTS: Final = 5000
MAX_BLOCKS: Final = 1000

HeldState = Literal["requested", "received", "accepted"]
ContactChange = Literal["requested", "received", "accepted", "removed"]

_PATH: Final = re.compile(r" - at `\$\.?(?P<path>[^`]*)`$")
_UNKNOWN: Final = re.compile(r"unknown field `(?P<name>[^`]*)`")


class People:
    """Handlers of the commands about people; each returns the Accepted of its first event."""

    def __init__(
        self,
        store: MessageStore,
        directory: Directory,
        access: Access,
        profiles: Profiles,
        executor: Executor,
        clock: Clock,
    ) -> None:
        self._store = store
        self._directory = directory
        self._access = access
        self._profiles = profiles
        self._executor = executor
        self._clock = clock

    # --- oneself ---------------------------------------------------------------------------------

    async def update_profile(self, caller: Caller, command: c.UpdateProfile) -> c.Accepted:
        """Change the fields that are given.

        A handle that someone else ever had is `handle_taken`; one's own earlier ones may be taken again.
        Raises Refusal `limit_reached` (field `handle`) as `handle_times`."""

        async def plan() -> Plan:
            found = await self._directory.get_versioned(User, caller.tenant, caller.user)
            if found is None:
                raise not_found("user")
            before = found.record
            changes: dict[str, str] = {}
            after = before
            if command.name is not None:
                changes["name"] = normalise_name(command.name)
            if command.status is not None:
                changes["status"] = normalise_status(command.status)
            if command.photo is not None:
                changes["photo"] = check_photo(command.photo)
            if command.handle is not None:
                changes["handle"] = require_handle(command.handle)
            changes = {name: value for name, value in changes.items() if getattr(before, name) != value}
            if not changes:
                return _nothing(caller)
            checks: list[Expect] = [VersionIs(User, before.key(), found.version)]
            writes: list[Write] = []
            if "handle" in changes:
                if await self._claim_handle(caller, changes["handle"], checks, writes):
                    times = handle_times(before.handles_at, self._clock.now_ms())
                    after = msgspec.structs.replace(before, handles_at=times)
                await self._claim_handle(caller, before.handle, checks, writes)
            writes.append(Put(msgspec.structs.replace(after, **changes)))
            body = e.ProfileUpdated(**changes)
            return Plan(
                events=(personal(caller, "profile.updated", body),),
                expects=tuple(checks),
                writes=tuple(writes),
            )

        try:
            return await self._executor.run(caller, command, plan)
        except Refusal as refusal:
            if refusal.code == "conflict":
                raise _handle_taken() from None
            raise

    async def _claim_handle(
        self, caller: Caller, handle: str, checks: list[Expect], writes: list[Write]
    ) -> bool:
        """The row that keeps a handle for its owner for ever; whether it is a new one.

        Raises Refusal `handle_taken`."""
        if not handle:
            return False
        taken = await self._directory.get_versioned(HandleTaken, caller.tenant, handle)
        if taken is not None and taken.record.user != caller.user:
            raise _handle_taken()
        checks.append(_is(taken, HandleTaken, caller.tenant, handle))
        if taken is None:
            writes.append(Put(HandleTaken(tenant=caller.tenant, handle=handle, user=caller.user)))
        return taken is None

    async def update_settings(self, caller: Caller, command: c.UpdateSettings) -> c.Accepted:
        """Replace the fields that are given; the event carries the whole document as it is then."""

        async def plan() -> Plan:
            key = (caller.tenant, caller.user)
            found = await self._directory.get_versioned(Settings, *key)
            before = settings_rules.read(found.record.document if found is not None else None)
            after = _patched(before, command.settings)
            if after == before:
                return _nothing(caller)
            document = msgspec.json.encode(after)
            checks: list[Expect] = [_is(found, Settings, *key)]
            writes: list[Write] = [Put(Settings(tenant=caller.tenant, user=caller.user, document=document))]
            for identity in await self._directory.scan(Identity, key, index="user"):
                wanted = findable(identity.kind, after)
                row = await self._directory.get_versioned(Identity, *identity.key())
                if row is None or row.record.user != caller.user or row.record.findable == wanted:
                    continue
                checks.append(VersionIs(Identity, identity.key(), row.version))
                writes.append(Put(msgspec.structs.replace(row.record, findable=wanted)))
            body = e.SettingsUpdated(settings=msgspec.Raw(document))
            return Plan(
                events=(personal(caller, "settings.updated", body),),
                expects=tuple(checks),
                writes=tuple(writes),
            )

        return await self._executor.run(caller, command, plan)

    # --- contacts --------------------------------------------------------------------------------

    async def request_contact(self, caller: Caller, command: c.RequestContact) -> c.Accepted:
        """Ask someone to be a contact; when they asked before, this accepts.

        Raises Refusal `not_found` for people who do not exist or blocked the caller, `forbidden` for
        those whom the caller blocked, `limit_reached`."""

        async def plan() -> Plan:
            pair = await self._pair(caller, command.user)
            reachable = await self._reachable(caller, command.user)
            state = pair.mine.record.state if pair.mine is not None else None
            if state == "received":
                return pair.changed("accepted", "accepted", self._clock.now_ms(), reachable)
            if state is not None:
                return _nothing(caller)
            if await self._directory.count(Contact, (caller.tenant, caller.user)) >= MAX_CONTACTS:
                raise Refusal("limit_reached", f"A person has at most {MAX_CONTACTS} contacts.")
            return pair.changed("requested", "received", self._clock.now_ms(), reachable)

        return await self._executor.run(caller, command, plan)

    async def accept_contact(self, caller: Caller, command: c.AcceptContact) -> c.Accepted:
        """Accept someone's request.  Raises Refusal `not_found` when there is none."""

        async def plan() -> Plan:
            pair = await self._pair(caller, command.user)
            state = pair.mine.record.state if pair.mine is not None else None
            if state == "accepted":
                return _nothing(caller)
            if state != "received":
                raise not_found("contact request")
            reachable = await self._reachable(caller, command.user)
            return pair.changed("accepted", "accepted", self._clock.now_ms(), reachable)

        return await self._executor.run(caller, command, plan)

    async def remove_contact(self, caller: Caller, command: c.RemoveContact) -> c.Accepted:
        """End a contact, decline a request or withdraw one's own, for both sides."""

        async def plan() -> Plan:
            pair = await self._pair(caller, command.user)
            if pair.mine is None and pair.theirs is None:
                return _nothing(caller)
            return pair.removed()

        return await self._executor.run(caller, command, plan)

    async def _pair(self, caller: Caller, other: str) -> _Pair:
        if other == caller.user:
            raise Refusal("invalid", "This is yourself.", field="user")
        mine = await self._directory.get_versioned(Contact, caller.tenant, caller.user, other)
        theirs = await self._directory.get_versioned(Contact, caller.tenant, other, caller.user)
        return _Pair(caller=caller, other=other, mine=mine, theirs=theirs)

    async def _reachable(self, caller: Caller, other: str) -> tuple[Expect, ...]:
        """What holds as long as the two may become contacts.  Raises Refusal."""
        tenant = caller.tenant
        user = await self._directory.get_versioned(User, tenant, other)
        blocked = await self._directory.get(Block, tenant, other, caller.user)
        if user is None or user.record.disabled or blocked is not None:
            raise not_found("user")
        if await self._directory.get(Block, tenant, caller.user, other) is not None:
            raise Refusal("forbidden", "You have blocked this person.")
        return (
            VersionIs(User, user.record.key(), user.version),
            VersionIs(Block, (tenant, other, caller.user), 0),
            VersionIs(Block, (tenant, caller.user, other), 0),
        )

    # --- blocks ----------------------------------------------------------------------------------

    async def block(self, caller: Caller, command: c.BlockUser) -> c.Accepted:
        """Block someone: they are no longer a contact, and neither reaches nor sees the caller.

        Raises Refusal `not_found` for someone who neither exists for the caller (see
        `Profiles.get`) nor shares a conversation with them, `limit_reached`."""

        covered: tuple[Write, ...] = ()

        async def plan() -> Plan:
            nonlocal covered
            pair = await self._pair(caller, command.user)
            key = (caller.tenant, caller.user, command.user)
            if await self._directory.get(Block, *key) is not None:
                return _nothing(caller)
            if not await self._profiles.knows(caller, command.user):
                raise not_found("user")
            if await self._directory.count(Block, (caller.tenant, caller.user)) >= MAX_BLOCKS:
                raise Refusal("limit_reached", f"A person blocks at most {MAX_BLOCKS} others.")
            row = Block(tenant=caller.tenant, user=caller.user, other=command.user, at=self._clock.now_ms())
            ended = pair.removed()
            covered = await self._direct_epoch(caller, command.user)
            blocked = personal(caller, "user.blocked", e.BlockChanged(user=command.user))
            return Plan(
                events=(blocked, *ended.events),
                expects=(VersionIs(Block, key, 0), *ended.expects),
                writes=(Put(row), *ended.writes, *covered),
            )

        answer = await self._executor.run(caller, command, plan)
        if not covered and not answer.repeated:
            # A direct conversation that was opened while this was decided: whoever sends there must
            # decide again as well.
            late = await self._direct_epoch(caller, command.user)
            if late:
                await self._store.append(
                    Unit(
                        tenant=caller.tenant,
                        actor=caller.user,
                        at=self._clock.now_ms(),
                        events=(),
                        writes=late,
                    )
                )
        return answer

    async def unblock(self, caller: Caller, command: c.UnblockUser) -> c.Accepted:
        """Take a block back.  Contacts that it ended stay ended."""

        async def plan() -> Plan:
            key = (caller.tenant, caller.user, command.user)
            there = await self._directory.get_versioned(Block, *key)
            if there is None:
                return _nothing(caller)
            return Plan(
                events=(personal(caller, "user.unblocked", e.BlockChanged(user=command.user)),),
                expects=(VersionIs(Block, key, there.version),),
                writes=(Remove(Block, key), *await self._direct_epoch(caller, command.user)),
            )

        return await self._executor.run(caller, command, plan)

    async def _direct_epoch(self, caller: Caller, other: str) -> tuple[Write, ...]:
        direct = await self._profiles.direct(caller.tenant, caller.user, other)
        return (BumpEpoch(direct.id),) if direct is not None else ()

    # --- reports ---------------------------------------------------------------------------------

    async def create_report(self, caller: Caller, command: c.CreateReport) -> c.Accepted:
        """Report a person, or a message that the caller can see, to the moderators.

        One person's reports of the same message are one; so are those of the same person, until it is
        closed.  A person whom the caller blocked may be reported all the same.

        Raises Refusal `not_found`, `invalid`."""
        place = (command.conversation or "", command.seq or 0)
        if bool(place[0]) != bool(place[1]):
            raise Refusal("invalid", "A message is named by `conversation` and `seq`.", field="seq")
        if command.user == caller.user:
            raise Refusal("invalid", "This is yourself.", field="user")
        refusal = check_note(command.note)
        if refusal is not None:
            raise refusal
        what = (caller.tenant, caller.user, command.user, place[0], str(place[1]))
        key = (caller.tenant, self._executor.keyed.digest("report", *what).hex())
        answer = c.Accepted(conversation=caller.user, created=key[1], repeated=True)

        async def plan() -> Plan:
            checks: tuple[Expect, ...] = ()
            if place[0]:
                checks = await self._visible(caller, command.user, *place)
            elif not await self._profiles.knows(caller, command.user):
                raise not_found("user")
            there = await self._directory.get_versioned(Report, *key)
            if there is not None and (there.record.state == "open" or place[0]):
                return Plan(answer=answer)
            row = Report(
                tenant=caller.tenant,
                id=key[1],
                reporter=caller.user,
                at=self._clock.now_ms(),
                user=command.user,
                reason=command.reason,
                note=command.note,
                conversation=place[0],
                seq=place[1],
            )
            return Plan(
                events=(personal(caller, "report.created", e.Reported(report=key[1])),),
                expects=(*checks, _is(there, Report, *key)),
                writes=(Put(row),),
            )

        return await self._executor.run(caller, command, plan, lambda event: accepted(event, created=key[1]))

    async def _visible(self, caller: Caller, author: str, conversation: str, seq: int) -> tuple[Expect, ...]:
        standing = await self._access.require(caller, conversation, "read")
        now = self._clock.now_ms()
        view, _ = await visible_message(self._store, self._directory, caller, standing, seq, now)
        if view.event.actor != author:
            raise Refusal("invalid", "This message is by someone else.", field="user")
        return expects(standing)


class _Pair(msgspec.Struct, frozen=True, kw_only=True):
    """The two rows of a contact and what may become of them."""

    caller: Caller
    other: str
    mine: Versioned[Contact] | None
    theirs: Versioned[Contact] | None

    @property
    def _keys(self) -> tuple[tuple[str, str, str], tuple[str, str, str]]:
        tenant, user = self.caller.tenant, self.caller.user
        return (tenant, user, self.other), (tenant, self.other, user)

    @property
    def _unchanged(self) -> tuple[Expect, ...]:
        mine, theirs = self._keys
        return (_is(self.mine, Contact, *mine), _is(self.theirs, Contact, *theirs))

    def _event_for_other(self, state: ContactChange) -> NewEvent:
        body = e.ContactChanged(user=self.caller.user, state=state)
        return NewEvent(
            log=self.other, kind="contact.updated", body=e.encode_body(body), actor=self.caller.user
        )

    def _event_for_me(self, state: ContactChange) -> NewEvent:
        return personal(self.caller, "contact.updated", e.ContactChanged(user=self.other, state=state))

    def changed(self, mine: HeldState, theirs: HeldState, at: int, checks: tuple[Expect, ...]) -> Plan:
        """Both rows and both personal logs in one append, the caller's first."""
        tenant, user, other = self.caller.tenant, self.caller.user, self.other
        return Plan(
            events=(self._event_for_me(mine), self._event_for_other(theirs)),
            expects=(*self._unchanged, *checks),
            writes=(
                Put(Contact(tenant=tenant, user=user, other=other, state=mine, at=at)),
                Put(Contact(tenant=tenant, user=other, other=user, state=theirs, at=at)),
            ),
        )

    def removed(self) -> Plan:
        """What ends the contact on the sides where there is one."""
        mine, theirs = self._keys
        events: list[NewEvent] = []
        writes: list[Write] = []
        if self.mine is not None:
            events.append(self._event_for_me("removed"))
            writes.append(Remove(Contact, mine))
        if self.theirs is not None:
            events.append(self._event_for_other("removed"))
            writes.append(Remove(Contact, theirs))
        return Plan(events=tuple(events), expects=self._unchanged, writes=tuple(writes))


def _is(found: Versioned[R] | None, record: type[R], *key: str | int) -> VersionIs:
    """The row is still as it was read."""
    return VersionIs(record, key, found.version if found is not None else 0)


def _nothing(caller: Caller) -> Plan:
    """It is so already."""
    return Plan(answer=c.Accepted(conversation=caller.user, repeated=True))


def _handle_taken() -> Refusal:
    return Refusal("handle_taken", "This handle is or was somebody's.", field="handle")


def _patched(before: SettingsDocument, patch: msgspec.Raw) -> SettingsDocument:
    try:
        return settings_rules.patched(before, bytes(patch))
    except (msgspec.DecodeError, UnicodeDecodeError) as error:
        text = str(error)
        path, unknown = _PATH.search(text), _UNKNOWN.search(text)
        parts = [
            "settings",
            path["path"].replace("[...]", "") if path else "",
            unknown["name"] if unknown else "",
        ]
        field = ".".join(part for part in parts if part)
        detail = _PATH.sub("", text) if isinstance(error, msgspec.DecodeError) else "This is not UTF-8."
        raise Refusal("invalid", f"{detail}.".replace("..", "."), field=field) from None
