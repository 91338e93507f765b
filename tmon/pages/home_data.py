"""The data of the home page: nodes with their sensors' newest readings and last 24 hours."""

import json
from collections.abc import Iterable, Sequence
from itertools import groupby
from operator import attrgetter
from typing import Any, NamedTuple

from datasette.utils.sqlite import sqlite3

from tmon.core import demo
from tmon.pages.attention import Attention, load_attention
from tmon.pages.corrections import corrected_since
from tmon.pages.home_charts import first_hour, load_charts
from tmon.pages.home_groups import Group, cut, group_nodes
from tmon.pages.home_rows import NodeRows, SensorRow
from tmon.pages.queries import NOT_AHEAD

PAGE_SENSORS = 160  # on one page, as whole nodes: at most 3,000 elements
MAX_WHOLE = 2000  # sensors or nodes of a station that is read whole, to group and to sort it
MAX_TERMS = 8  # of a filter

_COLUMNS = """
select latest.sensor, latest.node, latest.name, sensors.title, latest.quantity, latest.unit,
    measured_ms, value, age_s, silent, latest.history, below, above
"""
_LATEST = f"""
{_COLUMNS} from latest cross join sensors on sensors.id = latest.sensor
left join limits on limits.sensor = latest.sensor
where latest.node > :after {{matching}}
order by {{order}}
limit :max + 1
"""
_LATEST_CLEAN = f"""
{_COLUMNS} from latest_clean as latest cross join sensors on sensors.id = latest.sensor
left join limits on limits.sensor = latest.sensor
where latest.sensor in (select value from json_each(?))
"""
_BY_NAME = "latest.node, latest.name"
_BAD = "(silent or value < below or value > above) is true"
_WORST_FIRST = (
    f"max({_BAD}) over (partition by latest.node) desc, latest.node, {_BAD} desc, latest.name"
)

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
_COUNTS = "select (select count(*) from sensors), (select count(*) from nodes)"
_WAITING = "select total(devices_waiting) from keys"
_PLACED = "select 1 from nodes where latitude is not null and longitude is not null limit 1"
_DEMO = f"select 1 from imports where file = '{demo.FILE}'"


class HomeQuery(NamedTuple):
    """What an address asks for.

    ``after``: the nodes after this one. ``favourites``: as node/sensor. ``closed``: names of
    groups.
    """

    terms: Sequence[str] = ()
    after: str = ""
    worst_first: bool = False
    raw: bool = False
    favourites: Sequence[str] = ()
    closed: Sequence[str] = ()

    @property
    def is_cheap(self) -> bool:
        """Whether it reads one page of sensors, however many there are in all."""
        return not (self.terms or self.worst_first)

    def sql(self, template: str, text: str, node: str) -> str:
        """Fill in ``matching`` and ``order``; terms are looked for in ``text``."""
        matching = " ".join(
            f"""and (instr(lower({text}), lower(:term{place})) or {node} in (
                select name from nodes where instr(lower(description), lower(:term{place}))
                    or instr(lower(area), lower(:term{place}))))"""
            for place in range(len(self.terms))
        )
        order = _WORST_FIRST if self.worst_first else _BY_NAME
        return template.format(matching=matching, order=order)

    def parameters(self, *, is_whole: bool) -> dict[str, Any]:
        terms = {f"term{place}": term for place, term in enumerate(self.terms)}
        if is_whole:
            return {"after": "", "max": MAX_WHOLE, **terms}
        return {"after": self.after, "max": PAGE_SENSORS, **terms}


class HomeData(NamedTuple):
    """One page of nodes."""

    groups: Sequence[Group]
    favourites: Sequence[SensorRow]
    sensors: int  # of the station
    found: int  # sensors that the filter lets through, as far as they were read
    silent: int  # of those
    last: str  # node of the page
    has_more: bool  # nodes after these
    node_is_cut: bool  # the page's only node has more sensors than fit
    is_whole: bool  # the station is small enough to be read whole
    corrected: int  # sensors shown as calibrations and flags correct them
    hidden: int  # of those, sensors not shown: all their readings are flagged
    attention: Attention
    devices_waiting: int  # of gateways, for the owner to adopt or ignore
    charts_missing: bool  # there was no time for all sensors' last 24 hours
    has_demo: bool
    has_map: bool  # some node has a position

    @property
    def rows(self) -> list[SensorRow]:
        return [row for group in self.groups for node in group.nodes for row in node.rows]


def load_home(
    connection: sqlite3.Connection, query: HomeQuery, at_ms: int, charts_until_s: float
) -> HomeData:
    """Read one page: whole nodes, with at most ``PAGE_SENSORS`` sensors together.

    Charts are read until ``charts_until_s`` of the monotonic clock.
    """
    sensors, nodes = connection.execute(_COUNTS).fetchone()
    is_whole = max(sensors, nodes) <= MAX_WHOLE
    rows, has_more, node_is_cut = _load_latest(connection, query, is_whole=is_whole)
    last = rows[-1].node if has_more and not query.worst_first else None
    empty = _load_empty(connection, query, last, is_whole=is_whole)
    newest_ms = {row.id: row.measured_ms for row in rows}
    day_ms = first_hour(at_ms)
    corrected = [] if query.raw else corrected_since(connection, newest_ms, day_ms, at_ms)
    clean = _clean_rows(connection, rows, corrected)
    by_node = _by_node(connection, clean, empty, worst_first=query.worst_first)
    attention = load_attention(
        connection,
        clean if is_whole else [],
        corrected=frozenset(corrected),
        at_ms=at_ms,
        with_incidents=not query.terms,
    )
    groups = group_nodes(by_node, query.closed, is_grouped=is_whole and not query.worst_first)
    groups, page_has_more, last_node = cut(groups, query.after if is_whole else "", PAGE_SENSORS)
    favourites = _favourites(clean, query.favourites)
    shown = [row for group in groups for node in group.nodes for row in node.rows] + favourites
    archives = [row.id for row in shown if row.is_archive]
    charts, complete = load_charts(
        connection, [row.id for row in shown], corrected, archives, at_ms, charts_until_s
    )
    with_charts = [row._replace(day=charts.get(row.id)) for row in favourites]
    return HomeData(
        groups=[group.with_charts(charts) for group in groups],
        favourites=with_charts,
        sensors=sensors,
        found=len(clean),
        silent=sum(row.silent for row in clean),
        last=last_node,
        has_more=has_more or page_has_more,
        node_is_cut=node_is_cut,
        is_whole=is_whole,
        corrected=len(corrected),
        hidden=len(rows) - len(clean),
        attention=attention,
        devices_waiting=int(connection.execute(_WAITING).fetchone()[0]),
        charts_missing=not complete,
        has_demo=connection.execute(_DEMO).fetchone() is not None,
        has_map=connection.execute(_PLACED).fetchone() is not None,
    )


def _load_latest(
    connection: sqlite3.Connection, query: HomeQuery, *, is_whole: bool
) -> tuple[list[SensorRow], bool, bool]:
    """The newest readings of whole nodes, whether there are more, and whether one node is cut."""
    sql = query.sql(_LATEST, "latest.node || ' ' || latest.name", "latest.node")
    parameters = query.parameters(is_whole=is_whole)
    rows = [SensorRow._make([*row, None]) for row in connection.execute(sql, parameters)]
    most = parameters["max"]
    if len(rows) <= most:
        return rows, False, False
    whole = [row for row in rows if row.node != rows[-1].node]
    return whole or rows[:most], True, not whole


def _load_empty(
    connection: sqlite3.Connection, query: HomeQuery, last: str | None, *, is_whole: bool
) -> list[str]:
    """Names of nodes without readings, up to the node ``last``."""
    sql = query.sql(_NODES_WITHOUT_READINGS, "name", "name")
    parameters = {**query.parameters(is_whole=is_whole), "last": last}
    return [name for (name,) in connection.execute(sql, parameters)]


def _clean_rows(
    connection: sqlite3.Connection, rows: list[SensorRow], corrected: Sequence[int]
) -> list[SensorRow]:
    """The rows with corrected values; without sensors whose readings are all flagged."""
    if not corrected:
        return rows
    found = connection.execute(_LATEST_CLEAN, [json.dumps(corrected)])
    clean = {row["sensor"]: SensorRow._make([*row, None]) for row in found}
    hidden = {*corrected} - clean.keys()
    return [clean.get(row.id, row) for row in rows if row.id not in hidden]


def _by_node(
    connection: sqlite3.Connection,
    rows: Iterable[SensorRow],
    without_readings: Sequence[str],
    *,
    worst_first: bool,
) -> list[NodeRows]:
    by_node = {node: [*own] for node, own in groupby(rows, key=attrgetter("node"))}
    by_node.update((node, []) for node in without_readings)
    sql = "select name, area, description from json_each(?) cross join nodes on name = value"
    found = {row["name"]: row for row in connection.execute(sql, [json.dumps([*by_node])])}
    nodes = [
        NodeRows(
            node,
            found[node]["area"] if node in found else None,
            found[node]["description"] if node in found else None,
            own,
        )
        for node, own in by_node.items()
    ]
    return sorted(nodes, key=NodeRows.by_trouble if worst_first else attrgetter("node"))


def _favourites(rows: Iterable[SensorRow], wanted: Sequence[str]) -> list[SensorRow]:
    """The sensors that an address names as node/sensor, in its order."""
    by_name = {f"{row.node}/{row.name}": row for row in rows} if wanted else {}
    return [by_name[name] for name in dict.fromkeys(wanted) if name in by_name]
