"""The two themes, and the colours that messages are drawn with."""

from __future__ import annotations

import os
import zlib
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Literal

from textual.color import Color, ColorParseError
from textual.theme import Theme

DEFAULT_ACCENT = "#2f6fed"

_PEOPLE_DARK = (
    "#9ece6a", "#e0af68", "#f7768e", "#bb9af7", "#7dcfff", "#ff9e64", "#73daca", "#e889c8", "#b4c76a",
)  # fmt: skip
_PEOPLE_LIGHT = (
    "#38761d", "#946100", "#c0364c", "#7c4dbc", "#0b7285", "#b0480a", "#0f766e", "#ad2b83", "#5f6f00",
)  # fmt: skip


@dataclass(frozen=True)
class Colours:
    """Colours by what they are for, as #rrggbb."""

    dark: bool
    background: str
    surface: str
    panel: str
    text: str
    dim: str
    faint: str
    accent: str
    good: str
    warn: str
    bad: str
    chip: str
    mention: str
    selected: str
    code: str
    people: tuple[str, ...]

    def person(self, user: str) -> str:
        """Everyone's own colour, the same each time."""
        return self.people[zlib.crc32(user.encode("utf-8", "replace")) % len(self.people)]


def _blend(colour: str, other: str, part: float) -> str:
    return Color.parse(colour).blend(Color.parse(other), part).hex6.lower()


def colours(*, dark: bool, accent: str = DEFAULT_ACCENT) -> Colours:
    """The colours of a theme; an accent that is no colour is the default one."""
    try:
        accent = Color.parse(accent).hex6.lower()
    except ColorParseError:
        accent = DEFAULT_ACCENT
    if dark:
        accent = _blend(accent, "#ffffff", 0.3)
        return Colours(
            dark=True,
            background="#16181d",
            surface="#1d2027",
            panel="#272b34",
            text="#dfe2e8",
            dim="#8b93a3",
            faint="#4a5160",
            accent=accent,
            good="#7ec87e",
            warn="#e5b567",
            bad="#f07178",
            chip="#2b303b",
            mention=_blend("#16181d", accent, 0.16),
            selected="#2c3442",
            code="#d8a8ff",
            people=_PEOPLE_DARK,
        )
    return Colours(
        dark=False,
        background="#fcfcfd",
        surface="#f2f4f7",
        panel="#e4e8ee",
        text="#1d222b",
        dim="#687182",
        faint="#b4bcc9",
        accent=accent,
        good="#2e7d32",
        warn="#9a6700",
        bad="#c62f3b",
        chip="#e6eaf0",
        mention=_blend("#fcfcfd", accent, 0.12),
        selected="#dbe4f3",
        code="#8a3ab9",
        people=_PEOPLE_LIGHT,
    )


def theme(palette: Colours) -> Theme:
    """The same colours for the widgets."""
    return Theme(
        name="tertulia-dark" if palette.dark else "tertulia-light",
        primary=palette.accent,
        secondary=palette.dim,
        accent=palette.accent,
        foreground=palette.text,
        background=palette.background,
        surface=palette.surface,
        panel=palette.panel,
        success=palette.good,
        warning=palette.warn,
        error=palette.bad,
        dark=palette.dark,
        variables={
            "block-cursor-background": palette.selected,
            "block-cursor-foreground": palette.text,
            "block-cursor-text-style": "none",
            "block-cursor-blurred-background": palette.panel,
            "border": palette.accent,
            "border-blurred": palette.faint,
            "scrollbar": palette.panel,
            "scrollbar-hover": palette.faint,
            "scrollbar-active": palette.accent,
            "scrollbar-background": palette.background,
            "scrollbar-background-hover": palette.background,
            "scrollbar-background-active": palette.background,
            "input-selection-background": f"{palette.accent} 35%",
            "dim": palette.dim,
            "faint": palette.faint,
        },
    )


def is_dark(wish: Literal["system", "light", "dark"], environment: Mapping[str, str] = os.environ) -> bool:
    """Whether to be dark.  What the system has is told by COLORFGBG, where a terminal sets it."""
    if wish != "system":
        return wish == "dark"
    background = environment.get("COLORFGBG", "").rpartition(";")[2]
    # The sixteen colours: 7 and 9 to 15 are the light ones.
    return not (background.isdecimal() and int(background) in {7, *range(9, 16)})
