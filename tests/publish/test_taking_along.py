"""A chart's fixed range of values, and what can be taken along: CSV, PNG and the link."""

import csv
import io
import re
from pathlib import Path
from typing import Any

import pytest
from playwright.sync_api import Browser, expect

from tests.publish.browsing import PHONE, visit
from tests.publish.published import HOUR_MS, MARCH_MS, Serve, Site
from tmon.db.connect import open_database
from tmon.maintenance import names

MARCH = {"from": "2024-03-01", "to": "2024-03-03"}
ADDRESS = "from=2024-03-01&to=2024-03-03"


@pytest.fixture(scope="module")
def house(serve: Serve, tmp_path_factory: pytest.TempPathFactory) -> Site:
    """Attic and cellar, hourly in March 2024, from 10 to 33 °C; a unit that is a formula."""
    path: Path = tmp_path_factory.mktemp("house") / "tmon.db"
    with open_database(path, create=True) as db:
        for number, (node, name, unit) in enumerate(
            (
                ("attic", "temperature", "°C"),
                ("cellar", "temperature", "°C"),
                ("attic", "x", "=1+1"),
            ),
            1,
        ):
            db.execute(
                "insert or ignore into nodes (name, uid, created_ms) values (?, ?, 0)", [node, node]
            )
            db.execute(
                "insert into sensors (id, node, name, unit) values (?, ?, ?, ?)",
                [number, node, name, unit],
            )
            for hour in range(10 * 24):
                reading = [number, MARCH_MS + hour * HOUR_MS, 10.0 + hour % 24]
                db.execute("insert into readings values (?, ?, ?)", reading)
        db.execute("insert into limits values (1, 5, 32, 0, 0, 0)")
        names.rename_node(db, "cellar", "basement", 1)
    return serve(path)


def ticks(page: str) -> list[str]:
    """The labels beside the first chart."""
    first = page.split("</figure>", maxsplit=1)[0]
    return re.findall(r'text-anchor="end">([^<]*)</text>', first)


@pytest.mark.parametrize(
    ("parameters", "expected"),
    [
        ({}, ["0", "10", "20", "30", "40"]),
        ({"low": "-5"}, ["0", "10", "20", "30", "40"]),
        ({"low": "12,5", "high": "20"}, ["14", "16", "18", "20"]),
        ({"high": "15"}, ["4", "6", "8", "10", "12", "14"]),
        ({"low": "40"}, ["40.0", "40.1", "40.2", "40.3", "40.4", "40.5"]),
        ({"high": "-5"}, None),
        ({"low": "50", "high": "68", "unit": "F"}, ["50", "55", "60", "65"]),
        ({"low": "", "high": ""}, ["0", "10", "20", "30", "40"]),
    ],
)
def test_an_axis_has_the_range_that_the_address_says(
    browser: Browser, house: Site, parameters: dict[str, str], expected: list[str] | None
) -> None:
    page = house.get("/node/attic/temperature", **MARCH, **parameters).text
    if expected is not None:
        assert ticks(page) == expected
    # The script's chart has the same: its axis is computed by the same rules.
    query = "&".join(f"{name}={value}" for name, value in parameters.items())
    with visit(browser) as visited:
        visited.goto(f"{house.url}/node/attic/temperature?{ADDRESS}&{query}")
        visited.wait_for_selector(".chart canvas")
        found = visited.evaluate(
            """async () => {
                const script = document.querySelector('script[src*="node.js"]');
                const { valueAxis } = await import(script.src.replace("node.js", "ticks.js"));
                const url = document.querySelector(".charts").dataset.url;
                const { charts: [chart] } = await (await fetch(url)).json();
                const shown = (value) => value === null ? null
                    : url.includes("unit=F") ? value * 9 / 5 + 32 : value;
                const values = chart.lines[0].points.map(([, value]) => shown(value));
                const levels = chart.limits.map(({ below, above }) => shown(below ?? above));
                return valueAxis([...values, ...levels], shown(chart.low), shown(chart.high))
                    .ticks.map(([, label]) => label);
            }"""
        )
    assert found == ticks(page)


@pytest.mark.parametrize(
    ("parameters", "told"),
    [
        ({"low": "cold"}, "low must be a number, such as 21.5"),
        ({"high": "1e5"}, "high must be a number, such as 21.5"),
        ({"low": "5", "high": "5"}, "low must be less than high"),
        ({"low": "9", "high": "5"}, "low must be less than high"),
    ],
)
def test_a_wrong_range_is_told(house: Site, parameters: dict[str, str], told: str) -> None:
    for path in ("/node/attic.json", "/compare.json?s=attic/temperature"):
        answer = house.get(path, **parameters)
        assert (answer.status_code, answer.json()["error"]) == (400, told)


def test_a_range_is_for_the_first_unit_and_hides_limits_beyond_it(house: Site) -> None:
    data = house.get("/node/attic.json", **MARCH, low="0", high="31").json()["charts"]
    assert [(one["low"], one["high"]) for one in data] == [(0, 31), (None, None)]
    assert [one["limits"] for one in data] == [[{"sensor": 1, "below": 5}], []]


def test_the_form_keeps_the_address_and_can_free_the_range(browser: Browser, house: Site) -> None:
    with visit(browser, PHONE) as page:
        page.goto(f"{house.url}/node/attic/temperature?{ADDRESS}&before=day")
        page.wait_for_selector(".chart canvas")
        page.get_by_text("Values", exact=True).click()
        page.locator("[name=low]").fill("0")
        page.locator("[name=low]").press("Enter")
        page.wait_for_url("**low=0*")
        assert "before=day" in page.url
        assert "from=2024-03-01" in page.url
        page.get_by_text("Values: fixed").click()
        page.get_by_role("link", name="As the values are").click()
        expect(page.get_by_text("Values", exact=True)).to_be_visible()
        assert "low=" not in page.url


def rows(house: Site, path: str, **parameters: str) -> list[dict[str, str]]:
    answer = house.get(path, **MARCH, **parameters)
    assert answer.status_code == 200, answer.text
    assert answer.headers["content-type"].startswith("text/csv")
    assert "attachment" in answer.headers["content-disposition"]
    return [*csv.DictReader(io.StringIO(answer.text))]


def test_csv_has_the_points_that_are_drawn(house: Site) -> None:
    found = rows(house, "/node/attic/temperature.csv")
    data = house.get("/node/attic/temperature.json", **MARCH).json()
    points = data["charts"][0]["lines"][0]["points"]
    assert [float(row["value"]) for row in found] == [value for _, value in points]
    assert found[0] == {
        "at": "2024-03-01T00:00:00Z",
        "node": "attic",
        "sensor": "temperature",
        "unit": "°C",
        "value": "10.0",
        "low": "",
        "high": "",
        "n": "",
        "before": "",
    }
    daily = rows(house, "/compare.csv?s=attic/temperature&s=cellar/temperature", resolution="daily")
    assert [(row["node"], row["low"], row["high"], row["n"]) for row in daily] == [
        *[("attic", "10.0", "33.0", "24")] * 2,
        *[("basement", "10.0", "33.0", "24")] * 2,
    ]


def test_csv_follows_the_choices_of_the_page(house: Site) -> None:
    found = rows(house, "/node/attic/temperature.csv", unit="F", before="day")
    assert {row["unit"] for row in found} == {"°F"}
    assert {row["before"] for row in found} == {"", "a day before"}
    before = [row["at"] for row in found if row["before"]]
    assert before[-1] == "2024-03-01T23:00:00Z"  # when it was measured
    page = house.get("/node/attic/temperature", **MARCH, unit="F", low="0").text
    [href] = re.findall(r'<a class="button" href="([^"]*csv[^"]*)"', page)
    assert all(kept in href for kept in ("unit=F", "low=0", "from=2024-03-01"))


def test_no_unit_is_a_formula_in_csv(house: Site) -> None:
    found = rows(house, "/node/attic.csv")
    assert {row["unit"] for row in found} == {"°C", "'=1+1"}


def test_png_and_link_can_be_taken_along(browser: Browser, house: Site, tmp_path: Path) -> None:
    with visit(browser, PHONE) as page:
        page.context.grant_permissions(["clipboard-read", "clipboard-write"])
        page.goto(f"{house.url}/node/attic?{ADDRESS}")
        page.wait_for_selector(".chart canvas")
        with page.expect_download() as download:
            page.get_by_role("button", name="PNG").click()
        assert download.value.suggested_filename == "attic.png"
        download.value.save_as(tmp_path / "chart.png")
        assert (tmp_path / "chart.png").read_bytes()[:8] == b"\x89PNG\r\n\x1a\n"
        assert (tmp_path / "chart.png").stat().st_size > 10_000
        page.get_by_role("button", name="Copy link").click()
        expect(page.locator("[data-share=link]")).to_have_text("Copied")
        assert page.evaluate("navigator.clipboard.readText()") == page.url


def test_what_can_be_taken_along_is_in_one_line_on_a_phone(browser: Browser, house: Site) -> None:
    for scripts in (True, False):
        with visit(browser, PHONE, java_script_enabled=scripts) as page:
            page.goto(f"{house.url}/node/attic/temperature?{ADDRESS}")
            boxes: list[Any] = [one.bounding_box() for one in page.locator(".share > *").all()]
            assert len({box["y"] for box in boxes}) == 1
            assert max(box["x"] + box["width"] for box in boxes) <= PHONE
            expect(page.get_by_role("link", name="CSV").first).to_be_visible()


def test_the_last_label_of_an_axis_is_whole_on_a_phone(browser: Browser, house: Site) -> None:
    """A day's label close to the right edge, drawn by the server."""
    with visit(browser, PHONE, java_script_enabled=False) as page:
        page.goto(f"{house.url}/node/attic/temperature?from=2024-03-01&to=2024-03-06T00:05Z")
        figure = page.locator(".chart").bounding_box()
        labels: list[Any] = [one.bounding_box() for one in page.locator(".drawing > .tick").all()]
        assert figure
        assert max(box["x"] + box["width"] for box in labels) <= figure["x"] + figure["width"]


def test_a_year_under_a_former_name_redirects(house: Site) -> None:
    for extension in ("", ".svg"):
        answer = house.get(f"/year/cellar/temperature{extension}", year="2024")
        assert answer.url.endswith(f"/year/basement/temperature{extension}?year=2024")
        assert answer.history[0].status_code == 301
        assert answer.history[0].headers["cache-control"] == "no-cache"
