"""JSON and NDJSON, bytes to batch: the limit on readings, the two ways to parse, what is kept."""

import json
from collections.abc import Callable

import pytest

from ingest.wire import items
from ingest.wire import json as wire
from ingest.wire.items import READINGS_LIMIT, WireReading
from tmon.core.errors import Forbidden, InvalidBody, TooLarge
from tmon.core.reading import DEFAULT_SENSOR, Batch, Node, Refusal, rejection

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
    "envelope with a bad one": (
        lambda n: json.dumps({"readings": [*many(n - 1), 17]}).encode(),
        False,
    ),
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
    batch, is_envelope = items._decode(body)
    node_name, found = batch.node, batch.readings
    assert not items._may_repeat_a_field(body, batch, is_envelope=is_envelope)
    assert node_name == name
    named = [item.sensor or DEFAULT_SENSOR for item in found if isinstance(item, WireReading)]
    assert named == sensors
    assert (node_name, found) == items._decode_each(body)


def test_a_sensor_may_be_called_readings() -> None:
    batch = parse(b'{"value": 1, "sensor": "readings"}')
    assert [reading.sensor for reading in batch.readings] == ["readings"]
    assert not batch.rejected


@pytest.mark.parametrize("name", ["", '"node": "basement", '])
def test_a_bad_reading_in_an_envelope_fails_alone(name: str) -> None:
    batch = parse(b'{%s"readings": [{"value": 1}, 17, {"value": "x"}]}' % name.encode())
    assert [reading.index for reading in batch.readings] == [0]
    assert [(refused.index, refused.code) for refused in batch.rejected] == [
        (1, "invalid_reading"),
        (2, "invalid_value"),
    ]


@pytest.mark.parametrize(
    "body",
    [
        b'{"readings": {"value": 1}}',
        b'{"readings": [17], "node": 3}',
        b'{"readings": null, "node": "basement"}',
    ],
)
def test_an_envelope_of_another_shape_is_refused_whole(body: bytes) -> None:
    with pytest.raises(InvalidBody, match="expected"):
        parse(body)


def test_another_nodes_name_is_refused_however_it_is_written() -> None:
    for body in (
        b'{"node": "attic", "readings": []}',
        b'{"node": "attic", "readings": [17]}',
        b'[{"value": 1, "node": "basement"}, {"value": 1, "node": "attic"}]',
        b'[17, {"value": 1, "node": "attic"}]',
    ):
        with pytest.raises(Forbidden, match="attic"):
            parse(body)


def kept(batch: Batch) -> list[tuple[str, str | None, str | None, str | None]]:
    """What is kept of each that was refused: the code, and what it said."""
    return [
        (refused.code, refused.sensor, refused.measured, refused.value)
        for refused in batch.rejected
    ]


def test_what_is_kept_of_a_broken_reading_is_what_it_said() -> None:
    long = "9" * 5000
    body = b'[17, {"value": "x", "sensor": "a", "measured_ms": 5}, {"value": 1, "age_s": true},'
    body += b' {"value": %s, "sensor": "b"}, {"measured_at": "noon", "a": 1},' % long.encode()
    body += '{"value": ["ä", null]}]'.encode()
    assert kept(parse(body)) == [
        ("invalid_reading", "temperature", None, "17"),
        ("invalid_value", "a", "5", "x"),
        ("invalid_time", "temperature", "true", "1"),
        ("invalid_value", "b", None, "Infinity"),
        ("unknown_field", "temperature", "noon", None),
        ("invalid_value", "temperature", None, '["ä", null]'),
    ]


def test_what_is_kept_of_an_impossible_reading_is_what_it_said() -> None:
    body = b'[{"value": -4, "sensor": "a", "unit": "K", "measured_at": "2026-11-20T11:59:00Z"},'
    body += b' {"value": 2, "sensor": "b c", "age_s": 5}, {"value": 3, "sensor": "d", "unit": "K"},'
    body += b' {"value": 4, "sensor": "d"}]'
    assert kept(parse(body)) == [
        ("implausible_value", "a", "2026-11-20T11:59:00Z", "-4.0"),
        ("invalid_sensor", "b c", "5.0", "2.0"),
        ("repeated_untimed", "d", None, "4.0"),
    ]


def test_a_broken_line_is_told_and_kept_as_it_was() -> None:
    body = b'{"value": 1}\n{"value": 2, "body": \n\xff' + b"x" * 2000
    batch = parse(body, ndjson=True)
    assert [reading.value for reading in batch.readings] == [1.0]
    assert kept(batch) == [
        ("invalid_json", "temperature", None, '{"value": 2, "body": '),
        ("invalid_json", "temperature", None, "\N{REPLACEMENT CHARACTER}" + "x" * 199),
    ]
    assert [refused.index for refused in batch.rejected] == [1, 2]
    no_json, no_utf8 = (refused.error for refused in batch.rejected)
    assert no_json.startswith("the line is not JSON: ")
    assert no_utf8.startswith("the line is not JSON in UTF-8: ")


@pytest.mark.parametrize(
    ("field", "value", "code", "error"),
    [
        ("value", "21", "invalid_value", "value must be a number"),
        ("sensor", 5, "invalid_sensor", "sensor must be text"),
        ("unit", 5, "invalid_unit", "unit must be text, like °C"),
        ("measured_at", NOW_MS, "invalid_time", "measured_at must be ISO 8601 text"),
        ("measured_ms", str(NOW_MS), "invalid_time", "measured_ms must be an integer"),
        ("measured_ms", NOW_MS + 0.5, "invalid_time", "measured_ms must be an integer"),
        ("age_s", "5", "invalid_time", "age_s must be a number of seconds"),
        ("node", 5, "invalid_node", "node must be text"),
    ],
)
def test_a_field_of_another_type_is_told_with_what_it_must_be(
    field: str, value: object, code: str, error: str
) -> None:
    for body in ({"value": 1, field: value}, {"readings": [{"value": 1, field: value}]}):
        [rejected] = parse(json.dumps(body).encode()).rejected
        assert (rejected.code, rejected.error[: len(error)]) == (code, error)


def test_a_reading_that_names_its_node_twice_is_refused() -> None:
    batch = parse(b'[{"value": 1, "node": "attic", "node": "basement"}]')
    assert [refused.code for refused in batch.rejected] == ["repeated_field"]


def test_an_unknown_field_is_told_with_those_there_are() -> None:
    [refused] = parse(b'[{"value": 1, "val\\nue": 2}]').rejected
    assert refused.code == "unknown_field"
    for name in ("value", "sensor", "unit", "measured_at", "measured_ms", "age_s"):
        assert name in refused.error
    assert "value, sensor" in refused.error


@pytest.mark.parametrize("name", ["measured_at", "measured_ms", "age_s"])
def test_a_time_that_contradicts_another_is_refused(name: str) -> None:
    times = {"measured_at": "2026-11-20T11:59:00Z", "measured_ms": NOW_MS - 60_000, "age_s": 60}
    one = {"value": 1, **times}
    assert [reading.measured_ms for reading in parse(json.dumps([one]).encode()).readings] == [
        NOW_MS - 60_000
    ]
    one[name] = {"measured_at": "2026-11-20T12:00:00Z", "measured_ms": NOW_MS, "age_s": 0}[name]
    [refused] = parse(json.dumps([one]).encode()).rejected
    assert (refused.code, "one of measured_at, measured_ms and age_s" in refused.error) == (
        "invalid_time",
        True,
    )


@pytest.mark.parametrize(
    ("measured_ms", "why"),
    [
        (946_684_800_000, None),  # 2000-01-01T00:00:00Z
        (946_684_799_999, "measured before 2000;"),
        (NOW_MS + 600_000, None),
        (NOW_MS + 600_001, "measured over 10 minutes in the future;"),
    ],
)
def test_a_reading_is_from_2000_to_ten_minutes_ahead(measured_ms: int, why: str | None) -> None:
    batch = parse(b'{"value": 1, "measured_ms": %d}' % measured_ms)
    assert [reading.measured_ms for reading in batch.readings] == [measured_ms] * (why is None)
    assert [(refused.code, refused.error.split(" check")[0]) for refused in batch.rejected] == [
        ("implausible_time", why)
    ] * (why is not None)


@pytest.mark.parametrize(
    ("body", "is_ndjson"),
    [
        (b'{"value": 1}\n{"value": 2}', True),
        (b'{"value": 1', False),
        (b"value=1", False),
    ],
)
def test_only_who_sends_several_texts_is_told_of_ndjson(body: bytes, is_ndjson: bool) -> None:
    with pytest.raises(InvalidBody, match=r"not JSON: .* line [12] column [0-9]+") as caught:
        parse(body)
    assert ("NDJSON" in str(caught.value)) is is_ndjson


@pytest.mark.parametrize("name", ["unit", "time", "N"])
@pytest.mark.parametrize("readings", ["[]", '[{"value": 1}]', "[17]"])
def test_what_stands_beside_readings_is_refused(name: str, readings: str) -> None:
    """Else a unit that was meant for all of them would be passed over."""
    body = f'{{"{name}": "K", "node": "basement", "readings": {readings}}}'
    with pytest.raises(InvalidBody, match=f"'{name}' stands beside `readings`"):
        parse(body.encode())


def test_what_is_nested_too_deeply_to_be_kept_is_kept_as_its_kind() -> None:
    value: list[object] = []
    for _ in range(100_000):
        value = [value]
    assert rejection(0, {"value": value}, Refusal("invalid_value", "")).value == "list"
