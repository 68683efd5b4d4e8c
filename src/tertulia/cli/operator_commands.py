"""`tertulia user`, `tertulia tenant` and `tertulia token`: what the operator does with accounts and keys.

They ask the running server through its control channel; when none runs they open the folder themselves.
"""

from __future__ import annotations

import getpass
import sys
from pathlib import Path
from typing import Annotated, Final, TypeVar

import cyclopts
import msgspec
from cyclopts import Parameter

from tertulia.application.account_types import ApiKeyMade, NewUser, SignedIn
from tertulia.application.operations import ApiKeyView, TenantChanges, TenantView, UserDetail, UserPage
from tertulia.cli.failure import USAGE, Failure
from tertulia.cli.options import Where
from tertulia.cli.output import note, print_fields, print_json, print_table, when
from tertulia.cli.reach import reach
from tertulia.domain.records import User
from tertulia.protocols.control import requests as r

T = TypeVar("T")

user = cyclopts.App(name="user", help="Make, list and change users and bots.")
tenant = cyclopts.App(name="tenant", help="Limits, open sign-up, and keys of a customer's backend.")
token = cyclopts.App(name="token", help="Lasting access tokens.")
api_key = cyclopts.App(name="api-key", help="Secrets with which a customer's backend signs user tokens.")
tenant.command(api_key)

Who = Annotated[str, Parameter(help="Id, handle, e-mail address or phone number.")]
PasswordStdin = Annotated[
    bool, Parameter(negative="", help="Read the password from the first line of standard input.")
]
_HERE: Final = Where()


def _ask(where: Where, request: r.Request, kind: type[T]) -> T:
    with reach(where.load()) as line:
        return line.ask(request, kind)


def _made(kind: type[T], **fields: object) -> T:
    """A request with its bounds checked.  Raises Failure."""
    try:
        return msgspec.convert({key: value for key, value in fields.items() if value is not None}, kind)
    except msgspec.ValidationError as error:
        what, _, where = str(error).partition(" - at `$.")
        option = f"--{where.rstrip('`').replace('_', '-')}: " if where else ""
        raise Failure(f"{option}{what[:1].lower()}{what[1:]}", USAGE) from None


def _password(*, stdin: bool, optional: bool = False) -> str | None:
    if stdin:
        line = sys.stdin.readline().rstrip("\r\n")
        if not line:
            raise Failure("There is no password on standard input.", USAGE)
        return line
    if not sys.stdin.isatty():
        if optional:
            return None
        raise Failure("Give the password with --password-stdin; there is no terminal to ask at.", USAGE)
    first = getpass.getpass("Password (empty for none): " if optional else "Password: ")
    if optional and not first:
        return None
    if getpass.getpass("Once more: ") != first:
        raise Failure("The two were not the same.", USAGE)
    return first


def _show_user(where: Where, found: UserDetail) -> None:
    if where.json:
        print_json(found)
        return
    row = found.user
    print_fields(
        (
            ("id", row.id),
            ("handle", row.handle),
            ("name", row.name),
            ("addresses", ", ".join(found.addresses) or "-"),
            ("created", when(row.created_at)),
            ("devices", found.devices),
            ("password", found.password),
            ("bot", row.bot),
            ("operator", row.operator),
            ("disabled", row.disabled),
        )
    )


# --- user ----------------------------------------------------------------------------------------


@user.command
def create(
    handle: Annotated[str, Parameter(help="Unique name, as in @ana.")],
    *,
    name: Annotated[str | None, Parameter(help="Name that people see; the handle without.")] = None,
    email: Annotated[str | None, Parameter(help="Taken as verified.")] = None,
    phone: Annotated[str | None, Parameter(help="With its country, as +34600123456.")] = None,
    language: Annotated[str, Parameter(help="Language tag, as es.")] = "",
    operator: Annotated[bool, Parameter(negative="", help="May see reports and act on them.")] = False,
    password_stdin: PasswordStdin = False,
    where: Where = _HERE,
) -> None:
    """Make a user.  Without a password they can sign in after a reset."""
    password = _password(stdin=password_stdin, optional=True)
    made = _made(
        NewUser,
        handle=handle,
        name=name or handle,
        email=email,
        phone=phone,
        language=language,
        operator=operator,
        password=password,
    )
    with reach(where.load()) as line:
        row = line.ask(r.UserCreate(tenant=where.tenant, user=made), User)
        _show_user(where, line.ask(r.UserShow(tenant=where.tenant, who=row.id), UserDetail))


@user.command
def bot(
    handle: Annotated[str, Parameter(help="Unique name, as in @helpdesk.")],
    *,
    name: Annotated[str | None, Parameter(help="Name that people see; the handle without.")] = None,
    where: Where = _HERE,
) -> None:
    """Make a bot; `tertulia token issue` gives it what it signs in with."""
    request = _made(r.BotCreate, tenant=where.tenant, handle=handle, name=name or handle)
    with reach(where.load()) as line:
        row = line.ask(request, User)
        _show_user(where, line.ask(r.UserShow(tenant=where.tenant, who=row.id), UserDetail))


@user.command(name="list")
def list_users(*, where: Where = _HERE) -> None:
    """List the users."""
    rows: list[User] = []
    with reach(where.load()) as line:
        after = ""
        while True:
            page = line.ask(r.UserList(tenant=where.tenant, after=after), UserPage)
            rows += page.users
            after = page.after
            if not after:
                break
    if where.json:
        print_json(rows)
        return
    print_table(
        ("ID", "HANDLE", "NAME", "CREATED", ""),
        ((row.id, row.handle, row.name, when(row.created_at), _flags(row)) for row in rows),
    )


def _flags(row: User) -> str:
    marks = (("bot", row.bot), ("operator", row.operator), ("disabled", row.disabled))
    return ", ".join(name for name, there in marks if there)


@user.command
def show(who: Who, *, where: Where = _HERE) -> None:
    """Show a user."""
    _show_user(where, _ask(where, _made(r.UserShow, tenant=where.tenant, who=who), UserDetail))


@user.command
def set_password(who: Who, *, password_stdin: PasswordStdin = False, where: Where = _HERE) -> None:
    """Give a user a new password.  All their devices are signed out."""
    request = _made(r.UserPassword, tenant=where.tenant, who=who, password=_password(stdin=password_stdin))
    _show_user(where, _ask(where, request, UserDetail))


@user.command
def disable(who: Who, *, where: Where = _HERE) -> None:
    """Shut a user out.  All their devices are signed out."""
    request = _made(r.UserDisable, tenant=where.tenant, who=who, disabled=True)
    _show_user(where, _ask(where, request, UserDetail))


@user.command
def enable(who: Who, *, where: Where = _HERE) -> None:
    """Let a user in again."""
    request = _made(r.UserDisable, tenant=where.tenant, who=who, disabled=False)
    _show_user(where, _ask(where, request, UserDetail))


@user.command
def operator(
    who: Who,
    *,
    off: Annotated[bool, Parameter(negative="", help="No longer.")] = False,
    where: Where = _HERE,
) -> None:
    """Make a user an operator, or no longer one."""
    request = _made(r.UserOperator, tenant=where.tenant, who=who, operator=not off)
    with reach(where.load()) as line:
        row = line.ask(request, User)
        _show_user(where, line.ask(r.UserShow(tenant=where.tenant, who=row.id), UserDetail))


# --- tenant --------------------------------------------------------------------------------------


def _show_tenant(where: Where, found: TenantView) -> None:
    if where.json:
        print_json(found)
        return
    print_fields(
        (
            ("tenant", found.tenant),
            ("name", found.name),
            ("created", when(found.created_at)),
            ("users", found.users),
            ("max text", found.max_text),
            ("max members", found.max_members),
            ("open sign-up", found.open_sign_up),
            ("keys in JWKS", found.jwks_keys),
            ("API keys", found.api_keys),
        )
    )


@tenant.command(name="show")
def show_tenant(*, where: Where = _HERE) -> None:
    """Show a tenant and its limits."""
    _show_tenant(where, _ask(where, _made(r.TenantShow, tenant=where.tenant), TenantView))


@tenant.command(name="set")
def set_tenant(
    *,
    name: Annotated[str | None, Parameter(help="The name that stands in letters.")] = None,
    max_text: Annotated[int | None, Parameter(help="Longest message, in characters.")] = None,
    max_members: Annotated[int | None, Parameter(help="Most members of a conversation.")] = None,
    open_sign_up: Annotated[bool | None, Parameter(help="Whether anyone may sign up.")] = None,
    jwks: Annotated[
        Path | None,
        Parameter(
            allow_leading_hyphen=True, help="JWK Set (RFC 7517) whose keys sign user tokens; `-` reads it."
        ),
    ] = None,
    no_jwks: Annotated[bool, Parameter(negative="", help="Remove the key set.")] = False,
    where: Where = _HERE,
) -> None:
    """Change a tenant; what is not named stays."""
    document: str | None = "" if no_jwks else None
    if jwks is not None:
        try:
            document = sys.stdin.read() if str(jwks) == "-" else jwks.read_text("utf-8")
        except (OSError, UnicodeDecodeError) as error:
            raise Failure(f"{jwks} cannot be read: {error}.", USAGE) from None
    changes = _made(
        TenantChanges,
        name=name,
        max_text=max_text,
        max_members=max_members,
        open_sign_up=open_sign_up,
        jwks=document,
    )
    if changes == TenantChanges():
        raise Failure("Name something to change; `tertulia tenant set --help` lists what there is.", USAGE)
    _show_tenant(where, _ask(where, r.TenantSet(tenant=where.tenant, changes=changes), TenantView))


@api_key.command(name="create")
def create_key(*, where: Where = _HERE) -> None:
    """Make a key and print its secret, this once."""
    made = _ask(where, _made(r.ApiKeyCreate, tenant=where.tenant), ApiKeyMade)
    if where.json:
        print_json(made)
        return
    print_fields((("kid", made.id), ("secret", made.value)))
    note("Keep the secret; it is not shown again.")


@api_key.command(name="list")
def list_keys(*, where: Where = _HERE) -> None:
    """List the keys, without their secrets."""
    found = _ask(where, _made(r.ApiKeyList, tenant=where.tenant), list[ApiKeyView])
    if where.json:
        print_json(found)
        return
    print_table(
        ("KID", "CREATED", "REVOKED"),
        ((one.id, when(one.created_at), when(one.revoked_at)) for one in found),
    )


@api_key.command(name="revoke")
def revoke_key(kid: Annotated[str, Parameter(help="The key's id.")], *, where: Where = _HERE) -> None:
    """Refuse what is signed with a key from now on.  Devices that signed in with it stay."""
    done = _ask(where, _made(r.ApiKeyRevoke, tenant=where.tenant, key=kid), r.Ok)
    if where.json:
        print_json(done)
    else:
        print(f"{kid} is revoked.")


# --- token ---------------------------------------------------------------------------------------


@token.command
def issue(
    who: Who,
    *,
    device: Annotated[str, Parameter(help="Name of the device that the token belongs to.")] = "token",
    where: Where = _HERE,
) -> None:
    """Print an access token that lasts a year, for a bot above all.  Revoking its device ends it."""
    request = _made(r.TokenIssue, tenant=where.tenant, who=who, device_name=device)
    made = _ask(where, request, SignedIn)
    if where.json:
        print_json(made)
        return
    print(made.access_token)
    note(f"For {made.user.handle or made.user.id}, device {made.device.id}; not shown again.")
