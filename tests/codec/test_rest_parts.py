"""The small parts of the REST interface, each alone."""

from __future__ import annotations

from typing import Any

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from tertulia.adapters.clock_seeded import SeededClock
from tertulia.application.limits import RateLimiter
from tertulia.domain.errors import CODES, Refusal
from tertulia.domain.guessing import Bucket
from tertulia.domain.unit import Head
from tertulia.protocols.rest import problems
from tertulia.protocols.rest.address import ClientAddresses
from tertulia.protocols.rest.cursors import Cursors
from tertulia.protocols.rest.guard import bearer
from tertulia.protocols.rest.limits import GUESSING, REST_RULES, Limits
from tertulia.protocols.rest.requests import SignInBody
from tertulia.protocols.rest.strict import StrictDecoder
from tertulia.protocols.rest.trail import MAX_ID, Trail, behind, read_id

KEY = b"a key of the tests"


# --- problems ----------------------------------------------------------------------------------------


def test_every_code_has_a_status_and_a_title() -> None:
    assert set(problems.TABLE) == set(CODES)
    assert all(400 <= status < 600 and title for status, title in problems.TABLE.values())
    assert [code for code, (status, _) in problems.TABLE.items() if status >= 500] == [
        "storage_full",
        "unavailable",
        "internal",
    ]


@pytest.mark.parametrize(
    ("wait_ms", "seconds"), [(0, "1"), (1, "1"), (1000, "1"), (1001, "2"), (59_999, "60")], ids=range(5)
)
def test_retry_after_is_never_too_early(wait_ms: int, seconds: str) -> None:
    refusal = Refusal("rate_limited", "Wait.", retry_after_ms=wait_ms)
    assert problems.headers_of(refusal, 429, token_sent=False) == [("retry-after", seconds)]


def test_a_challenge_says_whether_a_token_was_no_good() -> None:
    for code, sent, error in (
        ("unauthenticated", False, False),
        ("unauthenticated", True, True),
        ("token_expired", True, True),
        ("credentials_refused", True, False),
    ):
        refusal = Refusal(code, "No.")  # pyright: ignore[reportArgumentType]
        ((name, value),) = problems.headers_of(refusal, 401, token_sent=sent)
        assert name == "www-authenticate"
        assert ('error="invalid_token"' in value) == error


# --- where requests come from ------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("trusted", "peer", "forwarded", "found"),
    [
        ((), "203.0.113.1", ["192.0.2.1"], "203.0.113.1"),
        (("10.0.0.0/8",), "10.0.0.1", ["192.0.2.1"], "192.0.2.1"),
        (("10.0.0.0/8",), "10.0.0.1", ["6.6.6.6, 192.0.2.1"], "192.0.2.1"),
        (("10.0.0.0/8",), "10.0.0.1", ["6.6.6.6, 192.0.2.1, 10.0.0.2"], "192.0.2.1"),
        (("10.0.0.0/8",), "10.0.0.1", ["6.6.6.6", "192.0.2.1"], "192.0.2.1"),
        (("10.0.0.0/8",), "10.0.0.1", ["192.0.2.1:4711"], "192.0.2.1"),
        (("10.0.0.0/8",), "10.0.0.1", ["[2001:db8::1]:4711"], "2001:db8::1"),
        (("10.0.0.0/8",), "10.0.0.1", ["2001:db8::1"], "2001:db8::1"),
        (("10.0.0.0/8",), "::ffff:10.0.0.1", ["192.0.2.1"], "192.0.2.1"),
        (("fd00::/8",), "fd00::1", ["192.0.2.1"], "192.0.2.1"),
        (("10.0.0.0/8",), "10.0.0.1", ["unknown"], "10.0.0.1"),
        (("10.0.0.0/8",), "10.0.0.1", ["192.0.2.1, junk"], "10.0.0.1"),
        (("10.0.0.0/8",), "10.0.0.1", [], "10.0.0.1"),
        (("10.0.0.0/8",), "10.0.0.1", ["10.0.0.3"], "10.0.0.3"),
        (("10.0.0.0/8",), "192.0.2.9", ["192.0.2.1"], "192.0.2.9"),
        (("10.0.0.1",), None, ["192.0.2.1"], ""),
    ],
    ids=range(16),
)
def test_only_trusted_proxies_are_believed(
    trusted: tuple[str, ...], peer: str | None, forwarded: list[str], found: str
) -> None:
    assert ClientAddresses(trusted).of(peer, [one.encode() for one in forwarded]) == found


def test_a_proxy_that_is_no_address_is_refused() -> None:
    with pytest.raises(ValueError, match="nonsense"):
        ClientAddresses(("nonsense",))


# --- cursors -----------------------------------------------------------------------------------------

VALUES = st.tuples(st.one_of(st.text(max_size=40), st.integers(0, 2**53)))


@given(VALUES, VALUES)
def test_a_cursor_comes_back_as_it_was(context: Any, values: Any) -> None:
    cursors = Cursors(KEY)
    assert cursors.open(context, cursors.seal(context, values)) == values


@given(VALUES, st.data())
def test_a_cursor_that_was_changed_is_none(values: Any, data: st.DataObject) -> None:
    cursors = Cursors(KEY)
    cursor = cursors.seal(("list", "ana"), values)
    place = data.draw(st.integers(0, len(cursor) - 2))
    other = data.draw(st.sampled_from("ABCxyz019-_").filter(lambda char: char != cursor[place]))
    for changed in (cursor[:place] + other + cursor[place + 1 :], cursor[:place], cursor + "AAAA"):
        with pytest.raises(Refusal) as refused:
            cursors.open(("list", "ana"), changed)
        assert (refused.value.code, refused.value.field) == ("invalid", "cursor")


@given(st.text(max_size=80))
def test_any_text_but_a_cursor_is_refused(text: str) -> None:
    with pytest.raises(Refusal):
        Cursors(KEY).open(("list",), text)


def test_a_cursor_is_of_one_key_and_one_context() -> None:
    cursor = Cursors(KEY).seal(("ab", "c"), (1,))
    for cursors, context in (
        (Cursors(b"another key"), ("ab", "c")),
        (Cursors(KEY), ("a", "bc")),
        (Cursors(KEY), ("ab",)),
    ):
        with pytest.raises(Refusal):
            cursors.open(context, cursor)


# --- where a stream's reader stands ------------------------------------------------------------------


def head(log: str, seq: int, at: int) -> Head:
    return Head(
        log=log,
        kind="group",
        tenant="t",
        room=log,
        last_seq=seq,
        message_count=0,
        all_count=0,
        updated_at=at,
        epoch=1,
    )


def test_what_was_sent_is_not_sent_again() -> None:
    trail = Trail(Cursors(KEY), "ana", "g1")
    trail.begin([head("a", 3, 100), head("b", 7, 50)])
    trail.note("a", 4, 110)
    trail.note("c", 1, 120)
    places = read_id(Cursors(KEY), "ana", trail.id())
    assert places is not None
    assert (places.generation, places.others_at) == ("g1", 0)
    now = [head("a", 9, 200), head("b", 7, 50), head("c", 1, 120), head("new", 5, 210)]
    assert behind(places, now) == ({"a": 4, "b": 7, "c": 1}, [])


def test_a_place_never_goes_back() -> None:
    trail = Trail(Cursors(KEY), "ana", "g1")
    trail.note("a", 5, 100)
    trail.note("a", 4, 90)
    places = read_id(Cursors(KEY), "ana", trail.id())
    assert places is not None
    assert behind(places, [head("a", 5, 100)]) == ({"a": 5}, [])


def test_an_id_is_bounded_and_loses_nothing() -> None:
    """Of the logs that are not named, those that something happened in are known."""
    trail = Trail(Cursors(KEY), "ana", "g1")
    heads = [head(f"log-{n}", n + 1, 1000 + n) for n in range(1000)]
    trail.begin(heads)
    ident = trail.id()
    assert len(ident) <= MAX_ID
    places = read_id(Cursors(KEY), "ana", ident)
    assert places is not None
    held, missed = behind(places, heads)
    assert len(held) == 256
    assert missed == []
    # A quiet one wakes up, and is named from then on; the quietest of the named makes room.
    trail.note("log-3", 5, 3000)
    later = [*heads[:3], head("log-3", 5, 3000), *heads[4:]]
    places = read_id(Cursors(KEY), "ana", trail.id())
    assert places is not None
    held, missed = behind(places, [*later, head("log-0", 2, 4000)])
    assert held["log-3"] == 5
    assert [one.log for one in missed] == ["log-0"]


@given(st.text(max_size=200))
def test_any_text_but_an_id_is_no_place(text: str) -> None:
    assert read_id(Cursors(KEY), "ana", text) is None


def test_an_id_is_of_its_user() -> None:
    trail = Trail(Cursors(KEY), "ana", "g1")
    trail.note("a", 1, 1)
    assert read_id(Cursors(KEY), "ana", trail.id()) is not None
    assert read_id(Cursors(KEY), "bob", trail.id()) is None
    assert read_id(Cursors(b"another key"), "ana", trail.id()) is None
    assert read_id(Cursors(KEY), "ana", "A" * (MAX_ID + 1)) is None
    forged = Cursors(KEY).seal_bytes(("stream", "ana"), msgspec.msgpack.encode([2, "g1", 0, []]))
    assert read_id(Cursors(KEY), "ana", forged) is None


# --- bodies ------------------------------------------------------------------------------------------


class Inner(msgspec.Struct, forbid_unknown_fields=True):
    count: int


class Outer(msgspec.Struct, forbid_unknown_fields=True):
    name: str
    inner: list[Inner] = []
    share: float = 0.0


@pytest.mark.parametrize(
    ("data", "field"),
    [
        (b'{"name": 1}', "name"),
        (b"{}", "name"),
        (b'{"name": "a", "x": 1}', "x"),
        (b'{"name": "a", "inner": [{"count": 1}, {"count": "2"}]}', "inner[1].count"),
        (b'{"name": "a", "inner": [{}]}', "inner[0].count"),
        (b'{"name": "a", "inner": [{"count": 1, "y": 2}]}', "inner[0].y"),
        (b"7", None),
    ],
    ids=range(7),
)
def test_a_shape_that_does_not_fit_names_the_field(data: bytes, field: str | None) -> None:
    with pytest.raises(Refusal) as refused:
        StrictDecoder(Outer)(data)
    assert (refused.value.code, refused.value.field) == ("malformed", field)


def test_numbers_are_what_they_are_worth() -> None:
    decode = StrictDecoder(Outer)
    assert decode(b'{"name": "a", "inner": [{"count": 2.0}], "share": 1}').inner[0].count == 2
    assert decode(b'{"name": "1.0", "share": 0.5, "inner": [{"count": 1e2}]}').inner[0].count == 100
    for bad in (b"2.5", b"1e400", b"NaN", b"1e300", b'"2.0"', b"true"):
        with pytest.raises(Refusal):
            decode(b'{"name": "a", "inner": [{"count": ' + bad + b"}]}")


@given(st.binary(max_size=60))
def test_no_bytes_break_the_decoder(data: bytes) -> None:
    try:
        StrictDecoder(Outer)(data)
    except Refusal as refusal:
        assert refusal.code == "malformed"


def test_secrets_are_not_shown() -> None:
    body = SignInBody(login="ana", password="hush")
    assert "hush" not in repr(body)
    assert "ana" in repr(body)


# --- tokens and limits -------------------------------------------------------------------------------


def test_bearer_tokens_are_read() -> None:
    assert bearer(None) is None
    assert bearer("Bearer abc") == "abc"
    assert bearer("bearer  abc ") == "abc"
    for bad in ("", "Bearer", "Bearer ", "Basic abc", "abc", "Bearer é", "Bearer " + "a" * 8193):
        with pytest.raises(Refusal) as refused:
            bearer(bad)
        assert refused.value.code == "unauthenticated"


def test_limits_that_are_off_leave_guessing_limited() -> None:
    limiter = RateLimiter(SeededClock(), {**REST_RULES, "tight": Bucket(1, 0.1)})
    off, on = Limits(limiter, enabled=False), Limits(limiter, enabled=True)
    for _ in range(3):
        assert off.take("tight", ("t", "ana")) == ([], None)
    assert on.take("tight", ("t", "ana"))[1] is None
    fields, refusal = on.take("tight", ("t", "ana"))
    assert refusal is not None
    assert refusal.retry_after_ms == 10_000
    assert fields == [(b"ratelimit-policy", b'"tight";q=1;w=10'), (b"ratelimit", b'"tight";r=0;t=10')]
    for rule in GUESSING:
        assert off.take(rule, ("t", "ana"))[0] != []
    with pytest.raises(ValueError, match="nothing"):
        on.check("nothing")
