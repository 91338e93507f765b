"""T06: many more readings are rejected than usual, for one reason."""

from collections.abc import Iterator

from tmon.core import humanize
from tmon.core.time import DAY_MS, HOUR_MS
from tmon.watch.findings import Finding, Severity
from tmon.watch.station import Station

AT_LEAST = 20  # in an hour: fewer are one node's bad hour
TIMES_USUAL = 5.0
STILL_MANY = 0.5  # an open incident lasts while there are half of both


def check(station: Station) -> Iterator[Finding]:
    """Compare the last hour with the hours of the day before it, or before the incident."""
    hour_ago_ms = station.now_ms - HOUR_MS
    open_since_ms = dict(
        station.db.execute(
            "select subject, from_ms from incidents where finding = 'T06' and to_ms is null"
        ).fetchall()
    )
    rows = station.db.execute(
        "select code, count(*), min(received_ms) from rejected"
        " where received_ms > ? and received_ms <= ? group by code",
        [hour_ago_ms, station.now_ms],
    ).fetchall()
    for code, count, first_ms in rows:
        usual = _hourly_mean(station, code, open_since_ms.get(code, hour_ago_ms))
        threshold = max(AT_LEAST, TIMES_USUAL * usual)
        if count < STILL_MANY * threshold:
            continue
        node, reason = station.db.execute(
            "select node, reason from rejected where code = ? order by id desc limit 1", [code]
        ).fetchone()
        yield Finding(
            "T06",
            Severity.WARNING,
            f"{humanize.pluralize(count, 'reading')} rejected in an hour, usually {usual:.1f};"
            f" {humanize.printable(f'for example from {node}: {reason}')}",
            subject=code,
            since_ms=first_ms,
            meets_threshold=count >= threshold,
        )


def _hourly_mean(station: Station, code: str, before_ms: int) -> float:
    """Rejected readings an hour, on the day before ``before_ms``."""
    [count] = station.db.execute(
        "select count(*) from rejected where code = ? and received_ms > ? and received_ms <= ?",
        [code, before_ms - DAY_MS, before_ms],
    ).fetchone()
    return float(count) / 24
