"""The terminal client as a person uses it, against a client that keeps a real state but has no server."""

import re
import unicodedata
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any, cast

import msgspec
import pytest
from textual.pilot import Pilot
from textual.widgets import Input, OptionList

from tertulia.cli.chat.app import ChatApp
from tertulia.cli.chat.drawing import Key
from tertulia.cli.chat.mainscreen import MainScreen
from tertulia.cli.chat.profiles import Profile
from tertulia.cli.chat.signin import SignIn
from tertulia_client import Event, Poll, Text, TokensDoc, Typing
from tertulia_client import events as e
from tertulia_client.models import Appearance, ConversationDoc, MessageDoc, ReceiptDoc, SettingsDoc
from tests.support.chat import ALL, ME, MINUTE, NOON, FakeClient, FakeGateway, small_world

URL = "http://localhost:8420"


def shown(app: ChatApp) -> str:
    """All that stands on the screen."""
    with app._context():
        strips = app.screen._compositor.render_strips()
    return "\n".join("".join(segment.text for segment in strip) for strip in strips)


def profile(folder: Path, room: str = "") -> Profile:
    made = Profile(folder)
    made.signed_in(URL, TokensDoc(access_token="a", expires_in=1, refresh_token="r", user=ME, device="d"))
    made.note(made.saved.accounts[0], handle="mira", conversation=room)
    return made


class Sitting:
    """Somebody in front of the program."""

    def __init__(self, app: ChatApp, pilot: Pilot[None], client: FakeClient) -> None:
        self.app, self.pilot, self.client = app, pilot, client

    @property
    def main(self) -> MainScreen:
        return cast(MainScreen, next(s for s in self.app.screen_stack if isinstance(s, MainScreen)))

    @property
    def text(self) -> str:
        return shown(self.app)

    @property
    def toasts(self) -> list[str]:
        return [note.message for note in self.app._notifications]

    async def press(self, *keys: str) -> None:
        await self.pilot.press(*keys)
        await self.settle()

    async def type(self, words: str) -> None:
        await self.pilot.press(*("space" if char == " " else char for char in words))
        await self.settle()

    async def say(self, words: str) -> None:
        """Type a line and send it."""
        self.main.pane.composer.set_text(words)
        await self.press("enter")

    async def settle(self) -> None:
        for _ in range(3):
            await self.pilot.pause(0.02)


@asynccontextmanager
async def sitting(
    folder: Path, client: FakeClient, *, room: str = "g-launch", size: tuple[int, int] = (120, 36)
) -> AsyncIterator[Sitting]:
    app = ChatApp(cast(Any, FakeGateway(client)), profile(folder, room), now=lambda: client.clock)
    async with app.run_test(size=size) as pilot:
        made = Sitting(app, pilot, client)
        await made.settle()
        await made.settle()
        yield made
        assert app.faults == []
    assert client.closed


@pytest.fixture
def client() -> FakeClient:
    return small_world()


@pytest.fixture
async def at(tmp_path: Path, client: FakeClient) -> AsyncIterator[Sitting]:
    async with sitting(tmp_path, client) as made:
        yield made


# --- what stands on the screen -----------------------------------------------------------------------


async def test_the_list_has_pinned_first_topics_under_their_channel_and_counts(at: Sitting) -> None:
    lines = at.main._list.shown
    assert [line.id for line in lines] == [
        "c-general",
        "t-coffee",
        "d-ada",
        "g-launch",
        "d-jonas",
        "c-deploys",
    ]
    general, deploys = lines[0], lines[-1]
    assert (general.unread, general.mentions, general.pinned) == (2, 1, True)
    assert deploys.muted
    assert "@1" in at.text
    assert "Yes! The place" not in at.text
    assert "I'm buying" in at.text


async def test_the_open_conversation_is_told_in_full(at: Sitting) -> None:
    for words in (
        "Launch crew  4 members",
        "Yuki Tanaka",
        "╭ Ada Okafor  Looks great. One thing",
        ".hero { min-height: 60svh; }",
        "◉ Tomorrow 9:00",
        "3 · 75%",
        "4 votes",
        "🎉 3",
        "2 replies  last",
        " new ",
        "@mira can you add the changelog",
        "up to date",
    ):
        assert words in at.text, words


async def test_what_is_seen_is_read_and_nothing_else(at: Sitting, client: FakeClient) -> None:
    last = client.world.rooms["g-launch"].last_seq
    assert ("read", "g-launch", last, None) in client.log
    assert {entry[1] for entry in client.did("read")} == {"g-launch"}
    assert client.world.rooms["g-launch"].unread == 0


async def test_days_and_authors_are_told_apart(tmp_path: Path) -> None:
    client = FakeClient(now=NOON - 26 * 60 * MINUTE)
    client.add_person("ada", "ada", "Ada")
    client.add_room("g", "group", "ada", name="G")
    client.write("g", "ada", "one")
    client.write("g", "ada", "two", after=MINUTE)
    client.write("g", "ada", "much later", after=9 * MINUTE)
    client.clock = NOON
    client.write("g", "ada", "next day")
    async with sitting(tmp_path, client, room="g") as at:
        assert "Yesterday" in at.text
        assert "Today" in at.text
        # The name stands before each group: two on the first day, one on the second.
        assert at.text.count("▎ Ada") == 3


async def test_receipts_go_from_sent_to_received_to_read(at: Sitting, client: FakeClient) -> None:
    at.main.open_room("d-jonas")
    await at.settle()
    await at.say("Done")
    seq = client.world.rooms["d-jonas"].last_seq
    assert re.search(r"Done +✓ ", at.text)
    client.seen_by("d-jonas", "jonas", seq, read=False)
    await at.settle()
    assert re.search(r"Done +✓✓ ", at.text)
    block = at.main.pane.history.blocks[-1]
    mark = next(segment for segment in block.lines[-1] if "✓✓" in segment.text)
    assert mark.style is not None
    client.seen_by("d-jonas", "jonas", seq)
    await at.settle()
    block = at.main.pane.history.blocks[-1]
    coloured = next(segment for segment in block.lines[-1] if "✓✓" in segment.text)
    assert coloured.style is not None
    assert coloured.style.color != mark.style.color


async def test_receipts_of_the_time_before_are_fetched(tmp_path: Path, client: FakeClient) -> None:
    client.world.rooms["d-jonas"].receipts.clear()
    client.receipts["d-jonas"] = [ReceiptDoc(user="jonas", read=2, received=2)]
    async with sitting(tmp_path, client, room="d-jonas") as at:
        assert re.search(r"Sure +✓✓", at.text)


async def test_typing_is_shown_and_ends_by_time(at: Sitting, client: FakeClient) -> None:
    client.says(Typing(conversation="g-launch", user="ada", composing=True))
    client.says(Typing(conversation="g-launch", user="yuki", composing=True))
    await at.settle()
    assert "Ada Okafor and Yuki Tanaka are typing…" in at.text
    client.write("g-launch", "ada", "so")
    await at.settle()
    assert "Yuki Tanaka is typing…" in at.text
    client.clock += 7_000
    at.main._tick()
    await at.settle()
    assert "is typing…" not in at.text


async def test_presence_of_the_other_person_is_a_dot(at: Sitting, client: FakeClient) -> None:
    assert {line.id: line.presence for line in at.main._list.shown}["d-ada"] == "online"
    assert ("watch", ("ada", "jonas")) in [(w[0], tuple(sorted(w[1]))) for w in client.did("watch")]


async def test_deleted_and_edited_messages_say_so(at: Sitting, client: FakeClient) -> None:
    own = at.main.pane.newest(own=True)
    assert own is not None
    client.event("g-launch", "message.updated", e.MessageUpdated(content=Text(text="newer")), target=own.seq)
    last = client.world.rooms["g-launch"].last_message
    assert last is not None
    client.event("g-launch", "message.deleted", e.MessageDeleted(), user="jonas", target=last.seq)
    await at.settle()
    assert "newer (edited)" in at.text
    assert "message deleted" in at.text
    assert "changelog" not in at.text


async def test_happenings_are_told_between_messages(at: Sitting, client: FakeClient) -> None:
    client.event("g-launch", "member.added", e.MemberAdded(user="leila", role="member"), user="ada")
    client.event("g-launch", "conversation.updated", e.ConversationUpdated(name="Launched"), user="ada")
    await at.settle()
    assert "Ada Okafor added Leila Haddad" in at.text
    assert "Ada Okafor named it “Launched”" in at.text
    assert "◆ Launched" in at.text


# --- terminal injection ------------------------------------------------------------------------------

EVIL = "\x1b]0;owned\x07\x1b[2J\x9b31m\x85\x00\u202egnp.exe\u2066\x7f\r\n\u2028a\tb\x1bPq\x1b\\"


async def test_nothing_that_others_wrote_controls_the_terminal(tmp_path: Path) -> None:
    client = FakeClient()
    client.add_person("eve", f"e{EVIL}", f"Eve{EVIL}")
    client.add_room("g", "group", "eve", name=f"Group{EVIL}", description=f"About{EVIL}")
    client.add_room("d", "direct", "eve", peer="eve")
    client.channels["c"] = ConversationDoc(id="c", kind="channel", name=f"C{EVIL}", description=EVIL)
    seq = client.write("g", "eve", f"text{EVIL}\n```\ncode{EVIL}\n```\n> quote{EVIL}\n[l{EVIL}](http://x/)")
    client.react("g", seq, f"👍{EVIL}"[:64], "eve")
    client.write("g", "eve", Poll(question=f"poll{EVIL}", options=(f"a{EVIL}", f"b{EVIL}")))
    client.write("g", "eve", "reply", reply_to=seq)
    client.event("g", "topic.created", e.TopicCreated(topic="t", name=f"Topic{EVIL}"), user="eve")
    client.says(Typing(conversation="g", user="eve", composing=True))
    client.refuse = f"refused{EVIL}"
    async with sitting(tmp_path, client, room="g") as at:
        await at.say("mine")
        await at.press("f2")
        screens = [at.text]
        await at.press("f2", "f4")
        await at.pilot.pause(0.3)
        screens.append(at.text)
        await at.press("escape", "ctrl+f")
        await at.type("text")
        await at.pilot.pause(0.3)
        screens.append(at.text)
        await at.press("escape", "ctrl+k")
        screens.append(at.text)
        screens += [*at.toasts]
    whole = "\n".join(screens)
    assert "Group" in whole
    assert "text" in whole
    assert "refused" in whole
    bad = {c for c in whole if c != "\n" and unicodedata.category(c) in ("Cc", "Cf", "Cs", "Zl", "Zp")}
    assert bad == set()


async def test_markup_of_the_toolkit_is_only_text(tmp_path: Path) -> None:
    client = FakeClient()
    client.add_person("eve", "eve", "[red]Eve[/red]")
    client.add_room("g", "group", "eve", name="[@click=app.quit]G[/]")
    client.write("g", "eve", "[@click=app.quit]press[/] [link=x]y[/link]")
    async with sitting(tmp_path, client, room="g") as at:
        for words in ("[red]Eve[/red]", "Write to [@click=app.quit]G[/]", "[@click=app.quit]press[/]"):
            assert words in at.text


# --- writing -----------------------------------------------------------------------------------------


async def test_enter_sends_and_alt_enter_begins_a_line(at: Sitting, client: FakeClient) -> None:
    await at.type("one")
    await at.press("alt+enter")
    await at.type("two")
    await at.press("enter")
    assert client.did("send")[-1][2] == Text(text="one\ntwo")
    assert at.main.pane.composer.text == ""
    assert "▎ two" in at.text
    assert ("typing", "g-launch", True) in client.log


async def test_what_is_written_offline_waits_and_is_sent_when_back(at: Sitting, client: FakeClient) -> None:
    client.go_offline(retry_in_s=4.0)
    await at.settle()
    assert "offline · next try in 4 s" in at.text
    await at.say("for later")
    assert "for later  ◷" in at.text
    assert "offline, 1 message will be sent when back" in at.text
    await client.go_online()
    await at.settle()
    assert "◷" not in at.text
    assert at.text.count("for later") == 2, "once in the history, once in the list"
    assert "up to date" in at.text


async def test_what_waits_from_an_earlier_run_is_shown_and_sent(tmp_path: Path, client: FakeClient) -> None:
    client.online = False
    await client.send("g-launch", Text(text="of yesterday"))
    client.connected = client._known = True
    async with sitting(tmp_path, client) as at:
        client._known = True
        at.main.synchronised()
        at.main.redraw()
        await at.settle()
        assert "of yesterday  ◷" in at.text
        await client.go_online()
        await at.settle()
        assert "◷" not in at.text
        assert "of yesterday" in at.text


async def test_a_refused_message_stays_and_can_be_sent_again_or_dropped(
    at: Sitting, client: FakeClient
) -> None:
    client.refuse = "Slow down."
    await at.say("precious")
    assert "✗ not sent: Slow down." in at.text
    assert at.toasts
    assert at.toasts[-1] == "Not sent to Launch crew: Slow down."
    client.refuse = ""
    await at.press("escape", "r")
    assert "✗ not sent" not in at.text
    assert client.world.rooms["g-launch"].messages[client.world.rooms["g-launch"].last_seq].content == Text(
        text="precious"
    )
    client.refuse = "No."
    at.main.pane.composer.focus()
    await at.say("worthless")
    await at.press("escape", "d")
    assert "worthless" not in at.text


async def test_up_edits_ones_last_message(at: Sitting, client: FakeClient) -> None:
    await at.press("up")
    assert "✎ Edit" in at.text
    assert at.main.pane.composer.text == "and schedule the newsletter for 9:30"
    await at.say("and schedule it for 10")
    assert client.did("edit")[-1][3] == Text(text="and schedule it for 10")
    assert "and schedule it for 10 (edited)" in at.text
    await at.press("up", "escape")
    assert at.main.pane.composer.text == ""


async def test_mentions_are_completed_by_tab(at: Sitting, client: FakeClient) -> None:
    await at.type("hi @ok")
    assert "@ada" in at.text
    await at.press("tab")
    assert at.main.pane.composer.text == "hi @ada "
    await at.press("tab")
    assert at.main.pane.composer.has_focus


async def test_drafts_are_left_with_the_conversation(at: Sitting, client: FakeClient) -> None:
    await at.type("half a thought")
    at.main.open_room("d-ada")
    await at.settle()
    assert client.did("set_draft")[-1] == ("set_draft", "g-launch", "half a thought")
    assert "✎ half a thought" in at.text
    at.main.open_room("g-launch")
    await at.settle()
    assert at.main.pane.composer.text == "half a thought"
    await at.press("enter")
    assert client.did("set_draft")[-1] == ("set_draft", "g-launch", "")
    assert ("g-launch", 0) not in client.world.drafts


async def test_a_draft_survives_being_offline(at: Sitting, client: FakeClient) -> None:
    client.go_offline()
    await at.type("kept")
    at.main.open_room("d-ada")
    await at.settle()
    at.main.open_room("g-launch")
    await at.settle()
    assert at.main.pane.composer.text == "kept"


# --- selected messages -------------------------------------------------------------------------------


async def test_keys_act_on_the_selected_message(at: Sitting, client: FakeClient) -> None:
    await at.press("escape")
    selected = at.main.pane.history.selected
    assert selected is not None
    seq = selected.seq
    await at.press("p")
    assert client.did("pin")[-1][1:] == ("g-launch", seq, True)
    assert "⚑ pinned" in at.text
    await at.press("b")
    assert ("g-launch", seq) in client.world.bookmarks
    assert "★" in at.text
    await at.press("b")
    assert ("g-launch", seq) not in client.world.bookmarks
    await at.press("r")
    assert "Reply to Jonas Lindqvist" in at.text
    await at.say("will do")
    assert client.did("send")[-1][3]["reply_to"] == seq
    assert "╭ Jonas Lindqvist" in at.text


async def test_a_message_of_oneself_is_deleted_for_everyone(at: Sitting, client: FakeClient) -> None:
    await at.press("escape", "up", "d")
    assert "Delete this message?" in at.text
    await at.press("enter")
    assert client.did("delete")[-1][3] is True
    assert "message deleted" in at.text


async def test_hidden_for_oneself(at: Sitting, client: FakeClient) -> None:
    await at.press("escape", "d", "down", "enter")
    assert client.did("delete")[-1][3] is False
    assert "changelog" not in at.text


async def test_reacting_with_the_picker_and_taking_it_back_by_click(at: Sitting, client: FakeClient) -> None:
    await at.press("escape", "+")
    await at.type("rocket")
    await at.press("enter")
    assert client.did("react")[-1][3:] == ("🚀", True)
    assert "🚀 1" in at.text
    rows = at.text.split("\n")
    y = next(row for row, line in enumerate(rows) if "🚀 1" in line)
    await at.pilot.click(offset=(rows[y].index("🚀") + 1, y))
    await at.settle()
    assert client.did("react")[-1][3:] == ("🚀", False)
    assert "🚀 1" not in at.text


async def test_voting_by_number(at: Sitting, client: FakeClient) -> None:
    poll = next(
        doc.seq for doc in client.world.rooms["g-launch"].messages.values() if isinstance(doc.content, Poll)
    )
    at.main.pane.history.focus()
    at.main.pane.history.select(Key("message", poll))
    await at.press("1")
    assert client.did("vote")[-1][3] == (0,)
    assert "◉ Today 16:00" in at.text
    await at.press("1")
    assert client.did("vote")[-1][3] == ()
    assert "3 votes" in at.text
    await at.press("9")
    assert len(client.did("vote")) == 2


async def test_a_thread_opens_beside_and_takes_replies(at: Sitting, client: FakeClient) -> None:
    rows = at.text.split("\n")
    y = next(row for row, line in enumerate(rows) if "2 replies" in line)
    await at.pilot.click(offset=(rows[y].index("replies"), y))
    await at.settle()
    assert "Thread  in Launch crew" in at.text
    assert "The lemon one, of course" in at.text
    assert at.main.thread_pane.composer.has_focus
    await at.type("Perfect")
    await at.press("enter")
    assert client.did("send")[-1][3]["thread"]
    assert "3 replies" in at.text
    await at.press("escape")
    assert "Thread  in" not in at.text
    assert at.main.pane.composer.has_focus


async def test_copy_goes_to_the_clipboard(at: Sitting) -> None:
    await at.press("escape", "y")
    assert at.app.clipboard.startswith("@mira can you add the *changelog*")


async def test_pinned_and_bookmarked_messages_are_found_again(at: Sitting, client: FakeClient) -> None:
    await at.press("escape", "up", "p", "up", "b", "escape")
    for command, words in (("/pins", "and schedule the newsletter"), ("/bookmarks", "I'll write the")):
        at.main.open_room("d-ada")
        if command == "/pins":
            at.main.open_room("g-launch")
        await at.settle()
        await at.say(command)
        assert words in at.text
        await at.press("enter")
        await at.settle()
        assert at.main.pane.place == ("g-launch", 0)
        selected = at.main.pane.history.selected
        assert selected is not None
        content = client.world.rooms["g-launch"].messages[selected.seq].content
        assert isinstance(content, Text)
        assert content.text.startswith(words)


# --- getting around ----------------------------------------------------------------------------------


async def test_jump_by_a_few_letters(at: Sitting) -> None:
    await at.press("ctrl+k")
    await at.type("jon")
    await at.press("enter")
    assert at.main.pane.place == ("d-jonas", 0)
    await at.press("ctrl+k")
    await at.type("nobodyhere")
    assert "talk to @nobodyhere" in at.text
    await at.press("escape")


async def test_search_goes_to_the_place_and_loads_what_lies_between(
    tmp_path: Path, client: FakeClient
) -> None:
    room = client.world.rooms["d-jonas"]
    long_ago = [
        MessageDoc(
            id=f"d-jonas.{seq}",
            conversation="d-jonas",
            seq=seq,
            at=NOON - 90 * 24 * 60 * MINUTE + seq,
            user="jonas",
            content=Text(text="the blue umbrella" if seq == 3 else f"old words {seq}"),
        )
        for seq in range(1, 301)
    ]
    # As if the two messages that are there were the 301st and 302nd.
    for seq in (1, 2):
        doc = room.messages.pop(seq)
        room.messages[seq + 300] = msgspec.structs.replace(doc, seq=seq + 300)
    room.since = 301
    room.last_seq = 302
    client.older["d-jonas"] = long_ago
    async with sitting(tmp_path, client) as at:
        await at.press("ctrl+f")
        await at.type("umbrella")
        await at.pilot.pause(0.35)
        assert "the blue umbrella" in at.text
        await at.press("enter")
        await at.settle()
        await at.settle()
        assert at.main.pane.place == ("d-jonas", 0)
        assert at.main.pane.history.selected == Key("message", 3)
        assert "the blue umbrella" in at.text
        assert "↓ latest" in at.text
        client.write("d-jonas", "jonas", "hello?")
        await at.settle()
        assert "↓ 1 new message" in at.text
        assert client.world.rooms["d-jonas"].unread == 1
        await at.press("escape", "end")
        assert "hello?" in at.text
        assert client.world.rooms["d-jonas"].unread == 0


async def test_older_messages_come_in_without_moving_the_view(tmp_path: Path) -> None:
    client = FakeClient()
    client.add_person("ada", "ada", "Ada")
    client.add_room("g", "group", "ada", name="G")
    for number in range(80):
        client.write("g", "ada", f"word {number}.", after=10 * MINUTE)
    room = client.world.rooms["g"]
    client.older["g"] = [room.messages.pop(seq) for seq in range(1, 21)]
    room.since = 21
    async with sitting(tmp_path, client, room="g", size=(80, 24)) as at:
        assert "word 79." in at.text
        history = at.main.pane.history
        assert client.did("older") == []
        for _ in range(20):
            await at.press("pageup")
            if client.did("older"):
                break
        first = re.search(r"▎ word (\d+)\.", at.text)
        assert first is not None
        assert 19 <= int(first[1]) < 30, "the view stays where it was"
        for _ in range(4):
            await at.press("pageup")
        assert "▎ word 0." in at.text
        assert history.scroll_offset.y == 0


async def test_the_list_is_narrowed_by_typing(at: Sitting) -> None:
    at.main._list.focus()
    await at.type("coff")
    assert [line.id for line in at.main._list.shown] == ["t-coffee"]
    await at.press("enter")
    assert at.main.pane.place == ("t-coffee", 0)
    assert len(at.main._list.shown) == 6


async def test_next_unread_prefers_mentions(at: Sitting) -> None:
    await at.press("alt+a")
    assert at.main.pane.place == ("c-general", 0)
    await at.press("alt+a")
    assert at.main.pane.place == ("d-ada", 0)


async def test_channels_are_looked_through_and_joined(at: Sitting, client: FakeClient) -> None:
    client.channels["c-garden"] = ConversationDoc(
        id="c-garden", kind="channel", name="Garden", slug="garden", own_capabilities=["read", "join"]
    )
    await at.press("f4")
    await at.pilot.pause(0.3)
    assert "Garden" in at.text
    await at.press("enter")
    await at.settle()
    assert client.did("join") == [("join", "c-garden")]
    assert at.main.pane.place == ("c-garden", 0)


async def test_members_are_listed_and_lead_to_a_talk(at: Sitting, client: FakeClient) -> None:
    await at.press("f2")
    assert "Members  4" in at.text
    assert "@yuki" in at.text
    at.main._members.query_one(OptionList).focus()
    await at.press("home", "enter")
    assert client.did("open_direct")
    await at.press("f2")


async def test_new_messages_while_away_from_the_window_stay_unread(at: Sitting, client: FakeClient) -> None:
    from textual import events

    at.app.post_message(events.AppBlur())
    await at.settle()
    client.write("g-launch", "ada", "are you there?")
    await at.settle()
    assert client.world.rooms["g-launch"].unread == 1
    assert " new " in at.text
    at.app.post_message(events.AppFocus())
    await at.settle()
    assert client.world.rooms["g-launch"].unread == 0


async def test_a_conversation_that_is_gone_is_closed(at: Sitting, client: FakeClient) -> None:
    await at.say("/leave")
    assert at.main.pane.place is None
    assert "Launch crew" not in at.text


# --- commands ----------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("line", "asked"),
    [
        ("/react tada", ("react", "g-launch", 11, "🎉", True)),
        ("/edit better", ("edit", "g-launch", 9, Text(text="better"))),
        ("/mute", ("set_preferences", "g-launch", {"notify": "none"})),
        ("/mute off", ("set_preferences", "g-launch", {"notify": "all", "muted_until": 0})),
        ("/pin", ("set_preferences", "g-launch", {"pinned": True})),
        ("/dm @yuki hello", ("open_direct", "yuki")),
        ("/group Trip @ada @yuki", ("create_group", "Trip", ("ada", "yuki"))),
        ("/channel Café & Bar", ("create_channel", "Café & Bar", "cafe-bar")),
        ("/join invite123.secret456789", ("accept_invite", "invite123.secret456789")),
        ("/invite @leila", ("set_member", "g-launch", "leila")),
        ("/invite", ("create_invite", "g-launch")),
        ("/away", ("call", "presence.set", {"state": "away"})),
        ("/theme light", ("update_settings", {"appearance": {"theme": "light"}})),
    ],
    ids=lambda value: value.split()[0] + str(len(value)) if isinstance(value, str) else "",
)
async def test_commands(at: Sitting, client: FakeClient, line: str, asked: tuple[Any, ...]) -> None:
    room = client.world.rooms["g-launch"]
    newest = max(seq for seq, doc in room.messages.items() if doc.thread is None)
    own = max(seq for seq, doc in room.messages.items() if doc.thread is None and doc.user == ME)
    await at.say(line)
    expected = {"react": (newest,), "edit": (own,)}.get(asked[0])
    if expected is not None:
        asked = (*asked[:2], *expected, *asked[3:])
    assert asked in client.log
    assert at.main.pane.composer.text == ""


async def test_a_poll_is_asked_by_command(at: Sitting, client: FakeClient) -> None:
    await at.say("/poll Cake? | Lemon | Plum")
    assert client.did("send")[-1][2] == Poll(question="Cake?", options=("Lemon", "Plum"))
    assert "○ Plum" in at.text


async def test_a_word_that_is_no_command_is_kept_and_told(at: Sitting, client: FakeClient) -> None:
    await at.say("/shurg")
    assert at.toasts[-1] == "There is no /shurg; /help lists what there is."
    assert at.main.pane.composer.text == "/shurg"
    assert client.did("send") == []
    await at.say("//shrug")
    assert client.did("send")[-1][2] == Text(text="/shrug")


async def test_every_command_has_a_handler() -> None:
    from tertulia.cli.chat import slash
    from tertulia.cli.chat.commanding import Commanding

    commands = Commanding(cast(Any, None), cast(Any, None), cast(Any, None))
    assert commands.names == {command.name for command in slash.TABLE} | {"poll*"}


async def test_what_the_server_refuses_is_told_and_nothing_ends(at: Sitting, client: FakeClient) -> None:
    client.online = False
    await at.say("/pin")
    assert at.toasts[-1] == "The server cannot be reached: no connection"
    client.online = True


# --- signing in and out ------------------------------------------------------------------------------


@asynccontextmanager
async def door(folder: Path, **options: Any) -> AsyncIterator[tuple[ChatApp, Pilot[None], FakeGateway]]:
    gateway = FakeGateway(small_world())
    app = ChatApp(cast(Any, gateway), Profile(folder), **options)
    async with app.run_test(size=(100, 30)) as pilot:
        await pilot.pause(0.05)
        yield app, pilot, gateway
        assert app.faults == []


async def test_signing_in(tmp_path: Path) -> None:
    async with door(tmp_path, url="https://chat.example", handle="mira") as (app, pilot, gateway):
        assert isinstance(app.screen, SignIn)
        await pilot.press(*"wrong", "enter")
        await pilot.pause(0.1)
        assert "The login or the password is wrong." in shown(app)
        assert "\x1b" not in shown(app)
        app.screen.query_one("#password", Input).value = "right"
        await pilot.press("enter")
        await pilot.pause(0.2)
        assert isinstance(app.screen, MainScreen)
        assert gateway.log[-1] == ("sign_in", "https://chat.example", "mira")


async def test_signing_up_with_the_code(tmp_path: Path) -> None:
    async with door(tmp_path, sign_up=True) as (app, pilot, gateway):
        for field, words in (
            ("server", "chat.example"),
            ("address", "mira@example.org"),
            ("handle", "@mira"),
            ("name", "Mira"),
            ("password", "long enough"),
        ):
            app.screen.query_one(f"#{field}", Input).value = words
        await pilot.click("#go")
        await pilot.pause(0.1)
        assert gateway.log[-1] == ("sign_up", "https://chat.example", "mira@example.org", "mira", "Mira")
        assert "A code is on its way" in shown(app)
        await pilot.press(*"123456", "enter")
        await pilot.pause(0.2)
        assert gateway.log[-1] == ("verify", "https://chat.example", "mira@example.org", "123456")
        assert isinstance(app.screen, MainScreen)


async def test_being_signed_out_elsewhere_leads_back_to_the_door(at: Sitting, client: FakeClient) -> None:
    client.stop("signed out: revoked", signed_out=True)
    await at.settle()
    await at.settle()
    assert isinstance(at.app.screen, SignIn)
    assert "signed out: revoked" in at.text
    assert at.app._profile.saved.accounts == []


async def test_starting_without_a_connection_shows_that_it_tries(tmp_path: Path, client: FakeClient) -> None:
    client.online = False
    async with sitting(tmp_path, client) as at:
        assert "connecting…" in at.text


# --- looks -------------------------------------------------------------------------------------------


@pytest.mark.parametrize("size", [(80, 24), (200, 60), (40, 12), (20, 5), (130, 40)], ids=str)
async def test_any_size_and_resizing(tmp_path: Path, client: FakeClient, size: tuple[int, int]) -> None:
    async with sitting(tmp_path, client, size=size) as at:
        for other in ((80, 24), (30, 8), (200, 60), (100, 30), size):
            await at.pilot.resize_terminal(*other)
            await at.settle()
            assert all(len(line) <= other[0] for line in at.text.split("\n"))
        await at.press("f2")
        await at.pilot.resize_terminal(60, 20)
        await at.settle()
        await at.press("f1")
        await at.pilot.resize_terminal(*size)
        await at.settle()


async def test_the_theme_and_the_accent_follow_the_settings(at: Sitting, client: FakeClient) -> None:
    assert at.app.theme == "tertulia-dark"
    settings = SettingsDoc(appearance=Appearance(theme="light", accent="#aa3366"))
    client.event(ME, "settings.updated", e.SettingsUpdated(settings=settings))
    await at.settle()
    assert at.app.theme == "tertulia-light"
    assert at.app.colours.accent == "#aa3366"
    assert at.main.context.colours is at.app.colours


async def test_an_event_that_cannot_be_shown_ends_nothing(at: Sitting, client: FakeClient) -> None:
    client._feed.put(
        Event(kind="newer.thing", conversation="nowhere", seq=1, body=e.OtherBody(fields={"a": 1}))
    )
    client.write("g-launch", "ada", "still here")
    await at.settle()
    assert "still here" in at.text


def test_the_made_up_world_may_do_everything() -> None:
    assert set(ALL) <= set(small_world().world.rooms["g-launch"].own_capabilities)
