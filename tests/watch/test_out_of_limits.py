"""T02, T03: values beyond their limit, against a model that looks at every reading."""

import random
from typing import NamedTuple

import pytest

from tests.watch.watched import DAY_MS, HOUR_MS, MINUTE_MS, NOW_MS, Watched
from tmon.db.lookup import Sensor


@pytest.fixture
def freezer(watched: Watched) -> Sensor:
    watched.node("cellar")
    return watched.sensor("cellar", "freezer")


def test_a_value_above_its_limit_for_long_enough_is_found_with_its_extreme(
    watched: Watched, freezer: Sensor
) -> None:
    watched.limit(freezer, above=-15.0, for_s=600, hysteresis=1.0)
    watched.every_minute(freezer, -18.0, -14.0, -12.5)
    assert watched.run(NOW_MS + 8 * MINUTE_MS) == []
    [(what, line)] = watched.run(NOW_MS + 9 * MINUTE_MS)
    assert what == "began"
    assert line == (
        "cellar/freezer: up to -12.5 °C, above its limit of -15 °C, since 2026-11-22 11:59 UTC"
    )
    [line] = watched.found(NOW_MS + 9 * MINUTE_MS, "T02")
    assert line.startswith(
        "T02 critical: cellar/freezer: up to -12.5 °C, above its limit of -15 °C, since"
    )


def test_it_is_over_when_a_reading_is_back_by_the_hysteresis(
    watched: Watched, freezer: Sensor
) -> None:
    watched.limit(freezer, above=-15.0, hysteresis=1.0)
    watched.every_minute(freezer, -18.0, -14.0)
    assert [what for what, _ in watched.run(NOW_MS)] == ["began"]
    watched.measure(freezer, [(NOW_MS + MINUTE_MS, -15.5), (NOW_MS + 2 * MINUTE_MS, -11.0)])
    assert watched.run(NOW_MS + 2 * MINUTE_MS) == []
    watched.measure(freezer, [(NOW_MS + 3 * MINUTE_MS, -16.0)])
    [(what, line)] = watched.run(NOW_MS + HOUR_MS // 4)
    assert what == "ended"
    assert line == (
        "cellar/freezer: over, from 2026-11-22 12:00 UTC to 2026-11-22 12:03 UTC (3 min):"
        " up to -11 °C, above its limit of -15 °C"
    )
    assert watched.incidents() == [("T02", NOW_MS, NOW_MS + 3 * MINUTE_MS)]


def test_below_is_the_same_upside_down(watched: Watched, freezer: Sensor) -> None:
    watched.limit(freezer, below=2.0, hysteresis=0.5)
    watched.every_minute(freezer, 3.0, 1.5, 2.4)
    [(_, line)] = watched.run(NOW_MS)
    assert "down to 1.5 °C, below its limit of 2 °C, since 2026-11-22 11:59 UTC" in line
    watched.measure(freezer, [(NOW_MS + MINUTE_MS, 2.5)])
    assert [what for what, _ in watched.run(NOW_MS + MINUTE_MS)] == ["ended"]
    assert watched.incidents() == [("T03", NOW_MS - MINUTE_MS, NOW_MS + MINUTE_MS)]


def test_an_excursion_between_two_checks_begins_and_ends(watched: Watched, freezer: Sensor) -> None:
    watched.limit(freezer, above=-15.0, for_s=120)
    watched.every_minute(freezer, -18.0, -10.0, -9.0, -10.0, -18.0)
    told = watched.run(NOW_MS)
    assert [what for what, _ in told] == ["began", "ended"]
    assert "up to -9 °C" in told[0][1]
    assert watched.found(NOW_MS, "T02") == []
    assert watched.run(NOW_MS + HOUR_MS // 8) == []
    assert watched.incidents("T02") == [("T02", NOW_MS - 3 * MINUTE_MS, NOW_MS)]


def test_readings_that_arrive_days_late_are_checked_too(watched: Watched, freezer: Sensor) -> None:
    watched.limit(freezer, above=-15.0)
    watched.every_minute(freezer, -18.0, until_ms=NOW_MS)
    watched.run(NOW_MS)
    watched.every_minute(freezer, -18.0, -10.0, -18.0, until_ms=NOW_MS - 6 * DAY_MS)
    told = [what for what, line in watched.run(NOW_MS) if "freezer" in line]
    assert told == ["began", "ended"]
    watched.every_minute(freezer, -18.0, -10.0, -18.0, until_ms=NOW_MS - 8 * DAY_MS)
    assert watched.run(NOW_MS) == []


def test_the_last_value_of_a_silent_sensor_lasts_only_until_its_reading(
    watched: Watched, freezer: Sensor
) -> None:
    watched.limit(freezer, above=-15.0, for_s=1800)
    watched.every_minute(freezer, -18.0, -10.0, -10.0)
    later_ms = NOW_MS + HOUR_MS
    assert watched.found(later_ms, "T02") == []
    assert len(watched.found(later_ms, "T01")) == 1


def test_an_incident_stays_open_while_its_sensor_is_silent(
    watched: Watched, freezer: Sensor
) -> None:
    watched.limit(freezer, above=-15.0)
    watched.every_minute(freezer, -18.0, -10.0)
    watched.run(NOW_MS)
    told = watched.run(NOW_MS + HOUR_MS)
    assert [line for _, line in told] == ["cellar/freezer: silent, since 2026-11-22 12:00 UTC"]
    assert watched.incidents("T02") == [("T02", NOW_MS, None)]


def test_a_new_limit_counts_from_when_it_was_set(watched: Watched, freezer: Sensor) -> None:
    watched.every_minute(freezer, -18.0, -5.0, -18.0, -10.0)
    watched.limit(freezer, NOW_MS + MINUTE_MS, above=-15.0, for_s=60)
    assert watched.found(NOW_MS + MINUTE_MS, "T02") == []
    [line] = watched.found(NOW_MS + 2 * MINUTE_MS, "T02")
    assert "up to -10 °C" in line
    assert "since 2026-11-22 12:01 UTC" in line


def test_an_incident_stays_open_when_its_limit_changes(watched: Watched, freezer: Sensor) -> None:
    watched.limit(freezer, above=-15.0)
    watched.every_minute(freezer, -18.0, -10.0)
    watched.run(NOW_MS)
    watched.limit(freezer, NOW_MS + MINUTE_MS, above=-16.0, for_s=600)
    assert watched.run(NOW_MS + 2 * MINUTE_MS) == []
    watched.limit(freezer, NOW_MS + 3 * MINUTE_MS, above=-5.0)
    assert [what for what, _ in watched.run(NOW_MS + 4 * MINUTE_MS)] == ["ended"]


def test_a_late_reading_may_show_that_it_was_over_sooner(watched: Watched, freezer: Sensor) -> None:
    watched.limit(freezer, above=-15.0, for_s=600)
    watched.measure(freezer, [(NOW_MS, -10.0)])
    watched.run(NOW_MS + 10 * MINUTE_MS)
    watched.measure(freezer, [(NOW_MS + 5 * MINUTE_MS, -18.0)])
    assert [what for what, _ in watched.run(NOW_MS + 11 * MINUTE_MS)] == ["ended"]
    assert watched.incidents("T02") == [("T02", NOW_MS, NOW_MS + 5 * MINUTE_MS)]


def test_limits_apply_to_clean_values(watched: Watched, freezer: Sensor) -> None:
    watched.limit(freezer, above=-15.0)
    watched.every_minute(freezer, -14.5, -14.5, -10.0)
    watched.db.execute(
        "insert into calibrations (sensor, from_ms, offset, created_ms) values (?, 0, -1, 0)",
        [freezer.id],
    )
    [line] = watched.found(NOW_MS, "T02")
    assert "up to -11 °C" in line
    watched.db.execute(
        "insert into flags (sensor, from_ms, to_ms, reason, created_ms) values (?, ?, ?, '', 0)",
        [freezer.id, NOW_MS - MINUTE_MS // 2, NOW_MS + 1],
    )
    assert watched.found(NOW_MS, "T02") == []


class Span(NamedTuple):
    from_ms: int
    to_ms: int | None


def model(readings: list[tuple[int, float]], above: float, back: float, for_ms: int) -> list[Span]:
    """Excursions that lasted, by looking at every reading."""
    spans: list[Span] = []
    begun: int | None = None
    for at_ms, value in readings:
        if begun is None and value > above:
            begun = at_ms
        elif begun is not None and value <= back:
            if at_ms - begun >= for_ms:
                spans.append(Span(begun, at_ms))
            begun = None
    if begun is not None:
        spans.append(Span(begun, None))
    return spans


@pytest.mark.parametrize("seed", range(12))
def test_flapping_values_give_the_incidents_of_the_model_with_one_begin_and_end(
    watched: Watched, freezer: Sensor, seed: int
) -> None:
    chance = random.Random(seed)
    hysteresis, for_s = chance.choice([0.0, 0.5, 2.0]), chance.choice([0, 300, 1800])
    watched.limit(freezer, above=10.0, for_s=for_s, hysteresis=hysteresis)
    readings: list[tuple[int, float]] = []
    at_ms, value = NOW_MS - 3 * DAY_MS, 8.0
    for _ in range(60):
        new = []
        for _ in range(chance.randrange(1, 12)):
            at_ms += chance.choice([1, 2, 5]) * MINUTE_MS
            value = min(max(value + chance.uniform(-2, 2), 5.0), 15.0)
            new.append((at_ms, value))
        watched.measure(freezer, new)
        readings += new
        watched.run(at_ms)
    at_ms += 5 * MINUTE_MS
    watched.measure(freezer, [(at_ms, 0.0)])
    watched.run(at_ms)

    expected = model([*readings, (at_ms, 0.0)], 10.0, 10.0 - hysteresis, for_s * 1000)
    assert [Span(*one[1:]) for one in watched.incidents("T02")] == expected
    told = watched.db.execute(
        "select what, count(*) from events join incidents on incidents.id = incident"
        " where finding = 'T02' and what <> 'goes on' group by what"
    ).fetchall()
    assert dict(told) == ({"began": len(expected), "ended": len(expected)} if expected else {})


@pytest.mark.parametrize("seed", range(6))
def test_excursions_of_any_length_are_found_whenever_the_checks_run(
    watched: Watched, freezer: Sensor, seed: int
) -> None:
    """Gaps, days in the band between limit and hysteresis, and runs long after."""
    chance = random.Random(seed)
    watched.limit(freezer, above=10.0, hysteresis=3.0)
    at_ms, readings = NOW_MS - 60 * DAY_MS, []
    for _ in range(40):
        level = chance.choice([5.0, 8.0, 8.0, 11.0])
        for _ in range(chance.choice([1, 3, 48])):
            at_ms += chance.choice([30, 60, 600]) * MINUTE_MS
            readings.append((at_ms, level + chance.uniform(-0.5, 0.5)))
    waiting = list(readings)
    while waiting:
        count = chance.choice([1, 10, 60])
        watched.measure(freezer, waiting[:count])
        watched.run(waiting[:count][-1][0])
        del waiting[:count]
    expected = model(readings, 10.0, 7.0, 0)
    assert [Span(*one[1:]) for one in watched.incidents("T02")] == expected
