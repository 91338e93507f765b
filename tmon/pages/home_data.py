"""The data of the home page: nodes with their sensors' newest readings and last 24 hours."""

import json
from collections.abc import Iterable, Sequence
from itertools import groupby, pairwise
from operator import attrgetter
from time import monotonic
from typing import Any, NamedTuple

from datasette.utils import sqlite_timelimit
from datasette.utils.sqlite import sqlite3

from tmon.core.time import DAY_MS, HOUR_MS
from tmon.pages.corrections import corrected_since
from tmon.pages.incidents import OpenIncidents, count_open
from tmon.pages.queries import NOT_AHEAD, is_interrupted

MAX_SENSORS = 1000  # on one page, and as many nodes without readings
MAX_TERMS = 8  # of a filter
HOURS = DAY_MS // HOUR_MS
CHART_HEIGHT = 40  # steps from low to high: finer than what a screen shows
DASH = "m-.4 0h.8"  # most of an hour

_LATEST = """
select sensor, node, name, unit, measured_ms, value, age_s, silent
from latest
where node > :after {matching}
order by {order}
limit :max + 1
"""
_LATEST_CLEAN = """
select sensor, node, name, unit, measured_ms, value, age_s, silent
from latest_clean where sensor in (select value from json_each(?))
"""
_BY_NAME = "node, name"
_SILENT_FIRST = "max(silent) over (partition by node) desc, node, silent desc, name"

_NODES_WITHOUT_READINGS = f"""
select name from nodes
where name > :after and name <= coalesce(:last, name) and revoked_ms is null
    and not exists (
        select 1 from sensors cross join readings on readings.sensor = sensors.id
        where sensors.node = nodes.name and {NOT_AHEAD}
    )
    {{matching}}
order by name
limit :max + 1
"""

# Hourly means as points of a line: x in hours after the first, y from the top.
_DAY_CHARTS = """
select sensor, low, high, (
    select group_concat(
        ((hour_ms - :from_ms) / 3600000) || ' ' || coalesce(y, :height / 2), 'L'
    )
    from (
        select hour_ms, cast((high - sum / n) * scale + 0.5 as integer) as y from {hourly} as own
        where own.sensor = framed.sensor and hour_ms >= :from_ms and hour_ms <= :at_ms
        order by hour_ms
    )
) as points
from (
    select sensor, min(min) as low, max(max) as high,
        :height / nullif(max(max) - min(min), 0) as scale
    from {hourly}
    where sensor in (select value from json_each(:sensors))
        and hour_ms >= :from_ms and hour_ms <= :at_ms
    group by sensor
) as framed
"""


class HomeQuery(NamedTuple):
    """What an address asks for: nodes after one by name, with all terms in name or description."""

    terms: Sequence[str] = ()
    after: str = ""
    silent_first: bool = False
    raw: bool = False

    @property
    def is_cheap(self) -> bool:
        """Whether it reads one page of sensors, however many there are in all."""
        return not (self.terms or self.silent_first)

    def sql(self, template: str, text: str, node: str) -> str:
        """Fill in ``matching`` and ``order``; terms are looked for in ``text``."""
        matching = " ".join(
            f"""and (instr(lower({text}), lower(:term{place})) or {node} in (
                select name from nodes where instr(lower(description), lower(:term{place}))))"""
            for place in range(len(self.terms))
        )
        return template.format(
            matching=matching, order=_SILENT_FIRST if self.silent_first else _BY_NAME
        )

    @property
    def parameters(self) -> dict[str, Any]:
        terms = {f"term{place}": term for place, term in enumerate(self.terms)}
        return {"after": self.after, "max": MAX_SENSORS, **terms}


class DayChart(NamedTuple):
    """A sensor's last 24 clock hours with the present one; ``path`` is the line of their means."""

    low: float
    high: float
    path: str


class SensorRow(NamedTuple):
    """A sensor's newest reading; ``day`` is None without readings in the last 24 hours."""

    id: int
    node: str
    name: str
    unit: str | None
    measured_ms: int
    value: float
    age_s: int
    silent: int
    day: DayChart | None


class NodeRows(NamedTuple):
    """A node with its sensors; without any until it sends a reading."""

    node: str
    description: str | None
    rows: Sequence[SensorRow]


class HomeData(NamedTuple):
    """One page of nodes."""

    nodes: Sequence[NodeRows]
    sensors: int  # of the station
    has_more: bool  # nodes after these
    node_is_cut: bool  # the page's only node has more sensors than fit
    corrected: int  # sensors shown as calibrations and flags correct them
    hidden: int  # of those, sensors not shown: all their readings are flagged
    open_incidents: OpenIncidents
    devices_waiting: int  # of gateways, for the owner to adopt or ignore
    charts_missing: bool  # there was no time for all sensors' last 24 hours

    @property
    def rows(self) -> list[SensorRow]:
        return [row for node in self.nodes for row in node.rows]


def load_home(
    connection: sqlite3.Connection, query: HomeQuery, at_ms: int, charts_until_s: float
) -> HomeData:
    """Read one page: whole nodes, with at most ``MAX_SENSORS`` sensors together.

    Charts are read until ``charts_until_s`` of the monotonic clock.
    """
    latest, has_more, node_is_cut = _load_latest(connection, query)
    last = latest[-1]["node"] if has_more and not query.silent_first else None
    sql = query.sql(_NODES_WITHOUT_READINGS, "name", "name")
    found = connection.execute(sql, {**query.parameters, "last": last})
    without_readings = [row["name"] for row in found]
    if len(without_readings) > MAX_SENSORS:
        without_readings, has_more = without_readings[:MAX_SENSORS], True
        if not query.silent_first:
            latest = [row for row in latest if row["node"] <= without_readings[-1]]
    first_hour_ms = at_ms // HOUR_MS * HOUR_MS - (HOURS - 1) * HOUR_MS
    newest_ms = {row["sensor"]: row["measured_ms"] for row in latest}
    corrected = [] if query.raw else corrected_since(connection, newest_ms, first_hour_ms, at_ms)
    clean = _clean_rows(connection, latest, corrected)
    sensors = connection.execute("select count(*) from sensors").fetchone()[0]
    waiting = connection.execute("select total(devices_waiting) from keys").fetchone()[0]
    open_incidents = count_open(connection)
    span = {"from_ms": first_hour_ms, "at_ms": at_ms}
    charts: dict[int, DayChart] = {}
    with sqlite_timelimit(connection, max(0, charts_until_s - monotonic()) * 1000):
        shown = [row["sensor"] for row in clean]
        complete = _add_charts(connection, charts, shown, corrected, span)
    rows = [SensorRow._make([*row, charts.get(row["sensor"])]) for row in clean]
    return HomeData(
        _by_node(connection, rows, without_readings, query),
        sensors=sensors,
        has_more=has_more,
        node_is_cut=node_is_cut,
        corrected=len(corrected),
        hidden=len(latest) - len(clean),
        open_incidents=open_incidents,
        devices_waiting=int(waiting),
        charts_missing=not complete,
    )


def _load_latest(connection: sqlite3.Connection, query: HomeQuery) -> tuple[list[Any], bool, bool]:
    """The newest readings of whole nodes, whether there are more, and whether one node is cut."""
    sql = query.sql(_LATEST, "node || ' ' || name", "node")
    rows = connection.execute(sql, query.parameters).fetchall()
    if len(rows) <= MAX_SENSORS:
        return rows, False, False
    whole = [row for row in rows if row["node"] != rows[-1]["node"]]
    return whole or rows[:MAX_SENSORS], True, not whole


def _clean_rows(
    connection: sqlite3.Connection, latest: Sequence[Any], corrected: Sequence[int]
) -> Sequence[Any]:
    """The rows with corrected values; without sensors whose readings are all flagged."""
    if not corrected:
        return latest
    found = connection.execute(_LATEST_CLEAN, [json.dumps(corrected)])
    clean = {row["sensor"]: row for row in found}
    hidden = {*corrected} - clean.keys()
    return [clean.get(row["sensor"], row) for row in latest if row["sensor"] not in hidden]


def _add_charts(
    connection: sqlite3.Connection,
    charts: dict[int, DayChart],
    sensors: Sequence[int],
    corrected: Sequence[int],
    span: dict[str, int],
) -> bool:
    """Read the sensors' last 24 hours until the time limit; return whether all were read."""
    uncorrected = [*{*sensors}.difference(corrected)]
    try:
        for hourly, own in (("hourly", uncorrected), ("hourly_clean", corrected)):
            if not own:
                continue
            parameters = {**span, "sensors": json.dumps(own), "height": CHART_HEIGHT}
            for row in connection.execute(_DAY_CHARTS.format(hourly=hourly), parameters):
                path = "".join(
                    f"M{'L'.join(run)}" if len(run) > 1 else f"M{run[0]}{DASH}"
                    for run in _without_gaps(row["points"].split("L"))
                )
                charts[row["sensor"]] = DayChart(row["low"], row["high"], path)
    except sqlite3.OperationalError as error:
        if not is_interrupted(error):
            raise
        return False
    return True


def _without_gaps(points: Sequence[str]) -> Iterable[Sequence[str]]:
    """Split points such as ``5 40`` where hours are missing.

    A sensor that never has readings in successive hours may skip three times its shortest step.
    """
    first, last = (int(point.partition(" ")[0]) for point in (points[0], points[-1]))
    if last - first == len(points) - 1:
        return [points]
    hours = [int(point.partition(" ")[0]) for point in points]
    steps = [late - early for early, late in pairwise(hours)]
    longest = 1 if min(steps) == 1 else 3 * min(steps)
    ends = [place for place, step in enumerate(steps, 1) if step > longest]
    return [points[begin:end] for begin, end in pairwise([0, *ends, len(points)])]


def _by_node(
    connection: sqlite3.Connection,
    rows: Iterable[SensorRow],
    without_readings: Sequence[str],
    query: HomeQuery,
) -> list[NodeRows]:
    by_node = {node: [*own] for node, own in groupby(rows, key=attrgetter("node"))}
    by_node.update((node, []) for node in without_readings)
    sql = "select name, description from json_each(?) cross join nodes on name = value"
    descriptions = dict(connection.execute(sql, [json.dumps([*by_node])]).fetchall())
    nodes = [NodeRows(node, descriptions.get(node), own) for node, own in by_node.items()]
    return sorted(nodes, key=_silent_first if query.silent_first else attrgetter("node"))


def _silent_first(node: NodeRows) -> tuple[int, str]:
    """Silent nodes, then those without readings, then the others."""
    if not node.rows:
        return 1, node.node
    return 0 if any(row.silent for row in node.rows) else 2, node.node
