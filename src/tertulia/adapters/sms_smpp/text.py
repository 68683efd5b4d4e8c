"""A text as short messages: alphabet, data_coding, and the parts of a long one; pure."""

from collections.abc import Iterable
from typing import Final, Literal

import msgspec

# SMPP 3.4 section 5.2.19
DEFAULT_ALPHABET: Final = 0x00
UCS2: Final = 0x08

# SMPP 3.4 section 5.2.12: the short message begins with a user data header
UDHI: Final = 0x40

# 3GPP TS 23.038 section 6.2.1, in the order of the codes
_BASIC: Final = (
    "@£$¥èéùìòÇ\nØø\rÅåΔ_ΦΓΛΩΠΨΣΘΞ\x1bÆæßÉ !\"#¤%&'()*+,-./0123456789:;<=>?"
    "¡ABCDEFGHIJKLMNOPQRSTUVWXYZÄÖÑÜ§¿abcdefghijklmnopqrstuvwxyzäöñüà"
)
# 3GPP TS 23.038 section 6.2.1.1, each behind the escape 0x1b
_EXTENSION: Final = {
    "\f": 0x0A, "^": 0x14, "{": 0x28, "}": 0x29, "\\": 0x2F,
    "[": 0x3C, "~": 0x3D, "]": 0x3E, "|": 0x40, "€": 0x65,
}  # fmt: skip
_GSM: Final[dict[str, bytes]] = {
    **{c: bytes([code]) for code, c in enumerate(_BASIC) if c != "\x1b"},
    **{c: bytes([0x1B, code]) for c, code in _EXTENSION.items()},
}

# What one short message holds, alone and beside the 6-octet header of 3GPP TS 23.040 section
# 9.2.3.24.1. GSM text travels as one septet an octet here; the gateway packs it.
_ALONE: Final = {DEFAULT_ALPHABET: 160, UCS2: 140}
_BESIDE_HEADER: Final = {DEFAULT_ALPHABET: 153, UCS2: 134}
MAX_PARTS: Final = 255


class Part(msgspec.Struct, frozen=True, kw_only=True):
    """What one submit_sm carries; `payload` goes into message_payload and excludes the other."""

    data_coding: int
    short_message: bytes = b""
    payload: bytes = b""
    esm_class: int = 0


def split_text(
    text: str,
    reference: int,
    *,
    alphabet: Literal["gsm7", "ucs2"] = "gsm7",
    long_text: Literal["udh", "payload"] = "udh",
) -> tuple[Part, ...]:
    """Cut `text` into what the gateway gets, in order.

    With `gsm7` the GSM alphabet is used where it holds all of the text and UCS-2 elsewhere; `ucs2`
    is for gateways whose default alphabet is another one. Neither an escape nor a surrogate pair
    is ever cut in two. `reference` (0 to 255) ties the parts together on the telephone.

    Raises ValueError for a text of more than 255 parts.
    """
    coding = UCS2 if alphabet == "ucs2" or any(c not in _GSM for c in text) else DEFAULT_ALPHABET
    atoms = [_GSM[c] if coding == DEFAULT_ALPHABET else c.encode("utf-16-be") for c in text]
    whole = b"".join(atoms)
    if len(whole) <= _ALONE[coding]:
        return (Part(data_coding=coding, short_message=whole),)
    if long_text == "payload":
        return (Part(data_coding=coding, payload=whole),)
    pieces = _cut(atoms, _BESIDE_HEADER[coding])
    if len(pieces) > MAX_PARTS:
        raise ValueError(f"a text of more than {MAX_PARTS} short messages")
    return tuple(
        Part(
            data_coding=coding,
            esm_class=UDHI,
            short_message=bytes([5, 0, 3, reference, len(pieces), number]) + piece,
        )
        for number, piece in enumerate(pieces, 1)
    )


def _cut(atoms: Iterable[bytes], most: int) -> list[bytes]:
    pieces = [b""]
    for atom in atoms:
        if len(pieces[-1]) + len(atom) > most:
            pieces.append(b"")
        pieces[-1] += atom
    return pieces
