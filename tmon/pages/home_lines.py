"""What the home page says of a sensor, and of what needs attention."""

import re
from typing import NamedTuple
from urllib.parse import urlencode

from markupsafe import Markup

from tmon.core.languages import N_, gettext, ngettext
from tmon.core.time import DAY_MS, as_datetime, iso
from tmon.pages import cells
from tmon.pages.attention import Item
from tmon.pages.home_rows import LOW_BATTERY, SensorRow
from tmon.pages.months import day_and_month, months
from tmon.pages.responses import node_path

MINUTE_MS = 60_000
OLD_MS = 300 * DAY_MS  # older times are shown with their year
SWITCHED = {0: N_("off"), 1: N_("on")}


class Line(NamedTuple):
    """A sensor as the template shows it: values in the chosen unit, and exact in their own."""

    row: SensorRow
    href: str
    now: str
    shown_unit: str
    decimals: int | None  # if not those of the unit
    note: str  # the limit that it is beyond, or a battery that is low
    age_prefix: str  # such as "silent, "
    age: str
    measured_at: str
    day_label: str
    day: tuple[str, str, float, float, str] | None  # low and high, both exact, and the path


class Moment(NamedTuple):
    """An instant for machines, and as people read it."""

    exact: str
    text: str

    def __html__(self) -> str:
        return Markup('<time datetime="{}">{}</time>').format(*self)


class Thing(NamedTuple):
    """An item of the list of what needs attention."""

    where: str
    href: str | None
    text: str
    kind: str
    since: Moment | None
    until: Moment | None
    is_long: bool  # for more than a day


class Shown(NamedTuple):
    """How values and times are written for one visitor."""

    base: str  # of addresses
    fahrenheit: bool
    at_ms: int

    def line(self, row: SensorRow) -> Line:
        converted = self.fahrenheit and row.unit == "°C"
        unit = "°F" if converted else row.unit
        day = row.day
        decimals = cells.decimals_by_spread(unit, day.high - day.low if day else 0)

        def number(value: float) -> str:
            if row.is_switch and value in SWITCHED:
                return gettext(SWITCHED[int(value)])
            return cells.rounded(value * 9 / 5 + 32 if converted else value, unit, decimals)

        low, high = (number(day.low), number(day.high)) if day else ("", "")
        return Line(
            row=row,
            href=self.base + node_path(row.node, row.name),
            now=number(row.value),
            shown_unit="" if row.is_switch or unit == "1" else unit or "",
            decimals=decimals,
            note=self._note(row),
            age_prefix=_age_prefix(row),
            age=self._age(row),
            measured_at=iso(row.measured_ms),
            day_label=_day_label(row, is_same=low == high).format(low=low, high=high),
            day=day
            and (low, high, day.low, day.high, _steps(day.path) if row.is_switch else day.path),
        )

    def thing(self, item: Item) -> Thing:
        names = [item.node, item.row.shown_name if item.row and item.sensor else item.sensor]
        since, until = (at_ms and self._moment(at_ms) for at_ms in (item.since_ms, item.to_ms))
        return Thing(
            where=" ".join(name for name in names if name) or gettext("server"),
            href=self._chart(item),
            text=self._text(item),
            kind=item.kind,
            since=since or None,
            until=until or None,
            is_long=item.since_ms is None and item.kind in {"above", "below"},
        )

    def _note(self, row: SensorRow) -> str:
        if not row.bound:
            return gettext("battery low") if row.trouble == LOW_BATTERY else ""
        side, bound = row.bound
        limit = f"{bound:.6g}\N{NO-BREAK SPACE}{row.unit or ''}".strip()
        if self.fahrenheit and row.unit == "°C":
            limit = f"{bound * 9 / 5 + 32:.4g}\N{NO-BREAK SPACE}°F"
        if side == "above":
            return gettext("above its limit of {limit}").format(limit=limit)
        return gettext("below its limit of {limit}").format(limit=limit)

    def _age(self, row: SensorRow) -> str:
        if not row.history:
            return gettext("{age} ago").format(age=cells.short_duration(row.age_s))
        return day_or_month(row.measured_ms, self.at_ms)

    def _text(self, item: Item) -> str:
        if item.row is None:
            return item.text
        line = self.line(item.row)
        value = f"{line.now}\N{NO-BREAK SPACE}{line.shown_unit}".strip()
        if item.kind == "silent":
            several = ngettext("{n} sensor silent", "{n} sensors silent", item.sensors)
            return several.format(n=item.sensors) if item.sensors > 1 else gettext("silent")
        if item.kind == "battery":
            return gettext("battery low: {value}").format(value=value)
        return f"{value}, {line.note}"

    def _chart(self, item: Item) -> str | None:
        """The path of the chart at that time; None for what has none."""
        if item.node is None:
            return None
        path = self.base + node_path(item.node, item.sensor if item.has_sensor else None)
        if item.span is None:
            return path
        start_ms, end_ms = (at_ms // MINUTE_MS * MINUTE_MS for at_ms in item.span)
        times = {"from": iso(start_ms)}
        if end_ms and end_ms < self.at_ms:
            times["to"] = iso(end_ms)
        return f"{path}?{urlencode(times, safe=':')}"

    def _moment(self, ms: int) -> Moment:
        """``13:20`` within a day, else ``12 Nov 13:20`` or ``12 Nov 2013``; UTC, like home.js."""
        at = as_datetime(ms)
        day = day_and_month(at)
        if self.at_ms - ms < DAY_MS:
            return Moment(iso(ms), f"{at:%H:%M}")
        return Moment(
            iso(ms), f"{day} {at:%H:%M}" if self.at_ms - ms < OLD_MS else f"{day} {at.year}"
        )


def _steps(path: str) -> str:
    """A line that keeps each value until the next, as that of a switch."""
    return re.sub(r"L(\d+) (\d+)", r"H\1V\2", path)


def day_or_month(ms: int, at_ms: int) -> str:
    """When history ends: ``13:20``, ``12 Nov`` or, after a year, ``May 2014``; like home.js."""
    at = as_datetime(ms)
    if at_ms - ms < DAY_MS:
        return f"{at:%H:%M}"
    return day_and_month(at) if at_ms - ms < OLD_MS else f"{months()[at.month - 1]} {at.year}"


def _age_prefix(row: SensorRow) -> str:
    """What stands before the age of a sensor's reading, or before when its history ends."""
    if row.is_archive:
        return gettext("history until ")
    if row.history:
        return gettext("until ")
    return gettext("silent, ") if row.silent else ""


def _day_label(row: SensorRow, *, is_same: bool) -> str:
    """What the small chart shows, for those who can't see it."""
    if row.is_switch and is_same:
        return gettext("24 hours: {low}")
    if row.is_archive:
        return gettext("All of it: low {low}, high {high}")
    return gettext("24 hours: low {low}, high {high}")
