"""`tmon remove-ahead` deletes readings from a clock that was ahead, and nothing else."""

import json
import signal
import threading
import time
from pathlib import Path

import pytest

from tests.maintenance.old_readings import DAY_MS, HOUR_MS, MINUTE_MS, NOW_MS, ask, made, minutes
from tests.station import Process, hourly_equals_raw, station_in_thread, tmon, wait_for
from tmon.db.connect import open_database
from tmon.maintenance import ahead
from tmon.maintenance.clocks import ServerClockOff

AHEAD_MS = 10 * MINUTE_MS
YEAR_2093_MS = 3_900_000_000_000
COMMAND = "remove-ahead"


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "tmon.db"


def removed(path: Path, now_ms: int = NOW_MS) -> int:
    with open_database(path) as db:
        count = ahead.remove(db, ahead.find(db, now_ms), now_ms)
        assert hourly_equals_raw(db)
    return count


def test_only_readings_over_ten_minutes_ahead_go_and_their_hours_are_put_right(path: Path) -> None:
    good = minutes(71, NOW_MS - HOUR_MS)  # the last is just ten minutes ahead
    bad = [(NOW_MS + AHEAD_MS + 1, 77.0), *minutes(3000, NOW_MS + HOUR_MS, 5_000)]
    made(path, ("n", "t", good + bad), ("n", "u", minutes(100, NOW_MS - HOUR_MS)))
    assert removed(path) == len(bad) + 29  # and the last of the other sensor
    rows = ask(path, "select measured_ms, value from readings where sensor = 1 order by 1")
    assert rows == sorted(dict(good).items())
    assert removed(path) == 0


def test_what_was_removed_is_written_down_once(path: Path) -> None:
    made(path, ("n", "t", minutes(3000, YEAR_2093_MS)), ("n", "u", minutes(1, YEAR_2093_MS)))
    assert removed(path) == 3001
    uid = ask(path, "select uid from nodes")[0][0]
    assert ask(path, "select at_ms, node_uid, sensor, what, before, after from changes") == [
        (NOW_MS, uid, 1, "remove readings", told, None)
        for told in ["3,000 readings from 2093-08-01 21:20 UTC to 2093-08-03 23:19 UTC"]
    ] + [
        (NOW_MS, uid, 2, "remove readings", told, None)
        for told in ["1 reading from 2093-08-01 21:20 UTC to 2093-08-01 21:20 UTC"]
    ]


def test_nothing_goes_where_most_nodes_say_that_the_server_is_behind(path: Path) -> None:
    made(path, ("n", "t", minutes(10, NOW_MS + HOUR_MS)), ("m", "t", []))
    with open_database(path) as db:
        db.execute("update nodes set last_received_ms = ?, clock_skew_s = 7200", [NOW_MS])
        with pytest.raises(ServerClockOff):
            ahead.remove(db, ahead.find(db, NOW_MS), NOW_MS)
        db.execute("update nodes set last_received_ms = ?", [time.time_ns() // 1_000_000])
    failed = tmon(path.parent, COMMAND, "--yes")
    assert failed.returncode == 1
    assert "clock 2 h behind what 2 of 2 nodes say; put it right first" in failed.stderr
    assert len(ask(path, "select 1 from readings")) == 10


def test_the_command_asks_first(path: Path) -> None:
    made(path, ("n", "t", minutes(10, YEAR_2093_MS)), ("m", "u", minutes(5, YEAR_2093_MS)))
    unasked = tmon(path.parent, COMMAND)
    assert unasked.returncode == 1
    assert "Delete 15 readings of 2 sensors?" in unasked.stderr
    shown = json.loads(tmon(path.parent, COMMAND, "--dry-run", "--json").stdout)
    assert shown[0] == {
        "node": "m",
        "sensor": "u",
        "readings": 5,
        "from": "2093-08-01 21:20 UTC",
        "to": "2093-08-01 21:24 UTC",
    }
    assert len(ask(path, "select 1 from readings")) == 15
    done = tmon(path.parent, COMMAND, "--yes", "--node", "n", "--sensor", "t")
    assert "removed 10 readings" in done.stdout
    assert json.loads(tmon(path.parent, COMMAND, "--yes", "--json").stdout) == {
        "removed": 5,
        "sensors": 1,
    }
    assert "removed 0 readings" in tmon(path.parent, COMMAND).stdout
    assert "--sensor needs --node" in tmon(path.parent, COMMAND, "--sensor", "t").stderr


def test_killed_at_any_moment_all_is_consistent_and_the_same_again_goes_on(path: Path) -> None:
    made(path, ("n", "t", minutes(10_000, YEAR_2093_MS)), ("n", "u", minutes(50, NOW_MS)))
    process = Process(path.parent, COMMAND, "--yes")
    try:
        wait_for(lambda: len(ask(path, "select 1 from changes")) > 0)
    finally:
        process.popen.send_signal(signal.SIGKILL)
        process.kill()
    with open_database(path) as db:
        assert hourly_equals_raw(db)
        left = db.execute("select count(*) from readings where sensor = 1").fetchone()[0]
        [told] = db.execute("select before from changes").fetchone()
    assert told.startswith(f"{10_000 - left:,} readings from 2093-08-01 21:20 UTC")
    assert tmon(path.parent, COMMAND, "--yes").returncode == 0
    assert ask(path, "select sensor, count(*) from readings group by 1") == [(2, 50)]


def test_ingest_goes_on_meanwhile(tmp_path: Path) -> None:
    with station_in_thread(tmp_path) as station:
        now_ms = time.time_ns() // 1_000_000
        station.post([{"value": 1, "measured_ms": now_ms - place} for place in range(100)])
        with open_database(station.path) as db:
            db.conn.execute("begin")
            db.conn.executemany(
                "insert into readings (sensor, measured_ms, value) values (1, ?, 2.0)",
                [(now_ms + DAY_MS + place * MINUTE_MS,) for place in range(5_000)],
            )
            db.conn.execute("commit")
        done: list[str] = []
        command = (COMMAND, "--yes", "--db", str(station.path))
        thread = threading.Thread(target=lambda: done.append(tmon(tmp_path, *command).stdout))
        thread.start()
        sent = 0
        while thread.is_alive():
            sent += 1
            assert station.post({"value": 3, "measured_ms": now_ms - DAY_MS + sent}).ok
        thread.join()
        assert "removed 5,000 readings" in done[0]
        assert station.count() == 100 + sent
        with open_database(station.path) as db:
            assert hourly_equals_raw(db)


def test_stats_and_sensor_list_pass_over_them(path: Path) -> None:
    made(path, ("n", "t", [*minutes(10), *minutes(10, YEAR_2093_MS)]))
    told = json.loads(tmon(path.parent, "stats", "--json").stdout)
    assert (told["readings"], told["last_24_h"]) == (20, 0)
    assert told["last_at"] == "2024-11-02T12:09:00Z"
    [listed] = json.loads(tmon(path.parent, "sensor", "list", "--json").stdout)
    assert listed["measured_at"] == "2024-11-02T12:09:00Z"
