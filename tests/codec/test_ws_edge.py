"""The edge with real sockets: HTTP beside WebSocket, frames whole, in pieces and broken, ends and limits."""

from __future__ import annotations

import asyncio
import base64
import json
import socket
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import pytest
import websockets

from tertulia.protocols.ws.edge import one_connection_header
from tests.support.live import Live, MovableClock, text
from tests.support.wire import (
    BINARY,
    CLOSE,
    CONTINUATION,
    PING,
    PONG,
    TEXT,
    Closed,
    Wire,
    frame,
    upgrade_request,
)

FRAME_BYTES = 262_144


@pytest.fixture
async def live(tmp_path: Path) -> AsyncIterator[Live]:
    async with Live(tmp_path) as one:
        yield one


def ping(ref: str, size: int = 0) -> bytes:
    """A JSON ping of exactly `size` bytes (or as many as it takes)."""
    plain = json.dumps({"type": "ping", "ref": ref}).encode()
    return plain[:-1] + b" " * max(0, size - len(plain)) + b"}"


@asynccontextmanager
async def undisturbed(live: Live) -> AsyncIterator[None]:
    """Two people talk meanwhile and afterwards, and nothing of it is lost."""
    ana = await live.person(f"quiet-{live.port % 97}-a")
    bob = await live.person(f"quiet-{live.port % 97}-b")
    group = await live.group(ana, bob)
    one, two = await live.talk(ana), await live.talk(bob)
    first = (await one.say(group, "before"))["seq"]
    yield
    await one.say(group, "after")
    await two.event("message.new", seq=first)
    await two.event("message.new", seq=first + 1)
    assert one.end is None
    assert two.end is None


# --- HTTP and the upgrade --------------------------------------------------------------------------


async def test_http_and_the_upgrade_share_a_keep_alive_connection(live: Live) -> None:
    ana = await live.person("ana")
    wire = await live.http()
    for _ in range(2):
        wire.write(b"GET /healthz HTTP/1.1\r\nHost: localhost\r\n\r\n")
        status, _, _ = await wire.response()
        assert status == 200
    wire.write(upgrade_request())
    status, headers, _ = await wire.response()
    assert status == 101
    assert headers["upgrade"].lower() == "websocket"
    wire.send({"type": "sign_in", "token": ana.token})
    assert (await wire.json())["type"] == "hello"
    other = await live.http()
    other.write(b"GET /healthz HTTP/1.1\r\nHost: localhost\r\n\r\n")
    assert (await other.response())[0] == 200


async def test_the_accept_key_is_that_of_the_rfc(live: Live) -> None:
    wire = await live.http()
    wire.write(upgrade_request(sec_websocket_key="dGhlIHNhbXBsZSBub25jZQ=="))
    status, headers, _ = await wire.response()
    assert (status, headers["sec-websocket-accept"]) == (101, "s3pPLMBiTxaQ9kYGzzhZRbK+xOo=")


async def test_an_upgrade_in_single_bytes(live: Live) -> None:
    ana = await live.person("ana")
    wire = await live.http()
    for byte in upgrade_request():
        wire.write(bytes((byte,)))
        await asyncio.sleep(0)
    assert (await wire.response())[0] == 101
    for byte in frame(json.dumps({"type": "sign_in", "token": ana.token})):
        wire.write(bytes((byte,)))
        await asyncio.sleep(0)
    assert (await wire.json())["type"] == "hello"


async def test_connection_is_a_list_as_browsers_write_it(live: Live) -> None:
    for connection in (
        "Upgrade",
        "upgrade",
        "keep-alive, Upgrade",
        "Upgrade, keep-alive",
        "keep-alive,upgrade",
    ):
        wire = await live.http()
        wire.write(upgrade_request(connection=connection))
        assert (await wire.response())[0] == 101, connection


def test_connection_headers_become_one() -> None:
    request = (
        b"GET /v1/ws HTTP/1.1\r\nHost: a\r\nConnection: keep-alive\r\nconnection: Upgrade\r\n"
        b"X: connection: y\r\n\r\n"
    )
    assert one_connection_header(request) == (
        b"GET /v1/ws HTTP/1.1\r\nconnection: upgrade\r\nHost: a\r\nX: connection: y\r\n\r\n"
    )
    without = b"GET /v1/ws HTTP/1.1\r\nHost: a\r\nConnection: close\r\n\r\n"
    assert one_connection_header(without) == b"GET /v1/ws HTTP/1.1\r\nHost: a\r\n\r\n"


async def test_another_path_is_not_found(live: Live) -> None:
    async with undisturbed(live):
        for path in ("/", "/v1/ws/", "/v1/wss", "/v1/WS", "//v1/ws", "/v1/ws%20"):
            wire = await live.http()
            wire.write(upgrade_request(path))
            status, _, _ = await wire.response()
            assert status == 404, path
            await wire.gone()


async def test_a_query_changes_nothing(live: Live) -> None:
    wire = await live.http()
    wire.write(upgrade_request("/v1/ws?from=here&token=no"))
    assert (await wire.response())[0] == 101


async def test_a_wrong_upgrade_is_refused(live: Live) -> None:
    wrong: list[tuple[tuple[str, ...], dict[str, str]]] = [
        (("sec-websocket-key",), {}),
        ((), {"sec_websocket_key": "short"}),
        ((), {"sec_websocket_key": base64.b64encode(b"fifteen octets.").decode()}),
        ((), {"sec_websocket_key": "not base64 at all!!!!!!!"}),
        (("sec-websocket-version",), {}),
        ((), {"sec_websocket_version": "12"}),
    ]
    async with undisturbed(live):
        for drop, headers in wrong:
            wire = await live.http()
            wire.write(upgrade_request(drop=drop, **headers))
            status, _, _ = await wire.response()
            assert status == 400, (drop, headers)
            await wire.gone()


async def test_large_headers(live: Live) -> None:
    wire = await live.http()
    wire.write(upgrade_request(x_filler="a" * 12_000))
    assert (await wire.response())[0] == 101
    async with undisturbed(live):
        wire = await live.http()
        wire.write(upgrade_request(x_filler="a" * 16_000))
        assert (await wire.response())[0] == 431
        await wire.gone()


async def test_a_request_that_is_none(live: Live) -> None:
    async with undisturbed(live):
        for start in (b"\x00\x01\x02\r\n\r\n", b"GET /v1/ws HTTP/9.9\r\n\r\n", b"\x16\x03\x01\x02\x00\x01"):
            wire = await live.http()
            wire.write(start)
            assert (await wire.response())[0] == 400
            await wire.gone()


async def test_the_token_may_come_in_the_header(live: Live) -> None:
    ana = await live.person("ana")
    for scheme in ("Bearer", "bearer"):
        wire = await live.http()
        wire.write(upgrade_request(authorization=f"{scheme} {ana.token}"))
        assert (await wire.response())[0] == 101
        assert (await wire.json())["user"] == ana.id
    wire = await live.http()
    wire.write(upgrade_request(authorization="Bearer nonsense"))
    assert (await wire.response())[0] == 101
    assert (await wire.json())["code"] == "unauthenticated"
    assert (await wire.closed()).code == 4001
    # Another scheme is none of ours: the first frame signs in.
    wire = await live.http()
    wire.write(upgrade_request(authorization="Basic YTpi"))
    assert (await wire.response())[0] == 101
    wire.send({"type": "sign_in", "token": ana.token})
    assert (await wire.json())["type"] == "hello"


# --- frames that are right -------------------------------------------------------------------------


async def test_frames_of_every_size_up_to_the_limit(live: Live) -> None:
    wire = await live.signed_in(await live.person("ana"))
    for size in (0, 125, 126, 127, 1000, 65_535, 65_536, FRAME_BYTES):
        wire.send(ping(str(size), size))
        assert (await wire.json())["ref"] == str(size)


async def test_many_frames_in_one_segment(live: Live) -> None:
    wire = await live.signed_in(await live.person("ana"))
    wire.write(b"".join(frame(ping(str(n))) for n in range(200)))
    assert [(await wire.json())["ref"] for _ in range(200)] == [str(n) for n in range(200)]


async def test_a_message_in_fragments_with_control_frames_between(live: Live) -> None:
    wire = await live.signed_in(await live.person("ana"))
    whole = ping("in pieces", 300)
    pieces = [whole[n : n + 7] for n in range(0, len(whole), 7)]
    for number, piece in enumerate(pieces):
        opcode = TEXT if number == 0 else CONTINUATION
        wire.send(piece, opcode=opcode, fin=number == len(pieces) - 1)
        if number % 3 == 0:
            wire.send(b"still there?", opcode=PING)
        if number % 5 == 0:
            wire.send(b"", opcode=PONG)
    assert (await wire.json())["ref"] == "in pieces"
    assert wire.pongs == [b"still there?"] * len(range(0, len(pieces), 3))


async def test_empty_fragments(live: Live) -> None:
    wire = await live.signed_in(await live.person("ana"))
    wire.send(b"", fin=False)
    for _ in range(1000):
        wire.send(b"", opcode=CONTINUATION, fin=False)
    wire.send(ping("at last"), opcode=CONTINUATION)
    assert (await wire.json())["ref"] == "at last"


async def test_a_character_may_be_split_between_fragments(live: Live) -> None:
    wire = await live.signed_in(await live.person("ana"))
    whole = json.dumps({"type": "ping", "ref": "ñ€😀"}, ensure_ascii=False).encode()
    for cut in range(1, len(whole)):
        wire.send(whole[:cut], fin=False)
        wire.send(whole[cut:], opcode=CONTINUATION)
        assert (await wire.json())["ref"] == "ñ€😀"


async def test_pings_are_answered_with_their_payload(live: Live) -> None:
    signed = await live.signed_in(await live.person("ana"))
    for wire in (signed, await live.wire()):
        for payload in (b"", b"\x00\xff", b"x" * 125):
            wire.send(payload, opcode=PING)
            assert await wire.pong() == payload


async def test_a_mask_of_zeros(live: Live) -> None:
    wire = await live.signed_in(await live.person("ana"))
    wire.send(ping("plain"), mask=b"\0\0\0\0")
    assert (await wire.json())["ref"] == "plain"


async def test_a_client_that_others_wrote(live: Live) -> None:
    ana, bob = await live.people("ana", "bob")
    group = await live.group(ana, bob)
    url = f"ws://127.0.0.1:{live.port}/v1/ws"
    async with (
        websockets.connect(url) as one,
        websockets.connect(url, additional_headers={"Authorization": f"Bearer {bob.token}"}) as two,
    ):
        await one.send(json.dumps({"type": "sign_in", "token": ana.token}))
        assert json.loads(await one.recv())["user"] == ana.id
        assert json.loads(await two.recv())["user"] == bob.id
        # A list goes as one message in fragments.
        message = json.dumps(
            {"type": "message.send", "ref": "1", "conversation": group, "content": text("hello " * 1000)}
        )
        await one.send([message[:10], message[10:2000], message[2000:]])
        got = json.loads(await two.recv())
        assert got["body"]["content"]["text"] == "hello " * 1000
        assert {json.loads(await one.recv())["type"] for _ in range(2)} == {"ack", "message.new"}
        await (await one.ping())
    assert one.close_code == 1000


# --- frames that are wrong -------------------------------------------------------------------------

WRONG: dict[str, tuple[bytes, int]] = {
    "binary": (frame(b"{}", opcode=BINARY), 1003),
    "rsv1": (frame("{}", rsv=4), 1002),
    "rsv2": (frame("{}", rsv=2), 1002),
    "rsv3": (frame("{}", rsv=1), 1002),
    "rsv1 on a ping": (frame(b"", opcode=PING, rsv=4), 1002),
    "rsv1 on a continuation": (frame("{", fin=False) + frame("}", opcode=CONTINUATION, rsv=4), 1002),
    "compressed": (frame(b"\xaa\x56\x2a\xa9\x2c\x48\x55\xb2\x52", rsv=4), 1002),
    "not masked": (frame("{}", mask=None), 1002),
    "opcode 3": (frame("{}", opcode=3), 1002),
    "opcode 15": (frame("{}", opcode=15), 1002),
    "ping in fragments": (frame(b"", opcode=PING, fin=False), 1002),
    "close in fragments": (frame(b"", opcode=CLOSE, fin=False), 1002),
    "long ping": (frame(b"x" * 126, opcode=PING), 1002),
    "continuation of nothing": (frame("{}", opcode=CONTINUATION), 1002),
    "message in a message": (frame("{", fin=False) + frame("{}"), 1002),
    "too big": (frame(b" " * (FRAME_BYTES + 1)), 1009),
    "claims to be too big": (frame(b"", length=b"\x7f" + (1 << 40).to_bytes(8, "big")), 1009),
    "length with its first bit": (frame(b"", length=b"\x7f" + b"\xff" * 8), 1002),
    "length longer than needed": (frame(b"{}", length=b"\x7e\x00\x02"), 1002),
    "too big in fragments": (
        frame(b" " * 200_000, fin=False) + frame(b" " * 100_000, opcode=CONTINUATION, fin=False),
        1009,
    ),
    "not UTF-8": (frame(b'{"type":"ping","ref":"\xff"}'), 1007),
    "UTF-8 cut off": (frame(b'{"type":"ping","ref":"\xe2\x82"}'), 1007),
    "overlong UTF-8": (frame(b'{"type":"ping","ref":"\xc0\xaf"}'), 1007),
    "a surrogate in UTF-8": (frame(b'{"type":"ping","ref":"\xed\xa0\x80"}'), 1007),
    "not UTF-8 in an unknown field": (frame(b'{"type":"ping","what":"\xff"}'), 1007),
    "not UTF-8 in what is kept as it is": (
        frame(
            b'{"type":"message.send","conversation":"c","content":{"type":"text","text":"a"},'
            b'"foreign":{"a":"\xff"}}'
        ),
        1007,
    ),
    "not JSON": (frame("hello"), 4004),
    "empty": (frame(""), 4004),
    "JSON cut off": (frame('{"type":"ping"'), 4004),
    "more than one value": (frame('{"type":"ping"}{}'), 4004),
    "half a surrogate pair": (frame('{"type":"ping","ref":"\\ud800"}'), 4004),
    "NaN": (frame('{"type":"ping","ref":NaN}'), 4004),
    "deep objects": (frame('{"a":' * 50_000), 4004),
    "deep in what is kept as it is": (
        frame('{"type":"settings.update","settings":' + "[" * 100_000 + "]" * 100_000 + "}"),
        4004,
    ),
    "closes with a wrong code": (frame((1005).to_bytes(2, "big"), opcode=CLOSE), 1002),
    "closes with one byte": (frame(b"\x03", opcode=CLOSE), 1002),
    "closes with a reason that is not UTF-8": (frame(b"\x03\xe8\xff", opcode=CLOSE), 1007),
}


async def test_frames_that_end_the_connection(live: Live) -> None:
    ana = await live.person("ana")
    async with undisturbed(live):
        for name, (data, code) in WRONG.items():
            wire = await live.signed_in(ana)
            # What follows the wrong frame, even in the same segment, is not carried out.
            wire.write(data + frame(json.dumps({"type": "profile.update", "name": "Changed"})))
            try:
                async with asyncio.timeout(3):
                    closed = await wire.closed()
            except TimeoutError:
                raise AssertionError(f"not closed: {name}") from None
            assert closed.code == code, (name, closed)
            await wire.gone()
            assert live.program.hub.sessions_of(ana.id) == (), name
            assert (await live.program.profiles.get(ana.caller, ana.id)).name == "Ana", name


async def test_the_same_before_anyone_signed_in(live: Live) -> None:
    for name, (data, code) in WRONG.items():
        wire = await live.wire()
        wire.write(data)
        closed = await wire.closed()
        assert closed.code == code, (name, closed)
        await wire.gone()


async def test_an_oversize_frame_is_not_collected_nor_carried_out(live: Live) -> None:
    ana = await live.person("ana")
    wire = await live.signed_in(ana)
    message = json.dumps({"type": "profile.update", "name": "Changed", "status": "x"}).encode()
    whole = frame(message[:-1] + b" " * FRAME_BYTES + b"}")
    wire.write(whole[:20])
    assert (await wire.closed()).code == 1009
    for start in range(20, len(whole), 10_000):
        wire.write(whole[start : start + 10_000])
        await asyncio.sleep(0)
    await wire.gone()
    assert (await live.program.profiles.get(ana.caller, ana.id)).name == "Ana"


REFUSED: dict[str, tuple[str, str | None]] = {
    "no type": ('{"ref":"r"}', None),
    "unknown type": ('{"type":"message.sned","ref":"r"}', None),
    "type is a number": ('{"type":5,"ref":"r"}', None),
    "type of the server": ('{"type":"hello","ref":"r"}', None),
    "an array": ('["message.send"]', None),
    "deep where nothing is expected": ("[" * 200_000, None),
    "null": ("null", None),
    "a string": ('"ping"', None),
    "a number": ("1e999", None),
    "unknown field": ('{"type":"ping","ref":"r","more":1}', None),
    "field missing": ('{"type":"message.send","ref":"r"}', None),
    "wrong type of a field": (
        '{"type":"reaction.add","ref":"r","conversation":5,"seq":1,"emoji":"x"}',
        "conversation",
    ),
    "out of bounds": (
        '{"type":"message.read","ref":"r","conversation":"c","seq":0}',
        "seq",
    ),
    "seq is a float": ('{"type":"message.read","ref":"r","conversation":"c","seq":1.5}', "seq"),
    "seq is huge": (
        '{"type":"message.read","ref":"r","conversation":"c","seq":99999999999999999999999}',
        "seq",
    ),
    "unknown content": (
        '{"type":"message.send","ref":"r","conversation":"c","content":{"type":"gif"}}',
        "content.type",
    ),
    "long ref": ('{"type":"ping","ref":"' + "r" * 65 + '"}', "ref"),
    "deep": ('{"type":"ping","ref":' + "[" * 100_000, "ref"),
    "two refs": ('{"type":"ping","ref":1,"ref":"r","x":0}', "ref"),
    "negative position": ('{"type":"resume","ref":"r","positions":{"c":-1}}', None),
    "limit": ('{"type":"events.read","ref":"r","conversation":"c","after":0,"limit":1001}', "limit"),
}


async def test_frames_that_are_answered_by_an_error(live: Live) -> None:
    ana = await live.person("ana")
    async with undisturbed(live):
        wire = await live.signed_in(ana)
        for name, (data, field) in REFUSED.items():
            wire.send(data)
            answer = await wire.json()
            assert (answer["type"], answer["code"]) == ("error", "malformed"), (name, answer)
            if field is not None:
                assert answer["field"] == field, (name, answer)
            if '"ref":"r"' in data and name != "two refs":
                assert answer["ref"] == "r", (name, answer)
            wire.send(ping("goes on"))
            assert (await wire.json())["ref"] == "goes on"


async def test_what_is_echoed_is_bounded(live: Live) -> None:
    wire = await live.signed_in(await live.person("ana"))
    for data in (
        json.dumps({"type": "x" * 200_000}),
        json.dumps({"type": "ping", "ref": "r" * 200_000}),
        json.dumps({"type": "ping", "y" * 200_000: 1}),
    ):
        wire.send(data)
        answer = await wire.json()
        assert answer["code"] == "malformed"
        assert len(json.dumps(answer)) < 1000


# --- signing in, tokens and devices ------------------------------------------------------------------


async def test_who_does_not_sign_in_is_closed(tmp_path: Path) -> None:
    async with Live(tmp_path, limits={"sign_in_s": 0.3}) as live:
        wire = await live.wire()
        wire.send(b"", opcode=PING)
        assert await wire.pong() == b""
        closed = await wire.closed()
        assert (closed.code, closed.reason.split(":")[0]) == (4000, "reconnect")


async def test_the_first_frame_signs_in(live: Live) -> None:
    for first in (
        {"type": "ping", "ref": "1"},
        {"type": "message.send", "conversation": "c", "content": text("x")},
        {"type": "resume", "positions": {}},
        {"type": "nothing.known"},
        {"type": "sign_in", "tokens": "x"},
    ):
        wire = await live.wire()
        wire.send(first)
        assert (await wire.closed()).code == 4000, first


async def test_a_token_that_is_not_ours(live: Live) -> None:
    ana = await live.person("ana")
    head, body, signature = ana.token.split(".")
    flipped = signature[:-2] + ("A" if signature[-2] != "A" else "B") + signature[-1]
    for token in ("", "x", "a.b.c", f"{head}.{body}.{flipped}", f"{head}.{body}.", ana.token + "A"):
        wire = await live.wire()
        wire.send({"type": "sign_in", "ref": "s", "token": token})
        answer = await wire.json()
        assert (answer["code"], answer["ref"]) == ("unauthenticated", "s")
        closed = await wire.closed()
        assert (closed.code, closed.reason.split(":")[0]) == (4001, "reconnect")


async def test_signing_in_twice_is_refused(live: Live) -> None:
    ana, bob = await live.people("ana", "bob")
    wire = await live.signed_in(ana)
    wire.send({"type": "sign_in", "ref": "again", "token": bob.token})
    assert (await wire.json())["code"] == "conflict"
    wire.send({"type": "ping", "ref": "goes on"})
    assert (await wire.json())["type"] == "pong"


async def test_a_revoked_device_is_cut_off_at_once(live: Live) -> None:
    ana = await live.person("ana")
    phone = await live.device(ana)
    laptop, other = await live.talk(ana), await live.talk(phone)
    twin = await live.talk(phone)
    await laptop.do("device.revoke", device=phone.device)
    for talk in (other, twin):
        closed = await talk.closed()
        assert (closed.code, closed.reason.split(":")[0]) == (4002, "stop")
    wire = await live.wire()
    wire.send({"type": "sign_in", "token": phone.token})
    assert (await wire.json())["code"] == "unauthenticated"
    assert (await wire.closed()).code == 4001
    await laptop.settle()
    assert laptop.end is None


async def test_a_device_that_revokes_itself(live: Live) -> None:
    wire = await live.signed_in(ana := await live.person("ana"))
    wire.send({"type": "device.revoke", "ref": "bye", "device": ana.device})
    assert (await wire.closed()).code == 4002


async def test_a_disabled_user_is_cut_off(live: Live) -> None:
    ana = await live.person("ana")
    talk = await live.talk(ana)
    await live.program.administration.set_disabled("default", ana.id, disabled=True)
    assert (await talk.closed()).code == 4002


async def test_a_session_ends_with_its_token_unless_it_gets_a_new_one(tmp_path: Path) -> None:
    clock = MovableClock()
    async with Live(tmp_path, clock=clock, heartbeat_s=300) as live:
        ana = await live.person("ana")
        bob = await live.person("bob")
        ana.token, bob.token = live.short_token(ana), live.short_token(bob)
        one, two = await live.talk(ana), await live.talk(bob)
        assert 0 < one.hello["expires_at"] - one.hello["at"] <= 600_000
        clock.advance(500)
        fresh = live.short_token(ana)
        assert (await one.ask("refresh", token=fresh))["type"] == "done"
        clock.advance(200)
        closed = await two.closed()
        assert (closed.code, closed.reason.split(":")[0]) == (4001, "reconnect")
        await one.settle()
        wire = await live.wire()
        wire.send({"type": "sign_in", "token": bob.token})
        assert (await wire.json())["code"] == "token_expired"
        assert (await wire.closed()).code == 4001


async def test_a_token_of_another_device_does_not_refresh(live: Live) -> None:
    ana, bob = await live.people("ana", "bob")
    for token in (bob.token, (await live.device(ana)).token, "nonsense"):
        wire = await live.signed_in(ana)
        wire.send({"type": "refresh", "ref": "r", "token": token})
        answer = await wire.json()
        assert (answer["code"], answer["ref"]) == ("unauthenticated", "r")
        assert (await wire.closed()).code == 4001


# --- limits ------------------------------------------------------------------------------------------


async def test_too_many_sessions_of_one_user(tmp_path: Path) -> None:
    async with Live(tmp_path, limits={"sessions_per_user": 2}) as live:
        ana, bob = await live.people("ana", "bob")
        first = await live.signed_in(ana)
        await live.signed_in(ana)
        wire = await live.wire()
        wire.send({"type": "sign_in", "token": ana.token})
        closed = await wire.closed()
        assert (closed.code, closed.reason.split(":")[0]) == (4006, "stop")
        await live.signed_in(bob)
        await first.close()
        for _ in range(200):
            if len(live.program.hub.sessions_of(ana.id)) < 2:
                break
            await asyncio.sleep(0.01)
        await live.signed_in(ana)


async def test_a_full_server(tmp_path: Path) -> None:
    async with Live(tmp_path, max_sessions=2) as live:
        ana = await live.person("ana")
        one = await live.signed_in(ana)
        await live.wire()
        wire = await live.wire()
        wire.send({"type": "sign_in", "token": ana.token})
        closed = await wire.closed()
        assert (closed.code, closed.reason.split(":")[0]) == (4029, "reconnect")
        one.send(ping("goes on"))
        assert (await one.json())["ref"] == "goes on"


async def test_too_many_commands_under_way(tmp_path: Path) -> None:
    async with Live(tmp_path, limits={"commands_in_flight": 4}) as live:
        ana = await live.person("ana")
        wire = await live.signed_in(ana)
        command = {"type": "profile.update", "status": "x"}
        wire.write(
            b"".join(frame(json.dumps({**command, "ref": str(n), "status": f"s{n}"})) for n in range(50))
        )
        answers: list[dict[str, Any]] = []
        while len(answers) < 50:
            found = await wire.json()
            answers += [found] if "ref" in found else []
        acks = [one["ref"] for one in answers if one["type"] == "ack"]
        refused = [one for one in answers if one["type"] == "error"]
        assert {one["code"] for one in refused} == {"rate_limited"}
        assert all(one["retry_after_ms"] > 0 for one in refused)
        # Those that were taken were carried out in order; the rest changed nothing.
        assert acks == sorted(acks, key=int)[: len(acks)]
        assert 4 <= len(acks) < 50
        last = max(map(int, acks))
        assert (await live.program.profiles.get(ana.caller, ana.id)).status == f"s{last}"


async def test_the_rate_limit(tmp_path: Path) -> None:
    async with Live(tmp_path, rate_limits=True) as live:
        ana, bob = await live.people("ana", "bob")
        group = await live.group(ana, bob)
        one, two = await live.talk(ana), await live.talk(bob)
        posted = [one.post("message.send", conversation=group, content=text(str(n))) for n in range(150)]
        answers = await asyncio.gather(*posted)
        refused = [answer for answer in answers if answer["type"] == "error"]
        assert {answer["code"] for answer in refused} == {"rate_limited"}
        assert all(answer["retry_after_ms"] > 0 for answer in refused)
        assert len(answers) - len(refused) in range(100, 125)
        # It is ana's limit, and not bob's.
        await two.say(group, "mine is another")
        assert one.end is None


async def test_who_does_not_slow_down_is_sent_away(tmp_path: Path) -> None:
    async with Live(tmp_path, rate_limits=True) as live, undisturbed(live):
        for flood in (
            frame('{"type":"nothing"}') * 2000,
            frame('{"type":"typing.set","conversation":"c"}') * 2000,
            frame('{"type":"events.read","conversation":"c","after":0}') * 2000,
        ):
            wire = await live.signed_in(await live.person(f"flood{hash(flood) % 9999}"))
            wire.write(flood)
            closed = await wire.closed()
            assert (closed.code, closed.reason.split(":")[0]) == (4007, "reconnect")


# --- slow and silent readers -------------------------------------------------------------------------


async def test_a_slow_reader_is_closed_and_the_others_go_on(tmp_path: Path) -> None:
    async with Live(tmp_path, outbox_bytes=65_536, limits={"frame_bytes": 1 << 20}) as live:
        ana, bob, slow = await live.people("ana", "bob", "slow")
        group = await live.group(ana, bob, slow)
        stuck = await live.signed_in(slow, receive_buffer=4096)
        one, two = await live.talk(ana), await live.talk(bob)
        sent: list[int] = []
        for _ in range(1000):
            sent.append((await one.say(group, "x" * 8000))["seq"])
            if not live.program.hub.sessions_of(slow.id):
                break
        assert not live.program.hub.sessions_of(slow.id)
        for _ in range(300):
            if len(live.program.ws.connections) == 2:
                break
            await asyncio.sleep(0.01)
        await two.event("message.new", seq=sent[-1])
        assert [seq for seq in two.seqs(group) if seq in sent] == sent[:-1]
        # It was closed for good: nothing of it is left.
        assert len(live.program.ws.connections) == 2
        # And it misses nothing when it comes back.
        again = await live.talk(slow, {group: sent[0] - 1})
        await again.wait(lambda one: one["type"] == "resumed", "resumed")
        assert again.seqs(group) == sent
        await stuck.gone()


async def test_a_reader_of_pongs_that_does_not_read(tmp_path: Path) -> None:
    async with Live(tmp_path, outbox_bytes=65_536) as live:
        ana = await live.person("ana")
        for wire in (
            await live.signed_in(ana, receive_buffer=4096),
            await live.wire(receive_buffer=4096),
        ):
            await _flood_until_closed(live, wire, frame(b"x" * 125, opcode=PING) * 200)


async def test_answers_to_one_who_does_not_read(tmp_path: Path) -> None:
    async with Live(tmp_path, outbox_bytes=65_536) as live:
        ana = await live.person("ana")
        wire = await live.signed_in(ana, receive_buffer=4096)
        await _flood_until_closed(live, wire, frame('{"type":"nothing"}') * 200)


async def _flood_until_closed(live: Live, wire: Wire, data: bytes) -> None:
    """Write without reading; the server holds no more than it said."""
    transport: Any = wire.writer.transport
    transport.pause_reading()
    before = len(live.program.ws.connections)
    most = 0
    for _ in range(5000):
        if len(live.program.ws.connections) < before or transport.is_closing():
            break
        wire.write(data)
        most = max([most, *(one.backlog() for one in live.program.ws.connections)])
        await asyncio.sleep(0.001)
    else:
        raise AssertionError("never closed")
    assert 0 < most < 3 * 65_536, most
    wire.abort()


async def test_replay_goes_at_the_readers_pace(tmp_path: Path) -> None:
    async with Live(tmp_path, outbox_bytes=65_536) as live:
        ana, bob = await live.people("ana", "bob")
        group = await live.group(ana, bob)
        sent = [(await live.say(ana, group, f"{n} " + "x" * 7900)).seq for n in range(200)]
        wire = await live.wire(receive_buffer=4096)
        wire.send({"type": "sign_in", "token": bob.token, "positions": {group: 0}})
        await asyncio.sleep(0.5)
        # Far more than the outbox waits to be read, and it waits in the log.
        assert live.program.hub.sessions_of(bob.id)
        live_one = (await live.say(ana, group, "meanwhile")).seq
        seqs: list[int] = []
        while True:
            found = await wire.json()
            if found.get("conversation") == group and "body" in found:
                seqs.append(found["seq"])
            if found["type"] == "resumed":
                break
        while live_one not in seqs:
            found = await wire.json()
            if found.get("conversation") == group and "body" in found:
                seqs.append(found["seq"])
        assert seqs == [*range(1, sent[-1] + 1), live_one]


async def test_answers_to_events_read_are_bounded(tmp_path: Path) -> None:
    async with Live(tmp_path, outbox_bytes=262_144) as live:
        ana = await live.person("ana")
        group = await live.group(ana)
        for n in range(60):
            await live.say(ana, group, f"{n} " + "x" * 7000)
        talk = await live.talk(ana)
        after, seqs = 0, []
        for _ in range(100):
            answer = await talk.ask("events.read", conversation=group, after=after, limit=1000)
            assert len(json.dumps(answer)) < 2 * 65_536
            seqs += [one["seq"] for one in answer["events"]]
            after = seqs[-1]
            if not answer["more"]:
                break
        head = await live.program.store.head(group)
        assert head is not None
        assert seqs == list(range(1, head.last_seq + 1))


async def test_a_silent_connection_is_pinged_and_then_ended(tmp_path: Path) -> None:
    clock = MovableClock()
    async with Live(tmp_path, clock=clock, heartbeat_s=20) as live:
        ana, bob = await live.people("ana", "bob")
        one, two = await live.signed_in(ana), await live.signed_in(bob)
        clock.advance(25)
        opcode, payload = await two.frame()
        assert (opcode, payload) == (PING, b"")
        two.send(payload, opcode=PONG)
        assert await one.frame() == (PING, b"")
        await asyncio.sleep(0.05)
        clock.advance(25)
        closed = await one.closed()
        assert (closed.code, closed.reason.split(":")[0]) == (4005, "reconnect")
        two.send(ping("alive"))
        assert (await two.json())["ref"] == "alive"


async def test_half_open_connections(live: Live) -> None:
    ana = await live.person("ana")
    # The client has nothing more to say: that is the end.
    wire = await live.signed_in(ana)
    wire.writer.write_eof()
    await wire.gone()
    # The client is gone without a word.
    wire = await live.signed_in(ana)
    sock = wire.writer.get_extra_info("socket")
    sock.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, b"\x01\0\0\0\0\0\0\0")
    wire.abort()
    for _ in range(300):
        if not live.program.ws.connections:
            break
        await asyncio.sleep(0.01)
    assert not live.program.ws.connections
    assert not live.program.hub.sessions


async def test_the_client_closes(live: Live) -> None:
    wire = await live.signed_in(await live.person("ana"))
    wire.send((1000).to_bytes(2, "big") + b"bye", opcode=CLOSE)
    assert (await wire.closed()).code == 1000
    await wire.gone()
    wire = await live.wire()
    wire.send(b"", opcode=CLOSE)
    assert (await wire.closed()).code == 1000
    await wire.gone()


async def test_a_connection_that_is_told_to_go_is_cut_off_when_it_stays(tmp_path: Path) -> None:
    async with Live(tmp_path) as live:
        wire = await live.signed_in(await live.person("ana"))
        wire.send(b"x", opcode=BINARY)
        opcode, payload = await wire.frame()
        assert (opcode, payload[:2]) == (CLOSE, (1003).to_bytes(2, "big"))
        # No answer to the close frame: a second later it is over all the same.
        loop = asyncio.get_running_loop()
        start = loop.time()
        with pytest.raises(Closed):
            await wire.frame()
        assert loop.time() - start < 3


async def test_a_server_that_stops_says_so(tmp_path: Path) -> None:
    async with Live(tmp_path) as live:
        ana = await live.person("ana")
        talk = await live.talk(ana)
        waiting = await live.wire()
        live._server.should_exit = True
        await live.program.drain()
        closed = await talk.closed()
        assert (closed.code, closed.reason.split(":")[0]) == (1001, "reconnect")
        assert (await waiting.closed()).code == 1001
