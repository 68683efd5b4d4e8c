"""A small set of emoji, found by their Unicode names.

Only characters that every terminal shows two cells wide by themselves, with no selector or joiner."""

from __future__ import annotations

import unicodedata
from functools import lru_cache
from typing import Final

QUICK: Final = ("👍", "🎉", "😂", "😮", "😢", "🙏", "🔥", "👀", "✅", "🚀")
"""What people react with most."""

_ALL: Final = (
    "👍👎👌👏🙌🙏👋💪👀🧠🎉🎊🎁🎂🏆🥇🔥✨⭐💯✅❌❓❗💡📌📎📅⏰⏳🔒🔑🔔🔍"
    "😀😃😄😁😆😅😂🤣😊😇🙂🙃😉😍🥰😘😋😜🤪🤔🤨😐😑😶🙄😏😬😌😴🤒🤕🤢🤯🥳😎🤓😕😟🙁😮😯😲😳🥺😢😭😱😖😞😓😩😫😤😡🤬🤖👻💀🤷🤦"
    "💙💚💛🧡💜🖤💔💖💬💤💥💦🚀🚗🚲🚆🛫🏠🏢🏫🏖🌍🌈🌙🌞🌧🌊🌱🌳🌵🌹🌻🍀🍁🍄"
    "☕🍵🍺🍷🥂🍕🍔🍟🍣🍰🍪🍎🍌🍓🍋🥑🐶🐱🐭🦊🐻🐼🐨🦁🐸🐵🐔🐧🐢🐝🦋🐌🐞"
    "⚽🏀🎾🎮🎲🎸🎧🎤🎬🎨🎯📚📝📷📱💻💾🔧🔨🔬🔭💰💸📈📉🐛🧪🧹🚧🚨🚫🛑"
)  # fmt: skip
_SHORT: Final[dict[str, str]] = {
    "👍": "+1 yes ok", "👎": "-1 no", "🎉": "tada party", "😂": "joy lol haha", "🤣": "rofl", "😢": "sad cry",
    "😭": "sob", "🙏": "pray thanks please", "🔥": "lit", "🚀": "ship launch", "💙": "love heart",
    "😮": "wow", "🤔": "think hmm", "✅": "done", "❌": "no wrong", "👀": "look", "💯": "100", "🐛": "bug",
    "☕": "coffee tea", "🤷": "shrug", "🤦": "facepalm", "😊": "smile", "🙂": "smile", "😀": "smile",
    "😎": "cool",
}  # fmt: skip


@lru_cache(1)
def table() -> tuple[tuple[str, str], ...]:
    """(emoji, words to find it by)."""
    return tuple(
        (char, f"{_SHORT.get(char, '')} {unicodedata.name(char, '').lower()}".strip())
        for char in _ALL
        if unicodedata.east_asian_width(char) == "W"
    )


def find(query: str, most: int = 40) -> list[str]:
    """Those whose names have words that begin so; the usual ones for no query."""
    query = query.strip().strip(":").lower().replace("_", " ")
    if not query:
        return [*QUICK, *(char for char, _ in table() if char not in QUICK)][:most]
    first: list[str] = []
    second: list[str] = []
    for char, words in table():
        padded = f" {words}"
        if f" {query}" in padded:
            first.append(char)
        elif query in padded:
            second.append(char)
    return [*first, *second][:most]


def as_emoji(typed: str) -> str | None:
    """What a person means by `:tada:`, `tada` or an emoji itself; None when it is neither."""
    typed = typed.strip()
    if not typed or len(typed) > 32:
        return None
    bare = typed.strip(":")
    if bare and all(ord(char) < 128 for char in bare):
        found = find(bare, 1)
        return found[0] if found else None
    return typed
