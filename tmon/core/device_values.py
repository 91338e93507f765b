"""The values of devices: numbers as text, units that aren't stored, and what means no value."""

import math
import re
from decimal import Decimal, InvalidOperation

from tmon.core.reading import Refusal, clip

# How devices say that they have no value.
ABSENT = frozenset(
    ("", "null", "none", "nan", "-nan", "unavailable", "unknown", "undefined", "--", "-9999")
)
ABSENT_VALUE = -9999.0
# No two repeats stand next to each other: a long text would take quadratic time.
_NUMBER = re.compile(r"[+-]?(?:[0-9]+(?:\.[0-9]*)?|\.[0-9]+)(?:[eE][+-]?[0-9]{1,3})?")
_WORDS = {"on": 1.0, "true": 1.0, "open": 1.0, "off": 0.0, "false": 0.0, "closed": 0.0}

# Units that are converted: what they become, and how, as (value + offset) * factor.
CONVERSIONS: dict[str, tuple[str, float, float]] = {
    "°F": ("°C", -32.0, 5 / 9),
    "K": ("°C", -273.15, 1.0),
    "inHg": ("hPa", 0.0, 33.863886667),
    "Pa": ("hPa", 0.0, 0.01),
    "kPa": ("hPa", 0.0, 10.0),
    "mmHg": ("hPa", 0.0, 1.333223874),
    "mph": ("m/s", 0.0, 0.44704),
    "km/h": ("m/s", 0.0, 1 / 3.6),
    "kn": ("m/s", 0.0, 0.514444444),
    "in": ("mm", 0.0, 25.4),
    "in/h": ("mm/h", 0.0, 25.4),
    "mV": ("V", 0.0, 0.001),
    "ft": ("m", 0.0, 0.3048),
    "mi": ("km", 0.0, 1.609344),
}

# Units that the last part of a field's name tells.
_SUFFIXES = {
    "C": "°C",
    "F": "°F",
    "pct": "%",
    "percent": "%",
    "lux": "lx",
    "ppm": "ppm",
    "dB": "dB",
    "hPa": "hPa",
    "kPa": "kPa",
    "inHg": "inHg",
    "V": "V",
    "mV": "mV",
    "W": "W",
    "kWh": "kWh",
    "mm": "mm",
    "in": "in",
    "mm_h": "mm/h",
    "in_h": "in/h",
    "km_h": "km/h",
    "mi_h": "mph",
    "m_s": "m/s",
}
_SUFFIX = re.compile(r"(.+)_({})".format("|".join(_SUFFIXES)))
# Only of these: bytes_in and temp_in are no inches, and voltage_C is that of a phase.
_ONLY_OF = {
    **dict.fromkeys("CF", "temp|dew|chill|heat|feels|point|probe"),
    **dict.fromkeys(("in", "in_h"), "rain|depth|snow"),
    "W": "power",
}


def without_unit(field: str) -> tuple[str, str | None]:
    """A field's name without the unit that it ends in, and that unit: ``temperature_C``."""
    found = _SUFFIX.fullmatch(field)
    if found is None or not re.search(_ONLY_OF.get(found[2], ""), found[1], re.IGNORECASE):
        return field, None
    return found[1], _SUFFIXES[found[2]]


def is_number(text: str) -> bool:
    """Whether a device's text is a number, rather than a word that may mean one."""
    return _NUMBER.fullmatch(text.strip()) is not None


def number(value: object) -> float | None:
    """A device's value as a number; None where it says that it has none.

    Raises:
        Refusal: it is no number.
    """
    if isinstance(value, bool):
        return float(value)
    if isinstance(value, int | float):
        try:
            measured = float(value)
        except OverflowError:  # an integer of over 308 digits
            measured = math.inf
        return None if measured == ABSENT_VALUE or math.isnan(measured) else measured
    if value is None:
        return None
    if isinstance(value, str):
        text = value.strip()
        folded = text.casefold()
        if folded in ABSENT or text.startswith(("${", "$%7B")):
            return None
        if _NUMBER.fullmatch(text):
            return None if float(text) == ABSENT_VALUE else float(text)
        if folded in _WORDS:
            return _WORDS[folded]
    shown = value if isinstance(value, str) else type(value).__name__
    raise Refusal("invalid_value", f"value must be a number, not {clip(shown)!r}")


def converted(value: float, unit: str | None, sent: object) -> tuple[float, str | None]:
    """A value in the unit that is stored, with about as many digits as it was measured with.

    70.7 °F are 21.5 °C, where the formula alone gives 21.499999999999996. The last digit that is
    kept is at most a tenth of the last digit of what was sent.
    """
    if unit not in CONVERSIONS or not math.isfinite(value):
        return value, unit
    symbol, offset, factor = CONVERSIONS[unit]
    try:
        exponent = Decimal(str(sent).strip()).as_tuple().exponent
    except InvalidOperation:  # a word that means a number
        exponent = 0
    step = factor * 10.0 ** min(0, int(exponent))
    # Rain in inches is often sent without trailing zeros: 1 for 1.00.
    digits = max(2 if unit in {"in", "in/h"} else 0, math.ceil(-math.log10(step)) + 1)
    return round((value + offset) * factor, digits), symbol
