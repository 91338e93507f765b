"""tmon's own wire format: JSON and NDJSON."""

from collections.abc import Sequence

from msgspec import UNSET

from ingest.wire.items import Broken, Item, WireReading, check_values, document_in, lines_in
from tmon.core.errors import ClockDiffers, Forbidden, InvalidBody
from tmon.core.reading import (
    AHEAD_MS,
    DEFAULT_SENSOR,
    Batch,
    Node,
    Reading,
    Refusal,
    Rejection,
    check_measured,
    check_sensor_name,
    clip,
    instant_ms,
    rejection,
)
from tmon.core.units import stored


def parse(
    body: bytes,
    *,
    ndjson: bool,
    node: Node,
    received_ms: int,
    clock_skew_s: float | None = None,
) -> Batch:
    """A request's body as a batch; what is wrong with single readings is told in it.

    Args:
        body: UTF-8, decompressed.
        ndjson: one reading a line, rather than one JSON text.
        node: whose token came with it.
        received_ms: the server's clock at arrival, Unix milliseconds.
        clock_skew_s: how far the node's clock is ahead, where it told.

    Raises:
        InvalidBody: it can't be parsed at all.
        TooLarge: more than 10,000 readings.
        Forbidden: it names another node.
        ClockDiffers: readings are ahead of the server's clock, and the node's clock says the same.

    """
    if not body or body.isspace():
        raise InvalidBody('the body is empty; send a reading, like {"value": 21.5}')
    check_values(body)
    name, items = (None, lines_in(body)) if ndjson else document_in(body)
    _check_name(node, name)
    readings, rejected = _checked(items, node, received_ms, clock_skew_s)
    return Batch(node, received_ms, readings, rejected, clock_skew_s)


def _check_name(node: Node, name: str | None) -> None:
    if name is not None and not node.is_called(name):
        raise Forbidden(
            f"this token is {node.name}'s, and can't send for {clip(name)!r}; "
            "leave the node's name out, or correct it"
        )


def _checked(
    items: Sequence[Item], node: Node, received_ms: int, clock_skew_s: float | None
) -> tuple[list[Reading], list[Rejection]]:
    readings: list[Reading] = []
    rejected: list[Rejection] = []
    untimed: set[str] = set()
    for index, item in enumerate(items):
        if isinstance(item, Broken):
            rejected.append(rejection(index, item.item, item.refusal))
            continue
        _check_name(node, item.node)
        try:
            reading = _reading(index, item, received_ms)
            if not reading.timed:
                _check_only_one(reading.sensor, untimed)
            readings.append(reading)
        except Refusal as refusal:
            if refusal.code == "implausible_time" and clock_skew_s is not None:
                _check_clocks(item, received_ms, clock_skew_s)
            rejected.append(rejection(index, item, refusal))
    return readings, rejected


def _check_clocks(wire: WireReading, received_ms: int, clock_skew_s: float) -> None:
    """Whether a reading of the wrong time is also wrong by its sender's clock.

    Raises:
        ClockDiffers: it is ahead of our clock, but not of its sender's.
    """
    measured_ms = None if wire.age_s is not None else _measured_ms(wire, received_ms)
    ahead_by_theirs_ms = received_ms + round(clock_skew_s * 1000) + AHEAD_MS
    if measured_ms is not None and received_ms + AHEAD_MS < measured_ms <= ahead_by_theirs_ms:
        raise ClockDiffers(
            "readings are over 10 minutes ahead of the server's clock, but not of yours; "
            "nothing was stored: keep them, and see which of the two is wrong"
        )


def _reading(index: int, wire: WireReading, received_ms: int) -> Reading:
    sensor = check_sensor_name(DEFAULT_SENSOR if wire.sensor is UNSET else wire.sensor)
    value, unit = stored(wire.value, wire.unit)
    measured_ms = wire.measured_ms
    if type(measured_ms) is not int or wire.measured_at is not None or wire.age_s is not None:
        measured_ms = _measured_ms(wire, received_ms)
    if measured_ms is None:
        return Reading(index, sensor, value, unit, received_ms, timed=False, sent=wire)
    check_measured(measured_ms, received_ms)
    sent = None if wire.measured_ms == measured_ms and wire.value == value else wire
    return Reading(index, sensor, value, unit, measured_ms, sent=sent)


def _measured_ms(wire: WireReading, received_ms: int) -> int | None:
    measured_ms = None if wire.measured_ms is None else _whole(wire.measured_ms)
    if wire.measured_at is not None:
        measured_ms = _same(measured_ms, instant_ms(wire.measured_at))
    if wire.age_s is not None:
        measured_ms = _same(measured_ms, _before(received_ms, wire.age_s))
    return measured_ms


def _same(told: int | None, again: int) -> int:
    if told not in (None, again):
        raise Refusal("invalid_time", "give one of measured_at, measured_ms and age_s")
    return again


def _whole(measured_ms: float) -> int:
    """Small computers write whole numbers as floats: 1.795176e12."""
    if isinstance(measured_ms, float) and not measured_ms.is_integer():
        raise Refusal("invalid_time", "measured_ms must be an integer, Unix milliseconds")
    return int(measured_ms)


def _before(received_ms: int, age_s: float) -> int:
    try:
        return received_ms - round(age_s * 1000)
    except (ValueError, OverflowError):
        raise Refusal("invalid_time", f"age_s must be a number of seconds, not {age_s}") from None


def _check_only_one(sensor: str, seen: set[str]) -> None:
    if sensor in seen:
        raise Refusal(
            "repeated_untimed",
            f"a second reading of {sensor} without a time in one batch; give each measured_at",
        )
    seen.add(sensor)
