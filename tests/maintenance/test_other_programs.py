"""No command ends in a traceback at values and times that only another program can store."""

from pathlib import Path

import pytest

from tests.maintenance.backup_files import station
from tests.maintenance.old_readings import ask
from tests.station import tmon
from tmon.db.connect import open_database

LATEST_MS, EARLIEST_MS = 2**63 - 1, -(2**63)

COMMANDS = (
    *(("check",), ("check", "--json"), ("check", "--full", "--notify"), ("stats",)),
    *(("node", "list"), ("sensor", "list"), ("token", "list"), ("mute", "--list")),
    *(
        ("limit", "--list"),
        ("calibrate", "basement", "t", "--list"),
        ("flag", "basement", "t", "--list"),
    ),
    *(("rollup", "--check"), ("rollup", "--rebuild")),
    ("prune", "--raw-older-than", "2y", "--dry-run"),
    ("remove-ahead", "--dry-run"),
    ("remove-ahead", "--dry-run", "--json"),
    ("backup", "kept"),
)


@pytest.fixture
def path(tmp_path: Path) -> Path:
    path = station(tmp_path, readings=10)
    with open_database(path) as db:
        for at_ms, minute in ((LATEST_MS, 1), (EARLIEST_MS, 2), (LATEST_MS - 1, 3)):
            db.execute(
                "update readings set measured_ms = ? where measured_ms = ?",
                [at_ms, minute * 60_000],
            )
        db.execute("update readings set value = 9e999 where measured_ms > 240000")
        db.execute("update nodes set clock_skew_s = 9e999, last_received_ms = ?", [LATEST_MS])
        db.execute("update sensors set pruned_before_ms = ?", [EARLIEST_MS])
        db.execute("insert into limits values (1, -9e999, 9e999, 0, 0, ?)", [LATEST_MS])
        db.execute(
            "insert into calibrations values (1, ?, 1e300, 9e999, null, ?)", [EARLIEST_MS] * 2
        )
        db.execute(
            "insert into flags (sensor, from_ms, to_ms, reason, created_ms)"
            " values (1, ?, ?, 'odd', 0)",
            [EARLIEST_MS, LATEST_MS],
        )
        db.execute(
            "insert into incidents (finding, severity, sensor, reason, from_ms)"
            " values ('T02', 'critical', 1, 'odd', ?)",
            [EARLIEST_MS],
        )
        db.execute("insert into chores values ('backup', ?, 'x')", [LATEST_MS])
        db.execute("insert into chores values ('quick_check', ?, 'bad')", [LATEST_MS])
        db.execute("insert into mutes (finding, until_ms) values ('T13', ?)", [LATEST_MS])
    return path


@pytest.mark.parametrize("command", COMMANDS, ids=" ".join)
def test_no_command_ends_in_a_traceback(path: Path, command: tuple[str, ...]) -> None:
    ran = tmon(path.parent, *command)
    assert "Traceback" not in ran.stderr
    assert "OverflowError" not in ran.stdout + ran.stderr
    assert "UNKNOWN" not in ran.stdout


def test_readings_that_far_ahead_are_removed(path: Path) -> None:
    ran = tmon(path.parent, "remove-ahead", "--yes")
    assert (ran.returncode, ran.stdout.splitlines()[-1]) == (0, "removed 2 readings")
    assert ask(path, "select count(*) from readings where measured_ms > 9e15") == [(0,)]
    again = tmon(path.parent, "remove-ahead", "--yes")
    assert (again.returncode, again.stdout) == (0, "removed 0 readings\n")
