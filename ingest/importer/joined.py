"""A date and a time of day in columns of their own: what is joined of each cell of them."""

import re
from collections.abc import Callable, Sequence

from ingest.errors import CannotImport
from ingest.importer.time_format import SeveralWays, find_time_format
from ingest.importer.times import EXCEL_FORMAT, TimeFormat, clock_of, day_of, excel_moment
from ingest.reading import Refusal, clip

Write = Callable[[str], str]

_FRACTION = re.compile(r"0?[.,][0-9]+|[01](?:[.,]0*)?")
_EXCEL_DATE = re.compile(r"[1-9][0-9]{4}(?:[.,]0*)?")
_HOURS = re.compile(r"(?<![a-z])(h|hr|hh|hours?|stunden?|heures?|horas?)(?![a-z])", re.IGNORECASE)
_CLOCKS = re.compile(r"(?<![a-z])(time|uhrzeit|zeit|heure|hora|ora|tijd|tid|hh:?mm)", re.IGNORECASE)
_NUMBER = re.compile(r"[0-9]+(?:[.,][0-9]*)?|[.,][0-9]+")


def find_writers(
    columns: Sequence[tuple[str, Sequence[str]]], told: TimeFormat | None
) -> tuple[Write, ...]:
    """For each of several columns, a function that makes of a cell what is joined by blanks.

    Args:
        columns: the name of each, and its cells in the sample: a date, a time of day, and more.
        told: the format that --time-format says, for the joined text.

    Raises:
        CannotImport: it can be read in several ways; says which flag settles it.
    """
    (date, dates), (clock, clocks), *others = columns
    if told and told.pattern != EXCEL_FORMAT:
        return (*[as_it_is] * (len(columns) - 1), _padded(str(told.pattern)))
    clock_writer = _clock(clock, clocks, is_excel=told is not None)
    return (_date(date, dates), clock_writer, *[as_it_is] * len(others))


def as_it_is(cell: str) -> str:
    """A cell that can be joined as it is."""
    return cell


def _named(pattern: "re.Pattern[str]", name: str) -> bool:
    return pattern.search(name) is not None


def _padded(pattern: str) -> Write:
    """Zeros before 930, where the pattern says %H%M: strptime takes 930 for 9:03 otherwise."""
    found = re.search(r"(?:^|\s)((?:%[HMS])+)$", pattern)
    width = len(found[1]) if found else 0  # two characters of the pattern for two digits
    return lambda cell: cell.zfill(width) if cell.isdigit() else cell


def _date(name: str, cells: Sequence[str]) -> Write:
    if cells and all(map(_EXCEL_DATE.fullmatch, cells)):
        return lambda cell: _iso_date(TimeFormat(EXCEL_FORMAT), cell)
    if not cells or not all(cell.isdigit() and len(cell) in {6, 8} for cell in cells):
        return day_of
    try:
        found = find_time_format(cells, name, None, in_a_row=False)
    except SeveralWays as error:
        raise SeveralWays(f"{error}, with the time of day's behind it, such as ' %H:%M'") from None
    return lambda cell: _iso_date(found, cell)


def _iso_date(format_: TimeFormat, cell: str) -> str:
    try:
        return f"{format_.read(cell):%Y-%m-%d}"
    except (Refusal, ValueError):  # what it is, is told of the joined text
        return cell


def _clock(name: str, cells: Sequence[str], *, is_excel: bool) -> Write:
    if is_excel or _are_fractions(name, cells):
        return _of_day
    if not cells or all(map(clock_of, cells)):
        return lambda cell: clock_of(cell) or cell
    if not all(map(_NUMBER.fullmatch, cells)):
        return as_it_is
    numbers = [int(cell) if cell.isdigit() else -1 for cell in cells]
    widest = max(map(len, cells))
    if min(numbers) >= 0 and max(numbers) <= 24 and widest <= 2 and _tell_hours(name, numbers):
        return lambda cell: f"{cell}:00" if cell.isdigit() else cell
    if all(map(_digits_of_clock, cells)) and _tell_minutes(name, cells):
        return lambda cell: _digits_of_clock(cell) or cell
    raise CannotImport(
        f"{clip(name)!r} {clip(cells[-1])} may be a time of day in several ways: --time-format"
        " '%Y-%m-%d %H%M' says that it is 0930 or 930, '%Y-%m-%d %H' an hour, and excel a"
        " fraction of the day; minutes or seconds of the day can't be read"
    )


def _tell_hours(name: str, numbers: Sequence[int]) -> bool:
    """Whether numbers up to 24 are hours; 5, 10, 15 would be minutes of the first as well."""
    return len(numbers) == 1 or any(number % 5 for number in numbers) or _named(_HOURS, name)


def _tell_minutes(name: str, cells: Sequence[str]) -> bool:
    """Whether digits such as 930 are hours and minutes, and not minutes of the day, or seconds."""
    widest = max(map(len, cells))
    most = 1_439 if widest <= 4 else 86_399
    is_padded = widest in {4, 6} and any(len(cell) == widest and cell[0] == "0" for cell in cells)
    has_hours = widest > 2 and _named(_CLOCKS, name)
    return is_padded or has_hours or max(map(int, cells)) > most


def _are_fractions(name: str, cells: Sequence[str]) -> bool:
    """Whether they are parts of a day, as Excel keeps a time of day; hours would reach 1."""
    return (
        any("." in cell or "," in cell for cell in cells)
        and all(map(_FRACTION.fullmatch, cells))
        and not _named(_HOURS, name)
    )


def _of_day(cell: str) -> str:
    """``09:30:00`` of 0.395833."""
    number = cell.replace(",", ".")
    if not _FRACTION.fullmatch(cell):
        return cell
    if float(number) == 1:
        return "24:00"
    whole, _, decimals = number.partition(".")
    moment = excel_moment(f"1{whole or 0}.{decimals}")
    return cell if moment is None else moment.time().isoformat()


def _digits_of_clock(cell: str) -> str | None:
    """``9:30`` of 930, ``9:30:15`` of 93015; None if no such time of day is."""
    if not cell.isdigit() or len(cell) > 6:
        return None
    number = cell.zfill(4) if len(cell) <= 4 else cell.zfill(6)
    parts = [number[place : place + 2] for place in range(0, len(number), 2)]
    is_clock = int(parts[0]) <= 24 and all(int(part) <= 59 for part in parts[1:])
    return ":".join(parts) if is_clock else None
