"""Pages speak the language of the browser, and no cache mixes two of them up."""

import re
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from time import time
from urllib.parse import quote

import pytest
import requests
import yaml

from scripts import sample_stations
from scripts.words import ROOT
from tests.publish.published import HOSTILE, Serve, Site
from tests.publish.walking import english_words, same_texts
from tmon.db.connect import open_database
from tmon.importer import demo

WISH = {"Accept-Language": "de-CH,de;q=0.9,en;q=0.4"}

QUERIES = yaml.safe_load((ROOT / "datasette.yml").read_text())["databases"]["tmon"]["queries"]
# Of a station: pages that have everything there is to say.
PAGES = (
    "/",
    "/?sort=worst&view=tiles",
    "/?pick=1",
    "/?s=roof/temperature&s=freezer/temperature&values=raw",
    "/?q=xyz",
    "/?kiosk",
    "/node/freezer?range=7d&before=week",
    "/node/store-b/temperature?range=30d&resolution=raw",
    "/node/store-b?values=raw",
    "/node/gate?range=30d",
    "/node/gate?from=2001-01-01&to=2001-01-02",
    "/node/roof/temperature?range=7d&low=-10&high=30&unit=F",
    "/node/freezer?embed",
    "/compare",
    "/compare?s=roof/temperature&s=garden/temperature&before=year&range=7d",
    "/compare?s=roof/temperature&from=2001-01-01&to=2001-01-02",
    "/compare?s=roof/temperature&kiosk",
    "/year/roof/temperature",
    "/year/roof/pressure?below=1010&values=raw",
    "/year/roof/pressure?year=1999",
    "/map",
    "/map?quantity=humidity",
    "/refused",
    "/refused?node=gate",
    "/refused?node=roof",
    "/tmon",
    "/tmon/readings",
    "/tmon/readings?_next=1,1,1",
    "/tmon/readings?sensor=1&value__gt=3&_sort=value&_facet=sensor",
    "/tmon/latest",
    "/tmon/daily_clean",
    "/tmon/limits",
    "/tmon/nodes/roof",
    "/tmon/incidents",
    "/tmon/sensors?name__contains=xyz",
    "/tmon/day?node=roof",
    *(f"/tmon/{name}" for name in QUERIES),
    "/tmon/-/query",
    "/tmon/-/query?sql=select+value+from+readings+limit+3",
    "/tmon/-/query?sql=select+value+from+readings+limit+10001",
)
# Pages that say what is wrong, with what has to be typed as it is.
PROBLEMS = {
    "/year/roof/pressure?year=nineteen": "year",
    "/node/roof?range=forever": "range from to all",
    "/node/roof?from=x": "from to",
    "/node/roof?from=2020-01-02&to=2020-01-01": "from to",
    "/node/roof?low=3&high=1": "low high",
    "/node/roof?low=x": "low",
    "/node/roof?rate=week": "rate hour day",
    "/node/roof?before=month": "before day week year",
    "/node/roof?resolution=fine": "resolution raw minute hourly daily weekly",
    "/node/roof?values=best": "values clean raw",
    "/?view=round": "view list tiles",
    "/node/nobody": "nobody",
    "/node/roof/nothing": "nothing",
    "/compare?s=nothing": "nothing attic",
    "/compare?s=roof/temperature&title=" + "x" * 201: "title",
    "/compare?" + "&".join(f"s=a/{number}" for number in range(17)): "",
    "/download": "backup publish DIR",
    "/tmon/readings?_timelimit=x": "timelimit",
    "/tmon/readings?_next=x": "next",
    "/tmon/readings?" + "&".join(["_facet=value"] * 11): "",
    "/-/databases": "",
}


@pytest.fixture(scope="module")
def mixed(serve: Serve, tmp_path_factory: pytest.TempPathFactory) -> Site:
    path = tmp_path_factory.mktemp("mixed") / "tmon.db"
    sample_stations.mixed(path)
    return serve(path)


def ask(site: Site, page: str, **headers: str) -> requests.Response:
    return requests.get(site.url + page, headers=headers, timeout=120)


@pytest.mark.parametrize(("page", "typed"), PROBLEMS.items())
def test_a_problem_is_told_in_german(mixed: Site, page: str, typed: str) -> None:
    english, german = mixed.get(page), ask(mixed, page, **WISH)
    assert (english.status_code, german.status_code) in {(400, 400), (404, 404)}
    assert same_texts(english.text, german.text) == []
    assert {*english_words(german.text)} - {*typed.split()} == set()
    as_json = ask(mixed, page.partition("?")[0] + ".json?" + page.partition("?")[2], **WISH)
    assert "muss" not in as_json.text


@pytest.mark.parametrize("page", PAGES)
def test_no_english_word_is_left_on_a_german_page(mixed: Site, page: str) -> None:
    english, german = mixed.get(page).text, requests.get(mixed.url + page, headers=WISH).text
    assert '<html lang="de">' in german
    assert '<html lang="en">' in english
    assert same_texts(english, german) == []
    assert english_words(german) == []


def test_the_page_without_readings_is_german(empty: Site) -> None:
    english, german = empty.get("/").text, requests.get(empty.url + "/", headers=WISH).text
    assert "Noch keine Messwerte" in german
    assert same_texts(english, german) == []
    assert english_words(german) == []


@pytest.mark.parametrize("page", ["/", "/node/roof", "/node/roof/temperature.png", "/tmon", "/x"])
def test_caches_keep_the_languages_apart(mixed: Site, page: str) -> None:
    for headers in ({}, WISH):
        vary = requests.get(mixed.url + page, headers=headers, timeout=120).headers["vary"]
        assert "Accept-Language" in vary


@pytest.mark.parametrize(
    "file", ["/node/roof.json", "/tmon/latest.csv", "/incidents.atom", "/static/home.js"]
)
def test_files_for_programs_are_the_same_for_everybody(mixed: Site, file: str) -> None:
    german = ask(mixed, file, **WISH)
    assert german.status_code == 200
    assert "Accept-Language" not in german.headers.get("vary", "")


def test_a_picture_that_has_not_changed_is_asked_for_in_one_language(mixed: Site) -> None:
    page = "/node/roof/temperature.png?from=2026-01-01&to=2026-03-01"
    english, german = ask(mixed, page), ask(mixed, page, **WISH)
    assert english.headers["etag"] != german.headers["etag"]
    known = {"If-None-Match": english.headers["etag"]}
    assert ask(mixed, page, **known).status_code == 304
    again = ask(mixed, page, **known, **WISH)
    assert (again.status_code, again.headers["etag"]) == (200, german.headers["etag"])
    unchanged = ask(mixed, page, **WISH, **{"If-None-Match": german.headers["etag"]})
    assert unchanged.status_code == 304
    assert "Accept-Language" in unchanged.headers["vary"]


def test_those_who_ask_at_the_same_time_get_each_their_own_language(mixed: Site) -> None:
    wishes = [{}, WISH] * 8
    with ThreadPoolExecutor(len(wishes)) as visitors:
        answers = [*visitors.map(lambda wish: ask(mixed, "/", **wish).text, wishes)]
    assert ["40 Sensoren" in answer for answer in answers] == [wish == WISH for wish in wishes]
    assert ["40 sensors" in answer for answer in answers] == [wish != WISH for wish in wishes]


@pytest.mark.parametrize(
    "page",
    [
        *("/", "/?kiosk", "/node/attic", "/node/basement", "/refused", "/tmon/nodes/attic"),
        *("/?q={}", "/refused?node={}", "/compare?s={}", "/node/{}", "/node/attic?resolution={}"),
        *("/tmon/nodes?name__contains={}", "/compare?s=attic/temperature&title={}"),
    ],
)
def test_hostile_text_stays_text_in_every_language(site: Site, page: str) -> None:
    answer = ask(site, page.format(quote(HOSTILE, safe="")), **WISH)
    assert '<html lang="de">' in answer.text
    assert HOSTILE.partition("=")[0] not in answer.text
    assert answer.status_code < 500


@pytest.mark.parametrize(
    ("page", "is_ours"), [("/tmon", True), ("/tmon/readings", True), ("/-/versions", False)]
)
def test_what_datasette_says_in_english_is_marked_so(
    mixed: Site, page: str, *, is_ours: bool
) -> None:
    german = ask(mixed, page, **WISH).text
    assert '<html lang="de">' in german
    assert ('<main class="content" lang="en">' in german) == (not is_ours)
    assert '<main class="content">' in mixed.get(page).text


def test_an_owners_own_words_stay_as_they_are(serve: Serve, tmp_path: Path) -> None:
    sample_stations.empty(tmp_path / "tmon.db")
    (tmp_path / "metadata.yml").write_text('title: "off"\ndescription: Now <b>\nlicense: CC0\n')
    page = ask(serve(tmp_path / "tmon.db"), "/", **WISH).text
    assert "<title>off</title>" in page
    assert "Now &lt;b&gt;" in page


def test_what_a_check_says_of_a_limit_is_told_in_german(serve: Serve, tmp_path: Path) -> None:
    with open_database(tmp_path / "tmon.db", create=True) as db:
        demo.add(db, ROOT / "data" / "ambient_temperature.csv", int(time() * 1000), 0)
        [[stored]] = db.execute("select reason from incidents order by from_ms desc limit 1")
    site = serve(tmp_path / "tmon.db")
    for page in ("/", "/node/cellar", "/node/cellar/temperature"):
        german, english = ask(site, page, **WISH).text, ask(site, page).text
        assert re.search(r"bis -?\d+\.\d °C, unter der Grenze von -?\d+\.\d °C", german)
        assert stored not in german
        assert stored in english


def test_a_range_below_zero_and_a_switch_are_drawn_as_they_are(mixed: Site) -> None:
    page = mixed.get("/").text
    freezer = page[page.index('"/node/freezer/switch"') :]
    assert re.search(r'<path d="M[\d HV]+"/>', freezer[: freezer.index("</li>")])
    freezer = freezer[freezer.index('"/node/freezer/temperature"') :]
    assert "…" in freezer[: freezer.index("</li>")]
