"""T18: a published page that is older than the file."""

from collections.abc import Iterator

from tmon.core import humanize
from tmon.db.station import Station
from tmon.watch.checks.answers import Addresses
from tmon.watch.findings import Finding, Severity

ASKED = 12  # times: each of Datasette's four threads has a connection of its own
NEWEST = (
    "{}/tmon/readings.json?_sort_desc=measured_ms&measured_ms__lte={}"
    "&_size=1&_col=measured_ms&_shape=objects&_nocount=1&_nofacet=1&_ttl=0"
)


def check(station: Station, addresses: Addresses) -> Iterator[Finding]:
    """Ask for the newest reading; each answer is made later than the file was looked at.

    Raises:
        NoAnswer: Datasette answers something else.
    """
    from tmon.watch.checks.asking import ask  # noqa: PLC0415 - 7 MB that `tmon serve` spares

    if addresses.remote or not addresses.datasette:
        return
    url = NEWEST.format(addresses.datasette, station.now_ms)
    newest_ms = _newest_ms(station)
    if newest_ms is None:
        return
    shown_ms = []
    for _ in range(ASKED):
        rows = ask(url, "rows", remote=False, pauses_s=(0.0, 1.0))["rows"]
        shown_ms.append(rows[0]["measured_ms"] if rows else 0)
    newest_ms = min(newest_ms, _newest_ms(station) or 0)  # readings may have been removed
    if min(shown_ms) < newest_ms:
        late = sum(one < newest_ms for one in shown_ms)
        yield Finding(
            "T18",
            Severity.CRITICAL,
            f"{late} of {ASKED} pages show nothing newer than {humanize.instant(min(shown_ms))},"
            f" the file has readings of {humanize.instant(newest_ms)}",
            subject="pages",
        )


def _newest_ms(station: Station) -> int | None:
    sql = "select max(measured_ms) from readings where measured_ms <= ?"
    newest_ms: int | None = station.db.execute(sql, [station.now_ms]).fetchone()[0]
    return newest_ms
