"""A wrong key on every wire: an error, a counter, a line a minute; and no secret anywhere."""

import itertools
from pathlib import Path

import pytest
import requests

from ingest.wires import LOGGED_S
from tests.publish.published import served
from tests.station import Process, Station, station_in_thread
from tests.wires.devices import Device
from tests.wires.test_answers import REQUESTS
from tests.wires.test_wires import CASES

# Where a key may stand, each with what follows it: on its wire, and misspelt or in odd places.
PLACES = {name: (sent.method, sent.path, sent.body) for name, sent in REQUESTS.items()}
PLACES |= {f"{name}, case": (how[0], how[1], how[2] or "") for name, how in CASES.items()}
PLACES |= {
    "nowhere": ("GET", "/KEY", ""),
    "twice": ("POST", "/k/KEY/KEY?KEY=KEY&a=KEY", "KEY=KEY"),
    "as a name": ("POST", "/k/KEY/write", "KEY,host=KEY KEY=1"),
    "as JSON": ("POST", "/k/KEY/readings", '[{"sensor": "KEY", "value": "KEY", "KEY": 1}]'),
    "in what is no JSON": ("POST", "/k/KEY/readings", "{KEY"),
    "as a device": ("GET", "/k/KEY/KEY?temperature=x&unit=KEY", ""),
    "tried": ("POST", "/try", "text=/k/KEY?KEY=1"),
}


@pytest.mark.parametrize("name", REQUESTS)
def test_it_is_counted_and_logged_once_a_minute(
    tmp_path: Path, caplog: pytest.LogCaptureFixture, name: str
) -> None:
    sent, wrong, now_s = REQUESTS[name], "0" * 32, 0.0
    path, body = (text.replace("KEY", wrong) for text in (sent.path, sent.body))
    with station_in_thread(tmp_path, clock=lambda: now_s) as station:

        def post() -> int:
            url = station.url + path
            return station.http.request(sent.method, url, data=body, timeout=60).status_code

        assert {post() for _ in range(5)} == {sent.unauthorized}
        now_s = LOGGED_S
        post()
        lines = [line for line in caplog.messages if "no valid key" in line]
        assert len(lines) == 2
        assert all(line.startswith("127.0.0.1, ") for line in lines)
        metrics = station.http.get(f"{station.url}/metrics", timeout=60).text
        [count] = [line for line in metrics.splitlines() if "tmon_wire_requests_total{" in line]
        assert 'outcome="unauthorized"' in count
        assert count.endswith(" 6.0")
        assert station.count("rejected") == station.count("readings") == 0
        assert wrong not in caplog.text + metrics


def test_no_key_or_token_is_in_any_log_page_table_or_answer(tmp_path: Path) -> None:
    ports = {"TMON_PORT": "0", "TMON_DATASETTE_PORT": "0", "TMON_LOG_LEVEL": "debug"}
    serving = Process(tmp_path, "serve", environ=ports)
    answers: list[str] = []
    try:
        addresses = serving.addresses(2)
        station = Station(tmp_path, addresses["ingest"])
        device = Device(station, "attic")
        token = station.token("attic")
        secrets = (device.key, token, "f" * 20 + device.key[20:], token[:-3] + "abc")
        for secret, (method, *place) in itertools.product(secrets, PLACES.values()):
            path, body = (text.replace("KEY", secret) for text in place)
            for headers in ({}, {"Authorization": f"Basic {secret}"}, {"APIKEY": secret}):
                url = station.url + path
                answer = station.http.request(method, url, data=body, headers=headers, timeout=60)
                assert answer.status_code < 500, (path, body, answer.text)
                answers.append(f"{answer.headers} {answer.text}")
        answers.append(requests.get(f"{station.url}/metrics", timeout=60).text)
        with served(station.path) as site:
            tables = ("rejected", "sensors", "sensor_names", "nodes", "keys", "latest", "changes")
            for page in ("/", "/refused", "/node/attic", *(f"/tmon/{name}.csv" for name in tables)):
                answer = site.get(page)
                assert answer.status_code == 200
                answers.append(answer.text)
            site.get(f"/k/{device.key}?p={token}")
    finally:
        serving.popen.terminate()
        _, stderr = serving.end()
    assert "/write" in stderr
    files = [one for one in tmp_path.glob("tmon.db*") if not one.match("*.secret")]
    database = b"".join(one.read_bytes() for one in files)
    for secret in (device.key[12:], token.rpartition(".")[2]):
        assert secret not in stderr
        assert [text for text in answers if secret in text] == []
        assert secret.encode() not in database
