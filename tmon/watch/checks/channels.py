"""T15: channels that somebody could not be told by when it was tried last."""

from collections.abc import Iterator

from tmon.core import humanize
from tmon.db.station import Station
from tmon.watch.findings import Finding, Severity


def check(station: Station) -> Iterator[Finding]:
    """Channels that failed, by their kind; it is tried again at each ``--notify``."""
    rows = station.db.execute("""
        select substr(name, 1, instr(name, ':') - 1) as scheme, count(*), min(failed_ms)
        from channels where failed_ms is not null group by scheme
    """)
    for scheme, count, failed_ms in rows:
        told = f"{humanize.pluralize(count, 'channel')} could not be told, and will be"
        yield Finding("T15", Severity.WARNING, told, subject=scheme, since_ms=failed_ms)
