"""All reads that protocols offer, each for one caller: what it may not see is not there."""

from __future__ import annotations

from tertulia.application.access import Access
from tertulia.application.profiles import Profiles
from tertulia.application.queries_conversations import ConversationQueries
from tertulia.application.queries_lists import ListQueries
from tertulia.application.queries_messages import MessageQueries
from tertulia.ports.clock import Clock
from tertulia.ports.message_store import Directory, MessageStore


class Queries:
    """The queries by what they are about."""

    def __init__(
        self, store: MessageStore, directory: Directory, access: Access, profiles: Profiles, clock: Clock
    ) -> None:
        self.messages = MessageQueries(store, directory, access, clock)
        self.conversations = ConversationQueries(directory, access, profiles, self.messages, clock)
        self.lists = ListQueries(directory, profiles)
