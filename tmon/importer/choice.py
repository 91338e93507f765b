"""Which columns hold the times and the values, where no flag says so."""

import re
from collections.abc import Sequence
from itertools import pairwise

from tmon.core.errors import CannotImport
from tmon.core.reading import clip
from tmon.importer.cells import is_dated
from tmon.importer.columns import Column, find, is_unit, plain
from tmon.importer.date_and_clock import is_clock, join_clock
from tmon.importer.flags import Flags
from tmon.importer.layout import Layout
from tmon.importer.numbers import is_number
from tmon.importer.time_detection import has_time_of_day, is_excel_day
from tmon.importer.values import quantity_of

# Names of columns of times: the surest first.
_TIME_NAMES = (
    re.compile(r"_time|time|timestamp|date_?time|date_time_.*|measured_(at|ms)|zeitstempel|zeitpunkt"),
    re.compile(r"(.*_)?(time|timestamp|date_?time|zeit|uhrzeit)(_.*)?|created_at|last_changed|mess_datum|dateutc"),
    re.compile(r"(.*_)?(date|datum|fecha|data|dato|day|dt|ts|epoch|unix|clock)(_.*)?"),
)  # fmt: skip
_SENSOR_COLUMNS = (
    "entity_id _field sensor sensor_name metric field topic parameter variable channel series"
    " quantity phenomenon sensor_type measurement statistic_id name".split()
)
VALUE_COLUMNS = "state _value value reading payload messwert wert val mean".split()
_NODES = re.compile(
    r"(device|sensor|station|stations|node|logger|probe|room|host|entity|location|channel|module)"
    r"([ _-]?(id|name|no|nr|number))?|name|topic|mac|serial|raum|ort|area|zone|tag|_measurement"
)
# As above, but only where the column holds texts: numbers may be row numbers.
_THINGS = re.compile(
    r"(instance|item|resource|subject|object|asset|meter|point|signal)([ _-]?(id|name))?"
)
_IDS = re.compile(r"(.*[ _-])?(id|no|nr|number|addr(ess)?)|rom|uuid|eui|imei")
_PARTS = {
    "%Y": ("year", "jahr", "yyyy"),
    "%m": ("month", "monat", "mm"),
    "%d": ("day", "tag", "dd"),
    "%H": ("hour", "stunde", "hh", "hr"),
    "%M": ("minute", "min", "minuten"),
    "%S": ("second", "seconds", "sekunde"),
}
_ZONES = re.compile(
    r"((utc|gmt|tz|timezone|time_zone)_?)?offset(_(s|sec|seconds|min|minutes|h|hours|hrs))?"
    r"|tz|time_?zone|zeitzone"
)
_UNITS_OF = re.compile(r"unit|einheit|uom", re.IGNORECASE)
_UNIT_COLUMNS = ("unit", "units", "unit_of_measurement", "einheit")


def choose_times(layout: Layout, flags: Flags) -> tuple[tuple[Column, ...], str | None]:
    """The columns of times, which are joined by a blank, and a note on the choice.

    Raises:
        CannotImport: there is none, or several are possible.
    """
    if flags.times:
        named = tuple(find(layout.columns, name, layout.header_line) for name in flags.times)
        if len(named) > 1 or flags.time_format:
            return named, None
        return join_clock(layout, named[0], flags, may_repeat=True)
    dated = dated_columns(layout) or [one for one in layout.columns if _is_excel(layout, one)]
    if not dated:
        raise CannotImport(_no_times(layout))
    ranks = {column: _rank(column) for column in dated}
    best = [column for column in dated if ranks[column] == min(ranks.values())]
    if len(best) > 1:
        best = [column for column in best if _is_sure(layout, column)] or best
    if len(best) > 1:
        names = ", ".join(repr(clip(column.name)) for column in best)
        raise CannotImport(f"several columns hold times ({names}): --time COL says which")
    surer = [one for one in other_times(layout, best) if _is_sure(layout, one)]
    if surer and not flags.zone and not _is_sure(layout, best[0]):
        raise CannotImport(
            f"{clip(best[0].name)!r} holds times without an offset, and"
            f" {clip(surer[0].name)!r} some that need none: --time COL says which"
        )
    # Several nodes or sensors may have rows of the same day.
    may_repeat = bool(flags.node_column or choose_rows(layout))
    return join_clock(layout, best[0], flags, may_repeat=may_repeat)


def dated_columns(layout: Layout) -> list[Column]:
    """The columns that hold times with a date."""
    return [
        column
        for column in layout.columns[: layout.width]
        if column.name not in {"_start", "_stop"}
        and layout.mostly(column, is_dated)
        and not layout.mostly(column, is_clock)
        and (column.unit is None or _rank(column) < len(_TIME_NAMES))
    ]


def other_times(layout: Layout, chosen: Sequence[Column]) -> list[Column]:
    """Further columns of times; columns of numbers only where their name says so."""
    return [
        column
        for column in dated_columns(layout)
        if column not in chosen
        and (_rank(column) < len(_TIME_NAMES) or not layout.mostly(column, is_number))
    ]


def _is_excel(layout: Layout, column: Column) -> bool:
    """Whether a column called like ``Time`` holds a spreadsheet's numbers of days."""
    cells = layout.cells_of(column)
    is_named = _rank(column) < len(_TIME_NAMES)
    return is_named and any(map(has_time_of_day, cells)) and all(map(is_excel_day, cells))


def zone_column(layout: Layout) -> Column | None:
    """The column with each row's time zone, such as ``utc_offset``."""
    for column in layout.columns:
        if _ZONES.fullmatch(re.sub(r"\W+", "_", column.name.lower())) and layout.cells_of(column):
            return column
    return None


def choose_values(layout: Layout, taken: Sequence[Column | None]) -> list[Column]:
    """The columns of numbers that may be measured values."""
    numbers = [
        column
        for column in layout.columns[: layout.width]
        if column not in taken
        and column.name
        and not column.is_not_measured
        and not (_NODES.fullmatch(column.name.lower()) and _are_digits(layout, column))
        and layout.mostly(column, is_number)
        and not (layout.mostly(column, is_dated) and _rank(column) < len(_TIME_NAMES))
    ]
    return [column for column in numbers if not _counts_rows(layout, column)] or numbers


def choose_rows(layout: Layout) -> tuple[Column, Column] | None:
    """A long table's columns of sensor names and values; None where this isn't one."""
    value, sensor = _by_name(layout, VALUE_COLUMNS), _by_name(layout, _SENSOR_COLUMNS)
    if value is None or sensor is None or value == sensor:
        return None
    # Without texts, or with numbers only, it doesn't name sensors.
    return None if all(map(is_number, layout.cells_of(sensor))) else (sensor, value)


def choose_units(layout: Layout) -> Column | None:
    """The column with each row's unit."""
    column = _by_name(layout, _UNIT_COLUMNS)
    return column if column and layout.cells_of(column) else None


def units_of(layout: Layout, column: Column) -> Column | None:
    """The column of units that belongs to one column: ``Temp Unit`` for ``Temp``, or beside it."""
    for other in layout.columns:
        is_named = not other.name or _UNITS_OF.search(other.name) is not None
        is_beside = other.index == column.index + 1 and is_named
        begins, _, rest = other.name.lower().partition(column.name.lower())
        is_own = is_beside or (not begins and rest.strip(" _-.()") in _UNIT_COLUMNS)
        cells = layout.cells_of(other) if is_own else []
        if cells and all(map(is_unit, cells)):
            return other
    return None


def check_single_sensor(layout: Layout, named: Sequence[Column], node: Column | None) -> None:
    """Refuse --value with the one column that holds the values of several sensors."""
    found = choose_rows(layout)
    if not found or [*named] != [found[1]]:
        return
    sensor, value = found
    texts = sorted({*layout.cells_of(sensor)})
    if len(texts) < 2 or (node == sensor and len({*map(quantity_of, texts)}) < 2):
        return
    raise CannotImport(
        f"{clip(value.name)!r} has values of several sensors ({clip(', '.join(texts[:3]))}):"
        f" leave --value out, or say --sensor-column '{clip(sensor.name)}' --value-column"
        f" '{clip(value.name)}' --sensor '{clip(texts[0])}=sensor:unit'"
    )


def find_key_column(
    layout: Layout, columns: Sequence[Column], times: Sequence[Column], sensors: Column | None
) -> Column | None:
    """A column that may say of which node or sensor a row is, where there are several.

    It has such a name, or its texts differ among the rows of the same time. In a long table,
    whose column of sensor names is ``sensors``, one sensor must have several such texts.
    """
    for column in columns:
        rows = [cells for cells in layout.rows() if column.name and cells[column.index]]
        sensor_of = [cells[sensors.index] if sensors else "" for cells in rows]
        texts = [cells[column.index] for cells in rows]
        are_digits = all(map(str.isdigit, texts))
        is_model = column.name.lower() == "id" and _by_name(layout, ("model",)) is not None
        is_thing = _THINGS.fullmatch(column.name.lower()) and not are_digits
        if is_model or is_thing or _NODES.fullmatch(column.name.lower()):
            if len({*zip(sensor_of, texts, strict=True)}) > len({*sensor_of}):
                return column
            continue
        moments = [" ".join(cells[time.index] for time in times) for cells in rows]
        keys = [*zip(moments, sensor_of, strict=True)]
        if not are_digits and _are_distinct(texts, keys):
            return column
        may_be_id = not are_digits or _IDS.fullmatch(column.name.lower())
        if may_be_id and not sensors and _take_turns(texts):
            return column
    return None


def _are_distinct(texts: Sequence[str], keys: Sequence[tuple[str, str]]) -> bool:
    """Whether most rows share their key with others, and texts of the same key all differ."""
    of_key: dict[tuple[str, str], list[str]] = {}
    for text, key in zip(texts, keys, strict=True):
        of_key.setdefault(key, []).append(text)
    shared = [same for same in of_key.values() if len(same) > 1]
    is_most = 2 * sum(map(len, shared)) > len(texts)
    return is_most and all(len({*same}) == len(same) for same in shared)


def _take_turns(texts: Sequence[str]) -> bool:
    """Whether texts with digits come in turn, as ids of sensors do: 28-01, 28-02, 28-01."""
    kinds = {*texts}
    count = len(kinds)
    if not 2 <= count <= min(len(texts) / 2, 50):
        return False
    if any(not re.search(r"[0-9]", one) or is_dated(one) or is_clock(one) for one in kinds):
        return False
    turns = [len({*texts[place : place + count]}) for place in range(len(texts) - count + 1)]
    return turns.count(count) >= 0.8 * len(turns)


def _no_times(layout: Layout) -> str:
    names = clip(", ".join(column.name for column in layout.columns))
    where = f"line {layout.header_line} names" if layout.header_line else "its columns are"
    for column in layout.columns:
        if layout.mostly(column, is_excel_day):
            return (
                f"no column of times was found; {clip(column.name)!r} may have Excel's day numbers:"
                f" --time '{clip(column.name)}' --time-format excel says so"
            )
    parts = [(one, mark) for mark, names in _PARTS.items() if (one := _by_name(layout, names))]
    if [mark for _, mark in parts[:3]] == ["%Y", "%m", "%d"]:
        times = " ".join(f"--time '{one.name}'" for one, _ in parts)
        marks = " ".join(mark for _, mark in parts)
        return f"the date is in several columns: {times} --time-format '{marks}' joins them"
    if layout.header_line and all(is_number(column.name) for column in layout.columns):
        return f"line {layout.header_line} holds numbers ({names}): is --no-header missing?"
    if len(layout.columns) == 1 and re.search(r"[,;\t|^]", names):
        return f"line 1 is one cell ({names}): are lines quoted, or does --delimiter help?"
    return f"no column of times was found; --time COL and --time-format say which; {where}: {names}"


def _rank(column: Column) -> int:
    slug = re.sub(r"\W+", "_", plain(column.name).lower())
    slug = slug if slug == "_time" else slug.strip("_")
    found = (rank for rank, names in enumerate(_TIME_NAMES) if names.fullmatch(slug))
    return next(found, len(_TIME_NAMES))


def _is_sure(layout: Layout, column: Column) -> bool:
    """Whether its times need no zone: Unix times, times with an offset, or a name with UTC."""
    cells = layout.cells_of(column)
    return re.search(r"utc|gmt", column.name, re.IGNORECASE) is not None or all(
        re.fullmatch(r"[0-9.]{9,}|.*(Z|[+-]\d\d:?\d\d|UTC|GMT)", cell) for cell in cells
    )


def _counts_rows(layout: Layout, column: Column) -> bool:
    """Whether it is the first column and holds row numbers: 1, 2, 3."""
    cells = layout.cells_of(column)
    if column.index or column.unit or len(cells) < 2 or not _are_digits(layout, column):
        return False
    return all(int(after) - int(before) == 1 for before, after in pairwise(cells[:50]))


def _are_digits(layout: Layout, column: Column) -> bool:
    return all(cell.isdigit() for cell in layout.cells_of(column))


def _by_name(layout: Layout, names: Sequence[str]) -> Column | None:
    """The first column with the earliest possible of these names."""
    by_name = {column.name.lower(): column for column in reversed(layout.columns)}
    return next((by_name[name] for name in names if name in by_name), None)
