import pytest
from hypothesis import given
from hypothesis import strategies as st

from tertulia_client.backoff import Backoff

draws = st.floats(0, 1, exclude_max=True)


@given(attempt=st.integers(0, 10_000), draw=draws, floor=st.floats(0, 1000))
def test_a_wait_is_within_its_bounds(attempt: int, draw: float, floor: float) -> None:
    delay = Backoff(base_s=0.5, cap_s=30).delay(attempt, lambda: draw, floor)
    assert floor + 0.25 <= delay <= floor + 30


def test_waits_grow_to_the_cap_and_are_spread() -> None:
    backoff = Backoff(base_s=1, cap_s=10)
    assert [backoff.delay(n, lambda: 0.999999) for n in range(6)] == pytest.approx(
        [1, 2, 4, 8, 10, 10], rel=1e-3
    )
    assert {backoff.delay(5, lambda: 0.0), backoff.delay(5, lambda: 0.5)} == {0.5, 5.25}


def test_attempts_count_from_zero() -> None:
    with pytest.raises(ValueError, match="from 0"):
        Backoff().delay(-1, lambda: 0.0)
