"""A person's settings: one typed document, the same on every device.

`notify` is the default for conversations without a preference of their own.  The privacy section says
who sees what of a person: everyone of the tenant, the contacts whom they accepted or who accepted them, or
nobody.  Opening a direct conversation makes no contact: anyone may open one.
"""

from __future__ import annotations

from typing import Annotated, Literal

import msgspec
from msgspec import Meta

Audience = Literal["everyone", "contacts", "nobody"]
Colour = Annotated[str, Meta(pattern=r"^#[0-9a-f]{6}$")]


class Appearance(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    theme: Literal["system", "light", "dark"] = "system"
    accent: Colour = "#2f6fed"
    font_size: Annotated[int, Meta(ge=10, le=32)] = 15
    background: Annotated[str, Meta(max_length=128)] = ""
    language: Annotated[str, Meta(max_length=35, pattern=r"^([A-Za-z0-9]{1,8}(-[A-Za-z0-9]{1,8})*)?$")] = ""


class Notifications(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """`quiet_from` and `quiet_to` are minutes after midnight in `time_zone`; equal: no quiet hours."""

    notify: Literal["all", "mentions", "none"] = "all"
    sound: bool = True
    preview: bool = True
    quiet_from: Annotated[int, Meta(ge=0, le=1439)] = 0
    quiet_to: Annotated[int, Meta(ge=0, le=1439)] = 0
    time_zone: Annotated[str, Meta(max_length=64, pattern=r"^[A-Za-z0-9_+/-]*$")] = ""


class Privacy(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """`read_receipts` off: others do not learn what one has read, nor one what they have."""

    last_seen: Audience = "everyone"
    photo: Audience = "everyone"
    read_receipts: bool = True
    findable_by_email: bool = False
    findable_by_phone: bool = False
    add_to_groups: Audience = "everyone"


class SettingsDocument(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """The whole document, every field with its default."""

    appearance: Appearance = Appearance()
    notifications: Notifications = Notifications()
    privacy: Privacy = Privacy()


class SettingsPatch(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """The sections to change; inside a section only the fields that are given."""

    appearance: dict[str, str | int] | None = None
    notifications: dict[str, str | int | bool] | None = None
    privacy: dict[str, str | bool] | None = None


def read(document: bytes | None) -> SettingsDocument:
    """The stored document; fields that it lacks have their defaults."""
    return msgspec.json.decode(document or b"{}", type=SettingsDocument)


def patched(current: SettingsDocument, patch: bytes) -> SettingsDocument:
    """`current` with the given fields replaced.

    Raises msgspec.ValidationError for unknown fields and values out of bounds."""
    changes = msgspec.json.decode(patch, type=SettingsPatch)
    merged: dict[str, object] = {}
    for section in ("appearance", "notifications", "privacy"):
        before: dict[str, object] = msgspec.to_builtins(getattr(current, section))
        merged[section] = {**before, **(getattr(changes, section) or {})}
    return msgspec.convert(merged, type=SettingsDocument)
