"""Pruning deletes readings and keeps their hours, and nothing is counted twice."""

import random
import signal
import statistics
import threading
import time
from pathlib import Path

import pytest
import requests

from tests.maintenance.old_readings import (
    DAY_MS,
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
from tests.station import Process, Station, station_in_thread, tmon, wait_for
from tmon.core.reading import Batch, Node, Reading
from tmon.db.connect import open_database, transaction
from tmon.maintenance import prune
from tmon.maintenance.prune import TooYoung
from tmon.maintenance.rollup import RollupDiffers
from tmon.store.commit import Store

TWO_DAYS_S, MONTH_S = 2 * 86_400, 30 * 86_400
HORIZON_MS = NOW_MS - 30 * DAY_MS


def pruned(path: Path, older_than_s: int = MONTH_S, now_ms: int = NOW_MS) -> int:
    with open_database(path) as db:
        olds = prune.plan(db, older_than_s, now_ms)
        prune.verify(db, olds)
        deleted = prune.prune(db, olds)
        prune.release_free_pages(db)
    return deleted


def horizons(path: Path) -> list[int | None]:
    return [at for (at,) in ask(path, "select pruned_before_ms from sensors order by id")]


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "tmon.db"


def test_old_readings_go_and_their_hours_stay(path: Path) -> None:
    old, new = minutes(3000), minutes(300, HORIZON_MS)
    made(path, ("n", "t", old + new))
    before = all_hours(path)
    assert pruned(path) == 3000
    assert ask(path, "select measured_ms, value from readings order by 1") == new
    assert all_hours(path) == before
    assert horizons(path) == [HORIZON_MS]
    assert ask(path, "pragma integrity_check") == [("ok",)]
    assert ask(path, "pragma foreign_key_check") == []


def test_the_file_gives_its_space_back(path: Path) -> None:
    made(path, ("n", "t", minutes(40_000, step_ms=20_000)), ("n", "u", minutes(10)))
    before = path.stat().st_size
    assert pruned(path) == 40_000 - 40  # the last hour stays
    assert path.stat().st_size < before / 3
    assert ask(path, "pragma freelist_count") == [(0,)]


def test_the_hour_of_a_sensors_newest_reading_stays(path: Path) -> None:
    made(path, ("n", "t", minutes(125)))
    before = ask(path, "select sensor, measured_ms, value from latest")
    assert pruned(path) == 120
    assert ask(path, "select sensor, measured_ms, value from latest") == before
    assert horizons(path) == [START_MS + 2 * HOUR_MS]


def test_the_newest_that_no_flag_covers_stays_too(path: Path) -> None:
    made(path, ("n", "t", minutes(300)))
    with open_database(path) as db:
        db.execute(
            "insert into flags (sensor, from_ms, to_ms, reason, created_ms)"
            " values (1, ?, ?, '', 0)",
            [START_MS + 2 * HOUR_MS, NOW_MS],
        )
    before = ask(path, "select sensor, measured_ms, value from latest_clean")
    assert pruned(path) == 60
    assert before
    assert ask(path, "select sensor, measured_ms, value from latest_clean") == before


def test_a_sensor_with_nothing_to_prune_has_no_horizon(path: Path) -> None:
    made(path, ("n", "t", minutes(60, NOW_MS - HOUR_MS)), ("n", "lone", minutes(30)))
    assert pruned(path) == 0
    assert horizons(path) == [None, None]


@pytest.mark.parametrize("table", ["calibrations", "flags"])
def test_hours_that_a_correction_cuts_keep_their_readings(path: Path, table: str) -> None:
    made(path, ("n", "t", minutes(600)))
    cut_ms = START_MS + 3 * HOUR_MS + 7 * MINUTE_MS
    with open_database(path) as db:
        if table == "calibrations":
            db.execute(
                "insert into calibrations (sensor, from_ms, offset, created_ms)"
                " values (1, ?, -0.5, 0)",
                [cut_ms],
            )
        else:
            db.execute(
                "insert into flags (sensor, from_ms, to_ms, reason, created_ms)"
                " values (1, ?, ?, 'bad', 0)",
                [cut_ms, START_MS + 5 * HOUR_MS],
            )
    clean = ask(path, "select * from hourly_clean order by hour_ms")
    assert pruned(path) == 600 - 60 - 60
    left = {at // HOUR_MS * HOUR_MS for (at,) in ask(path, "select measured_ms from readings")}
    assert left == {START_MS + 3 * HOUR_MS, START_MS + 9 * HOUR_MS}
    assert ask(path, "select * from hourly_clean order by hour_ms") == clean


def test_times_before_1970_are_pruned_as_well(path: Path) -> None:
    made(path, ("n", "t", minutes(150, -90 * MINUTE_MS)))
    before = all_hours(path)
    assert pruned(path) == 90
    assert (horizons(path), all_hours(path)) == ([0], before)


def test_what_hourly_has_not_is_not_deleted(path: Path) -> None:
    made(path, ("n", "good", minutes(600)), ("n", "t", minutes(600)))
    with open_database(path) as db:
        db.execute("update hours set max = max + 1 where sensor = 2 and hour_ms = ?", [START_MS])
    with pytest.raises(RollupDiffers, match=r"n t .*rollup --rebuild"):
        pruned(path)
    assert ask(path, "select count(*) from readings") == [(1200,)]
    assert horizons(path) == [None, None]
    with open_database(path) as db, pytest.raises(RollupDiffers):
        prune.prune(db, prune.plan(db, MONTH_S, NOW_MS)[1:])  # changed since it was verified
    assert horizons(path) == [None, None]


def test_two_days_always_stay(path: Path) -> None:
    made(path, ("n", "t", minutes(600)))
    with open_database(path) as db, pytest.raises(TooYoung, match="two days"):
        prune.plan(db, TWO_DAYS_S - 1, NOW_MS)


def test_again_it_goes_on_from_where_it_was(path: Path) -> None:
    made(path, ("n", "t", minutes(6000, step_ms=15 * MINUTE_MS)))
    before = all_hours(path)
    first = pruned(path, 40 * 86_400)
    second = pruned(path)
    assert (first, second) == (20 * 96, 10 * 96)
    assert pruned(path) == 0
    assert all_hours(path) == before


def test_an_hour_of_more_than_a_transaction_holds_goes_in_several(path: Path) -> None:
    hour = 3 * prune.READINGS.first
    made(path, ("n", "t", minutes(2 * hour + 1, step_ms=HOUR_MS // hour)))
    before = all_hours(path)
    with open_database(path) as db:
        steps: list[int] = []
        prune.prune(db, prune.plan(db, MONTH_S, NOW_MS), steps.append)
    assert sum(steps) == 2 * hour
    assert steps[0] == prune.READINGS.first
    assert all_hours(path) == before


def test_the_command_says_what_would_go_and_then_does_it(tmp_path: Path) -> None:
    path = tmp_path / "tmon.db"
    made(path, ("n", "t", minutes(3000)), ("n", "u", minutes(3000)), ("m", "t", minutes(60)))
    before = path.read_bytes()
    dry = tmon(tmp_path, "prune", "--raw-older-than", "2d", "--dry-run", "--node", "n")
    assert dry.returncode == 0
    assert [line.split()[:3] for line in dry.stdout.splitlines()[1:]] == [
        ["n", "t", "2940"],
        ["n", "u", "2940"],
    ]
    assert "5,880 readings of 2 sensors, about 0.2 MB" in dry.stderr
    assert path.read_bytes() == before
    one = tmon(tmp_path, "prune", "--raw-older-than", "2d", "--node", "n", "--sensor", "u")
    assert one.stdout.startswith("pruned 2,940 readings of 1 sensors; ")
    assert ask(path, "select sensor, count(*) from readings group by 1") == [
        (1, 3000),
        (2, 60),
        (3, 60),
    ]


@pytest.mark.parametrize(
    ("arguments", "status", "names"),
    [
        (["--raw-older-than", "1d"], 1, "two days"),
        (["--raw-older-than", "soon"], 2, "soon"),
        (["--raw-older-than", "2y", "--node", "x"], 1, "'x'"),
        (["--raw-older-than", "2y", "--node", "n", "--sensor", "x"], 1, "'x'"),
        (["--raw-older-than", "2y", "--sensor", "x"], 2, "--node"),
        (["--raw-older-than", "2y", "--db", "none.db"], 1, "none.db"),
        ([], 2, "--raw-older-than"),
    ],
)
def test_bad_input_is_one_line(
    tmp_path: Path, arguments: list[str], status: int, names: str
) -> None:
    made(tmp_path / "tmon.db", ("n", "t", minutes(60)))
    failed = tmon(tmp_path, "prune", *arguments)
    assert (failed.returncode, failed.stdout) == (status, "")
    assert names in failed.stderr.splitlines()[-1]


def sent(rows: Rows) -> list[dict[str, float | int | str]]:
    return [{"sensor": "t", "value": value, "measured_ms": at, "unit": "V"} for at, value in rows]


def days_ago(days: int) -> int:
    return (int(time.time() * 1000) // HOUR_MS - 24 * days) * HOUR_MS


def test_a_late_reading_from_before_the_horizon_is_refused_and_told(station: Station) -> None:
    old, fresh = minutes(600, days_ago(60)), minutes(60, days_ago(1))
    assert station.post(sent(old + fresh)).json()["accepted"] == 660
    before = all_hours(station.path)
    assert pruned(station.path, now_ms=int(time.time() * 1000)) == 600
    # At once, while ingest still remembers the sensor as it was.
    answer = station.post(sent([*old[:2], (old[0][0] + 1, 5.0), *fresh])).json()
    assert (answer["accepted"], answer["duplicates"]) == (0, 60)
    assert [(told["index"], told["code"]) for told in answer["rejected"]] == [
        (0, "pruned"),
        (1, "pruned"),
        (2, "pruned"),
    ]
    assert "only their hours" in answer["rejected"][0]["error"]
    assert all_hours(station.path) == before
    kept = station.query("select code, count(*) from rejected group by 1")
    assert kept == [("pruned", 3)]
    assert station.post(sent(minutes(1, days_ago(20)))).json()["accepted"] == 1


def test_an_import_is_refused_what_was_pruned_and_new_sensors_take_old_history(
    tmp_path: Path,
) -> None:
    lines = "".join(f"{at // 1000},{value}\n" for at, value in minutes(600))
    (tmp_path / "a.csv").write_text("time,value\n" + lines)
    flags = ["--node", "n", "--time", "time"]
    first = tmon(tmp_path, "import", "a.csv", *flags, "--value", "value=t:V")
    assert first.stdout.split()[1] == "600"
    assert tmon(tmp_path, "prune", "--raw-older-than", "2d").returncode == 0
    before = all_hours(tmp_path / "tmon.db")
    again = tmon(tmp_path, "import", "a.csv", *flags, "--value", "value=t:V").stdout
    assert "pruned t: 540, such as line 2" in again
    assert all_hours(tmp_path / "tmon.db") == before
    other = tmon(tmp_path, "import", "a.csv", *flags, "--value", "value=other:V").stdout
    assert other.split()[1] == "600"


def test_who_remembers_a_sensor_as_it_was_stores_nothing_that_was_pruned(path: Path) -> None:
    made(path, ("n", "t", minutes(600)))
    [(uid,)] = ask(path, "select uid from nodes")
    again = [Reading(0, "t", value, "°C", at) for at, value in minutes(3)]
    batch = Batch(Node(uid, "n", "n"), NOW_MS, again)
    with open_database(path) as db:
        store = Store(db)
        assert store.commit([batch])[0].duplicates == 3
        assert pruned(path) == 540
        # And nobody has told the store that others wrote.
        [receipt] = store.commit([batch])
    assert [told.code for told in receipt.rejected] == ["pruned"] * 3
    assert hours_of(path, 1) == counted(minutes(600))


class Retrier(threading.Thread):
    """Sends what is stored already again and again, and now and then something new."""

    def __init__(self, station: Station, known: Rows, stop: threading.Event) -> None:
        super().__init__()
        self.station, self.known, self.stop = station, known, stop
        self.token = station.token("n")
        self.stored: Rows = []
        self.codes: set[str] = set()

    def run(self) -> None:
        with requests.Session() as http:
            http.trust_env = False
            while not self.stop.is_set():
                # Mostly of those that are pruned first: then whoever remembers their sensor as it
                # was meets no duplicate that makes it look again.
                start = random.randrange(900 if random.random() < 0.9 else len(self.known))
                self.send(http, self.known[start : start + random.choice([1, 5, 50])])
                if random.random() < 0.1:
                    at, _ = random.choice(self.known)
                    self.send(http, [(at + random.randrange(1, MINUTE_MS), 7.0)])

    def send(self, http: requests.Session, rows: Rows) -> None:
        headers = {"Authorization": f"Bearer {self.token}"}
        url = f"{self.station.url}/readings"
        answer = http.post(url, json=sent(rows), headers=headers, timeout=60).json()
        refused = {told["index"] for told in answer["rejected"]}
        self.codes |= {told["code"] for told in answer["rejected"]}
        if answer["accepted"]:
            assert (len(rows), refused) == (1, set()), "a retry was stored"
            self.stored += rows


def race(folder: Path, readings: int) -> None:
    """Prune while what is pruned is sent again; then each hour has each reading once."""
    with station_in_thread(folder) as station:
        known = minutes(readings, days_ago(60))
        for start in range(0, readings, 5000):
            answer = station.post(sent(known[start : start + 5000]), node="n")
            assert answer.json()["rejected"] == []
        stop = threading.Event()
        retriers = [Retrier(station, known, stop) for _ in range(3)]
        for retrier in retriers:
            retrier.start()
        try:
            time.sleep(random.uniform(0.05, 0.3))
            now_ms = int(time.time() * 1000)
            deleted = pruned(station.path, now_ms=now_ms)
            time.sleep(0.1)
        finally:
            stop.set()
            for retrier in retriers:
                retrier.join()
        late = [row for retrier in retriers for row in retrier.stored]
        assert len({at for at, _ in late}) == len(late)
        assert hours_of(station.path, 1) == counted(known + late)
        left = station.count()
        assert deleted + left == len(known) + len(late)
        assert set().union(*(retrier.codes for retrier in retriers)) <= {"pruned", "conflict"}
        assert deleted > readings / 2


@pytest.mark.parametrize("times", [1, soak(50, timeout_s=900)])
def test_pruning_while_all_of_it_is_sent_again_counts_nothing_twice(
    tmp_path: Path, times: int
) -> None:
    for folder in new_folders(tmp_path, times):
        race(folder, 6000)


def kill_while_pruning(folder: Path, kills: int) -> None:
    path = folder / "tmon.db"
    made(path, *(("n", name, minutes(20_000)) for name in "abc"))
    before, prune_all = all_hours(path), ["prune", "--raw-older-than", "2d"]
    for _ in range(kills):
        left = ask(path, "select count(*) from readings")
        process = Process(folder, *prune_all)
        wait_for(lambda left=left: ask(path, "select count(*) from readings") < left)
        time.sleep(random.uniform(0, 0.05))
        process.popen.send_signal(signal.SIGKILL)
        process.kill()
        assert all_hours(path) == before
        assert ask(path, "pragma integrity_check") == [("ok",)]
        first = "select min(measured_ms) from readings group by sensor order by sensor"
        for (first_ms,), horizon in zip(ask(path, first), horizons(path), strict=True):
            assert first_ms == START_MS or (horizon or 0) > START_MS
    assert tmon(folder, *prune_all).returncode == 0
    assert all_hours(path) == before
    assert ask(path, "select sensor, count(*) from readings group by 1") == [
        (1, 20),
        (2, 20),
        (3, 20),
    ]
    assert horizons(path) == [START_MS + 333 * HOUR_MS] * 3


@pytest.mark.parametrize(("times", "kills"), [(1, 2), soak(4, 3, timeout_s=300)])
def test_killed_at_any_moment_all_is_well_and_again_it_goes_on(
    tmp_path: Path, times: int, kills: int
) -> None:
    for folder in new_folders(tmp_path, times):
        kill_while_pruning(folder, kills)


def test_a_database_that_somebody_holds_is_told(path: Path) -> None:
    made(path, ("n", "t", minutes(600)))
    with open_database(path) as holder, transaction(holder):
        failed = tmon(path.parent, "sensor", "rename", "n", "t", "u")
    assert failed.returncode == 1
    assert failed.stderr.startswith("Error: database is locked; another program writes")


def test_who_writes_meanwhile_hardly_waits(tmp_path: Path) -> None:
    path = tmp_path / "tmon.db"
    made(path, ("n", "t", minutes(100_000)))
    waits_s, done = list[float](), threading.Event()
    with open_database(path) as db, open_database(path) as other:
        number = add_sensor(other, "m", "u", [])

        def write() -> None:
            while not done.is_set():
                began_s = time.monotonic()
                row = [number, NOW_MS + len(waits_s)]
                other.execute(
                    "insert into readings (sensor, measured_ms, value) values (?, ?, 1)", row
                )
                waits_s.append(time.monotonic() - began_s)
                time.sleep(0.002)

        writer = threading.Thread(target=write)
        writer.start()
        prune.prune(db, prune.plan(db, MONTH_S, NOW_MS))
        done.set()
        writer.join()
    assert len(waits_s) > 5  # however slow the machine: none gave up, which is after two seconds
    assert statistics.median(waits_s) < 1  # some transactions of 15 ms, on a busy machine
