"""T29: `tmon compare --remember` found other data on another machine, or doesn't run any more."""

from collections.abc import Iterator

from tmon.core import humanize
from tmon.db.connect import is_of_cluster
from tmon.db.job_runs import COMPARISON, GOOD
from tmon.watch.findings import Finding, Severity
from tmon.watch.station import Station


def check(station: Station) -> Iterator[Finding]:
    """Files that differ; on several machines, and where it ran before, that it runs daily."""
    last = station.job_runs.get(COMPARISON)
    since_ms = station.overdue_since_ms(COMPARISON)
    if last and last.outcome != GOOD:
        reason = f"{last.outcome} (compared {humanize.instant(last.done_ms)})"
        yield Finding("T29", Severity.CRITICAL, reason, subject="files")
    elif since_ms is not None and last:
        reason = f"last compared {humanize.instant(last.done_ms)}"
        yield Finding("T29", Severity.WARNING, reason, subject="files", since_ms=since_ms)
    elif since_ms is not None and is_of_cluster(station.db):
        reason = "never compared with another machine's"
        yield Finding("T29", Severity.WARNING, reason, subject="files", since_ms=since_ms)
