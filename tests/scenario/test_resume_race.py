"""A reader may see a commit a moment before the sessions hear of it: who signs in just then gets it once."""

from __future__ import annotations

import asyncio
import threading
from pathlib import Path

import pytest

from tertulia.adapters.sqlite import SqliteStore
from tertulia.adapters.sqlite.batch import Batch
from tertulia.domain.events import Event
from tests.contract.units import made, text, unit
from tests.support.live import Live


class Gate:
    """Holds the writer between its COMMIT and the news of it."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch) -> None:
        self.closed = False
        self.reached = threading.Event()
        self._open = threading.Event()
        real = Batch.committed

        def committed(batch: Batch) -> None:
            if self.closed:
                self.reached.set()
                assert self._open.wait(20)
            real(batch)

        monkeypatch.setattr(Batch, "committed", committed)

    def open(self) -> None:
        self.closed = False
        self._open.set()


async def test_settled_waits_for_the_listeners_of_what_was_read(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    gate = Gate(monkeypatch)
    store = await SqliteStore.open(tmp_path)
    try:
        heard: list[Event] = []
        store.on_commit(lambda batch: heard.extend(event for each in batch for event in each.events))
        await store.append(unit(made("a")))
        gate.closed = True
        sent = store.append(unit(text("a", "news")))
        assert await asyncio.to_thread(gate.reached.wait, 20)
        head = await store.head("a")
        assert head is not None
        assert (head.last_seq, [event.seq for event in heard]) == (2, [1])
        waiting = asyncio.ensure_future(store.settled())
        await asyncio.sleep(0.05)
        assert not waiting.done()
        gate.open()
        await waiting
        assert [event.seq for event in heard] == [1, 2]
        await sent
        await asyncio.wait_for(store.settled(), 1)
    finally:
        gate.open()
        await store.close()


@pytest.mark.parametrize("replay", [500, 2])
async def test_what_was_replayed_does_not_come_again(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, replay: int
) -> None:
    """With a short replay the gap is left to be read, and what lies in it must not come by itself either."""
    gate = Gate(monkeypatch)
    async with Live(tmp_path, limits={"replay": replay}) as live:
        ana, bob = await live.people("ana", "bob")
        group = await live.group(ana, bob)
        seqs = [(await live.say(bob, group, str(n))).seq for n in range(4)]
        gate.closed = True
        said = asyncio.ensure_future(live.say(bob, group, "news"))
        assert await asyncio.to_thread(gate.reached.wait, 20)
        asyncio.get_running_loop().call_later(0.3, gate.open)
        talk = await live.talk(ana, {group: seqs[0]})
        await talk.wait(lambda one: one["type"] == "resumed", "resumed")
        seqs.append((await said).seq)
        later = (await live.say(bob, group, "later")).seq
        assert (await talk.event("message.new"))["seq"] == (seqs[1] if replay == 500 else later)
        await talk.settle()
        gaps = [one for one in talk.frames if one["type"] == "truncated"]
        if replay == 500:
            assert (talk.seqs(group), gaps) == ([*seqs[2:], later], [])
        else:
            assert talk.seqs(group) == []
            assert [(one["from"], one["to"]) for one in gaps] == [(seqs[1], seqs[-1])]
