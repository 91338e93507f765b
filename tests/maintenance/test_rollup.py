"""`hourly` is compared with the raw readings and repaired while ingest runs."""

import json
import threading
import time
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from tests.maintenance.old_readings import (
    DAY_MS,
    HOUR_MS,
    NOW_MS,
    START_MS,
    all_hours,
    ask,
    counted,
    hours_of,
    made,
    minutes,
)
from tests.station import Station, hourly_equals_raw, tmon
from tmon.core.reading import Batch, Node, Reading
from tmon.db.connect import open_database
from tmon.maintenance import prune, rollup
from tmon.store.commit import Store

BROKEN = {
    "a reading deleted": f"delete from readings where measured_ms = {START_MS + 60_000}",
    "a reading changed": f"update readings set value = 99 where measured_ms = {START_MS}",
    "an hour lost": f"delete from hours where hour_ms = {START_MS + HOUR_MS}",
    "an hour of nothing": f"insert into hours values (1, {START_MS - DAY_MS}, 1, 1, 1, 1)",
    "a wrong count": f"update hours set n = n + 1 where hour_ms = {START_MS}",
    "a wrong sum": f"update hours set sum = sum + 0.001 where hour_ms = {START_MS}",
    "a wrong extreme": f"update hours set min = min - 1 where hour_ms = {START_MS}",
}


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "tmon.db"


def test_what_ingest_wrote_differs_nowhere(path: Path) -> None:
    made(path, ("n", "t", minutes(300)), ("n", "u", minutes(300, -200 * 60_000)))
    with open_database(path) as db:
        assert rollup.count_differing_hours(db, None) == 0
        assert rollup.rebuild(db, None) == 0


@pytest.mark.parametrize("broken", BROKEN)
def test_what_others_broke_is_found_and_put_right(path: Path, broken: str) -> None:
    made(path, ("n", "t", minutes(300)), ("n", "u", minutes(90, START_MS - 50 * DAY_MS)))
    with open_database(path) as db:
        db.execute(BROKEN[broken])
        assert rollup.count_differing_hours(db, None) == 1
        assert rollup.rebuild(db, None) == 1
        assert rollup.count_differing_hours(db, None) == 0
        assert hourly_equals_raw(db)


def test_a_sum_may_differ_in_its_last_digits_however_much_cancels_out(path: Path) -> None:
    made(path, ("n", "t", [(START_MS, 1e15), (START_MS + 1, 0.3), (START_MS + 2, -1e15)]))
    with open_database(path) as db:
        assert rollup.count_differing_hours(db, None) == 0


def test_only_hours_since_then_are_looked_at(path: Path) -> None:
    made(path, ("n", "t", minutes(300)))
    with open_database(path) as db:
        db.execute("update hours set n = n + 1")
        assert rollup.count_differing_hours(db, None) == 5
        assert rollup.count_differing_hours(db, START_MS + 3 * HOUR_MS + 1) == 2
        assert rollup.rebuild(db, START_MS + 3 * HOUR_MS) == 2
        assert rollup.count_differing_hours(db, None) == 3


def test_hours_whose_readings_were_pruned_are_left_alone(path: Path) -> None:
    made(path, ("n", "t", minutes(300)))
    with open_database(path) as db:
        prune.prune(db, prune.plan(db, 2 * 86_400, NOW_MS))
    before = all_hours(path)
    with open_database(path) as db:
        assert rollup.count_differing_hours(db, None) == 0
        assert rollup.rebuild(db, None) == 0
    assert all_hours(path) == before


def test_many_readings_and_hours_are_done_in_parts(path: Path) -> None:
    rows = minutes(45_000, step_ms=HOUR_MS // 2)
    made(path, ("n", "t", rows))
    with open_database(path) as db:
        parts = [*rollup.time_ranges(db, 1, rollup.MIN_MS, rollup.MAX_MS, 10_000)]
        assert len(parts) == 5
        db.execute("update hours set n = 0")
        assert rollup.rebuild(db, None) == 22_500
    assert hours_of(path, 1) == counted(rows)


def test_the_command_tells_by_its_status(tmp_path: Path) -> None:
    made(tmp_path / "tmon.db", ("n", "t", minutes(3000)))
    assert tmon(tmp_path, "rollup", "--check").returncode == 0
    with open_database(tmp_path / "tmon.db") as db:
        db.execute("update hours set n = n + 1 where hour_ms < ?", [START_MS + 30 * HOUR_MS])
    found = tmon(tmp_path, "rollup", "--check")
    assert found.returncode == 1
    assert found.stdout.splitlines()[0] == "n t 2024-11-02T12:00Z"
    assert found.stdout.splitlines()[-1] == "and 10 more"
    assert "30 hours differ; `tmon rollup --rebuild`" in found.stderr
    as_json = tmon(tmp_path, "rollup", "--check", "--json", "--since", "2024-11-03T16:00Z")
    assert json.loads(as_json.stdout) == {
        "differing": 2,
        "hours": [{"sensor": 1, "hour_ms": START_MS + hour * HOUR_MS} for hour in (28, 29)],
    }
    assert tmon(tmp_path, "rollup", "--rebuild").stdout == "30 hours put right\n"
    assert tmon(tmp_path, "rollup", "--check").returncode == 0


@pytest.mark.parametrize(
    ("arguments", "names"),
    [
        ([], "--check or --rebuild"),
        (["--check", "--rebuild"], "--check or --rebuild"),
        (["--check", "--since", "lately"], "lately"),
    ],
)
def test_bad_input_is_told(tmp_path: Path, arguments: list[str], names: str) -> None:
    failed = tmon(tmp_path, "rollup", *arguments)
    assert (failed.returncode, failed.stdout) == (2, "")
    assert names in failed.stderr.splitlines()[-1]


def test_rebuilding_beside_a_live_ingest_loses_no_reading(station: Station) -> None:
    start_ms = (int(time.time() * 1000) // HOUR_MS - 48) * HOUR_MS
    done, sent = threading.Event(), list[tuple[int, float]]()

    def send() -> None:
        while not done.is_set():
            at = start_ms + (len(sent) * 7_919_000) % (47 * HOUR_MS) + len(sent)
            answer = station.post({"sensor": "t", "value": 1, "measured_ms": at})
            assert answer.json()["accepted"] == 1
            sent.append((at, 1.0))

    sender = threading.Thread(target=send)
    sender.start()
    with open_database(station.path) as db:
        for _ in range(10):
            db.execute("update hours set n = n + 1")
            rollup.rebuild(db, None)
        done.set()
        sender.join()
        assert rollup.count_differing_hours(db, None) == 0
    assert hours_of(station.path, 1) == counted(sent)


HOURS = st.integers(0, 30)  # days of 4 hours, so that many meet
STEPS = st.one_of(
    st.tuples(st.just("send"), st.lists(st.tuples(HOURS, st.integers(0, 5)), max_size=12)),
    st.tuples(st.just("prune"), st.integers(2, 12)),
    st.tuples(st.just("rebuild"), st.just(0)),
    st.tuples(st.just("break"), HOURS),
)


def instant(where: tuple[int, int]) -> int:
    hour, place = where
    return NOW_MS - 10 * DAY_MS + hour * 8 * HOUR_MS + place * 600_000


@settings(max_examples=20, deadline=None, suppress_health_check=[HealthCheck.too_slow])
@given(st.lists(STEPS, max_size=8))
def test_whatever_comes_in_any_order_hours_and_days_stay_exact(
    tmp_path_factory: pytest.TempPathFactory, steps: list[tuple[str, object]]
) -> None:
    path = tmp_path_factory.mktemp("any") / "tmon.db"
    made(path, ("n", "t", []))
    with open_database(path) as db, open_database(path) as ingest:
        store, node = Store(ingest), Node(str(ask(path, "select uid from nodes")[0][0]), "n", "n")
        stored: dict[int, float] = {}
        for what, how in steps:
            if what == "send":
                assert isinstance(how, list)
                rows = {instant(where): float(where[1] - 2) for where in how}
                readings = [Reading(0, "t", value, "°C", at) for at, value in rows.items()]
                [receipt] = store.commit([Batch(node, NOW_MS, readings)])
                told = {int(one.measured or 0) for one in receipt.rejected}
                assert {one.code for one in receipt.rejected} <= {"pruned"}
                new = {at: value for at, value in rows.items() if at not in {*told, *stored}}
                assert receipt.accepted == len(new)
                stored |= new
            elif what == "prune":
                assert isinstance(how, int)
                prune.prune(db, prune.plan(db, how * 86_400, NOW_MS))
            elif what == "rebuild":
                rollup.rebuild(db, None)
            else:
                assert isinstance(how, int)
                horizon = db.execute("select coalesce(max(pruned_before_ms), 0) from sensors")
                at = max(instant((how, 0)) // HOUR_MS * HOUR_MS, horizon.fetchone()[0])
                db.execute("update hours set n = n + 1, max = max + 1 where hour_ms = ?", [at])
                rollup.rebuild(db, None)
            assert hours_of(path, 1) == counted(stored.items())
            assert rollup.count_differing_hours(db, None) == 0
        days = dict(ask(path, "select day_ms, n from daily"))
        expected: dict[int, int] = {}
        for at in stored:
            day = at // DAY_MS * DAY_MS
            expected[day] = expected.get(day, 0) + 1
        assert days == expected
