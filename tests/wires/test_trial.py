"""``/try`` says what would become of a request, by the code that stores real ones."""

import html
import itertools
import re
from collections.abc import Iterator
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tests.publish.walking import english_words, same_texts
from tests.station import Station, station_in_thread
from tests.wires.devices import Device
from tests.wires.test_answers import PATHS, PIECES
from tests.wires.test_devices import Home, ruuvi
from tests.wires.test_wires import CASES, ECOWITT

FORMER = "f" * 32  # a key of another station


@pytest.fixture(scope="module")
def station(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Station]:
    """A station whose seconds pass with every look at its clock, so that none is too soon."""
    seconds = itertools.count()
    folder = tmp_path_factory.mktemp("tried")
    environ = {"TMON_INGEST_URL": "https://tmon.example.org/ingest"}
    with station_in_thread(folder, environ, clock=lambda: float(next(seconds))) as running:
        yield running


@pytest.fixture
def device(station: Station) -> Device:
    return Device(station, "attic")


def tried(station: Station, text: str) -> str:
    """The page about a text."""
    answer = station.http.post(f"{station.url}/try", data={"text": text}, timeout=60)
    assert answer.status_code == 200, answer.text
    assert station.count() == station.count("sensors") == station.count("rejected") == 0
    return answer.text


def rows(page: str) -> list[list[str]]:
    """The cells of the table of readings."""
    found = re.findall("<tr><td>(.*)</td></tr>", page)
    return [[html.unescape(cell) for cell in row.split("</td><td>")] for row in found]


@pytest.mark.parametrize("case", CASES)
@pytest.mark.parametrize("has_key", [True, False])
def test_the_verdict_is_what_a_real_request_would_store(
    device: Device, case: str, has_key: bool
) -> None:
    method, path, body, stored, *_ = CASES[case]
    key = device.key if has_key else FORMER
    text = f"{method} {path}\n{body}".replace("KEY", key)
    page = tried(device.station, text)
    assert {name: (float(value), unit) for name, value, unit, _ in rows(page)} == {
        name: (value, unit or "") for name, (value, unit) in stored.items()
    }
    assert ("it has the key of attic" in page) is has_key
    assert "Refused" not in page
    assert key not in page


@pytest.mark.parametrize(
    ("text", "wire", "shown"),
    [
        ("temperature,room=shed value=21.5", "influxdb", ["temperature/shed", "21.5", ""]),
        ('{"value": 21.5}', "tmon&#x27;s JSON", ["temperature", "21.5", "°C"]),
        ('{"node": "x", "readings": [{"value": 70.7, "unit": "°F"}]}', "tmon", ["21.5", "°C"]),
        ('{"value": 1}\n{"value": 2, "sensor": "b"}', "tmon", ["temperature", "b"]),
        ('{"name": "door", "value": true}', "flat", ["door", "1.0"]),
        ("?temperature=21.5", "flat", ["temperature", "21.5", "°C"]),
        ("https://tmon.example.org/ingest/k/KEY?a=1", "flat", ["a", "1.0"]),
        ("POST /ingest/k/KEY/ HTTP/1.1\r\nHost: x\r\nA: b\r\n\r\na=1", "flat", ["a", "1.0"]),
        (ECOWITT, "weather", ["temperature", "21.5", "2026-03-01T12:00:00Z"]),
        ("GET http://x/weatherstation/updateweatherstation.php?tempf=50", "weather", ["10.0"]),
    ],
)
def test_a_body_alone_and_an_address_alone_are_understood(
    station: Station, text: str, wire: str, shown: list[str]
) -> None:
    page = tried(station, text)
    assert f"Read as {wire}" in page
    cells = [cell for row in rows(page) for cell in row]
    assert [one for one in shown if one not in cells] == []
    assert "Refused" not in page


@pytest.mark.parametrize(
    ("text", "reason", "what_to_do"),
    [
        ('{"value": "x"}', "value must be a number", "Send a number"),
        ('{"value": 1, "mesured_ms": 1}', "unknown field &#x27;mesured_ms&#x27;", "leave it out"),
        ("POST /readings\n{", "the body is not JSON", "Compare what was sent"),
        ("m value=1\nm value=x", "line 2: ", "Send a number"),
        ("GET /write?db=x", "this address doesn&#x27;t take GET", "Use the method"),
        ("GET /readings", "readings go to POST", "Use the method"),
        ("hello", "there is no reading in this", "Compare what was sent"),
        ("?time=1&a=<b>x</b>", "not &#x27;&lt;b&gt;x&lt;/b&gt;&#x27;", "Send a number"),
    ],
)
def test_a_refusal_has_its_reason_and_what_to_do(
    station: Station, text: str, reason: str, what_to_do: str
) -> None:
    page = tried(station, text)
    assert 'class="refused">Refused</span>: ' in page
    assert reason in page
    assert what_to_do in page


def test_whose_key_it_is(device: Device) -> None:
    station = device.station
    gateway = Home(station)
    page = tried(station, f"POST /k/{gateway.key}/ruuvi\n{ruuvi(1772366400)}")
    assert "the key of the gateway hall" in page
    assert rows(page)[0][0] == "CB:B8:33:4C:88:4F"
    assert "has no device" not in page
    assert "doesn&#x27;t say which device" not in page
    assert "no key or token was found" in tried(station, "/k/?a=1")
    assert "not one of this server&#x27;s" in tried(station, f"/k/{FORMER}?a=1")
    Device(station, "cellar")
    assert "can&#x27;t send for" in tried(station, f"/k/{device.key}/cellar?a=1")
    assert "stores nothing" in tried(station, "/ping")


def test_a_gateways_own_json_names_its_devices(station: Station) -> None:
    key = Home(station).key
    text = f'POST /k/{key}/readings\n{{"node": "shed", "readings": [{{"value": 1}}]}}'
    assert rows(tried(station, text))[0][:2] == ["shed", "temperature"]


def test_no_secret_comes_back(device: Device) -> None:
    token = device.station.token("attic")
    for text in (
        f"/k/{device.key}/{token}?{device.key}=1&PASSWORD={device.key}",
        f"m{token},a={device.key} {device.key}=1",
        f'{{"sensor": "{device.key}", "value": "{token}", "token": "{token}"}}',
        "".join(f"%{ord(digit):02x}" for digit in device.key) + "=1",
    ):
        page = html.unescape(tried(device.station, text))
        assert device.key not in page
        assert token.rpartition(".")[2] not in page


@pytest.mark.parametrize(
    "text",
    [
        *("", "hello", "/ping", "?a=1", "/k/KEY?a=1&b=[]", f"/k/{FORMER}?a=1", "x" * 20_000),
        *('{"value": 1}\n{"value": "x"}', "POST /k/GATEWAY/shed\na=1", "GET /readings"),
        *("\n".join(f"m value={number}" for number in range(101)), "ä" * 100_000),
    ],
)
def test_the_page_is_in_the_language_of_the_browser(device: Device, text: str) -> None:
    station = device.station
    text = text.replace("KEY", device.key).replace("GATEWAY", Home(station).key)
    pages = {}
    for wish in ("de-AT, en;q=0.3", "en", ""):
        answer = station.http.post(
            f"{station.url}/try",
            data={"text": text},
            headers={"Accept-Language": wish},
            timeout=60,
        )
        assert answer.headers["Vary"] == "Accept-Language"
        pages[wish] = answer.text
    german, english, usual = pages.values()
    assert english == usual
    assert '<html lang="en">' in english
    assert 'span lang="en"' not in english
    assert '<html lang="de">' in german
    assert same_texts(english, german) == []
    assert english_words(german) == []


def test_the_page_runs_no_script_and_sends_its_form_here_alone(station: Station) -> None:
    answer = station.http.get(f"{station.url}/try", timeout=60)
    assert answer.status_code == 200
    policy = answer.headers["Content-Security-Policy"]
    assert "default-src 'none'" in policy
    assert "form-action 'self'" in policy
    assert answer.headers["Cache-Control"] == "no-store"
    assert station.http.head(f"{station.url}/try", timeout=60).status_code == 200
    assert station.http.put(f"{station.url}/try", timeout=60).status_code == 405


@pytest.mark.parametrize(
    ("body", "status", "reason"),
    [
        (b"", 400, "there is nothing in it"),
        (b"text=" + b"+" * 100, 400, "there is nothing in it"),
        (b"a=1&b=2&c=3", 400, "one field of a form"),
        (b"text=" + b"x" * 20_000, 413, "over 16,384 bytes"),
        (b"text=" + b"x" * 100_000, 413, "over 16,384 bytes"),
    ],
)
def test_what_is_too_large_or_empty_is_said(
    station: Station, body: bytes, status: int, reason: str
) -> None:
    answer = station.http.post(f"{station.url}/try", data=body, timeout=60)
    assert (answer.status_code, reason in answer.text) == (status, True)
    parts = (body[start : start + 1000] for start in range(0, len(body), 1000))
    chunked = station.http.post(f"{station.url}/try", data=parts, timeout=60)
    assert chunked.status_code == status


def test_at_most_five_a_second_are_tried(tmp_path: Path) -> None:
    now_s = 0.0
    with station_in_thread(tmp_path, clock=lambda: now_s) as station:

        def post() -> tuple[int, str | None]:
            answer = station.http.post(f"{station.url}/try", data={"text": "a=1"}, timeout=60)
            return answer.status_code, answer.headers.get("Retry-After")

        assert [post(), post()] == [(200, None), (429, "1")]
        now_s = 0.2
        assert post() == (200, None)


@settings(max_examples=300)
@given(
    path=st.sampled_from(("", *PATHS)),
    method=st.sampled_from(["", "GET ", "POST ", "PUT "]),
    pieces=st.lists(st.sampled_from((*PIECES, "\r\n", "/k/", "?", "HTTP/1.1")), max_size=25),
    gap=st.sampled_from(["", "?", "\n", " HTTP/1.1\n\n"]),
)
def test_nothing_makes_it_fail(
    station: Station, path: str, method: str, pieces: list[str], gap: str
) -> None:
    text = (method + path + gap + "".join(pieces)).encode("utf-8", "surrogatepass")
    data = b"text=" + b"".join(b"%%%02x" % byte for byte in text)
    answer = station.http.post(f"{station.url}/try", data=data, timeout=60)
    assert answer.status_code in ({200} if text.strip() else {400}), answer.text
    assert station.count() == 0
