"""What one request takes stays small, whatever its answer repeats in each row."""

import os
import re
from collections.abc import Iterator
from dataclasses import dataclass
from itertools import product
from pathlib import Path
from typing import Any
from urllib.parse import quote, urlencode

import pytest
import requests

from tests.publish.published import Site, fill
from tests.station import Process
from tmon.db.connect import open_database

MOST_ANSWER_BYTES = 32 * 2**20
# Over idle, with what earlier answers took and the allocator still keeps; one alone takes 120.
MOST_GROWTH_MB = 200
MOST_S = 10.0  # of the processor; the largest take 2
LONG = 15_000
UNQUOTED = "'()*,/;:<>=\"{}"

SHAPES = (
    "/tmon/-/query",
    "/tmon/-/query.csv",
    "/tmon/-/query.blob",
    *(f"/tmon/-/query.json?_shape={shape}" for shape in ("objects", "arrays", "array")),
    "/tmon/-/query.json?_shape=array&_nl=on",
    "/tmon/-/query.json?_shape=arrays&_extra=render_cell,columns,query,request,debug",
)
ROWS = "with recursive c (i) as (select 1 union all select i + 1 from c limit {})"
ESCAPED = "'" + "''" * 400 + "'"


def each(template: str, times: int = 199) -> str:
    return ", ".join(template.replace("#", str(n)) for n in range(times))


# What costs much beside its values: names, links that repeat the question, HTML around a cell.
COLUMNS = {
    "blobs": f"x'ab' /*{'x' * LONG}*/",
    "many blobs": each("x'ab'", 90),
    "a long name": f'1 as "{"a" * LONG}"',
    "an escaped name": f'1 as "{"é" * (LONG // 6)}"',
    "a name of controls": '1 as "' + chr(1) * (LONG // 4) + '"',
    "an expression as a name": f"date(i, {each(repr('+1 month'), 99)})",
    "many long names": each('1 as "' + "_" * 40 + '#"', 180),
    "many cells": each("i"),
    "ten numbers": each("i * 1.1", 10),
    "links to sensors": each("i % 4 + 1 as sensor"),
    "a unit for many values": each("1 as value", 190) + ", '" + "<" * 9000 + "' as unit",
    "texts": ESCAPED,
    "wide texts": ESCAPED + " as '\N{FIRE}'",
    "many texts": each("'<<<<<<<<<<<<<<<<<<<<'"),
    "long texts": "replace('" + "0" * 5000 + "', '0', ) as x",
    "controls": "replace('" + "x" * 5000 + "', 'x', char(1)) as x",
    "addresses": f"'http://{'&' * 300}'",
    "times": each("1700000000000 + i as x_ms"),
    "silence": each("1 as silent"),
}
TABLES = (
    "/tmon/readings{form}?_facet=sensor&_facet=value&_facet=measured_ms&_facet_size=max",
    "/tmon/readings{form}?_facet=value&_facet_date=measured_at&%5Ffacet=measured_ms",
    '/tmon/readings{form}?_facet={{"simple":"value"}}&_facet={{"simple":"measured_ms"}}',
    "/tmon/readings{form}?_size=max&_labels=on",
    "/tmon/readings{form}?_size=max&_extra=render_cell",
    "/tmon/rejected{form}?_size=max",
)


@dataclass
class Station:
    """`tmon serve datasette` in a process of its own."""

    url: str
    process: Process
    idle_mb: int = 0

    def memory_mb(self, kind: str) -> int:
        status = Path(f"/proc/{self.process.popen.pid}/status").read_text()
        found = re.search(rf"{kind}:\s+(\d+)", status)
        assert found
        return int(found[1]) // 1024

    def cpu_s(self) -> float:
        fields = Path(f"/proc/{self.process.popen.pid}/stat").read_text().rpartition(")")[2].split()
        return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")

    def take(self, address: str) -> tuple[int, int, int, float]:
        """The answer's status and length, how much more memory than idle it took, and CPU time."""
        highest_is_present = Path(f"/proc/{self.process.popen.pid}/clear_refs")
        highest_is_present.write_text("5")
        began_s = self.cpu_s()
        headers = {"accept-encoding": "identity"}
        with requests.get(self.url + address, stream=True, timeout=120, headers=headers) as answer:
            length = sum(len(piece) for piece in answer.iter_content(2**16))
        took_s = self.cpu_s() - began_s
        return answer.status_code, length, self.memory_mb("VmHWM") - self.idle_mb, took_s


@pytest.fixture(scope="module")
def station(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Station]:
    folder = tmp_path_factory.mktemp("answers")
    with open_database(folder / "tmon.db", create=True) as db, db.atomic():
        fill(db)
        db.execute(
            "with recursive c (i) as (select 1 union all select i + 1 from c limit 20000)"
            " insert into readings (sensor, measured_ms, value) select 1, i, i / 7.0 from c"
        )
    process = Process(folder, "serve", "datasette", "--db", "tmon.db", "--datasette-port", "0")
    try:
        station = Station(process.addresses(1)["datasette"], process)
        station.take("/tmon/readings?_size=max")
        station.idle_mb = station.memory_mb("VmRSS")
        yield station
    finally:
        process.kill()


def assert_small(station: Station, address: str) -> int:
    status, length, grown_mb, took_s = station.take(address)
    told = f"{status} {length:,} bytes {grown_mb} MB {took_s:.2f} s {address[:99]}"
    assert status in {200, 400, 404, 431}
    assert length <= MOST_ANSWER_BYTES, told
    assert grown_mb <= MOST_GROWTH_MB, told
    assert took_s <= MOST_S, told
    return status


WORST = ("blobs", "a long name", "an expression as a name", "a unit for many values", "wide texts")


def assert_sql_is_small(station: Station, columns: str, shape: str) -> None:
    """However many rows of them there are: up to the most that there is an answer to."""
    separator = "&" if "?" in shape else "?"
    for rows in (10_000, 2500, 1300, 650, 320, 100):
        sql = f"{ROWS.format(rows)} select {COLUMNS[columns]} from c"
        address = f"{shape}{separator}sql={quote(sql, safe=UNQUOTED)}"
        if assert_small(station, address) == 200:
            return


@pytest.mark.parametrize("shape", ["/tmon/-/query", "/tmon/-/query.csv", "/tmon/-/query.json"])
@pytest.mark.parametrize("columns", WORST)
def test_the_worst_answers_to_sql(station: Station, columns: str, shape: str) -> None:
    assert_sql_is_small(station, columns, shape)


@pytest.mark.soak
@pytest.mark.parametrize("shape", SHAPES)
@pytest.mark.parametrize("columns", COLUMNS)
def test_all_answers_to_sql(station: Station, columns: str, shape: str) -> None:
    assert_sql_is_small(station, columns, shape)


@pytest.mark.parametrize("padding", [1700, LONG])
@pytest.mark.parametrize(("table", "form"), [*product(TABLES, ("", ".json"))])
def test_a_table(station: Station, table: str, form: str, padding: int) -> None:
    padded = urlencode({"_x": "(" * (padding // 3)})
    assert_small(station, f"{table.format(form=form)}&{padded}")


def facet_values(site: Site, address: str) -> list[Any]:
    """The values of an address's one facet."""
    (facet,) = site.get(address).json()["facet_results"]["results"].values()
    return list(facet["results"])


@pytest.mark.parametrize("size", ["max", "10000", "00101", "101"])
def test_a_facet_has_a_hundred_values_at_most(site: Site, size: str) -> None:
    address = f"/tmon/readings.json?_facet=measured_ms&_facet%5Fsize={size}"
    assert len(facet_values(site, address)) == 100


def test_a_facet_has_as_many_values_as_it_is_asked_for(site: Site) -> None:
    assert len(facet_values(site, "/tmon/nodes.json?_facet=name&_facet_size=2")) == 2
