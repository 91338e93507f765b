"""T02, T03: values beyond their limit for longer than they may be."""

from collections.abc import Iterator
from typing import NamedTuple

from tmon.core import humanize
from tmon.core.time import DAY_MS
from tmon.db.station import Station
from tmon.maintenance.clocks import plausible_until_ms
from tmon.watch.excursions import ABOVE, BELOW, CLEAN, RAW, Excursion, Rule, excursions
from tmon.watch.findings import Finding, Severity

# Before the last run: a node that was out of reach sends what it kept, and it is told still.
LOOK_BACK_MS = 7 * DAY_MS


class Limit(NamedTuple):
    """A row of ``limits``, and whose it is."""

    sensor: int
    node: str
    name: str
    unit: str | None
    below: float | None
    above: float | None
    for_s: int
    hysteresis: float
    created_ms: int
    corrected: int  # whether it has calibrations or flags


class State(NamedTuple):
    """A sensor's newest reading, and whether that is too old to stand."""

    measured_ms: int
    silent: bool


def check(station: Station) -> Iterator[Finding]:
    """Excursions that lasted, also those that are over; shorter ones are not ``enough``."""
    last = station.chores.get("check")
    from_ms = (last.done_ms if last else station.now_ms) - LOOK_BACK_MS
    open_since_ms = _open_incidents(station)
    for limit in _limits_to_look_at(station, from_ms):
        for rule in _rules(limit, plausible_until_ms(station.now_ms)):
            known_ms = open_since_ms.get((_number(rule), rule.sensor))
            for excursion in excursions(station.db, rule, from_ms):
                finding = _finding(station, limit, rule, excursion)
                if finding.enough or excursion.ends_after(known_ms):
                    yield finding


def _open_incidents(station: Station) -> dict[tuple[str, int], int]:
    """Since when each sensor is known to be beyond its limit."""
    rows = station.db.execute(
        "select finding, sensor, from_ms from incidents"
        " where finding in ('T02', 'T03') and to_ms is null"
    )
    return {(finding, sensor): from_ms for finding, sensor, from_ms in rows}


def _limits_to_look_at(station: Station, from_ms: int) -> list[Limit]:
    """Those that some hour went beyond, since the hour that tells how it was before.

    One statement for all sensors: most of them stay within. The few that are corrected are
    all looked at.
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
    return f"""exists (
        select 1 from hourly where sensor = limits.sensor and {beyond} and hour_ms >= coalesce((
            select hour_ms from hourly where sensor = limits.sensor
                and hour_ms + 3600000 <= max(:from_ms, limits.created_ms) and {within}
            order by hour_ms desc limit 1
        ), {-(2**62)})
    )"""


def _rules(limit: Limit, until_ms: int) -> Iterator[Rule]:
    tables = CLEAN if limit.corrected else RAW
    if limit.above is not None:
        back = limit.above - limit.hysteresis
        yield Rule(tables, limit.sensor, ABOVE, limit.above, back, limit.created_ms, until_ms)
    if limit.below is not None:
        back = limit.below + limit.hysteresis
        yield Rule(tables, limit.sensor, BELOW, limit.below, back, limit.created_ms, until_ms)


def _finding(station: Station, limit: Limit, rule: Rule, excursion: Excursion) -> Finding:
    lasted_ms = _end_ms(station, limit, excursion) - excursion.from_ms
    return Finding(
        _number(rule),
        Severity.CRITICAL,
        _reason(limit, rule, excursion.extreme),
        limit.node,
        limit.name,
        limit.sensor,
        since_ms=excursion.from_ms,
        until_ms=excursion.to_ms,
        enough=lasted_ms >= limit.for_s * 1000,
    )


def _number(rule: Rule) -> str:
    return "T02" if rule.side is ABOVE else "T03"


def _end_ms(station: Station, limit: Limit, excursion: Excursion) -> int:
    """Until when it is known to have lasted."""
    if excursion.to_ms is not None:
        return excursion.to_ms
    state = _state(station, limit.sensor)
    return state.measured_ms if state.silent else max(state.measured_ms, station.now_ms)


def _state(station: Station, sensor: int) -> State:
    query = "select measured_ms, silent from latest where sensor = ?"
    return State(*station.db.execute(query, [sensor]).fetchone())


def _reason(limit: Limit, rule: Rule, extreme: float) -> str:
    """``up to 33.1 °C, above its limit of 30 °C``."""
    up, above = ("up", "above") if rule.side is ABOVE else ("down", "below")
    bound = humanize.value(rule.bound, limit.unit)
    return f"{up} to {humanize.value(extreme, limit.unit)}, {above} its limit of {bound}"
