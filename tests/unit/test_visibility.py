"""Who sees what of whom, and what people may write about themselves."""

from __future__ import annotations

import pytest

from tertulia.domain.profile_rules import check_note, check_photo, normalise_name, normalise_status
from tertulia.domain.records import User
from tertulia.domain.schedules import MAX_AHEAD_MS, MAX_PENDING, check_pending, check_send_at
from tertulia.domain.settings import Privacy, SettingsDocument
from tertulia.domain.visibility import (
    ProfileView,
    Relation,
    allows,
    exists_for,
    findable,
    pair_of,
    profile,
)
from tests.support.world import refused

BOB = User(
    tenant="acme", id="bob", handle="bob", name="Bob", created_at=1, photo="p1", status="here", bot=True
)


@pytest.mark.parametrize("contact", ["none", "requested", "received", "accepted"])
def test_who_belongs_to_an_audience(contact):
    other = Relation(viewer="ana", owner="bob", contact=contact)
    assert allows("everyone", other)
    assert allows("contacts", other) == (contact == "accepted")
    assert not allows("nobody", other)
    own = Relation(viewer="bob", owner="bob")
    assert all(allows(audience, own) for audience in ("everyone", "contacts", "nobody"))


def test_a_profile_is_whole_for_whom_it_is_meant():
    relation = Relation(viewer="ana", owner="bob", contact="requested", blocks=True)
    assert profile(BOB, SettingsDocument(), relation) == ProfileView(
        id="bob",
        handle="bob",
        name="Bob",
        photo="p1",
        status="here",
        bot=True,
        contact_state="requested",
        blocked_by_me=True,
    )


def test_a_photo_can_be_hidden():
    hidden = SettingsDocument(privacy=Privacy(photo="contacts"))
    stranger = profile(BOB, hidden, Relation(viewer="ana", owner="bob", contact="received"))
    assert stranger is not None
    assert (stranger.photo, stranger.status) == ("", "here")
    friend = profile(BOB, hidden, Relation(viewer="ana", owner="bob", contact="accepted"))
    assert friend is not None
    assert friend.photo == "p1"
    nobody = SettingsDocument(privacy=Privacy(photo="nobody"))
    own = profile(BOB, nobody, Relation(viewer="bob", owner="bob"))
    assert own is not None
    assert own.photo == "p1"


def test_gone_off_and_blocking_people_look_alike():
    import msgspec

    off = msgspec.structs.replace(BOB, disabled=True)
    plain = Relation(viewer="ana", owner="bob")
    blocked = Relation(viewer="ana", owner="bob", blocked=True)
    for user, relation in ((None, plain), (off, plain), (BOB, blocked)):
        assert not exists_for(user, relation)
        assert profile(user, SettingsDocument(), relation) is None
    assert exists_for(BOB, Relation(viewer="ana", owner="bob", blocks=True))


def test_people_are_found_by_the_addresses_they_agreed_to():
    nothing = SettingsDocument()
    assert not findable("email", nothing)
    assert not findable("phone", nothing)
    mail = SettingsDocument(privacy=Privacy(findable_by_email=True))
    assert findable("email", mail)
    assert not findable("phone", mail)
    assert findable("phone", SettingsDocument(privacy=Privacy(findable_by_phone=True)))


def test_the_pair_does_not_depend_on_who_asks():
    assert pair_of("ana", "bob") == pair_of("bob", "ana") == "ana:bob"


@pytest.mark.parametrize(
    ("typed", "stored"),
    [
        ("  Ana  ", "Ana"),
        ("Ana\u00a0María", "Ana María"),
        ("Jose\u0301", "José"),
        ("👩\u200d🚀 Ana", "👩\u200d🚀 Ana"),
        ("أنا\u200f", "أنا\u200f"),
    ],
    ids=["edges", "no-break", "nfc", "emoji", "right-to-left"],
)
def test_names_have_one_stored_form(typed, stored):
    assert normalise_name(typed) == stored
    assert normalise_name(stored) == stored


@pytest.mark.parametrize(
    "typed",
    ["", "   ", "\u200b\u200d", "a\nb", "a\x00b", "Ana \u202egro.live", "a\u2028b", "x" * 129, "\u2067a"],
    ids=["empty", "blank", "unseen", "line", "nul", "override", "separator", "long", "isolate"],
)
def test_names_that_deceive_or_show_nothing_are_refused(typed):
    with refused("invalid", field="name"):
        normalise_name(typed)


def test_a_status_may_be_empty_but_is_one_line():
    assert normalise_status("  ") == ""
    assert normalise_status(" out ") == "out"
    with refused("invalid", field="status"):
        normalise_status("a\rb")
    with refused("invalid", field="status"):
        normalise_status("x" * 281)


@pytest.mark.parametrize("good", ["", "01hzx", "u/ana/1.webp", "https://img.example/a.png?s=1"])
def test_photo_references(good):
    assert check_photo(good) == good


@pytest.mark.parametrize(
    "bad",
    ["javascript:alert(1)", "data:text/html,x", "https://a b", "a b", "//evil\n", "HTTPS:", "a\n"],
    ids=["script", "data", "space", "spaces", "line", "scheme", "newline"],
)
def test_photo_references_that_are_none(bad):
    with refused("invalid", field="photo"):
        check_photo(bad)


def test_notes_hold_no_nul():
    assert check_note("two\nlines") is None
    refusal = check_note("a\x00", "text")
    assert refusal is not None
    assert (refusal.code, refusal.field) == ("invalid", "text")


def test_when_a_message_may_be_sent_later():
    now = 1_000_000
    assert check_send_at(now + 1, now) is None
    assert check_send_at(now + MAX_AHEAD_MS, now) is None
    for wrong in (now, now - 1, 0, now + MAX_AHEAD_MS + 1):
        refusal = check_send_at(wrong, now)
        assert refusal is not None
        assert (refusal.code, refusal.field) == ("invalid", "send_at")
    assert check_pending(MAX_PENDING - 1) is None
    full = check_pending(MAX_PENDING)
    assert full is not None
    assert full.code == "limit_reached"
