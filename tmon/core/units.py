"""Units: how they are spelled, what they become, and what a value in one can be. Pure."""

import math
from functools import lru_cache

from msgspec import Struct

from tmon.core.reading import Refusal

LARGEST = 1e30  # in any unit; an hour's sum of such values is still finite
UNIT_LIMIT = 32  # characters

# What thermometers, and the usual libraries for them, answer that measured nothing.
LOST_CHIP_C = -127.0  # DallasTemperature's DEVICE_DISCONNECTED_C
POWER_ON_C = 85.0  # a DS18B20 that lost its power, until its next conversion
CONVERSION_ERROR_C = 5e-5  # 358.15 K as a 32-bit float is 84.999994 °C


class Unit(Struct, frozen=True):
    """A unit tmon knows: what it measures, and the least and most it can be."""

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

# How senders spell a unit: (canonical unit, offset, times, over),
# for (value + offset) * times / over. In that order 212 °F are 100 °C to the last bit.
# Words and signs are found in any case (see _folded); symbols such as mV as they are.
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
# The ordinal sign, the ring above, and the signs that hold a letter, for the degree's.
_DEGREES = str.maketrans({"º": "°", "˚": "°", "℃": "°c", "℉": "°f"})


def canonical(value: float, unit: str | None) -> tuple[float, str | None]:
    """``value`` in the unit it is stored in: °F and K become °C, Pa becomes hPa.

    A unit tmon doesn't know is kept as it is written; an empty one is none.

    Raises:
        Refusal: the unit is longer than 32 characters or not printable.

    """
    if not unit:
        return value, None
    symbol, offset, times, over = _conversion(unit)
    converted = (value + offset) * times / over
    return (_exact(converted) if offset else converted), symbol


def _exact(celsius: float) -> float:
    """A converted temperature; one that stands for an error is that error to the last bit."""
    for error in (LOST_CHIP_C, POWER_ON_C):
        if abs(celsius - error) < CONVERSION_ERROR_C:
            return error
    return celsius


@lru_cache(maxsize=1024)
def _conversion(unit: str) -> tuple[str, float, float, float]:
    known = _SPELLINGS.get(unit) or _SPELLINGS.get(_folded(unit))
    return known or (_unknown_unit(unit), 0.0, 1.0, 1.0)


def _folded(unit: str) -> str:
    """A unit without what people write differently; one letter alone means what it is."""
    plain = unit.translate(_DEGREES).replace(" ", "")
    return plain.casefold() if len(plain) > 1 else plain


def _unknown_unit(unit: str) -> str:
    if len(unit) > UNIT_LIMIT or not unit.isprintable() or unit != unit.strip():
        raise Refusal(
            "invalid_unit", f"unit must be at most {UNIT_LIMIT} printable characters, like °C"
        )
    return unit


def kept_as(unit: str) -> str | None:
    """How tmon spells a unit, or None where no value is kept in it: °F is kept as °C."""
    try:
        value, symbol = canonical(1.0, unit)
    except Refusal:
        return None
    return symbol if value == 1.0 else None


def stored(value: float, unit: str | None) -> tuple[float, str | None]:
    """``value`` as ``canonical`` has it, if it can be at all.

    Raises:
        Refusal: as ``canonical`` and ``check_value``.
    """
    known = UNITS.get(unit)
    if known and known.lowest <= value <= known.highest and value != LOST_CHIP_C:
        return value, unit
    value, unit = canonical(value, unit)
    check_value(value, unit)
    return value, unit


def check_value(value: float, unit: str | None) -> None:
    """Whether a value in a canonical unit can be at all.

    Raises:
        Refusal: not finite, outside what the unit can be, or a lost chip's -127 °C.

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
    """What a sensor measures, as far as its unit and name tell."""
    if unit == "%" and "humid" in sensor:
        return "humidity"
    known = UNITS.get(unit) if unit else None
    return known.quantity if known else None
