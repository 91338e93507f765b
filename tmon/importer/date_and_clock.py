"""Dates and times of day in separate columns: which columns they are, and how they are joined."""

import re
from collections.abc import Callable, Sequence
from itertools import pairwise

from tmon.core.errors import CannotImport
from tmon.core.reading import Refusal, clip
from tmon.importer.columns import Column
from tmon.importer.flags import Flags
from tmon.importer.layout import Layout
from tmon.importer.numbers import is_number
from tmon.importer.time_detection import AmbiguousTimes, date_pattern, find_time_format
from tmon.importer.times import EXCEL_FORMAT, TimeFormat, clock_of, excel_moment

Convert = Callable[[str], str]

_FRACTION = re.compile(r"0?[.,][0-9]+|[01](?:[.,]0*)?")
_EXCEL_DATE = re.compile(r"[1-9][0-9]{4}(?:[.,]0*)?")
_HOURS = re.compile(r"(?<![a-z])(h|hr|hh|hours?|stunden?|heures?|horas?)(?![a-z])", re.IGNORECASE)
_HOURS_AND_MINUTES = re.compile(
    r"(?<![a-z])(time|clock|uhrzeit|zeit|heure|hora|ora|tijd|tid|hh:?mm)", re.IGNORECASE
)
_LIKE_A_CLOCK = re.compile(
    r".*(time|clock|zeit|hour|heure|hora|ora|tijd|tid|stunde).*", re.IGNORECASE
)
_A_CLOCK = re.compile(
    r"((utc|gmt|lst|local|start|obs)_)?(time|clock|zeit|uhrzeit|hour|stunde|heure|hora|ora|tijd|tid|hhmm"
    r"|hh|hr)(_(utc|gmt|local|[a-z]{2,3}t))?"
)
_MIDNIGHT = re.compile(r"[ T](?:0?0:00(?::00(?:\.0+)?)?|12:00(?::00)? ?AM)$", re.IGNORECASE)
_NUMBER = re.compile(r"[0-9]+(?:[.,][0-9]*)?|[.,][0-9]+")


def day_of(text: str) -> str:
    """A date without the midnight that spreadsheets write after it."""
    return _MIDNIGHT.sub("", text)


def join_clock(
    layout: Layout, column: Column, flags: Flags, *, may_repeat: bool
) -> tuple[tuple[Column, ...], str | None]:
    """The columns of a date and its time of day, and a note on the choice.

    It is ``column`` alone where that holds times of day already, or no other column does.

    Raises:
        CannotImport: it is unclear which column holds the time of day.
    """
    written = layout.cells_of(column)
    cells = [*map(day_of, written)]
    if not cells or not all(map(_is_date_alone, cells)):
        return (column,), None
    others = [one.name.lower() for one in layout.columns if one != column]
    if cells != written and not any(map(_A_CLOCK.fullmatch, others)):
        return (column,), None
    numbers = [one for one in layout.columns if one != column and _may_be_clock(layout, one)]
    if numbers and not flags.name_all_columns:
        raise CannotImport(_ask_clock(column, numbers))
    clocks = [one for one in layout.columns if one != column and layout.mostly(one, is_clock)]
    repeats = any(before == after for before, after in pairwise(cells))
    named = [one for one in clocks if _A_CLOCK.fullmatch(one.name.lower())]
    named = named or [one for one in clocks if _is_clock_of(column, one, repeats=repeats)]
    if len(named) == 1:
        return (column, named[0]), f"{column.name!r} holds days: {named[0].name!r} is joined to it"
    if repeats and clocks:
        raise CannotImport(_ask_clock(column, clocks))
    if repeats and not may_repeat:
        raise CannotImport(
            f"{clip(column.name)!r} holds days, and several rows have the same: say"
            f" --time '{clip(column.name)}' --time COL, where the time of day is in COL"
        )
    what = "several rows have the same day" if repeats else "taken as 0:00"
    return (column,), f"{column.name!r} holds dates without a time of day; {what}"


def _is_clock_of(days: Column, clock: Column, *, repeats: bool) -> bool:
    """Whether times of day belong to the dates, and not to some event of the day."""
    is_next = clock.index == days.index + 1
    return (is_next and not clock.name) or (
        (is_next or repeats) and _LIKE_A_CLOCK.fullmatch(clock.name) is not None
    )


def is_clock(cell: str) -> bool:
    """Whether a cell is a time of day alone, such as 13:00."""
    return clock_of(cell) is not None


def _may_be_clock(layout: Layout, column: Column) -> bool:
    """Whether a column of numbers such as 930 or 0.395833 is called like a time of day."""
    cells = layout.cells_of(column)
    is_named = _A_CLOCK.fullmatch(re.sub(r"\W+", "_", column.name.lower()).strip("_")) is not None
    are_clocks = all(map(clock_of, cells))
    return is_named and bool(cells) and all(map(is_number, cells)) and not are_clocks


def _ask_clock(days: Column, clocks: Sequence[Column]) -> str:
    names = " or ".join(repr(clip(other.name)) for other in clocks)
    clock = f"'{clip(clocks[0].name)}'" if len(clocks) == 1 else "COL"
    return (
        f"{clip(days.name)!r} holds days, and the time of day may be in {names}:"
        f" say --time '{clip(days.name)}' --time {clock}, or what else it is by --time and --value"
    )


def _is_date_alone(text: str) -> bool:
    """Whether a text is a date without a time of day."""
    return (
        ":" not in text and not re.search(r"\d[ T]\d", text) and len(re.findall(r"\d", text)) <= 8
    )


def find_converters(
    columns: Sequence[tuple[str, Sequence[str]]], given: TimeFormat | None
) -> tuple[Convert, ...]:
    """For each of several columns, a function that rewrites a cell before they are joined.

    Args:
        columns: the name and the sample's cells of each: a date, a time of day, and others.
        given: the format of the joined text, by --time-format.

    Raises:
        CannotImport: a column can be read in several ways; names the flag that decides.
    """
    (date, dates), (clock, clocks), *others = columns
    pattern = str(given.pattern) if given else ""
    if given and pattern != EXCEL_FORMAT:
        if ":" in pattern and not others:
            return (str, _clock_converter(clock, clocks, re.split(r" %[HI]", pattern)[0]))
        # Where the pattern says %H%M, 100 must be 0100: strptime would read 10:00.
        found = re.search(r"(?:^|\s)((?:%[HMS])+)$", pattern)
        width = len(found[1]) if found else 0  # %H, two characters, is two digits
        padded: Convert = lambda cell: cell.zfill(width) if cell.isdigit() else cell  # noqa: E731
        return (*[str] * len(columns[1:]), padded)
    clock_converter = (
        _clock_of_fraction if given else _clock_converter(clock, clocks, date_pattern(dates, date))
    )
    return (_date_converter(date, dates), clock_converter, *[str] * len(others))


def _date_converter(name: str, cells: Sequence[str]) -> Convert:
    if cells and all(map(_EXCEL_DATE.fullmatch, cells)):
        return lambda cell: _iso_date(TimeFormat(EXCEL_FORMAT), cell)
    if not cells or not all(cell.isdigit() and len(cell) in {6, 8} for cell in cells):
        return day_of
    try:
        found = find_time_format(cells, name, None, in_a_row=False)
    except AmbiguousTimes as error:
        raise AmbiguousTimes(
            f"{error}, followed by that of the time of day, such as ' %H:%M'"
        ) from None
    return lambda cell: _iso_date(found, cell)


def _iso_date(format_: TimeFormat, cell: str) -> str:
    try:
        return f"{format_.read(cell):%Y-%m-%d}"
    except (Refusal, ValueError):  # the joined text is refused, with a better reason
        return cell


def _clock_converter(name: str, cells: Sequence[str], date: str) -> Convert:
    """``date`` is the pattern of the date before it, for the message."""
    # Excel keeps a time of day as a fraction of the day; hours would reach 1.
    has_decimals = any("." in cell or "," in cell for cell in cells)
    is_hours = _HOURS.search(name) is not None
    if has_decimals and all(map(_FRACTION.fullmatch, cells)) and not is_hours:
        return _clock_of_fraction
    if not cells or (all(map(clock_of, cells)) and not _may_be_hours(cells, is_hours=is_hours)):
        return lambda cell: clock_of(cell) or cell
    if not all(map(_NUMBER.fullmatch, cells)):
        return str
    numbers = [int(cell) if cell.isdigit() else -1 for cell in cells]
    # 5, 10, 15 may be minutes as well as hours.
    is_hours = is_hours or len(numbers) == 1 or any(number % 5 for number in numbers)
    if min(numbers) >= 0 and max(numbers) <= 24 and max(map(len, cells)) <= 2 and is_hours:
        return lambda cell: f"{cell}:00" if cell.isdigit() else cell
    if all(map(_clock_of_digits, cells)) and _are_hours_and_minutes(name, cells):
        return lambda cell: _clock_of_digits(cell) or cell
    points = f", '{date} %H.%M' that it is 9.30" if has_decimals else ""
    raise CannotImport(
        f"{clip(name)!r} {clip(cells[-1])} may be a time of day in several ways: --time-format"
        f" '{date} %H%M' says that it is 0930 or 930{points}, '{date} %H' an hour, and excel a"
        " fraction of the day; minutes, seconds or decimal hours can't be read"
    )


def _may_be_hours(cells: Sequence[str], *, is_hours: bool) -> bool:
    """Whether times such as 1.50 may be decimal hours: 1:30 rather than 1:50."""
    decimals = {cell.rpartition(".")[2] for cell in cells if re.fullmatch(r"[0-9]+\.[0-9]+", cell)}
    return bool(decimals) and (is_hours or {"00"} != decimals <= {"00", "25", "50", "75"})


def _are_hours_and_minutes(name: str, cells: Sequence[str]) -> bool:
    """Whether digits such as 930 are 9:30, and not minutes or seconds of the day."""
    widest = max(map(len, cells))
    most = 1_439 if widest <= 4 else 86_399
    is_padded = widest in {4, 6} and any(len(cell) == widest and cell[0] == "0" for cell in cells)
    has_hours = widest > 2 and _HOURS_AND_MINUTES.search(name) is not None
    return is_padded or has_hours or max(map(int, cells)) > most


def _clock_of_fraction(cell: str) -> str:
    """``09:30:00`` for 0.395833."""
    number = cell.replace(",", ".")
    if not _FRACTION.fullmatch(cell):
        return cell
    if float(number) == 1:
        return "24:00"
    whole, _, decimals = number.partition(".")
    moment = excel_moment(f"1{whole or 0}.{decimals}")
    return cell if moment is None else moment.time().isoformat()


def _clock_of_digits(cell: str) -> str | None:
    """``09:30`` for 930, ``09:30:15`` for 93015; None if there is no such time of day."""
    if not cell.isdigit() or len(cell) > 6:
        return None
    number = cell.zfill(4) if len(cell) <= 4 else cell.zfill(6)
    parts = [number[place : place + 2] for place in range(0, len(number), 2)]
    is_clock = int(parts[0]) <= 24 and all(int(part) <= 59 for part in parts[1:])
    return ":".join(parts) if is_clock else None
