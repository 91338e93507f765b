"""T07, T19, T20: nodes' clocks that are off, the server's own, and readings that are ahead."""

from collections.abc import Iterator

from tmon.core import humanize
from tmon.core.time import DAY_MS
from tmon.db.station import Station
from tmon.maintenance import ahead
from tmon.maintenance.clocks import (
    AHEAD_MS,
    OFF_S,
    SET_FROM_MS,
    STILL_OFF_S,
    UNSET,
    Majority,
    majority,
)
from tmon.watch.findings import Finding, Severity


def check(station: Station) -> Iterator[Finding]:
    """Clocks of nodes that were heard within a day; where most agree, the server's instead."""
    if station.now_ms < SET_FROM_MS:
        told = f"{UNSET} (it says {humanize.instant(station.now_ms)})"
        yield Finding("T20", Severity.CRITICAL, told, subject="server")
        return
    most = majority(station.db, station.now_ms)
    if most and abs(most.ahead_s) >= STILL_OFF_S:
        yield _of_server(most)
    if not (most and most.server_is_off):
        yield from _of_nodes(station)


def check_readings(station: Station) -> Iterator[Finding]:
    """Sensors with readings ahead; none while it may be the server's clock that is behind."""
    if station.now_ms < SET_FROM_MS:
        return
    most = majority(station.db, station.now_ms)
    if most and most.server_is_off:
        return
    for one in ahead.find(station.db, station.now_ms):
        told = f"{humanize.pluralize(one.readings, 'reading')} up to {humanize.instant(one.to_ms)}"
        yield Finding(
            "T19",
            Severity.WARNING,
            f"{told}, from a clock that was ahead",
            one.node,
            one.name,
            one.sensor,
        )


def _of_server(most: Majority) -> Finding:
    refusing = most.ahead_s * 1000 > AHEAD_MS
    return Finding(
        "T20",
        Severity.CRITICAL if refusing else Severity.WARNING,
        f"{most}{', so their readings are not taken' if refusing else ''}",
        subject="server",
        enough=most.server_is_off,
    )


def _of_nodes(station: Station) -> Iterator[Finding]:
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
    return f"clock {humanize.duration(abs(skew_s))} {'ahead' if skew_s > 0 else 'behind'}"
