"""What a message may look like: pure checks that say why they refuse."""

from __future__ import annotations

import unicodedata
from typing import Final

import msgspec

from tertulia.domain.content import MAX_FOREIGN_BYTES, Content, Encrypted, Poll, Quote, Text, plain_text
from tertulia.domain.errors import Refusal, not_found
from tertulia.domain.events import MessageNew, decode_body
from tertulia.domain.records import Tenant
from tertulia.domain.views import MessageView, current_content

_DECODE: Final = msgspec.json.Decoder(Content)


def check_content(content: Content, tenant: Tenant) -> Refusal | None:
    """Bounds that the types cannot state.

    A poll's options differ; a text has words or an attachment and is no longer than the tenant allows."""
    match content:
        case Text():
            if not content.text.strip() and not content.attachments:
                return Refusal("invalid", "A message needs text or an attachment.", field="content.text")
            if len(content.text) > tenant.max_text:
                return Refusal(
                    "too_large", f"A message has at most {tenant.max_text} characters.", field="content.text"
                )
            if "\x00" in content.text:
                return Refusal("invalid", "A text cannot hold NUL characters.", field="content.text")
        case Poll():
            if len(set(content.options)) != len(content.options):
                return Refusal("invalid", "The options of a poll must differ.", field="content.options")
        case _:
            pass
    return None


MAX_DEPTH: Final = 16


def nesting(data: bytes) -> int:
    """How deep brackets nest in a JSON text, those in strings left out."""
    depth = deepest = 0
    in_string = escaped = False
    for byte in data:
        if in_string:
            if escaped:
                escaped = False
            elif byte == 0x5C:
                escaped = True
            elif byte == 0x22:
                in_string = False
        elif byte == 0x22:
            in_string = True
        elif byte in b"[{":
            depth += 1
            deepest = max(deepest, depth)
        elif byte in b"]}":
            depth -= 1
    return deepest


def check_foreign(foreign: msgspec.Raw | msgspec.UnsetType) -> Refusal | None:
    """A foreign payload is a bounded JSON object; null is none."""
    if isinstance(foreign, msgspec.UnsetType) or bytes(foreign) == b"null":
        return None
    if len(bytes(foreign)) > MAX_FOREIGN_BYTES:
        return Refusal("too_large", f"`foreign` holds at most {MAX_FOREIGN_BYTES} bytes.", field="foreign")
    if not bytes(foreign).startswith(b"{"):
        return Refusal("invalid", "`foreign` must be an object.", field="foreign")
    if nesting(bytes(foreign)) > MAX_DEPTH:
        return Refusal("invalid", f"`foreign` nests at most {MAX_DEPTH} deep.", field="foreign")
    return None


def content_of(view: MessageView) -> Content | None:
    """The content as it stands now; None once deleted or erased."""
    raw = current_content(view)
    return _DECODE.decode(raw) if raw else None


def live_content(view: MessageView | None, floor: int = 0) -> tuple[MessageView, Content]:
    """A message that the caller may act on, with its content.

    Raises Refusal `not_found` when it does not exist, is below `floor`, or was deleted."""
    content = content_of(view) if view is not None and view.seq > floor else None
    if view is None or content is None:
        raise not_found("message")
    return view, content


def sent(view: MessageView) -> MessageNew | None:
    """The body that a message began with; None once it is erased."""
    if view.event.body is None:
        return None
    body = decode_body(view.event.kind, view.event.body)
    return body if isinstance(body, MessageNew) else None


def has_expired(view: MessageView, now_ms: int) -> bool:
    """Whether a message's time is over, though nobody may have deleted it yet."""
    body = sent(view)
    return body is not None and body.expires_at is not None and body.expires_at <= now_ms


def check_emoji(emoji: str) -> Refusal | None:
    """A reaction is an emoji or a name for one: nothing blank, nothing that steers."""
    if any(char.isspace() or unicodedata.category(char) in ("Cc", "Cs") for char in emoji):
        return Refusal("invalid", "A reaction holds neither spaces nor control characters.", field="emoji")
    return None


def check_edit(view: MessageView, before: Content, after: Content) -> Refusal | None:
    """An edit keeps the kind of content; polls keep their options, since votes are for them, and what was
    forwarded keeps the words of whoever wrote it."""
    body = sent(view)
    if body is not None and body.forward is not None:
        return Refusal("invalid", "A forwarded message cannot be edited.", field="content")
    if type(before) is not type(after):
        return Refusal("invalid", "An edit cannot change the kind of content.", field="content.type")
    if isinstance(before, Poll):
        return Refusal("invalid", "A poll cannot be edited.", field="content")
    return None


def check_vote(poll: Content, options: tuple[int, ...]) -> Refusal | None:
    """The options exist, each once, and one only unless the poll allows several."""
    if not isinstance(poll, Poll):
        return not_found("poll")
    if any(option >= len(poll.options) for option in options) or len(set(options)) != len(options):
        return Refusal("invalid", "Choose options of the poll, each once.", field="options")
    if len(options) > 1 and not poll.multiple:
        return Refusal("invalid", "This poll allows one option.", field="options")
    return None


def quoted(view: MessageView, content: Content, text: str) -> Quote:
    """The quote, when the passage stands in the message.  Raises Refusal `invalid`."""
    if isinstance(content, Encrypted) or text not in plain_text(content):
        raise Refusal("invalid", "The quoted text does not stand in that message.", field="quote.text")
    return Quote(seq=view.seq, user=view.event.actor, text=text)
