"""Which columns hold the times and the values, where no flag says it."""

import re
from collections.abc import Sequence
from itertools import pairwise

from tmon.core.errors import CannotImport
from tmon.core.reading import clip
from tmon.importer.columns import Column, find, plain
from tmon.importer.flags import Flags
from tmon.importer.joined import is_clock, with_clock
from tmon.importer.layout import Layout, is_dated
from tmon.importer.numbers import is_number
from tmon.importer.time_format import has_time_of_day, is_excel_day

# By how surely a column of that name is the time of the reading.
_TIME_NAMES = (
    re.compile(r"_time|time|timestamp|date_?time|date_time_.*|measured_(at|ms)|zeitstempel|zeitpunkt"),
    re.compile(r"(.*_)?(time|timestamp|date_?time|zeit|uhrzeit)(_.*)?|created_at|last_changed|mess_datum|dateutc"),
    re.compile(r"(.*_)?(date|datum|fecha|data|dato|day|dt|ts|epoch|unix|clock)(_.*)?"),
)  # fmt: skip
_SENSOR_COLUMNS = (
    *("entity_id", "_field", "sensor", "sensor_name", "metric", "field", "topic", "parameter"),
    *(
        "variable",
        "channel",
        "series",
        "quantity",
        "phenomenon",
        "sensor_type",
        "measurement",
        "name",
    ),
)
VALUE_COLUMNS = ("state", "_value", "value", "reading", "payload", "messwert", "wert", "val")
_NODES = re.compile(
    r"(device|sensor|station|stations|node|logger|probe|room|host|entity|location|channel|module)"
    r"([ _-]?(id|name|no|nr|number))?|name|topic|mac|serial|raum|ort|area|zone|tag|_measurement"
)
# Numbers in such a column may just count.
_THINGS = re.compile(
    r"(instance|item|resource|subject|object|asset|meter|point|signal)([ _-]?(id|name))?"
)
_ZONES = re.compile(r"(utc|gmt|tz|timezone|time_zone)_?offset|tz|time_?zone|zeitzone")
_UNIT_COLUMNS = ("unit", "units", "unit_of_measurement", "einheit")


def choose_times(layout: Layout, flags: Flags) -> tuple[tuple[Column, ...], str | None]:
    """The columns of times, joined by a blank; and what is to be said of the choice.

    Raises:
        CannotImport: there is none, or there are several.
    """
    if flags.times:
        named = tuple(find(layout.columns, name, layout.header_line) for name in flags.times)
        return (
            (named, None)
            if len(named) > 1 or flags.time_format
            else _joined(layout, named[0], flags)
        )
    dated = dated_columns(layout)
    if not dated:
        dated = [one for one in layout.columns if _is_excel(layout, one)]
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
    return _joined(layout, best[0], flags)


def _joined(layout: Layout, column: Column, flags: Flags) -> tuple[tuple[Column, ...], str | None]:
    """Days, joined by their times of day; several nodes, or sensors, may have the same day."""
    may_repeat = bool(flags.times or flags.node_column or choose_rows(layout))
    return with_clock(layout, column, flags, may_repeat=may_repeat)


def dated_columns(layout: Layout) -> list[Column]:
    """The columns of times."""
    return [
        column
        for column in layout.columns
        if column.name not in {"_start", "_stop"}
        and layout.mostly(column, is_dated)
        and not layout.mostly(column, is_clock)
        and (column.unit is None or _rank(column) < len(_TIME_NAMES))
    ]


def other_times(layout: Layout, chosen: Sequence[Column]) -> list[Column]:
    """The columns of times beside the chosen ones; numbers are some where they are called so."""
    return [
        column
        for column in dated_columns(layout)
        if column not in chosen
        and (_rank(column) < len(_TIME_NAMES) or not layout.mostly(column, is_number))
    ]


def _is_excel(layout: Layout, column: Column) -> bool:
    """Whether a column called such as ``Time`` has a spreadsheet's numbers for times."""
    cells = layout.cells_of(column)
    is_named = _rank(column) < len(_TIME_NAMES)
    return is_named and any(map(has_time_of_day, cells)) and all(map(is_excel_day, cells))


def zone_column(layout: Layout) -> Column | None:
    """The column that says of which zone each time is, such as ``utc_offset``."""
    for column in layout.columns:
        if _ZONES.fullmatch(re.sub(r"\W+", "_", column.name.lower())) and layout.cells_of(column):
            return column
    return None


def choose_values(layout: Layout, taken: Sequence[Column | None]) -> list[Column]:
    """The columns of numbers that a sensor may have measured."""
    numbers = [
        column
        for column in layout.columns
        if column not in taken
        and column.name
        and not column.is_no_value
        and not _is_key(layout, column)
        and layout.mostly(column, is_number)
        and not (layout.mostly(column, is_dated) and _rank(column) < len(_TIME_NAMES))
    ]
    return [column for column in numbers if not _counts_rows(layout, column)] or numbers


def choose_rows(layout: Layout) -> tuple[Column, Column] | None:
    """The column of sensors' names and that of their values, where each row is of one sensor."""
    value = _by_name(layout, VALUE_COLUMNS)
    sensor = _by_name(layout, _SENSOR_COLUMNS)
    if value is None or sensor is None or value == sensor:
        return None
    texts = layout.cells_of(sensor)
    if not texts or all(map(is_number, texts)):
        return None
    return sensor, value


def choose_units(layout: Layout) -> Column | None:
    """The column of units, where each row has its own."""
    return _by_name(layout, _UNIT_COLUMNS)


def tells_apart(
    layout: Layout, columns: Sequence[Column], times: Sequence[Column], sensors: Column | None
) -> Column | None:
    """A column whose texts may say of which node or sensor a row is, where there are several.

    It is called so, or has another text in each row of one time. Where the column ``sensors``
    says of which sensor a row is, there are several texts for one sensor.
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
        elif not are_digits:
            moments = [" ".join(cells[time.index] for time in times) for cells in rows]
            if _parts(texts, [*zip(moments, sensor_of, strict=True)]):
                return column
    return None


def _parts(texts: Sequence[str], keys: Sequence[tuple[str, str]]) -> bool:
    """Whether most rows share their key with others, each of which has another text."""
    of_key: dict[tuple[str, str], list[str]] = {}
    for text, key in zip(texts, keys, strict=True):
        of_key.setdefault(key, []).append(text)
    shared = [alike for alike in of_key.values() if len(alike) > 1]
    return 2 * sum(map(len, shared)) > len(texts) and all(
        len({*alike}) == len(alike) for alike in shared
    )


def _no_times(layout: Layout) -> str:
    names = clip(", ".join(column.name for column in layout.columns))
    where = f"line {layout.header_line} names" if layout.header_line else "its columns are"
    for column in layout.columns:
        if layout.mostly(column, is_excel_day):
            return (
                f"no column of times was found; {clip(column.name)!r} may have Excel's day numbers:"
                f" --time '{clip(column.name)}' --time-format excel says so"
            )
    parts = [one for one in layout.columns if one.name.lower() in {"year", "month", "day"}]
    if len(parts) == 3:
        said = " ".join(f"--time '{one.name}'" for one in parts)
        marks = " ".join({"y": "%Y", "m": "%m", "d": "%d"}[one.name[0].lower()] for one in parts)
        return f"the date is in several columns: {said} --time-format '{marks}' joins them"
    return f"no column of times was found; --time COL and --time-format say which; {where}: {names}"


def _rank(column: Column) -> int:
    slug = (
        re.sub(r"\W+", "_", plain(column.name).lower()).strip("_")
        if column.name != "_time"
        else "_time"
    )
    found = [rank for rank, names in enumerate(_TIME_NAMES) if names.fullmatch(slug)]
    return found[0] if found else len(_TIME_NAMES)


def _is_sure(layout: Layout, column: Column) -> bool:
    """Whether its times need no zone: they are Unix times, have an offset, or it is called UTC."""
    cells = layout.cells_of(column)
    return re.search(r"utc|gmt", column.name, re.IGNORECASE) is not None or all(
        re.fullmatch(r"[0-9.]{9,}|.*(Z|[+-]\d\d:?\d\d|UTC|GMT)", cell) for cell in cells
    )


def _counts_rows(layout: Layout, column: Column) -> bool:
    """Whether it just counts: 1, 2, 3."""
    cells = layout.cells_of(column)
    if column.index or len(cells) < 2 or not _are_digits(layout, column):
        return False
    return all(int(after) - int(before) == 1 for before, after in pairwise(cells[:50]))


def _is_key(layout: Layout, column: Column) -> bool:
    """Whether its numbers say of which sensor a row is: whole ones, in a column called channel."""
    return bool(_NODES.fullmatch(column.name.lower())) and _are_digits(layout, column)


def _are_digits(layout: Layout, column: Column) -> bool:
    return all(cell.isdigit() for cell in layout.cells_of(column))


def _by_name(layout: Layout, names: Sequence[str]) -> Column | None:
    for name in names:
        for column in layout.columns:
            if column.name.lower() == name:
                return column
    return None
