"""Undoing an import deletes its own readings, and none from before or since."""

import json
import os
import pty
import random
import re
import shlex
import signal
import statistics
import subprocess
import sys
import time
from collections.abc import Sequence
from contextlib import suppress
from hashlib import sha256
from pathlib import Path

import pytest

from tests.maintenance.old_readings import (
    HOUR_MS,
    MINUTE_MS,
    NOW_MS,
    START_MS,
    Rows,
    add_sensor,
    all_hours,
    ask,
    counted,
    hours_of,
    made,
    minutes,
    new_folders,
    soak,
)
from tests.maintenance.recorded_imports import Import, imported, runs, stored, undone, whys
from tests.station import Process, hourly_equals_raw, station_in_thread, tmon, wait_for
from tmon.db.connect import open_database, open_for_reading, transaction
from tmon.db.lookup import find_sensor
from tmon.importer.record import RUN_LIMIT, Recorder, Source
from tmon.maintenance import corrections, imports, names, prune, replace, sensors
from tmon.maintenance.imports import GONE, MIXED, PRUNED, REASONS, UnknownImport
from tmon.store.hours import close_hours_of

OWN = minutes(600)
BETWEEN = minutes(40, START_MS + MINUTE_MS // 2, 10 * MINUTE_MS)  # at other instants than these
FLAGS = ("--node", "n", "--time", "time", "--value", "value=t:°C")


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "tmon.db"


def consistent(path: Path) -> bool:
    with open_for_reading(path) as db:
        return hourly_equals_raw(db) and not db.execute("pragma foreign_key_check").fetchall()


def row(path: Path, number: int) -> dict[str, object]:
    with open_database(path) as db:
        return imports.find(db, number)


def file_of(folder: Path, rows: Rows, name: str = "a.csv") -> str:
    lines = "".join(f"{at},{value}\n" for at, value in rows)
    (folder / name).write_text("time,value\n" + lines)
    return name


def test_all_of_it_goes_with_its_hours_and_its_sensor(path: Path) -> None:
    number = imported(path, OWN)
    assert row(path, number) == {
        "id": 1,
        "file": "a.csv",
        "sha256": "ab" * 32,
        "started_ms": NOW_MS,
        "ended_ms": NOW_MS,
        "node": "n",
        "stored": 600,
        "already_there": 0,
        "rejected": 0,
        "first_ms": OWN[0][0],
        "last_ms": OWN[-1][0],
        "note": None,
        "taken_back": 0,
        "undone_ms": None,
    }
    assert undone(path, number) == 600
    assert (stored(path), all_hours(path), runs(path)) == ([], [], [])
    assert ask(path, "select count(*) from sensors") == [(0,)]
    assert ask(path, "select count(*) from sensor_names") == [(0,)]
    assert ask(path, "select taken_back, undone_ms from imports") == [(600, NOW_MS)]
    assert undone(path, number) == 0
    assert consistent(path)


def test_what_was_there_before_stays(path: Path) -> None:
    before = OWN[100:250] + BETWEEN
    made(path, ("n", "t", before))
    number = imported(path, OWN)
    assert ask(path, "select stored, already_there from imports") == [(450, 150)]
    assert undone(path, number) == 450
    assert stored(path) == sorted(before)
    assert hours_of(path, 1) == counted(before)


def test_what_came_since_stays_also_among_its_own(path: Path) -> None:
    number = imported(path, OWN)
    late = [(START_MS + 30 * MINUTE_MS + 1, 7.0), (OWN[-1][0] + MINUTE_MS, 8.0)]
    other = imported(path, late)
    assert whys(path, number) == set()
    assert undone(path, number) == 600
    assert stored(path) == late
    assert hours_of(path, 1) == counted(late)
    assert ask(path, "select taken_back, undone_ms from imports") == [(600, NOW_MS), (0, None)]
    assert undone(path, other) == 2
    assert stored(path) == []


def test_a_live_node_goes_on_among_an_import(tmp_path: Path) -> None:
    with station_in_thread(tmp_path) as station:
        number = imported(station.path, OWN)
        for at, value in BETWEEN:
            sent = {"sensor": "t", "value": value, "unit": "°C", "measured_ms": at}
            assert station.post(sent, node="n").json()["accepted"] == 1
    done = tmon(tmp_path, "imports", "undo", str(number), "--yes")
    assert (done.returncode, done.stdout.splitlines()[-1]) == (0, "took back 600 readings")
    assert stored(station.path) == BETWEEN
    assert consistent(station.path)


def test_runs_of_before_their_times_were_written_down(path: Path) -> None:
    """As the migration finds them: what was all of its sensor's can still be taken back."""
    first, second = imported(path, OWN[:200]), imported(path, OWN[200:400], sensor="u")
    imported(path, BETWEEN, sensor="u")
    with open_database(path) as db:
        db.execute("alter table import_runs drop column times")
        db.execute("delete from _sqlite_migrations where name = '0014_import_times'")
    assert (undone(path, first), undone(path, second)) == (200, 0)
    assert whys(path, second) == {MIXED}
    assert {*OWN[200:400], *BETWEEN} == {*stored(path)}


def test_what_is_undone_while_it_is_imported_is_not_written_down_again(path: Path) -> None:
    with open_database(path, create=True) as db:
        one = Import(db)
        one.store(OWN[:50])
        assert imports.undo(db, one.number, NOW_MS, pause=lambda _: None) == 50
        other = Import(db)
        other.store(OWN[300:350])  # its run may get the number of the one that is gone
        one.store(OWN[50:100])
    assert sorted(run[3] for run in runs(path)) == [50, 50]
    assert undone(path, other.number) == 50
    assert stored(path) == OWN[50:100]
    assert undone(path, one.number) == 50
    assert stored(path) == []


def test_a_portion_that_was_rolled_back_is_written_down_once(path: Path) -> None:
    with open_database(path, create=True) as db:
        one = Import(db)
        one.store(OWN[:50])
        for _ in range(2):
            with suppress(InterruptedError), transaction(db):
                one.recorder.stored([(1, *row) for row in OWN[50:100]])
                raise InterruptedError
        one.store(OWN[50:100])
    assert sum(run[3] for run in runs(path)) == 100
    assert undone(path, one.number) == 100
    assert stored(path) == []


def test_readings_that_are_gone_keep_the_others_of_their_run(path: Path) -> None:
    number = imported(path, OWN)
    with open_database(path) as db:
        db.execute("delete from readings where measured_ms = ?", [OWN[3][0]])
    assert whys(path, number) == {GONE}
    assert undone(path, number) == 600 - RUN_LIMIT


def test_two_columns_and_nodes_are_undone_each(path: Path) -> None:
    made(path, ("n", "t", BETWEEN))
    number = imported(path, OWN)
    other = imported(path, OWN, sensor="u")
    assert undone(path, other) == 600
    assert ask(path, "select name from sensors") == [("t",)]
    assert undone(path, number) == 600
    assert stored(path) == BETWEEN


@pytest.mark.parametrize("portions", [(20,), (3, 200), (600,)])
@pytest.mark.parametrize("order", ["ascending", "descending", "days first", "shuffled"])
def test_few_runs_hold_a_file_in_whatever_order(
    path: Path, order: str, portions: Sequence[int]
) -> None:
    rows = minutes(1800, step_ms=HOUR_MS)
    chance = random.Random(1)
    keys = {
        "ascending": lambda row: row[0],
        "descending": lambda row: -row[0],
        "days first": lambda row: time.strftime("%d/%m/%Y %H", time.gmtime(row[0] // 1000)),
        "shuffled": lambda _: chance.random(),
    }
    rows.sort(key=keys[order])
    number = imported(path, rows, portions)
    assert len(runs(path)) <= 2 * 1800 // RUN_LIMIT
    assert sum(count for *_, count in runs(path)) == 1800
    assert max(count for *_, count in runs(path)) <= RUN_LIMIT
    assert undone(path, number) == 1800
    assert stored(path) == []


@pytest.mark.parametrize("seed", range(8))
def test_whatever_the_order_only_its_own_go(path: Path, seed: int) -> None:
    chance = random.Random(seed)
    grid = minutes(3000)
    chance.shuffle(grid)
    before, own, since = grid[:60], grid[60:2900], grid[2900:2940]
    if seed % 2:
        own.sort()
    made(path, ("n", "t", before))
    portions = [chance.randrange(1, 900) for _ in range(5)]
    number = imported(path, before[:30] + own, portions)
    other = imported(path, since)
    assert undone(path, number) == len(own)
    assert stored(path) == sorted(before + since)
    assert consistent(path)
    assert undone(path, other) == len(since)
    assert stored(path) == sorted(before)
    assert consistent(path)


def test_flagged_and_calibrated_readings_go_and_the_corrections_stay(path: Path) -> None:
    number = imported(path, OWN)
    with open_database(path) as db:
        sensor = find_sensor(db, "n", "t")
        period = corrections.Period(OWN[100][0], OWN[150][0], "bad")
        corrections.flag(db, sensor, period, NOW_MS)
        new = corrections.Calibration(OWN[200][0], 1.0, -0.5, None)
        corrections.calibrate(db, sensor, new, NOW_MS)
    assert undone(path, number) == 600
    assert ask(path, "select count(*) from readings_clean") == [(0,)]
    assert ask(path, "select count(*) from hourly_clean") == [(0,)]
    assert ask(path, "select sensor from flags union all select sensor from calibrations") == [
        (1,),
        (1,),
    ]
    again = imported(path, OWN)
    assert ask(path, "select count(*) from readings_clean") == [(550,)]
    assert undone(path, again) == 600


def test_what_was_pruned_stays_in_its_hours(path: Path) -> None:
    rows = minutes(3000, step_ms=15 * MINUTE_MS)
    number = imported(path, rows)
    with open_database(path) as db:
        prune.prune(db, prune.plan(db, 40 * 86_400, NOW_MS))
        [horizon_ms] = db.execute("select pruned_before_ms from sensors").fetchone()
    assert whys(path, number) == {PRUNED}
    before = [hour for hour in all_hours(path) if hour[1] < horizon_ms]
    taken = undone(path, number)
    assert 1000 - RUN_LIMIT < taken <= 1080
    assert [hour for hour in all_hours(path) if hour[1] < horizon_ms] == before
    left = stored(path)
    assert all(at >= horizon_ms for at, _ in left)
    assert len(left) == 1080 - taken
    assert whys(path, number) == {PRUNED}


def test_what_stays_pruned_can_be_flagged_as_the_answer_says(tmp_path: Path) -> None:
    path = tmp_path / "tmon.db"
    number = imported(path, minutes(300, START_MS + 7, step_ms=HOUR_MS))
    with open_database(path) as db:
        prune.prune(db, prune.plan(db, 5 * 86_400, NOW_MS))
    stays = tmon(tmp_path, "imports", "undo", str(number), "--yes")
    assert "stay: pruned since" in stays.stdout
    flag = shlex.split(stays.stderr.splitlines()[-1])
    assert tmon(tmp_path, *flag[1:]).returncode == 0
    assert ask(path, "select count(*) from hourly") != [(0,)]
    assert ask(path, "select count(*) from hourly_clean") == [(0,)]


def test_an_hour_that_was_pruned_in_part_keeps_what_it_counted(path: Path) -> None:
    rows = minutes(RUN_LIMIT + 40, step_ms=1000)
    number = imported(path, rows, (RUN_LIMIT,))
    before = all_hours(path)
    with open_database(path) as db:  # as a prune that was killed in the middle of an hour
        close_hours_of(db, 1, START_MS, START_MS + HOUR_MS)
        db.execute("update sensors set pruned_before_ms = ?", [START_MS + HOUR_MS])
        db.execute("delete from readings where measured_ms < ?", [rows[RUN_LIMIT][0]])
    assert undone(path, number) == 0
    assert all_hours(path) == before


def test_renamed_and_moved_sensors_are_found_by_their_number(path: Path) -> None:
    number = imported(path, OWN)
    other = imported(path, OWN, sensor="u")
    with open_database(path) as db:
        add_sensor(db, "m", "v", [])
        names.rename_node(db, "n", "cellar", NOW_MS)
        names.rename_sensor(db, "cellar", "t", "air", NOW_MS)
        names.move_sensor(db, "cellar", "u", "m", None, NOW_MS)
        assert imports.find(db, number)["node"] == "cellar"
        assert [part[:3] for part in imports.plan(db, number)] == [("cellar", "air", 600)]
        assert [part[:3] for part in imports.plan(db, other)] == [("m", "u", 600)]
    assert (undone(path, number), undone(path, other)) == (600, 600)
    assert stored(path) == []
    # What people said of a sensor stays, and so does the sensor.
    assert ask(path, "select label from sensors order by 1") == [("cellar air",), ("m u",)]


def test_a_sensor_that_goes_on_in_another_takes_its_runs_along(path: Path) -> None:
    imported(path, OWN)
    later = minutes(300, OWN[-1][0] + MINUTE_MS)
    number = imported(path, later, sensor="28-b")
    with open_database(path) as db:
        replace.replace(db, "n", "t", "28-b", NOW_MS)
    assert undone(path, number) == 300
    assert stored(path) == OWN
    assert hours_of(path, 1) == counted(OWN)


@pytest.mark.parametrize("first", ["t", "28-b"])
def test_what_two_sensors_both_had_is_not_taken_from_the_other(path: Path, first: str) -> None:
    number = imported(path, OWN[:200], sensor=first)
    second = imported(path, OWN[50:100], sensor="28-b" if first == "t" else "t")
    with open_database(path) as db:
        replace.replace(db, "n", "t", "28-b", NOW_MS)
    assert whys(path, number) == {MIXED} == whys(path, second)
    assert (undone(path, number), undone(path, second)) == (0, 0)
    assert stored(path) == OWN[:200]


def test_a_live_reading_between_two_portions_stays(path: Path) -> None:
    with open_database(path, create=True) as db:
        one = Import(db)
        one.store(OWN[:50])
        Import(db).store([(OWN[50][0] - 1, 5.0)])  # somebody else's, between two portions
        one.store(OWN[50:100])
    assert [run[3] for run in runs(path)] == [100, 1]
    assert undone(path, one.number) == 100
    assert stored(path) == [(OWN[50][0] - 1, 5.0)]


def test_readings_that_come_between_two_portions_of_a_file_in_no_order_stay(path: Path) -> None:
    with open_database(path, create=True) as db:
        one = Import(db)
        one.store(OWN[:512:2])
        Import(db).store([(OWN[100][0] + 1, 5.0)])
        one.store(OWN[1:512:2] + BETWEEN)
    assert undone(path, one.number) == 512 + len(BETWEEN)
    assert stored(path) == [(OWN[100][0] + 1, 5.0)]
    assert consistent(path)


def test_readings_that_were_looked_at_twice_go_as_well(path: Path) -> None:
    rows = [(at, 85.0 if place % 3 else 84.0) for place, (at, _) in enumerate(OWN)]
    assert undone(path, imported(path, rows)) == 600
    assert stored(path) == []


def test_a_sensor_that_has_a_reading_again_meanwhile_is_not_removed(path: Path) -> None:
    number = imported(path, OWN)
    with open_database(path) as db:
        imports.undo(db, number, NOW_MS, pause=lambda _: imported(path, OWN[:1]))
    assert stored(path) == OWN[:1]
    assert consistent(path)


def test_the_unit_of_an_undone_import_is_free_again(path: Path) -> None:
    undone(path, imported(path, OWN, unit="V"))
    imported(path, OWN)
    assert ask(path, "select unit from sensors") == [("°C",)]


def test_the_unit_is_free_even_where_somebody_described_the_sensor(path: Path) -> None:
    number = imported(path, OWN, unit="V")
    with open_database(path) as db:
        sensors.describe(db, "n", "t", {"description": "behind the boiler", "quantity": "voltage"})
    undone(path, number)
    assert ask(path, "select unit from sensors") == [("V",)]
    with open_database(path) as db:
        one = Import(db)
        assert one.store([(START_MS, -300.0)]).rejected[0].code == "implausible_value"
        receipt = one.store([(START_MS, 20.0), (START_MS + 1, 2.0)])
        assert receipt.accepted == 2
        assert one.store([(START_MS + 2, 1.0)], unit="V").rejected[0].code == "unit_mismatch"
        kept = db.execute("select description, quantity, unit from sensors").fetchall()
    assert kept == [("behind the boiler", "temperature", "°C")]


def test_only_a_reading_that_is_stored_fixes_a_free_unit(path: Path) -> None:
    number = imported(path, OWN, unit="V")
    with open_database(path) as db:
        sensors.describe(db, "n", "t", {"description": "kept"})
    undone(path, number)
    with open_database(path) as db:
        one = Import(db)
        assert one.store([(START_MS, 2e6)], unit=None).rejected[0].code == "implausible_value"
        assert one.store([(START_MS, 20.0)], unit="hPa").accepted == 1
        assert db.execute("select unit from sensors").fetchall() == [("hPa",)]


def test_an_empty_sensor_that_something_is_known_of_stays(path: Path) -> None:
    number = imported(path, OWN)
    with open_database(path) as db:
        db.execute("insert into limits (sensor, above, created_ms) values (1, 30, 0)")
    undone(path, number)
    assert ask(path, "select id from sensors") == [(1,)]


def test_of_a_file_only_the_last_part_of_its_name_is_public(path: Path) -> None:
    with open_database(path, create=True) as db:
        for file in ("/home/ann/divorce/cellar.csv", "../cellar.csv", "-", "x" * 500):
            Recorder.begin(db, Source(file, None, None, "taken as UTC"), NOW_MS)
        told = [one["file"] for one in reversed(imports.list_imports(db))]
    assert told[:3] == ["cellar.csv", "cellar.csv", "-"]
    assert len(told[3]) == 200


def test_the_docs_say_what_to_do_about_each_reason() -> None:
    docs = (Path(__file__).parents[2] / "docs" / "import.md").read_text()
    table = re.findall(r"^\| (.+?) \|", docs, re.MULTILINE)
    assert {"reason", *REASONS} <= {*table}


def test_an_unknown_number_is_said(path: Path) -> None:
    made(path)
    with open_database(path) as db, pytest.raises(UnknownImport, match="no import 7"):
        imports.find(db, 7)


def test_a_killed_import_can_be_undone_and_so_can_the_one_that_went_on(tmp_path: Path) -> None:
    path = tmp_path / "tmon.db"
    made(path, ("n", "t", BETWEEN))
    file = file_of(tmp_path, minutes(60_000))
    process = Process(tmp_path, "import", file, *FLAGS)
    wait_for(lambda: ask(path, "select count(*) > 2000 from readings") == [(1,)])
    process.popen.send_signal(signal.SIGKILL)
    process.kill()
    [(first,)] = ask(path, "select stored from imports")
    assert first == len(stored(path)) - len(BETWEEN) < 60_000
    assert tmon(tmp_path, "import", file, *FLAGS).returncode == 0
    assert ask(path, "select stored, already_there from imports where id = 2") == [
        (60_000 - first, first)
    ]
    listed = tmon(tmp_path, "imports").stdout.splitlines()
    assert [line.endswith("stopped, or still going on") for line in listed] == [False, False, True]
    assert undone(path, 2) == 60_000 - first
    assert len(stored(path)) == len(BETWEEN) + first
    assert undone(path, 1) == first
    assert stored(path) == BETWEEN
    assert hours_of(path, 1) == counted(BETWEEN)


def kill_while_undoing(folder: Path, kills: int) -> None:
    path = folder / "tmon.db"
    made(path, ("n", "t", BETWEEN), ("n", "u", BETWEEN))
    imported(path, minutes(40_000), (5000,))
    imported(path, minutes(40_000), (5000,), sensor="u")
    for number in (1, 2):
        for _ in range(kills):
            left = len(stored(path))
            process = Process(folder, "imports", "undo", str(number), "--yes")
            ended = process.popen.poll  # at once, where none are left
            wait_for(lambda left=left, ended=ended: len(stored(path)) < left or ended() is not None)
            time.sleep(random.uniform(0, 0.05))
            process.popen.send_signal(signal.SIGKILL)
            process.kill()
            assert consistent(path)
            [(taken, runs_left)] = ask(
                path,
                "select taken_back, (select sum(count) from import_runs where import = imports.id)"
                " from imports where id = ?",
                number,
            )
            assert taken + (runs_left or 0) == 40_000
        assert tmon(folder, "imports", "undo", str(number), "--yes").returncode == 0
        assert ask(path, "select undone_ms > 0 from imports where id = ?", number) == [(1,)]
    assert stored(path) == BETWEEN + BETWEEN


@pytest.mark.parametrize(("times", "kills"), [(1, 1), soak(10, 3, timeout_s=600)])
def test_an_undo_that_is_killed_goes_on_when_it_is_run_again(
    tmp_path: Path, times: int, kills: int
) -> None:
    for folder in new_folders(tmp_path, times):
        kill_while_undoing(folder, kills)


def import_at_once(folder: Path, rows: int) -> None:
    """Two imports of the same readings, one from the end, and then each is undone."""
    path = folder / "tmon.db"
    made(path, ("n", "t", BETWEEN))
    files = file_of(folder, minutes(rows)), file_of(folder, minutes(rows)[::-1], "b.csv")
    processes = [Process(folder, "import", file, *FLAGS) for file in files]
    assert [process.end()[0] for process in processes] == [0, 0]
    own = ask(path, "select stored from imports")
    assert sum(count for (count,) in own) == rows
    assert len(stored(path)) == rows + len(BETWEEN)
    taken = undone(path, 1) + undone(path, 2) + undone(path, 1)
    assert taken == rows
    assert stored(path) == BETWEEN
    assert consistent(path)


@pytest.mark.parametrize("times", [1, soak(20, timeout_s=600)])
def test_two_imports_at_once_are_undone_each(tmp_path: Path, times: int) -> None:
    for folder in new_folders(tmp_path, times):
        import_at_once(folder, 20_000)


def test_ingest_goes_on_while_an_import_is_undone(tmp_path: Path) -> None:
    with station_in_thread(tmp_path) as station:
        station.post({"sensor": "t", "value": 1.5, "unit": "°C"}, node="n")
        number = imported(station.path, minutes(60_000), (5000,))
        process = Process(tmp_path, "imports", "undo", str(number), "--yes")
        waits_s, sent = [], 1
        while process.popen.poll() is None:
            began_s = time.monotonic()
            answer = station.post({"sensor": "t", "value": 2.5}, node="n")
            waits_s.append(time.monotonic() - began_s)
            assert answer.json()["accepted"] == 1
            sent += 1
        assert process.end()[0] == 0
    assert sent > 5
    assert statistics.median(waits_s) < 1  # some transactions of 15 ms, on a busy machine
    assert ask(station.path, "select count(*), count(distinct sensor) from readings") == [(sent, 1)]
    assert consistent(station.path)


def test_a_live_node_goes_on_with_a_sensor_that_was_removed(tmp_path: Path) -> None:
    with station_in_thread(tmp_path) as station:
        number = imported(station.path, [(int(time.time()) * 1000, 20.0)], unit="V")
        refused = station.post({"sensor": "t", "value": 1, "unit": "°C"}, node="n")
        assert refused.json()["rejected"][0]["code"] == "unit_mismatch"
        undone(station.path, number)
        answer = station.post({"sensor": "t", "value": 1, "unit": "°C"}, node="n")
        assert answer.json()["accepted"] == 1
    assert ask(station.path, "select unit from sensors") == [("°C",)]


def test_an_import_is_listed_and_undone_by_the_commands(tmp_path: Path) -> None:
    path = tmp_path / "tmon.db"
    file = file_of(tmp_path, [*OWN, (START_MS, 99.0)])
    assert tmon(tmp_path, "import", f"../{tmp_path.name}/{file}", *FLAGS).returncode == 0
    [told] = json.loads(tmon(tmp_path, "imports", "--json").stdout)
    assert told["sha256"] == sha256((tmp_path / file).read_bytes()).hexdigest()
    assert (told["file"], told["node"]) == ("a.csv", "n")
    assert (told["stored"], told["already_there"], told["rejected"]) == (600, 0, 1)
    [_, line] = tmon(tmp_path, "imports").stdout.splitlines()
    assert line.split()[:2] == ["1", "a.csv"]
    refused = tmon(tmp_path, "imports", "undo", "1")
    assert refused.returncode == 2
    assert "say --yes" in refused.stderr
    assert len(stored(path)) == 600
    with open_database(path) as db:
        db.execute("delete from readings where measured_ms = ?", [START_MS])
    partly = tmon(tmp_path, "imports", "undo", "1", "--yes")
    assert partly.returncode == 1
    assert f"n       t                {RUN_LIMIT}" in partly.stdout
    assert "stay: some of them are gone" in partly.stdout
    assert partly.stdout.endswith(f"took back {600 - RUN_LIMIT} readings\n")
    assert "readings of 1 sensor had to stay" in partly.stderr
    flag = shlex.split(partly.stderr.splitlines()[-1])
    assert tmon(tmp_path, *flag[1:]).returncode == 0
    assert ask(path, "select count(*) from readings_clean") == [(0,)]
    assert "partly undone" in tmon(tmp_path, "imports").stdout
    assert tmon(tmp_path, "imports", "undo", "2").returncode == 1


@pytest.mark.parametrize(("answer", "left"), [(b"n\n", 600), (b"y\n", 0)])
def test_a_terminal_is_asked(path: Path, answer: bytes, left: int) -> None:
    imported(path, OWN)
    ours, theirs = pty.openpty()
    process = subprocess.Popen(
        [sys.executable, "-m", "tmon", "imports", "undo", "1"],
        cwd=path.parent,
        stdin=theirs,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )
    os.write(ours, answer)
    _, stderr = process.communicate(timeout=60)
    os.close(ours)
    os.close(theirs)
    assert "import 1, a.csv: 600 readings stored" in stderr
    assert "Take 600 readings back? [y/N]" in stderr
    assert process.returncode == (1 if left else 0)
    assert len(stored(path)) == left
