"""Home says what is wrong, groups nodes, and writes numbers as people say them."""

import html
import re
import time
from pathlib import Path
from urllib.parse import parse_qs, urlsplit

import pytest
from sqlite_utils import Database

from tests.publish.published import HOSTILE, HOUR_MS, Serve, Site
from tests.publish.test_home import add, headings, lines, read, words
from tmon.core.time import iso
from tmon.db.connect import open_database
from tmon.pages import cells
from tmon.pages.attention import MAX_SHOWN
from tmon.pages.home_lines import day_or_month

DAY_MS = 24 * HOUR_MS


def attention(page: str) -> list[tuple[str, str | None]]:
    """The list of what needs attention: each text, with the address of its chart."""
    [aside] = re.findall(r'<aside class="attention".*?</aside>', page, re.DOTALL) or [""]
    items = re.findall(r"<li .*?</li>", aside, re.DOTALL)
    links = [re.findall(r'href="([^"]+)"', item) for item in items]
    return [
        (words(item).replace("\N{NO-BREAK SPACE}", " "), html.unescape(link[0]) if link else None)
        for item, link in zip(items, links, strict=True)
    ]


def limit(db: Database, sensor: int, below: float | None, above: float | None) -> None:
    db.execute(
        "insert into limits (sensor, below, above, created_ms) values (?, ?, ?, 0)",
        (sensor, below, above),
    )


@pytest.fixture(scope="module")
def troubled(serve: Serve, tmp_path_factory: pytest.TempPathFactory) -> Site:
    path = tmp_path_factory.mktemp("troubled") / "tmon.db"
    now_ms = int(time.time() * 1000)
    with open_database(path, create=True) as db:
        freezer, ok = add(db, "kitchen", "freezer", "fridge")
        read(db, freezer, *((hour, -20) for hour in range(5, 30)), (3, -9), (2, -8.5), (0, -9))
        read(db, ok, *((hour, 5) for hour in range(30)))
        limit(db, freezer, None, -15)
        limit(db, ok, 2, 8)
        [tank] = add(db, "barn", "tank")
        read(db, tank, *((hour, 30) for hour in range(40)))
        limit(db, tank, None, 8)
        for sensor in add(db, "garden", "a", "b"):
            read(db, sensor, *((5 + hour, 1) for hour in range(9)))
        [alone, live] = add(db, "shed", "a", "b")
        read(db, alone, *((5 + hour, 1) for hour in range(9)))
        read(db, live, *((hour, 1) for hour in range(9)))
        [battery] = add(db, "door", "battery", unit="%")
        read(db, battery, *((hour, 12) for hour in range(9)))
        [flag] = add(db, "window", "battery_out_low", unit="")
        db.execute("update sensors set unit = null where id = ?", [flag])
        read(db, flag, *((hour, 1) for hour in range(9)))
        insert = (
            "insert into incidents (finding, severity, node, sensor, subject, reason, from_ms,"
            " to_ms) values (?, ?, ?, ?, ?, ?, ?, ?)"
        )
        day_ago, yesterday = now_ms - 30 * HOUR_MS, (now_ms - 20 * HOUR_MS, now_ms - 16 * HOUR_MS)
        for row in (
            ("T01", "warning", None, alone, "", "silent", day_ago, None),
            ("T02", "critical", None, freezer, "", "up to -8.5 °C", day_ago, None),
            ("T11", "warning", None, None, "backup", HOSTILE, day_ago, None),
            ("T03", "critical", None, ok, "", "down to 1 °C", *yesterday),
            ("T03", "critical", None, ok, "", "long ago", 0, now_ms - 25 * HOUR_MS),
        ):
            db.execute(insert, row)
    return serve(path)


def test_what_needs_attention_is_listed_once_the_worst_first(troubled: Site) -> None:
    found = [text for text, _ in attention(troubled.get("/").text)]
    assert [re.sub(r"since .*", "since", text) for text in found] == [
        "barn tank 30.0 °C, above its limit of 8 °C for more than a day",
        "kitchen freezer -9.0 °C, above its limit of -15 °C since",
        "garden 2 sensors silent since",
        "shed a silent since",
        "door battery battery low: 12.0 %",
        "window battery_out_low battery low: 1",
        f"backup {' '.join(HOSTILE.split())} since",
        found[-1],
    ]
    assert re.fullmatch(r"kitchen fridge down to 1 °C \S+ to \S+ , over", found[-1])
    assert "7 things need attention" in words(troubled.get("/").text)


def test_each_leads_to_its_chart_at_that_time(troubled: Site) -> None:
    links = dict(attention(troubled.get("/").text))
    freezer, garden, shed, fridge = (
        next(str(link) for text, link in links.items() if text.startswith(start))
        for start in ("kitchen freezer", "garden", "shed", "kitchen fridge")
    )
    assert urlsplit(garden).path == "/node/garden"
    assert urlsplit(shed).path == "/node/shed/a"
    assert {*parse_qs(urlsplit(freezer).query)} == {"from"}
    assert {*parse_qs(urlsplit(fridge).query)} == {"from", "to"}
    for link in (freezer, garden, shed, fridge):
        page = troubled.get(link)
        assert page.status_code == 200
        assert "No readings" not in page.text
    [since_ms] = troubled.values(
        "select min(measured_ms) from readings where value > -15 and value < 0"
    )
    assert f'since <time datetime="{iso(since_ms)}">' in troubled.get("/").text


def test_rows_say_value_against_limit_without_any_check(troubled: Site) -> None:
    shown = lines(troubled.get("/").text)
    assert "above its limit of -15 °C" in words(shown["kitchen/freezer"]).replace("\xa0", " ")
    assert "is-beyond" in shown["kitchen/freezer"]
    assert "limit" not in shown["kitchen/fridge"]
    assert "above its limit of 5 °F" in words(
        lines(troubled.get("/", unit="F").text)["kitchen/freezer"]
    ).replace("\xa0", " ")


def test_worst_first_is_by_node(troubled: Site) -> None:
    assert headings(troubled.get("/", sort="worst").text) == [
        *("barn", "kitchen", "garden", "shed", "door", "window"),
    ]


def test_a_long_list_is_cut_with_a_link_to_the_rest(serve: Serve, tmp_path: Path) -> None:
    with open_database(tmp_path / "tmon.db", create=True) as db:
        for number in range(MAX_SHOWN + 3):
            for sensor in add(db, f"node{number}", "s"):
                read(db, sensor, (0, 9))
                limit(db, sensor, None, 8)
    page = serve(tmp_path / "tmon.db").get("/").text
    assert len(attention(page)) == MAX_SHOWN
    assert '<a href="/?sort=worst">3 more</a>' in page


def test_a_filter_lists_what_it_lets_through(troubled: Site) -> None:
    found = attention(troubled.get("/", q="garden").text)
    assert [text.partition(" since")[0] for text, _ in found] == ["garden 2 sensors silent"]


@pytest.fixture(scope="module")
def archive(serve: Serve, tmp_path_factory: pytest.TempPathFactory) -> Site:
    path = tmp_path_factory.mktemp("archive") / "tmon.db"
    with open_database(path, create=True) as db:
        for sensor in add(db, "old", "temperature"):
            days = (DAY_MS // HOUR_MS * (4000 + day) for day in range(90))
            read(db, sensor, *((hour, hour % 29) for hour in days))
            db.execute("update sensors set imported = 1 where id = ?", [sensor])
            limit(db, sensor, None, -100)
        for sensor in add(db, "gone", "temperature"):
            read(db, sensor, *((100 + hour, 1) for hour in range(9)))
        db.execute("update nodes set revoked_ms = 1 where name = 'gone'")
    return serve(path)


def test_an_archive_is_history_with_a_chart_of_all_of_it(archive: Site) -> None:
    page = archive.get("/").text
    text = lines(page)["old/temperature"]
    [newest_ms] = archive.values(
        "select measured_ms from latest where node = 'old' order by 1 desc limit 1"
    )
    until = day_or_month(newest_ms, int(time.time() * 1000))
    assert re.fullmatch(r"[A-Z][a-z]{2} \d{4}", until)
    assert f"history until {until}" in words(text)
    [path] = re.findall(r' d="([^"]+)"', text)
    assert len(re.findall(r"[ML]\d+ \d+", path)) == 24
    assert "All of it: low 0.0, high 28.0" in text
    assert "2 sensors, none silent" in words(page)
    assert attention(page) == []


def test_what_is_history_is_not_silent_anywhere(archive: Site) -> None:
    assert archive.rows("/tmon/silent_nodes") == []
    assert {row["silent"] for row in archive.rows("/tmon/latest")} == {0}
    assert {row["history"] for row in archive.rows("/tmon/latest_clean")} == {1}
    metrics = archive.get("/-/prometheus")
    assert metrics.status_code == 200
    assert 'node="' not in metrics.text


def area(db: Database, **areas: str) -> None:
    for node, name in areas.items():
        db.execute("update nodes set area = ? where name = ?", [name, node])


@pytest.fixture(scope="module")
def grouped(serve: Serve, tmp_path_factory: pytest.TempPathFactory) -> Site:
    path = tmp_path_factory.mktemp("grouped") / "tmon.db"
    with open_database(path, create=True) as db:
        for node in ("barn-a", "barn-b", "barn_c", "hall-a", "hall-b", "attic", "cellar"):
            for sensor in add(db, node, "t", "u"):
                read(db, sensor, *((hour, sensor) for hour in range(4)))
        area(db, attic="The <House>", cellar="The <House>")
    return serve(path)


def groups(page: str) -> dict[str, list[str]]:
    """The nodes of each group."""
    parts = re.split(r'<details class="group" data-group="([^"]*)"', page)
    names = ["", *map(html.unescape, parts[1::2])]
    return {name: headings(part) for name, part in zip(names, parts[::2], strict=True)}


def test_nodes_are_grouped_by_area_or_by_the_first_word_of_three(grouped: Site) -> None:
    page = grouped.get("/").text
    assert groups(page) == {
        "": ["hall-a", "hall-b"],
        "The <House>": ["attic", "cellar"],
        "barn": ["barn-a", "barn-b", "barn_c"],
    }
    assert "3 nodes, 6 sensors" in words(page)


def test_a_folded_group_is_in_the_address_and_not_in_the_page(grouped: Site) -> None:
    page = grouped.get("/", closed="barn", utc="1").text
    assert groups(page)["barn"] == []
    assert "3 nodes, 6 sensors" in words(page)
    [link] = re.findall(r'<a href="([^"]*)">Show barn</a>', page)
    assert html.unescape(link) == "/?utc=1"
    assert len(lines(page)) == 8


def test_a_filter_finds_by_area(grouped: Site) -> None:
    assert {*lines(grouped.get("/", q="house t").text)} >= {"attic/t", "cellar/t"}
    assert not any("barn" in name for name in lines(grouped.get("/", q="house").text))


def test_nodes_whose_names_all_begin_alike_are_no_group(serve: Serve, tmp_path: Path) -> None:
    with open_database(tmp_path / "tmon.db", create=True) as db:
        for node in ("pi-a", "pi-b", "pi-c"):
            for sensor in add(db, node, "t"):
                read(db, sensor, (0, 1))
    assert [*groups(serve(tmp_path / "tmon.db").get("/").text)] == [""]


def test_favourites_are_in_the_address_and_on_top(grouped: Site) -> None:
    page = grouped.get("/?s=hall-b/u&s=attic/t&s=no/such").text
    [section] = re.findall(r'<section class="favourites.*?</section>', page, re.DOTALL)
    assert [*lines(section)] == ["hall-b/u", "attic/t"]
    assert "attic t" in words(section)
    assert '<a href="/compare?s=hall-b/u&amp;s=attic/t">Compare them</a>' in section


def test_favourites_are_chosen_in_a_form(grouped: Site) -> None:
    page = grouped.get("/?pick=1&s=attic/t&unit=F").text
    boxes = re.findall(r'name="s" value="([^"]+)" aria-label="([^"]+)"( checked)?', page)
    assert len(boxes) == 14
    assert [box for box in boxes if box[2]] == [("attic/t", "attic t", " checked")]
    assert '<input type="hidden" name="unit" value="F">' in page
    page = grouped.get("/?pick=1&s=attic/t&closed=The+<House>").text
    assert '<input type="hidden" name="s" value="attic/t">' in page


@pytest.mark.parametrize(
    ("unit", "values", "shown"),
    [
        ("ppm", [820.123, 400], "820 ppm"),
        ("W", [1250.4, 3], "1250 W"),
        ("µg/m³", [11.34, 5], "11 µg/m³"),
        ("mm/h", [1.234, 0], "1.2 mm/h"),
        ("°C", [-0.01, 3], "0.0 °C"),
        ("V", [3.3, 3.2], "3.30 V"),
        ("bq", [0.123456, 0.4], "0.12 bq"),
        ("bq", [18233.123, 18000], "18233 bq"),
        ("bq", [1.23456789, 1.23456789], "1.23457 bq"),
        ("1", [0.42, 0.1], "0.42"),
    ],
)
def test_numbers_are_rounded_by_unit_or_by_spread(
    serve: Serve, tmp_path: Path, unit: str, values: list[float], shown: str
) -> None:
    with open_database(tmp_path / "tmon.db", create=True) as db:
        for sensor in add(db, "n", "s", unit=unit):
            read(db, sensor, (0, values[0]), (1, values[1]))
    [text] = lines(serve(tmp_path / "tmon.db").get("/").text).values()
    assert words(text).startswith(f"s {shown} ")


def test_a_mean_has_one_digit_more() -> None:
    assert cells.rounded(612.345, "ppm", is_mean=True) == "612.3"
    assert cells.rounded(20.345, "°C", is_mean=True) == "20.34"


def test_a_switch_is_on_or_off_and_a_title_takes_the_names_place(
    serve: Serve, tmp_path: Path
) -> None:
    with open_database(tmp_path / "tmon.db", create=True) as db:
        for sensor in add(db, "n", "gpio_17", unit="1"):
            read(db, sensor, (0, 1), (1, 0), (2, 0))
        db.execute("update sensors set quantity = 'switch', title = ?", [f"Pump {HOSTILE}"])
    page = serve(tmp_path / "tmon.db").get("/").text
    [text] = lines(page).values()
    assert " on off \N{EN DASH} on " in words(text)
    assert words(text).startswith("Pump <script>")
    assert "<script>document" not in page
    assert 'title="gpio_17"' in text


def test_a_switch_that_stayed_as_it_is_has_no_range(serve: Serve, tmp_path: Path) -> None:
    with open_database(tmp_path / "tmon.db", create=True) as db:
        for sensor in add(db, "n", "gpio_17"):
            read(db, sensor, (0, 1), (1, 1))
        db.execute("update sensors set quantity = 'switch'")
    page = serve(tmp_path / "tmon.db").get("/").text
    [text] = lines(page).values()
    assert 'class="range"' not in text
    assert 'aria-label="24 hours: on"' in text


@pytest.mark.parametrize("name", ["view", "sort"])
def test_what_there_is_not_is_refused(site: Site, name: str) -> None:
    answer = site.get("/", **{name: "nonsense"})
    assert answer.status_code == 400
    assert f"{name} must be" in answer.text


def test_tiles_are_the_same_sensors(site: Site) -> None:
    page = site.get("/", view="tiles").text
    assert 'class="board tiles"' in page
    assert [*lines(page)] == [*lines(site.get("/").text)]
    assert '<a href="/?">List</a>' in page
