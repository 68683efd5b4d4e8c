"""SMPP 3.4 as bytes: the PDUs that a transmitter sends and receives; no I/O.

Sections are those of "Short Message Peer to Peer Protocol Specification v3.4", issue 1.2.
"""

import struct
from typing import Final

import msgspec

from tertulia.ports.sms import DeliveryCode, DeliveryFailed

# Section 5.1.2.1
BIND_TRANSMITTER: Final = 0x00000002
SUBMIT_SM: Final = 0x00000004
UNBIND: Final = 0x00000006
ENQUIRE_LINK: Final = 0x00000015
RESPONSE: Final = 0x80000000
GENERIC_NACK: Final = 0x80000000

# Section 5.1.3
OK: Final = 0x00000000
INVALID_COMMAND: Final = 0x00000003

VERSION: Final = 0x34  # section 5.2.4
MESSAGE_PAYLOAD: Final = 0x0424  # section 5.3.2.32
MAX_SEQUENCE: Final = 0x7FFFFFFF  # section 5.1.4
MAX_SHORT_MESSAGE: Final = 254  # section 5.2.22
MAX_PAYLOAD: Final = 0xFFFF
MAX_MESSAGE_ID: Final = 65  # section 4.4.2, with its NUL
HEADER: Final = struct.Struct(">IIII")  # section 3.2
MAX_PDU: Final = 70_000
"""The longest PDU that is read: 64 KiB of payload and all fields around it fit."""


class SmppBroken(Exception):
    """The other side does not speak SMPP, or framing is lost: the connection is of no more use."""


class Pdu(msgspec.Struct, frozen=True, kw_only=True):
    """One protocol data unit; `body` is what follows the header."""

    command: int
    sequence: int
    status: int = OK
    body: bytes = b""


def encode(pdu: Pdu) -> bytes:
    """The octets of `pdu` with its header (section 3.2)."""
    length = HEADER.size + len(pdu.body)
    return HEADER.pack(length, pdu.command, pdu.status, pdu.sequence) + pdu.body


class PduReader:
    """Cuts a stream into PDUs, however it arrives; never holds more than one PDU and one feed."""

    def __init__(self) -> None:
        self._buffer = bytearray()

    def feed(self, data: bytes) -> list[Pdu]:
        """Take what was read; return the PDUs that it completes.

        Raises SmppBroken at a length that is impossible or beyond MAX_PDU, before it is waited
        for; the reader is then of no more use.
        """
        self._buffer += data
        found: list[Pdu] = []
        while len(self._buffer) >= HEADER.size:
            length, command, status, sequence = HEADER.unpack_from(self._buffer)
            if not HEADER.size <= length <= MAX_PDU:
                raise SmppBroken(f"a PDU of {length} octets")
            if len(self._buffer) < length:
                break
            body = bytes(self._buffer[HEADER.size : length])
            del self._buffer[:length]
            found.append(Pdu(command=command, status=status, sequence=sequence, body=body))
        return found


def c_string(text: str, most: int) -> bytes:
    """A C-octet string (section 3.1) of at most `most` octets, the NUL included.

    Raises ValueError when it does not fit or is not printable ASCII.
    """
    if not text.isascii() or (text and not text.isprintable()) or len(text) >= most:
        raise ValueError(f"not printable ASCII of at most {most - 1} characters")
    return text.encode("ascii") + b"\0"


def bind_body(system_id: str, password: str, system_type: str) -> bytes:
    """The body of bind_transmitter (section 4.1.1). Raises ValueError for what does not fit."""
    return b"".join(
        (
            c_string(system_id, 16),
            c_string(password, 9),
            c_string(system_type, 13),
            bytes((VERSION, 0, 0)),  # version, addr_ton, addr_npi
            c_string("", 41),  # address_range
        )
    )


class Party(msgspec.Struct, frozen=True):
    """An address with its type of number and numbering plan (sections 5.2.5 and 5.2.6)."""

    ton: int
    npi: int
    address: str


def submit_body(
    source: Party,
    destination: Party,
    *,
    data_coding: int,
    esm_class: int = 0,
    short_message: bytes = b"",
    payload: bytes = b"",
) -> bytes:
    """The body of submit_sm (section 4.4.1); `payload` goes into message_payload.

    Raises ValueError for what does not fit, or when both bodies are given.
    """
    if len(short_message) > MAX_SHORT_MESSAGE or len(payload) > MAX_PAYLOAD:
        raise ValueError("the message is too long for one submit_sm")
    if short_message and payload:
        raise ValueError("message_payload excludes short_message")
    tlv = struct.pack(">HH", MESSAGE_PAYLOAD, len(payload)) + payload if payload else b""
    return b"".join(
        (
            c_string("", 6),  # service_type
            bytes((source.ton, source.npi)),
            c_string(source.address, 21),
            bytes((destination.ton, destination.npi)),
            c_string(destination.address, 21),
            bytes((esm_class, 0, 0)),  # esm_class, protocol_id, priority_flag
            c_string("", 17),  # schedule_delivery_time
            c_string("", 17),  # validity_period: the gateway's own
            # registered_delivery, replace_if_present, data_coding, sm_default_msg_id, sm_length
            bytes((0, 0, data_coding, 0, len(short_message))),
            short_message,
            tlv,
        )
    )


def read_c_string(body: bytes, most: int) -> str:
    """The C-octet string at the start of a response's body; "" when the body is left out.

    Section 4.4.2 lets a response with an error leave it out. Raises SmppBroken when it has no end.
    """
    if not body:
        return ""
    end = body.find(b"\0", 0, most)
    if end < 0:
        raise SmppBroken("a string without an end")
    return body[:end].decode("latin-1")


# What of section 5.1.3 passes by itself; everything else is an answer about this message.
_PASSING: Final[dict[int, tuple[str, DeliveryCode]]] = {
    0x00000004: ("RINVBNDSTS", "refused"),
    0x00000005: ("RALYBND", "refused"),
    0x00000008: ("RSYSERR", "refused"),
    0x0000000D: ("RBINDFAIL", "refused"),
    0x00000014: ("RMSGQFUL", "throttled"),
    0x00000045: ("RSUBMITFAIL", "refused"),
    0x00000058: ("RTHROTTLED", "throttled"),
    0x00000064: ("RX_T_APPN", "refused"),
    0x000000FE: ("RDELIVERYFAILURE", "refused"),
    0x000000FF: ("RUNKNOWNERR", "refused"),
}
_CREDENTIALS: Final = {0x0000000E: "RINVPASWD", 0x0000000F: "RINVSYSID", 0x00000053: "RINVSYSTYP"}
_VENDOR: Final = range(0x400, 0x500)


def failure_of(status: int, doing: str) -> DeliveryFailed:
    """What a command_status other than OK means for the message (section 5.1.3). Pure.

    Codes of vendors count as passing: retries are bounded, and a lost message is worse.
    """
    if status in _PASSING:
        name, code = _PASSING[status]
        return DeliveryFailed(False, f"smpp {doing}: {name} (0x{status:x})", code=code)
    if status in _CREDENTIALS:
        name = _CREDENTIALS[status]
        return DeliveryFailed(True, f"smpp {doing}: {name} (0x{status:x})", code="credentials")
    return DeliveryFailed(status not in _VENDOR, f"smpp {doing}: 0x{status:x}")
