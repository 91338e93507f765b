"""Datasette started by hand with our plugins: its connections are limited, too."""

import socket
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest
import requests
from sqlite_utils import Database

from tests.publish.published import fill
from tests.station import wait_for
from tmon.db.connect import open_database

ROOT = Path(__file__).parent.parent.parent
THREADS = 4


@pytest.fixture
def plain(tmp_path: Path) -> Iterator[str]:
    """The address of ``datasette tmon.db --plugins-dir plugins``."""
    with open_database(tmp_path / "tmon.db", create=True) as db:
        fill(db)
    with socket.create_server(("127.0.0.1", 0)) as free:
        port = str(free.getsockname()[1])
    plugins = ROOT / "plugins"
    command = [sys.executable, "-m", "datasette", "serve", "tmon.db", "--port", port]
    command += ["-m", str(ROOT / "metadata.yml"), "-c", str(ROOT / "datasette.yml")]
    command += ["--plugins-dir", str(plugins), "--template-dir", str(plugins / "templates")]
    command += ["--static", f"static:{plugins / 'static'}"]
    with (tmp_path / "log").open("w") as log:
        running = subprocess.Popen(command, cwd=tmp_path, stdout=log, stderr=log)
    url = f"http://127.0.0.1:{port}"

    def answers() -> bool:
        try:
            return requests.get(f"{url}/-/versions.json", timeout=60).ok
        except requests.ConnectionError:
            return False

    try:
        wait_for(answers)
        yield url
    finally:
        running.terminate()
        running.wait()


def test_strangers_can_only_read_and_freeze_nothing(plain: str, tmp_path: Path) -> None:
    assert requests.get(plain, timeout=60).status_code == 200
    for sql in (
        ["with x as (select 1) delete from readings", "select printf('%d', 1)"] * THREADS * 2
    ):
        answer = requests.get(f"{plain}/tmon/-/query.json", {"sql": sql}, timeout=60)
        assert answer.status_code == 400, answer.text
    with Database(tmp_path / "tmon.db") as db:
        db.execute("update sensors set quantity = 'another'")
        assert db.execute("pragma wal_checkpoint(truncate)").fetchone()[0] == 0
    for _ in range(2 * THREADS):
        params = {"sql": "select distinct quantity from sensors", "_shape": "arrayfirst"}
        answer = requests.get(f"{plain}/tmon/-/query.json", params, timeout=60)
        assert answer.json() == ["another"]
