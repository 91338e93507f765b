"""T15: messages that are still to be delivered, long after they should have been."""

from collections.abc import Iterator

from watch import words
from watch.findings import Finding, Severity
from watch.station import Station

DELIVERED_WITHIN_MS = 5 * 60_000  # another run may be telling just now


def check(station: Station) -> Iterator[Finding]:
    """Channels with events that are older than that; whoever tells drops those out of use."""
    rows = station.db.execute(
        """
        select channels.name, count(*), min(events.at_ms)
        from channels join events on events.id > channels.told
        group by channels.name
        having min(events.at_ms) < ?
        """,
        [station.now_ms - DELIVERED_WITHIN_MS],
    )
    for name, count, first_ms in rows:
        yield Finding(
            "T15",
            Severity.WARNING,
            f"{words.some(count, 'line')} could not be delivered yet",
            subject=f"channel {name[:8]}",
            since_ms=first_ms,
        )
