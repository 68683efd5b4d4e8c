"""Getting from an address and a person to a `Client`."""

from __future__ import annotations

import contextlib
import socket
from collections.abc import AsyncGenerator
from typing import Protocol

from tertulia.cli.chat.profiles import Account, Profile
from tertulia_client import (
    ApiError,
    BadAnswer,
    Client,
    Options,
    OutboxInUse,
    OutboxOfOther,
    Rest,
    TokensDoc,
    Unreachable,
)
from tertulia_client.http import Http

REFUSALS = (ApiError, Unreachable, BadAnswer, OutboxInUse, OutboxOfOther, OSError)
"""What signing in can end with."""


class Gateway(Protocol):
    """The ways to a signed-in client.  All raise what is in REFUSALS."""

    async def resume(self, account: Account) -> Client:
        """Go on as someone who signed in before; needs no connection."""
        ...

    async def sign_in(self, url: str, login: str, password: str) -> Client: ...

    async def sign_up(self, url: str, address: str, handle: str, name: str, password: str) -> None:
        """Ask for an account; a code is sent to the address."""
        ...

    async def verify(self, url: str, address: str, code: str) -> Client:
        """Trade the code for a signed-in client."""
        ...

    async def resend(self, url: str, address: str) -> None: ...

    async def forgot(self, url: str, address: str) -> None:
        """Have a code sent that lets one choose a new password."""
        ...

    async def reset(self, url: str, address: str, code: str, password: str) -> None: ...


class Server:
    """The real thing."""

    def __init__(self, profile: Profile) -> None:
        self._profile = profile
        self._device = f"Terminal on {socket.gethostname()}"[:100]

    async def resume(self, account: Account) -> Client:
        tokens = TokensDoc(
            access_token="",
            # Gone already: the first thing to be done is to trade the refresh token.
            expires_in=-1,
            refresh_token=account.refresh_token,
            user=account.user,
            device=account.device,
        )
        return await self._client(account.url, tokens)

    async def sign_in(self, url: str, login: str, password: str) -> Client:
        async with _rest(url) as rest:
            tokens = await rest.accounts.sign_in(login, password, device=self._device)
        return await self._client(url, tokens)

    async def sign_up(self, url: str, address: str, handle: str, name: str, password: str) -> None:
        email, phone = (address, None) if "@" in address else (None, address)
        async with _rest(url) as rest:
            await rest.accounts.sign_up(password=password, handle=handle, name=name, email=email, phone=phone)

    async def verify(self, url: str, address: str, code: str) -> Client:
        async with _rest(url) as rest:
            tokens = await rest.accounts.verify(address, code, device=self._device)
        return await self._client(url, tokens)

    async def resend(self, url: str, address: str) -> None:
        async with _rest(url) as rest:
            await rest.accounts.resend(address)

    async def forgot(self, url: str, address: str) -> None:
        async with _rest(url) as rest:
            await rest.accounts.reset_password(address)

    async def reset(self, url: str, address: str, code: str, password: str) -> None:
        async with _rest(url) as rest:
            await rest.accounts.confirm_reset(address, code, password)

    async def _client(self, url: str, tokens: TokensDoc) -> Client:
        outbox = self._profile.outbox(url, tokens.user)
        client = await Client.with_tokens(
            url,
            tokens,
            outbox=outbox,
            options=Options(),
            on_tokens=lambda new: self._keep(url, new),
        )
        if tokens.access_token:
            self._keep(url, tokens)
        return client

    def _keep(self, url: str, tokens: TokensDoc) -> None:
        self._profile.signed_in(url, tokens)


@contextlib.asynccontextmanager
async def _rest(url: str) -> AsyncGenerator[Rest]:
    http = Http(url)
    try:
        yield Rest(http)
    finally:
        await http.close()


def server_address(typed: str) -> str:
    """What a person typed as an address: `chat.example` means https, a machine's own name http."""
    typed = typed.strip().rstrip("/")
    if not typed or "://" in typed:
        return typed
    host = typed.partition("/")[0].partition(":")[0]
    return f"http://{typed}" if host in ("localhost", "127.0.0.1", "[") else f"https://{typed}"


def explain(error: BaseException) -> str:
    """What to tell the person when signing in, or anything else, failed."""
    match error:
        case ApiError(detail=detail, code=code):
            return detail or code
        case Unreachable():
            return f"The server cannot be reached: {error}"
        case BadAnswer():
            return "This does not look like a Tertulia server."
        case OutboxInUse():
            return "Another window is signed in with this profile; start this one with --profile NAME."
        case OutboxOfOther():
            return "The file of unsent messages belongs to another account."
        case _:
            return str(error) or type(error).__name__
