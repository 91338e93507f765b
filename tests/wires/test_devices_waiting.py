"""How many devices wait: in the public table, on the home page, and in ``tmon check``."""

import json
import logging
from contextlib import closing
from pathlib import Path

import pytest

from tests.publish.published import served
from tests.station import station_in_thread, tmon
from tests.wires.test_devices import Home
from tmon.db.connect import open_database, sqlite3
from tmon.db.devices import Devices, path_beside
from tmon.store.waiting_devices import WaitingDevices

COUNTS = "select devices_waiting from keys where gateway = 'hall'"


def hear(folder: Path, *devices: str) -> Home:
    """A gateway ``hall`` that has heard devices, and a station that has ended."""
    with station_in_thread(folder) as station:
        home = Home(station)
        for device in devices:
            assert home.post(f"/k/KEY/{device}", "temperature=1").status_code == 200
    return home


def test_the_count_is_written_at_the_end_at_the_latest(tmp_path: Path) -> None:
    home = hear(tmp_path, "a", "b", "c", "d", "e")
    assert home.station.query(COUNTS) == [(5,)]
    home.run("device", "adopt", "a", "shed")
    home.run("device", "ignore", "b")
    hear(tmp_path, "c")
    assert home.station.query(COUNTS) == [(3,)]


def test_home_and_check_tell_it(tmp_path: Path) -> None:
    hear(tmp_path, "a", "b", "c")
    told = "3 devices wait to be adopted: <code>tmon device list</code>"
    with served(tmp_path / "tmon.db") as site:
        assert told in site.get("/").text
        assert "a, b" not in site.get("/tmon/keys.csv").text
    ran = tmon(tmp_path, "check")
    assert ran.stdout.endswith("3 devices wait to be adopted: `tmon device list`\n")
    assert json.loads(tmon(tmp_path, "check", "--json").stdout)["devices_waiting"] == 3


def test_none_waits_and_nothing_is_told(tmp_path: Path) -> None:
    hear(tmp_path)
    with served(tmp_path / "tmon.db") as site:
        assert "adopted" not in site.get("/").text
    assert "adopted" not in tmon(tmp_path, "check").stdout


def test_nothing_is_written_where_nothing_changed(tmp_path: Path) -> None:
    home = hear(tmp_path, "a")
    with open_database(home.station.path) as db:
        waiting = WaitingDevices(db, home.station.path)
        before = db.conn.total_changes
        waiting.flush()
        waiting.flush()
        assert db.conn.total_changes == before
        with closing(Devices(path_beside(home.station.path))) as devices:
            devices.keep("hall", "b", [], 1)
            waiting.flush()
        assert db.conn.total_changes == before + 1
    assert home.station.query(COUNTS) == [(2,)]
    path_beside(home.station.path).unlink()
    hear(tmp_path)
    assert home.station.query(COUNTS) == [(0,)]


@pytest.mark.parametrize("how", ["damaged", "locked", "a folder"])
def test_a_file_that_cant_be_read_leaves_the_count_and_the_readings_alone(
    tmp_path: Path, how: str, caplog: pytest.LogCaptureFixture
) -> None:
    home = hear(tmp_path, "a")
    path = path_beside(home.station.path)
    lock = sqlite3.connect(str(path), isolation_level=None)
    if how == "locked":
        lock.execute("pragma locking_mode = exclusive")
        lock.execute("begin exclusive")
    else:
        lock.close()
        path.unlink()
        path.mkdir() if how == "a folder" else path.write_bytes(b"no database " * 1000)
    with caplog.at_level(logging.WARNING), open_database(home.station.path) as db:
        WaitingDevices(db, home.station.path).flush()
    assert "devices that wait aren't counted" in caplog.text
    assert home.station.query(COUNTS) == [(1,)]
    with station_in_thread(tmp_path) as station:
        assert station.post([{"value": 1}]).status_code == 201
    assert home.station.query(COUNTS) == [(1,)]
    lock.close()
