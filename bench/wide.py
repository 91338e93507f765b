"""Rows browsing, rollup and latest-wide: a million readings of ten thousand sensors."""

from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager

from bench import peers
from bench.load import SINGLE, Outcome, drive, finish_wrk, start_wrk
from bench.peers import Server
from bench.process import Failed
from bench.station import Station, build
from bench.timing import cycle, http, median_ms, sql
from bench.work import Work
from bench.year import HTTP_NAME, LATEST_PAGE, LATEST_SQL, SQL_NAME, rows_of
from tmon.db.connect import open_database, transaction

VISITORS = 8
PROMETHEUS_NAME = "tmon, Prometheus"
FIRST_PAGES_S = 3  # after the load: even on a busy machine some pages have loaded by then
LONGEST_S = 300  # visitors are stopped earlier, when the load ends
IDLE, BROWSED, ROLLED_UP = "idle", "browsed", "rolled up"


def run(work: Work) -> None:
    station = build(work, "wide", work.scale.wide_readings)
    with peers.tmon(station.folder, station.nodes, pages=True) as server:
        if work.has("latest-wide"):
            _latest(work, station, server)
        for number in range(work.scale.rounds):
            idle = None
            for row, name in (("browsing", BROWSED), ("rollup", ROLLED_UP)):
                if work.has(row):
                    idle = idle or _load(work, station, server)
                    _note(work, row, IDLE, idle, number)
                    with _BESIDE[row](work, station, server, number):
                        busy = _load(work, station, server)
                    _note(work, row, name, busy, number)


def _latest(work: Work, station: Station, server: Server) -> None:
    asks = {
        SQL_NAME: (sql(station.path), LATEST_SQL),
        HTTP_NAME: (http(server.pages_port), LATEST_PAGE),
        PROMETHEUS_NAME: (http(server.pages_port), "/-/prometheus"),
    }
    with open_database(station.path) as db, transaction(db):  # Prometheus gets none that is silent
        db.execute("update nodes set silent_after_s = 1000 * 86400")
    if http(server.pages_port)("/-/prometheus") < 50 * work.scale.nodes:
        raise Failed("/-/prometheus leaves sensors out")
    for number in range(work.scale.rounds):
        for name, (ask, question) in asks.items():
            took_ms = median_ms(ask, cycle([question], max(3, work.scale.questions // 4)))
            work.record.add("latest-wide.ms", name, took_ms)
            work.say(f"latest of all, round {number + 1}: {name} {took_ms:.1f} ms")


def _load(work: Work, station: Station, server: Server) -> Outcome:
    return drive(server, SINGLE, station.clock, work.scale.seconds, work.folder)


def _note(work: Work, row: str, name: str, outcome: Outcome, number: int) -> None:
    work.record.add(f"{row}.p99_ms", name, outcome.p99_ms)
    work.record.add(f"{row}.rate", name, outcome.rate)
    told = f"p99 {outcome.p99_ms:.1f} ms, {outcome.rate:,.0f}/s"
    work.say(f"{row}, round {number + 1}: {name} {told}")


@contextmanager
def _hours_open(_: Work, station: Station, __: Server, ___: int) -> Iterator[None]:
    """Reopen all hours, which takes longer to roll up than the load runs."""
    with open_database(station.path) as db, transaction(db):
        db.execute("update hours set (n, sum, min, max) = (null, null, null, null)")
    yield


class _Visitors:
    """Eight connections that load page after page from Datasette during the block.

    At its end, all responses must have been pages.
    """

    def __init__(self, work: Work, _: Station, server: Server, number: int) -> None:
        self._work, self._server, self._number = work, server, number
        self._paths = work.folder / "paths.txt"
        self._paths.write_text("\n".join(_paths(server)) + "\n")

    def __enter__(self) -> None:
        port = self._server.pages_port
        self._wrk = start_wrk("browse.lua", port, VISITORS, LONGEST_S, [self._paths])

    def __exit__(self, kind: type[BaseException] | None, *_: object) -> None:
        if kind is not None:
            self._wrk.kill()
            self._wrk.communicate()
            return
        measured = finish_wrk(self._wrk, FIRST_PAGES_S, self._server)
        rate = measured["requests"] / (measured["duration_us"] / 1e6)
        self._work.record.add("browsing.pages", "tmon", rate)
        self._work.say(f"browsing, round {self._number + 1}: {rate:.1f} pages/s")


_BESIDE: dict[str, Callable[[Work, Station, Server, int], AbstractContextManager[object]]] = {
    "browsing": _Visitors,
    "rollup": _hours_open,
}


def _paths(server: Server) -> list[str]:
    """Paths of pages, JSON and stored queries, some with empty parameters."""
    sensors = rows_of(server.pages_port, "/tmon/sensors.json?_shape=objects&_size=5")["rows"]
    return [
        "/",
        "/tmon/readings",
        "/tmon/latest_readings?node=" + sensors[0]["node"],
        f"/tmon/readings.json?sensor={sensors[1]['id']}&_shape=arrays&_size=100",
        "/tmon/latest.json?_shape=arrays&_size=20&node=" + sensors[2]["node"],
        f"/tmon/hourly?sensor={sensors[3]['id']}",
        "/tmon/day",
        "/tmon/-/query.json?sql=select+count(*)+from+sensors&_shape=arrays",
    ]
