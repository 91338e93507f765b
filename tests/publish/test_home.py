"""The home page as it is sent: every sensor as it is now, or what to do where there is none."""

import html
import re
import sqlite3
import subprocess
import sys
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from urllib.parse import urlsplit

import pytest
import requests
from sqlite_utils import Database

from tests.publish.published import HOSTILE, HOUR_MS, Serve, Site, served
from tests.station import Station, station_in_process
from tmon.db.connect import open_database
from tmon.pages import concurrency, home_data
from tmon.pages.queries import query_threads

MOST = 160
MOST_BYTES = 150_000  # of the page and all that belongs to it, compressed


def lines(page: str) -> dict[str, str]:
    """Each sensor's line, by its address."""
    items = re.findall(r'<li data-sensor.*?href="([^"]+)".*?</li>', page)
    texts = re.findall(r"<li data-sensor.*?</li>", page)
    return {href.removeprefix("/node/"): text for href, text in zip(items, texts, strict=True)}


def words(fragment: str) -> str:
    return " ".join(html.unescape(re.sub(r"<[^>]*>", " ", fragment)).split())


def headings(page: str) -> list[str]:
    return [words(text) for text in re.findall(r"<h[23]><a .*?</h[23]>", page)]


def add(db: Database, node: str, *sensors: str, unit: str = "°C") -> list[int]:
    """A node and its sensors' numbers."""
    db.execute("insert or ignore into nodes (name, uid, created_ms) values (?, ?, 0)", (node, node))
    sql = "insert into sensors (node, name, unit) values (?, ?, ?) returning id"
    return [int(db.execute(sql, (node, name, unit)).fetchone()[0]) for name in sensors]


def read(db: Database, sensor: int, *readings: tuple[float, float]) -> None:
    """Readings, each so many hours ago."""
    now_ms = int(time.time() * 1000)
    for hours, value in readings:
        at_ms = now_ms - round(hours * HOUR_MS)
        db.execute(
            "insert into readings (sensor, measured_ms, value) values (?, ?, ?)",
            (sensor, at_ms, value),
        )


@pytest.fixture(scope="module")
def many(serve: Serve, tmp_path_factory: pytest.TempPathFactory) -> Site:
    """1,100 sensors on 110 nodes, each with a day of readings; one in 50 has been silent."""
    path = tmp_path_factory.mktemp("many") / "tmon.db"
    with open_database(path, create=True) as db:
        db.execute("begin")
        for number in range(110):
            for place, sensor in enumerate(add(db, f"node-{number:03}", *"abcdefghij")):
                late = 3 if (number, place % 5) == (77, 0) else 0
                hours = [late + hour / 2 for hour in range(1, 47)]
                read(db, sensor, *((hour, (sensor * hour) % 17 + sensor / 7) for hour in hours))
                if not late:
                    read(db, sensor, (0.01, sensor / 7))
        db.execute("commit")
    return serve(path)


def test_each_sensor_has_its_newest_value_its_age_and_its_low_and_high(site: Site) -> None:
    shown = lines(site.get("/").text)
    assert [*shown] == site.values("select node || '/' || name from sensors order by 1")
    now = words(shown["basement/temperature"])
    assert re.fullmatch(r"temperature 21.4 °C 21.4 \u2013 21.4 (\d+ s|\d min) ago", now)
    assert 'aria-label="24 hours: low 21.4, high 21.4"' in shown["basement/temperature"]
    assert '<h2><a href="/node/basement">basement</a></h2>' in site.get("/").text


def test_a_silent_sensor_is_marked_with_a_word(site: Site) -> None:
    shown = lines(site.get("/").text)
    assert "silent, " in words(shown["attic/temperature"])
    assert "none in 24 h" in words(shown["attic/temperature"])
    assert "silent" not in shown["basement/humidity"]
    assert words(re.findall(r"<h1>.*</h1>", site.get("/").text)[0]) == "4 sensors, 1 silent"


def test_hostile_text_is_shown_and_nothing_else(site: Site) -> None:
    page = site.get("/").text
    assert "<script>document" not in page
    assert f"<bdi>{html.escape(HOSTILE, quote=False)}</bdi>".replace("'", "&#39;") in page


def test_a_node_without_readings_is_shown_unless_it_is_shut_out(
    serve: Serve, tmp_path: Path
) -> None:
    with open_database(tmp_path / "tmon.db", create=True) as db:
        for sensor in add(db, "basement", "temperature"):
            read(db, sensor, (0, 20))
        add(db, "mute")
        add(db, "gone")
        db.execute("update nodes set revoked_ms = 1 where name in ('gone', 'basement')")
    page = serve(tmp_path / "tmon.db").get("/").text
    assert headings(page) == ["basement", "mute"]
    assert "no reading yet" in page


def paths(page: str) -> dict[str, str]:
    return {sensor: re.findall(r' d="([^"]*)"', text)[0] for sensor, text in lines(page).items()}


def test_a_gap_breaks_the_line(serve: Serve, tmp_path: Path) -> None:
    now_h = time.time() % 3600 / 3600  # so that an hour ago is one clock hour earlier
    hours = {
        "whole": range(24),
        "gap": [*range(5), *range(8, 24)],
        "twice": [0, 9],
        "slow": range(0, 24, 3),
        "slower": [0, 3, 6, 18, 21],
        "flat": range(3),
    }
    with open_database(tmp_path / "tmon.db", create=True) as db:
        for (name, there), sensor in zip(hours.items(), add(db, "n", *hours), strict=True):
            flat = name == "flat"
            read(db, sensor, *((now_h / 2 + hour, 1 if flat else hour) for hour in there))
    drawn = paths(serve(tmp_path / "tmon.db").get("/").text)
    corners = {name.removeprefix("n/"): re.findall(r"[ML]\d+ \d+", d) for name, d in drawn.items()}
    assert {name: len(found) for name, found in corners.items()} == {
        name: len(there) for name, there in hours.items()
    }
    breaks = {name: d.count("M") - 1 for name, d in drawn.items()}
    assert breaks == {**dict.fromkeys(drawn, 0), "n/gap": 1, "n/slower": 1}
    assert drawn["n/whole"].startswith("M0 0L1 2")
    assert drawn["n/whole"].endswith("L23 40")
    assert drawn["n/flat"] == "M21 20L22 20L23 20"


def test_an_hour_alone_is_a_dash(serve: Serve, tmp_path: Path) -> None:
    with open_database(tmp_path / "tmon.db", create=True) as db:
        [sensor] = add(db, "n", "s")
        read(db, sensor, (0, 20))
    assert paths(serve(tmp_path / "tmon.db").get("/").text) == {"n/s": "M23 20m-.4 0h.8"}


def test_low_and_high_are_those_of_24_clock_hours(many: Site) -> None:
    shown = lines(many.get("/").text)
    extremes = dict(
        sqlite3.connect(many.path)
        .execute(
            "select node || '/' || name, printf('%.1f \N{EN DASH} %.1f', min(min), max(max))"
            " from hourly join sensors on sensors.id = sensor"
            " where hour_ms > (unixepoch() / 3600 - 24) * 3600000 group by sensor"
        )
        .fetchall()
    )
    for name, text in shown.items():
        assert extremes[name] in words(text)


def test_fahrenheit_by_choice_with_celsius_for_scripts(site: Site) -> None:
    shown = lines(site.get("/", unit="F").text)
    assert words(shown["basement/temperature"]).startswith("temperature 70.6 °F")
    assert '<data value="21.4379">70.6</data>' in shown["basement/temperature"]
    assert "61.0 %" in words(shown["basement/humidity"])


@pytest.mark.parametrize(
    ("q", "found"),
    [
        ("TEMP", {"attic/temperature", "basement/temperature"}),
        ("base temp", {"basement/temperature"}),
        ("document.title humid", {"basement/humidity"}),  # described so
        ("nothing", set()),
        ("100% _", set()),
        ("' or 1 --", set()),
    ],
)
def test_a_filter_finds_by_node_sensor_and_description(site: Site, q: str, found: set[str]) -> None:
    page = site.get("/", q=q).text
    assert {*lines(page)} == found
    if not found:
        assert f"No sensor matches “<bdi>{html.escape(q).replace('&#x27;', '&#39;')}</bdi>”" in page
        assert "cellar" not in headings(page)


def test_silent_first_puts_them_first(many: Site) -> None:
    page = many.get("/").text
    assert headings(page)[0] == "node-000"
    page = many.get("/", sort="silent").text
    assert headings(page)[0] == "node-077"
    assert [*lines(page)][:3] == ["node-077/a", "node-077/f", "node-077/b"]


def pages(site: Site, **asked: str) -> Iterator[str]:
    """All pages, by their links."""
    page = site.get("/", **asked).text
    yield page
    while links := re.findall(r'<a href="([^"]+)" rel="next">', page):
        page = requests.get(site.url + html.unescape(links[0]), timeout=60).text
        yield page


def test_pages_of_whole_nodes_have_each_sensor_once(many: Site) -> None:
    found = [lines(page) for page in pages(many)]
    assert len(found[0]) == MOST
    assert [name for one in found for name in one] == many.values(
        "select node || '/' || name from sensors order by 1"
    )
    assert "1,100 sensors, 2 silent" in words(many.get("/").text)


def test_pages_are_sorted_as_a_whole(many: Site) -> None:
    found = [name for page in pages(many, sort="worst") for name in lines(page)]
    assert len({*found}) == len(found) == 1100
    assert found[0].startswith("node-077/")


def test_one_node_with_more_sensors_than_fit_is_shown_whole(serve: Serve, tmp_path: Path) -> None:
    with open_database(tmp_path / "tmon.db", create=True) as db:
        db.execute("begin")
        for sensor in add(db, "a", *(f"s{number}" for number in range(MOST + 1))):
            read(db, sensor, (0, 1))
        for sensor in add(db, "b", "s"):
            read(db, sensor, (0, 1))
        db.execute("commit")
    site = serve(tmp_path / "tmon.db")
    assert [len(lines(page)) for page in pages(site)] == [MOST + 1, 1]


@pytest.mark.parametrize("most", [2000, 5])
def test_nodes_without_readings_come_in_pages(
    serve: Serve, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, most: int
) -> None:
    """Also where there are too many nodes to read all of them."""
    monkeypatch.setattr(home_data, "MAX_WHOLE", most)
    with open_database(tmp_path / "tmon.db", create=True) as db:
        db.execute("begin")
        for sensor in add(db, "z", "s"):
            read(db, sensor, (0, 1))
        for number in range(MOST + 1):
            add(db, f"m{number:04}")
        db.execute("commit")
    site = serve(tmp_path / "tmon.db")
    found = [headings(page) for page in pages(site)]
    assert [len(one) for one in found] == [MOST, 2]
    assert found[1] == ["m0160", "z"]


def test_a_station_too_large_to_read_whole_has_the_same_sensors_in_the_same_order(
    many: Site, monkeypatch: pytest.MonkeyPatch
) -> None:
    whole = [name for page in pages(many) for name in lines(page)]
    monkeypatch.setattr(home_data, "MAX_WHOLE", 100)
    assert [name for page in pages(many) for name in lines(page)] == whole
    assert [*lines(many.get("/", sort="worst").text)][:2] == ["node-077/a", "node-077/f"]
    assert "160 of 1,100 sensors" in words(many.get("/").text)


def test_one_node_with_more_sensors_than_a_page_of_a_large_station_says_so(
    serve: Serve, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(home_data, "MAX_WHOLE", 100)
    with open_database(tmp_path / "tmon.db", create=True) as db, db.atomic():
        for sensor in add(db, "a", *(f"s{number}" for number in range(MOST + 1))):
            read(db, sensor, (0, 1))
        for sensor in add(db, "b", "s"):
            read(db, sensor, (0, 1))
    site = serve(tmp_path / "tmon.db")
    page = site.get("/").text
    assert len(lines(page)) == MOST
    assert "a has more sensors than fit here" in words(page)
    assert {*lines(site.get("/", after="a").text)} == {"b/s"}


@pytest.fixture
def hurried(tmp_path: Path) -> Iterator[Site]:
    """60,000 sensors, and a time limit that is up before all have been looked at."""
    path = tmp_path / "tmon.db"
    with open_database(path, create=True) as db, db.atomic():
        db.execute("insert into nodes (name, uid, created_ms) values ('n', 'u', 0)")
        db.execute(
            """
            with recursive counted (i) as (
                select 1 union all select i + 1 from counted limit 60000
            )
            insert into sensors (node, name) select 'n', i from counted
            """
        )
        db.execute("insert into readings (sensor, measured_ms, value) select id, 0, 1 from sensors")
    with served(path) as site:
        site.limit_queries(60)
        yield site


def test_what_takes_too_long_is_the_first_page_that_says_so(hurried: Site) -> None:
    answer = hurried.get("/", sort="silent")
    assert answer.status_code == 200
    assert "too many sensors" in answer.text
    assert '<a href="/tmon/silent_nodes">' in answer.text
    assert len(lines(answer.text)) == MOST


def test_a_busy_machine_shows_values_without_lines(
    many: Site, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Each look takes longer than the time limit that is handed in."""
    monkeypatch.setattr(query_threads(many.datasette), "limit_ms", 1)
    page = many.get("/").text
    shown = lines(page)
    assert len(shown) == MOST
    assert "not drawn in time" in page
    assert "none in 24 h" not in page
    values = many.values("select round(value, 1) from latest order by node, name limit 160")
    assert [float(words(text).split()[1]) for text in shown.values()] == values


def test_strangers_sql_takes_none_of_homes_threads(
    many: Site, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(concurrency, "QUEUE_TIMEOUT_S", 200)
    monkeypatch.setattr(concurrency, "HANDLER_TIMEOUT_S", 200)
    [answer] = many.answer_while_sql_runs("/")
    assert answer.status_code == 200
    assert len(lines(answer.text)) == MOST


def test_a_page_of_1000_sensors_is_small(many: Site) -> None:
    packed = requests.get(many.url, headers={"Accept-Encoding": "gzip"}, stream=True, timeout=60)
    size = len(packed.raw.read())
    page = many.get("/").text
    for asset in {*re.findall(r'(?:href|src)="(/static/[^"]+)"', page)} | {
        f"/static/{name}.js" for name in ("choices", "format")
    }:
        answer = requests.get(many.url + asset, stream=True, timeout=60)
        assert answer.status_code == 200, asset
        size += len(answer.raw.read())
    assert size <= MOST_BYTES


@pytest.fixture
def new(
    serve: Serve, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> Iterator[tuple[Site, Station]]:
    """A station that has not heard of anything."""
    with station_in_process(tmp_path) as station:
        monkeypatch.setenv("TMON_PORT", str(urlsplit(station.url).port))
        yield serve(station.path), station


def test_a_first_visit_says_what_to_do_and_that_works(
    new: tuple[Site, Station], tmp_path: Path
) -> None:
    site, station = new
    page = site.get("/").text
    token, curl, client = (
        html.unescape(text) for text in re.findall(r"<pre[^>]*><code>(.*?)</code>", page, re.DOTALL)
    )
    assert "python manage.py get_token basement" in page
    assert f"TMON_URL={station.url} TMON_TOKEN=$TOKEN" in client
    token = token.replace("tmon", f"{sys.executable} -m tmon", 1)
    root = Path(__file__).parents[2]
    script = f"cd {root} && export TMON_DB={tmp_path}/tmon.db && {token} && {curl}"
    done = subprocess.run(
        ["bash", "-c", script], capture_output=True, text=True, timeout=60, check=False
    )
    assert '"accepted":1' in done.stdout, done.stderr
    assert [*lines(site.get("/").text)] == ["basement/temperature"]


def test_a_node_with_a_token_alone_is_the_one_to_go_on_with(new: tuple[Site, Station]) -> None:
    site, station = new
    station.token("attic")
    assert "tmon token get attic" in site.get("/").text


def test_tables_are_one_click_away_and_datasettes_own_index_is_there(site: Site) -> None:
    assert '<a href="/tmon">' in site.get("/").text
    assert site.get("/-/").status_code == 200


def test_home_outlasts_a_want_of_memory(many: Site) -> None:
    """All of SQLite's connections share what strangers' SQL can take."""
    sorts = (
        "with recursive t (n) as (select 1 union all select n + 1 from t limit 3000000)"
        " select count(*) from (select hex(n) || hex(n) as x from t order by x)"
    )
    with ThreadPoolExecutor(4) as strangers:
        asked = [strangers.submit(many.ask, sorts) for _ in range(4)]
        statuses = []
        while not all(one.done() for one in asked):
            statuses.append(many.get("/").status_code)
    assert statuses
    assert set(statuses) == {200}
