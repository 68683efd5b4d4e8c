"""The lines around a history, as texts."""

from __future__ import annotations

from rich.style import Style
from rich.text import Text

from tertulia.cli.chat.colours import Colours
from tertulia.cli.chat.ink import ink
from tertulia.cli.chat.listing import ICONS, is_muted
from tertulia.cli.chat.pending import Place
from tertulia.cli.chat.safe import clean_line, clip
from tertulia.cli.chat.talk import Talk
from tertulia.cli.chat.times import ago


def heading(talk: Talk, colours: Colours, place: Place | None) -> Text:
    """What a conversation is called, and what there is to know about it in one line."""
    text = ink()
    if place is None:
        return text
    room = talk.rooms.get(place[0])
    if room is None:
        return text
    dim = Style(color=colours.dim)
    if place[1]:
        return text.append(" Thread", Style(bold=True)).append(f"  in {talk.title(place[0])}", dim).append(
            "  Esc closes", Style(color=colours.faint)
        )  # fmt: skip
    icon = "" if room.kind == "direct" else f"{ICONS[room.kind]} "
    text.append(f" {icon}", Style(color=colours.accent))
    text.append(talk.title(room.id), Style(bold=True))
    if room.kind == "direct":
        text.append(f"  {_presence(talk, room.peer or '')}", dim)
    else:
        people = "1 member" if room.member_count == 1 else f"{room.member_count} members"
        text.append(f"  {people}", dim)
        if room.description:
            text.append(f"  {clip(clean_line(room.description), 200)}", dim)
    if room.message_ttl_s:
        text.append("  ◔ messages disappear", Style(color=colours.warn))
    if is_muted(room, talk.now()):
        text.append("  muted", Style(color=colours.faint))
    return text


def _presence(talk: Talk, peer: str) -> str:
    state = talk.state
    known = state.presence.get(peer) if state is not None else None
    person = talk.names.person(peer)
    words: list[str] = []
    if known is not None and known.state != "offline":
        words.append(known.state)
    elif known is not None and known.last_seen:
        words.append(f"last seen {ago(known.last_seen, talk.now())}")
    if person is not None and person.handle:
        words.append(f"@{person.handle}")
    if person is not None and person.status:
        words.append(person.status)
    return "  ".join(words)


def invitation(talk: Talk, place: Place) -> str:
    """What stands in an empty composing line."""
    room = talk.rooms.get(place[0])
    if room is None:
        return ""
    if not talk.may(room.id, "send"):
        return (
            "You look in from outside: Enter joins" if talk.may(room.id, "join") else "You cannot write here"
        )
    return "Reply in the thread" if place[1] else f"Write to {talk.title(room.id)}"


def welcome(talk: Talk, colours: Colours) -> Text:
    """What stands where no conversation is open."""
    text = Text(justify="center")
    if talk.state is None:
        return text.append("one moment…", Style(color=colours.dim))
    text.append("Nothing is open here." if talk.rooms else "No conversations yet.")
    for key, what in (
        ("Ctrl+K", "and a handle: talk to somebody"),
        ("F4", "look through the channels"),
        ("F1", "what else there is"),
    ):
        text.append(f"\n\n{key}", Style(color=colours.accent, bold=True))
        text.append(f"  {what}", Style(color=colours.dim))
    return text


def typing_line(typists: list[str], colours: Colours) -> Text:
    """Who writes."""
    text = ink()
    if not typists:
        return text
    if len(typists) == 1:
        return text.append(f" {typists[0]} is typing…")
    if len(typists) <= 3:
        return text.append(f" {', '.join(typists[:-1])} and {typists[-1]} are typing…")
    return text.append(f" {len(typists)} people are typing…")


def context_line(editing: bool, author: str, words: str, colours: Colours) -> Text:
    """What the composing line is for, when it is not a plain message."""
    text = ink()
    text.append(" ✎ Edit  " if editing else " ╭ Reply to ", Style(color=colours.accent, bold=True))
    if not editing:
        text.append(f"{author}  ", Style(color=colours.text))
    return text.append(clip(words, 80), Style(color=colours.dim)).append(
        "  Esc cancels", Style(color=colours.faint)
    )


def account_line(talk: Talk, colours: Colours, narrowed: str) -> Text:
    """Who one is; while the list is narrowed down, to what."""
    text = ink()
    if narrowed:
        return text.append(" ⌕ ", Style(color=colours.accent)).append(narrowed)
    state = talk.state
    if state is not None:
        text.append(f" {clip(clean_line(state.me.name), 24)}", Style(bold=True))
        text.append(f"  @{clip(clean_line(state.me.handle), 24)}", Style(color=colours.dim))
    return text


def status_line(talk: Talk, colours: Colours, width: int) -> Text:
    """How the connection stands, and the keys that lead everywhere."""
    link, waiting = talk.link, talk.unsent
    unsent = "1 message" if waiting == 1 else f"{waiting} messages"
    match link.state:
        case "live" if waiting:
            mark, words, colour = "◷", f"sending {unsent}", colours.warn
        case "live":
            mark, words, colour = "●", "up to date", colours.good
        case "connecting":
            mark, words, colour = "◌", "connecting…", colours.warn
        case "offline":
            seconds = max(0, link.retry_at - talk.now() + 999) // 1000
            words = "offline" + (f", {unsent} will be sent when back" if waiting else "")
            words += f" · next try in {seconds} s" if seconds > 1 else " · trying…"
            mark, colour = "○", colours.bad
        case "stopped":
            mark, words, colour = "✗", f"disconnected: {clip(link.why, 60)}", colours.bad
    text = ink().append(f" {mark} ", Style(color=colour))
    text.append(words, Style(color=colours.dim if link.state == "live" else colour))
    keys = (("F1", "help"), ("^K", "jump"), ("^F", "search"), ("Esc", "select"), ("^Q", "quit"))
    hints = ink()
    for key, what in keys:
        hints.append(f" {key}", Style(color=colours.text)).append(f" {what} ", Style(color=colours.dim))
    if text.cell_len + hints.cell_len + 1 <= width:
        text.append(" " * (width - text.cell_len - hints.cell_len)).append_text(hints)
    return text
