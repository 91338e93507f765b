"""Steps of switches and counters, and the rates of counters."""

import re
from collections.abc import Callable
from itertools import pairwise
from pathlib import Path
from typing import Any

import pytest

from tests.publish.published import HOUR_MS, MARCH_MS, Serve, Site
from tmon.core.time import DAY_MS
from tmon.db.connect import open_database

SPAN = {"from": "2024-03-02", "to": "2024-03-05"}
SENSORS: dict[
    str, tuple[str | None, str | None, Callable[[int], float]]
] = {  # name: unit, quantity, value at an hour of March
    "energy_total": ("kWh", None, lambda hour: float(hour) if hour < 60 else float(hour - 60)),
    "rain_daily_total": ("mm", None, lambda hour: (hour % 24) / 2),
    "gas_total": ("m³", None, lambda hour: hour / 4),  # read twice a day
    "pump": (None, None, lambda hour: float(hour % 3 == 0)),
    "dimmer": (None, "switch", lambda hour: float(hour % 3)),
    "temperature": ("°C", None, lambda hour: 20.0 + hour % 2),
}


@pytest.fixture(scope="module")
def house(serve: Serve, tmp_path_factory: pytest.TempPathFactory) -> Site:
    """A node's sensors, read at the end of each hour of six days."""
    path: Path = tmp_path_factory.mktemp("house") / "tmon.db"
    with open_database(path, create=True) as db:
        db.execute("insert into nodes (name, uid, created_ms) values ('house', 'u', 0)")
        for number, (name, (unit, quantity, value)) in enumerate(SENSORS.items(), 1):
            db.execute(
                "insert into sensors (id, node, name, unit, quantity) values (?, 'house', ?, ?, ?)",
                [number, name, unit, quantity],
            )
            for hour in range(6 * 24):
                if name != "gas_total" or hour % 12 == 0:
                    at_ms = MARCH_MS + hour * HOUR_MS + HOUR_MS - 1
                    db.execute(
                        "insert into readings values (?, ?, ?)", [number, at_ms, value(hour)]
                    )
        db.execute("insert into limits values (1, null, 1.1, 0, 0, 0)")
    return serve(path)


def line(house: Site, name: str, **parameters: str) -> Any:
    [chart] = house.get(f"/node/house/{name}.json", **SPAN, **parameters).json()["charts"]
    [found] = chart["lines"]
    return found | {"unit": chart["unit"], "limits": chart["limits"]}


@pytest.mark.parametrize(
    ("name", "stepped"),
    [("energy_total", True), ("pump", True), ("dimmer", True), ("temperature", False)],
)
def test_values_that_hold_until_the_next_are_steps(house: Site, name: str, stepped: bool) -> None:
    assert line(house, name)["stepped"] is stepped
    assert line(house, name, resolution="hourly")["stepped"] is False
    page = house.get(f"/node/house/{name}", **SPAN).text
    [path] = re.findall(r'<path class="line c0" d="M([^"]*)"', page)
    points = [tuple(map(int, pair.split(","))) for pair in path.split("L")]
    slanted = [
        (before, after)
        for before, after in pairwise(points)
        if before[0] != after[0] and before[1] != after[1]
    ]
    assert bool(slanted) is not stepped


def test_a_counter_counts_on_through_a_reset(house: Site) -> None:
    found = line(house, "energy_total", rate="hour")
    assert found["unit"] == "kWh/h"
    assert found["limits"] == []  # they are of the count
    reset_ms = MARCH_MS + 60 * HOUR_MS
    assert [rate for at_ms, rate in found["points"] if at_ms != reset_ms] == (
        pytest.approx([1.0] * 71)
    )
    assert dict(found["points"])[reset_ms] == 0
    by_day = line(house, "energy_total", rate="day")
    assert by_day["unit"] == "kWh/d"
    assert [rate for _, rate in by_day["points"]] == pytest.approx([24, 23, 24])


def test_a_counter_that_is_reset_daily_has_the_sum_of_each_day(house: Site) -> None:
    rates = [rate for _, rate in line(house, "rain_daily_total", rate="day")["points"]]
    assert rates == pytest.approx([11.5, 11.5, 11.5])


def test_what_was_counted_in_a_gap_is_spread_over_it(house: Site) -> None:
    points = line(house, "gas_total", rate="hour")["points"]
    assert {round(rate, 9) for _, rate in points} == {0.25}
    assert len(points) > 60


def test_a_week_before_has_its_own_rates(house: Site) -> None:
    [chart] = house.get("/node/house/energy_total.json", **SPAN, rate="day", before="day").json()[
        "charts"
    ]
    assert [len(one["points"]) for one in chart["lines"]] == [3, 3]


def test_only_counters_have_rates_and_only_their_pages_offer_them(house: Site) -> None:
    assert line(house, "temperature", rate="day")["unit"] == "°C"
    assert len(line(house, "temperature", rate="day")["points"]) == 3 * 24
    assert "rate=hour" in house.get("/node/house", **SPAN).text
    assert "rate=hour" not in house.get("/node/house/temperature", **SPAN).text
    rated = house.get("/node/house", **SPAN, rate="day").text
    links = dict(re.findall(r'href="([^"]*)" data-(?:range="\w+"|span) title="([^"]*)', rated))
    without = [title for href, title in links.items() if "rate=" not in href]
    assert without == ["What counters count up to"]
    assert len(links) > 10


def test_a_wrong_rate_is_told(house: Site) -> None:
    answer = house.get("/node/house.json", rate="week")
    assert answer.status_code == 400
    assert answer.json()["error"].startswith("rate must be hour or day")


def test_the_day_of_the_last_rate_is_compared_by_what_is_over(house: Site) -> None:
    """Its hour that isn't over has not counted all yet."""
    end = "2024-03-04T12:30Z"
    [chart] = house.get(
        "/node/house/energy_total.json", **{"from": "2024-03-04", "to": end}, rate="hour"
    ).json()["charts"]
    [found] = chart["lines"]
    assert found["points"][-1][0] == MARCH_MS + 3 * DAY_MS + 11 * HOUR_MS


def test_the_table_of_the_chart_has_rates_with_their_unit(house: Site) -> None:
    page = house.get("/node/house", **SPAN, rate="day").text
    table = page.partition("The chart as a table")[2].partition("</table>")[0]
    first = re.findall(r'<tr><th scope="row">.*?</tr>', table, re.DOTALL)[0]
    cells = [re.sub(r"<[^>]*>", "", cell) for cell in re.findall(r"<td>(.*?)</td>", first)]
    heads = re.findall(r'<th scope="col">([^<(]+)</th>', table)
    told = dict(zip(heads, cells, strict=True))
    assert told["energy_total"].strip() == "24\N{NO-BREAK SPACE}kWh/d"
    assert told["rain_daily_total"].strip() == "11.5\N{NO-BREAK SPACE}mm/d"
    assert told["temperature"].startswith("20.5\N{NO-BREAK SPACE}°C 20.0")


@pytest.mark.parametrize(
    ("asked", "low"), [({}, 0), ({"low": "5"}, 5), ({"high": "30"}, 0), ({"high": "-1"}, None)]
)
def test_the_axis_of_a_rate_begins_at_0(
    house: Site, asked: dict[str, str], low: float | None
) -> None:
    [chart] = house.get("/node/house/energy_total.json", **SPAN, rate="day", **asked).json()[
        "charts"
    ]
    assert chart["low"] == low
    [count] = house.get("/node/house/energy_total.json", **SPAN).json()["charts"]
    assert count["low"] is None
