"""What calibrations and flags make of readings, in SQL: the views that end in _clean."""

import math
from bisect import bisect_right
from collections.abc import Iterator, Sequence
from typing import Any, NamedTuple

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from sqlite_utils import Database

from tmon.db.connect import open_database, transaction
from tmon.store.hours import close_hours

HOUR_MS = 3_600_000
DAY_MS = 24 * HOUR_MS
EVER_MS = -62_135_596_800_000
TABLES = ("readings", "hours", "calibrations", "flags")
SENSORS = (1, 2)

# Three hours on either side of 1970, on whole hours more often than by chance.
instants = st.one_of(
    st.integers(-3, 3).map(lambda hour: hour * HOUR_MS),
    st.integers(-3 * HOUR_MS, 3 * HOUR_MS),
    st.integers(-3, 3).map(lambda hour: hour * HOUR_MS + 1),
)
values = st.floats(-1e6, 1e6, allow_nan=False)
scales = st.one_of(st.floats(0.01, 100), st.floats(-100, -0.01))
readings = st.dictionaries(st.tuples(st.sampled_from(SENSORS), instants), values, max_size=40)
calibrations = st.dictionaries(
    st.tuples(st.sampled_from(SENSORS), st.one_of(instants, st.just(EVER_MS))),
    st.tuples(scales, st.floats(-1000, 1000)),
    max_size=4,
)
flags = st.lists(
    st.tuples(st.sampled_from(SENSORS), instants, instants).filter(lambda flag: flag[1] < flag[2]),
    max_size=4,
)


class Case(NamedTuple):
    """Rows of the tables, by their keys."""

    readings: dict[tuple[int, int], float]
    calibrations: dict[tuple[int, int], tuple[float, float]]
    flags: Sequence[tuple[int, int, int]]

    def clean(self) -> list[tuple[int, int, float]]:
        """The clean readings, told without SQL."""
        return sorted(
            (sensor, at_ms, self._calibrated(sensor, at_ms, value))
            for (sensor, at_ms), value in self.readings.items()
            if not any(one == sensor and a <= at_ms < b for one, a, b in self.flags)
        )

    @property
    def largest_offset(self) -> float:
        """Of which as much may be lost in a sum as of the values."""
        return max((abs(offset) for _, offset in self.calibrations.values()), default=0.0)

    def _calibrated(self, sensor: int, at_ms: int, value: float) -> float:
        since = sorted(from_ms for one, from_ms in self.calibrations if one == sensor)
        place = bisect_right(since, at_ms)
        if not place:
            return value
        scale, offset = self.calibrations[sensor, since[place - 1]]
        return value * scale + offset


@pytest.fixture(scope="module")
def db(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Database]:
    with open_database(tmp_path_factory.mktemp("clean") / "tmon.db", create=True) as db:
        db.execute("pragma synchronous = off")
        db.execute("insert into nodes (name, uid, created_ms) values ('n', 'u', 0)")
        for sensor in SENSORS:
            db.execute("insert into sensors (id, node, name) values (?, 'n', ?)", [sensor, sensor])
        yield db


def fill(db: Database, case: Case, hours_closed: int = 0) -> None:
    with transaction(db):
        for table in TABLES:
            db.execute(f"delete from {table}")
        for (sensor, at_ms), value in case.readings.items():
            sql = "insert into readings (sensor, measured_ms, value) values (?, ?, ?)"
            db.execute(sql, [sensor, at_ms, value])
        for (sensor, from_ms), (scale, offset) in case.calibrations.items():
            sql = "insert into calibrations values (?, ?, ?, ?, null, 0)"
            db.execute(sql, [sensor, from_ms, scale, offset])
        for flag in case.flags:
            sql = (
                "insert into flags (sensor, from_ms, to_ms, reason, created_ms) values (?,?,?,'',0)"
            )
            db.execute(sql, flag)
        close_hours(db, 1 << 62, hours_closed)


def rows(db: Database, sql: str, *given: Any) -> list[tuple[Any, ...]]:
    return [tuple(row) for row in db.execute(sql, given)]


@settings(
    max_examples=150, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture]
)
@given(case=st.builds(Case, readings, calibrations, flags), hours_closed=st.integers(0, 5))
def test_the_views_are_what_calibrations_and_flags_say(
    db: Database, case: Case, hours_closed: int
) -> None:
    fill(db, case, hours_closed)
    clean = case.clean()
    found = rows(
        db, "select sensor, measured_ms, value from readings_clean order by sensor, measured_ms"
    )
    assert found == clean
    for view, step_ms in (("hourly_clean", HOUR_MS), ("daily_clean", DAY_MS)):
        start = "hour_ms" if view == "hourly_clean" else "day_ms"
        found = rows(db, f"select sensor, {start}, n, min, max, sum from {view} order by 1, 2")
        expected = by_step(clean, step_ms)
        assert [row[:5] for row in found] == [row[:5] for row in expected]
        for row, (*_, total, size) in zip(found, expected, strict=True):
            assert abs(row[5] - total) <= 1e-9 * (size + row[2] * case.largest_offset)
    newest = rows(db, "select sensor, measured_ms, value from latest_clean order by sensor")
    assert newest == [[one for one in clean if one[0] == sensor][-1] for sensor in SENSORS
                      if any(one[0] == sensor for one in clean)]  # fmt: skip


def by_step(clean: Sequence[tuple[int, int, float]], step_ms: int) -> list[tuple[Any, ...]]:
    """(sensor, start, n, min, max, sum, what it is made of), as SQL over raw would say."""
    steps: dict[tuple[int, int], list[float]] = {}
    for sensor, at_ms, value in clean:
        steps.setdefault((sensor, at_ms // step_ms * step_ms), []).append(value)
    return [
        (*key, len(of), min(of), max(of), math.fsum(of), sum(map(abs, of)))
        for key, of in sorted(steps.items())
    ]


def test_raw_readings_and_hours_are_as_they_were(db: Database) -> None:
    case = Case({(1, 0): 1.0, (1, 5): 3.0}, {(1, EVER_MS): (2.0, 1.0)}, [(1, 0, 5)])
    fill(db, case)
    assert rows(db, "select value from readings order by measured_ms") == [(1.0,), (3.0,)]
    assert rows(db, "select n, min, max from hourly") == [(2, 1.0, 3.0)]
    assert rows(db, "select n, min, max from hourly_clean") == [(1, 7.0, 7.0)]


def test_a_sensor_is_silent_by_all_of_its_readings_and_told_by_its_newest_good_one(
    db: Database,
) -> None:
    """A flagged sensor still reports: it isn't silent, though its good reading is old."""
    [(now_ms,)] = rows(db, "select unixepoch() * 1000")
    case = Case({(1, now_ms - DAY_MS): 1.0, (1, now_ms): 9.0}, {}, [(1, now_ms - 1, now_ms + 1)])
    fill(db, case)
    assert rows(db, "select value, silent from latest_clean") == [(1.0, 0)]
    [(age_s,)] = rows(db, "select age_s from latest_clean")
    assert 86_400 <= age_s < 86_460
    assert rows(db, "select value, silent from latest") == [(9.0, 0)]


def test_a_sensor_that_is_flagged_as_a_whole_has_no_latest(db: Database) -> None:
    fill(db, Case({(1, 0): 1.0}, {}, [(1, EVER_MS, HOUR_MS)]))
    assert rows(db, "select * from latest_clean") == []


@pytest.mark.parametrize(
    ("sql", "first"),
    [
        (
            "select * from readings_clean where sensor = 1 and measured_ms >= 5 order by 2",
            "SEARCH readings USING PRIMARY KEY (sensor=? AND measured_ms>?)",
        ),
        (
            "select * from readings_clean order by measured_ms desc limit 51",
            "SCAN readings USING INDEX readings_measured_ms",
        ),
        (
            "select * from hourly_clean where sensor = 1 and hour_ms >= 5 order by hour_ms",
            "SEARCH hours USING PRIMARY KEY (sensor=? AND hour_ms>?)",
        ),
        (
            "select min(min) from hourly_clean where sensor = 1 and hour_ms >= 5",
            "SEARCH hours USING PRIMARY KEY (sensor=? AND hour_ms>?)",
        ),
        (
            "select * from latest_clean where sensor = 1",
            "SEARCH sensors USING INTEGER PRIMARY KEY (rowid=?)",
        ),
    ],
)
def test_a_view_is_found_in_its_tables_index_and_sorts_nothing(
    db: Database, sql: str, first: str
) -> None:
    plan = [row[3] for row in rows(db, f"explain query plan {sql}")]
    assert plan[0] == first
    assert not any("TEMP B-TREE" in step for step in plan)


def test_a_sensors_days_are_found_in_its_index(db: Database) -> None:
    plan = [
        row[3] for row in rows(db, "explain query plan select * from daily_clean where sensor = 1")
    ]
    assert any("hours_day (sensor=?)" in step for step in plan)
    assert not any("TEMP B-TREE" in step for step in plan)
