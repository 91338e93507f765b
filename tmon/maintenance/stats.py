"""``tmon stats``: how much there is, in numbers that are quick to have."""

from pathlib import Path
from typing import Any

from sqlite_utils import Database

from tmon.core.time import DAY_MS, iso_sql
from tmon.maintenance.clocks import plausible_until_ms

# `hourly` has counted all that was ever stored; what is before a horizon and not in its
# hours any more was pruned.
_COUNTED = f"""
select
    (select coalesce(sum(n), 0) from hourly) as stored,
    (select coalesce(sum(
        (select coalesce(sum(n), 0) from hourly
         where sensor = sensors.id and hour_ms < pruned_before_ms)
        - (select count(*) from readings
           where sensor = sensors.id and measured_ms < pruned_before_ms)), 0)
     from sensors where pruned_before_ms is not null) as pruned,
    (select count(*) from readings
     where measured_ms >= :now_ms - {DAY_MS} and measured_ms <= :until_ms) as last_24_h,
    (select count(*) from sensors) as sensors,
    (select count(*) from nodes) as nodes,
    min(
        (select coalesce(min(measured_ms), 9e18) from readings),
        (select coalesce(min((select min(hour_ms) from hours where sensor = sensors.id)), 9e18)
         from sensors where pruned_before_ms is not null)
    ) as first_ms,
    (select max(measured_ms) from readings where measured_ms <= :until_ms) as last_ms,
    (select max(pruned_before_ms) from sensors) as pruned_before_ms
"""


def stats(db: Database, path: Path, now_ms: int) -> dict[str, Any]:
    """What a station holds, and how large its file is.

    ``readings`` are those that are there, ``pruned`` those of which only the hours are;
    ``bytes_a_reading`` shares the whole file among the former.
    """
    until_ms = plausible_until_ms(now_ms)
    [counted] = db.query(_COUNTED, {"now_ms": now_ms, "until_ms": until_ms})
    readings = counted["stored"] - counted["pruned"]
    page_bytes, free = (
        db.execute(f"pragma {name}").fetchone()[0] for name in ("page_size", "freelist_count")
    )
    file_bytes = path.stat().st_size
    return {
        "readings": readings,
        "pruned": counted["pruned"],
        "last_24_h": counted["last_24_h"],
        "sensors": counted["sensors"],
        "nodes": counted["nodes"],
        "first_at": _at(db, counted["first_ms"]) if counted["stored"] else None,
        "last_at": _at(db, counted["last_ms"]),
        "pruned_before": _at(db, counted["pruned_before_ms"]),
        "file_bytes": file_bytes,
        "free_bytes": free * page_bytes,
        "wal_bytes": _size(Path(f"{path}-wal")),
        "bytes_a_reading": round(file_bytes / readings, 1) if readings else None,
        "chores": {
            row["name"]: {"done_at": _at(db, row["done_ms"]), "outcome": row["outcome"]}
            for row in db.query("select name, done_ms, outcome from chores order by name")
        },
    }


def _at(db: Database, instant_ms: int | None) -> str | None:
    at: str | None = db.execute(f"select {iso_sql('?')}", [instant_ms]).fetchone()[0]
    return at


def _size(path: Path) -> int:
    try:
        return path.stat().st_size
    except FileNotFoundError:
        return 0
