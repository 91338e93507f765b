"""T18: a published page is older than the file."""

from collections.abc import Iterator

from tmon.core import humanize
from tmon.watch.checks.reachability import Addresses
from tmon.watch.findings import Finding, Severity
from tmon.watch.station import Station

REQUESTS = 12  # each of Datasette's four threads has a connection of its own
NEWEST_READING = (
    "{}/tmon/readings.json?_sort_desc=measured_ms&measured_ms__lte={}"
    "&_size=1&_col=measured_ms&_shape=objects&_nocount=1&_nofacet=1&_ttl=0"
)


def check(station: Station, addresses: Addresses) -> Iterator[Finding]:
    """Ask Datasette for the newest reading, after reading it from the file.

    Raises:
        NoAnswer: Datasette answers something else.
    """
    from tmon.watch.checks.http_probe import get_json  # noqa: PLC0415 - 7 MB that `tmon serve` spares

    if addresses.remote or not addresses.datasette:
        return
    url = NEWEST_READING.format(addresses.datasette, station.now_ms)
    newest_ms = _newest_ms(station)
    if newest_ms is None:
        return
    shown_ms = []
    for _ in range(REQUESTS):
        rows = get_json(url, "rows", remote=False, pauses_s=(0.0, 1.0))["rows"]
        shown_ms.append(rows[0]["measured_ms"] if rows else 0)
    newest_ms = min(newest_ms, _newest_ms(station) or 0)  # readings may have been removed
    if min(shown_ms) < newest_ms:
        late = sum(one < newest_ms for one in shown_ms)
        yield Finding(
            "T18",
            Severity.CRITICAL,
            f"{late} of {REQUESTS} pages show nothing newer than {humanize.instant(min(shown_ms))},"
            f" the file has readings of {humanize.instant(newest_ms)}",
            subject="pages",
        )


def _newest_ms(station: Station) -> int | None:
    sql = "select max(measured_ms) from readings where measured_ms <= ?"
    newest_ms: int | None = station.db.execute(sql, [station.now_ms]).fetchone()[0]
    return newest_ms
