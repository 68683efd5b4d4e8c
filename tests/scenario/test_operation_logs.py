"""What the log of a whole conversation tells, and what it must never tell."""

from __future__ import annotations

import asyncio
import json
import re
from pathlib import Path
from typing import Any

import httpx
import pytest

from tests.delivery.smtp_peer import smtp_peer
from tests.support.process import connected, serving

PASSWORD = "zebra crossing at noon"
WRONG = "a giraffe of no use at all"
TEXT = "the-words-that-nobody-else-may-read"
DRAFT = "half-a-thought-about-the-harbour"


async def code_from(peer: Any, count: int) -> str:
    """The code in the `count`-th mail."""
    for _ in range(750):
        if len(peer.messages) >= count:
            break
        await asyncio.sleep(0.02)
    body = peer.messages[count - 1].get_body(("plain",)).get_content()
    found = re.search(r"\b\d{6}\b", body)
    assert found is not None
    return found.group()


@pytest.mark.parametrize("form", ["json", "text"])
async def test_the_log_of_a_sign_up_and_a_talk_holds_no_secret_and_no_text(tmp_path: Path, form: str) -> None:
    async with smtp_peer() as mail:
        environment = {
            "TERTULIA_MAIL": "smtp",
            "TERTULIA_SMTP_HOST": "127.0.0.1",
            "TERTULIA_SMTP_PORT": str(mail.port),
            "TERTULIA_SMTP_SECURITY": "none",
            "TERTULIA_MAIL_FROM": "house@example.org",
            "TERTULIA_LOG_FORMAT": form,
            "TERTULIA_LOG_LEVEL": "debug",
        }
        with serving(tmp_path / "data", form=form, **environment) as server:
            secrets = [PASSWORD, WRONG, TEXT, DRAFT]
            async with httpx.AsyncClient(base_url=server.address, timeout=20) as client:
                sign_up = {"email": "ana@example.org", "password": PASSWORD, "handle": "ana", "name": "Ana"}
                assert (await client.post("/v1/accounts", json=sign_up)).status_code == 202
                code = await code_from(mail, 1)
                verified = await client.post(
                    "/v1/accounts/verify", json={"address": "ana@example.org", "code": code}
                )
                assert verified.status_code in (200, 201), verified.text
                tokens = verified.json()
                secrets += [code, tokens["access_token"], tokens["refresh_token"]]
                wrong = await client.post("/v1/sessions", json={"login": "ana", "password": WRONG})
                assert wrong.status_code == 401
                right = await client.post("/v1/sessions", json={"login": "ana", "password": PASSWORD})
                secrets += [right.json()["access_token"], right.json()["refresh_token"]]
                renewed = await client.post(
                    "/v1/sessions/refresh", json={"refresh_token": tokens["refresh_token"]}
                )
                assert renewed.status_code == 200, renewed.text
                secrets += [renewed.json()["access_token"], renewed.json()["refresh_token"]]
                signed = {"Authorization": f"Bearer {renewed.json()['access_token']}"}
                broken = await client.post(
                    "/v1/sessions",
                    content=f'{{"login": "{TEXT}", "password'.encode(),
                    headers={"Content-Type": "application/json"},
                )
                assert broken.status_code == 400
                asked = await client.get("/v1/search", params={"q": TEXT}, headers=signed)
                assert asked.status_code == 200
                request_id = asked.headers["x-request-id"]
                async with connected(server, renewed.json()["access_token"]) as ana:
                    group = (await ana.do("conversation.create_group", name=TEXT))["created"]
                    made = await ana.say(group, TEXT)
                    edit = {"type": "text", "text": TEXT + "!"}
                    await ana.do("message.edit", conversation=group, seq=made["seq"], content=edit)
                    await ana.do("draft.set", conversation=group, text=DRAFT)
                    invite = await ana.do("invite.create", conversation=group)
                    secrets.append(invite["secret"])
                    refused = await ana.start("message.send", conversation=group, content={"type": TEXT})
                    assert refused["type"] == "error"
                    await ana.socket.send(TEXT)
                    assert (await ana.ended())[0] == 4004
            assert await asyncio.to_thread(server.stop) == 0
        log = server.log
    for secret in secrets:
        assert secret not in log
    assert "ana@example.org" not in log
    assert request_id in log
    if form == "json":
        events = {json.loads(line)["event"] for line in log.splitlines()}
        assert {"serve.ready", "serve.stopped"} < events
    else:
        assert "serve.ready" in log


def test_a_defect_is_logged_without_the_values_of_variables(capsys: pytest.CaptureFixture[str]) -> None:
    """Neither form shows locals, which hold what people wrote; uvicorn's lines come in the same form."""
    import logging

    import structlog

    from tertulia.cli.logs import set_up_logs

    def defect(words: str) -> None:
        raise ValueError(len(words))

    before = logging.getLogger().handlers, logging.getLogger().level
    try:
        for form in ("json", "text"):
            set_up_logs(form, "info")
            try:
                defect(TEXT)
            except ValueError:
                structlog.get_logger("x").exception("it.failed", request_id="r1")
                logging.getLogger("uvicorn.error").exception("Exception in ASGI application")
            logging.getLogger("uvicorn.error").info("not shown")
            err = capsys.readouterr().err
            assert TEXT not in err
            assert err.count("in defect") == 2
            assert "not shown" not in err
            assert "r1" in err
            if form == "json":
                first, second = map(json.loads, err.splitlines())
                assert (first["event"], first["level"]) == ("it.failed", "error")
                assert (second["event"], second["logger"]) == (
                    "Exception in ASGI application",
                    "uvicorn.error",
                )
    finally:
        structlog.reset_defaults()
        logging.getLogger().handlers, logging.getLogger().level = before


async def test_what_nobody_awaited_is_logged_without_arguments(capsys: pytest.CaptureFixture[str]) -> None:
    import structlog

    from tertulia.cli.logs import log_loop_errors, set_up_logs

    loop = asyncio.get_running_loop()

    def defect(_words: str) -> None:
        raise ValueError("broken")

    set_up_logs("json", "info")
    try:
        log_loop_errors(loop)
        loop.call_soon(defect, TEXT)
        await asyncio.sleep(0.01)
    finally:
        loop.set_exception_handler(None)
        structlog.reset_defaults()
    err = capsys.readouterr().err
    assert TEXT not in err
    line = json.loads(err.splitlines()[0])
    assert (line["event"], line["what"]) == ("loop.exception", "Exception in callback")
    assert "broken" in line["exception"]
