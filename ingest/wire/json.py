"""tmon's own wire format: JSON and NDJSON."""

import json
import re
from collections.abc import Sequence

import msgspec
from msgspec import Struct

from ingest.errors import ClockDiffers, Forbidden, InvalidBody, TooLarge
from ingest.reading import (
    AHEAD_MS,
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
from ingest.units import canonical, check_value

READINGS_LIMIT = 10_000


class WireReading(Struct, forbid_unknown_fields=True, omit_defaults=True):
    """One reading as a node writes it."""

    value: float
    sensor: str = "temperature"
    unit: str | None = None
    measured_at: str | None = None
    measured_ms: int | float | None = None
    age_s: float | None = None
    node: str | None = None


class WireBatch(Struct):
    """Readings in an envelope with their node's name."""

    readings: list[WireReading]
    node: str | None = None


_one = msgspec.json.Decoder(WireReading)
_many = msgspec.json.Decoder(list[WireReading])
_batch = msgspec.json.Decoder(WireBatch)


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
    name, items = (None, _lines(body)) if ndjson else _document(body)
    _check_name(node, name)
    readings, rejected = _checked(items, node, received_ms, clock_skew_s)
    return Batch(node, received_ms, readings, rejected, clock_skew_s)


def _check_count(readings: int) -> None:
    """Before anything is done with each of them: 8 MiB hold 4 million, if they are bad."""
    if readings > READINGS_LIMIT:
        raise TooLarge(f"{readings:,} readings in one request; send at most {READINGS_LIMIT:,}")


# JSON can escape half of a surrogate pair. That is no Unicode: it can't be encoded, so it can't
# be handed on. msgspec takes it; the way that looks at each item alone finds it.
_SURROGATE = re.compile(rb"\\u[dD][89a-fA-F]")
_HALF_A_PAIR = "a text in it holds half a surrogate pair, or it is nested too deeply"


def _can_be_encoded(value: object) -> bool:
    try:
        json.dumps(value, ensure_ascii=False).encode()
    except (UnicodeEncodeError, RecursionError):
        return False
    return True


class _Broken(Struct):
    """A reading that isn't even one in form."""

    item: object
    refusal: Refusal


_Item = WireReading | _Broken


def _document(body: bytes) -> tuple[str | None, Sequence[_Item]]:
    try:
        body.decode()  # msgspec doesn't look into what it skips
        if not _SURROGATE.search(body):
            return _well_formed(body)
    except (msgspec.MsgspecError, UnicodeDecodeError, RecursionError):
        pass
    return _item_by_item(body)


def _well_formed(body: bytes) -> tuple[str | None, Sequence[_Item]]:
    if body.lstrip()[:1] == b"[":
        batch = WireBatch(_many.decode(body))
    elif b'"readings"' in body:
        batch = _batch.decode(body)
    else:
        return None, [_one.decode(body)]
    _check_count(len(batch.readings))
    return batch.node, batch.readings


def _item_by_item(body: bytes) -> tuple[str | None, list[_Item]]:
    """What the strict way refuses: here one bad reading fails alone, and NaN is readable."""
    document = _loads(body)
    name = None
    if isinstance(document, dict) and "readings" in document:
        name, readings = document.get("node"), document.pop("readings")
        if not _can_be_encoded(document):
            raise InvalidBody(f"{_HALF_A_PAIR}, beside `readings`")
        document = readings
        if not isinstance(document, list) or not isinstance(name, str | None):
            raise InvalidBody('expected {"node": "name", "readings": [...]}')
    if not isinstance(document, list | dict):
        raise InvalidBody("expected a reading, a list of readings, or an object with `readings`")
    items = document if isinstance(document, list) else [document]
    _check_count(len(items))
    return name, [_item(one) for one in items]


def _loads(text: bytes) -> object:
    try:
        return json.loads(text.decode("utf-8-sig"), parse_int=_int)
    except UnicodeDecodeError as error:
        raise InvalidBody(f"the body is not JSON in UTF-8: {error}") from None
    except RecursionError:
        raise InvalidBody("the body is nested too deeply") from None
    except ValueError as error:
        raise InvalidBody(f"the body is not JSON: {clip(str(error))}") from None


def _int(digits: str) -> int | float:
    """A whole number; one of thousands of digits, which Python won't read, as infinity."""
    return int(digits) if len(digits) < 400 else float(digits)


def _lines(body: bytes) -> list[_Item]:
    lines = [line for line in body.split(b"\n") if line.strip()]
    _check_count(len(lines))
    return [_line(line) for line in lines]


def _line(line: bytes) -> _Item:
    try:
        if not _SURROGATE.search(line):
            return _one.decode(line)
    except (msgspec.MsgspecError, UnicodeDecodeError, RecursionError):
        pass
    try:
        return _item(_loads(line))
    except InvalidBody as error:
        text = line[:1000].decode(errors="replace")
        return _Broken(text, Refusal("invalid_json", str(error).replace("body", "line", 1)))


def _item(item: object) -> _Item:
    if not _can_be_encoded(item):
        return _Broken(item, Refusal("invalid_reading", _HALF_A_PAIR))
    try:
        return msgspec.convert(item, WireReading)
    except msgspec.ValidationError as error:
        return _Broken(item, _reason(str(error)))


_EXPECTED = {
    "value": ("invalid_value", "a number"),
    "sensor": ("invalid_sensor", "text"),
    "unit": ("invalid_unit", "text, like °C"),
    "measured_at": ("invalid_time", "ISO 8601 text with an offset"),
    "measured_ms": ("invalid_time", "an integer, Unix milliseconds"),
    "age_s": ("invalid_time", "a number of seconds"),
    "node": ("invalid_node", "text"),
}


def _reason(message: str) -> Refusal:
    """What msgspec says of a reading, in our words."""
    if "required field" in message:
        return Refusal("missing_value", "value is missing; a reading needs a number there")
    if unknown := re.search("unknown field `(.*)`", message, re.DOTALL):
        known = ", ".join(_EXPECTED)
        told = f"unknown field {clip(unknown[1])!r}; the fields are {known}"
        return Refusal("unknown_field", told)
    if (where := re.search(r"at `\$\.(\w+)`", message)) and where[1] in _EXPECTED:
        code, expected = _EXPECTED[where[1]]
        return Refusal(code, f"{where[1]} must be {expected}")
    return Refusal("invalid_reading", 'a reading must be a JSON object, like {"value": 21.5}')


def _check_name(node: Node, name: str | None) -> None:
    if name is not None and not node.is_called(name):
        raise Forbidden(
            f"this token is {node.name}'s, and can't send for {clip(name)!r}; "
            "leave the node's name out, or correct it"
        )


def _checked(
    items: Sequence[_Item], node: Node, received_ms: int, clock_skew_s: float | None
) -> tuple[list[Reading], list[Rejection]]:
    readings: list[Reading] = []
    rejected: list[Rejection] = []
    untimed: set[str] = set()
    for index, item in enumerate(items):
        if isinstance(item, _Broken):
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
    sensor = check_sensor_name(wire.sensor)
    value, unit = canonical(wire.value, wire.unit)
    check_value(value, unit)
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
