"""The operator's commands against a running server and against a folder that nobody has open."""

from __future__ import annotations

import asyncio
import json
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.support.process import (
    PASSWORD,
    TERTULIA,
    Server,
    answer,
    connected,
    inside,
    run,
    serving,
    surroundings,
)

ONE_JWK = {
    "keys": [
        {
            "kty": "OKP",
            "crv": "Ed25519",
            "kid": "k1",
            "use": "sig",
            "alg": "EdDSA",
            # RFC 8037 appendix A.2
            "x": "11qYAYKxCrfVS_7TyWQHOg7hcvPapiMlrwIaaPcHURo",
        }
    ]
}


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    with serving(tmp_path_factory.mktemp("commands") / "data") as one:
        yield one


@pytest.fixture(scope="module")
def idle(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A data folder whose server has gone."""
    data = tmp_path_factory.mktemp("idle") / "data"
    with serving(data) as one:
        assert one.stop() == 0
    return data


@pytest.fixture(params=["running", "stopped"])
def data(request: pytest.FixtureRequest) -> Path:
    if request.param == "running":
        return request.getfixturevalue("server").data
    return request.getfixturevalue("idle")


def test_a_users_life(data: Path) -> None:
    where = ("--data", data)
    made = answer("user", "create", "ana", "--name", "Ana", "--email", "ana@example.org", *where)
    assert made["user"]["handle"] == "ana"
    assert made["addresses"] == ["ana@example.org"]
    assert (made["password"], made["user"]["operator"], made["user"]["disabled"]) == (False, False, False)
    assert answer("user", "set-password", "ana", "--password-stdin", *where, stdin=PASSWORD + "\n")[
        "password"
    ]
    assert answer("user", "operator", "ana@example.org", *where)["user"]["operator"] is True
    assert answer("user", "operator", "ana", "--off", *where)["user"]["operator"] is False
    assert answer("user", "disable", "ana", *where)["user"]["disabled"] is True
    assert answer("user", "enable", made["user"]["id"], *where)["user"]["disabled"] is False
    assert answer("user", "bot", "robot", *where)["user"]["bot"] is True
    assert [one["handle"] for one in answer("user", "list", *where)] == ["ana", "robot"]
    issued = answer("token", "issue", "robot", "--device", "desk", *where)
    assert (issued["user"]["handle"], issued["device"]["name"]) == ("robot", "desk")
    assert answer("user", "show", "robot", *where)["devices"] == 1
    text = inside("user", "show", "ana", *where)
    assert "ana@example.org" in text.stdout
    assert inside("user", "list", *where).stdout.count("\n") == 3


def test_a_tenants_settings_and_keys(data: Path, tmp_path: Path) -> None:
    where = ("--data", data)
    keys = tmp_path / "keys.json"
    keys.write_text(json.dumps(ONE_JWK))
    options = ("--max-text", "500", "--max-members", "20", "--no-open-sign-up", "--jwks", str(keys))
    found = answer("tenant", "set", *options, *where)
    assert (found["max_text"], found["max_members"], found["open_sign_up"]) == (500, 20, False)
    assert found["jwks_keys"] == 1
    assert answer("tenant", "set", "--no-jwks", "--name", "Casa", *where)["jwks_keys"] == 0
    assert answer("tenant", "show", *where)["name"] == "Casa"
    made = answer("tenant", "api-key", "create", *where)
    assert len(made["value"]) >= 32
    listed = inside("tenant", "api-key", "list", "--json", *where).stdout
    assert made["id"] in listed
    assert made["value"] not in listed
    assert answer("tenant", "api-key", "revoke", made["id"], *where) == {"ok": True}
    (key,) = answer("tenant", "api-key", "list", *where)
    assert key["revoked_at"] > 0


@pytest.mark.parametrize(
    ("arguments", "code", "says"),
    [
        (("user", "show", "nobody"), 1, "[not_found]"),
        (("user", "create", "admin"), 1, "reserved"),
        (("user", "create", "x"), 2, "--handle: "),
        (("user", "create", "zoe", "--email", "nonsense"), 1, "email"),
        (("user", "create", "zoe", "--phone", "zoe@example.org"), 1, "phone"),
        (("user", "set-password", "nobody", "--password-stdin"), 2, "no password"),
        (("user", "set-password", "nobody"), 2, "--password-stdin"),
        (("tenant", "show", "--tenant", "other"), 1, "[not_found]"),
        (("tenant", "set"), 2, "Name something"),
        (("tenant", "set", "--max-text", "0"), 2, "--max-text: expected"),
        (("tenant", "set", "--jwks", "none.json"), 2, "none.json"),
        (("tenant", "set", "--name", "x" * 41), 1, "field name"),
        (("tenant", "api-key", "revoke", "nothing"), 1, "[not_found]"),
        (("token", "issue", "nobody"), 1, "[not_found]"),
    ],
)
def test_what_is_refused_is_one_line(
    server: Server, arguments: tuple[str, ...], code: int, says: str
) -> None:
    done = inside(*arguments, "--data", server.data)
    assert (done.returncode, done.stdout) == (code, "")
    assert done.stderr.startswith("tertulia: ")
    assert done.stderr.count("\n") == 1
    assert says in done.stderr


def test_a_key_set_that_is_none_is_refused(server: Server) -> None:
    done = inside("tenant", "set", "--jwks", "-", "--data", server.data, stdin='{"keys": []}')
    assert done.returncode == 1
    assert "no usable key" in done.stderr


def test_a_folder_without_data_is_said_and_not_made(tmp_path: Path) -> None:
    done = inside("user", "list", "--data", tmp_path / "none")
    assert done.returncode == 1
    assert "There is no data" in done.stderr
    assert not (tmp_path / "none").exists()


def test_a_wrong_option_shows_the_right_ones(server: Server) -> None:
    assert inside("user", "list", "--colour", "--data", server.data).returncode == 2
    assert inside("user", "--help").returncode == 0


def test_a_process_of_its_own_ends_with_the_same_codes(server: Server) -> None:
    assert run("user", "list", "--colour", "--data", server.data).returncode == 2
    assert run("user", "show", "nobody", "--data", server.data).returncode == 1
    assert run("tenant", "show", "--data", server.data).returncode == 0


async def test_a_disabled_user_is_cut_off_at_once(server: Server) -> None:
    tokens = server.people("cut")
    async with connected(server, tokens["cut"]) as peer:
        process = await asyncio.create_subprocess_exec(
            *TERTULIA,
            *("user", "disable", "cut", "--data", str(server.data)),
            env=surroundings(),
            stdout=asyncio.subprocess.DEVNULL,
        )
        assert await peer.ended() == (4002, "stop: this device was signed out")
        async with asyncio.timeout(20):
            assert await process.wait() == 0


def test_the_log_names_requests_and_no_more(server: Server) -> None:
    done = inside("user", "create", "quiet", "--password-stdin", "--data", server.data, stdin=PASSWORD)
    assert done.returncode == 0
    lines = [line for line in server.lines() if line["event"].startswith("control.")]
    assert lines[-1]["request"] == "user.show"
    assert {name for line in lines for name in line} <= {"event", "level", "timestamp", "request", "code"}
    assert PASSWORD not in server.log


# --- doctor --------------------------------------------------------------------------------------


def states(*arguments: str | Path, code: int = 0, **environment: str) -> dict[str, str]:
    done = inside("doctor", "--json", *arguments, **environment)
    assert done.returncode == code, done.stderr
    return {one["check"]: one["state"] for one in json.loads(done.stdout)}


def test_the_doctor_finds_nothing_wrong(data: Path) -> None:
    found = states("--data", data, "--rebuild")
    assert set(found) == {
        "settings",
        "folder",
        "space",
        "clock",
        "database",
        "secret",
        "tls",
        "files",
        "mail",
        "sms",
        "rebuild",
    }
    assert {check for check, state in found.items() if state != "ok"} <= {"mail", "sms", "files"}
    assert found["mail"] == found["sms"] == "warn"


def test_the_doctor_says_what_is_wrong(idle: Path, tmp_path: Path) -> None:
    copy = tmp_path / "data"
    copy.mkdir(mode=0o755)
    database = bytearray((idle / "tertulia.sqlite3").read_bytes())
    database[8192 : len(database) // 2] = b"\xa5" * (len(database) // 2 - 8192)
    (copy / "tertulia.sqlite3").write_bytes(database)
    (copy / "secret").write_bytes(b"x" * 32)
    (copy / "secret").chmod(0o644)
    copy.chmod(0o755)
    mail = {
        "TERTULIA_MAIL": "smtp",
        "TERTULIA_SMTP_HOST": "127.0.0.1",
        "TERTULIA_SMTP_PORT": "1",
        "TERTULIA_MAIL_FROM": "a@example.org",
    }
    found = states("--data", copy, code=1, TERTULIA_PRT="1", TERTULIA_MIN_FREE_BYTES=str(1 << 60), **mail)
    assert found == {
        "settings": "warn",
        "folder": "warn",
        "space": "fail",
        "clock": "ok",
        "database": "fail",
        "secret": "fail",
        "tls": "ok",
        "files": found["files"],
        "mail": "fail",
        "sms": "warn",
    }


def test_the_doctor_looks_at_tls(tmp_path: Path) -> None:
    def make(name: str, days: str) -> tuple[str, str]:
        key, certificate = str(tmp_path / f"{name}.key"), str(tmp_path / f"{name}.pem")
        subprocess.run(
            ["openssl", "req", "-x509", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:P-256", "-nodes",
             "-keyout", key, "-out", certificate, "-days", days, "-subj", "/CN=localhost"],
            check=True, capture_output=True, timeout=30,
        )  # fmt: skip
        return certificate, key

    long, short = make("long", "300"), make("short", "3")
    for certificate, key, state, code in (
        (*long, "ok", 0),
        (*short, "warn", 0),
        (long[0], short[1], "fail", 1),
        (long[0], str(tmp_path / "none.key"), "fail", 1),
        (long[1], long[1], "fail", 1),
    ):
        environment = {"TERTULIA_TLS_CERTIFICATE": certificate, "TERTULIA_TLS_KEY": key}
        assert states("--data", tmp_path, code=code, **environment)["tls"] == state


def test_the_doctor_says_so_when_the_settings_cannot_be_used(tmp_path: Path) -> None:
    done = inside("doctor", "--data", tmp_path, TERTULIA_PORT="x")
    assert done.returncode == 2
    assert done.stdout.startswith("fail  settings")


# --- settings ------------------------------------------------------------------------------------


def test_settings_are_shown_without_secrets() -> None:
    environment = {"TERTULIA_SMTP_PASSWORD": "hunter2hunter2", "TERTULIA_PORT": "99"}
    done = inside("settings", **environment)
    assert "hunter2" not in done.stdout
    assert "smtp_password = ***" in done.stdout
    assert "port = 99    # default: 8420" in done.stdout
    shown = answer("settings", **environment)
    assert {one["name"]: one["value"] for one in shown}["smtp_password"] == "***"
    assert inside("settings", "--sample").stdout.startswith("# Settings")
