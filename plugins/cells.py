"""Readable cells: labels for sensors, values with units, times and ages for people.

HTML alone is concerned; JSON and CSV keep plain numbers.
"""

from collections.abc import Mapping
from datetime import UTC, datetime, timedelta
from functools import cache
from typing import Any, NamedTuple

from datasette import hookimpl
from markupsafe import Markup

MEASURED = frozenset(("value", "mean", "min", "max", "lowest", "highest"))

# Fixed for each unit, so that the numbers of a column stand under each other.
DECIMALS = {"°C": 1, "%": 1, "hPa": 1, "lx": 0, "V": 2}
LARGEST_ROUNDED = 10**12  # beyond, an exponent is easier to read

EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
# (from how many seconds on, length in seconds, name): 90 min says more than 2 h.
SPANS = ((2 * 86_400, 86_400, "d"), (2 * 3600, 3600, "h"), (60, 60, "min"))

LONGEST_DIFFERENCE_MS = 10**11  # three years; as an instant, 1973

LARGEST_ID = 2**53


class Sensor(NamedTuple):
    """What a page tells about a sensor beside its number."""

    label: str
    unit: str | None


@hookimpl
def extra_css_urls(datasette: Any) -> list[str]:
    """Our few rules over Datasette's own."""
    return [datasette.static("tmon.css", mount="static")]


@hookimpl
def render_cell(  # noqa: PLR0913, PLR0917  # the hook's arguments, a kind of column a line
    row: Any,
    value: Any,
    column: str,
    table: str | None,
    database: str,
    datasette: Any,
) -> Any:
    """HTML for the columns that have a meaning here; None leaves the cell to Datasette."""
    if isinstance(value, str) and table != "nodes":  # their descriptions are the owner's
        return Markup("<bdi>{}</bdi>").format(value)  # what a node sent: no link, no reordering
    if table == "readings" and column == "measured_ms":
        return _permalink(row, instant(value), datasette.urls.table(database, table))
    if column == "sensor" or column in MEASURED:
        return _of_sensor(row, value, column, datasette.get_database(database))
    if column.endswith("_ms"):
        return instant(value) if table or _is_no_difference(value) else None
    if column.endswith("_s"):
        return duration(value)
    return silence(value) if column == "silent" else None


def instant(value: Any) -> Markup | None:
    """Unix milliseconds as ``2026-11-22 12:00:00``, the exact ISO 8601 on hover."""
    if not isinstance(value, int):
        return None
    try:
        at = EPOCH + timedelta(milliseconds=value)
    except OverflowError:
        return None
    exact = at.replace(tzinfo=None).isoformat(timespec="milliseconds") + "Z"
    readable = exact[:19].replace("T", " ")
    return Markup('<time datetime="{0}" title="{0}">{1}</time>').format(exact, readable)


def _is_no_difference(value: Any) -> bool:
    """Whether an ``*_ms`` of somebody's own SQL can be an instant, not the time between two."""
    return isinstance(value, int) and abs(value) >= LONGEST_DIFFERENCE_MS


def duration(value: Any) -> Markup | None:
    """Seconds as ``45 s``, ``3 min``, ``5 h`` or ``12 d``, the exact number on hover."""
    if not isinstance(value, int | float):
        return None
    length_s, name = next(
        ((length_s, name) for from_s, length_s, name in SPANS if abs(value) >= from_s), (1, "s")
    )
    return Markup('<span title="{} s">{:.0f} {}</span>').format(value, value / length_s, name)


def silence(value: Any) -> Markup | None:
    """0 as ``no``, 1 as a marked ``silent``."""
    return {0: Markup("no"), 1: Markup('<strong class="silent">silent</strong>')}.get(value)


def quantity(value: Any, unit: str | None) -> Markup | None:
    """A value rounded as fits its unit, with it: ``21.5 °C``; the exact one on hover."""
    if not isinstance(value, int | float):
        return None
    exact = f"{value!r} {unit or ''}".strip()
    rounded = f"{_rounded(value, unit)}\N{NO-BREAK SPACE}{unit or ''}".strip()
    return Markup('<span class="quantity" title="{}">{}</span>').format(exact, rounded)


def _rounded(value: float, unit: str | None) -> str:
    if unit in DECIMALS and abs(value) < LARGEST_ROUNDED:
        # Adding zero turns -0.0 into 0.0.
        return f"{round(value, DECIMALS[unit]) + 0.0:.{DECIMALS[unit]}f}"
    return f"{value:.0f}" if 10**6 <= abs(value) < LARGEST_ROUNDED else f"{value:.6g}"


def _of_sensor(row: Any, value: Any, column: str, db: Any) -> Markup | None:
    number = _sensor_number(row)
    sensor = _sensor(number, db) if number is not None else None
    if column != "sensor":
        unit = _field(row, "unit") or (sensor and sensor.unit)
        return quantity(value, unit) if unit or sensor else None
    if sensor is None:
        return None
    readings = db.ds.urls.table(db.name, "readings")
    return Markup('<a href="{}?sensor={}">{}</a>').format(readings, number, sensor.label)


def _sensor(number: int, db: Any) -> Sensor | None:
    """A sensor by its number: 5 µs, where a hop to Datasette's threads takes 500."""
    query = "select label, unit from sensors where id = ?"
    found = _reader(db).execute(query, [number]).fetchone()
    return Sensor(*found) if found else None


@cache
def _reader(db: Any) -> Any:
    """A read-only connection for the event loop's thread; in WAL mode it waits for no writer."""
    return db.connect()


def _sensor_number(row: Any) -> int | None:
    sensor = _field(row, "sensor")
    if isinstance(sensor, Mapping):  # Datasette has looked its label up
        sensor = sensor["value"]
    return sensor if isinstance(sensor, int) and 0 <= sensor < LARGEST_ID else None


def _field(row: Any, column: str) -> Any:
    try:
        return row[column]
    except (KeyError, IndexError):  # as its kind of row has it
        return None


def _permalink(row: Any, text: Markup | None, table_url: str) -> Markup | None:
    number = _sensor_number(row)
    if text is None or number is None:
        return text
    return Markup('<a href="{}/{},{}">{}</a>').format(table_url, number, row["measured_ms"], text)
