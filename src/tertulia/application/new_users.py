"""What is written when a user comes to be: the same rows for everyone, whoever made them."""

from __future__ import annotations

from typing import NoReturn

import msgspec

from tertulia.domain import settings as settings_rules
from tertulia.domain.accounts import Address, read_address
from tertulia.domain.errors import Refusal
from tertulia.domain.events import ProfileUpdated, encode_body
from tertulia.domain.names import NameReason, NameRefused, normalise_handle
from tertulia.domain.passwords import PasswordFault, password_fault
from tertulia.domain.records import Credential, HandleTaken, Identity, Settings, User
from tertulia.domain.unit import Expect, NewEvent, Put, VersionIs, Write

_NAME_REASONS: dict[NameReason, str] = {
    "empty": "is empty",
    "too_short": "is too short",
    "too_long": "is too long",
    "characters": "holds a character that it cannot have",
    "edge": "begins or ends with punctuation",
    "mixed_scripts": "mixes scripts whose letters look alike",
    "reserved": "is reserved",
    "email_syntax": "is not an e-mail address",
    "email_domain": "is not an e-mail address",
    "phone_syntax": "is not a phone number",
    "phone_region": "is neither an e-mail address nor a phone number that begins with +",
    "phone_number": "is not a possible phone number",
}
_PASSWORD_FAULTS: dict[PasswordFault, str] = {
    "too_short": "A password has at least 8 characters.",
    "too_long": "A password has at most 128 characters.",
    "characters": "The password holds a character that it cannot have.",
    "is_handle": "The password is the handle.",
    "is_address": "The password is the address.",
    "common": "The password is one of the first that anybody would guess.",
}


class Person(msgspec.Struct, frozen=True, kw_only=True):
    """Who is to be; everything in its normal form.  `verifiers` is the JSON of the password's
    verifiers, b"" for none."""

    id: str
    handle: str
    name: str
    language: str = ""
    external: str = ""
    bot: bool = False
    operator: bool = False
    verifiers: bytes = b""
    addresses: tuple[Address, ...] = ()


class Birth(msgspec.Struct, frozen=True, kw_only=True):
    """The user's part of a unit."""

    user: User
    events: tuple[NewEvent, ...]
    expects: tuple[Expect, ...]
    writes: tuple[Write, ...]


def birth(tenant: str, person: Person, now_ms: int) -> Birth:
    """The rows and the personal log of a new user.

    The handle is taken for good, and the unit rests on its being free.  Nobody can be found by an
    address before they agree to it in their settings."""
    user = User(
        tenant=tenant,
        id=person.id,
        handle=person.handle,
        name=person.name,
        created_at=now_ms,
        external=person.external,
        bot=person.bot,
        operator=person.operator,
    )
    document = settings_rules.SettingsDocument(appearance=settings_rules.Appearance(language=person.language))
    writes: list[Write] = [
        Put(user),
        Put(Settings(tenant=tenant, user=person.id, document=msgspec.json.encode(document))),
    ]
    expects: list[Expect] = []
    if person.handle:
        writes.append(Put(HandleTaken(tenant=tenant, handle=person.handle, user=person.id)))
        expects.append(VersionIs(HandleTaken, (tenant, person.handle), 0))
    if person.verifiers:
        writes.append(
            Put(Credential(tenant=tenant, user=person.id, verifiers=person.verifiers, changed_at=now_ms))
        )
    writes += [Put(verified_identity(tenant, address, person.id, now_ms)) for address in person.addresses]
    event = NewEvent(
        log=person.id,
        kind="profile.updated",
        body=encode_body(ProfileUpdated(name=person.name, handle=person.handle or None)),
        actor=person.id,
        creates="personal",
    )
    return Birth(user=user, events=(event,), expects=tuple(expects), writes=tuple(writes))


def verified_identity(tenant: str, address: Address, user: str, now_ms: int) -> Identity:
    """The row of an address that belongs to a user."""
    return Identity(
        tenant=tenant,
        kind=address.kind,
        value=address.value,
        user=user,
        verified_at=now_ms,
        findable=False,
    )


def require_address(text: str, field: str = "address") -> Address:
    """Raises Refusal `invalid`."""
    try:
        return read_address(text)
    except NameRefused as refused:
        _refuse(field, refused.reason)


def require_handle(text: str) -> str:
    """Raises Refusal `invalid`."""
    try:
        return normalise_handle(text)
    except NameRefused as refused:
        _refuse("handle", refused.reason)


def require_language(text: str) -> str:
    """Raises Refusal `invalid`."""
    try:
        return msgspec.convert({"language": text}, settings_rules.Appearance).language
    except msgspec.ValidationError:
        raise Refusal("invalid", "`language` is not a language tag.", field="language") from None


def require_password(
    password: str, *, handle: str | None = None, addresses: tuple[Address, ...] = (), field: str = "password"
) -> None:
    """Raises Refusal `invalid` when the password may not be chosen."""
    values = {address.kind: address.value for address in addresses}
    fault = password_fault(password, handle=handle, email=values.get("email"), phone=values.get("phone"))
    if fault is not None:
        raise Refusal("invalid", _PASSWORD_FAULTS[fault], field=field)


def _refuse(field: str, reason: NameReason) -> NoReturn:
    raise Refusal("invalid", f"`{field}` {_NAME_REASONS[reason]}.", field=field) from None
