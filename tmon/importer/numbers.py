"""Numbers as loggers and spreadsheets write them: decimal commas, thousands, units, missing."""

import re
from collections import Counter
from collections.abc import Container, Iterable, Sequence
from dataclasses import dataclass, field
from operator import itemgetter

from tmon.core.errors import CannotImport
from tmon.core.reading import Refusal, clip
from tmon.core.units import canonical
from tmon.importer.columns import is_unit

MISSING = frozenset(
    "- -- --- ---- . na n/a n.a. #n/a nan null none nil unavailable unknown missing \\n".split()
) | {""}
# Apostrophes and narrow blanks separate thousands where groups of three digits follow them.
_GROUPING = (
    "'\N{RIGHT SINGLE QUOTATION MARK}\N{NO-BREAK SPACE}\N{NARROW NO-BREAK SPACE}\N{THIN SPACE}"
)
_MINUS = str.maketrans({"\N{MINUS SIGN}": "-"})
_HEX = re.compile(r"0[xX][0-9a-fA-F]+")
_PLAIN = re.compile(r"[-+]?(?:[0-9]+\.?[0-9]*|\.[0-9]+)(?:[eE][-+]?[0-9]+)?")
_NUMBER = (
    rf"[-+]?(?:[0-9]*[.,]?[0-9]+[.,]?|[0-9]{{1,3}}(?:[.,{_GROUPING}][0-9]{{3}})+(?:[.,][0-9]*)?)"
    r"(?:[eE][-+]?[0-9]+)?"
)
_WITH_UNIT = re.compile(rf"({_NUMBER})\s*([^\s0-9.,+{_GROUPING}-]\S*(?: \S+){{0,2}})?")
# NOAA's Integrated Surface Database: tenths, then a quality code.
_ISD = re.compile(r"([-+]?[0-9]{4,5}),([0-9A-Z])")
# Values that loggers write for a missing one; 85 is a DS18B20's after power-on.
SENTINELS = frozenset(
    (*(sign * mark for sign in (1, -1) for mark in (99.9, 999, 999.9, 9999, 99999, 6999, 32767)),
     -99, -32768, 65535, 327.67, -3276.8, 85, -127)
)  # fmt: skip
_ISD_MISSING = frozenset(("+9999", "99999", "9999"))
_ISD_WRONG = frozenset("37")


@dataclass(frozen=True)
class NumberFormat:
    """How one column's numbers are written.

    ``decimal`` is the decimal sign, or empty where no cell has one; with ``groups``, the other
    one of ``.`` and ``,`` separates thousands. If it isn't ``sure``, cells that can be read in
    two ways are refused; so is ``1.250`` among decimal commas, unless a flag gave the sign
    (``is_given``). Numbers are multiplied by ``factor``. ``unit`` is a flag's; it may follow
    the numbers even if tmon doesn't know it.
    """

    decimal: str = "."
    groups: bool = False
    sure: bool = True
    is_given: bool = False
    factor: float = 1.0
    unit: str | None = None
    missing: frozenset[str] = frozenset()
    is_isd: bool = False
    _missing_numbers: frozenset[float] = field(init=False, repr=False)

    def __post_init__(self) -> None:
        numbers = frozenset(float(text) for text in self.missing if _PLAIN.fullmatch(text))
        object.__setattr__(self, "_missing_numbers", numbers)

    def read(self, text: str, column: str) -> tuple[float, str | None]:
        """A cell's number, and the unit that follows it.

        Raises:
            Refusal: it isn't a number, or means a missing value.
        """
        unit = None
        is_other = self.decimal == "," and not self.is_given and "." in text
        if (not self.sure or is_other) and _is_unsure(text):
            raise Refusal(
                "invalid_value", f"{column} {clip(text)!r} may have thousands; --decimal says it"
            )
        if self.decimal != "," and _PLAIN.fullmatch(text):
            number = float(text)
        else:
            if text.lower() in MISSING or text in self.missing:
                raise Refusal("missing_value", f"{column} is {clip(text) or 'empty'}")
            number, unit = self._read_unusual(text, column)
        if number in self._missing_numbers:
            raise Refusal("missing_value", f"{column} is {clip(text)}")
        return number * self.factor, unit

    def _read_unusual(self, text: str, column: str) -> tuple[float, str | None]:
        if self.is_isd and (isd := _ISD.fullmatch(text)):
            if isd[1] in _ISD_MISSING:
                raise Refusal("missing_value", f"{column} is {text}")
            if isd[2] in _ISD_WRONG:
                raise Refusal(
                    "invalid_value", f"{column} {text} is erroneous, says its quality code"
                )
            return float(isd[1]) / 10, None
        found = _WITH_UNIT.fullmatch(text.translate(_MINUS))
        number = found and self._plain(found[1].strip())
        other = found[2] if found and number and found[2] != self.unit else None
        if other and not (is_unit(other) or _is_unsure(text) or _HEX.fullmatch(text)):
            raise Refusal(
                "invalid_value",
                f"{column} {clip(text)!r} is in {clip(other)}, a unit that tmon doesn't know:"
                f" --value '{clip(column)}=SENSOR:{clip(other)}' keeps it, or --sensor"
                f" 'TEXT=SENSOR:{clip(other)}' where a column names sensors",
            )
        if not found or not number or (other and not is_unit(other)):
            hint = "; --decimal , reads commas" if re.fullmatch(r"-?\d+,\d+", text) else ""
            if _is_unsure(text):
                hint = " by itself: with --decimal . it has thousands, with --decimal , decimals"
            raise Refusal("invalid_value", f"{column} {clip(text)!r} is not a number{hint}")
        return float(number), found[2]

    def _plain(self, text: str) -> str | None:
        """A number as Python writes it; None if it isn't one in this format."""
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
    """Whether a cell is a number in any format; a known unit, or ``unit``, may follow it."""
    found = _WITH_UNIT.fullmatch(text.translate(_MINUS)) if text else None
    return bool(found and (found[2] in {None, unit} or is_unit(found[2]))) or is_isd(text)


def unknown_unit(cells: Sequence[str]) -> str | None:
    """The unit that follows the numbers of most cells, if tmon doesn't know it."""
    found = [_WITH_UNIT.fullmatch(cell.translate(_MINUS)) for cell in cells]
    units = Counter(one[2] for one in found if one and one[2])
    unit, count = max(units.items(), key=itemgetter(1), default=("", 0))
    is_hex = any(map(_HEX.fullmatch, cells))
    is_most = 2 * count >= len(cells) and 2 * len([*filter(None, found)]) > len(cells)
    return unit if is_most and not is_hex and ":" not in unit and not is_unit(unit) else None


def is_isd(text: str) -> bool:
    """Whether a cell is like one of NOAA's Integrated Surface Database, such as ``+0233,1``."""
    return _ISD.fullmatch(text) is not None and len(text) in {7, 8}


def is_missing(text: str) -> bool:
    """Whether a cell means a missing value."""
    return text.lower() in MISSING


def unit_of_cells(cells: Iterable[str], column: str) -> str | None:
    """The unit that follows a column's numbers.

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
    """Detect the format of a column.

    Args:
        cells: its cells that hold a number.
        column: its name.
        delimiter: the file's; if it is a comma, decimal commas need a flag.
        others: the decimal signs that the file's columns surely have: ``.``, ``,`` or both.
        missing: further texts for a missing value.

    Raises:
        CannotImport: it can be read in two ways; names the flag that decides.
    """
    if cells and all(map(is_isd, cells)):
        return NumberFormat(missing=missing, is_isd=True)
    if delimiter == ",":  # a comma isn't part of a number then; such cells are refused one by one
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
    has_groups = any(len(re.sub(r"[^.,]", "", cell)) > 1 for cell in cells)
    return NumberFormat(decimal, has_groups, sure, missing=missing)


def _are_decimals(
    cells: Sequence[str], unsure: Sequence[str], delimiter: str, others: Container[str]
) -> bool:
    """Whether signs that may separate thousands don't: ``21.485`` where others are ``45.2``."""
    if any("," in cell for cell in unsure) or "," in others:
        return False
    has_whole = any(cell.isdigit() for cell in cells)
    return delimiter == "," or (not has_whole and ("." in others or delimiter != ";"))


def decimals_in(cells: Iterable[str]) -> set[str]:
    """The decimal signs that are sure: ``,`` for ``21,5`` and ``1.013.250``; none for ``1.250``."""
    signs = set()
    for cell in cells:
        marks = re.sub(r"[^.,]", "", cell)
        if len(marks) > 1 and len(set(marks)) == 1:
            signs.add("," if marks[0] == "." else ".")
        elif marks and not _is_unsure(cell):
            signs.add(marks[-1])
    return signs


def _is_unsure(cell: str) -> bool:
    """Whether a cell's sign may separate thousands or decimals."""
    return re.fullmatch(r"[-+]?[1-9][0-9]{0,2}[.,][0-9]{3}(\s*[^0-9.,]*)?", cell) is not None


def _ask(column: str, cells: Sequence[str], what: str) -> str:
    return (
        f"{clip(column)!r} {what}, such as {clip(cells[0])!r}:"
        " --decimal , or --decimal . says which"
    )
