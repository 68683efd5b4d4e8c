"""The program: sign in, then talk."""

from __future__ import annotations

import asyncio
import logging
import time
from collections.abc import Awaitable, Callable
from typing import ClassVar, Literal

from textual.app import App
from textual.binding import Binding, BindingType

from tertulia.cli.chat.colours import DEFAULT_ACCENT, Colours, colours, is_dark, theme
from tertulia.cli.chat.gateway import REFUSALS, Gateway, explain
from tertulia.cli.chat.keys import know_alt_enter
from tertulia.cli.chat.mainscreen import MainScreen
from tertulia.cli.chat.profiles import Account, Profile
from tertulia.cli.chat.safe import clean
from tertulia.cli.chat.signin import SignIn
from tertulia_client import Client, ClientStopped
from tertulia_client.models import Appearance, SettingsDoc

_log = logging.getLogger(__name__)

DEFAULT_URL = "http://localhost:8420"
QUIT_S = 2.0


def now_ms() -> int:
    """The machine's clock in Unix milliseconds."""
    return time.time_ns() // 1_000_000


class ChatApp(App[None]):
    """`tertulia chat`.  Builds the screens and holds what outlives them."""

    CSS_PATH = "chat.tcss"
    TITLE = "Tertulia"
    ENABLE_COMMAND_PALETTE = False
    BINDINGS: ClassVar[list[BindingType]] = [Binding("ctrl+q", "quit", "quit", priority=True)]

    def __init__(
        self,
        gateway: Gateway,
        profile: Profile,
        *,
        url: str = "",
        handle: str = "",
        sign_up: bool = False,
        now: Callable[[], int] = now_ms,
    ) -> None:
        """`url` and `handle` empty: those of last time."""
        self._colours = colours(dark=is_dark(_as_theme(profile.saved.theme)))
        super().__init__()
        know_alt_enter()
        self._gateway = gateway
        self._profile = profile
        self._url = url
        self._handle = handle
        self._sign_up = sign_up
        self._now = now
        self._account: Account | None = None
        self._main: MainScreen | None = None
        self._work: set[asyncio.Task[None]] = set()
        self.faults: list[BaseException] = []
        """What went wrong in this program itself, the newest last; at most a few are kept."""

    def get_theme_variable_defaults(self) -> dict[str, str]:
        """What the style sheet needs before the first theme is put on."""
        return {"dim": self._colours.dim, "faint": self._colours.faint}

    def on_mount(self) -> None:
        self._wear(self._colours)
        account = None if self._sign_up else self._profile.account(self._url, self._handle)
        if account is None:
            self._ask()
        else:
            self._account = account
            self.attempt(self._resume(account))

    async def on_unmount(self) -> None:
        await self._close()

    # --- signing in and out ------------------------------------------------------------------------

    def _ask(self, why: str = "") -> None:
        url = self._url or self._profile.saved.url or DEFAULT_URL
        screen = SignIn(
            self._gateway,
            url=url,
            login=self._handle,
            sign_up=self._sign_up,
            why=why,
            attempt=self.attempt,
        )
        self._sign_up = False
        self.push_screen(screen, self._came_in)

    async def _resume(self, account: Account) -> None:
        try:
            client = await self._gateway.resume(account)
        except REFUSALS as error:
            self._handle = self._handle or account.handle
            self._ask(explain(error))
        else:
            await self._start(client, account.conversation)

    def _came_in(self, client: Client | None) -> None:
        if client is not None:
            self._account = next(
                (one for one in self._profile.saved.accounts if one.user == client.user), None
            )
            conversation = self._account.conversation if self._account is not None else ""
            self.attempt(self._start(client, conversation))

    async def _start(self, client: Client, conversation: str) -> None:
        self._main = MainScreen(client, self, start_with=conversation)
        await self.push_screen(self._main)

    def signed_in(self, handle: str, settings: SettingsDoc) -> None:
        if self._account is not None:
            self._profile.note(self._account, handle=handle)
        self.like(settings.appearance)

    def signed_out(self, why: str) -> None:
        self.attempt(self._go_out(why))

    async def _go_out(self, why: str) -> None:
        if self._account is not None:
            self._profile.forget(self._account)
            self._url, self._handle = self._account.url, self._account.handle
            self._account = None
        main, self._main = self._main, None
        if main is not None:
            await main.talk.close()
            while len(self.screen_stack) > 1:
                await self.pop_screen()
        self._ask(why)

    def opened(self, conversation: str) -> None:
        if self._account is not None:
            self._profile.note(self._account, conversation=conversation)

    def on_app_focus(self) -> None:
        """What is on the screen is looked at again."""
        if self._main is not None:
            self._main.redraw()

    # --- ending ------------------------------------------------------------------------------------

    async def action_quit(self) -> None:
        if self._main is not None:
            self._main.leave()
        await self.quit()

    async def quit(self) -> None:
        await self._close()
        self.exit()

    async def _close(self) -> None:
        """Let what was begun end, then disconnect."""
        main, self._main = self._main, None
        mine = asyncio.current_task()
        work = [task for task in self._work if task is not mine]
        if work:
            await asyncio.wait(work, timeout=QUIT_S)
        if main is not None:
            await main.talk.close()

    # --- common ------------------------------------------------------------------------------------

    @property
    def colours(self) -> Colours:
        return self._colours

    def now(self) -> int:
        return self._now()

    def say(self, words: str) -> None:
        self.notify(clean(words), markup=False, timeout=6)

    def attempt(self, work: Awaitable[object]) -> None:
        task = asyncio.ensure_future(self._attempt(work))
        self._work.add(task)
        task.add_done_callback(self._work.discard)

    async def _attempt(self, work: Awaitable[object]) -> None:
        try:
            await work
        except TimeoutError:
            self.say("That takes too long; it may still come.")
        except (*REFUSALS, ClientStopped) as error:
            self.say(explain(error))
        except Exception as error:  # noqa: BLE001 - the person is told, and goes on talking
            _log.exception("a piece of work failed")
            self.faults = [*self.faults[-9:], error]
            self.say(f"Something went wrong here: {type(error).__name__}")

    def like(self, appearance: Appearance) -> None:
        """The look that the settings ask for."""
        wanted = colours(dark=is_dark(appearance.theme), accent=appearance.accent or DEFAULT_ACCENT)
        self._profile.remember_theme(appearance.theme)
        if wanted != self._colours:
            self._wear(wanted)
            if self._main is not None:
                self._main.recolour()

    def _wear(self, wanted: Colours) -> None:
        self._colours = wanted
        look = theme(wanted)
        self.register_theme(look)
        if self.theme == look.name:
            # The same name with another accent is not noticed by itself.
            self.refresh_css(animate=False)
        else:
            self.theme = look.name


def _as_theme(saved: str) -> Literal["system", "light", "dark"]:
    return "light" if saved == "light" else "dark" if saved == "dark" else "system"
