"""T10: the newest backup is too old, as far as `tmon backup` recorded it."""

from collections.abc import Iterator

from tmon.core import humanize
from tmon.watch.findings import Finding, Severity
from tmon.watch.station import Station


def check(station: Station) -> Iterator[Finding]:
    """A backup that is too old, or none at all."""
    since_ms = station.overdue_since_ms("backup")
    if since_ms is None:
        return
    last, reason = station.job_runs.get("backup"), "none was ever made"
    if last:
        reason = f"the newest is from {humanize.instant(last.done_ms)}"
    yield Finding("T10", Severity.WARNING, reason, subject="backup", since_ms=since_ms)
