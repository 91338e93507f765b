"""Rows pages, growth and start: tmon alone, at a hundred million readings."""

import os
import time
from pathlib import Path

from bench import peers
from bench.bulk import send
from bench.load import SINGLE, drive
from bench.process import Failed
from bench.shape import TMON, Point
from bench.station import Station, build
from bench.timing import cycle, http, median_ms
from bench.work import Work
from bench.year import rows_of
from tmon.db.connect import open_for_reading

PAGE = 50  # readings; default_page_size of datasette.yml
EARLIER = 1000
FIRST_PATH = "/tmon/readings"
LARGE, SMALL = "large", "small"
DROP_CACHES = Path("/proc/sys/vm/drop_caches")


def run(work: Work) -> None:
    large = build(work, "large", work.scale.large_readings)
    if work.has("pages"):
        _pages(work, large)
    if work.has("growth"):
        small = build(work, "small", work.scale.wide_readings)
        for number in range(work.scale.rounds):
            for name, station in ((LARGE, large), (SMALL, small)):
                _growth(work, name, station, number)
    if work.has("start"):
        for number in range(work.scale.rounds):
            _start(work, large, number)


def _pages(work: Work, station: Station) -> None:
    """The newest page, the thousandth by the link "earlier", and home."""
    with peers.tmon(station.folder, station.nodes, pages=True) as server:
        _check_cursor(station, server.pages_port)
        paths = {
            "first": FIRST_PATH,
            "earlier": f"{FIRST_PATH}?_next={_cursor(station, EARLIER)}",
            "home": "/",
        }
        ask = http(server.pages_port)
        for number in range(work.scale.rounds):
            for name, path in paths.items():
                took_ms = median_ms(ask, cycle([path], work.scale.questions))
                work.record.add("pages.ms", name, took_ms)
                work.say(f"pages, round {number + 1}: {name} {took_ms:.1f} ms")


def _cursor(station: Station, page: int) -> str:
    """The cursor in the link "earlier" to a page: time, sensor and time of the row before it."""
    with open_for_reading(station.path) as db:
        measured_ms, sensor = db.execute(
            "select measured_ms, sensor from readings order by measured_ms desc, sensor "
            "limit 1 offset ?",
            [(page - 1) * PAGE - 1],
        ).fetchone()
    return f"{measured_ms},{sensor},{measured_ms}"


def _check_cursor(station: Station, port: int) -> None:
    told = rows_of(port, f"{FIRST_PATH}.json?_shape=objects")["next"]
    if told != _cursor(station, 2):
        raise Failed(f"the cursor of the second page is {told}: its format has changed")


def _growth(work: Work, name: str, station: Station, number: int) -> None:
    with peers.tmon(station.folder, station.nodes) as server:
        outcome = drive(server, SINGLE, station.clock, work.scale.seconds, work.folder)
    work.record.add("growth.wall_us", name, 1e6 / outcome.rate)
    work.record.add("growth.cpu_us", name, 1e6 / outcome.cpu_rate)
    work.say(
        f"growth, round {number + 1}: {name} {1e6 / outcome.rate:.0f} µs a reading, "
        f"{1e6 / outcome.cpu_rate:.0f} µs of CPU"
    )


def _start(work: Work, station: Station, number: int) -> None:
    """The time from the command to the first stored reading, with the file not in the cache."""
    cold = work.scale.cold and _drop_caches()
    node, measured_ms = station.nodes[0], station.clock.next(SINGLE.window_ms)
    began_s = time.monotonic()
    with peers.tmon_serve(station.folder) as (_, ports):
        send(ports[0], [TMON.request(node, [Point("temperature1", measured_ms, "20")])])
        took_s = time.monotonic() - began_s
    name = "cold" if cold else "warm"
    work.record.add("start.s", name, took_s)
    work.say(f"start, round {number + 1}: {name} {took_s:.2f} s")


def _drop_caches() -> bool:
    """Drop the kernel's page cache, which only root may; returns whether it worked."""
    if not os.access(DROP_CACHES, os.W_OK):
        return False
    os.sync()
    try:
        DROP_CACHES.write_text("3\n")
    except OSError:  # root of a container may not
        return False
    return True
