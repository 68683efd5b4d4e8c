"""The control channel's frames, and that every request reaches its use case."""

from __future__ import annotations

import contextlib
from pathlib import Path
from typing import Any, get_args

import msgspec
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tertulia.adapters.tokens_jose import JoseUserTokens
from tertulia.application.account_types import NewUser
from tertulia.application.account_units import Units
from tertulia.application.operations import Operations, TenantChanges
from tertulia.domain.errors import CODES, Refusal
from tertulia.protocols.control import codec
from tertulia.protocols.control import requests as r
from tertulia.protocols.control.dispatch import Control, remove_leftovers
from tests.support.accounts import PASSWORD, House
from tests.support.world import refused

# --- frames --------------------------------------------------------------------------------------


@given(st.lists(st.binary(max_size=300), max_size=6), st.lists(st.integers(1, 40), max_size=60))
@settings(max_examples=60, deadline=None)
def test_frames_come_whole_however_they_are_cut(payloads: list[bytes], cuts: list[int]) -> None:
    data = b"".join(map(codec.frame, payloads))
    frames, found = codec.Frames(), []
    for size in [*cuts, len(data)]:
        found += frames.feed(data[:size])
        data = data[size:]
    assert found == payloads
    assert not frames.partial


def test_a_frame_too_long_is_known_by_its_first_octets() -> None:
    frames = codec.Frames(limit=10)
    assert frames.feed(b"\0\0\0\x0a" + b"x" * 9) == []
    assert frames.partial
    assert frames.feed(b"x") == [b"x" * 10]
    with pytest.raises(codec.BadFrame):
        frames.feed(b"\0\0\0\x0b")
    with pytest.raises(codec.BadFrame):
        codec.frame(b"x" * (codec.MAX_FRAME + 1))


@given(st.binary(max_size=200))
@settings(max_examples=100, deadline=None)
def test_what_is_no_request_is_refused(payload: bytes) -> None:
    with pytest.raises(Refusal) as caught:
        codec.decode_request(payload)
    assert caught.value.code == "malformed"


@pytest.mark.parametrize(
    "document",
    [
        b'{"type":"user.show"}',
        b'{"type":"user.show","who":""}',
        b'{"type":"user.show","who":"x","more":1}',
        b'{"type":"user.list","limit":201}',
        b'{"type":"user.create","user":{"handle":"ana","name":"Ana","extra":1}}',
        b'{"type":"tenant.set","changes":{"max_text":0}}',
        b'{"type":"no.such"}',
        b"[" * 5000,
    ],
)
def test_requests_have_bounds(document: bytes) -> None:
    with refused("malformed"):
        codec.decode_request(document)


@pytest.mark.parametrize("code", CODES)
def test_a_refusal_crosses_as_it_is(code: Any) -> None:
    (payload,) = codec.Frames().feed(codec.encode_refusal(Refusal(code, "Why.", field="f")))
    with pytest.raises(Refusal) as caught:
        codec.decode_answer(payload)
    assert (caught.value.code, caught.value.detail, caught.value.field) == (code, "Why.", "f")


def test_an_answer_of_a_newer_server() -> None:
    with refused("internal"):
        codec.decode_answer(b'{"type":"refused","code":"brand_new","detail":"Why."}')
    with pytest.raises(codec.BadFrame):
        codec.decode_answer(b'{"type":"other"}')
    (payload,) = codec.Frames().feed(codec.encode_result({"a": 1}))
    assert msgspec.json.decode(codec.decode_answer(payload)) == {"a": 1}


# --- every request -------------------------------------------------------------------------------


class Store:
    """What the channel asks of the store itself."""

    generation = "g"

    def __init__(self, folder: Path) -> None:
        self.path = folder / "db"
        self.fails = False

    async def backup(self, path: Any) -> None:
        Path(path).write_bytes(b"copy")
        if self.fails:
            raise OSError(28, "No space left on device")

    async def rebuild_projections(self) -> object:
        return {"events": 1}


@pytest.fixture
async def control(tmp_path: Path) -> Control:
    house = await House.open()
    units = Units(house.store, house.clock)
    operations = Operations(house.store, units, JoseUserTokens(house.clock), house.clock)
    return Control(house.admin, operations, Store(tmp_path), house.ids.new_id)


SAMPLES: list[r.Request] = [
    r.Ping(),
    r.UserCreate(user=NewUser(handle="ana", name="Ana", password=PASSWORD)),
    r.BotCreate(handle="robot", name="Robot"),
    r.UserList(),
    r.UserShow(who="ana"),
    r.UserPassword(who="ana", password=PASSWORD + "!"),
    r.UserDisable(who="ana", disabled=True),
    r.UserOperator(who="ana", operator=True),
    r.TenantShow(),
    r.TenantSet(changes=TenantChanges(max_text=9)),
    r.ApiKeyCreate(),
    r.ApiKeyList(),
    r.TokenIssue(who="robot"),
    r.Snapshot(),
    r.Rebuild(),
]


async def test_every_request_is_carried_out(control: Control) -> None:
    kinds = {type(one) for one in SAMPLES} | {r.ApiKeyRevoke}
    assert kinds == set(get_args(r.Request))
    answers: dict[type, Any] = {}
    with contextlib.ExitStack() as scope:
        for one in SAMPLES:
            request = codec.decode_request(codec.encode_request(one)[4:])
            assert request == one
            answers[type(one)] = msgspec.to_builtins(await control.carry_out(request, scope))
    key = answers[r.ApiKeyCreate]["id"]
    with contextlib.ExitStack() as scope:
        assert await control.carry_out(r.ApiKeyRevoke(key=key), scope) == r.Ok()
    assert [one["handle"] for one in answers[r.UserList]["users"]] == ["ana", "robot"]
    assert answers[r.UserOperator]["operator"] is True
    assert answers[r.TenantSet]["max_text"] == 9


async def test_a_user_of_another_tenant_is_not_there(control: Control) -> None:
    with contextlib.ExitStack() as scope:
        await control.carry_out(SAMPLES[1], scope)
        for request in (r.UserShow(tenant="other", who="ana"), r.UserList(tenant="other")):
            with refused("not_found"):
                await control.carry_out(request, scope)


async def test_a_snapshot_goes_with_whoever_asked(control: Control, tmp_path: Path) -> None:
    with contextlib.ExitStack() as scope:
        made = await control.carry_out(r.Snapshot(), scope)
        assert isinstance(made, r.SnapshotMade)
        assert (tmp_path / made.name).read_bytes() == b"copy"
    assert list(tmp_path.iterdir()) == []


async def test_a_snapshot_without_room_leaves_nothing(control: Control, tmp_path: Path) -> None:
    control._store.fails = True
    with contextlib.ExitStack() as scope, refused("storage_full"):
        await control.carry_out(r.Snapshot(), scope)
    assert list(tmp_path.iterdir()) == []


def test_snapshots_of_a_process_that_was_killed_are_removed(tmp_path: Path) -> None:
    for name in ("snapshot-x.sqlite3", "snapshot-y.sqlite3.part", "tertulia.sqlite3", "secret"):
        (tmp_path / name).touch()
    remove_leftovers(tmp_path)
    assert {path.name for path in tmp_path.iterdir()} == {"tertulia.sqlite3", "secret"}


async def test_users_are_listed_in_pages() -> None:
    house = await House.open()
    operations = Operations(
        house.store, Units(house.store, house.clock), JoseUserTokens(house.clock), house.clock
    )
    made = [await house.made(f"user{n}") for n in range(5)]
    found: list[str] = []
    after = ""
    for _ in range(3):
        page = await operations.users("default", after, 2)
        found += [user.id for user in page.users]
        after = page.after
    assert (found, after) == (made, "")


def test_no_request_shows_a_password() -> None:
    for one in SAMPLES:
        assert PASSWORD not in repr(one)
