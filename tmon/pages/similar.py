"""The sensors that people compare a sensor with: of the same kind, the closest by name first."""

import re
import sqlite3
from collections.abc import Sequence

MAX_SIMILAR = 6
MAX_CANDIDATES = 1000  # the first by name; ranking them takes a millisecond

_CANDIDATES = f"""
select sensors.node, sensors.name, nodes.area, own.name as own_name, own_node.area as own_area
from sensors as own
join nodes as own_node on own_node.name = own.node
join sensors on sensors.id <> own.id and sensors.unit is own.unit
    and (sensors.name = own.name or (own.unit is not null and sensors.quantity is own.quantity))
join nodes on nodes.name = sensors.node
where own.id = ?
order by sensors.node, sensors.name limit {MAX_CANDIDATES}
"""


def load_similar(connection: sqlite3.Connection, node: str, sensor: int) -> Sequence[str]:
    """Addresses, ``node/sensor``, of sensors like this one of ``node``."""
    words = _words(node)

    def distance(row: sqlite3.Row) -> tuple[int, bool, bool, str]:
        shared = len(words & _words(row["node"]))
        other_area = row["area"] is None or row["area"] != row["own_area"]
        return -shared, other_area, row["name"] != row["own_name"], row["node"]

    rows = sorted(connection.execute(_CANDIDATES, [sensor]), key=distance)
    return [f"{row['node']}/{row['name']}" for row in rows[:MAX_SIMILAR]]


def _words(name: str) -> set[str]:
    """The words of a name, without numbers: cellar of ``cellar-2`` and ``wine_cellar``."""
    return set(re.findall(r"[^\W\d_]+", name.lower()))
