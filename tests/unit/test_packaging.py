"""The packages that `pip wheel` builds hold what the sources hold, and nothing else."""

import subprocess
import sys
import tomllib
import zipfile
from email.parser import HeaderParser
from pathlib import Path

import pytest

import tertulia

ROOT = Path(__file__).resolve().parents[2]


def _build(project: Path, into: Path) -> zipfile.ZipFile:
    pip = [sys.executable, "-m", "pip", "wheel", "--no-deps", "--no-build-isolation", "--no-index"]
    subprocess.run(
        [*pip, "--wheel-dir", str(into), str(project)], check=True, capture_output=True, timeout=120
    )
    [wheel] = into.glob("*.whl")
    return zipfile.ZipFile(wheel)


@pytest.mark.slow
@pytest.mark.parametrize(("project", "package"), [(".", "tertulia"), ("sdk/python", "tertulia_client")])
def test_a_wheel_holds_the_package_and_its_terms(project: str, package: str, tmp_path: Path) -> None:
    source = ROOT / project / "src"
    expected = {
        str(path.relative_to(source))
        for path in (source / package).rglob("*")
        if path.is_file() and path.suffix != ".pyc"
    }
    declared = tomllib.loads((ROOT / project / "pyproject.toml").read_text())["project"]
    with _build(ROOT / project, tmp_path) as wheel:
        names = set(wheel.namelist())
        [metadata] = [name for name in names if name.endswith(".dist-info/METADATA")]
        told = HeaderParser().parsestr(wheel.read(metadata).decode())
        info = metadata.removesuffix("/METADATA")
        assert {name for name in names if not name.startswith(info)} == expected
        assert f"{package}/py.typed" in names
        assert f"{info}/licenses/LICENSE" in names
        assert told["Version"] == declared.get("version", tertulia.__version__)
        assert told["License-Expression"] == "Apache-2.0"
        assert len(told.get_all("Requires-Dist", [])) == len(declared["dependencies"])
        if scripts := declared.get("scripts"):
            entry_points = wheel.read(f"{info}/entry_points.txt").decode()
            assert all(f"{name} = {where}" in entry_points for name, where in scripts.items())
