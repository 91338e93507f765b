"""What the flags of ``tmon import`` say, parsed before any file is opened."""

import re
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import tzinfo
from typing import Self

from tmon.core.errors import CannotImport
from tmon.core.reading import Refusal, check_node_name, check_sensor_name, clip
from tmon.core.units import canonical
from tmon.importer.clock import read_zone
from tmon.importer.time_format import check_pattern
from tmon.importer.times import TimeFormat

# A scale such as 0.1 before the unit: `0.1°C` says that 294 is 29.4 °C.
_SCALED = re.compile(r"([0-9]*\.?[0-9]+(?:[eE][-+]?[0-9]+)?)\s*([^0-9/\s].*)")


@dataclass(frozen=True)
class Series:
    """A sensor whose history it is: of which column or text, its unit as written, its scale.

    ``factor`` is None where no scale was written.
    """

    column: str
    sensor: str
    unit: str | None
    factor: float | None = None

    @classmethod
    def read(cls, text: str, flag: str) -> Self:
        """What ``COL=sensor:unit`` or ``COL=sensor`` says.

        Raises:
            CannotImport: it says no such thing.
        """
        column, equals, meaning = text.rpartition("=")
        sensor, unit = meaning.rsplit(":", 1) if ":" in meaning else (meaning, "")
        if not equals:
            raise CannotImport(f"{flag} {clip(text)!r} must be like 'temp=temperature:°C'")
        factor = None
        if scaled := _SCALED.fullmatch(unit):
            factor, unit = float(scaled[1]), scaled[2]
        try:
            canonical(0.0, unit)
            return cls(column.strip(), check_sensor_name(sensor), unit or None, factor)
        except Refusal as refusal:
            raise CannotImport(f"{flag} {clip(text)!r}: {refusal.reason}") from None


@dataclass(frozen=True)
class Flags:
    """All that was said of the files; None or empty where nothing was."""

    node: str | None = None
    node_column: str | None = None
    node_map: tuple[tuple[str, str], ...] = ()
    times: tuple[str, ...] = ()
    time_format: TimeFormat | None = None
    zone: tzinfo | None = None
    series: tuple[Series, ...] = ()
    sensor_column: str | None = None
    value_column: str | None = None
    sensors: tuple[Series, ...] = ()
    missing: frozenset[str] = frozenset()
    decimal: str | None = None
    delimiter: str | None = None
    encoding: str | None = None
    has_header: bool = True
    skip: int = 0

    @classmethod
    def read(  # noqa: PLR0913 - one for each flag
        cls,
        *,
        node: str | None = None,
        node_column: str | None = None,
        node_map: Sequence[str] = (),
        times: Sequence[str] = (),
        time_format: str | None = None,
        tz: str | None = None,
        values: Sequence[str] = (),
        sensor_column: str | None = None,
        value_column: str | None = None,
        sensors: Sequence[str] = (),
        missing: Sequence[str] = (),
        decimal: str | None = None,
        delimiter: str | None = None,
        encoding: str | None = None,
        no_header: bool = False,
        skip: int = 0,
    ) -> Self:
        """The flags as they were written.

        Raises:
            CannotImport: one can't be meant, or two contradict each other.
        """
        _check_together(values, sensor_column, value_column, sensors)
        return cls(
            node=node and _node(node),
            node_column=node_column,
            node_map=tuple(map(_renaming, node_map)),
            times=tuple(times),
            time_format=check_pattern(time_format) if time_format else None,
            zone=read_zone(tz) if tz else None,
            series=_distinct([Series.read(value, "--value") for value in values]),
            sensor_column=sensor_column,
            value_column=value_column,
            sensors=tuple(Series.read(sensor, "--sensor") for sensor in sensors),
            missing=frozenset(text.strip() for text in missing),
            decimal=decimal,
            delimiter=_delimiter(delimiter),
            encoding=encoding,
            has_header=not no_header,
            skip=skip,
        )

    @property
    def are_whole(self) -> bool:
        """Whether they name the columns of times and of values, so that nothing is to be found."""
        return bool(self.times and (self.series or self.value_column))

    @property
    def columns(self) -> list[str]:
        """The columns that they name."""
        more = (self.node_column, self.sensor_column, self.value_column)
        return [*self.times, *(one.column for one in self.series), *filter(None, more)]


def _check_together(
    values: Sequence[str],
    sensor_column: str | None,
    value_column: str | None,
    sensors: Sequence[str],
) -> None:
    if values and (sensor_column or value_column):
        raise CannotImport("--value names columns; --sensor-column and --value-column rows")
    if bool(sensor_column) != bool(value_column):
        raise CannotImport("--sensor-column COL and --value-column COL go together")
    if sensors and values:
        raise CannotImport("--sensor names rows, by --sensor-column; --value names columns")


def _distinct(series: Sequence[Series]) -> tuple[Series, ...]:
    sensors = [one.sensor for one in series]
    for sensor in sensors:
        if sensors.count(sensor) > 1:
            times = sensors.count(sensor)
            raise CannotImport(f"{times} columns are to be {sensor}; give each its own sensor")
    return tuple(series)


def _node(name: str) -> str:
    try:
        return check_node_name(name)
    except Refusal as refusal:
        raise CannotImport(refusal.reason) from None


def _renaming(text: str) -> tuple[str, str]:
    written, equals, name = text.rpartition("=")
    if not equals:
        raise CannotImport(f"--node-map {clip(text)!r} must be like 'Küche=kitchen'")
    return written.strip(), _node(name)


def _delimiter(text: str | None) -> str | None:
    named = {"tab": "\t", "\\t": "\t", "blank": " ", "blanks": " ", "space": " "}
    delimiter = named.get(text.lower(), text) if text else None
    if delimiter and len(delimiter) != 1:
        raise CannotImport(f"--delimiter {clip(delimiter)!r} must be one sign, tab or blank")
    return delimiter
