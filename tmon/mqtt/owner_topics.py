"""The owner's own topics, from a YAML file: ``TMON_MQTT_TOPICS``.

Each row is a pattern of topics and the one reading that such a message has. All rows that match a
topic have it, and then none of ``FORMATS`` is tried.
"""

import re
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import yaml

from tmon.core.device_times import zoned_ms
from tmon.core.errors import TmonError
from tmon.core.names import is_sensor_name
from tmon.core.reading import Refusal
from tmon.core.units import canonical
from tmon.mqtt.messages import Measured, Message, reading
from tmon.mqtt.topics import Pattern

FIELDS = ("topic", "node", "sensor", "value", "unit", "quantity", "time")
NUMBER = "number"  # the whole message is the value
MOST_BYTES = 1_000_000
QUANTITY_LIMIT = 64  # characters
_STEP = re.compile(r'\.?([^.\[\]"]+)|\[([0-9]{1,6})\]|\.?\["([^"]+)"\]')

Path_ = tuple[str | int, ...]


class InvalidTopics(TmonError):
    """The file can't be used; a line for each problem."""


@dataclass(frozen=True)
class OwnerTopic:
    """A row. ``value`` and ``time`` are steps into a JSON document; without any, all of it."""

    pattern: Pattern
    node: str
    sensor: str
    value: Path_ = ()
    unit: str | None = None
    quantity: str | None = None
    time: Path_ = ()

    def readings(self, topic: str, payload: str) -> Iterator[Measured]:
        """The reading of a message; none where the topic is another or has no number there."""
        parts = self.pattern.match(topic)
        if parts is None:
            return
        message = Message(topic, parts, payload)
        value = _at(message.json, self.value) if self.value else payload
        measured_ms = zoned_ms(_at(message.json, self.time)) if self.time else None
        device, sensor = parts.get("node", self.node), parts.get("sensor", self.sensor)
        for one in reading(device, sensor, value, self.unit, measured_ms):
            yield one._replace(quantity=self.quantity)


def load(path: Path) -> list[OwnerTopic]:
    """The rows of a file.

    Raises:
        InvalidTopics: with every problem, its line and field.
    """
    try:
        text = path.read_bytes()[: MOST_BYTES + 1].decode()
        root = yaml.compose(text, Loader=yaml.SafeLoader)
    except (OSError, UnicodeDecodeError) as error:
        why = getattr(error, "strerror", None) or "it is not UTF-8"
        raise InvalidTopics(f"{path}: {why}; TMON_MQTT_TOPICS names this file") from None
    except yaml.YAMLError as error:
        mark = getattr(error, "problem_mark", None)
        where = f", line {mark.line + 1}" if mark else ""
        why = getattr(error, "problem", None) or "it is not YAML"
        hint = "put texts with % # < : or * into quotation marks"
        raise InvalidTopics(f"{path}{where}: {why}; {hint}") from None
    problems: list[str] = []
    rows = []
    for item in _items(root):
        row, line = _row(item, problems, path)
        try:
            if row is not None:
                rows.append(_topic(row))
        except InvalidRow as error:
            at = row[error.field][1] if row and error.field in row else line
            problems.append(f"{path}, line {at}: {error.field}: {error}")
    if not problems and not rows:
        problems = [f'{path}: expected rows like - topic: "greenhouse/<node>/<sensor>"']
    if problems:
        raise InvalidTopics("\n".join(problems))
    return rows


class InvalidRow(Exception):
    """A field of a row is missing or wrong."""

    def __init__(self, field: str, reason: str) -> None:
        super().__init__(reason)
        self.field = field


Row = dict[str, tuple[str, int]]  # each field's text and line


def _items(root: Any) -> list[Any]:
    return list(root.value) if isinstance(root, yaml.SequenceNode) else [root] if root else []


def _row(item: Any, problems: list[str], path: Path) -> tuple[Row | None, int]:
    """The fields of a row, and its line; None, and what is wrong, if it is no row."""
    line = item.start_mark.line + 1
    if not isinstance(item, yaml.MappingNode):
        problems.append(f'{path}, line {line}: expected a row like - topic: "a/<node>/<sensor>"')
        return None, line
    row: Row = {}
    before = len(problems)
    for key, value in item.value:
        at, name = key.start_mark.line + 1, str(key.value)
        if name not in FIELDS:
            problems.append(f"{path}, line {at}: {name!r}: the fields are {', '.join(FIELDS)}")
        elif name in row:
            problems.append(f"{path}, line {at}: {name}: is given more than once")
        elif not isinstance(value, yaml.ScalarNode) or not value.value.strip():
            problems.append(f"{path}, line {at}: {name}: must be a text")
        else:
            row[name] = (value.value.strip(), at)
    return (row if len(problems) == before else None), line


def _topic(row: Row) -> OwnerTopic:
    """A row as it is used.

    Raises:
        InvalidRow: a field is wrong.
    """
    texts = {name: text for name, (text, _) in row.items()}
    if "topic" not in texts:
        raise InvalidRow("topic", "is missing; it is a pattern like greenhouse/<node>/<sensor>")
    try:
        pattern = Pattern(texts["topic"])
    except ValueError as error:
        raise InvalidRow("topic", str(error)) from None
    if others := [one for one in pattern.places if one not in ("node", "sensor", "any")]:
        raise InvalidRow("topic", f"<{others[0]}>: the places are <node>, <sensor> and <any>")
    for name in ("node", "sensor"):
        if (name in pattern.places) == (name in texts):
            raise InvalidRow(name, f"give it once, as <{name}> in the topic or as a field")
    if "sensor" in texts and not is_sensor_name(texts["sensor"]):
        raise InvalidRow("sensor", f"no sensor can be called {texts['sensor']!r}")
    try:
        canonical(1.0, texts.get("unit"))
    except Refusal as refusal:
        raise InvalidRow("unit", refusal.reason) from None
    quantity = texts.get("quantity")
    if quantity and (len(quantity) > QUANTITY_LIMIT or not quantity.isprintable()):
        raise InvalidRow("quantity", f"must be at most {QUANTITY_LIMIT} printable characters")
    value = texts.get("value", NUMBER)
    return OwnerTopic(
        pattern,
        texts.get("node", ""),
        texts.get("sensor", ""),
        () if value == NUMBER else _path("value", value),
        texts.get("unit"),
        quantity,
        _path("time", texts["time"]) if "time" in texts else (),
    )


def _path(field: str, text: str) -> Path_:
    """The steps of ``ENERGY.Power`` or ``$.data[0]["a.b"]``.

    Raises:
        InvalidRow: it has another form.
    """
    rest, steps = text.removeprefix("$"), []
    while rest:
        found = _STEP.match(rest)
        if found is None:
            reason = f'{text!r} must be {NUMBER}, or a path like ENERGY.Power or data[0]["a.b"]'
            raise InvalidRow(field, reason)
        name, index, quoted = found.groups()
        steps.append(int(index) if index is not None else name or quoted)
        rest = rest[found.end() :]
    return tuple(steps)


def _at(document: Any, path: Path_) -> Any:
    """What stands in a JSON document behind these steps; None if nothing does."""
    for step in path:
        if isinstance(document, dict) and isinstance(step, str):
            document = document.get(step)
        elif isinstance(document, list) and isinstance(step, int) and step < len(document):
            document = document[step]
        else:
            return None
    return document
