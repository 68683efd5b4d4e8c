"""What can be completed at the cursor: commands, people, emoji.  Pure."""

from __future__ import annotations

import re
from collections.abc import Iterable
from dataclasses import dataclass
from typing import Final

from tertulia.cli.chat import emoji, slash

MOST: Final = 6

_PERSON: Final = re.compile(r"(?:^|(?<=[\s(]))@([\w.-]{0,32})\Z")
_EMOJI: Final = re.compile(r"(?:^|(?<=\s)):([a-z0-9_+-]{2,24})\Z")
_COMMAND: Final = re.compile(r"/([a-z-]*)\Z")
_ARGUMENT: Final = re.compile(r"/([a-z]+) +(\S*)\Z")


@dataclass(frozen=True)
class Choice:
    """`insert` takes the place of the last `length` characters before the cursor."""

    insert: str
    length: int
    label: str
    hint: str = ""
    optional: bool = False
    """What was typed is understood as it is."""


@dataclass(frozen=True)
class Candidate:
    """Someone who can be mentioned."""

    handle: str
    name: str


_EVERYONE: Final = (Candidate("all", "everyone here"), Candidate("here", "everyone who is online"))


def complete(before: str, people: Iterable[Candidate], channels: Iterable[str]) -> list[Choice]:
    """The choices for a composing line whose text up to the cursor is `before`."""
    if found := _COMMAND.match(before):
        return _commands(found[1])
    if found := _ARGUMENT.match(before):
        command = slash.BY_NAME.get(found[1])
        if command is not None and (choices := _arguments(command, found[2], channels)):
            return choices
    if found := _PERSON.search(before):
        return _people(found[1], people)
    if found := _EMOJI.search(before):
        return [
            Choice(f"{char} ", len(found[0]), char, words.partition("  ")[0])
            for char in emoji.find(found[1], MOST)
            for words in [dict(emoji.table()).get(char, "")]
        ]
    return []


def _commands(typed: str) -> list[Choice]:
    fitting = [command for command in slash.TABLE if command.name.startswith(typed)]
    fitting.sort(key=lambda command: bool(typed) and command.name != typed)
    fitting += [c for c in slash.TABLE if typed and typed in c.name and c not in fitting]
    return [
        Choice(
            f"/{command.name} " if command.usage else f"/{command.name}",
            len(typed) + 1,
            f"/{command.name} {command.usage}".rstrip(),
            command.help,
        )
        for command in fitting[: len(slash.TABLE) if not typed else MOST]
    ]


def _arguments(command: slash.Slash, typed: str, channels: Iterable[str]) -> list[Choice]:
    match command.takes:
        case "emoji":
            return [Choice(char, len(typed), char, optional=True) for char in emoji.find(typed, MOST)]
        case "theme":
            words = ("dark", "light", "system")
        case "span":
            words = ("1h", "8h", "1d", "1w", "off")
        case "channel":
            words = tuple(f"#{slug}" for slug in channels)
        case _:
            return []
    bare = typed.lstrip("#")
    return [
        Choice(word, len(typed), word)
        for word in words
        if word.lstrip("#").startswith(bare) and word != typed
    ][:MOST]


def _people(typed: str, people: Iterable[Candidate]) -> list[Choice]:
    typed = typed.casefold()
    first: list[Choice] = []
    second: list[Choice] = []
    for one in (*people, *_EVERYONE):
        if not one.handle:
            continue
        choice = Choice(f"@{one.handle} ", len(typed) + 1, f"@{one.handle}", one.name)
        if one.handle.casefold().startswith(typed):
            first.append(choice)
        elif one not in _EVERYONE and any(part.startswith(typed) for part in one.name.casefold().split()):
            second.append(choice)
    return [*first, *second][:MOST]
