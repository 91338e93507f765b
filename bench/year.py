"""Rows memory, year and latest: five million readings, stored over HTTP, then queried."""

import json
from collections.abc import Iterator
from contextlib import ExitStack
from http.client import HTTPConnection
from pathlib import Path
from typing import Any
from urllib.parse import urlencode

from bench import peers
from bench.bulk import send
from bench.load import check_stored
from bench.peers import Server, ask_influx, influx_query
from bench.process import Failed, pss_bytes, settle
from bench.shape import Point
from bench.timing import Ask, cycle, http, median_ms, sql
from bench.work import Work
from tmon.core.time import DAY_MS, now_ms
from tmon.db.connect import open_database, transaction
from tmon.store.hours import close_hours

BATCH = 5000  # readings in each request, for all peers
HOURS_AT_ONCE = 10_000  # rolled up in a transaction
YEAR_DAYS = 365
SQL_NAME, HTTP_NAME = "tmon, SQL", "tmon, HTTP"
LATEST_SQL = "select node, name, value, unit, measured_at from latest"
LATEST_PAGE = "/tmon/latest.json?" + urlencode(
    [("_shape", "arrays"), ("_size", "max")]
    + [("_col", name) for name in ("node", "name", "value", "unit", "measured_at")]
)
LATEST_INFLUX = influx_query("select last(value) from temperature group by node")
PAGES = ("/", "/tmon", "/tmon/readings", "/tmon/latest", "/tmon/sensors", "/tmon/latest_readings")


def run(work: Work) -> None:
    """Store the same five million readings in both peers, and query them in turn."""
    path = work.folder / "year" / "tmon.db"
    nodes = peers.tokens(path.parent, [f"n{one:05}" for one in range(work.scale.year_sensors)])
    start_ms = (now_ms() // DAY_MS - YEAR_DAYS - 1) * DAY_MS
    with ExitStack() as servers:
        tmon = servers.enter_context(peers.tmon(path.parent, nodes, pages=True))
        _fill(work, tmon, start_ms)
        influx = None
        if work.has_influx():
            influx = servers.enter_context(peers.influxdb(work.folder / "year" / "influxdb", nodes))
            _fill(work, influx, start_ms)
        if work.has("memory"):
            _memory(work, tmon, influx)
        _roll_up(path)
        if work.has("year"):
            _year(work, path, tmon, influx, start_ms)
        if work.has("latest"):
            _latest(work, path, tmon, influx)


def _fill(work: Work, server: Server, start_ms: int) -> None:
    total = work.scale.year_sensors * work.scale.year_readings
    work.say(f"year: {total:,} readings into {server.name} over HTTP")
    send(server.port, _requests(work, server, start_ms))
    check_stored(server, start_ms, total)


def _requests(work: Work, server: Server, start_ms: int) -> Iterator[bytes]:
    """Each node's year in requests of 5,000: the first of all nodes, then the second, and so on."""
    step_ms = YEAR_DAYS * DAY_MS // work.scale.year_readings
    values = [f"{20 + (one * 37 % 400) / 16:.4f}" for one in range(1000)]  # DS18B20: 1/16 °C
    for first in range(0, work.scale.year_readings, BATCH):
        places = range(first, min(first + BATCH, work.scale.year_readings))
        for number, node in enumerate(server.nodes):
            points = (
                Point("temperature", start_ms + place * step_ms, values[(place + number) % 1000])
                for place in places
            )
            yield server.shape.request(node, points)


def _memory(work: Work, tmon: Server, influx: Server | None) -> None:
    ask = http(tmon.pages_port)
    for page in PAGES:
        ask(page)
    if influx is not None:
        http(influx.port)(LATEST_INFLUX)
    for server in (tmon, influx):
        if server is not None:
            settle(server.pid, work.scale.patience_s)
            _note_memory(work, server)


def _note_memory(work: Work, server: Server) -> None:
    """Record the memory of all processes together, and Datasette's part of it."""
    by_command = pss_bytes(server.pid)
    used = {server.name: sum(by_command.values())}
    for command, size in by_command.items():
        if "serve datasette " in command:
            used["of which datasette"] = size
    for name, size in used.items():
        work.record.add("memory.mb", name, size / 1e6)
        work.say(f"memory: {name} {size / 1e6:.0f} MB")


def _roll_up(path: Path) -> None:
    """Roll up all hours, as ingest has done long before a year of readings has come."""
    with open_database(path) as db:
        closed = 1
        while closed:
            with transaction(db):
                closed = close_hours(db, now_ms(), HOURS_AT_ONCE)


def _compare(work: Work, name: str, asks: dict[str, tuple[Ask, list[str]]]) -> None:
    """Measure the same queries with all peers in turn, in each round."""
    for number in range(work.scale.rounds):
        for peer, (ask, questions) in asks.items():
            took_ms = median_ms(ask, cycle(questions, work.scale.questions))
            work.record.add(name, peer, took_ms)
            work.say(f"{name}, round {number + 1}: {peer} {took_ms:.2f} ms")


def _year(work: Work, path: Path, tmon: Server, influx: Server | None, start_ms: int) -> None:
    sensors = _sensors(tmon)
    pages = [f"/tmon/daily.json?sensor={one}&_shape=arrays&_size=max" for one in sensors.values()]
    queries = [
        f"select day, min, mean, max from daily where sensor = {one}" for one in sensors.values()
    ]
    asks = {SQL_NAME: (sql(path), queries), HTTP_NAME: (http(tmon.pages_port), pages)}
    if influx is not None:
        end_ms = start_ms + YEAR_DAYS * DAY_MS
        texts = [
            "select min(value), mean(value), max(value) from temperature "
            f"where node = '{node}' and time >= {start_ms}ms and time < {end_ms}ms "
            "group by time(1d)"
            for node in sensors
        ]
        _check_same(tmon, pages[0], influx, texts[0])
        asks[influx.name] = (http(influx.port), [influx_query(text) for text in texts])
    _compare(work, "year.ms", asks)


def _latest(work: Work, path: Path, tmon: Server, influx: Server | None) -> None:
    asks = {
        SQL_NAME: (sql(path), [LATEST_SQL]),
        HTTP_NAME: (http(tmon.pages_port), [LATEST_PAGE]),
    }
    if influx is not None:
        asks[influx.name] = (http(influx.port), [LATEST_INFLUX])
    _compare(work, "latest.ms", asks)


def _sensors(tmon: Server) -> dict[str, int]:
    """Each node's one sensor, by the node's name."""
    answer = rows_of(tmon.pages_port, "/tmon/sensors.json?_shape=objects&_size=max")
    return {row["node"]: row["id"] for row in answer["rows"]}


def rows_of(port: int, path: str) -> Any:
    """Datasette's JSON response, parsed."""
    connection = HTTPConnection("127.0.0.1", port, timeout=120)
    connection.request("GET", path)
    answer = json.loads(connection.getresponse().read())
    connection.close()
    return answer


def _check_same(tmon: Server, page: str, influx: Server, query: str) -> None:
    """Check that both have the same values for the first sensor's year.

    Raises:
        Failed: they differ.
    """
    ours = rows_of(tmon.pages_port, page.replace("_shape=arrays", "_shape=objects"))["rows"]
    [theirs] = ask_influx(influx.port, query)
    same = len(ours) == len(theirs) and all(
        abs(float(str(mean)) - row["mean"]) < 1e-6 and lowest == row["min"]
        for row, (_, lowest, mean, _) in zip(ours, theirs, strict=True)
    )
    if not same:
        raise Failed("tmon and InfluxDB have different values for one sensor's year")
