"""T07, T19, T20: clocks of nodes and of the server that are off, and readings ahead of time."""

from collections.abc import Iterator

from tmon.core import humanize
from tmon.core.time import DAY_MS
from tmon.maintenance import ahead
from tmon.maintenance.clocks import (
    AHEAD_MS,
    OFF_S,
    SET_FROM_MS,
    STILL_OFF_S,
    UNSET,
    majority,
)
from tmon.watch.findings import Finding, Severity
from tmon.watch.station import Station


def check(station: Station) -> Iterator[Finding]:
    """T20 for the server, if most nodes agree that its clock is off; otherwise T07 for nodes."""
    if station.now_ms < SET_FROM_MS:
        reason = f"{UNSET} (it says {humanize.instant(station.now_ms)})"
        yield Finding("T20", Severity.CRITICAL, reason, subject="server")
        return
    most = majority(station.db, station.now_ms)
    if most and abs(most.ahead_s) >= STILL_OFF_S:
        refusing = most.ahead_s * 1000 > AHEAD_MS
        yield Finding(
            "T20",
            Severity.CRITICAL if refusing else Severity.WARNING,
            f"{most}{', so their readings are not taken' if refusing else ''}",
            subject="server",
            meets_threshold=most.server_is_off,
        )
    if most and most.server_is_off:
        return
    rows = station.db.execute(
        """
        select name, clock_skew_s from nodes
        where revoked_ms is null and last_received_ms > ? and abs(clock_skew_s) >= ?
        order by name
        """,
        [station.now_ms - DAY_MS, STILL_OFF_S],
    )
    for node, skew_s in rows:
        off = f"clock {humanize.duration(abs(skew_s))} {'ahead' if skew_s > 0 else 'behind'}"
        yield Finding("T07", Severity.WARNING, off, node, meets_threshold=abs(skew_s) > OFF_S)


def check_readings(station: Station) -> Iterator[Finding]:
    """T19: sensors with readings ahead of time, unless the server's clock may be behind."""
    if station.now_ms < SET_FROM_MS:
        return
    most = majority(station.db, station.now_ms)
    if most and most.server_is_off:
        return
    for one in ahead.find(station.db, station.now_ms):
        count = humanize.pluralize(one.readings, "reading")
        reason = f"{count} up to {humanize.instant(one.to_ms)}, from a clock that was ahead"
        yield Finding("T19", Severity.WARNING, reason, one.node, one.name, one.sensor)
