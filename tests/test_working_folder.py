"""No file of the folder that tmon is started in is executed, whatever it is called."""

import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from tests.station import Process, answers, wait_for

ROOT = Path(__file__).parent.parent
BIN = Path(sys.executable).parent
# Modules of the standard library, of what tmon needs, of tmon, and what Python runs at its start.
NAMES = (
    *("queue", "sqlite3", "json", "pathlib", "sitecustomize", "usercustomize", "readline"),
    *("click", "yaml", "pysqlite3", "datasette", "uvicorn", "ingest", "tmon", "plugins"),
)


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """A folder of files that leave a trace when they are executed."""
    hostile = "open(__file__ + '.executed', 'w').close()\n"
    for name in NAMES:
        (tmp_path / f"{name}.py").write_text(hostile)
        (tmp_path / name).mkdir()
        (tmp_path / name / "__init__.py").write_text(hostile)
    return tmp_path


def executed(folder: Path) -> list[str]:
    return sorted(str(path.relative_to(folder)) for path in folder.rglob("*.executed"))


def run(folder: Path, *command: str | Path) -> "subprocess.CompletedProcess[str]":
    return subprocess.run(
        command, cwd=folder, capture_output=True, text=True, timeout=60, check=False
    )


def test_the_traps_work(folder: Path) -> None:
    run(folder, sys.executable, "-m", "queue")
    assert executed(folder)


@pytest.mark.parametrize(
    "arguments",
    [
        ["token", "get", "basement"],
        ["check", "--json", "--port", "0", "--datasette-port", "0"],
        ["backup", "kept"],
    ],
    ids=lambda arguments: arguments[0],
)
def test_a_command_executes_nothing_of_it(folder: Path, arguments: list[str]) -> None:
    run(folder, BIN / "tmon", "token", "get", "attic")
    ran = run(folder, BIN / "tmon", *arguments)
    assert (ran.stdout != "", "Traceback" in ran.stderr) == (True, False)
    assert executed(folder) == []


def test_neither_serve_nor_datasette_beside_it_execute_anything_of_it(folder: Path) -> None:
    served = Process(
        folder, "serve", "--port", "0", "--datasette-port", "0", command=[str(BIN / "tmon")]
    )
    try:
        urls = served.addresses(2)
        wait_for(lambda: answers(f"{urls['datasette']}/tmon/readings.json"))
        wait_for(lambda: answers(f"{urls['ingest']}/healthz"))
    finally:
        served.kill()
    assert executed(folder) == []


def test_the_other_ways_to_a_token_execute_nothing_of_it(folder: Path) -> None:
    tokens = {
        run(folder, BIN / "tmon", "token", "get", "basement").stdout,
        run(folder, sys.executable, ROOT / "manage.py", "get_token", "basement").stdout,
        run(folder, BIN / "sqlite-utils", "token", "insert", "tmon.db", "basement").stdout,
    }
    assert len(tokens) == 1
    assert executed(folder) == []


def test_manage_takes_no_file_beside_it_for_the_standard_library(folder: Path) -> None:
    """A checkout may hold anything: backups, downloads, the database."""
    for name in ("ingest", "tmon"):
        shutil.rmtree(folder / name)
        (folder / f"{name}.py").unlink()
        (folder / name).symlink_to(ROOT / name)
    shutil.copy(ROOT / "manage.py", folder)
    ran = run(folder, sys.executable, folder / "manage.py", "list", "--json")
    assert ran.stderr.startswith("Error: tmon.db: no such database; `tmon serve` makes one, ")
    assert executed(folder) == []


def test_settings_beside_the_database_execute_nothing(folder: Path) -> None:
    """What is read there is YAML without types, and names no plugins."""
    run(folder, BIN / "tmon", "token", "get", "basement")
    for name in ("metadata.yml", "datasette.yml"):
        (folder / name).write_text(
            "!!python/object/apply:os.system ['touch yaml.executed']\n", encoding="utf-8"
        )
    ran = run(folder, BIN / "tmon", "serve", "datasette", "--datasette-port", "0")
    assert (ran.returncode, "metadata.yml" in ran.stderr) == (1, True)
    (folder / "metadata.yml").unlink()
    shutil.copy(ROOT / "datasette.yml", folder)
    with (folder / "datasette.yml").open("a") as file:
        file.write("plugins_dir: .\n")
    arguments = ["serve", "datasette", "--datasette-port", "0"]
    served = Process(folder, *arguments, command=[str(BIN / "tmon")])
    try:
        url = served.addresses(1)["datasette"]
        wait_for(lambda: answers(f"{url}/tmon/readings.json"))
    finally:
        served.kill()
    assert executed(folder) == []
