"""Remove the demo with all that belongs to it, and nothing that nodes have sent."""

import json
from collections.abc import Callable
from time import sleep

from sqlite_utils import Database

from tmon.core import demo
from tmon.core.errors import TmonError
from tmon.db.connect import transaction
from tmon.maintenance import imports


class NoDemo(TmonError):
    """There is nothing to remove."""


def remove(db: Database, now_ms: int, pause: Callable[[float], object] = sleep) -> int:
    """Remove the demo's readings, limits and incidents, and the nodes that are empty then.

    Killed, the same call goes on. Nodes that have sent something keep it, and their names.

    Returns:
        How many readings were deleted.

    Raises:
        NoDemo: there is none.
    """
    numbers = [id_ for (id_,) in db.execute("select id from imports where file = ?", [demo.FILE])]
    if not numbers:
        raise NoDemo("there is no demo in this database")
    query = (
        "select distinct sensor, node from import_runs join sensors on sensors.id = sensor"
        " where import in (select value from json_each(?)) and imported"
    )
    found = db.execute(query, [json.dumps(numbers)]).fetchall()
    with transaction(db):
        _forget_watching(db, json.dumps([sensor for sensor, _ in found]))
    deleted = sum(imports.undo(db, number, now_ms, pause=pause) for number in numbers)
    with transaction(db):
        _remove_nodes(db)
        db.execute(
            "delete from imports where file = ?"
            " and not exists (select 1 from import_runs where import = imports.id)",
            [demo.FILE],
        )
    return deleted


def _forget_watching(db: Database, sensors: str) -> None:
    of_sensors = "sensor in (select value from json_each(?))"
    incidents = f"select id from incidents where {of_sensors}"
    db.execute(f"delete from events where incident in ({incidents})", [sensors])
    for table in ("incidents", "limits", "mutes", "flags", "calibrations", "notes"):
        db.execute(f"delete from [{table}] where {of_sensors}", [sensors])


def _remove_nodes(db: Database) -> None:
    """Remove the demo's nodes that nothing refers to; the others are no longer called a demo."""
    unused = " and ".join(
        f"not exists (select 1 from [{table.name}] as other"
        f" where other.[{key.column}] = nodes.[{key.other_column}])"
        for table in db.tables
        for key in table.foreign_keys
        if key.other_table == "nodes" and table.name != "imports"
    )
    db.execute("update imports set node = null where file = ?", [demo.FILE])
    db.execute(
        f"delete from nodes where description = ? and last_received_ms is null and {unused}",
        [demo.DESCRIPTION],
    )
    db.execute(
        "update nodes set description = null, area = nullif(area, ?) where description = ?",
        [demo.AREA, demo.DESCRIPTION],
    )
