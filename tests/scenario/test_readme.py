"""The README's first message, as it stands there, on a server started as it says."""

from __future__ import annotations

import re
import subprocess
import time
from pathlib import Path

from tests.support.process import Server, serving

ROOT = Path(__file__).parents[2]


def script() -> str:
    """The README's one block of shell commands."""
    [block] = re.findall(r"^```bash\n(.*?)^```$", (ROOT / "README.md").read_text(), re.DOTALL | re.MULTILINE)
    return block


def mailed_code(server: Server) -> str:
    """The code, as a reader finds it in the log."""
    for _ in range(200):
        found = re.search(r"mail\.printed.*|.*mail\.printed", server.log)
        code = re.search(r"(?<!\d)\d{6}(?!\d)", found[0].split("text", 1)[1]) if found else None
        if code:
            return code[0]
        time.sleep(0.05)
    raise AssertionError(server.log)


def shell(text: str) -> str:
    done = subprocess.run(["bash", "-euc", text], capture_output=True, text=True, timeout=60)
    assert done.returncode == 0, done.stderr
    return done.stdout


def test_the_first_message_with_curl(tmp_path: Path) -> None:
    with serving(tmp_path) as server:
        block = script().replace("http://localhost:8420", server.address)
        sign_up, rest = block.split("CODE=…\n")
        assert "expires_in" in shell(sign_up)
        setting = sign_up.split("\n\n")[0] + f"\nCODE={mailed_code(server)}\n"
        out = shell(setting + rest)
        accepted, page = out.split("}{", 1)
        assert '"seq":3' in accepted
        assert "Hello, *world*" in page
