"""The store by itself: what it remembers of sensors, and what it keeps of what is refused."""

from collections.abc import Iterator
from pathlib import Path

import pytest
from sqlite_utils import Database

from tests.station import Station
from tmon.core.reading import Batch, Node, Reading
from tmon.db import checkpoint, nodes
from tmon.db.connect import open_database
from tmon.db.identity import log_of
from tmon.store.commit import FRESH_MS, Store

NOW_MS = 1_795_176_000_000
HOUR_MS = 3_600_000


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "tmon.db"


@pytest.fixture
def db(path: Path) -> Iterator[Database]:
    with open_database(path, create=True) as db:
        yield db


@pytest.fixture
def node(db: Database) -> Node:
    known = nodes.find_or_make(db, "basement")
    return Node(known.uid, known.name, known.name)


def batch(node: Node, *measured_ms: int, sensor: str = "t", unit: str | None = None) -> Batch:
    readings = [Reading(i, sensor, 1.0, unit, at) for i, at in enumerate(measured_ms)]
    return Batch(node, NOW_MS, readings)


def codes(store: Store, batch: Batch) -> tuple[int, list[str]]:
    """How many were accepted, and why the others were not."""
    [receipt] = store.commit([batch])
    return receipt.accepted, [each.code for each in receipt.rejected]


def test_an_old_reading_is_refused_if_it_was_pruned_a_moment_ago(
    path: Path, db: Database, node: Node
) -> None:
    """Also where what the store remembers of the sensor is from before that."""
    store = Store(db)
    old_ms = NOW_MS - FRESH_MS - HOUR_MS
    assert codes(store, batch(node, NOW_MS, old_ms)) == (2, [])
    assert codes(store, batch(node, old_ms - 1)) == (1, [])
    with open_database(path) as other:
        other.execute("update sensors set pruned_before_ms = ?", [NOW_MS - FRESH_MS])
    [receipt] = store.commit([batch(node, old_ms - 2)])
    assert (receipt.accepted, [each.code for each in receipt.rejected]) == (0, ["pruned"])
    assert "before 2026-11-19T12:00Z, only" in receipt.rejected[0].error
    assert codes(store, batch(node, NOW_MS - FRESH_MS)) == (1, [])
    assert db.table("readings").count == 4


def test_an_old_reading_goes_to_the_sensor_that_has_its_name_now(
    path: Path, db: Database, node: Node
) -> None:
    store = Store(db)
    codes(store, batch(node, NOW_MS))
    with open_database(path) as other:
        other.execute("insert into sensors (id, node, name) values (7, 'basement', 'later')")
        other.execute("update sensor_names set sensor = 7")
    assert codes(store, batch(node, NOW_MS - FRESH_MS - 1)) == (1, [])
    assert db.execute("select sensor from readings order by sensor").fetchall() == [(1,), (7,)]


@pytest.mark.parametrize(
    ("first", "later", "error"),
    [
        ("V", "A", "t is in V since its first reading, not in A; send V, or"),
        (None, "V", "t has no unit since its first reading, and this one is in V; `tmon sensor"),
    ],
)
def test_a_wrong_unit_is_refused_with_the_right_one(
    db: Database, node: Node, first: str | None, later: str, error: str
) -> None:
    store = Store(db)
    codes(store, batch(node, NOW_MS, unit=first))
    [receipt] = store.commit([batch(node, NOW_MS + 1, unit=later)])
    assert error in receipt.rejected[0].error


def test_a_receipt_counts_each_reading(db: Database, node: Node) -> None:
    store = Store(db)
    codes(store, batch(node, NOW_MS, NOW_MS - 1))
    again = batch(node, NOW_MS, *(NOW_MS - i for i in range(2, 5)), NOW_MS - 1)
    conflict = Batch(node, NOW_MS, [Reading(0, "t", 2.0, None, NOW_MS)])
    [first, second] = store.commit([again, conflict])
    assert (first.accepted, first.duplicates, first.rejected) == (3, 2, [])
    assert (second.accepted, second.duplicates) == (0, 0)
    assert [each.code for each in second.rejected] == ["conflict"]


def test_the_fast_path_checkpoints_a_long_log(
    path: Path, db: Database, node: Node, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name in ("CHECKPOINT_BYTES", "BUSY_BYTES"):
        monkeypatch.setattr(checkpoint, name, 100_000)
    store = Store(db)
    for i in range(300):
        assert codes(store, batch(node, NOW_MS - i)) == (1, [])
    assert log_of(path).stat().st_size < 150_000


def test_an_empty_batch_is_no_error(db: Database) -> None:
    """As where a part of an import has no good reading."""
    assert Store(db).commit([]) == []


def test_last_seen_is_written_once(db: Database, node: Node) -> None:
    """While nothing is sent the SD card rests. A clock that isn't sent again stays known."""
    store = Store(db)
    store.commit([Batch(node, NOW_MS, [], clock_skew_s=2.5), Batch(node, NOW_MS + 1, [])])
    store.commit([Batch(node, NOW_MS + 2, [], clock_skew_s=1.5)])
    store.flush_last_seen()
    store.commit([Batch(node, NOW_MS + 3, [])])
    store.flush_last_seen()
    written = db.conn.total_changes
    store.flush_last_seen()
    assert db.conn.total_changes == written
    heard = db.execute("select last_received_ms, clock_skew_s from nodes").fetchall()
    assert heard == [(NOW_MS + 3, 1.5)]


def test_a_rejected_reading_is_kept_as_it_was_sent(station: Station) -> None:
    """Not what was made of it: the value in our unit, the time of its arrival."""
    station.post({"sensor": "h", "value": 50, "unit": "%", "measured_ms": NOW_MS - 1})
    station.post({"sensor": "k", "value": 300, "unit": "K", "measured_ms": NOW_MS - 1})
    for refused in (
        {"sensor": "h", "value": 70, "unit": "°F", "measured_ms": NOW_MS - 1},
        {"sensor": "h", "value": 50, "unit": "V", "measured_at": "2026-11-20T13:00:00+01:00"},
        {"sensor": "h", "value": 50, "unit": "V", "age_s": 5},
        {"sensor": "h", "value": 60, "unit": "V"},
        {"sensor": "h", "value": 60, "unit": "V", "measured_ms": NOW_MS},
        {"sensor": "k", "value": 310, "unit": "K", "measured_ms": NOW_MS - 1},
    ):
        [each] = station.post(refused).json()["rejected"]
        assert each["index"] == 0
    assert station.query("select sensor, measured, value, code from rejected order by id") == [
        ("h", str(NOW_MS - 1), "70.0", "unit_mismatch"),
        ("h", "2026-11-20T13:00:00+01:00", "50.0", "unit_mismatch"),
        ("h", "5.0", "50.0", "unit_mismatch"),
        ("h", None, "60.0", "unit_mismatch"),
        ("h", str(NOW_MS), "60.0", "unit_mismatch"),
        ("k", str(NOW_MS - 1), "310.0", "conflict"),
    ]


def imported(db: Database) -> list[int]:
    return [flag for (flag,) in db.execute("select imported from sensors order by id")]


def test_a_sensor_is_imported_until_its_node_sends_a_reading(db: Database, node: Node) -> None:
    """What decides whether it can be silent; a file that fills a gap later changes nothing."""
    files = Store(db, imports=True)
    codes(files, batch(node, NOW_MS - 9, NOW_MS - 8))
    codes(files, batch(node, NOW_MS - 9, sensor="archive"))
    assert imported(db) == [1, 1]
    sent = Store(db)
    codes(sent, batch(node, NOW_MS - 5))
    codes(sent, batch(node, NOW_MS - 4))
    codes(files, batch(node, NOW_MS))
    assert imported(db) == [0, 1]
    codes(sent, batch(node, NOW_MS, sensor="other"))
    assert imported(db) == [0, 1, 0]


def test_a_node_continues_an_archive_that_it_sends_again(db: Database, node: Node) -> None:
    """A duplicate is a reading that was sent."""
    codes(Store(db, imports=True), batch(node, NOW_MS))
    assert codes(Store(db), batch(node, NOW_MS)) == (0, [])
    assert imported(db) == [0]
