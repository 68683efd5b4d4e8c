"""What kinds of content look like, as words for a list and as lines for the history."""

from __future__ import annotations

from rich.style import Style
from rich.text import Text

from tertulia.cli.chat.colours import Colours
from tertulia.cli.chat.ink import ink
from tertulia.cli.chat.markup import Reader, to_lines, to_words
from tertulia.cli.chat.safe import clean_line, clip
from tertulia_client import Attachment, ContactCard, Content, Encrypted, Location, OtherContent, Poll
from tertulia_client import Text as Words
from tertulia_client.models import MessageDoc, PollDoc


def summary(content: Content | None) -> str:
    """One line, safe to show; of what was deleted, that it was."""
    match content:
        case None:
            return "message deleted"
        case Words():
            words = to_words(content.text[:500])
            return words or " ".join(f"↓ {clean_line(file.name)}" for file in content.attachments)
        case Poll():
            return f"Poll: {clean_line(content.question)}"
        case Location():
            return f"Location: {clean_line(content.name)}" if content.name else "Location"
        case ContactCard():
            return f"Contact: {clean_line(content.name)}"
        case Encrypted():
            return "encrypted message"
        case OtherContent():
            return "a kind of message that this version does not know"


def size(octets: int) -> str:
    """12 kB, 3.4 MB"""
    if octets < 1000:
        return f"{octets} B"
    amount = float(octets)
    for unit in ("kB", "MB", "GB"):
        amount /= 1000
        if amount < 1000:
            return f"{amount:.0f} {unit}" if amount >= 10 else f"{amount:.1f} {unit}"
    return f"{amount / 1000:.1f} TB"


def body(message: MessageDoc, colours: Colours, reader: Reader, width: int) -> list[Text]:
    """The lines of a message's content."""
    dim = Style(color=colours.dim)
    match message.content:
        case None:
            who = "by its timer" if message.deleted_by is None and message.expires_at else ""
            gone = "message deleted" if message.deleted_at else "message no longer kept"
            return [ink(f"{gone} {who}".rstrip(), Style(color=colours.dim, italic=True))]
        case Words() as words:
            lines = to_lines(words.text, colours, reader) if words.text else []
            return [*lines, *(_file(file, colours) for file in words.attachments)] or [ink()]
        case Poll() as poll:
            return _poll(poll, message.poll, colours, width)
        case Location() as place:
            where = f"{place.latitude:.5f}, {place.longitude:.5f}"
            return [ink("◎ ", Style(color=colours.accent)).append(clean_line(place.name)).append(
                f"  {where}" if place.name else where, dim
            )]  # fmt: skip
        case ContactCard() as card:
            more = "  ".join(clean_line(part) for part in (card.email, card.phone) if part)
            line = ink("≡ ", Style(color=colours.accent)).append(clean_line(card.name), Style(bold=True))
            return [line.append(f"  {more}" if more else "", dim)]
        case Encrypted():
            return [ink("encrypted message", Style(color=colours.dim, italic=True))]
        case OtherContent(kind=kind):
            words = f"a kind of message that this version does not know ({clip(clean_line(kind), 30)})"
            return [ink(words, Style(color=colours.dim, italic=True))]


def _file(file: Attachment, colours: Colours) -> Text:
    line = ink("↓ ", Style(color=colours.accent)).append(clean_line(file.name), Style(underline=True))
    return line.append(f"  {size(file.size)}, {clean_line(file.media_type)}", Style(color=colours.dim))


def _poll(poll: Poll, tally: PollDoc | None, colours: Colours, width: int) -> list[Text]:
    tally = tally or PollDoc(votes=[0] * len(poll.options), voters=0, closed=False)
    lines = [ink(clean_line(poll.question), Style(bold=True))]
    bar = max(8, min(30, width - 24))
    for index, option in enumerate(poll.options):
        votes = tally.votes[index] if index < len(tally.votes) else 0
        share = votes / tally.voters if tally.voters else 0.0
        own = index in tally.own
        mark = Style(color=colours.accent if own else colours.dim)
        box = ("▣" if own else "□") if poll.multiple else ("◉" if own else "○")
        lines.append(ink(f"{box} ", mark).append(clean_line(option), Style(color=colours.text)))
        full = round(bar * min(share, 1.0))
        lines.append(
            ink("  ")
            .append("━" * full, mark if own else Style(color=colours.accent))
            .append("━" * (bar - full), Style(color=colours.faint))
            .append(f" {votes} · {share:.0%}", Style(color=colours.dim))
        )
    last = "1 vote" if tally.voters == 1 else f"{tally.voters} votes"
    last += " · closed" if tally.closed else f" · select it and press 1-{min(9, len(poll.options))} to vote"
    lines.append(ink(last, Style(color=colours.dim)))
    return lines
