"""What goes into and comes out of the use cases about accounts.

What holds a password, a code or a token does not show it in its `repr`, so that none ends up in a log
or in a traceback.  The limits on the fields are checked where a request is decoded; what depends on
more than one field is checked by the use case.
"""

from __future__ import annotations

from typing import Annotated, ClassVar

import msgspec
from msgspec import Meta

from tertulia.domain.records import Device, User

Address = Annotated[str, Meta(min_length=3, max_length=254)]
Password = Annotated[str, Meta(min_length=1, max_length=1024)]
OneTimeCode = Annotated[str, Meta(min_length=4, max_length=12, pattern=r"^[0-9]+$")]
Handle = Annotated[str, Meta(min_length=2, max_length=128)]
PersonName = Annotated[str, Meta(min_length=1, max_length=128)]
DeviceName = Annotated[str, Meta(max_length=64)]
LanguageTag = Annotated[str, Meta(max_length=35, pattern=r"^([A-Za-z0-9]{1,8}(-[A-Za-z0-9]{1,8})*)?$")]


class Discreet(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """Base of what holds secrets: `repr` shows `…` in their place."""

    secret: ClassVar[frozenset[str]] = frozenset()

    def __repr__(self) -> str:
        shown = (
            f"{name}=…" if name in self.secret else f"{name}={getattr(self, name)!r}"
            for name in self.__struct_fields__
        )
        return f"{type(self).__name__}({', '.join(shown)})"


# --- asked ---------------------------------------------------------------------------------------


class SignUp(Discreet, frozen=True, kw_only=True):
    """`address` is an e-mail address or a phone number with its country (`+34600123456`); `language` a
    BCP 47 tag, in which the code is sent and which becomes the account's setting."""

    secret: ClassVar[frozenset[str]] = frozenset({"password"})

    address: Address
    password: Password
    handle: Handle
    name: PersonName
    language: LanguageTag = ""


class Verify(Discreet, frozen=True, kw_only=True):
    """`handle` replaces the one asked for at sign-up, when somebody else got it in between."""

    secret: ClassVar[frozenset[str]] = frozenset({"code"})

    address: Address
    code: OneTimeCode
    device_name: DeviceName = ""
    handle: Handle | None = None


class ConfirmReset(Discreet, frozen=True, kw_only=True):
    secret: ClassVar[frozenset[str]] = frozenset({"code", "password"})

    address: Address
    code: OneTimeCode
    password: Password


class ChangePassword(Discreet, frozen=True, kw_only=True):
    secret: ClassVar[frozenset[str]] = frozenset({"current", "new"})

    current: Password
    new: Password


class PasswordSignIn(Discreet, frozen=True, kw_only=True):
    """`login` is an e-mail address, a phone number that begins with `+`, or a handle, with or without
    `@` before it."""

    secret: ClassVar[frozenset[str]] = frozenset({"password"})

    login: Annotated[str, Meta(min_length=1, max_length=254)]
    password: Password
    device_name: DeviceName = ""


class NewUser(Discreet, frozen=True, kw_only=True):
    """A user made by the operator.  The addresses are taken as verified; without a password the user
    can sign in only after a reset."""

    secret: ClassVar[frozenset[str]] = frozenset({"password"})

    handle: Handle
    name: PersonName
    password: Password | None = None
    email: Address | None = None
    phone: Address | None = None
    language: LanguageTag = ""
    operator: bool = False


# --- answered ------------------------------------------------------------------------------------


class CodeSent(msgspec.Struct, frozen=True, kw_only=True):
    """The answer to whoever asks for a code, whether one was sent or not."""

    expires_in_s: int


class DeviceView(msgspec.Struct, frozen=True, kw_only=True):
    """One login, as its owner sees it; times in Unix ms.  `current`: the device that asks."""

    id: str
    name: str
    created_at: int
    seen_at: int
    current: bool = False


class SignedIn(Discreet, frozen=True, kw_only=True):
    """Tokens of a device.  `refresh_token` is good for one use and is "" for a token of the operator's
    making, which cannot be renewed."""

    secret: ClassVar[frozenset[str]] = frozenset({"access_token", "refresh_token"})

    access_token: str
    expires_in_s: int
    refresh_token: str
    user: User
    device: DeviceView


class ApiKeyMade(Discreet, frozen=True, kw_only=True):
    """A new secret for a customer's backend, shown this once."""

    secret: ClassVar[frozenset[str]] = frozenset({"value"})

    id: str
    value: str


def device_view(device: Device, current: str) -> DeviceView:
    """The public part of a device."""
    return DeviceView(
        id=device.id,
        name=device.name,
        created_at=device.created_at,
        seen_at=device.seen_at,
        current=device.id == current,
    )
