"""Codes and the letters that carry them: rows of one commit, so that no code is known that was not
stored, and none is stored whose letter was forgotten."""

from __future__ import annotations

from typing import Literal

import msgspec

from tertulia.application.core import KeyedHash
from tertulia.domain.accounts import CODE_LIFETIME_MS, Address
from tertulia.domain.letters import Letter, brand_fault, compose
from tertulia.domain.notices import NoticeKind, compose_notice
from tertulia.domain.records import Code, Outbox, Tenant
from tertulia.domain.unit import Put, Write
from tertulia.ports.clock import Clock
from tertulia.ports.ids import Ids
from tertulia.ports.mail import Mail
from tertulia.ports.sms import Sms

Purpose = Literal["verify", "reset"]


class CodeLetters:
    """Makes the rows of a code and of the letter that carries it.

    A letter is an `Outbox` row whose topic is `mail` or `sms` and whose payload is the JSON of the
    port's struct (`Mail`, `Sms`); the row's id is the letter's idempotency key."""

    def __init__(self, keyed: KeyedHash, ids: Ids, clock: Clock) -> None:
        self._keyed = keyed
        self._ids = ids
        self._clock = clock

    def digest(self, code: Code, guess: str) -> bytes:
        """What `code.digest` is when `guess` is right.  It binds the code to its address, its purpose and
        the user it is for."""
        return self._keyed.digest("code", code.tenant, code.purpose, code.address, code.user, guess)

    def fresh(
        self, tenant: Tenant, purpose: Purpose, address: Address, user: str, language: str
    ) -> tuple[Write, ...]:
        """A new code for a user, and its letter."""
        secret = self._ids.code()
        letter = compose(
            purpose,
            language=language,
            brand=brand_of(tenant),
            code=secret,
            minutes=CODE_LIFETIME_MS // 60_000,
        )
        return (
            self._code(tenant, purpose, address, user, secret),
            self._letter(tenant, address, purpose, letter),
        )

    def hollow(self, tenant: Tenant, purpose: Purpose, address: Address) -> Write:
        """The code of an address for which there is nothing to be sent.

        Guesses at it are counted and refused like guesses at any other, so that they tell nothing."""
        return self._code(tenant, purpose, address, "", self._ids.token())

    def notice(self, tenant: Tenant, kind: NoticeKind, address: Address, language: str) -> Write:
        """A letter without a code."""
        letter = compose_notice(kind, language=language, brand=brand_of(tenant))
        return self._letter(tenant, address, "notice", letter)

    def _code(self, tenant: Tenant, purpose: Purpose, address: Address, user: str, secret: str) -> Write:
        row = Code(
            tenant=tenant.tenant,
            purpose=purpose,
            address=address.value,
            digest=b"",
            expires_at=self._clock.now_ms() + CODE_LIFETIME_MS,
            user=user,
        )
        return Put(msgspec.structs.replace(row, digest=self.digest(row, secret)))

    def _letter(
        self, tenant: Tenant, address: Address, kind: Literal["verify", "reset", "notice"], letter: Letter
    ) -> Write:
        ident = self._ids.new_id()
        now = self._clock.now_ms()
        if address.kind == "email":
            topic, payload = (
                "mail",
                msgspec.json.encode(
                    Mail(
                        to=address.value,
                        subject=letter.subject,
                        text=letter.text,
                        kind=kind,
                        message_id=ident,
                    )
                ),
            )
        else:
            topic, payload = "sms", msgspec.json.encode(Sms(to=address.value, text=letter.sms, id=ident))
        return Put(
            Outbox(tenant=tenant.tenant, id=ident, topic=topic, due_at=now, payload=payload, created_at=now)
        )


def brand_of(tenant: Tenant) -> str:
    """The name that stands in a tenant's letters."""
    return tenant.name if brand_fault(tenant.name) is None else "Tertulia"
