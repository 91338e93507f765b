"""The system's own SQLite serves where pysqlite3 has no wheel, as on arm64."""

import os
import subprocess
import sys
from pathlib import Path

import pytest
import requests

from tests.station import Process, wait_for

ROOT = Path(__file__).parent.parent
CSV = "timestamp,value\n2024-11-20T12:00:00Z,21.5\n2024-11-20T12:01:00Z,21.6\n"
IMPORT = ("import", "t.csv", "--node", "attic", "--time", "timestamp", "--value")


@pytest.fixture
def environ(tmp_path: Path) -> dict[str, str]:
    """Where pysqlite3 can't be imported."""
    without = tmp_path / "without"
    without.mkdir()
    (without / "pysqlite3.py").write_text("raise ImportError('it has no wheel here')\n")
    return {"PYTHONPATH": os.pathsep.join([str(without), str(ROOT)])}


def tmon(
    folder: Path, *arguments: str, environ: dict[str, str]
) -> "subprocess.CompletedProcess[str]":
    """Run ``tmon`` to its end, with nothing imported before."""
    return subprocess.run(
        [sys.executable, "-m", "tmon", *arguments],
        cwd=folder,
        env={**os.environ, **environ},
        capture_output=True,
        text=True,
        check=False,
    )


def test_it_is_the_one_that_serves(environ: dict[str, str]) -> None:
    which = "from tmon.db.connect import sqlite3; print(sqlite3.__name__)"
    told = subprocess.run(
        [sys.executable, "-c", which],
        env={**os.environ, **environ},
        capture_output=True,
        text=True,
        check=True,
    )
    assert told.stdout == "sqlite3\n"


def test_history_is_imported_copied_and_restored(tmp_path: Path, environ: dict[str, str]) -> None:
    (tmp_path / "t.csv").write_text(CSV)
    (tmp_path / "tmon.db").touch()
    for arguments in (
        (*IMPORT, "value=temperature:°C"),
        ("backup", "kept"),
        ("backup", "--publish", "download"),
    ):
        done = tmon(tmp_path, *arguments, environ=environ)
        assert done.returncode == 0, (arguments, done.stderr)
    [kept] = (tmp_path / "kept").glob("tmon-*.db")
    elsewhere = environ | {"TMON_DB": str(tmp_path / "restored.db")}
    done = tmon(tmp_path, "restore", str(kept), environ=elsewhere)
    assert done.returncode == 0, done.stderr


def test_a_reading_is_taken_in_and_published(tmp_path: Path, environ: dict[str, str]) -> None:
    token = tmon(tmp_path, "token", "get", "attic", environ=environ).stdout.strip()
    server = Process(tmp_path, "serve", environ=environ)
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
    finally:
        server.popen.terminate()
        status, stderr = server.end()
    assert status == 0, stderr
