"""Compare the data of two stations, part by part, by checksums that each computes itself.

A part whose checksums differ is halved until it is small enough to compare row by row. So what
is sent grows with the differences, not with the data.
"""

from collections.abc import Callable, Iterator
from contextlib import suppress
from time import monotonic, sleep
from typing import Any

from tmon.maintenance.compare_pair import Pair
from tmon.maintenance.compare_report import Comparison
from tmon.maintenance.compare_stations import CannotCompare, Row, TooCostly
from tmon.maintenance.compare_streams import behind
from tmon.maintenance.compare_tables import (
    COMPARED,
    Key,
    Part,
    Table,
    rejected_by_content,
    rejected_by_id,
)
from tmon.maintenance.rollup import MAX_MS, MIN_MS

FIRST_SIZE, MOST = 20_000, 1_000_000  # rows asked for at once
AS_THEY_CAME = 5000  # rows
SMALL = 500  # rows: a part that is compared row by row
QUICK_S, SLOW_S = 0.1, 0.4  # Datasette ends a query after 1 s, which others need too
ASK_AGAIN, ASK_AGAIN_S = 5, 2.0  # a running station lags by a second or so

Checksum = tuple[int, str | None]
Checksums = tuple[Checksum, Checksum]


def compare(
    pair: Pair,
    until_ms: int,
    progress: Callable[[int], Any] = lambda _: None,
    pause: Callable[[float], object] = sleep,
) -> Comparison:
    """Compare all tables of ``COMPARED``.

    Args:
        pair: the stations.
        until_ms: readings from then on are left out, as they are still on their way.
        progress: told how many rows further it is.
        pause: waits so many seconds.

    Raises:
        CannotCompare: one of the stations doesn't answer, or is of another version.
    """
    return _Comparer(pair, until_ms, progress, pause).run()


def count_readings(pair: Pair) -> int:
    """About how many readings there are; 0 if that takes too long to find out."""
    with suppress(TooCostly):
        return int(max(rows[0][0] for rows in pair.ask("select cast(total(n) as int) from hours")))
    return 0


class _Comparer:
    def __init__(
        self,
        pair: Pair,
        until_ms: int,
        progress: Callable[[int], Any],
        pause: Callable[[float], object],
    ) -> None:
        self._pair, self._until_ms = pair, until_ms
        self._progress, self._pause = progress, pause
        self._size = FIRST_SIZE
        self._result = Comparison(pair.names, until_ms)

    def run(self) -> Comparison:
        suspects: dict[Part, Checksums] = {}
        for table in self._tables():
            for window in self._windows(table):
                if not (table.is_content and self._came_in_same_order(window)):
                    suspects |= self._scan(window)
        lasting, changing = self._lasting(suspects)
        # Where rows still arrive, one counts only if it differs in the same way a while later.
        before = {part: self._rows(part) for part in lasting if part in changing}
        if before:
            self._pause(ASK_AGAIN_S)
        for part in lasting:
            self._result.add(part, self._rows(part), before.get(part))
        if not self._result.is_equal:
            self._result.lag = behind(self._pair, self._pause)
            self._result.labels = self._labels()
        return self._result

    def _tables(self) -> Iterator[Table]:
        """The tables with their columns, which must be the same in both."""
        for name, local in COMPARED.items():
            sql = f"select name, pk from pragma_table_info('{name}') order by cid"
            ours, theirs = self._patiently(sql)
            if ours != theirs or not ours:
                raise CannotCompare(
                    f"the table {name} has other columns in {self._pair.names[0]} than in"
                    f" {self._pair.names[1]}; both need the same version of tmon"
                )
            key = sorted((pk, column) for column, pk in ours if pk)
            others = [column for column, pk in ours if not pk and column not in local]
            if name == "rejected":
                yield rejected_by_id(others) if self._of_cluster() else rejected_by_content()
            else:
                yield Table(name, tuple(column for _, column in key), tuple(others))

    def _of_cluster(self) -> bool:
        """Whether both are of several machines: these give what they refuse the same ids."""
        found = self._patiently("select exists (select 1 from stream_positions)")
        return all(rows[0][0] for rows in found)

    def _rejected_from_ms(self) -> int:
        """From when on both have all that they refused: a file keeps only the newest."""
        found = self._patiently("select id, received_ms from rejected order by id limit 1")
        return max((row[1] + 1 for rows in found for row in rows if row[0] > 1), default=MIN_MS)

    def _windows(self, table: Table) -> Iterator[Part]:
        """The whole table; of readings, runs of sensors of which both have the same time."""
        whole = Part(table, None, None, FIRST_SIZE, MIN_MS, self._until_ms)
        if table.is_content:
            whole = whole._replace(from_ms=self._rejected_from_ms())
        if table.name != "readings":
            yield whole
            return
        runs: list[list[int]] = []
        for sensor, kept_from_ms in self._pruned():
            if runs and runs[-1][1:] == [sensor - 1, kept_from_ms]:
                runs[-1][1] = sensor
            else:
                runs.append([sensor, sensor, kept_from_ms])
        after: Key | None = None
        for first, last, kept_from_ms in runs:
            before, end = (first - 1, MAX_MS), (last, MAX_MS)
            yield whole._replace(after=after, upto=before)
            yield whole._replace(after=before, upto=end, from_ms=kept_from_ms)
            after = end
        yield whole._replace(after=after)

    def _pruned(self) -> list[tuple[int, int]]:
        """Sensors of which a station has pruned readings, and from when on both have all."""
        kept_from_ms: dict[int, int] = {}
        sql = (
            "select id, pruned_before_ms from sensors where pruned_before_ms is not null"
            " and id > {} order by id limit 5000"
        )
        after = MIN_MS
        while found := [rows for rows in self._patiently(sql.format(after)) if rows]:
            for sensor, ms in sorted(row for rows in found for row in rows):
                kept_from_ms[sensor] = max(ms, kept_from_ms.get(sensor, ms))
            after = min(rows[-1][0] for rows in found)
        self._result.pruned = len(kept_from_ms)
        return sorted(kept_from_ms.items())

    def _came_in_same_order(self, window: Part) -> bool:
        """Whether the rows are equal as they came: then neither has to sort them."""
        first = 0
        while True:
            (ours,), (theirs,) = self._patiently(window.as_they_came_sql(first, AS_THEY_CAME))
            if ours[0] == theirs[0] == 0:
                self._result.count_equal(window.table.name, first)
                return True
            if ours != theirs:
                return False
            first += int(ours[0])

    def _scan(self, window: Part) -> Iterator[tuple[Part, Checksums]]:
        """The small parts of a window whose checksums differ."""
        while True:
            try:
                end = self._key_at(window, self._size)
            except TooCostly:
                self._size //= 2
                continue
            began_s = monotonic()
            yield from self._differing(window._replace(upto=end or window.upto, size=self._size))
            if end is None:
                return
            window = window._replace(after=end)
            if monotonic() - began_s < QUICK_S:
                self._size = min(self._size * 2, MOST)
            elif monotonic() - began_s > SLOW_S:
                self._size = max(self._size // 2, SMALL)

    def _differing(self, part: Part) -> Iterator[tuple[Part, Checksums]]:
        """Halve a part until those that differ are small."""
        size = part.size
        try:
            sums = self._checksums(part)
        except TooCostly:
            self._size = max(SMALL, min(self._size, size // 2))
        else:
            counts = [count for count, _ in sums]
            if sums[0] == sums[1]:
                self._result.count_equal(part.table.name, counts[0])
                self._progress(counts[0])
                return
            size = max(counts)
            if size <= SMALL:
                self._progress(size)
                yield part, sums
                return
        half = size // 2
        middle = self._key_at(part, half)
        if middle is None:  # neither has so many
            yield from self._differing(part._replace(size=half))
        else:
            yield from self._differing(part._replace(upto=middle, size=half))
            yield from self._differing(part._replace(after=middle, size=size))

    def _key_at(self, part: Part, rows: int) -> Key | None:
        """The key up to which neither has more than so many rows of a part; None: its end."""
        ask = self._patiently if rows <= SMALL else self._pair.ask
        found = ask(part.key_sql(rows - 1), part.values)
        return min((rows[0] for rows in found if rows), default=None)

    def _checksums(self, part: Part) -> Checksums:
        """Both checksums.

        Raises:
            TooCostly: it isn't small, and one of the servers refuses it.
        """
        ask = self._patiently if part.size <= SMALL else self._pair.ask
        # Of no row at all, some versions of Python have a checksum, and some null.
        ours, theirs = (
            (n, text if n else None) for [(n, text)] in ask(part.checksum_sql(), part.values)
        )
        return ours, theirs

    def _patiently(self, sql: str, values: dict[str, str] | None = None) -> list[list[Row]]:
        return self._pair.ask_patiently(sql, values, self._pause)

    def _lasting(self, suspects: dict[Part, Checksums]) -> tuple[list[Part], set[Part]]:
        """The parts that differ again and again, and those of them that still change."""
        changing: set[Part] = set()
        before: dict[Part, Checksums] = {}
        for _ in range(ASK_AGAIN):
            if suspects == before:
                break
            self._pause(ASK_AGAIN_S)
            before, suspects = suspects, {}
            for part in before:
                ours, theirs = self._checksums(part)
                if ours == theirs:
                    self._result.count_equal(part.table.name, ours[0])
                else:
                    suspects[part] = ours, theirs
            changing = {part for part, sums in suspects.items() if sums != before[part]}
        return [*suspects], changing

    def _rows(self, part: Part) -> tuple[list[Row], list[Row]]:
        ours, theirs = self._patiently(part.rows_sql(), part.values)
        return ours, theirs

    def _labels(self) -> dict[int, str]:
        """What the sensors are called whose readings differ."""
        numbers = ", ".join(str(sensor) for sensor in self._result.sensors())
        found = self._patiently(f"select id, label from sensors where id in ({numbers})")
        return {int(sensor): str(label) for rows in reversed(found) for sensor, label in rows}
