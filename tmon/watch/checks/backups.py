"""T10: the newest backup, as `tmon backup` remembers it."""

from collections.abc import Iterator

from tmon.core import humanize
from tmon.core.time import DAY_MS
from tmon.db.station import Station
from tmon.watch.findings import Finding, Severity

OLD_MS = 2 * DAY_MS
NEW_STATION_MS = 7 * DAY_MS  # so long nobody is told that there is none


def check(station: Station) -> Iterator[Finding]:
    """A backup too old, or none of a station that isn't new."""
    last = station.chores.get("backup")
    [first_node_ms] = station.db.execute("select min(created_ms) from nodes").fetchone()
    if last is not None:
        if station.now_ms - last.done_ms > OLD_MS:
            told = f"the newest is of {humanize.instant(last.done_ms)}"
            yield _finding(told, last.done_ms + OLD_MS)
    elif first_node_ms is not None and station.now_ms - first_node_ms > NEW_STATION_MS:
        yield _finding("none was ever made", first_node_ms + NEW_STATION_MS)


def _finding(reason: str, since_ms: int) -> Finding:
    return Finding("T10", Severity.WARNING, reason, subject="backup", since_ms=since_ms)
