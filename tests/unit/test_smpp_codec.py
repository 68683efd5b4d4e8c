"""The pure modules of the SMPP adapter; `smpp34` is the other opinion on the octets."""

import pytest
import smpp34
from hypothesis import given
from hypothesis import strategies as st

from tertulia.adapters.sms_smpp.codec import (
    MAX_PDU,
    SUBMIT_SM,
    Party,
    Pdu,
    PduReader,
    SmppBroken,
    bind_body,
    encode,
    failure_of,
    read_c_string,
    submit_body,
)
from tertulia.adapters.sms_smpp.text import split_text

FROM, TO = Party(5, 0, "Casa Luz"), Party(1, 1, "34600123456")


def test_bind_transmitter_octet_by_octet() -> None:
    pdu = Pdu(command=2, sequence=1, body=bind_body("casa", "sesamo", "chat"))
    assert encode(pdu) == (
        b"\x00\x00\x00\x25\x00\x00\x00\x02\x00\x00\x00\x00\x00\x00\x00\x01"
        b"casa\x00sesamo\x00chat\x00\x34\x00\x00\x00"
    )


def test_another_codec_reads_our_submit_sm() -> None:
    body = submit_body(FROM, TO, data_coding=8, esm_class=0x40, short_message=b"\x05\x00\x03abc")
    read = smpp34.decode(encode(Pdu(command=SUBMIT_SM, sequence=77, body=body)))
    assert isinstance(read, smpp34.SubmitSm)
    assert read.sequence_number == 77
    assert (read.source_addr_ton, read.source_addr_npi, read.source_addr) == (5, 0, "Casa Luz")
    assert (read.dest_addr_ton, read.dest_addr_npi) == (1, 1)
    assert read.destination_addr == "34600123456"
    assert (read.esm_class, read.data_coding) == (0x40, 8)
    assert (read.short_message, read.tlvs) == (b"\x05\x00\x03abc", [])


def test_another_codec_reads_our_message_payload() -> None:
    body = submit_body(FROM, TO, data_coding=0, payload=b"x" * 5_000)
    read = smpp34.decode(encode(Pdu(command=SUBMIT_SM, sequence=1, body=body)))
    assert isinstance(read, smpp34.SubmitSm)
    assert (read.sm_length, read.short_message) == (0, b"")
    assert [(tlv.tag, tlv.value) for tlv in read.tlvs] == [(0x0424, b"x" * 5_000)]


def test_we_read_what_another_codec_writes() -> None:
    written = smpp34.SubmitSm("1", "2", b"hola", sequence_number=9).encode()
    (pdu,) = PduReader().feed(written)
    assert (pdu.command, pdu.sequence, pdu.status) == (SUBMIT_SM, 9, 0)
    assert pdu.body.endswith(b"\x04hola")


pdus = st.builds(
    Pdu,
    command=st.integers(0, 2**32 - 1),
    sequence=st.integers(0, 2**32 - 1),
    status=st.integers(0, 2**32 - 1),
    body=st.binary(max_size=60),
)


@given(st.lists(pdus, max_size=5), st.lists(st.integers(1, 40), min_size=1))
def test_a_stream_cut_anywhere_gives_the_same_pdus(sent: list[Pdu], cuts: list[int]) -> None:
    stream = b"".join(map(encode, sent))
    reader, got, turn = PduReader(), [], 0
    while stream:
        size = cuts[turn % len(cuts)]
        got += reader.feed(stream[:size])
        stream, turn = stream[size:], turn + 1
    assert got == sent


@pytest.mark.parametrize("length", [0, 4, 15, MAX_PDU + 1, 0xFFFFFFFF])
def test_an_impossible_length_is_refused_before_it_is_waited_for(length: int) -> None:
    with pytest.raises(SmppBroken):
        PduReader().feed(length.to_bytes(4, "big") + bytes(12))


@given(st.binary(max_size=200))
def test_noise_is_read_or_refused_and_nothing_else(noise: bytes) -> None:
    try:
        PduReader().feed(noise)
    except SmppBroken:
        return


def test_strings_of_responses() -> None:
    assert read_c_string(b"", 65) == ""
    assert read_c_string(b"abc\0tail", 65) == "abc"
    assert read_c_string(b"a" * 64 + b"\0", 65) == "a" * 64
    for bad in (b"abc", b"a" * 65 + b"\0"):
        with pytest.raises(SmppBroken):
            read_c_string(bad, 65)


@pytest.mark.parametrize(
    ("system_id", "password", "system_type"),
    [("x" * 16, "p", ""), ("x", "p" * 9, ""), ("x", "p", "t" * 13), ("é", "p", ""), ("a\0b", "p", "")],
)  # fmt: skip
def test_what_does_not_fit_a_bind_is_refused(system_id: str, password: str, system_type: str) -> None:
    with pytest.raises(ValueError, match="printable ASCII"):
        bind_body(system_id, password, system_type)


def test_the_longest_bind_fits_and_bodies_exclude_each_other() -> None:
    assert len(bind_body("x" * 15, "p" * 8, "t" * 12)) == 16 + 9 + 13 + 3 + 1
    with pytest.raises(ValueError, match="excludes"):
        submit_body(FROM, TO, data_coding=0, short_message=b"a", payload=b"b")
    with pytest.raises(ValueError, match="too long"):
        submit_body(FROM, TO, data_coding=0, short_message=b"a" * 255)
    with pytest.raises(ValueError, match="too long"):
        submit_body(FROM, TO, data_coding=0, payload=b"a" * 65_536)


@pytest.mark.parametrize(
    ("status", "permanent", "code"),
    [
        (0x01, True, "refused"),
        (0x05, False, "refused"),
        (0x08, False, "refused"),
        (0x0B, True, "refused"),
        (0x0D, False, "refused"),
        (0x0E, True, "credentials"),
        (0x0F, True, "credentials"),
        (0x14, False, "throttled"),
        (0x45, False, "refused"),
        (0x58, False, "throttled"),
        (0x64, False, "refused"),
        (0x65, True, "refused"),
        (0x66, True, "refused"),
        (0xFF, False, "refused"),
        (0x412, False, "refused"),
        (0x500, True, "refused"),
    ],
)
def test_every_status_has_its_meaning(status: int, permanent: bool, code: str) -> None:
    failed = failure_of(status, "submit")
    assert (failed.permanent, failed.code) == (permanent, code)
    assert f"0x{status:x}" in failed.reason


# Code points of 3GPP TS 23.038 section 6.2.1, chosen by hand across both tables.
@pytest.mark.parametrize(
    ("character", "octets"),
    [
        ("@", "00"), ("$", "02"), ("é", "05"), ("ò", "08"), ("Ç", "09"), ("\n", "0a"), ("Δ", "10"),
        ("_", "11"), ("Ξ", "1a"), ("Æ", "1c"), ("É", "1f"), (" ", "20"), ("¤", "24"), ("A", "41"),
        ("¡", "40"), ("Ä", "5b"), ("Ñ", "5d"), ("§", "5f"), ("¿", "60"), ("z", "7a"), ("ñ", "7d"),
        ("à", "7f"), ("^", "1b14"), ("{", "1b28"), ("}", "1b29"), ("\\", "1b2f"), ("[", "1b3c"),
        ("~", "1b3d"), ("]", "1b3e"), ("|", "1b40"), ("€", "1b65"),
    ],
)  # fmt: skip
def test_the_gsm_alphabet(character: str, octets: str) -> None:
    (part,) = split_text(character, 0)
    assert (part.data_coding, part.short_message.hex()) == (0, octets)


@pytest.mark.parametrize(
    ("text", "parts", "coding"),
    [
        ("a" * 160, 1, 0),
        ("a" * 161, 2, 0),
        ("a" * 306, 2, 0),
        ("a" * 307, 3, 0),
        ("€" * 80, 1, 0),
        ("€" * 81, 2, 0),
        ("验" * 70, 1, 8),
        ("验" * 71, 2, 8),
        ("验" * 134, 2, 8),
        ("验" * 135, 3, 8),
        ("🍵" * 35, 1, 8),
        ("🍵" * 36, 2, 8),
        ("a" * 69 + "ó", 1, 8),
    ],
    ids=lambda value: f"{value[0]}{len(value)}" if isinstance(value, str) else str(value),
)
def test_how_many_short_messages_a_text_takes(text: str, parts: int, coding: int) -> None:
    got = split_text(text, 7)
    assert len(got) == parts
    assert {part.data_coding for part in got} == {coding}


texts = st.text(min_size=1, max_size=700)


@given(texts, st.integers(0, 255), st.sampled_from(["gsm7", "ucs2"]))
def test_parts_join_to_the_text_again_and_none_is_too_long(text: str, reference: int, alphabet: str) -> None:
    parts = split_text(text, reference, alphabet=alphabet)
    joined = ""
    for number, part in enumerate(parts, 1):
        body = part.short_message
        if len(parts) > 1:
            assert part.esm_class == 0x40
            assert list(body[:6]) == [5, 0, 3, reference, len(parts), number]
            body = body[6:]
        # Octets on the air: septets are packed, header included.
        air = len(body) if part.data_coding == 8 else -(-len(body) * 7 // 8)
        assert air + (6 if len(parts) > 1 else 0) <= 140
        if part.data_coding == 8:
            joined += body.decode("utf-16-be")  # fails on half a surrogate pair
        else:
            assert not body.endswith(b"\x1b"), "an escape is cut from its character"
            joined += body.decode("latin-1").replace("\x1b", "")
    assert len(parts) <= 255
    if parts[0].data_coding == 8:
        assert joined == text
    else:
        assert len(joined) == len(text)


def test_a_long_text_as_one_payload_and_one_of_too_many_parts() -> None:
    (part,) = split_text("a" * 161, 0, long_text="payload")
    assert (part.short_message, part.payload, part.esm_class) == (b"", b"a" * 161, 0)
    (part,) = split_text("a" * 160, 0, long_text="payload")
    assert (part.short_message, part.payload) == (b"a" * 160, b"")
    with pytest.raises(ValueError, match="255"):
        split_text("a" * (153 * 255 + 1), 0)
