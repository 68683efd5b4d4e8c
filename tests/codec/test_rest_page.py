"""docs/rest.md says what the tables in the code say."""

from __future__ import annotations

import json
import re
from pathlib import Path
from typing import Any

from tertulia.protocols.rest import app, openapi
from tertulia.protocols.rest.problems import TABLE
from tertulia.protocols.rest.routes import ROUTES
from tertulia.protocols.rest.sse import MANY_LOGS, REPLAY
from tertulia.protocols.rest.trail import MAX_LOGS

PAGE = Path(__file__).parents[2] / "docs" / "rest.md"


def part(name: str) -> str:
    found = re.search(rf"<!-- {name} -->\n(.*?)<!-- /{name} -->", PAGE.read_text("utf-8"), re.DOTALL)
    assert found is not None
    return found[1].strip()


def routes_table() -> str:
    document: Any = json.loads(openapi.document(app.CONTROLLERS, "T", "0"))
    lines: list[str] = []
    tag = ""
    for route in ROUTES:
        operation = document["paths"][route.path][route.method.lower()]
        if operation["tags"][0] != tag:
            tag = operation["tags"][0]
            lines += ["", f"**{tag}**", "", "| Route | |", "|---|---|"]
        public = " *public*" if route.public else ""
        lines.append(f"| `{route.method} {route.path}` | {operation['summary']}{public} |")
    return "\n".join(lines).strip()


def problems_table() -> str:
    lines = ["| Code | Status | |", "|---|---|---|"]
    lines += [f"| `{code}` | {status} | {title} |" for code, (status, title) in TABLE.items()]
    return "\n".join(lines)


def test_the_page_lists_every_route() -> None:
    assert part("routes") == routes_table()


def test_the_page_lists_every_problem() -> None:
    assert part("problems") == problems_table()


def test_the_figures_of_streams_are_right() -> None:
    text = PAGE.read_text("utf-8")
    for figure in (
        f"More than {REPLAY} events",
        f"at most {MAX_LOGS} logs",
        f"more than {MANY_LOGS} logs",
    ):
        assert figure in " ".join(text.split())
