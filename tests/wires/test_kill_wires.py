"""kill -9 of ingest while all wires send: what was answered is stored, and once."""

import json
import threading
import zlib
from collections.abc import Callable
from datetime import UTC, datetime
from pathlib import Path

import pytest
import requests

from tests.station import Process, tmon, wait_for
from tmon.db.connect import open_for_reading

BEGAN_S = 1_772_366_400
# How each wire sends a number at a time: method, path and body, and the sensor it becomes.
Request = tuple[str, str, str | bytes]


def iso(at_s: int) -> str:
    return datetime.fromtimestamp(at_s, UTC).strftime("%Y-%m-%dT%H:%M:%SZ")


WIRES: dict[str, Callable[[int, int], Request]] = {
    "m": lambda at_s, n: ("POST", "/k/KEY/write?precision=s", f"m value={n} {at_s}"),
    "soil_raw_1": lambda at_s, n: (
        *("POST", "/k/KEY/data/report/"),
        f"soilad1={n}&dateutc={iso(at_s)[:-1].replace('T', '+')}",
    ),
    "field1": lambda at_s, n: ("POST", "/k/KEY/update", f"field1={n}&created_at={iso(at_s)}"),
    "5/1": lambda at_s, n: (
        *("POST", "/k/KEY/input/bulk?time=0&cb=1"),
        zlib.compress(f"[[{at_s},5,{n}]]".encode()),
    ),
    "flat": lambda at_s, n: ("GET", f"/k/KEY?flat={n}&time={at_s}", ""),
    "noise": lambda at_s, n: (
        *("POST", "/k/KEY"),
        json.dumps({"nickname": "x", "timestamp": iso(at_s), "readings": {"noise": n}}),
    ),
    "d/a": lambda at_s, n: (
        *("POST", "/k/KEY?event=up"),
        json.dumps({"time": iso(at_s), "deviceInfo": {"deviceName": "d"}, "object": {"a": n}}),
    ),
    "p/t": lambda at_s, n: (
        *("POST", "/k/KEY"),
        json.dumps(
            [{"values": [n], "dsnames": ["value"], "time": at_s, "plugin": "p", "type": "t"}]
        ),
    ),
}


class Sender:
    """Sends one number after the other on one wire, each again until it is answered."""

    def __init__(self, sensor: str, key: str) -> None:
        self.sensor = sensor
        self.key = key
        self.answered = 0
        self.odd: list[int] = []

    def send_until_killed(self, url: str) -> None:
        with requests.Session() as http:
            http.trust_env = False
            while not self.odd:
                number = self.answered
                method, path, body = WIRES[self.sensor](BEGAN_S + number, number)
                try:
                    answer = http.request(
                        method, url + path.replace("KEY", self.key), data=body, timeout=60
                    )
                except requests.ConnectionError:
                    return
                if answer.ok:
                    self.answered += 1
                else:
                    self.odd.append(answer.status_code)


def killed_rounds(folder: Path, rounds: int, each: int) -> None:
    key = tmon(folder, "key", "get", "plug").stdout.strip()
    senders = [Sender(sensor, key) for sensor in WIRES]
    for most in range(each, (rounds + 1) * each, each):
        ingest = Process(folder, "serve", "ingest")
        try:
            url = ingest.addresses(1)["ingest"]
            threads = [
                threading.Thread(target=sender.send_until_killed, args=[url]) for sender in senders
            ]
            for thread in threads:
                thread.start()
            wait_for(lambda most=most: all(one.odd or one.answered >= most for one in senders))
        finally:
            ingest.kill()
        for thread in threads:
            thread.join()
    assert [one.odd for one in senders] == [[] for _ in senders]
    with open_for_reading(folder / "tmon.db") as db:
        query = (
            "select name, (measured_ms - ?) / 1000, value from readings"
            " join sensors on sensors.id = sensor"
        )
        stored = set(db.execute(query, [BEGAN_S * 1000]).fetchall())
        count = db.execute("select count(*) from readings").fetchone()[0]
    for one in senders:
        mine = {(one.sensor, n, float(n)) for n in range(one.answered)}
        # The one that was on its way at the last kill may be stored without an answer.
        assert mine <= stored
        assert len([row for row in stored if row[0] == one.sensor]) - len(mine) in {0, 1}
    assert count == len(stored)


def test_a_kill_under_all_wires_loses_nothing(tmp_path: Path) -> None:
    killed_rounds(tmp_path, rounds=2, each=10)


@pytest.mark.soak
def test_many_kills_under_all_wires(tmp_path: Path) -> None:
    killed_rounds(tmp_path, rounds=20, each=100)
