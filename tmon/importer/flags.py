"""What the flags of ``tmon import`` say, parsed before any file is opened."""

import math
import re
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import tzinfo
from typing import Any, Self

from tmon.core.errors import CannotImport
from tmon.core.reading import Refusal, check_node_name, check_sensor_name, clip
from tmon.core.units import canonical
from tmon.importer.clock import parse_zone
from tmon.importer.time_detection import check_pattern
from tmon.importer.times import TimeFormat

# A factor before the unit: `0.1°C` says that 294 is 29.4 °C.
_FACTOR = re.compile(r"([0-9]*\.?[0-9]+(?:[eE][-+]?[0-9]+)?)\s*([^0-9/\s].*)")
_DELIMITERS = {"tab": "\t", "\\t": "\t", "blank": " ", "blanks": " ", "space": " "}


@dataclass(frozen=True)
class Series:
    """One --value or --sensor flag: a column or text, its sensor, and its unit as written.

    ``factor`` is None where the flag has none.
    """

    column: str
    sensor: str
    unit: str | None
    factor: float | None = None

    @classmethod
    def parse(cls, text: str, flag: str) -> Self:
        """Parse ``COL=sensor:unit`` or ``COL=sensor``.

        Raises:
            CannotImport: ``text`` is neither.
        """
        column, equals, meaning = text.rpartition("=")
        sensor, unit = meaning.rsplit(":", 1) if ":" in meaning else (meaning, "")
        if not equals:
            raise CannotImport(f"{flag} {clip(text)!r} must be like 'temp=temperature:°C'")
        factor = None
        if scaled := _FACTOR.fullmatch(unit):
            factor, unit = float(scaled[1]), scaled[2]
        if factor in {0, math.inf} or unit.startswith(("-", "+")):
            raise CannotImport(
                f"{flag} {clip(text)!r}: the number before the unit must be positive, like 0.1°C"
            )
        try:
            canonical(0.0, unit)
            return cls(column.strip(), check_sensor_name(sensor), unit or None, factor)
        except Refusal as refusal:
            raise CannotImport(f"{flag} {clip(text)!r}: {refusal.reason}") from None


@dataclass(frozen=True)
class Flags:
    """All flags about the files; None or empty where a flag wasn't given."""

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
    def parse(  # noqa: PLR0913 - one for each flag
        cls,
        *,
        node: str | None = None,
        node_map: Sequence[str] = (),
        time_format: str | None = None,
        tz: str | None = None,
        values: Sequence[str] = (),
        sensors: Sequence[str] = (),
        missing: Sequence[str] = (),
        delimiter: str | None = None,
        no_header: bool = False,
        **as_given: Any,
    ) -> Self:
        """Parse the flags by their names on the command line; ``as_given`` are fields already.

        Raises:
            CannotImport: a flag has no meaning, or two flags contradict each other.
        """
        sensor_column, value_column = as_given.get("sensor_column"), as_given.get("value_column")
        if values and (sensor_column or value_column):
            raise CannotImport("--value names columns; --sensor-column and --value-column rows")
        if bool(sensor_column) != bool(value_column):
            raise CannotImport("--sensor-column COL and --value-column COL go together")
        if sensors and values:
            raise CannotImport("--sensor names rows, by --sensor-column; --value names columns")
        return cls(
            node=None if node is None else _node_name(node),
            node_map=tuple(map(_node_mapping, node_map)),
            time_format=check_pattern(time_format) if time_format else None,
            zone=parse_zone(tz) if tz else None,
            series=_parse_values(values),
            sensors=tuple(Series.parse(sensor, "--sensor") for sensor in sensors),
            missing=frozenset(text.strip() for text in missing),
            delimiter=_parse_delimiter(delimiter) if delimiter else None,
            has_header=not no_header,
            **as_given,
        )

    @property
    def name_all_columns(self) -> bool:
        """Whether they name the columns of times and of values, so that none must be guessed."""
        return bool(self.times and (self.series or self.value_column))

    @property
    def columns(self) -> list[str]:
        """The columns that they name."""
        more = (self.node_column, self.sensor_column, self.value_column)
        return [*self.times, *(one.column for one in self.series), *filter(None, more)]


def _parse_delimiter(text: str) -> str:
    delimiter = _DELIMITERS.get(text.lower(), text)
    if len(delimiter) != 1:
        raise CannotImport(f"--delimiter {clip(delimiter)!r} must be one sign, tab or blank")
    return delimiter


def _parse_values(values: Sequence[str]) -> tuple[Series, ...]:
    series = tuple(Series.parse(value, "--value") for value in values)
    names = [one.sensor for one in series]
    for name in names:
        if (count := names.count(name)) > 1:
            raise CannotImport(f"{count} columns are to be {name}; give each its own sensor")
    return series


def _node_name(name: str) -> str:
    try:
        return check_node_name(name)
    except Refusal as refusal:
        raise CannotImport(refusal.reason) from None


def _node_mapping(text: str) -> tuple[str, str]:
    written, equals, name = text.rpartition("=")
    if not equals:
        raise CannotImport(f"--node-map {clip(text)!r} must be like 'Küche=kitchen'")
    return written.strip(), _node_name(name)
