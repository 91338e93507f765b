"""Write the readings of one day as a Parquet file; needs pyarrow."""

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
from sqlite_utils import Database

from tmon.maintenance.parquet_days import Day, Days, Sensor

# Rows that readers skip or read at once, and that are in memory here: about 60 MB.
ROW_GROUP = 250_000
FETCHED = 50_000  # rows that SQLite hands over at once

SCHEMA = pa.schema(
    [
        pa.field("node", pa.string(), nullable=False),
        pa.field("sensor", pa.string(), nullable=False),
        pa.field("quantity", pa.string()),
        pa.field("unit", pa.string()),
        pa.field("measured", pa.timestamp("ms", tz="UTC"), nullable=False),
        pa.field("value", pa.float64()),  # null where it is flagged
        pa.field("raw", pa.float64()),  # null where it is the same as value
        pa.field("flag", pa.string()),
    ]
)

_READINGS = """
select measured_ms, value, null, null from readings
where sensor = :sensor and measured_ms >= :from_ms and measured_ms < :to_ms
order by measured_ms
"""
_CORRECTED = """
select readings.measured_ms, clean.value,
    iif(clean.value is readings.value, null, readings.value), (
        select reason from flags
        where flags.sensor = readings.sensor
            and to_ms > readings.measured_ms and from_ms <= readings.measured_ms
        order by id limit 1
    )
from readings
left join readings_clean as clean
    on clean.sensor = readings.sensor and clean.measured_ms = readings.measured_ms
where readings.sensor = :sensor
    and readings.measured_ms >= :from_ms and readings.measured_ms < :to_ms
order by readings.measured_ms
"""


def write_day(db: Database, days: Days, day: Day, path: Path, metadata: dict[str, str]) -> int:
    """Write all readings of a day, sorted by node, sensor and time; how many these were."""
    rows = 0
    schema = SCHEMA.with_metadata(metadata)
    order = pq.SortingColumn.from_ordering(
        schema, [("node", "ascending"), ("sensor", "ascending"), ("measured", "ascending")]
    )
    with pq.ParquetWriter(
        path,
        schema,
        compression="zstd",
        # Each time is there once in a sensor's rows, and values are seldom repeated for long.
        use_dictionary=["node", "sensor", "quantity", "unit", "value", "flag"],
        column_encoding={"measured": "DELTA_BINARY_PACKED"},
        sorting_columns=order,
    ) as writer:
        for table in _row_groups(db, days, day, schema):
            writer.write_table(table, row_group_size=ROW_GROUP)
            rows += table.num_rows
    return rows


def _row_groups(db: Database, days: Days, day: Day, schema: Any) -> Iterator[Any]:
    """Tables of ``ROW_GROUP`` rows, the last one of fewer."""
    waiting: list[Any] = []
    count = 0
    for sensor in days.sensors:
        for batch in _batches(db, days, day, sensor, schema):
            waiting.append(batch)
            count += batch.num_rows
            if count >= ROW_GROUP:
                table = pa.Table.from_batches(waiting)
                yield table.slice(0, ROW_GROUP)
                rest = table.slice(ROW_GROUP)
                waiting, count = rest.to_batches(), rest.num_rows
    if count:
        yield pa.Table.from_batches(waiting)


def _batches(db: Database, days: Days, day: Day, sensor: Sensor, schema: Any) -> Iterator[Any]:
    """A sensor's readings of the day."""
    is_corrected = any(days.corrections(sensor.id, day.from_ms))
    span = {"sensor": sensor.id, "from_ms": day.from_ms, "to_ms": day.to_ms}
    found = db.execute(_CORRECTED if is_corrected else _READINGS, span)
    names = [sensor.node, sensor.name, sensor.quantity, sensor.unit]
    while rows := found.fetchmany(FETCHED):
        columns = zip(*rows, strict=True)
        arrays = [pa.repeat(pa.scalar(name, pa.string()), len(rows)) for name in names]
        arrays += [
            pa.array(column, field.type)
            for column, field in zip(columns, list(schema)[len(names) :], strict=True)
        ]
        yield pa.RecordBatch.from_arrays(arrays, schema=schema)
