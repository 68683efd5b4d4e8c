"""Every clock and every source of ids keeps the promises of its port."""

from __future__ import annotations

import re
import threading
import time
from collections.abc import Callable
from dataclasses import dataclass

import pytest

from tertulia.adapters.clock_seeded import SeededClock, SeededIds
from tertulia.adapters.clock_system import SystemClock, SystemIds
from tertulia.domain.ulid import is_ulid, ulid_ms
from tertulia.ports.clock import Clock
from tertulia.ports.ids import ID_LENGTH, Ids

JAN_2020 = 1_577_836_800_000
JAN_2100 = 4_102_444_800_000


@dataclass
class Case:
    clock: Clock
    pass_time: Callable[[float], None]
    make_ids: Callable[[Clock], Ids]

    def ids(self) -> Ids:
        return self.make_ids(self.clock)


def system() -> Case:
    return Case(SystemClock(), time.sleep, SystemIds)


def seeded() -> Case:
    clock = SeededClock()
    return Case(clock, clock.advance, lambda clock: SeededIds(clock, seed=7))


@pytest.fixture(params=[system, seeded], ids=["system", "seeded"])
def case(request) -> Case:
    return request.param()


def test_the_wall_clock_counts_milliseconds_of_this_century(case):
    before = case.clock.now_ms()
    assert isinstance(before, int)
    assert JAN_2020 < before < JAN_2100
    case.pass_time(0.02)
    assert 15 <= case.clock.now_ms() - before < 5_000


def test_the_monotonic_clock_counts_seconds_and_never_goes_back(case):
    readings = [case.clock.monotonic() for _ in range(1000)]
    assert readings == sorted(readings)
    case.pass_time(0.02)
    assert 0.015 <= case.clock.monotonic() - readings[-1] < 5


def test_ids_have_their_shape_and_hold_the_time(case):
    new = case.ids().new_id()
    assert len(new) == ID_LENGTH
    assert is_ulid(new)
    assert abs(ulid_ms(new) - case.clock.now_ms()) < 1_000


def test_ids_are_unique_and_sorted_within_a_millisecond_and_across(case):
    ids = case.ids()
    made: list[str] = []
    for _ in range(5):
        made += [ids.new_id() for _ in range(2_000)]
        case.pass_time(0.002)
    assert len(set(made)) == len(made)
    assert made == sorted(made)
    assert len({ulid_ms(one) for one in made}) >= 5


def test_ids_never_go_back_when_the_wall_clock_does(case):
    stepping = SeededClock()
    ids = case.make_ids(stepping)
    made = [ids.new_id()]
    for step in (-3600, 0.001, 7200, -86_400, 60):
        stepping.step_wall(step)
        made += [ids.new_id() for _ in range(50)]
    assert made == sorted(set(made))


def test_threads_never_get_the_same_id(case):
    ids = case.ids()
    made: list[list[str]] = [[] for _ in range(4)]

    def work(mine: list[str]) -> None:
        mine += [ids.new_id() for _ in range(3_000)]

    threads = [threading.Thread(target=work, args=(mine,)) for mine in made]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(30)
    for mine in made:
        assert mine == sorted(mine)
    assert len({one for mine in made for one in mine}) == 12_000


def test_two_sources_make_different_ids_in_the_same_millisecond():
    clock = SeededClock()
    assert SystemIds(clock).new_id()[10:] != SystemIds(clock).new_id()[10:]
    assert SeededIds(clock, seed=1).new_id() != SeededIds(clock, seed=2).new_id()


@pytest.mark.parametrize("nbytes", [16, 31, 32, 33, 64])
def test_tokens_are_urlsafe_and_as_long_as_asked(case, nbytes):
    ids = case.ids()
    token = ids.token(nbytes)
    assert re.fullmatch(r"[A-Za-z0-9_-]+", token)
    assert len(token) == -(-nbytes * 8 // 6)
    assert len({ids.token(nbytes) for _ in range(200)}) == 200


def test_a_token_has_32_octets_unless_told_otherwise(case):
    assert len(case.ids().token()) == 43


@pytest.mark.parametrize("nbytes", [-1, 0, 15])
def test_a_short_token_is_refused(case, nbytes):
    with pytest.raises(ValueError, match="16"):
        case.ids().token(nbytes)


@pytest.mark.parametrize("digits", [4, 6, 12])
def test_codes_are_digits_of_every_value(case, digits):
    ids = case.ids()
    codes = [ids.code(digits) for _ in range(600)]
    assert all(re.fullmatch(rf"[0-9]{{{digits}}}", code) for code in codes)
    for position in (0, digits - 1):
        assert {code[position] for code in codes} == set("0123456789")
    assert len(ids.code()) == 6


@pytest.mark.parametrize("digits", [-1, 0, 3, 13])
def test_a_code_of_another_length_is_refused(case, digits):
    with pytest.raises(ValueError, match="4 to 12"):
        case.ids().code(digits)


# --- what only one of them promises --------------------------------------------------------------


def test_a_restarted_source_follows_its_floor():
    clock = SeededClock()
    earlier = SystemIds(clock).new_id()
    clock.step_wall(-3600)
    assert SystemIds(clock).new_id() < earlier
    assert SystemIds(clock, floor_ms=ulid_ms(earlier) + 1).new_id() > earlier


def test_a_seeded_run_can_be_repeated():
    def run(seed: int) -> list[str]:
        clock = SeededClock()
        ids = SeededIds(clock, seed)
        out: list[str] = []
        for _ in range(20):
            out += [ids.new_id(), ids.token(), ids.code()]
            clock.advance(0.0005)
        return out

    assert run(3) == run(3)
    assert run(3) != run(4)


def test_a_seeded_clock_moves_only_by_hand():
    clock = SeededClock(1_000_000)
    assert (clock.now_ms(), clock.monotonic()) == (1_000_000, 0.0)
    clock.advance(1.5)
    assert (clock.now_ms(), clock.monotonic()) == (1_001_500, 1.5)
    clock.step_wall(-3600)
    assert (clock.now_ms(), clock.monotonic()) == (1_001_500 - 3_600_000, 1.5)
    for _ in range(10):
        clock.advance(0.0001)
    assert (clock.now_ms(), clock.monotonic()) == (1_001_501 - 3_600_000, 1.501)
    with pytest.raises(ValueError, match="step_wall"):
        clock.advance(-1)
