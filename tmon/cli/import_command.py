"""``tmon import``: shows, asks and prints; tmon/importer/ reads the files."""

import csv
import logging
import sys
from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, replace
from pathlib import Path
from time import monotonic
from typing import Any, TextIO

import click

from tmon.cli.opening import refuse_in_cluster
from tmon.cli.options import progress_bar, station, takes
from tmon.core.errors import CannotImport
from tmon.core.reading import clip
from tmon.core.settings import Settings
from tmon.core.time import now_ms
from tmon.db import tokens
from tmon.importer import report, run
from tmon.importer.clock import local_zone_name, parse_zone
from tmon.importer.files import InputFile, open_file
from tmon.importer.flags import Flags
from tmon.importer.plan import Plan
from tmon.importer.planning import make_plan
from tmon.importer.record import Source, sha256_of
from tmon.importer.rows import Table
from tmon.importer.survey import REJECTS_HEADER, SampleTable, Survey, Tally


@click.command("import")
@click.argument("files", metavar="FILE...", nargs=-1, required=True)
@click.option("--node", metavar="NAME", help="whose readings they are")
@click.option("--node-column", metavar="COL", help="or the column that says whose")
@click.option("--node-map", multiple=True, metavar="TEXT=NAME", help="a node's name in that column")
@click.option("--time", "times", multiple=True, metavar="COL", help="the column of times, or two")
@click.option("--time-format", metavar="FORMAT", help="of strptime; %s: Unix times; excel: days")
@click.option("--tz", metavar="ZONE", help="of times without offset, like Europe/Berlin or -07:00")
@click.option(
    "--value", "values", multiple=True, metavar="COL=SENSOR:UNIT", help="a column of values"
)
@click.option(
    "--sensor-column", metavar="COL", help="the column that says of which sensor a row is"
)
@click.option("--value-column", metavar="COL", help="and the column of its value")
@click.option("--sensor", "sensors", multiple=True, metavar="TEXT=SENSOR:UNIT", help="one of them")
@click.option("--missing", multiple=True, metavar="VALUE", help="what means no value, like -999")
@click.option("--decimal", type=click.Choice([".", ","]), help="the sign before decimals")
@click.option("--delimiter", metavar="SIGN", help="what parts the cells: a sign, tab or blanks")
@click.option("--encoding", metavar="NAME", help="of the text, like cp850")
@click.option("--no-header", is_flag=True, help="there is none; columns are numbers, from 1")
@click.option(
    "--skip", type=click.IntRange(min=0), default=0, metavar="N", help="lines at the start"
)
@click.option(
    "--rejects", type=click.File("w", encoding="utf-8", lazy=True), help="a file for refused rows"
)
@click.option("--yes", is_flag=True, help="store without asking")
@click.option("--dry-run", is_flag=True, help="show the plan, and store nothing")
@takes("db")
@click.pass_context
# Over 40 lines with its signature and its help; the body is one flow of 33.
def import_(  # noqa: PLR0913, PLR0917 - one for each option
    context: click.Context,
    /,
    files: tuple[str, ...],
    rejects: TextIO | None,
    yes: bool,
    dry_run: bool,
    db: str | None,
    **given: Any,
) -> None:
    """Bring in another logger's history: CSV files of any usual kind, or - for stdin.

    It detects how a FILE is written, shows that, and asks. Without a terminal it
    stores with --yes, or if flags name the columns of times and values. What is
    ambiguous, such as 01/02/23, is refused with the flag that decides. Run again,
    it goes on where it was stopped, and stores nothing twice. `tmon imports undo`
    takes an import back.

    Write 'COL#2' for the second of two columns with one name, 'COL=sensor:0.1°C'
    for tenths of a degree, 'COL=my:sensor:' where a sensor's own name has a colon.

    \b
    Examples:
      tmon import hobo.csv --node cellar
      tmon import nyc_weather.csv --node-column origin --time time_hour \\
          --value 'temp=temperature:°F' --value 'humid=humidity:%'
      tmon import history.csv --node house --sensor-column entity_id --value-column state \\
          --sensor 'sensor.cellar_temperature=cellar:°C'
    """
    if (given["node"] is None) == (given["node_column"] is None):
        raise click.UsageError("say whose readings they are: either --node or --node-column")
    flags = Flags.parse(**given)
    is_terminal = sys.stdin.isatty() and sys.stdout.isatty()
    may_store = yes or dry_run or is_terminal or flags.name_all_columns
    settings = station({"db": db})
    if not dry_run:
        refuse_in_cluster(settings, "import")
    if rejects:
        _start_rejects(rejects, settings.db)
    with ExitStack() as stack:
        opened = [stack.enter_context(open_file(path, flags.encoding)) for path in files]
        if is_terminal and not flags.zone:
            flags = _with_zone(opened, flags)
        plans = [_plan(file, flags, names=len(files) > 1) for file in opened]
        job = _Job(
            flags=flags,
            settings=settings,
            words=_given_words(context),
            shows=not may_store or yes or dry_run or is_terminal or not flags.name_all_columns,
            asks=is_terminal and not (yes or dry_run),
            is_one_of_several=len(files) > 1,
            rejects=rejects,
        )
        succeeded = [
            job.run(path, file, plan, stores=may_store and not dry_run)
            for path, file, plan in zip(files, opened, plans, strict=True)
        ]
    if not may_store:
        raise CannotImport("nothing is stored without --yes")
    if not all(succeeded):
        context.exit(1)


@dataclass(frozen=True)
class _Job:
    """What is the same for all files of one command; ``shows`` and ``asks`` concern the plan."""

    flags: Flags
    settings: Settings
    words: Sequence[str]
    shows: bool
    asks: bool
    is_one_of_several: bool
    rejects: TextIO | None

    def run(self, path: str, file: InputFile, plan: Plan, *, stores: bool) -> bool:
        """Show one file's plan, and store the file.

        Returns:
            Whether something was stored, or would be, or all of it is stored already.
        """
        if self.is_one_of_several:
            click.echo(file.name)
        whole = self._scan(file, plan) if self.shows or plan.is_assumed else None
        if whole and self.shows:
            count = whole.readings - whole.refused
            if not stores or count == 0:
                return count > whole.conflicts
            if self.asks:
                again = report.command(path, whole.plan, self.flags, self.words)
                click.echo(f"  again     {again}")
                if not click.confirm(f"Store these {count:,} readings?", default=False):
                    return False
        survey = self._survey(Table(file, plan.layout), plan, self.rejects)
        is_new = not self.settings.db.exists()
        note = "times taken as UTC" if plan.zone_from == "nobody" else None
        source = Source(path, sha256_of(path), self.flags.node, note)
        with tokens.open_station(self.settings) as db, _progress(file) as update:
            if is_new:  # a station with nodes and no secret has lost it
                tokens.load_or_create_secret(self.settings, made_level=logging.INFO)
            run.store(db, survey, source, update)
        _print(survey.tally.lines())
        if not self.shows:
            _print(f"look at        {line}" for line in report.warnings(survey, is_whole=False))
        return survey.tally.succeeded

    def _scan(self, file: InputFile, plan: Plan) -> Survey:
        """Read the whole file and show what it holds; for a large one, first its two ends."""
        if self.shows and not file.is_small:
            sample = self._survey(SampleTable(file, plan.layout), plan)
            run.scan(sample, self.settings.db, lambda _: None)
            _print(report.plan_lines(sample, is_whole=False))
        is_dry = "--dry-run" in self.words
        whole = self._survey(Table(file, plan.layout), plan, self.rejects if is_dry else None)
        with _progress(file) as update:
            run.scan(whole, self.settings.db, update)
        whole.check_assumed()
        if self.shows:
            _print(report.plan_lines(whole, is_whole=True))
        return whole

    def _survey(self, table: Table, plan: Plan, rejects: TextIO | None = None) -> Survey:
        return Survey(table, plan, now_ms(), Tally(table.file.name, rejects))


def _start_rejects(file: TextIO, db: Path) -> None:
    """Begin the file for refused rows; overwrite none but an earlier one.

    Raises:
        CannotImport: it is another file, such as the one to import, or the database.
    """
    path = Path(file.name)
    begins = b"" if file.name == "-" or not path.is_file() else path.open("rb").read(512)
    is_other = begins and not begins.startswith(",".join(REJECTS_HEADER).encode())
    if is_other or path.resolve() == db.resolve():
        raise CannotImport(f"--rejects {clip(file.name)!r} is another file: name a new one")
    csv.writer(file).writerow(REJECTS_HEADER)


@contextmanager
def _progress(file: InputFile) -> Iterator[Callable[[int], object]]:
    """A bar on a terminal's stderr, with the rate and the time left."""
    began_s, done = monotonic(), 0
    with progress_bar(0 if file.is_small else file.size_bytes) as bar:

        def update(count: int) -> None:
            nonlocal done
            done += count
            rate = done / max(monotonic() - began_s, 0.001)
            bar.label = f"{rate / 1e6:.1f} MB/s"
            bar.update(count)

        yield update


def _with_zone(files: Sequence[InputFile], flags: Flags) -> Flags:
    """Ask for the zone of times without an offset, unless the files name it."""
    if all(make_plan(file, flags).zone_from != "nobody" for file in files):
        return flags
    while True:
        answer = click.prompt("The times have no offset; which zone are they of", local_zone_name())
        try:
            return replace(flags, zone=parse_zone(answer))
        except CannotImport as error:
            click.echo(str(error), err=True)


def _plan(file: InputFile, flags: Flags, *, names: bool) -> Plan:
    """A file's plan; with several files, errors name theirs."""
    try:
        return make_plan(file, flags)
    except CannotImport as error:
        if names and not str(error).startswith(file.name):
            raise CannotImport(f"{file.name}: {error}") from error
        raise


def _given_words(context: click.Context) -> list[str]:
    """The command line's flags, as they were given."""
    words = []
    for option in context.command.params:
        given = context.params.get(str(option.name))
        if not isinstance(option, click.Option) or given in {None, (), False}:
            continue
        if option.is_flag:
            words.append(option.opts[0])
        elif isinstance(given, tuple):
            words += [word for one in given for word in (option.opts[0], one)]
        else:
            words += [option.opts[0], str(getattr(given, "name", given))]
    return words


def _print(lines: Iterator[str]) -> None:
    for line in lines:
        click.echo(line)
