"""What only a copy beside the database has is added to it, once; the copy is never thrown away."""

import shutil
from pathlib import Path

import pytest

from tests.maintenance.backup_files import damage
from tests.station import hourly_equals_raw
from tmon.core.reading import Batch, Node, Reading
from tmon.db import nodes
from tmon.db.connect import open_database, open_for_reading
from tmon.store.commit import Store

NOON_MS = 1_795_176_000_000
UNMERGED = "tmon.db.unmerged-2026-11-26T030000Z"


def store(path: Path, node_name: str, sensor: str, *values: float, at_ms: int = NOON_MS) -> None:
    with open_database(path, create=True) as db:
        known = nodes.find_or_make(db, node_name)
        node = Node(known.uid, known.name, known.name)
        readings = [Reading(i, sensor, value, None, at_ms + i) for i, value in enumerate(values)]
        Store(db).commit([Batch(node, at_ms, readings)])


def split(folder: Path) -> tuple[Path, Path]:
    """A database, and the copy of it that another process went on with."""
    path, other = folder / "tmon.db", folder / "other" / "tmon.db"
    store(path, "basement", "a", 1, 2)
    other.parent.mkdir()
    shutil.copyfile(path, other)
    return path, other


def keep(other: Path, path: Path) -> Path:
    return Path(shutil.copyfile(other, path.with_name(UNMERGED)))


def readings(path: Path) -> list[tuple[str, str, float]]:
    with open_for_reading(path) as db:
        assert hourly_equals_raw(db)
        return list(
            db.execute(
                "select node, name, value from readings join sensors on sensors.id = sensor"
                " order by node, name, measured_ms"
            ).fetchall()
        )


def test_each_process_may_have_made_nodes_and_sensors(tmp_path: Path) -> None:
    """Under the same numbers, and one sensor was renamed meanwhile."""
    path, other = split(tmp_path)
    store(path, "basement", "b", 3)
    store(path, "attic", "a", 4)
    with open_database(path) as db:
        db.execute("update sensors set name = 'new' where name = 'a' and node = 'basement'")
    store(other, "cellar", "a", 5)
    store(other, "basement", "a", 6, at_ms=NOON_MS + 10)
    store(other, "basement", "b", 7, at_ms=NOON_MS + 10)
    keep(other, path)
    open_database(path).close()
    assert readings(path) == [
        ("attic", "a", 4),
        ("basement", "b", 3),
        ("basement", "b", 7),
        ("basement", "new", 1),
        ("basement", "new", 2),
        ("basement", "new", 6),
        ("cellar", "a", 5),
    ]


def test_a_token_that_was_revoked_or_rotated_in_the_copy_stays_so(tmp_path: Path) -> None:
    path, other = split(tmp_path)
    store(path, "attic", "a", 1)
    with open_database(other) as db:
        db.execute("update nodes set token_generation = 2, revoked_ms = 3")
    keep(other, path)
    with open_database(path) as db:
        found = db.execute("select name, token_generation, revoked_ms from nodes order by name")
        assert found.fetchall() == [("attic", 1, None), ("basement", 2, 3)]


def test_what_was_pruned_meanwhile_does_not_come_back(tmp_path: Path) -> None:
    path, other = split(tmp_path)
    store(other, "basement", "a", 3, at_ms=NOON_MS + 10)
    with open_database(path) as db:
        db.execute("delete from readings")
        db.execute("delete from hours")
        db.execute("update sensors set pruned_before_ms = ?", [NOON_MS + 5])
    keep(other, path)
    open_database(path).close()
    assert readings(path) == [("basement", "a", 3)]


def test_it_is_done_once_and_the_copy_is_kept(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    path, other = split(tmp_path)
    store(other, "basement", "a", 3, at_ms=NOON_MS + 10)
    copy = keep(other, path)
    open_database(path).close()
    assert f"1 readings that only {copy} had were added to {path}" in caplog.text
    caplog.clear()
    open_database(path).close()
    assert caplog.text == ""
    merged = path.with_name(UNMERGED.replace("unmerged", "merged"))
    assert readings(merged) == readings(path)


def test_a_copy_that_is_damaged_is_left_as_it_is_and_named(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    path, other = split(tmp_path)
    store(path, "basement", "a", 3, at_ms=NOON_MS + 10)
    copy = keep(other, path)
    damage(copy)
    content = copy.read_bytes()
    open_database(path).close()
    kept = path.with_name(UNMERGED.replace("unmerged", "replaced"))
    assert str(kept) in caplog.text
    assert kept.read_bytes() == content
    assert [value for *_, value in readings(path)] == [1, 2, 3]


@pytest.mark.parametrize("content", [b"", b"nothing that SQLite knows" * 1000, None])
def test_what_is_no_copy_of_this_database_is_left_alone(
    tmp_path: Path, content: bytes | None
) -> None:
    path, _ = split(tmp_path)
    if content is None:
        store(path.with_name(UNMERGED), "attic", "b", 9)
    else:
        path.with_name(UNMERGED).write_bytes(content)
    for _ in range(2):
        open_database(path).close()
    assert path.with_name(UNMERGED).exists()
    assert len(readings(path)) == 2
