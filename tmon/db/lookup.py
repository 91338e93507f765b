"""Find a node or a sensor by the names that people or nodes use."""

from typing import NamedTuple

from sqlite_utils import Database

from tmon.core.errors import UnknownSensor
from tmon.db import nodes


class Sensor(NamedTuple):
    """A sensor's row: its number, and what people call it."""

    id: int
    node: str
    name: str
    unit: str | None


def find_node_uid(db: Database, name: str) -> str:
    """The uid of the node called ``name``.

    Raises:
        UnknownNode: there is none.
    """
    return nodes.find(db, name).uid


def find_by_wire_name(db: Database, node_uid: str, wire_name: str) -> Sensor | None:
    """The sensor that a node sends as ``wire_name``, if there is one."""
    row = db.execute(
        "select id, node, name, unit from sensor_names"
        " join sensors on sensors.id = sensor_names.sensor where node_uid = ? and wire_name = ?",
        [node_uid, wire_name],
    ).fetchone()
    return None if row is None else Sensor(*row)


def find_sensor(db: Database, node: str, name: str) -> Sensor:
    """The sensor called ``name`` of the node called ``node``.

    Raises:
        UnknownNode: there is no such node.
        UnknownSensor: the node has none of that name.
    """
    find_node_uid(db, node)
    query = "select id, node, name, unit from sensors where node = ? and name = ?"
    row = db.execute(query, [node, name]).fetchone()
    if row is None:
        query = "select name from sensors where node = ? order by name limit 20"
        names = [known for (known,) in db.execute(query, [node])]
        raise UnknownSensor(
            f"{node} has no sensor called {name!r}; it has {', '.join(names) or 'none yet'}"
        )
    return Sensor(*row)
