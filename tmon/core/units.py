"""Units: their spellings, conversions, and the range of values in each."""

import math
from functools import lru_cache

from msgspec import Struct

from tmon.core.names import holds_secret
from tmon.core.reading import Refusal

LARGEST = 1e30  # in any unit; an hour's sum of such values is still finite
UNIT_LIMIT = 32  # characters

# What thermometers and their libraries return without having measured.
LOST_CHIP_C = -127.0  # DallasTemperature's DEVICE_DISCONNECTED_C
POWER_ON_C = 85.0  # a DS18B20 that lost its power, until its next conversion
CONVERSION_ERROR_C = 5e-5  # 358.15 K as a 32-bit float is 84.999994 °C


class Unit(Struct, frozen=True):
    """A known unit: what it measures, and its lowest and highest possible value."""

    quantity: str
    lowest: float
    highest: float


UNITS: dict[str | None, Unit] = {
    "°C": Unit("temperature", -273.15, 2000.0),  # absolute zero; a type B thermocouple's end
    "%": Unit("fraction", 0.0, 100.0),
    "hPa": Unit("pressure", 0.0, 100_000.0),  # vacuum; 100 bar
    "lx": Unit("illuminance", 0.0, 200_000.0),  # the sun at noon gives 130,000
    "V": Unit("voltage", -1_000_000.0, 1_000_000.0),
    "ppm": Unit("concentration", 0.0, 1_000_000.0),
}
ANY_UNIT = Unit("", -LARGEST, LARGEST)

# Spellings of a unit: (canonical unit, offset, times, over), for (value + offset) * times / over.
# In that order 212 °F are exactly 100 °C. Words match in any case (see _folded), symbols such as
# mV only as they are.
_SPELLINGS: dict[str, tuple[str, float, float, float]] = {
    **dict.fromkeys(("°C", "C", "°c", "degc", "cel", "celsius"), ("°C", 0.0, 1.0, 1.0)),
    **dict.fromkeys(("°F", "F", "°f", "degf", "[degf]", "fahrenheit"), ("°C", -32.0, 5.0, 9.0)),
    **dict.fromkeys(("K", "kelvin"), ("°C", -273.15, 1.0, 1.0)),
    **dict.fromkeys(("%", "%rh", "percent", "pct"), ("%", 0.0, 1.0, 1.0)),
    **dict.fromkeys(("hPa", "hpa", "mbar"), ("hPa", 0.0, 1.0, 1.0)),
    "Pa": ("hPa", 0.0, 1.0, 100.0),
    "kPa": ("hPa", 0.0, 10.0, 1.0),
    "bar": ("hPa", 0.0, 1000.0, 1.0),
    **dict.fromkeys(("lx", "lux"), ("lx", 0.0, 1.0, 1.0)),
    **dict.fromkeys(("V", "volt", "volts"), ("V", 0.0, 1.0, 1.0)),
    "mV": ("V", 0.0, 1.0, 1000.0),
    "ppm": ("ppm", 0.0, 1.0, 1.0),
}
# Signs that are used for the degree sign: ordinal, ring above, and those with a letter.
_DEGREES = str.maketrans({"º": "°", "˚": "°", "℃": "°c", "℉": "°f"})


def canonical(value: float, unit: str | None) -> tuple[float, str | None]:
    """``value`` in the unit it is stored in: °F and K become °C, Pa becomes hPa.

    An unknown unit is kept as written; an empty one becomes None.

    Raises:
        Refusal: the unit is longer than 32 characters or not printable.
    """
    if not unit:
        return value, None
    symbol, offset, times, over = _conversion(unit)
    converted = (value + offset) * times / over
    if offset:  # a temperature: errors in °F or K become exactly those in °C
        for error in (LOST_CHIP_C, POWER_ON_C):
            if abs(converted - error) < CONVERSION_ERROR_C:
                return error, symbol
    return converted, symbol


@lru_cache(maxsize=1024)
def _conversion(unit: str) -> tuple[str, float, float, float]:
    if known := _SPELLINGS.get(unit) or _SPELLINGS.get(_folded(unit)):
        return known
    if len(unit) > UNIT_LIMIT or not unit.isprintable() or unit != unit.strip():
        raise Refusal(
            "invalid_unit", f"unit must be at most {UNIT_LIMIT} printable characters, like °C"
        )
    if holds_secret(unit):
        raise Refusal("invalid_unit", "unit is a key or token, which would be public; send °C, say")
    return unit, 0.0, 1.0, 1.0


def _folded(unit: str) -> str:
    """A unit in lower case without blanks; a single letter keeps its case."""
    plain = unit.translate(_DEGREES).replace(" ", "")
    return plain.casefold() if len(plain) > 1 else plain


def kept_as(unit: str) -> str | None:
    """The stored spelling of a unit; None for one that is converted, as °F is to °C."""
    try:
        value, symbol = canonical(1.0, unit)
    except Refusal:
        return None
    return symbol if value == 1.0 else None


def stored(value: float, unit: str | None) -> tuple[float, str | None]:
    """``value`` in its canonical unit, if it is possible at all.

    Raises:
        Refusal: as ``canonical`` and ``check_value``.
    """
    known = UNITS.get(unit) if unit else ANY_UNIT
    if known and known.lowest <= value <= known.highest and value != LOST_CHIP_C:
        return value, unit or None
    value, unit = canonical(value, unit)
    check_value(value, unit)
    return value, unit


def check_value(value: float, unit: str | None) -> None:
    """Check that a value in a canonical unit is possible.

    Raises:
        Refusal: it isn't finite, is outside the unit's range, or is a lost chip's -127 °C.
    """
    known = UNITS.get(unit, ANY_UNIT)
    if known.lowest <= value <= known.highest:
        if value == LOST_CHIP_C and unit == "°C":
            raise Refusal("implausible_value", "value -127 °C means that no chip answered")
        return
    if not math.isfinite(value):
        raise Refusal("invalid_value", f"value must be a finite number, not {value}")
    if abs(value) > LARGEST:
        raise Refusal("implausible_value", f"value {value} is beyond {LARGEST:g}")
    raise Refusal(
        "implausible_value",
        f"value {value} {unit} is outside {known.lowest:g} to {known.highest:g} {unit}",
    )


def default_unit(sensor: str) -> str | None:
    """The unit of a sensor whose first reading named none."""
    return "°C" if sensor.startswith("temperature") else None


def quantity_of(sensor: str, unit: str | None) -> str | None:
    """What a sensor measures, by its unit and name; None if they don't tell."""
    if unit == "%" and "humid" in sensor:
        return "humidity"
    known = UNITS.get(unit) if unit else None
    return known.quantity if known else None
