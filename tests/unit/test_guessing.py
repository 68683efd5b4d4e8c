"""Token buckets: never more than the rule, and a promised wait is long enough."""

from __future__ import annotations

import math

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tertulia.domain.guessing import (
    SIGN_IN_PER_ACCOUNT,
    SIGN_IN_PER_ADDRESS,
    Bucket,
    Decision,
    State,
    full,
    full_at_ms,
    give,
    peek,
    refill,
    take,
)

rules = st.builds(Bucket, st.integers(1, 1000), st.floats(0.001, 1000))
steps = st.lists(st.tuples(st.integers(0, 20_000), st.integers(1, 3)), min_size=1, max_size=60)


def test_a_bucket_starts_full_and_refuses_when_empty():
    rule = Bucket(3, 0.5)
    state, decision = take(rule, None, 1_000)
    assert decision == Decision(True, 3, 2, 0, 2_000)
    state, decision = take(rule, state, 1_000)
    state, decision = take(rule, state, 1_000)
    assert decision == Decision(True, 3, 0, 0, 6_000)
    state, decision = take(rule, state, 1_500)
    assert decision == Decision(False, 3, 0, 1_500, 5_500)
    assert state == State(0.25, 1_500)
    state, decision = take(rule, state, 3_000)
    assert decision == Decision(True, 3, 0, 0, 6_000)


def test_a_dear_try_needs_more_tokens_and_takes_nothing_when_refused():
    rule = Bucket(10, 1)
    state, _ = take(rule, None, 0, 8)
    state, decision = take(rule, state, 0, 5)
    assert decision == Decision(False, 10, 2, 3_000, 8_000)
    _, decision = take(rule, state, 0, 2)
    assert decision.allowed


@given(rules, steps)
def test_never_more_than_the_capacity_and_the_refill(rule, steps):
    state, now, taken = None, 5_000, 0
    for wait, asked in steps:
        now += wait
        cost = min(asked, rule.capacity)
        state, decision = take(rule, state, now, cost)
        taken += cost * decision.allowed
        assert 0 <= state.tokens <= rule.capacity
        assert 0 <= decision.remaining <= rule.capacity == decision.limit
        bound = rule.capacity + (now - 5_000) / 1000 * rule.refill_per_second
        assert taken <= bound + 1e-6 * len(steps) + 1e-9 * bound


@given(rules, steps)
def test_a_promised_wait_is_enough_and_half_of_it_is_not(rule, steps):
    state, now = None, 0
    for wait, asked in steps:
        now += wait
        cost = min(asked, rule.capacity)
        state, decision = take(rule, state, now, cost)
        if decision.allowed:
            assert decision.retry_after_ms == 0
            continue
        assert decision.retry_after_ms > 0
        assert peek(rule, state, now + decision.retry_after_ms, cost).allowed
        if decision.retry_after_ms > 2:
            assert not peek(rule, state, now + decision.retry_after_ms // 2 - 1, cost).allowed


@given(rules, steps)
def test_the_reset_is_when_it_is_full(rule, steps):
    state, now = None, 0
    for wait, cost in steps:
        now += wait
        state, decision = take(rule, state, now, min(cost, rule.capacity))
        assert full_at_ms(rule, state) == now + decision.reset_ms
        later = refill(rule, state, now + decision.reset_ms)
        assert math.isclose(later.tokens, rule.capacity, rel_tol=1e-9)


@given(rules, st.integers(0, 10**6), st.integers(0, 10**6))
def test_a_clock_that_goes_back_gives_nothing_and_locks_nobody_out(rule, now, back):
    state, _ = take(rule, None, now, rule.capacity)
    state, decision = take(rule, state, now - back)
    assert not decision.allowed
    assert state == State(0.0, now - back)
    assert decision.retry_after_ms == math.ceil(1 / rule.refill_per_second * 1000)
    assert peek(rule, state, now - back + decision.retry_after_ms).allowed


def test_what_was_given_back_can_be_taken_again_but_never_more_than_the_capacity():
    rule = Bucket(2, 0.001)
    state, _ = take(rule, None, 0)
    state = give(rule, state, 0)
    assert state == full(rule, 0)
    assert give(rule, state, 0, 5) == full(rule, 0)


def test_peeking_takes_nothing():
    rule = Bucket(1, 1)
    assert peek(rule, None, 0).allowed
    state, _ = take(rule, None, 0)
    assert peek(rule, state, 0) == peek(rule, state, 0) == Decision(False, 1, 0, 1_000, 1_000)


@pytest.mark.parametrize("cost", [-1, 0, 4])
def test_a_cost_that_could_never_be_allowed_is_a_defect(cost):
    with pytest.raises(ValueError, match="cost"):
        take(Bucket(3, 1), None, 0, cost)


@pytest.mark.parametrize(
    ("capacity", "rate"),
    [(0, 1), (-1, 1), (1, 0), (1, -1), (1, math.inf), (1, math.nan), (10, 1e-9)],
)
def test_a_rule_that_could_not_work_is_refused(capacity, rate):
    with pytest.raises(ValueError, match="bucket"):
        Bucket(capacity, rate)


def test_the_window_is_the_time_to_fill():
    assert Bucket(100, 100 / 60).window_seconds == 60
    assert Bucket(1, 3).window_seconds == 1


def test_a_day_of_guessing_at_one_account_stays_small():
    state, guesses = None, 0
    for second in range(0, 86_400, 5):
        state, decision = take(SIGN_IN_PER_ACCOUNT, state, second * 1000)
        guesses += decision.allowed
    assert 400 < guesses <= 490
    assert SIGN_IN_PER_ADDRESS.capacity > SIGN_IN_PER_ACCOUNT.capacity
