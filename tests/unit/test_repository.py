"""What holds for the repository as a whole: nothing of one machine in it, everything described."""

import ast
import re
import subprocess
import tomllib
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]

# The parts are joined here so that this file does not find itself.
HOSTS = [
    "pypi" + ".org",
    "files.python" + "hosted",
    "registry.npm" + "js",
    "npm" + "js.org",
    "crates" + ".io",
    "proxy.golang" + ".org",
    "repo.maven" + ".apache",
    "repo1.maven" + ".org",
    "deb.debian" + ".org",
]
WORDS = [
    r"(?i:\b(?:sub-?|ai |coding )agents?\b)",
    r"(?i:\blanguage model\b)",
    r"(?i:\b(?:worker|work|helper|ai) session\b)",
    "/tmp/" + "brief",
    "brief" + r"\.md",
    r"\." + "library/",
    "issues " + "show",
]
FORBIDDEN = {
    "the path of one machine": r"(?:^|[^A-Za-z0-9_.])/(?:work|farm)/|/root/\.",
    "the host of a package registry": "|".join(re.escape(host) for host in HOSTS),
    "a download address": r"https?://\S+\.(?:whl|tgz|tar\.gz|jar)\b|--(?:extra-)?index-url[= ]\S",
    "a word of the workplace, not of the product": "|".join(f"(?:{word})" for word in WORDS),
}
FORBIDDEN_PATTERNS = {what: re.compile(pattern, re.MULTILINE) for what, pattern in FORBIDDEN.items()}
MAKEFILE = (ROOT / "Makefile").read_text()
TARGETS = re.findall(r"^([a-z][a-z-]*):(?!=| \w+ =)", MAKEFILE, re.MULTILINE)
SOURCES = [ROOT / "src", ROOT / "sdk/python/src"]


def _tracked_texts() -> list[tuple[str, str]]:
    listed = subprocess.run(
        ["git", "-c", "safe.directory=*", "ls-files", "-z"],
        cwd=ROOT,
        check=True,
        capture_output=True,
        text=True,
    ).stdout
    texts: list[tuple[str, str]] = []
    for name in filter(None, listed.split("\0")):
        path = ROOT / name
        if path.is_file() and b"\0" not in (raw := path.read_bytes()):
            texts.append((name, raw.decode()))
    return texts


def _findings(name: str, text: str) -> list[str]:
    return [
        f"{name}:{text.count(chr(10), 0, match.start()) + 1}: {what}: {match.group()!r}"
        for what, pattern in FORBIDDEN_PATTERNS.items()
        for match in pattern.finditer(text)
    ]


def test_no_tracked_file_tells_where_it_was_made() -> None:
    texts = _tracked_texts()
    assert len(texts) > 10
    assert [finding for name, text in texts for finding in _findings(name, text)] == []


@pytest.mark.parametrize(
    "line",
    [
        "cd /wo" + "rk/main",
        "PATH=/far" + "m/x",
        "/roo" + "t/.cache/pip",
        f"see https://{HOSTS[0]}/simple",
        "https://example.org/a-1.0.wh" + "l",
        "made by a sub" + "agent",
        "cat /tmp/" + "brief/x",
    ],
)
def test_the_search_finds_what_it_is_for(line: str) -> None:
    assert len(_findings("x", f"first\n{line}\n")) >= 1


@pytest.mark.parametrize(
    "line", ["GET /v1/homework/1", "the user agent of a session", "/root/data", "a/work/x"]
)
def test_the_search_leaves_the_rest_alone(line: str) -> None:
    assert _findings("x", line) == []


def test_every_make_target_says_what_it_does() -> None:
    described = re.findall(r"^([a-z][a-z-]*):(?!=| \w+ =).*## \S", MAKEFILE, re.MULTILINE)
    phony = re.findall(r"^\.PHONY: (\S+)$", MAKEFILE, re.MULTILINE)
    assert {"run", "test", "test-all", "lint", "bench", "torture"} <= set(TARGETS)
    assert described == TARGETS == phony


def test_make_help_lists_every_target() -> None:
    shown = subprocess.run(
        ["make", "--no-print-directory", "help"],
        cwd=ROOT,
        check=True,
        capture_output=True,
        text=True,
    ).stdout
    assert [line.split()[0] for line in shown.splitlines()] == TARGETS


def test_every_module_says_what_it_is() -> None:
    modules = [path for source in SOURCES for path in source.rglob("*.py")]
    assert len(modules) > 10
    silent = [
        str(path.relative_to(ROOT)) for path in modules if not ast.get_docstring(ast.parse(path.read_text()))
    ]
    assert silent == []


def test_the_lock_names_a_hash_for_every_package_and_no_place() -> None:
    for lock in sorted((ROOT / "requirements").glob("*.txt")):
        entries = re.split(r"\n(?=\S)", re.sub(r"^#.*\n", "", lock.read_text(), flags=re.MULTILINE))
        assert len(entries) > 20
        for entry in entries:
            assert re.match(r"[a-z0-9][a-z0-9.-]*==\S+( ; [^\\]+)? \\\n", entry), entry
            assert "--hash=sha256:" in entry
            assert "/" not in entry


def test_the_runtime_lock_is_a_part_of_the_dev_lock() -> None:
    pinned = {
        lock: set(re.findall(r"^([a-z0-9.-]+==\S+)", (ROOT / lock).read_text(), re.MULTILINE))
        for lock in ("requirements/runtime.txt", "requirements/dev.txt")
    }
    assert pinned["requirements/runtime.txt"] < pinned["requirements/dev.txt"]


def test_every_declared_dependency_is_locked() -> None:
    ours = tomllib.loads((ROOT / "pyproject.toml").read_text())
    client = tomllib.loads((ROOT / "sdk/python/pyproject.toml").read_text())
    groups = ours["dependency-groups"]
    build = [*groups["build"], *ours["build-system"]["requires"]]
    runtime = [*ours["project"]["dependencies"], *client["project"]["dependencies"], *build]
    dev = [entry for entry in groups["dev"] if isinstance(entry, str)]
    for lock, wanted in {"runtime.txt": runtime, "dev.txt": runtime + dev}.items():
        text = (ROOT / "requirements" / lock).read_text()
        locked = set(re.findall(r"^([a-z0-9.-]+)==", text, re.MULTILINE))
        names = {re.split(r"[^A-Za-z0-9._-]", entry)[0].lower() for entry in wanted}
        assert len(names) > 10
        assert names - locked == set(), "run `make lock`"
