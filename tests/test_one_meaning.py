"""A body says one thing, or is refused: nothing in it is overruled or left out in silence."""

import asyncio
import gzip
import json
import threading
import time

import pytest

from ingest.body import BodyParser
from ingest.limits import PARSE_QUEUE_BYTES
from tests.station import Station
from tmon.core.errors import Overloaded
from tmon.core.reading import Batch, Node

MS = 1_795_176_000_000
TWICE = [
    b'{"value": 1, "value": 2}',
    b'{"value": 1, "value": 1}',
    b'{"sensor": "a", "value": 1, "sensor": "b"}',
    b'{"value": 1, "unit": "%", "unit": "hPa"}',
    b'{"value": 1, "measured_ms": 1795176000000, "measured_ms": 1795176000001}',
    b'{"value": 1, "age_s": 1, "age_s": 2}',
    rb'{"value": 1, "\u0076alue": 2}',
    rb'{"value": 1, "unit": "\u0022\u0022", "value": 2}',
    b'{"value": 1, "measured_at": "2026-11-20T00:00:00Z", "measured_at": "2026-11-20T00:00:01Z"}',
]


@pytest.mark.parametrize("reading", TWICE)
@pytest.mark.parametrize("shape", ["one", "list", "envelope", "ndjson"])
def test_a_field_that_stands_there_twice_is_refused(
    shared: Station, reading: bytes, shape: str
) -> None:
    good = b'{"value": 20, "sensor": "good-%d", "measured_ms": %d}' % (
        TWICE.index(reading),
        MS + ["one", "list", "envelope", "ndjson"].index(shape),
    )
    body = {
        "one": reading,
        "list": b"[%b, %b]" % (good, reading),
        "envelope": b'{"readings": [%b, %b]}' % (good, reading),
        "ndjson": good + b"\n" + reading,
    }[shape]
    headers = {"Content-Type": "application/x-ndjson"} if shape == "ndjson" else {}
    answer = shared.post(body, headers=headers)
    assert answer.status_code == 201
    receipt = answer.json()
    assert receipt["accepted"] == (shape != "one")
    (rejected,) = receipt["rejected"]
    assert rejected["code"] == "repeated_field"
    assert "more than once" in rejected["error"]


@pytest.mark.parametrize(
    ("envelope", "named"),
    [
        ('{"measured_at": "2020-01-01T00:00:00Z", "readings": [{"value": 33.5}]}', "measured_at"),
        ('{"sensor": "humidity", "unit": "%", "readings": [{"value": 33.5}]}', "sensor"),
        ('{"value": 1, "measured_ms": 1510000001001, "readings": []}', "value"),
        ('{"nodes": "basement", "readings": [{"value": 1}]}', "nodes"),
        ('{"readings": [{"value": 1}, 17], "extra": {"a": 1}}', "extra"),
        ('{"readings": [{"value": 1}], "readings": []}', "readings"),
        ('{"node": "attic", "node": "basement", "readings": [17]}', "node"),
    ],
)
def test_what_stands_beside_readings_is_not_passed_over(
    shared: Station, envelope: str, named: str
) -> None:
    before = shared.count()
    answer = shared.post(envelope.encode())
    assert (answer.status_code, answer.json()["code"]) == (400, "invalid_body")
    assert named in answer.json()["error"]
    assert shared.count() == before


def test_a_text_may_be_a_fields_name(shared: Station) -> None:
    answer = shared.post([{"value": 1, "sensor": "value"}, {"value": 1, "sensor": "unit"}])
    assert answer.json() == {"accepted": 2, "duplicates": 0, "rejected": []}


def test_ndjson_under_another_name_is_told_what_it_lacks(shared: Station) -> None:
    answer = shared.post(b'{"value": 1}\n{"value": 2}')
    assert answer.status_code == 400
    assert "NDJSON needs its Content-Type" in answer.json()["error"]


def costly_bodies() -> list[tuple[str, bytes, int]]:
    bad_names = [{"value": 1, "sensor": "\N{SNOWMAN}" * 9}] * 10_000
    return [
        ("values", b'{"value": [' + b"0," * 4_100_000 + b"0]}", 413),
        ("objects", b'{"value": [' + b'{"a": 0},' * 90_000 + b"0]}", 201),
        ("bad names", json.dumps(bad_names).encode(), 201),
    ]


@pytest.mark.parametrize(("name", "body", "status"), costly_bodies())
def test_nobody_waits_for_anothers_costly_body(
    shared: Station, name: str, body: bytes, status: int
) -> None:
    """A handful of kilobytes, compressed, took seconds of the one thread that serves everybody."""
    packed = gzip.compress(body)
    answers: list[int] = []

    def send() -> None:
        sender = Station(shared.path.parent, shared.url)  # a session is for one thread
        answer = sender.post(packed, node="costly", headers={"Content-Encoding": "gzip"})
        answers.append(answer.status_code)

    senders = [threading.Thread(target=send) for _ in range(8)]
    for sender in senders:
        sender.start()
    longest_s, sent = 0.0, 0
    while any(sender.is_alive() for sender in senders):
        began_s = time.process_time()  # the server and all senders are in this process
        reading = {"value": 1, "sensor": name.replace(" ", "-"), "measured_ms": MS + sent}
        assert shared.post(reading).json()["accepted"] == 1
        longest_s, sent = max(longest_s, time.process_time() - began_s), sent + 1
    assert answers == [status] * len(senders)
    assert longest_s < 1.5  # 0.1 to 0.3 s where nothing else runs


def test_large_bodies_wait_within_bounds() -> None:
    batch, free = Batch(Node("u", "n", "n"), MS, ()), threading.Event()

    def slow(_: bytes) -> Batch:
        assert free.wait(60)
        return batch

    async def crowd() -> None:
        parser = BodyParser()
        first = asyncio.create_task(parser.parse(bytes(PARSE_QUEUE_BYTES), slow))
        await asyncio.sleep(0)
        with pytest.raises(Overloaded, match="large"):
            await parser.parse(bytes(20_000), lambda _: batch)
        assert await parser.parse(bytes(100), lambda _: batch) is batch  # small ones go on
        free.set()
        assert await first is batch
        assert await parser.parse(bytes(PARSE_QUEUE_BYTES), lambda _: batch) is batch
        parser.close()

    asyncio.run(crowd())
