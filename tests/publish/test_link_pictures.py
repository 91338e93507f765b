"""A shared link shows its chart: tags for other sites, and the picture they ask for."""

import html
import re
import struct
import zlib
from pathlib import Path
from urllib.parse import quote

import pytest
import requests

from tests.publish.published import HOSTILE, Serve, Site
from tmon.db.connect import open_database
from tmon.pages.png import FONT, draw
from tmon.pages.svg import SIDE

PAPER, LINE = (255, 255, 255), (9, 105, 179)  # a white sheet, and the first line's colour
MARCH = "from=2024-03-01T00:00Z&to=2024-03-04T00:00Z"


def tags(page: str) -> dict[str, str]:
    found = re.findall(r'<meta (?:property|name)="((?:og|twitter):\w+)" content="([^"]*)">', page)
    return {name: html.unescape(content) for name, content in found}


def pixels(png: bytes) -> list[list[tuple[int, ...]]]:
    """The rows of an 8-bit RGBA picture (PNG 1.2, sections 6 and 9)."""
    assert png[:8] == b"\x89PNG\r\n\x1a\n"
    width, height = struct.unpack(">II", png[16:24])
    place, data = 8, b""
    while place < len(png):
        (length,) = struct.unpack(">I", png[place : place + 4])
        if png[place + 4 : place + 8] == b"IDAT":
            data += png[place + 8 : place + 8 + length]
        place += 12 + length
    raw, stride = zlib.decompress(data), width * 4
    above, rows = bytearray(stride), []
    for row in range(height):
        kind, *line = raw[row * (stride + 1) : (row + 1) * (stride + 1)]
        for at in range(stride):
            left, up = line[at - 4] if at >= 4 else 0, above[at]
            corner = above[at - 4] if at >= 4 else 0
            nearest = min((left, up, corner), key=lambda one: abs(left + up - corner - one))
            line[at] = (line[at] + (0, left, up, (left + up) // 2, nearest)[kind]) % 256
        above = bytearray(line)
        rows.append([tuple(line[at : at + 3]) for at in range(0, stride, 4)])
    return rows


@pytest.mark.parametrize(
    "path",
    [
        f"/node/attic/temperature?{MARCH}",
        f"/node/attic?{MARCH}",
        f"/compare?s=attic/temperature&s=basement/load&title=Two&{MARCH}",
    ],
)
def test_a_shared_link_shows_its_chart(site: Site, path: str) -> None:
    found = tags(site.get(path).text)
    assert found["twitter:card"] == "summary_large_image"
    assert found["og:title"]
    assert found["og:description"]
    assert found["og:url"].startswith(site.url + path.split("?", maxsplit=1)[0])
    assert "from=2024-03-01" in found["og:url"]
    answer = site.get(found["og:image"].removeprefix(site.url))
    assert answer.headers["content-type"] == "image/png"
    assert struct.unpack(">I", answer.content[16:20]) == (1200,)
    again = site.get(found["og:image"].removeprefix(site.url))
    assert again.headers["etag"] == answer.headers["etag"]


@pytest.mark.parametrize("path", ["/", "/map", "/refused", "/compare", "/node/cellar"])
def test_a_page_without_a_chart_shows_the_icon(site: Site, path: str) -> None:
    found = tags(site.get(path).text)
    assert found["twitter:card"] == "summary"
    picture = site.get(found["og:image"].removeprefix(site.url))
    assert picture.headers["content-type"] == "image/png"


def test_an_unchanged_picture_is_not_sent_again(site: Site) -> None:
    first = site.get(f"/node/attic/temperature.png?{MARCH}")
    request = {"if-none-match": first.headers["etag"]}
    again = requests.get(first.url, headers=request, timeout=60)
    assert (again.status_code, again.content) == (304, b"")


def test_the_line_is_as_thin_as_on_the_page(site: Site) -> None:
    rows = pixels(site.get(f"/node/attic/temperature.png?{MARCH}").content)
    assert rows[2][2] == PAPER
    # A saw-tooth of three days: one stroke of some pixels in most columns, never a blot.
    strokes = [sum(row[column] == LINE for row in rows[100:]) for column in range(200, 1000)]
    assert max(strokes) < 150
    assert sum(1 for stroke in strokes if stroke) > 500


def test_letters_are_drawn_without_any_font_of_the_machine() -> None:
    svg = '<svg xmlns="http://www.w3.org/2000/svg" width="99" height="30">{}</svg>'
    blank, *written = [
        draw(svg.format(f'<text y="20">{text}</text>'), 100) for text in (" ", "25", "°C", "µg/m³")
    ]
    assert FONT.stat().st_size < 64 * 1024
    assert (Path(FONT).parent / "LICENSE").read_text().count("Permission is hereby granted") == 1
    assert all(one != blank for one in written)
    assert len(set(written)) == len(written)


def test_what_is_stretched_is_drawn_at_its_real_size() -> None:
    stretched = (
        '<svg xmlns="http://www.w3.org/2000/svg" width="100" height="50"><style>path { fill: none;'
        " stroke: #000; stroke-width: 2 }</style>"
        '<rect width="100%" height="100%" fill="#fff"/><svg x="0" y="0" width="100" height="50">'
        f'<svg viewBox="0 0 {SIDE} {SIDE}" width="100%" height="100%" preserveAspectRatio="none">'
        f'<rect x="5000" width="5000" height="{SIDE}" fill="#f00"/><path d="M0,5000H2500V2500h0"/>'
        "</svg></svg></svg>"
    )
    rows = pixels(draw(stretched, 100))
    assert rows[25][75] == (255, 0, 0)
    assert [row[10] for row in rows].count((0, 0, 0)) == 2
    assert rows[20][25] == (0, 0, 0)
    assert rows[40][25] != (0, 0, 0)


def test_a_title_of_any_characters_makes_a_picture(site: Site) -> None:
    title = quote(f"{HOSTILE}\x00\x1b\ufffe日本語 &<>")
    for extension in ("svg", "png"):
        answer = site.get(f"/compare.{extension}?s=attic/temperature&{MARCH}&title={title}")
        assert answer.status_code == 200
        assert b"\x00\x1b" not in answer.content or extension == "png"


def test_what_is_wrong_is_told_as_for_the_page(site: Site) -> None:
    assert site.get("/node/attic/no-such.png").status_code == 404
    assert site.get("/compare.png").status_code == 400
    assert site.get("/node/attic/temperature.png?range=soon").status_code == 400


def test_a_hundred_sensors_need_no_more_than_a_small_picture(serve: Serve, tmp_path: Path) -> None:
    path = tmp_path / "tmon.db"
    with open_database(path, create=True) as db:
        db.execute("insert into nodes (name, uid, created_ms) values ('n', 'n', 0)")
        for number in range(16):
            db.execute(
                "insert into sensors (id, node, name, unit) values (?, 'n', ?, ?)",
                (number, f"s{number}", f"u{number}"),
            )
            db.execute("insert into readings values (?, 1709251200000, 1)", (number,))
    sensors = "&".join(f"s=n/s{number}" for number in range(16))
    png = serve(path).get(f"/compare.png?{sensors}&{MARCH}").content
    assert struct.unpack(">I", png[16:20]) == (720,)
