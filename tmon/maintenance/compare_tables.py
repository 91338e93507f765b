"""Which tables `tmon compare` compares, and the queries for a part of one."""

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
}
# What a station knows of itself, or makes of the others.
NOT_COMPARED = frozenset(
    (
        *("hours", "rejected", "incidents", "events", "channels", "mutes", "chores"),
        *("imports", "import_runs", "changes", "stream_positions", "_sqlite_migrations"),
    )
)

Key = tuple[int | str, ...]


class Table(NamedTuple):
    """A compared table: the columns of its primary key, and the others."""

    name: str
    key: tuple[str, ...]
    others: tuple[str, ...]


class Part(NamedTuple):
    """The rows of a table with keys above ``after`` up to ``upto``, None being no bound.

    ``size`` is how many of them the first station has, or fewer. Of readings, only those from
    ``from_ms`` on and before ``until_ms``.
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

    def rows_sql(self) -> str:
        """Each row: its key, its other columns, and a checksum of these."""
        key, others = ", ".join(self.table.key), ", ".join(self.table.others)
        return f"select {key}, {others}, {SQL_NAME}({others}) {self._rows()} group by {key}"

    def key_sql(self, offset: int) -> str:
        """The key of a row of it, counted from 0."""
        key = ", ".join(self.table.key)
        return f"select {key} {self._rows()} order by {key} limit 1 offset {offset}"

    def _rows(self) -> str:
        key = ", ".join(self.table.key)
        conditions = ["true"]
        if self.after is not None:
            conditions.append(f"({key}) > ({_placeholders('a', self.after)})")
        if self.upto is not None:
            conditions.append(f"({key}) <= ({_placeholders('u', self.upto)})")
        if self.table.name == "readings":
            # The + keeps SQLite from taking the index on time, which isn't in the key's order.
            conditions.append(f"+measured_ms >= {self.from_ms} and +measured_ms < {self.until_ms}")
        return f"from {self.table.name} where {' and '.join(conditions)}"


def _placeholders(prefix: str, key: Key) -> str:
    """Texts as named parameters; numbers as they are, as an address sends parameters as texts."""
    return ", ".join(
        f":{prefix}{n}" if isinstance(value, str) else str(value) for n, value in enumerate(key)
    )
