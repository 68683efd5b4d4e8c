import asyncio

from tertulia_client.events import Empty, Event, Typing
from tertulia_client.feed import Acknowledged, Feed, Lagged, Stopped


def event(seq: int, log: str = "c") -> Event:
    return Event(kind="poll.closed", conversation=log, seq=seq, body=Empty())


TYPING = Typing(conversation="c", user="u", composing=True)


async def test_a_full_feed_drops_the_oldest_events_and_names_them() -> None:
    feed = Feed(capacity=4)
    for seq in range(1, 8):
        feed.put(event(seq))
    assert await feed.get() == Lagged({"c": (1, 3)})
    assert [await feed.get() for _ in range(4)] == [event(seq) for seq in (4, 5, 6, 7)]


async def test_signals_give_way_first_and_news_always_finds_room() -> None:
    feed = Feed(capacity=4)
    feed.put(TYPING)
    feed.put(event(1))
    feed.put(TYPING)
    feed.put(event(2))
    feed.put(event(3))
    ack = Acknowledged(client_id="k", conversation="c", seq=1)
    feed.put(ack)
    feed.close()
    feed.put(event(4))
    got = []
    while (news := await feed.get()) is not None:
        got.append(news)
    assert got == [TYPING, event(1), event(2), event(3), ack]


async def test_a_reader_waits_and_a_closed_feed_lets_it_go() -> None:
    feed = Feed()
    reader = asyncio.ensure_future(feed.get())
    await asyncio.sleep(0)
    assert not reader.done()
    feed.put(Stopped("done"))
    assert await reader == Stopped("done")
    reader = asyncio.ensure_future(feed.get())
    await asyncio.sleep(0)
    feed.close()
    assert await reader is None
