"""The weekly report: what each sensor measured in the last seven days, and what was wrong."""

from collections.abc import Sequence
from datetime import timedelta
from typing import NamedTuple

from sqlite_utils import Database
from tabulate import tabulate

from tmon.core.humanize import duration, instant
from tmon.core.humanize import value as in_unit
from tmon.core.time import DAY_MS, as_datetime
from tmon.watch.messages import Picture, one_line

DAYS = 7
MOST_ROWS = 200  # sensors or incidents; the pages have them all
MOST_PICTURES = 4  # about 20 kB each

_SENSORS = """
select sensors.id, sensors.node, sensors.name, sensors.unit,
    min(min), sum(sum) / sum(n), max(max), sum(n),
    1.0 * count(*) / ((:to_ms - max(:from_ms, (
        select hour_ms from hours where sensor = sensors.id order by hour_ms limit 1
    ))) / 3600000)
from sensors join hourly_clean on hourly_clean.sensor = sensors.id
where hour_ms >= :from_ms and hour_ms < :to_ms
group by sensors.id order by sensors.node, sensors.name
"""
_MISSING = """
select count(*) from nodes
where revoked_ms is null and last_received_ms < :from_ms
"""
_INCIDENTS = """
select reason, from_ms, to_ms, sensor, severity = 'critical' from incidents
where from_ms < :to_ms and coalesce(to_ms, :to_ms) >= :from_ms order by from_ms
"""


class SensorWeek(NamedTuple):
    """A sensor's week; ``coverage`` is the share of its hours that have a reading."""

    id: int
    node: str
    name: str
    unit: str | None
    least: float
    mean: float
    greatest: float
    readings: int
    coverage: float


class Incident(NamedTuple):
    """An incident that was open in the week; ``to_ms`` is None while it lasts.

    ``sensor`` is None if it is about something else.
    """

    reason: str
    from_ms: int
    to_ms: int | None
    sensor: int | None
    is_critical: bool


class WeeklyReport(NamedTuple):
    """The seven UTC days before ``to_ms``; it is sent as a ``Message`` is."""

    from_ms: int
    to_ms: int
    sensors: Sequence[SensorWeek]
    quiet_nodes: int  # have sent before, and nothing in the week
    incidents: Sequence[Incident]
    public_url: str
    pictures: Sequence[Picture] = ()

    @property
    def pictured(self) -> list[SensorWeek]:
        """The sensors whose weeks are worth a picture: with incidents, or the widest of a unit."""
        wrong = {one.sensor: one.is_critical for one in self.incidents[::-1] if one.sensor}
        widest: dict[str | None, SensorWeek] = {}
        for one in sorted(self.sensors, key=lambda one: one.greatest - one.least):
            if one.greatest > one.least:
                widest[one.unit] = one
        troubled = [one for one in self.sensors if one.id in wrong]
        troubled.sort(key=lambda one: not wrong[one.id])
        others = [one for one in widest.values() if one.id not in wrong]
        return [*troubled, *others][:MOST_PICTURES]

    @property
    def severity(self) -> str:
        return "report"

    @property
    def subject(self) -> str:
        last = as_datetime(self.to_ms) - timedelta(days=1)
        return f"tmon: the week to {last:%A, %Y-%m-%d}"

    def text(self, most_bytes: int) -> str:
        """The report, with as many sensors as fit and how many more there are."""
        for count in range(min(len(self.sensors), MOST_ROWS), 0, -1):
            text = self._text_of(count)
            if len(text.encode()) <= most_bytes:
                return text
        return self._text_of(0).encode()[:most_bytes].decode(errors="ignore")

    def _text_of(self, count: int) -> str:
        days = (
            f"{as_datetime(self.from_ms):%Y-%m-%d} to {as_datetime(self.to_ms - DAY_MS):%Y-%m-%d}"
        )
        parts = [f"UTC days {days}.", ""]
        rows = [
            {
                "sensor": one_line(f"{one.node} {one.name}"),
                "least": in_unit(_rounded(one.least), one.unit),
                "mean": in_unit(_rounded(one.mean), one.unit),
                "greatest": in_unit(_rounded(one.greatest), one.unit),
                "hours": f"{100 * one.coverage:.0f} %",
            }
            for one in self.sensors[:count]
        ]
        if rows:
            right = ("left", "right", "right", "right", "right")
            parts += [tabulate(rows, headers="keys", tablefmt="plain", colalign=right)]
            parts += ["", "hours: the share of clock hours with a reading."]
        elif not self.sensors:
            parts.append("No sensor had a reading.")
        if len(self.sensors) > count:
            parts.append(f"{len(self.sensors) - count:,} more sensors are on the pages.")
        if self.quiet_nodes:
            nodes = "1 node has" if self.quiet_nodes == 1 else f"{self.quiet_nodes:,} nodes have"
            parts.append(f"{nodes} sent nothing in these days: `tmon node list`.")
        parts += ["", *self._incident_lines()]
        if self.public_url:
            parts += ["", f"Charts: {self.public_url}/"]
        return "\n".join(parts)

    def _incident_lines(self) -> list[str]:
        if not self.incidents:
            return ["Nothing was wrong."]
        lines = [f"What was wrong ({len(self.incidents):,}):"]
        for one in self.incidents[:MOST_ROWS]:
            lasted = "still open"
            if one.to_ms is not None:
                lasted = f"for {duration((one.to_ms - one.from_ms) / 1000)}"
            lines.append(f"- {one_line(one.reason)} (since {instant(one.from_ms)}, {lasted})")
        return lines


def weekly_report(db: Database, now_ms: int, public_url: str) -> WeeklyReport:
    """Compose the report of the seven whole UTC days before ``now_ms``."""
    to_ms = now_ms - now_ms % DAY_MS
    from_ms = to_ms - DAYS * DAY_MS
    span = {"from_ms": from_ms, "to_ms": to_ms}
    sensors = [SensorWeek(*row) for row in db.execute(_SENSORS, span)]
    [quiet_nodes] = db.execute(_MISSING, span).fetchone()
    incidents = [Incident(*row) for row in db.execute(_INCIDENTS, span)]
    return WeeklyReport(from_ms, to_ms, sensors, quiet_nodes, incidents, public_url)


def _rounded(number: float) -> float:
    """Four significant digits: as many as a summary has use for."""
    return float(f"{number:.4g}")
