"""Nodes in groups: the owner's areas, or what several names begin with."""

import re
from collections import Counter
from collections.abc import Mapping, Sequence
from itertools import groupby
from operator import itemgetter
from typing import NamedTuple, Self

from tmon.pages.home_charts import DayChart
from tmon.pages.home_rows import OK, NodeRows

MIN_NODES = 3  # whose names begin alike


class Group(NamedTuple):
    """Nodes that are shown together, and how many there are on all pages."""

    name: str  # empty: nodes of no group
    nodes: Sequence[NodeRows]
    all_nodes: int
    sensors: int
    troubled: int  # sensors
    is_closed: bool

    def with_charts(self, charts: Mapping[int, DayChart]) -> Self:
        nodes = [
            node._replace(rows=[row._replace(day=charts.get(row.id)) for row in node.rows])
            for node in self.nodes
        ]
        return self._replace(nodes=nodes)


def group_nodes(
    nodes: Sequence[NodeRows], closed: Sequence[str], *, is_grouped: bool
) -> list[Group]:
    """All nodes in groups by name; first come those without one. Closed ones have no nodes."""
    names = _names(nodes) if is_grouped else {}
    named = sorted(((names.get(node.node, ""), node) for node in nodes), key=itemgetter(0))
    return [
        _group(name, [node for _, node in own], is_closed=bool(name) and name in closed)
        for name, own in groupby(named, key=itemgetter(0))
    ]


def cut(groups: Sequence[Group], after: str, most: int) -> tuple[list[Group], bool, str]:
    """One page of the groups: the nodes after one, with at most ``most`` rows together.

    Returns:
        The groups of the page, whether more nodes come after it, and its last node.
    """
    every = [node for group in groups for node in group.nodes]
    places = {node.node: place for place, node in enumerate(every)}
    start = places.get(after, -1) + 1
    end, left = start, most
    while end < len(every) and (every[end].weight <= left or end == start):
        left -= every[end].weight
        end += 1
    shown = {node.node for node in every[start:end]}
    page = [
        group._replace(nodes=[node for node in group.nodes if node.node in shown])
        for group in groups
    ]
    page = [group for group in page if group.nodes or (group.is_closed and start == 0)]
    return page, end < len(every), every[end - 1].node if end else ""


def _group(name: str, nodes: Sequence[NodeRows], *, is_closed: bool) -> Group:
    rows = [row for node in nodes for row in node.rows]
    troubled = sum(row.trouble != OK for row in rows)
    return Group(name, [] if is_closed else nodes, len(nodes), len(rows), troubled, is_closed)


def _names(nodes: Sequence[NodeRows]) -> dict[str, str]:
    """Each node's group: its area, or the first word of its name if enough others have it.

    No group is made of first words alone if all nodes would be in one.
    """
    first_words = {node.node: re.split(r"[-_:]", node.node, maxsplit=1)[0] for node in nodes}
    counts = Counter(first_words[node.node] for node in nodes if not node.area)
    names = {
        node.node: node.area
        or (first_words[node.node] if counts[first_words[node.node]] >= MIN_NODES else "")
        for node in nodes
    }
    has_areas = any(node.area for node in nodes)
    return names if has_areas or len({*names.values()}) > 1 else {}
