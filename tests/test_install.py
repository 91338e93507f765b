"""``pip install .`` brings two packages that work without a checkout and with what they require."""

import os
import subprocess
import sys
import venv
from collections.abc import Iterator
from importlib.metadata import Distribution, distribution
from pathlib import Path

import pytest
import requests
from packaging.requirements import Requirement

from tests.station import Process, wait_for

ROOT = Path(__file__).parent.parent


@pytest.fixture(scope="module")
def environment(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A new virtual environment with tmon, and with its dependencies as they are installed here."""
    folder = tmp_path_factory.mktemp("installed")
    environment, libraries = folder / "venv", folder / "libraries"
    venv.create(environment)
    libraries.mkdir()
    for dependency in required_by("tmon"):
        for name in top_level_names(distribution(dependency)):
            if not (libraries / name).exists():
                (libraries / name).symlink_to(str(distribution(dependency).locate_file(name)))
    [packages] = environment.glob("lib/python*/site-packages")
    (packages / "libraries.pth").write_text(f"{libraries}\n")
    build = [sys.executable, "-m", "hatchling", "build", "--target", "wheel"]
    subprocess.run([*build, "--directory", str(folder)], cwd=ROOT, check=True)
    pip = [sys.executable, "-m", "pip", "--python", str(environment), "--disable-pip-version-check"]
    [wheel] = folder.glob("*.whl")
    subprocess.run([*pip, "install", "--quiet", "--no-index", str(wheel)], check=True)
    return environment


def required_by(name: str) -> set[str]:
    """The distributions that one needs, directly or not."""
    found: set[str] = set()
    waiting = [(name, frozenset[str]())]
    while waiting:
        owner, extras = waiting.pop()
        for text in distribution(owner).requires or ():
            one = Requirement(text)
            wanted = one.marker is None or any(
                one.marker.evaluate({"extra": extra}) for extra in (extras or {""})
            )
            if wanted and one.name not in found:
                found.add(one.name)
                waiting.append((one.name, frozenset(one.extras)))
    return found


def top_level_names(dependency: Distribution) -> Iterator[str]:
    """The files and folders of a distribution in site-packages."""
    for file in dependency.files or ():
        if file.parts[0] not in {"..", "__pycache__"}:
            yield file.parts[0]


def run(environment: Path, program: str, *arguments: str, folder: Path) -> str:
    return subprocess.run(
        [environment / "bin" / program, *arguments],
        cwd=folder,
        env={"PATH": os.environ["PATH"]},
        capture_output=True,
        text=True,
        check=True,
    ).stdout


def test_two_packages_are_installed(environment: Path, tmp_path: Path) -> None:
    script = "from importlib.metadata import files; print(*(f.parts[0] for f in files('tmon')))"
    tops = set(run(environment, "python", "-c", script, folder=tmp_path).split())
    assert {name for name in tops if not name.endswith(".dist-info")} == {"ingest", "tmon", ".."}
    where = "import ingest, tmon; print(ingest.__file__, tmon.__file__)"
    for path in run(environment, "python", "-c", where, folder=tmp_path).split():
        assert Path(path).is_relative_to(environment)


def test_help_works_outside_a_checkout(environment: Path, tmp_path: Path) -> None:
    assert "serve" in run(environment, "tmon", "--help", folder=tmp_path)
    assert list(tmp_path.iterdir()) == []


def test_ingest_and_datasette_answer(environment: Path, tmp_path: Path) -> None:
    token = run(environment, "tmon", "token", "get", "attic", folder=tmp_path).strip()
    ports = ("--port", "0", "--datasette-port", "0")
    server = Process(tmp_path, "serve", *ports, command=[str(environment / "bin" / "tmon")])
    try:
        at = server.addresses(2)
        answer = requests.post(
            f"{at['ingest']}/readings",
            json={"value": 21.5},
            headers={"Authorization": f"Bearer {token}"},
            timeout=60,
        )
        assert answer.status_code == 201
        page = f"{at['datasette']}/tmon/readings.json?_shape=array"
        wait_for(lambda: [row["value"] for row in requests.get(page, timeout=60).json()] == [21.5])
        for path in ("/", "/node/attic", "/static/tmon.css"):
            assert requests.get(at["datasette"] + path, timeout=60).status_code == 200, path
    finally:
        server.popen.terminate()
        server.end()
