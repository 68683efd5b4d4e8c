"""What is tidied up in the background: deletions that a crash broke off, sign-ups nobody finished."""

from __future__ import annotations

from typing import Final

import msgspec
from structlog.typing import FilteringBoundLogger

from tertulia.application.accounts import Accounts
from tertulia.application.conversations import Conversations, Sweep
from tertulia.domain.errors import Refusal
from tertulia.domain.records import Outbox
from tertulia.ports.delivery import DeliveryFailed
from tertulia.workers.outbox import Handler
from tertulia.workers.pacing import Sleep

DAY_S: Final = 86_400.0


def sweep_handler(conversations: Conversations) -> Handler:
    """Goes on with a deletion (`Conversations.sweep`), which removes the row itself when it is done."""
    decoder = msgspec.json.Decoder(Sweep)

    async def sweep(row: Outbox) -> None:
        try:
            asked = decoder.decode(row.payload)
        except msgspec.DecodeError:
            raise DeliveryFailed(True, "unreadable payload", code="invalid") from None
        await conversations.sweep(row.tenant, asked)

    return sweep


async def tidy_accounts(accounts: Accounts, tenant: str, sleep: Sleep, log: FilteringBoundLogger) -> None:
    """Once a day, remove what is long past; until cancelled."""
    while True:
        try:
            removed = await accounts.sweep(tenant)
        except Refusal as refusal:
            log.warning("upkeep.failed", code=refusal.code)
        else:
            if removed:
                log.info("upkeep.done", removed=removed)
        await sleep(DAY_S)
