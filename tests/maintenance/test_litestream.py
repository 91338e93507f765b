"""Litestream with deploy/litestream.yml restores a database that was lost."""

import os
import shutil
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from tests.maintenance.steady_load import load
from tests.station import hourly_equals_raw, wait_for
from tmon.db.connect import open_database, open_for_reading, sqlite3

LITESTREAM = Path(sys.executable).parent / "litestream"
CONFIG = Path(__file__).parents[2] / "deploy" / "litestream.yml"
LOST_S = 2.0  # at most, of what was acknowledged


def environ(folder: Path) -> dict[str, str]:
    paths = {"TMON_DB": str(folder / "tmon.db"), "TMON_REPLICA": str(folder / "elsewhere")}
    return {**os.environ, **paths}


@contextmanager
def replicating(folder: Path) -> Iterator[Path]:
    """Litestream at work, until it is killed; its log."""
    log = folder / "litestream.log"
    with log.open("w") as out:
        command = [str(LITESTREAM), "replicate", "-config", str(CONFIG), "-log-level", "debug"]
        running = subprocess.Popen(command, env=environ(folder), stdout=out, stderr=out)
        try:
            wait_for(lambda: "snapshot complete" in log.read_text())
            yield log
        finally:
            running.kill()
            running.wait()


def lose_the_database(folder: Path) -> None:
    shutil.rmtree(folder / ".tmon.db-litestream")
    for name in ("tmon.db", "tmon.db-wal", "tmon.db-shm"):
        (folder / name).unlink()


def bring_back(folder: Path) -> None:
    subprocess.run(
        [LITESTREAM, "restore", "-config", CONFIG, folder / "tmon.db"],
        env=environ(folder),
        check=True,
        capture_output=True,
    )


def checkpoint_all_the_time(path: Path, stop: threading.Event) -> None:
    """What our writer does every 16 MB, twenty times a second."""
    connection = sqlite3.connect(str(path))
    while not stop.wait(0.05):
        connection.execute("pragma wal_checkpoint(passive)").fetchone()
    connection.close()


def lose_and_bring_back(folder: Path, seconds: float) -> None:
    stop = threading.Event()
    with load(folder, writers=5) as sent, replicating(folder) as log:
        wait_for(lambda: len(sent.acknowledged()) > 0)
        checkpoints = threading.Thread(
            target=checkpoint_all_the_time, args=[folder / "tmon.db", stop]
        )
        checkpoints.start()
        time.sleep(seconds)
        stop.set()
        checkpoints.join()
        sent.kill()
        killed_s = time.monotonic()
    acknowledged = sent.acknowledged()
    told = log.read_text()
    assert told.count("snapshot complete") == 1  # it never lost its place in the log
    assert "level=ERROR" not in told
    lose_the_database(folder)
    bring_back(folder)
    with open_database(folder / "tmon.db") as db:
        assert db.execute("pragma integrity_check").fetchone()[0] == "ok"
        assert hourly_equals_raw(db)
    with open_for_reading(folder / "tmon.db") as db:
        rows = db.execute(
            "select name, measured_ms from readings join sensors on sensors.id = sensor"
        )
        there = {*rows.fetchall()}
    lost = [one.at_s for one in acknowledged if (one.sensor, one.measured_ms) not in there]
    assert len(acknowledged) > 10 * seconds  # 1,000 a second, on a machine with nothing else to do
    assert killed_s - min(lost, default=killed_s) <= LOST_S


def test_the_loss_of_all_loses_two_seconds_at_most(tmp_path: Path) -> None:
    lose_and_bring_back(tmp_path, seconds=5)


@pytest.mark.soak
@pytest.mark.timeout(300)
def test_the_loss_of_all_after_minutes_loses_two_seconds_at_most(tmp_path: Path) -> None:
    lose_and_bring_back(tmp_path, seconds=150)
