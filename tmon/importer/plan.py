"""The plan of an import: the columns of a row's time, node and values, and how they are read."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from datetime import tzinfo

from tmon.core.reading import Refusal, check_node_name
from tmon.importer.columns import Column, slug_of
from tmon.importer.layout import Layout
from tmon.importer.times import TimeFormat
from tmon.importer.values import LongTable, Value


@dataclass(frozen=True)
class NodeNames:
    """The node of a row: one for all rows, or the one that a column names."""

    node: str | None
    column: Column | None
    renamed: dict[str, str]

    def name_of(self, text: str) -> str:
        """A node's name for a cell; characters that a name can't have become _.

        Raises:
            Refusal: the cell has no other characters.
        """
        if text in self.renamed:
            return self.renamed[text]
        try:
            return check_node_name(text)
        except Refusal:
            return check_node_name(slug_of(text) or text)


@dataclass(frozen=True)
class Plan:
    """How an import reads a file.

    ``zone`` is for times without an offset. ``zone_from`` is who named it: ``flag``, ``file`` or
    ``nobody``; it is None where all times of the sample have an offset.
    """

    layout: Layout
    times: tuple[Column, ...]
    converters: tuple[Callable[[str], str], ...]  # for the cells of each, before they are joined
    time_format: TimeFormat
    zone: tzinfo | None
    zone_from: str | None
    nodes: NodeNames
    values: tuple[Value, ...]
    long_table: LongTable | None
    left_out: tuple[Column, ...]
    notes: tuple[str, ...]

    @property
    def is_assumed(self) -> bool:
        """Whether later rows may contradict what the sample showed."""
        has_order = self.time_format.order is not None
        return has_order or any(value.unit_from == "name" for value in self.values)

    def time_of(self, cells: Sequence[str]) -> str:
        """A row's time, joined from its columns."""
        if len(self.times) == 1:
            return cells[self.times[0].index].strip()
        columns = zip(self.times, self.converters, strict=True)
        return " ".join(convert(cells[column.index].strip()) for column, convert in columns)
