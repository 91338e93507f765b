"""Make the plan for a file from its sample and the flags; refuse what is ambiguous."""

import re
from collections.abc import Iterator, Sequence
from dataclasses import replace
from datetime import UTC, datetime, timedelta, tzinfo
from itertools import islice, pairwise
from statistics import median_low

from tmon.core.errors import CannotImport
from tmon.core.reading import clip
from tmon.importer import choice
from tmon.importer.clock import same_offsets, zone_in
from tmon.importer.columns import Column, find, reference
from tmon.importer.date_and_clock import find_converters
from tmon.importer.files import InputFile, split
from tmon.importer.flags import Flags
from tmon.importer.layout import Layout, find_layout
from tmon.importer.plan import NodeNames, Plan
from tmon.importer.time_detection import AmbiguousTimes, find_time_format
from tmon.importer.times import EXCEL_FORMAT, TimeFormat, numeric_date
from tmon.importer.value_detection import Values
from tmon.importer.values import LongTable

_OFFSET = re.compile(r"[+-][0-9]{1,2}(?::?[0-9]{2})?|UTC|GMT|Z")
# A header that says local time without its zone.
_LOCAL = re.compile(
    r"(?<![a-z])(?:local(?![a-z]|e)|lokal|LST(?![a-z])|eastern|central|mountain|pacific"
    r"|standard time|daylight|(?:summer|winter) ?time|(?:sommer|winter|normal)zeit)",
    re.IGNORECASE,
)
_ZONE_ABOVE = re.compile(r"time ?zone|zeitzone|(?:utc|gmt) ?offset|local time", re.IGNORECASE)
DAY_LINES = 200_000  # searched where the sample leaves the order of dates open: one second


def make_plan(file: InputFile, flags: Flags) -> Plan:
    """The plan for a file.

    Raises:
        CannotImport: something is ambiguous; names the flag that decides.
    """
    layout = find_layout(file, flags)
    _check_shape(layout, flags)
    plan = _with_times(file, layout, flags)
    values = Values(layout, flags)
    table = values.of_long_table()
    taken = {*plan.times, plan.nodes.column}
    columns = () if table else values.of_columns([*taken])
    used = taken | {value.column for value in columns}
    used |= {table.sensor_column, table.value_column, table.unit_column} if table else set()
    left_out = tuple(column for column in layout.columns if column not in used)
    keys = _key_notes(plan, flags, left_out, table, [value.column for value in columns])
    nodes = {*layout.cells_of(plan.nodes.column)} if plan.nodes.column else set()
    unknown = (text for text, _ in flags.node_map if text not in nodes)
    maps = (f"{clip(text)!r} of --node-map isn't among the first rows" for text in unknown)
    notes = [*plan.notes, *values.notes, *keys, *maps]
    if file.may_be_cut:
        notes.append(
            "the last line has no end, and is the shortest: if the file was cut, its last value is"
            " wrong; export it again"
        )
    if layout.ends_early:
        names = clip(", ".join(repr(one.name) for one in layout.columns[layout.width :]))
        notes.append(f"only the first row has {names}: left out")
    places = [column.index + 1 for column in used if column]
    layout = replace(layout, width=max(layout.width, *places))
    return replace(
        plan, layout=layout, values=columns, long_table=table, left_out=left_out, notes=tuple(notes)
    )


def _key_notes(
    plan: Plan,
    flags: Flags,
    left_out: Sequence[Column],
    table: LongTable | None,
    values: Sequence[Column],
) -> Iterator[str]:
    """A note on rows of several nodes or sensors that would be imported as one's."""
    layout, sensors = plan.layout, table.sensor_column if table else None
    column = choice.find_key_column(layout, left_out, plan.times, sensors)
    if flags.node_column or column is None:
        return
    texts = clip(", ".join([*dict.fromkeys(layout.cells_of(column))][:3]))
    name = clip(reference(layout.columns, column))
    note = f"{name!r} says of what a row is ({texts}):"
    note += f" --node-column '{name}' instead of --node keeps them apart as nodes"
    if len(values) == 1 and not flags.name_all_columns:
        value = clip(reference(layout.columns, values[0]))
        note += f", --sensor-column '{name}' --value-column '{value}' as sensors"
    if not flags.name_all_columns:
        raise CannotImport(f"{note}, --time and --value say that they are one")
    yield note


def _check_shape(layout: Layout, flags: Flags) -> None:
    """Refuse a file without rows, or where no row has as many cells as the header."""
    sample = layout.sample
    if not sample:
        for name in flags.columns:
            find(layout.columns, name, layout.header_line)
        names = clip(", ".join(column.name for column in layout.columns))
        raise CannotImport(f"the file has a header and no rows; it names: {names}")
    if flags.name_all_columns or any(layout.fits(row.cells) for row in sample):
        return
    raise CannotImport(
        f"line {sample[0].line} has {len(sample[0].cells)} cells, and the header names"
        f" {len(layout.columns)} columns: are there decimal commas between commas, or does"
        " --delimiter, --skip or --no-header help?"
    )


def _with_times(file: InputFile, layout: Layout, flags: Flags) -> Plan:
    """A plan with its times and nodes, and no values yet."""
    node = None
    if flags.node_column:
        node = find(layout.columns, flags.node_column, layout.header_line)
    times, note = choice.choose_times(layout, flags)
    is_joined = len(times) > 1
    cells_of = [(column.name, layout.cells_of(column)) for column in times]
    given = flags.time_format
    if is_joined and given == TimeFormat(EXCEL_FORMAT):  # the converters write ISO 8601
        given = None
    plan = Plan(
        layout=layout,
        times=times,
        converters=find_converters(cells_of, flags.time_format) if is_joined else (str,),
        time_format=given or TimeFormat(),
        zone=flags.zone or UTC,
        zone_from=None,
        nodes=NodeNames(flags.node, node, dict(flags.node_map)),
        values=(),
        long_table=None,
        left_out=(),
        notes=(note,) if note else (),
    )
    cells = [plan.time_of(row) for row in layout.rows()]
    _check_am_pm_column(layout, times)
    header = " ".join(f"{column.full_name} {column.below}".strip() for column in times)
    in_header = _zone_in_header(header, flags)
    time_format = given or _time_format(file, plan, cells, header, in_header)
    read = [moment for cell in cells if (moment := time_format.parse(cell)) is not None]
    local = [one for one in read if isinstance(one, datetime) and one.tzinfo is None]
    if not given:
        _check_am_pm(header, local)
    beside = choice.zone_column(layout)
    if local and beside and beside not in times and not flags.zone:
        return _with_offsets(file, plan, flags, beside)
    zone, zone_from = _find_zone(header, in_header, flags.zone, local, layout.titles)
    return replace(plan, time_format=time_format, zone=zone, zone_from=zone_from)


def _with_offsets(file: InputFile, plan: Plan, flags: Flags, beside: Column) -> Plan:
    """A plan whose times are joined with the column ``beside``, which has their offsets.

    Raises:
        CannotImport: the column has names of zones.
    """
    layout = plan.layout
    texts = clip(", ".join([*dict.fromkeys(layout.cells_of(beside))][:3]))
    if flags.time_format or not all(map(_OFFSET.fullmatch, layout.cells_of(beside))):
        raise CannotImport(
            f"{clip(beside.name)!r} says of which zone the times are ({texts}): --tz says which,"
            " such as Europe/Berlin or -05:00"
        )
    names = tuple(reference(layout.columns, one) for one in (*plan.times, beside))
    joined = _with_times(file, layout, replace(flags, times=names))
    return replace(joined, notes=(*plan.notes, f"{clip(beside.name)!r} is joined to times"))


def _zone_in_header(header: str, flags: Flags) -> tzinfo | None:
    """The zone that a header names; None where --tz decides between several."""
    try:
        return zone_in(header)
    except CannotImport:
        if not flags.zone:
            raise
        return None


def _time_format(
    file: InputFile, plan: Plan, cells: Sequence[str], header: str, zone: tzinfo | None
) -> TimeFormat:
    """The format that the sample shows, or else the first days of the file."""
    try:
        return find_time_format(cells, header, zone, in_a_row=file.is_small)
    except AmbiguousTimes:
        if file.is_small:
            raise
        return find_time_format([*_days(file, plan)], header, zone, in_a_row=True)


def _days(file: InputFile, plan: Plan) -> Iterator[str]:
    """The first and last time of each day among the file's first rows."""
    layout = plan.layout
    lines = islice(file.lines(), layout.start, DAY_LINES)
    day, last = None, ""
    for row in split(lines, layout.delimiter):
        if layout.fits(row.cells):
            text = plan.time_of(row.cells)
            if numeric_date(text) != day:
                yield from filter(None, (last, text))
            day, last = numeric_date(text), text
    yield last


def _check_am_pm(header: str, local: Sequence[datetime]) -> None:
    """Refuse times that go on twelve hours later within a day: AM and PM are missing."""
    if any(one.hour == 0 or one.hour > 12 for one in local):
        return
    steps = [after - before for before, after in pairwise(local)]
    if 2 * sum(step > timedelta(0) for step in steps) < len(steps):  # the newest first
        local, steps = local[::-1], [-step for step in steps]
    usual = median_low([step for step in steps if step > timedelta(0)] or [timedelta(0)])
    for before, after in pairwise(local):
        goes_on = timedelta(0) < after + timedelta(hours=12) - before <= 2 * usual
        is_one = (before.hour, after.hour) == (12, 1)
        if before.date() == after.date() and after < before and (goes_on or is_one):
            raise CannotImport(
                f"{clip(header)!r} goes from {before:%H:%M} to {after:%H:%M} on {after:%Y-%m-%d}:"
                " are AM and PM missing? Save it with them; --time-format says that none are"
            )


def _check_am_pm_column(layout: Layout, times: Sequence[Column]) -> None:
    """Refuse AM and PM in a column of their own that no flag names."""
    for column in layout.columns:
        halves = {cell.lower().replace(".", "") for cell in layout.cells_of(column)}
        if column not in times and halves and halves <= {"am", "pm"}:
            names = " ".join(f"--time '{clip(one.name)}'" for one in (*times, column))
            raise CannotImport(f"{clip(column.name)!r} has AM and PM: say {names}")


def _find_zone(
    header: str,
    in_header: tzinfo | None,
    given: tzinfo | None,
    local: Sequence[datetime],
    titles: Sequence[str],
) -> tuple[tzinfo | None, str | None]:
    """The zone of times without an offset, and who named it: --tz, the header, or nobody."""
    if not local:
        return given, None
    if given and in_header and not same_offsets(given, in_header, local):
        raise CannotImport(
            f"{clip(header)!r} says {in_header}, and --tz {given}: leave --tz out"
            " to take the header's, or number the columns by --no-header to take yours"
        )
    if given:
        return given, "flag"
    if in_header:
        return in_header, "file"
    if found := _LOCAL.search(header):
        raise CannotImport(
            f"{clip(header)!r} names local time, {found[0]}: --tz says of which zone"
        )
    for title in titles:
        if zone := zone_in(title):  # raises where the title names several
            raise CannotImport(
                f"{clip(title)!r} stands before the header: --tz '{zone}' if the times"
                " are in it, or else --tz with the zone that they are in"
            )
    for title in titles:
        if _ZONE_ABOVE.search(title):
            raise CannotImport(
                f"{clip(title)!r} stands before the header: --tz says of which zone the times are,"
                " such as America/New_York or -05:00"
            )
    return UTC, "nobody"
