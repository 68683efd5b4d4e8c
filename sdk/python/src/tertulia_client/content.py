"""What a message can hold, as it reads on every wire of Tertulia."""

from __future__ import annotations

import msgspec


class Attachment(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    """A reference to an uploaded blob; `size` in bytes."""

    blob: str
    name: str
    media_type: str
    size: int


class Text(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True, tag="text"):
    """Text in the documented Markdown subset.

    `mentions` (user ids), `mention_all` and `mention_here` are the server's reading of the text; what a
    client puts there is ignored.
    """

    text: str
    attachments: tuple[Attachment, ...] = ()
    mentions: tuple[str, ...] = ()
    mention_all: bool = False
    mention_here: bool = False


class Poll(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True, tag="poll"):
    """A question with 2 to 20 options, which votes number from 0."""

    question: str
    options: tuple[str, ...]
    multiple: bool = False


class Location(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True, tag="location"):
    """Degrees in WGS 84."""

    latitude: float
    longitude: float
    name: str = ""


class ContactCard(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True, tag="contact"):
    """Someone's card, as the sender wrote it."""

    name: str
    user: str | None = None
    email: str = ""
    phone: str = ""


class Encrypted(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True, tag="encrypted"):
    """An opaque body: `scheme` says who can read it, `ciphertext` is base64."""

    scheme: str
    ciphertext: str


class OtherContent(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True, tag="other"):
    """A kind of content (`kind`) that came after this client was made.  Only ever received."""

    kind: str


Content = Text | Poll | Location | ContactCard | Encrypted | OtherContent

KNOWN_CONTENT = frozenset({"text", "poll", "location", "contact", "encrypted", "other"})


class Forward(msgspec.Struct, frozen=True, kw_only=True):
    """Where a forwarded message came from, as the forwarder saw it."""

    conversation: str
    seq: int
    user: str


class Quote(msgspec.Struct, frozen=True, kw_only=True):
    """A quoted passage of an earlier message of the same conversation."""

    seq: int
    user: str
    text: str


def plain_text(content: Content | None) -> str:
    """The words of a content for a list or a notification; "" for an opaque or a deleted one."""
    match content:
        case Text():
            return " ".join((content.text, *(a.name for a in content.attachments))).strip()
        case Poll():
            return content.question
        case Location() | ContactCard():
            return content.name
        case _:
            return ""
