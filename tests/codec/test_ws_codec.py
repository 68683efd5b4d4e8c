"""Frames as bytes: what is taken, what is not, and that what is told reads back as it was."""

from __future__ import annotations

import json
from typing import Any

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from tertulia.application.sync import OwnHead
from tertulia.domain import commands as c
from tertulia.domain import events as e
from tertulia.domain.content import Poll, Text
from tertulia.domain.errors import CODES, Refusal
from tertulia.domain.signals import Signal
from tertulia.protocols.common import frames
from tertulia.protocols.common.frames import Truncated
from tertulia.protocols.ws import codec
from tertulia.protocols.ws.codec import Malformed, decode


def malformed(data: bytes) -> Malformed:
    with pytest.raises(Malformed) as info:
        decode(data)
    return info.value


def payload(frame: bytes) -> Any:
    """The JSON of a server's frame, whose RFC 6455 header is checked."""
    assert frame[0] == 0x81
    size, start = frame[1], 2
    if size == 126:
        size, start = int.from_bytes(frame[2:4], "big"), 4
        assert size >= 126
    elif size == 127:
        size, start = int.from_bytes(frame[2:10], "big"), 10
        assert size >= 65_536
    assert len(frame) == start + size
    return json.loads(frame[start:])


# --- in ------------------------------------------------------------------------------------------------


@given(st.sampled_from(c.COMMAND_TYPES), st.data())
def test_every_command_is_read_as_it_was_written(kind: type[c.Command], data: st.DataObject) -> None:
    command = data.draw(commands(kind))
    wire = msgspec.json.encode(command)
    assert json.loads(wire)["type"] == kind.__struct_config__.tag
    assert decode(wire) == command
    # The order of fields and white space are the client's own.
    fields = list(json.loads(wire).items())
    shuffled = dict(data.draw(st.permutations(fields)))
    found = decode(json.dumps(shuffled, indent=1, ensure_ascii=data.draw(st.booleans())).encode())
    assert _comparable(found) == _comparable(command)


def _comparable(command: Any) -> Any:
    return json.loads(msgspec.json.encode(command))


def commands(kind: type[c.Command]) -> st.SearchStrategy[Any]:
    """Commands of a kind with all that their types allow."""
    special: dict[str, st.SearchStrategy[Any]] = {
        "client_id": st.none() | st.from_regex(r"[\x21-\x7e]{1,128}", fullmatch=True),
        "ref": st.none() | st.text(max_size=64),
        "foreign": st.just(msgspec.UNSET)
        | st.dictionaries(st.text(max_size=5), st.integers(), max_size=3).map(
            lambda value: msgspec.Raw(msgspec.json.encode(value))
        ),
        "settings": st.just(msgspec.Raw(b'{"privacy":{"photo":"nobody"}}')),
        "content": st.builds(Text, text=st.text(max_size=50))
        | st.just(Poll(question="?", options=("a", "b"))),
        "slug": st.none() | st.just("a-channel"),
        "token": st.text(min_size=16, max_size=128),
    }
    if kind is c.CreateChannel:
        special["slug"] = st.just("a-channel")
    chosen = {
        name: special[name] if name in special else _of(annotation)
        for name, annotation in _hints(kind).items()
    }
    return st.fixed_dictionaries(chosen).map(lambda values: kind(**values))


def _hints(kind: type[c.Command]) -> dict[str, Any]:
    from typing import get_type_hints

    fields = set(kind.__struct_fields__)
    return {name: hint for name, hint in get_type_hints(kind, include_extras=True).items() if name in fields}


def _of(hint: Any) -> st.SearchStrategy[Any]:
    import types
    from typing import Annotated, Literal, Union, get_args, get_origin

    origin, args = get_origin(hint), get_args(hint)
    if origin is Annotated:
        meta: dict[str, Any] = {}
        for one in args[1:]:
            meta.update(
                {
                    f: getattr(one, f)
                    for f in ("ge", "le", "min_length", "max_length", "pattern")
                    if getattr(one, f) is not None
                }
            )
        if args[0] is int:
            return st.integers(meta.get("ge"), meta.get("le"))
        if args[0] is str:
            if "pattern" in meta:
                return st.from_regex(meta["pattern"], fullmatch=True)
            return st.text(min_size=meta.get("min_length", 0), max_size=min(meta.get("max_length", 20), 30))
        return st.lists(_of(get_args(args[0])[0]), max_size=3).map(tuple)
    if origin in (Union, types.UnionType):
        return st.one_of(*map(_of, args))
    if origin is Literal:
        return st.sampled_from(args)
    if isinstance(hint, type) and issubclass(hint, msgspec.Struct):
        return st.builds(hint, **{name: _of(one) for name, one in _hints(hint).items()})
    return {type(None): st.none(), bool: st.booleans(), str: st.text(max_size=10), int: st.integers(0, 9)}[
        hint
    ]


@pytest.mark.parametrize("kind", codec.CONTROL_TYPES, ids=lambda kind: str(kind.__struct_config__.tag))
def test_control_frames(kind: type[codec.ClientFrame]) -> None:
    examples: dict[str, dict[str, Any]] = {
        "sign_in": {"token": "t", "positions": {"a": 1}, "generation": "g"},
        "resume": {"positions": {"a": 0, "b": 2**53}},
        "refresh": {"token": "t"},
        "events.read": {"conversation": "a", "after": 0, "limit": 1000},
        "ping": {},
        "presence.watch": {"users": ["a", "b"]},
    }
    tag = str(kind.__struct_config__.tag)
    frame = {"type": tag, "ref": "r", **examples[tag]}
    found = decode(json.dumps(frame).encode())
    assert type(found) is kind
    assert _comparable(found) | frame == _comparable(found)
    assert malformed(json.dumps({**frame, "more": 1}).encode()).close_code == 0


def test_bounds_of_control_frames() -> None:
    positions = {f"log{n}": n for n in range(10_000)}
    assert decode(json.dumps({"type": "resume", "positions": positions}).encode())
    positions["one more"] = 1
    assert malformed(json.dumps({"type": "resume", "positions": positions}).encode()).close_code == 0
    assert decode(json.dumps({"type": "presence.watch", "users": ["u"] * 200}).encode())
    assert malformed(json.dumps({"type": "presence.watch", "users": ["u"] * 201}).encode())
    assert malformed(json.dumps({"type": "sign_in", "token": "t" * 8193}).encode())
    assert decode(json.dumps({"type": "sign_in", "token": "t" * 8192}).encode())


def test_an_error_names_the_field_and_the_frame() -> None:
    error = malformed(b'{"type":"message.read","ref":"7","conversation":"c","seq":0}')
    assert (error.close_code, error.ref, error.field) == (0, "7", "seq")
    assert "`int` >= 1" in error.detail
    assert "$" not in error.detail
    error = malformed(b'{"type":"message.send","ref":"7","conversation":"c","content":{"type":"poll"}}')
    assert error.field == "content"


@given(st.binary(max_size=300))
def test_octets_are_a_frame_or_malformed(data: bytes) -> None:
    _check(data)


_JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=10),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text(max_size=10), inner, max_size=4),
    max_leaves=20,
)


@given(
    st.dictionaries(
        st.sampled_from(["type", "ref", "conversation", "seq", "content", "client_id", "users", "x"]),
        _JSON | st.sampled_from([*c.COMMANDS, "ping", "resume"]),
    )
)
def test_json_is_a_frame_or_malformed(value: Any) -> None:
    _check(json.dumps(value).encode())


def _check(data: bytes) -> None:
    """Decoding ends in a frame, or in a Malformed whose kind says what the octets are."""
    try:
        frame = decode(data)
    except Malformed as error:
        try:
            text = data.decode()
        except UnicodeDecodeError:
            assert error.close_code == 1007
            return
        assert error.close_code in (0, 4004)
        assert len(error.detail) <= codec.MAX_DETAIL
        assert error.ref is None or len(error.ref) <= codec.MAX_REF
        if error.close_code == 4004 and "NaN" not in text and "Infinity" not in text:
            with pytest.raises((ValueError, RecursionError)):
                json.loads(text)
        return
    assert isinstance(frame, c.Command | codec.ClientFrame)


@pytest.mark.parametrize("depth", [100, 1000, 5000, 100_000])
def test_depth_ends_in_an_answer(depth: int) -> None:
    for start, end in ((b"[", b"]"), (b'{"a":', b"}")):
        for inside in (b'{"type":"settings.update","settings":%s}', b"%s", b'{"x":%s,"type":"ping"}'):
            for whole in (inside % (start * depth), inside % (start * depth + b"1" + end * depth)):
                try:
                    decode(whole)
                except Malformed as error:
                    assert error.close_code in (0, 4004)


# --- out -----------------------------------------------------------------------------------------------


@given(
    st.integers(1, 2**53),
    st.text(max_size=40),
    st.integers(0, 5),
    st.integers(0, 5),
    st.sampled_from([10, 125, 126, 127, 300, 65_400, 65_700]),
)
def test_events(seq: int, words: str, thread: int, target: int, size: int) -> None:
    body = e.MessageNew(content=Text(text=words + "x" * size))
    event = e.Event(
        tenant="acme",
        log="c",
        room="c",
        log_kind="group",
        seq=seq,
        kind="message.new",
        actor="u",
        at=5,
        ordinal=3,
        all_ordinal=0,
        thread=thread,
        target=target,
        body=e.encode_body(body),
    )
    found = payload(codec.WsEncoder().event(event))
    assert next(iter(found)) == "type"
    expected = {"type": "message.new", "conversation": "c", "seq": seq, "at": 5, "user": "u", "ordinal": 3}
    if thread:
        expected["thread"] = thread
    if target:
        expected["target"] = target
    assert found == {**expected, "body": json.loads(e.encode_body(body))}
    # Nothing of the tenant, the key or the room is told.
    assert not {"tenant", "room", "key_id", "log"} & set(found)


def test_an_erased_event_is_a_void() -> None:
    event = e.Event(
        tenant="acme", log="c", room="c", log_kind="group", seq=4, kind="message.new", actor="u", at=5,
        ordinal=3, all_ordinal=0, thread=2, thread_ordinal=1, target=1, body=None, client_id="secret",
    )  # fmt: skip
    encoder = codec.WsEncoder()
    # Where it stands and what it counts, and neither who nor what.
    assert payload(encoder.event(event)) == {
        "type": "void", "conversation": "c", "seq": 4, "at": 5, "ordinal": 3, "thread": 2,
        "thread_ordinal": 1,
    }  # fmt: skip
    assert encoder.event(event) == encoder.void(msgspec.structs.replace(event, body=b"{}"))


def test_signals_leave_out_what_is_empty() -> None:
    encoder = codec.WsEncoder()
    assert payload(encoder.signal(Signal(type="typing.start", user="u", conversation="c"))) == {
        "type": "typing.start",
        "user": "u",
        "conversation": "c",
    }
    assert payload(encoder.signal(Signal(type="presence", user="u", state="offline", last_seen=9))) == {
        "type": "presence",
        "user": "u",
        "state": "offline",
        "last_seen": 9,
    }


@pytest.mark.parametrize("code", CODES)
def test_every_refusal_has_a_frame(code: Any) -> None:
    assert payload(codec.encode(codec.error_frame(Refusal(code, "Why."), "7"))) == {
        "type": "error",
        "ref": "7",
        "code": code,
        "detail": "Why.",
    }
    full = Refusal(code, "Why.", retry_after_ms=5, field="seq")
    assert payload(codec.encode(codec.error_frame(full))) == {
        "type": "error",
        "code": code,
        "detail": "Why.",
        "field": "seq",
        "retry_after_ms": 5,
    }


def test_truncated_uses_the_word_from() -> None:
    frame = Truncated(conversation="c", from_=3, to=900)
    assert payload(codec.encode(frame)) == {"type": "truncated", "conversation": "c", "from": 3, "to": 900}


def test_a_head_tells_no_more_than_where_the_log_and_its_reader_stand() -> None:
    head = OwnHead(
        log="c", kind="topic", tenant="acme", room="r", last_seq=5, message_count=3, all_count=0,
        updated_at=9, epoch=4, read=2, received=4, unread=1,
    )  # fmt: skip
    assert msgspec.to_builtins(frames.head_doc(head)) == {
        "conversation": "c",
        "kind": "topic",
        "seq": 5,
        "updated_at": 9,
        "read": 2,
        "received": 4,
        "unread": 1,
    }
