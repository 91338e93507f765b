"""The range of values that a chart shows, where the address fixes it: ``low=0&high=30``."""

import math
import re
from collections.abc import Mapping
from typing import NamedTuple

from tmon.core.languages import gettext
from tmon.pages.spans import BadSpan

LEAST = 1e-9  # of the values: an axis can't tell nearer ones apart
_NUMBER = re.compile(r"[-\N{MINUS SIGN}]?\d{1,12}([.,]\d{1,12})?", re.ASCII)


class ValueRange(NamedTuple):
    """The lowest and highest value that is shown; None where the values decide."""

    low: float | None = None
    high: float | None = None

    def holds(self, value: float) -> bool:
        low = -math.inf if self.low is None else self.low
        return low <= value <= (math.inf if self.high is None else self.high)

    def in_celsius(self) -> "ValueRange":
        """The same range, of values in °F."""
        return ValueRange(*(None if end is None else (end - 32) * 5 / 9 for end in self))

    def in_fahrenheit(self) -> "ValueRange":
        """The same range, of values in °C."""
        return ValueRange(*(None if end is None else end * 9 / 5 + 32 for end in self))


FREE = ValueRange()


def parse_number(name: str, text: str) -> float:
    """A number that people write in an address.

    Raises:
        BadSpan: it is none; the message names the parameter.
    """
    if not _NUMBER.fullmatch(text):
        raise BadSpan(gettext("{name} must be a number, such as 21.5").format(name=name))
    return float(text.replace("\N{MINUS SIGN}", "-").replace(",", "."))


def parse_value_range(parameters: Mapping[str, str]) -> ValueRange:
    """What ``low`` and ``high`` say; each may be missing or empty.

    Raises:
        BadSpan: one is no number, or ``low`` is not less than ``high``.
    """
    low, high = (
        parse_number(name, text) if (text := parameters.get(name)) else None
        for name in ("low", "high")
    )
    if low is not None and high is not None and high - low <= LEAST * max(abs(low), abs(high)):
        raise BadSpan(gettext("low must be less than high"))
    return ValueRange(low, high)
