"""A backup of a server that is being written to, and what comes back from it."""

from __future__ import annotations

import asyncio
import contextlib
import hashlib
import io
import json
import sys
import tarfile
from pathlib import Path
from typing import Any

import pytest

from tertulia.cli import backup
from tertulia.cli.failure import Failure
from tests.support.process import TERTULIA, connected, inside, serving, surroundings


async def command(*arguments: str | Path) -> tuple[int, str]:
    """A command beside a running loop: exit code and standard error."""
    process = await asyncio.create_subprocess_exec(
        *TERTULIA,
        *map(str, arguments),
        env=surroundings(),
        stdout=asyncio.subprocess.DEVNULL,
        stderr=asyncio.subprocess.PIPE,
    )
    async with asyncio.timeout(60):
        _, err = await process.communicate()
    return process.returncode or 0, err.decode()


async def test_what_was_acknowledged_before_the_backup_comes_back(tmp_path: Path) -> None:
    data, file, restored = tmp_path / "data", tmp_path / "all.backup", tmp_path / "restored"
    with serving(data, TERTULIA_RATE_LIMITS="off") as server:
        tokens = await asyncio.to_thread(server.people, "ana", "bob")
        async with connected(server, tokens["ana"]) as ana, connected(server, tokens["bob"]) as bob:
            room = (await ana.do("conversation.create_group", name="Two", members=[bob.hello["user"]]))[
                "created"
            ]
            acknowledged: dict[int, str] = {}
            writing, enough = True, asyncio.Event()

            async def write(name: str, peer: Any) -> None:
                n = 0
                while writing:
                    n += 1
                    text = f"{name} {n}"
                    made = await peer.say(room, text, client_id=f"{name}-{n}")
                    acknowledged[made["seq"]] = text
                    if len(acknowledged) >= 200:
                        enough.set()

            await bob.until("conversation.joined")
            writers = [asyncio.create_task(write(*one)) for one in (("a", ana), ("b", bob))]
            await enough.wait()
            before = dict(acknowledged)
            assert await command("backup", file, "--data", data) == (
                0,
                f"Written to {file}; `tertulia restore {file} --data FOLDER` puts it into an empty folder.\n",
            )
            after = dict(acknowledged)
            writing = False
            await asyncio.gather(*writers)
            generation = ana.hello["generation"]
        assert len(after) > len(before)
        assert server.stop() == 0

    assert (await command("restore", file, "--data", restored))[0] == 0
    assert sorted(path.name for path in restored.iterdir()) == ["secret", "tertulia.sqlite3"]
    with serving(restored) as server:
        # The tokens of before are good: the secret came along.
        positions = {"positions": {room: max(after)}, "generation": generation}
        async with connected(server, tokens["ana"], **positions) as ana:
            fresh = await ana.until("resync")
            assert fresh["generation"] == ana.hello["generation"] != generation
            assert [frame for frame in ana.events if frame["type"] == "message.new"] == []
            kept: dict[int, str] = {}
            seq = 0
            while True:
                page = await ana.start("events.read", conversation=room, after=seq, limit=200)
                for event in page["events"]:
                    seq += 1
                    assert event["seq"] == seq
                    if event["type"] == "message.new":
                        kept[event["seq"]] = event["body"]["content"]["text"]
                if not page["more"]:
                    break
            assert {seq: kept.get(seq) for seq in before} == before
            # One moment of the log: what came later is there up to a point, and not beyond it.
            assert {seq: after.get(seq, text) for seq, text in kept.items() if seq <= max(after)} == {
                seq: text for seq, text in kept.items() if seq <= max(after)
            }
            made = await ana.say(room, "again")
            assert made["seq"] == seq + 1


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A backup of a small server that does not run."""
    folder = tmp_path_factory.mktemp("made")
    with serving(folder / "data") as server:
        server.people("ana")
        assert server.stop() == 0
    assert inside("backup", folder / "file.tar", "--data", folder / "data").returncode == 0
    return folder / "file.tar"


def test_a_backup_is_described_by_its_manifest(made: Path) -> None:
    assert made.stat().st_mode & 0o077 == 0
    with tarfile.open(made) as tar:
        assert tar.getnames() == ["manifest.json", "tertulia.sqlite3", "secret"]
        document = tar.extractfile("manifest.json")
        assert document is not None
        manifest = json.loads(document.read())
        for entry in manifest["files"]:
            file = tar.extractfile(entry["name"])
            assert file is not None
            content = file.read()
            assert (len(content), hashlib.sha256(content).hexdigest()) == (entry["size"], entry["sha256"])
    assert list(made.parent.glob("*.part")) == list((made.parent / "data").glob("snapshot-*")) == []


def test_nothing_is_overwritten(made: Path, tmp_path: Path) -> None:
    before = made.read_bytes()
    done = inside("backup", made, "--data", made.parent / "data")
    assert (done.returncode, done.stderr) == (1, f"tertulia: {made} exists; a backup overwrites nothing.\n")
    assert made.read_bytes() == before
    (tmp_path / "something").touch()
    done = inside("restore", made, "--data", tmp_path)
    assert done.returncode == 1
    assert "not empty" in done.stderr
    assert [path.name for path in tmp_path.iterdir()] == ["something"]
    done = inside("backup", tmp_path / "none" / "x", "--data", made.parent / "data")
    assert (done.returncode, "does not exist" in done.stderr) == (2, True)


def rewritten(made: Path, target: Path, change: Any) -> Path:
    """The backup with its members changed: `change(name, content)` gives (name, content) pairs."""
    with tarfile.open(made) as old, tarfile.open(target, "w") as new:
        for member in old:
            file = old.extractfile(member)
            assert file is not None
            for name, content in change(member.name, file.read()):
                info = tarfile.TarInfo(name)
                info.size = len(content)
                new.addfile(info, io.BytesIO(content))
    return target


def flipped(name: str, content: bytes) -> list[tuple[str, bytes]]:
    if name == "tertulia.sqlite3":
        content = content[:5000] + bytes([content[5000] ^ 1]) + content[5001:]
    return [(name, content)]


def manifest_with(**fields: Any) -> Any:
    def change(name: str, content: bytes) -> list[tuple[str, bytes]]:
        if name == "manifest.json":
            content = json.dumps({**json.loads(content), **fields}).encode()
        return [(name, content)]

    return change


CHANGES: dict[str, Any] = {
    "one bit": flipped,
    "no secret": lambda name, content: [] if name == "secret" else [(name, content)],
    "no manifest": lambda name, content: [] if name == "manifest.json" else [(name, content)],
    "another name": lambda name, content: [("../secret" if name == "secret" else name, content)],
    "one more": lambda name, content: [(name, content)] + ([("more", b"x")] if name == "secret" else []),
    "newer format": manifest_with(format=2),
    "newer schema": manifest_with(schema=9999),
    "no files": manifest_with(files=[]),
    "not a list": manifest_with(files=7),
}


@pytest.mark.parametrize("name", CHANGES)
def test_a_backup_that_was_changed_is_refused(made: Path, tmp_path: Path, name: str) -> None:
    file = rewritten(made, tmp_path / "changed", CHANGES[name])
    with pytest.raises(Failure) as caught:
        backup.restore(file, tmp_path / "new")
    assert caught.value.code == 1
    assert not (tmp_path / "new").exists()
    assert [path.name for path in tmp_path.iterdir()] == ["changed"]


@pytest.mark.parametrize("keep", [0, 1, 511, 512, 4000, 60_000, -1024 * 30])
def test_a_backup_that_was_cut_off_is_refused(made: Path, tmp_path: Path, keep: int) -> None:
    (tmp_path / "cut").write_bytes(made.read_bytes()[:keep])
    with pytest.raises(Failure):
        backup.restore(tmp_path / "cut", tmp_path / "new")
    assert not (tmp_path / "new").exists()


def test_a_backup_that_is_a_link_or_a_zip_is_refused(made: Path, tmp_path: Path) -> None:
    with tarfile.open(tmp_path / "link", "w") as tar:
        info = tarfile.TarInfo("manifest.json")
        info.type, info.linkname = tarfile.SYMTYPE, "/etc/passwd"
        tar.addfile(info)
    with tarfile.open(tmp_path / "zipped", "w:gz") as tar:
        tar.add(made, "manifest.json")
    for name in ("link", "zipped", "none"):
        with pytest.raises(Failure):
            backup.restore(tmp_path / name, tmp_path / "new")
    assert not (tmp_path / "new").exists()


def test_a_restore_that_fails_leaves_the_empty_folder_as_it_was(made: Path, tmp_path: Path) -> None:
    new = tmp_path / "new"
    new.mkdir()
    with contextlib.suppress(Failure):
        backup.restore(rewritten(made, tmp_path / "changed", flipped), new)
    assert list(new.iterdir()) == []
    assert backup.restore(made, new).format == 1
    assert sys.platform == "win32" or new.joinpath("secret").stat().st_mode & 0o077 == 0


def test_every_restore_is_a_generation_of_its_own(made: Path, tmp_path: Path) -> None:
    generations: set[str] = set()
    for name in ("one", "two"):
        backup.restore(made, tmp_path / name)
        done = inside("backup", tmp_path / f"{name}.tar", "--json", "--data", tmp_path / name)
        generations.add(json.loads(done.stdout)["generation"])
    assert len(generations) == 2
