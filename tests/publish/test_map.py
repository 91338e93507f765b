"""The map: each node at its place, by its position alone; tiles only of the owner's server."""

import math
import re
import shutil
import time
from pathlib import Path
from urllib.parse import quote

import pytest
from playwright.sync_api import Browser, expect

from tests.publish.browsing import DESK, PHONE, scrolls_sideways, violations, visit
from tests.publish.published import HOSTILE, MARCH_MS, Site, served
from tmon.core.settings import InvalidSettings, Settings
from tmon.db.connect import open_database, transaction
from tmon.pages.station_map import SIDE, Frame, frame, mercator, scale, tiles

CITIES = {"berlin": (52.52, 13.405), "paris": (48.8566, 2.3522), "rome": (41.9028, 12.4964)}


@pytest.fixture(scope="module")
def cities(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Three cities with temperatures, Rome silent; a node without a position."""
    path = tmp_path_factory.mktemp("map") / "tmon.db"
    now_ms = int(time.time() * 1000)
    with open_database(path, create=True) as db:
        for number, (name, place) in enumerate([*CITIES.items(), ("hidden", (None, None))], 1):
            db.execute(
                "insert into nodes (name, uid, latitude, longitude, created_ms, last_received_ms)"
                " values (?, ?, ?, ?, ?, ?)",
                (name, f"u{number}", *place, MARCH_MS, now_ms),
            )
            db.execute(
                "insert into sensors (id, node, name, quantity, unit)"
                " values (?, ?, 'temperature', 'temperature', '°C')",
                (number, name),
            )
            at_ms = MARCH_MS if name == "rome" else now_ms - 1000
            db.execute("insert into readings values (?, ?, ?)", (number, at_ms, 10.0 + number))
        db.execute(
            "insert into sensors (id, node, name, quantity, unit)"
            " values (9, 'paris', 'hum', 'humidity', '%')"
        )
        db.execute("insert into readings values (9, ?, 61)", (now_ms - 1000,))
        db.execute("insert into limits values (2, null, 11, 0, 0, 0)")
    return path


@pytest.mark.parametrize("width", [PHONE, DESK])
@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_the_map_shows_each_node_at_its_place(
    browser: Browser, cities: Path, width: int, scheme: str
) -> None:
    with (
        served(cities) as site,
        visit(browser, width, color_scheme="dark" if scheme == "dark" else "light") as page,
    ):
        page.goto(site.url + "/map")
        labels = page.locator(".map text:visible").all_text_contents()
        assert [text for text in labels if "°C" in text and "berlin" in text]
        assert page.locator(".map a").count() == len(CITIES)
        assert page.locator(".map a.beyond text").first.text_content() == "paris 12.0 °C"
        expect(page.get_by_role("row", name="paris")).to_contain_text("beyond its limit")
        at = {
            name: page.locator(f'.map a[href$="/{name}"] circle').bounding_box() for name in CITIES
        }
        x = {name: box["x"] for name, box in at.items() if box}
        y = {name: box["y"] for name, box in at.items() if box}
        assert sorted(x, key=x.__getitem__) == ["paris", "rome", "berlin"]
        assert sorted(y, key=y.__getitem__) == ["berlin", "paris", "rome"]
        expect(page.locator(".map a.silent")).to_have_attribute("href", "/node/rome")
        assert not scrolls_sideways(page)
        assert violations(page) == []
        page.locator('.map a[href$="/paris"]').focus()
        page.keyboard.press("Enter")
        page.wait_for_url("**/node/paris")


def test_another_quantity_can_be_chosen(browser: Browser, cities: Path) -> None:
    with served(cities) as site, visit(browser) as page:
        page.goto(site.url + "/map")
        page.get_by_role("link", name="humidity").click()
        expect(page.locator("table")).to_contain_text("61.0 %")
        expect(page.locator("table")).not_to_contain_text("°C")


def test_values_are_the_corrected_ones_as_on_home(cities: Path, tmp_path: Path) -> None:
    path = Path(shutil.copy(cities, tmp_path / "tmon.db"))
    with open_database(path) as db:
        corrected = "insert into calibrations (sensor, from_ms, offset, created_ms) values {}"
        db.execute(corrected.format("(2, 0, -1.5, 1)"))  # now within its limit
        db.execute(
            "insert into flags (sensor, from_ms, to_ms, reason, created_ms)"
            f" values (1, 0, {1 << 50}, 'in the sun', 1)"
        )
    with served(path) as site:
        text = site.get("/map").text
    assert {*re.findall(r"(\d+\.\d)\s°C", text)} == {"10.5", "13.0"}  # Rome's is its own
    assert "beyond its limit" not in text


def test_an_unknown_quantity_shows_no_values_and_is_escaped(cities: Path) -> None:
    with served(cities) as site:
        answer = site.get(f"/map?quantity={quote(HOSTILE)}")
    assert answer.status_code == 200
    assert "<script>document" not in answer.text
    assert "°C" not in answer.text


def test_without_positions_the_map_says_how_to_give_one(site: Site) -> None:
    page = site.get("/map").text
    assert "tmon node set NODE --latitude" in page
    assert "<svg" not in page


def test_tiles_come_from_the_owners_server_alone(cities: Path) -> None:
    template = "https://tiles.example.org:8443/a/{z}/{x}/{y}.png"
    with served(cities, map_tiles=template, map_credit="© <b>Somebody</b>") as site:
        answer = site.get("/map")
        other = site.get("/download")
    images = "img-src 'self' data: https://tiles.example.org:8443;"
    assert images in answer.headers["content-security-policy"]
    assert images not in other.headers["content-security-policy"]
    assert re.search(r'<image href="https://tiles.example.org:8443/a/\d/\d+/\d+.png"', answer.text)
    assert "© &lt;b&gt;Somebody&lt;/b&gt;" in answer.text
    with served(cities) as site:
        assert "<image" not in site.get("/map").text


@pytest.mark.parametrize(
    "template",
    [
        "ftp://host/{z}/{x}/{y}",
        "https://host/{z}/{x}.png",
        "https://host/{z}/{x}/{y}/{q}",
        "https://host;script-src/{z}/{x}/{y}",
        "https:///{z}/{x}/{y}",
        "https://host/{z}/{x}/{y}/{x}",
        "https://host/{z}/{x}/{y}}",
    ],
)
def test_a_wrong_address_of_tiles_is_told(template: str) -> None:
    with pytest.raises(InvalidSettings, match="TMON_MAP_TILES"):
        Settings.load({"TMON_MAP_TILES": template})


def test_tiles_cover_the_picture_and_meet_each_other() -> None:
    shown = frame(list(CITIES.values()))
    found = list(tiles(shown, "{z}/{x}/{y}"))
    assert min(tile.x for tile in found) <= 0
    assert max(tile.x + tile.side for tile in found) >= SIDE
    assert min(tile.y for tile in found) <= 0
    assert max(tile.y + tile.side for tile in found) >= SIDE
    assert all(160 < tile.side < 512 for tile in found)
    assert len(found) <= 36


def test_the_scale_is_true_in_the_middle() -> None:
    north, south = (52.53, 13.4), (52.50, 13.4)  # 3,336 m apart on the sphere
    shown = frame([north, south])
    apart = abs(shown.place(*north)[1] - shown.place(*south)[1])
    bar = scale(shown)
    assert bar.text == "1 km"
    assert bar.width == pytest.approx(apart / 3.336, rel=0.01)


@pytest.mark.parametrize(
    "positions",
    [[(0.0, 0.0)], [(90.0, 180.0)], [(-90.0, -180.0), (90.0, 180.0)], [(52.5, 13.4)] * 3],
)
def test_every_position_is_in_the_picture(positions: list[tuple[float, float]]) -> None:
    shown = frame(positions)
    assert isinstance(shown, Frame)
    assert scale(shown).width > 0
    for position in positions:
        x, y = shown.place(*position)
        assert 0 <= x <= SIDE
        assert 0 <= y <= SIDE
    assert all(map(math.isfinite, mercator(*positions[0])))


def test_ten_thousand_nodes_are_points(tmp_path: Path) -> None:
    path = tmp_path / "tmon.db"
    with open_database(path, create=True) as db, transaction(db):
        db.conn.executemany(
            "insert into nodes (name, uid, latitude, longitude, created_ms) values (?, ?, ?, ?, 0)",
            [(f"n{n}", f"u{n}", 40 + n % 100 / 10, n / 1000) for n in range(10_000)],
        )
    with served(path) as site:
        answer = site.get("/map")
    assert answer.status_code == 200
    assert answer.text.count("<circle") == 10_000
    assert "10,000 nodes as a table" in answer.text
    assert "<tr>" not in answer.text
