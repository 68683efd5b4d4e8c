"""The commands of the composing line: their table, and reading one.  Pure."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final


@dataclass(frozen=True)
class Slash:
    """A command as it is listed.  `takes` tells what its argument is, for completion."""

    name: str
    usage: str
    help: str
    takes: str = ""


TABLE: Final[tuple[Slash, ...]] = (
    Slash("react", "EMOJI", "react to the newest message", "emoji"),
    Slash("reply", "TEXT", "answer the newest message"),
    Slash("edit", "TEXT", "replace your last message"),
    Slash("delete", "", "delete your last message"),
    Slash("thread", "", "open the newest message's thread"),
    Slash("poll", "QUESTION | A | B", "ask; /poll* lets people choose several"),
    Slash("dm", "@HANDLE", "talk to one person", "person"),
    Slash("group", "NAME @HANDLE …", "make a group", "person"),
    Slash("channel", "NAME", "make a public channel"),
    Slash("topic", "NAME", "open a topic in this channel"),
    Slash("join", "CHANNEL or INVITE", "join a channel, or follow an invite", "channel"),
    Slash("leave", "", "leave this conversation"),
    Slash("invite", "[@HANDLE]", "make an invite, or add someone", "person"),
    Slash("members", "", "show who is here"),
    Slash("channels", "", "look through the channels"),
    Slash("search", "WORDS", "search messages"),
    Slash("pins", "", "what is pinned here"),
    Slash("bookmarks", "", "what you have bookmarked"),
    Slash("pin", "", "pin this conversation in the list, or unpin it"),
    Slash("mute", "[8h | 2d | off]", "be quiet about this conversation", "span"),
    Slash("name", "NAME", "rename this conversation"),
    Slash("about", "TEXT", "describe this conversation"),
    Slash("away", "", "show as away"),
    Slash("back", "", "show as online"),
    Slash("status", "TEXT", "what your profile says"),
    Slash("contact", "@HANDLE", "ask for a contact, or accept who asked", "person"),
    Slash("block", "@HANDLE", "neither reach each other", "person"),
    Slash("unblock", "@HANDLE", "undo it", "person"),
    Slash("theme", "dark | light | system", "colours", "theme"),
    Slash("sign-out", "", "end this device's login"),
    Slash("help", "", "keys and commands"),
    Slash("quit", "", "close; you stay signed in"),
)

BY_NAME: Final = {command.name: command for command in TABLE}
_OTHER_NAMES: Final = {"?": "help", "q": "quit", "exit": "quit", "msg": "dm", "query": "dm", "del": "delete"}


@dataclass(frozen=True)
class Call:
    """A command as it was typed."""

    name: str
    argument: str


@dataclass(frozen=True)
class NotACommand:
    """`/word` that is none."""

    word: str


def read(line: str) -> Call | NotACommand | None:
    """What a composing line asks for; None for a message.

    `//text` is the message `/text`, and a path such as /etc/hosts is a message as well."""
    if not line.startswith("/") or line.startswith("//"):
        return None
    word, _, argument = line[1:].partition(" ")
    word, newline, rest = word.partition("\n")
    if newline:
        argument = f"{rest} {argument}".strip()
    if not word or "/" in word:
        return None
    name = word.lower()
    name = _OTHER_NAMES.get(name, name)
    if name == "poll*":
        return Call("poll*", argument.strip())
    if name not in BY_NAME:
        return NotACommand(word)
    return Call(name, argument.strip())


def as_message(line: str) -> str:
    """The message that a line is: a doubled slash at its start stands for one."""
    return line[1:] if line.startswith("//") else line


def poll_parts(argument: str) -> tuple[str, tuple[str, ...]] | None:
    """Question and options, separated by | or new lines; None for fewer than two options."""
    separator = "\n" if "\n" in argument and "|" not in argument else "|"
    parts = [part.strip() for part in argument.split(separator)]
    question, *options = parts
    options = [option for option in options if option]
    if not question or not 2 <= len(options) <= 20:
        return None
    return question, tuple(options)


def handles_in(argument: str) -> tuple[str, list[str]]:
    """A name followed by @handles: the two apart."""
    words = argument.split()
    handles = [word[1:] for word in words if word.startswith("@") and len(word) > 1]
    return " ".join(word for word in words if not word.startswith("@")), handles
