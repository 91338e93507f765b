"""The peers: how to start each, and how to count what it has stored."""

import json
import secrets
import subprocess
import sys
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from http.client import HTTPConnection
from pathlib import Path
from urllib.parse import quote, urlencode, urlsplit

from sqlite_utils import Database

from bench.process import Failed, answers, free_port, running
from bench.shape import DATASETTE, LINES, TMON, Node, Shape
from tmon.db.connect import open_for_reading

HERE = Path(__file__).parent
TMON_NAME, INFLUX_NAME, VICTORIA_NAME = "tmon", "InfluxDB", "VictoriaMetrics"
DATASETTE_NAME, NULL_NAME = "Datasette insert API", "Starlette, 204"
SQLITE_NAME = "SQLite, executemany"
PROGRAMS = {INFLUX_NAME: "influxd", VICTORIA_NAME: "victoria-metrics"}
PACKAGES = {"influxd": "influxdb", "victoria-metrics": "victoria-metrics", "wrk": "wrk"}  # Debian's

# InfluxDB as installed: each write is in the log on disk before it is acknowledged
# (wal-fsync-delay 0). Only its own monitoring is off. {snapshot} and {compact} are the defaults,
# except when the size of its files is measured.
INFLUX_CONFIG = """\
reporting-disabled = true
bind-address = "127.0.0.1:{rpc_port}"
[meta]
  dir = "{folder}/meta"
[data]
  dir = "{folder}/data"
  wal-dir = "{folder}/wal"
  query-log-enabled = false
  cache-snapshot-write-cold-duration = "{snapshot}"
  compact-full-write-cold-duration = "{compact}"
[http]
  bind-address = "127.0.0.1:{port}"
  log-enabled = false
[monitor]
  store-enabled = false
"""


@dataclass(frozen=True)
class Server:
    """A running peer.

    ``makes_sensors``: whether the first reading of a sensor takes longer. ``stored`` counts the
    readings since an instant; None if the peer can't say at once. ``pages_port`` is the port of
    tmon's Datasette.
    """

    name: str
    port: int
    pid: int
    shape: Shape
    nodes: Sequence[Node]
    makes_sensors: bool = True
    stored: Callable[[int], int] | None = None
    pages_port: int = 0


def tokens(folder: Path, names: Sequence[str]) -> list[Node]:
    """Nodes of tmon's database in ``folder``, with their tokens; makes those that don't exist.

    Raises:
        Failed: `tmon token get` failed.
    """
    folder.mkdir(parents=True, exist_ok=True)
    ran = subprocess.run(
        [sys.executable, "-m", "tmon", "token", "get", "--db", "tmon.db", *names],
        cwd=folder,
        capture_output=True,
        text=True,
        check=False,
    )
    if ran.returncode:
        raise Failed(f"tmon token get: {ran.stderr}")
    return [Node(name, token) for name, token in zip(names, ran.stdout.split(), strict=True)]


@contextmanager
def tmon_serve(folder: Path, *parts: str) -> Iterator[tuple[int, list[int]]]:
    """Run `tmon serve`; yields its process id and its ports."""
    command = [sys.executable, "-m", "tmon", "serve", *parts, "--db", "tmon.db"]
    command += ["--port", "0", "--datasette-port", "0"]
    with running(command, folder) as process:
        process.wait_until(lambda: process.output().count("\n") >= (len(parts) or 2))
        urls = [line.split()[1] for line in process.output().splitlines()]
        yield process.pid, [urlsplit(url).port or 0 for url in urls]


@contextmanager
def tmon(folder: Path, nodes: Sequence[Node], *, pages: bool = False) -> Iterator[Server]:
    """`tmon serve ingest`, or with ``pages`` `tmon serve`, once it answers."""
    with tmon_serve(folder, *([] if pages else ["ingest"])) as (pid, ports):
        for port, path in zip(ports, ["/healthz", "/-/versions.json"], strict=False):
            if not answers(port, path):  # a port listens before its server answers
                raise Failed(f"tmon serve does not answer {path}")
        stored = _count_in(folder / "tmon.db")
        yield Server(TMON_NAME, ports[0], pid, TMON, nodes, stored=stored, pages_port=ports[-1])


def _count_in(path: Path) -> Callable[[int], int]:
    def stored(since_ms: int) -> int:
        with open_for_reading(path) as db:
            sql = "select count(*) from readings where measured_ms >= ?"
            return int(db.execute(sql, [since_ms]).fetchone()[0])

    return stored


@contextmanager
def influxdb(
    folder: Path, nodes: Sequence[Node], *, snapshot: str = "10m", compact: str = "4h"
) -> Iterator[Server]:
    """InfluxDB 1.x; ``snapshot`` and ``compact``: how long after the last write it compresses."""
    port = free_port()
    folder.mkdir(parents=True, exist_ok=True)
    config = folder / "influxdb.conf"
    config.write_text(
        INFLUX_CONFIG.format(
            folder=folder, port=port, rpc_port=free_port(), snapshot=snapshot, compact=compact
        )
    )
    with running(["influxd", "-config", str(config)], folder) as process:
        process.wait_until(lambda: answers(port, "/ping"))
        ask_influx(port, "create database bench")
        yield Server(INFLUX_NAME, port, process.pid, LINES, nodes, stored=_count_of_influx(port))


def influx_query(query: str) -> str:
    """The path of a query to InfluxDB."""
    return "/query?" + urlencode({"db": "bench", "epoch": "ms", "q": query}, quote_via=quote)


def ask_influx(port: int, query: str) -> list[list[list[object]]]:
    """Run a query; returns the rows of each series.

    Raises:
        Failed: InfluxDB answered with an error.
    """
    connection = HTTPConnection("127.0.0.1", port, timeout=120)
    connection.request("POST", influx_query(query))
    answer = json.loads(connection.getresponse().read())
    connection.close()
    [result] = answer.get("results", [answer])
    if "error" in result:
        raise Failed(f"InfluxDB: {result['error']}")
    return [series["values"] for series in result.get("series", [])]


def _count_of_influx(port: int) -> Callable[[int], int]:
    def stored(since_ms: int) -> int:
        series = ask_influx(port, f"select count(value) from /./ where time >= {since_ms}ms")
        return sum(int(str(count)) for [[_, count]] in series)

    return stored


@contextmanager
def victoria_metrics(folder: Path, nodes: Sequence[Node]) -> Iterator[Server]:
    """VictoriaMetrics, which acknowledges readings that are only in memory."""
    port = free_port()
    command = ["victoria-metrics", f"-httpListenAddr=127.0.0.1:{port}", "-loggerLevel=ERROR"]
    command += [f"-storageDataPath={folder}/storage", "-retentionPeriod=100y"]
    with running(command, folder) as process:
        process.wait_until(lambda: answers(port, "/health"))
        yield Server(VICTORIA_NAME, port, process.pid, LINES, nodes)


@contextmanager
def datasette(folder: Path, nodes: Sequence[Node]) -> Iterator[Server]:
    """Datasette's own insert API, into a table with rowids: it can't insert into one without."""
    folder.mkdir(parents=True, exist_ok=True)
    with Database(folder / "peer.db") as db:
        columns = {"node": str, "sensor": str, "measured_ms": int, "value": float, "unit": str}
        db.table("readings").create(columns, if_not_exists=True)
        db.enable_wal()
    secret, port = secrets.token_hex(), free_port()
    command = [sys.executable, "-m", "datasette"]
    made = subprocess.run(
        [*command, "create-token", "root", "--secret", secret],
        capture_output=True,
        text=True,
        check=True,
    )
    token = made.stdout.strip()
    command += ["peer.db", "--port", str(port), "--secret", secret, "--root"]
    with running(command, folder) as process:
        process.wait_until(lambda: answers(port, "/peer.json"))
        yield Server(
            DATASETTE_NAME,
            port,
            process.pid,
            DATASETTE,
            [Node(node.name, token) for node in nodes],
            makes_sensors=False,
            stored=_count_in(folder / "peer.db"),
        )


@contextmanager
def null(folder: Path, nodes: Sequence[Node]) -> Iterator[Server]:
    """The limit that HTTP sets, with the same requests as tmon."""
    port = free_port()
    with running([sys.executable, str(HERE / "null_app.py"), str(port)], folder) as process:
        process.wait_until(lambda: answers(port, "/"))
        yield Server(NULL_NAME, port, process.pid, TMON, nodes, makes_sensors=False)
