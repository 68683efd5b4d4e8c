"""The client against a server on a real socket that behaves, stalls, lies and hangs up."""

import asyncio
import random
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any, TypeVar

import pytest

from sdk.python.tests.peer import ME, Frame, Peer
from tertulia_client import content as k
from tertulia_client.backoff import Backoff
from tertulia_client.client import Client, ClientStopped, Options
from tertulia_client.events import Event, MessageNew, Presence
from tertulia_client.feed import (
    Acknowledged,
    Connected,
    Disconnected,
    Lagged,
    News,
    RoomGone,
    RoomLoaded,
    SendRefused,
    Stopped,
    Synchronised,
)
from tertulia_client.http import ApiError, Unreachable
from tertulia_client.models import TokensDoc

T = TypeVar("T", bound=News)

FAST = Options(
    backoff=Backoff(base_s=0.02, cap_s=0.1), open_timeout_s=2.0, trust_env=False, auto_received=False
)
OPTIONS: dict[str, Any] = {name: getattr(FAST, name) for name in FAST.__struct_fields__}


@pytest.fixture
async def peer() -> AsyncIterator[Peer]:
    async with Peer() as made:
        yield made


@asynccontextmanager
async def signed_in(peer: Peer, *, outbox: Path | None = None, **options: Any) -> AsyncIterator[Client]:
    client = await Client.sign_in(
        peer.url, "me", "right", outbox=outbox, options=Options(**{**OPTIONS, **options})
    )
    async with client:
        yield client


async def until(client: Client, kind: type[T], where: Callable[[T], bool] = lambda _: True) -> T:
    """The next news of this kind."""
    async with asyncio.timeout(8):
        async for news in client.events():
            if isinstance(news, kind) and where(news):
                return news
    raise AssertionError(f"the events ended without {kind.__name__}")


async def becomes(fact: Callable[[], bool]) -> None:
    async with asyncio.timeout(8):
        while not fact():  # noqa: ASYNC110 - what is waited for is on the other side of a socket
            await asyncio.sleep(0.01)


def words(events: list[Event]) -> list[str]:
    return [
        e.body.content.text
        for e in events
        if isinstance(e.body, MessageNew) and isinstance(e.body.content, k.Text)
    ]


async def heard(client: Client, count: int) -> list[str]:
    """The texts of the next `count` messages of c1, as the application sees them."""
    events: list[Event] = []
    async with asyncio.timeout(10):
        async for news in client.events():
            assert not isinstance(news, Lagged | Stopped)
            if isinstance(news, Event) and news.conversation == "c1":
                events.append(news)
                if len(events) == count:
                    break
    assert [e.seq for e in events] == list(range(events[0].seq, events[0].seq + count))
    return words(events)


# --- the quiet life --------------------------------------------------------------------------------


async def test_two_talk(peer: Peer) -> None:
    peer.say("c1", "before")
    async with signed_in(peer) as client:
        await client.connect()
        assert client.connected
        assert client.user == ME
        room = client.state.rooms["c1"]
        assert room.last_message is not None
        assert room.last_message.content == k.Text(text="before")
        peer.say("c1", "hello")
        event = await until(client, Event)
        assert words([event]) == ["hello"]
        assert room.last_seq == 2, "the state has it when the application sees it"
        sent = await client.send("c1", "and hello to you", reply_to=2)
        accepted = await sent.acknowledged()
        assert (accepted.conversation, accepted.seq) == ("c1", 3)
        ack = await until(client, Acknowledged)
        assert (ack.client_id, ack.seq) == (sent.client_id, 3)
        assert peer.logs["c1"][2]["client_id"] == sent.client_id
        assert await client.unsent() == 0
    frame = peer.talks[0].received[-1]
    assert frame["type"] == "message.send"
    assert frame["reply_to"] == 2


async def test_a_wrong_password_is_told(peer: Peer) -> None:
    with pytest.raises(ApiError) as caught:
        await Client.sign_in(peer.url, "me", "wrong", options=FAST)
    assert (caught.value.code, caught.value.status, caught.value.request_id) == (
        "credentials_refused",
        401,
        "r1",
    )


async def test_cursors_are_told_and_receipts_go_by_themselves(peer: Peer) -> None:
    async with signed_in(peer, auto_received=True) as client:
        await client.connect()
        for n in range(20):
            peer.say("c1", str(n))
        await becomes(lambda: peer.cursors.get("c1", {}).get("received") == 20)
        client.mark_read("c1", 15)
        assert client.state.rooms["c1"].unread == 5
        await becomes(lambda: peer.cursors["c1"].get("read") == 15)
        told = [f["seq"] for f in peer.talks[0].received if f["type"] == "message.received"]
        assert len(told) < 20, "moves that follow closely are told as one"


async def test_a_joined_conversation_is_fetched(peer: Peer) -> None:
    async with signed_in(peer) as client:
        await client.connect()
        peer.room("c2")
        peer.say("c2", "welcome")
        peer.commit(ME, "conversation.joined", {"conversation": "c2", "kind": "group"})
        await until(client, RoomLoaded, lambda n: n.conversation == "c2")
        peer.say("c2", "again")
        await until(client, Event, lambda e: e.conversation == "c2" and e.seq == 2)
        assert client.state.rooms["c2"].message_count == 2
        peer.commit(ME, "conversation.left", {"conversation": "c2"})
        await until(client, RoomGone, lambda n: n.conversation == "c2")
        assert "c2" not in client.state.rooms


async def test_an_event_of_a_conversation_that_is_not_there_is_let_go(peer: Peer) -> None:
    async with signed_in(peer) as client:
        await client.connect()
        peer.logs["ghost"] = []
        peer.say("ghost", "boo")
        await until(client, RoomGone, lambda n: n.conversation == "ghost")
        assert not client.state.wants


async def test_a_command_is_refused_and_cannot_be_sent_offline(peer: Peer) -> None:
    async with signed_in(peer) as client:
        await client.connect()
        with pytest.raises(ApiError, match="unsupported"):
            await client.call("dance", conversation="c1")
        peer.talks[0].drop()
        await until(client, Disconnected)
        with pytest.raises(Unreachable):
            await client.call("dance", conversation="c1")


async def test_an_application_that_does_not_read_is_told_what_it_missed(peer: Peer) -> None:
    async with signed_in(peer, queue=8) as client:
        await client.connect()
        for n in range(50):
            peer.say("c1", str(n))
        await becomes(lambda: client.state.rooms["c1"].last_seq == 50)
        lagged = await until(client, Lagged)
        first, last = lagged.missed["c1"]
        assert first == 1
        raw = await client.rest.events("c1", first - 1, last - first + 1)
        assert len(raw) == last
        assert words([await until(client, Event)]) == [str(last)]


async def test_older_messages_are_loaded_page_by_page(peer: Peer) -> None:
    for n in range(1, 26):
        peer.say("c1", str(n))
    peer.hidden = set(range(6, 17))
    async with signed_in(peer) as client:
        await client.connect()
        room = client.state.rooms["c1"]
        seen = [sorted(room.messages)]
        while await client.load_messages("c1", limit=5):
            seen.append(sorted(room.messages))
        assert seen == [[25], [*range(20, 26)], [*range(17, 26)], [*range(2, 6), *range(17, 26)]]
        assert sorted(room.messages) == [*range(1, 6), *range(17, 26)]
        assert room.since == 0


# --- broken connections ----------------------------------------------------------------------------


async def test_what_was_missed_comes_once_after_a_break(peer: Peer) -> None:
    async with signed_in(peer) as client:
        await client.connect()
        peer.say("c1", "1")
        await until(client, Event)
        peer.talks[0].drop()
        await until(client, Disconnected)
        for text in ("2", "3"):
            peer.say("c1", text)
        assert await heard(client, 2) == ["2", "3"]
        assert peer.talks[1].sign_in["positions"] == {ME: 0, "c1": 1}
        assert peer.talks[1].sign_in["generation"] == "g1"
        assert client.state.rooms["c1"].unread == 3


async def test_a_cursor_that_moved_unheard_is_found_out(peer: Peer) -> None:
    for n in range(4):
        peer.say("c1", str(n))
    async with signed_in(peer) as client:
        await client.connect()
        room = client.state.rooms["c1"]
        assert room.unread == 4
        peer.talks[0].drop()
        await until(client, Disconnected)
        peer.docs["c1"] |= {"read": 3, "received": 4, "unread": 1}
        await becomes(lambda: (room.read, room.received, room.unread) == (3, 4, 1))
        await becomes(lambda: not client.state.wants)


async def test_a_long_absence_is_read_page_by_page(peer: Peer) -> None:
    peer.replay = 10
    async with signed_in(peer) as client:
        await client.connect()
        peer.talks[0].drop()
        await until(client, Disconnected)
        for n in range(1200):
            peer.say("c1", str(n))
        assert await heard(client, 1200) == [str(n) for n in range(1200)]
        reads = [f for f in peer.talks[1].received if f["type"] == "events.read"]
        assert len(reads) == 3


async def test_another_generation_builds_the_state_anew(peer: Peer) -> None:
    for n in range(5):
        peer.say("c1", str(n))
        peer.commit(ME, "device.added", {"device": f"d{n}", "name": "x"})
    async with signed_in(peer) as client:
        await client.connect()
        await until(client, Synchronised)
        peer.generation = "g2"
        peer.logs = {ME: [], "c1": []}
        peer.say("c1", "restored")
        peer.talks[0].drop()
        await until(client, Synchronised)
        room = client.state.rooms["c1"]
        assert (room.last_seq, room.message_count) == (1, 1)
        peer.commit(ME, "contact.updated", {"user": "x", "state": "accepted"})
        peer.say("c1", "onward")
        await until(client, Event, lambda e: e.conversation == "c1" and e.seq == 2)
        assert client.state.contacts == {"x": "accepted"}


@pytest.mark.parametrize(
    ("code", "reason"),
    [
        (1000, ""),
        (1001, "reconnect: the server stops"),
        (1011, "reconnect"),
        (4000, ""),
        (4001, ""),
        (4003, "reconnect: too slow"),
        (4005, ""),
        (4999, "reconnect"),
    ],
)
async def test_close_codes_after_which_it_comes_back(peer: Peer, code: int, reason: str) -> None:
    async with signed_in(peer) as client:
        await client.connect()
        tokens = peer.tokens
        peer.say("c1", "1")
        peer.talks[0].close(code, reason)
        gone = await until(client, Disconnected)
        assert gone.why
        peer.say("c1", "2")
        await until(client, Connected)
        await becomes(lambda: client.state.rooms["c1"].last_seq == 2)
        assert peer.tokens == tokens + (code == 4001), "a new token only where the old one is the reason"


@pytest.mark.parametrize(
    ("code", "reason"),
    [
        (1002, ""),
        (1003, ""),
        (1007, ""),
        (1009, ""),
        (4002, ""),
        (4004, ""),
        (4008, ""),
        (4006, "stop: too many sessions of this user"),
    ],
)
async def test_close_codes_after_which_it_stays_away(peer: Peer, code: int, reason: str) -> None:
    async with signed_in(peer) as client:
        await client.connect()
        peer.talks[0].close(code, reason)
        await until(client, Stopped)
        assert len(peer.talks) == 1
        with pytest.raises(ClientStopped):
            await client.connect()


@pytest.mark.parametrize(("code", "floor"), [(4007, 5), (4029, 5), (4006, 30)])
async def test_close_codes_after_which_it_waits(peer: Peer, code: int, floor: int) -> None:
    async with signed_in(peer) as client:
        await client.connect()
        peer.talks[0].close(code)
        assert (await until(client, Disconnected)).retry_in_s >= floor


async def test_a_server_that_hangs_up_at_once_is_not_hammered(peer: Peer) -> None:
    peer.close_after_hello = [(1011, "reconnect")] * 3
    async with signed_in(peer, backoff=Backoff(base_s=0.1, cap_s=5)) as client:
        await client.connect(wait=False)
        waits = [(await until(client, Disconnected)).retry_in_s for _ in range(3)]
        assert waits[2] <= 1 + 0.4
        await until(client, Connected)
    assert len(peer.talks) == 4


GARBAGE: dict[str, bytes] = {
    "not json": b"\x81\x03{{{",
    "json of no shape": b"\x81\x05[1,2]",
    "binary": b"\x82\x02{}",
    "not utf-8": b"\x81\x02\xff\xfe",
    "reserved bits": b"\xf1\x02{}",
    "masked": b"\x81\x82\x00\x00\x00\x00{}",
    "unknown opcode": b"\x83\x00",
    "no websocket at all": b"HTTP/1.1 400 Bad Request\r\n\r\n" + b"<p>" * 50,
    "cut in the middle": b"\x81\x7e\x10",
}


async def survives(what: str) -> None:
    async with Peer() as peer, signed_in(peer) as client:
        await client.connect()
        peer.say("c1", "1")
        await until(client, Event)
        peer.talks[0].raw(GARBAGE[what])
        if what == "cut in the middle":
            peer.talks[0].writer.close()
        await until(client, Disconnected)
        peer.say("c1", "2")
        assert await heard(client, 1) == ["2"], what


async def test_garbage_ends_the_connection_and_nothing_else() -> None:
    await asyncio.gather(*(survives(what) for what in GARBAGE))


async def test_a_server_that_falls_silent_is_left(peer: Peer) -> None:
    peer.heartbeat_ms = 400
    async with signed_in(peer) as client:
        await client.connect()
        await asyncio.sleep(1.5)
        assert len(peer.talks) == 1, "answered pings keep it"
        assert any(frame["type"] == "ping" for frame in peer.talks[0].received)
        peer.mute = True
        gone = await until(client, Disconnected)
        assert "heartbeat" in gone.why
        peer.mute = False
        await until(client, Connected)


async def test_a_server_that_never_says_hello_is_left(peer: Peer) -> None:
    peer.no_hello = True
    async with signed_in(peer, open_timeout_s=0.3) as client:
        await client.connect(wait=False)
        await until(client, Disconnected)
        peer.no_hello = False
        await client.connect()


async def test_a_wire_that_loses_doubles_and_mixes_gives_everything_once(peer: Peer) -> None:
    draw = random.Random(7)
    late: list[Frame] = []

    def mangle(frame: Frame) -> list[Frame]:
        late.append(frame)
        if draw.random() < 0.3:
            return []
        out = [frame] * draw.choice((1, 1, 2))
        if draw.random() < 0.3:
            out.insert(0, late.pop(draw.randrange(len(late))))
        return out

    async with signed_in(peer) as client:
        await client.connect()
        peer.mangle = mangle
        for n in range(200):
            peer.say("c1", str(n))
            if n % 40 == 20:
                peer.live[0].drop()
                await becomes(lambda: bool(peer.live))
        peer.mangle = lambda frame: [frame]
        peer.say("c1", "end")
        assert await heard(client, 201) == [*map(str, range(200)), "end"]
        assert client.state.rooms["c1"].message_count == 201


# --- sending ---------------------------------------------------------------------------------------


async def test_an_unknown_outcome_is_tried_again_as_the_same_message(peer: Peer) -> None:
    peer.drop_before_ack = 2
    async with signed_in(peer) as client:
        await client.connect()
        sent = [await client.send("c1", text) for text in ("a", "b", "c")]
        accepted = [await one.acknowledged() for one in sent]
        assert [a.seq for a in accepted] == [1, 2, 3]
        assert accepted[0].repeated
        assert peer.texts == ["a", "b", "c"]
        assert len(peer.talks) == 3


async def test_a_refusal_for_good_is_told_and_the_next_goes_on(peer: Peer) -> None:
    peer.refusals = [{"code": "too_large", "detail": "A message has at most 8 characters."}]
    async with signed_in(peer) as client:
        await client.connect()
        first, second = await client.send("c1", "too long"), await client.send("c1", "short")
        with pytest.raises(ApiError, match="too_large"):
            await first.acknowledged()
        refused = await until(client, SendRefused)
        assert (refused.client_id, refused.code) == (first.client_id, "too_large")
        assert refused.command["content"]["text"] == "too long"
        await second.acknowledged()
        assert peer.texts == ["short"]
        assert await client.unsent() == 0


@pytest.mark.parametrize("code", ["rate_limited", "storage_full", "unavailable", "internal", "stale"])
async def test_a_refusal_for_now_keeps_the_order(peer: Peer, code: str) -> None:
    peer.refusals = [{"code": code, "detail": "Later.", "retry_after_ms": 30}] * 2
    async with signed_in(peer) as client:
        await client.connect()
        sent = [await client.send("c1", text) for text in "abc"]
        for one in sent:
            await one.acknowledged()
        assert peer.texts == ["a", "b", "c"]


async def test_a_lane_that_waits_holds_no_other(peer: Peer) -> None:
    peer.room("c2")
    peer.refusals = [{"code": "rate_limited", "detail": "Later.", "retry_after_ms": 60_000}]
    async with signed_in(peer) as client:
        await client.connect()
        slow = await client.send("c1", "slow")
        await becomes(lambda: not peer.refusals)
        quick = await client.send("c2", "quick")
        await quick.acknowledged()
        assert not slow.done


async def test_what_was_written_offline_survives_and_is_sent(peer: Peer, tmp_path: Path) -> None:
    tokens: list[TokensDoc] = []
    client = await Client.sign_in(peer.url, "me", "right", options=FAST, on_tokens=tokens.append)
    await client.close()
    path = tmp_path / "outbox.db"
    offline = await Client.with_tokens(peer.url, tokens[-1], outbox=path, options=FAST)
    keys = [(await offline.send("c1", text)).client_id for text in ("one", "two")]
    assert await offline.unsent() == 2
    await offline.close()
    again = await Client.with_tokens(peer.url, tokens[-1], outbox=path, options=FAST)
    async with again:
        await again.connect()
        got = [(await until(again, Acknowledged)).client_id for _ in keys]
    assert got == keys
    assert peer.texts == ["one", "two"]


async def test_a_client_that_closes_sends_what_it_was_given_first(peer: Peer) -> None:
    peer.say("c1", "hello")
    async with signed_in(peer) as client:
        await client.connect()
        for n in range(5):
            await client.send("c1", str(n))
        client.mark_read("c1", 1)
    assert peer.texts == ["hello", *map(str, range(5))]
    assert peer.cursors["c1"]["read"] == 1


# --- tokens ----------------------------------------------------------------------------------------


async def test_a_short_lived_token_is_renewed_on_the_open_connection(peer: Peer) -> None:
    peer.token_life_s = 2
    pairs: list[TokensDoc] = []
    client = await Client.sign_in(peer.url, "me", "right", options=FAST, on_tokens=pairs.append)
    async with client:
        await client.connect()
        peer.token_life_s = 3600
        await becomes(lambda: any(f["type"] == "refresh" for f in peer.talks[0].received))
        assert len(pairs) == 2
        refresh = next(f for f in peer.talks[0].received if f["type"] == "refresh")
        assert refresh["token"] == pairs[1].access_token
        assert len(peer.talks) == 1


async def test_an_expired_token_is_renewed_once_for_all(peer: Peer) -> None:
    async with signed_in(peer) as client:
        peer.good_tokens.clear()
        await asyncio.gather(*(client.rest.me.get() for _ in range(10)))
        assert peer.requests.count("POST /v1/sessions/refresh") == 1


async def test_a_device_that_was_signed_out_stops(peer: Peer) -> None:
    async with signed_in(peer) as client:
        await client.connect()
        peer.good_tokens.clear()
        peer.refresh_tokens.clear()
        peer.talks[0].close(4001)
        stopped = await until(client, Stopped)
        assert stopped.signed_out


# --- server-sent events ----------------------------------------------------------------------------


@pytest.mark.parametrize("status", [400, 403, 404, 502])
async def test_where_no_websocket_comes_through_events_are_streamed(peer: Peer, status: int) -> None:
    peer.refuse_upgrade = status
    async with signed_in(peer) as client:
        await client.connect()
        assert (await until(client, Connected)).transport == "sse"
        peer.say("c1", "hello")
        assert await heard(client, 1) == ["hello"]
        accepted = await (await client.send("c1", "by post")).acknowledged()
        assert accepted.seq == 2
        client.mark_read("c1", 2)
        await becomes(lambda: peer.cursors.get("c1", {}).get("read") == 2)


async def test_a_broken_stream_is_resumed_and_its_holes_are_read(peer: Peer) -> None:
    async with signed_in(peer, transport="sse") as client:
        await client.connect()
        peer.say("c1", "1")
        await until(client, Event)
        peer.streams[0].transport.abort()
        await until(client, Disconnected)
        peer.say("c1", "2")
        await until(client, Connected)
        peer.mangle = lambda _: []
        peer.say("c1", "3")
        peer.mangle = lambda frame: [frame, frame]
        peer.say("c1", "4")
        await becomes(lambda: client.state.rooms["c1"].last_seq == 4)
        assert await heard(client, 3) == ["2", "3", "4"]


async def test_a_websocket_that_was_refused_for_good_stops_a_client_that_wants_no_other(peer: Peer) -> None:
    peer.refuse_upgrade = 404
    async with signed_in(peer, transport="websocket") as client:
        with pytest.raises(ClientStopped):
            await client.connect()


async def test_those_who_are_watched_are_watched_again_after_a_reconnection(peer: Peer) -> None:
    async with signed_in(peer) as client:
        await client.connect()
        client.watch(["u-v", "u-w", "u-v"])
        assert (await until(client, Presence)).user == "u-v"
        assert (await until(client, Presence)).user == "u-w"
        assert client.state.presence["u-w"].state == "online"
        peer.live[0].drop()
        assert (await until(client, Presence)).user == "u-v"
        assert (await until(client, Presence)).user == "u-w"
