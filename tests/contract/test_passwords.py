"""Password verifiers: what they let in, what they keep out, and what they cost."""

from __future__ import annotations

import asyncio
import base64
import hashlib
import hmac
import statistics
import threading
import time

import msgspec
import pytest
from scramp import ScramClient, ScramMechanism
from scramp.utils import ScramException

from tertulia.adapters.passwords_argon2 import Argon2Passwords, scram_keys
from tertulia.domain.passwords import PasswordRefused
from tertulia.ports.passwords import Busy, Passwords, Verifiers

GOOD = "correct horse battery"


@pytest.fixture
def passwords():
    adapter = Argon2Passwords(memory_kib=64, time_cost=1, parallelism=1, scram_iterations=4096)
    yield adapter
    adapter.close()


async def test_the_right_password_and_no_other(passwords: Passwords):
    verifiers = await passwords.make(GOOD)
    assert await passwords.verify(verifiers, GOOD) is True
    for wrong in ("", "correct horse batterY", GOOD + " ", GOOD + "\x00", "x" * 10_000, "\ud800"):
        assert await passwords.verify(verifiers, wrong) is False


async def test_an_unknown_account_is_a_wrong_password(passwords: Passwords):
    for password in (GOOD, "", "never anybody's password"):
        assert await passwords.verify(None, password) is False


async def test_two_spellings_of_the_same_text_are_one_password(passwords: Passwords):
    verifiers = await passwords.make("mun\u0303oz largo")
    assert await passwords.verify(verifiers, "mu\u00f1oz\u00a0largo")


async def test_salts_are_fresh_and_nothing_shows_the_password(passwords: Passwords):
    one, other = await passwords.make(GOOD), await passwords.make(GOOD)
    assert one.argon2id != other.argon2id
    assert one.scram_sha256.stored_key != other.scram_sha256.stored_key
    assert one.scram_sha1.salt != one.scram_sha256.salt
    assert one.argon2id.startswith("$argon2id$v=19$m=64,t=1,p=1$")
    assert one.argon2id not in repr(one)


async def test_verifiers_survive_json(passwords: Passwords):
    verifiers = await passwords.make(GOOD)
    stored = msgspec.json.encode(verifiers)
    assert GOOD.encode() not in stored
    assert msgspec.json.decode(stored, type=Verifiers) == verifiers


@pytest.mark.parametrize("password", ["", "bell\x07bell", "\ud800abcdefgh", "x" * 129])
async def test_what_cannot_be_prepared_is_not_stored(passwords: Passwords, password):
    with pytest.raises(PasswordRefused):
        await passwords.make(password)


async def test_a_damaged_hash_is_an_error_and_not_a_wrong_password(passwords: Passwords):
    good = await passwords.make(GOOD)
    for damage in ("$argon2id$v=19$broken", "", "plain text"):
        with pytest.raises(ValueError, match="damaged"):
            await passwords.verify(msgspec.structs.replace(good, argon2id=damage), GOOD)


async def test_other_costs_call_for_new_verifiers(passwords: Passwords):
    verifiers = await passwords.make(GOOD)
    assert not passwords.needs_rehash(verifiers)
    for changed in ({"memory_kib": 128}, {"time_cost": 2}, {"scram_iterations": 5000}):
        costs = {"memory_kib": 64, "time_cost": 1, "parallelism": 1, "scram_iterations": 4096}
        other = Argon2Passwords(**(costs | changed))
        try:
            assert other.needs_rehash(verifiers)
            assert await other.verify(verifiers, GOOD)
        finally:
            other.close()


# --- SCRAM ---------------------------------------------------------------------------------------


@pytest.mark.parametrize("mechanism", ["SCRAM-SHA-256", "SCRAM-SHA-1"])
@pytest.mark.parametrize("password", [GOOD, "mu\u00f1oz\u00a0largo", "\u2168 \uff21 largo"])
async def test_a_scram_client_signs_in_with_the_stored_keys(passwords, mechanism, password):
    verifiers = await passwords.make(password)
    keys = verifiers.scram_sha256 if mechanism == "SCRAM-SHA-256" else verifiers.scram_sha1
    stored = (keys.salt, keys.stored_key, keys.server_key, keys.iterations)

    def sign_in(typed: str) -> None:
        client = ScramClient([mechanism], "ana", typed)
        server = ScramMechanism(mechanism).make_server(lambda _: stored)
        server.set_client_first(client.get_client_first())
        client.set_server_first(server.get_server_first())
        server.set_client_final(client.get_client_final())
        client.set_server_final(server.get_server_final())

    sign_in(password)
    with pytest.raises(ScramException):
        sign_in(password + "x")


def test_the_keys_of_the_rfcs_examples():
    """RFC 7677 §3 and RFC 5802 §5: user `user`, password `pencil`."""
    for algorithm, salt, nonces, proof, signature in (
        (
            "sha256",
            "W22ZaJ0SNY7soEsUEjb6gQ==",
            ("rOprNGfwEbeRWgbNEkqO", "rOprNGfwEbeRWgbNEkqO%hvYDpWUa2RaTCAfuxFIlj)hNlF$k0"),
            "dHzbZapWIk4jUhN+Ute9ytag9zjfMHgsqmmiz7AndVQ=",
            "6rriTRBi23WpRR/wtup+mMhUZUn/dB5nLTJRsjl95G4=",
        ),
        (
            "sha1",
            "QSXCR+Q6sek8bf92",
            ("fyko+d2lbbFgONRv9qkxdawL", "fyko+d2lbbFgONRv9qkxdawL3rfcNHYJY1ZVvWVs7j"),
            "v0X8v3Bz2T0CJGbJQyF0X+HI4Ts=",
            "rmF9pqV8S7suAoZWja4dJRkFsKQ=",
        ),
    ):
        keys = scram_keys(algorithm, b"pencil", base64.b64decode(salt), 4096)
        message = (f"n=user,r={nonces[0]},r={nonces[1]},s={salt},i=4096,c=biws,r={nonces[1]}").encode()
        expected = hmac.digest(keys.stored_key, message, algorithm)
        client_key = bytes(a ^ b for a, b in zip(base64.b64decode(proof), expected, strict=True))
        assert hashlib.new(algorithm, client_key).digest() == keys.stored_key
        assert hmac.digest(keys.server_key, message, algorithm) == base64.b64decode(signature)


def test_few_iterations_are_refused():
    with pytest.raises(ValueError, match="4096"):
        Argon2Passwords(scram_iterations=1000)


# --- time and load -------------------------------------------------------------------------------


async def test_known_unknown_and_impossible_take_the_same_time():
    # The processor's time: what else runs on the machine does not count.
    adapter = Argon2Passwords(memory_kib=8_192, time_cost=2, parallelism=1, scram_iterations=4096)
    try:
        verifiers = await adapter.make(GOOD)

        async def typical(stored: Verifiers | None, password: str) -> float:
            times: list[float] = []
            for _ in range(9):
                began = time.process_time()
                await adapter.verify(stored, password)
                times.append(time.process_time() - began)
            return statistics.median(times)

        known = await typical(verifiers, "wrong password")
        for stored, password in ((None, GOOD), (verifiers, "\x00"), (verifiers, "x" * 1_000_000)):
            assert 0.4 < await typical(stored, password) / known < 2.5
    finally:
        adapter.close()


async def test_the_loop_goes_on_while_passwords_are_hashed():
    adapter = Argon2Passwords(memory_kib=32_768, time_cost=3, parallelism=1, scram_iterations=4096)
    try:
        hashing = asyncio.ensure_future(adapter.verify(None, GOOD))
        turns = 0
        while not hashing.done():
            await asyncio.sleep(0)
            turns += 1
        assert turns > 20
    finally:
        adapter.close()


@pytest.fixture
def held():
    """An adapter whose work does not end before it is let go."""
    adapter = Argon2Passwords(
        memory_kib=64, time_cost=1, parallelism=1, scram_iterations=4096, workers=2, waiting=3
    )
    go, running, most, lock = threading.Event(), 0, 0, threading.Lock()
    verify = adapter._verify

    def slow(verifiers: Verifiers | None, password: str) -> bool:
        nonlocal running, most
        with lock:
            running += 1
            most = max(most, running)
        assert go.wait(20)
        with lock:
            running -= 1
        return verify(verifiers, password)

    adapter._verify = slow  # pyright: ignore[reportAttributeAccessIssue]
    yield adapter, go, lambda: (running, most)
    go.set()
    adapter.close()


async def settled(condition) -> None:
    async with asyncio.timeout(10):
        while not condition():  # noqa: ASYNC110 - the state changes in a thread
            await asyncio.sleep(0.005)


async def test_beyond_the_line_everybody_is_refused_at_once(held):
    adapter, go, counts = held
    inside = [asyncio.ensure_future(adapter.verify(None, GOOD)) for _ in range(5)]
    await settled(lambda: counts()[0] == 2)
    for _ in range(50):
        with pytest.raises(Busy) as caught:
            await adapter.verify(None, GOOD)
        assert caught.value.retry_after_ms > 0
    go.set()
    assert await asyncio.gather(*inside) == [False] * 5
    assert counts() == (0, 2)
    assert await adapter.verify(None, GOOD) is False


async def test_who_stops_waiting_frees_a_place_but_work_that_runs_keeps_its_own(held):
    adapter, go, counts = held
    inside = [asyncio.ensure_future(adapter.verify(None, GOOD)) for _ in range(5)]
    await settled(lambda: counts()[0] == 2)
    inside[4].cancel()  # was waiting
    inside[0].cancel()  # was running
    await asyncio.sleep(0.02)
    another = asyncio.ensure_future(adapter.verify(None, GOOD))
    await asyncio.sleep(0)
    with pytest.raises(Busy):
        await adapter.verify(None, GOOD)
    go.set()
    assert await another is False
    await asyncio.gather(*inside, return_exceptions=True)
    # Nobody waits for the work that was cancelled while it ran; its place is free when it has ended.
    await settled(lambda: adapter._places._value == 5)
    assert counts() == (0, 2)
    # every place is free again, and not one more
    again = [asyncio.ensure_future(adapter.verify(None, GOOD)) for _ in range(5)]
    assert await asyncio.gather(*again) == [False] * 5
    for _ in range(5):
        assert adapter._places.acquire(blocking=False)
    assert not adapter._places.acquire(blocking=False)
    for _ in range(5):
        adapter._places.release()


async def test_a_closed_adapter_takes_nothing_more(passwords):
    passwords.close()
    with pytest.raises(RuntimeError):
        await passwords.verify(None, GOOD)
