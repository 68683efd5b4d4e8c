"""The doctor's judgement of clocks, folders and projections."""

from __future__ import annotations

from pathlib import Path

import msgspec
import pytest

from tertulia.adapters.sqlite import Differences
from tertulia.cli import doctor
from tertulia.cli.doctor import check_clock, check_folder, check_secret, check_space

NOW = 1_790_000_000_000


class Clocks:
    """Two clocks that a pause moves."""

    def __init__(self, *, wall: float = 1.0, start: int = NOW, jump: int = 0) -> None:
        self.passed = 0.0
        self.wall, self.start, self.jump = wall, start, jump

    def now_ms(self) -> int:
        return round(self.start + self.passed * 1000 * self.wall) + (self.jump if self.passed > 0.1 else 0)

    def monotonic(self) -> float:
        return self.passed

    def pause(self, seconds: float) -> None:
        self.passed += seconds


@pytest.mark.parametrize(
    ("clocks", "newest", "state", "says"),
    [
        (Clocks(), NOW, "ok", "in step"),
        (Clocks(), 0, "ok", "in step"),
        (Clocks(jump=-500), 0, "fail", "went back by"),
        (Clocks(jump=500), 0, "warn", "against the monotonic"),
        (Clocks(wall=2), 0, "warn", "against the monotonic"),
        (Clocks(start=1_000_000_000), 0, "fail", "1970"),
        (Clocks(start=9_000_000_000_000), 0, "fail", "2255"),
        (Clocks(), NOW + 3_600_000, "warn", "60 minutes in the future"),
    ],
)
def test_clocks(clocks: Clocks, newest: int, state: str, says: str) -> None:
    found = check_clock(clocks.now_ms, clocks.monotonic, newest, clocks.pause)
    assert found.state == state
    assert says in found.text


def test_folders_and_secrets(tmp_path: Path) -> None:
    data = tmp_path / "data"
    assert check_folder(data).state == "warn"
    assert check_secret(data).state == "ok"
    data.mkdir(mode=0o700)
    assert check_folder(data).state == "ok"
    (data / "tertulia.sqlite3").touch()
    assert "Put it back" in check_secret(data).text
    (data / "secret").write_bytes(b"x" * 31)
    (data / "secret").chmod(0o600)
    assert "damaged" in check_secret(data).text
    (data / "secret").write_bytes(b"x" * 32)
    assert check_secret(data).state == "ok"
    assert list(data.glob("doctor-*")) == []


def test_space(tmp_path: Path) -> None:
    assert check_space(tmp_path / "not" / "yet", 1).state == "ok"
    assert check_space(tmp_path, 1 << 60).state == "fail"


def test_the_store_reports_in_the_words_that_the_doctor_reads() -> None:
    assert set(Differences.__struct_fields__) == {"logs", "events", "folds", "log_faults", "search"}
    whole = msgspec.to_builtins(Differences())
    assert msgspec.convert(whole, Differences) == Differences()
    assert doctor.EXPIRY_WARN_DAYS > 14
