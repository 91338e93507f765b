"""`tmon parquet`: a file for each day, which other programs read, and which follows changes."""

import os
import subprocess
import sys
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import duckdb
import pyarrow.dataset
import pyarrow.parquet as pq
import pytest

from tests.station import tmon
from tmon.core.time import DAY_MS
from tmon.db.connect import open_database, open_migrated_for_reading
from tmon.maintenance.names import rename_sensor
from tmon.maintenance.parquet import Outcome, export
from tmon.maintenance.parquet_file import ROW_GROUP
from tmon.maintenance.parquet_target import Target, TargetError

MARCH_MS = 1_772_323_200_000  # 2026-03-01T00:00:00Z
NOW_MS = MARCH_MS + 3 * DAY_MS + 1000
DAYS = ["2026-03-01", "2026-03-02", "2026-03-03"]


@pytest.fixture
def station(tmp_path: Path) -> Path:
    """Two nodes with a sensor each, every hour of three days and of the begin of a fourth."""
    path = tmp_path / "tmon.db"
    with open_database(path, create=True) as db:
        # Their numbers are in another order than their names.
        for number, node in enumerate(("cellar", "attic"), 1):
            db.execute("insert into nodes (name, uid, created_ms) values (?, ?, 0)", [node, node])
            db.execute(
                "insert into sensors (id, node, name, quantity, unit)"
                " values (?, ?, 'temperature', 'temperature', '°C')",
                [number, node],
            )
        db.execute(
            f"""
            with recursive n (n) as (select 0 union all select n + 1 from n limit 73)
            insert into readings (sensor, measured_ms, value)
            select id, {MARCH_MS} + n * 3600000, id * 10 + n / 7.0 from sensors, n
            """
        )
    return path


def run(path: Path, **options: Any) -> dict[str, str]:
    """What `tmon parquet` did about each day."""
    with open_migrated_for_reading(path) as db:
        target = Target(str(path.parent / "out"))
        done: list[Outcome] = [*export(db, target, NOW_MS, **options)]
    return {one.day: one.what for one in done}


def change(path: Path, sql: str) -> None:
    with open_database(path) as db:
        db.executescript(sql)


def select(path: Path, sql: str) -> list[tuple[Any, ...]]:
    """What DuckDB reads; ``readings`` is all files together."""
    files = path.parent / "out" / "readings" / "*" / "*.parquet"
    with duckdb.connect() as connection:
        connection.execute("set timezone = 'UTC'")
        connection.execute(
            "create view readings as select * from"
            f" read_parquet('{files}', hive_partitioning = true)"
        )
        return list(connection.execute(sql).fetchall())


def file_of(path: Path, day: str) -> Path:
    return path.parent / "out" / "readings" / f"day={day}" / "readings.parquet"


def test_the_files_have_all_readings_of_the_finished_days(station: Path) -> None:
    assert run(station) == dict.fromkeys(DAYS, "written")
    found = select(
        station,
        "select node, sensor, quantity, unit, epoch_ms(measured), value, raw, flag, day"
        " from readings",
    )
    with open_database(station) as db:
        query = f"""
            select node, name, quantity, unit, measured_ms, value, null, null, measured_ms
            from readings join sensors on sensors.id = sensor
            where measured_ms < {MARCH_MS + 3 * DAY_MS}
        """
        stored = [
            (*row[:-1], datetime.fromtimestamp(row[-1] / 1000, UTC).date())
            for row in db.execute(query).fetchall()
        ]
    assert sorted(found) == sorted(stored)
    assert len(found) == 2 * 72


def test_a_file_is_sorted_by_node_sensor_and_time(station: Path) -> None:
    run(station)
    rows = pq.read_table(file_of(station, DAYS[0]), partitioning=None).to_pylist()
    order = [(row["node"], row["sensor"], row["measured"]) for row in rows]
    assert order == sorted(order)
    assert [row["node"] for row in rows] == ["attic"] * 24 + ["cellar"] * 24
    assert rows[1]["measured"] - rows[0]["measured"] == timedelta(hours=1)
    column = pq.read_metadata(file_of(station, DAYS[0])).row_group(0).column(0)
    assert column.compression == "ZSTD"


def test_the_folders_are_read_as_days_by_arrow(station: Path) -> None:
    run(station)
    dataset = pyarrow.dataset.dataset(station.parent / "out" / "readings", partitioning="hive")
    one = dataset.to_table(filter=pyarrow.dataset.field("day") == DAYS[1])
    assert one.num_rows == 48


def test_values_are_corrected_and_flagged_ones_are_kept_as_raw(station: Path) -> None:
    change(
        station,
        f"""
        insert into calibrations (sensor, from_ms, scale, offset, created_ms)
        values (1, {MARCH_MS + DAY_MS + 1}, 2, 0.5, 0);
        insert into flags (sensor, from_ms, to_ms, reason, created_ms)
        values (1, {MARCH_MS + 3_600_000}, {MARCH_MS + 7_200_000}, 'wet', 0);
        """,
    )
    run(station)
    found = select(
        station,
        "select epoch_ms(measured), value, coalesce(raw, value), raw is null, flag from readings"
        " where node = 'cellar' order by measured",
    )
    with open_database(station) as db:
        before_ms = MARCH_MS + 3 * DAY_MS
        query = "select measured_ms, value from {} where sensor = 1 and measured_ms < ?"
        clean = dict(db.execute(query.format("readings_clean"), [before_ms]).fetchall())
        raw = dict(db.execute(query.format("readings"), [before_ms]).fetchall())
    assert {at: value for at, value, *_ in found if value is not None} == clean
    assert {at: measured for at, _, measured, *_ in found} == raw
    assert [(at, flag) for at, *_, flag in found if flag] == [(MARCH_MS + 3_600_000, "wet")]
    assert all(same == (clean.get(at) == raw[at]) for at, _, _, same, _ in found)


LATE = f"insert into readings (sensor, measured_ms, value) values (1, {MARCH_MS + 5}, 1)"
FLAG = f"""insert into flags (sensor, from_ms, to_ms, reason, created_ms)
    values (2, {MARCH_MS + DAY_MS + 5}, {MARCH_MS + DAY_MS + 9_000_000}, 'wet', 0)"""
CALIBRATION = f"""insert into calibrations (sensor, from_ms, offset, created_ms)
    values (2, {MARCH_MS + DAY_MS + 5}, 1, 0)"""


@pytest.mark.parametrize(
    ("sql", "written"),
    [
        ("select 1", []),
        (LATE, DAYS[:1]),
        (FLAG, DAYS[1:2]),
        (CALIBRATION, DAYS[1:]),
        ("update sensors set name = 'air' where id = 1", DAYS),
        ("update sensors set unit = 'K' where id = 1", DAYS),
        (f"delete from readings where measured_ms = {MARCH_MS}", DAYS[:1]),
    ],
)
def test_a_day_is_made_again_when_it_has_changed(
    station: Path, sql: str, written: list[str]
) -> None:
    run(station)
    before = {day: file_of(station, day).stat() for day in DAYS}
    change(station, sql)
    done = run(station)
    assert [day for day, what in done.items() if what == "written"] == written
    again = {day for day in DAYS if file_of(station, day).stat().st_ino != before[day].st_ino}
    assert again == {*written}
    assert set(run(station).values()) == {"unchanged"}


def test_rolled_up_hours_change_nothing(station: Path) -> None:
    run(station)
    assert tmon(station.parent, "rollup", "--rebuild").returncode == 0
    assert set(run(station).values()) == {"unchanged"}


def test_a_renamed_sensor_has_its_new_name_in_all_files(station: Path) -> None:
    run(station)
    with open_database(station) as db:
        rename_sensor(db, "attic", "temperature", "air", NOW_MS)
    run(station)
    query = "select distinct node, sensor from readings order by node"
    assert select(station, query) == [("attic", "air"), ("cellar", "temperature")]


def test_pruned_readings_stay_in_their_files(station: Path) -> None:
    run(station)
    pruned = tmon(station.parent, "prune", "--raw-older-than", "2d")
    assert pruned.returncode == 0, pruned.stderr
    with open_database(station) as db:
        assert db.execute("select count(*) from readings").fetchone()[0] < 10
    assert set(run(station).values()) == {"kept"}
    assert select(station, "select count(*) from readings") == [(2 * 72,)]
    said = tmon(station.parent, "parquet", "out")
    assert "3 days left as they are: readings of them were pruned" in said.stderr


def test_the_file_of_a_day_without_readings_is_deleted(station: Path) -> None:
    run(station)
    change(station, f"delete from readings where measured_ms < {MARCH_MS + DAY_MS}")
    assert run(station, since_ms=MARCH_MS + DAY_MS) == dict.fromkeys(DAYS[1:], "unchanged")
    assert run(station) == {
        DAYS[1]: "unchanged",
        DAYS[2]: "unchanged",
        DAYS[0]: "deleted",
    }
    assert not file_of(station, DAYS[0]).exists()


def test_files_of_another_station_are_not_touched(station: Path) -> None:
    run(station)
    before = {day: file_of(station, day).read_bytes() for day in DAYS}
    for sql in ("update nodes set uid = uid || '2'", "delete from readings"):
        change(station, f"{sql}; {LATE}")
        with pytest.raises(TargetError, match="is a file of another station"):
            run(station)
        assert {day: file_of(station, day).read_bytes() for day in DAYS} == before


def test_a_file_that_is_not_complete_never_appears(station: Path) -> None:
    run(station)
    before = file_of(station, DAYS[0]).read_bytes()
    target = Target(str(station.parent / "out"))

    def interrupted() -> None:
        with target.replacing(DAYS[0]) as path:
            path.write_bytes(before[:100])
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        interrupted()
    assert file_of(station, DAYS[0]).read_bytes() == before
    assert [one.name for one in file_of(station, DAYS[0]).parent.iterdir()] == ["readings.parquet"]


def test_what_a_killed_run_left_is_removed_when_it_is_old(station: Path) -> None:
    left = file_of(station, DAYS[0]).parent / ".tmon-killed"
    left.mkdir(parents=True)
    (left / "readings.new").write_text("PAR1")
    run(station)
    assert left.exists()  # it may be another run's
    assert select(station, "select count(*) from readings") == [(2 * 72,)]
    os.utime(left, (0, 0))
    change(station, LATE)
    run(station)
    assert not left.exists()


def test_many_readings_are_written_in_groups(station: Path) -> None:
    many = f"""
        with recursive n (n) as (select 1 union all select n + 1 from n limit {ROW_GROUP})
        insert into readings (sensor, measured_ms, value)
        select 2, {MARCH_MS} + n, n from n
    """
    change(station, many)
    run(station)
    metadata = pq.read_metadata(file_of(station, DAYS[0]))
    groups = [metadata.row_group(number).num_rows for number in range(metadata.num_row_groups)]
    assert groups == [ROW_GROUP, 48]
    assert select(
        station,
        "select count(*), sum(value)::bigint from readings where value > 40 and day = '2026-03-01'",
    ) == [(ROW_GROUP - 40, ROW_GROUP * (ROW_GROUP + 1) // 2 - 820)]


def test_the_command_says_what_it_wrote(station: Path) -> None:
    folder = station.parent
    first = tmon(folder, "parquet", "out", "--since", "2026-03-03")
    assert first.returncode == 0, first.stderr
    assert first.stdout.splitlines()[0] == "2026-03-03: 48 readings written"
    again = tmon(folder, "parquet", "out")
    assert "2026-03-01: 48 readings written" in again.stdout
    assert "2026-03-03" not in again.stdout


def test_a_station_without_readings_has_no_files(tmp_path: Path) -> None:
    open_database(tmp_path / "tmon.db", create=True).close()
    ran = tmon(tmp_path, "parquet", "out")
    assert (ran.returncode, ran.stdout, ran.stderr) == (0, "", "0 days written, 0 days unchanged\n")


def test_a_wrong_target_is_told_in_one_line(station: Path) -> None:
    folder = station.parent
    (folder / "a-file").write_text("x")
    run(station)
    file_of(station, DAYS[0]).write_text("no Parquet")
    for target, says in (
        ("ftp://host/x", "must be a folder, or like s3://bucket/prefix"),
        ("", "must be a folder"),
        ("a-file", "a-file"),
        ("out", "day=2026-03-01/readings.parquet"),
    ):
        ran = tmon(folder, "parquet", target)
        assert (ran.returncode, says in ran.stderr) == (1, True), ran.stderr
        assert len(ran.stderr.splitlines()) == 1


def test_without_pyarrow_it_says_what_to_install(station: Path) -> None:
    script = (
        "import sys; sys.modules['pyarrow'] = None\n"
        "from tmon.__main__ import main; sys.argv = ['tmon', 'parquet', 'out']; main()"
    )
    ran = subprocess.run(
        [sys.executable, "-c", script],
        cwd=station.parent,
        capture_output=True,
        text=True,
        check=False,
    )
    assert ran.returncode == 1
    assert "pip install 'tmon[parquet]'" in ran.stderr
    assert len(ran.stderr.splitlines()) == 1


def test_no_other_command_loads_pyarrow() -> None:
    script = "import sys, tmon.cli.main; print('pyarrow' in sys.modules)"
    ran = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=True)
    assert ran.stdout == "False\n"
