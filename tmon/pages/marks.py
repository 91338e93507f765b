"""Marks on charts: notes, incidents and flagged periods, each with its text to read."""

import json
import sqlite3
from collections.abc import Iterable, Mapping
from typing import NamedTuple

from tmon.core.reasons import reason_text
from tmon.pages.corrections import Flag
from tmon.pages.spans import Span

MAX_MARKS = 100  # of a kind, the newest; more can't be told apart on a chart

# Those of the shown sensors and of their nodes, each once, with the sensors that they are about.
_NOTES = """
select 'note' as kind, notes.id, notes.node, at_ms as from_ms, at_ms as to_ms, text,
    json_group_array(shown.id) as sensors
from (select id, node from sensors where id in (select value from json_each(:sensors))) as shown
join notes on notes.sensor = shown.id or notes.node = shown.node
where at_ms >= :from_ms and at_ms < :to_ms
group by notes.id order by at_ms desc limit :most
"""
_INCIDENTS = """
select iif(severity = 'critical', 'critical', 'warning') as kind, incidents.id, incidents.node,
    from_ms, to_ms, reason, json_group_array(shown.id) as sensors
from (select id, node from sensors where id in (select value from json_each(:sensors))) as shown
join incidents on incidents.sensor = shown.id or incidents.node = shown.node
where from_ms < :to_ms and coalesce(to_ms, :now_ms) >= :from_ms
group by incidents.id order by from_ms desc limit :most
"""


class Mark(NamedTuple):
    """Something that happened at an instant, or from one to another.

    ``kind`` is note, flag, or of an incident its severity, warning or critical. ``about`` is the
    sensor or node as the page calls it; ``sensors`` are those whose charts have the mark.
    ``to_ms`` is None for an incident that is still open, which is drawn up to ``until_ms``.
    """

    kind: str
    id: int
    about: str
    from_ms: int
    to_ms: int | None
    until_ms: int
    text: str
    sensors: frozenset[int]

    @property
    def table(self) -> str:
        """The table that has its row."""
        return {"note": "notes", "flag": "flags"}.get(self.kind, "incidents")

    @property
    def anchor(self) -> str:
        """The id of its line in the page's list."""
        return f"{self.table}-{self.id}"


def load_marks(
    connection: sqlite3.Connection,
    labels: Mapping[int, str],
    span: Span,
    flags: Iterable[Flag],
    at_ms: int,
) -> list[Mark]:
    """The marks of a span, newest first; ``labels`` has what the page calls each sensor."""
    parameters = {
        "sensors": json.dumps([*labels]),
        "from_ms": span.start_ms,
        "to_ms": span.end_ms,
        "now_ms": at_ms,
        "most": MAX_MARKS,
    }
    found = []
    for sql in (_NOTES, _INCIDENTS):
        for row in connection.execute(sql, parameters):
            kind, number, node, from_ms, to_ms, text, of = row
            sensors = frozenset(json.loads(of))
            about = node if node is not None else labels[min(sensors)]
            until_ms = max(from_ms, at_ms) if to_ms is None else to_ms
            text = text if kind == "note" else reason_text(text)
            found.append(Mark(kind, number, about, from_ms, to_ms, until_ms, text, sensors))
    found += [
        Mark(
            *("flag", flag.id, labels[flag.sensor], flag.from_ms, flag.to_ms, flag.to_ms),
            *(flag.reason, frozenset([flag.sensor])),
        )
        for flag in flags
    ]
    return sorted(found, key=lambda mark: -mark.from_ms)
