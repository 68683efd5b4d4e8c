"""`tertulia chat` against a running server: twice as two people, and once in a real terminal."""

import asyncio
import contextlib
import fcntl
import os
import pty
import re
import signal
import struct
import subprocess
import termios
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator
from pathlib import Path

import pytest
from textual.pilot import Pilot
from textual.widgets import Input

from tertulia.cli.chat.app import ChatApp
from tertulia.cli.chat.gateway import Server as ChatServer
from tertulia.cli.chat.profiles import Profile
from tertulia_client import Client, Event, MessageNew, Options, Text
from tests.support.process import PASSWORD, TERTULIA, Server, serving, surroundings

WAIT_S = 20.0


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    with serving(tmp_path_factory.mktemp("chat") / "data") as running:
        running.people("ada", "grace")
        yield running


async def until(what: Callable[[], object]) -> None:
    """Wait for something to be true."""
    async with asyncio.timeout(WAIT_S):
        while not what():  # noqa: ASYNC110 - what is waited for is on a screen
            await asyncio.sleep(0.02)


class Chat:
    """One person's program; it runs in a task of its own, so that two do not mix."""

    def __init__(self, app: ChatApp) -> None:
        self.app = app
        self._orders: asyncio.Queue[Callable[[Pilot[None]], Awaitable[object]] | None] = asyncio.Queue()
        self._done: asyncio.Queue[None] = asyncio.Queue()
        self._task = asyncio.ensure_future(self._run())

    async def _run(self) -> None:
        async with self.app.run_test(size=(110, 34)) as pilot:
            while (order := await self._orders.get()) is not None:
                await order(pilot)
                self._done.put_nowait(None)

    async def do(self, order: Callable[[Pilot[None]], Awaitable[object]]) -> None:
        self._orders.put_nowait(order)
        async with asyncio.timeout(WAIT_S):
            await self._done.get()

    async def press(self, *keys: str) -> None:
        await self.do(lambda pilot: pilot.press(*keys))

    async def type(self, words: str) -> None:
        await self.press(*("space" if char == " " else char for char in words))

    async def say(self, words: str) -> None:
        await self.type(words)
        await self.press("enter")

    @property
    def text(self) -> str:
        with self.app._context():
            strips = self.app.screen._compositor.render_strips()
        return "\n".join("".join(segment.text for segment in strip) for strip in strips)

    async def shows(self, *words: str) -> None:
        try:
            await until(lambda: all(one in self.text for one in words))
        except TimeoutError:
            raise AssertionError(f"{words} is not on the screen:\n{self.text}") from None

    async def close(self) -> None:
        self._orders.put_nowait(None)
        async with asyncio.timeout(WAIT_S):
            await self._task
        assert self.app.faults == []


@contextlib.asynccontextmanager
async def chat(server: Server, folder: Path, handle: str, **options: bool) -> AsyncIterator[Chat]:
    profile = Profile(folder, handle or "new")
    app = ChatApp(ChatServer(profile), profile, url=server.address, handle=handle, **options)
    made = Chat(app)
    try:
        await until(lambda: made.app.is_running and made.app.screen_stack)
        yield made
    finally:
        await made.close()


async def sign_in(person: Chat) -> None:
    await person.shows("Sign in", "Password")
    await person.type(PASSWORD)
    await person.press("enter")
    await person.shows("up to date")


async def test_two_people_hold_a_conversation(server: Server, tmp_path: Path) -> None:
    async with chat(server, tmp_path, "ada") as ada, chat(server, tmp_path, "grace") as grace:
        await sign_in(ada)
        await sign_in(grace)

        # Ada finds Grace by her handle, and writes.
        await ada.press("ctrl+k")
        await ada.type("@grace")
        await ada.shows("talk to @grace")
        await ada.press("enter")
        await ada.shows("Write to Grace")
        await ada.say("Good morning!")
        await grace.shows("Good morning!", "Write to Ada")
        await ada.shows("✓✓", "online")

        # Grace types, answers, and reacts.
        await grace.type("And to")
        await ada.shows("Grace is typing…")
        await grace.say(" you *too*")
        await ada.shows("And to you too")
        await grace.press("escape", "up", "+")
        await grace.type("tada")
        await grace.press("enter")
        await ada.shows("🎉 1")

        # Ada edits what she wrote, and answers in a thread.
        await ada.press("up")
        await ada.press("ctrl+e", "ctrl+u")
        await ada.say("Good evening!")
        await grace.shows("Good evening! (edited)")
        await ada.press("escape", "t")
        await ada.shows("Thread  in Grace")
        await ada.say("in the thread")
        await grace.shows("1 reply")

        # A channel with a poll.
        await ada.press("escape")
        await ada.say("/channel Reading room")
        await ada.shows("Write to Reading room")
        await ada.say("/poll Which one? | Dune | Emma")
        await ada.shows("○ Emma")
        await grace.press("escape", "f4")
        await grace.shows("Reading room", "1 member")
        await grace.press("enter")
        await grace.shows("Which one?", "○ Dune")
        await grace.press("escape")
        await grace.press("2")
        await grace.shows("◉ Emma")
        await ada.shows("1 · 100%", "Grace joined")

        # Search finds what was said elsewhere and goes there.
        await ada.press("ctrl+f")
        await ada.type("too")
        await ada.shows("And to you")
        await ada.press("enter")
        await ada.shows("Write to Grace")
        assert not [toast.message for toast in ada.app._notifications]
        assert not [toast.message for toast in grace.app._notifications]


async def test_signing_up_with_the_code_that_was_sent(server: Server, tmp_path: Path) -> None:
    async with chat(server, tmp_path, "", sign_up=True) as nina:
        await nina.shows("Create an account")
        fields = {
            "address": "nina@example.org",
            "handle": "nina",
            "name": "Nina",
            "password": "a long enough password",
        }
        for name, words in fields.items():
            nina.app.screen.query_one(f"#{name}", Input).value = words
        await nina.do(lambda pilot: pilot.click("#go"))
        await nina.shows("A code is on its way to nina@example.org.")
        await until(lambda: re.search(r"nina@example\.org", server.log) and _code(server.log))
        await nina.type(_code(server.log))
        await nina.press("enter")
        await nina.shows("up to date", "No conversations yet.")
    again = Profile(tmp_path, "new").account()
    assert again is not None
    assert again.handle == "nina"
    # The next start needs no password, although the first token has been traded in.
    for _ in range(2):
        async with chat(server, tmp_path, "") as nina:
            await nina.shows("up to date", "@nina")


def _code(log: str) -> str:
    found = re.findall(r"\\n\\n(\d{6})\\n\\n", log)
    return found[-1] if found else ""


class Terminal:
    """The program in a terminal, as its bytes."""

    def __init__(self, *arguments: str, environment: dict[str, str]) -> None:
        self.seen = b""
        master, slave = pty.openpty()
        fcntl.ioctl(slave, termios.TIOCSWINSZ, struct.pack("HHHH", 30, 100, 0, 0))
        self._master = master
        self.process = subprocess.Popen(
            [*TERTULIA, "chat", *arguments],
            stdin=slave,
            stdout=slave,
            stderr=slave,
            env=environment,
            start_new_session=True,
        )
        os.close(slave)
        os.set_blocking(master, False)
        asyncio.get_running_loop().add_reader(master, self._read)

    def _read(self) -> None:
        try:
            self.seen += os.read(self._master, 65536)
        except OSError:
            asyncio.get_running_loop().remove_reader(self._master)

    def write(self, keys: str) -> None:
        os.write(self._master, keys.encode())

    async def shows(self, words: str) -> None:
        try:
            await until(lambda: words.encode() in self.seen)
        except TimeoutError:
            raise AssertionError(f"{words!r} was not written: {self.seen[-4000:]!r}") from None

    async def ended(self) -> int:
        await until(lambda: self.process.poll() is not None)
        return self.process.returncode

    def close(self) -> None:
        if self.process.poll() is None:
            self.process.send_signal(signal.SIGKILL)
        self.process.wait(10)
        asyncio.get_running_loop().remove_reader(self._master)
        os.close(self._master)


async def test_in_a_real_terminal_nothing_that_others_write_is_obeyed(server: Server, tmp_path: Path) -> None:
    environment = surroundings(
        XDG_STATE_HOME=str(tmp_path), TERM="xterm-256color", COLORTERM="truecolor", LANG="C.UTF-8"
    )
    terminal = Terminal("--url", server.address, "--as", "ada", environment=environment)
    client = await Client.sign_in(
        server.address, "grace", PASSWORD, device="test", options=Options(trust_env=False)
    )
    try:
        async with client:
            await client.connect()
            await terminal.shows("Password")
            terminal.write(PASSWORD)
            await asyncio.sleep(0.3)
            terminal.write("\r")
            await terminal.shows("up to date")
            ada = (await client.rest.people.find(handle="ada"))[0]
            talk = await client.rest.conversations.open_direct(ada.id)
            evil = "\x1b]0;owned\x07\x9b2J\x1b[?1049l\x1bPq#\x1b\\"
            sent = await client.send(talk.id, f"before{evil}after")
            await sent.acknowledged()
            await terminal.shows("before")
            await terminal.shows("after")
            for harm in (b"\x1b]0;owned", b"owned\x07", "\x9b2J".encode(), b"\x1bPq#"):
                assert harm not in terminal.seen
            assert terminal.seen.count(b"\x1b[?1049l") == 0, "only the end leaves the second screen"

            # Escape and Return is how most terminals send Alt+Enter.
            terminal.write("two\x1b\rlines")
            await asyncio.sleep(0.5)
            terminal.write("\r")
            async with asyncio.timeout(WAIT_S):
                async for news in client.events():
                    if isinstance(news, Event) and isinstance(news.body, MessageNew) and news.user == ada.id:
                        assert isinstance(news.body.content, Text)
                        assert news.body.content.text == "two\nlines"
                        break
            terminal.write("\x11")
            assert await terminal.ended() == 0
    finally:
        terminal.close()
    kept = tmp_path / "tertulia" / "chat" / "default"
    assert (kept / "accounts.json").stat().st_mode & 0o777 == 0o600
    assert (kept / "chat.log").read_text() == ""


def test_without_a_terminal_it_says_so() -> None:
    done = subprocess.run(
        [*TERTULIA, "chat"], stdin=subprocess.DEVNULL, capture_output=True, text=True, timeout=60
    )
    assert (done.returncode, done.stderr) == (2, "tertulia: chat needs a terminal\n")
