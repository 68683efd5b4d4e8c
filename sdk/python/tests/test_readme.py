"""The example of the README runs as it stands there."""

import asyncio
import os
import re
import sys
from pathlib import Path

from sdk.python.tests.peer import Peer

README = Path(__file__).parents[1] / "README.md"


async def test_the_example_runs(tmp_path: Path) -> None:
    match = re.search(r"<!-- run by .*? -->\n```python\n(.*?)```", README.read_text("utf-8"), re.DOTALL)
    assert match is not None
    async with Peer() as peer:
        process = await asyncio.create_subprocess_exec(
            sys.executable,
            "-c",
            match[1],
            cwd=tmp_path,
            stdout=asyncio.subprocess.PIPE,
            env={
                **os.environ,
                "TERTULIA_URL": peer.url,
                "TERTULIA_LOGIN": "me",
                "TERTULIA_PASSWORD": "right",
                "NO_PROXY": "127.0.0.1",
            },
        )
        try:
            async with asyncio.timeout(20):
                assert process.stdout is not None
                assert await process.stdout.readline() == b"1 conversations\n"
                peer.say("c1", "hello")
                assert await process.stdout.readline() == b"sent as 2\n"
                peer.say("c1", "stop")
                assert await process.wait() == 0
        finally:
            if process.returncode is None:
                process.kill()
        assert peer.texts == ["hello", "You said: hello", "stop"]
        assert peer.cursors["c1"]["read"] == 3
        assert (tmp_path / "outbox.db").exists()
