"""The parts of the terminal client that know no screen."""

import os
import stat
import unicodedata
from datetime import datetime
from pathlib import Path
from typing import Any, cast

import pytest
from hypothesis import given
from hypothesis import strategies as st
from rich.cells import cell_len

from tertulia.cli.chat import emoji, slash
from tertulia.cli.chat.alerts import rings
from tertulia.cli.chat.colours import colours, is_dark
from tertulia.cli.chat.commanding import as_slug
from tertulia.cli.chat.completion import Candidate, complete
from tertulia.cli.chat.contents import size, summary
from tertulia.cli.chat.gateway import explain, server_address
from tertulia.cli.chat.listing import Line, matches, ordered
from tertulia.cli.chat.markup import Reader, to_lines, to_words
from tertulia.cli.chat.profiles import Profile, state_folder
from tertulia.cli.chat.receipts import Receipt, Receipts
from tertulia.cli.chat.safe import MAX_MARKS, clean, clean_line, clip
from tertulia.cli.chat.slash import Call, NotACommand
from tertulia.cli.chat.talk import Talk
from tertulia.cli.chat.times import ago, brief, day_name, span
from tertulia.cli.chat.typists import LASTS_MS, Typists
from tertulia_client import (
    ApiError,
    ContactCard,
    Encrypted,
    Event,
    Location,
    MessageNew,
    OutboxInUse,
    Poll,
    Text,
    TokensDoc,
    Typing,
    Unreachable,
)
from tertulia_client.models import PreferencesDoc
from tests.support.chat import ME, NOON, FakeClient, small_world

DARK = colours(dark=True)
READER = Reader("me", {"ada": "u-ada", "mira": "me", "all": "*"}.get)

# --- safe --------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("dirty", "expected"),
    [
        ("plain, ünïcode, 日本語", "plain, ünïcode, 日本語"),
        ("\x1b[31mred\x1b[0m", "[31mred[0m"),
        ("\x1b]52;c;aGk=\x07", "]52;c;aGk="),
        ("\x9b2J\x90q\x9c", "2Jq"),
        ("a\rb\r\nc\vd\fe\x85f\u2028g\u2029h", "a\nb\nc\nd\ne\nf\ng\nh"),
        ("\x00\x08\x7f\x7f", ""),
        ("a\tb", "a    b"),
        ("\u202eabc\u202c\u2066d\u2069", "abcd"),
        ("zero\u200bwidth\ufeff\u00ad\u2060", "zerowidth"),
        ("👩\u200d💻 ❤\ufe0f", "👩💻 ❤"),
        ("می\u200cخواهم", "می\u200cخواهم"),
        ("क्\u200dष", "क्\u200dष"),
        ("\ud800", "\ufffd"),
        ("\U000e0041\U000e007f", ""),
        ("e" + "\u0301" * 50, "e" + "\u0301" * MAX_MARKS),
    ],
    ids=repr,
)
def test_what_is_unsafe_is_left_out(dirty: str, expected: str) -> None:
    assert clean(dirty) == expected


@given(st.text(max_size=200))
def test_nothing_controls_the_terminal(text: str) -> None:
    safe = clean(text)
    assert not [c for c in safe if c != "\n" and unicodedata.category(c) in ("Cc", "Cs", "Zl", "Zp")]
    assert clean(safe) == safe
    assert "\n" not in clean_line(text)


@given(st.text(max_size=60), st.integers(0, 30))
def test_clipped_texts_fit(text: str, width: int) -> None:
    assert cell_len(clip(clean_line(text), width)) <= width


# --- markup ------------------------------------------------------------------------------------------


def plain(source: str) -> list[str]:
    return [line.plain for line in to_lines(source, DARK, READER)]


def styled(source: str, words: str) -> Any:
    """The style of some words of a message."""
    for line in to_lines(source, DARK, READER):
        at = line.plain.find(words)
        if at >= 0:
            from rich.console import Console

            return line.get_style_at_offset(Console(), at)
    raise AssertionError(words)


def test_emphasis_and_code() -> None:
    source = "a **bold** *leaning* ~~gone~~ `x = *1*` \\*plain\\*"
    assert plain(source) == ["a bold leaning gone x = *1* *plain*"]
    assert styled(source, "bold").bold
    assert styled(source, "leaning").italic
    assert styled(source, "gone").strike
    assert styled(source, "x =").color.name == DARK.code


def test_blocks_keep_their_lines() -> None:
    assert plain("one\ntwo\n\n\nthree\n> said\n> so\n```\n  x\n\n  y\n```\nend") == [
        "one", "two", "", "three", "▍ said", "▍ so", "▏   x", "▏ ", "▏   y", "end",
    ]  # fmt: skip
    # What the subset does not have stays as it was typed.
    assert plain("# no head\n- no list\n<b>x</b> &amp; 1. a") == [
        "# no head",
        "- no list",
        "<b>x</b> &amp; 1. a",
    ]


def test_a_link_shows_where_it_leads() -> None:
    assert plain("[my bank](https://evil.example/a)") == ["my bank (https://evil.example/a)"]
    assert styled("see https://x.example/a.", "https").underline
    assert [line.spans[0].end for line in to_lines("https://x.example/a.", DARK, READER)] == [19]


def test_mentions_have_the_colour_of_who_is_meant() -> None:
    assert styled("hi @ada!", "@ada").color.name == DARK.person("u-ada")
    assert styled("hi @mira", "@mira").bold
    assert styled("@all: hi", "@all").bold
    assert styled("hi @nobody", "@nobody").color is None
    assert styled("mail a@ada.example", "@ada").color is None
    assert styled("`@ada`", "@ada").color.name == DARK.code


def test_endless_messages_are_cut() -> None:
    lines = plain("\n".join("x" for _ in range(3_000)))
    assert len(lines) == 401
    assert lines[-1].startswith("… there is more")
    assert plain("y" * 60_000)[-1].startswith("… there is more")


@given(st.text(alphabet="*_~`>[]()\\!@ab \n\x1b#-", max_size=300))
def test_any_text_has_lines(source: str) -> None:
    lines = to_lines(source, DARK, READER)
    assert lines
    assert not any("\x1b" in line.plain or "\n" in line.plain for line in lines)


def test_words_for_a_list_have_no_marks() -> None:
    assert to_words("**a** `b`\n> c") == "a b c"


def test_summaries_and_sizes() -> None:
    assert summary(None) == "message deleted"
    assert summary(Poll(question="Q?\x1b", options=("a", "b"))) == "Poll: Q?"
    assert summary(Location(latitude=1, longitude=2)) == "Location"
    assert summary(ContactCard(name="Ada")) == "Contact: Ada"
    assert summary(Encrypted(scheme="mls", ciphertext="")) == "encrypted message"
    assert [size(n) for n in (999, 1000, 12_345, 3_400_000, 10**12)] == [
        "999 B", "1.0 kB", "12 kB", "3.4 MB", "1.0 TB",
    ]  # fmt: skip


# --- times -------------------------------------------------------------------------------------------


def ms(*when: int) -> int:
    return int(datetime(*when).astimezone().timestamp() * 1000)


def test_days_and_times_as_people_say_them() -> None:
    now = ms(2026, 3, 4, 12, 0)
    assert day_name(ms(2026, 3, 4, 0, 1), now) == "Today"
    assert day_name(ms(2026, 3, 3, 23, 59), now) == "Yesterday"
    assert day_name(ms(2026, 1, 2, 9, 0), now) == "Friday 2 January"
    assert day_name(ms(2025, 1, 2, 9, 0), now) == "2 January 2025"
    assert brief(ms(2026, 3, 4, 9, 14), now) == "09:14"
    assert brief(ms(2026, 3, 1, 9, 14), now) == "Sun"
    assert brief(ms(2026, 1, 1, 9, 14), now) == "1 Jan"
    assert brief(ms(2024, 1, 1, 9, 14), now) == "2024"
    assert brief(0, now) == ""
    assert brief(10**20, now) == "1970"
    assert [ago(now - minutes * 60_000, now) for minutes in (0, 5, 61)] == ["now", "5 min ago", "1 h ago"]
    assert [span(text) for text in ("30m", "8h", "2d", "1w", "", "h", "8", "-1h", "1y", "²h")] == [
        1_800_000, 28_800_000, 172_800_000, 604_800_000, None, None, None, None, None, None,
    ]  # fmt: skip


# --- the list ----------------------------------------------------------------------------------------


def line(name: str, when: int, **more: Any) -> Line:
    return Line(id=name, kind="group", title=name, preview="", when=when, **more)


def test_the_order_of_the_list() -> None:
    lines = [
        line("old", 1),
        line("new", 9),
        line("topic", 20),
        line("pinned", 0, pinned=True),
        line("lost", 3),
    ]
    order = [one.id for one in ordered(lines, {"topic": "old", "lost": "not here"})]
    assert order == ["pinned", "old", "topic", "new", "lost"]


def test_how_well_names_match() -> None:
    names = ["Launch crew", "Lola", "Crew", "Slow chat", "xyz"]
    found = sorted((fit, name) for name in names if (fit := matches(name, "cr")) is not None)
    assert [name for _, name in found] == ["Crew", "Launch crew"]
    assert matches("Launch crew", "lc") is not None
    assert matches("Launch crew", "cl") is None
    assert matches("anything", " ") == 0


# --- commands and completion -------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("typed", "expected"),
    [
        ("hello", None),
        ("//me too", None),
        ("/etc/hosts is a file", None),
        ("/", None),
        ("/react 👍", Call("react", "👍")),
        ("/REACT tada ", Call("react", "tada")),
        ("/msg @ada hi there", Call("dm", "@ada hi there")),
        ("/poll* a | b | c", Call("poll*", "a | b | c")),
        ("/poll a\nb\nc", Call("poll", "a\nb\nc")),
        ("/nonsense x", NotACommand("nonsense")),
        ("/?", Call("help", "")),
    ],
    ids=repr,
)
def test_reading_commands(typed: str, expected: object) -> None:
    got = slash.read(typed)
    if isinstance(got, Call):
        assert isinstance(expected, Call)
        assert (got.name, got.argument.split()) == (expected.name, expected.argument.split())
    else:
        assert got == expected


def test_arguments() -> None:
    assert slash.poll_parts("Q? | a | b |") == ("Q?", ("a", "b"))
    assert slash.poll_parts("Q?\na\nb") == ("Q?", ("a", "b"))
    assert slash.poll_parts("Q? | a") is None
    assert slash.poll_parts(" | a | b") is None
    assert slash.poll_parts("Q? | " + " | ".join("x" * 21)) is None
    assert slash.handles_in("Book club @ada @grace") == ("Book club", ["ada", "grace"])
    assert slash.as_message("//x") == "/x"
    assert [as_slug(name) for name in ("Crème brûlée!", "東京", "--")] == [
        "creme-brulee",
        "channel",
        "channel",
    ]


PEOPLE = [Candidate("ada", "Ada Okafor"), Candidate("adam", "Adam"), Candidate("yuki", "Yuki Ogawa")]


@pytest.mark.parametrize(
    ("before", "inserts"),
    [
        ("hi @ad", ["@ada ", "@adam "]),
        ("hi @o", ["@ada ", "@yuki "]),
        ("(@yu", ["@yuki "]),
        ("mail ada@yu", []),
        ("done", []),
        ("@he", ["@here "]),
        (":tada", ["🎉 "]),
        ("12:30", []),
        ("/mut", ["/mute "]),
        ("/mute 8", ["8h"]),
        ("/join ga", ["#garden"]),
        ("/theme ", ["dark", "light", "system"]),
        ("/dm @yu", ["@yuki "]),
        ("text /mut", []),
    ],
    ids=repr,
)
def test_completion(before: str, inserts: list[str]) -> None:
    choices = complete(before, PEOPLE, ["garden", "kitchen"])
    assert [one.insert for one in choices] == inserts
    assert all(one.length <= len(before) for one in choices)


def test_a_bare_slash_lists_all_commands() -> None:
    assert len(complete("/", [], [])) == len(slash.TABLE)


def test_emoji_are_found_and_are_two_cells_wide() -> None:
    assert emoji.find("tada")[0] == "🎉"
    assert "👍" in emoji.find("+1")
    assert emoji.find("no such thing at all") == []
    assert all(cell_len(char) == 2 for char, _ in emoji.table())
    assert len({char for char, _ in emoji.table()}) == len(emoji.table())
    assert [emoji.as_emoji(text) for text in ("👍", ":tada:", "", "zzzz", "x" * 40)] == [
        "👍", "🎉", None, None, None,
    ]  # fmt: skip


# --- what is kept between runs -----------------------------------------------------------------------


def tokens(user: str, refresh: str) -> TokensDoc:
    return TokensDoc(access_token="secret", expires_in=1, refresh_token=refresh, user=user, device="d")


def test_accounts_are_kept_for_their_owner_only(tmp_path: Path) -> None:
    profile = Profile(tmp_path, "work")
    profile.signed_in("http://a", tokens("u1", "r1"))
    profile.note(profile.saved.accounts[0], handle="Ada", conversation="c")
    profile.signed_in("http://b", tokens("u2", "r2"))
    profile.signed_in("http://a", tokens("u1", "r3"))
    file = tmp_path / "chat" / "work" / "accounts.json"
    assert stat.S_IMODE(file.stat().st_mode) == 0o600
    assert b"secret" not in file.read_bytes(), "the access token is of no use later"
    again = Profile(tmp_path, "work")
    first = again.account()
    assert first is not None
    assert (first.url, first.refresh_token, first.handle, first.conversation) == (
        "http://a",
        "r3",
        "Ada",
        "c",
    )
    assert again.account("http://b") is not None
    assert again.account("http://b", "ada") is None
    assert again.account("", "ADA") == first
    again.forget(first)
    assert [one.url for one in Profile(tmp_path, "work").saved.accounts] == ["http://b"]
    assert os.listdir(file.parent) == ["accounts.json"]


def test_profiles_are_apart_and_have_names_that_are_no_paths(tmp_path: Path) -> None:
    Profile(tmp_path, "one").signed_in("http://a", tokens("u1", "r1"))
    assert Profile(tmp_path, "two").account() is None
    for name in ("", "../x", "a/b", ".hidden", "x" * 65):
        with pytest.raises(ValueError, match="profile"):
            Profile(tmp_path, name)
    outbox = Profile(tmp_path, "one").outbox("http://a/../../etc", "u/1")
    assert outbox.parent == tmp_path / "chat" / "one"


def test_a_spoilt_file_means_signing_in_again(tmp_path: Path) -> None:
    Profile(tmp_path).signed_in("http://a", tokens("u1", "r1"))
    (tmp_path / "chat" / "default" / "accounts.json").write_bytes(b'{"accounts":[{"url"')
    assert Profile(tmp_path).account() is None


def test_where_the_state_is(tmp_path: Path) -> None:
    assert state_folder({"XDG_STATE_HOME": "/s"}, "linux") == Path("/s/tertulia")
    assert state_folder({"XDG_STATE_HOME": "relative"}, "linux") == Path.home() / ".local/state/tertulia"
    assert "Application Support" in str(state_folder({}, "darwin"))
    assert state_folder({"LOCALAPPDATA": "/l"}, "win32") == Path("/l/Tertulia")


def test_addresses_and_explanations() -> None:
    assert [server_address(typed) for typed in (" chat.example/ ", "localhost:8420", "http://x:1/", "")] == [
        "https://chat.example", "http://localhost:8420", "http://x:1", "",
    ]  # fmt: skip
    assert explain(ApiError("invalid", "Too short.")) == "Too short."
    assert explain(Unreachable("refused")) == "The server cannot be reached: refused"
    assert "--profile" in explain(OutboxInUse())


def test_dark_or_light() -> None:
    assert is_dark("dark", {})
    assert not is_dark("light", {})
    assert is_dark("system", {})
    assert is_dark("system", {"COLORFGBG": "15;0"})
    assert not is_dark("system", {"COLORFGBG": "0;default;15"})
    assert colours(dark=True, accent="no colour at all") == colours(dark=True)


# --- talking -----------------------------------------------------------------------------------------


def test_receipts_count_readers() -> None:
    client = small_world()
    room = client.world.rooms["g-launch"]
    room.receipts.clear()
    client.seen_by("g-launch", "ada", 5)
    client.seen_by("g-launch", "yuki", 7, read=False)
    receipts = Receipts(room)
    assert [receipts.of(seq) for seq in (4, 5, 6, 7, 8)] == [
        Receipt("read", 1), Receipt("read", 1), Receipt("received"), Receipt("received"), Receipt("sent"),
    ]  # fmt: skip
    assert [receipts.of(seq).mark for seq in (5, 6, 8)] == ["✓✓ 1", "✓✓", "✓"]


async def test_typing_is_told_now_and_then() -> None:
    client = FakeClient()
    now = [NOON]
    typists = Typists(cast(Any, client), lambda: now[0])
    place = ("g", 0)
    for _ in range(10):
        await typists.composing(place, "text")
        now[0] += 500
    assert [entry[2] for entry in client.did("typing")] == [True, True]
    await typists.composing(place, "  ")
    await typists.composing(place, "")
    assert [entry[2] for entry in client.did("typing")] == [True, True, False]
    typists.heard(Typing(conversation="g", user="ada", composing=True))
    assert typists.at(place) == ["ada"]
    now[0] += LASTS_MS
    assert typists.at(place) == []
    assert typists.expire() == {"g"}
    assert typists.expire() == set()


@pytest.mark.parametrize(
    ("room", "content", "preferences", "expected"),
    [
        ("d-ada", Text(text="hi"), PreferencesDoc(), True),
        ("g-launch", Text(text="hi"), PreferencesDoc(), True),
        ("c-general", Text(text="hi"), PreferencesDoc(), False),
        ("c-general", Text(text="@mira", mentions=(ME,)), PreferencesDoc(), True),
        ("c-general", Text(text="@all", mention_all=True), PreferencesDoc(), True),
        ("d-ada", Text(text="hi"), PreferencesDoc(notify="none"), False),
        ("d-ada", Text(text="hi"), PreferencesDoc(muted_until=NOON + 1), False),
        ("g-launch", Text(text="hi"), PreferencesDoc(notify="mentions"), False),
        ("d-ada", Text(text="hi"), PreferencesDoc(notify="mentions"), True),
    ],
    ids=str,
)
async def test_what_rings(room: str, content: Text, preferences: PreferencesDoc, expected: bool) -> None:
    client = small_world()
    await client.connect()
    talk = Talk(cast(Any, client), cast(Any, None), lambda: NOON)
    client.world.rooms[room].preferences = preferences
    event = Event(kind="message.new", conversation=room, seq=99, user="ada", body=MessageNew(content=content))
    assert rings(talk, event) is expected
    await client.close()
