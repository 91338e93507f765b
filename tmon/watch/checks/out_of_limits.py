"""T02, T03: values beyond their limit for longer than is allowed."""

from collections.abc import Iterator
from typing import NamedTuple

from tmon.core import humanize, reasons
from tmon.core.time import DAY_MS
from tmon.maintenance.clocks import plausible_until_ms
from tmon.watch.excursions import ABOVE, BELOW, Excursion, Rule, excursions
from tmon.watch.findings import Finding, Severity
from tmon.watch.station import Station

# Before the last check: a node without network sends its readings late.
LOOK_BACK_MS = 7 * DAY_MS


class Limit(NamedTuple):
    """A row of ``limits``, and its sensor."""

    sensor: int
    node: str
    name: str
    unit: str | None
    below: float | None
    above: float | None
    for_s: int
    hysteresis: float
    created_ms: int
    is_corrected: int  # whether the sensor has calibrations or flags


def check(station: Station) -> Iterator[Finding]:
    """Excursions that lasted long enough, also those that have ended.

    A shorter one doesn't meet the threshold; it is found only if its incident is open.
    """
    last = station.job_runs.get("check")
    from_ms = (last.done_ms if last else station.now_ms) - LOOK_BACK_MS
    rows = station.db.execute(
        "select finding, sensor, from_ms from incidents"
        " where finding in ('T02', 'T03') and to_ms is null"
    )
    open_since_ms = {(finding, sensor): since_ms for finding, sensor, since_ms in rows}
    for limit in _candidates(station, from_ms):
        for number, rule in _rules(limit, plausible_until_ms(station.now_ms)):
            known_ms = open_since_ms.get((number, limit.sensor))
            for excursion in excursions(station.db, rule, from_ms):
                finding = _finding(station, limit, number, rule, excursion)
                is_known = known_ms is not None and (
                    excursion.to_ms is None or excursion.to_ms > known_ms
                )
                if finding.meets_threshold or is_known:
                    yield finding


def _candidates(station: Station, from_ms: int) -> list[Limit]:
    """The limits that an hour went beyond, and all limits of corrected sensors.

    The hours begin with the last one before ``from_ms`` that was back within the limit. One
    statement for all sensors is fast, because most of them stay within their limits.
    """
    rows = station.db.execute(
        f"""
        with corrected as materialized (
            select sensor from calibrations union select sensor from flags
        )
        select limits.sensor, node, name, unit, below, above, for_s, hysteresis,
            limits.created_ms, limits.sensor in corrected as is_corrected
        from limits cross join sensors on sensors.id = limits.sensor
        where is_corrected
            or above is not null and {_went_beyond("max > above", "min <= above - hysteresis")}
            or below is not null and {_went_beyond("min < below", "max >= below + hysteresis")}
        order by node, name
        """,
        {"from_ms": from_ms},
    )
    return [Limit(*row) for row in rows]


def _went_beyond(beyond: str, within: str) -> str:
    """SQL: an hour was beyond, since the last one that had a value back within."""
    return f"""exists (
        select 1 from hourly where sensor = limits.sensor and {beyond} and hour_ms >= coalesce((
            select hour_ms from hourly where sensor = limits.sensor
                and hour_ms + 3600000 <= max(:from_ms, limits.created_ms) and {within}
            order by hour_ms desc limit 1
        ), {-(2**62)})
    )"""


def _rules(limit: Limit, until_ms: int) -> Iterator[tuple[str, Rule]]:
    for number, side, bound in (("T02", ABOVE, limit.above), ("T03", BELOW, limit.below)):
        if bound is not None:
            back = bound - side.sign * limit.hysteresis
            since_ms, suffix = limit.created_ms, "_clean" if limit.is_corrected else ""
            yield number, Rule(limit.sensor, side, bound, back, since_ms, until_ms, suffix)


def _finding(
    station: Station, limit: Limit, number: str, rule: Rule, excursion: Excursion
) -> Finding:
    end_ms = excursion.to_ms
    if end_ms is None:  # while the sensor is silent, it lasts until its last reading
        query = "select measured_ms, silent from latest where sensor = ?"
        measured_ms, silent = station.db.execute(query, [limit.sensor]).fetchone()
        end_ms = measured_ms if silent else max(measured_ms, station.now_ms)
    form = reasons.UP_TO if rule.side is ABOVE else reasons.DOWN_TO
    extreme, bound = (humanize.value(one, limit.unit) for one in (excursion.extreme, rule.bound))
    return Finding(
        number,
        Severity.CRITICAL,
        form.format(value=extreme, limit=bound),
        limit.node,
        limit.name,
        limit.sensor,
        since_ms=excursion.from_ms,
        until_ms=excursion.to_ms,
        meets_threshold=end_ms - excursion.from_ms >= limit.for_s * 1000,
    )
