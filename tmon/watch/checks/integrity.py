"""T11, T12: what the checks of the whole file said when they were made last (see chores.py)."""

from collections.abc import Iterator

from tmon.core import humanize
from tmon.db.station import Chore, Station
from tmon.watch.chores import EQUAL, EQUAL_LATELY, GOOD, QUICK, WHOLE
from tmon.watch.findings import Finding, Severity


def check(station: Station) -> Iterator[Finding]:
    """A bad outcome stays until a check that looks at as much says otherwise."""
    for number, severity, subject, quick, whole in (
        ("T11", Severity.CRITICAL, "database", QUICK, WHOLE),
        ("T12", Severity.WARNING, "hourly", EQUAL_LATELY, EQUAL),
    ):
        bad = _bad(station.chores.get(quick), station.chores.get(whole))
        if bad:
            told = f"{bad.outcome} (checked {humanize.instant(bad.done_ms)})"
            yield Finding(number, severity, told, subject=subject)


def _bad(quick: Chore | None, whole: Chore | None) -> Chore | None:
    if whole and whole.outcome != GOOD:
        return whole
    if quick and quick.outcome != GOOD and (whole is None or whole.done_ms < quick.done_ms):
        return quick
    return None
