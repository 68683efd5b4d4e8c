"""People at work: devices that send, edit, react and delete without a pause."""

from __future__ import annotations

import asyncio
import random
from collections.abc import Iterable, Sequence

from tests.torture.device import Command, Device, command, text_message
from tests.torture.judge import Sent

EMOJI = ("👍", "❤️", "😂", "🎉", "+1")
WORDS = ("la", "tertulia", "se reúne", "cada tarde", "東京", "кофе", "naïve", "🙂", "\\", '"', "<b>", "& ok")


class Mix:
    """What is asked for: the shares of edits, reactions and deletions; the rest are messages."""

    def __init__(self, edits: float = 0.1, reactions: float = 0.12, deletions: float = 0.03) -> None:
        self.edits = edits
        self.reactions = reactions
        self.deletions = deletions


class Load:
    """Keeps `window` commands of each sender under way until it is stopped."""

    def __init__(
        self,
        senders: Sequence[Device],
        *,
        run: str,
        dice: random.Random,
        mix: Mix | None = None,
        window: int = 4,
        pause_s: float = 0.01,
        size: tuple[int, int] = (20, 400),
    ) -> None:
        """`run` makes the client_ids of this load its own; `pause_s` is the mean pause of each sender."""
        self.senders = senders
        self.sent = 0
        self.pause_s = pause_s
        self.paused = False
        self._run = run
        self._dice = dice
        self._mix = mix or Mix()
        self._window = window
        self._size = size
        # room → (seq, author) of messages that may be changed; what each person did with which.
        self._messages: dict[str, dict[int, str]] = {}
        self._reacted: set[tuple[str, str, int, str]] = set()
        self._known = {device.name: 0 for device in senders}
        self._tasks: list[asyncio.Task[None]] = []

    def start(self) -> None:
        """Begin."""
        loop = asyncio.get_running_loop()
        self._tasks = [loop.create_task(self._work(device)) for device in self.senders]

    async def stop(self) -> None:
        """Send nothing more.  Raises what went wrong in a sender."""
        for task in self._tasks:
            task.cancel()
        ended = await asyncio.gather(*self._tasks, return_exceptions=True)
        self._tasks = []
        for error in ended:
            if isinstance(error, Exception):
                raise error

    async def _work(self, device: Device) -> None:
        while True:
            await asyncio.sleep(self._dice.expovariate(1 / self.pause_s))
            self._learn(device)
            if not self.paused and device.online.is_set() and len(device.outbox) < self._window:
                device.submit(self.next(device))
                self.sent += 1

    def _learn(self, device: Device) -> None:
        """The device's own messages that were acknowledged since."""
        for ack in device.acknowledged[self._known[device.name] :]:
            if ack.client_id.endswith("m") and ack.seq:
                self._messages.setdefault(ack.log, {})[ack.seq] = device.user
        self._known[device.name] = len(device.acknowledged)

    def next(self, device: Device) -> Command:
        """What this device asks for now."""
        dice, mix = self._dice, self._mix
        room = dice.choice(list(device.positions))
        messages = self._messages.get(room, {})
        mine = [seq for seq, author in messages.items() if author == device.user]
        name = f"{self._run}.{device.name}.{self.sent}"
        luck = dice.random()
        if mine and luck < mix.deletions:
            seq = dice.choice(mine)
            del messages[seq]
            sent = Sent(client_id=name + "d", user=device.user, log=room, kind="message.deleted", target=seq)
            return command(sent, "message.delete", fields={"seq": seq, "everyone": True})
        if mine and luck < mix.deletions + mix.edits:
            seq = dice.choice(mine)
            text = self._text(name)
            sent = Sent(
                client_id=name + "e",
                user=device.user,
                log=room,
                kind="message.updated",
                target=seq,
                said=text,
            )
            return command(
                sent, "message.edit", fields={"seq": seq, "content": {"type": "text", "text": text}}
            )
        if messages and luck < mix.deletions + mix.edits + mix.reactions:
            seq, emoji = dice.choice(list(messages)), dice.choice(EMOJI)
            if (device.user, room, seq, emoji) not in self._reacted:
                self._reacted.add((device.user, room, seq, emoji))
                sent = Sent(
                    client_id=name + "r",
                    user=device.user,
                    log=room,
                    kind="reaction.new",
                    target=seq,
                    said=emoji,
                )
                return command(sent, "reaction.add", fields={"seq": seq, "emoji": emoji})
        return text_message(name + "m", device.user, room, self._text(name))

    def _text(self, name: str) -> str:
        words = [name]
        size = self._dice.randint(*self._size)
        length = len(name)
        while length < size:
            words.append(self._dice.choice(WORDS))
            length += len(words[-1]) + 1
        return " ".join(words)


def commands_sent(devices: Iterable[Device]) -> int:
    """Distinct commands of all devices."""
    return len({(sent.user, sent.client_id) for device in devices for sent in device.sent})
