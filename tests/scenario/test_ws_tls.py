"""The real command as a process of its own, over TLS, from its start to its stop."""

from __future__ import annotations

import asyncio
import datetime
import ipaddress
import json
import os
import signal
import socket
import ssl
import sys
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

import pytest
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import NameOID

from tests.support.live import Live, text
from tests.support.wire import BINARY, PATIENCE, Wire, frame, upgrade_request


def certificate(folder: Path) -> tuple[Path, Path]:
    """A self-signed certificate for localhost and its key, as PEM files."""
    key = ec.generate_private_key(ec.SECP256R1())
    name = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, "localhost")])
    now = datetime.datetime.now(datetime.UTC)
    cert = (
        x509.CertificateBuilder()
        .subject_name(name)
        .issuer_name(name)
        .public_key(key.public_key())
        .serial_number(x509.random_serial_number())
        .not_valid_before(now - datetime.timedelta(days=1))
        .not_valid_after(now + datetime.timedelta(days=1))
        .add_extension(
            x509.SubjectAlternativeName(
                [x509.DNSName("localhost"), x509.IPAddress(ipaddress.ip_address("127.0.0.1"))]
            ),
            critical=False,
        )
        .add_extension(x509.BasicConstraints(ca=True, path_length=0), critical=True)
        .sign(key, hashes.SHA256())
    )
    files = folder / "cert.pem", folder / "key.pem"
    files[0].write_bytes(cert.public_bytes(serialization.Encoding.PEM))
    files[1].write_bytes(
        key.private_bytes(
            serialization.Encoding.PEM,
            serialization.PrivateFormat.PKCS8,
            serialization.NoEncryption(),
        )
    )
    return files


@pytest.fixture
def tls(tmp_path: Path) -> tuple[Path, Path, ssl.SSLContext]:
    """Certificate, key, and a context that trusts it."""
    cert, key = certificate(tmp_path)
    return cert, key, ssl.create_default_context(cafile=str(cert))


@asynccontextmanager
async def served(
    data: Path, settings: dict[str, str], tls: ssl.SSLContext | None
) -> AsyncIterator[tuple[asyncio.subprocess.Process, int]]:
    """`tertulia serve` on a free port, until the block ends."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = int(probe.getsockname()[1])
    environment = {**os.environ, **{f"TERTULIA_{name}": value for name, value in settings.items()}}
    log = data.parent / "server.log"
    with log.open("wb") as output:
        process = await asyncio.create_subprocess_exec(
            str(Path(sys.executable).parent / "tertulia"),
            "serve",
            "--port",
            str(port),
            "--data",
            str(data),
            env=environment,
            stdout=output,
            stderr=output,
        )
    try:
        async with asyncio.timeout(30):
            while True:
                assert process.returncode is None, log.read_text()
                try:
                    wire = await Wire.connect(port, tls=tls)
                except OSError:
                    await asyncio.sleep(0.05)
                    continue
                wire.write(b"GET /healthz HTTP/1.1\r\nHost: localhost\r\n\r\n")
                assert (await wire.response())[0] == 200
                await wire.close()
                break
        yield process, port
    finally:
        if process.returncode is None:
            process.kill()
        async with asyncio.timeout(10):
            await process.wait()
    assert "Traceback" not in log.read_text(), log.read_text()


async def test_serve_over_tls_and_a_stop(tmp_path: Path, tls: tuple[Path, Path, ssl.SSLContext]) -> None:
    cert, key, trusts = tls
    data = tmp_path / "data"
    async with Live(data) as live:
        ana, bob = await live.people("ana", "bob")
        group = await live.group(ana, bob)
    settings = {"TLS_CERTIFICATE": str(cert), "TLS_KEY": str(key), "DRAIN_S": "2"}
    async with served(data, settings, trusts) as (process, port):
        one = await Wire.websocket(port, tls=trusts)
        two = await Wire.websocket(port, tls=trusts)
        for wire, person in ((one, ana), (two, bob)):
            wire.send({"type": "sign_in", "token": person.token})
            assert (await wire.json())["type"] == "hello"
        # In pieces, large, and in a burst.
        words = "x" * 7000
        message = json.dumps(
            {"type": "message.send", "ref": "1", "conversation": group, "content": text(words)}
        )
        whole = frame(message[:100], fin=False) + frame(message[100:], opcode=0)
        for start in range(0, len(whole), 999):
            one.write(whole[start : start + 999])
            await one.drain()
        assert (await two.until("message.new"))["body"]["content"]["text"] == words
        for number in range(50):
            one.send({"type": "message.send", "conversation": group, "content": text(str(number))})
        for number in range(50):
            assert (await two.until("message.new"))["body"]["content"]["text"] == str(number)
        bad = await Wire.websocket(port, tls=trusts)
        bad.send(b"x", opcode=BINARY)
        assert (await bad.closed()).code == 1003
        # Not TLS at all.
        plain = await Wire.connect(port)
        plain.write(upgrade_request())
        await plain.gone()
        process.send_signal(signal.SIGTERM)
        for wire in (one, two):
            closed = await wire.closed()
            assert (closed.code, closed.reason.split(":")[0]) == (1001, "reconnect")
        async with asyncio.timeout(PATIENCE):
            assert await process.wait() == 0
        for wire in (one, two, bad, plain):
            await wire.close()
    # What was acknowledged is there after the restart.
    async with Live(data) as live:
        head = await live.program.store.head(group)
        assert head is not None
        assert head.message_count == 51


async def test_a_slow_reader_over_tls(tmp_path: Path, tls: tuple[Path, Path, ssl.SSLContext]) -> None:
    cert, key, trusts = tls
    async with Live(
        tmp_path / "data", tls_certificate=str(cert), tls_key=str(key), outbox_bytes=65_536
    ) as live:
        ana, slow = await live.people("ana", "slow")
        group = await live.group(ana, slow)
        wire = await Wire.websocket(live.port, tls=trusts, receive_buffer=4096)
        wire.send({"type": "sign_in", "token": slow.token})
        assert (await wire.json())["type"] == "hello"
        transport = wire.writer.transport
        transport.pause_reading()
        most = 0
        for _ in range(2000):
            await live.say(ana, group, "x" * 7900)
            most = max([most, *(one.backlog() for one in live.program.ws.connections)])
            if not live.program.hub.sessions_of(slow.id):
                break
        closed = not live.program.hub.sessions_of(slow.id)
        for _ in range(300):
            if not live.program.ws.connections:
                break
            await asyncio.sleep(0.01)
        wire.abort()
        assert closed
        assert not live.program.ws.connections
        assert most < 3 * 65_536
