"""Coverage compares readings with the interval that a sensor had at the time."""

import sqlite3
from collections.abc import Iterator

import pytest

from tests.publish.published import HOUR_MS, MARCH_MS
from tmon.core.time import DAY_MS
from tmon.db.connect import open_database
from tmon.pages.coverage import coverage, load_coverage
from tmon.pages.points import Sensor
from tmon.pages.spans import Span

MINUTE_MS = 60_000
DAY = Span(0, DAY_MS)


def every(step_ms: int, start_ms: int = 0, end_ms: int = DAY_MS) -> list[tuple[float, int]]:
    return [(at_ms, 1) for at_ms in range(start_ms, end_ms, step_ms)]


@pytest.mark.parametrize("step_ms", [5 * MINUTE_MS, HOUR_MS, 3 * HOUR_MS])
def test_a_sensor_that_kept_its_interval_is_covered(step_ms: int) -> None:
    assert coverage(every(step_ms), DAY, 0) == 1


@pytest.mark.parametrize(
    ("before_ms", "after_ms"), [(10 * MINUTE_MS, MINUTE_MS), (MINUTE_MS, 20 * MINUTE_MS)]
)
def test_it_stays_right_when_the_interval_changes(before_ms: int, after_ms: int) -> None:
    starts = every(before_ms, 0, 21 * HOUR_MS) + every(after_ms, 21 * HOUR_MS)
    found = coverage(starts, DAY, 0)
    assert found is not None
    assert found > 0.98


def test_what_is_missing_is_counted_inside_before_and_after() -> None:
    inside = every(10 * MINUTE_MS, 0, 6 * HOUR_MS) + every(10 * MINUTE_MS, 12 * HOUR_MS)
    before = every(10 * MINUTE_MS, 6 * HOUR_MS)
    after = every(10 * MINUTE_MS, 0, 18 * HOUR_MS)
    for starts in (inside, before, after):
        assert coverage(starts, DAY, 0) == pytest.approx(0.75, abs=0.01)


def test_hours_are_compared_with_the_hours_around() -> None:
    jitter = [(hour * HOUR_MS, 8 + hour % 2) for hour in range(24)]
    assert coverage(jitter, DAY, HOUR_MS) == pytest.approx(1, abs=0.005)
    changed = [(hour * HOUR_MS, 60 if hour < 12 else 3) for hour in range(24)]
    assert coverage(changed, DAY, HOUR_MS) == pytest.approx(1, abs=0.02)
    half = [(hour * HOUR_MS, 60) for hour in range(24) if not 6 <= hour < 18]
    assert coverage(half, DAY, HOUR_MS) == pytest.approx(0.5, abs=0.02)


@pytest.mark.parametrize("starts", [[], [(0, 1)]])
def test_too_few_readings_have_no_interval(starts: list[tuple[float, int]]) -> None:
    assert coverage(starts, DAY, 0) is None


@pytest.fixture(scope="module")
def conn(tmp_path_factory: pytest.TempPathFactory) -> Iterator[sqlite3.Connection]:
    """A sensor that was read every minute for 100 days, but for the last 25."""
    path = tmp_path_factory.mktemp("coverage") / "tmon.db"
    with open_database(path, create=True) as db:
        db.execute("insert into nodes (name, uid, created_ms) values ('attic', 'u', 0)")
        db.execute("insert into sensors (id, node, name) values (1, 'attic', 't')")
        db.execute(
            "with recursive counted (n) as (select 0 union all select n + 1 from counted"
            f" limit {75 * 1440}) insert into readings (sensor, measured_ms, value)"
            f" select 1, {MARCH_MS} + n * {MINUTE_MS}, n % 7 from counted"
        )
        yield db.conn


@pytest.mark.parametrize(
    ("days", "expected"), [((0, 1), 1), ((0, 40), 1), ((50, 100), 0.5), ((0, 100), 0.75)]
)
def test_readings_hours_and_days_give_the_same(
    conn: sqlite3.Connection, days: tuple[int, int], expected: float
) -> None:
    span = Span(MARCH_MS + days[0] * DAY_MS, MARCH_MS + days[1] * DAY_MS)
    n = round(expected * span.length_ms / MINUTE_MS)
    found = load_coverage(conn, Sensor(1, "t", None), span, n=n, pruned=False)
    assert found == pytest.approx(expected, abs=0.005)
