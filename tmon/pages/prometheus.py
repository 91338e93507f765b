"""``/-/prometheus``: the newest reading of each sensor, in Prometheus' text format."""

import re
import sqlite3
from collections import defaultdict
from typing import Any, NamedTuple

from datasette import Response

from tmon.pages.queries import run_query

CONTENT_TYPE = "text/plain; version=0.0.4; charset=utf-8"
CACHE_CONTROL = "max-age=15"  # a usual interval of Prometheus
MOST_SENSORS = 100_000

# How Prometheus spells units at a metric's end (prometheus.io/docs/practices/naming).
UNITS = {
    "°C": "celsius",
    "%": "percent",
    "hPa": "hectopascals",
    "lx": "lux",
    "V": "volts",
    "ppm": "ppm",
    "m/s": "meters_per_second",
    "W/m²": "watts_per_square_meter",
    "µg/m³": "micrograms_per_cubic_meter",
    "°": "degrees",
}
_ESCAPES = str.maketrans({"\\": r"\\", '"': r"\"", "\n": r"\n"})
_NO_NAME = re.compile("[^a-z0-9]+")


class Sample(NamedTuple):
    """A sensor that isn't silent, with its newest reading."""

    node: str
    sensor: str
    quantity: str | None
    unit: str | None
    value: float
    measured_ms: int

    @property
    def family(self) -> str:
        """``tmon_temperature_celsius``; ``tmon_value`` where quantity or unit is unknown."""
        unit = UNITS.get(self.unit or "")
        if unit is None or self.quantity is None:
            return "tmon_value"
        quantity = _NO_NAME.sub("_", self.quantity.lower()).strip("_")
        return f"tmon_{quantity}_{unit}" if len(quantity) > 1 else f"tmon_value_{unit}"

    @property
    def place(self) -> str:
        """Its node and sensor, as labels."""
        return f'node="{self.node.translate(_ESCAPES)}",sensor="{self.sensor.translate(_ESCAPES)}"'

    @property
    def labels(self) -> str:
        if self.family == "tmon_value" and self.unit:
            return f'{self.place},unit="{self.unit.translate(_ESCAPES)}"'
        return self.place


async def show(datasette: Any) -> Response:
    """Silent sensors and history are left out: Prometheus then sees that they are gone."""
    samples = await run_query(datasette, _newest)
    headers = {"cache-control": CACHE_CONTROL}
    return Response(_render(samples), content_type=CONTENT_TYPE, headers=headers)


def _newest(connection: sqlite3.Connection) -> list[Sample]:
    rows = connection.execute(
        "select node, name, quantity, unit, value, measured_ms from latest"
        " where not silent and not history order by node, name limit ?",
        [MOST_SENSORS],
    )
    return [Sample(*row) for row in rows]


def _render(samples: list[Sample]) -> str:
    families: defaultdict[str, list[str]] = defaultdict(list)
    for sample in samples:
        families[sample.family].append(f"{sample.family}{{{sample.labels}}} {sample.value!r}")
    lines = []
    for family, rows in sorted(families.items()):
        lines += [f"# HELP {family} The newest reading.", f"# TYPE {family} gauge", *rows]
    name = "tmon_reading_timestamp_seconds"
    lines += [f"# HELP {name} When it was measured.", f"# TYPE {name} gauge"]
    for sample in samples:
        lines.append(f"{name}{{{sample.place}}} {sample.measured_ms / 1000}")
    return "\n".join(lines) + "\n"
