"""Renamed or moved, nodes and sensors keep their history, tokens and wire names."""

import json
import time
from pathlib import Path
from typing import Any

import pytest

from tests.maintenance.old_readings import ask, made, minutes
from tests.station import Station, holds_within_a_second, tmon
from tmon.db.connect import open_database


@pytest.fixture
def two(tmp_path: Path) -> Path:
    """A node with two sensors, and another with one."""
    rows = minutes(3)
    made(tmp_path / "tmon.db", ("attic", "t", rows), ("attic", "u", rows), ("cellar", "t", rows))
    return tmp_path


def run_command(station: Station, *arguments: str) -> None:
    ran = tmon(station.path.parent, *arguments)
    assert (ran.returncode, ran.stdout) == (0, ""), ran.stderr


def reading(sensor: str = "t", **more: Any) -> dict[str, Any]:
    return {"sensor": sensor, "value": 1, "measured_ms": time.time_ns() // 1_000_000, **more}


def labels(station: Station) -> dict[str, int]:
    sql = (
        "select label, count(measured_ms) from sensors left join readings on sensor = id group by 1"
    )
    return dict(station.query(sql))


def test_a_renamed_node_goes_on_with_its_token_and_any_name_it_had(station: Station) -> None:
    token = station.token("attic")
    headers = {"Authorization": f"Bearer {token}"}

    def post(name: str) -> int:
        body = {"node": name, "readings": [reading()]}
        return station.http.post(f"{station.url}/readings", json=body, headers=headers).status_code

    assert post("attic") == 201
    run_command(station, "node", "rename", "attic", "loft")
    run_command(station, "node", "rename", "loft", "top")
    holds_within_a_second(lambda: post("top") == 201)
    assert [post(name) for name in ("attic", "loft", "top")] == [201] * 3
    assert post("cellar") == 403
    assert list(labels(station)) == ["top t"]
    assert station.token("top").split(".")[1:3] == token.split(".")[1:3]
    changes = station.query("select what, before, after, at_ms > 0 from changes order by id")
    assert changes == [
        ("rename node", "attic", "loft", 1),
        ("rename node", "loft", "top", 1),
    ]


def test_a_new_node_may_take_the_old_name(station: Station) -> None:
    old = {"Authorization": f"Bearer {station.token('attic')}"}
    body = {"node": "attic", "readings": [reading()]}
    assert station.http.post(f"{station.url}/readings", json=body, headers=old).status_code == 201
    run_command(station, "node", "rename", "attic", "loft")
    assert station.post({"node": "attic", "readings": [reading()]}, node="attic").ok
    body = {"node": "attic", "readings": [reading()]}
    assert station.http.post(f"{station.url}/readings", json=body, headers=old).status_code == 201
    assert labels(station) == {"attic t": 1, "loft t": 2}


def test_a_renamed_sensor_keeps_its_history_and_what_its_node_calls_it(station: Station) -> None:
    station.post(reading(), node="attic")
    run_command(station, "sensor", "rename", "attic", "t", "air")
    station.post(reading(), node="attic")
    assert labels(station) == {"attic air": 2}
    taken = station.post(reading("air"), node="attic").json()["rejected"]
    assert [told["code"] for told in taken] == ["name_taken"]
    [change] = station.query("select what, before, after, sensor from changes")
    assert change == ("rename sensor", "attic t", "attic air", 1)


def test_a_moved_sensor_is_sent_by_both_nodes_into_one_history(station: Station) -> None:
    station.post(reading(), node="attic")
    station.post(reading("own"), node="cellar")
    run_command(station, "sensor", "move", "attic", "t", "--to", "cellar")
    station.post(reading(), node="attic")  # what it had not sent yet
    station.post(reading(), node="cellar")
    assert labels(station) == {"cellar own": 1, "cellar t": 3}
    [change] = station.query("select what, before, after from changes")
    assert change == ("move sensor", "attic t", "cellar t")


def test_moved_under_another_name_both_go_on(station: Station) -> None:
    for node in ("attic", "cellar"):
        station.post(reading(), node=node)
    run_command(station, "sensor", "move", "attic", "t", "--to", "cellar", "--name", "freezer")
    for node, name in (("cellar", "freezer"), ("cellar", "t"), ("attic", "t")):
        assert station.post(reading(name), node=node).json()["accepted"] == 1
    assert labels(station) == {"cellar freezer": 3, "cellar t": 2}


def test_a_moved_probe_is_known_by_what_its_node_called_it(station: Station) -> None:
    station.post(reading("28-0a"), node="attic")
    station.post(reading("own"), node="cellar")
    run_command(station, "sensor", "rename", "attic", "28-0a", "pipe")
    run_command(station, "sensor", "move", "attic", "pipe", "--to", "cellar")
    station.post(reading("28-0a"), node="cellar")
    assert labels(station) == {"cellar own": 1, "cellar pipe": 2}


def test_ingest_goes_by_a_change_within_a_second(station: Station) -> None:
    station.post(reading(), node="attic")
    station.post(reading("own"), node="cellar")
    run_command(station, "sensor", "move", "cellar", "own", "--to", "attic", "--name", "t2")
    holds_within_a_second(lambda: not station.post(reading("t2"), node="attic").json()["rejected"])
    station.post(reading("own"), node="cellar")
    assert labels(station) == {"attic t": 1, "attic t2": 3}


@pytest.mark.parametrize(
    ("arguments", "names"),
    [
        (["node", "rename", "x", "y"], "'x'"),
        (["node", "rename", "attic", "cellar"], "cellar already"),
        (["node", "rename", "attic", "attic"], "attic already"),
        (["node", "rename", "attic", "a/b"], "'a/b' must be"),
        (["node", "rename", "attic", ""], "'' must be"),
        (["sensor", "rename", "x", "t", "v"], "'x'"),
        (["sensor", "rename", "attic", "x", "v"], "it has t, u"),
        (["sensor", "rename", "attic", "t", "u"], "u already"),
        (["sensor", "rename", "attic", "t", "a//b"], "'a//b' must be"),
        (["sensor", "move", "attic", "t", "--to", "x"], "'x'"),
        (["sensor", "move", "attic", "t", "--to", "cellar"], "tmon sensor rename cellar t"),
        (["sensor", "move", "attic", "t", "--to", "attic"], "attic's already"),
        (["sensor", "move", "attic", "t", "--to", "cellar", "--name", "a b"], "'a b' must be"),
        (["sensor", "set", "x", "t", "--unit", "V"], "'x'"),
        (["sensor", "set", "attic", "t", "--unit", "V"], "stored in °C"),
        (["sensor", "list", "--node", "x"], "'x'"),
    ],
)
def test_bad_input_is_one_line_and_changes_nothing(
    two: Path, arguments: list[str], names: str
) -> None:
    state = """select node, name, unit from sensors
        union all select node_uid, wire_name, sensor from sensor_names"""
    before = ask(two / "tmon.db", state)
    failed = tmon(two, *arguments)
    assert (failed.returncode, failed.stdout) == (1, "")
    assert names in failed.stderr
    assert len(failed.stderr.splitlines()) == 1
    assert ask(two / "tmon.db", state) == before
    assert ask(two / "tmon.db", "select * from changes") == []


def test_a_name_that_the_other_node_sends_already_is_told(two: Path) -> None:
    assert tmon(two, "sensor", "rename", "cellar", "t", "air").returncode == 0
    failed = tmon(two, "sensor", "move", "attic", "t", "--to", "cellar")
    assert failed.returncode == 1
    assert "cellar sends t already, into its own cellar air" in failed.stderr
    assert "--name" in failed.stderr
    moved = tmon(two, "sensor", "move", "attic", "t", "--to", "cellar", "--name", "t2")
    assert moved.returncode == 0


def test_what_is_said_of_a_sensor_is_listed(two: Path) -> None:
    said = ["--description", "by the window", "--quantity", "air", "--unit", "C"]
    assert tmon(two, "sensor", "set", "attic", "t", *said).returncode == 0
    tmon(two, "sensor", "rename", "attic", "t", "air")
    listed = tmon(two, "sensor", "list", "--node", "attic", "--json")
    rows = json.loads(listed.stdout)
    assert [row["name"] for row in rows] == ["air", "u"]
    assert rows[0] == {
        "node": "attic",
        "name": "air",
        "title": None,
        "description": "by the window",
        "quantity": "air",
        "unit": "°C",
        "allow_85": 0,
        "sent_as": "t",
        "measured_at": "2024-11-02T12:02:00Z",
        "value": -0.75,
        "pruned_before": None,
    }
    assert "by the window" in tmon(two, "sensor", "list").stdout


@pytest.mark.parametrize(("unit", "stored"), [("V", "V"), ("C", "°C"), ("wind rose", "wind rose")])
def test_a_sensor_without_a_unit_is_given_one_once(two: Path, unit: str, stored: str) -> None:
    made(two / "tmon.db", ("attic", "bare", []))
    with open_database(two / "tmon.db") as db:
        db.execute("update sensors set unit = null where name = 'bare'")
    assert tmon(two, "sensor", "set", "attic", "bare", "--unit", unit).returncode == 0
    assert ask(two / "tmon.db", "select unit from sensors where name = 'bare'") == [(stored,)]


@pytest.mark.parametrize("unit", ["°F", "K", "mV", "", "x" * 33, "a\nb"])
def test_a_unit_that_no_value_is_stored_in_is_refused(two: Path, unit: str) -> None:
    with open_database(two / "tmon.db") as db:
        db.execute("update sensors set unit = null")
    failed = tmon(two, "sensor", "set", "attic", "t", "--unit", unit)
    assert (failed.returncode, len(failed.stderr.splitlines())) == (1, 1)
    assert ask(two / "tmon.db", "select distinct unit from sensors") == [(None,)]
