"""Merge the readings of two processes that wrote to one database file with a log each.

Opening a database by another name creates another log for it, and neither process sees what the
other commits. The writing process then keeps a copy with its own log, ``<db>.unmerged-<time>``;
the next process that opens the database adds the copy's readings to it.
"""

import fcntl
import logging
import os
from contextlib import closing
from pathlib import Path

from sqlite_utils import Database
from sqlite_utils.utils import sqlite3  # type: ignore[attr-defined]

from tmon.db import database_file, identity

UNMERGED = ".unmerged-"

# Sensors are matched by what their node calls them, which stays when a sensor is renamed.
ADD_SENSORS = (
    """
    insert into nodes (name, uid, created_ms, token_generation, revoked_ms)
    select name, uid, created_ms, token_generation, revoked_ms from kept.nodes where true
    on conflict do nothing
    """,
    """
    update nodes
    set token_generation = max(nodes.token_generation, old.token_generation),
        revoked_ms = coalesce(nodes.revoked_ms, old.revoked_ms)
    from kept.nodes as old
    where old.uid = nodes.uid and old.token_generation >= nodes.token_generation
    """,
    """
    insert into sensors (node, name, quantity, unit)
    select nodes.name, old.name, old.quantity, old.unit
    from kept.sensor_names as names
    join kept.sensors as old on old.id = names.sensor
    join nodes on nodes.uid = names.node_uid
    where not exists (
        select 1 from sensor_names as mine
        where (mine.node_uid, mine.wire_name) = (names.node_uid, names.wire_name)
    )
    on conflict do nothing
    """,
    """
    insert into sensor_names (node_uid, wire_name, sensor)
    select names.node_uid, names.wire_name, sensors.id
    from kept.sensor_names as names
    join kept.sensors as old on old.id = names.sensor
    join nodes on nodes.uid = names.node_uid
    join sensors on (sensors.node, sensors.name) = (nodes.name, old.name)
    where true
    on conflict do nothing
    """,
)
ADD_READINGS = """
    insert into readings (sensor, measured_ms, value)
    select distinct mine.sensor, old.measured_ms, old.value
    from kept.sensor_names as names
    join sensor_names as mine
        on (mine.node_uid, mine.wire_name) = (names.node_uid, names.wire_name)
    join sensors on sensors.id = mine.sensor
    join kept.readings as old on old.sensor = names.sensor
    where old.measured_ms >= coalesce(sensors.pruned_before_ms, old.measured_ms)
    on conflict do nothing
"""

log = logging.getLogger("tmon.files")


def unmerged_name(database: Path) -> Path:
    """The name for a copy whose readings are still to be added to ``database``."""
    return identity.dated_name(database, "unmerged")


def merge_copies(db: Database, path: Path) -> None:
    """Add the readings of the unmerged copies of this database that lie beside it.

    Raises:
        sqlite3.DatabaseError: nothing of a copy was added, and it is as it was.
        OSError: the same.
    """
    folder = path.resolve().parent
    if not _unmerged_in(folder):
        return
    opened = os.open(folder, os.O_RDONLY | os.O_DIRECTORY)
    try:
        fcntl.flock(opened, fcntl.LOCK_EX)  # another process may be about to do the same
        for copy in _unmerged_in(folder):
            if _is_copy(copy, path):
                _merge(db, path, copy)
    finally:
        os.close(opened)


def _unmerged_in(folder: Path) -> list[Path]:
    found = sorted(folder.glob(f"*{UNMERGED}*Z*"))
    return [path for path in found if not path.name.endswith(("-wal", "-shm"))]


def _is_copy(copy: Path, path: Path) -> bool:
    """Whether both files have the same mark; a copy that `tmon backup` made has another."""
    try:
        return not copy.samefile(path) and (
            database_file.mark_of(copy) == database_file.mark_of(path)
        )
    except sqlite3.DatabaseError:  # it is no database
        return False


def _merge(db: Database, path: Path, copy: Path) -> None:
    if not _is_sound(copy):
        kept = _rename(copy, ".replaced-")
        log.critical(
            "%s is damaged, so its readings can't be added to %s: it is kept as %s, and its log "
            "beside it. docs/backup.md says how to get them back",
            *(copy, path, kept),
        )
        return
    db.execute("attach ? as kept", [str(copy)])
    try:
        with db.atomic():
            for statement in ADD_SENSORS:
                db.execute(statement)
            added = db.execute(ADD_READINGS).rowcount
    finally:
        db.execute("detach kept")
    log.warning(
        "%d readings that only %s had were added to %s; the copy is kept as %s",
        *(added, copy, path, _rename(copy, ".merged-")),
    )


def _is_sound(copy: Path) -> bool:
    """Whether the copy passes SQLite's check with its log; nothing is written."""
    try:
        with closing(database_file.connect_uri(copy, "mode=ro")) as conn:
            return bool(conn.execute("pragma integrity_check(1)").fetchone()[0] == "ok")
    except sqlite3.DatabaseError:
        return False


def _rename(copy: Path, kind: str) -> Path:
    """Put ``kind`` in the place of ``.unmerged-`` in the names of a copy and its log."""
    name = identity.free_name(copy.with_name(copy.name.replace(UNMERGED, kind)))
    for suffix in ("-wal", "-shm", ""):
        part = copy.with_name(copy.name + suffix)
        if part.exists():
            part.rename(name.with_name(name.name + suffix))
    return name
