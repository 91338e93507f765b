"""Record which readings each run of an import stored, even if others came between them since."""

import json
import zlib
from itertools import pairwise

from sqlite_utils import Database

from tmon.db.migrations.registry import migrations, run


@migrations(name="0014_import_times")
def _import_times(db: Database) -> None:
    """Add a run's times: the first in ms, then the steps between them, as JSON by zlib.

    An older run was all that its sensor had between its first and last time. Where the sensor
    has more or fewer readings there by now, nobody can tell which were the run's: its count
    becomes 0, as documented.
    """
    run(db, "alter table import_runs add column times blob;\n")
    runs = db.execute(
        "select id, sensor, first_ms, last_ms, count from import_runs where count > 0"
    ).fetchall()
    for number, sensor, first_ms, last_ms, count in runs:
        rows = db.execute(
            "select measured_ms from readings where sensor = ? and measured_ms between ? and ?"
            " order by measured_ms limit ?",
            [sensor, first_ms, last_ms, count + 1],
        ).fetchall()
        instants = [measured_ms for (measured_ms,) in rows]
        if len(instants) == count:
            steps = [instants[0], *(after - before for before, after in pairwise(instants))]
            times = zlib.compress(json.dumps(steps).encode())
            db.execute("update import_runs set times = ? where id = ?", [times, number])
        else:
            db.execute("update import_runs set count = 0 where id = ?", [number])
