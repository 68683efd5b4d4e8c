"""Refresh tokens: used once, repeated once when the answer was lost, and a copy ends the family."""

from __future__ import annotations

import hashlib

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, precondition, rule

from tertulia.domain.refresh import (
    GRACE_MS,
    Presented,
    StoredFamily,
    Verdict,
    judge,
    refresh_first,
    refresh_make,
    refresh_parse,
    repeated,
    rotated,
    successor,
)

KEY = b"k" * 32
FAMILY = "01hzz3v9k5q2w8e4r6t7y1x0ab"
NOW = 1_750_000_000_000
DAY = 86_400_000


def begun(secret: bytes = b"s" * 32) -> tuple[StoredFamily, str]:
    token, digest = refresh_first(FAMILY, secret, KEY)
    return StoredFamily(FAMILY, 0, digest, b"", NOW, NOW + DAY), token


def opened(token: str) -> Presented:
    presented = refresh_parse(token, KEY)
    assert presented is not None
    return presented


def rotate(stored: StoredFamily, token: str, now_ms: int) -> tuple[StoredFamily, str]:
    presented = opened(token)
    assert judge(stored, presented, now_ms) is Verdict.ROTATE
    return rotated(stored, presented, KEY, now_ms=now_ms, expires_at=now_ms + DAY)


# --- the form ------------------------------------------------------------------------------------


def test_a_token_has_its_form_and_only_its_digest_is_stored():
    stored, token = begun()
    assert token.startswith(f"tr1.{FAMILY}.0.")
    assert len(token) == 4 + 26 + 3 + 64
    assert stored.current == hashlib.sha256(b"s" * 32).digest()
    assert opened(token) == Presented(FAMILY, 0, b"s" * 32)
    assert "sss" not in repr(opened(token))


@given(st.binary(min_size=32, max_size=32), st.integers(0, 2**53 - 1))
def test_every_token_is_read_back(secret, counter):
    token = Presented(FAMILY, counter, secret)
    assert refresh_parse(refresh_make(token, KEY), KEY) == token
    assert refresh_parse(refresh_make(token, KEY), b"j" * 32) is None


@given(st.integers(0, 96), st.characters(codec="ascii"))
def test_a_token_with_one_character_changed_is_not_ours(place, char):
    _, token = begun()
    changed = token[:place] + char + token[place + 1 :]
    assert (refresh_parse(changed, KEY) is None) == (changed != token)


FIRST = begun()[1]

NOT_TOKENS = {
    "nothing": "",
    "line break": FIRST + "\n",
    "space": " " + FIRST,
    "padding": FIRST + "=",
    "another version": FIRST.replace("tr1", "tr2"),
    "counter with a zero in front": FIRST.replace(".0.", ".00."),
    "negative counter": FIRST.replace(".0.", ".-1."),
    "counter in other digits": FIRST.replace(".0.", ".٠."),
    "counter too great": FIRST.replace(".0.", f".{2**53}."),
    "family in upper case": FIRST.replace(FAMILY, FAMILY.upper()),
    "no family": FIRST.replace(FAMILY, ""),
    "a part too many": FIRST + ".x",
    "long": "x" * 1_000_000,
}


@pytest.mark.parametrize("text", NOT_TOKENS.values(), ids=NOT_TOKENS)
def test_what_is_not_a_token_is_none(text):
    assert refresh_parse(text, KEY) is None


@given(st.text(max_size=120))
def test_any_text_gets_an_answer(text):
    assert refresh_parse(text, KEY) is None


def test_what_cannot_make_a_token_is_refused():
    with pytest.raises(ValueError, match="32 octets"):
        refresh_first(FAMILY, b"short", KEY)
    with pytest.raises(ValueError, match="at least 32"):
        refresh_first(FAMILY, b"s" * 32, b"short")
    for family in ("", "a.b", "A", "x" * 65):
        with pytest.raises(ValueError, match="family"):
            refresh_first(family, b"s" * 32, KEY)


def test_the_successor_needs_the_key_and_the_whole_token():
    token = Presented(FAMILY, 4, b"s" * 32)
    following = successor(token, KEY)
    assert following == successor(token, KEY)
    assert following.counter == 5
    others = (
        successor(token, b"j" * 32),
        successor(msgspec.structs.replace(token, counter=5), KEY),
        successor(msgspec.structs.replace(token, family="f"), KEY),
        successor(msgspec.structs.replace(token, secret=b"t" * 32), KEY),
    )
    assert len({following.secret, *(other.secret for other in others)}) == 5


# --- the verdict ---------------------------------------------------------------------------------


def test_each_use_yields_the_next():
    stored, token = begun()
    seen = {token}
    for step in range(5):
        stored, token = rotate(stored, token, NOW + step * 60_000)
        assert (stored.counter, opened(token).counter) == (step + 1, step + 1)
        assert stored.rotated_at == NOW + step * 60_000
        seen.add(token)
    assert len(seen) == 6


def test_a_lost_answer_is_repeated_once_and_is_the_same():
    stored, first = begun()
    stored, second = rotate(stored, first, NOW)
    assert judge(stored, opened(first), NOW + GRACE_MS) is Verdict.GRACE
    again = repeated(stored, opened(first), KEY)
    assert again is not None
    stored, token = again
    assert token == second
    # the second time it is a copy
    assert judge(stored, opened(first), NOW + 1) is Verdict.REUSED
    # and who holds the answer goes on
    assert judge(stored, opened(second), NOW + 1) is Verdict.ROTATE


def test_after_the_grace_a_retired_token_is_a_copy():
    stored, first = begun()
    stored, _ = rotate(stored, first, NOW)
    assert judge(stored, opened(first), NOW + GRACE_MS + 1) is Verdict.REUSED


def test_only_the_last_retired_token_has_a_grace():
    stored, first = begun()
    stored, second = rotate(stored, first, NOW)
    stored, _ = rotate(stored, second, NOW + 1)
    assert judge(stored, opened(first), NOW + 2) is Verdict.REUSED
    assert judge(stored, opened(second), NOW + 2) is Verdict.GRACE


def test_a_thief_and_an_owner_cannot_both_go_on():
    """Whoever of the two comes first, the second ends the family."""
    stored, stolen = begun()
    stored, owners = rotate(stored, stolen, NOW)  # the owner refreshes
    minutes_later = NOW + 600_000
    assert judge(stored, opened(stolen), minutes_later) is Verdict.REUSED
    # the thief was quick: he gets the same successor, and the next use tells them apart
    again = repeated(stored, opened(stolen), KEY)
    assert again is not None
    stored, thiefs = again
    assert thiefs == owners
    stored, _ = rotate(stored, thiefs, minutes_later)
    assert judge(stored, opened(owners), minutes_later + 600_000) is Verdict.REUSED


def test_a_wall_clock_that_went_back_does_not_end_an_honest_family():
    stored, first = begun()
    stored, _ = rotate(stored, first, NOW)
    assert judge(stored, opened(first), NOW - 3_600_000) is Verdict.GRACE


def test_an_invented_token_ends_nothing():
    """Who knows a family's id but no key cannot make it reused."""
    stored, first = begun()
    stored, _ = rotate(stored, first, NOW)
    invented = refresh_make(Presented(FAMILY, 0, b"x" * 32), b"j" * 32)
    assert refresh_parse(invented, KEY) is None


@pytest.mark.parametrize(
    ("change", "verdict"),
    [
        (None, Verdict.UNKNOWN),
        ({"family": "0" * 26}, Verdict.UNKNOWN),
        ({"revoked": True}, Verdict.UNKNOWN),
        ({"revoked": True, "expires_at": NOW}, Verdict.UNKNOWN),
        ({"expires_at": NOW}, Verdict.EXPIRED),
        ({"expires_at": NOW + 1}, Verdict.ROTATE),
        ({"counter": 7}, Verdict.REUSED),
        ({"current": b"x" * 32}, Verdict.UNKNOWN),
        ({"current": b""}, Verdict.UNKNOWN),
    ],
)
def test_a_family_that_cannot_go_on(change, verdict):
    stored, token = begun()
    row = None if change is None else msgspec.structs.replace(stored, **change)
    assert judge(row, opened(token), NOW) is verdict


def test_a_token_from_after_the_backup_is_unknown_and_not_reused():
    backup, first = begun()
    _, second = rotate(backup, first, NOW)
    assert judge(backup, opened(second), NOW) is Verdict.UNKNOWN
    assert judge(backup, opened(first), NOW) is Verdict.ROTATE


def test_another_key_repeats_nothing():
    stored, first = begun()
    stored, _ = rotate(stored, first, NOW)
    assert repeated(stored, opened(first), b"j" * 32) is None


class Login(RuleBasedStateMachine):
    """An owner whose answers may get lost and a thief with copies: nobody uses two tokens twice."""

    @initialize()
    def begin(self):
        self.now = NOW
        self.stored, token = begun()
        self.owner, self.copies = token, [token]
        self.uses: dict[str, int] = {}

    @rule(ms=st.integers(0, 15_000))
    def pass_time(self, ms):
        self.now += ms

    def present(self, token: str) -> str | None:
        verdict = judge(self.stored, opened(token), self.now)
        if verdict is Verdict.ROTATE:
            self.stored, answer = rotate(self.stored, token, self.now)
        elif verdict is Verdict.GRACE:
            again = repeated(self.stored, opened(token), KEY)
            assert again is not None
            self.stored, answer = again
        else:
            if verdict is Verdict.REUSED:
                self.stored = msgspec.structs.replace(self.stored, revoked=True)
            return None
        self.uses[token] = self.uses.get(token, 0) + 1
        return answer

    @precondition(lambda self: not self.stored.revoked)
    @rule(lost=st.booleans())
    def owner_refreshes(self, lost):
        answer = self.present(self.owner)
        if answer is not None and not lost:
            self.owner = answer
            self.copies.append(answer)

    @rule(data=st.data())
    def thief_tries(self, data):
        answer = self.present(data.draw(st.sampled_from(self.copies)))
        if answer is not None and answer not in self.copies:
            self.copies.append(answer)

    @invariant()
    def no_token_is_answered_more_than_twice(self):
        assert all(count <= 2 for count in self.uses.values())

    @invariant()
    def a_revoked_family_stays_so(self):
        if self.stored.revoked:
            assert all(
                judge(self.stored, opened(token), self.now) is Verdict.UNKNOWN for token in self.copies
            )


TestLogin = Login.TestCase
