"""The readings of a request's body: decoded, or with the reason why they can't be."""

import json
import re
from collections import Counter
from collections.abc import Sequence

import msgspec
from msgspec import UNSET, Struct, UnsetType

from tmon.core.errors import InvalidBody, TooLarge
from tmon.core.reading import Refusal, clip

READINGS_LIMIT = 10_000
VALUES_LIMIT = 10 * READINGS_LIMIT  # commas: a reading has seven fields


class WireReading(Struct, forbid_unknown_fields=True, omit_defaults=True):
    """One reading as a node writes it."""

    value: float
    sensor: str | UnsetType = UNSET
    unit: str | None = None
    measured_at: str | None = None
    measured_ms: int | float | None = None
    age_s: float | None = None
    node: str | None = None


class WireBatch(Struct, forbid_unknown_fields=True, omit_defaults=True):
    """Readings in an envelope with their node's name."""

    readings: list[WireReading]
    node: str | None = None


_one = msgspec.json.Decoder(WireReading)
_many = msgspec.json.Decoder(list[WireReading])
_batch = msgspec.json.Decoder(WireBatch)
_encode = msgspec.json.Encoder().encode


def _check_count(readings: int) -> None:
    if readings > READINGS_LIMIT:
        raise TooLarge(f"{readings:,} readings in one request; send at most {READINGS_LIMIT:,}")


def check_values(body: bytes) -> None:
    """Check this before parsing: 8 MiB hold four million values, which take a second.

    Raises:
        TooLarge: more values than 10,000 readings can have.
    """
    if len(body) > VALUES_LIMIT < body.count(b","):
        raise TooLarge(f"too many values in one request; send at most {READINGS_LIMIT:,} readings")


# JSON may repeat a field, and msgspec keeps the last. Then the body has more quotation marks
# than the decoded readings when encoded again, and the field's name more often than readings
# have that field. Decoding each item alone finds out which one it is.
def _may_repeat_a_field(body: bytes, batch: WireBatch, *, is_envelope: bool) -> bool:
    decoded: object = batch if is_envelope else batch.readings
    if body.count(b'"') <= _encode(decoded).count(b'"'):
        return False
    if body.count(b'"readings"') > is_envelope:
        return True
    for name in WireReading.__struct_fields__:
        count = sum(getattr(one, name) not in (None, UNSET) for one in batch.readings)
        count += name == "node" and batch.node is not None
        if body.count(b'"%b"' % name.encode()) > count:
            return True
    return False


class _RepeatedField(dict[str, object]):
    """A JSON object that has a field twice."""

    def __init__(self, pairs: list[tuple[str, object]]) -> None:
        super().__init__(pairs)
        [(name, _)] = Counter(name for name, _ in pairs).most_common(1)
        self.reason = f"{clip(name)!r} is given more than once"


def _object(pairs: list[tuple[str, object]]) -> dict[str, object]:
    fields = dict(pairs)
    return fields if len(fields) == len(pairs) else _RepeatedField(pairs)


# JSON can escape half of a surrogate pair, which is no Unicode and can't be encoded again. And
# it can escape letters and quotation marks, which hides a repeated field. msgspec accepts both;
# decoding each item alone finds them.
_ODD_ESCAPE = re.compile(rb"\\u(?:[dD][89a-fA-F]|00[0-7])")
_HALF_A_PAIR = "a text in it holds half a surrogate pair, or it is nested too deeply"


def _has_odd_escapes(body: bytes) -> bool:
    return b"\\u" in body and _ODD_ESCAPE.search(body) is not None


def _can_be_encoded(value: object) -> bool:
    try:
        json.dumps(value, ensure_ascii=False).encode()
    except (UnicodeEncodeError, RecursionError):
        return False
    return True


class InvalidItem(Struct):
    """An item that can't be decoded as a reading."""

    item: object
    refusal: Refusal


Item = WireReading | InvalidItem


def parse_json(body: bytes) -> tuple[str | None, Sequence[Item]]:
    """The node that an envelope names, and the readings.

    Raises:
        InvalidBody: it is no JSON text of readings.
        TooLarge: more than 10,000 readings.
    """
    try:
        body.decode()  # msgspec doesn't check strings that it skips
        if not _has_odd_escapes(body):
            batch, is_envelope = _decode(body)
            if not _may_repeat_a_field(body, batch, is_envelope=is_envelope):
                return batch.node, batch.readings
    except (msgspec.MsgspecError, UnicodeDecodeError, RecursionError):
        pass
    return _decode_each(body)


def _decode(body: bytes) -> tuple[WireBatch, bool]:
    """The readings, and whether they are in an envelope."""
    if body.lstrip()[:1] == b"[":
        batch, is_envelope = WireBatch(_many.decode(body)), False
    elif b'"readings"' in body:
        batch, is_envelope = _batch.decode(body), True
    else:
        return WireBatch([_one.decode(body)]), False
    _check_count(len(batch.readings))
    return batch, is_envelope


def _decode_each(body: bytes) -> tuple[str | None, list[Item]]:
    """Decode item by item, so that an invalid one fails alone; slower, and accepts NaN."""
    document = _loads(body)
    name = None
    if isinstance(document, dict) and "readings" in document:
        name, readings = document.get("node"), document.pop("readings")
        if not _can_be_encoded(document):
            raise InvalidBody(f"{_HALF_A_PAIR}, beside `readings`")
        if isinstance(document, _RepeatedField):
            raise InvalidBody(document.reason)
        if others := [clip(field) for field in document if field != "node"]:
            raise InvalidBody(f"{others[0]!r} stands beside `readings`; put it into each reading")
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
        return json.loads(text.decode("utf-8-sig"), parse_int=_int, object_pairs_hook=_object)
    except UnicodeDecodeError as error:
        raise InvalidBody(f"the body is not JSON in UTF-8: {error}") from None
    except RecursionError:
        raise InvalidBody("the body is nested too deeply") from None
    except ValueError as error:
        hint = "; NDJSON needs its Content-Type" if "Extra data" in str(error) else ""
        raise InvalidBody(f"the body is not JSON: {clip(str(error))}{hint}") from None


def _int(digits: str) -> int | float:
    """An integer; infinity for thousands of digits, which Python refuses to convert."""
    return int(digits) if len(digits) < 400 else float(digits)


def parse_ndjson(body: bytes) -> list[Item]:
    """The readings of NDJSON, one a line.

    Raises:
        TooLarge: more than 10,000 readings.
    """
    lines = [line for line in body.split(b"\n") if line.strip()]
    _check_count(len(lines))
    return [_line(line) for line in lines]


def _line(line: bytes) -> Item:
    try:
        if not _has_odd_escapes(line):
            reading = _one.decode(line)
            if not _may_repeat_a_field(line, WireBatch([reading]), is_envelope=False):
                return reading
    except (msgspec.MsgspecError, UnicodeDecodeError, RecursionError):
        pass
    try:
        return _item(_loads(line))
    except InvalidBody as error:
        text = line[:1000].decode(errors="replace")
        return InvalidItem(text, Refusal("invalid_json", str(error).replace("body", "line", 1)))


def _item(item: object) -> Item:
    if not _can_be_encoded(item):
        return InvalidItem(item, Refusal("invalid_reading", _HALF_A_PAIR))
    if isinstance(item, _RepeatedField):
        return InvalidItem(item, Refusal("repeated_field", item.reason))
    try:
        return msgspec.convert(item, WireReading)
    except msgspec.ValidationError as error:
        return InvalidItem(item, _refusal(str(error)))


_EXPECTED = {
    "value": ("invalid_value", "a number"),
    "sensor": ("invalid_sensor", "text"),
    "unit": ("invalid_unit", "text, like °C"),
    "measured_at": ("invalid_time", "ISO 8601 text with an offset"),
    "measured_ms": ("invalid_time", "an integer, Unix milliseconds"),
    "age_s": ("invalid_time", "a number of seconds"),
    "node": ("invalid_node", "text"),
}


def _refusal(message: str) -> Refusal:
    """The refusal for what msgspec found invalid."""
    if "required field" in message:
        return Refusal("missing_value", "value is missing; a reading needs a number there")
    if unknown := re.search("unknown field `(.*)`", message, re.DOTALL):
        known = ", ".join(_EXPECTED)
        reason = f"unknown field {clip(unknown[1])!r}; the fields are {known}"
        return Refusal("unknown_field", reason)
    if (where := re.search(r"at `\$\.(\w+)`", message)) and where[1] in _EXPECTED:
        code, expected = _EXPECTED[where[1]]
        return Refusal(code, f"{where[1]} must be {expected}")
    return Refusal("invalid_reading", 'a reading must be a JSON object, like {"value": 21.5}')
