"""Rows browsing and latest-wide: a million readings of ten thousand sensors, and visitors."""

from contextlib import ExitStack

from bench import peers
from bench.load import SINGLE, drive, finish_wrk, start_wrk
from bench.peers import Server
from bench.station import Station, build
from bench.timing import cycle, http, median_ms, sql
from bench.work import Work
from bench.year import HTTP_NAME, LATEST_PAGE, LATEST_SQL, SQL_NAME, rows_of

VISITORS = 8
FIRST_PAGES_S = 3  # beyond the load: even on a busy machine some pages have come by then
LONGEST_S = 300  # they are told to stop before that, when the load is over
IDLE, BROWSED = "idle", "browsed"


def run(work: Work) -> None:
    station = build(work, "wide", work.scale.wide_readings)
    with peers.tmon(station.folder, station.nodes, pages=True) as server:
        if work.has("latest-wide"):
            _latest(work, station, server)
        if work.has("browsing"):
            for number in range(work.scale.rounds):
                _round(work, station, server, number)


def _latest(work: Work, station: Station, server: Server) -> None:
    asks = {
        SQL_NAME: (sql(station.path), LATEST_SQL),
        HTTP_NAME: (http(server.pages_port), LATEST_PAGE),
    }
    for number in range(work.scale.rounds):
        for name, (ask, question) in asks.items():
            took_ms = median_ms(ask, cycle([question], max(3, work.scale.questions // 4)))
            work.record.add("latest-wide.ms", name, took_ms)
            work.say(f"latest of all, round {number + 1}: {name} {took_ms:.1f} ms")


def _round(work: Work, station: Station, server: Server, number: int) -> None:
    """Row single without visitors, then with them."""
    for name in (IDLE, BROWSED):
        with ExitStack() as browsing:
            if name == BROWSED:
                browsing.enter_context(_Visitors(work, server, number))
            outcome = drive(server, SINGLE, station.clock, work.scale.seconds, work.folder)
        work.record.add("browsing.p99_ms", name, outcome.p99_ms)
        work.record.add("browsing.rate", name, outcome.rate)
        work.say(
            f"browsing, round {number + 1}: {name} p99 {outcome.p99_ms:.1f} ms, "
            f"{outcome.rate:,.0f}/s"
        )


class _Visitors:
    """Eight connections that ask Datasette for page after page, for as long as the block runs.

    At its end all of their answers must have been pages.
    """

    def __init__(self, work: Work, server: Server, number: int) -> None:
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
        said = finish_wrk(self._wrk, FIRST_PAGES_S, self._server)
        rate = said["requests"] / (said["duration_us"] / 1e6)
        self._work.record.add("browsing.pages", "tmon", rate)
        self._work.say(f"browsing, round {self._number + 1}: {rate:.1f} pages/s")


def _paths(server: Server) -> list[str]:
    """Pages, JSON and stored queries; what is left out of a query it finds by itself."""
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
