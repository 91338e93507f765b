"""A node's and a sensor's page, its data and its picture, over HTTP."""

import json
import re
import shutil
import time
import xml.etree.ElementTree as ET
from html import unescape
from pathlib import Path
from typing import Any
from urllib.parse import parse_qsl, urlsplit

import pytest

from tests.publish.published import HOSTILE, HOUR_MS, MARCH_MS, Serve, Site
from tmon.db.connect import open_database
from tmon.pages.queries import query_threads

MARCH = {"from": "2024-03-01", "to": "2024-03-31"}


def data(site: Site, path: str, **params: str) -> Any:
    answer = site.get(f"{path}.json", **params)
    assert answer.status_code == 200, answer.text
    return answer.json()


def test_the_data_are_the_readings_that_sql_gives(site: Site) -> None:
    found = data(site, "/node/attic/temperature", **MARCH, resolution="raw")
    assert (found["resolution"], found["step_ms"]) == ("raw", 0)
    [chart] = found["charts"]
    assert chart["unit"] == "°C"
    [line] = chart["lines"]
    expected = site.ask("select measured_ms, value from readings where sensor = 1 order by 1")
    assert line["points"] == [[*row.values()] for row in expected.json()["rows"]]


def test_a_node_has_a_chart_for_each_unit(site: Site) -> None:
    found = data(site, "/node/basement")
    units = [(chart["unit"], [one["name"] for one in chart["lines"]]) for chart in found["charts"]]
    assert units == [("°C", ["temperature"]), ("%", ["humidity"]), (None, ["load"])]
    assert found["range"] == "24h"


def test_the_page_tells_low_mean_high_and_count_of_its_span(site: Site) -> None:
    html = site.get("/node/attic", **MARCH).text
    sql = "select format_(min(value)), format_(avg(value)), format_(max(value)), count(*)"
    sql = sql.replace("format_", "round") + " from readings where sensor = 1"
    shown = re.findall(r'data-label="(?:Low|Mean|High|Readings)">(?:<span[^>]*>)?([\d.]+)', html)
    [row] = site.ask(sql).json()["rows"]
    assert [round(float(text)) for text in shown] == [round(value) for value in row.values()]
    [heading] = re.findall(r"<h2>(.*)</h2>", html)[:1]
    assert re.fullmatch(r"2024-03-01 00:00 to \S+ \S+ UTC", re.sub("<[^>]*>", "", heading))


def test_coverage_is_of_what_the_usual_rhythm_would_give(site: Site) -> None:
    html = site.get("/node/attic", **{"from": "2024-03-01", "to": "2024-03-21"}).text
    there = len(site.values("select 1 from readings where sensor = 1"))
    assert f"{int(there / 480 * 100)} % of what was expected" in html


def test_a_node_that_sent_nothing_today_is_shown_whole(site: Site) -> None:
    assert data(site, "/node/attic")["range"] == "all"


def test_where_a_span_is_empty_the_newest_readings_are_one_click_away(site: Site) -> None:
    html = site.get("/node/attic", range="7d").text
    assert "No readings in the last 7 days" in html
    [href] = re.findall(r'<a href="([^"]*)" data-span>show the same span before it', html)
    query = dict(parse_qsl(unescape(href).removeprefix("?")))
    found = data(site, "/node/attic", **query)
    assert found["to_ms"] - found["from_ms"] == 7 * 24 * HOUR_MS
    [newest] = site.values("select max(measured_ms) from readings where sensor = 1")
    assert found["to_ms"] == newest + 1


def test_a_week_without_readings_is_a_gap_in_the_drawing(site: Site) -> None:
    html = site.get("/node/attic").text
    assert html.count('class="line c0"') == 2


def test_ten_years_at_raw_are_answered_coarser_and_said_so(site: Site) -> None:
    ten_years = {"from": "2016-01-01", "to": "2026-01-01", "resolution": "raw"}
    assert "too many" not in site.get("/node/attic", **ten_years).text  # 313 readings in all
    path = "/node/basement/temperature"
    assert data(site, path, **ten_years)["resolution"] == "raw"
    asked = {**ten_years, "resolution": "1-minute"}
    assert data(site, path, **asked)["resolution"] == "hourly"
    assert "1-minute would be too many points" in site.get(path, **asked).text


def links(html: str) -> dict[str, str]:
    found = re.findall(r'<a href="([^"]+)"[^>]*>([^<]+)</a>', html)
    return {unescape(text): unescape(href) for href, text in found}


def test_the_selection_is_a_link_away_as_csv_and_json(site: Site) -> None:
    found = links(site.get("/node/attic", **MARCH).text)
    csv = site.get(found["CSV"]).text.splitlines()
    assert len(csv) == 1 + len(site.values("select 1 from readings where sensor = 1"))
    rows = site.get(found["JSON"]).json()["rows"]
    assert {row["sensor"] for row in rows} == {1}


def test_the_sql_behind_a_line_gives_its_points(site: Site) -> None:
    html = site.get("/node/attic", **MARCH).text
    href = urlsplit(links(html)["SQL"])
    query = dict(parse_qsl(href.query))
    rows = site.get(f"{href.path}.json", **query, _shape="arrays").json()["rows"]
    [chart] = data(site, "/node/attic", **MARCH)["charts"]
    assert rows == chart["lines"][0]["points"]


def test_links_keep_what_was_chosen(site: Site) -> None:
    html = site.get("/node/attic", range="1y", unit="F", utc="1").text
    ranges = [unescape(href) for href in re.findall(r'href="([^"]+)" data-range', html)]
    assert len(ranges) == 5
    for href in ranges:
        assert {"unit": "F", "utc": "1"}.items() <= dict(parse_qsl(urlsplit(href).query)).items()


def test_values_are_told_in_fahrenheit_where_asked(site: Site) -> None:
    html = site.get("/node/basement", unit="F").text
    assert f"{21.4379 * 9 / 5 + 32:.1f}\N{NO-BREAK SPACE}°F" in html
    assert 'title="21.4379 °C"' in html
    assert "61.0\N{NO-BREAK SPACE}%" in html


def test_hostile_text_stays_text(site: Site) -> None:
    html = site.get("/node/basement").text
    assert "<script>document" not in html
    assert (
        f"<bdi>{HOSTILE.replace('<', '&lt;').replace('>', '&gt;').replace(chr(39), '&#39;')}"
        in html
    )
    assert "too late" in html  # what was rejected, and why


def test_a_node_without_sensors_says_so(site: Site) -> None:
    html = site.get("/node/cellar").text
    assert "No readings yet" in html
    assert data(site, "/node/cellar")["charts"] == []


def test_the_picture_is_an_svg_of_its_own(site: Site) -> None:
    answer = site.get("/node/attic/temperature.svg", range="all")
    assert answer.headers["content-type"].startswith("image/svg+xml")
    root = ET.fromstring(answer.text)
    assert root.get("aria-label") == "attic temperature, all readings"
    lines = [
        path
        for path in root.iter("{http://www.w3.org/2000/svg}path")
        if path.get("class") == "line c0"
    ]
    assert len(lines) == 2
    assert "script" not in answer.headers["content-security-policy"]


@pytest.mark.parametrize(
    ("path", "status", "told"),
    [
        ("/node/nobody", 404, "There is no node called nobody."),
        ("/node/attic/nothing", 404, "The node attic has no sensor called nothing."),
        ("/node/%3Cscript%3E", 404, "There is no node called &lt;script&gt;."),
        ("/node/attic?range=9d", 400, "range must be 24h, 7d, 30d, 1y or all"),
        ("/node/attic?from=soon", 400, "from and to must be like"),
        ("/node/attic?resolution=fine", 400, "resolution must be one of raw, 1-minute"),
        ("/node/attic/temperature.svg?range=9d", 400, "range must be"),
    ],
)
def test_what_is_not_there_is_told_with_a_way_on(
    site: Site, path: str, status: int, told: str
) -> None:
    answer = site.get(path)
    assert answer.status_code == status
    assert told in answer.text
    assert re.search(r'<ul class="ways">\s*<li><a href="/', answer.text)
    assert "Traceback" not in answer.text


def test_programs_are_told_in_json(site: Site) -> None:
    answer = site.get("/node/nobody.json")
    assert answer.status_code == 404
    assert answer.json()["error"] == "There is no node called nobody."


def test_only_what_is_made_for_frames_may_be_framed(site: Site) -> None:
    page, framed = site.get("/node/attic"), site.get("/node/attic?embed")
    assert "frame-ancestors 'none'" in page.headers["content-security-policy"]
    assert page.headers["x-frame-options"] == "DENY"
    assert "frame-ancestors *" in framed.headers["content-security-policy"]
    assert "x-frame-options" not in framed.headers
    assert "masthead" in page.text
    assert "masthead" not in framed.text
    for answer in (page, framed):
        assert "unsafe-inline" not in answer.headers["content-security-policy"]
        assert not re.search(r"<script(?![^>]*(src|ld\+json))", answer.text)
        assert " style=" not in answer.text


def test_the_embed_code_leads_to_the_same_span(site: Site) -> None:
    html = unescape(site.get("/node/attic", **MARCH).text)
    [src] = re.findall(r'<iframe src="([^"]+)"', html)
    assert src.startswith(f"{site.url}/node/attic?from=2024-03-01T00%3A00%3A00Z")
    assert src.endswith("&embed")


def test_a_page_is_made_quickly_enough_to_be_kept_open(site: Site) -> None:
    """Not a benchmark: a page that reads whole tables would take seconds."""
    began_s = time.process_time()  # the server's threads are in this process
    for _ in range(10):
        assert site.get("/node/basement").status_code == 200
    assert time.process_time() - began_s < 5


def test_data_pictures_and_frames_read_only_what_charts_show(
    site: Site, serve: Serve, tmp_path: Path
) -> None:
    path = tmp_path / "tmon.db"
    shutil.copy(site.path, path)
    with open_database(path) as db:
        db.execute("drop table rejected")
    bare = serve(path)
    assert bare.get("/node/basement").status_code == 500
    for page in ("/node/basement.json", "/node/basement/load.svg", "/node/basement?embed"):
        assert bare.get(page).status_code == 200, page


def test_json_is_valid_where_values_are_extreme(site: Site) -> None:
    json.loads(site.get("/node/basement.json").text, parse_constant=pytest.fail)
    assert data(site, "/node/basement")["charts"][0]["lines"][0]["points"][-1][0] > MARCH_MS


@pytest.mark.parametrize("page", ["", ".json", "/temperature", "/temperature.json"])
def test_a_busy_machine_shows_hours(site: Site, page: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """Each look takes longer than the time limit that is handed in."""
    monkeypatch.setattr(query_threads(site.datasette), "limit_ms", 0.001)
    answer = site.get(f"/node/basement{page}")
    assert answer.status_code == 200
    assert "hourly" in answer.text


def test_a_busy_machine_draws_a_picture(site: Site, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(query_threads(site.datasette), "limit_ms", 0.001)
    assert "<svg" in site.get("/node/basement/temperature.svg").text
