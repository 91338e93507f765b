"""`tmon stats` counts readings without reading each of them."""

import json
import time
from pathlib import Path

from tests.maintenance.old_readings import HOUR_MS, made, minutes
from tests.station import tmon
from tmon.db.connect import open_database


def stats(folder: Path) -> dict[str, object]:
    told: dict[str, object] = json.loads(tmon(folder, "stats", "--json").stdout)
    return told


def test_an_empty_database_has_nothing(tmp_path: Path) -> None:
    open_database(tmp_path / "tmon.db", create=True).close()
    told = stats(tmp_path)
    assert (told["readings"], told["first_at"], told["bytes_a_reading"]) == (0, None, None)


def test_what_there_is_is_counted_and_what_was_pruned(tmp_path: Path) -> None:
    path, now_ms = tmp_path / "tmon.db", int(time.time() * 1000)
    fresh = minutes(10, now_ms - HOUR_MS)
    made(path, ("n", "t", minutes(600)), ("n", "u", fresh))
    with open_database(path) as db:
        db.execute(
            "insert into flags (sensor, from_ms, to_ms, reason, created_ms)"
            " select 1, measured_ms + 1, measured_ms + 2, '', 0 from readings limit 1"
        )
        db.execute("insert into chores values ('backup', 0, 'fine')")
    before = stats(tmp_path)
    assert (before["readings"], before["pruned"], before["last_24_h"]) == (610, 0, 10)
    assert before["first_at"] == "2024-11-02T12:00:00Z"
    assert before["chores"] == {"backup": {"done_at": "1970-01-01T00:00:00Z", "outcome": "fine"}}
    assert tmon(tmp_path, "prune", "--raw-older-than", "2d").returncode == 0
    after = stats(tmp_path)
    # The hour that the flag cuts stays, and the last.
    assert (after["readings"], after["pruned"]) == (130, 480)
    assert after["first_at"] == "2024-11-02T12:00:00Z"
    assert after["pruned_before"] == "2024-11-02T21:00:00Z"
    assert after["file_bytes"] == path.stat().st_size
    shown = tmon(tmp_path, "stats").stdout
    assert "readings         130" in shown
    assert "1970-01-01T00:00:00Z fine" in shown


def test_without_a_database_it_says_so(tmp_path: Path) -> None:
    failed = tmon(tmp_path, "stats")
    assert (failed.returncode, failed.stdout) == (1, "")
    assert "no such database" in failed.stderr
