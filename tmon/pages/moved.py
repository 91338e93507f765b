"""Where a node or sensor is now that an old link names: renamed, moved, merged with another."""

import sqlite3
from typing import NamedTuple
from urllib.parse import quote

# A node's name may have been another's before: the present bearer comes first, then the last.
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


class Place(NamedTuple):
    """A node, or one of its sensors."""

    node: str
    sensor: str | None

    @property
    def path(self) -> str:
        """Its page's path below the station's own."""
        names = [self.node] if self.sensor is None else [self.node, self.sensor]
        return "/node/" + "/".join(map(quote, names))


def moved_to(conn: sqlite3.Connection, asked: Place) -> Place | None:
    """Where what was called so is now; None where nothing ever was, or it is there still."""
    sql = _NODE if asked.sensor is None else _SENSOR
    for (uid,) in conn.execute(_UIDS, {"node": asked.node}).fetchall():
        found = conn.execute(sql, {"uid": uid, "sensor": asked.sensor}).fetchone()
        if found is not None and Place(*found) != asked:
            return Place(*found)
    return None
