"""When a switch was on: of switches that send only changes, and of those that send regularly."""

import re
from pathlib import Path
from typing import Any

import pytest

from tests.publish.published import HOUR_MS, MARCH_MS, Serve, Site
from tmon.core.time import DAY_MS, iso
from tmon.db.connect import open_database
from tmon.pages.cells import hours_and_minutes
from tmon.pages.points import Line, Sensor
from tmon.pages.spans import Span
from tmon.pages.switches import Period, on_time

MINUTE_MS = 60_000
DAY = Span(0, DAY_MS)
WINDOW = Sensor(1, "window", None, is_switch=True)
SPAN = {"from": "2024-03-02", "to": "2024-03-03"}


def switch(*points: tuple[int, float], gap_ms: float = HOUR_MS, sensor: Sensor = WINDOW) -> Line:
    return Line(sensor, points, gap_ms, 0, stepped=True)


def periods(line: Line, at_ms: int) -> list[Period]:
    found = on_time(line, DAY, at_ms)
    assert found
    return [*found.periods]


def test_a_switch_is_on_until_the_next_off() -> None:
    line = switch((10, 0), (20, 1), (30, 1), (50, 0), (60, 1), (65, 0))
    assert periods(line, 100) == [Period(60, 65, 65), Period(20, 50, 50)]
    found = on_time(line, DAY, 100)
    assert found
    assert found.total_s == pytest.approx(0.035)


def test_the_last_reading_holds_until_now_or_the_end_of_the_span() -> None:
    now_ms = 30 * MINUTE_MS
    assert periods(switch((10, 0), (20, 1)), now_ms) == [Period(20, None, now_ms)]
    late = DAY_MS - MINUTE_MS
    assert periods(switch((10, 0), (late, 1)), 2 * DAY_MS) == [Period(late, DAY_MS, DAY_MS)]


def test_in_a_gap_nobody_knows_whether_it_was_on() -> None:
    later = 3 * HOUR_MS
    line = switch((10, 1), (MINUTE_MS, 1), (later, 1), (later + 5, 0))
    assert periods(line, DAY_MS) == [
        Period(later, later + 5, later + 5),
        Period(10, MINUTE_MS, MINUTE_MS),
    ]


@pytest.mark.parametrize(
    "line",
    [
        switch(),
        switch((10, 0), (20, 2)),
        switch((10, 0), (20, 0), sensor=WINDOW._replace(is_switch=False)),  # rain, of a dry day
        switch((10, 0), (20, 1), sensor=Sensor(1, "rain", "mm")),
        switch((10, 0), (20, 1))._replace(stepped=False),
    ],
)
def test_what_is_not_only_on_and_off_has_no_such_times(line: Line) -> None:
    found = on_time(line, DAY, DAY_MS)
    assert found is None or found.periods == []


@pytest.mark.parametrize(
    ("seconds", "text"),
    [
        *((0, "0 s"), (59.4, "59 s"), (60, "1 min"), (3570, "1 h"), (12_000, "3 h 20 min")),
        *((86_400, "1 d"), (97_200, "1 d 3 h"), (100_000, "1 d 3 h")),
    ],
)
def test_durations_have_two_units_at_most(seconds: float, text: str) -> None:
    assert hours_and_minutes(seconds) == text


@pytest.fixture(scope="module")
def house(serve: Serve, tmp_path_factory: pytest.TempPathFactory) -> Site:
    """A window that sends changes only, and a pump that sends every ten minutes."""
    path: Path = tmp_path_factory.mktemp("house") / "tmon.db"
    with open_database(path, create=True) as db:
        db.execute("insert into nodes (name, uid, created_ms) values ('house', 'u', 0)")
        for number, name in enumerate(("window", "pump"), 1):
            db.execute(
                "insert into sensors (id, node, name, quantity) values (?, 'house', ?, 'switch')",
                [number, name],
            )
        day = MARCH_MS + DAY_MS
        changes = [(day - 3 * HOUR_MS, 1.0), (day + 2 * HOUR_MS, 0.0), (day + 9 * HOUR_MS, 1.0)]
        rows = [(1, at_ms, value) for at_ms, value in [*changes, (day + 10 * HOUR_MS, 0.0)]]
        tens = range(0, DAY_MS, 10 * MINUTE_MS)
        rows += [(2, day + since, float(since < HOUR_MS)) for since in tens if since < 20 * HOUR_MS]
        db.conn.executemany("insert into readings values (?, ?, ?)", rows)
        db.conn.commit()
    return serve(path)


def line_of(house: Site, name: str, **parameters: str) -> Any:
    [chart] = house.get(f"/node/house/{name}.json", **SPAN, **parameters).json()["charts"]
    return chart["lines"][0]


def test_a_switch_of_changes_has_no_gaps_and_is_drawn_from_end_to_end(house: Site) -> None:
    window, pump = line_of(house, "window"), line_of(house, "pump")
    day = MARCH_MS + DAY_MS
    assert window["held"] == [[day, 1.0], [day + DAY_MS, 0.0]]
    assert len(window["points"]) == 3  # held values are no readings
    assert (pump["held"], pump["gap_ms"]) == ([], 30 * MINUTE_MS)
    page = house.get("/node/house/window", **SPAN).text
    [path] = re.findall(r'<path class="line c0" d="M([^"]*)"', page)
    assert path.startswith("0,0L")
    assert path.endswith("L10000,10000")
    assert len(house.get("/node/house/window.csv", **SPAN).text.splitlines()) == 1 + 3


def test_its_axis_says_off_and_on(house: Site) -> None:
    def ticks(**parameters: str) -> list[str]:
        page = house.get("/node/house/window", **SPAN, **parameters).text
        return re.findall(r'<text class="tick" [^>]*>([^<]*)<', page)

    def on_off(**parameters: str) -> bool:
        found = house.get("/node/house/window.json", **SPAN, **parameters).json()
        return bool(found["charts"][0]["on_off"])

    assert (ticks(), on_off()) == (["off", "on"], True)
    assert (ticks(high="5"), on_off(high="5")) == ([*"012345"], False)
    assert not on_off(resolution="hourly")  # how much of each hour it was on


def test_the_page_says_when_and_how_long_it_was_on(house: Site) -> None:
    page = " ".join(re.sub(r"<[^>]*>", " ", house.get("/node/house", **SPAN).text).split())
    assert "on 3 h 3" in page  # the window
    assert "3 h before 2024-03-02 00:00" not in page
    assert "2 h before 2024-03-02 00:00 2024-03-02 02:00" in page
    assert "1 h 2024-03-02 09:00 2024-03-02 10:00" in page
    assert "on 1 h 120" in page  # the pump
    assert iso(MARCH_MS + DAY_MS)[:10] == "2024-03-02"


def test_of_means_it_is_not_known(house: Site) -> None:
    page = house.get("/node/house", **SPAN, resolution="hourly").text
    assert "was on" not in page
    assert 'data-label="Low"' not in page


def test_its_year_has_no_records_but_says_how_much_it_was_on(house: Site) -> None:
    """Readings of hours don't tell for how long it was on: many send only changes."""
    page = house.get("/year/house/pump").text
    assert "Records" not in page
    assert "2 Mar 2024: on in 5\N{NO-BREAK SPACE}% of the readings" in page
