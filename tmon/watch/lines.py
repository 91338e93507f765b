"""Findings and incidents in lines: for the terminal, and for who is told."""

from collections.abc import Iterable, Mapping, Sequence
from typing import NamedTuple

from tmon.core import humanize
from tmon.watch.findings import CATALOGUE, SILENT

NAMES_SHOWN = 5

Sensors = Mapping[str, int]  # how many each node has


class Matter(NamedTuple):
    """What a line is about; ``to_ms`` is None while it goes on."""

    number: str
    severity: str
    node: str | None
    sensor: str | None
    subject: str
    reason: str
    from_ms: int
    to_ms: int | None = None

    @property
    def place(self) -> str:
        if self.node is None:
            return self.subject
        return f"{self.node}/{self.sensor}" if self.sensor else self.node


def together(matters: Iterable[Matter]) -> list[list[Matter]]:
    """Those that share a line: sensors of one node that are silent; each else has its own."""
    groups: dict[object, list[Matter]] = {}
    for index, matter in enumerate(matters):
        silent = matter.number == SILENT and matter.sensor is not None
        groups.setdefault(matter.node if silent else index, []).append(matter)
    return list(groups.values())


def told(what: str, group: Sequence[Matter], sensors: Sensors) -> str:
    """The line that people are told when a matter began, goes on or ended."""
    place, reason, from_ms = _in_one(group, sensors)
    if what == "ended":
        to_ms = max(matter.to_ms or from_ms for matter in group)
        lasted = humanize.duration((to_ms - from_ms) / 1000)
        span = f"from {humanize.instant(from_ms)} to {humanize.instant(to_ms)} ({lasted})"
        return f"{place}: over, {span}: {reason}"
    still = "still " if what == "goes on" else ""
    return f"{place}: {still}{reason}, since {humanize.instant(from_ms)}"


def shown(group: Sequence[Matter], sensors: Sensors, muted_until_ms: int | None) -> str:
    """The line of ``tmon check``: number, severity, where, what, since when, what to do."""
    place, reason, from_ms = _in_one(group, sensors)
    number, severity = group[0].number, group[0].severity
    muted = f", muted until {humanize.instant(muted_until_ms)}" if muted_until_ms else ""
    since = f"since {humanize.instant(from_ms)}"
    return f"{number} {severity}{muted}: {place}: {reason}, {since}. {CATALOGUE[number].remedy}"


def _in_one(group: Sequence[Matter], sensors: Sensors) -> tuple[str, str, int]:
    """Place, reason and since when; several sensors are all silent since the last of them is."""
    first = group[0]
    if len(group) == 1:
        return first.place, first.reason, first.from_ms
    return str(first.node), _silent(group, sensors), max(matter.from_ms for matter in group)


def _silent(group: Sequence[Matter], sensors: Sensors) -> str:
    count, total = len(group), sensors.get(str(group[0].node), 0)
    if count >= total:
        return f"all {count} sensors silent"
    names = ", ".join(str(matter.sensor) for matter in group[:NAMES_SHOWN])
    more = f" and {count - NAMES_SHOWN} more" if count > NAMES_SHOWN else ""
    return f"{count} of {total} sensors silent ({names}{more})"
