"""Alerts as text: the lines of ``tmon check`` and of notifications."""

from collections.abc import Iterable, Mapping, Sequence

from tmon.core import humanize
from tmon.watch.findings import CATALOGUE, SILENT, Finding

NAMES_SHOWN = 5

SensorCounts = Mapping[str, int]  # sensors of each node


def group(findings: Iterable[Finding]) -> list[list[Finding]]:
    """Findings that share a line: silent sensors of one node do, all others stand alone."""
    groups: dict[object, list[Finding]] = {}
    for index, finding in enumerate(findings):
        silent = finding.number == SILENT and finding.sensor is not None
        groups.setdefault(finding.node if silent else index, []).append(finding)
    return list(groups.values())


def event_line(what: str, findings: Sequence[Finding], counts: SensorCounts) -> str:
    """The line of a notification: ``what`` is ``began``, ``goes on`` or ``ended``."""
    place, reason, since_ms = _summary(findings, counts)
    if what == "ended":
        until_ms = max(finding.until_ms or since_ms for finding in findings)
        duration = humanize.duration((until_ms - since_ms) / 1000)
        span = f"from {humanize.instant(since_ms)} to {humanize.instant(until_ms)} ({duration})"
        return f"{place}: over, {span}: {reason}"
    still = "still " if what == "goes on" else ""
    return f"{place}: {still}{reason}, since {humanize.instant(since_ms)}"


def check_line(findings: Sequence[Finding], counts: SensorCounts) -> str:
    """The line of ``tmon check``: number, severity, place, reason, since when, what to do."""
    place, reason, since_ms = _summary(findings, counts)
    first = findings[0]
    muted = (
        f", muted until {humanize.instant(first.muted_until_ms)}" if first.muted_until_ms else ""
    )
    since = f"since {humanize.instant(since_ms)}"
    remedy = CATALOGUE[first.number].remedy
    return f"{first.number} {first.severity}{muted}: {place}: {reason}, {since}. {remedy}"


def _summary(findings: Sequence[Finding], counts: SensorCounts) -> tuple[str, str, int]:
    """Place, reason and start of a group; several sensors: since the last of them is silent."""
    first = findings[0]
    since_ms = max(finding.since_ms or 0 for finding in findings)
    if len(findings) == 1:
        return first.place, first.reason, since_ms
    node, count = str(first.node), len(findings)
    total = counts.get(node, 0)
    if count >= total:
        return node, f"all {count} sensors silent", since_ms
    names = ", ".join(str(finding.sensor) for finding in findings[:NAMES_SHOWN])
    more = f" and {count - NAMES_SHOWN} more" if count > NAMES_SHOWN else ""
    return node, f"{count} of {total} sensors silent ({names}{more})", since_ms
