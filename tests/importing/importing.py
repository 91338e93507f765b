"""Import a file as the command does, in this process: plan it, store it, see what is there."""

import shlex
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from click.testing import CliRunner, Result
from sqlite_utils import Database

from tmon.cli.main import main
from tmon.core.time import now_ms
from tmon.db.connect import open_for_reading
from tmon.importer import run
from tmon.importer.files import open_file
from tmon.importer.flags import Flags
from tmon.importer.planning import make_plan
from tmon.importer.record import Source
from tmon.importer.report import warnings
from tmon.importer.rows import Table
from tmon.importer.survey import Survey, Tally

SOURCE = Source("a.csv", None, None)
Row = tuple[str, str, str, float]


def import_file(
    db: Database, path: Path, /, progress: Callable[[int], object] = lambda _: None, **said: Any
) -> Survey:
    """Store a file by these flags."""
    flags = Flags.parse(**said)
    with open_file(str(path), flags.encoding) as file:
        plan = make_plan(file, flags)
        survey = Survey(Table(file, plan.layout), plan, now_ms(), Tally())
        run.store(db, survey, SOURCE, progress)
    return survey


def readings(path: Path) -> list[Row]:
    """Node, sensor, time and value of all that is stored, as Datasette sees it."""
    query = """select node, name, measured_at, value from readings
        join sensors on sensors.id = readings.sensor order by node, name, measured_ms"""
    with open_for_reading(path) as db:
        return [*db.execute(query).fetchall()]


def messages(survey: Survey) -> str:
    """What `tmon import` prints about an import."""
    return "\n".join([*survey.tally.lines(), *warnings(survey, is_whole=False)])


@dataclass(frozen=True)
class Shape:
    """A file's text, its flags, and the expected readings or error."""

    name: str
    text: str | bytes
    flags: str = ""
    expected: str = ""
    error: str = ""


def import_shape(folder: Path, shape: Shape) -> Result:
    text = shape.text if isinstance(shape.text, bytes) else shape.text.encode()
    (folder / "a.csv").write_bytes(text)
    command = [
        "import",
        f"{folder}/a.csv",
        "--yes",
        *shlex.split(shape.flags),
        "--db",
        f"{folder}/t.db",
    ]
    if "--node" not in shape.flags:
        command += ["--node", "n"]
    return CliRunner().invoke(main, command)


def assert_refused(folder: Path, shape: Shape) -> None:
    """Whether a file is refused in one line that says what helps, and nothing is made."""
    done = import_shape(folder, shape)
    assert done.exit_code == 1, done.output
    assert shape.error in done.output
    assert len(done.output.splitlines()) == 1, done.output
    assert not (folder / "t.db").exists()
