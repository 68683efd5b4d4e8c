"""The Tertulia client for Python: connects, resumes, fills gaps, keeps an outbox."""

from tertulia_client.client import Client, ClientStopped, Options
from tertulia_client.content import (
    Attachment,
    ContactCard,
    Content,
    Encrypted,
    Location,
    OtherContent,
    Poll,
    Text,
    plain_text,
)
from tertulia_client.events import (
    CursorMoved,
    Event,
    MessageDeleted,
    MessageNew,
    MessageUpdated,
    PollVoted,
    Presence,
    ReactionChanged,
    Typing,
    UserUpdated,
)
from tertulia_client.feed import (
    Acknowledged,
    Connected,
    Disconnected,
    Lagged,
    RoomGone,
    RoomLoaded,
    SendRefused,
    Stopped,
    Synchronised,
)
from tertulia_client.http import ApiError, BadAnswer, SignedOut, Unreachable
from tertulia_client.models import Accepted, TokensDoc
from tertulia_client.outbox import Entry, OutboxFull, OutboxInUse, OutboxOfOther
from tertulia_client.rest import Rest
from tertulia_client.rooms import Room
from tertulia_client.sending import Sent
from tertulia_client.state import State

__all__ = [
    "Accepted",
    "Acknowledged",
    "ApiError",
    "Attachment",
    "BadAnswer",
    "Client",
    "ClientStopped",
    "Connected",
    "ContactCard",
    "Content",
    "CursorMoved",
    "Disconnected",
    "Encrypted",
    "Entry",
    "Event",
    "Lagged",
    "Location",
    "MessageDeleted",
    "MessageNew",
    "MessageUpdated",
    "Options",
    "OtherContent",
    "OutboxFull",
    "OutboxInUse",
    "OutboxOfOther",
    "Poll",
    "PollVoted",
    "Presence",
    "ReactionChanged",
    "Rest",
    "Room",
    "RoomGone",
    "RoomLoaded",
    "SendRefused",
    "Sent",
    "SignedOut",
    "State",
    "Stopped",
    "Synchronised",
    "Text",
    "TokensDoc",
    "Typing",
    "Unreachable",
    "UserUpdated",
    "plain_text",
]
