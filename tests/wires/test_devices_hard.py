"""Gateways' devices where something goes wrong: files, clocks, strangers' ids, and restores."""

import json
import time
from pathlib import Path
from typing import Any

import pytest

from tests.station import Station, station_in_thread, tmon, wait_for
from tests.wires.test_devices import Home
from tmon.db.connect import sqlite3
from tmon.db.devices import MOST_DEVICES, Devices, Waiting, path_beside

DAY_MS = 86_400_000


def send(home: Home, *devices: str, **reading: Any) -> Any:
    readings = [{"node": one, "sensor": "t", "value": 1, **reading} for one in devices]
    body = json.dumps({"readings": readings})
    return home.post("/readings", body, headers={"Authorization": "Bearer KEY"})


def waiting(station: Station, device: str) -> list[Waiting]:
    devices = Devices(path_beside(station.path))
    try:
        return devices.waiting(device)
    finally:
        devices.close()


def test_more_devices_than_are_kept_and_a_clock_that_was_ahead(station: Station) -> None:
    home = Home(station)
    assert send(home, *(f"d{n}" for n in range(MOST_DEVICES + 10))).status_code == 201
    devices = Devices(path_beside(station.path))
    for number in range(MOST_DEVICES):
        devices.keep("hall", f"f{number}", [], int(time.time() * 1000) + DAY_MS)
    devices.close()
    assert send(home, "new").status_code == 201
    assert len(waiting(station, "new")) == 1


def test_a_damaged_or_locked_file_stops_gateways_alone(station: Station) -> None:
    home, path = Home(station), path_beside(station.path)
    path.write_bytes(b"rubbish" * 1000)
    for _ in range(2):
        refused = send(home, "shed")
        assert (refused.status_code, refused.json()["code"]) == (503, "unavailable")
    assert station.post({"value": 1}).status_code == 201
    made = tmon(station.path.parent, "backup", "kept")
    assert (made.returncode, "without it" in made.stderr) == (0, True)
    told = tmon(station.path.parent, "device", "list").stderr
    assert f"{path.name} is damaged; stop tmon, move it away" in told
    path.unlink()
    assert send(home, "shed").status_code == 201
    locker = sqlite3.connect(str(path), isolation_level=None)
    locker.execute("begin immediate")
    refused = send(home, "shed")
    locker.close()
    assert (refused.status_code, refused.json()["code"]) == (503, "locked")


def test_a_file_that_was_removed_is_made_again(station: Station) -> None:
    home = Home(station)
    assert send(home, "before").status_code == 201
    for file in station.path.parent.glob("tmon.devices.db*"):
        file.unlink()
    assert send(home, "after").status_code == 201
    assert len(waiting(station, "after")) == 1


def test_untimed_readings_of_one_millisecond_all_wait(tmp_path: Path) -> None:
    with station_in_thread(tmp_path, wall_clock=lambda: 1_795_000_000_000) as station:
        home = Home(station)
        for _ in range(3):
            assert send(home, "shed").status_code == 201
        assert len(waiting(station, "shed")) == 3


def test_what_was_adopted_meanwhile_does_not_wait(tmp_path: Path) -> None:
    devices = Devices(tmp_path / "tmon.devices.db")
    reading = [Waiting("t", 1, 1.0, None, 1)]
    assert devices.keep("hall", "shed", reading, 1)
    devices.adopt("shed", "uid", 2)
    assert not devices.keep("hall", "shed", [Waiting("t", 2, 1.0, None, 1)], 3)
    assert devices.waiting("shed") == reading
    devices.close()


def test_a_device_does_not_become_a_node_that_somebody_else_is(station: Station) -> None:
    station.post({"value": 1}, node="attic")
    home = Home(station, adopts_all=True)
    assert send(home, "attic", "a b", "a-b", " ", "éé").status_code == 201
    assert station.query("select name from nodes order by name") == [("a-b",), ("attic",)]
    assert station.query("select node, name from sensors order by 1") == [
        ("a-b", "t"),
        ("attic", "temperature"),
    ]
    assert [len(waiting(station, one)) for one in ("attic", "a b", "a-b", " ", "éé")] == [
        *(1, 0, 1, 1, 1)
    ]


def test_devices_heard_before_become_nodes_too(station: Station) -> None:
    assert send(Home(station), "shed").status_code == 201
    home = Home(station, adopts_all=True)
    time.sleep(1.2)
    assert send(home, "shed").status_code == 201
    assert station.query("select name from nodes") == [("shed",)]


@pytest.mark.parametrize("device", ["", "x" * 129, "a\nb"])
def test_an_impossible_id_is_not_adopted(home_folder: Path, device: str) -> None:
    ran = tmon(home_folder, "device", "adopt", device, "freezer", "--unheard")
    assert (ran.returncode, "printable" in ran.stderr) == (1, True)


@pytest.fixture
def home_folder(station: Station) -> Path:
    return station.path.parent


def test_a_list_without_a_database_says_so(tmp_path: Path) -> None:
    ran = tmon(tmp_path, "device", "list")
    assert (ran.returncode, "no such database" in ran.stderr) == (1, True)


def test_untimed_readings_are_stored_once_if_adopting_is_killed(tmp_path: Path) -> None:
    with station_in_thread(tmp_path) as station:
        send(Home(station), "shed")
        kept = waiting(station, "shed")
        for _ in range(2):
            assert tmon(tmp_path, "device", "adopt", "shed", "shed").returncode == 0
            devices = Devices(path_beside(station.path))
            with devices.transaction():  # as if it was killed before it forgot them
                devices.conn.execute(
                    "insert into waiting values ('shed', 't', ?, 1, null, 0)",
                    [kept[0].measured_ms],
                )
            devices.close()
        assert station.count() == 1


def test_a_hostile_file_beside_a_backup(station: Station, tmp_path: Path) -> None:
    send(Home(station), "shed")
    made = tmon(tmp_path, "backup", "kept").stdout.strip()
    beside = tmp_path / f"{made}.devices"
    with sqlite3.connect(str(beside)) as conn:
        row = "insert into waiting values ('shed', ?, ?, ?, null, 1)"
        for odd in (("../x", 10**12, 1), ("t", 5, 1), ("u", 10**12, float("inf"))):
            conn.execute(row, odd)
        conn.execute("insert into devices values ('a\nb', 'hall', null, 0, 0, 1, 1)")
    conn.close()
    new = tmp_path / "new"
    new.mkdir()
    assert tmon(new, "restore", str(tmp_path / made)).returncode == 0
    devices = Devices(new / "tmon.devices.db")
    assert [one["id"] for one in devices.listed()] == ["shed"]
    assert [one.sensor for one in devices.waiting("shed")] == ["t"]
    devices.close()
    with sqlite3.connect(str(beside)) as conn:
        conn.execute("drop table devices")
        conn.execute(
            "create view devices as with recursive n (i) as (select 1 union all select i + 1"
            " from n) select i as id from n"
        )
    conn.close()
    ran = tmon(new, "restore", str(tmp_path / made), "--force")
    assert (ran.returncode, "not as tmon makes them" in ran.stderr) == (1, True)
    beside.unlink()
    beside.symlink_to("/etc/passwd")
    ran = tmon(new, "restore", str(tmp_path / made), "--force")
    assert (ran.returncode, "no link" in ran.stderr) == (1, True)


def test_a_reading_without_a_device_is_refused_alone(station: Station) -> None:
    home = Home(station)
    readings = [
        {"node": "shed", "sensor": "t", "value": 1},
        {"sensor": "t", "value": 2},
        {"node": "x" * 129, "sensor": "t", "value": 3},
        {"node": "a\nb", "sensor": "t", "value": "x"},
        {"node": "porch", "sensor": "t", "value": "x"},
    ]
    bearer = {"Authorization": "Bearer KEY"}
    answer = home.post("/readings", json.dumps(readings), headers=bearer)
    told = answer.json()
    assert (answer.status_code, told["accepted"]) == (201, 1)
    assert [(one["index"], one["code"]) for one in told["rejected"]] == [
        *((1, "invalid_device"), (2, "invalid_device")),
        *((3, "invalid_value"), (4, "invalid_value")),
    ]
    assert len(waiting(station, "shed")) == 1
    lines = home.post("/k/KEY/write", "m,device=shed a=1\nm a=2")
    assert (lines.status_code, "which device" in lines.text) == (400, True)
    assert len(waiting(station, "shed")) == 2


def test_what_waited_comes_along_when_its_device_becomes_a_node_by_itself(tmp_path: Path) -> None:
    with station_in_thread(tmp_path) as station:
        home = Home(station)
        for number in range(1_200):
            at_ms = 1_770_000_000_000 + number
            devices = Devices(path_beside(station.path))
            devices.keep("hall", "shed", [Waiting("t", at_ms, number, "°C", 1)], 1)
            devices.close()
        assert send(home, "shed").status_code == 201
        home = Home(station, adopts_all=True)
        wait_for(lambda: send(home, "shed").status_code == 201 and station.count() > 1_200)
        assert waiting(station, "shed") == []
        assert station.query("select node, name, count(*) > 1201 from readings, sensors") == [
            ("shed", "t", 1)
        ]


def test_what_waited_and_is_too_fast_waits_on(tmp_path: Path) -> None:
    with station_in_thread(tmp_path, {"TMON_RATE": "1"}) as station:
        devices = Devices(path_beside(station.path))
        many = [Waiting("t", 1_770_000_000_000 + n, n, None, 1) for n in range(1_000)]
        devices.keep("hall", "shed", many, 1)
        devices.close()
        home = Home(station, adopts_all=True)
        statuses = [send(home, "shed").status_code for _ in range(3)]
        assert set(statuses) <= {201, 429}
        assert len(waiting(station, "shed")) + station.count() >= 1_000


def test_a_gateway_makes_so_many_nodes_and_no_more(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    with station_in_thread(tmp_path, {"TMON_ADOPT_LIMIT": "3"}) as station:
        home = Home(station, adopts_all=True)
        assert send(home, "d1", "d2").status_code == 201
        assert send(home, "d3", "d4").status_code == 201
        assert send(home, "d5").status_code == 201
        assert station.query("select name from nodes order by 1") == [("d1",), ("d2",), ("d3",)]
        assert [len(waiting(station, one)) for one in ("d3", "d4", "d5")] == [0, 1, 1]
        told = [one for one in caplog.messages if "TMON_ADOPT_LIMIT" in one]
        assert len(told) == 1
        assert "3 devices of the gateway hall are nodes" in told[0]


def test_a_mistyped_id_makes_no_node_and_a_device_can_be_forgotten(station: Station) -> None:
    home, folder = Home(station), station.path.parent
    nothing = tmon(folder, "device", "forget", "shed")
    assert (nothing.returncode, "no gateway has sent anything" in nothing.stderr) == (1, True)
    send(home, "shed")
    mistyped = tmon(folder, "device", "adopt", "shad", "shed")
    assert (mistyped.returncode, "no device 'shad' was heard" in mistyped.stderr) == (1, True)
    assert station.query("select name from nodes") == []
    home.run("device", "adopt", "shed", "shed")
    home.run("device", "forget", "shed")
    assert json.loads(home.run("device", "list", "--json").stdout) == []
    assert send(home, "shed").status_code == 201
    assert len(waiting(station, "shed")) == 1
    missing = tmon(folder, "device", "forget", "shad")
    assert (missing.returncode, "see `tmon device list`" in missing.stderr) == (1, True)


def test_the_list_shows_the_last_values_of_nodes_too(station: Station) -> None:
    home = Home(station)
    send(home, "shed", unit="°C")
    home.run("device", "adopt", "shed", "shed")
    at_ms = station.query("select max(measured_ms) from readings")[0][0] + 1
    send(home, "shed", value=21.5, measured_ms=at_ms)
    [row] = json.loads(home.run("device", "list", "--json").stdout)
    assert (row["node"], row["last_values"]) == ("shed", "t 21.5 °C")


def test_another_value_at_the_same_time_is_told_also_while_its_device_waits(
    station: Station,
) -> None:
    home, at_ms = Home(station), int(time.time() * 1000)
    for value, rejected in ((1, 0), (2, 1), (1, 0)):
        answer = send(home, "shed", value=value, measured_ms=at_ms).json()
        assert [one["code"] for one in answer["rejected"]] == ["conflict"] * rejected
        assert answer["accepted"] == 1 - rejected
    readings = [{"sensor": "t", "value": value, "measured_ms": at_ms + 1} for value in (5, 5, 6)]
    body = json.dumps({"node": "shed", "readings": readings})
    answer = home.post("/readings", body, headers={"Authorization": "Bearer KEY"}).json()
    assert [one["index"] for one in answer["rejected"]] == [2]
    assert [(one.measured_ms, one.value) for one in waiting(station, "shed")] == [
        (at_ms, 1),
        (at_ms + 1, 5),
    ]
    assert station.count("rejected") == 0  # a device that waits isn't anybody's business
