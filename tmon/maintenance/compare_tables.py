"""Which tables `tmon compare` compares, and the queries for a part of one."""

from collections.abc import Sequence
from typing import NamedTuple

from tmon.core.checksum import SQL_NAME

# Tables with what people measured or said, and their columns that each station has for itself.
COMPARED: dict[str, frozenset[str]] = {
    "nodes": frozenset(("last_received_ms", "clock_skew_s")),  # written about once a minute
    "sensors": frozenset(("pruned_before_ms",)),  # each station prunes as it likes
    "sensor_names": frozenset(),
    "calibrations": frozenset(),
    "flags": frozenset(),
    "notes": frozenset(),
    "limits": frozenset(),
    "keys": frozenset(("devices_waiting",)),
    "readings": frozenset(),
    "rejected": frozenset(),
}
# What a station knows of itself, or makes of the others.
NOT_COMPARED = frozenset(
    (
        *("hours", "incidents", "events", "channels", "mutes", "chores"),
        *("imports", "import_runs", "changes", "stream_positions", "_sqlite_migrations"),
    )
)

Key = tuple[int | str, ...]


class Table(NamedTuple):
    """A compared table: the columns of its primary key, and the others.

    ``is_content``: equal rows count, rather than their ids; the key is what they say.
    """

    name: str
    key: tuple[str, ...]
    others: tuple[str, ...]
    is_content: bool = False

    @property
    def time(self) -> str | None:
        """The column by which rows are compared or left out."""
        return {"readings": "measured_ms", "rejected": "received_ms"}.get(self.name)


_REJECTED = ("code", "node", "gateway", "sensor", "measured", "value", "reason", "raw")


def rejected_by_id(others: Sequence[str]) -> Table:
    """The table ``rejected`` of two machines that read the same streams."""
    return Table("rejected", ("id",), tuple(others))


def rejected_by_content() -> Table:
    """The same of stations that each refuse by themselves: what, and how often."""
    return Table("rejected", _REJECTED, ("times",), is_content=True)


class Part(NamedTuple):
    """The rows of a table with keys above ``after`` up to ``upto``, None being no bound.

    ``size`` is how many of them the first station has, or fewer. Of readings, only those from
    ``from_ms`` on and before ``until_ms``; and of what was refused.
    """

    table: Table
    after: Key | None
    upto: Key | None
    size: int
    from_ms: int = 0
    until_ms: int = 0

    @property
    def values(self) -> dict[str, str]:
        """The values of the named parameters in its queries."""
        bounds = {"a": self.after or (), "u": self.upto or ()}
        return {
            f"{prefix}{n}": value
            for prefix, key in bounds.items()
            for n, value in enumerate(key)
            if isinstance(value, str)
        }

    def checksum_sql(self) -> str:
        """How many rows, and their checksum in the order of the key."""
        columns = ", ".join((*self.table.key, *self.table.others))
        return (
            f"select count(*), {SQL_NAME}({columns}) from"
            f" (select {columns} {self._rows()} order by {', '.join(self.table.key)})"
        )

    def as_they_came_sql(self, first: int, most: int) -> str:
        """How many rows of a table of contents from the first on, and their checksum."""
        key, name = ", ".join(self.table.key), self.table.name
        window = f"{self.table.time} >= {self.from_ms} and {self.table.time} < {self.until_ms}"
        return (
            f"select count(*), {SQL_NAME}({key}) from (select {key} from {name}"
            f" where {window} order by id limit {most} offset {first})"
        )

    def rows_sql(self) -> str:
        """Each row: its key, its other columns, and a checksum of these."""
        key, others = ", ".join(self.table.key), ", ".join(self.table.others)
        return f"select {key}, {others}, {SQL_NAME}({others}) {self._rows()} group by {key}"

    def key_sql(self, offset: int) -> str:
        """The key of a row of it, counted from 0."""
        key = ", ".join(self.table.key)
        return f"select {key} {self._rows()} order by {key} limit 1 offset {offset}"

    def _rows(self) -> str:
        table, key = self.table, ", ".join(self.table.key)
        conditions = ["true"]
        if self.after is not None:
            conditions.append(f"({key}) > ({_placeholders('a', self.after)})")
        if self.upto is not None:
            conditions.append(f"({key}) <= ({_placeholders('u', self.upto)})")
        if table.time:
            # The + keeps SQLite from taking the index on time, which isn't in the key's order.
            window = f"+{table.time} >= {self.from_ms} and +{table.time} < {self.until_ms}"
            conditions.append(window)
        where = " and ".join(conditions)
        if not table.is_content:
            return f"from {table.name} where {where}"
        texts = ", ".join(f"ifnull({column}, '') as {column}" for column in table.key)
        rows = f"(select {texts}, {table.time} from {table.name})"
        return f"from (select {key}, count(*) as times from {rows} where {where} group by {key})"


def _placeholders(prefix: str, key: Key) -> str:
    """Texts as named parameters; numbers as they are, as an address sends parameters as texts."""
    return ", ".join(
        f":{prefix}{n}" if isinstance(value, str) else str(value) for n, value in enumerate(key)
    )
