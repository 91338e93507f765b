"""What thermometers answer that measured nothing: refused, whoever sends it and however."""

import time
from itertools import chain
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from sqlite_utils import Database

from tests.station import Station, tmon
from tmon.core.reading import Batch, Node, Reading, Receipt
from tmon.db import nodes
from tmon.db.connect import open_database
from tmon.store.commit import Store

NOON_MS = 1_795_176_000_000
MINUTE_MS = 60_000


def at(minute: float, value: float, **fields: Any) -> dict[str, Any]:
    """A reading in °C, so many minutes after noon."""
    measured_ms = NOON_MS + round(minute * MINUTE_MS)
    return {"value": value, "unit": "°C", "measured_ms": measured_ms, **fields}


def codes(answer: Any) -> list[tuple[int, str]]:
    """The places and codes of what was rejected."""
    assert answer.status_code == 201, answer.text
    receipt = answer.json()
    return [(told["index"], told["code"]) for told in receipt["rejected"]]


def values(station: Station, node: str) -> list[float]:
    query = """select value from readings join sensors on sensors.id = sensor
        where node = ? order by measured_ms"""
    return [value for (value,) in station.query(query, [node])]


REFUSED = [(0, "implausible_value")]


@pytest.mark.parametrize(
    "sent",
    [
        {"value": -127, "unit": "°C"},
        {"value": -127.0, "unit": "C"},
        {"value": -1.27e2, "unit": "celsius", "sensor": "probe"},
        {"value": -127},  # °C, as that is what `temperature` is in without a unit
        {"value": -127, "sensor": "temperature:28-0000"},
        {"value": -196.6, "unit": "°F"},
        {"value": -196.60000610351562, "unit": "F"},  # what a float of 32 bits has
        {"value": 146.15, "unit": "K"},
        {"value": 146.1499938964844, "unit": "K"},
    ],
)
def test_a_lost_chip_is_no_temperature(shared: Station, sent: dict[str, Any]) -> None:
    node = f"lost-{time.time_ns()}"
    assert codes(shared.post({**sent, "measured_ms": NOON_MS}, node=node)) == REFUSED
    assert shared.query("select count(*) from sensors where node = ?", [node]) == [(0,)]
    [(told, code)] = shared.query("select value, code from rejected where node = ?", [node])
    assert (float(told), code) == (sent["value"], "implausible_value")


def test_a_lost_chip_is_told_where_the_sensor_alone_knows_its_unit(station: Station) -> None:
    station.post(at(0, 20.0, sensor="probe"))
    sent = {"sensor": "probe", "value": -127, "measured_ms": NOON_MS + MINUTE_MS}
    answer = station.post([sent, {**sent, "value": 20.5}])
    assert codes(answer) == REFUSED
    assert "no chip answered" in answer.json()["rejected"][0]["error"]
    assert values(station, "basement") == [20.0, 20.5]


@pytest.mark.parametrize(
    "sent",
    [
        {"value": -126.9375, "unit": "°C"},
        {"value": -127.0625, "unit": "°C"},
        {"value": -127.0001, "unit": "°C"},
        {"value": -127, "unit": "°F"},
        {"value": -127, "unit": "V"},
        {"value": -127, "sensor": "rssi"},
    ],
)
def test_what_only_looks_like_a_lost_chip_is_stored(shared: Station, sent: dict[str, Any]) -> None:
    answer = shared.post({**sent, "measured_ms": NOON_MS}, node=f"other-{time.time_ns()}")
    assert codes(answer) == []


@pytest.mark.parametrize(
    ("value", "unit"),
    [(85, "°C"), (85.0, None), (185, "°F"), (358.15, "K"), (358.1499938964844, "K")],
)
def test_a_sudden_85_is_the_value_after_power_on(
    shared: Station, value: float, unit: str | None
) -> None:
    node = f"sudden-{time.time_ns()}"
    shared.post(at(0, 21.5), node=node)
    assert codes(shared.post(at(1, value, unit=unit), node=node)) == REFUSED
    assert values(shared, node) == [21.5]
    [(told, reason)] = shared.query("select value, reason from rejected where node = ?", [node])
    assert float(told) == value
    assert "power" in reason


@pytest.mark.parametrize(
    ("readings", "refused"),
    [
        ([at(0, 85)], []),  # the first of a sensor: nobody can tell
        ([at(0, 70), at(1, 85)], []),  # no more than 15 °C away
        ([at(0, 69.9), at(1, 85)], [1]),
        ([at(0, 100), at(1, 85)], []),
        ([at(0, 100.1), at(1, 85)], [1]),
        ([at(0, 20), at(15, 85)], []),  # 15 minutes old: anything may have happened
        ([at(0, 20), at(14.999, 85)], [1]),
        ([at(0, 20), at(1, 85), at(2, 85), at(3, 85)], [1, 2, 3]),
        ([at(0, 20), at(1, 85), at(16, 85), at(17, 85)], [1]),  # nor is a refused one the last
        ([at(0, 55), at(1, 70), at(2, 85), at(3, 85)], []),  # a rise
        ([at(0, 20), at(1, 85), at(2, 75), at(3, 85)], [1]),
        ([at(3, 85), at(2, 85), at(1, 85), at(0, 20)], [0, 1, 2]),  # in any order
        ([at(2, 85), at(0, 20), at(1, 80)], []),  # the one before it in time, not in the batch
        ([at(0, 80), at(2, 20), at(1, 85)], []),  # what comes after says nothing
        ([at(0, 20), at(1, 84.9375), at(2, 85.0625)], []),
        ([at(0, 20), at(1, 85, sensor="other")], []),
        ([at(0, 20, unit=None, sensor="rssi"), at(1, 85, unit=None, sensor="rssi")], []),
        ([at(0, 20, unit="%"), at(1, 85, unit="%")], []),
        ([at(0, 20, unit="V"), at(1, 85, unit="V")], []),
    ],
)
@pytest.mark.parametrize("together", [True, False])
def test_a_sudden_85_is_told_by_the_reading_before_it(
    shared: Station, readings: list[dict[str, Any]], refused: list[int], together: bool
) -> None:
    node = f"before-{time.time_ns()}"
    if together:
        found = codes(shared.post(readings, node=node))
    else:  # in the order of time, as those that come later can't be known
        order = sorted(range(len(readings)), key=lambda place: readings[place]["measured_ms"])
        found = [
            (place, code)
            for place in order
            for _, code in codes(shared.post(readings[place], node=node))
        ]
    assert sorted(found) == [(place, "implausible_value") for place in refused]
    assert len(values(shared, node)) == len(readings) - len(refused)


def test_a_late_85_is_compared_with_what_is_stored_from_before_it(station: Station) -> None:
    station.post([at(0, 20), at(30, 80), at(60, 20)])
    assert codes(station.post([at(31, 85), at(61, 85), at(1, 85)])) == [
        (1, "implausible_value"),
        (2, "implausible_value"),
    ]
    assert values(station, "basement") == [20.0, 80.0, 85.0, 20.0]


def test_a_stored_85_that_comes_again_is_a_duplicate(station: Station) -> None:
    station.post(at(1, 85))
    station.post(at(0, 20))  # late: it would have told
    answer = station.post([at(1, 85), at(1, 85), at(2, 21)])
    assert (codes(answer), answer.json()["duplicates"]) == ([], 2)


def test_85s_without_a_time_are_told_too(station: Station) -> None:
    station.post({"value": 20})
    assert codes(station.post({"value": 85})) == REFUSED
    station.post({"value": 20.5, "age_s": 1})
    assert codes(station.post({"value": 85, "age_s": 0.5})) == REFUSED


def a_node(db: Database) -> Node:
    known = nodes.find_or_make(db, f"node-{db.table('nodes').count}")
    return Node(known.uid, known.name, known.name)


def a_store(folder: Path) -> tuple[Store, Node, Database]:
    db = open_database(folder / "tmon.db", create=True)
    db.execute("pragma synchronous = off")  # the tests pull no plugs
    return Store(db), a_node(db), db


def a_batch(node: Node, *readings: tuple[int, float]) -> Batch:
    """Of minutes after noon, and values in °C."""
    return Batch(
        node,
        NOON_MS,
        [
            Reading(place, "probe", value, "°C", NOON_MS + minute * MINUTE_MS)
            for place, (minute, value) in enumerate(readings)
        ],
    )


def test_batches_of_one_commit_know_of_each_other(tmp_path: Path) -> None:
    def told(receipt: Receipt) -> tuple[int, list[int]]:
        return receipt.accepted, [one.index for one in receipt.rejected]

    store, node, db = a_store(tmp_path)
    with db:
        groups = [((2, 85.0), (40, 85.0)), ((1, 20.0),), ((3, 85.0),)]
        receipts = store.commit([a_batch(node, *group) for group in groups])
        assert [*map(told, receipts)] == [(1, [0]), (1, []), (0, [0])]
        again = store.commit([a_batch(node, *group) for group in groups])
        assert [*map(told, again)] == [(0, [0]), (0, []), (0, [0])]
        assert [receipt.duplicates for receipt in again] == [1, 1, 0]


def plausible(minute: int, before: dict[int, float]) -> bool:
    """Whether an 85 of that minute may be stored, as the rule says it."""
    last = max((known for known in before if known <= minute), default=None)
    return last is None or minute - last >= 15 or abs(before[last] - 85) <= 15


MINUTES_AND_VALUES = st.lists(
    st.tuples(st.integers(0, 60), st.sampled_from([20.0, 69.0, 70.0, 85.0, 100.0])), max_size=6
)


def test_the_rule_holds_whatever_comes_together(tmp_path: Path) -> None:
    """Against a model: first all that is no 85, then each 85 by what is stored before it."""
    store, _, db = a_store(tmp_path)
    query = """select measured_ms, value from readings where sensor in
        (select sensor from sensor_names where node_uid = ?)"""

    @given(st.lists(MINUTES_AND_VALUES, max_size=5), st.booleans())
    def holds(batches: list[list[tuple[int, float]]], one_commit: bool) -> None:
        node = a_node(db)
        stored: dict[int, float] = {}
        for group in [[*chain.from_iterable(batches)]] if one_commit else batches:
            for minute, value in sorted(group, key=lambda one: one[1] == 85):
                if value != 85 or plausible(minute, stored):
                    stored.setdefault(minute, value)
        for commit in [batches] if one_commit else [[batch] for batch in batches]:
            store.commit([a_batch(node, *batch) for batch in commit])
        rows = db.execute(query, [node.uid]).fetchall()
        assert {(at_ms - NOON_MS) // MINUTE_MS: value for at_ms, value in rows} == stored

    with db:
        holds()


def test_the_owner_can_allow_85_for_a_sensor(station: Station) -> None:
    def sensor_set(*flags: str) -> None:
        command = ("sensor", "set", "basement", "temperature", *flags, "--db", str(station.path))
        done = tmon(station.path.parent, *command)
        assert done.returncode == 0, done.stderr

    station.post(at(0, 20))
    assert codes(station.post(at(1, 85))) == REFUSED
    sensor_set("--allow-85")
    listed = tmon(station.path.parent, "sensor", "list", "--json", "--db", str(station.path))
    assert '"allow_85": 1' in listed.stdout
    assert codes(station.post(at(1, 85))) == []
    sensor_set("--refuse-85")
    station.post(at(2, 20))
    assert codes(station.post(at(3, 85))) == REFUSED
    assert values(station, "basement") == [20.0, 85.0, 20.0]


def test_an_import_counts_and_shows_what_it_refuses(tmp_path: Path) -> None:
    rows = [(0, "68"), (60, "185"), (120, "-196.6"), (180, "185"), (3600, "185")]
    lines = "".join(f"{1_400_000_000 + second},{value}\n" for second, value in rows)
    (tmp_path / "old.csv").write_text(f"time,value\n{lines}")
    flags = ("--node", "shed", "--time", "time", "--value", "value=temperature:°F")
    done = tmp_path / "old.csv"
    first = tmon(tmp_path, "import", str(done), *flags)
    assert " ".join(first.stdout.splitlines()[0].split()) == "stored 2"
    assert "implausible_value temperature: 3, such as line " in first.stdout
