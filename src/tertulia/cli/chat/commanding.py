"""Carries out the slash commands."""

from __future__ import annotations

import asyncio
import re
import unicodedata
from collections.abc import Awaitable, Callable, Mapping
from typing import Protocol

from tertulia.cli.chat import slash
from tertulia.cli.chat.acting import Acting
from tertulia.cli.chat.context import Context
from tertulia.cli.chat.emoji import as_emoji
from tertulia.cli.chat.pane import Pane
from tertulia.cli.chat.safe import clean_line, clip
from tertulia.cli.chat.times import span
from tertulia_client import ApiError, Poll, Text
from tertulia_client.models import ConversationDoc

ARRIVES_S = 10.0


class Desk(Protocol):
    """What commands do to the screen."""

    def open_room(self, conversation: str) -> None: ...
    def open_thread(self, root: int) -> None: ...
    def action_members(self) -> None: ...
    def action_channels(self) -> None: ...
    def search(self, words: str) -> None: ...
    def show_pins(self) -> None: ...
    def show_bookmarks(self) -> None: ...
    def action_help(self) -> None: ...
    def copy(self, words: str) -> None: ...
    async def sign_out(self) -> None: ...
    async def quit(self) -> None: ...


class Refused(Exception):
    """A command cannot be carried out; its text says why."""


class Commanding:
    """One handler for each command of `slash.TABLE`."""

    def __init__(self, context: Context, desk: Desk, acting: Acting) -> None:
        self._context = context
        self._desk = desk
        self._acting = acting
        self._handlers: Mapping[str, Callable[[Pane, str, str], Awaitable[None]]] = {
            "react": self._react,
            "reply": self._reply,
            "edit": self._edit,
            "delete": self._delete,
            "thread": self._thread,
            "poll": self._poll,
            "poll*": self._poll_several,
            "dm": self._dm,
            "group": self._group,
            "channel": self._channel,
            "topic": self._topic,
            "join": self._join,
            "leave": self._leave,
            "invite": self._invite,
            "members": self._members,
            "channels": self._channels,
            "search": self._search,
            "pin": self._pin,
            "pins": self._pins,
            "bookmarks": self._bookmarks,
            "mute": self._mute,
            "name": self._name,
            "about": self._about,
            "away": self._away,
            "back": self._back,
            "status": self._status,
            "contact": self._contact,
            "block": self._block,
            "unblock": self._unblock,
            "theme": self._theme,
            "sign-out": self._sign_out,
            "help": self._help,
            "quit": self._quit,
        }

    @property
    def names(self) -> frozenset[str]:
        """The commands that have a handler."""
        return frozenset(self._handlers)

    def carry_out(self, pane: Pane, call: slash.Call | slash.NotACommand) -> None:
        """Do it; what goes wrong is told."""
        if isinstance(call, slash.NotACommand):
            self._context.say(f"There is no /{clip(clean_line(call.word), 30)}; /help lists what there is.")
            return
        self._context.attempt(self._run(pane, call))

    async def _run(self, pane: Pane, call: slash.Call) -> None:
        conversation = pane.place[0] if pane.place is not None else ""
        try:
            await self._handlers[call.name](pane, conversation, call.argument)
        except Refused as refused:
            self._context.say(str(refused))

    @property
    def _rest(self):
        return self._context.talk.client.rest

    # --- messages ----------------------------------------------------------------------------------

    async def _react(self, pane: Pane, conversation: str, argument: str) -> None:
        message = pane.newest(own=False) or pane.newest()
        if message is None:
            raise Refused("There is no message to react to.")
        if not argument:
            self._acting.pick_reaction(message)
            return
        emoji = as_emoji(argument)
        if emoji is None:
            raise Refused("That is no emoji: /react 👍, or /react tada.")
        self._acting.react(message, emoji)

    async def _reply(self, pane: Pane, conversation: str, argument: str) -> None:
        message = pane.newest(own=False) or pane.newest()
        if message is None or pane.place is None:
            raise Refused("There is no message to answer.")
        if argument:
            await self._context.talk.send(pane.place, argument, reply_to=message.seq)
        else:
            pane.reply(message.seq)

    async def _edit(self, pane: Pane, conversation: str, argument: str) -> None:
        message = pane.newest(own=True)
        if message is None:
            raise Refused("You have written nothing here yet.")
        if argument:
            await self._rest.messages.edit(message.conversation, message.seq, Text(text=argument))
        else:
            pane.edit(message.seq)

    async def _delete(self, pane: Pane, conversation: str, argument: str) -> None:
        message = pane.newest(own=True)
        if message is None:
            raise Refused("You have written nothing here yet.")
        self._acting.delete(message)

    async def _thread(self, pane: Pane, conversation: str, argument: str) -> None:
        message = pane.newest()
        if message is None:
            raise Refused("There is no message to hang a thread on.")
        self._desk.open_thread(message.thread or message.seq)

    async def _poll(self, pane: Pane, conversation: str, argument: str) -> None:
        await self._send_poll(pane, argument, multiple=False)

    async def _poll_several(self, pane: Pane, conversation: str, argument: str) -> None:
        await self._send_poll(pane, argument, multiple=True)

    async def _send_poll(self, pane: Pane, argument: str, *, multiple: bool) -> None:
        parts = slash.poll_parts(argument)
        if parts is None or pane.place is None:
            raise Refused("A poll needs two options at least: /poll Lunch? | Soup | Salad")
        poll = Poll(question=parts[0], options=parts[1], multiple=multiple)
        await self._context.talk.send(pane.place, poll)

    # --- conversations -----------------------------------------------------------------------------

    async def dm(self, handle: str) -> None:
        """Talk to the person of that handle."""
        user = await self._user(handle)
        await self.talk_to(user)

    async def talk_to(self, user: str) -> None:
        """Talk to a person."""
        await self._opened(await self._rest.conversations.open_direct(user))

    async def _dm(self, pane: Pane, conversation: str, argument: str) -> None:
        first, _, rest = argument.partition(" ")
        if not first:
            raise Refused("With whom? /dm @ada")
        user = await self._user(first)
        doc = await self._rest.conversations.open_direct(user)
        await self._opened(doc)
        if rest.strip():
            await self._context.talk.send((doc.id, 0), rest.strip())

    async def _group(self, pane: Pane, conversation: str, argument: str) -> None:
        name, handles = slash.handles_in(argument)
        if not name:
            raise Refused("A group needs a name: /group Book club @ada @grace")
        users = tuple([await self._user(handle) for handle in handles])
        await self._opened(await self._rest.conversations.create_group(name, users))

    async def _channel(self, pane: Pane, conversation: str, argument: str) -> None:
        name = argument.lstrip("#").strip()
        if not name:
            raise Refused("A channel needs a name: /channel Gardening")
        doc = await self._rest.conversations.create_channel(name, as_slug(name))
        await self._opened(doc)

    async def _topic(self, pane: Pane, conversation: str, argument: str) -> None:
        room = self._context.talk.rooms.get(conversation)
        home = room.parent if room is not None and room.kind == "topic" else conversation
        if room is None or not argument or home is None or room.kind not in ("channel", "topic"):
            raise Refused("In a channel: /topic Tomatoes")
        await self._opened(await self._rest.conversations.create_topic(home, argument))

    async def join(self, conversation: str) -> None:
        """Become a member of a channel, and show it."""
        room = self._context.talk.rooms.get(conversation)
        if room is None or room.role is None:
            await self._rest.conversations.join(conversation)
        await self._arrived(conversation)

    async def _join(self, pane: Pane, conversation: str, argument: str) -> None:
        if not argument:
            if self._context.talk.may(conversation, "join"):
                await self.join(conversation)
            else:
                self._desk.action_channels()
            return
        token = argument.rpartition("/")[2]
        if re.fullmatch(r"[A-Za-z0-9_-]{8,}\.[A-Za-z0-9_.=-]{8,}", token):
            accepted = await self._rest.conversations.accept_invite(token)
            await self._arrived(accepted.created or accepted.conversation)
            return
        wanted = argument.lstrip("#").casefold()
        page = await self._rest.conversations.channels(argument.lstrip("#"))
        fitting = [doc for doc in page.items if wanted in (doc.slug.casefold(), doc.name.casefold())]
        if not fitting:
            raise Refused(f"There is no channel called {clip(clean_line(argument), 40)}; F4 lists them.")
        await self.join(fitting[0].id)

    async def _leave(self, pane: Pane, conversation: str, argument: str) -> None:
        await self._rest.conversations.leave(conversation)

    async def _invite(self, pane: Pane, conversation: str, argument: str) -> None:
        if argument:
            for handle in argument.split():
                await self._rest.conversations.set_member(conversation, await self._user(handle))
            return
        accepted = await self._rest.conversations.create_invite(conversation)
        self._desk.copy(accepted.secret)
        self._context.say(f"Copied. Whoever has this may join:\n/join {accepted.secret}")

    async def _members(self, pane: Pane, conversation: str, argument: str) -> None:
        self._desk.action_members()

    async def _channels(self, pane: Pane, conversation: str, argument: str) -> None:
        self._desk.action_channels()

    async def _search(self, pane: Pane, conversation: str, argument: str) -> None:
        self._desk.search(argument)

    async def _pins(self, pane: Pane, conversation: str, argument: str) -> None:
        self._desk.show_pins()

    async def _bookmarks(self, pane: Pane, conversation: str, argument: str) -> None:
        self._desk.show_bookmarks()

    async def _pin(self, pane: Pane, conversation: str, argument: str) -> None:
        room = self._context.talk.rooms.get(conversation)
        if room is not None:
            pinned = not room.preferences.pinned
            await self._rest.conversations.set_preferences(room.parent or room.id, pinned=pinned)

    async def _mute(self, pane: Pane, conversation: str, argument: str) -> None:
        room = self._context.talk.rooms.get(conversation)
        if room is None:
            return
        change = self._rest.conversations.set_preferences
        home = room.parent or room.id
        if argument == "off" or (not argument and room.preferences.notify == "none"):
            await change(home, notify="all", muted_until=0)
        elif not argument:
            await change(home, notify="none")
        else:
            length = span(argument)
            if length is None:
                raise Refused("/mute, /mute 8h, /mute 2d or /mute off")
            await change(home, muted_until=self._context.talk.now() + length)

    async def _name(self, pane: Pane, conversation: str, argument: str) -> None:
        if not argument:
            raise Refused("/name NEW NAME")
        await self._rest.conversations.update(conversation, name=argument)

    async def _about(self, pane: Pane, conversation: str, argument: str) -> None:
        await self._rest.conversations.update(conversation, description=argument)

    # --- oneself and others --------------------------------------------------------------------------

    async def _away(self, pane: Pane, conversation: str, argument: str) -> None:
        await self._context.talk.call("presence.set", state="away")
        self._context.say("You show as away; /back undoes it.")

    async def _back(self, pane: Pane, conversation: str, argument: str) -> None:
        await self._context.talk.call("presence.set", state="online")
        self._context.say("You show as online.")

    async def _status(self, pane: Pane, conversation: str, argument: str) -> None:
        await self._rest.me.update(status=argument)

    async def _contact(self, pane: Pane, conversation: str, argument: str) -> None:
        await self._rest.people.add_contact(await self._user(argument))
        self._context.say("Asked.")

    async def _block(self, pane: Pane, conversation: str, argument: str) -> None:
        await self._rest.me.block(await self._user(argument))
        self._context.say("Blocked.")

    async def _unblock(self, pane: Pane, conversation: str, argument: str) -> None:
        await self._rest.me.unblock(await self._user(argument))
        self._context.say("Unblocked.")

    async def _theme(self, pane: Pane, conversation: str, argument: str) -> None:
        if argument not in ("system", "light", "dark"):
            raise Refused("/theme dark, /theme light or /theme system")
        await self._rest.me.update_settings(appearance={"theme": argument})

    async def _sign_out(self, pane: Pane, conversation: str, argument: str) -> None:
        await self._desk.sign_out()

    async def _help(self, pane: Pane, conversation: str, argument: str) -> None:
        self._desk.action_help()

    async def _quit(self, pane: Pane, conversation: str, argument: str) -> None:
        await self._desk.quit()

    # --- common --------------------------------------------------------------------------------------

    async def _user(self, handle: str) -> str:
        """The id behind a handle."""
        handle = handle.strip().lstrip("@")
        known = self._context.talk.names.user_of(handle)
        if known is not None:
            return known
        try:
            found = await self._rest.people.find(handle=handle) if handle else []
        except ApiError as error:
            if error.code not in ("not_found", "invalid"):
                raise
            found = []
        if not found:
            raise Refused(f"There is nobody called @{clip(clean_line(handle), 40)}.")
        self._context.talk.names.learn(found[0])
        return found[0].id

    async def _opened(self, doc: ConversationDoc) -> None:
        await self._arrived(doc.id)

    async def _arrived(self, conversation: str) -> None:
        """Show a conversation as soon as the news of it is in."""
        talk = self._context.talk
        async with asyncio.timeout(ARRIVES_S):
            await talk.arrived(conversation)
        self._desk.open_room(conversation)


def as_slug(name: str) -> str:
    """A channel's short name: small letters, digits and dashes."""
    plain = unicodedata.normalize("NFKD", name).encode("ascii", "ignore").decode().lower()
    slug = re.sub(r"[^a-z0-9]+", "-", plain).strip("-")[:48].strip("-")
    return slug or "channel"
