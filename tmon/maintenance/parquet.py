"""`tmon parquet`: a Parquet file for each finished day, made again when the day has changed."""

from collections.abc import Callable, Iterator
from datetime import UTC, datetime
from typing import Any, NamedTuple

from sqlite_utils import Database

from tmon.core.time import DAY_MS, FIRST_MS, as_ms, iso
from tmon.maintenance.parquet_days import Days, station_uid
from tmon.maintenance.parquet_file import write_day
from tmon.maintenance.parquet_target import Target, TargetError

CHECKSUM, STATION = "tmon.checksum", "tmon.station"  # in a file's metadata


class Outcome(NamedTuple):
    """What was done about a day: written, unchanged, kept (of pruned readings) or deleted."""

    day: str
    what: str
    readings: int = 0


def export(
    db: Database,
    target: Target,
    now_ms: int,
    since_ms: int = FIRST_MS,
    progress: Callable[[int], Any] = lambda _: None,
) -> Iterator[Outcome]:
    """Bring all days that ended before now up to date.

    A day is made again if its readings, their names or their corrections have changed, but not
    where readings were pruned: its file has what the database no longer has.

    Raises:
        TargetError: the target can't be read or written, or has files of another station.
    """
    days, station = Days(db), station_uid(db)
    since_ms = since_ms // DAY_MS * DAY_MS
    there = target.days()
    empty = {day for day in there if day >= _date(since_ms)}
    for day_ms in days.between(since_ms, now_ms // DAY_MS * DAY_MS):
        date = _date(day_ms)
        empty.discard(date)
        progress(1)
        found = target.metadata(date) if date in there else {}
        if date in there:
            _refuse_other_station(target, date, found, station)
            if days.is_pruned(day_ms):
                yield Outcome(date, "kept")
                continue
        day = days.day(day_ms)
        if found.get(CHECKSUM) == day.checksum:
            yield Outcome(date, "unchanged", day.readings)
            continue
        with target.replacing(date) as path:
            metadata = {CHECKSUM: day.checksum, STATION: station}
            rows = write_day(db, days, day, path, metadata)
        yield Outcome(date, "written", rows)
    for date in sorted(empty):
        yield from _without_readings(target, days, date, station)


def _without_readings(target: Target, days: Days, date: str, station: str) -> Iterator[Outcome]:
    """Delete the file of a day whose readings were all deleted, such as a wrong import's."""
    try:
        day_ms = _day_ms(date)
    except ValueError:
        return  # not a file of ours
    _refuse_other_station(target, date, target.metadata(date), station)
    if days.is_pruned(day_ms):
        yield Outcome(date, "kept")
        return
    target.delete(date)
    yield Outcome(date, "deleted")


def _refuse_other_station(target: Target, date: str, found: dict[str, str], station: str) -> None:
    if found.get(STATION) != station:
        raise TargetError(
            f"{target.name}: day={date} is a file of another station; nothing was changed there:"
            " each station needs a folder or prefix of its own"
        )


def _date(day_ms: int) -> str:
    return iso(day_ms)[:10]


def _day_ms(date: str) -> int:
    return as_ms(datetime.fromisoformat(date).replace(tzinfo=UTC))
