"""List and describe sensors."""

from typing import Any

from sqlite_utils import Database

from tmon.core.errors import TmonError
from tmon.core.time import iso_sql
from tmon.core.units import kept_as
from tmon.db.connect import transaction
from tmon.db.lookup import find_node_uid, find_sensor


class InvalidUnit(TmonError):
    """A sensor can't have that unit."""


def described(db: Database, node: str | None) -> list[dict[str, Any]]:
    """The description of each sensor, of one node or of all.

    Raises:
        UnknownNode: no node is called that.
    """
    if node is not None:
        find_node_uid(db, node)
    return list(
        db.query(
            f"""
            select sensors.node, sensors.name, sensors.title, sensors.description,
                sensors.quantity, sensors.unit, allow_85,
                (select group_concat(wire_name, ' ') from (
                    select wire_name from sensor_names
                    where sensor = sensors.id
                        and node_uid = (select uid from nodes where name = sensors.node)
                    order by wire_name
                )) as sent_as,
                {iso_sql("measured_ms")} as measured_at, value,
                {iso_sql("pruned_before_ms")} as pruned_before
            from sensors left join readings on sensor = sensors.id and measured_ms = (
                select max(measured_ms) from readings
                where sensor = sensors.id and measured_ms <= (unixepoch() + 600) * 1000)
            where sensors.node = coalesce(:node, sensors.node)
            order by sensors.node, sensors.name
            """,
            {"node": node},
        )
    )


def describe(db: Database, node: str, name: str, changes: dict[str, str | int]) -> None:
    """Set some of title, description, quantity, unit and allow_85; an empty text clears one.

    Raises:
        UnknownNode: no node is called that.
        UnknownSensor: it has no such sensor.
        InvalidUnit: it has another unit already, or no value is kept in that one.
    """
    columns = {column: None if value == "" else value for column, value in changes.items()}
    with transaction(db):
        sensor = find_sensor(db, node, name)
        if "unit" in changes:
            columns["unit"] = _check_unit(sensor.unit, str(changes["unit"]))
        for column, value in columns.items():
            db.execute(f"update sensors set {column} = ? where id = ?", [value, sensor.id])


def _check_unit(present: str | None, wanted: str) -> str:
    unit = kept_as(wanted)
    if present is not None and present != unit:
        raise InvalidUnit(
            f"its values are stored in {present}, which can't be changed; "
            "a sensor under another name can have another unit"
        )
    if unit is None:
        raise InvalidUnit(
            f"no value is stored in {wanted!r}: the unit must be at most 32 printable "
            "characters, like °C, %, hPa, lx or V"
        )
    return unit
