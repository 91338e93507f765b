"""A table or view as CSV is all that its filters select; no part of it passes for the whole."""

import csv
import socket
from collections.abc import Iterator
from pathlib import Path
from urllib.parse import urlsplit

import pytest
import requests

from tests.publish.published import Serve, Site, two_sensors
from tests.station import wait_for
from tmon.db.connect import open_database
from tmon.pages import asgi
from tmon.pages.csv_export import MAX_EXPORTS
from tmon.store.hours import close_hours

NEWEST_FIRST = [f"{sensor},{n}" for n in range(12_000, 0, -1) for sensor in (1, 2)]


@pytest.fixture(scope="module")
def large(serve: Serve, tmp_path_factory: pytest.TempPathFactory) -> Site:
    """24,000 readings: more than two pages hold."""
    return serve(two_sensors(tmp_path_factory.mktemp("large")))


def _rows(site: Site, page: str, **params: str) -> list[dict[str, str]]:
    answer = site.get(page, **params)
    assert answer.status_code == 200
    return list(csv.DictReader(answer.text.splitlines()))


def _keys(rows: list[dict[str, str]]) -> list[str]:
    return [f"{row['sensor']},{row['measured_ms']}" for row in rows]


@pytest.mark.parametrize(
    "params", [{}, {"_size": "max"}, {"_stream": "on"}, {"_next": "9,1,9", "_size": "max"}]
)
def test_every_link_to_it_has_every_reading_newest_first(
    large: Site, params: dict[str, str]
) -> None:
    assert _keys(_rows(large, "/tmon/readings.csv", **params)) == NEWEST_FIRST


@pytest.mark.parametrize("params", [{}, {"_sort": "measured_ms"}, {"_sort": "value"}])
def test_filters_hold_on_every_page_of_any_order(large: Site, params: dict[str, str]) -> None:
    rows = _rows(large, "/tmon/readings.csv", sensor="2", measured_ms__gte="500", **params)
    ascending = [f"2,{n}" for n in range(500, 12_001)]
    assert _keys(rows) == (ascending if params else ascending[::-1])


def test_labels_have_a_column_of_their_own_to_the_end(large: Site) -> None:
    rows = _rows(large, "/tmon/readings.csv", _labels="on", _size="max")
    assert list(rows[0])[:3] == ["sensor", "sensor_label", "measured_ms"]
    assert rows[-1]["sensor_label"] == "attic t2"
    assert len(rows) == len(NEWEST_FIRST)


def test_all_clean_readings_are_in_it_newest_first(large: Site) -> None:
    assert _keys(_rows(large, "/tmon/readings_clean.csv")) == NEWEST_FIRST
    some = _rows(large, "/tmon/readings_clean.csv", measured_ms__lt="11001", sensor="2")
    assert _keys(some) == [f"2,{n}" for n in range(11_000, 0, -1)]


def test_many_clean_readings_of_one_instant_are_in_it_once(serve: Serve, tmp_path: Path) -> None:
    """More than a page holds: nothing tells them apart but their sensors."""
    path = tmp_path / "tmon.db"
    with open_database(path, create=True) as db, db.atomic():
        db.execute("insert into nodes (name, uid, created_ms) values ('attic', 'u', 0)")
        counted = """with recursive counted (n) as (
            select 1 union all select n + 1 from counted limit 10500)"""
        db.execute(
            f"{counted} insert into sensors (id, node, name) select n, 'attic', n from counted"
        )
        for instant_ms in (7, 8, 9):
            db.execute(f"{counted} insert into readings select n, {instant_ms}, n from counted")
    rows = _rows(serve(path), "/tmon/readings_clean.csv")
    assert [row["measured_ms"] for row in rows] == ["9"] * 10_500 + ["8"] * 10_500 + ["7"] * 10_500
    assert len(set(_keys(rows))) == len(rows)


@pytest.mark.parametrize(
    "table",
    [
        *("readings", "sensors", "nodes", "latest", "daily", "rejected"),
        *("readings_clean", "hourly_clean", "daily_clean", "latest_clean"),
    ],
)
@pytest.mark.parametrize("labels", [{}, {"_labels": "on"}])
def test_it_is_what_datasette_itself_would_say(
    site: Site, table: str, labels: dict[str, str]
) -> None:
    def is_the_same() -> bool:
        ours = site.get(f"/tmon/{table}.csv", **labels)
        return ours.text == site.get(f"/tmon/{table}.csv", _size="9999", **labels).text

    wait_for(is_the_same)  # at once, unless a second has passed between the two: see `age_s`


def test_every_day_is_in_it_once(serve: Serve, tmp_path: Path) -> None:
    path = two_sensors(tmp_path)
    with open_database(path) as db:
        db.execute(
            "insert into hours select sensor, measured_ms * 86400000, 1, 1, 1, 1 from readings"
        )
    site = serve(path)
    days = site.values("select sensor || ',' || day_ms from daily order by sensor, day_ms")
    for table in ("daily", "daily_clean"):
        rows = _rows(site, f"/tmon/{table}.csv")
        assert [f"{row['sensor']},{row['day_ms']}" for row in rows] == days
    rows = _rows(site, "/tmon/hourly_clean.csv")
    assert [f"{row['sensor']},{row['hour_ms']}" for row in rows] == days


SORTED_VIEWS = [
    *("/tmon/readings_clean.csv?_sort=sensor", "/tmon/readings_clean.csv?_sort_desc=value"),
    *("/tmon/hourly_clean.csv?_sort=sum", "/tmon/daily.csv?_sort_desc=mean"),
    *("/tmon/daily_clean.csv?_sort=day_ms", "/tmon/latest.csv?_sort=value"),
    *("/tmon/latest_clean.csv?_sort_desc=measured_ms", "/tmon/hourly.csv?_sort=sum"),
    *("/tmon/nodes.csv?_sort=last_received_ms", "/tmon/sensors.csv?_sort=name"),
    *("/tmon/latest.csv?_col=value", "/tmon/daily.csv?_nocol=sensor", "/tmon/of_the_owner.csv"),
]
IN_PAGES = [  # and the columns that tell their rows apart
    ("/tmon/readings.csv?_sort=value&_labels=on", "sensor,measured_ms"),
    ("/tmon/readings.csv?_sort_desc=measured_at", "sensor,measured_ms"),
    ("/tmon/readings_clean.csv?_sort_desc=measured_ms", "sensor,measured_ms"),
    ("/tmon/hourly.csv", "sensor,hour_ms"),
    ("/tmon/hourly_clean.csv", "sensor,hour_ms"),
    ("/tmon/daily.csv", "sensor,day_ms"),
    ("/tmon/daily_clean.csv?_nocol=mean", "sensor,day_ms"),
    ("/tmon/latest.csv", "node,name"),
    ("/tmon/latest.csv?_sort=node", "node,name"),
    ("/tmon/latest_clean.csv?_labels=on", "node,name"),
    ("/tmon/nodes.csv", "name"),
    ("/tmon/nodes.csv?_sort_desc=name", "name"),
    ("/tmon/sensors.csv", "id"),
]


@pytest.fixture(scope="module")
def wide(serve: Serve, tmp_path_factory: pytest.TempPathFactory) -> Site:
    """More nodes, sensors, hours and days than a page has rows."""
    path = tmp_path_factory.mktemp("wide") / "tmon.db"
    with open_database(path, create=True) as db, db.atomic():
        counted = """with recursive counted (n) as (
            select 1 union all select n + 1 from counted limit 10500)"""
        for sql in (
            "insert into nodes (name, uid, created_ms) select 'n' || n, n, 0 from counted",
            "insert into sensors (id, node, name) select n, 'n' || (1 + n % 99), n from counted",
            "insert into readings select n, n / 3, n from counted",
            "insert or replace into hours select n, n * 86400000, 1, n, n, n from counted",
        ):
            db.execute(f"{counted} {sql}")
        db.execute("create view of_the_owner as select * from readings")
        close_hours(db, 1 << 62, 1 << 62)
    return serve(path)


@pytest.mark.parametrize(("page", "keys"), IN_PAGES)
def test_a_csv_of_many_pages_has_each_row_once(wide: Site, page: str, keys: str) -> None:
    table = page.removeprefix("/tmon/").partition(".")[0]
    rows = _rows(wide, page)
    found = [tuple(row[key] for key in keys.split(",")) for row in rows]
    assert len(set(found)) == len(found)
    assert [len(found)] == wide.values(f"select count(*) from {table}")
    assert len(found) > 10_000


@pytest.mark.parametrize("page", SORTED_VIEWS)
def test_a_csv_whose_rows_could_be_in_it_twice_is_refused(wide: Site, page: str) -> None:
    """Datasette would count off the rows of earlier pages, while others come in."""
    answer = wide.get(page)
    assert answer.status_code == 400
    assert "at most 10,000 rows" in answer.text
    assert len(_rows(wide, page, _where="1 = 0")) == 0


def test_nothing_is_told_twice_while_readings_come_in(serve: Serve, tmp_path: Path) -> None:
    path = two_sensors(tmp_path)
    site = serve(path)
    before = {*site.values("select sensor || ',' || measured_ms from readings")}
    with requests.get(site.url + "/tmon/readings_clean.csv", stream=True, timeout=60) as answer:
        pieces = answer.iter_content(512)
        text = next(pieces)
        with open_database(path) as db, db.atomic():  # newer ones, and older ones
            for measured_ms in (*range(20_001, 26_000), *range(-6000, 0)):
                db.execute("insert into readings values (1, ?, 1)", [measured_ms])
            db.execute("insert into sensors (id, node, name) values (3, 'attic', 't3')")
            db.execute("insert into readings select 3, measured_ms, 1 from readings where sensor=2")
        text += b"".join(pieces)
    told = [",".join(line.split(",")[:2]) for line in text.decode().splitlines()[1:]]
    assert len({*told}) == len(told)
    assert before <= {*told}


@pytest.mark.parametrize("page", ["/tmon/-/query.csv", "/tmon/-/query.csv?_stream=on"])
def test_a_csv_of_sql_is_whole_or_refused(large: Site, page: str) -> None:
    assert len(_rows(large, page, sql="select value from readings limit 10000")) == 10_000
    answer = large.get(page, sql="select value from readings limit 10001")
    assert answer.status_code == 400
    assert "more than 10,000 rows" in answer.text


def test_a_page_of_sql_says_that_it_is_cut_off(large: Site) -> None:
    sql = "select sensor, value from readings limit {}"
    told = "Only the first 10,000 rows are shown."
    assert told not in large.get("/tmon/-/query", sql=sql.format(10_000)).text
    page = large.get("/tmon/-/query", sql=sql.format(10_001)).text
    assert told in page
    assert "More than 10,000 rows" in page


def test_an_empty_table_is_its_headings(empty: Site) -> None:
    assert empty.get("/tmon/readings.csv").text == "sensor,measured_ms,value,measured_at\r\n"


def test_it_can_be_a_download_without_headings(site: Site) -> None:
    answer = site.get("/tmon/nodes.csv", _dl="on", _header="off")
    assert answer.headers["content-disposition"] == 'attachment; filename="nodes.csv"'
    assert answer.text.startswith("attic,")


@pytest.mark.parametrize("page", ["/tmon/latest_readings.csv", "/tmon/-/query.csv?sql=select+1"])
def test_queries_are_datasettes(site: Site, page: str) -> None:
    assert site.get(page).status_code == 200


def test_what_can_not_be_selected_is_told(site: Site) -> None:
    answer = site.get("/tmon/readings.csv", _sort="colour")
    assert answer.status_code == 400
    assert answer.text == "Cannot sort table by colour"


def test_a_broken_off_answer_is_an_error_to_whoever_reads_it(serve: Serve, tmp_path: Path) -> None:
    path = two_sensors(tmp_path)
    answer = requests.get(serve(path).url + "/tmon/readings.csv", stream=True, timeout=60)
    lines: Iterator[bytes] = answer.iter_lines()
    next(lines)
    with open_database(path) as db:
        db.execute("alter table readings rename to moved")
    with pytest.raises(requests.exceptions.ChunkedEncodingError):
        list(lines)


def test_a_page_of_one_row_is_no_way_to_stream(large: Site) -> None:
    """It would take as many questions as there are rows."""
    assert _keys(_rows(large, "/tmon/readings.csv", _stream="on", _size="1")) == NEWEST_FIRST
    assert len(_rows(large, "/tmon/readings.csv", _size="1")) == 1
    assert len(_rows(large, "/tmon/-/query.csv", sql="select 1", _stream="on", _size="1")) == 1


def test_a_first_page_that_is_refused_is_no_shorter_csv(
    large: Site, monkeypatch: pytest.MonkeyPatch
) -> None:
    large.get("/robots.txt")  # it has started
    monkeypatch.setattr(large.datasette, "sql_time_limit_ms", 0)
    answer = large.get(
        "/tmon/readings.csv",
        _where="sqlite_version() <> (select max(value) || sensor from readings)",
    )
    assert answer.status_code == 400
    assert "takes longer" in answer.text


def test_a_filter_of_datasettes_form_leads_to_its_csv(large: Site) -> None:
    params = {"_filter_column": "sensor", "_filter_op": "exact", "_filter_value": "2"}
    rows = _rows(large, "/tmon/readings.csv", **params)
    assert {row["sensor"] for row in rows} == {"2"}
    assert len(rows) == 12_000


def test_so_many_streams_at_once_until_nobody_reads_them(
    large: Site, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(asgi, "CHUNK_TIMEOUT_S", 2)
    address = urlsplit(large.url)
    large.get("/tmon/readings.json", _size="1")  # it has started
    unread = [_unread(str(address.hostname), int(address.port or 0)) for _ in range(MAX_EXPORTS)]
    for connection in unread:
        assert connection.recv(12) == b"HTTP/1.1 200"
    answers: list[requests.Response] = []

    def answered(status: int) -> bool:
        answers.append(large.get("/tmon/readings.csv", sensor="1"))
        return answers[-1].status_code == status

    wait_for(lambda: answered(429))
    assert int(answers[-1].headers["retry-after"]) > 0
    assert "Try again" in answers[-1].text
    wait_for(lambda: answered(200))
    for connection in unread:
        connection.close()


def _unread(host: str, port: int) -> socket.socket:
    """One that asks for all readings and reads none of them."""
    connection = socket.socket()
    connection.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 2048)
    connection.connect((host, port))
    connection.sendall(b"GET /tmon/readings.csv HTTP/1.1\r\nHost: x\r\n\r\n")
    return connection
