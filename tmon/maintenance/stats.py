"""`tmon stats`: how much the database holds, in numbers that are quick to compute."""

from pathlib import Path
from typing import Any

from sqlite_utils import Database

from tmon.core.time import DAY_MS, iso_sql
from tmon.db.connect import pragma
from tmon.db.job_runs import load_job_runs
from tmon.maintenance.clocks import plausible_until_ms

# `hourly` counts all readings that were ever stored; those before a horizon that are in an hour's
# count and not in `readings` were pruned.
_COUNTS = f"""
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

    ``readings`` counts the raw readings, ``pruned`` those of which only the hours are left;
    ``bytes_a_reading`` is the file's size divided by ``readings``.
    """
    until_ms = plausible_until_ms(now_ms)
    [counts] = db.query(_COUNTS, {"now_ms": now_ms, "until_ms": until_ms})
    readings = counts["stored"] - counts["pruned"]
    file_bytes, wal = path.stat().st_size, Path(f"{path}-wal")
    return {
        "readings": readings,
        "pruned": counts["pruned"],
        "last_24_h": counts["last_24_h"],
        "sensors": counts["sensors"],
        "nodes": counts["nodes"],
        "first_at": _iso(db, counts["first_ms"]) if counts["stored"] else None,
        "last_at": _iso(db, counts["last_ms"]),
        "pruned_before": _iso(db, counts["pruned_before_ms"]),
        "file_bytes": file_bytes,
        "free_bytes": pragma(db, "freelist_count") * pragma(db, "page_size"),
        "wal_bytes": wal.stat().st_size if wal.exists() else 0,
        "bytes_a_reading": round(file_bytes / readings, 1) if readings else None,
        "chores": {
            name: {"done_at": _iso(db, run.done_ms), "outcome": run.outcome}
            for name, run in sorted(load_job_runs(db).items())
        },
    }


def _iso(db: Database, at_ms: int | None) -> str | None:
    text: str | None = db.execute(f"select {iso_sql('?')}", [at_ms]).fetchone()[0]
    return text
