"""What a header or cells leave open: scales, differences, unknown units, hours as columns.

Each check raises CannotImport, with the flag that decides, where a column is ambiguous.
"""

import re
from collections.abc import Sequence
from statistics import median

from tmon.core.errors import CannotImport
from tmon.core.reading import clip
from tmon.core.units import canonical
from tmon.importer.columns import Column, is_lettered, may_name_fahrenheit
from tmon.importer.layout import Layout
from tmon.importer.numbers import unit_of_cells
from tmon.importer.times import clock_of

# Values that loggers write for a missing one, and that no sensor ever measured.
SURE_SENTINELS = (-999.0, -9999.0, -99999.0, -999.9)

_SCALE = re.compile(
    r"(?<![A-Za-z0-9.])(?:0[.,]0*1|1/10+|x\s?10+|10+\s?[x\u00d7*])(?![\w.,]*\d)"
    r"|[\u00d7*]\s?10+(?![\w.,]*\d)"
)
_PREFIX = re.compile(
    r"(?<![A-Za-z])(?:([dcm])(?:°\s?[CF]|C(?![A-Za-z]))"
    r"|(deci|centi|milli)[ _-]?(?:deg|cels|fahr)|(tenth|hundredth|zehntel))"
)
_PREFIXES = {
    **dict.fromkeys(("d", "deci", "tenth", "zehntel"), 0.1),
    **dict.fromkeys(("c", "centi", "hundredth"), 0.01),
    **dict.fromkeys(("m", "milli"), 0.001),
}
# A temperature above this is in °F, or not of a room.
WARMEST_C = 45
WARMEST_F = 120  # what is all above isn't in °F either
COLDEST_F, HOTTEST_F = -80, 250  # what sensors of temperature measure
# As KNMI and ECA&D write it in the lines above the header.
_SCALE_IN_TITLE = re.compile(
    r"(?:\bin|[(\[])\s*(0[.,]0*1|1/10+)(?![\w.,]*\d)|\b(tenths|zehntel|tienden|dixièmes)\b",
    re.IGNORECASE,
)
_UNIT_ABOVE = re.compile(
    r"fahrenheit|farenheit|kelvin|(?:°|\bdeg(?:rees?|\.)?)\s?F\b|℉|(?:units?|einheit(?:en)?)\W+(fahr\w*|[FK]\b)",
    re.IGNORECASE,
)
# Temperatures of the Global Historical Climatology Network, which are tenths of a degree.
_IN_TENTHS = frozenset(("TMAX", "TMIN", "TAVG", "TOBS"))
_DIFFERENCES = frozenset(
    "change delta diff difference std stdev stddev deviation trend anomaly amplitude differenz"
    " abweichung hdd cdd gdd".split()
)
_HOUR_COLUMN = re.compile(
    r"(?:hour|hour[ _]ending|stunde|heure|hr|he|h)?[ _]?(?:[01]?[0-9]|2[0-4])(?: ?h)?"
)


def is_sure_sentinel(cell: str) -> bool:
    """Whether a number means a missing value in most loggers, such as -999."""
    try:
        return float(cell) in SURE_SENTINELS
    except ValueError:
        return False


def is_difference(text: str) -> bool:
    """Whether a header names a difference: 1.8 °F more are 1 °C more, not -16.8 °C."""
    words = {word.lower() for word in re.findall(r"[A-Z]?[a-z]+|[A-Z]+(?![a-z])", text)}
    is_degree_days = bool(words & {"degree", "degrees"} and words & {"day", "days"})
    return "Δ" in text or is_degree_days or not words.isdisjoint(_DIFFERENCES)


def is_shifted(unit: str | None) -> bool:
    """Whether a unit has another zero than the unit it is stored in, as °F and K have."""
    return bool(unit) and canonical(0.0, unit)[0] != 0


def may_be_fahrenheit(temperatures: Sequence[float]) -> bool:
    """Whether half of them are warmer than a room, and the room could be in °F."""
    return bool(temperatures) and WARMEST_C < median(temperatures) <= WARMEST_F


def check_difference(text: str, unit: str | None, named: str) -> None:
    """Refuse differences in °F or K, which can't be converted as temperatures."""
    if is_shifted(unit) and is_difference(text):
        factor = f"{canonical(1.0, unit)[0] - canonical(0.0, unit)[0]:.4g}"
        raise CannotImport(
            f"{clip(text)!r} is a difference in {unit}, which isn't converted as a temperature is:"
            f" say --value '{named}:{factor}°C'"
        )


def check_scale(text: str, unit: str | None, named: str) -> None:
    """Refuse a header with a scale, such as ``(0.1 °C)``, ``[1/10 °C]``, ``(x10)`` or ``m°C``."""
    if found := _SCALE.search(text) or _PREFIX.search(text):
        prefix = "".join(filter(None, found.groups()))
        written = re.sub(r"1/|[^0-9.,]", "", found[0]).replace(",", ".")
        number = _PREFIXES[prefix] if prefix else float(written)
        factor, shown = number if number < 1 else 1 / number, unit or "X"
        raise CannotImport(
            f"{clip(text)!r} names a scale, {found[0]}: say --value '{named}:{factor:g}{shown}'"
            f" to multiply by it, or '{named}:1{shown}' if the values are whole"
            + ("" if unit else ", with the unit for X")
        )


def check_unit_above(titles: Sequence[str], named: str) -> None:
    """Refuse a column without a unit where a line above the header names °F or K."""
    for title in titles:
        if found := _UNIT_ABOVE.search(title):
            raise CannotImport(
                f"{clip(title)!r} names {found[1] or found[0]}, and {named.rpartition('=')[0]!r}"
                f" no unit: say --value '{named}:°F', or the unit that it is in"
            )


def check_scale_above(titles: Sequence[str], columns: Sequence[Column]) -> None:
    """Refuse columns for which a line above the header names a scale."""
    for title in titles:
        found = _SCALE_IN_TITLE.search(title)
        words = {*re.findall(r"\w+", title)}
        named = [column for column in columns if column.name in words]
        if found and named:
            raise CannotImport(
                f"{clip(title)!r} names a scale, {found[1] or found[2]}: say --value"
                f" '{named[0].name}=sensor:0.1°C' (or another unit) to multiply by it, or"
                f" '{named[0].name}=sensor:1°C' if the values are whole"
            )


def check_decimal_comma(layout: Layout, column: Column, cells: Sequence[str]) -> None:
    """Refuse a column beside a nameless one: their comma may be a decimal comma, as in ``21,5``."""
    [beside] = layout.columns[column.index + 1 : column.index + 2] or [column]
    if beside.name or layout.delimiter != ",":
        return
    decimals = layout.cells_of(beside)
    if decimals and all(cell.lstrip("-").isdigit() for cell in (*decimals, *cells)):
        raise CannotImport(
            f"{clip(column.name)!r} and the column beside it, which has no name, may be numbers"
            f" with decimal commas ({cells[0]},{decimals[0]}); save it with another delimiter"
        )


def check_fahrenheit(layout: Layout, column: Column, named: str, values: Sequence[float]) -> None:
    """Refuse a column with an F in its name that may stand for °F, or for anything else."""
    name, names = column.full_name, [other.full_name for other in layout.columns]
    is_plausible = min(values, default=0) > COLDEST_F and max(values, default=0) < HOTTEST_F
    if may_name_fahrenheit(name) and is_plausible and not is_lettered(names, name):
        raise CannotImport(
            f"{clip(name)!r} may be in °F: say --value '{named}:°F' or '{named}:°C', or name its"
            f" unit, or none, in --value '{named.rpartition('=')[0]}=SENSOR:UNIT'"
        )


def check_hot(named: str, temperatures: Sequence[float]) -> None:
    """Refuse temperatures without a unit that would be far too warm in °C and in °F."""
    if temperatures and median(temperatures) > WARMEST_F:
        raise CannotImport(
            f"{named.rpartition('=')[0]!r} names no unit, and most of it is above {WARMEST_F}: say"
            f" --value '{named}:°C', or ':K', ':°F', ':0.1°C' for tenths"
        )


def check_size(name: str, unit: str | None, named: str, values: Sequence[float]) -> None:
    """Refuse what no header says: tenths of a degree of NOAA's, and fractions as percent."""
    greatest = max(values, default=0)
    if unit == "%" and named.endswith("humidity") and 0 < greatest <= 1:
        raise CannotImport(
            f"{clip(name)!r} is at most {greatest:g} %: say --value '{named}:100%' to multiply"
            f" fractions by 100, or '{named}:1%' if it is in percent"
        )
    if name in _IN_TENTHS and greatest > 70:
        raise CannotImport(
            f"{name!r} is in tenths of a degree, as NOAA writes it: say --value '{named}:0.1°C',"
            f" or '{named}:1{unit or '°C'}' if it is not"
        )


def check_bare(name: str, named: str, unit: str, cells: Sequence[str]) -> None:
    """Refuse a column in which only some cells name the unit, and the header doesn't."""
    bare = [cell for cell in cells if not unit_of_cells([cell], name)]
    if bare:
        raise CannotImport(
            f"{clip(name)!r} has cells in {unit} and others without a unit, such as"
            f" {clip(bare[0])!r}: say --value '{named}:{unit}' if all of them are in it"
        )


def check_hours(columns: Sequence[Column]) -> None:
    """Refuse a table with a column for each hour of the day."""
    hours = [
        column.name
        for column in columns
        if clock_of(column.name) or _HOUR_COLUMN.fullmatch(column.name.lower())
    ]
    if len(hours) > 1 and len(hours) * 2 > len(columns):
        raise CannotImport(
            f"the header has times of day ({clip(', '.join(hours[:3]))}): make a row of each"
            " first, with its date and time"
        )


def check_other_times(
    chosen: Sequence[Column], others: Sequence[Column], values: Sequence[Column]
) -> None:
    """Refuse a second column of times that has values right of it, as the chosen one has."""
    places = {value.index for value in values}
    if not any(one.index + 1 in places for one in chosen):
        return
    for other in others:
        if other.index + 1 in places:
            raise CannotImport(
                f"{clip(other.name)!r} holds times as well, perhaps of the values behind it: say"
                f" --value 'COL=sensor:unit' for those of {clip(chosen[0].name)!r}"
            )


def likely_unit(sensor: str, low: float, high: float) -> str | None:
    """The one unit in which such values are plausible, if there is one."""
    if sensor.endswith("humidity") and low >= 0 and 1 < high <= 100:
        return "%"
    if sensor == "co2" and low >= 200:
        return "ppm"
    if sensor.startswith("pressure") and 850 <= low <= high <= 1100:
        return "hPa"
    if sensor.startswith("pressure") and 50_000 <= low <= high <= 110_000:
        return "Pa"
    return None
