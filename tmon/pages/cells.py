"""Readable cells: labels for sensors, values with units, times and ages for people.

HTML alone is concerned; JSON and CSV keep plain numbers.
"""

from collections.abc import Mapping
from datetime import timedelta
from functools import cache, lru_cache
from typing import Any, NamedTuple
from urllib.parse import parse_qs, quote

from datasette import hookimpl
from markupsafe import Markup

from tmon.core.time import EPOCH, FIRST_MS

MEASURED = frozenset(
    (
        *("value", "mean", "min", "max", "lowest", "highest"),
        *("below", "above", "hysteresis", "offset"),  # limits and calibrations
    )
)

# Fixed for each unit, so that the numbers of a column stand under each other.
DECIMALS = {"°C": 1, "°F": 1, "%": 1, "hPa": 1, "lx": 0, "V": 2}
LONGEST_UNIT = 32  # of those that are stored; of SQL's own, one can be as long as a text
LARGEST_ROUNDED = 10**12  # beyond, an exponent is easier to read

# (from how many seconds on, length in seconds, name): 90 min says more than 2 h.
SPANS = ((2 * 86_400, 86_400, "d"), (2 * 3600, 3600, "h"), (60, 60, "min"))

LONGEST_DIFFERENCE_MS = 10**11  # three years; as an instant, 1973

LARGEST_ID = 2**53

# Tables with many rows for each sensor, which can be narrowed to one.
OF_SENSORS = frozenset(
    ("readings", "hourly", "daily", "readings_clean", "hourly_clean", "daily_clean")
)
# Tables whose column `node` is a node's name; in `rejected` it is what somebody sent.
OF_NODES = frozenset(("latest", "latest_clean", "sensors", "incidents", "mutes"))


class Sensor(NamedTuple):
    """What a page tells about a sensor beside its number."""

    node: str
    name: str
    unit: str | None


@hookimpl
def prepare_jinja2_environment(env: Any, datasette: Any) -> None:
    """The same words for the templates of our pages."""

    def sensor(number: str) -> Markup | None:
        return _of_sensor(
            {"sensor": int(number)}, None, "sensor", None, datasette.get_database("tmon")
        )

    env.filters.update(instant=instant, duration=duration, quantity=_chosen_quantity, sensor=sensor)


@hookimpl
def render_cell(  # noqa: PLR0911, PLR0913, PLR0917  # the hook's arguments, a kind of column a line
    row: Any,
    value: Any,
    column: str,
    table: str | None,
    database: str,
    datasette: Any,
    request: Any,
) -> Any:
    """HTML for the columns that have a meaning here; None leaves the cell to Datasette."""
    if isinstance(value, str):
        return _text(value, column, table, datasette)
    if column == "incident":
        return _incident(value, datasette.urls.table(database, "incidents"))
    if column in {"node", "node_uid"} and isinstance(value, Mapping):
        return _node(value["label"], datasette)
    if table in {"readings", "readings_clean"} and column == "measured_ms":
        return _permalink(row, instant(value), datasette.urls.table(database, "readings"))
    if column == "sensor" or column in MEASURED:
        narrowable = table if table in OF_SENSORS and not _is_narrow(request) else None
        return _of_sensor(row, value, column, narrowable, datasette.get_database(database))
    if (table, value) == ("calibrations", FIRST_MS):
        return Markup("the beginning")
    if column.endswith("_ms"):
        return instant(value) if table or _is_no_difference(value) else None
    if column.endswith("_s"):
        return duration(value)
    return silence(value) if column == "silent" else None


def _is_narrow(request: Any) -> bool:
    """Whether a page is of one row or sensor anyway."""
    return request is None or "pks" in request.url_vars or _names_sensor(request.query_string)


@lru_cache(maxsize=8)  # parsed once, not for each cell: a long address takes 0.2 ms
def _names_sensor(query_string: str) -> bool:
    return "sensor" in parse_qs(query_string, keep_blank_values=True)


def _text(value: str, column: str, table: str | None, datasette: Any) -> Markup | None:
    """A node's name leads to its page; what a node sent is no link and reorders nothing."""
    if table in OF_NODES and column == "node":
        return _node(value, datasette)
    if table == "nodes":  # their descriptions are the owner's
        return None
    return Markup("<bdi>{}</bdi>").format(value)


def _node(name: str, datasette: Any) -> Markup:
    return Markup('<a href="{}">{}</a>').format(_page(datasette, name), name)


def _incident(value: Any, table_url: str) -> Markup | None:
    """What was wrong, as a link to when."""
    if not isinstance(value, Mapping):
        return None
    return Markup('<a href="{}/{}"><bdi>{}</bdi></a>').format(
        table_url, value["value"], value["label"]
    )


def instant(value: Any) -> Markup | None:
    """Unix milliseconds as ``2026-11-22 12:00:00``, the exact ISO 8601 on hover.

    What no calendar has stays a number.
    """
    if not isinstance(value, int):
        return None
    try:
        at = EPOCH + timedelta(milliseconds=value)
    except OverflowError:
        return Markup(value)  # noqa: S704 - an integer
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
    return Markup('<span title="{} s">{}</span>').format(value, in_words(value))


def in_words(seconds: float) -> str:
    """The same without the number."""
    length_s, name = next(
        ((length_s, name) for from_s, length_s, name in SPANS if abs(seconds) >= from_s), (1, "s")
    )
    return f"{seconds / length_s:.0f} {name}"


def silence(value: Any) -> Markup | None:
    """0 as ``no``, 1 as a marked ``silent``."""
    return {0: Markup("no"), 1: Markup('<strong class="silent">silent</strong>')}.get(value)


def quantity(value: Any, unit: str | None) -> Markup | None:
    """A value rounded as fits its unit, with it: ``21.5 °C``; the exact one on hover."""
    if not isinstance(value, int | float) or len(str(unit)) > LONGEST_UNIT:
        return None
    exact = f"{value!r} {unit or ''}".strip()
    text = f"{rounded(value, unit)}\N{NO-BREAK SPACE}{unit or ''}".strip()
    return Markup('<span class="quantity" title="{}">{}</span>').format(exact, text)


def _chosen_quantity(value: Any, unit: str | None, fahrenheit: bool = False) -> Markup:
    """A value in the unit that a page's visitor chose; on hover it is as it is stored."""
    shown = quantity(value, unit) or Markup("")
    if not (shown and fahrenheit and unit == "°C"):
        return shown
    exact = f"{value!r} {unit}"
    text = f"{rounded(value * 9 / 5 + 32, '°F')}\N{NO-BREAK SPACE}°F"
    return Markup('<span class="quantity" title="{}">{}</span>').format(exact, text)


def rounded(value: float, unit: str | None) -> str:
    """A value's digits as fits its unit, without it."""
    if unit in DECIMALS and abs(value) < LARGEST_ROUNDED:
        # Adding zero turns -0.0 into 0.0.
        return f"{round(value, DECIMALS[unit]) + 0.0:.{DECIMALS[unit]}f}"
    return f"{value:.0f}" if 10**6 <= abs(value) < LARGEST_ROUNDED else f"{value:.6g}"


def _of_sensor(row: Any, value: Any, column: str, table: str | None, db: Any) -> Markup | None:
    number = _sensor_number(row)
    sensor = _sensor(number, db) if number is not None else None
    if column != "sensor":
        unit = _field(row, "unit") or (sensor and sensor.unit)
        return quantity(value, unit) if unit or sensor else None
    if sensor is None:
        return None
    link = Markup('<a href="{}">{} {}</a>').format(
        _page(db.ds, sensor.node, sensor.name), sensor.node, sensor.name
    )
    if table is None:
        return link
    return link + Markup(' <a class="only" href="{}?sensor={}" aria-label="{}">only</a>').format(
        db.ds.urls.table(db.name, table), number, f"only {sensor.node} {sensor.name}"
    )


def _page(datasette: Any, *names: str) -> str:
    """The page of a node, or of one of its sensors."""
    path: str = datasette.urls.path("/".join(("/node", *(quote(name, "/:") for name in names))))
    return path


def _sensor(number: int, db: Any) -> Sensor | None:
    """A sensor by its number: 5 µs, where a hop to Datasette's threads takes 500."""
    query = "select node, name, unit from sensors where id = ?"
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
