"""T06: many more readings rejected than usual, for one reason."""

from collections.abc import Iterator

from tmon.core import humanize
from tmon.core.time import DAY_MS, HOUR_MS
from tmon.db.station import Station
from tmon.watch.findings import Finding, Severity

AT_LEAST = 20  # rejected in an hour: fewer are one node's bad hour
TIMES_USUAL = 5.0
LASTING = 0.5  # of both, and a surge goes on


def check(station: Station) -> Iterator[Finding]:
    """Reasons that the last hour saw more of than the hours of the day before the surge."""
    before_ms = station.now_ms - HOUR_MS
    began_ms = _open_surges(station)
    rows = station.db.execute(
        "select code, count(*), min(received_ms) from rejected"
        " where received_ms > ? and received_ms <= ? group by code",
        [before_ms, station.now_ms],
    ).fetchall()
    for code, count, first_ms in rows:
        usual = _hourly_mean(station, code, began_ms.get(code, before_ms))
        least = max(AT_LEAST, TIMES_USUAL * usual)
        if count >= LASTING * least:
            yield Finding(
                "T06",
                Severity.WARNING,
                f"{humanize.pluralize(count, 'reading')} rejected in an hour, usually {usual:.1f};"
                f" {_example(station, code)}",
                subject=code,
                since_ms=first_ms,
                enough=count >= least,
            )


def _open_surges(station: Station) -> dict[str, int]:
    """When those that are known began: what they are measured by stays the day before."""
    rows = station.db.execute(
        "select subject, from_ms from incidents where finding = 'T06' and to_ms is null"
    )
    return dict(rows.fetchall())


def _hourly_mean(station: Station, code: str, before_ms: int) -> float:
    [count] = station.db.execute(
        "select count(*) from rejected where code = ? and received_ms > ? and received_ms <= ?",
        [code, before_ms - DAY_MS, before_ms],
    ).fetchone()
    return float(count) / 24


def _example(station: Station, code: str) -> str:
    node, reason = station.db.execute(
        "select node, reason from rejected where code = ? order by id desc limit 1", [code]
    ).fetchone()
    return humanize.printable(f"such as of {node}: {reason}")
