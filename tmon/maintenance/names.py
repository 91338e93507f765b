"""Nodes and sensors renamed and moved; their history, tokens and own words stay."""

from sqlite_utils import Database

from tmon.core.errors import InvalidName, TmonError
from tmon.core.names import NODE_GRAMMAR, SENSOR_GRAMMAR, is_node_name, is_sensor_name
from tmon.db.connect import transaction
from tmon.db.lookup import Sensor, find_node, find_sensor, find_sent
from tmon.maintenance.changes import MOVED, RENAMED, RENAMED_NODE, record


class NameTaken(TmonError):
    """Something else has that name."""


def rename_node(db: Database, old: str, new: str, now_ms: int) -> None:
    """Call a node by another name. Its token stays, and it may go on using the old name.

    Raises:
        UnknownNode: no node is called ``old``.
        InvalidName: no node can be called ``new``.
        NameTaken: one is.
    """
    if not is_node_name(new):
        raise InvalidName(f"node {new!r} {NODE_GRAMMAR}")
    with transaction(db):
        uid = find_node(db, old)
        if db.execute("select 1 from nodes where name = ?", [new]).fetchone():
            raise NameTaken(f"a node is called {new} already; choose another name")
        db.execute("update nodes set name = ? where uid = ?", [new, uid])
        record(db, now_ms, RENAMED_NODE, uid, None, old, new)


def rename_sensor(db: Database, node: str, old: str, new: str, now_ms: int) -> None:
    """Call a sensor by another name. The node may go on calling it as it does.

    Raises:
        UnknownNode: no node is called that.
        UnknownSensor: it has no sensor called ``old``.
        InvalidName: no sensor can be called ``new``.
        NameTaken: another sensor of the node is.
    """
    check_sensor_name(new)
    with transaction(db):
        sensor = find_sensor(db, node, old)
        _check_free(db, node, new)
        db.execute("update sensors set name = ? where id = ?", [new, sensor.id])
        uid = find_node(db, node)
        record(db, now_ms, RENAMED, uid, sensor.id, f"{node} {old}", f"{node} {new}")


def move_sensor(  # noqa: PLR0913, PLR0917 - who, from where, to where
    db: Database, node: str, name: str, to: str, new_name: str | None, now_ms: int
) -> None:
    """Let a sensor belong to another node, with its history.

    What the old node still sends of it comes into that history, and what the new one
    sends, under the new name or as the old node called it.

    Args:
        db: where.
        node: whose it is.
        name: what it is called there.
        to: whose it is to be.
        new_name: what it is called there, if not the same.
        now_ms: Unix milliseconds.

    Raises:
        UnknownNode: one of the nodes isn't there.
        UnknownSensor: the node has no such sensor.
        InvalidName: no sensor can be called ``new_name``.
        NameTaken: the other node has a sensor of that name, or sends one.
    """
    if new_name is not None:
        check_sensor_name(new_name)
    called = new_name or name
    with transaction(db):
        sensor, uid, to_uid = find_sensor(db, node, name), find_node(db, node), find_node(db, to)
        if uid == to_uid:
            raise NameTaken(
                f"{name} is {node}'s already; `tmon sensor rename` changes its name there"
            )
        _check_free(db, to, called)
        _map_names(db, sensor, uid, to_uid, to, called, free_only=new_name is not None)
        db.execute("update sensors set node = ?, name = ? where id = ?", [to, called, sensor.id])
        record(db, now_ms, MOVED, uid, sensor.id, f"{node} {name}", f"{to} {called}")


def check_sensor_name(name: str) -> None:
    """Refuse a name that no sensor can have.

    Raises:
        InvalidName: it is one.
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


def _map_names(  # noqa: PLR0913, PLR0917
    db: Database, sensor: Sensor, uid: str, to_uid: str, to: str, called: str, *, free_only: bool
) -> None:
    """What the other node may call it; what it calls another sensor so, it goes on to."""
    query = "select wire_name from sensor_names where sensor = ? and node_uid = ?"
    own = {name for (name,) in db.execute(query, [sensor.id, uid])}
    for name in sorted({*own, called}):
        other = find_sent(db, to_uid, name)
        if other is None:
            db.execute(
                "insert into sensor_names (node_uid, wire_name, sensor) values (?, ?, ?)",
                [to_uid, name, sensor.id],
            )
        elif other.id != sensor.id and (name == called or not free_only):
            raise NameTaken(
                f"{to} sends {name} already, into its own {other.node} {other.name}: give this "
                "sensor another name with --name; if both are the same probe, "
                f"`tmon sensor replace {to} NAME --by {name}` then makes one history of them"
            )
