"""What happened in a conversation besides messages, in a sentence."""

from __future__ import annotations

from collections.abc import Callable

from tertulia.cli.chat.safe import clean_line, clip
from tertulia_client import Event
from tertulia_client import events as e


def notice(event: Event, name: Callable[[str], str]) -> str | None:
    """The sentence for an event; None for those that show otherwise, or not at all."""
    who = name(event.user) if event.user else "The server"
    match event.body:
        case e.ConversationCreated(kind="direct"):
            return None
        case e.ConversationCreated():
            return f"{who} made this conversation"
        case e.MemberAdded(user=user):
            return f"{who} joined" if user == event.user else f"{who} added {name(user)}"
        case e.MemberRemoved(user=user, left=left):
            if left or user == event.user:
                return f"{name(user)} left"
            return f"{who} removed {name(user)}"
        case e.MemberUpdated(user=user, role=role):
            return f"{who} made {name(user)} {_article(role)}"
        case e.TopicCreated(name=topic):
            return f"{who} opened the topic {_title(topic)}"
        case e.ConversationUpdated() as change:
            return _updated(who, change)
        case e.Empty() if event.kind == "message.pinned":
            return f"{who} pinned a message"
        case e.Empty() if event.kind == "poll.closed":
            return f"{who} closed a poll"
        case _:
            return None


def _updated(who: str, change: e.ConversationUpdated) -> str:
    if change.name is not None:
        return f"{who} named it {_title(change.name)}"
    if change.description is not None:
        return f"{who} changed the description"
    if change.message_ttl_s is not None:
        seconds = change.message_ttl_s
        return f"{who} had messages disappear after {_span(seconds)}" if seconds else f"{who} keeps messages"
    return f"{who} changed the conversation"


def _title(text: str) -> str:
    return f"“{clip(clean_line(text), 40)}”"


def _article(role: str) -> str:
    return f"an {role}" if role[:1] in "aeiou" else f"a {role}"


def _span(seconds: int) -> str:
    for unit, size in (("day", 86_400), ("hour", 3_600), ("minute", 60), ("second", 1)):
        if seconds >= size:
            count = seconds // size
            return f"{count} {unit}" + ("s" if count != 1 else "")
    return "no time"
