"""The server against its own description: whatever the document allows or forbids is tried on it.

schemathesis makes the requests, with all of its checks: no 5xx, no answer that is not documented, shapes
and headers as described, what the schema forbids refused, what it allows never called malformed.
"""

from __future__ import annotations

import json
import subprocess
import sys
import urllib.request
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from tests.support.process import Server, serving

CONFIG = """
base-url = "{address}"
headers = {{ Authorization = "Bearer {ana}" }}
seed = 20261124
request-timeout = 10
max-stream-events = 1
continue-on-failure = true
# Two threads that parse at once trip over each other in CPython 3.11 (its AST depth is counted for all).
workers = 1

[generation]
max-examples = 20
database = "none"
deterministic = true

# A request of the right shape may ask for something that makes no sense (422), but is never called
# malformed (400) or of a media type that is not supported (415).
[checks.positive_data_acceptance]
enabled = true
expected-statuses = ["2xx", 401, 403, 404, 409, 410, 413, 422, 429]

[checks.negative_data_rejection]
enabled = true
expected-statuses = [400, 401, 403, 404, 413, 415, 422]

# These end a login; the others go on with theirs.
[[operations]]
include-operation-id = ["sign_out", "revoke_device", "change_password"]
headers = {{ Authorization = "Bearer {bob}" }}

# Ana must stay where she is, and her messages too: an id that was seen before is not for these.
[[operations]]
include-operation-id = [
    "leave_conversation", "remove_member", "set_member", "delete_conversation", "delete_message",
]
phases.examples.extra-data-sources.responses = false
phases.coverage.extra-data-sources.responses = false
phases.fuzzing.extra-data-sources.responses = false
phases.stateful.enabled = false

# What is random is never there; these are tried on what is.
[[operations]]
include-path-regex = "/v1/conversations/[^/]+/"
exclude-operation-id = ["leave_conversation", "delete_message", "vote", "close_poll"]
parameters = {{ "path.conversation" = "{conversation}", "path.seq" = {text} }}

[[operations]]
include-operation-id = "vote"
parameters = {{ "path.conversation" = "{conversation}", "path.seq" = {poll} }}

[[operations]]
include-operation-id = "close_poll"
parameters = {{ "path.conversation" = "{conversation}", "path.seq" = {closing} }}
"""


@pytest.fixture
def server(tmp_path: Path) -> Iterator[Server]:
    with serving(tmp_path / "data", TERTULIA_RATE_LIMITS="off") as one:
        yield one


def _ask(server: Server, path: str, token: str = "", body: Any = None, *, method: str | None = None) -> Any:
    headers = {"content-type": "application/json", "authorization": f"Bearer {token}"}
    data = json.dumps(body).encode() if body is not None else None
    request = urllib.request.Request(server.address + path, data, headers, method=method)
    with urllib.request.urlopen(request, timeout=10) as found:
        return json.load(found)


def _world(server: Server) -> dict[str, Any]:
    """Ana in a group of Bob's that she may not delete, with a text and two polls of hers."""
    tokens = server.people("ana", "bob")
    ana = tokens["ana"]
    me = _ask(server, "/v1/me", ana)["id"]
    group = {"kind": "group", "name": "Sunday lunch", "members": [me]}
    conversation = _ask(server, "/v1/conversations", tokens["bob"], group)["id"]
    role = f"/v1/conversations/{conversation}/members/{me}"
    _ask(server, role, tokens["bob"], {"role": "admin"}, method="PUT")
    where = f"/v1/conversations/{conversation}/messages"
    text = {"content": {"type": "text", "text": "Paella or cocido?"}}
    poll = {"content": {"type": "poll", "question": "Which?", "options": ["Paella", "Cocido"]}}
    return {
        **tokens,
        "conversation": conversation,
        "text": _ask(server, where, ana, text)["seq"],
        "poll": _ask(server, where, ana, poll)["seq"],
        "closing": _ask(server, where, ana, poll)["seq"],
    }


def test_the_server_keeps_to_its_description(server: Server, tmp_path: Path) -> None:
    config = CONFIG.format(address=server.address, **_world(server))
    (tmp_path / "schemathesis.toml").write_text(config)
    command = (
        str(Path(sys.executable).with_name("schemathesis")),
        "--config-file",
        str(tmp_path / "schemathesis.toml"),
        "run",
        f"{server.address}/v1/openapi.json",
        "--checks",
        "all",
        "--no-color",
    )
    done = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True, timeout=300)
    assert done.returncode == 0, done.stdout[-20_000:] + done.stderr[-2000:]
    # All of it was tried but the document itself, which schemathesis reads.
    paths = _ask(server, "/v1/openapi.json")["paths"]
    operations = sum(map(len, paths.values())) - 1
    assert f"{operations} selected / {operations} total" in done.stdout
    assert f"Tested: {operations}" in done.stdout
    assert not [line for line in server.lines() if line["event"] == "http.failed"]
