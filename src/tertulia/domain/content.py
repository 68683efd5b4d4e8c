"""What a message can hold: the typed content that people send.

Content is a tagged union (`type`), decoded straight from the wire by msgspec with its bounds, so
that nothing beyond these shapes ever reaches the log.  `Encrypted` is the opaque, labelled form for
end-to-end encryption: search, previews and word rules do not apply to it.
"""

from __future__ import annotations

from typing import Annotated

import msgspec
from msgspec import Meta

Id = Annotated[str, Meta(min_length=1, max_length=64)]
Seq = Annotated[int, Meta(ge=1, le=2**53)]
Label = Annotated[str, Meta(min_length=1, max_length=128)]
Emoji = Annotated[str, Meta(min_length=1, max_length=64)]

MAX_FOREIGN_BYTES = 8192


class Attachment(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    """A reference to a blob; the bytes themselves are uploaded on their own."""

    blob: Id
    name: Annotated[str, Meta(min_length=1, max_length=255)]
    media_type: Annotated[str, Meta(min_length=3, max_length=127, pattern=r"^[\w.+-]+/[\w.+-]+$")]
    size: Annotated[int, Meta(ge=0, le=2**50)]


class Text(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True, tag="text"):
    """Text in the documented Markdown subset, with attachments by reference.

    `mentions` (user ids), `mention_all` and `mention_here` are filled by the server from the text.
    """

    text: Annotated[str, Meta(max_length=65536)]
    attachments: Annotated[tuple[Attachment, ...], Meta(max_length=20)] = ()
    mentions: Annotated[tuple[Id, ...], Meta(max_length=100)] = ()
    mention_all: bool = False
    mention_here: bool = False


class Poll(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True, tag="poll"):
    """A question with 2 to 20 options; votes are events that name option numbers from 0."""

    question: Annotated[str, Meta(min_length=1, max_length=1000)]
    options: Annotated[
        tuple[Annotated[str, Meta(min_length=1, max_length=200)], ...],
        Meta(min_length=2, max_length=20),
    ]
    multiple: bool = False


class Location(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True, tag="location"):
    """A place: degrees in WGS 84."""

    latitude: Annotated[float, Meta(ge=-90, le=90)]
    longitude: Annotated[float, Meta(ge=-180, le=180)]
    name: Annotated[str, Meta(max_length=200)] = ""


class ContactCard(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True, tag="contact"):
    """Someone's card, as the sender wrote it."""

    name: Annotated[str, Meta(min_length=1, max_length=200)]
    user: Id | None = None
    email: Annotated[str, Meta(max_length=254)] = ""
    phone: Annotated[str, Meta(max_length=32)] = ""


class Encrypted(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True, tag="encrypted"):
    """An opaque body: `scheme` says who can read it, `ciphertext` is base64."""

    scheme: Annotated[str, Meta(min_length=1, max_length=64, pattern=r"^[a-z0-9.:_-]+$")]
    ciphertext: Annotated[str, Meta(max_length=131072, pattern=r"^[A-Za-z0-9+/=_-]*$")]


Content = Text | Poll | Location | ContactCard | Encrypted


class Forward(msgspec.Struct, frozen=True, kw_only=True):
    """Where a forwarded message came from, as the forwarder saw it."""

    conversation: Id
    seq: Seq
    user: Id


class Quote(msgspec.Struct, frozen=True, kw_only=True):
    """A quoted passage of an earlier message of the same conversation."""

    seq: Seq
    user: Id
    text: Annotated[str, Meta(max_length=4096)]


def plain_text(content: Content) -> str:
    """The words of a content that search and notifications may use; "" for an opaque one."""
    match content:
        case Text():
            names = " ".join(a.name for a in content.attachments)
            return f"{content.text} {names}".strip()
        case Poll():
            return "\n".join((content.question, *content.options))
        case Location():
            return content.name
        case ContactCard():
            return content.name
        case Encrypted():
            return ""
