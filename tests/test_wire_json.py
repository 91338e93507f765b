"""JSON and NDJSON, bytes to batch: the limit on readings, the two ways to parse, what is kept."""

import json
from collections.abc import Callable

import pytest

from ingest.errors import TooLarge
from ingest.reading import Batch, Node
from ingest.wire import json as wire
from ingest.wire.json import READINGS_LIMIT, WireReading

NODE = Node("u", "basement", "basement")
NOW_MS = 1_795_176_000_000


def parse(body: bytes, *, ndjson: bool = False) -> Batch:
    return wire.parse(body, ndjson=ndjson, node=NODE, received_ms=NOW_MS)


def many(count: int) -> list[dict[str, int]]:
    return [{"value": 1, "measured_ms": NOW_MS - i} for i in range(count)]


SHAPES: dict[str, tuple[Callable[[int], bytes], bool]] = {
    "list": (lambda n: json.dumps(many(n)).encode(), False),
    "envelope": (lambda n: json.dumps({"readings": many(n)}).encode(), False),
    "list with a bad one": (lambda n: json.dumps([*many(n - 1), 17]).encode(), False),
    "ndjson": (lambda n: "\n".join(map(json.dumps, many(n))).encode(), True),
}


@pytest.mark.parametrize("shape", SHAPES)
def test_ten_thousand_readings_are_taken_and_one_more_is_not(shape: str) -> None:
    body, ndjson = SHAPES[shape]
    assert READINGS_LIMIT == 10_000
    assert parse(body(10_000), ndjson=ndjson).size == 10_000
    with pytest.raises(TooLarge, match=r"10,001 readings .* at most 10,000"):
        parse(body(10_001), ndjson=ndjson)


@pytest.mark.parametrize(
    ("body", "name", "sensors"),
    [
        (b'{"value": 1}', None, ["temperature"]),
        (b' \n{"value": 1, "sensor": "a"}', None, ["a"]),
        (b'[{"value": 1, "sensor": "a"}, {"value": 2, "sensor": "b"}]', None, ["a", "b"]),
        (b'\r\n\t [{"value": 1}]', None, ["temperature"]),
        (b'[{"value": 1, "sensor": "readings"}]', None, ["readings"]),
        (b'{"readings": [{"value": 1}], "node": "basement"}', "basement", ["temperature"]),
        (b"[]", None, []),
    ],
)
def test_what_is_well_formed_is_parsed_without_the_slow_way(
    body: bytes, name: str | None, sensors: list[str]
) -> None:
    """The slow way would say the same, and take several times as long."""
    told, items = wire._well_formed(body)
    assert told == name
    assert [item.sensor for item in items if isinstance(item, WireReading)] == sensors
    assert (told, items) == wire._item_by_item(body)


def test_a_sensor_may_be_called_readings() -> None:
    batch = parse(b'{"value": 1, "sensor": "readings"}')
    assert [reading.sensor for reading in batch.readings] == ["readings"]
    assert not batch.rejected
