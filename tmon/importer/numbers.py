"""Numbers as loggers and spreadsheets write them: decimal commas, thousands, units, no value."""

import re
from collections.abc import Container, Iterable, Sequence
from dataclasses import dataclass, field

from tmon.core.errors import CannotImport
from tmon.core.reading import Refusal, clip
from tmon.core.units import canonical
from tmon.importer.columns import is_unit

MISSING = frozenset(
    (
        *("", "-", "--", "---", "----", ".", "na", "n/a", "n.a.", "#n/a", "nan", "null", "none"),
        *("nil", "unavailable", "unknown", "missing", "\\n"),
    )
)
# Apostrophes and narrow blanks: where they stand between three digits each, they part thousands.
_GROUPING = (
    "'\N{RIGHT SINGLE QUOTATION MARK}\N{NO-BREAK SPACE}\N{NARROW NO-BREAK SPACE}\N{THIN SPACE}"
)
_MINUS = str.maketrans({"\N{MINUS SIGN}": "-"})
_PLAIN = re.compile(r"[-+]?(?:[0-9]+\.?[0-9]*|\.[0-9]+)(?:[eE][-+]?[0-9]+)?")
_NUMBER = (
    rf"[-+]?(?:[0-9]*[.,]?[0-9]+[.,]?|[0-9]{{1,3}}(?:[.,{_GROUPING}][0-9]{{3}})+(?:[.,][0-9]*)?)"
    r"(?:[eE][-+]?[0-9]+)?"
)
_WITH_UNIT = re.compile(rf"({_NUMBER})\s*([^\s0-9.,+-]\S*(?: \S+)?)?")
# NOAA's Integrated Surface Database: tenths, then a quality code.
_ISD = re.compile(r"([-+]?[0-9]{4,5}),([0-9A-Z])")
# What loggers write where there is no value; 85 is what a DS18B20 has after power-on.
MARKS = frozenset(
    (*(sign * mark for sign in (1, -1) for mark in (99.9, 999, 999.9, 9999, 99999, 6999, 32767)),
     -99, -32768, 65535, 327.67, -3276.8, 85, -127)
)  # fmt: skip
_ISD_NOTHING = frozenset(("+9999", "99999", "9999"))
_ISD_WRONG = frozenset("37")


@dataclass(frozen=True)
class NumberFormat:
    """How one column's numbers are written.

    ``decimal`` is the sign before the decimals, or empty where no cell has shown it; the other
    one of ``.`` and ``,`` then parts thousands, if ``groups``. Where it is not ``sure``, a
    cell that can be read in two ways is refused; so is ``1.250`` among decimal commas, unless
    a flag told them (``is_told``). A number is multiplied by ``factor``. ``unit`` is what a flag
    says; it may stand behind numbers, though tmon doesn't know it.
    """

    decimal: str = "."
    groups: bool = False
    sure: bool = True
    is_told: bool = False
    factor: float = 1.0
    unit: str | None = None
    missing: frozenset[str] = frozenset()
    is_isd: bool = False
    _missing_numbers: frozenset[float] = field(init=False, repr=False)

    def __post_init__(self) -> None:
        numbers = frozenset(float(text) for text in self.missing if _PLAIN.fullmatch(text))
        object.__setattr__(self, "_missing_numbers", numbers)

    def read(self, text: str, column: str) -> tuple[float, str | None]:
        """A cell's number, and the unit that stands behind it.

        Raises:
            Refusal: there is none.
        """
        unit = None
        is_other = self.decimal == "," and not self.is_told and "." in text
        if (not self.sure or is_other) and _is_unsure(text):
            raise Refusal(
                "invalid_value", f"{column} {clip(text)!r} may have thousands; --decimal says it"
            )
        if self.decimal != "," and _PLAIN.fullmatch(text):
            number = float(text)
        else:
            if text.lower() in MISSING or text in self.missing:
                raise Refusal("missing_value", f"{column} is {clip(text) or 'empty'}")
            number, unit = self._unusual(text, column)
        if number in self._missing_numbers:
            raise Refusal("missing_value", f"{column} is {clip(text)}")
        return number * self.factor, unit

    def _unusual(self, text: str, column: str) -> tuple[float, str | None]:
        if self.is_isd and (isd := _ISD.fullmatch(text)):
            if isd[1] in _ISD_NOTHING:
                raise Refusal("missing_value", f"{column} is {text}")
            if isd[2] in _ISD_WRONG:
                raise Refusal(
                    "invalid_value", f"{column} {text} is erroneous, says its quality code"
                )
            return float(isd[1]) / 10, None
        found = _WITH_UNIT.fullmatch(text.translate(_MINUS))
        number = found and self._plain(found[1].strip())
        other = found[2] if found and number and found[2] != self.unit else None
        if other and not is_unit(other) and other[0].isalpha():
            raise Refusal("invalid_value", f"{column} {clip(text)!r} {_unknown(other)}")
        if not found or not number or (other and not is_unit(other)):
            hint = "; --decimal , reads commas" if re.fullmatch(r"-?\d+,\d+", text) else ""
            if _is_unsure(text):
                hint = " by itself: with --decimal . it has thousands, with --decimal , decimals"
            raise Refusal("invalid_value", f"{column} {clip(text)!r} is not a number{hint}")
        return float(number), found[2]

    def _plain(self, text: str) -> str | None:
        """A number as Python writes it; None if it is none in this format."""
        decimal = self.decimal or ("," if "," in text and "." not in text else ".")
        other = re.escape("," if decimal == "." else ".") if self.groups else ""
        whole, mark, decimals = text.partition(decimal)
        if re.search(rf"[{_GROUPING}{other}]", whole):
            if not re.fullmatch(rf"[-+]?[0-9]{{1,3}}(?:[{_GROUPING}{other}][0-9]{{3}})+", whole):
                return None
            whole = re.sub(rf"[{_GROUPING}{other}]", "", whole)
        if decimal == "," and "." in whole:
            return None
        number = whole + ("." if mark else "") + decimals
        return number if _PLAIN.fullmatch(number) else None


def is_number(text: str, unit: str | None = None) -> bool:
    """Whether a cell is a number in some format; a known unit, or ``unit``, may be behind it."""
    found = _WITH_UNIT.fullmatch(text.translate(_MINUS)) if text else None
    return bool(found and (found[2] in {None, unit} or is_unit(found[2]))) or is_isd(text)


def unknown_unit(cells: Sequence[str]) -> str | None:
    """What stands behind the numbers of all cells, and is no unit that tmon knows."""
    found = [_WITH_UNIT.fullmatch(cell.translate(_MINUS)) for cell in cells]
    units = {one[2] if one else None for one in found}
    unit = units.pop() if len(units) == 1 else None
    is_hex = any(cell[:2].lower() == "0x" for cell in cells)
    return unit if unit and unit[0].isalpha() and not is_unit(unit) and not is_hex else None


def _unknown(unit: str) -> str:
    return (
        f"is in {clip(unit)}, a unit that tmon doesn't know: --value 'COL=sensor:{clip(unit)}'"
        " (or --sensor) keeps it"
    )


def is_isd(text: str) -> bool:
    """Whether a cell is as in NOAA's Integrated Surface Database, such as ``+0233,1``."""
    return _ISD.fullmatch(text) is not None and len(text) in {7, 8}


def is_missing(text: str) -> bool:
    """Whether a cell says that there is no value."""
    return text.lower() in MISSING


def unit_of_cells(cells: Iterable[str], column: str) -> str | None:
    """The unit that stands behind a column's numbers.

    Raises:
        CannotImport: there are several.
    """
    units = {found[2] for cell in cells if (found := _WITH_UNIT.fullmatch(cell.translate(_MINUS)))}
    units -= {None}
    if len({canonical(1.0, unit) for unit in units}) > 1:
        raise CannotImport(
            f"the cells of {clip(column)!r} have several units ({clip(', '.join(sorted(units)))});"
            " give each its own column"
        )
    return min(units, default=None)


def find_format(
    cells: Sequence[str],
    column: str,
    delimiter: str,
    others: Container[str],
    missing: frozenset[str],
) -> NumberFormat:
    """The format of a column, as its cells show it.

    Args:
        cells: those that hold a number.
        column: its name.
        delimiter: what parts the cells: where it is a comma, decimal commas must be told.
        others: ``.``, ``,`` or both: the decimal signs that are sure in the file's other columns.
        missing: what else means that there is no value.

    Raises:
        CannotImport: it can be read in two ways; says which flag settles it.
    """
    if cells and all(map(is_isd, cells)):
        return NumberFormat(missing=missing, is_isd=True)
    if delimiter == ",":  # a comma there is none of a number's; such a cell is refused by itself
        pointed = [cell for cell in cells if "," not in cell or "." in cell]
        if cells and not pointed:
            raise CannotImport(_ask(column, cells, "has commas in all cells"))
        cells = pointed
    signs = decimals_in(cells)
    unsure = [cell for cell in cells if _is_unsure(cell)]
    if signs == {".", ","}:
        raise CannotImport(_ask(column, cells, "has decimal points and decimal commas"))
    points = [cell for cell in unsure if "." in cell]
    if points and signs == {","}:
        raise CannotImport(_ask(column, points, "may have thousands among decimal commas"))
    if unsure and not signs and not _are_decimals(cells, unsure, delimiter, others):
        raise CannotImport(_ask(column, unsure, "may have thousands, or decimals"))
    sure = bool(signs or unsure) or (delimiter == "," and "," not in others)
    decimal = "," if signs == {","} else "." if sure or delimiter == "," else ""
    return NumberFormat(decimal, _has_groups(cells), sure, missing=missing)


def _are_decimals(
    cells: Sequence[str], unsure: Sequence[str], delimiter: str, others: Container[str]
) -> bool:
    """Whether what may be thousands is surely decimals: ``21.485`` where others are ``45.2``."""
    if any("," in cell for cell in unsure) or "," in others:
        return False
    has_whole = any(cell.isdigit() for cell in cells)
    return delimiter == "," or (not has_whole and ("." in others or delimiter != ";"))


def decimals_in(cells: Iterable[str]) -> set[str]:
    """The decimal signs that are sure: ``,`` of ``21,5`` and ``1.013.250``; none of ``1.250``."""
    signs = set()
    for cell in cells:
        marks = re.sub(r"[^.,]", "", cell)
        if len(marks) > 1 and len(set(marks)) == 1:
            signs.add("," if marks[0] == "." else ".")
        elif marks and not _is_unsure(cell):
            signs.add(marks[-1])
    return signs


def _is_unsure(cell: str) -> bool:
    """Whether a sign may part thousands as well as decimals."""
    return re.fullmatch(r"[-+]?[1-9][0-9]{0,2}[.,][0-9]{3}(\s*[^0-9.,]*)?", cell) is not None


def _has_groups(cells: Iterable[str]) -> bool:
    return any(len(re.sub(r"[^.,]", "", cell)) > 1 for cell in cells)


def _ask(column: str, cells: Sequence[str], what: str) -> str:
    return (
        f"{clip(column)!r} {what}, such as {clip(cells[0])!r}:"
        " --decimal , or --decimal . says which"
    )
