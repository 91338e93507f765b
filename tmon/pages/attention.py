"""What needs attention now, as a short list: what, where, and since when."""

from collections.abc import Collection, Iterator, Sequence
from itertools import groupby
from operator import attrgetter
from typing import NamedTuple

from datasette.utils.sqlite import sqlite3

from tmon.core.reasons import reason_text
from tmon.core.time import DAY_MS, HOUR_MS
from tmon.pages.home_rows import BEYOND, LOW_BATTERY, SILENT, SensorRow

MAX_SHOWN = 8
_BY_SENSOR = frozenset(("T01", "T02", "T03"))  # silent, too high, too low: also seen in the rows

_INCIDENTS = """
select finding, severity, reason, coalesce(incidents.node, sensors.node) as node,
    sensors.name as sensor, subject, incidents.sensor as id, from_ms, to_ms
from incidents left join sensors on sensors.id = incidents.sensor
where to_ms is null or (to_ms > :since_ms and finding in ('T02', 'T03'))
order by to_ms is not null, severity = 'critical' desc, from_ms desc
limit 200
"""
# The first reading of those that have been beyond the limit without a break; NULL if that is
# longer ago than from_ms.
_BEYOND_SINCE = """
select (
    select min(measured_ms) from readings{suffix}
    where sensor = :sensor and measured_ms > coalesce(back_ms, :from_ms)
)
from (
    select max(measured_ms) as back_ms from readings{suffix}
    where sensor = :sensor and measured_ms >= :from_ms
        and value >= coalesce(:below, value) and value <= coalesce(:above, value)
)
where back_ms is not null or not exists (
    select 1 from readings where sensor = :sensor and measured_ms < :from_ms
)
"""


class Item(NamedTuple):
    """One thing: ``node`` is None for the server's.

    ``sensor`` names a sensor if ``has_sensor``, or else the part of the server. ``row`` has the
    value; ``sensors``: how many of the node. ``since_ms`` is None if it isn't known, or, of a
    limit, longer than a day ago. ``to_ms``: when it was over.
    """

    kind: str  # above, below, silent, battery, or incident
    node: str | None
    sensor: str | None
    row: SensorRow | None
    sensors: int
    text: str
    since_ms: int | None
    to_ms: int | None = None
    has_sensor: bool = True

    @property
    def span(self) -> tuple[int, int] | None:
        """From when to when its chart is to be (Unix ms); None: there is no better one."""
        if self.since_ms is None:
            return None
        if self.kind == "silent":
            return self.since_ms - DAY_MS, self.since_ms + 6 * HOUR_MS
        if self.to_ms is None:
            return self.since_ms - 6 * HOUR_MS, 0
        margin_ms = max(3 * HOUR_MS, self.to_ms - self.since_ms)
        return self.since_ms - margin_ms, self.to_ms + margin_ms


class Attention(NamedTuple):
    """The worst things, how many there are in all, and what was over in the last 24 hours."""

    items: Sequence[Item]
    total: int
    past: Sequence[Item]


def load_attention(
    connection: sqlite3.Connection,
    rows: Sequence[SensorRow],
    *,
    corrected: Collection[int],
    at_ms: int,
    with_incidents: bool,
) -> Attention:
    """What is wrong by the rows themselves and by the open incidents, each thing once."""
    troubled = [*_troubled(rows)]
    listed = {row.id for row in rows if row.trouble in {SILENT, BEYOND}}
    silent_nodes = {row.node for row in rows if row.silent}
    found = connection.execute(_INCIDENTS, {"since_ms": at_ms - DAY_MS}) if with_incidents else []
    incidents, past = [], []
    for row in found:
        item = Item(
            *("incident", row["node"], row["sensor"] or row["subject"], None, 1),
            *(reason_text(row["reason"]), row["from_ms"], row["to_ms"], row["sensor"] is not None),
        )
        if row["to_ms"] is not None:
            past.append(item)
        elif row["finding"] not in _BY_SENSOR or not (
            row["id"] in listed or (row["id"] is None and row["node"] in silent_nodes)
        ):
            incidents.append(item)
    items = [*troubled, *incidents]
    shown = [_with_start(connection, item, corrected, at_ms) for item in items[:MAX_SHOWN]]
    return Attention(shown, len(items), past[: MAX_SHOWN // 2])


def _troubled(rows: Sequence[SensorRow]) -> Iterator[Item]:
    """The rows with a trouble, the worst first; silent sensors of one node are one thing."""
    for row in rows:
        if row.trouble == BEYOND and row.bound:
            yield Item(row.bound[0], row.node, row.name, row, 1, "", None)
    silent = [row for row in rows if row.trouble == SILENT]
    for node, group in groupby(silent, key=attrgetter("node")):
        own = [*group]
        since_ms = max(row.measured_ms for row in own)
        sensor = own[0].name if len(own) == 1 else None
        yield Item("silent", node, sensor, own[0], len(own), "", since_ms, None, len(own) == 1)
    for row in rows:
        if row.trouble == LOW_BATTERY:
            yield Item("battery", row.node, row.name, row, 1, "", None)


def _with_start(
    connection: sqlite3.Connection, item: Item, corrected: Collection[int], at_ms: int
) -> Item:
    """The item with the time since when its value is beyond the limit."""
    if item.kind not in {"above", "below"} or item.row is None:
        return item
    suffix = "_clean" if item.row.id in corrected else ""
    row = connection.execute(
        _BEYOND_SINCE.format(suffix=suffix),
        {
            "sensor": item.row.id,
            "below": item.row.below,
            "above": item.row.above,
            "from_ms": at_ms - DAY_MS,
        },
    ).fetchone()
    return item._replace(since_ms=row and row[0])
