"""Look up or make the sensor of a reading, by the node's own name for it."""

from collections.abc import Set

from msgspec import Struct
from msgspec.structs import replace
from sqlite_utils import Database

from tmon.core.reading import NO_UNIT, Node, Reading, Refusal
from tmon.core.units import check_value, default_unit, quantity_of
from tmon.store.ids import Ids

SENSORS_PER_NODE = 1_000
FIRST_MS = -(1 << 63)  # before any time


class Sensor(Struct, frozen=True, gc=False):
    """A sensor's id and unit; ``kept_from_ms``: older readings were pruned.

    ``doubts_85``: a sudden 85.0 is taken for a DS18B20's value after power-on.
    ``empty``: it has no reading, so its unit isn't fixed.
    """

    id: int
    unit: str | None
    kept_from_ms: int
    doubts_85: bool
    empty: bool


class Sensors:
    """Finds a reading's sensor, or makes it; caches what it found until ``invalidate``.

    With ``imports`` the readings are a file's: the sensors that it makes are marked as imported,
    until a node sends readings of them.
    """

    def __init__(self, db: Database, ids: Ids, *, imports: bool = False) -> None:
        self._db = db
        self._ids = ids
        self._imports = imports
        self._cache: dict[tuple[str, str], Sensor] = {}
        self._empty: set[tuple[str, str]] = set()

    def cached(self, node: Node, reading: Reading) -> Sensor:
        """The reading's sensor; KeyError if it isn't in the cache."""
        return self._cache[node.uid, reading.sensor]

    def find_or_make(self, node: Node, reading: Reading) -> Sensor:
        """The reading's sensor, made in the caller's transaction if it doesn't exist.

        Raises:
            Refusal: the node has too many sensors, or the first reading's value is invalid.
        """
        key = node.uid, reading.sensor
        while key not in self._cache:
            sensor = self._find(node, reading.sensor)
            if sensor is None:
                self._make(node, reading)
            elif sensor.empty and reading.unit not in (None, NO_UNIT, sensor.unit):
                self._set_unit(sensor, reading)
            else:
                if not self._imports:
                    self._mark_sent(sensor)
                self._cache[key] = sensor
                if sensor.empty:
                    self._empty.add(key)
        return self._cache[key]

    def invalidate(self) -> None:
        """Empty the cache."""
        self._cache.clear()
        self._empty.clear()

    def invalidate_empty(self) -> None:
        """Remove sensors without a reading from the cache: another may have fixed their unit."""
        for key in self._empty:
            del self._cache[key]
        self._empty.clear()

    def mark_nonempty(self, ids: Set[int]) -> None:
        """Note that these have a reading now, which fixes their units."""
        for key in [key for key in self._empty if self._cache[key].id in ids]:
            self._cache[key] = replace(self._cache[key], empty=False)
            self._empty.remove(key)

    def _find(self, node: Node, wire_name: str) -> Sensor | None:
        row = self._db.execute(
            "select sensors.id, sensors.unit, coalesce(pruned_before_ms, ?),"
            " sensors.unit is '°C' and not allow_85,"
            " not exists (select 1 from readings where readings.sensor = sensors.id)"
            " and not exists (select 1 from hourly where hourly.sensor = sensors.id)"
            " from sensor_names"
            " join sensors on sensors.id = sensor_names.sensor"
            " where node_uid = ? and wire_name = ?",
            [FIRST_MS, node.uid, wire_name],
        ).fetchone()
        return None if row is None else Sensor(*row)

    def _make(self, node: Node, reading: Reading) -> None:
        query = "select count(*) from sensor_names where node_uid = ?"
        if self._db.execute(query, [node.uid]).fetchone()[0] >= SENSORS_PER_NODE:
            raise Refusal("too_many_sensors", f"a node can have {SENSORS_PER_NODE:,} sensors")
        query = (
            "select 1 from sensors where name = ? and node = (select name from nodes where uid = ?)"
        )
        if self._db.execute(query, [reading.sensor, node.uid]).fetchone():
            raise Refusal(
                "name_taken", f"another sensor of this node was renamed to {reading.sensor}"
            )
        unit = default_unit(reading.sensor) if reading.unit is None else reading.unit or None
        check_value(reading.value, unit)
        made = self._db.execute(
            "insert into sensors (id, node, name, quantity, unit, imported)"
            " select ?, name, ?, ?, ?, ? from nodes where uid = ? returning id",
            [
                *(self._ids.of_sensor(node), reading.sensor, quantity_of(reading.sensor, unit)),
                *(unit, int(self._imports), node.uid),
            ],
        ).fetchone()
        if made is None:
            raise LookupError(f"no node has the uid {node.uid}")
        self._db.execute(
            "insert into sensor_names (node_uid, wire_name, sensor) values (?, ?, ?)",
            [node.uid, reading.sensor, made[0]],
        )

    def _mark_sent(self, sensor: Sensor) -> None:
        """Note that a node sends this sensor's readings: from now on it can be silent."""
        query = "update sensors set imported = 0 where id = ? and imported"
        self._db.execute(query, [sensor.id])

    def _set_unit(self, sensor: Sensor, reading: Reading) -> None:
        """Change the unit of a sensor that has no reading any more, as its import was undone."""
        check_value(reading.value, reading.unit)
        before, after = (quantity_of(reading.sensor, unit) for unit in (sensor.unit, reading.unit))
        self._db.execute(
            "update sensors set unit = ?, quantity = iif(quantity is ?, ?, quantity) where id = ?",
            [reading.unit, before, after, sensor.id],
        )
