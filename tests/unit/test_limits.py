"""The limiter: rules by name, keys by caller, bounded whatever is thrown at it."""

from __future__ import annotations

import pytest

from tertulia.adapters.clock_seeded import SeededClock
from tertulia.application.limits import RateLimiter, Try
from tertulia.domain.guessing import Bucket

RULES = {"send": Bucket(3, 1.0), "account": Bucket(2, 0.01), "address": Bucket(5, 0.01)}


@pytest.fixture
def clock():
    return SeededClock()


@pytest.fixture
def limiter(clock):
    return RateLimiter(clock, RULES, max_keys=100)


def test_callers_and_rules_do_not_share_a_bucket(limiter, clock):
    ana, bob = ("acme", "ana"), ("acme", "bob")
    assert [limiter.take("send", ana).allowed for _ in range(4)] == [True] * 3 + [False]
    assert limiter.take("send", bob).allowed
    assert limiter.take("send", ("other", "ana")).allowed
    assert limiter.take("account", ana).allowed
    clock.advance(1)
    assert limiter.take("send", ana).allowed
    assert not limiter.take("send", ana).allowed


def test_a_wall_clock_that_jumps_changes_nothing(limiter, clock):
    key = ("acme", "ana")
    for _ in range(3):
        limiter.take("send", key)
    clock.step_wall(3600)
    assert not limiter.take("send", key).allowed
    clock.step_wall(-7200)
    decision = limiter.take("send", key)
    assert decision.retry_after_ms == 1000
    clock.advance(1)
    assert limiter.take("send", key).allowed


def test_several_rules_are_taken_together_or_not_at_all(limiter):
    attacker, account = ("acme", "203.0.113.7"), ("acme", "ana")
    both = [Try("account", account), Try("address", attacker)]
    assert limiter.take_all(both).remaining == 1
    assert limiter.take_all(both).remaining == 0
    refused = limiter.take_all(both)
    assert not refused.allowed
    assert refused.retry_after_ms == 100_000
    # the account refused, so the address lost nothing: three of its five are left
    others = [[Try("account", ("acme", f"u{n}")), Try("address", attacker)] for n in range(4)]
    assert [limiter.take_all(one).allowed for one in others] == [True, True, True, False]
    # the address refused, so the fourth account lost nothing
    assert limiter.take("account", ("acme", "u3")).remaining == 1
    with pytest.raises(ValueError, match="nothing"):
        limiter.take_all([])


def test_a_right_password_gives_its_token_back(limiter):
    key = ("acme", "ana")
    for _ in range(10):
        assert limiter.take("account", key).allowed
        limiter.give("account", key)
    limiter.give("account", ("acme", "nobody"))
    limiter.take("account", key)
    limiter.take("account", key)
    assert not limiter.take("account", key).allowed
    limiter.forget("account", key)
    assert limiter.take("account", key).allowed


def test_an_unknown_rule_is_a_defect(limiter):
    with pytest.raises(KeyError):
        limiter.take("typo", ("acme",))
    with pytest.raises(KeyError):
        limiter.rule("typo")
    assert limiter.rule("send") == RULES["send"]
    with pytest.raises(ValueError, match="at least one"):
        RateLimiter(SeededClock(), RULES, max_keys=0)


def test_it_never_holds_more_than_its_room(limiter):
    for number in range(1_000):
        limiter.take("send", ("acme", number))
        assert len(limiter) <= 100
    assert limiter.dropped == 900


def test_a_full_bucket_goes_before_any_that_remembers(limiter, clock):
    for number in range(3):
        limiter.take("send", ("idle", number))
    clock.advance(10)
    for number in range(97):
        limiter.take("send", ("busy", number), 3)
    for number in range(3):
        limiter.take("send", ("new", number), 3)
    assert limiter.dropped == 0
    assert len(limiter) == 100
    assert not any(limiter.take("send", ("busy", number)).allowed for number in range(97))


def test_a_flood_of_keys_forgets_the_fullest_first_and_only_in_its_own_rule(limiter):
    victim = ("acme", "ana")
    for _ in range(2):
        limiter.take("account", victim)
    for number in range(99):
        limiter.take("account", ("acme", number))
    for number in range(1_000):
        limiter.take("send", ("flood", number))
        limiter.take("account", ("flood", number))
    assert not limiter.take("account", victim).allowed


def test_one_that_is_used_stays(limiter):
    key = ("acme", "ana")
    for number in range(500):
        limiter.take("send", key)
        limiter.take("send", ("flood", number), 3)
    assert not limiter.take("send", key).allowed
