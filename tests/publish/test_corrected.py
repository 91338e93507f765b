"""Pages show clean values and say so; raw ones are a click away; what was wrong is told."""

import re
import xml.etree.ElementTree as ET
from html import escape, unescape
from typing import Any
from urllib.parse import parse_qsl, urlsplit

import pytest

from tests.publish.corrected import (
    BAD_FROM_MS,
    BAD_TO_MS,
    DAY_MS,
    NOW_MS,
    RAW,
    SENSORS,
    build,
)
from tests.publish.published import HOSTILE, Serve, Site

SPANS = [{"range": "24h"}, {"range": "7d"}, {"range": "1y", "resolution": "hourly"}]
SPANS += [{"range": "all", "resolution": "daily"}, {"range": "24h", "resolution": "10-minute"}]
ESCAPED = f"<bdi>{escape(HOSTILE, quote=False)}</bdi>".replace("'", "&#39;")


@pytest.fixture(scope="module")
def lab(serve: Serve, tmp_path_factory: pytest.TempPathFactory) -> Site:
    return serve(build(tmp_path_factory.mktemp("lab")))


def lines(site: Site, **params: str) -> dict[str, Any]:
    found = site.get("/node/lab.json", **params).json()
    return {line["name"]: line["points"] for chart in found["charts"] for line in chart["lines"]}


def expected(site: Site, sensor: int, view: Any, suffix: str) -> list[list[Any]]:
    """The points of a resolution, as SQL over readings says."""
    step = max(view["step_ms"], 1)
    if view["resolution"] == "raw":
        what, group = "measured_ms, value", ""
    else:
        what, group = (
            "measured_ms / :s * :s, avg(value), min(value), max(value), count(*)",
            " group by 1",
        )
    first = view["from_ms"]
    if view["resolution"] in {"hourly", "daily"}:  # whole ones, also at the span's beginning
        first = (first - 3_600_000 + 1) // 3_600_000 * 3_600_000 + 3_600_000
    last = view["to_ms"]
    sql = (
        f"select {what} from readings{suffix} where sensor = {sensor}"
        f" and measured_ms >= {first} and measured_ms < {last}{group} order by 1"
    ).replace(":s", str(step))
    return [[*row.values()] for row in site.ask(sql).json()["rows"]]


@pytest.mark.parametrize("span", SPANS)
@pytest.mark.parametrize("values", ["clean", "raw"])
def test_a_charts_points_are_what_sql_says_of_the_readings(
    lab: Site, span: dict[str, str], values: str
) -> None:
    view = lab.get("/node/lab.json", **span, values=values).json()
    assert view["values"] == values
    found = lines(lab, **span, values=values)
    view = {**view, "to_ms": view["to_ms"] + DAY_MS}  # nothing lies beyond
    for number, name in enumerate(SENSORS, 1):
        points = found[name]
        told = expected(lab, number, view, "_clean" if values == "clean" else "")
        if span["range"] == "24h":  # which goes on meanwhile
            points, told = points[1:], told[-len(points[1:]) :] if points[1:] else []
        assert len(points) == len(told) or span["range"] == "24h"
        for point, row in zip(points, told, strict=True):
            assert point == pytest.approx(row)


def test_raw_and_clean_are_not_the_same_here(lab: Site) -> None:
    clean, raw = lines(lab), lines(lab, values="raw")
    assert clean["plain"] == raw["plain"]
    assert clean["unfit"] == []
    assert clean["calibrated"] != raw["calibrated"]
    assert clean["flagged"] == [
        point
        for point in raw["flagged"]
        if not BAD_FROM_MS <= point[0] < BAD_TO_MS and point[0] < NOW_MS - 600_000
    ]


def shown(page: str, sensor: str) -> list[str]:
    """A sensor's now, low, mean, high and count as its row says them."""
    [row] = [row for row in page.split("<tr>") if f">{sensor}</a></th>" in row]
    text = re.findall(
        r'data-label="(Now|Low|Mean|High|Readings)"[^>]*>(?:<span[^>]*>)?([^<\s]*)', row
    )
    return [value for _, value in text]


@pytest.mark.parametrize(("values", "suffix"), [("clean", "_clean"), ("raw", "")])
def test_a_nodes_numbers_are_those_of_sql(lab: Site, values: str, suffix: str) -> None:
    page = lab.get("/node/lab", range="7d", values=values).text
    for number, name in enumerate(SENSORS, 1):
        sql = (
            "select round(min(value), 1), round(avg(value), 1), round(max(value), 1), count(*)"
            f" from readings{suffix} where sensor = {number}"
        )
        [summary] = site_rows(lab, sql)
        now = [*lab.values(f"select round(value, 1) from latest{suffix} where sensor = {number}")]
        told = [str(value) for value in (*now, *summary) if value is not None]
        assert [text for text in shown(page, name) if text] == told


def site_rows(site: Site, sql: str) -> list[list[Any]]:
    return [[*row.values()] for row in site.ask(sql).json()["rows"]]


def test_a_page_says_what_corrects_its_values_and_leads_to_the_raw_ones(lab: Site) -> None:
    page = unescape(lab.get("/node/lab/calibrated", range="7d", unit="F").text)
    assert "Calibrated:" in page
    assert "\N{MINUS SIGN}0.4 °C (<bdi>ice water</bdi>)" in page
    assert "\N{MULTIPLICATION SIGN} \N{MINUS SIGN}2 + 60 °C since <time" in page
    [href] = re.findall(r'<a href="([^"]*)" data-span>Show raw values', page)
    assert dict(parse_qsl(urlsplit(href).query)) == {"range": "7d", "unit": "F", "values": "raw"}
    raw = unescape(lab.get(href).text)
    assert "Raw values, as they were measured." in raw
    [back] = re.findall(r'<a href="([^"]*)" data-span>Show clean values', raw)
    assert dict(parse_qsl(urlsplit(back).query)) == {"range": "7d", "unit": "F"}
    links = re.findall(r'href="([^"]*)" data-(?:range="\w+"|span) title', raw)
    assert len(links) == 12
    assert all("values=raw" in link for link in links)
    assert re.search(r'data-url="[^"]*values=raw', raw)


def test_what_nothing_corrects_says_nothing_and_reads_the_tables_themselves(lab: Site) -> None:
    page = lab.get("/node/lab/plain", range="7d").text
    assert "values=raw" not in page
    assert "_clean" not in page
    assert "Flagged periods" not in page


def test_calibrations_of_another_time_are_not_told(lab: Site) -> None:
    """Of a span that ends before the second one; but the newest reading is told, by it."""
    long_ago = {"from": "2020-01-01", "to": "2020-01-02"}
    page = lab.get("/node/lab/flagged", **long_ago).text
    assert "being moved" in page  # it covers the newest
    assert HOSTILE[:8] not in unescape(page)


def test_links_lead_to_what_is_shown(lab: Site) -> None:
    page = unescape(lab.get("/node/lab/calibrated", range="7d").text)
    links = dict(re.findall(r'<a href="([^"]+)"[^>]*>(a table|CSV|JSON|SQL)</a>', page))
    by_name = {text: href for href, text in links.items()}
    assert "/tmon/readings_clean?" in by_name["a table"]
    csv = lab.get(by_name["CSV"]).text.splitlines()
    assert len(csv) == 1 + len(lab.values("select 1 from readings_clean where sensor = 1"))
    rows = lab.get(by_name["JSON"]).json()["rows"]
    assert rows[0]["value"] == lab.values("select value from latest_clean where sensor = 1")[0]
    href = urlsplit(by_name["SQL"])
    query = dict(parse_qsl(href.query))
    assert "readings_clean" in query["sql"]
    answer = lab.get(f"{href.path}.json", **query, _shape="arrays").json()["rows"]
    [chart] = lab.get("/node/lab/calibrated.json", range="7d").json()["charts"]
    assert answer == chart["lines"][0]["points"]


def test_flagged_periods_are_told_with_their_reasons_and_escaped(lab: Site) -> None:
    page = lab.get("/node/lab/flagged", range="7d").text
    assert re.search(r'<li id="flags-\d+" class="flag">.*' + re.escape(ESCAPED), page)
    assert "<script>document" not in page
    assert page.count('<rect class="flag"') == 2
    assert "flagged, left out" in page
    assert 'href="/tmon/flags?sensor__in=2"' in page
    [chart] = lab.get("/node/lab/flagged.json", range="7d").json()["charts"]
    assert [(flag["from_ms"], flag["to_ms"], flag["reason"]) for flag in chart["flags"]][1] == (
        *(BAD_FROM_MS, BAD_TO_MS, HOSTILE),
    )


def test_a_picture_and_a_frame_say_so_too(lab: Site) -> None:
    picture = lab.get("/node/lab/flagged.svg", range="7d").text
    root = ET.fromstring(picture)
    svg = "{http://www.w3.org/2000/svg}"
    reasons = {title.text for title in root.iter(f"{svg}title")}
    assert {HOSTILE, "being moved"} <= reasons
    assert "flagged left out" in picture
    assert "calibrated" in lab.get("/node/lab/calibrated.svg").text
    assert "raw values" in lab.get("/node/lab/calibrated.svg", values="raw").text
    assert "flagged left out" not in lab.get("/node/lab/plain.svg").text
    framed = lab.get("/node/lab/calibrated?embed").text
    assert "Calibrated:" in framed
    assert re.search(r'href="[^"]*(embed=[^"]*values=raw|values=raw[^"]*embed=)', framed)


def test_a_limit_is_a_line_where_values_come_near_it_and_told_in_words(lab: Site) -> None:
    page = lab.get("/node/lab/plain", range="7d").text
    assert page.count('<path class="level"') == 1  # 2 °C would squash 20 to 20.6
    nbsp = "\N{NO-BREAK SPACE}"
    assert f'limit: not above <span class="quantity" title="20.7 °C">20.7{nbsp}°C</span>' in page
    facts = re.sub(r"<[^>]*>", "", page[page.index("<dt>Limits") :])
    assert facts.startswith(
        f"Limits2.0{nbsp}°C to 20.7{nbsp}°C; an incident begins when values are beyond"
        " for 10 min, and ends when they are 0.5 °C within"
    )
    [chart] = lab.get("/node/lab/plain.json", range="7d").json()["charts"]
    assert chart["limits"] == [{"sensor": 3, "above": 20.7}]
    fahrenheit = lab.get("/node/lab/plain", range="7d", unit="F").text
    assert f"69.3{nbsp}°F" in fahrenheit


def test_the_newest_incidents_are_told_in_words(lab: Site) -> None:
    page = lab.get("/node/lab/plain").text
    table = page[page.index("<h2>Incidents") :]
    assert table.count("<tr><th") == 1 + 10
    assert "too warm 11" in table
    assert "too warm 1<" not in table
    assert 'href="/tmon/incidents?sensor=3"' in table
    node = lab.get("/node/lab").text
    table = node[node.index("<h2>Incidents") :]
    assert table.index(ESCAPED) < table.index("plain: <bdi>too warm 11")
    assert re.search(r'data-label="Severity">critical</td>.*open', table)
    assert "<h2>Incidents" not in lab.get("/node/lab/flagged").text


@pytest.mark.parametrize(("node", "there"), [("lab", 13), ("o'hara", 1)])
def test_all_of_a_nodes_incidents_are_a_link_away(lab: Site, node: str, there: int) -> None:
    page = unescape(lab.get(f"/node/{node}").text)
    [href] = re.findall(r'<a href="(/tmon/incidents[^"]*)">All incidents of', page)
    parts = urlsplit(href)
    assert len(lab.rows(parts.path, **dict(parse_qsl(parts.query)))) == there


def test_home_says_what_is_wrong_and_what_is_corrected(lab: Site) -> None:
    page = unescape(lab.get("/").text)
    assert "2 things need attention" in page
    assert '<a href="/tmon/incidents">All incidents</a>' in page
    assert len(lab.rows("/tmon/incidents", to_ms__isnull="1")) == 2
    text = re.sub(r"<[^>]*>", "", page)
    assert "3 sensors are shown calibrated, or without flagged readings; 1 with flagged" in text
    assert "/tmon/latest_clean.json?" in page
    values = dict(re.findall(r'href="/node/lab/(\w+)".*?<data value="([^"]+)"', page))
    assert {name: float(value) for name, value in values.items()} == dict(
        site_rows(lab, "select name, value from latest_clean")
    )
    lows = re.findall(r'href="/node/lab/(\w+)".*?low (\S+), high (\S+)"', page)
    [at_ms] = re.findall(r'data-now="(\d+)"', page)
    day_ms = (int(at_ms) // 3_600_000 - 23) * 3_600_000
    sql = (
        "select name, min(min), max(max) from hourly_clean join sensors"
        f" on id = sensor where hour_ms >= {day_ms} group by sensor order by name"
    )
    assert [(name, float(low), float(high)) for name, low, high in lows] == [
        (name, round(low, 1), round(high, 1)) for name, low, high in site_rows(lab, sql)
    ]


def test_home_shows_raw_values_where_asked(lab: Site) -> None:
    [href] = re.findall(r'<a href="([^"]*)">Show raw values', lab.get("/").text)
    page = unescape(lab.get(href).text)
    assert page.count("<li data-sensor") == len(SENSORS)
    assert "Raw values, as they were measured." in page
    assert "_clean" not in page
    assert re.search(r'calibrated</a></span> <span class="now"><data value="20.0"', page)
    assert RAW == 20.0
    assert '<a href="/?">Show clean values' in page


def test_a_quiet_station_says_nothing_of_it(site: Site) -> None:
    page = site.get("/").text
    for told in ("limit", "values=raw", "_clean"):
        assert told not in page


def test_values_are_clean_or_raw(lab: Site) -> None:
    answer = lab.get("/node/lab", values="cooked")
    assert answer.status_code == 400
    assert "values must be clean or raw" in answer.text


def test_tables_of_corrections_and_incidents_are_readable_and_escaped(lab: Site) -> None:
    calibrations = lab.get("/tmon/calibrations").text
    assert "the beginning</td>" in calibrations
    assert 'title="-0.4 °C">-0.4\N{NO-BREAK SPACE}°C' in calibrations
    limits = lab.get("/tmon/limits").text
    assert '<a href="/node/lab/plain">lab plain</a>' in limits
    assert "20.7\N{NO-BREAK SPACE}°C" in limits
    assert '<a href="/node/lab">lab</a>' in lab.get("/tmon/incidents").text
    assert f'<a href="/tmon/incidents/13">{ESCAPED}</a>' in lab.get("/tmon/events").text
    assert '<a href="/node/lab">lab</a>' in lab.get("/tmon/changes").text
    for table in ("incidents", "events", "changes", "flags", "calibrations"):
        page = lab.get(f"/tmon/{table}").text
        assert ESCAPED in page
        assert "<script>document" not in page
    for table in ("readings_clean", "hourly_clean", "daily_clean", "latest_clean"):
        assert (
            '<a href="/node/lab/plain">lab plain</a>' in lab.get(f"/tmon/{table}", sensor="3").text
        )
    assert 'href="/tmon/readings/3,' in lab.get("/tmon/readings_clean", sensor="3").text
