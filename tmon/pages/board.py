"""What the home page shows: nodes with their sensors, as they are and as the last day was."""

import json
from collections.abc import Iterable, Mapping, Sequence
from itertools import groupby, pairwise
from operator import attrgetter
from time import monotonic
from typing import Any, NamedTuple

from datasette.utils import sqlite_timelimit
from datasette.utils.sqlite import sqlite3

from tmon.core.time import DAY_MS, HOUR_MS
from tmon.pages.corrections import lately
from tmon.pages.incidents import Open, going_on
from tmon.pages.station import NOT_AHEAD, interrupted

MOST_SENSORS = 1000  # on one page, and as many nodes without a reading
MOST_WORDS = 8  # of a filter
HOURS = DAY_MS // HOUR_MS
SPARK_HEIGHT = 40  # steps from low to high: finer than what a screen shows
DASH = "m-.4 0h.8"  # most of an hour

_LATEST = """
select sensor, node, name, unit, measured_ms, value, age_s, silent
from latest
where node > :after {matching}
order by {order}
limit :most + 1
"""
_LATEST_CLEAN = """
select sensor, node, name, unit, measured_ms, value, age_s, silent
from latest_clean where sensor in (select value from json_each(?))
"""
_BY_NAME = "node, name"
_SILENT_FIRST = "max(silent) over (partition by node) desc, node, silent desc, name"

_MUTE = f"""
select name from nodes
where name > :after and name <= coalesce(:last, name) and revoked_ms is null
    and not exists (
        select 1 from sensors cross join readings on readings.sensor = sensors.id
        where sensors.node = nodes.name and {NOT_AHEAD}
    )
    {{matching}}
order by name
limit :most + 1
"""

# The hours' means as corners of a line: how many hours after the first, and how far below the top.
_DAYS = """
select sensor, low, high, (
    select group_concat(
        ((hour_ms - :from_ms) / 3600000) || ' ' || coalesce(y, :height / 2), 'L'
    )
    from (
        select hour_ms, cast((high - sum / n) * scale + 0.5 as integer) as y from {hourly} as own
        where own.sensor = framed.sensor and hour_ms >= :from_ms and hour_ms <= :at_ms
        order by hour_ms
    )
) as corners
from (
    select sensor, min(min) as low, max(max) as high,
        :height / nullif(max(max) - min(min), 0) as scale
    from {hourly}
    where sensor in (select value from json_each(:sensors))
        and hour_ms >= :from_ms and hour_ms <= :at_ms
    group by sensor
) as framed
"""


class Asked(NamedTuple):
    """What an address asks for: nodes that come after one, what has all of some words in it."""

    words: Sequence[str] = ()
    after: str = ""
    silent_first: bool = False
    raw: bool = False

    @property
    def bounded(self) -> bool:
        """Whether no more sensors than fit on a page are looked at, however many there are."""
        return not (self.words or self.silent_first)


class Day(NamedTuple):
    """A sensor's last 24 clock hours, this one included; ``path`` is the line of their means."""

    low: float
    high: float
    path: str


class Row(NamedTuple):
    """A sensor as it is now; ``day`` is None where its last 24 hours have no reading."""

    id: int
    node: str
    name: str
    unit: str | None
    measured_ms: int
    value: float
    age_s: int
    silent: int
    day: Day | None


class Group(NamedTuple):
    """A node with its sensors, or with none as long as it has sent no reading."""

    node: str
    description: str | None
    rows: Sequence[Row]


class Board(NamedTuple):
    """One page of nodes.

    ``sensors`` counts all of the station; ``more``: there are others behind this page's last;
    ``cut``: even its one node has more sensors than these; ``corrected``: so many of these are
    shown as calibrations and flags make them, ``unfit`` not at all, as all they have is flagged;
    ``hurried``: there was no time to look at everybody's last 24 hours.
    """

    groups: Sequence[Group]
    sensors: int
    more: bool
    cut: bool
    corrected: int
    unfit: int
    wrong: Open
    hurried: bool

    @property
    def rows(self) -> list[Row]:
        return [row for group in self.groups for row in group.rows]


def look(conn: sqlite3.Connection, asked: Asked, at_ms: int, lines_until_s: float) -> Board:
    """Read a page: whole nodes, of no more than ``MOST_SENSORS`` sensors together.

    Lines of the last 24 hours are looked up until an instant of the monotonic clock.
    """
    found = _latest(conn, asked)
    more = len(found) > MOST_SENSORS
    latest = _whole_nodes(found) if more else found
    cut = more and latest[-1]["node"] == found[-1]["node"]
    last = latest[-1]["node"] if more and not asked.silent_first else None
    mute = _mute(conn, asked, last)
    if len(mute) > MOST_SENSORS:
        mute, more = mute[:MOST_SENSORS], True
        latest = [row for row in latest if asked.silent_first or row["node"] <= mute[-1]]
    corrected = [] if asked.raw else _corrected(conn, latest, at_ms)
    clean = _clean(conn, latest, corrected)
    nodes = list(dict.fromkeys([*(row["node"] for row in clean), *mute]))
    descriptions = _descriptions(conn, nodes)
    sensors = conn.execute("select count(*) from sensors").fetchone()[0]
    wrong = going_on(conn)
    days: dict[int, Day] = {}
    shown = [row["sensor"] for row in clean]
    with sqlite_timelimit(conn, max(0, lines_until_s - monotonic()) * 1000):
        hurried = not _add_days(conn, days, shown, corrected, at_ms)
    rows = [Row._make([*row, days.get(row["sensor"])]) for row in clean]
    return Board(
        *(_groups(rows, mute, descriptions, asked), sensors, more, cut),
        *(len(corrected), len(latest) - len(clean), wrong, hurried),
    )


def _latest(conn: sqlite3.Connection, asked: Asked) -> list[Any]:
    matching = _matching("node || ' ' || name", "node", asked.words)
    order = _SILENT_FIRST if asked.silent_first else _BY_NAME
    sql = _LATEST.format(matching=matching, order=order)
    found: list[Any] = conn.execute(sql, _parameters(asked)).fetchall()
    return found


def _corrected(conn: sqlite3.Connection, latest: Sequence[Any], at_ms: int) -> list[int]:
    """The sensors of which something shown would be another without corrections."""
    newest_ms = {row["sensor"]: row["measured_ms"] for row in latest}
    return lately(conn, newest_ms, _first_hour_ms(at_ms), at_ms)


def _clean(
    conn: sqlite3.Connection, latest: Sequence[Any], corrected: Sequence[int]
) -> Sequence[Any]:
    """The same in the same order, corrected ones by their clean readings if they have any."""
    if not corrected:
        return latest
    clean = {row["sensor"]: row for row in conn.execute(_LATEST_CLEAN, [json.dumps(corrected)])}
    unfit = {*corrected} - clean.keys()
    return [clean.get(row["sensor"], row) for row in latest if row["sensor"] not in unfit]


def _mute(conn: sqlite3.Connection, asked: Asked, last: str | None) -> list[str]:
    """Nodes that may send, and have not yet."""
    sql = _MUTE.format(matching=_matching("name", "name", asked.words))
    found = conn.execute(sql, {**_parameters(asked), "last": last})
    return [row["name"] for row in found]


def _matching(text: str, node: str, words: Sequence[str]) -> str:
    """SQL: each word is in a text, or else in the description of a node."""
    return " ".join(
        f"""and (instr(lower({text}), lower(:word{place})) or {node} in (
            select name from nodes where instr(lower(description), lower(:word{place}))))"""
        for place in range(len(words))
    )


def _parameters(asked: Asked) -> dict[str, Any]:
    words = {f"word{place}": word for place, word in enumerate(asked.words)}
    return {"after": asked.after, "most": MOST_SENSORS, **words}


def _whole_nodes(found: Sequence[Any]) -> list[Any]:
    """The page without its last node, which goes on behind it; a node alone on it stays."""
    whole = [row for row in found if row["node"] != found[-1]["node"]]
    return whole or list(found[:MOST_SENSORS])


def _first_hour_ms(at_ms: int) -> int:
    return at_ms // HOUR_MS * HOUR_MS - (HOURS - 1) * HOUR_MS


def _add_days(
    conn: sqlite3.Connection,
    days: dict[int, Day],
    sensors: Sequence[int],
    corrected: Sequence[int],
    at_ms: int,
) -> bool:
    """Look up the sensors' last 24 hours until the time limit; whether it was enough."""
    plain = [*{*sensors}.difference(corrected)]
    try:
        for hourly, own in (("hourly", plain), ("hourly_clean", corrected)):
            if not own:
                continue
            found = conn.execute(
                _DAYS.format(hourly=hourly),
                {
                    "sensors": json.dumps(own),
                    "from_ms": _first_hour_ms(at_ms),
                    "at_ms": at_ms,
                    "height": SPARK_HEIGHT,
                },
            )
            for row in found:
                path = _path(row["corners"].split("L"))
                days[row["sensor"]] = Day(row["low"], row["high"], path)
    except sqlite3.OperationalError as error:
        if not interrupted(error):
            raise
        return False
    return True


def _path(corners: Sequence[str]) -> str:
    """Corners such as ``5 40`` as an SVG path; an hour alone is a dash."""
    return "".join(
        f"M{'L'.join(run)}" if len(run) > 1 else f"M{run[0]}{DASH}" for run in _runs(corners)
    )


def _runs(corners: Sequence[str]) -> Iterable[Sequence[str]]:
    """What gaps leave: hours without a reading, or three times as many as are usual between two."""
    first, last = (int(corner.partition(" ")[0]) for corner in (corners[0], corners[-1]))
    if last - first == len(corners) - 1:
        return [corners]
    hours = [int(corner.partition(" ")[0]) for corner in corners]
    steps = [late - early for early, late in pairwise(hours)]
    longest = 1 if min(steps) == 1 else 3 * min(steps)
    ends = [place for place, step in enumerate(steps, 1) if step > longest]
    return [corners[begin:end] for begin, end in pairwise([0, *ends, len(corners)])]


def _descriptions(conn: sqlite3.Connection, nodes: Sequence[str]) -> dict[str, str | None]:
    sql = "select name, description from json_each(?) cross join nodes on name = value"
    return dict(conn.execute(sql, [json.dumps(nodes)]).fetchall())


def _groups(
    rows: Iterable[Row],
    mute: Sequence[str],
    descriptions: Mapping[str, str | None],
    asked: Asked,
) -> list[Group]:
    by_node = {node: [*own] for node, own in groupby(rows, key=attrgetter("node"))}
    by_node.update((node, []) for node in mute)
    groups = [Group(node, descriptions.get(node), own) for node, own in by_node.items()]
    return sorted(groups, key=_silent_first if asked.silent_first else attrgetter("node"))


def _silent_first(group: Group) -> tuple[int, str]:
    """Silent nodes, those never heard, and then the others."""
    if not group.rows:
        return 1, group.node
    return 0 if any(row.silent for row in group.rows) else 2, group.node
