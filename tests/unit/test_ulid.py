"""Sortable ids: the form, the order, and what happens at the edges."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tertulia.domain.ulid import ALPHABET, MAX_MS, ZERO, Ulid, is_ulid, next_ulid, ulid_ms

times = st.integers(0, MAX_MS)
tails = st.integers(0, 2**80 - 1)
ulids = st.builds(Ulid, times, tails)


@given(ulids, ulids)
def test_texts_sort_as_the_numbers_do(one, other):
    assert (str(one) < str(other)) == (one < other)
    assert (str(one) == str(other)) == (one == other)


@given(ulids)
def test_the_text_holds_both_numbers(one):
    text = str(one)
    assert is_ulid(text)
    assert ulid_ms(text) == one.ms
    value = 0
    for char in text:
        value = value * 32 + ALPHABET.index(char)
    assert value == one.ms * 2**80 + one.tail


@given(ulids.filter(lambda one: one.ms < MAX_MS), times, tails)
def test_the_next_is_always_greater(last, now, fresh):
    following = next_ulid(last, now, fresh)
    assert following > last
    assert following.ms in (last.ms, last.ms + 1, now)
    assert 0 <= following.tail < 2**80


def test_the_known_extremes():
    assert str(ZERO) == "0" * 26
    assert str(Ulid(MAX_MS, 2**80 - 1)) == "7" + "z" * 25
    assert next_ulid(Ulid(5, 2**80 - 1), 5, 99) == Ulid(6, 0)
    with pytest.raises(OverflowError):
        next_ulid(ZERO, MAX_MS + 1, 0)


@pytest.mark.parametrize(
    "text", ["", "0" * 25, "0" * 27, "8" + "0" * 25, "0" * 25 + "u", "0" * 25 + "A", "0" * 25 + "\n"]
)
def test_what_is_not_an_id_is_refused(text):
    assert not is_ulid(text)
    with pytest.raises(ValueError, match="not an id"):
        ulid_ms(text)
