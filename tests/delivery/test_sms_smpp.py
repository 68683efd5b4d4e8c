import asyncio
import time
from collections.abc import Awaitable
from pathlib import Path
from typing import Any

import pytest
import smpp34

from tertulia.adapters.sms_smpp import SmppSettings, SmppSmsSender
from tertulia.ports.sms import DeliveryFailed, Sms
from tests.delivery.peers import make_certificate, unused_port
from tests.delivery.smsc import Line, Smsc, Submitted, accept, pdu, smsc_peer


def sms(text: str = "Tu clave: 428913", **changes: Any) -> Sms:
    return Sms(**({"to": "+34600123456", "text": text, "id": "01JABC"} | changes))


def settings(port: int, **changes: Any) -> SmppSettings:
    given: dict[str, Any] = {
        "host": "127.0.0.1", "port": port, "system_id": "casa", "password": "sesamo",
        "sender": "Casa Luz", "seconds": 3.0, "hold_seconds": 0.0,
    }  # fmt: skip
    return SmppSettings(**(given | changes))


class Open:
    """`async with Open(smsc) as sender`: closes, and fails if that takes long."""

    def __init__(self, smsc: Smsc, ssl_context: Any = None, **changes: Any) -> None:
        self.sender = SmppSmsSender(settings(smsc.port, **changes), ssl_context=ssl_context)

    async def __aenter__(self) -> SmppSmsSender:
        return self.sender

    async def __aexit__(self, *_: object) -> None:
        async with asyncio.timeout(6):
            await self.sender.aclose()


async def failure(attempt: Awaitable[object]) -> DeliveryFailed:
    with pytest.raises(DeliveryFailed) as caught:
        await attempt
    assert "34600123456" not in caught.value.reason
    assert "sesamo" not in caught.value.reason
    return caught.value


async def test_bind_submit_check_and_unbind_field_by_field() -> None:
    async with smsc_peer() as smsc:
        async with Open(smsc, system_type="chat") as sender:
            await sender.send(sms("¡Hola! €5"))
            assert await sender.check() == f"127.0.0.1:{smsc.port} (TestSMSC) bound, no TLS"
        (bound,), (got,) = smsc.bound, smsc.submitted
    assert (bound.system_id, bound.password, bound.system_type) == ("casa", "sesamo", "chat")
    assert (bound.version, bound.rest) == (0x34, b"\0\0\0")
    assert got == Submitted(
        service_type="",
        source=(5, 0, "Casa Luz"),
        destination=(1, 1, "34600123456"),
        esm_class=0,
        registered_delivery=0,
        data_coding=0,
        sm_length=10,
        short_message=b"\x40Hola! \x1b\x655",
        tlvs={},
    )
    assert smsc.commands == [0x02, 0x04, 0x15, 0x06]


@pytest.mark.parametrize(
    ("sender", "changes", "source"),
    [
        ("+34911222333", {}, (1, 1, "34911222333")),
        ("22345", {}, (3, 0, "22345")),
        ("Casa", {}, (5, 0, "Casa")),
        ("22345", {"sender_ton": 0, "sender_npi": 1}, (0, 1, "22345")),
    ],
)
async def test_the_senders_type_of_number(
    sender: str, changes: dict[str, int], source: tuple[int, int, str]
) -> None:
    async with smsc_peer() as smsc, Open(smsc, sender=sender, **changes) as client:
        await client.send(sms())
    assert smsc.submitted[0].source == source


@pytest.mark.parametrize("step", [1, 3, 17], ids=str)
async def test_answers_in_crumbs(step: int) -> None:
    async with smsc_peer(step=step) as smsc, Open(smsc) as sender:
        for _ in range(3):
            await sender.send(sms())
    assert len(smsc.submitted) == 3
    assert smsc.commands.count(0x02) == 1


async def test_a_long_text_arrives_in_parts_that_a_telephone_can_join() -> None:
    text = "验证码 428913 🍵 " * 12
    async with smsc_peer() as smsc, Open(smsc) as sender:
        await sender.send(sms(text))
        await sender.send(sms(text))
    half = len(smsc.submitted) // 2
    first, again = smsc.submitted[:half], smsc.submitted[half:]
    assert first == again, "a retry has the same reference number and parts"
    assert half == 3
    assert {part.data_coding for part in first} == {8}
    assert {part.esm_class for part in first} == {0x40}
    headers = [part.short_message[:6] for part in first]
    assert [header[:3] for header in headers] == [b"\x05\x00\x03"] * 3
    assert len({header[3] for header in headers}) == 1
    assert [(header[4], header[5]) for header in headers] == [(3, 1), (3, 2), (3, 3)]
    assert "".join(p.short_message[6:].decode("utf-16-be") for p in first) == text


async def test_a_long_text_as_message_payload() -> None:
    text = "a€" * 400
    async with smsc_peer() as smsc, Open(smsc, long_text="payload") as sender:
        await sender.send(sms(text))
    (got,) = smsc.submitted
    assert (got.sm_length, got.esm_class) == (0, 0)
    assert got.tlvs == {0x0424: b"a\x1b\x65" * 400}


async def test_a_gateway_with_another_default_alphabet_gets_ucs2() -> None:
    async with smsc_peer() as smsc, Open(smsc, alphabet="ucs2") as sender:
        await sender.send(sms("hola"))
    assert (smsc.submitted[0].data_coding, smsc.submitted[0].short_message) == (
        8,
        "hola".encode("utf-16-be"),
    )


@pytest.mark.parametrize(
    ("status", "permanent", "code"),
    [
        (0x0B, True, "refused"),
        (0x58, False, "throttled"),
        (0x14, False, "throttled"),
        (0x08, False, "refused"),
        (0x65, True, "refused"),
    ],
)
async def test_a_refused_text_leaves_the_session_usable(status: int, permanent: bool, code: str) -> None:
    async def refuse(smsc: Smsc, line: Line, sequence: int, submitted: Submitted) -> None:
        smsc.on_submit = accept
        await line.say(pdu(0x80000004, sequence, status=status))

    async with smsc_peer(on_submit=refuse) as smsc, Open(smsc) as sender:
        failed = await failure(sender.send(sms()))
        assert (failed.permanent, failed.code) == (permanent, code)
        await sender.send(sms())
    assert smsc.commands.count(0x02) == 1


async def test_a_part_that_is_refused_ends_the_text() -> None:
    async def second(smsc: Smsc, line: Line, sequence: int, submitted: Submitted) -> None:
        status = 0x14 if len(smsc.submitted) == 2 else 0
        await line.say(pdu(0x80000004, sequence, status=status, body=b"i\0"))

    async with smsc_peer(on_submit=second) as smsc, Open(smsc) as sender:
        assert (await failure(sender.send(sms("a" * 400)))).permanent is False
    assert len(smsc.submitted) == 2


async def test_a_wrong_password_is_named_and_not_tried_again_at_once() -> None:
    async with smsc_peer() as smsc, Open(smsc, password="falso", hold_seconds=0.4) as sender:
        for attempt in (sender.check, lambda: sender.send(sms())):
            failed = await failure(attempt())
            assert (failed.permanent, failed.code) == (True, "credentials")
            assert "RINVPASWD" in failed.reason
        assert failed.retry_after is not None
        assert 0 < failed.retry_after <= 0.4
        assert len(smsc.bound) == 1
        await asyncio.sleep(0.45)
        await failure(sender.send(sms()))
        assert len(smsc.bound) == 2


async def test_many_at_once_share_one_bind_and_keep_within_the_window() -> None:
    open_now, most = 0, 0
    gate = asyncio.Event()

    async def late(smsc: Smsc, line: Line, sequence: int, submitted: Submitted) -> None:
        nonlocal open_now, most
        open_now += 1
        most = max(most, open_now)
        held.append((line, sequence))
        if len(held) == 4:
            gate.set()

    held: list[tuple[Line, int]] = []
    async with smsc_peer(on_submit=late) as smsc, Open(smsc, window=4, max_waiting=12) as sender:
        tasks = [asyncio.create_task(sender.send(sms(f"n{n}"))) for n in range(12)]
        async with asyncio.timeout(5):
            await gate.wait()
            await asyncio.sleep(0.1)
        assert most == 4
        failed = await failure(sender.send(sms()))
        assert (failed.permanent, failed.code) == (False, "throttled")
        smsc.on_submit = accept
        for line, sequence in reversed(held):  # answers may come in any order
            await line.say(pdu(0x80000004, sequence, body=b"i\0"))
        async with asyncio.timeout(5):
            await asyncio.gather(*tasks)
        await sender.send(sms("n12"))
    assert sorted(s.short_message for s in smsc.submitted) == sorted(f"n{n}".encode() for n in range(13))
    assert len(smsc.bound) == 1


async def test_no_answer_ends_in_time_and_the_next_text_binds_anew() -> None:
    async def nothing(smsc: Smsc, line: Line, sequence: int, submitted: Submitted) -> None:
        smsc.on_submit = accept

    async with smsc_peer(on_submit=nothing) as smsc, Open(smsc, seconds=0.3) as sender:
        before = time.monotonic()
        failed = await failure(sender.send(sms()))
        assert (failed.permanent, failed.code) == (False, "timeout")
        assert time.monotonic() - before < 2
        await sender.send(sms())
    assert len(smsc.bound) == 2


async def test_a_hang_up_under_way_and_one_in_between() -> None:
    async def leave(smsc: Smsc, line: Line, sequence: int, submitted: Submitted) -> None:
        smsc.on_submit = accept
        line.hang_up()

    async with smsc_peer(on_submit=leave) as smsc, Open(smsc) as sender:
        failed = await failure(sender.send(sms()))
        assert (failed.permanent, failed.code) == (False, "unreachable")
        await sender.send(sms())
        smsc.lines[-1].hang_up()
        await asyncio.sleep(0.05)
        await sender.send(sms())
    assert len(smsc.bound) == 3


@pytest.mark.parametrize(
    "nonsense",
    [
        b"HTTP/1.1 400 Bad Request\r\n\r\n",
        b"\xff\xff\xff\xff" + bytes(12),
        b"\x00\x00\x00\x04" + bytes(12),
        pdu(0x80000015, 2),  # an answer of another kind to what was asked
        pdu(0x80000000, 2, status=0),  # generic_nack without an error
        pdu(0x80000000, 0, status=2),  # generic_nack for what cannot be named
        pdu(0x80000004, 2, body=b"no end"),
    ],
    ids=["http", "huge", "tiny", "kind", "nack-ok", "nack-lost", "string"],
)
async def test_an_answer_without_sense_is_temporary(nonsense: bytes) -> None:
    async def babble(smsc: Smsc, line: Line, sequence: int, submitted: Submitted) -> None:
        assert sequence == 2
        smsc.on_submit = accept
        await line.say(nonsense)

    async with smsc_peer(on_submit=babble) as smsc, Open(smsc, seconds=2.0) as sender:
        failed = await failure(sender.send(sms()))
        assert (failed.permanent, failed.code) == (False, "protocol")
        await sender.send(sms())
        assert len(smsc.submitted) == 2


async def test_generic_nack_is_an_answer() -> None:
    async def nack(smsc: Smsc, line: Line, sequence: int, submitted: Submitted) -> None:
        await line.say(pdu(0x80000000, sequence, status=0x03))

    async with smsc_peer(on_submit=nack) as smsc, Open(smsc) as sender:
        failed = await failure(sender.send(sms()))
        assert (failed.permanent, failed.reason) == (True, "smpp submit: 0x3")


async def test_an_answer_to_what_nobody_asked_is_ignored() -> None:
    async def twice(smsc: Smsc, line: Line, sequence: int, submitted: Submitted) -> None:
        await line.say(pdu(0x80000004, sequence + 100, status=0x0B))
        await accept(smsc, line, sequence, submitted)
        await accept(smsc, line, sequence, submitted)

    async with smsc_peer(on_submit=twice) as smsc, Open(smsc) as sender:
        await sender.send(sms())
        await sender.send(sms())
    assert len(smsc.bound) == 1


async def test_the_gateways_own_requests_are_answered() -> None:
    async with smsc_peer() as smsc, Open(smsc) as sender:
        await sender.send(sms())
        (line,) = smsc.lines
        await line.say(pdu(0x15, 41) + pdu(0x05, 42, body=b"\0" * 17) + pdu(0x999, 43))
        await smsc.until(lambda: len(smsc.answers) == 3)
        assert smsc.answers == [(0x80000015, 0, 41), (0x80000000, 3, 42), (0x80000000, 3, 43)]
        await sender.send(sms())
        await line.say(pdu(0x06, 44))
        await smsc.until(lambda: len(smsc.answers) == 4)
        assert smsc.answers[-1] == (0x80000006, 0, 44)
        await sender.send(sms())
    assert len(smsc.bound) == 2


async def test_a_quiet_line_is_kept_alive_and_a_dead_one_found_out() -> None:
    async with smsc_peer() as smsc, Open(smsc, enquire_seconds=0.05, seconds=0.3) as sender:
        await sender.send(sms())
        await smsc.until(lambda: smsc.commands.count(0x15) >= 3)

        async def dead(_smsc: Smsc, _line: Line, _sequence: int) -> None:
            return

        smsc.on_enquire = dead
        await asyncio.sleep(0.6)
        smsc.on_enquire = None
        await sender.send(sms())
    assert len(smsc.bound) == 2


async def test_a_bind_without_answer_nonsense_or_hang_up() -> None:
    async def nothing(_smsc: Smsc, _line: Line, _sequence: int) -> None:
        return

    async def nonsense(_smsc: Smsc, line: Line, _sequence: int) -> None:
        await line.say(b"220 mail.example ESMTP\r\n")

    async def leave(_smsc: Smsc, line: Line, _sequence: int) -> None:
        line.hang_up()

    async def endless_name(_smsc: Smsc, line: Line, sequence: int) -> None:
        await line.say(pdu(0x80000002, sequence, body=b"x" * 5_000))

    wanted = [
        (nothing, "timeout"),
        (nonsense, "protocol"),
        (leave, "unreachable"),
        (endless_name, "protocol"),
    ]
    for script, code in wanted:
        async with smsc_peer(on_bind=script) as smsc, Open(smsc, seconds=0.3) as sender:
            failed = await failure(sender.send(sms()))
            assert (failed.permanent, failed.code) == (False, code), script.__name__


async def test_nobody_listens_and_nothing_after_closing() -> None:
    sender = SmppSmsSender(settings(await unused_port()))
    failed = await failure(sender.check())
    assert (failed.permanent, failed.code) == (False, "unreachable")
    await sender.aclose()
    await sender.aclose()
    assert (await failure(sender.send(sms()))).code == "unreachable"


async def test_closing_fails_what_is_under_way() -> None:
    async def nothing(_smsc: Smsc, _line: Line, _sequence: int, _submitted: Submitted) -> None:
        return

    async with smsc_peer(on_submit=nothing) as smsc:
        async with Open(smsc) as sender:
            under_way = asyncio.create_task(failure(sender.send(sms())))
            await smsc.until(lambda: len(smsc.submitted) == 1)
        assert (await under_way).permanent is False
        assert smsc.commands[-1] == 0x06


async def test_a_cancelled_send_leaves_the_session_usable() -> None:
    async def nothing(smsc: Smsc, _line: Line, _sequence: int, _submitted: Submitted) -> None:
        smsc.on_submit = accept

    async with smsc_peer(on_submit=nothing) as smsc, Open(smsc, window=1) as sender:
        under_way = asyncio.create_task(sender.send(sms()))
        await smsc.until(lambda: len(smsc.submitted) == 1)
        under_way.cancel()
        with pytest.raises(asyncio.CancelledError):
            await under_way
        await sender.send(sms())
    assert len(smsc.bound) == 1


async def test_over_tls_and_not_with_a_strange_certificate(tmp_path: Path) -> None:
    served = make_certificate(tmp_path, "127.0.0.1")
    other = make_certificate(tmp_path, "localhost")
    async with smsc_peer(tls=served.server) as smsc:
        async with Open(smsc, served.client, tls=True) as sender:
            await sender.send(sms())
            assert (await sender.check()).endswith("bound, TLS")
        async with Open(smsc, other.client, tls=True) as sender:
            failed = await failure(sender.send(sms()))
            assert (failed.permanent, failed.code) == (False, "tls")
    assert len(smsc.submitted) == 1


async def test_against_another_implementation() -> None:
    server = smpp34.Server("127.0.0.1", port := await unused_port(), system_id="Other")
    await server.start()
    got: list[smpp34.SubmitSmEvent] = []

    async def run() -> None:
        while True:
            event = await server.next()
            if isinstance(event, smpp34.SubmitSmEvent):
                got.append(event)
                if event.short_message == b"no":
                    event.reject(smpp34.ESME_RINVDSTADR)
                else:
                    event.accept(f"id{len(got)}")

    task = asyncio.create_task(run())
    sender = SmppSmsSender(settings(port))
    try:
        async with asyncio.timeout(10):
            assert "(Other) bound" in await sender.check()
            await sender.send(sms("hola €"))
            await sender.send(sms("验" * 100))
            failed = await failure(sender.send(sms("no")))
            await sender.aclose()
    finally:
        task.cancel()
        await asyncio.gather(task, return_exceptions=True)
        await server.stop()
    assert (failed.permanent, failed.code) == (True, "refused")
    assert [event.short_message for event in got[:1]] == [b"hola \x1b\x65"]
    assert (got[1].data_coding, got[1].esm_class) == (8, 0x40)
    joined = b"".join(event.short_message[6:] for event in got[1:3])
    assert joined.decode("utf-16-be") == "验" * 100
    assert {event.destination_addr for event in got} == {"34600123456"}


@pytest.mark.parametrize(
    "changes",
    [
        {"system_id": "x" * 16},
        {"password": "x" * 9},
        {"system_type": "x" * 13},
        {"sender": ""},
        {"sender": "+abc"},
        {"sender": "Casa de la Luz"},
        {"sender": "Cása"},
        {"sender_ton": 256},
    ],
    ids=str,
)
def test_settings_that_do_not_fit_are_refused_without_their_secret(
    changes: dict[str, Any],
) -> None:
    with pytest.raises(ValueError, match=r"system_id|sender|printable") as caught:
        SmppSmsSender(settings(2775, **changes))
    assert "x" * 9 not in str(caught.value)
