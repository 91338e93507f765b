"""``POST /readings``: what becomes of good readings, and of bad ones."""

import gzip
import json
import time
from collections.abc import Callable
from email.utils import formatdate
from pathlib import Path
from typing import Any

import pytest

from tests.station import Station, hourly_equals_raw, station_in_thread
from tmon.core.reading import Batch, Node, Reading
from tmon.db import nodes
from tmon.db.connect import open_database, open_for_reading
from tmon.store.commit import Store

NOON = {"sensor": "temperature", "value": 21.5, "unit": "°C", "measured_at": "2026-11-20T12:00:00Z"}
NOON_MS = 1_795_176_000_000


def outcome(answer: Any) -> tuple[int, int, list[str]]:
    """Accepted, duplicates, and the codes of the rejected."""
    assert answer.status_code == 201, answer.text
    receipt = answer.json()
    return receipt["accepted"], receipt["duplicates"], [r["code"] for r in receipt["rejected"]]


def test_a_reading_is_committed_before_it_is_answered(station: Station) -> None:
    answer = station.post(NOON)
    assert answer.status_code == 201
    assert answer.json() == {"accepted": 1, "duplicates": 0, "rejected": []}
    assert station.query("select measured_ms, measured_at, value from readings") == [
        (NOON_MS, "2026-11-20T12:00:00.000Z", 21.5)
    ]
    assert station.query("select node, name, quantity, unit, label from sensors") == [
        ("basement", "temperature", "temperature", "°C", "basement temperature")
    ]


def test_a_retried_batch_is_stored_once(station: Station) -> None:
    station.post([NOON])
    assert outcome(station.post([NOON])) == (0, 1, [])
    assert outcome(station.post([NOON, NOON])) == (0, 2, [])
    assert station.count() == 1


def test_a_stored_reading_is_never_changed(station: Station) -> None:
    station.post(NOON)
    assert outcome(station.post([NOON | {"value": 22}, NOON])) == (0, 1, ["conflict"])
    assert station.query("select value from readings") == [(21.5,)]


@pytest.mark.parametrize(
    "body",
    [
        NOON,
        [NOON],
        {"node": "basement", "readings": [NOON]},
        {"readings": [NOON]},
        NOON | {"node": "basement"},
        {"value": 21.5, "measured_ms": NOON_MS},
        {"value": 21.5, "measured_at": "2026-11-20T13:00:00+01:00"},
        {"value": 21.5, "measured_at": "20261120T120000Z"},
        {"value": 21.5, "measured_at": "2026-11-20T12:00:00Z", "measured_ms": NOON_MS},
        {"value": 70.7, "unit": "°F", "measured_ms": NOON_MS},
    ],
)
def test_every_way_to_write_it_is_the_same_reading(station: Station, body: Any) -> None:
    assert outcome(station.post(body)) == (1, 0, [])
    [(sensor, unit, measured_ms, value)] = station.query(
        "select name, unit, measured_ms, value from readings join sensors on id = sensor"
    )
    assert (sensor, unit, measured_ms) == ("temperature", "°C", NOON_MS)
    assert value == pytest.approx(21.5, abs=1e-12)


def test_a_whole_number_may_be_written_as_a_float(station: Station) -> None:
    body = b'[{"value": 1, "measured_ms": 1.795176e12}, {"value": 2, "measured_ms": 1e12}]'
    assert outcome(station.post(body)) == (2, 0, [])


@pytest.mark.parametrize(
    "unit", ["Celsius", "celsius", "°c", "ºC", "˚C", "deg C", "degC", "DEGC", "℃", "C", ""]
)
def test_a_unit_may_be_spelled_as_people_do(shared: Station, unit: str) -> None:
    node = f"spelled-{abs(hash(unit))}"
    assert outcome(shared.post({"value": 1, "unit": "°C"}, node=node)) == (1, 0, [])
    assert outcome(shared.post({"value": 2, "unit": unit}, node=node)) == (1, 0, [])


def test_one_letter_units_mean_what_they_are(shared: Station) -> None:
    for unit, stored in [("K", "°C"), ("k", "k"), ("mV", "V"), ("MV", "MV"), ("Lux", "lx")]:
        shared.post({"sensor": unit, "value": 300, "unit": unit}, node="letters")
        units = dict(shared.query("select name, unit from sensors where node = 'letters'"))
        assert units[unit] == stored


def test_ndjson_and_gzip(station: Station) -> None:
    lines = b"\n".join(
        json.dumps(NOON | {"measured_ms": NOON_MS + i, "measured_at": None}).encode()
        for i in range(3)
    )
    headers = {"Content-Type": "application/x-ndjson", "Content-Encoding": "gzip"}
    assert outcome(station.post(gzip.compress(lines + b"\r\n\n"), headers=headers)) == (3, 0, [])


def test_a_broken_line_of_ndjson_fails_alone(station: Station) -> None:
    body = json.dumps(NOON).encode() + b'\n{"value": 1\n\xff\xfe\n{"value": 2}\n'
    answer = station.post(body, headers={"Content-Type": "application/x-ndjson"})
    assert outcome(answer) == (2, 0, ["invalid_json", "invalid_json"])
    assert [told["index"] for told in answer.json()["rejected"]] == [1, 2]


def test_a_reading_without_a_time_is_of_now(station: Station) -> None:
    before = time.time_ns() // 1_000_000
    station.post([{"value": 1}, {"sensor": "old", "value": 2, "age_s": 90}])
    after = time.time_ns() // 1_000_000
    [now] = station.query("select measured_ms from readings where value = 1")
    [old] = station.query("select measured_ms from readings where value = 2")
    assert before <= now[0] <= after
    assert before <= old[0] + 90_000 <= after


def test_an_untimed_reading_makes_way_for_a_timed_one(tmp_path: Path) -> None:
    with open_database(tmp_path / "tmon.db", create=True) as db:
        known = nodes.find_or_make(db, "basement")
        node = Node(known.uid, known.name, known.name)
        timed = Reading(0, "temperature", 1.0, "°C", NOON_MS)
        untimed = [Reading(0, "temperature", v, "°C", NOON_MS, timed=False) for v in (1.0, 2.0)]
        store = Store(db)
        store.commit([Batch(node, NOON_MS, [timed])])
        receipts = store.commit([Batch(node, NOON_MS, [one]) for one in untimed])
        assert [receipt.accepted for receipt in receipts] == [1, 1]
        later = Reading(0, "temperature", 3.0, "°C", NOON_MS - 3_600_000, timed=False)
        store.commit([Batch(node, NOON_MS, [later])])  # the clock was put back an hour
        rows = db.execute("select measured_ms - ?, value from readings", [NOON_MS]).fetchall()
    assert rows == [(-3_600_000, 3.0), (0, 1.0), (1, 1.0), (2, 2.0)]


def test_readings_without_a_time_never_collide(station: Station) -> None:
    token = station.token()
    for value in range(200):
        station.http.post(
            f"{station.url}/readings",
            data=json.dumps({"value": value}),
            headers={"Authorization": f"Bearer {token}"},
            timeout=60,
        )
    assert station.count() == 200


REJECTED = [
    ({"value": None}, "invalid_value", "value"),
    ({"value": "21.5"}, "invalid_value", "value"),
    ({"value": True}, "invalid_value", "value"),
    ({"value": [1]}, "invalid_value", "value"),
    ({"value": float("nan")}, "invalid_value", "value"),
    ({"value": float("inf")}, "invalid_value", "value"),
    ({"value": 10**400}, "invalid_value", "value"),
    ({"sensor": "humidity"}, "missing_value", "value"),
    ({"value": 1, "measured": "x"}, "unknown_field", "measured"),
    (17, "invalid_reading", "object"),
    (None, "invalid_reading", "object"),
    ({"value": -300, "unit": "°C"}, "implausible_value", "-300"),
    ({"value": -300}, "implausible_value", "-300"),
    ({"sensor": "x", "value": 1e31}, "implausible_value", "1e+30"),
    ({"value": -1, "unit": "K"}, "implausible_value", "°C"),
    ({"sensor": "h", "value": 101, "unit": "%"}, "implausible_value", "%"),
    ({"sensor": "p", "value": -1, "unit": "hPa"}, "implausible_value", "hPa"),
    ({"value": 1, "measured_at": "2026-11-20T12:00:00"}, "invalid_time", "offset"),
    ({"value": 1, "measured_at": "yesterday"}, "invalid_time", "measured_at"),
    ({"value": 1, "measured_at": 5}, "invalid_time", "measured_at"),
    ({"value": 1, "measured_ms": 1.5}, "invalid_time", "measured_ms"),
    ({"value": 1, "measured_ms": 1795176000}, "implausible_time", "milliseconds"),
    ({"value": 1, "measured_ms": 10**30}, "implausible_time", "clock"),
    ({"value": 1, "measured_ms": 5, "age_s": 5}, "invalid_time", "age_s"),
    ({"value": 1, "age_s": float("nan")}, "invalid_time", "age_s"),
    ({"value": 1, "age_s": -3600}, "implausible_time", "future"),
    ({"value": 1, "measured_at": "1999-12-31T23:59:59Z"}, "implausible_time", "2000"),
    ({"value": 1, "measured_at": "2126-01-01T00:00:00Z"}, "implausible_time", "future"),
    ({"sensor": "", "value": 1}, "invalid_sensor", "sensor"),
    ({"sensor": "a b", "value": 1}, "invalid_sensor", "sensor"),
    ({"sensor": "a//b", "value": 1}, "invalid_sensor", "//"),
    ({"sensor": "a..b", "value": 1}, "invalid_sensor", ".."),
    ({"sensor": "-a", "value": 1}, "invalid_sensor", "sensor"),
    ({"sensor": "a\n", "value": 1}, "invalid_sensor", "sensor"),
    ({"sensor": "ä", "value": 1}, "invalid_sensor", "ASCII"),
    ({"sensor": "a" * 65, "value": 1}, "invalid_sensor", "64"),
    ({"sensor": 5, "value": 1}, "invalid_sensor", "sensor"),
    ({"value": 1, "unit": 5}, "invalid_unit", "unit"),
    ({"value": 1, "unit": "x" * 33}, "invalid_unit", "32"),
    ({"value": 1, "unit": "\u202e%"}, "invalid_unit", "printable"),
]


@pytest.mark.parametrize(("bad", "code", "names"), REJECTED)
def test_a_bad_reading_fails_alone_and_is_told_why(
    shared: Station, request: pytest.FixtureRequest, bad: Any, code: str, names: str
) -> None:
    node = f"node-{abs(hash(request.node.name))}"
    body = json.dumps([NOON, bad, NOON | {"sensor": "other"}]).encode()
    answer = shared.post(body, node=node)
    assert outcome(answer) == (2, 0, [code])
    [told] = answer.json()["rejected"]
    assert told["index"] == 1
    assert names in told["error"]
    kept = shared.query("select code, reason from rejected where node = ?", [node])
    assert kept == [(code, told["error"])]


def test_a_sensor_isnt_made_by_a_reading_that_is_rejected(station: Station) -> None:
    station.post({"value": -300})
    assert station.count("sensors") == 0


def test_only_one_untimed_reading_of_a_sensor_in_a_batch(station: Station) -> None:
    answer = station.post([{"value": 1}, {"value": 2}, {"sensor": "b", "value": 3}])
    assert outcome(answer) == (2, 0, ["repeated_untimed"])


def test_a_sensors_unit_is_fixed_by_its_first_reading(station: Station) -> None:
    first = [{"sensor": "co2", "value": 400, "unit": "ppm"}, {"sensor": "level", "value": 1}]
    assert outcome(station.post(first)) == (2, 0, [])
    for later, codes in [
        ({"sensor": "co2", "value": 40, "unit": "%"}, ["unit_mismatch"]),
        ({"sensor": "level", "value": 2, "unit": "m"}, ["unit_mismatch"]),
        ({"sensor": "co2", "value": 2_000_000}, ["implausible_value"]),
        ({"sensor": "co2", "value": 402}, []),
    ]:
        assert outcome(station.post(later))[2] == codes
    units = dict(station.query("select name, unit from sensors"))
    assert units == {"co2": "ppm", "level": None}


def test_a_number_of_thousands_of_digits_fails_alone(station: Station) -> None:
    body = b'[{"value": 1, "measured_ms": %s}, {"value": 2}]' % (b"9" * 5000)
    assert outcome(station.post(body)) == (1, 0, ["invalid_time"])


def test_what_was_rejected_is_kept_bounded_and_harmless(station: Station) -> None:
    bad = {"sensor": "<script>\u202e" + "x" * 300, "value": "\ud800 \x00"}
    answer = station.post(json.dumps([bad] * 150).encode())
    assert len(answer.json()["rejected"]) == 150
    kept = station.query("select sensor, value from rejected")
    assert len(kept) == 100
    assert kept[0] == (
        "<script>\N{REPLACEMENT CHARACTER}" + "x" * 191,
        "\N{REPLACEMENT CHARACTER} \N{REPLACEMENT CHARACTER}",
    )


def test_what_is_kept_is_what_was_sent(station: Station) -> None:
    station.post({"sensor": "h", "value": 50, "unit": "%"})
    station.post(
        {"sensor": "h", "value": 70, "unit": "°F", "measured_at": "2026-11-20T13:00:00+01:00"}
    )
    kept = station.query("select sensor, measured, value from rejected")
    assert kept == [("h", "2026-11-20T13:00:00+01:00", "70.0")]


def test_a_token_in_the_wrong_place_is_not_published(station: Station) -> None:
    token = station.token()
    station.post([{"sensor": token, "value": 1}, {"value": token}, {"value": 1, "unit": token}])
    ndjson = {"Content-Type": "application/x-ndjson"}
    answer = station.post(b'{"value": 1, "token": "%s"' % token.encode(), headers=ndjson)
    published = str(station.query("select * from rejected")) + answer.text
    assert station.count("rejected") == 4
    assert token.rpartition(".")[2] not in published


@pytest.mark.parametrize(
    "mangle",
    [
        lambda token: token.removeprefix("tmon_"),
        lambda token: f"TMON_{token[5:]}",
        lambda token: token.replace("tmon_", "tmon-"),
        lambda token: token.replace("tmon_", "tmon%5F"),
        lambda token: token.replace(".", " ."),
        lambda token: token.replace(".", "%2E"),
        lambda token: token.replace(".", "\n"),
        lambda token: f"{token[:-20]} {token[-20:]}",
        lambda token: f"{token[:-20]}\u200b{token[-20:]}",
        lambda token: f"{token[:8]}\n{token[8:]}",
        lambda token: f"?{token.rpartition('.')[2]}",
        lambda token: f"Bearer {token}",
    ],
)
def test_nor_is_a_mangled_one(shared: Station, mangle: Callable[[str], str]) -> None:
    token = shared.token("mangled")
    answer = shared.post({"sensor": mangle(token), "value": 1}, node="mangled")
    (rejected,) = answer.json()["rejected"]
    kept = str(shared.query("select * from rejected order by id desc limit 1"))
    signature = token.rpartition(".")[2]
    for published in (kept, rejected["error"]):
        assert signature[:12] not in published
        assert signature[-12:] not in published


def test_rejections_are_bounded_in_all(station: Station) -> None:
    station.post({"value": None})
    with open_database(station.path) as db:
        db.execute(
            "with recursive n(i) as (select 1 union all select i + 1 from n where i < 100000)"
            " insert into rejected (received_ms, node, code, reason) select 0, 'old', '', '' from n"
        )
    station.post({"value": None})
    assert station.count("rejected") == 100_000
    assert station.query("select count(*) from rejected where node = 'basement'") == [(1,)]


def test_a_name_that_another_sensor_was_given_is_not_taken_over(station: Station) -> None:
    station.post({"sensor": "left", "value": 1})
    with open_database(station.path) as db:
        db.execute("update sensors set name = 'right'")
    assert outcome(station.post({"sensor": "right", "value": 2})) == (0, 0, ["name_taken"])
    assert outcome(station.post({"sensor": "left", "value": 3})) == (1, 0, [])


def test_a_thousand_sensors_are_a_nodes_most(station: Station) -> None:
    many = [{"sensor": f"s{i}", "value": i} for i in range(1001)]
    assert outcome(station.post(many)) == (1000, 0, ["too_many_sensors"])
    assert outcome(station.post(many[:1000], node="attic")) == (1000, 0, [])


@pytest.mark.parametrize(
    ("body", "names"),
    [
        (b"", "empty"),
        (b"  \n", "empty"),
        (b"{", "JSON"),
        (b'{"value": 1} x', "JSON"),
        (b"\xff\xfe\x00", "JSON"),
        (b"[" * 100_000, "nested"),
        (b"3", "expected"),
        (b'"text"', "expected"),
        (b'{"readings": 3}', "expected"),
        (b'{"node": 3, "readings": []}', "expected"),
    ],
)
def test_a_body_that_cant_be_parsed_is_400(shared: Station, body: bytes, names: str) -> None:
    answer = shared.post(body)
    assert answer.status_code == 400
    assert answer.json()["code"] == "invalid_body"
    assert names in answer.json()["error"]


def test_no_readings_are_no_error(station: Station) -> None:
    assert outcome(station.post([])) == (0, 0, [])


def test_hourly_follows_late_readings_and_duplicates(station: Station) -> None:
    times = [NOON_MS + minutes * 60_000 for minutes in (0, 61, 5, 62, 5, -3, 0)]
    for at, value in zip(times, (1.1, 2.2, 3.3, -4.4, 3.3, 6.6, 1.1), strict=True):
        station.post({"sensor": "x", "value": value, "measured_ms": at})
    assert station.query("select n, min, max from hourly order by hour_ms") == [
        (1, 6.6, 6.6),
        (2, 1.1, 3.3),
        (2, -4.4, 2.2),
    ]
    with open_for_reading(station.path) as db:
        assert hourly_equals_raw(db)


def test_healthz_tells_the_servers_time(station: Station) -> None:
    answer = station.http.get(f"{station.url}/healthz", timeout=60)
    assert answer.status_code == 200
    assert answer.json()["status"] == "ok"
    assert abs(answer.json()["time_ms"] - time.time() * 1000) < 5000


@pytest.mark.parametrize(
    ("method", "path", "status", "code"),
    [
        ("GET", "/", 404, "not_found"),
        ("GET", "/readings", 405, "method_not_allowed"),
        ("POST", "/readings/", 404, "not_found"),
        ("POST", "/healthz", 405, "method_not_allowed"),
        ("POST", "/readings", 401, "unauthorized"),
    ],
)
def test_every_error_has_one_shape(
    shared: Station, method: str, path: str, status: int, code: str
) -> None:
    answer = shared.http.request(method, shared.url + path, timeout=60)
    assert answer.status_code == status
    assert set(answer.json()) == {"error", "code"}
    assert answer.json()["code"] == code


def test_a_nodes_last_word_and_clock_are_written_down_at_the_end(tmp_path: Path) -> None:
    with station_in_thread(tmp_path) as station:
        station.post(NOON, headers={"Date": formatdate(time.time() - 3600, usegmt=True)})
        assert station.query("select last_received_ms from nodes") == [(None,)]
    [(received_ms, skew_s)] = station.query("select last_received_ms, clock_skew_s from nodes")
    assert received_ms == pytest.approx(time.time() * 1000, abs=20_000)
    assert skew_s == pytest.approx(-3600, abs=5)
