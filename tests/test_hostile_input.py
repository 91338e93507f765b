"""No bytes that anybody can send give a 500, or anything but one clear answer."""

import gzip
import json
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from tests.station import Station

SCALARS = (
    st.none()
    | st.booleans()
    | st.integers()
    | st.floats(allow_nan=True, allow_infinity=True)
    | st.text(max_size=80)
    | st.text(st.characters(categories=["Cs", "Cc", "Cf", "Lo"]), max_size=4)
    | st.sampled_from(["°C", "°F", "%", "temperature", "2026-11-20T12:00:00Z", "9999-12-31T23:59Z"])
)
FIELDS = st.sampled_from(
    ["sensor", "value", "unit", "measured_at", "measured_ms", "age_s", "node", "readings", "other"]
)
ITEMS = st.dictionaries(FIELDS, SCALARS | st.lists(SCALARS, max_size=2), max_size=6) | SCALARS
DOCUMENTS = (
    ITEMS
    | st.lists(ITEMS, max_size=8)
    | st.fixed_dictionaries(
        {"readings": st.lists(ITEMS, max_size=5)}, optional={"node": SCALARS, "other": SCALARS}
    )
)
BODIES = (
    DOCUMENTS.map(lambda document: json.dumps(document).encode())
    | st.lists(DOCUMENTS, max_size=5).map(
        lambda documents: b"\n".join(json.dumps(one).encode() for one in documents)
    )
    | st.binary(max_size=300)
    | DOCUMENTS.map(lambda document: gzip.compress(json.dumps(document).encode()))
    | st.integers(1, 5000).map(
        lambda digits: b'[{"value": 1, "measured_ms": %s}]' % (b"9" * digits)
    )
)


@given(
    body=BODIES,
    encoding=st.sampled_from(["", "gzip", "x-gzip", "identity", "br"]),
    content_type=st.sampled_from(["", "application/json", "application/x-ndjson; charset=utf-8"]),
)
@settings(
    max_examples=400,
    deadline=None,
    suppress_health_check=[HealthCheck.function_scoped_fixture, HealthCheck.too_slow],
)
def test_no_body_gives_a_500(
    shared: Station, body: bytes, encoding: str, content_type: str
) -> None:
    before = shared.count()
    answer = shared.post(body, headers={"Content-Encoding": encoding, "Content-Type": content_type})
    assert answer.status_code in (201, 400, 403, 413, 415), answer.text
    if answer.status_code == 201:
        assert shared.count() == before + answer.json()["accepted"]
    else:
        assert set(answer.json()) == {"error", "code"}
        assert shared.count() == before


POISON = [
    rb'{"value": 13, "measured_at": "2026-01-01\ud80000:00:00Z"}',
    rb'{"value": 13, "measured_at": "2026-01-01T00:00:00Z\udfff"}',
    b'{"value": 13, "measured_at": "2026-01-01\xed\xa0\x8000:00:00Z"}',
    rb'{"value": 13, "unit": "\uDBFF"}',
    rb'{"value": "\udc00"}',
    rb'{"sensor": "\ud800", "value": 13}',
    rb'{"node": "\ud800", "value": 13}',
    rb'{"\ud800": 1, "value": 13}',
    rb'{"value": 13, "measured_at": {"\ud800": 1}}',
    rb'["\ud800"]',
    rb'{"node": "\ud800", "readings": [{"value": 13}]}',
    rb'{"more": "\ud800", "readings": [{"value": 13}]}',
    rb'{"more": [{"\ud800": 1}], "readings": [{"value": 13}]}',
    rb'{"\ud800": 1, "readings": [{"value": 13}]}',
    b'{"more": "\xed\xa0\x80", "readings": [{"value": 13}]}',
    b'{"readings": [{"value": 13}], "\xed\xa0\x80": 1}',
]


@pytest.mark.parametrize("content_type", ["application/json", "application/x-ndjson"])
@pytest.mark.parametrize("poison", POISON)
def test_half_a_surrogate_pair_is_refused_and_every_receipt_is_its_own(
    station: Station, poison: bytes, content_type: str
) -> None:
    """Each healthy request has another number of readings: its receipt can be no other's."""
    headers = {"Content-Type": content_type}
    refused = station.post(poison, headers=headers)
    assert refused.status_code == 400 or refused.json()["accepted"] == 0
    sizes = [*range(1, 6)] * 2

    def send(size: int) -> int:
        station.post(poison, headers=headers)
        body = [{"sensor": f"s{size}-{i}", "value": size} for i in range(size)]
        return int(station.post(body, node=f"n{size}").json()["accepted"])

    with ThreadPoolExecutor(8) as pool:
        assert [*pool.map(send, sizes)] == sizes
    assert station.count() == sum(sizes)


def test_a_whole_surrogate_pair_is_a_character(station: Station) -> None:
    body = (
        rb'[{"value": 1, "sensor": "s", "unit": "\ud83c\udf21"}, {"value": 2, "unit": "\\ud800"}]'
    )
    assert station.post(body).json()["accepted"] == 2
    assert {unit for (unit,) in station.query("select unit from sensors")} == {
        "\N{THERMOMETER}",
        "\\ud800",
    }


@given(authorization=st.text(st.characters(max_codepoint=255, exclude_categories=["Cc"])))
@settings(max_examples=100, suppress_health_check=[HealthCheck.function_scoped_fixture])
def test_no_authorization_but_a_token_lets_in(shared: Station, authorization: str) -> None:
    for header in (authorization, f"Bearer {authorization}", f"Bearer tmon_{authorization}"):
        answer = shared.http.post(
            f"{shared.url}/readings",
            data=b'{"value": 1}',
            headers={"Authorization": header.strip().encode("latin-1")},
            timeout=60,
        )
        assert answer.status_code == 401


def _cut_anywhere(token: str) -> Iterator[str]:
    for place in range(0, len(token), 7):
        yield token[:place] + token[place + 1 :]
        yield token[:place] + ("x" if token[place] != "x" else "y") + token[place + 1 :]


def test_no_change_to_a_token_lets_in(shared: Station) -> None:
    for altered in _cut_anywhere(shared.token()):
        answer = shared.http.post(
            f"{shared.url}/readings",
            data=b'{"value": 1}',
            headers={"Authorization": f"Bearer {altered}"},
            timeout=60,
        )
        assert answer.status_code == 401
        assert altered not in answer.text


@pytest.mark.parametrize("name", ["Bearer", "bearer", "BEARER"])
def test_the_scheme_is_written_in_any_case(shared: Station, name: str) -> None:
    headers = {"Authorization": f"{name} {shared.token()}"}
    body = b'{"sensor": "%s", "value": 1}' % name.encode()
    answer = shared.http.post(f"{shared.url}/readings", data=body, headers=headers, timeout=60)
    assert answer.status_code == 201
