"""T10: the newest backup is too old, as far as `tmon backup` recorded it."""

from collections.abc import Iterator

from tmon.core import humanize
from tmon.core.time import DAY_MS
from tmon.watch.findings import Finding, Severity
from tmon.watch.station import Station

TOO_OLD_MS = 2 * DAY_MS
NEW_STATION_MS = 7 * DAY_MS  # a station as new as that may be without a backup


def check(station: Station) -> Iterator[Finding]:
    """A backup that is too old, or none at all."""
    last = station.job_runs.get("backup")
    [first_node_ms] = station.db.execute("select min(created_ms) from nodes").fetchone()
    if last is not None:
        due_ms = last.done_ms + TOO_OLD_MS
        reason = f"the newest is from {humanize.instant(last.done_ms)}"
    elif first_node_ms is not None:
        due_ms = first_node_ms + NEW_STATION_MS
        reason = "none was ever made"
    else:
        return
    if station.now_ms > due_ms:
        yield Finding("T10", Severity.WARNING, reason, subject="backup", since_ms=due_ms)
