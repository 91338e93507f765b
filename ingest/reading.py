"""Readings, batches and receipts; names, units, times and what they can be. Pure."""

import math
import re
from collections.abc import Sequence
from datetime import UTC, datetime, timedelta
from functools import lru_cache

from msgspec import Struct

EARLIEST_MS = 946_684_800_000  # 2000-01-01: a clock before that was never set
AHEAD_MS = 10 * 60 * 1000  # what a node's clock may be ahead of ours
LARGEST = 1e30  # in any unit; an hour's sum of such values is still finite
TEXT_LIMIT = 200  # characters of a sender's text that are kept or repeated
UNIT_LIMIT = 32  # characters

_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
_MILLISECOND = timedelta(milliseconds=1)
_NODE_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9_:-]{0,63}")
_SENSOR_NAME = re.compile(r"(?!.*(//|\.\.))[A-Za-z0-9][A-Za-z0-9_.:/-]{0,63}")


class Refusal(Exception):
    """This one reading can't be stored; its neighbours can."""

    def __init__(self, code: str, reason: str) -> None:
        super().__init__(reason)
        self.code = code
        self.reason = reason


class Node(Struct, frozen=True, gc=False):
    """Who sends: found by ``uid``; ``label`` is the name its token was made under."""

    uid: str
    name: str
    label: str

    def is_called(self, name: str) -> bool:
        """Whether ``name`` is its present name or the one its token was made under."""
        return name in (self.name, self.label)


class Reading(Struct, frozen=True, gc=False):
    """One value at one time.

    ``value`` is in ``unit``, which is canonical or, where the sender gave none,
    None. ``timed`` is False where ``measured_ms`` is merely when it arrived.
    ``index`` is its place in the request.
    """

    index: int
    sensor: str
    value: float
    unit: str | None
    measured_ms: int
    timed: bool = True


class Rejection(Struct, frozen=True, gc=False):
    """One reading that was not stored, why, and what it said."""

    index: int
    code: str
    error: str
    sensor: str | None = None
    measured: str | None = None
    value: str | None = None


class Batch(Struct, frozen=True):
    """One request's readings, checked as far as one can without the database."""

    node: Node
    received_ms: int
    readings: Sequence[Reading]
    rejected: Sequence[Rejection] = ()
    clock_skew_s: float | None = None


class Receipt(Struct, frozen=True):
    """What became of each reading of a batch."""

    accepted: int
    duplicates: int
    rejected: Sequence[Rejection]

    def as_json(self) -> dict[str, object]:
        """The body of a 201."""
        return {
            "accepted": self.accepted,
            "duplicates": self.duplicates,
            "rejected": [
                {"index": told.index, "code": told.code, "error": told.error}
                for told in self.rejected
            ],
        }


class Unit(Struct, frozen=True):
    """A unit tmon knows: what it measures, and the least and most it can be."""

    quantity: str
    lowest: float
    highest: float


UNITS = {
    "°C": Unit("temperature", -273.15, 2000.0),  # absolute zero; a type B thermocouple's end
    "%": Unit("fraction", 0.0, 100.0),
    "hPa": Unit("pressure", 0.0, 100_000.0),  # vacuum; 100 bar
    "lx": Unit("illuminance", 0.0, 200_000.0),  # the sun at noon gives 130,000
    "V": Unit("voltage", -1_000_000.0, 1_000_000.0),
    "ppm": Unit("concentration", 0.0, 1_000_000.0),
}

# How senders spell a unit: (canonical unit, offset, times, over),
# for (value + offset) * times / over. In that order 212 °F are 100 °C to the last bit.
_SPELLINGS: dict[str, tuple[str, float, float, float]] = {
    **dict.fromkeys(("°C", "℃", "C", "degC", "Cel", "celsius"), ("°C", 0.0, 1.0, 1.0)),
    **dict.fromkeys(("°F", "℉", "F", "degF", "[degF]", "fahrenheit"), ("°C", -32.0, 5.0, 9.0)),
    **dict.fromkeys(("K", "kelvin"), ("°C", -273.15, 1.0, 1.0)),
    **dict.fromkeys(("%", "%RH", "percent", "pct"), ("%", 0.0, 1.0, 1.0)),
    **dict.fromkeys(("hPa", "mbar"), ("hPa", 0.0, 1.0, 1.0)),
    "Pa": ("hPa", 0.0, 1.0, 100.0),
    "kPa": ("hPa", 0.0, 10.0, 1.0),
    "bar": ("hPa", 0.0, 1000.0, 1.0),
    **dict.fromkeys(("lx", "lux"), ("lx", 0.0, 1.0, 1.0)),
    "V": ("V", 0.0, 1.0, 1.0),
    "mV": ("V", 0.0, 1.0, 1000.0),
    "ppm": ("ppm", 0.0, 1.0, 1.0),
}


def canonical(value: float, unit: str | None) -> tuple[float, str | None]:
    """``value`` in the unit it is stored in: °F and K become °C, Pa becomes hPa.

    A unit tmon doesn't know is kept as it is written; an empty one is none.

    Raises:
        Refusal: the unit is longer than 32 characters or not printable.

    """
    if not unit:
        return value, None
    known = _SPELLINGS.get(unit)
    if known is None:
        return value, _unknown_unit(unit)
    symbol, offset, times, over = known
    return (value + offset) * times / over, symbol


def _unknown_unit(unit: str) -> str:
    if len(unit) > UNIT_LIMIT or not unit.isprintable() or unit != unit.strip():
        raise Refusal(
            "invalid_unit", f"unit must be at most {UNIT_LIMIT} printable characters, like °C"
        )
    return unit


def check_value(value: float, unit: str | None) -> None:
    """Whether a value in a canonical unit can be at all.

    Raises:
        Refusal: not finite, or outside what the unit can be.

    """
    if not math.isfinite(value):
        raise Refusal("invalid_value", f"value must be a finite number, not {value}")
    if abs(value) > LARGEST:
        raise Refusal("implausible_value", f"value {value:g} is beyond {LARGEST:g}")
    known = UNITS.get(unit) if unit else None
    if known is not None and not known.lowest <= value <= known.highest:
        raise Refusal(
            "implausible_value",
            f"value {value:g} {unit} is outside {known.lowest:g} to {known.highest:g} {unit}",
        )


@lru_cache(maxsize=4096)
def check_sensor_name(name: str) -> str:
    """``name``, if it is one a sensor can have.

    Raises:
        Refusal: it isn't.

    """
    if not _SENSOR_NAME.fullmatch(name):
        raise Refusal(
            "invalid_sensor",
            f"sensor {clip(name)!r} must be 1 to 64 ASCII letters, digits or _ . - : /, "
            "begin with a letter or digit, and hold no // and no ..",
        )
    return name


def check_node_name(name: str) -> str:
    """``name``, if it is one a node can have: a sensor's grammar without / and dot.

    Raises:
        Refusal: it isn't.
    """
    if not _NODE_NAME.fullmatch(name):
        raise Refusal(
            "invalid_node",
            f"node {clip(name)!r} must be 1 to 64 ASCII letters, digits or _ - :, "
            "beginning with a letter or digit",
        )
    return name


def instant_ms(text: str) -> int:
    """Unix milliseconds of an ISO 8601 time with an offset or Z.

    Raises:
        Refusal: it is no such time.

    """
    try:
        moment = datetime.fromisoformat(text)
    except ValueError:
        moment = None
    if moment is None or moment.tzinfo is None:
        raise Refusal(
            "invalid_time",
            f"measured_at {clip(text)!r} must be ISO 8601 with an offset, "
            "like 2026-11-22T12:00:00Z",
        )
    return moment_ms(moment)


def moment_ms(moment: datetime) -> int:
    """Unix milliseconds of a moment that knows its offset; those before 1970 round down too."""
    return (moment - _EPOCH) // _MILLISECOND


def check_measured(measured_ms: int, received_ms: int) -> None:
    """Whether a reading that arrived at ``received_ms`` can have been measured then.

    Raises:
        Refusal: before 2000, or more than ten minutes ahead.

    """
    if not EARLIEST_MS <= measured_ms <= received_ms + AHEAD_MS:
        when = "before 2000" if measured_ms < EARLIEST_MS else "over 10 minutes in the future"
        raise Refusal("implausible_time", f"measured {when}; check the node's clock")


def default_unit(sensor: str) -> str | None:
    """The unit of a sensor whose first reading named none."""
    return "°C" if sensor.startswith("temperature") else None


def quantity_of(sensor: str, unit: str | None) -> str | None:
    """What a sensor measures, as far as its unit and name tell."""
    if unit == "%" and "humid" in sensor:
        return "humidity"
    known = UNITS.get(unit) if unit else None
    return known.quantity if known else None


def clip(text: str) -> str:
    """A sender's text, fit to be stored and shown: short, and nothing but printable."""
    return "".join(c if c.isprintable() else "\N{REPLACEMENT CHARACTER}" for c in text[:TEXT_LIMIT])
