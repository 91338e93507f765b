"""T19, T20, T23: whose clock is wrong, readings ahead of time, and pressures off by ten."""

import pytest

from tests.watch.watched import DAY_MS, HOUR_MS, MINUTE_MS, NOW_MS, Watched
from tmon.maintenance import ahead, prune
from tmon.maintenance.clocks import ServerClockOff

AHEAD_MS = 10 * MINUTE_MS
YEARS_MS = 10 * 365 * DAY_MS


def nodes(watched: Watched, *skews_s: float | None) -> None:
    for place, skew_s in enumerate(skews_s):
        watched.node(f"node{place}", clock_skew_s=skew_s)


def numbers(watched: Watched, now_ms: int = NOW_MS) -> list[str]:
    """Of whose clock is wrong."""
    return [line[:3] for line in watched.found(now_ms, "T07", "T19", "T20")]


def test_a_reading_ahead_of_time_does_not_hide_silence(watched: Watched) -> None:
    watched.node("attic", silent_after_s=3600)
    sensor = watched.sensor("attic")
    watched.measure(sensor, [(NOW_MS - 2 * HOUR_MS, 20.0), (NOW_MS + YEARS_MS, 20.0)])
    [line] = watched.found(NOW_MS, "T01")
    assert line.startswith("T01 warning: attic/temperature: silent, since 2026-11-22 10:00 UTC")


def test_the_usual_interval_is_that_of_readings_that_are_not_ahead(watched: Watched) -> None:
    watched.node("attic")
    sensor = watched.sensor("attic")
    watched.every_minute(sensor, *[20.0] * 60, until_ms=NOW_MS - HOUR_MS)
    years = [(NOW_MS + place * YEARS_MS, 20.0) for place in range(1, 60)]
    watched.measure(sensor, years)
    assert len(watched.found(NOW_MS, "T01")) == 1


def test_readings_ahead_are_named_by_node_and_sensor(watched: Watched) -> None:
    watched.node("attic")
    sensor = watched.sensor("attic")
    watched.measure(sensor, [(NOW_MS, 20.0), (NOW_MS + AHEAD_MS, 20.0)])
    assert watched.found(NOW_MS, "T19") == []
    watched.measure(sensor, [(NOW_MS + AHEAD_MS + 1, 20.0), (NOW_MS + 2 * HOUR_MS, 20.0)])
    [line] = watched.found(NOW_MS, "T19")
    assert line.startswith(
        "T19 warning: attic/temperature: 2 readings up to 2026-11-22 14:00 UTC, from a clock that"
        " was ahead, since 2026-11-22 12:00 UTC. "
    )
    assert watched.found(NOW_MS + 2 * HOUR_MS, "T19") == []


@pytest.mark.parametrize("now_ms", [0, DAY_MS, 946_684_799_000, 1_577_836_799_999])
def test_a_server_clock_that_was_never_set_is_the_only_finding_about_clocks(
    watched: Watched, now_ms: int
) -> None:
    watched.node("attic", clock_skew_s=1e9)
    watched.measure(watched.sensor("attic"), [(NOW_MS, 20.0)])
    [line] = watched.found(now_ms, "T07", "T19", "T20")
    assert line.startswith(
        "T20 critical: server: clock was not set since it was switched on, so no"
    )
    with pytest.raises(ServerClockOff, match="nothing is deleted"):
        ahead.remove(watched.db, ahead.find(watched.db, now_ms), now_ms)
    assert numbers(watched, 1_577_836_800_000) == ["T07", "T19"]


def test_limits_ignore_readings_ahead_of_time(watched: Watched) -> None:
    watched.node("cellar")
    freezer = watched.sensor("cellar", "freezer")
    watched.limit(freezer, above=-15.0, hysteresis=1.0)
    watched.measure(freezer, [(NOW_MS + YEARS_MS, 20.0)])
    assert watched.found(NOW_MS, "T02") == []
    watched.every_minute(freezer, -18.0, -14.0)
    watched.measure(freezer, [(NOW_MS + 2 * YEARS_MS, -20.0)])
    [line] = watched.found(NOW_MS, "T02")
    assert "up to -14 °C" in line


@pytest.mark.parametrize(
    ("skews_s", "found"),
    [
        ([7200.0], ["T07"]),  # with one node the server is believed
        ([7200.0, 7195.0], ["T20"]),
        ([7200.0, 0.0], ["T07"]),
        ([7200.0, 7230.0, 0.0], ["T20"]),
        ([7200.0, 0.0, 1.0], ["T07"]),
        ([7200.0, 3600.0, 0.0], ["T07", "T07"]),  # no majority
        ([-7200.0, -7180.0, -7210.0, 3600.0], ["T20"]),
        ([75.0, 80.0, 70.0], ["T20"]),
        ([45.0, 45.0, 900.0], ["T07"]),  # a little off is no finding
        ([7200.0, 7200.0, None, None, None], ["T20"]),  # nodes that send no time don't count
        ([None, None], []),
        ([0.0, 0.0, 0.5], []),
    ],
)
def test_where_most_nodes_agree_it_is_the_servers_clock(
    watched: Watched, skews_s: list[float | None], found: list[str]
) -> None:
    nodes(watched, *skews_s)
    assert numbers(watched) == found


def test_only_nodes_that_sent_within_a_day_count_for_the_majority(watched: Watched) -> None:
    nodes(watched, 0.0)
    for name, change in (
        ("a", {"last_received_ms": NOW_MS - 2 * DAY_MS}),
        ("b", {"last_received_ms": None}),
        ("c", {"revoked_ms": 1}),
    ):
        watched.node(name, clock_skew_s=7200.0, **change)
    assert numbers(watched) == []


def test_the_line_says_how_far_and_what_that_does(watched: Watched) -> None:
    nodes(watched, 7200.0, 7200.0, 0.0)
    [line] = watched.found(NOW_MS, "T20")
    assert line.startswith(
        "T20 critical: server: clock 2 h behind what 2 of 3 nodes say, so their readings are"
        " not taken, since "
    )
    watched.db.execute("update nodes set clock_skew_s = -90")
    [line] = watched.found(NOW_MS, "T20")
    assert line.startswith("T20 warning: server: clock 1 min 30 s ahead of what 3 of 3 nodes say")


def test_it_lasts_until_the_clock_is_nearly_right(watched: Watched) -> None:
    nodes(watched, 75.0, 75.0)
    assert [what for what, _ in watched.run(NOW_MS)] == ["began"]
    watched.db.execute("update nodes set clock_skew_s = 40")
    assert watched.run(NOW_MS + HOUR_MS) == []
    watched.db.execute("update nodes set clock_skew_s = 20")
    assert [what for what, _ in watched.run(NOW_MS + 2 * HOUR_MS)] == ["ended"]
    assert watched.incidents() == [("T20", NOW_MS, NOW_MS + 2 * HOUR_MS)]


def test_readings_are_not_ahead_if_the_servers_clock_is_behind(watched: Watched) -> None:
    nodes(watched, 7200.0, 7200.0)
    watched.measure(watched.sensor("node0"), [(NOW_MS + HOUR_MS, 20.0)])
    assert numbers(watched) == ["T20"]


def test_prune_refuses_if_most_nodes_say_that_the_clock_is_wrong(watched: Watched) -> None:
    """For a clock that is two years ahead, all readings would be old."""
    nodes(watched, 0.0, 0.0)
    sensor = watched.sensor("node0")
    watched.every_minute(sensor, *[20.0] * 600)
    later_ms = NOW_MS + 730 * DAY_MS
    watched.db.execute("update nodes set last_received_ms = ?, clock_skew_s = ?", [later_ms, -6e7])
    with pytest.raises(ServerClockOff, match="694 d 10 h ahead of what 2 of 2 nodes say"):
        prune.plan(watched.db, 365 * 86_400, later_ms)
    watched.db.execute("update nodes set clock_skew_s = 1")
    assert prune.plan(watched.db, 365 * 86_400, later_ms)


def test_prune_keeps_the_newest_reading_that_is_not_ahead(watched: Watched) -> None:
    watched.node("attic")
    sensor = watched.sensor("attic")
    watched.every_minute(sensor, *[20.0] * 600, until_ms=NOW_MS - 10 * DAY_MS)
    watched.measure(sensor, [(NOW_MS + YEARS_MS, 20.0)])
    query = "select measured_ms from latest"
    before = watched.db.execute(query).fetchall()
    [old] = prune.plan(watched.db, 2 * 86_400, NOW_MS)
    assert prune.prune(watched.db, [old]) > 400
    assert watched.db.execute(query).fetchall() == before
    watched.measure(watched.sensor("attic", "only"), [(NOW_MS + YEARS_MS, 20.0)])
    assert prune.plan(watched.db, 2 * 86_400, NOW_MS) == []


@pytest.mark.parametrize(
    ("name", "values", "told"),
    [
        ("pressure", [101.3, 101.9], "101.3 to 101.9 hPa is a tenth of an air pressure"),
        ("pressure:bme280:1-0076", [10130.0], "10130 to 10130 hPa is ten times an air pressure"),
        ("Barometer", [98.0], "98 to 98 hPa is a tenth of"),
        ("barometer2", [30.0, 110.0], "30 to 110 hPa"),
        ("pressure", [3000.0, 11000.0], "3000 to 11000 hPa"),
        ("pressure", [1013.0], ""),
        ("pressure", [101.3, 1013.0], ""),
        ("pressure", [29.9], ""),
        ("pressure", [110.1, 2999.0], ""),
        ("pressure", [11000.5], ""),
        ("tyre-pressure", [101.3], ""),
    ],
)
def test_a_pressure_ten_times_off_is_found(
    watched: Watched, name: str, values: list[float], told: str
) -> None:
    watched.node("attic")
    sensor = watched.sensor("attic", name, "hPa")
    for hour in range(5):
        watched.every_minute(sensor, *values, until_ms=NOW_MS - hour * HOUR_MS)
    lines = watched.found(NOW_MS, "T23")
    assert len(lines) == bool(told)
    assert all(told in line and "a factor of ten?" in line for line in lines)
    assert watched.found(NOW_MS + 2 * DAY_MS, "T23") == []


def test_a_pressure_in_another_unit_or_corrected_is_no_finding(watched: Watched) -> None:
    watched.node("attic")
    for unit in ("°C", None):
        watched.every_minute(watched.sensor("attic", f"pressure{unit}", unit), 101.3)
    sensor = watched.sensor("attic", "pressure", "hPa")
    watched.every_minute(sensor, *[101.3] * 200)
    assert len(watched.found(NOW_MS, "T23")) == 1
    watched.db.execute("insert into calibrations values (?, 0, 10, 0, null, 0)", [sensor.id])
    assert watched.found(NOW_MS, "T23") == []


def test_one_bad_hour_is_no_wrong_unit(watched: Watched) -> None:
    watched.node("attic")
    sensor = watched.sensor("attic", "pressure", "hPa")
    watched.every_minute(sensor, *[1013.0] * 240, until_ms=NOW_MS - HOUR_MS)
    watched.every_minute(sensor, 101.3)
    assert watched.found(NOW_MS, "T23") == []
    for hour in (1, 2):
        watched.every_minute(sensor, 101.3, until_ms=NOW_MS + hour * HOUR_MS)
    assert len(watched.found(NOW_MS + 2 * HOUR_MS, "T23")) == 1
