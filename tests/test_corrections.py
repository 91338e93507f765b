"""`tmon calibrate` and `tmon flag`: rows beside the readings, and one clear line for bad input."""

import json
from pathlib import Path
from typing import Any

import pytest
from click.testing import CliRunner, Result

from tmon.cli.main import main
from tmon.db.connect import open_database, open_for_reading

HOUR_MS = 3_600_000
JUNE_MS = 1_780_272_000_000  # 2026-06-01T00:00:00Z
EVER_MS = -62_135_596_800_000
HERE = ("basement", "temperature")


@pytest.fixture
def path(tmp_path: Path) -> Path:
    path = tmp_path / "tmon.db"
    with open_database(path, create=True) as db:
        for node in ("attic", "basement"):
            db.execute("insert into nodes (name, uid, created_ms) values (?, ?, 0)", [node, node])
            sql = "insert into sensors (node, name, unit) values (?, 'temperature', '°C')"
            db.execute(sql, [node])
        db.execute("insert into readings (sensor, measured_ms, value) values (2, ?, 20)", [JUNE_MS])
    return path


def run(path: Path, *arguments: str) -> Result:
    return CliRunner().invoke(main, [*arguments, "--db", str(path)])


def rows(path: Path, sql: str) -> list[tuple[Any, ...]]:
    with open_for_reading(path) as db:
        return [tuple(row) for row in db.execute(sql)]


def test_a_calibration_is_valid_from_the_beginning_unless_a_date_is_said(path: Path) -> None:
    first = run(path, "calibrate", *HERE, "--offset", "-0.4")
    assert first.output == "basement temperature: value * 1 + -0.4, from the beginning on\n"
    second = run(
        path, *("calibrate", *HERE, "--scale", "1.02", "--from", "2026-06-01", "--reason", "ice")
    )
    assert second.stdout == "basement temperature: value * 1.02 + 0, from 2026-06-01 on (ice)\n"
    assert rows(path, "select sensor, from_ms, scale, offset, reason from calibrations") == [
        (2, EVER_MS, 1.0, -0.4, None),
        (2, JUNE_MS, 1.02, 0.0, "ice"),
    ]
    assert rows(path, "select value from readings") == [(20.0,)]
    assert rows(path, "select value from readings_clean") == [(20.4,)]


def test_one_from_the_same_date_replaces_it_and_says_so(path: Path) -> None:
    run(path, "calibrate", *HERE, "--offset", "-0.4", "--reason", "guess")
    again = run(path, "calibrate", *HERE, "--offset", "-0.5")
    assert again.stderr == "replaces: value * 1 + -0.4, from the beginning on (guess)\n"
    assert rows(path, "select offset, reason from calibrations") == [(-0.5, None)]


def test_a_calibration_is_listed_and_taken_back(path: Path) -> None:
    run(path, "calibrate", *HERE, "--offset", "1")
    run(path, "calibrate", *HERE, "--offset", "2", "--from", "2026-06-01T12:00Z")
    listed = json.loads(run(path, "calibrate", *HERE, "--list", "--json").output)
    assert [(row["from"], row["offset"]) for row in listed] == [
        ("the beginning", 1.0),
        ("2026-06-01T12:00:00Z", 2.0),
    ]
    assert "2026-06-01T12:00:00Z" in run(path, "calibrate", *HERE, "--list").output
    taken = run(path, "calibrate", *HERE, "--remove", "--from", "2026-06-01T12:00Z")
    assert taken.output.startswith("removed: value * 1 + 2")
    missing = run(path, "calibrate", *HERE, "--remove", "--from", "2026-06-01T12:00Z")
    assert missing.exit_code == 1
    assert "from 2026-06-01T12:00:00Z on (from: the beginning)" in missing.output
    assert run(path, "calibrate", *HERE, "--remove").exit_code == 0
    assert "there is none" in run(path, "calibrate", *HERE, "--remove").output
    assert rows(path, "select * from calibrations") == []


def test_a_bad_period_is_entered_listed_and_taken_back(path: Path) -> None:
    told = run(
        path,
        *("flag", *HERE, "--from", "2026-06-01", "--to", "2026-06-02T12:00+02:00"),
        *("--reason", "draught"),
    )
    assert told.output == (
        "basement temperature: flag 1, from 2026-06-01 to 2026-06-02T10:00:00Z\n"
    )
    assert rows(path, "select sensor, from_ms, to_ms, reason from flags") == [
        (2, JUNE_MS, JUNE_MS + 34 * HOUR_MS, "draught")
    ]
    assert rows(path, "select * from readings_clean") == []
    [listed] = json.loads(run(path, "flag", *HERE, "--list", "--json").output)
    assert (listed["id"], listed["to"]) == (1, "2026-06-02T10:00:00Z")
    other = run(path, "flag", "attic", "temperature", "--remove", "1")
    assert "attic temperature has no flag 1" in other.output
    assert run(path, "flag", *HERE, "--remove", "1").output == "removed: flag 1\n"
    assert rows(path, "select count(*) from readings_clean") == [(1,)]


@pytest.mark.parametrize(
    ("arguments", "told"),
    [
        ("calibrate cellar temperature --offset 1", "no node is called 'cellar'"),
        ("calibrate basement humidity --offset 1", "basement has no sensor called 'humidity'"),
        ("calibrate basement temperature --scale 0", "--scale must not be 0"),
        ("calibrate basement temperature --scale 1e-300", "--scale must not be 0"),
        ("calibrate basement temperature --scale nan", "--scale must be a number"),
        ("calibrate basement temperature --offset inf", "--offset must be a number"),
        ("calibrate basement temperature --offset=-1e300", "--offset must be a number"),
        ("calibrate basement temperature --offset 1 --from soon", "'soon' must be like"),
        ("calibrate basement temperature --offset 1 --from 0001-01-01T00:00+05:00", "must be like"),
        ("calibrate basement temperature --offset x", "'x' is not a valid float"),
        ("calibrate basement temperature", "say --offset or --scale"),
        ("calibrate basement temperature --offset 1 --list", "say --offset or --scale"),
        (f"calibrate basement temperature --offset 1 --reason {'x' * 501}", "no longer than 500"),
        ("flag cellar temperature --list", "no node is called 'cellar'"),
        ("flag basement temperature", "say --from, --to and --reason"),
        ("flag basement temperature --from 2026-01-01 --reason x", "say --from, --to and"),
        ("flag basement temperature --from 2026-01-01 --to 2026-01-02", "say --from, --to and"),
        ("flag basement temperature --from 2026-01-02 --to 2026-01-02 --reason x", "begin before"),
        ("flag basement temperature --from 2026-01-02 --to 2026-01-01 --reason x", "begin before"),
        ("flag basement temperature --from 2026-01-01 --to 2026-01-02 --reason=", "needs a"),
        ("flag basement temperature --remove 7", "basement temperature has no flag 7"),
        ("flag basement temperature --remove x", "'x' is not a valid integer"),
    ],
)  # fmt: skip
def test_bad_input_is_told_and_changes_nothing(path: Path, arguments: str, told: str) -> None:
    result = run(path, *arguments.split())
    assert result.exit_code in {1, 2}
    assert told in result.stderr.splitlines()[-1]
    assert result.stdout == ""
    assert rows(path, "select 1 from calibrations union all select 1 from flags") == []


@pytest.mark.parametrize("command", ["calibrate", "flag"])
def test_an_hour_of_which_only_its_sums_are_left_can_not_be_cut(path: Path, command: str) -> None:
    with open_database(path) as db:
        db.execute("update sensors set pruned_before_ms = ? where id = 2", [JUNE_MS])

    def enter(at: str) -> Result:
        if command == "flag":
            return run(path, "flag", *HERE, "--from", "2026-01-01", "--to", at, "--reason", "x")
        return run(path, "calibrate", *HERE, "--offset", "1", "--from", at)

    refused = enter("2026-05-31T23:30Z")
    assert refused.exit_code == 1
    assert refused.stderr == (
        "Error: 2026-05-31T23:30:00Z is within an hour whose raw readings were pruned"
        " (before 2026-06-01); give a whole hour, such as 2026-05-31T23:00:00Z\n"
    )
    assert enter("2026-05-31T23:00Z").exit_code == 0
    assert enter("2026-06-01T00:30Z").exit_code == 0


def test_a_locked_database_is_told_in_one_line(path: Path) -> None:
    with open_database(path) as db:
        db.execute("begin immediate")
        result = run(path, "calibrate", *HERE, "--offset", "1")
        db.execute("rollback")
    assert result.exit_code == 1
    assert result.stderr.startswith("Error: database is locked; another program writes")
