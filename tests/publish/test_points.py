"""What a chart is given: few enough points, the same that SQL gives, and where its gaps are."""

from collections.abc import Iterator
from itertools import pairwise
from typing import Any

import pytest

from tmon.core.time import DAY_MS, HOUR_MS
from tmon.db.connect import open_database
from tmon.pages.points import (
    HOURLY,
    MAX_POINTS,
    MAX_TABLE_ROWS,
    RAW,
    RESOLUTIONS,
    Sensor,
    choose_resolution,
    load_line,
    load_summary,
    table_resolution,
)
from tmon.pages.spans import Span

MINUTE_MS = 60_000
START_MS = 1_709_251_200_000  # 2024-03-01T00:00:00Z
MINUTELY, SLOW, OLD = (Sensor(number, f"s{number}", None) for number in (1, 2, 3))


@pytest.fixture(scope="module")
def conn(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Any]:
    """A fortnight of minutes but for two hours, one of every third hour, and two before 1970."""
    path = tmp_path_factory.mktemp("points") / "tmon.db"
    with open_database(path, create=True) as db, db.atomic():
        db.execute("insert into nodes (name, uid, created_ms) values ('n', 'u', 0)")
        for sensor in (MINUTELY, SLOW, OLD):
            db.execute(
                "insert into sensors (id, node, name) values (?, 'n', ?)", [sensor.id, sensor.name]
            )
        minutes = [minute for minute in range(14 * 1440) if not 600 <= minute < 720]
        rows = [(1, START_MS + minute * MINUTE_MS, minute % 97 / 8) for minute in minutes]
        rows += [(2, START_MS + hour * HOUR_MS, hour / 4) for hour in range(0, 336, 3)]
        rows += [(3, -90 * MINUTE_MS, 1.0), (3, -30 * MINUTE_MS, 3.0)]
        for row in rows:
            db.execute("insert into readings (sensor, measured_ms, value) values (?, ?, ?)", row)
    with open_database(path) as db:
        yield db.conn


def after(start_ms: int, length_ms: int) -> Span:
    return Span(start_ms, start_ms + length_ms)


DAY, FORTNIGHT = after(START_MS, DAY_MS), after(START_MS, 14 * DAY_MS)


@pytest.mark.parametrize(
    ("length_ms", "sensors", "name"),
    [
        (DAY_MS, [MINUTELY], "raw"),  # 1,320
        (DAY_MS, [MINUTELY, MINUTELY], "10-minute"),  # 2,640 would be too many
        (7 * DAY_MS, [MINUTELY], "hourly"),
        (14 * DAY_MS, [SLOW], "raw"),
        (14 * DAY_MS, [SLOW, MINUTELY], "hourly"),
        (14 * DAY_MS, [MINUTELY] * 8, "daily"),  # 8 times 334
        (100 * 365 * DAY_MS, [MINUTELY], "hourly"),  # there are but 334
        (100 * 365 * DAY_MS, [MINUTELY] * 8, "4-weekly"),
    ],
)
def test_the_resolution_is_the_finest_that_is_not_too_much(
    conn: Any, length_ms: int, sensors: list[Sensor], name: str
) -> None:
    span = after(START_MS, length_ms)
    chosen = choose_resolution(conn, sensors, span)
    assert chosen.name == name
    assert sum(len(load_line(conn, one, span, chosen).points) for one in sensors) <= MAX_POINTS


def test_one_that_is_asked_for_is_given_or_the_next_coarser(conn: Any) -> None:
    assert choose_resolution(conn, [SLOW], FORTNIGHT, HOURLY) == HOURLY
    assert choose_resolution(conn, [MINUTELY], FORTNIGHT, RAW) == HOURLY


def test_raw_points_are_the_readings(conn: Any) -> None:
    found = conn.execute(
        "select measured_ms, value from readings where sensor = 1 and measured_ms < ?"
        " order by measured_ms",
        [DAY.end_ms],
    ).fetchall()
    assert load_line(conn, MINUTELY, DAY, RAW).points == found


@pytest.mark.parametrize("resolution", RESOLUTIONS[1:])
def test_means_are_those_that_sql_gives_over_the_readings(conn: Any, resolution: Any) -> None:
    found = conn.execute(
        "select measured_ms - measured_ms % :step, avg(value), min(value), max(value), count(*)"
        " from readings where sensor = 1 group by 1 order by 1",
        {"step": resolution.step_ms},
    ).fetchall()
    points = load_line(conn, MINUTELY, FORTNIGHT, resolution).points
    assert [point[0] for point in points] == [row[0] for row in found]
    for point, row in zip(points, found, strict=True):
        assert point[1:] == pytest.approx(row[1:])


@pytest.mark.parametrize("resolution", RESOLUTIONS[1:])
def test_times_before_1970_round_down_too(conn: Any, resolution: Any) -> None:
    points = load_line(conn, OLD, after(-DAY_MS, DAY_MS), resolution).points
    for point in points:
        assert point[0] % resolution.step_ms == 0
        assert point[0] <= -30 * MINUTE_MS
    assert sum(point[4] for point in points) == 2


@pytest.mark.parametrize("resolution", [RAW, HOURLY])
def test_two_hours_without_a_reading_are_a_gap_and_nothing_else_is(
    conn: Any, resolution: Any
) -> None:
    found = load_line(conn, MINUTELY, after(START_MS, 20 * HOUR_MS), resolution)
    times = [point[0] for point in found.points]
    gaps = [late for early, late in pairwise(times) if late - early > found.gap_ms]
    assert gaps == [START_MS + 12 * HOUR_MS]


@pytest.mark.parametrize("resolution", [RAW, HOURLY])
def test_a_slow_sensor_has_no_gap_between_its_readings(conn: Any, resolution: Any) -> None:
    assert load_line(conn, SLOW, FORTNIGHT, resolution).gap_ms > 3 * HOUR_MS


@pytest.mark.parametrize(
    "span",
    [
        FORTNIGHT,
        after(START_MS + 5 * MINUTE_MS, 20 * MINUTE_MS),  # within an hour
        after(START_MS + 50 * MINUTE_MS, 20 * MINUTE_MS),  # across one's end
        after(START_MS + 50 * MINUTE_MS, 5 * HOUR_MS),
        after(START_MS + 1, 3 * HOUR_MS + 12_345),
        after(START_MS - DAY_MS, DAY_MS),  # none
    ],
)
def test_a_summary_is_of_all_readings_in_the_span_and_no_other(conn: Any, span: Span) -> None:
    low, high, mean, n = conn.execute(
        "select min(value), max(value), avg(value), count(*) from readings"
        " where sensor = 1 and measured_ms >= ? and measured_ms < ?",
        [span.start_ms, span.end_ms],
    ).fetchone()
    found = load_summary(conn, MINUTELY, span)
    assert (found.low, found.high, found.n) == (low, high, n)
    assert found.mean == pytest.approx(mean)


@pytest.mark.parametrize("days", [1, 7, 30, 365, 3650])
def test_a_table_has_as_many_rows_as_people_read(days: int) -> None:
    resolution = table_resolution(after(START_MS, days * DAY_MS))
    assert 5 <= days * DAY_MS / resolution.step_ms <= max(MAX_TABLE_ROWS, 3650 / 28 + 1)


def test_what_a_page_asks_is_found_in_an_index(conn: Any) -> None:
    for resolution in RESOLUTIONS:
        plan = conn.execute(
            f"explain query plan {resolution.sql}", {"sensor": 1, "from_ms": 0, "to_ms": 1}
        ).fetchall()
        assert "SEARCH" in plan[0][3], resolution
        assert "PRIMARY KEY (sensor=?" in plan[0][3], plan
