"""T07: nodes whose clock is off."""

from collections.abc import Iterator

from watch import words
from watch.findings import Finding, Severity
from watch.station import DAY_MS, Station

OFF_S = 60.0
STILL_OFF_S = 30.0


def check(station: Station) -> Iterator[Finding]:
    """Clocks of nodes that were heard within a day."""
    rows = station.db.execute(
        """
        select name, clock_skew_s from nodes
        where revoked_ms is null and last_received_ms > ? and abs(clock_skew_s) >= ?
        order by name
        """,
        [station.now_ms - DAY_MS, STILL_OFF_S],
    )
    for node, skew_s in rows:
        yield Finding(
            "T07",
            Severity.WARNING,
            off(skew_s),
            node,
            enough=abs(skew_s) > OFF_S,
        )


def off(skew_s: float) -> str:
    """``clock 75 s ahead of the server's``, in words."""
    return f"clock {words.length(abs(skew_s))} {'ahead' if skew_s > 0 else 'behind'}"
