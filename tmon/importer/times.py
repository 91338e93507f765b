"""Times as loggers write them: Unix times, Excel's days, ISO 8601, and dates of many kinds."""

import math
import re
from dataclasses import dataclass
from datetime import datetime, timedelta, timezone
from functools import lru_cache

from tmon.core.reading import Refusal, clip, iso_moment
from tmon.core.time import DAY_MS

# Numbers in these ranges are Unix times. Smaller ones may be a year, a day like 20130704, or
# seconds since the logger's start; those in between may be minutes like 201307041200.
UNIX_S = (1e8, 1e11)  # 1973 on
UNIX_MS = (2.1e11, 1e14)  # August 1976 on
UNIX_US = (1e14, 1e17)
UNIX_NS = (1e17, math.inf)
UNIX_FORMAT = "%s"  # as strftime of most systems has it; takes all four
EXCEL_FORMAT = "excel"  # days since the end of 1899, as a spreadsheet keeps a time
EXCEL_DAY_0 = datetime(1899, 12, 30)  # noqa: DTZ001 - there was no 29 February 1900; Excel has one

_MONTHS = {
    word: number
    for number, words in enumerate(
        (
            "jan ene gen", "feb fev fév", "mar mär mrz maa mrt", "apr avr abr",
            "may mai mei maj mag", "jun juin giu", "jul juil lug", "aug aou aoû ago",
            "sep set", "oct okt out ott", "nov", "dec dez déc dic",
        ),
        1,
    )
    for word in words.split()
}  # fmt: skip
_WEEKDAYS = frozenset(
    "mon tue tues wed thu thur thurs fri sat sun monday tuesday wednesday thursday friday saturday"
    " sunday mo di mi do fr sa so montag dienstag mittwoch donnerstag freitag samstag"
    " sonntag".split()
)
_TIME = (
    r"(?P<h>[0-9]{1,2})(?:[:.h](?P<m>[0-9]{2})(?:[:.](?P<s>[0-9]{2})(?:[.,:](?P<f>[0-9]{1,9}))?)?)?"
    r"(?:\s?(?P<p>[ap])\.?\s?(?:m\.?)?)?(?:\s?uhr)?"
)
_ZONE = r"(?P<z>z|ut|(?:utc|gmt)(?![+-])|ces?t|mes?z|(?:utc|gmt)?[+-][0-9]{1,2}(?::?[0-5][0-9])?)?"
_NUMERIC = r"(?P<a>[0-9]{1,4})(?P<sep>[./-])(?P<b>[0-9]{1,2})(?P=sep)(?P<c>[0-9]{1,4})\.?"
_WORDS = (
    r"(?P<words>[^\W\d_]+\.?,? )?"
    r"(?P<named>[0-9]{0,4}[-/. ]*[^\W\d_]{3,}[-/., ]+[0-9]{1,4}(?:st|nd|rd|th)?"
    r"(?:[-/., ]+[0-9]{4})?)"
)
_GENERAL = re.compile(
    rf"(?:{_NUMERIC}|{_WORDS})(?:(?:t|[ ,]+(?:at |um |à )?|,? - )(?:{_TIME})\s?{_ZONE})?",
    re.IGNORECASE,
)
_ASCTIME = re.compile(
    r"(?P<words>[a-z]{3}) (?P<named>[a-z]{3} +[0-9]{1,2}) (?P<time>[0-9]{2}:[0-9]{2}:[0-9]{2})"
    r" ?(?P<zone>[a-z]{3,4})? (?P<year>[0-9]{4})",
    re.IGNORECASE,
)
ORDERS = {"dmy": "day/month/year", "mdy": "month/day/year", "ymd": "year/month/day"}
_CLOCK = re.compile(rf"{_TIME}", re.IGNORECASE)
_DAY_0 = re.compile(r"^(?:1899-12-3[01]|12/3[01]/1899|3[01][./]12[./]1899|1900-01-0[01])[ T]")
_HOUR_AND_MINUTES = re.compile(r"([0-9]{4})([0-9]{2})([0-9]{2})[ T_]?([0-9]{2}):([0-9]{2})")
_OFFSETS = {"cet": 60, "mez": 60, "cest": 120, "mesz": 120}
_BASIC = {8: "%Y%m%d", 10: "%Y%m%d%H", 12: "%Y%m%d%H%M", 14: "%Y%m%d%H%M%S"}


@dataclass(frozen=True)
class TimeFormat:
    """How a column's times are written, as far as one cell doesn't show it.

    ``pattern`` is strptime's, for all cells. Without it, ``order`` is that of dates such as
    01/02/23: ``dmy``, ``mdy`` or ``ymd``. ``digits`` is strptime's pattern for numbers; if it
    is None, they are Unix times, and with ``in_ms`` in milliseconds whatever their size.
    """

    pattern: str | None = None
    order: str | None = None
    digits: str | None = None
    in_ms: bool = False

    @property
    def is_sure(self) -> bool:
        """Whether numbers are surely Unix times: a flag says so, or tmon wrote them."""
        return self.pattern == UNIX_FORMAT or self.in_ms

    def read(self, text: str, column: str = "time") -> datetime | int:
        """A cell as a datetime, with or without an offset, or as Unix milliseconds.

        Raises:
            Refusal: it isn't a time in this format.
        """
        if self.order in {"dmy", "mdy"} and is_year_first(text):
            why = (
                "has its year first, and others last: a spreadsheet may have swapped day and month"
            )
            raise Refusal("invalid_time", f"{column} {clip(text)!r} {why}")
        read = self.parse(text)
        if read is None:
            like = self.pattern or "2013-07-04 12:00, Unix seconds or ms; --time-format says more"
            raise Refusal("invalid_time", f"{column} {clip(text)!r} must be like {like}")
        return read

    def parse(self, text: str) -> datetime | int | None:
        """As ``read``, but None where it isn't a time in this format."""
        if self.pattern == UNIX_FORMAT:
            return unix_ms(text)
        if self.pattern:
            is_excel = self.pattern == EXCEL_FORMAT
            return excel_moment(text) if is_excel else strptime(text, self.pattern)
        if self.in_ms and is_plain(text):
            return round(float(text))
        if (moment := iso_moment(text)) is not None and not self.digits:
            return moment
        if text.isdigit() and len(text) in _BASIC and text.isascii():
            moment = strptime(text, self.digits or _BASIC[len(text)])
            earliest = 1850 if len(text) == 10 else 1700  # 1700010120 is of November 2023
            if moment and (self.digits or earliest <= moment.year < 2100):
                return moment
        return unix_ms(text) if is_plain(text) else general(text, self.order)


def is_year_first(text: str) -> bool:
    """Whether a date begins with a year of four digits."""
    return text[:4].isdigit() and text[4:5] in {"-", "/", "."}


def strptime(text: str, pattern: str) -> datetime | None:
    """``datetime.strptime``, or None; ``a`` and ``p`` will do for AM and PM."""
    if "%p" in pattern:
        text = re.sub(r"(?<=\d)\s?([aApP])\.?\s?[mM]?\.?(?![a-zA-Z])", r" \1m", text)
        pattern = re.sub(r"\s*%p", " %p", pattern)
    for number, width in zip(re.findall(r"\d+", text), _widths(pattern), strict=False):
        if width and len(number) != width:  # strptime reads 100 as 10:00, and 123 as 12 and 3
            return None
    for written, days in ((text, 0), (_at_hour_0(text, pattern), 1)):
        try:
            moment = datetime.strptime(written, pattern)  # noqa: DTZ007 - the clock knows its zone
            return moment + timedelta(days)
        except (ValueError, OverflowError):
            continue
    return None


def _at_hour_0(text: str, pattern: str) -> str:
    """A time of 24:00 with its hour as 00; an empty text if it is another."""
    at_end = re.search(r"%H(:?%M)?(:?%S)?$", pattern)
    if at_end is None:
        return ""
    zeros = "".join(
        (part or "").replace("%M", "00").replace("%S", "00") for part in at_end.groups()
    )
    return f"{text.removesuffix(f'24{zeros}')}00{zeros}" if text.endswith(f"24{zeros}") else ""


@lru_cache
def _widths(pattern: str) -> tuple[int, ...]:
    """How many digits each number of a pattern has; 0 for one that is written by itself."""
    runs = re.findall(r"(?:%[dmyYHIMSj])+", pattern)
    widths = {"Y": 4, "j": 3}
    return tuple(
        sum(widths.get(mark, 2) for mark in run[1::2]) if len(run) > 2 else 0 for run in runs
    )


def unix_ms(text: str) -> int | None:
    """Milliseconds of a Unix time, which is in s, ms, µs or ns by its size, or None."""
    if not is_plain(text):
        return None
    # Spreadsheets round to 1.68847E+12, and C to 1.688472e+12.
    exponent = re.fullmatch(r"[-+]?[0-9]\.?([0-9]*)[eE]\+?([0-9]{1,2})", text)
    if exponent and len(exponent[1]) <= 6 < int(exponent[2]):
        return None
    number = int(text) if text.lstrip("+-").isdigit() else float(text)
    size = abs(number)
    if UNIX_S[0] <= size < UNIX_S[1]:
        return round(number * 1000)
    if UNIX_MS[0] <= size < UNIX_MS[1]:
        return round(number)
    for (least, most), over in ((UNIX_US, 1_000), (UNIX_NS, 1_000_000)):
        if least <= size < most:
            return round(number) // over
    return None


def excel_moment(text: str) -> datetime | None:
    """The time that a spreadsheet keeps as a number of days, such as 45078.395833; or None.

    With fewer than 8 decimals it is rounded to the second.
    """
    found = re.fullmatch(r"([0-9]{1,6})(?:[.,]([0-9]*))?", text)
    if found is None or not 1 <= int(found[1]) < 1_000_000:
        return None
    decimals = found[2] or "0"
    per_day = 86_400 if len(decimals) < 8 else DAY_MS
    count = round(float(f"0.{decimals}") * per_day)
    return EXCEL_DAY_0 + timedelta(days=int(found[1]), milliseconds=count * DAY_MS // per_day)


def general(text: str, order: str | None) -> datetime | None:
    """A date in numbers or with a month's name, perhaps with a time of day and an offset."""
    text = _HOUR_AND_MINUTES.sub(r"\1-\2-\3 \4:\5", text, count=1)  # 2023060100:03, of DWD
    if found := _ASCTIME.fullmatch(text):
        zone = f" {found['zone']}" if found["zone"] else ""
        text = f"{found['named']} {found['year']} {found['time']}{zone}"
    found = _GENERAL.fullmatch(text)
    if found is None:
        return None
    if found["a"]:
        order = "ymd" if len(found["a"]) == 4 else order
        day = _day(found["a"], found["b"], found["c"], order) if order else None
    else:
        day = _named_day(found["words"], found["named"])
    return day and _with_time(day, found)


def orders_of(a: str, b: str, c: str) -> dict[str, datetime]:
    """The orders in which three numbers are a date, of ``dmy``, ``mdy`` and ``ymd``."""
    fitting = {order: _day(a, b, c, order) for order in ("dmy", "mdy", "ymd")}
    return {order: day for order, day in fitting.items() if day}


def numeric_date(text: str) -> tuple[str, str, str] | None:
    """The three numbers of a date such as 01/02/23; None if its year has four digits in front."""
    found = _GENERAL.fullmatch(text)
    if found is None or not found["a"] or len(found["a"]) > 2:
        return None
    return found["a"], found["b"], found["c"]


def has_half_days(text: str) -> bool:
    """Whether a time has AM or PM."""
    found = _GENERAL.fullmatch(text)
    return bool(found and found["p"])


def clock_of(text: str) -> str | None:
    """A time of day alone, such as 13:00, 1:00 PM or 24:00; None for other texts.

    Spreadsheets and Access may write it with their day 0, which is left out.
    """
    text = _DAY_0.sub("", text)
    found = _CLOCK.fullmatch(text)
    return text if found and int(found["h"]) <= 24 and 0 <= int(found["m"] or -1) < 60 else None


def is_plain(text: str) -> bool:
    """Whether a text is a number in ASCII digits, without underscores."""
    return re.fullmatch(r"[-+]?[0-9]+(\.[0-9]*)?([eE][-+]?[0-9]+)?", text) is not None


@lru_cache(maxsize=4096)
def _day(a: str, b: str, c: str, order: str) -> datetime | None:
    year, month, day = {"dmy": (c, b, a), "mdy": (c, a, b), "ymd": (a, b, c)}[order]
    if len(year) not in {2, 4} or max(len(month), len(day)) > 2:
        return None
    century = 0 if len(year) == 4 else 2000 if int(year) < 69 else 1900
    try:
        return datetime(century + int(year), int(month), int(day))  # noqa: DTZ001
    except ValueError:
        return None


def _named_day(weekday: str | None, text: str) -> datetime | None:
    """A date with its month's name: ``20 Jul 2023``, ``Jul 20, 2023``, ``20-Jul-23``."""
    if weekday and weekday.strip(" .,").lower() not in _WEEKDAYS:
        return None
    parts = re.findall(r"\d+|[^\W\d_]+", re.sub(r"(?<=\d)(?:st|nd|rd|th)\b", "", text))
    words = [part.lower() for part in parts if not part.isdigit()]
    numbers = [part for part in parts if part.isdigit()]
    month = _MONTHS.get(words[0][:4]) or _MONTHS.get(words[0][:3]) if len(words) == 1 else None
    if month is None or len(numbers) != 2:
        return None
    year_first = len(numbers[0]) == 4
    day, year = reversed(numbers) if year_first else numbers
    return _day(day, str(month), year, "dmy")


def _with_time(day: datetime, found: "re.Match[str]") -> datetime | None:
    if not found["h"]:
        return day
    hour, minute, second = int(found["h"]), int(found["m"] or 0), int(found["s"] or 0)
    if found["p"]:
        if not 1 <= hour <= 12:
            return None
        hour = hour % 12 + (12 if found["p"] in "pP" else 0)
    elif not found["m"]:
        return None  # an hour alone needs a column of its own
    if hour > 24 or minute > 59 or second > 59 or (hour == 24 and minute + second):
        return None
    micros = int(((found["f"] or "") + "000000")[:6])
    moment = day + timedelta(hours=hour, minutes=minute, seconds=second, microseconds=micros)
    return moment if not found["z"] else moment.replace(tzinfo=_offset(found["z"].lower()))


def _offset(text: str) -> timezone:
    sign = re.search(r"([+-])(\d{1,2}):?(\d{2})?$", text)
    if sign is None:
        return timezone(timedelta(minutes=_OFFSETS.get(text, 0)))
    minutes = min(60 * int(sign[2]) + int(sign[3] or 0), 1439)
    return timezone(timedelta(minutes=-minutes if sign[1] == "-" else minutes))
