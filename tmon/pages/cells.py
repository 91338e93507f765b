"""Readable table cells: sensor names, values with units, dates and durations.

Only HTML is changed; JSON and CSV keep plain numbers.
"""

import math
from collections.abc import Mapping
from datetime import timedelta
from functools import cache, lru_cache
from typing import Any, NamedTuple
from urllib.parse import parse_qs

from datasette import hookimpl
from markupsafe import Markup

from tmon.core import humanize
from tmon.core.languages import gettext
from tmon.core.time import EPOCH, FIRST_MS
from tmon.pages.responses import node_path

MEASURED = frozenset(
    (
        *("value", "mean", "min", "max", "lowest", "highest"),
        *("below", "above", "hysteresis", "offset"),  # limits and calibrations
    )
)

# Fixed for each unit, so that the numbers of a column line up. format.js has the same.
DECIMALS = {
    **dict.fromkeys(("lx", "ppm", "ppb", "W", "µg/m³", "rpm", "Wh", "mA", "Pa", "dBm", "°"), 0),
    **dict.fromkeys(("°C", "°F", "%", "hPa", "mm", "mm/h", "km/h", "m/s", "kWh", "dB", "kPa"), 1),
    **dict.fromkeys(("V", "A", "kW"), 2),
}
MAX_DECIMALS = 4
MAX_UNIT_CHARACTERS = 32  # as stored; in visitors' SQL a unit can be any text
MAX_ROUNDED = 10**12  # beyond, an exponent is easier to read

# Shortest duration, seconds per unit, unit. 90 min says more than 2 h.
DURATION_UNITS = ((2 * 86_400, 86_400, "d"), (2 * 3600, 3600, "h"), (60, 60, "min"))

MAX_DIFFERENCE_MS = 10**11  # three years; as a date, 1973
MAX_ID = 2**53

# Tables with many rows per sensor, which have links to filter by one.
SENSOR_TABLES = frozenset(
    ("readings", "hourly", "daily", "readings_clean", "hourly_clean", "daily_clean")
)
# Tables whose column `node` has names of nodes; `rejected` has whatever was sent.
NODE_TABLES = frozenset(("latest", "latest_clean", "sensors", "incidents", "mutes", "notes"))


class Sensor(NamedTuple):
    """What cells show of a sensor."""

    node: str
    name: str
    unit: str | None


@hookimpl
def prepare_jinja2_environment(env: Any, datasette: Any) -> None:
    """The same formats as filters for our templates."""

    def sensor(number: str) -> Markup | None:
        return _sensor_cell(
            {"sensor": int(number)}, None, "sensor", None, datasette.get_database("tmon")
        )

    env.filters.update(
        instant=instant,
        duration=duration,
        hours_and_minutes=hours_and_minutes,
        quantity=_quantity_in_unit,
        sensor=sensor,
    )


@hookimpl
def render_cell(  # noqa: PLR0911, PLR0913, PLR0917  # the hook's arguments; one return a kind of column
    row: Any,
    value: Any,
    column: str,
    table: str | None,
    database: str,
    datasette: Any,
    request: Any,
) -> Any:
    """HTML for columns that we know; None leaves the cell to Datasette."""
    if isinstance(value, str):
        return _text_cell(value, column, table, datasette)
    if column == "incident":
        return _incident_cell(value, datasette.urls.table(database, "incidents"))
    if column in {"node", "node_uid"} and isinstance(value, Mapping):
        return _node_link(value["label"], datasette)
    if table in {"readings", "readings_clean"} and column == "measured_ms":
        return _row_link(row, instant(value), datasette.urls.table(database, "readings"))
    if column == "sensor" or column in MEASURED:
        filtered = table if table in SENSOR_TABLES and not _has_one_sensor(request) else None
        return _sensor_cell(row, value, column, filtered, datasette.get_database(database))
    if (table, value) == ("calibrations", FIRST_MS):
        return Markup("{}").format(gettext("the beginning"))
    if column.endswith("_ms"):
        return instant(value) if table or _is_instant(value) else None
    if column.endswith("_s"):
        return duration(value)
    return _silent_cell(value) if column == "silent" else None


def _has_one_sensor(request: Any) -> bool:
    """Whether a page shows one row or sensor, so that a filter link is useless."""
    return request is None or "pks" in request.url_vars or _filters_by_sensor(request.query_string)


@lru_cache(maxsize=8)  # once a page: parsing a long address takes 0.2 ms
def _filters_by_sensor(query_string: str) -> bool:
    return "sensor" in parse_qs(query_string, keep_blank_values=True)


def _text_cell(value: str, column: str, table: str | None, datasette: Any) -> Markup | None:
    """A node's name as a link; other text isolated, so that it can't reorder the page."""
    if table in NODE_TABLES and column == "node":
        return _node_link(value, datasette)
    if table == "nodes":  # its text is the owner's
        return None
    return Markup("<bdi>{}</bdi>").format(value)


def _node_link(name: str, datasette: Any) -> Markup:
    return Markup('<a href="{}">{}</a>').format(datasette.urls.path(node_path(name)), name)


def _silent_cell(value: Any) -> Markup | None:
    if value == 1:
        return Markup('<strong class="silent">{}</strong>').format(gettext("silent"))
    return Markup("{}").format(gettext("no")) if value == 0 else None


def _incident_cell(value: Any, table_url: str) -> Markup | None:
    """An incident's label as a link to its row."""
    if not isinstance(value, Mapping):
        return None
    return Markup('<a href="{}/{}"><bdi>{}</bdi></a>').format(
        table_url, value["value"], value["label"]
    )


def instant(value: Any, minutes: bool = False) -> Markup | None:
    """Unix milliseconds as ``2026-11-22 12:00:00``, with ISO 8601 as title.

    With ``minutes`` it has no seconds. Outside the years 1 to 9999 it stays a number.
    """
    if not isinstance(value, int):
        return None
    try:
        at = EPOCH + timedelta(milliseconds=value)
    except OverflowError:
        return Markup(value)  # noqa: S704 - an integer
    exact = at.replace(tzinfo=None).isoformat(timespec="milliseconds") + "Z"
    readable = exact[: 16 if minutes else 19].replace("T", " ")
    form = Markup(" data-minutes") if minutes else ""
    return Markup('<time datetime="{0}" title="{0}"{1}>{2}</time>').format(exact, form, readable)


def _is_instant(value: Any) -> bool:
    """Whether an ``*_ms`` of a visitor's own SQL is an instant, not a difference of two."""
    return isinstance(value, int) and abs(value) >= MAX_DIFFERENCE_MS


def duration(value: Any) -> Markup | None:
    """Seconds as ``short_duration`` shows them, with the exact number as title."""
    if not isinstance(value, int | float):
        return None
    return Markup('<span title="{} s">{}</span>').format(value, short_duration(value))


def short_duration(seconds: float) -> str:
    """Seconds as ``45 s``, ``3 min``, ``5 h`` or ``12 d``."""
    fitting = (one for one in DURATION_UNITS if abs(seconds) >= one[0])
    _, unit_s, unit = next(fitting, (0, 1, "s"))
    return f"{seconds / unit_s:.0f} {unit}"


def hours_and_minutes(seconds: float) -> str:
    """Seconds as ``40 s``, ``20 min``, ``3 h 20 min`` or ``2 d 3 h``: to the minute."""
    return humanize.duration(seconds if seconds < 60 else 60 * round(seconds / 60))


def quantity(
    value: Any, unit: str | None, decimals: int | None = None, *, is_mean: bool = False
) -> Markup | None:
    """A value rounded for its unit, such as ``21.5 °C``, with the exact value as title."""
    if not isinstance(value, int | float) or len(str(unit)) > MAX_UNIT_CHARACTERS:
        return None
    exact = f"{value!r} {unit or ''}".strip()
    number = rounded(value, unit, decimals, is_mean=is_mean)
    text = f"{number}\N{NO-BREAK SPACE}{unit or ''}".strip()
    return Markup('<span class="quantity" title="{}">{}</span>').format(exact, text)


def _quantity_in_unit(
    value: Any, unit: str | None, fahrenheit: bool = False, spread: float = 0
) -> Markup:
    """A value in the unit that the visitor chose, with the stored value as title.

    With the ``spread`` of the values that it is the mean of, it is rounded by that.
    """
    decimals = decimals_by_spread(unit, spread)
    shown = quantity(value, unit, decimals) or Markup("")
    if not (shown and fahrenheit and unit == "°C"):
        return shown
    exact = f"{value!r} {unit}"
    text = f"{rounded(value * 9 / 5 + 32, '°F')}\N{NO-BREAK SPACE}°F"
    return Markup('<span class="quantity" title="{}">{}</span>').format(exact, text)


def rounded(
    value: float, unit: str | None, decimals: int | None = None, *, is_mean: bool = False
) -> str:
    """A value rounded for its unit, or to given decimals, without the unit.

    A mean has one digit more: it is known better than what was measured.
    """
    if decimals is None and unit in DECIMALS:
        decimals = DECIMALS[unit] + is_mean
    if decimals is not None and abs(value) < MAX_ROUNDED:
        # Adding zero turns -0.0 into 0.0.
        return f"{round(value, decimals) + 0.0:.{decimals}f}"
    return f"{value:.0f}" if 10**6 <= abs(value) < MAX_ROUNDED else f"{value:.6g}"


def decimals_by_spread(unit: str | None, spread: float) -> int | None:
    """Decimals for a unit without fixed ones: they tell a hundredth of the spread of a day.

    None where its values don't differ.
    """
    if unit in DECIMALS or not spread > 0:
        return None
    return max(0, min(MAX_DECIMALS, 2 - math.ceil(math.log10(spread))))


def _sensor_cell(row: Any, value: Any, column: str, table: str | None, db: Any) -> Markup | None:
    sensor_id = _sensor_id(row)
    sensor = _load_sensor(sensor_id, db) if sensor_id is not None else None
    if column != "sensor":
        unit = _field(row, "unit") or (sensor and sensor.unit)
        return quantity(value, unit, is_mean=column == "mean") if unit or sensor else None
    if sensor is None:
        return None
    link = Markup('<a href="{}">{} {}</a>').format(
        db.ds.urls.path(node_path(sensor.node, sensor.name)), sensor.node, sensor.name
    )
    if table is None:
        return link
    only = gettext("only {sensor}").format(sensor=f"{sensor.node} {sensor.name}")
    return link + Markup(' <a class="only" href="{}?sensor={}" aria-label="{}">{}</a>').format(
        db.ds.urls.table(db.name, table), sensor_id, only, gettext("only")
    )


def _load_sensor(sensor_id: int, db: Any) -> Sensor | None:
    """Look up a sensor: 5 µs here, where a query in Datasette's threads takes 500."""
    query = "select node, name, unit from sensors where id = ?"
    row = _reader(db).execute(query, [sensor_id]).fetchone()
    return Sensor(*row) if row else None


@cache
def _reader(db: Any) -> Any:
    """A read-only connection for the event loop's thread; in WAL mode it never waits for a lock."""
    return db.connect()


def _sensor_id(row: Any) -> int | None:
    sensor = _field(row, "sensor")
    if isinstance(sensor, Mapping):  # Datasette has added its label
        sensor = sensor["value"]
    return sensor if isinstance(sensor, int) and 0 <= sensor < MAX_ID else None


def _field(row: Any, column: str) -> Any:
    try:
        return row[column]
    except (KeyError, IndexError):  # depends on the type of row
        return None


def _row_link(row: Any, text: Markup | None, table_url: str) -> Markup | None:
    sensor_id = _sensor_id(row)
    if text is None or sensor_id is None:
        return text
    return Markup('<a href="{}/{},{}">{}</a>').format(
        table_url, sensor_id, row["measured_ms"], text
    )
