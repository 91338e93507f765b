"""What `tmon compare --remember` leaves for `tmon check`."""

from pathlib import Path

from tmon.core.humanize import pluralize, printable
from tmon.db.connect import open_database, transaction
from tmon.db.job_runs import COMPARISON, GOOD, JobRun, save_job_runs
from tmon.maintenance.compare_report import Comparison


def remember_comparison(path: Path, found: Comparison, now_ms: int) -> None:
    """Write the result into the file, which was the first of the two that were compared."""
    rows = ", ".join(
        f"{pluralize(difference.counts.total, 'row')} of {table}"
        for table, difference in found.differences.items()
    )
    outcome = GOOD if found.is_equal else f"{printable(found.names[1])} has other data: {rows}"
    with open_database(path, in_cluster=True) as db, transaction(db):
        save_job_runs(db, {COMPARISON: JobRun(now_ms, outcome)})
