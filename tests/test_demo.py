"""The demo: a house whose history ends now, that `make run` brings and one command removes."""

import os
import re
import socket
import subprocess
from datetime import UTC, datetime
from pathlib import Path

import pytest
import requests
from sqlite_utils import Database

from tests.station import tmon, wait_for
from tests.watch.watched import Watched
from tmon.core import demo
from tmon.core.time import DAY_MS, HOUR_MS, as_ms
from tmon.db.connect import open_database, open_for_reading
from tmon.importer import demo as importer
from tmon.maintenance import demo as maintenance

ROOT = Path(__file__).parents[1]
DATA = ROOT / "data" / "ambient_temperature.csv"
NOON_MS = as_ms(datetime(2026, 11, 26, 12, 30, tzinfo=UTC))


def counts(db: Database) -> dict[str, int]:
    return {name: db.table(name).count for name in db.table_names() if db.table(name).count}


@pytest.mark.parametrize("hour", range(0, 24, 3))
@pytest.mark.parametrize("offset_h", [-8, 0, 12])
def test_it_ends_now_with_a_gap_and_a_limit_crossed_in_the_last_day(
    tmp_path: Path, hour: int, offset_h: int
) -> None:
    now_ms = NOON_MS + hour * HOUR_MS
    with open_database(tmp_path / "tmon.db", create=True) as db:
        importer.add(db, DATA, now_ms, offset_h * 3600)
        newest = dict(
            db.execute(
                "select node, max(measured_ms) from readings join sensors on id = sensor"
                " group by node"
            ).fetchall()
        )
        assert {*newest} == {*demo.NODES}
        assert all(now_ms - HOUR_MS < at <= now_ms for at in newest.values())
        [gap_h] = db.execute(
            "select max(gap) / 3600000 from (select measured_ms - lag(measured_ms) over"
            " (order by measured_ms) as gap from readings join sensors on id = sensor"
            " where node = 'attic' and measured_ms > ?)",
            [now_ms - DAY_MS],
        ).fetchone()
        assert gap_h == 6  # from the reading before to the one after five that are missing
        beyond, below = db.execute(
            "select count(*), max(below) from readings join limits using (sensor)"
            " where value < below and measured_ms > ?",
            [now_ms - DAY_MS],
        ).fetchone()
        assert 0 < beyond < 20
        assert below
        for from_ms, to_ms in db.execute("select from_ms, to_ms from incidents"):
            assert now_ms - DAY_MS <= from_ms < to_ms <= now_ms
        assert db.execute("select count(*) from sensors where imported").fetchone() == (3,)


def test_its_last_night_was_cold_at_noon(tmp_path: Path) -> None:
    with open_database(tmp_path / "tmon.db", create=True) as db:
        importer.add(db, DATA, NOON_MS, 0)
        [(reason, from_ms, to_ms)] = db.execute("select reason, from_ms, to_ms from incidents")
    assert re.fullmatch(r"down to [\d.]+ °C, below its limit of [\d.]+ °C", reason)
    night_ms = NOON_MS // DAY_MS * DAY_MS
    assert night_ms - 6 * HOUR_MS < from_ms < to_ms < night_ms + 9 * HOUR_MS


def test_the_checks_find_nothing_in_it_and_record_its_incident_once(tmp_path: Path) -> None:
    watched = Watched(tmp_path)
    importer.add(watched.db, DATA, NOON_MS, 0)
    assert watched.found(NOON_MS, "T01", "T02", "T03") == []
    assert watched.run(NOON_MS) == []
    assert watched.run(NOON_MS + 9 * DAY_MS) == []
    assert len(watched.incidents()) == 1


def test_it_says_whose_data_it_is(tmp_path: Path) -> None:
    with open_database(tmp_path / "tmon.db", create=True) as db:
        importer.add(db, DATA, NOON_MS, 0)
        [(note,)] = db.execute("select note from imports")
        assert all(word in note for word in ("moved in time", "Numenta", "MIT", "https://"))
        described = {text for (text,) in db.execute("select description from nodes")}
    [text] = described
    assert all(word in text for word in ("Demo", "moved in time", "Numenta", "MIT"))


def test_it_is_removed_without_a_trace(tmp_path: Path) -> None:
    path = tmp_path / "tmon.db"
    with open_database(path, create=True) as db:
        before = counts(db)
        importer.add(db, DATA, NOON_MS, 0)
        db.execute("insert into events (at_ms, incident, what, message) values (0, 1, 'began', '')")
        stored = counts(db)["readings"]
        assert maintenance.remove(db, NOON_MS, pause=lambda _: None) == stored
        assert counts(db) == before


def test_what_a_node_of_its_name_has_sent_stays(tmp_path: Path) -> None:
    """Someone gave the attic a real sensor."""
    with open_database(tmp_path / "tmon.db", create=True) as db:
        importer.add(db, DATA, NOON_MS, 0)
        db.execute("update nodes set last_received_ms = 1 where name = 'attic'")
        db.execute("insert into sensors (id, node, name) values (9, 'attic', 'door')")
        db.execute("insert into readings (sensor, measured_ms, value) values (9, 5, 1)")
        db.execute("update sensors set imported = 0 where name = 'temperature' and node = 'attic'")
        db.execute(
            "insert into readings select id, ?, 7 from sensors where node = 'attic'", [NOON_MS]
        )
        db.execute("insert into limits (sensor, above, created_ms) values (1, 9, 0)")
        maintenance.remove(db, NOON_MS, pause=lambda _: None)
        assert [*db.execute("select name, area, description from nodes")] == [("attic", None, None)]
        assert counts(db)["readings"] == 3
        assert counts(db)["limits"] == 1


def test_it_is_added_once_and_removed_once(tmp_path: Path) -> None:
    added = tmon(tmp_path, "demo", "add", str(DATA))
    assert added.stdout.splitlines()[-1] == "`tmon demo remove` removes them"
    again = tmon(tmp_path, "demo", "add", str(DATA))
    assert again.returncode == 1
    assert "there is a node called attic already" in again.stderr
    assert tmon(tmp_path, "token", "get", "attic").returncode == 0  # the secret was made
    count = next(line.split()[0] for line in added.stdout.splitlines() if "are stored" in line)
    removed = tmon(tmp_path, "demo", "remove").stdout
    assert removed == f"the demo is removed, with {count} readings\n"
    assert "no demo" in tmon(tmp_path, "demo", "remove").stderr


@pytest.mark.parametrize("content", [None, "a,b\n1,2\n", "timestamp,value\nnow,1\n", "\0"])
def test_a_file_that_is_not_its_own_is_refused(tmp_path: Path, content: str | None) -> None:
    file = tmp_path / "other.csv"
    if content is not None:
        file.write_text(content)
    ran = tmon(tmp_path, "demo", "add", str(file))
    assert ran.returncode == 1
    assert "can't be read as the demo's temperatures" in ran.stderr
    assert "run this in tmon's folder" in ran.stderr


def free_ports(count: int) -> list[str]:
    sockets = [socket.create_server(("127.0.0.1", 0)) for _ in range(count)]
    ports = [str(one.getsockname()[1]) for one in sockets]
    for one in sockets:
        one.close()
    return ports


def test_make_run_ends_with_the_address_of_a_home_that_has_something_to_show(
    tmp_path: Path,
) -> None:
    ingest, pages = free_ports(2)
    environ = {
        **os.environ,
        "TMON_DB": str(tmp_path / "tmon.db"),
        "TMON_SPOOL": str(tmp_path / "spool.db"),
        "TMON_PORT": ingest,
        "TMON_DATASETTE_PORT": pages,
    }
    command = ["sh", "scripts/run"]
    with subprocess.Popen(
        command, cwd=ROOT, env=environ, stdout=subprocess.PIPE, text=True
    ) as process:
        try:
            assert process.stdout is not None
            line = next(line for line in process.stdout if line.startswith("Open "))
            home = line.removeprefix("Open ").strip()
            page = requests.get(home, timeout=60).text
            assert all(f'href="/node/{node}/temperature"' in page for node in demo.NODES)
            assert "This is a demo" in page
            assert "tmon demo remove" in page
            own = "select node from latest where not history"
            with open_for_reading(tmp_path / "tmon.db") as db:
                wait_for(lambda: db.execute(own).fetchone() is not None)
        finally:
            process.terminate()
            assert process.wait(60) == 0
