"""Show a plan and a survey, in 80 columns of plain text."""

import shlex
from collections.abc import Iterator, Sequence
from textwrap import wrap

from tmon.core.humanize import pluralize
from tmon.core.reading import clip
from tmon.core.time import iso
from tmon.importer.columns import reference
from tmon.importer.flags import Flags
from tmon.importer.layout import DELIMITERS
from tmon.importer.plan import Plan
from tmon.importer.survey import Survey, span
from tmon.importer.times import ORDERS, unix_ms

WIDTH = 80
LABEL = 12
SENSORS_SHOWN = 20
NAMES_SHOWN = 60  # characters of a column's name


def plan_lines(survey: Survey, *, is_whole: bool) -> Iterator[str]:
    """The plan: the file's format, its times and sensors, what is left out, and warnings."""
    plan, layout, file = survey.plan, survey.plan.layout, survey.table.file
    encoding = file.encoding.upper().replace("-SIG", "").replace("CP", "cp")
    parts = [DELIMITERS.get(layout.delimiter, repr(layout.delimiter)), encoding]
    parts += ["gzip"] if file.is_gzip else []
    parts += [f"header in line {layout.header_line}" if layout.header_line else "no header"]
    if any(value.numbers.decimal == "," for value in plan.values):
        parts.append("decimal commas")
    rows = pluralize(survey.table.row_count, "row") + ("" if is_whole else " so far")
    yield from _field("read as", [", ".join([*parts, rows])])
    yield from _field("time", [*_times(survey)])
    yield from _field("sensors", _sensors(survey), wraps=False)
    left_out = [
        repr(_short(column.name)) if column.name else f"column {column.index + 1}, nameless"
        for column in plan.left_out
        if layout.cells_of(column) or column.name
    ]
    if left_out:
        yield from _field("left out", [", ".join(left_out)])
    yield from _field("look at", [*warnings(survey, is_whole=is_whole)])
    if file.has_grown:
        yield from _field("", ["the file grows; what is added now is left out"])


def warnings(survey: Survey, *, is_whole: bool) -> Iterator[str]:
    """What may be wrong, one line for each."""
    plan, notices = survey.plan, survey.reader.notices
    yield from plan.notes
    if plan.zone_from == "nobody":
        yield "times have no offset and are taken as UTC; --tz ZONE says otherwise"
    if twice := survey.reader.twice:
        days = ", ".join(sorted(twice)[:3]) + (" …" if len(twice) > 3 else "")
        yield (
            f"{pluralize(twice.total(), 'row')} in an hour that came twice ({days}), taken in the"
            " order of the rows, and as the first of the two where that doesn't tell"
        )
    yield from _sentinels(survey)
    if notices.before_2000:
        yield f"{pluralize(notices.before_2000, 'row')} from before 2000"
    if survey.conflicts:
        yield _conflicts(survey)
    for text, count in notices.unlisted.most_common(5):
        yield f"{pluralize(count, 'row')} of {text!r}, which no --sensor names: skipped"
    if survey.table.stopped:
        yield f"{survey.table.stopped}; the file is read up to there"
    if is_whole and notices.missing:
        yield f"{pluralize(notices.missing, 'cell')} without a value"
    rejected = survey.tally.rejected
    count = sum(rejected[kind] for kind in rejected if kind[0] != "missing_value")
    if is_whole and count:
        yield f"{pluralize(count, 'reading')} that will be refused:"
        lines = survey.tally.rejected_lines()
        yield from (line.strip() for line in lines if "missing_value" not in line)


def command(file: str, plan: Plan, flags: Flags, words: Sequence[str]) -> str:
    """The command that does the same again without asking; ``words`` are the flags given."""
    arguments = [*words]
    if not flags.times:
        for column in plan.times:
            arguments += ["--time", reference(plan.layout.columns, column)]
    if not flags.series and not plan.long_table:
        for value in plan.values:
            unit = f":{value.unit}" if value.unit else ""
            name = reference(plan.layout.columns, value.column)
            arguments += ["--value", f"{name}={value.sensor}{unit}"]
    if plan.zone_from == "nobody" or (flags.zone and "--tz" not in words):
        arguments += ["--tz", str(flags.zone or "UTC")]  # as the user answered
    return shlex.join(["tmon", "import", file, *arguments, "--yes"])


def at(measured_ms: int) -> str:
    """A time for people, such as 2023-06-01T20:00Z."""
    return iso(measured_ms).replace(":00Z", "Z")


def interval(milliseconds: int) -> str:
    """A duration, such as ``15 min``."""
    for unit, size in (("d", 86_400_000), ("h", 3_600_000), ("min", 60_000), ("s", 1_000)):
        if milliseconds >= size:
            return f"{milliseconds / size:,.1f}".removesuffix(".0") + f" {unit}"
    return f"{milliseconds} ms"


def _times(survey: Survey) -> Iterator[str]:
    plan = survey.plan
    names = " and ".join(repr(_short(column.name)) for column in plan.times)
    zone = {None: "with an offset", "nobody": "taken as UTC"}.get(plan.zone_from, str(plan.zone))
    row = next(plan.layout.rows(), None)
    written = f" as {clip(plan.time_of(row))}" if row else ""
    if row and unix_ms(plan.time_of(row)) is not None and plan.zone_from is None:
        zone = "Unix time"
    if plan.time_format.order and not plan.time_format.pattern:
        written += f" ({ORDERS[plan.time_format.order]})"
    yield f"{names}{written}, {zone}"
    if survey.sensors:
        first_ms, last_ms = span(survey.sensors.values())
        largest = max(survey.sensors.values(), key=lambda summary: summary.count)
        every = f", every {interval(largest.interval_ms)}" if largest.interval_ms else ""
        yield f"{at(first_ms)} … {at(last_ms)}{every}" if last_ms > first_ms else at(first_ms)


def _sensors(survey: Survey) -> list[str]:
    sources = {value.sensor: clip(value.column.name) for value in survey.plan.values}
    rows = [
        (
            f"{node}/{sensor}",
            summary.unit or "-",
            f"{summary.count:,}",
            " … ".join(f"{value:.6g}" for value in summary.range),
            sources.get(sensor, ""),
        )
        for (node, sensor), summary in [*survey.sensors.items()][:SENSORS_SHOWN]
    ]
    if not rows:
        return ["no readings"]
    widths = [max(len(row[place]) for row in rows) for place in range(4)]
    lines = []
    for name, unit, count, between, source in rows:
        line = (
            f"{name:<{widths[0]}}  {unit:<{widths[1]}}  {count:>{widths[2]}}"
            f"  {between:<{widths[3]}}  "
        )
        room = WIDTH - LABEL - len(line) - len("from ''")
        lines.append(f"{line}from '{_cut(source, room)}'" if source and room > 3 else line.rstrip())
    if len(survey.sensors) > SENSORS_SHOWN:
        lines.append(f"and {len(survey.sensors) - SENSORS_SHOWN:,} more")
    return lines


def _sentinels(survey: Survey) -> Iterator[str]:
    """Values that loggers write for a missing one, and that are outside the others' range."""
    for (_, sensor), summary in survey.sensors.items():
        for value, count in sorted(summary.doubtful.items()):
            why = (
                "a DS18B20's value after power-on" if value == 85 else "often the mark for no value"
            )
            number = f"{value:.6g}"
            yield (
                f"{sensor} is {number} in {pluralize(count, 'row')}, {why}; --missing {number}"
                " leaves it out"
            )


def _conflicts(survey: Survey) -> str:
    texts = {}
    for column in survey.plan.left_out:
        texts[column.name] = {*survey.plan.layout.cells_of(column)}
    several = [repr(_short(name)) for name, cells in texts.items() if 1 < len(cells) <= 50]
    hint = f"; do {', '.join(several[:3])} say of which node or sensor a row is?" if several else ""
    return (
        f"{survey.conflicts:,} of {pluralize(survey.readings, 'reading')} have another value than"
        f" one before them, or in the database, at that time{hint}"
    )


def _field(label: str, lines: Sequence[str], *, wraps: bool = True) -> Iterator[str]:
    for line in lines:
        parts = wrap(line, WIDTH - LABEL, break_on_hyphens=False) if wraps else [line]
        for part in parts:
            yield f"  {label:<{LABEL - 2}}{part}".rstrip()
            label = ""


def _short(name: str) -> str:
    return _cut(clip(name), NAMES_SHOWN)


def _cut(text: str, room: int) -> str:
    return text if len(text) <= room else text[: max(room - 1, 0)] + "…"
