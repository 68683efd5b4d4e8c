"""The bodies of answers that no query makes."""

from __future__ import annotations

from typing import Annotated, Generic, Literal, TypeVar

import msgspec
from msgspec import Meta

from tertulia.application.account_types import SignedIn

T = TypeVar("T")


class Page(msgspec.Struct, Generic[T], frozen=True, kw_only=True):
    """One page of a list; `next_cursor` null: the last one."""

    items: list[T]
    next_cursor: Annotated[str, Meta(max_length=1024)] | None = None


class CodeSentDoc(msgspec.Struct, frozen=True, kw_only=True):
    """The same for everyone who asks, whether a code was sent or not."""

    expires_in: Annotated[int, Meta(ge=0, description="Seconds that a code is good for.")]


class TokensDoc(msgspec.Struct, frozen=True, kw_only=True):
    """`expires_in`: seconds that the access token is good for.  A refresh token is good for one use."""

    access_token: str
    expires_in: Annotated[int, Meta(ge=0)]
    refresh_token: str
    user: str
    device: str
    token_type: Literal["Bearer"] = "Bearer"  # noqa: S105 - the scheme's name

    @classmethod
    def of(cls, signed_in: SignedIn) -> TokensDoc:
        """The answer to a sign-in."""
        return cls(
            access_token=signed_in.access_token,
            expires_in=signed_in.expires_in_s,
            refresh_token=signed_in.refresh_token,
            user=signed_in.user.id,
            device=signed_in.device.id,
        )


class DeviceDoc(msgspec.Struct, frozen=True, kw_only=True):
    """One login.  `current`: the device that asks."""

    id: str
    name: str
    created_at: Annotated[int, Meta(ge=0)] = 0
    seen_at: Annotated[int, Meta(ge=0)] = 0
    current: bool = False


class PresenceDoc(msgspec.Struct, frozen=True, kw_only=True):
    """`last_seen` null: unknown, or not the caller's to know."""

    user: str
    state: Literal["online", "away", "offline"]
    last_seen: int | None = None


class HealthDoc(msgspec.Struct, frozen=True, kw_only=True):
    """The process is alive."""

    status: Literal["ok"] = "ok"


class ReadyDoc(msgspec.Struct, frozen=True, kw_only=True):
    """Whether the server should get work; `problems` says by part why not."""

    status: Literal["ready", "not_ready"]
    problems: dict[str, str] = {}
