"""A new probe continues an old one's history: nothing is lost or counted twice."""

import random
import threading
import time
from pathlib import Path

import pytest
from sqlite_utils import Database

from tests.maintenance.old_readings import (
    HOUR_MS,
    NOW_MS,
    START_MS,
    Rows,
    ask,
    counted,
    hours_of,
    made,
    minutes,
    new_folders,
    soak,
)
from tests.station import Process, Station, tmon, wait_for
from tmon.db.connect import open_database
from tmon.maintenance import prune, replace, rollup
from tmon.maintenance.replace import CannotReplace, Merged

OLD, NEW = minutes(300), minutes(200, START_MS + 290 * 60_000 + 1)


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "tmon.db"


def replaced(path: Path, wire_name: str = "28-b") -> Merged:
    with open_database(path) as db:
        return replace.replace(db, "n", "t", wire_name, NOW_MS)


def state(path: Path) -> list[object]:
    """All that is in the database."""
    with open_database(path) as db:
        return [
            (name, *row)
            for name in db.table_names()
            for row in db.execute(f"select * from {name}").fetchall()
        ]


def test_its_readings_come_into_the_history_and_it_is_no_more(path: Path) -> None:
    made(path, ("n", "t", OLD), ("n", "28-b", NEW))
    assert replaced(path) == Merged(200, 0)
    assert ask(path, "select measured_ms, value from readings") == sorted(OLD + NEW)
    assert hours_of(path, 1) == counted(OLD + NEW)
    assert ask(path, "select distinct sensor from hourly") == [(1,)]
    assert ask(path, "select id, label from sensors") == [(1, "n t")]
    names = ask(path, "select wire_name, sensor from sensor_names order by 1")
    assert names == [("28-b", 1), ("t", 1)]
    assert ask(path, "select what, before, after, sensor from changes order by id") == [
        ("merge sensor", "n 28-b", "n t", 1),
        ("replace sensor", "t", "28-b", 1),
    ]
    assert ask(path, "pragma foreign_key_check") == []


def test_one_that_has_not_reported_yet_is_known_when_it_does(station: Station) -> None:
    station.post({"sensor": "t", "value": 1}, node="n")
    told = tmon(station.path.parent, "sensor", "replace", "n", "t", "--by", "28-b")
    assert (told.returncode, told.stdout) == (0, "n t goes on as 28-b; 0 readings taken over\n")
    station.post({"sensor": "28-b", "value": 2}, node="n")
    assert station.query("select label, count(*) from sensors join readings on sensor = id") == [
        ("n t", 2)
    ]


def test_the_same_reading_in_both_is_one(path: Path) -> None:
    made(path, ("n", "t", OLD), ("n", "28-b", OLD[-3:] + NEW))
    assert replaced(path) == Merged(203, 0)
    assert hours_of(path, 1) == counted(OLD + NEW)


def test_readings_that_differ_are_refused_as_a_whole(path: Path) -> None:
    made(path, ("n", "t", OLD), ("n", "28-b", [*NEW, (OLD[5][0], 77.0)]))
    before = state(path)
    with pytest.raises(CannotReplace, match=r"1 of their readings .* 2024-11-02T12:05:00.000Z"):
        replaced(path)
    assert state(path) == before


def test_another_unit_is_refused(path: Path) -> None:
    made(path, ("n", "t", OLD), ("n", "28-b", NEW))
    with open_database(path) as db:
        db.execute("update sensors set unit = null where id = 2")
    before = state(path)
    with pytest.raises(CannotReplace, match="in no unit, not in °C"):
        replaced(path)
    assert state(path) == before


def test_another_nodes_sensor_is_refused(path: Path) -> None:
    made(path, ("n", "t", OLD), ("n", "28-b", NEW), ("m", "x", []))
    assert tmon(path.parent, "sensor", "move", "n", "28-b", "--to", "m").returncode == 0
    with pytest.raises(CannotReplace, match="another node's"):
        replaced(path)


def test_itself_is_refused(path: Path) -> None:
    made(path, ("n", "t", OLD))
    with pytest.raises(CannotReplace, match="already"):
        replaced(path, "t")


@pytest.mark.parametrize("which", [1, 2])
def test_what_was_pruned_cannot_be_compared(path: Path, which: int) -> None:
    made(path, ("n", "t", OLD), ("n", "28-b", minutes(200, START_MS + 1)))
    with open_database(path) as db:
        prune.prune(db, prune.plan(db, 2 * 86_400, NOW_MS, [which]))
    before = state(path)
    with pytest.raises(CannotReplace, match="were pruned"):
        replaced(path)
    assert state(path) == before


def about(db: Database, sensor: int, *, limit: float) -> None:
    db.execute("insert into limits (sensor, above, created_ms) values (?, ?, 0)", [sensor, limit])
    db.execute(
        "insert into flags (sensor, from_ms, to_ms, reason, created_ms) values (?, 1, 2, 'x', 0)",
        [sensor],
    )
    db.execute(
        "insert into incidents (finding, severity, sensor, reason, from_ms)"
        " values ('T01', 'warning', ?, 'silent', 5)",
        [sensor],
    )
    db.execute("insert into mutes (sensor, until_ms) values (?, 9)", [sensor])
    db.execute(
        "insert into notes (sensor, at_ms, text, created_ms) values (?, 1, 'x', 0)", [sensor]
    )


def test_all_that_is_about_it_goes_on_with_the_history(path: Path) -> None:
    made(path, ("n", "t", OLD), ("n", "28-b", NEW))
    assert tmon(path.parent, "sensor", "rename", "n", "28-b", "new").returncode == 0
    with open_database(path) as db:
        about(db, 1, limit=30)
        about(db, 2, limit=20)
    replaced(path)
    assert ask(path, "select sensor, above from limits") == [(1, 30)]
    assert ask(path, "select sensor, to_ms from incidents order by id") == [(1, None), (1, NOW_MS)]
    for table in ("flags", "mutes", "notes"):
        assert ask(path, f"select sensor, count(*) from {table}") == [(1, 2)]
    assert ask(path, "select distinct sensor from changes") == [(1,)]


def test_a_limit_that_only_it_has_is_kept(path: Path) -> None:
    made(path, ("n", "t", OLD), ("n", "28-b", NEW))
    with open_database(path) as db:
        about(db, 2, limit=20)
    replaced(path)
    assert ask(path, "select sensor, above from limits") == [(1, 20)]
    assert ask(path, "select sensor, to_ms from incidents") == [(1, None)]


def calibrations(path: Path) -> list[tuple[object, ...]]:
    return ask(path, "select sensor, from_ms, offset from calibrations order by from_ms")


def calibrate(path: Path, sensor: int, from_ms: int, offset: float) -> None:
    with open_database(path) as db:
        db.execute(
            "insert into calibrations (sensor, from_ms, offset, created_ms) values (?, ?, ?, 0)",
            [sensor, from_ms, offset],
        )


def test_the_old_probes_calibration_ends_where_the_new_one_begins(path: Path) -> None:
    made(path, ("n", "t", OLD), ("n", "28-b", NEW))
    calibrate(path, 1, -(10**12), 0.5)
    replaced(path)
    assert calibrations(path) == [(1, -(10**12), 0.5), (1, NEW[0][0], 0)]


def test_the_new_probes_calibrations_begin_with_its_readings(path: Path) -> None:
    made(path, ("n", "t", OLD), ("n", "28-b", NEW))
    calibrate(path, 2, -(10**12), 1)
    calibrate(path, 2, 0, 2)
    calibrate(path, 2, NEW[50][0], 3)
    replaced(path)
    assert calibrations(path) == [(1, NEW[0][0], 2), (1, NEW[50][0], 3)]


def test_every_table_that_is_about_sensors_is_handed_over(path: Path) -> None:
    made(path)
    with open_database(path) as db:
        about_sensors = {
            table.name
            for table in db.tables
            for key in table.foreign_keys
            if key.other_table == "sensors"
        }
    handled = " ".join([*replace._REASSIGN, *replace._CALIBRATIONS])
    rest = {table for table in about_sensors if f"{table} set" not in handled}
    assert rest == {"readings", "hours", "sensor_names"}


def kill_while_replacing(folder: Path) -> None:
    path = folder / "tmon.db"
    new: Rows = minutes(30_000, START_MS + 1)
    made(path, ("n", "t", OLD), ("n", "28-b", new))
    command = ["sensor", "replace", "n", "t", "--by", "28-b"]
    process = Process(folder, *command)
    wait_for(lambda: ask(path, "select count(*) > 300 from readings where sensor = 1") == [(1,)])
    time.sleep(random.uniform(0, 0.1))
    process.kill()
    assert ask(path, "select sum(n) from hourly") == [(30_300,)]
    with open_database(path) as db:
        assert rollup.count_differing_hours(db, None) == 0
    again = tmon(folder, *command)
    assert again.returncode == 0, again.stderr
    assert hours_of(path, 1) == counted(OLD + new)
    assert ask(path, "select count(*) from sensors") == [(1,)]


@pytest.mark.parametrize("times", [1, soak(20, timeout_s=300)])
def test_killed_meanwhile_nothing_is_lost_and_again_it_goes_on(tmp_path: Path, times: int) -> None:
    for folder in new_folders(tmp_path, times):
        kill_while_replacing(folder)


def test_while_both_probes_report_nothing_is_lost(station: Station) -> None:
    start_ms = int(time.time() * 1000) - 20 * HOUR_MS
    stop, sent = threading.Event(), {"t": 0, "28-b": 0}

    def send(sender: Station, name: str) -> None:
        at = start_ms + 2 * sent[name] + (name == "28-b")
        answer = sender.post({"sensor": name, "value": 1, "measured_ms": at}, node="n")
        assert answer.json()["accepted"] == 1, answer.text
        sent[name] += 1

    def send_on(name: str) -> None:
        sender = Station(station.path.parent, station.url)  # a session is for one thread
        while not stop.is_set():
            send(sender, name)

    for name in ("t", "28-b"):  # one after the other, so that they are sensors 1 and 2
        send(station, name)
    senders = [threading.Thread(target=send_on, args=[name]) for name in sent]
    for sender in senders:
        sender.start()
    try:
        wait_for(lambda: min(sent.values()) > 20)
        told = tmon(station.path.parent, "sensor", "replace", "n", "t", "--by", "28-b")
        before = dict(sent)
        wait_for(lambda: all(sent[name] > before[name] + 1 for name in sent))
    finally:
        stop.set()
        for sender in senders:
            sender.join()
    assert told.returncode == 0, told.stderr
    assert station.query("select sensor, sum(n) from hourly group by 1") == [
        (1, sum(sent.values()))
    ]
    assert station.count() == sum(sent.values())
    assert station.query("select id, label from sensors") == [(1, "n t")]
