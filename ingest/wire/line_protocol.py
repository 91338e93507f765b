"""InfluxDB's line protocol: its lines become readings."""

import re

from ingest.wire.batch_builder import BatchBuilder
from ingest.wire.influx_names import Field, sensor_of
from ingest.wire.line_parts import ESCAPED, split_lines, split_parts
from tmon.core.device_times import utc_ms
from tmon.core.device_values import CONVERSIONS
from tmon.core.reading import Refusal, clip

HEAD_CHARACTERS = 4_000  # of a measurement and its tags
AUTO = 0  # as a precision: by the number of digits
NS_IN_MS = 1_000_000

# Most lines have one number and a time: this takes them apart in a third of the time.
_USUAL = re.compile(
    r'([^ "\\]{1,4000}) ([^ "\\=,]+)=([-+]?[0-9]+(?:\.[0-9]+)?) ([0-9]{1,20})', re.ASCII
)
# A field's value: a float, an integer with i or u, a boolean or a text.
DIGITS = frozenset("0123456789.")
_INTEGER = re.compile("([-+]?[0-9]{1,20})[iu]")
_BOOLEANS = {
    **dict.fromkeys(("t", "T", "true", "True", "TRUE"), 1.0),
    **dict.fromkeys(("f", "F", "false", "False", "FALSE"), 0.0),
}


def add_lines(text: str, unit_ns: int, batch: BatchBuilder) -> None:
    """Add the numeric fields of all lines; reject each line, by its number, that has none.

    Args:
        text: the lines.
        unit_ns: nanoseconds of the unit of their times; AUTO: the number of digits tells.
        batch: gets the readings.
    """
    for number, line in split_lines(text):
        stripped = line.strip()
        if not stripped or stripped.startswith("#"):
            continue
        try:
            _add_line(stripped, unit_ns, batch)
        except Refusal as refusal:
            named = Refusal(refusal.code, f"line {number}: {refusal.reason}")
            batch.reject(named, value=clip(stripped))


def _add_line(line: str, unit_ns: int, batch: BatchBuilder) -> None:
    """Add the numeric fields of one line of line protocol."""
    if unit_ns and (found := _USUAL.fullmatch(line)):
        head, field, text, time = found.groups()
        series = sensor_of(head, field, batch.sender)
        _add(batch, series, text, float(text), int(time) * unit_ns // NS_IN_MS)
        return
    if "\\" in line or '"' in line:
        head, fields, time = _split(line)
    else:
        head, _, rest = line.partition(" ")
        fields_text, _, time = rest.strip().partition(" ")
        fields = [field.partition("=")[::2] for field in fields_text.split(",")]
    if len(head) > HEAD_CHARACTERS:
        raise Refusal("invalid_line", f"a name and tags of over {HEAD_CHARACTERS:,} characters")
    time = time.strip()
    measured_ms = None
    if time:
        if not (time.isascii() and time.removeprefix("-").isdecimal()):
            raise Refusal("invalid_time", f"{clip(time)!r} is no integer time")
        measured_ms = utc_ms(time) if unit_ns == AUTO else int(time[:30]) * unit_ns // NS_IN_MS
    refused: Refusal | None = None
    for field, text in fields:
        try:
            value = _value(field, text)
        except Refusal as refusal:  # the line's other fields are good
            refused = refusal
            continue
        if value is not None:
            series = sensor_of(head, field, batch.sender)
            _add(batch, series, text, value, measured_ms)
    if refused is not None:
        raise refused


def _add(
    batch: BatchBuilder, series: Field | None, text: str, value: float, measured_ms: int | None
) -> None:
    if series is None:  # it comes from us
        return
    sensor, unit, batch.device = series
    if unit in CONVERSIONS:
        batch.add(sensor, text.rstrip("iu"), unit, measured_ms)
    else:
        batch.add_number(sensor, value, unit, measured_ms)


def _value(field: str, text: str) -> float | None:
    """A field's number; None for a text, which is an attribute and not stored.

    Raises:
        Refusal: it is neither.
    """
    if text[-1:] in DIGITS and text.isascii() and "_" not in text:
        try:
            return float(text)
        except ValueError:
            pass
    if text in _BOOLEANS:
        return _BOOLEANS[text]
    if found := _INTEGER.fullmatch(text):
        return float(found[1])
    if len(text) > 1 and text[0] == text[-1] == '"':
        return None
    raise Refusal("invalid_value", f"field {clip(field)!r} has no number: {clip(text)!r}")


def _split(line: str) -> tuple[str, list[tuple[str, str]], str]:
    """A line with escapes or texts: measurement and tags, fields, and time."""
    head, rest = _until_blank(line)
    rest = rest.strip()
    fields_text, time = _until_blank(rest)
    fields = []
    for part in split_parts(fields_text, ","):
        name, *value = split_parts(part, "=", 1)
        fields.append((ESCAPED.sub(r"\1", name), value[0] if value else ""))
    return head, fields, time


def _until_blank(text: str) -> tuple[str, str]:
    first, *rest = split_parts(text, " ", 1)
    return first, rest[0] if rest else ""
