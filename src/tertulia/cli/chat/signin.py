"""The screen on which one signs in, signs up, or chooses a new password."""

from __future__ import annotations

import re
from collections.abc import Awaitable, Callable
from typing import ClassVar, Literal

from textual import on
from textual.app import ComposeResult
from textual.binding import Binding, BindingType
from textual.containers import Horizontal, Vertical
from textual.screen import Screen
from textual.widgets import Button, Input, Label, Static

from tertulia.cli.chat.gateway import REFUSALS, Gateway, explain, server_address
from tertulia.cli.chat.safe import clean_line
from tertulia_client import ApiError, Client

Mode = Literal["sign-in", "sign-up", "code", "forgot", "reset"]

_FIELDS: dict[Mode, tuple[str, ...]] = {
    "sign-in": ("server", "login", "password"),
    "sign-up": ("server", "address", "handle", "name", "password"),
    "code": ("code",),
    "forgot": ("server", "address"),
    "reset": ("code", "password"),
}
_LABELS = {
    "server": "Server",
    "login": "Handle or address",
    "address": "E-mail or phone",
    "handle": "Handle",
    "name": "Name",
    "password": "Password",
    "code": "Code",
}
_HINTS = {
    "server": "chat.example.org",
    "login": "ada, or ada@example.org",
    "address": "ada@example.org, or +41 44 668 18 00",
    "handle": "ada",
    "name": "Ada Lovelace",
    "password": "",
    "code": "the code that was sent to you",
}
_TITLES: dict[Mode, tuple[str, str]] = {
    "sign-in": ("Sign in", "Sign in"),
    "sign-up": ("Create an account", "Send me a code"),
    "code": ("Almost there: type the code that was sent to you", "Confirm"),
    "forgot": ("Forgot the password", "Send me a code"),
    "reset": ("Choose a new password", "Change it"),
}
_OTHERS: dict[Mode, tuple[tuple[Mode, str], ...]] = {
    "sign-in": (("sign-up", "Create an account"), ("forgot", "Forgot the password?")),
    "sign-up": (("sign-in", "Back"), ("code", "I have a code")),
    "code": (("sign-up", "Back"),),
    "forgot": (("sign-in", "Back"),),
    "reset": (("sign-in", "Back"),),
}

LOGO = "t e r t u l i a"


class SignIn(Screen[Client]):
    """Ends with a signed-in client."""

    BINDINGS: ClassVar[list[BindingType]] = [
        Binding("up", "app.focus_previous", show=False),
        Binding("down", "app.focus_next", show=False),
    ]

    def __init__(
        self,
        gateway: Gateway,
        *,
        url: str,
        login: str = "",
        sign_up: bool = False,
        why: str = "",
        attempt: Callable[[Awaitable[object]], None],
    ) -> None:
        """`why`: what to say at first, such as why one was signed out."""
        super().__init__()
        self._gateway = gateway
        self._start = {"server": url, "login": login}
        self.mode: Mode = "sign-up" if sign_up else "sign-in"
        self._why = why
        self._attempt = attempt
        self._busy = False

    def compose(self) -> ComposeResult:
        with Vertical(id="box"):
            yield Static(LOGO, id="logo", markup=False)
            yield Static("", id="title", markup=False)
            for name, label in _LABELS.items():
                with Horizontal(classes="field", id=f"field-{name}"):
                    yield Label(label)
                    yield Input(
                        self._start.get(name, ""),
                        placeholder=_HINTS[name],
                        password=name == "password",
                        id=name,
                        compact=True,
                    )
            yield Static("", id="problem", markup=False)
            yield Button("", variant="primary", id="go", compact=True)
            with Horizontal(id="others"):
                yield Button("", id="other-0", compact=True)
                yield Button("", id="other-1", compact=True)

    def on_mount(self) -> None:
        self.turn(self.mode)
        self._say(self._why)

    def turn(self, mode: Mode) -> None:
        """Show another form."""
        self.mode = mode
        title, button = _TITLES[mode]
        self.query_one("#title", Static).update(title)
        self.query_one("#go", Button).label = button
        for name in _LABELS:
            self.query_one(f"#field-{name}").display = name in _FIELDS[mode]
        for at in (0, 1):
            other = self.query_one(f"#other-{at}", Button)
            other.display = at < len(_OTHERS[mode])
            if other.display:
                other.label = _OTHERS[mode][at][1]
        self._say("")
        empty = [name for name in _FIELDS[mode] if not self._value(name)]
        self.query_one(f"#{empty[0] if empty else _FIELDS[mode][-1]}", Input).focus()

    def _value(self, name: str) -> str:
        value = self.query_one(f"#{name}", Input).value
        return value if name == "password" else value.strip()

    def _say(self, words: str, *, bad: bool = True) -> None:
        problem = self.query_one("#problem", Static)
        problem.update(clean_line(words))
        problem.set_class(bad, "bad")

    @on(Button.Pressed)
    def _pressed(self, event: Button.Pressed) -> None:
        event.stop()
        if event.button.id == "go":
            self._go()
        elif event.button.id is not None:
            self.turn(_OTHERS[self.mode][int(event.button.id[-1])][0])

    @on(Input.Submitted)
    def _submitted(self, event: Input.Submitted) -> None:
        event.stop()
        names = _FIELDS[self.mode]
        empty = [name for name in names if not self._value(name)]
        if empty and event.input.id != names[-1]:
            self.query_one(f"#{empty[0]}", Input).focus()
        else:
            self._go()

    def _go(self) -> None:
        if self._busy:
            return
        for name in _FIELDS[self.mode]:
            if not self._value(name):
                self._say(f"{_LABELS[name]}: something is missing.")
                self.query_one(f"#{name}", Input).focus()
                return
        url = server_address(self._value("server"))
        if not re.match(r"https?://[^\s/@]+\Z", url):
            self._say("The server's address looks like chat.example.org, or http://localhost:8420.")
            return
        self._busy = True
        self.query_one("#go", Button).disabled = True
        self._say("One moment…", bad=False)
        self._attempt(self._carry_out(url))

    async def _carry_out(self, url: str) -> None:
        try:
            client = await self._step(url)
        except REFUSALS as error:
            self._say(explain(error))
            if isinstance(error, ApiError):
                self._point_at(error.field)
        else:
            if client is not None:
                self.dismiss(client)
        finally:
            self._busy = False
            if self.is_attached:
                self.query_one("#go", Button).disabled = False

    def _point_at(self, field: str | None) -> None:
        """Go to the field that the server complains of."""
        name = {"email": "address", "phone": "address"}.get(field or "", field or "")
        if name in _FIELDS[self.mode]:
            self.query_one(f"#{name}", Input).focus()

    async def _step(self, url: str) -> Client | None:
        value, gateway = self._value, self._gateway
        match self.mode:
            case "sign-in":
                return await gateway.sign_in(url, value("login"), value("password"))
            case "sign-up":
                handle = value("handle").lstrip("@")
                await gateway.sign_up(url, value("address"), handle, value("name"), value("password"))
                self.turn("code")
                self._say(f"A code is on its way to {value('address')}.", bad=False)
            case "code":
                if not value("address"):
                    self.turn("sign-up")
                    self._say("To which address was it sent?")
                    return None
                return await gateway.verify(url, value("address"), value("code"))
            case "forgot":
                await gateway.forgot(url, value("address"))
                self.query_one("#password", Input).value = ""
                self.turn("reset")
                self._say("If there is an account, a code is on its way.", bad=False)
            case "reset":
                await gateway.reset(url, value("address"), value("code"), value("password"))
                self.query_one("#login", Input).value = value("address")
                self.turn("sign-in")
                self._say("The password is changed.", bad=False)
        return None
