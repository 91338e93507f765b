"""How a plan is made: from a file's sample and the flags; what can't be told is refused."""

import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from datetime import UTC, datetime, tzinfo
from itertools import islice, pairwise

from tmon.core.errors import CannotImport
from tmon.core.reading import clip
from tmon.importer import choice
from tmon.importer.clock import same_offsets, zone_in
from tmon.importer.columns import Column, find, reference
from tmon.importer.files import InputFile, split
from tmon.importer.flags import Flags
from tmon.importer.joined import as_it_is, find_writers
from tmon.importer.layout import Layout, find_layout
from tmon.importer.plan import NodeNames, Plan, Rows
from tmon.importer.time_format import SeveralWays, find_time_format, reads
from tmon.importer.times import EXCEL_FORMAT, TimeFormat, numeric_date
from tmon.importer.values import Values

_OFFSET = re.compile(r"[+-][0-9]{1,2}(?::?[0-9]{2})?|UTC|GMT|Z")
# A header that says whose time it is, and not which.
_LOCAL = re.compile(r"(?<![a-z])(?:local(?![a-z]|e)|lokal|LST(?![a-z]))", re.IGNORECASE)
LOOKED_AT_LINES = 200_000  # for dates whose order the sample leaves open: it takes a second


def make_plan(file: InputFile, flags: Flags) -> Plan:
    """The plan for a file.

    Raises:
        CannotImport: something can't be told; says which flag settles it.
    """
    layout = find_layout(file, flags)
    _check_shape(layout, flags)
    plan = _with_times(file, layout, flags)
    values = Values(layout, flags)
    rows = values.of_rows()
    taken = {*plan.times, plan.nodes.column}
    columns = () if rows else values.of_columns([*taken])
    used = taken | {value.column for value in columns}
    used |= {rows.sensor_column, rows.value_column, rows.unit_column} if rows else set()
    left_out = tuple(column for column in layout.columns if column not in used)
    notes = [*plan.notes, *values.notes, *_several(plan, flags, left_out, rows)]
    places = [column.index + 1 for column in used if column]
    layout = replace(layout, width=max(layout.width, *places))
    return replace(
        plan, layout=layout, values=columns, rows=rows, left_out=left_out, notes=tuple(notes)
    )


def _several(
    plan: Plan, flags: Flags, left_out: Sequence[Column], rows: Rows | None
) -> Iterator[str]:
    """What to say of rows of several nodes, or sensors, that would be one's."""
    layout, sensors = plan.layout, rows.sensor_column if rows else None
    column = choice.tells_apart(layout, left_out, plan.times, sensors)
    if flags.node_column or column is None:
        return
    texts = clip(", ".join([*dict.fromkeys(layout.cells_of(column))][:3]))
    said = f"{clip(column.name)!r} says of what a row is ({texts}):"
    said += " --node-column instead of --node keeps them apart"
    if not flags.are_whole:
        raise CannotImport(f"{said}, --time and --value say that they are one")
    yield said


def _check_shape(layout: Layout, flags: Flags) -> None:
    """Whether there are rows, and any has as many cells as the header has names."""
    sample = layout.sample
    if not sample:
        for name in flags.columns:
            find(layout.columns, name, layout.header_line)
        names = clip(", ".join(column.name for column in layout.columns))
        raise CannotImport(f"the file has a header and no rows; it names: {names}")
    if flags.are_whole or any(layout.fits(row.cells) for row in sample):
        return
    raise CannotImport(
        f"line {sample[0].line} has {len(sample[0].cells)} cells, and the header names"
        f" {len(layout.columns)} columns: are there decimal commas between commas, or does"
        " --delimiter, --skip or --no-header help?"
    )


def _with_times(file: InputFile, layout: Layout, flags: Flags) -> Plan:
    """A plan that knows its times and its nodes, and no values yet."""
    node = None
    if flags.node_column:
        node = find(layout.columns, flags.node_column, layout.header_line)
    times, note = choice.choose_times(layout, flags)
    is_joined = len(times) > 1
    cells_of = [(column.name, layout.cells_of(column)) for column in times]
    told = (
        None if is_joined and flags.time_format == TimeFormat(EXCEL_FORMAT) else flags.time_format
    )
    plan = Plan(
        layout=layout,
        times=times,
        written=find_writers(cells_of, flags.time_format) if is_joined else (as_it_is,),
        time_format=told or TimeFormat(),
        zone=flags.zone or UTC,
        zone_from=None,
        nodes=NodeNames(flags.node, node, dict(flags.node_map)),
        values=(),
        rows=None,
        left_out=(),
        notes=(note,) if note else (),
    )
    cells = [plan.time_of(row) for row in layout.rows()]
    _check_halves(layout, times)
    header = " ".join(f"{column.full_name} {column.below}".strip() for column in times)
    in_header = None if flags.zone and not _names_zone(header) else zone_in(header)
    time_format = told or _time_format(file, plan, cells, header, in_header)
    read = [moment for cell in cells if (moment := reads(time_format, cell)) is not None]
    local = [one for one in read if isinstance(one, datetime) and one.tzinfo is None]
    if not told:
        _check_half_days(header, local)
    beside = choice.zone_column(layout)
    if local and beside and beside not in times and not flags.zone:
        texts = clip(", ".join([*dict.fromkeys(layout.cells_of(beside))][:3]))
        if not flags.time_format and all(map(_OFFSET.fullmatch, layout.cells_of(beside))):
            names = tuple(reference(layout.columns, one) for one in (*times, beside))
            joined = _with_times(file, layout, replace(flags, times=names))
            return replace(joined, notes=(*plan.notes, f"{clip(beside.name)!r} is joined to times"))
        raise CannotImport(
            f"{clip(beside.name)!r} says of which zone the times are ({texts}): --tz says which,"
            " such as Europe/Berlin or -05:00"
        )
    zone = _Zones(header, in_header, flags.zone).of(local, layout.titles)
    return replace(plan, time_format=time_format, zone=zone[0], zone_from=zone[1])


def _time_format(
    file: InputFile, plan: Plan, cells: Sequence[str], header: str, zone: tzinfo | None
) -> TimeFormat:
    """The format that the sample shows, or else more of the file."""
    try:
        return find_time_format(cells, header, zone, in_a_row=file.is_small)
    except SeveralWays:
        if file.is_small:
            raise
        return find_time_format([*_days(file, plan)], header, zone, in_a_row=True)


def _days(file: InputFile, plan: Plan) -> Iterator[str]:
    """The first and the last time of each day among a file's first rows."""
    layout = plan.layout
    lines = islice(file.lines(), layout.start, LOOKED_AT_LINES)
    day, last = None, ""
    for row in split(lines, layout.delimiter):
        if layout.fits(row.cells):
            text = plan.time_of(row.cells)
            if numeric_date(text) != day:
                yield from filter(None, (last, text))
            day, last = numeric_date(text), text
    yield last


def _check_half_days(header: str, local: Sequence[datetime]) -> None:
    """Whether a clock goes from 12 to 1 in the middle of a day: it lacks AM and PM."""
    rises = [before < after for before, after in pairwise(local)]
    if any(one.hour == 0 or one.hour > 12 for one in local) or 2 * sum(rises) < len(rises):
        return
    for before, after in pairwise(local):
        if before.date() == after.date() and (before.hour, after.hour) == (12, 1):
            raise CannotImport(
                f"{clip(header)!r} goes from {before:%H:%M} to {after:%H:%M} on {after:%Y-%m-%d}:"
                " are AM and PM missing? Save it with them; --time-format says that none are"
            )


def _check_halves(layout: Layout, times: Sequence[Column]) -> None:
    """Whether AM and PM stand in a column that nobody named."""
    for column in layout.columns:
        halves = {cell.lower().replace(".", "") for cell in layout.cells_of(column)}
        if column not in times and halves and halves <= {"am", "pm"}:
            names = " ".join(f"--time '{clip(one.name)}'" for one in (*times, column))
            raise CannotImport(f"{clip(column.name)!r} has AM and PM: say {names}")


@dataclass(frozen=True)
class _Zones:
    """Who named the zone of times without an offset: the header of their column, or --tz."""

    header: str
    in_header: tzinfo | None
    told: tzinfo | None

    def of(
        self, local: Sequence[datetime], titles: Sequence[str]
    ) -> tuple[tzinfo | None, str | None]:
        """The zone, and who named it: nobody is asked where no time needs it."""
        if not local:
            return self.told, None
        if self.told and self.in_header and not same_offsets(self.told, self.in_header, local):
            raise CannotImport(
                f"{clip(self.header)!r} says {self.in_header}, and --tz {self.told}: leave --tz out"
                " to take the header's, or number the columns by --no-header to take yours"
            )
        if self.told:
            return self.told, "flag"
        if self.in_header:
            return self.in_header, "file"
        if found := _LOCAL.search(self.header):
            raise CannotImport(
                f"{clip(self.header)!r} names local time, {found[0]}: --tz says of which zone"
            )
        for title in titles:
            if zone_in(title) is None:  # one that may be several is refused there
                continue
            raise CannotImport(
                f"{clip(title)!r} stands before the header: --tz '{zone_in(title)}' if the times"
                " are in it, or else --tz with the zone that they are in"
            )
        return UTC, "nobody"


def _names_zone(text: str) -> bool:
    """Whether a zone stands in a text, and it is sure which."""
    try:
        return zone_in(text) is not None
    except CannotImport:
        return False
