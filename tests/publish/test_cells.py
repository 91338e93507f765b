"""Pages are for people; JSON and CSV keep plain numbers and ISO times."""

import re
from pathlib import Path

import pytest

from tests.publish.published import HOSTILE, MARCH_MS, Serve, Site, fill
from tmon.db.connect import open_database

REJECTED = "select+sensor,value+from+rejected"


def test_a_value_has_its_unit_and_keeps_the_exact_number(site: Site) -> None:
    page = site.get("/tmon/readings", sensor="2").text
    assert '<span class="quantity" title="21.4379 °C">21.4\N{NO-BREAK SPACE}°C</span>' in page


def test_a_value_without_a_unit_is_plain(site: Site) -> None:
    assert '<span class="quantity" title="0.25">0.25</span>' in site.get("/tmon/latest").text


@pytest.mark.parametrize("table", ["readings", "hourly", "daily", "latest"])
def test_a_sensor_is_its_name_and_leads_to_its_page(site: Site, table: str) -> None:
    page = site.get(f"/tmon/{table}", sensor="1").text
    assert '<a href="/node/attic/temperature">attic temperature</a>' in page
    assert "°C</span>" in page


@pytest.mark.parametrize("table", ["readings", "hourly", "daily"])
def test_a_table_can_be_narrowed_to_one_sensor(site: Site, table: str) -> None:
    narrowing = f'class="only" href="/tmon/{table}?sensor=2" aria-label="only basement temperature"'
    assert narrowing in site.get(f"/tmon/{table}", _where="sensor = 2").text
    assert 'class="only"' not in site.get(f"/tmon/{table}", sensor="2").text
    assert site.rows(f"/tmon/{table}", sensor="2")


def test_a_node_leads_to_its_page(site: Site) -> None:
    assert '<a href="/node/attic">attic</a>' in site.get("/tmon/latest").text


def test_a_name_with_a_slash_leads_to_its_page(serve: Serve, tmp_path: Path) -> None:
    path = tmp_path / "tmon.db"
    with open_database(path, create=True) as db:
        fill(db)
        db.execute("update sensors set name = 'roof/air:1' where id = 1")
    assert (
        'href="/node/attic/roof/air:1">attic roof/air:1</a>' in serve(path).get("/tmon/latest").text
    )


def test_an_instant_is_readable_and_leads_to_its_reading(site: Site) -> None:
    page = site.get(f"/tmon/readings/1,{MARCH_MS}").text
    exact = "2024-03-01T00:00:00.000Z"
    assert (
        f'<a href="/tmon/readings/1,{MARCH_MS}"><time datetime="{exact}" title="{exact}">'
        "2024-03-01 00:00:00</time></a>"
    ) in page


def test_ages_are_in_the_unit_that_fits_and_silence_is_a_word(site: Site) -> None:
    assert re.search(r'<span title="\d+ s">\d+ d</span>', site.get("/tmon/silent_nodes").text)
    page = site.get("/tmon/latest").text
    assert page.count('<strong class="silent">silent</strong>') == 1
    assert re.search(r'<span title="\d+ s">\d+ (s|min)</span>', page)


@pytest.mark.parametrize(
    ("cell", "shown"),
    [
        ("1709251200000 as seen_ms", "2024-03-01 00:00:00"),
        ("5000 as gap_ms", ">5000<"),
        ("9223372036854775807 as seen_ms", ">9223372036854775807<"),
        ("'soon' as seen_ms", ">soon<"),
        ("-0.01 as value, '°C' as unit", ">0.0\N{NO-BREAK SPACE}°C<"),
        ("1e300 as value, 'lx' as unit", ">1e+300\N{NO-BREAK SPACE}lx<"),
        ("12345678 as value, 'B' as unit", ">12345678\N{NO-BREAK SPACE}B<"),
        ("9e999 as value, 'lx' as unit", ">inf\N{NO-BREAK SPACE}lx<"),
        ("9e999 as age_s", ">inf d<"),
        ("9223372036854775807 as sensor, 1 as value", ">9223372036854775807<"),
        ("-5 as sensor", ">-5<"),
        ("x'00ff' as value, 1 as sensor", "Binary"),
        ("1 as value, '<script>' as unit", "&lt;script&gt;"),
        ("'<b>' as silent", "&lt;b&gt;"),
    ],
)
def test_columns_of_anybodys_sql_are_read_with_care(site: Site, cell: str, shown: str) -> None:
    answer = site.get("/tmon/-/query", sql=f"select {cell}")
    assert answer.status_code == 200
    assert shown in answer.text


def test_json_and_csv_are_plain(site: Site) -> None:
    row = site.rows("/tmon/readings", sensor="1", _size="1", _sort="measured_ms")[0]
    assert row == {
        "sensor": 1,
        "measured_ms": MARCH_MS,
        "value": 10.0,
        "measured_at": "2024-03-01T00:00:00.000Z",
    }
    csv = site.get("/tmon/readings.csv", sensor="1", _size="1", _sort="measured_ms").text
    assert csv.splitlines() == [
        "sensor,measured_ms,value,measured_at",
        f"1,{MARCH_MS},10.0,2024-03-01T00:00:00.000Z",
    ]


@pytest.mark.parametrize("page", ["nodes", "rejected", "rejected_lately", "silent_nodes"])
def test_hostile_text_comes_out_inert(site: Site, page: str) -> None:
    text = site.get(f"/tmon/{page}").text
    assert "<script>document" not in text
    assert "&lt;script&gt;document" in text


def test_what_a_node_sent_can_not_reorder_what_stands_beside_it(site: Site) -> None:
    assert "<bdi>" in site.get("/tmon/rejected").text
    assert HOSTILE in {row["value"] for row in site.rows("/tmon/rejected")}


@pytest.mark.parametrize("page", ["rejected", "rejected_lately", "-/query?sql=" + REJECTED])
def test_an_address_that_a_node_sent_is_no_link(serve: Serve, tmp_path: Path, page: str) -> None:
    path = tmp_path / "tmon.db"
    with open_database(path, create=True) as db:
        db.execute(
            "insert into rejected (received_ms, node, sensor, measured, value, code, reason)"
            " values (0, 'attic', 'https://example.org/a', '', 'https://example.org/b', '', '')"
        )
    text = serve(path).get(f"/tmon/{page}").text
    assert "<bdi>https://example.org/b</bdi>" in text
    assert 'href="https://example.org' not in text


def test_a_single_reading_is_headed_by_what_it_says(site: Site) -> None:
    page = site.get(f"/tmon/readings/1,{MARCH_MS}").text
    heading = "attic temperature, 2024-03-01 00:00:00 UTC: 10.0 °C"
    found = re.search("<h1>(.*?)</h1>", page)
    assert found is not None
    assert re.sub("<[^>]*>", "", found[1]).replace("\N{NO-BREAK SPACE}", " ") == heading
    assert f"<title>{heading}</title>" in page


def test_a_new_sensor_has_its_label_and_unit_on_the_next_page(
    serve: Serve, tmp_path_factory: pytest.TempPathFactory
) -> None:
    path = tmp_path_factory.mktemp("growing") / "tmon.db"
    with open_database(path, create=True) as db:
        fill(db)
        site = serve(path)
        site.get("/tmon/readings")
        db.execute("insert into sensors (id, node, name, unit) values (5, 'attic', 'p', 'hPa')")
        db.execute("insert into readings (sensor, measured_ms, value) values (5, 0, 1013.25)")
        assert "1013.2\N{NO-BREAK SPACE}hPa" in site.get("/tmon/readings", sensor="5").text
