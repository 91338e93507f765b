"""`python -m bench.attack`: many clients send the most expensive requests known, beside ingest.

It compares the attack with an idle phase of the same run: Datasette's highest memory, the home
page's times, ingest's p99, the responses, and how long recovery took.
"""

import asyncio
import json
import signal
import sys
import tempfile
import time
from collections import Counter
from collections.abc import Iterator
from concurrent.futures import ProcessPoolExecutor
from contextlib import suppress
from dataclasses import asdict, dataclass
from itertools import count
from math import ceil
from pathlib import Path
from statistics import median
from urllib.parse import quote

import click

from bench import peers
from bench.peers import Server
from bench.process import Failed, tree
from bench.shape import Node, Point
from tmon.core.time import now_ms
from tmon.db.connect import open_database

SENSORS_EACH = 10  # of each node
READINGS_EACH = 300  # of each sensor
STEP_MS = 300_000
SENDERS, SENDS_A_S = 8, 20  # connections that send readings, and how often each does
HOME_EVERY_S = 0.25
PATIENCE_S = 60  # the timeout of a request
NORMAL = 2.0  # home is normal again below this many times its idle median, or below 0.5 s
LONGEST_BACK_S = 60

_COUNTED = "with recursive t (n) as (select 1 union all select n + 1 from t"
_DOUBLED = "with recursive t (x, n) as (select 'a', 0 union all select x || x, n + 1 from t)"
_TEXT = f"{_DOUBLED}, wide as (select x from t where n = 14 limit 1)"
_SEARCHED = ", ".join(f"instr(x || {n}, x || 'b')" for n in range(60))
_BOMB = "with a0 as (select * from latest_clean), " + ", ".join(
    f"a{n} as (select x.sensor from a{n - 1} x, a{n - 1} y)" for n in range(1, 13)
)
_LARGE_OBJECT = "(select json_group_object(measured_ms || 'k' || sensor, value) from readings)"

# Each was the most expensive SQL of its kind when it was found.
SQL = (
    f"{_TEXT} select {_SEARCHED} from wide",
    f"{_BOMB} select count(*) from a12",
    f"select length(json_patch({_LARGE_OBJECT}, {_LARGE_OBJECT}))",
    f"{_COUNTED}) select count(*) from t",
    "select count(*) from readings a join readings b on a.value < b.value",
    "select * from readings a, (select 1 union select 2) order by a.value * random()",
    f"select {', '.join(f'value + {n} as c{n}' for n in range(199))} from readings limit 10000",
    f"{_TEXT} select replace(x, 'a', char(1)) from wide cross join readings limit 500",
    f"{_COUNTED} limit 900000) select n from t order by hex(n) desc",
)
PAGES = (
    *(f"/tmon/-/query.json?sql={quote(sql)}" for sql in SQL),
    *(f"/tmon/-/query?sql={quote(sql)}" for sql in SQL),
    "/tmon/readings?_facet=value&_facet=measured_ms&_facet=measured_at&_facet=sensor",
    "/tmon/readings?_sort=value&_size=max",
    "/tmon/readings_clean.json?_sort_desc=value&_size=max",
    "/tmon/readings.csv?_stream=on&_size=1",
    "/tmon/readings.csv",
    "/tmon/daily?_size=max",
    "/tmon/latest_clean?_size=max",
    "/tmon/coldest_and_hottest",
    "/?q={n}",
    "/?sort=silent",
    "/",
    "/node/n00000?range=all&{n}",
    "/node/n00001.json?from=2020-01-01&{n}",
)
UNREAD = ("/tmon/readings.csv", "/tmon/readings.csv?_size=max", "/tmon/readings.json?_size=max")


@dataclass
class Figures:
    """The figures of one phase."""

    home_median_s: float
    home_longest_s: float
    home_refused: list[str]  # the statuses other than 200
    ingest_p99_ms: float
    sent: int
    memory_mb: float  # the highest up to now


@dataclass
class Report:
    """The figures of a station idle and under attack, and the responses to the attackers."""

    strangers: int
    seconds: float
    idle: Figures
    attacked: Figures
    statuses: dict[str, int]
    failed: list[str]  # pages that were answered with a 5xx, with the status
    back_after_s: float


def attack(folder: Path, *, strangers: int, seconds: float, idle_s: float, sensors: int) -> Report:
    """Build a station in ``folder``; measure it idle, under attack and afterwards.

    Raises:
        Failed: it doesn't start, or a reading was refused.
    """
    nodes = build(folder, sensors)
    with peers.tmon(folder, nodes, pages=True) as server, ProcessPoolExecutor(1) as others:
        datasette = next(pid for pid in tree(server.pid) if "serve\0datasette" in _command(pid))
        asyncio.run(_watch(server, datasette, 2))  # warm up: the first pages take longer
        idle = asyncio.run(_watch(server, datasette, idle_s))
        asking = others.submit(ask_worst, server.pages_port, strangers, seconds)
        attacked = asyncio.run(_watch(server, datasette, seconds))
        ended_s = time.monotonic()
        back_after_s = _back_to_normal(server, idle) - ended_s
        attacked.memory_mb = _highest_mb(datasette)
        answers = asking.result()
    statuses = Counter(status for _, status in answers.elements())
    failed = sorted(f"{status} {page}" for page, status in answers if status.startswith("5"))
    return Report(strangers, seconds, idle, attacked, dict(statuses), failed, back_after_s)


def build(folder: Path, sensors: int) -> list[Node]:
    """A database with a day of readings for each sensor."""
    nodes = peers.tokens(folder, [f"n{number:05}" for number in range(sensors // SENSORS_EACH)])
    with open_database(folder / "tmon.db", create=True) as db, db.atomic():
        db.execute(
            "with recursive places (n) as (select 0 union all select n + 1 from places limit ?)"
            " insert into sensors (node, name, unit)"
            " select name, 's' || n, '°C' from nodes cross join places",
            [SENSORS_EACH],
        )
        db.execute(
            "with recursive places (n) as (select 1 union all select n + 1 from places limit ?)"
            " insert into readings (sensor, measured_ms, value)"
            " select id, ? - n * ? + id, 20 + (n * 37 + id) % 400 / 16.0"
            " from sensors cross join places",
            [READINGS_EACH, now_ms(), STEP_MS],
        )
    return nodes


async def _watch(server: Server, datasette: int, seconds: float) -> Figures:
    """Send readings and load the home page for this time."""
    until_s = time.monotonic() + seconds
    sends = [_send(server, node, until_s) for node in list(server.nodes)[:SENDERS]]
    visiting = asyncio.create_task(_visit(server.pages_port, until_s))
    sent = await asyncio.gather(*sends)
    homes, refused = await visiting
    times_ms = sorted(1000 * took_s for own in sent for took_s in own)
    return Figures(
        home_median_s=median(homes),
        home_longest_s=max(homes),
        home_refused=refused,
        ingest_p99_ms=times_ms[ceil(len(times_ms) * 0.99) - 1],
        sent=len(times_ms),
        memory_mb=_highest_mb(datasette),
    )


async def _send(server: Server, node: Node, until_s: float) -> list[float]:
    """Send readings; returns how long each took until it was acknowledged, in seconds."""
    took_s: list[float] = []
    reader, writer = await asyncio.open_connection("127.0.0.1", server.port)
    next_s = time.monotonic()
    while next_s < until_s:
        await asyncio.sleep(max(0, next_s - time.monotonic()))
        began_s = time.monotonic()
        point = Point("sent", now_ms(), "20.0")
        writer.write(server.shape.request(node, [point]))
        status = await _answer(reader)
        if status != 201:
            raise Failed(f"a reading was answered {status}")
        took_s.append(time.monotonic() - began_s)
        next_s = max(next_s + 1 / SENDS_A_S, time.monotonic())
    writer.close()
    return took_s


async def _visit(port: int, until_s: float) -> tuple[list[float], list[str]]:
    """Load the home page; returns how long each took, and the statuses other than 200."""
    took_s: list[float] = []
    refused: list[str] = []
    while not took_s or time.monotonic() < until_s:
        began_s = time.monotonic()
        status = await ask(port, "/")
        took_s.append(time.monotonic() - began_s)
        if status != "200":
            refused.append(status)
        await asyncio.sleep(HOME_EVERY_S)
    return took_s, refused


def ask_worst(port: int, strangers: int, seconds: float) -> Counter[tuple[str, str]]:
    """Attack for this time; returns how often each page had which status."""
    return asyncio.run(_ask_worst(port, strangers, seconds))


async def _ask_worst(port: int, strangers: int, seconds: float) -> Counter[tuple[str, str]]:
    answers: Counter[tuple[str, str]] = Counter()
    places = count()

    async def stranger() -> None:
        for place in places:
            unread = place % 5 == 0
            pages = UNREAD if unread else PAGES
            page = pages[place % len(pages)].replace("{n}", str(place))
            status = await (leave_unread(port, page) if unread else ask(port, page))
            answers[page[:100], status] += 1

    async with asyncio.TaskGroup() as group:
        tasks = [group.create_task(stranger()) for _ in range(strangers)]
        await asyncio.sleep(seconds)
        for task in tasks:
            task.cancel()
    return answers


async def ask(port: int, page: str) -> str:
    """Read a page to its end; returns its status, or why it didn't end."""
    try:
        async with asyncio.timeout(PATIENCE_S):
            reader, writer = await _get(port, page)
            try:
                status = await _status(reader)
                while await reader.read(1 << 16):
                    pass
            finally:
                writer.close()
    except TimeoutError:
        return "no end"
    except OSError:
        return "broken off"
    return status


async def leave_unread(port: int, page: str) -> str:
    """Request a page and never read it, until the server closes the connection or time is up."""
    reader, writer = await _get(port, page)
    writer.transport.pause_reading()  # type: ignore[attr-defined]
    with suppress(TimeoutError):
        async with asyncio.timeout(PATIENCE_S):
            while not writer.is_closing():
                await asyncio.sleep(1)
                with suppress(OSError):
                    writer.write(b"\r\n")  # only a write shows that it is closed
                    await writer.drain()
    writer.close()
    del reader
    return "unread"


async def _get(port: int, page: str) -> tuple[asyncio.StreamReader, asyncio.StreamWriter]:
    reader, writer = await asyncio.open_connection("127.0.0.1", port)
    writer.write(f"GET {page} HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n".encode())
    return reader, writer


async def _status(reader: asyncio.StreamReader) -> str:
    line = await reader.readline()
    return line.split()[1].decode() if line else "no answer"


async def _answer(reader: asyncio.StreamReader) -> int:
    """Read a whole answer with a Content-Length; return its status."""
    head = await reader.readuntil(b"\r\n\r\n")
    [length] = [
        int(line.split(b":")[1])
        for line in head.split(b"\r\n")
        if line.lower().startswith(b"content-length:")
    ]
    await reader.readexactly(length)
    return int(head.split()[1])


def _back_to_normal(server: Server, idle: Figures) -> float:
    """Wait until home and SQL are normal three times in a row; returns since when they are."""
    most_s = max(NORMAL * idle.home_median_s, 0.5)
    pages = ("/", "/tmon/-/query.json?sql=select+1")
    began_s = time.monotonic()
    normal, since_s = 0, began_s
    while normal < 3 and time.monotonic() - began_s < LONGEST_BACK_S:
        asked_s = time.monotonic()
        statuses = [asyncio.run(ask(server.pages_port, page)) for page in pages]
        quick = time.monotonic() - asked_s < 2 * most_s and statuses == ["200", "200"]
        normal = normal + 1 if quick else 0
        if not quick:
            since_s = time.monotonic()
    return since_s if normal >= 3 else time.monotonic()


def _command(pid: int) -> str:
    return Path(f"/proc/{pid}/cmdline").read_text()


def _highest_mb(pid: int) -> float:
    """A process's peak memory (proc(5): VmHWM, KiB)."""
    [line] = [one for one in Path(f"/proc/{pid}/status").read_text().splitlines() if "VmHWM" in one]
    return int(line.split()[1]) * 1024 / 1e6


def lines(report: Report) -> Iterator[str]:
    """The report for people."""
    idle, attacked = report.idle, report.attacked
    ratio = attacked.ingest_p99_ms / idle.ingest_p99_ms
    yield f"{report.strangers} strangers for {report.seconds:.0f} s: idle, attacked (target)"
    yield f"memory at its highest: {idle.memory_mb:.0f}, {attacked.memory_mb:.0f} MB (400)"
    yield f"home, median: {idle.home_median_s:.2f}, {attacked.home_median_s:.2f} s (2)"
    yield f"home, longest: {idle.home_longest_s:.2f}, {attacked.home_longest_s:.2f} s (5)"
    yield f"home, not answered 200: {idle.home_refused}, {attacked.home_refused} (0)"
    yield f"ingest, p99: {idle.ingest_p99_ms:.1f}, {attacked.ingest_p99_ms:.1f} ms"
    yield f"ingest, p99 attacked / idle: {ratio:.1f} (2)"
    yield f"all back to normal after: {report.back_after_s:.1f} s (10)"
    yield f"answers: {json.dumps(report.statuses)}"
    yield f"5xx: {len(report.failed)} (0)"
    yield from report.failed


@click.command(context_settings={"help_option_names": ["-h", "--help"]})
@click.option("--strangers", default=50, show_default=True)
@click.option("--seconds", default=60.0, show_default=True, help="of the attack")
@click.option("--idle", "idle_s", default=15.0, show_default=True, help="seconds before it")
@click.option("--sensors", default=1000, show_default=True)
@click.option("--json", "as_json", is_flag=True)
def main(strangers: int, seconds: float, idle_s: float, sensors: int, as_json: bool) -> None:
    """Start a station, attack it, and print how it did."""
    # Exit by an exception, so that all processes are stopped.
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(1))
    with tempfile.TemporaryDirectory(prefix="tmon-attack-") as folder:
        try:
            report = attack(
                Path(folder),
                strangers=strangers,
                seconds=seconds,
                idle_s=idle_s,
                sensors=sensors,
            )
        except Failed as failed:
            raise click.ClickException(str(failed)) from failed
    click.echo(json.dumps(asdict(report), indent=2) if as_json else "\n".join(lines(report)))


if __name__ == "__main__":
    main()
