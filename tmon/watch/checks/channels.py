"""T15: notification channels whose last message failed."""

from collections.abc import Iterator

from tmon.core import humanize
from tmon.watch.findings import Finding, Severity
from tmon.watch.station import Station


def check(station: Station) -> Iterator[Finding]:
    """One finding for each scheme; the next ``--notify`` tries again."""
    rows = station.db.execute("""
        select substr(name, 1, instr(name, ':') - 1) as scheme, count(*), min(failed_ms)
        from channels where failed_ms is not null group by scheme
    """)
    for scheme, count, failed_ms in rows:
        reason = f"{humanize.pluralize(count, 'channel')} failed; the next run tries again"
        yield Finding("T15", Severity.WARNING, reason, subject=scheme, since_ms=failed_ms)
