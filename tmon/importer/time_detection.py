"""The format of a column of times: detected from its cells, or else asked for by a flag."""

import re
from collections.abc import Sequence
from datetime import datetime, timedelta, tzinfo
from itertools import pairwise, product

from tmon.core.errors import CannotImport
from tmon.core.reading import clip, iso_moment
from tmon.core.time import DAY_MS, now_ms
from tmon.importer.times import (
    EXCEL_FORMAT,
    UNIX_FORMAT,
    TimeFormat,
    excel_moment,
    general,
    has_half_days,
    is_plain,
    is_year_first,
    numeric_date,
    orders_of,
)

# At midnight, dates in the right order go on within this time; in a wrong one they leap.
GOES_ON = timedelta(hours=1)

_ORDERS = {"dmy": "%d{0}%m{0}{1}", "mdy": "%m{0}%d{0}{1}", "ymd": "{1}{0}%m{0}%d"}
_HEADER_ORDERS = {
    "dmy": re.compile(r"\bd{1,2}[./-]m{1,3}[./-]y{2,4}", re.IGNORECASE),
    "mdy": re.compile(r"\bm{1,2}[./-]d{1,2}[./-]y{2,4}", re.IGNORECASE),
    "ymd": re.compile(r"\by{2}[./-]m{1,2}[./-]d{1,2}", re.IGNORECASE),
}
_ELAPSED = re.compile(
    r"(?<![a-z])(m?s|secs?|min|h|seconds?|minutes?|hours?|elapsed|uptime|mjd)(?![a-z])",
    re.IGNORECASE,
)
_AMERICAN = (timedelta(hours=-10), timedelta(hours=-4))  # offsets where 06/01/23 is in June


class AmbiguousTimes(CannotImport):
    """These cells can be read as times in several ways; more cells may decide."""


def check_pattern(pattern: str) -> TimeFormat:
    """Parse ``--time-format``.

    Raises:
        CannotImport: it has no year, or hours up to 12 without AM and PM.
    """
    if pattern.lower() == EXCEL_FORMAT:
        return TimeFormat(EXCEL_FORMAT)
    marks = {mark[1] for mark in re.findall(r"%[a-zA-Z]", pattern.replace("%%", ""))}
    problem = None
    if not marks & set("yYcsxG"):
        problem = "has no year; %Y or %y is one"
    elif "I" in marks and "p" not in marks:
        problem = "has %I, so it needs %p for AM or PM"
    elif "p" in marks and "I" not in marks:
        problem = "has %p, which goes with %I; with %H it would be ignored"
    elif "s" in marks and pattern != UNIX_FORMAT:
        problem = "has %s, the Unix time, which stands alone"
    if not problem:
        try:
            datetime.strptime(datetime(2023, 7, 31, 13, 5).strftime(pattern), pattern)  # noqa: DTZ001, DTZ007
        except ValueError as error:
            problem = "" if pattern == UNIX_FORMAT or "%z" in pattern else f"isn't one: {error}"
    if problem:
        raise CannotImport(f"--time-format {clip(pattern)!r} {problem}")
    return TimeFormat(pattern)


def find_time_format(
    cells: Sequence[str], header: str, zone: tzinfo | None, *, in_a_row: bool
) -> TimeFormat:
    """The format of a column of times.

    Args:
        cells: a sample, in the file's order.
        header: the column's header.
        zone: the zone that the file names, if any.
        in_a_row: whether the cells are of successive rows, without a gap.

    Raises:
        AmbiguousTimes: several formats fit; names the flag that decides.
        CannotImport: no format fits all cells.
    """
    if header == "measured_ms":  # tmon's own
        return TimeFormat(in_ms=True)
    if cells and all(map(is_excel_day, cells)):
        # Seconds since a logger's start look alike.
        is_sure = any(map(has_time_of_day, cells)) and not _ELAPSED.search(header)
        if not is_sure:
            raise AmbiguousTimes(
                f"{clip(header)!r} {cells[0]} may be Excel's day number:"
                " --time-format excel says so"
            )
        return TimeFormat(EXCEL_FORMAT)
    order = _order(cells, header, zone, in_a_row=in_a_row)
    turned = [cell for cell in cells if is_year_first(cell)]
    if turned and order in {"dmy", "mdy"}:
        written = next(cell for cell in cells if numeric_date(cell))
        raise CannotImport(
            f"{clip(header)!r} has dates such as {clip(written)!r} and {clip(turned[0])!r}: did a"
            " spreadsheet swap days and months? Export it again; or --time-format reads one kind,"
            " and the others are rejected"
        )
    return TimeFormat(order=order, digits=_digits_pattern(cells, header))


def is_excel_day(cell: str) -> bool:
    """Whether a cell may be Excel's number of a day from 1990 to tomorrow."""
    day = excel_moment(cell)
    return (
        re.match(r"[1-9][0-9]{4}(?![0-9])", cell) is not None
        and day is not None
        and day.year >= 1990
        and day < datetime.now() + timedelta(days=2)  # noqa: DTZ005
    )


def has_time_of_day(cell: str) -> bool:
    """Whether Excel's number of a day has a fraction."""
    return re.search(r"[.,][0-9]*[1-9]", cell) is not None


def _digits_pattern(cells: Sequence[str], header: str) -> str | None:
    if re.search(r"unix|epoch", header, re.IGNORECASE):
        return None
    likely = [formats for cell in cells if (formats := digit_formats(cell))]
    if not likely:
        return None
    common = set.intersection(*likely)
    if not common:
        return None
    short = {pattern for pattern in common if "%y" in pattern}
    if len(common) > 1 or short:
        example = next(cell for cell in cells if digit_formats(cell))
        ways = sorted(common | ({UNIX_FORMAT} if len(example) == 10 and short else set()))
        raise AmbiguousTimes(
            f"{clip(header)!r} {example} can be read in several ways: say --time-format"
            f" {_either([repr(way) for way in ways])} (%s: Unix time)"
        )
    [pattern] = common
    return None if pattern == UNIX_FORMAT or pattern.startswith("%Y") else pattern


def _order(cells: Sequence[str], header: str, zone: tzinfo | None, *, in_a_row: bool) -> str | None:
    written = [cell for cell in cells if (date := numeric_date(cell)) and orders_of(*date)]
    if not written:
        return None
    fitting = {"dmy", "mdy", "ymd"}
    for cell in dict.fromkeys(written):
        fitting &= orders_of(*(numeric_date(cell) or ("", "", ""))).keys()
    named = {order for order, sign in _HEADER_ORDERS.items() if sign.search(header)}
    if len(named & fitting) == 1:
        return (named & fitting).pop()
    if named:
        raise CannotImport(f"{clip(header)!r} names another order than {clip(written[0])!r} has")
    if len(fitting) > 1 and in_a_row:
        fitting = _steady_orders(written, fitting) or fitting
    offset = zone.utcoffset(datetime(2023, 1, 1)) if zone else None  # noqa: DTZ001
    is_american = offset is not None and _AMERICAN[0] <= offset <= _AMERICAN[1]
    if is_american and "mdy" in fitting and all("/" in c and has_half_days(c) for c in written):
        fitting = {"mdy"}
    if len(fitting) == 1:
        return fitting.pop()
    if not fitting:
        raise CannotImport(
            f"{clip(header)!r} has dates in several orders; --time-format says which is right"
        )
    ways = [repr(_pattern_of(written[0], order)) for order in sorted(fitting)]
    raise AmbiguousTimes(
        f"{clip(header)!r} {clip(written[0])!r} can be read in several ways:"
        f" say --time-format {_either(ways)}"
    )


def _steady_orders(cells: Sequence[str], orders: set[str]) -> set[str]:
    """The orders in which dates go on at midnight, where in the others they leap."""
    midnights = [pair for pair in pairwise(cells) if len(set(map(numeric_date, pair))) == 2]
    steady = dict.fromkeys(orders, 0)
    for pair, order in product(midnights, orders):
        before, after = (general(text, order) for text in pair)
        if before and after:
            step = after.replace(tzinfo=None) - before.replace(tzinfo=None)
            steady[order] += abs(step) <= GOES_ON
    going_on = {order for order, count in steady.items() if count}
    return going_on if all(2 * steady[order] >= len(midnights) for order in going_on) else set()


def _pattern_of(text: str, order: str) -> str:
    """The strptime pattern for a text such as 01/02/23 13:00, with its date in that order."""
    a, _, c = numeric_date(text) or ("", "", "")
    sign = text[len(a)]
    year = "%Y" if len(c) == 4 else "%y"
    _, _, time = text.partition(" ")
    pattern = _ORDERS[order].format(sign, year)
    if not time:
        return pattern
    halves = has_half_days(text)
    seconds = ":%S" if time.count(":") == 2 else ""
    return f"{pattern} {'%I' if halves else '%H'}:%M{seconds}{' %p' if halves else ''}"


def date_pattern(cells: Sequence[str], header: str) -> str:
    """The strptime pattern of dates without a time of day; %Y-%m-%d where no other is found."""
    if not cells:
        return "%Y-%m-%d"
    try:
        found = find_time_format(cells, header, None, in_a_row=True)
    except CannotImport:  # what is wrong with them is told once they are joined
        return "%Y-%m-%d"
    if cells[0].isdigit():
        return found.digits or "%Y%m%d"
    if found.order and numeric_date(cells[0]):
        return _pattern_of(cells[0], found.order)
    year_first = re.match(r"[0-9]{4}([./-])", cells[0])
    return f"%Y{year_first[1]}%m{year_first[1]}%d" if year_first else "%Y-%m-%d"


def _either(ways: Sequence[str]) -> str:
    return ", ".join(ways[:-1]) + f" or {ways[-1]}" if len(ways) > 1 else ways[0]


def is_time(text: str) -> bool:
    """Whether a cell has a date in it, or is a number that may be a time."""
    if iso_moment(text) is not None and not text.isdigit():
        return True
    if is_plain(text):
        return bool(digit_formats(text))
    return general(text, None) is not None or any(
        general(text, order) is not None for order in ("dmy", "mdy", "ymd")
    )


# Patterns of times without signs, by their number of digits.
_DIGIT_FORMATS = {
    6: ("%y%m%d", "%d%m%y", "%m%d%y"),
    8: ("%Y%m%d", "%d%m%Y", "%m%d%Y"),
    10: ("%Y%m%d%H", "%y%m%d%H%M", "%d%m%y%H%M", "%m%d%y%H%M", UNIX_FORMAT),
    12: ("%Y%m%d%H%M", "%d%m%Y%H%M", "%m%d%Y%H%M", "%y%m%d%H%M%S", UNIX_FORMAT),
    14: ("%Y%m%d%H%M%S", "%d%m%Y%H%M%S", "%m%d%Y%H%M%S", UNIX_FORMAT),
}


def digit_formats(text: str) -> set[str]:
    """The patterns by which a number is a plausible time, from 1700 to tomorrow."""
    whole = text.split(".", maxsplit=1)[0] if re.fullmatch(r"[0-9]+\.[0-9]+", text) else text
    patterns: tuple[str, ...] = (UNIX_FORMAT,)
    if whole == text and text.isdigit():
        patterns = _DIGIT_FORMATS.get(len(text), patterns)
    return {pattern for pattern in patterns if _is_plausible(TimeFormat(pattern), text)}


def _is_plausible(format_: TimeFormat, text: str) -> bool:
    read = format_.parse(text)
    if read is None or isinstance(read, int):
        return read is not None and 0 < read < now_ms() + DAY_MS
    return read.year >= 1700 and read < datetime.now() + timedelta(days=2)  # noqa: DTZ005
