"""Accounts and sessions: what is asked before there is a token, and what ends one."""

from __future__ import annotations

from litestar import Controller, delete, post
from litestar.params import JSONBody
from litestar.response import Response

from tertulia.application.account_types import (
    ChangePassword,
    ConfirmReset,
    PasswordSignIn,
    SignedIn,
    SignUp,
    Verify,
)
from tertulia.domain.errors import Refusal
from tertulia.protocols.rest.answers import CodeSentDoc, TokensDoc
from tertulia.protocols.rest.context import CallDependency, VisitDependency, created
from tertulia.protocols.rest.requests import (
    AddressBody,
    ChangePasswordBody,
    ConfirmResetBody,
    RefreshBody,
    SignInBody,
    SignUpBody,
    UserTokenBody,
    VerifyBody,
)


def _address(body: SignUpBody) -> tuple[str, str]:
    """The one address that was given, and its field.  Raises Refusal `invalid`."""
    if (body.email is None) == (body.phone is None):
        raise Refusal("invalid", "Give either `email` or `phone`.", field="email")
    if body.email is not None:
        if "@" not in body.email:
            raise Refusal("invalid", "This is no e-mail address.", field="email")
        return body.email, "email"
    phone = body.phone or ""
    if "@" in phone:
        raise Refusal("invalid", "This is no phone number.", field="phone")
    return phone, "phone"


def _tokens(signed_in: SignedIn) -> Response[TokensDoc]:
    return created(TokensDoc.of(signed_in), f"/v1/me/devices/{signed_in.device.id}")


class AccountsController(Controller):
    """`/v1/accounts`."""

    path = "/v1/accounts"
    tags = ("Accounts",)

    @post("", status_code=202)
    async def sign_up(self, visit: VisitDependency, data: JSONBody[SignUpBody]) -> CodeSentDoc:
        """Ask for an account; a code is sent to the address.  The answer is the same for addresses that
        have one already."""
        address, field = _address(data)
        request = SignUp(
            address=address,
            password=data.password,
            handle=data.handle,
            name=data.name,
            language=data.language,
        )
        try:
            sent = await visit.services.accounts.sign_up(visit.services.tenant, request, visit.address)
        except Refusal as refusal:
            if refusal.field == "address":
                refusal.field = field
            raise
        return CodeSentDoc(expires_in=sent.expires_in_s)

    @post("/verify", status_code=201)
    async def verify_account(self, visit: VisitDependency, data: JSONBody[VerifyBody]) -> Response[TokensDoc]:
        """Trade the code for an account whose first device is signed in."""
        request = Verify(address=data.address, code=data.code, device_name=data.device, handle=data.handle)
        return _tokens(await visit.services.accounts.verify(visit.services.tenant, request, visit.address))

    @post("/resend", status_code=202)
    async def resend_code(self, visit: VisitDependency, data: JSONBody[AddressBody]) -> CodeSentDoc:
        """Send another code; the one before is dead."""
        services = visit.services
        sent = await services.accounts.resend(services.tenant, data.address, visit.address)
        return CodeSentDoc(expires_in=sent.expires_in_s)


class SessionsController(Controller):
    """`/v1/sessions`: devices come and go."""

    path = "/v1/sessions"
    tags = ("Accounts",)

    @post("", status_code=201)
    async def sign_in(self, visit: VisitDependency, data: JSONBody[SignInBody]) -> Response[TokensDoc]:
        """Sign in with a password; a device is added."""
        request = PasswordSignIn(login=data.login, password=data.password, device_name=data.device)
        return _tokens(await visit.services.sign_in.sign_in(visit.services.tenant, request, visit.address))

    @post("/user-token", status_code=201)
    async def sign_in_with_user_token(
        self, visit: VisitDependency, data: JSONBody[UserTokenBody]
    ) -> Response[TokensDoc]:
        """Sign in with a token that the customer's backend signed; the user is made when there is none
        yet."""
        services = visit.services
        return _tokens(
            await services.sign_in.sign_in_with_user_token(
                services.tenant, data.token, data.device, visit.address
            )
        )

    @post("/refresh", status_code=200)
    async def refresh_session(self, visit: VisitDependency, data: JSONBody[RefreshBody]) -> TokensDoc:
        """New tokens for a device.  The refresh token is good for one use; an old one that comes back ends
        the login."""
        services = visit.services
        return TokensDoc.of(await services.devices.refresh(services.tenant, data.refresh_token))

    @delete("/current", status_code=204)
    async def sign_out(self, call: CallDependency) -> None:
        """Sign out the device that asks."""
        await call.services.devices.sign_out(call.caller)


class PasswordController(Controller):
    """`/v1/password`."""

    path = "/v1/password"
    tags = ("Accounts",)

    @post("", status_code=204)
    async def change_password(self, call: CallDependency, data: JSONBody[ChangePasswordBody]) -> None:
        """Replace one's password; the other devices are signed out."""
        request = ChangePassword(current=data.current, new=data.new)
        await call.services.recovery.change_password(call.caller, request)

    @post("/reset", status_code=202)
    async def request_password_reset(
        self, visit: VisitDependency, data: JSONBody[AddressBody]
    ) -> CodeSentDoc:
        """Have a code sent.  The answer is the same for unknown addresses."""
        services = visit.services
        sent = await services.recovery.request_reset(services.tenant, data.address, visit.address)
        return CodeSentDoc(expires_in=sent.expires_in_s)

    @post("/reset/confirm", status_code=204)
    async def confirm_password_reset(self, visit: VisitDependency, data: JSONBody[ConfirmResetBody]) -> None:
        """Set a new password with the code; all devices are signed out."""
        services = visit.services
        request = ConfirmReset(address=data.address, code=data.code, password=data.password)
        await services.recovery.confirm_reset(services.tenant, request, visit.address)
