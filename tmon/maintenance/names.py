"""Rename and move nodes and sensors; their history, tokens and wire names stay."""

from sqlite_utils import Database

from tmon.core.errors import InvalidName, TmonError
from tmon.core.names import NODE_GRAMMAR, SENSOR_GRAMMAR, is_node_name, is_sensor_name
from tmon.db.connect import transaction
from tmon.db.lookup import Sensor, find_by_wire_name, find_node_uid, find_sensor
from tmon.maintenance.change_log import MOVED, RENAMED, RENAMED_NODE, record_change


class NameTaken(TmonError):
    """Another node or sensor has that name."""


def rename_node(db: Database, old: str, new: str, now_ms: int) -> None:
    """Rename a node. Its token stays valid, and the node may keep sending its old name.

    Raises:
        UnknownNode: no node is called ``old``.
        InvalidName: no node can be called ``new``.
        NameTaken: another node is called that.
    """
    if not is_node_name(new):
        raise InvalidName(f"node {new!r} {NODE_GRAMMAR}")
    with transaction(db):
        uid = find_node_uid(db, old)
        if db.execute("select 1 from nodes where name = ?", [new]).fetchone():
            raise NameTaken(f"a node is called {new} already; choose another name")
        db.execute("update nodes set name = ? where uid = ?", [new, uid])
        record_change(db, now_ms, RENAMED_NODE, uid, None, old, new)


def rename_sensor(db: Database, node: str, old: str, new: str, now_ms: int) -> None:
    """Rename a sensor. The node may keep sending it under its old name.

    Raises:
        UnknownNode: no node is called that.
        UnknownSensor: it has no sensor called ``old``.
        InvalidName: no sensor can be called ``new``.
        NameTaken: another sensor of the node is called that.
    """
    check_sensor_name(new)
    with transaction(db):
        sensor = find_sensor(db, node, old)
        _check_free(db, node, new)
        db.execute("update sensors set name = ? where id = ?", [new, sensor.id])
        uid = find_node_uid(db, node)
        record_change(db, now_ms, RENAMED, uid, sensor.id, f"{node} {old}", f"{node} {new}")


def move_sensor(  # noqa: PLR0913, PLR0917 - who, from where, to where
    db: Database, node: str, name: str, to: str, new_name: str | None, now_ms: int
) -> None:
    """Move a sensor with its history to another node.

    Readings that the old node still sends of it are added to that history, and so are those that
    the new node sends under the new name or under the old node's wire names.

    Args:
        db: the database.
        node: the node that it belongs to.
        name: its name there.
        to: the node that it shall belong to.
        new_name: its name there, if not the same.
        now_ms: Unix milliseconds.

    Raises:
        UnknownNode: one of the nodes doesn't exist.
        UnknownSensor: the node has no such sensor.
        InvalidName: no sensor can be called ``new_name``.
        NameTaken: the other node has a sensor of that name, or sends one.
    """
    if new_name is not None:
        check_sensor_name(new_name)
    final_name = new_name or name
    with transaction(db):
        sensor = find_sensor(db, node, name)
        uid, to_uid = find_node_uid(db, node), find_node_uid(db, to)
        if uid == to_uid:
            raise NameTaken(
                f"{name} is {node}'s already; `tmon sensor rename` changes its name there"
            )
        _check_free(db, to, final_name)
        _map_wire_names(db, sensor, uid, (to, to_uid), final_name, is_new=new_name is not None)
        db.execute(
            "update sensors set node = ?, name = ? where id = ?", [to, final_name, sensor.id]
        )
        record_change(db, now_ms, MOVED, uid, sensor.id, f"{node} {name}", f"{to} {final_name}")


def check_sensor_name(name: str) -> None:
    """Refuse a name that no sensor can have.

    Raises:
        InvalidName: no sensor can have it.
    """
    if not is_sensor_name(name):
        raise InvalidName(f"sensor {name!r} {SENSOR_GRAMMAR}")


def _check_free(db: Database, node: str, name: str) -> None:
    query = "select 1 from sensors where node = ? and name = ?"
    if db.execute(query, [node, name]).fetchone():
        raise NameTaken(
            f"{node} has a sensor called {name} already; choose another name, "
            f"or rename that one first: `tmon sensor rename {node} {name} NEW`"
        )


def _map_wire_names(  # noqa: PLR0913 - a sensor's move
    db: Database, sensor: Sensor, uid: str, to: tuple[str, str], name: str, *, is_new: bool
) -> None:
    """Let the other node (name and uid) send the sensor's readings under its new or old names.

    A wire name that the other node uses for a sensor of its own stays with that sensor. This is
    refused for ``name``, and for the old wire names too unless ``name`` is a new one.
    """
    to_node, to_uid = to
    query = "select wire_name from sensor_names where sensor = ? and node_uid = ?"
    known = {wire_name for (wire_name,) in db.execute(query, [sensor.id, uid])}
    for wire_name in sorted({*known, name}):
        other = find_by_wire_name(db, to_uid, wire_name)
        if other is None:
            db.execute(
                "insert into sensor_names (node_uid, wire_name, sensor) values (?, ?, ?)",
                [to_uid, wire_name, sensor.id],
            )
        elif other.id != sensor.id and (wire_name == name or not is_new):
            raise NameTaken(
                f"{to_node} sends {wire_name} already, into its own {other.node} {other.name}: "
                "give this sensor another name with --name; if both are the same probe, "
                f"`tmon sensor replace {to_node} NAME --by {wire_name}` "
                "then makes one history of them"
            )
