"""Finds the present page of a node or sensor that an old link names.

It may have been renamed, moved to another node, or merged with another sensor.
"""

import sqlite3

# Several nodes may have had a name: the one that has it now comes first, then the latest.
_UIDS = """
select uid from (
    select uid, null as id from nodes where name = :node
    union all
    select node_uid, id from changes where what = 'rename node' and before = :node
)
order by id is not null, id desc
"""

_NODE = "select name, null from nodes where uid = :uid"

_SENSOR = """
select node, name from (
    select node, name, 9e18 as id from sensors
    where node = (select name from nodes where uid = :uid) and name = :sensor
    union all
    select sensors.node, sensors.name, changes.id
    from changes cross join sensors on sensors.id = changes.sensor
    where node_uid = :uid and what in ('rename sensor', 'move sensor', 'merge sensor')
        and substr(before, instr(before, ' ') + 1) = :sensor
)
order by id desc limit 1
"""


def find_renamed(
    connection: sqlite3.Connection, node: str, sensor: str | None
) -> tuple[str, str | None] | None:
    """What an old name means today; None where it was never used, or still means the same.

    A name is that of a node, and of a sensor or None.
    """
    sql = _NODE if sensor is None else _SENSOR
    for (uid,) in connection.execute(_UIDS, {"node": node}).fetchall():
        row = connection.execute(sql, {"uid": uid, "sensor": sensor}).fetchone()
        if row is not None and tuple(row) != (node, sensor):
            return row[0], row[1]
    return None
