"""A real Datasette over a real file, on a port the system picks."""

import asyncio
import socket
import threading
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import requests
import uvicorn
from datasette.app import Datasette
from sqlite_utils import Database

from tests.station import wait_for
from tmon.db.connect import open_database, open_for_reading
from tmon.pages.queries import query_threads
from tmon.serve.datasette_app import datasette_for, start

HOUR_MS = 3_600_000
MARCH_MS = 1_709_251_200_000  # 2024-03-01T00:00:00Z
PATIENT_MS = 60_000  # for a query, unless the time limit is what a test is about
HOSTILE = "<script>document.title='hit'</script>\N{RIGHT-TO-LEFT OVERRIDE}gnp\N{FIRE}"

ENDLESS = "with recursive t (n) as (select 1 union all select n + 1 from t) select count(*) from t"


@dataclass
class Site:
    """A published database: its address, its file, who serves it and what."""

    url: str
    path: Path
    server: uvicorn.Server
    datasette: Datasette

    def limit_queries(self, limit_ms: float) -> None:
        """How long each query may take, of visitors and of our own pages."""
        self.datasette.sql_time_limit_ms = limit_ms
        query_threads(self.datasette).limit_ms = limit_ms

    def answer_while_sql_runs(self, *pages: str) -> list[requests.Response]:
        """The pages' answers, got before the first of four endless queries of visitors ends."""
        began_s = time.monotonic()
        for page in pages:
            self.get(page)
        many_times_as_long_ms = 20_000 * (time.monotonic() - began_s)
        self.datasette.sql_time_limit_ms = max(1000, many_times_as_long_ms)
        with ThreadPoolExecutor(4) as visitors:
            asked = [visitors.submit(self.ask, ENDLESS) for _ in range(4)]
            time.sleep(0.2)
            answers = [self.get(page) for page in pages]
            assert not any(one.done() for one in asked)
        self.limit_queries(PATIENT_MS)
        assert {one.result().status_code for one in asked} == {400}
        return answers

    def get(self, page: str, **params: str) -> requests.Response:
        return requests.get(self.url + page, params=params, timeout=120)

    def rows(self, page: str, **params: str) -> list[dict[str, Any]]:
        answer = self.get(page + ".json", _shape="array", **params)
        assert answer.status_code == 200, answer.text
        rows: list[dict[str, Any]] = answer.json()
        return rows

    def ask(self, sql: str) -> requests.Response:
        return self.get("/tmon/-/query.json", sql=sql)

    def values(self, sql: str) -> list[Any]:
        """The first column of what SQL on the file itself gives."""
        return [row[0] for row in open_for_reading(self.path).execute(sql)]


Serve = Callable[..., Site]  # of the database, and of where copies to download are


@contextmanager
def served(
    path: Path, download_dir: Path | None = None, *, port: int = 0, **settings: str
) -> Iterator[Site]:
    """The site that ``tmon serve`` makes of ``path``, patient with queries on a busy machine."""
    listening = socket.create_server(("127.0.0.1", port))
    datasette = datasette_for(path, download_dir=download_dir, **settings)
    server = uvicorn.Server(uvicorn.Config(datasette.app(), log_config=None, log_level="error"))

    async def serve() -> None:
        await start(datasette)
        await server.serve(sockets=[listening])

    thread = threading.Thread(target=asyncio.run, args=(serve(),))
    thread.start()
    try:
        wait_for(lambda: server.started)
        site = Site(f"http://127.0.0.1:{listening.getsockname()[1]}", path, server, datasette)
        site.limit_queries(PATIENT_MS)
        datasette._settings["facet_time_limit_ms"] = PATIENT_MS
        yield site
    finally:
        server.should_exit = True
        thread.join()
        listening.close()


def fill(db: Database) -> None:
    """``attic``, hourly in March 2024 but for a week; ``basement``, alive; a mute ``cellar``."""
    now_ms = int(time.time() * 1000)
    for name, heard_ms in (("attic", MARCH_MS), ("basement", now_ms), ("cellar", None)):
        db.execute(
            "insert into nodes (name, uid, description, created_ms, last_received_ms)"
            " values (?, ?, ?, ?, ?)",
            (name, f"uid-{name}", HOSTILE, MARCH_MS, heard_ms),
        )
    sensors = [
        (1, "attic", "temperature", "°C"),
        (2, "basement", "temperature", "°C"),
        (3, "basement", "humidity", "%"),
        (4, "basement", "load", None),
    ]
    for sensor in sensors:
        db.execute("insert into sensors (id, node, name, unit) values (?, ?, ?, ?)", sensor)
    hours = [hour for hour in range(20 * 24) if not 5 * 24 < hour < 12 * 24]
    attic = [(1, MARCH_MS + hour * HOUR_MS, 10 + hour % 24 / 2) for hour in hours]
    basement = [
        (sensor, now_ms - minute * 60_000 - sensor, value)
        for minute in range(200)
        for sensor, value in ((2, 21.4379), (3, 61.0), (4, 0.25))
    ]
    for reading in attic + basement:
        db.execute("insert into readings (sensor, measured_ms, value) values (?, ?, ?)", reading)
    db.execute(
        "insert into rejected (received_ms, node, sensor, measured, value, code, reason)"
        " values (?, 'basement', 'temperature', 'soon', ?, 'implausible_time', 'too late')",
        (now_ms, HOSTILE),
    )


def two_sensors(folder: Path) -> Path:
    """Two sensors, each read at the same 12,000 instants."""
    path = folder / "tmon.db"
    with open_database(path, create=True) as db:
        db.execute("insert into nodes (name, uid, created_ms) values ('attic', 'u', 0)")
        for sensor in (1, 2):
            db.execute(
                "insert into sensors (id, node, name) values (?, 'attic', ?)",
                (sensor, f"t{sensor}"),
            )
            db.execute(
                """
                with recursive counted (n) as (
                    select 1 union all select n + 1 from counted limit 12000
                )
                insert into readings (sensor, measured_ms, value) select ?, n, n from counted
                """,
                (sensor,),
            )
    return path
