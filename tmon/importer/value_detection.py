"""Detect a file's values: their columns, sensors, number formats and units."""

from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import replace
from functools import cache

from tmon.core.errors import CannotImport
from tmon.core.reading import Refusal, clip
from tmon.importer import ambiguities, choice
from tmon.importer.ambiguities import (
    SURE_SENTINELS,
    is_difference,
    is_shifted,
    is_sure_sentinel,
    likely_unit,
    may_be_fahrenheit,
)
from tmon.importer.cells import is_dated
from tmon.importer.columns import (
    Column,
    find,
    is_converted,
    is_lettered,
    is_temperature,
    reference,
    same_unit,
)
from tmon.importer.flags import Flags, Series
from tmon.importer.layout import Layout
from tmon.importer.numbers import (
    NumberFormat,
    decimals_in,
    find_format,
    is_isd,
    is_number,
    unit_of_cells,
    unknown_unit,
)
from tmon.importer.values import LongTable, Value, sensor_name

# As NOAA's Integrated Surface Database defines them.
_ISD_UNITS = {"TMP": "°C", "DEW": "°C", "SLP": "hPa"}


class Values:
    """Detects the values of one file; ``notes`` tell the user what was assumed."""

    def __init__(self, layout: Layout, flags: Flags) -> None:
        self.notes: list[str] = []
        self._layout = layout
        self._flags = flags

    def of_columns(self, taken: Sequence[Column | None]) -> tuple[Value, ...]:
        """The values of a table with a column for each sensor.

        Raises:
            CannotImport: there are none, or they can be read in several ways.
        """
        if self._flags.series:
            node = self._flags.node_column and self._find(self._flags.node_column)
            named = [self._find(one.column) for one in self._flags.series]
            choice.check_single_sensor(self._layout, named, node or None)
            unscaled = [self._find(one.column) for one in self._flags.series if not one.factor]
            ambiguities.check_scale_above(self._layout.titles, unscaled)
            return tuple(self._value(self._find(one.column), one) for one in self._flags.series)
        columns = [
            column
            for column in choice.choose_values(self._layout, taken)
            if not all(is_sure_sentinel(cell) for cell in self._cells(column))
            and not (is_shifted(column.unit) and is_difference(column.full_name))
        ]
        unknown = [*self._unknown_unit_notes(taken)]
        if not columns and unknown:
            raise CannotImport("; ".join(unknown))
        self.notes += unknown
        if not columns:
            names = clip(", ".join(column.name for column in self._layout.columns))
            raise CannotImport(
                f"no column of values was found among {names}; --value 'COL=sensor:unit' says which"
            )
        if self._layout.header_line:
            ambiguities.check_hours(columns)
            ambiguities.check_scale_above(self._layout.titles, columns)
        times = [one for one in taken if one]
        ambiguities.check_other_times(times, choice.other_times(self._layout, times), columns)
        sensors = Counter(column.sensor for column in columns)
        try:
            return tuple(self._detected(column, sensors[column.sensor] > 1) for column in columns)
        except CannotImport as error:
            if len(columns) == 1 or "--value" not in str(error):
                raise
            raise CannotImport(f"{error}; then the other columns need a --value, too") from error

    def _unknown_unit_notes(self, taken: Sequence[Column | None]) -> Iterator[str]:
        """Notes on columns of numbers in units that tmon doesn't know."""
        for column in self._layout.columns:
            unit = unknown_unit(self._layout.cells_of(column))
            is_date = self._layout.mostly(column, is_dated)
            if unit and column not in taken and not (column.is_not_measured or is_date):
                named = f"{reference(self._layout.columns, column)}={sensor_name(column.sensor)}"
                yield (
                    f"{clip(column.name)!r} is in {clip(unit)}, a unit that tmon doesn't know:"
                    f" --value '{named}:{clip(unit)}' keeps it"
                )

    def of_long_table(self) -> LongTable | None:
        """The columns of a long table; None where this isn't one.

        Raises:
            CannotImport: they can be read in several ways.
        """
        flags, layout = self._flags, self._layout
        if flags.series:
            return None
        if flags.sensor_column and flags.value_column:
            sensor, column = self._find(flags.sensor_column), self._find(flags.value_column)
        elif found := choice.choose_rows(layout):
            sensor, column = found
        else:
            return None
        if flags.node_column and self._find(flags.node_column) == sensor:
            raise CannotImport(
                f"{clip(sensor.name)!r} tells sensors apart; --node NAME says whose they are"
            )
        units = choice.choose_units(layout)
        numbers = self._numbers(column, self._cells(column), None)
        listed = {one.column: one for one in flags.sensors}
        texts = dict.fromkeys(layout.cells_of(sensor))
        for text in listed:
            if text not in texts and layout.sample:
                self.notes.append(f"{clip(text)!r} of --sensor isn't among the first rows")
        table = LongTable(sensor, column, units, numbers, listed, [*texts], flags.node)
        if not units and not column.unit:
            nameless = [one for text in texts if (one := self._check_unit(table, text))]
            if nameless:
                more = f" and {len(nameless) - 3} more" if len(nameless) > 3 else ""
                self.notes.append(f"{', '.join(nameless[:3])}{more}: no unit is named")
        return table

    def _check_unit(self, table: LongTable, text: str) -> str | None:
        """Check and note the unit that is assumed for an entity, or that is in its name.

        Returns:
            Its sensor, if it has numbers and no unit.
        """
        try:
            value = table.value_of(text)
        except Refusal as refusal:
            raise CannotImport(refusal.reason) from None
        if value is None:
            return None
        sensor, column = table.sensor_column.index, value.column.index
        read = value.read_all([row[column] for row in self._layout.rows() if row[sensor] == text])
        if value.unit is None:
            return value.sensor if read else None
        if value.unit_from == "file" and is_shifted(value.unit):
            self.notes.append(f"{value.sensor}: in {value.unit} by its name; stored in °C")
        if value.unit_from != "name":
            return None
        if value.unit == "°C" and may_be_fahrenheit(read):
            raise CannotImport(
                f"{clip(text)!r} names no unit, and may be in °F: say --sensor"
                f" '{clip(text)}={value.sensor}:°F' or '…:°C', and the others likewise"
            )
        self.notes.append(f"{value.sensor}: no unit is named; taken as {value.unit}")
        return None

    def _find(self, name: str) -> Column:
        return find(self._layout.columns, name, self._layout.header_line)

    def _cells(self, column: Column, unit: str | None = None) -> list[str]:
        """A column's numbers in the sample, as written; ``unit`` may follow them."""
        return [
            cell
            for cell in self._layout.cells_of(column)
            if is_number(cell, unit) and cell not in self._flags.missing
        ]

    def _detected(self, column: Column, is_shared: bool) -> Value:
        sensor = f"{column.sensor}_{column.index + 1}" if is_shared else column.sensor
        value = self._value(column, Series(column.name, sensor_name(sensor), None), guess=True)
        sentinels = {cell for cell in self._cells(column) if is_sure_sentinel(cell)}
        others = [
            number for number in value.read_all(self._cells(column)) if number not in SURE_SENTINELS
        ]
        if not sentinels or min(others, default=0) < max(map(float, sentinels)) / 2:
            return value
        self.notes.append(f"{value.sensor}: {', '.join(sorted(sentinels))} is taken as no value")
        missing = value.numbers.missing | sentinels
        return replace(value, numbers=replace(value.numbers, missing=missing))

    def _value(self, column: Column, series: Series, *, guess: bool = False) -> Value:
        """The values in a column, checked for everything that would be ambiguous."""
        cells = [
            cell
            for cell in self._cells(column, series.unit)
            if not (guess and is_sure_sentinel(cell))
        ]
        ambiguities.check_decimal_comma(self._layout, column, cells)
        numbers = replace(self._numbers(column, cells, series.factor), unit=series.unit)
        written = self._written_unit(column, series, cells, is_isd=numbers.is_isd)
        named = f"{reference(self._layout.columns, column)}={series.sensor}"
        if series.unit and written and not series.factor and not same_unit(series.unit, written):
            raise CannotImport(
                f"{clip(column.name)!r} is in {written}, and --value says {series.unit}: leave the"
                f" unit out to take the file's, or say '{named}:1{series.unit}' to take yours"
            )
        unit = series.unit or written
        read = Value(column, series.sensor, unit, "", numbers).read_all(cells)
        if not series.factor:
            ambiguities.check_scale(column.full_name, unit, named)
            ambiguities.check_difference(column.full_name, unit, named)
            ambiguities.check_size(column.name, unit, named, read)
        unit_from = "flag" if series.unit else "file"
        if written in {"F", "K"} and column.unit == written and f"({written})" not in column.name:
            self.notes.append(f"{series.sensor}: in {written} by its name; stored in °C")
        if not unit:
            if guess or series.sensor.startswith("temperature"):
                ambiguities.check_fahrenheit(self._layout, column, named, read)
            unit = self._assumed(named, series.sensor, read, guess=guess)
            unit_from = "name" if unit else "nobody"
        elif unit_from == "file" and column.unit is None and unit_of_cells(cells, column.name):
            unit_from = "cells"
            ambiguities.check_bare(column.name, named, unit, cells)
        if unit and not is_converted(unit) and unit_from == "file":
            self.notes.append(f"{series.sensor} is kept in {unit}, which tmon doesn't convert")
        return Value(column, series.sensor, unit, unit_from, numbers)

    def _written_unit(
        self, column: Column, series: Series, cells: Sequence[str], *, is_isd: bool
    ) -> str | None:
        """The unit that the header or the cells name."""
        if is_isd:
            return _ISD_UNITS.get(column.name)
        names = [other.name for other in self._layout.columns]
        in_header = column.unit
        if in_header in {"C", "F"} and is_lettered(names, column.name):
            in_header = None
        in_cells = unit_of_cells(cells, column.name)
        if in_cells and in_header and not series.factor and not same_unit(in_cells, in_header):
            raise CannotImport(
                f"{clip(column.name)!r} names {in_header}, and its cells {in_cells}; --value"
                f" '{clip(column.name)}={series.sensor}:1{in_cells}' says which"
            )
        return in_cells or in_header or self._unit_beside(column)

    def _unit_beside(self, column: Column) -> str | None:
        """The unit in a column of units: its own, or that of all for a temperature or ``value``."""
        own = choice.units_of(self._layout, column)
        units = own or choice.choose_units(self._layout)
        texts = {*self._layout.cells_of(units)} if units else set()
        is_value = own or column.name.lower() in choice.VALUE_COLUMNS
        is_degrees = column.sensor == "temperature" and all(map(is_temperature, texts))
        if units is None or not (is_value or is_degrees):
            return None
        if len(texts) > 1:
            raise CannotImport(
                f"{clip(units.name)!r} names several units ({clip(', '.join(sorted(texts)))}):"
                " --sensor-column and --value-column keep the sensors apart, or files of their own"
            )
        return texts.pop() if texts else None

    def _numbers(self, column: Column, cells: Sequence[str], factor: float | None) -> NumberFormat:
        flags, delimiter = self._flags, self._layout.delimiter
        if flags.decimal:
            found = NumberFormat(flags.decimal, groups=True, is_given=True, missing=flags.missing)
        else:
            found = find_format(cells, column.name, delimiter, self._decimals(), flags.missing)
        return replace(found, factor=factor or 1.0)

    @cache  # noqa: B019 - this object lives only while a plan is made
    def _decimals(self) -> frozenset[str]:
        """The decimal signs that any column of the file surely has."""
        signs: set[str] = set()
        for column in self._layout.columns:
            signs |= decimals_in(cell for cell in self._cells(column) if not is_isd(cell))
        return frozenset(signs)

    def _assumed(
        self, named: str, sensor: str, read: Sequence[float], *, guess: bool
    ) -> str | None:
        """The unit that is assumed where no flag, header or cell names one."""
        is_degrees = sensor.startswith("temperature") or sensor.endswith("temperature")
        if is_degrees and not is_difference(sensor):
            if may_be_fahrenheit(read):
                raise CannotImport(
                    f"{named.rpartition('=')[0]!r} names no unit, and may be in °F: say --value"
                    f" '{named}:°F' or '{named}:°C'"
                )
            ambiguities.check_unit_above(self._layout.titles, named)
            if guess:
                ambiguities.check_hot(named, read)
            self.notes.append(f"{sensor}: no unit is named; taken as °C")
            return "°C"
        if not guess:
            return None
        unit = likely_unit(sensor, min(read, default=0), max(read, default=0))
        self.notes.append(f"{sensor}: no unit is named" + (f"; taken as {unit}" if unit else ""))
        return unit
