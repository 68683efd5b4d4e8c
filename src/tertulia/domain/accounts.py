"""The rules about accounts: by what a person is named, when a code counts, which devices stay."""

from __future__ import annotations

import hmac
from collections.abc import Iterable, Mapping
from ipaddress import IPv6Address, ip_address
from typing import Final, Literal

import msgspec

from tertulia.domain.guessing import SIGN_IN_PER_ACCOUNT, SIGN_IN_PER_ADDRESS, Bucket
from tertulia.domain.names import NameRefused, normalise_email, normalise_handle, normalise_phone
from tertulia.domain.records import Code, Device

CODE_LIFETIME_MS: Final = 15 * 60_000
CODE_ATTEMPTS: Final = 5
SIGN_UP_LIFETIME_MS: Final = 24 * 3_600_000
"""How long a sign-up waits for its code; a code may be sent again until then."""

CODE_KEPT_MS: Final = 24 * 3_600_000
"""How long a code's row outlives the code.  The row's version only ever grows meanwhile, so that no
decision about an old code can be taken for one about a new one."""

MAX_DEVICES: Final = 50
MAX_PRUNED: Final = 100

# One address may ask for five codes at once and then for two an hour: with five guesses at each, a
# stranger who tries all day and all night has one chance in 3,700.
ACCOUNT_RULES: Final[Mapping[str, Bucket]] = {
    "sign_in.account": SIGN_IN_PER_ACCOUNT,
    "sign_in.client": SIGN_IN_PER_ADDRESS,
    "sign_up.client": Bucket(30, 1 / 20),
    "code.address": Bucket(5, 1 / 1800),
    "code.client": Bucket(20, 1 / 60),
}
"""The limiter's rules for everything that can be guessed or that sends something."""


# --- by what a person is named -------------------------------------------------------------------


class Login(msgspec.Struct, frozen=True):
    """A name in its normal form.  `unknown`: one that nobody can have."""

    kind: Literal["email", "phone", "handle", "unknown"]
    value: str


class Address(msgspec.Struct, frozen=True):
    """Where a code can be sent, in its normal form."""

    kind: Literal["email", "phone"]
    value: str


def read_address(text: str) -> Address:
    """An e-mail address, or a phone number that begins with its country (`+`).

    Raises `NameRefused`."""
    if "@" in text:
        return Address("email", normalise_email(text))
    return Address("phone", normalise_phone(text))


def read_login(text: str) -> Login:
    """What somebody typed to sign in; never fails, because an impossible name is an unknown one."""
    typed = text.strip()
    try:
        if "@" in typed[1:]:
            return Login("email", normalise_email(typed))
        if typed.startswith("+"):
            return Login("phone", normalise_phone(typed))
        return Login("handle", normalise_handle(typed.removeprefix("@")))
    except NameRefused:
        return Login("unknown", typed[:64])


def clean_device_name(text: str) -> str:
    """A device's name as it is listed: one line of at most 64 characters.

    What cannot stand in it is left out instead of refused; nobody types this name."""
    return "".join(char for char in text if char.isprintable()).strip()[:64].strip()


def client_key(client_address: str) -> str:
    """Whose tries count together: an IPv4 address, or the /64 of an IPv6 address, which is what one
    customer of a network has at the least (RFC 6177 §2)."""
    try:
        address = ip_address(client_address.partition("%")[0])
    except ValueError:
        return client_address[:64]
    if not isinstance(address, IPv6Address):
        return str(address)
    if address.ipv4_mapped is not None:
        return str(address.ipv4_mapped)
    return str(IPv6Address(int(address) >> 64 << 64))


# --- codes ---------------------------------------------------------------------------------------

Verdict = Literal["right", "wrong", "dead"]


def judge_code(code: Code, digest: bytes, now_ms: int) -> Verdict:
    """What a guess is worth.  `dead`: the code was used, has expired or was guessed at too often, and
    the guess is not even looked at.  The comparison takes the same time for every guess."""
    if now_ms >= code.expires_at or code.attempts >= CODE_ATTEMPTS:
        return "dead"
    return "right" if hmac.compare_digest(code.digest, digest) else "wrong"


def guessed(code: Code) -> Code:
    """The code after one more wrong guess."""
    return msgspec.structs.replace(code, attempts=code.attempts + 1)


def spent(code: Code) -> Code:
    """The code after its use: dead, and kept as long as any other (`CODE_KEPT_MS`)."""
    return msgspec.structs.replace(code, digest=b"", user="", attempts=CODE_ATTEMPTS)


# --- devices -------------------------------------------------------------------------------------


def is_live(device: Device, now_ms: int) -> bool:
    """Whether a device is still signed in."""
    return not device.revoked_at and device.expires_at > now_ms


class Room(msgspec.Struct, frozen=True):
    """What has to go before a device is added: those in `revoke` are signed out, those in `remove`
    were long ago."""

    revoke: tuple[Device, ...]
    remove: tuple[Device, ...]


def make_room(devices: Iterable[Device], now_ms: int) -> Room:
    """Room for one more device.

    With 50 live ones the one idle longest is signed out: a person who lost their devices is never
    locked out by them."""
    known = list(devices)
    live = sorted((d for d in known if is_live(d, now_ms)), key=lambda d: (d.seen_at, d.id))
    ended = [d for d in known if not is_live(d, now_ms)]
    surplus = max(0, len(live) - MAX_DEVICES + 1)
    return Room(revoke=tuple(live[:surplus]), remove=tuple(ended[:MAX_PRUNED]))
