"""tmon's own wire format: JSON and NDJSON."""

from collections.abc import Iterable

from msgspec import UNSET

from ingest.wire.items import InvalidItem, Item, WireReading, check_values, parse_json, parse_ndjson
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
    body: bytes, *, ndjson: bool, node: Node, received_ms: int, clock_skew_s: float | None = None
) -> Batch:
    """A request's body as a batch, with a rejection for each reading that is invalid.

    Args:
        body: UTF-8, decompressed.
        ndjson: one reading a line, rather than one JSON text.
        node: the sender.
        received_ms: the server's clock at arrival, Unix milliseconds.
        clock_skew_s: how far the node's clock is ahead, if it sent its time.

    Raises:
        InvalidBody: it can't be parsed at all.
        TooLarge: more than 10,000 readings.
        Forbidden: it names another node.
        ClockDiffers: readings are ahead of the server's clock, but not of the node's.
    """
    if not body or body.isspace():
        raise InvalidBody('the body is empty; send a reading, like {"value": 21.5}')
    check_values(body)
    name, items = (None, parse_ndjson(body)) if ndjson else parse_json(body)
    _check_node(node, name)
    return _batch(node, enumerate(items), received_ms, clock_skew_s)


def parse_of_devices(body: bytes, *, ndjson: bool, received_ms: int) -> dict[str, Batch]:
    """A gateway's body: each device's readings as a batch, by the device's id.

    The id stands where a node's name would, beside ``readings`` or in each reading; it is empty
    for those that don't say which device they are from.

    Raises:
        InvalidBody, TooLarge: as ``parse``.
    """
    check_values(body)
    name, items = (None, parse_ndjson(body)) if ndjson else parse_json(body)
    by_device: dict[str, list[tuple[int, Item]]] = {}
    for index, item in enumerate(items):
        device = (name if isinstance(item, InvalidItem) else item.node or name) or ""
        by_device.setdefault(device, []).append((index, item))
    return {
        device: _batch(Node("", device, device), numbered, received_ms)
        for device, numbered in by_device.items()
    }


def _batch(
    node: Node,
    numbered: Iterable[tuple[int, Item]],
    received_ms: int,
    clock_skew_s: float | None = None,
) -> Batch:
    readings: list[Reading] = []
    rejected: list[Rejection] = []
    untimed: set[str] = set()
    for index, item in numbered:
        if isinstance(item, InvalidItem):
            rejected.append(rejection(index, item.item, item.refusal))
            continue
        _check_node(node, item.node)
        try:
            readings.append(_reading(index, item, received_ms, untimed))
        except Refusal as refusal:
            if refusal.code == "implausible_time" and clock_skew_s is not None:
                _check_clocks(item, received_ms, clock_skew_s)
            rejected.append(rejection(index, item, refusal))
    return Batch(node, received_ms, readings, rejected, clock_skew_s)


def _check_node(node: Node, name: str | None) -> None:
    if name is not None and not node.is_called(name):
        raise Forbidden(
            f"this token is {node.name}'s, and can't send for {clip(name)!r}; "
            "leave the node's name out, or correct it"
        )


def _check_clocks(wire: WireReading, received_ms: int, clock_skew_s: float) -> None:
    """Check whether a reading with an implausible time is so by its sender's clock too.

    Raises:
        ClockDiffers: it is ahead of our clock, but not of its sender's.
    """
    measured_ms = None if wire.age_s is not None else _measured_ms(wire, received_ms)
    latest_by_sender_ms = received_ms + round(clock_skew_s * 1000) + AHEAD_MS
    if measured_ms is not None and received_ms + AHEAD_MS < measured_ms <= latest_by_sender_ms:
        raise ClockDiffers(
            "readings are over 10 minutes ahead of the server's clock, but not of yours; "
            "nothing was stored: keep them, and see which of the two is wrong"
        )


def _reading(index: int, wire: WireReading, received_ms: int, untimed: set[str]) -> Reading:
    """One reading; ``untimed`` collects the sensors of those without a time of their own."""
    sensor = check_sensor_name(DEFAULT_SENSOR if wire.sensor is UNSET else wire.sensor)
    value, unit = stored(wire.value, wire.unit)
    measured_ms = wire.measured_ms
    if type(measured_ms) is not int or wire.measured_at is not None or wire.age_s is not None:
        measured_ms = _measured_ms(wire, received_ms)
    if measured_ms is None:
        if sensor in untimed:
            raise Refusal(
                "repeated_untimed",
                f"a second reading of {sensor} without a time in one batch; give each measured_at",
            )
        untimed.add(sensor)
        return Reading(index, sensor, value, unit, received_ms, timed=False, sent=wire)
    check_measured(measured_ms, received_ms)
    sent = None if wire.measured_ms == measured_ms and wire.value == value else wire
    return Reading(index, sensor, value, unit, measured_ms, sent=sent)


def _measured_ms(wire: WireReading, received_ms: int) -> int | None:
    """The time that a reading's fields give, or None.

    Raises:
        Refusal: one of them is invalid, or they differ.
    """
    times = set()
    if wire.measured_ms is not None:
        # Small computers write integers as floats: 1.795176e12.
        if isinstance(wire.measured_ms, float) and not wire.measured_ms.is_integer():
            raise Refusal("invalid_time", "measured_ms must be an integer, Unix milliseconds")
        times.add(int(wire.measured_ms))
    if wire.measured_at is not None:
        times.add(instant_ms(wire.measured_at))
    if wire.age_s is not None:
        try:
            times.add(received_ms - round(wire.age_s * 1000))
        except (ValueError, OverflowError):
            reason = f"age_s must be a number of seconds, not {wire.age_s}"
            raise Refusal("invalid_time", reason) from None
    if len(times) > 1:
        raise Refusal("invalid_time", "give one of measured_at, measured_ms and age_s")
    return next(iter(times), None)
