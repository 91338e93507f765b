"""T11, T12: what the checks of the whole file (`jobs.py`) found when they ran last."""

from collections.abc import Iterator

from tmon.core import humanize
from tmon.db.job_runs import GOOD
from tmon.watch.findings import Finding, Severity
from tmon.watch.jobs import ALL_HOURS, INTEGRITY_CHECK, QUICK_CHECK, RECENT_HOURS
from tmon.watch.station import Station


def check(station: Station) -> Iterator[Finding]:
    """A bad outcome counts until the same check, or one that includes it, is good."""
    for number, severity, subject, small, large in (
        ("T11", Severity.CRITICAL, "database", QUICK_CHECK, INTEGRITY_CHECK),
        ("T12", Severity.WARNING, "hourly", RECENT_HOURS, ALL_HOURS),
    ):
        part, whole = station.job_runs.get(small), station.job_runs.get(large)
        bad = whole if whole and whole.outcome != GOOD else None
        if not bad and part and part.outcome != GOOD:
            bad = part if whole is None or whole.done_ms < part.done_ms else None
        if bad:
            reason = f"{bad.outcome} (checked {humanize.instant(bad.done_ms)})"
            yield Finding(number, severity, reason, subject=subject)
